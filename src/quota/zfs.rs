//! ZFS: a volume is a dataset, each scope a child of it with its own `quota`.
//!
//! As tried on zfs-fuse 0.7 and written in zfsprops(7):
//! * `quota` bounds the dataset with all that is below it, root included. A write past it gets `EDQUOT`; it may overshoot
//!   by what is in flight.
//! * A quota below what is used is refused.
//! * `used` follows a write within seconds (at the end of the transaction group), so usage lags.
//! * In a full dataset root cannot make or rename an entry either; removing works ([`room`]).
//! * What is not mounted leaves an empty directory behind, and is not seen by who writes there.

mod clone;
mod folder;
mod inner;
mod room;
mod tool;

use std::ffi::OsStr;
use std::path::Path;

use nix::libc;

use super::plain;
use super::{
    Capacity, Escape, EscapeKind, Handover, PlaceIn, QuotaDriver, Readiness, Reading, Removal, ScopeAt,
};
use crate::domain::error::{Error, Result};
use crate::domain::quota::{DriverKind, Enforcement, Folders};
use crate::domain::size;
use crate::host::dir::Dir;
use crate::host::process::{Mount, own_mounts};
use crate::host::{self, Error as HostError};
use crate::tree::Progress;
use crate::tree::remove::{RemoveOptions, remove};
use tool::Properties;

/// The driver of ZFS datasets, on OpenZFS and on zfs-fuse.
pub struct Zfs;

/// What mount tables call it: OpenZFS, and zfs-fuse.
const TYPES: [&str; 2] = ["zfs", "fuse.zfs"];

fn mount_at(mounts: &[Mount], path: &Path) -> Option<Mount> {
    mounts.iter().rfind(|m| m.point == path).cloned()
}

fn dataset_in(mounts: &[Mount], path: &Path) -> Option<String> {
    mount_at(mounts, path).filter(|m| TYPES.contains(&m.filesystem.as_str())).map(|m| m.source)
}

/// The dataset that is mounted at a path, without links.
fn dataset_at(path: &Path) -> Result<Option<String>> {
    Ok(dataset_in(&own_mounts()?, path))
}

fn volume_dataset_in(mounts: &[Mount], volume: &Path) -> Result<String> {
    dataset_in(mounts, volume).ok_or_else(|| {
        Error::storage(format!("no ZFS dataset is mounted at {}", volume.display())).hint("zfs mount -a")
    })
}

fn volume_dataset(volume: &Path) -> Result<String> {
    volume_dataset_in(&own_mounts()?, volume)
}

fn scope_dataset(scope: &ScopeAt<'_>) -> Result<String> {
    Ok(format!("{}/{}", volume_dataset(scope.volume)?, scope.dir))
}

fn open_scope(mounts: &[Mount], volume: &Dir, scope: &ScopeAt<'_>) -> Result<Dir> {
    let path = volume.join(scope.dir);
    let dataset = format!("{}/{}", volume_dataset_in(mounts, scope.volume)?, scope.dir);
    let dir = volume.open_dir(scope.dir)?;
    if dir.stat_self()?.st_dev != volume.stat_self()?.st_dev
        && dataset_in(mounts, &path).as_ref() == Some(&dataset)
    {
        return Ok(dir);
    }
    Err(Error::storage(format!("the dataset {dataset} is not mounted at {}", path.display()))
        .hint(format!("zfs mount {dataset}")))
}

impl QuotaDriver for Zfs {
    fn kind(&self) -> DriverKind {
        DriverKind::Zfs
    }

    fn default_folders(&self) -> Folders {
        Folders::Directory
    }

    fn supports(&self, folders: Folders) -> bool {
        matches!(folders, Folders::Directory | Folders::Dataset)
    }

