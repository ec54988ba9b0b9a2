//! The directories of a volume against the registry: one pass over the directories of vfadm's own in each scope.
//! Nothing below a folder's top is looked at.

use std::collections::BTreeSet;
use std::path::Path;

use nix::libc;
use nix::sys::stat::FileStat;
use uuid::Uuid;

use super::charges::mounted_over;
use super::found::{Found, Mend};
use super::known::Known;
use super::own;
use crate::domain::error::{Code, Error, Result};
use crate::domain::finding::Finding;
use crate::domain::quota::Folders;
use crate::domain::record::{Scope, Status, VFolder, Volume};
use crate::host::dir::Dir;
use crate::host::error::errno_name;
use crate::host::files;
use crate::host::process::{mount_of, own_mounts};
use crate::ops::State;
use crate::ops::layout::is_hex;
use crate::ops::resolve::Folder;
use crate::ops::scope::{self, Site};
use crate::ops::sidecar::note::{self, FolderNote};
use crate::plan::VolumeAt;
use crate::registry::Registry;
use crate::registry::root::PRIVATE;

/// Directories that a filesystem shows by itself.
const OF_THE_FILESYSTEM: [&str; 4] = [".snap", ".snapshot", ".zfs", "lost+found"];

/// How vfadm makes the directories of a scope.
const OWN_MODE: u32 = 0o700;

/// One volume.
pub struct Disk<'a> {
    pub(super) registry: &'a Registry,
    pub(super) known: &'a Known,
    pub(super) at: &'a VolumeAt,
    pub(super) found: &'a mut Vec<Found>,
    /// Whoever owns vfadm's own directories.
    own: u32,
    /// What was met, wherever it lies.
    pub(super) seen: BTreeSet<Uuid>,
}

/// A directory in the place of a folder.
struct Entry<'a> {
    id: Uuid,
    place: String,
    parent: &'a Dir,
    name: &'a str,
    stat: FileStat,
}

/// The scope that is looked through.
struct Under<'a> {
    site: &'a Site,
    top: Dir,
    /// What vfadm knows of each folder beside it.
    notes: Option<Dir>,
    present: BTreeSet<Uuid>,
    /// Found elsewhere in the scope, and can be put right.
    displaced: BTreeSet<Uuid>,
}

