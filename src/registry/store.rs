//! Locking and committing. The lock is a type: only [`Locked`] can write.

use std::io::{Read, Seek, SeekFrom, Write};
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::backups;
use super::history::{self, By, Changed, Entry, Note};
use super::root::{FILE, Root};
use super::state::{Change, Registry};
use crate::domain::error::{Code, Error, Result};
use crate::host::files::{self, Ownership};
use crate::host::lock::FileLock;
use crate::host::process;

const LOCK: &str = "lock";

/// Who holds the lock: written into the lock file for whoever waits.
#[derive(Serialize, Deserialize)]
struct LockHolder {
    host: String,
    pid: u32,
    command: String,
    since: Timestamp,
}

/// The registry, locked for writing until dropped.
pub struct Locked {
    /// The root.
    pub root: Root,
    /// The records.
    pub registry: Registry,
    by: By,
    /// The file was edited by hand, and not written since.
    edited: bool,
    lock: FileLock,
}

/// The time, to the second.
pub fn now() -> Timestamp {
    Timestamp::from_second(Timestamp::now().as_second()).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// Takes the lock of a root, waiting at most `timeout` (exit 7).
pub fn lock_root(root: &Root, timeout: Duration, command: &str) -> Result<FileLock> {
    let private = root.dir().ensure_dir(super::root::PRIVATE, 0o700)?;
    let file = files::open_or_create(&private, LOCK)?;
    match FileLock::wait(file, timeout)? {
        Ok(lock) => {
            let holder = LockHolder {
                host: process::hostname(),
                pid: process::own_pid(),
                command: command.to_owned(),
                since: now(),
            };
            note_holder(&lock, &holder);
            Ok(lock)
        }
        Err(file) => Err(busy(file, timeout)),
    }
}

/// The holder's words are for people: a failure to write them is no failure of the command.
fn note_holder(lock: &FileLock, holder: &LockHolder) {
    if let Ok(text) = serde_json::to_string(holder) {
        let mut file = lock.file();
        let _ = file.set_len(0);
        let _ = file.seek(SeekFrom::Start(0));
        let _ = file.write_all(format!("{text}\n").as_bytes());
    }
}

fn busy(mut file: std::fs::File, timeout: Duration) -> Error {
    let mut text = String::new();
    let _ = (&mut file).take(64 * 1024).read_to_string(&mut text);
    let by = serde_json::from_str::<LockHolder>(&text)
        .map(|h| format!(": {} (pid {} on {}) has held it since {}", h.command, h.pid, h.host, h.since))
        .unwrap_or_default();
    Error::new(Code::Busy, format!("the registry was busy for {} s{by}", timeout.as_secs_f64()))
        .hint("try again, or wait longer with --lock-timeout 120s")
}

/// The registry is its root's owner's alone.
fn own(root: &Root) -> Result<Ownership> {
    let dir = root.dir().stat_self()?;
    Ok(Ownership { mode: 0o600, ids: (dir.st_uid, dir.st_gid) })
}

/// What becomes a backup is nobody else's either.
fn secure(root: &Root) -> Result<()> {
    let own = root.dir().stat_self()?.st_uid;
    match root.dir().stat(FILE)? {
        Some(stat) if stat.st_mode & 0o077 != 0 || stat.st_uid != own => {
            Ok(files::secure(root.dir(), FILE.as_ref(), |_| own)?)
        }
        _ => Ok(()),
    }
}

impl Locked {
    /// Locks a root and reads its registry.
    pub fn open(root: Root, timeout: Duration, by: By) -> Result<Locked> {
        let lock = lock_root(&root, timeout, &by.command)?;
        let registry = super::load::load(&root)?;
        Ok(Locked::over(root, registry, by, lock))
    }

    /// A locked root with this registry, which may be another than the file holds: only [`Locked::replace`] writes it then.
    pub fn over(root: Root, registry: Registry, by: By, lock: FileLock) -> Locked {
        let edited = registry.was_edited();
        Locked { root, registry, by, edited, lock }
    }

    /// Makes the registry of a new root, under its lock.
    pub fn create(root: Root, registry: Registry, by: By, lock: FileLock) -> Result<Locked> {
        let locked = Locked { root, registry, by, edited: false, lock };
        let settings = Change::Settings(locked.registry.settings.clone());
        let mut made = history::before(&locked.registry, &[settings])?;
        made.iter_mut().for_each(|change| change.after = change.before.take());
        history::append(&locked.root, &locked.entry(made, Note::STORAGE))?;
        files::replace(locked.root.dir(), FILE, &locked.registry.render(), own(&locked.root)?)?;
        Ok(locked)
    }

    /// Applies the changes and replaces the file: draft, sync, link of the old one, line of the history, rename, sync
    /// of the directory, link of the new one. Until the rename, nothing has changed. Changes
    /// that leave every record as it is write nothing.
    pub fn commit(&mut self, changes: &[Change], note: Note) -> Result<()> {
        let before = history::before(&self.registry, changes)?;
        for change in changes {
            self.registry.apply(change);
        }
        let changed = history::after(&self.registry, before)?;
        if changed.is_empty() {
            return Ok(());
        }
        if self.root.dir().stat(FILE)?.is_none() {
            return Err(Error::registry(format!("{} has gone", self.root.file().display())));
        }
        self.publish(changed, note, backups::keep)
    }

    /// Puts another registry in the place of the whole file, with all that is in it but generation and time, which go on
    /// from the ones of `self.registry`. The file stays as a backup; it may be missing, or `broken`.
    pub fn replace(&mut self, with: Registry, changed: Vec<Changed>, note: Note, broken: bool) -> Result<()> {
        let generation = self.registry.header.generation;
        self.registry = with;
        self.registry.header.generation = generation;
        let keep = match self.root.dir().stat(FILE)? {
            None => |_: &Root, _, _| Ok(()),
            Some(_) if broken => backups::set_aside,
            Some(_) => backups::keep,
        };
        self.publish(changed, note, keep)
    }

    fn publish(
        &mut self,
        changed: Vec<Changed>,
        note: Note,
        keep: fn(&Root, u64, Timestamp) -> Result<()>,
    ) -> Result<()> {
        let replaced = self.registry.header.generation;
        let time = now();
        self.registry.next_generation(time)?;
        files::write_draft(self.root.dir(), FILE, &self.registry.render(), own(&self.root)?)?;
        let entry = self.entry(changed, note);
        secure(&self.root)
            .and_then(|()| keep(&self.root, replaced, time))
            .and_then(|()| history::append(&self.root, &entry))
            .inspect_err(|_| {
                let _ = self.root.dir().remove_file(files::draft_name(FILE));
            })?;
        files::publish_draft(self.root.dir(), FILE)?;
        self.edited = false;
        // So that the last change too comes back when the file is lost. It is committed without its backup as well.
        let _ = backups::keep(&self.root, self.registry.header.generation, time);
        Ok(())
    }

    /// The line of the history for the registry as it is in memory.
    fn entry(&self, changes: Vec<Changed>, note: Note) -> Entry {
        let By { actor, login, command } = self.by.clone();
        Entry {
            generation: self.registry.header.generation,
            time: self.registry.header.updated_at,
            actor,
            login,
            host: process::hostname(),
            command,
            storage: note.storage,
            edited: self.edited,
            undoes: note.undoes,
            changes,
        }
    }

    /// Gives root and registry back, without the lock.
    pub fn unlock(self) -> (Root, Registry) {
        let _ = self.lock.file().set_len(0);
        (self.root, self.registry)
    }
}
