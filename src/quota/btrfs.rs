//! btrfs qgroups. The limit of a scope is on a qgroup of level 1, `1/N`, whose members are the scope's subvolumes.
//!
//! What the kernel does, as tried on 6.18 with simple quotas:
//! * A subvolume that is made with `1/N` is charged there from its first byte; one that a tenant makes inside a
//!   folder joins `1/N` too.
//! * A removed subvolume is freed after the next commit (30 s, or at once after a sync), and when nothing in it is
//!   open any more. Until then it keeps its qgroup `0/X` and its charge, and `1/N` cannot be destroyed (`EBUSY`).
//! * When it has been freed, the kernel destroys `0/X`, unless extents that it wrote live on in a snapshot or a
//!   reflink. Then `0/X` stays charged in `1/N`, and remains with 0 bytes after the last of them has gone: it has to
//!   be destroyed by hand, and so has every `0/X` on kernels that do not do it themselves. [`sweep`] does.
//! * In a full scope a folder can be moved and removed, for the scope's directory is outside the limit; what is
//!   inside of a folder's subvolume cannot be changed by root either ([`room`]).

mod audit;
mod handover;
mod inner;
mod mode;
mod room;
mod snapshot;
pub(super) mod subvolume;

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::libc;

use super::{
    Capacity, Escape, Handover, PlaceIn, QuotaDriver, Readiness, Reading, Removal, ScopeAt, Uncharged, plain,
};
use crate::domain::error::{Error, Result};
use crate::domain::quota::{DriverKind, Enforcement, Folders};
use crate::host::btrfs::qgroups::{Mode, Qgroups, number};
use crate::host::btrfs::{self, Destroyed, search};
use crate::host::dir::Dir;
use crate::host::{self, Error as HostError};
use crate::tree::Progress;
use room::Charged;

/// The driver of btrfs volumes. Any directory of the filesystem can be a volume.
pub struct Btrfs;

/// How long the removal of a scope waits for the kernel to free what was in it.
const DRAIN_STEP: Duration = Duration::from_millis(5);
const DRAIN_STEPS: u32 = 20;

fn qgroup(scope: &ScopeAt<'_>) -> Result<u64> {
    match scope.kernel_id {
        Some(id) => Ok(number(1, id)),
        None => Err(Error::storage(format!("the quota scope {} has no qgroup number", scope.dir))
            .hint("see: vfadm volume check")),
    }
}

fn charged<'a>(volume: &'a Dir, scope: &ScopeAt<'a>) -> Result<Charged<'a>> {
    Ok(Charged { volume, dir: scope.dir, qgroup: qgroup(scope)? })
}

/// A subvolume that would not be counted must not be made: the kernel passes over a qgroup that is not there.
fn require_qgroup(dir: &Dir, qgroup: u64) -> Result<()> {
    if Qgroups::of(dir)?.exists(qgroup)? {
        return Ok(());
    }
    Err(Error::storage(format!(
        "qgroup 1/{} is missing on the filesystem of {}",
        id_of(qgroup),
        dir.path().display()
    ))
    .hint("vfadm check --repair makes it again"))
}

/// The id of a qgroup in its level.
fn id_of(qgroup: u64) -> u64 {
    qgroup & ((1 << 48) - 1)
}

fn make_subvolume(parent: &Dir, name: &OsStr, qgroup: u64) -> Result<()> {
    require_qgroup(parent, qgroup)?;
    btrfs::subvolume_create(parent, name, Some(qgroup)).map_err(explain_full)?;
    // The umask gave the mode; nobody but root passes the scope's directory meanwhile.
    let made = parent.open_dir(name).and_then(|dir| dir.set_mode(plain::SCOPE_MODE));
    made.map_err(|e| {
        let _ = parent.remove_dir(name);
        explain_full(e)
    })
}

fn explain_full(error: HostError) -> Error {
    let full = error.errno() == Some(libc::EDQUOT);
    let error = Error::from(error);
    match full {
        true => error.hint("the quota scope is full: raise its limit (vfadm quota set), or delete something"),
        false => error,
    }
}

/// Destroys the qgroups of members of `qgroup` whose subvolumes are gone, as far as nothing is charged to them.
fn sweep(volume: &Dir, qgroup: u64) -> host::Result<()> {
    for member in Qgroups::of(volume)?.members(qgroup)? {
        if member >> 48 == 0 && !search::subvolume_exists(volume, member)? {
            btrfs::qgroup_destroy(volume, member)?;
        }
    }
    Ok(())
}

fn drain(volume: &Dir, qgroup: u64) -> host::Result<Removal> {
    sweep(volume, qgroup)?;
    Ok(match btrfs::qgroup_destroy(volume, qgroup)? {
        Destroyed::Gone => Removal::Gone,
        Destroyed::Busy => Removal::Draining,
    })
}

/// The scope of plain directories: one subvolume for all of them.
fn prepare_subvolume(volume: &Dir, name: &str, qgroup: u64) -> Result<()> {
    if volume.stat(name)?.is_none() {
        make_subvolume(volume, OsStr::new(name), qgroup)?;
    }
    let dir = volume.open_dir(name)?;
    // A crash may have come between the subvolume and its mode.
    dir.set_mode(plain::SCOPE_MODE)?;
    require_member(&dir, qgroup)
}

