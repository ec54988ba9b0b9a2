//! A change under way, on disk: whoever finds it without its worker can undo or finish it.

use std::collections::BTreeSet;
use std::io::{Seek, SeekFrom, Write};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::step::{Effects, Step};
use super::volume::VolumeAt;
use crate::domain::error::{Error, Result};
use crate::domain::record::{Scope, Status, VFolder, Volume};
use crate::host::dir::{Dir, create_file};
use crate::host::files;
use crate::host::lock::FileLock;
use crate::host::process;
use crate::quota;
use crate::registry::store::{Locked, now};
use crate::registry::{Change, Note, Registry, Root};

const FOLDER: &str = "intents";
const MOST_BYTES: u64 = 64 << 20;

/// What is recorded of a change.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Record {
    /// The command line.
    pub command: String,
    /// Where the worker runs.
    pub host: String,
    /// Which boot of that host.
    pub boot_id: String,
    /// The worker.
    pub pid: u32,
    /// When it began.
    pub since: Timestamp,
    /// The registry's generation before the commit: a higher one means that the change is in force.
    pub generation: u64,
    /// Set once somebody has begun to undo it (or to finish it), because the generation goes on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decided: Option<Decision>,
    /// The folder that long work is done on; only running the command again finishes that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub long_work_on: Option<Uuid>,
    /// What comes before the commit.
    pub steps: Vec<Step>,
    /// What comes after it.
    pub after: Vec<Step>,
}

/// How an abandoned change ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Decision {
    /// It was not committed.
    Undo,
    /// It was.
    Finish,
}

/// An intent whose worker is this process. The file is locked for as long as this lives.
pub struct Intent {
    folder: Dir,
    name: String,
    record: Record,
    lock: FileLock,
}

impl Intent {
    /// Makes an intent durable.
    pub fn begin(
        root: &Root,
        command: &str,
        generation: u64,
        long_work_on: Option<Uuid>,
        steps: &[Step],
        after: &[Step],
    ) -> Result<Intent> {
        if let Some(folder) = long_work_on {
            forget_long_work(root, folder)?;
        }
        let record = Record {
            command: command.to_owned(),
            host: process::hostname(),
            boot_id: process::boot_id().to_owned(),
            pid: process::own_pid(),
            since: now(),
            generation,
            decided: None,
            long_work_on,
            steps: steps.to_vec(),
            after: after.to_vec(),
        };
        let folder = root.private(FOLDER)?;
        let name = format!("{}.yaml", Uuid::new_v4().simple());
        let file = create_file(&folder, &name, 0o600)?;
        let lock = FileLock::try_lock(file)
            .map_err(|_| Error::storage(format!("cannot lock {}", folder.join(&name).display())))?;
        let intent = Intent { folder, name, record, lock };
        if let Err(error) = intent.write() {
            let _ = intent.end();
            return Err(error);
        }
        Ok(intent)
    }

    fn write(&self) -> Result<()> {
        let text = serde_json::to_string(&self.record)
            .map_err(|e| Error::storage(format!("cannot write an intent: {e}")))?;
        let failed = |e| crate::host::Error::path("write", self.folder.join(&self.name), e);
        let mut file = self.lock.file();
        file.seek(SeekFrom::Start(0)).map_err(failed)?;
        file.set_len(0).map_err(failed)?;
        file.write_all(format!("{text}\n").as_bytes()).map_err(failed)?;
        file.sync_all().map_err(failed)?;
        Ok(self.folder.sync()?)
    }

    /// The change is complete, or wholly undone.
    pub fn end(self) -> Result<()> {
        self.folder.remove_file(&self.name)?;
        Ok(())
    }

    /// The change is in force: what cannot be taken away of its intent is a warning, and is by the next command.
    pub fn end_in_force(self) -> Option<String> {
        let left = self.end().err()?;
        Some(format!("{left}; the next command that changes something does"))
    }

    fn decide(&mut self, decision: Decision) -> Result<()> {
        self.record.decided = Some(decision);
        self.write()
    }
}

/// The long work that somebody does on a folder; looks only.
pub fn long_work_on(root: &Root, folder: Uuid) -> Result<Option<Box<Record>>> {
    let is_it = |found| match found {
        Found::Running(record) if record.long_work_on == Some(folder) => Some(record),
        _ => None,
    };
    Ok(abandoned_or_running(root)?.into_iter().find_map(is_it))
}

/// Takes away what dead workers left of work on a folder.
fn forget_long_work(root: &Root, folder: Uuid) -> Result<()> {
    for found in abandoned_or_running(root)? {
        if let Found::Abandoned(intent) = found
            && intent.record.long_work_on == Some(folder)
        {
            intent.end()?;
        }
    }
    Ok(())
}

enum Found {
    Abandoned(Box<Intent>),
    Running(Box<Record>),
    /// It was never whole, so no step of it was begun.
    Torn(Dir, String),
    Unreadable(std::path::PathBuf),
    /// No file at all.
    Stray(std::path::PathBuf),
}