    fn inspect(&self, volume: &Path) -> Result<Readiness> {
        let path = volume.canonicalize().map_err(|e| HostError::path("resolve", volume, e))?;
        let mounts = own_mounts()?;
        let holder = host::process::mount_of(&mounts, &path).cloned();
        let Some(holder) = holder.filter(|m| TYPES.contains(&m.filesystem.as_str())) else {
            return Ok(Readiness::Unable {
                reason: format!("{} is not on zfs", volume.display()),
                remedy: "give the mount point of a ZFS dataset, or another quota driver".to_owned(),
            });
        };
        if holder.point != path {
            return Ok(Readiness::Unable {
                reason: format!(
                    "{} is a directory of the dataset {}, not a dataset of its own",
                    volume.display(),
                    holder.source
                ),
                remedy: format!(
                    "zfs create -o mountpoint={} {}/NAME, with another path or an empty one",
                    volume.display(),
                    holder.source
                ),
            });
        }
        if host::program::find(tool::NAME).is_none() {
            return Ok(Readiness::Unable {
                reason: "the program zfs is not installed".to_owned(),
                remedy: "apt install zfsutils-linux; where ZFS is on another host, name it with --quota-host"
                    .to_owned(),
            });
        }
        Ok(Readiness::Ready)
    }

    fn enforcement(&self, _volume: &Path) -> Result<(Enforcement, Option<String>)> {
        Ok((Enforcement::Kernel, None))
    }

    fn open_scope(&self, volume: &Dir, scope: &ScopeAt<'_>) -> Result<Dir> {
        open_scope(&own_mounts()?, volume, scope)
    }

    fn scope_is_gone(&self, _volume: &Dir, scope: &ScopeAt<'_>) -> Result<bool> {
        Ok(tool::get(&scope_dataset(scope)?, &["type"])?.is_none())
    }