/// A plain directory is charged to the qgroups of the subvolume that it is in.
fn require_member(dir: &Dir, qgroup: u64) -> Result<()> {
    let subvolume = btrfs::subvolume_id(dir)?;
    if Qgroups::of(dir)?.members(qgroup)?.contains(&subvolume) {
        return Ok(());
    }
    let path = dir.path().display();
    Err(Error::storage(format!("{path} is not charged to its quota scope")).hint("see: vfadm check"))
}

impl QuotaDriver for Btrfs {
    fn kind(&self) -> DriverKind {
        DriverKind::Btrfs
    }

    fn default_folders(&self) -> Folders {
        Folders::Subvolume
    }

    fn supports(&self, folders: Folders) -> bool {
        matches!(folders, Folders::Subvolume | Folders::Directory)
    }

    fn wants_kernel_id(&self) -> bool {
        true
    }

    fn inspect(&self, volume: &Path) -> Result<Readiness> {
        let dir = plain::open_volume(volume)?;
        if !btrfs::is_btrfs(&dir)? {
            return Ok(Readiness::Unable {
                reason: format!("{} is not on btrfs", volume.display()),
                remedy: "give a directory on a mounted btrfs filesystem, or another quota driver".to_owned(),
            });
        }
        Ok(mode::decide(volume, mode::facts(&dir)?))
    }

    fn enable(&self, volume: &Path) -> Result<()> {
        Ok(mode::enable(&plain::open_volume(volume)?)?)
    }

    fn enforcement(&self, volume: &Path) -> Result<(Enforcement, Option<String>)> {
        let dir = plain::open_volume(volume)?;
        Ok(mode::enforcement(volume, Qgroups::of(&dir)?.mode()?))
    }

    fn kernel_id_is_free(&self, volume: &Path, id: u64) -> Result<bool> {
        let dir = plain::open_volume(volume)?;
        Ok(!Qgroups::of(&dir)?.exists(number(1, id))?)
    }

    fn number_of(&self, scope: &ScopeAt<'_>, folders: &[PathBuf]) -> Result<Option<u64>> {
        handover::number_of(scope, folders)
    }

    fn prepare_scope(&self, scope: &ScopeAt<'_>) -> Result<()> {
        let volume = plain::open_volume(scope.volume)?;
        let qgroup = qgroup(scope)?;
        btrfs::qgroup_create(&volume, qgroup)?;
        if scope.folders == Folders::Directory {
            return prepare_subvolume(&volume, scope.dir, qgroup);
        }
        Ok(plain::prepare_scope(&volume, scope.dir)?)
    }

    fn remove_scope(&self, scope: &ScopeAt<'_>) -> Result<Removal> {
        let volume = plain::open_volume(scope.volume)?;
        plain::remove_scope(&volume, scope.dir)?;
        let qgroup = qgroup(scope)?;
        for step in 0..DRAIN_STEPS {
            match drain(&volume, qgroup)? {
                Removal::Gone => return Ok(Removal::Gone),
                // Freed after a commit: on a quiet filesystem within a few milliseconds.
                Removal::Draining if step == 0 => btrfs::start_sync(&volume)?,
                Removal::Draining => {}
            }
            std::thread::sleep(DRAIN_STEP);
        }
        Ok(Removal::Draining)
    }

    fn drain(&self, scope: &ScopeAt<'_>) -> Result<Removal> {
        Ok(drain(&plain::open_volume(scope.volume)?, qgroup(scope)?)?)
    }

    fn set_limit(&self, scope: &ScopeAt<'_>, limit: Option<u64>) -> Result<()> {
        let volume = plain::open_volume(scope.volume)?;
        let scope = charged(&volume, scope)?;
        require_qgroup(&volume, scope.qgroup)?;
        Ok(scope.set_limit(limit)?)
    }

    fn read(&self, volume: &Path, scopes: &[ScopeAt<'_>]) -> Result<Vec<Result<Reading>>> {
        let dir = plain::open_volume(volume)?;
        let qgroups = Qgroups::of(&dir)?;
        let reading = |scope: &ScopeAt<'_>| {
            let scope = charged(&dir, scope)?;
            let usage = qgroups.usage(scope.qgroup)?;
            Ok(usage.map_or(Reading { used: None, limit: None }, |usage| Reading {
                used: Some(usage.used),
                limit: scope.true_limit(&usage),
            }))
        };
        Ok(scopes.iter().map(reading).collect())
    }

    fn make_folder(&self, scope: &ScopeAt<'_>, parent: &Dir, name: &OsStr) -> Result<()> {
        match scope.folders {
            Folders::Directory => {
                require_member(parent, qgroup(scope)?)?;
                plain::make_folder(parent, name).map_err(explain_full)
            }
            _ => make_subvolume(parent, name, qgroup(scope)?),
        }
    }