fn abandoned_or_running(root: &Root) -> Result<Vec<Found>> {
    let Some(folder) = root.private_if_there(FOLDER)? else { return Ok(Vec::new()) };
    let mut found = Vec::new();
    let mut names = folder.names()?;
    names.sort();
    for name in names {
        let Some(name) = name.to_str().map(str::to_owned) else { continue };
        if !folder.is_file_or_nothing(&name)? {
            found.push(Found::Stray(folder.join(&name)));
            continue;
        }
        let Some(file) = files::open_existing(&folder, &name)? else { continue };
        let text = files::read(&folder, &name, MOST_BYTES)?.unwrap_or_default();
        let record = serde_json::from_slice::<Record>(&text);
        match (FileLock::try_lock(file), record) {
            (Ok(lock), Ok(record)) => {
                found.push(Found::Abandoned(Box::new(Intent {
                    folder: folder.try_clone()?,
                    name,
                    record,
                    lock,
                })));
            }
            (Ok(_), Err(_)) if !text.ends_with(b"}\n") => found.push(Found::Torn(folder.try_clone()?, name)),
            // Another version of vfadm wrote it, and knows what to do with it.
            (Ok(_), Err(_)) => found.push(Found::Unreadable(folder.join(&name))),
            (Err(_), Ok(record)) => found.push(Found::Running(Box::new(record))),
            (Err(_), Err(_)) => {}
        }
    }
    Ok(found)
}

/// Undoes or finishes the short changes of workers that have died. What cannot be ended (a volume that is not
/// mounted here) is left, and told as a warning; where the registry has none of its volumes any more, it is told and dropped.
pub fn recover(locked: &mut Locked) -> Result<Vec<String>> {
    let mut warnings = Vec::new();
    for found in abandoned_or_running(&locked.root)? {
        let mut intent = match found {
            Found::Abandoned(intent) => intent,
            Found::Running(_) => continue,
            Found::Torn(folder, name) => {
                folder.remove_file(&name)?;
                continue;
            }
            Found::Stray(path) => {
                warnings.push(format!("{} is no intent: see what it is, and move it away", path.display()));
                continue;
            }
            Found::Unreadable(path) => {
                warnings.push(format!(
                    "{} was left by another version of vfadm, and only that can end it",
                    path.display()
                ));
                continue;
            }
        };
        if let Some(folder) = intent.record.long_work_on {
            // The work was done when its worker died: only the intent is left.
            if !is_under_way(&locked.registry, folder)? {
                intent.end()?;
            }
            continue;
        }
        if let Err(error) = end_abandoned(locked, &mut intent) {
            if let Some(left) = left_on_removed_volumes(&locked.registry, &intent.record)? {
                warnings.push(left);
                intent.end()?;
                continue;
            }
            let Record { command, host, since, .. } = &intent.record;
            warnings.push(format!(
                "'{command}' was cut off on {host} at {since}, and cannot be tidied up from here: {error}"
            ));
            continue;
        }
        restore_limits(&locked.registry, &intent.record.steps);
        intent.end()?;
    }
    Ok(warnings)
}

/// What may be left of a change that was cut off, as a warning, where nobody has to end it any more: all that it did is on
/// volumes of this registry that have been taken out of it since.
fn left_on_removed_volumes(registry: &Registry, record: &Record) -> Result<Option<String>> {
    // What was not in force is undone, what was is finished.
    let steps = if record.decided == Some(Decision::Finish) { &record.after } else { &record.steps };
    let known = registry.all::<Volume>()?;
    let is_removed = |at: &VolumeAt| {
        at.registry == registry.header.registry && known.iter().all(|(_, volume)| volume.id != at.id)
    };
    let mut volumes = BTreeSet::new();
    for step in record.steps.iter().chain(&record.after) {
        let Some(of_step) = step.volumes() else { return Ok(None) };
        if !of_step.iter().all(|at| is_removed(at)) {
            return Ok(None);
        }
        volumes.extend(of_step.iter().map(|at| format!("'{}' ({})", at.name, at.path.display())));
    }
    if volumes.is_empty() {
        return Ok(None);
    }
    let Record { command, host, since, .. } = record;
    let volumes: Vec<String> = volumes.into_iter().collect();
    let steps: Vec<String> = steps.iter().map(Step::describe).collect();
    Ok(Some(format!(
        "'{command}' was cut off on {host} at {since}, and is forgotten: it was about {}, which the registry no longer \
         has; there may be left what it had begun to do: {}",
        volumes.join(" and "),
        steps.join("; ")
    )))
}