    fn check_scopes(&self, volume: &Dir, scopes: &[ScopeAt<'_>]) -> Vec<Result<()>> {
        match own_mounts() {
            Ok(mounts) => scopes.iter().map(|scope| open_scope(&mounts, volume, scope).map(drop)).collect(),
            Err(error) => vec![Err(Error::storage(error.to_string())); scopes.len()],
        }
    }

    fn open_folder(&self, scope: &ScopeAt<'_>, parent: &Dir, name: &OsStr) -> Result<Dir> {
        match scope.folders {
            Folders::Dataset => folder::open(scope, parent, name),
            _ => Ok(parent.open_beneath(Path::new(name))?),
        }
    }

    fn prepare_scope(&self, scope: &ScopeAt<'_>) -> Result<()> {
        let volume = plain::open_volume(scope.volume)?;
        let (parent, dataset) = (volume_dataset(scope.volume)?, scope_dataset(scope)?);
        let point = scope.volume.join(scope.dir);
        if dataset_at(&point)?.as_ref() != Some(&dataset) {
            if volume.stat(scope.dir)?.is_some() && !volume.open_dir(scope.dir)?.is_empty()? {
                return Err(Error::storage(format!(
                    "{} is not empty, and the dataset {dataset} is not mounted there",
                    point.display()
                )));
            }
            if tool::get(&dataset, &["type"])?.is_some() {
                tool::change_patiently("mount", &[&dataset])?;
            } else if tool::require(&parent, "mountpoint")? == scope.volume.to_string_lossy() {
                tool::change("create", &[&dataset])?;
            } else {
                // A legacy mount point would be inherited, and nobody would mount it.
                tool::change("create", &["-o", &format!("mountpoint={}", point.display()), &dataset])?;
            }
        }
        self.open_scope(&volume, scope)?.set_mode(plain::SCOPE_MODE)?;
        Ok(())
    }

    fn remove_scope(&self, scope: &ScopeAt<'_>) -> Result<Removal> {
        let volume = plain::open_volume(scope.volume)?;
        let dataset = scope_dataset(scope)?;
        if let Ok(dir) = self.open_scope(&volume, scope) {
            plain::remove_areas(&dir)?;
        }
        if tool::get(&dataset, &["type"])?.is_some() {
            tool::destroy(&dataset, false)?;
        }
        volume.remove_dir(scope.dir)?;
        Ok(Removal::Gone)
    }

    /// A quota of 0 would be none.
    fn effective(&self, _volume: &Path, bytes: u64) -> u64 {
        bytes.max(1)
    }

    fn refuses_below_usage(&self) -> bool {
        true
    }

    fn usage_lags(&self) -> bool {
        true
    }

    fn set_limit(&self, scope: &ScopeAt<'_>, limit: Option<u64>) -> Result<()> {
        let dataset = scope_dataset(scope)?;
        let value = limit.map_or("none".to_owned(), |bytes| bytes.to_string());
        let set = tool::change("set", &[&format!("quota={value}"), &dataset]);
        if let (Err(error), Some(bytes)) = (&set, limit)
            && tool::is_too_small(&error.message)
        {
            let used = tool::used(&dataset)?;
            return Err(Error::storage(format!(
                "ZFS refuses a limit of {} for {dataset}: {} are used",
                size::human(bytes),
                size::human(used)
            ))
            .detail("used_bytes", used)
            .detail("limit_bytes", bytes));
        }
        set?;
        room::forget(&dataset)
    }

    fn read(&self, volume: &Path, scopes: &[ScopeAt<'_>]) -> Result<Vec<Result<Reading>>> {
        let parent = volume_dataset(volume)?;
        let found = match scopes {
            [] => return Ok(Vec::new()),
            [only] => tool::get(&format!("{parent}/{}", only.dir), &tool::LIMITS)?.unwrap_or_default(),
            _ => tool::get_children(&parent, &tool::LIMITS)?,
        };
        let reading = |scope: &ScopeAt<'_>| match found.of(&format!("{parent}/{}", scope.dir)) {
            None => Reading { used: None, limit: None },
            Some(properties) => properties.reading(),
        };
        Ok(scopes.iter().map(|scope| Ok(reading(scope))).collect())
    }

    fn make_folder(&self, scope: &ScopeAt<'_>, parent: &Dir, name: &OsStr) -> Result<()> {
        match scope.folders {
            Folders::Dataset => folder::make(scope, parent, name),
            _ => self.despite_limit(scope, &mut || plain::make_folder(parent, name)),
        }
    }

    fn remove_empty_folder(&self, scope: &ScopeAt<'_>, parent: &Dir, name: &OsStr) -> Result<()> {
        match scope.folders {
            Folders::Dataset => folder::remove_empty(scope, parent, name),
            _ => Ok(plain::remove_empty_folder(parent, name)?),
        }
    }

    fn remove_folder(
        &self,
        scope: &ScopeAt<'_>,
        parent: &Dir,
        name: &OsStr,
        progress: &dyn Progress,
    ) -> Result<()> {
        match scope.folders {
            Folders::Dataset => folder::remove(scope, parent, name)?,
            _ => {
                let options = RemoveOptions { subvolume: None, threads: 0 };
                remove(parent, name, &options, progress)?;
            }
        }
        room::settle(&scope_dataset(scope)?)
    }

    fn move_folder(&self, scope: &ScopeAt<'_>, from: (&Dir, &OsStr), to: (&Dir, &OsStr)) -> Result<()> {
        if scope.folders != Folders::Dataset {
            return self.despite_limit(scope, &mut || from.0.rename(from.1, to.0, to.1));
        }
        self.despite_limit(scope, &mut || to.0.make_dir(to.1, plain::SCOPE_MODE).map(drop))?;
        folder::move_to(scope, from, to)
    }

    fn handover(&self, folders: Folders) -> Handover {
        match folders {
            Folders::Dataset => Handover::AtOnce,
            _ => Handover::Copied,
        }
    }

    fn hand_over(&self, from: PlaceIn<'_>, to: PlaceIn<'_>) -> Result<()> {
        let make = &mut || to.parent.make_dir(to.name, plain::SCOPE_MODE).map(drop);
        self.despite_limit(to.scope, make)?;
        folder::hand_over(from, to)
    }

    fn snapshots(&self, folders: Folders) -> bool {
        folders == Folders::Dataset
    }

    fn snapshot(&self, from: PlaceIn<'_>, to: PlaceIn<'_>) -> Result<()> {
        let make = || to.parent.make_dir(to.name, plain::SCOPE_MODE).map(drop);
        clone::snapshot(from, to, || self.despite_limit(to.scope, &mut { make }))
    }

    /// Before OpenZFS 2.2 there are none; how those of 2.2 are charged between datasets was not tried.
    fn reflinks_charge_rightly(&self, _volume: &Path, _folders: Folders, same_scope: bool) -> Result<bool> {
        Ok(same_scope)
    }

    fn send(&self, from: PlaceIn<'_>, to: PlaceIn<'_>, progress: &dyn Progress) -> Result<bool> {
        if to.scope.folders != Folders::Dataset {
            return Ok(false);
        }
        let make = || to.parent.make_dir(to.name, plain::SCOPE_MODE).map(drop);
        clone::send(from, to, || self.despite_limit(to.scope, &mut { make }), progress)?;
        Ok(true)
    }

    fn charge_of(&self, scope: &ScopeAt<'_>, folder: &Dir) -> Result<Option<u64>> {
        match (scope.folders, dataset_at(folder.path())?) {
            (Folders::Dataset, Some(dataset)) => tool::used(&dataset).map(Some),
            _ => Ok(None),
        }
    }

    fn inner_limits(&self, volume: &Path, scopes: &[ScopeAt<'_>]) -> Result<Vec<(usize, String)>> {
        inner::limits(&volume_dataset(volume)?, scopes)
    }

    fn lift_inner_limits(&self, scope: &ScopeAt<'_>) -> Result<()> {
        inner::lift(&volume_dataset(scope.volume)?, scope)
    }

    fn audit(&self, volume: &Path, scopes: &[ScopeAt<'_>], found: &mut dyn FnMut(Escape)) -> Result<()> {
        let parent = volume_dataset(volume)?;
        let all = tool::get_below(&parent, &tool::LIMITS)?;
        for (dataset, properties) in all.iter() {
            let Some(below) = dataset.strip_prefix(&format!("{parent}/")) else { continue };
            let (first, rest) = below.split_once('/').map_or((below, None), |(a, b)| (a, Some(b)));
            let scope = scopes.iter().position(|scope| scope.dir == first);
            let is_folder = scope.is_some_and(|place| scopes[place].folders == Folders::Dataset)
                && rest.is_some_and(is_digits);
            if is_folder {
                continue;
            }
            if let Some(escape) = judge(volume, dataset, first, rest, scope, properties) {
                found(escape);
            }
        }
        Ok(())
    }

    fn mend(&self, volume: &Path, scopes: &[ScopeAt<'_>], escape: &Escape) -> Result<()> {
        match escape.scope.and_then(|place| scopes.get(place)) {
            Some(scope) if escape.kind == EscapeKind::RaisedLimit => {
                room::restore(&format!("{}/{}", volume_dataset(volume)?, scope.dir))
            }
            _ => Err(Error::storage(format!("{} cannot be mended by vfadm", escape.path.display()))),
        }
    }

    fn capacities(&self, volume: &Path) -> Result<Vec<Capacity>> {
        let dataset = volume_dataset(volume)?;
        let pool = dataset.split('/').next().unwrap_or(&dataset).to_owned();
        let used = tool::get_below(&pool, &["type"])?.len() as u64;
        Ok(vec![Capacity { name: "datasets", used, most: None }])
    }

    fn despite_limit(&self, scope: &ScopeAt<'_>, call: &mut dyn FnMut() -> host::Result<()>) -> Result<()> {
        match call() {
            Err(e) if e.errno() == Some(libc::EDQUOT) => room::with(&scope_dataset(scope)?, call),
            other => Ok(other?),
        }
    }
}

/// The name of a scope, and of a folder that is a dataset.
fn is_digits(name: &str) -> bool {
    name.len() == 32 && name.bytes().all(|b| b.is_ascii_hexdigit())
}

/// What an audit says of a dataset below the volume's.
fn judge(
    volume: &Path,
    dataset: &str,
    first: &str,
    rest: Option<&str>,
    scope: Option<usize>,
    properties: &Properties,
) -> Option<Escape> {
    let escape = |kind, message: String, mendable| Escape {
        kind,
        path: volume.join(first),
        scope,
        id: None,
        message,
        mendable,
    };
    match (scope, rest) {
        (Some(_), None) if properties.is_raised() => Some(escape(
            EscapeKind::RaisedLimit,
            format!("the quota of {dataset} is above the limit, because more than the limit was used"),
            true,
        )),
        (Some(_), None) => None,
        (Some(_), Some(_)) => Some(escape(
            EscapeKind::NestedSubvolume,
            format!("the dataset {dataset} lies inside the scope; it is counted, but is no vfolder"),
            false,
        )),
        (None, None) if is_digits(first) => {
            Some(escape(EscapeKind::Unaccounted, format!("the dataset {dataset} belongs to no scope"), false))
        }
        (None, _) => None,
    }
}

#[cfg(test)]
mod tests;
