//! Limits that the storage enforces: one trait, a file a driver.

mod audit;
mod btrfs;
mod cephfs;
mod dedicated;
mod detect;
mod elsewhere;
mod exec;
mod none;
mod plain;
mod project;
#[cfg(test)]
mod testing;
mod zfs;

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use crate::domain::error::{Error, Result};
use crate::domain::quota::{DriverKind, Enforcement, Folders, Storage};
use crate::host;
use crate::host::dir::Dir;
use crate::host::process::hostname;
use crate::tree::Progress;
use crate::tree::remove::{RemoveOptions, remove};

pub use audit::{Capacity, Escape, EscapeKind, Uncharged};
pub use btrfs::Btrfs;
pub use cephfs::Cephfs;
pub use dedicated::Dedicated;
pub use detect::{Detected, Proof, detect, prove};
use elsewhere::Elsewhere;
pub use exec::{Exec, groups};
pub use none::NoLimits;
pub use project::ProjectQuota;
pub use zfs::Zfs;

/// One quota scope as a driver sees it.
#[derive(Clone, Copy, Debug)]
pub struct ScopeAt<'a> {
    /// Where the volume is mounted.
    pub volume: &'a Path,
    /// The scope's directory name in the volume: 32 hexadecimal digits.
    pub dir: &'a str,
    /// The kernel's number of the scope, for drivers that want one ([`QuotaDriver::wants_kernel_id`]).
    pub kernel_id: Option<u64>,
    /// What a folder is on this volume.
    pub folders: Folders,
}

/// An entry of a directory of vfadm's own in a scope.
#[derive(Clone, Copy, Debug)]
pub struct PlaceIn<'a> {
    /// The scope.
    pub scope: &'a ScopeAt<'a>,
    /// The directory.
    pub parent: &'a Dir,
    /// The name in it.
    pub name: &'a OsStr,
}

/// What the storage says of a scope.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// Bytes charged; `None` where that is not known without a walk of the tree.
    pub used: Option<u64>,
    /// The limit in bytes; `None` is unlimited.
    pub limit: Option<u64>,
}

/// Whether a driver can work on a volume as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// Limits can be set.
    Ready,
    /// Limits can be set once [`QuotaDriver::enable`] was called.
    NeedsEnabling {
        /// What enabling does, as a sentence for the plan.
        what: String,
        /// What cannot be taken back, or will not be counted; needs `--yes`.
        caution: Option<String>,
    },
    /// It cannot.
    Unable {
        /// Why.
        reason: String,
        /// What an administrator can do about it.
        remedy: String,
    },
}

/// What became of the kernel's objects of a removed scope.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Removal {
    /// Nothing is left.
    Gone,
    /// The kernel still carries a charge; the object has to be removed later.
    Draining,
}

/// How a folder goes from one scope of a volume to another, and its charge with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Handover {
    /// By one short call, whatever its size.
    AtOnce,
    /// What is in it is charged anew ([`QuotaDriver::recharge`]), then it is moved.
    Recharged,
    /// It does not: it has to be copied and removed.
    Copied,
}

/// What a command is going to do on a volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// Make, move or remove folders of this kind.
    Folders(Folders),
    /// Make or remove a scope.
    Scope,
}

/// Sets, reads and removes limits on one kind of storage. Every method can be called twice.
pub trait QuotaDriver: Send + Sync {
    /// Which driver it is.
    fn kind(&self) -> DriverKind;

    /// What a folder is, where the administrator did not say.
    fn default_folders(&self) -> Folders;

    /// Which kinds of folder the driver can make.
    fn supports(&self, folders: Folders) -> bool {
        folders == self.default_folders()
    }

    /// True when scopes need a number in the kernel.
    fn wants_kernel_id(&self) -> bool {
        false
    }

    /// Whether limits can be set on the volume; looks only.
    fn inspect(&self, volume: &Path) -> Result<Readiness>;

    /// Refuses work that this host cannot do (exit 8), before anything is begun.
    fn require_able(&self, _work: Work) -> Result<()> {
        Ok(())
    }

    /// Switches limits on.
    fn enable(&self, _volume: &Path) -> Result<()> {
        Ok(())
    }

    /// How well limits hold on this volume, and a warning where they do not hold against everybody.
    fn enforcement(&self, volume: &Path) -> Result<(Enforcement, Option<String>)>;

    /// True when nobody uses this number in the kernel.
    fn kernel_id_is_free(&self, _volume: &Path, _id: u64) -> Result<bool> {
        Ok(true)
    }