    fn remove_empty_folder(&self, scope: &ScopeAt<'_>, parent: &Dir, name: &OsStr) -> Result<()> {
        // An empty subvolume is removed like a directory, since kernel 4.18.
        self.despite_limit(scope, &mut || plain::remove_empty_folder(parent, name))
    }

    fn remove_folder(
        &self,
        scope: &ScopeAt<'_>,
        parent: &Dir,
        name: &OsStr,
        progress: &dyn Progress,
    ) -> Result<()> {
        let volume = plain::open_volume(scope.volume)?;
        let charged = charged(&volume, scope)?;
        let nested = |parent: &Dir, name: &OsStr| subvolume::remove(Some(charged), parent, name, progress);
        let folder = match parent.open_dir(name) {
            Err(e) if e.errno() == Some(libc::ENOENT) => return Ok(()),
            other => other?,
        };
        if btrfs::is_subvolume(&folder)? {
            drop(folder);
            nested(parent, name)?;
        } else {
            plain::remove_folder(parent, name, &nested, progress)?;
        }
        Ok(sweep(&volume, charged.qgroup)?)
    }

    fn handover(&self, folders: Folders) -> Handover {
        match folders {
            Folders::Subvolume => Handover::AtOnce,
            _ => Handover::Copied,
        }
    }

    fn hand_over(&self, from: PlaceIn<'_>, to: PlaceIn<'_>) -> Result<()> {
        handover::hand_over(from, to)
    }

    fn snapshots(&self, folders: Folders) -> bool {
        folders == Folders::Subvolume
    }

    fn snapshot(&self, from: PlaceIn<'_>, to: PlaceIn<'_>) -> Result<()> {
        snapshot::snapshot(from, to)
    }

    /// Simple quotas charge an extent to the subvolume that wrote it first, full qgroups to each that has it.
    fn reflinks_charge_rightly(&self, volume: &Path, _folders: Folders, same_scope: bool) -> Result<bool> {
        Ok(same_scope || Qgroups::of(&plain::open_volume(volume)?)?.mode()? != Mode::Simple)
    }

    fn charge_of(&self, scope: &ScopeAt<'_>, folder: &Dir) -> Result<Option<u64>> {
        match scope.folders {
            Folders::Subvolume => handover::charge_of(folder),
            _ => Ok(None),
        }
    }

    fn is_of_kind(&self, folders: Folders, folder: &Dir) -> Result<bool> {
        Ok(folders != Folders::Subvolume || btrfs::is_subvolume(folder)?)
    }

    fn uncounted(&self, volume: &Path, scopes: &[ScopeAt<'_>]) -> Result<Vec<usize>> {
        let dir = plain::open_volume(volume)?;
        let qgroups = Qgroups::of(&dir)?;
        let mut found = Vec::new();
        // Where quotas are off there is no qgroup at all, which is told of the volume.
        if qgroups.mode()? == Mode::Off {
            return Ok(found);
        }
        for (place, scope) in scopes.iter().enumerate().filter(|(_, scope)| scope.kernel_id.is_some()) {
            if !qgroups.exists(qgroup(scope)?)? {
                found.push(place);
            }
        }
        Ok(found)
    }

    fn charge_scope(&self, scope: &ScopeAt<'_>) -> Result<()> {
        let volume = plain::open_volume(scope.volume)?;
        let qgroup = qgroup(scope)?;
        btrfs::qgroup_create(&volume, qgroup)?;
        match scope.folders {
            Folders::Directory => handover::charge(&volume, &volume.open_dir(scope.dir)?, qgroup),
            _ => Ok(()),
        }
    }

    fn uncharged(&self, scope: &ScopeAt<'_>, folders: &[PathBuf]) -> Result<Vec<(PathBuf, Uncharged)>> {
        handover::uncharged(scope, folders)
    }

    fn charge(&self, scope: &ScopeAt<'_>, folder: &Dir) -> Result<()> {
        handover::charge(&plain::open_volume(scope.volume)?, folder, qgroup(scope)?)
    }

    fn inner_limits(&self, volume: &Path, scopes: &[ScopeAt<'_>]) -> Result<Vec<(usize, String)>> {
        inner::limits(&plain::open_volume(volume)?, scopes)
    }

    fn lift_inner_limits(&self, scope: &ScopeAt<'_>) -> Result<()> {
        inner::lift(scope)
    }

    fn audit(&self, volume: &Path, scopes: &[ScopeAt<'_>], found: &mut dyn FnMut(Escape)) -> Result<()> {
        audit::audit(volume, scopes, found)
    }

    fn mend(&self, volume: &Path, scopes: &[ScopeAt<'_>], escape: &Escape) -> Result<()> {
        audit::mend(volume, scopes, escape)
    }

    fn capacities(&self, volume: &Path) -> Result<Vec<Capacity>> {
        audit::capacities(&plain::open_volume(volume)?)
    }

    fn despite_limit(&self, scope: &ScopeAt<'_>, call: &mut dyn FnMut() -> host::Result<()>) -> Result<()> {
        let volume = plain::open_volume(scope.volume)?;
        Ok(charged(&volume, scope)?.make(call)?)
    }
}

#[cfg(test)]
mod tests;