impl<'a> Disk<'a> {
    /// Looks through a volume. `sites` are its scopes that can be opened.
    pub fn look(
        state: &'a State<'_>,
        known: &'a Known,
        (at, volume): (&'a VolumeAt, &Volume),
        sites: &[(Site, Scope)],
        found: &'a mut Vec<Found>,
    ) -> Result<()> {
        let top = at.open()?;
        let own = own_uid(&top)?;
        let mut disk = Disk { registry: state.registry, known, at, found, own, seen: BTreeSet::new() };
        let notes = top.stat(PRIVATE)?.map(|_| top.open_dir(PRIVATE)).transpose()?;
        let mut looked_at = BTreeSet::new();
        let mut seen = Vec::new();
        for (site, record) in sites {
            looked_at.insert(site.place.dir.clone());
            match disk.scope(site, notes.as_ref()) {
                Ok(()) => seen.push((site, record)),
                Err(error) => disk.unreadable_scope(site, error)?,
            }
        }
        // A sidecar may be of what was met in another scope.
        for (site, record) in seen {
            if let Err(error) = disk.notes_of_scope(notes.as_ref(), site, record) {
                disk.unreadable_scope(site, error)?;
            }
        }
        let dirs = disk.other_scopes(&top, notes.as_ref(), &looked_at)?;
        disk.left_notes(notes.as_ref(), &dirs, volume)?;
        disk.marker(&top, volume)?;
        disk.found.extend(own::files(&top, own)?);
        Ok(())
    }

    /// What cannot be read in one scope keeps nothing from being found in the others.
    fn unreadable_scope(&mut self, site: &Site, error: Error) -> Result<()> {
        if error.code != Code::Storage {
            return Err(error);
        }
        let finding = Finding::error(
            "scope_unreadable",
            format!("quota scope {}", site.key()),
            format!("{}: the rest of it was not looked at", error.message),
        );
        self.found.push(Found::by_hand(finding.repair("see what is there; then look again")));
        Ok(())
    }

    /// Looks through one scope.
    fn scope(&mut self, site: &Site, notes: Option<&Dir>) -> Result<()> {
        let top = site.place.open()?;
        let notes = note::of_scope(notes, &site.place.dir)?;
        let mut under = Under {
            site,
            notes,
            top: top.try_clone()?,
            present: BTreeSet::new(),
            displaced: BTreeSet::new(),
        };
        self.access(&under, &top, "")?;
        for name in top.names()? {
            match name.to_str() {
                Some(area @ (".staging" | ".trash")) => self.area(&mut under, area)?,
                Some(first) if is_hex(first, 2) => self.shelf(&mut under, first)?,
                Some(name) if OF_THE_FILESYSTEM.contains(&name) => {}
                _ => self.stray(top.join(&name), "is no directory of vfadm's"),
            }
        }
        self.missing(&under)
    }

    /// Opens one of vfadm's own directories; something else in its place is a finding.
    fn own_dir(&mut self, under: &Under<'_>, place: &str) -> Result<Option<Dir>> {
        match under.top.open_beneath(Path::new(place)) {
            Ok(dir) => {
                self.access(under, &dir, place)?;
                Ok(Some(dir))
            }
            Err(error) => match error.errno() {
                Some(libc::ENOENT) => Ok(None),
                Some(errno @ (libc::ENOTDIR | libc::ELOOP | libc::EXDEV)) => {
                    let why = format!("is no directory of vfadm's ({})", errno_name(errno));
                    self.stray(under.top.join(place), &why);
                    Ok(None)
                }
                _ => Err(error.into()),
            },
        }
    }

    /// `aa/bb/` and the folders in it.
    fn shelf(&mut self, under: &mut Under<'_>, first: &str) -> Result<()> {
        let Some(outer) = self.own_dir(under, first)? else { return Ok(()) };
        for name in outer.names()? {
            let Some(second) = name.to_str().filter(|name| is_hex(name, 2)) else {
                self.stray(outer.join(&name), "is no directory of vfadm's");
                continue;
            };
            let shelf = format!("{first}/{second}");
            let Some(inner) = self.own_dir(under, &shelf)? else { continue };
            for name in inner.names()? {
                let rest = name.to_str().filter(|name| is_hex(name, 28));
                let id = rest.and_then(|rest| Uuid::parse_str(&format!("{first}{second}{rest}")).ok());
                match (rest, id) {
                    (Some(rest), Some(id)) => self.entry(under, id, &shelf, &inner, rest)?,
                    _ => self.stray(inner.join(&name), "is no vfolder"),
                }
            }
        }
        Ok(())
    }

    /// `.staging` or `.trash`.
    fn area(&mut self, under: &mut Under<'_>, area: &str) -> Result<()> {
        let Some(dir) = self.own_dir(under, area)? else { return Ok(()) };
        for name in dir.names()? {
            let text = name.to_str().unwrap_or_default();
            match is_hex(text, 32).then(|| Uuid::parse_str(text).ok()).flatten() {
                Some(id) => self.entry(under, id, area, &dir, text)?,
                None if self.is_workshop(text) => {}
                None => self.stray(dir.join(&name), "is no vfolder"),
            }
        }
        Ok(())
    }

    /// Where files are charged anew during a transfer; what one that was cut off left goes with the next.
    fn is_workshop(&self, name: &str) -> bool {
        let id = name.strip_prefix(".renewed-").and_then(|digits| Uuid::parse_str(digits).ok());
        id.is_some_and(|id| self.known.folder(id).is_some())
    }

    fn entry(
        &mut self,
        under: &mut Under<'_>,
        id: Uuid,
        above: &str,
        parent: &Dir,
        name: &str,
    ) -> Result<()> {
        // It may have gone since its name was read.
        let Some(stat) = parent.stat(name)? else { return Ok(()) };
        self.seen.insert(id);
        let entry = Entry { id, place: format!("{above}/{name}"), parent, name, stat };
        match self.known.folder(id) {
            Some(folder) => self.recorded(under, &entry, &folder.clone()),
            None if self.known.is_worked_on(id) => Ok(()),
            None => self.unrecorded(under, &entry),
        }
    }

    fn recorded(&mut self, under: &mut Under<'_>, entry: &Entry<'_>, folder: &Folder) -> Result<()> {
        let record = &folder.record;
        let here = folder.owner == under.site.place.owner && record.volume == self.at.name;
        if here && record.place() == entry.place {
            if !is_dir(&entry.stat) {
                return Ok(());
            }
            under.present.insert(entry.id);
            if record.status == Status::Purging {
                self.doubt(under.notes.as_ref(), &folder.key(), record);
            }
            // What is more than a directory is looked at once it has been opened.
            if self.at.folders == Folders::Directory {
                if entry.stat.st_dev != entry.parent.stat_self()?.st_dev
                    && let Some(over) = mounted_over(folder, &under.site.place.path().join(&entry.place))?
                {
                    self.found.push(over);
                    return Ok(());
                }
                self.folder_access(under, &folder.key(), record, &entry.stat);
            }
            return Ok(());
        }
        let arrives = record.transfer.as_ref().is_some_and(|transit| {
            (&transit.to, &transit.volume) == (&under.site.place.owner, &self.at.name)
                && entry.place.starts_with(".staging/")
        });
        if arrives || self.known.is_worked_on(entry.id) {
            return Ok(());
        }
        let key = folder.key();
        let path = under.top.join(&entry.place);
        let place = under.site.place.path().join(record.place());
        let free = here && under.site.place.lacks_folder(Path::new(&record.place()))?;
        if free && is_dir(&entry.stat) && record.is_half_done() && entry.place == record.home() {
            under.displaced.insert(entry.id);
            self.stands(&folder.key(), record);
            return Ok(());
        }
        let finding = Finding::error(
            "vfolder_misplaced",
            format!("vfolder {key}"),
            match here {
                true => format!("it is at {}, and has to be at {}", path.display(), place.display()),
                false => format!(
                    "something of its id is at {}, and the registry says that it is {}'s on '{}'",
                    path.display(),
                    folder.owner,
                    record.volume
                ),
            },
        );
        let found = match free && is_dir(&entry.stat) {
            true => {
                under.displaced.insert(entry.id);
                Found::mended(finding, Mend::Place { key, from: entry.place.clone() }, "moves it there")
            }
            false => Found::by_hand(finding.repair(format!(
                "see which of the two is the newer one, and move the other away from {}",
                path.display()
            ))),
        };
        self.found.push(found.about(entry.id));
        Ok(())
    }

    fn unrecorded(&mut self, under: &mut Under<'_>, entry: &Entry<'_>) -> Result<()> {
        let path = under.top.join(&entry.place);
        if !is_dir(&entry.stat) {
            self.stray(path, "is no vfolder");
            return Ok(());
        }
        let told = note::of_folder(under.notes.as_ref(), entry.id);
        let status = told.as_ref().map(|told| told.vfolder.status);
        let left = match entry.place.split('/').next() {
            // On its way to another owner, this may be all that there is of it.
            Some(".staging") if !told.as_ref().is_some_and(FolderNote::is_finished) => Some("staging_left"),
            Some(".trash") if status.is_none_or(|status| status == Status::Purging) => Some("trash_left"),
            _ => None,
        };
        let scope = under.site.key();
        let subject = path.display().to_string();
        self.found.push(match left {
            Some(code) => {
                let message = match (code, &told) {
                    ("staging_left", Some(told)) => format!("it was to be {}, and was not finished", told.key()),
                    ("staging_left", None) => {
                        "nothing says what it is: most likely a copy that was cut off".to_owned()
                    }
                    (_, Some(told)) => format!("it was {}, which was being purged", told.key()),
                    (_, None) => "it was deleted, and nothing says what it was".to_owned(),
                };
                let mend = Mend::Remove { scope, place: entry.place.clone(), id: entry.id };
                Found::mended(Finding::warning(code, subject, message).losing(), mend, "removes it for good")
            }
            None => {
                let name = told.as_ref().map(|told| format!(" ({})", told.key())).unwrap_or_default();
                let message = format!("the registry has no such vfolder{name}");
                let finding = Finding::error("vfolder_unrecorded", subject, message);
                let going = told.as_ref().and_then(|told| told.vfolder.transfer.as_ref());
                let going = going.filter(|transit| transit.copied && !entry.place.starts_with(".staging/"));
                let found = match (self.opens(under, entry), going) {
                    (true, Some(transit)) => Found::by_hand(finding.repair(format!(
                        "it had been copied to {} on '{}', and was being removed: the whole one is there, in .staging",
                        transit.to, transit.volume
                    ))),
                    (true, None) => {
                        let mend = Mend::Adopt { scope, place: entry.place.clone() };
                        Found::mended(finding, mend, "records it")
                    }
                    (false, _) => Found::by_hand(finding.repair(format!(
                        "it is not the {} that a vfolder is on '{}': copy what is in it into one, and remove it",
                        self.at.folders.name(),
                        self.at.name
                    ))),
                };
                found.about(entry.id)
            }
        });
        Ok(())
    }

    fn opens(&self, under: &Under<'_>, entry: &Entry<'_>) -> bool {
        let opened = self.at.driver().open_folder(&under.site.place.at(), entry.parent, entry.name.as_ref());
        let is_subvolume = || entry.stat.st_ino == SUBVOLUME;
        opened.is_ok() && (self.at.folders != Folders::Subvolume || is_subvolume())
    }

    /// Folders of the registry that were not met in this scope.
    fn missing(&mut self, under: &Under<'_>) -> Result<()> {
        let place = &under.site.place;
        let mut opened = Vec::new();
        for (key, folder) in scope::folders(self.registry, &place.owner, &self.at.name)? {
            let at = folder.place();
            let met = under.present.contains(&folder.id);
            let error = match (met, self.at.folders) {
                (true, Folders::Directory) => None,
                _ => match place.open_folder_in(&under.top, Path::new(&at)) {
                    Ok(dir) => {
                        self.folder_access(under, &key, &folder, &dir.stat_self()?);
                        if !self.known.is_worked_on(folder.id) {
                            opened.push((key.clone(), folder.clone()));
                        }
                        None
                    }
                    Err(error) => Some(error),
                },
            };
            let Some(error) = error else { continue };
            let transit = folder.transfer.as_ref();
            if folder.status == Status::Purging
                || folder.clone.is_some()
                // Once it has been copied, the original is removed bit by bit.
                || transit.is_some_and(|transit| transit.copied)
                || under.displaced.contains(&folder.id)
            {
                continue;
            }
            let gone = !met && transit.is_none() && place.lacks_folder(Path::new(&at))?;
            self.found.push(match gone {
                true => {
                    let message = format!("there is nothing at {}", under.top.join(&at).display());
                    Found::forgotten(key, folder.id, message)
                }
                false => {
                    let finding = Finding::error("vfolder_missing", format!("vfolder {key}"), error.message);
                    let repair = "see what is in its place, move that away, and put the vfolder back";
                    Found::by_hand(finding.repair(repair)).about(folder.id)
                }
            });
        }
        self.charges(place, &opened)
    }

    /// One of vfadm's own directories, which nobody else may pass.
    fn access(&mut self, under: &Under<'_>, dir: &Dir, place: &str) -> Result<()> {
        let stat = dir.stat_self()?;
        let mode = stat.st_mode & 0o7777;
        if stat.st_uid == self.own && mode & 0o777 == OWN_MODE {
            return Ok(());
        }
        let scope = under.site.key();
        let finding = Finding::error(
            "scope_access",
            format!("quota scope {scope}"),
            format!(
                "{} is of uid {} with the mode {mode:04o}: it has to be of uid {} with {OWN_MODE:04o}",
                dir.path().display(),
                stat.st_uid,
                self.own
            ),
        );
        let (from, to) = ((stat.st_uid, stat.st_gid, mode), (self.own, files::own_gid(), OWN_MODE));
        let mend = Mend::Access { scope, place: place.to_owned(), folder: false, from, to };
        self.found.push(Found::mended(finding, mend, "sets both"));
        Ok(())
    }

    /// The tenant may change the mode of the folder's top as of any other directory, as long as sessions can use it.
    fn folder_access(&mut self, under: &Under<'_>, key: &str, folder: &VFolder, stat: &FileStat) {
        let settings = &self.registry.settings;
        let (uid, gid, mode) = (stat.st_uid, stat.st_gid, stat.st_mode & 0o7777);
        let fits = (uid, gid) == (settings.uid, settings.gid) && mode & 0o700 == 0o700;
        if fits || folder.status != Status::Ready {
            return;
        }
        let finding = Finding::error(
            "vfolder_access",
            format!("vfolder {key}"),
            format!(
                "it is of {uid}:{gid} with the mode {mode:04o}; sessions run as {}:{}, and need 0700 of it",
                settings.uid, settings.gid
            ),
        );
        let (from, to) = ((uid, gid, mode), (settings.uid, settings.gid, mode | 0o700));
        let mend = Mend::Access { scope: under.site.key(), place: folder.place(), folder: true, from, to };
        self.found.push(Found::mended(finding, mend, "gives it to them").about(folder.id));
    }

    pub(super) fn stray(&mut self, path: impl AsRef<Path>, what: &str) {
        let finding = Finding::warning("stray_entry", path.as_ref().display().to_string(), what);
        self.found.push(Found::by_hand(finding.repair("see what it is, and move it away")));
    }
}

/// The inode of the root of a btrfs subvolume.
const SUBVOLUME: u64 = 256;

/// Root; a server that squashes root makes the directories somebody else's.
fn own_uid(top: &Dir) -> Result<u32> {
    let mounts = own_mounts()?;
    let squashes = mount_of(&mounts, top.path()).is_some_and(|mount| mount.filesystem.starts_with("nfs"));
    let private = if squashes { top.stat(PRIVATE)? } else { None };
    Ok(private.map_or_else(files::own_uid, |stat| stat.st_uid))
}

pub(super) fn is_dir(stat: &FileStat) -> bool {
    stat.st_mode & libc::S_IFMT == libc::S_IFDIR
}