/// The same before a registry that was lost is brought back, from what the intents themselves say: those of a change that
/// `committed`, the highest generation known to have been in force, does not include are undone.
pub fn settle(root: &Root, committed: u64) -> Result<Vec<String>> {
    let mut warnings = Vec::new();
    for found in abandoned_or_running(root)? {
        let Found::Abandoned(intent) = found else { continue };
        let record = &intent.record;
        if record.long_work_on.is_some() {
            continue;
        }
        let undone = record.decided.map_or(committed <= record.generation, |d| d == Decision::Undo);
        let ended = match undone {
            true => undo(&record.steps),
            false => record.after.iter().try_for_each(|step| step.run(&mut Effects::default())),
        };
        match ended {
            Ok(()) => intent.end()?,
            Err(error) => warnings.push(format!(
                "'{}' was cut off on {} at {}, and cannot be tidied up from here: {error}",
                record.command, record.host, record.since
            )),
        }
    }
    Ok(warnings)
}

/// The names of the intents of short changes that somebody is making; looks only.
pub fn short_work(root: &Root) -> Result<Vec<String>> {
    let Some(folder) = root.private_if_there(FOLDER)? else { return Ok(Vec::new()) };
    let mut running = Vec::new();
    for name in folder.names()?.into_iter().filter_map(|name| name.into_string().ok()) {
        if !folder.is_file_or_nothing(&name)? {
            continue;
        }
        let Some(file) = files::open_existing(&folder, &name)? else { continue };
        let text = files::read(&folder, &name, MOST_BYTES)?.unwrap_or_default();
        let long = serde_json::from_slice::<Record>(&text).is_ok_and(|record| record.long_work_on.is_some());
        if !long && FileLock::try_lock(file).is_err() {
            running.push(name);
        }
    }
    Ok(running)
}

/// The long work that somebody is doing; looks only.
pub fn at_work(root: &Root) -> Result<Vec<Record>> {
    let running = |found| match found {
        Found::Running(record) if record.long_work_on.is_some() => Some(*record),
        _ => None,
    };
    Ok(abandoned_or_running(root)?.into_iter().filter_map(running).collect())
}

fn is_under_way(registry: &Registry, folder: Uuid) -> Result<bool> {
    for key in registry.find_text::<VFolder>(&folder.to_string()) {
        let record: VFolder = registry.require(&key)?;
        if record.id == folder && matches!(record.status, Status::Purging | Status::Copying) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// A command that made or moved a folder of a full scope may have left its limit raised. What cannot be put right here
/// is found by a check.
fn restore_limits(registry: &Registry, steps: &[Step]) {
    let scopes = steps.iter().flat_map(|step| match step {
        Step::MakeFolder { scope, .. } | Step::MoveFolder { scope, .. } => vec![scope],
        Step::HandOver { from, to, .. } | Step::Snapshot { from, to, .. } => vec![&**from, &**to],
        _ => Vec::new(),
    });
    for scope in scopes {
        if let Ok(Some(record)) = registry.get::<Scope>(&scope.name())
            && record.present
            && scope.open().is_ok()
        {
            let _ = quota::ensure_limit(&*scope.volume.driver(), &scope.at(), record.limit);
        }
    }
}

fn end_abandoned(locked: &mut Locked, intent: &mut Intent) -> Result<()> {
    let committed = locked.registry.header.generation > intent.record.generation;
    let decision = match intent.record.decided {
        Some(decision) => decision,
        None => {
            let decision = if committed { Decision::Finish } else { Decision::Undo };
            intent.decide(decision)?;
            decision
        }
    };
    match decision {
        Decision::Undo => undo(&intent.record.steps),
        Decision::Finish => {
            let mut effects = Effects::default();
            intent.record.after.iter().try_for_each(|step| step.run(&mut effects))?;
            super::commit_effects(locked, Vec::<Change>::new(), &effects, Note::STORAGE)
        }
    }
}

/// Undoes steps, last first. All are tried; the first failure is returned.
pub fn undo(steps: &[Step]) -> Result<()> {
    let mut result = Ok(());
    for step in steps.iter().rev() {
        let undone = step.undo();
        if result.is_ok() {
            result = undone;
        }
    }
    result
}

/// What lies between the intents and can be ended by nobody here; looks only.
pub fn strays(root: &Root) -> Result<Vec<std::path::PathBuf>> {
    let stray = |found| match found {
        Found::Unreadable(path) | Found::Stray(path) => Some(path),
        _ => None,
    };
    Ok(abandoned_or_running(root)?.into_iter().filter_map(stray).collect())
}

/// The changes that were cut off, but for long work that has yet to be gone on with: that is seen by the status of its
/// folder. Looks only.
pub fn left_behind(root: &Root, registry: &Registry) -> Result<Vec<Record>> {
    let mut left = Vec::new();
    for found in abandoned_or_running(root)? {
        let Found::Abandoned(intent) = found else { continue };
        let under_way = intent.record.long_work_on.map(|folder| is_under_way(registry, folder));
        if !under_way.transpose()?.unwrap_or_default() {
            left.push(intent.record);
        }
    }
    Ok(left)
}