    /// The kernel's number of a scope that is there and whose number was lost (`scope.kernel_id` is not looked at), by what
    /// its directory or these directories of folders in it are charged to; `None` where that does not tell one number alone.
    fn number_of(&self, _scope: &ScopeAt<'_>, _folders: &[PathBuf]) -> Result<Option<u64>> {
        Ok(None)
    }

    /// Opens the scope's directory, after making sure that it is the scope and not what lies under it where it is not
    /// mounted (exit 8). `volume` is the volume's directory.
    fn open_scope(&self, volume: &Dir, scope: &ScopeAt<'_>) -> Result<Dir> {
        Ok(volume.open_beneath(Path::new(scope.dir))?)
    }

    /// True where the storage holds nothing of the scope any more: not where it is only not mounted.
    fn scope_is_gone(&self, volume: &Dir, scope: &ScopeAt<'_>) -> Result<bool> {
        Ok(volume.stat(scope.dir)?.is_none())
    }

    /// Which of these scopes can be opened; the errors of the others. `volume` is the volume's directory.
    fn check_scopes(&self, volume: &Dir, scopes: &[ScopeAt<'_>]) -> Vec<Result<()>> {
        scopes.iter().map(|scope| self.open_scope(volume, scope).map(drop)).collect()
    }

    /// Opens the folder `name` of `parent`, after making sure that it is the folder and not what lies under it where it
    /// is not mounted (exit 8). `parent` is a directory of vfadm's own.
    fn open_folder(&self, _scope: &ScopeAt<'_>, parent: &Dir, name: &OsStr) -> Result<Dir> {
        Ok(parent.open_beneath(Path::new(name))?)
    }

    /// Makes the scope's directory (root, 0700) and its kernel objects, without a limit.
    fn prepare_scope(&self, scope: &ScopeAt<'_>) -> Result<()>;

    /// Removes the scope's directory, which must hold nothing but empty directories, and its kernel objects.
    fn remove_scope(&self, scope: &ScopeAt<'_>) -> Result<Removal>;

    /// Removes what is left in the kernel of a scope whose directory has gone ([`Removal::Draining`]), as far as it
    /// can be removed by now; never waits. `scope.dir` is not looked at.
    fn drain(&self, _scope: &ScopeAt<'_>) -> Result<Removal> {
        Ok(Removal::Gone)
    }

    /// The effective limit: what the storage of a volume makes of `bytes`, never less.
    fn effective(&self, _volume: &Path, bytes: u64) -> u64 {
        bytes
    }

    /// Writes the limit. Call [`ensure_limit`] instead.
    fn set_limit(&self, scope: &ScopeAt<'_>, limit: Option<u64>) -> Result<()>;

    /// Reads used bytes and limit of each scope from the storage, in one pass where it can. What concerns one scope
    /// alone is the error of that one.
    fn read(&self, volume: &Path, scopes: &[ScopeAt<'_>]) -> Result<Vec<Result<Reading>>>;

    /// Reads one scope.
    fn read_one(&self, scope: &ScopeAt<'_>) -> Result<Reading> {
        let readings = self.read(scope.volume, std::slice::from_ref(scope))?;
        readings.into_iter().next().unwrap_or_else(|| {
            Err(Error::storage(format!("the storage says nothing of the quota scope {}", scope.dir)))
        })
    }

    /// Makes an empty folder, charged to the scope, as the entry `name` of `parent` (owner root, mode 0700: the
    /// caller hands it over). An existing entry is `EEXIST`.
    fn make_folder(&self, scope: &ScopeAt<'_>, parent: &Dir, name: &OsStr) -> Result<()> {
        self.despite_limit(scope, &mut || plain::make_folder(parent, name))
    }

    /// Takes back [`QuotaDriver::make_folder`]: removes an empty folder; an absent one is fine, one with content
    /// is an error.
    fn remove_empty_folder(&self, _scope: &ScopeAt<'_>, parent: &Dir, name: &OsStr) -> Result<()> {
        Ok(plain::remove_empty_folder(parent, name)?)
    }

    /// Removes a folder and all that is in it; an absent one is fine. Can be interrupted and called again.
    fn remove_folder(
        &self,
        _scope: &ScopeAt<'_>,
        parent: &Dir,
        name: &OsStr,
        progress: &dyn Progress,
    ) -> Result<()> {
        Ok(remove(parent, name, &RemoveOptions { subvolume: None, threads: 0 }, progress).map(drop)?)
    }

    /// Moves a folder, whatever its size and however full the scope is, from one directory of the scope to another.
    fn move_folder(&self, scope: &ScopeAt<'_>, from: (&Dir, &OsStr), to: (&Dir, &OsStr)) -> Result<()> {
        self.despite_limit(scope, &mut || from.0.rename(from.1, to.0, to.1))
    }

    /// How folders of this kind go to another scope of their volume.
    fn handover(&self, _folders: Folders) -> Handover {
        Handover::Copied
    }

    /// Charges a folder and all that is in it to another scope, for [`Handover::Recharged`]. Long work, that can be
    /// interrupted and called again.
    fn recharge(&self, _to: &ScopeAt<'_>, _folder: &Dir, _progress: &dyn Progress) -> Result<()> {
        Ok(())
    }

    /// Moves a folder to another scope of the volume, entry and charge, where [`QuotaDriver::handover`] is not
    /// [`Handover::Copied`]. One that is there already is fine.
    fn hand_over(&self, from: PlaceIn<'_>, to: PlaceIn<'_>) -> Result<()> {
        Ok(plain::move_once(from, to).map(drop)?)
    }

    /// The bytes that a folder is charged with, where the storage knows that without a walk.
    fn charge_of(&self, _scope: &ScopeAt<'_>, _folder: &Dir) -> Result<Option<u64>> {
        Ok(None)
    }

    /// True where a folder of this kind can be had again at once by the storage's own snapshot, whatever its size.
    fn snapshots(&self, _folders: Folders) -> bool {
        false
    }

    /// Makes `to`, an entry that does not exist, a folder with what the folder `from` holds, by the storage's own
    /// snapshot: owner, mode and times are those of the source. Both scopes are of one volume. What both share stays
    /// charged to the scope that wrote it (full qgroups charge it to both); what is written to the new folder later is
    /// charged to `to.scope`. An unfinished one is removed by [`QuotaDriver::remove_folder`] and made again.
    fn snapshot(&self, from: PlaceIn<'_>, _to: PlaceIn<'_>) -> Result<()> {
        let path = from.parent.join(from.name);
        Err(Error::storage(format!("the storage takes no snapshot of {}", path.display())))
    }

    /// Whether a copy that shares its extents with the source (`FICLONE`) charges the scope that it is in like one of
    /// its own, so that a clone may share them. `same_scope`: source and copy are in one scope.
    fn reflinks_charge_rightly(&self, _volume: &Path, _folders: Folders, _same_scope: bool) -> Result<bool> {
        Ok(true)
    }

    /// Makes `to`, an entry that does not exist, a folder with what `from` holds, by a stream of the storage's own that
    /// charges `to.scope` in full; false, and nothing done, where the storage has none. Long work, that can be
    /// interrupted; an unfinished one is removed by [`QuotaDriver::remove_folder`].
    fn send(&self, _from: PlaceIn<'_>, _to: PlaceIn<'_>, _progress: &dyn Progress) -> Result<bool> {
        Ok(false)
    }

    /// Whether this is what the storage itself moves, charges and takes snapshots of, and no plain directory that was put
    /// in a folder's place.
    fn is_of_kind(&self, _folders: Folders, _folder: &Dir) -> Result<bool> {
        Ok(true)
    }

    /// Those of these scopes, by their places in the list, whose limit has nothing to be held against: the kernel's
    /// object of their number is not there.
    fn uncounted(&self, _volume: &Path, _scopes: &[ScopeAt<'_>]) -> Result<Vec<usize>> {
        Ok(Vec::new())
    }

    /// Charges a scope by its number again: makes the kernel's object where it is not there, without a limit, and
    /// charges the scope's own directory to it where that is what is charged.
    fn charge_scope(&self, scope: &ScopeAt<'_>) -> Result<()> {
        Err(Error::storage(format!("the quota scope {} cannot be charged anew", scope.dir)))
    }

    /// Those of the folders of a scope, by their paths below it, that the storage does not charge to it alone, as far as
    /// that can be told without a walk. The empty path is the scope itself, where that is what is charged. Nothing of an
    /// [`QuotaDriver::uncounted`] scope.
    fn uncharged(&self, _scope: &ScopeAt<'_>, _folders: &[PathBuf]) -> Result<Vec<(PathBuf, Uncharged)>> {
        Ok(Vec::new())
    }

    /// Charges such a folder to its scope, and to no other.
    fn charge(&self, _scope: &ScopeAt<'_>, folder: &Dir) -> Result<()> {
        Err(Error::storage(format!("{} cannot be charged to its quota scope", folder.path().display())))
    }

    /// What inside of scopes has a limit of its own, which stops the owner before the scope's does: the scope's place in
    /// `scopes`, and words for it. As far as that can be told without a walk.
    fn inner_limits(&self, _volume: &Path, _scopes: &[ScopeAt<'_>]) -> Result<Vec<(usize, String)>> {
        Ok(Vec::new())
    }

    /// Lifts the limits inside of a scope.
    fn lift_inner_limits(&self, _scope: &ScopeAt<'_>) -> Result<()> {
        Ok(())
    }

    /// Looks for what gets past the limits of these scopes, and for what the storage holds without one of them. Walks
    /// trees where that is the only way.
    fn audit(&self, _volume: &Path, _scopes: &[ScopeAt<'_>], _found: &mut dyn FnMut(Escape)) -> Result<()> {
        Ok(())
    }

    /// Mends what [`QuotaDriver::audit`] found, without losing data. What it cannot mend is an error that says what to
    /// do by hand.
    fn mend(&self, _volume: &Path, _scopes: &[ScopeAt<'_>], escape: &Escape) -> Result<()> {
        Err(Error::storage(format!("{} cannot be mended by vfadm", escape.path.display())))
    }

    /// How much is taken of what the storage itself bounds: project ids, qgroups, datasets.
    fn capacities(&self, _volume: &Path) -> Result<Vec<Capacity>> {
        Ok(Vec::new())
    }

    /// True where the storage takes no limit below what is used.
    fn refuses_below_usage(&self) -> bool {
        false
    }

    /// True where what was written shows in [`Reading::used`] only after a while.
    fn usage_lags(&self) -> bool {
        false
    }

    /// Makes a call of vfadm's own in the scope (a move to the trash, a directory of its own) that must not fail
    /// because the scope is full. The call may be made several times, and must not call the driver.
    fn despite_limit(&self, _scope: &ScopeAt<'_>, call: &mut dyn FnMut() -> host::Result<()>) -> Result<()> {
        Ok(call()?)
    }
}

/// The kinds that are tried where the administrator named none, in this order.
pub const CANDIDATES: [DriverKind; 5] =
    [DriverKind::Xfs, DriverKind::Ext4, DriverKind::Zfs, DriverKind::Cephfs, DriverKind::Btrfs];

/// The driver of a volume, as it acts on this host.
pub fn driver(storage: &Storage) -> Box<dyn QuotaDriver> {
    let driver: Box<dyn QuotaDriver> = match storage.driver {
        kind @ (DriverKind::Xfs | DriverKind::Ext4) => Box::new(ProjectQuota { kind }),
        DriverKind::Zfs => Box::new(Zfs),
        DriverKind::Cephfs => Box::new(Cephfs),
        DriverKind::Btrfs => Box::new(Btrfs),
        DriverKind::Exec => match &storage.file {
            Some(file) => Box::new(Exec { file: file.clone() }),
            // The registry is validated, so that such a record does not get here.
            None => Box::new(NoLimits),
        },
        DriverKind::Dedicated => Box::new(Dedicated),
        DriverKind::None => Box::new(NoLimits),
    };
    match &storage.quota_host {
        Some(host) if !is_set_here(storage) => Box::new(Elsewhere { driver, host: host.clone() }),
        _ => driver,
    }
}

/// True where this host can set and read the limits of a volume.
pub fn is_set_here(storage: &Storage) -> bool {
    storage.quota_host.as_ref().is_none_or(|host| *host == hostname())
}

/// Sees to it that the scope has this limit, and that the storage says so. False when it had it already: then
/// nothing is written. A dedicated volume, whose size is its limit, takes "no limit" for that.
pub fn ensure_limit(driver: &dyn QuotaDriver, scope: &ScopeAt<'_>, want: Option<u64>) -> Result<bool> {
    if want.is_none() && driver.kind() == DriverKind::Dedicated {
        return Ok(false);
    }
    let want = want.map(|bytes| driver.effective(scope.volume, bytes));
    if limit_of(driver, scope)? == want {
        return Ok(false);
    }
    driver.set_limit(scope, want)?;
    let got = limit_of(driver, scope)?;
    if got != want {
        return Err(Error::storage(format!(
            "limit was not applied: asked {}, storage says {}",
            words(want),
            words(got)
        ))
        .detail("asked_bytes", want)
        .detail("limit_bytes", got));
    }
    Ok(true)
}

fn limit_of(driver: &dyn QuotaDriver, scope: &ScopeAt<'_>) -> Result<Option<u64>> {
    Ok(driver.read_one(scope)?.limit)
}

fn words(limit: Option<u64>) -> String {
    limit.map_or("unlimited".to_owned(), |bytes| format!("{bytes} bytes"))
}
