//! CephFS: a scope is a directory with the virtual attribute `ceph.quota.max_bytes`.
//!
//! As tried on Ceph 16.2 with ceph-fuse, and written in Ceph's own documentation (cephfs/quota):
//! * The client stops the writer, with `EDQUOT`: a changed client, or one whose keys do not reach the scope's parent, is
//!   not held. Hence `cooperative`.
//! * It goes by `ceph.dir.rbytes`, which follows a write within seconds: who writes fast gets past the limit by what he
//!   writes meanwhile. Usage lags.
//! * Root can make and move entries in a full scope.
//! * Whoever may write to a directory may take snapshots of it (`mkdir .snap/x`), if the client's keys allow it. What
//!   is deleted from it later stays on the disk and is not counted, and the directory cannot be removed.
//!
//! Limits are set by `setfattr`, the tool that Ceph's documentation names, and read back by system calls.

mod snapshots;

use std::ffi::{CStr, OsStr};
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use nix::libc;

use super::plain;
use super::{Escape, EscapeKind, Handover, PlaceIn, QuotaDriver, Readiness, Reading, Removal, ScopeAt};
use crate::domain::error::{Error, Result};
use crate::domain::quota::{DriverKind, Enforcement, Folders};
use crate::domain::size;
use crate::host::dir::Dir;
use crate::host::process::{mount_of, own_mounts};
use crate::host::program::{self, Program};
use crate::host::{Error as HostError, xattr};
use crate::tree::each::{Found, each};
use crate::tree::remove::{RemoveOptions, remove};
use crate::tree::{Progress, Silent};

/// The driver of CephFS, by the kernel's client or by ceph-fuse.
pub struct Cephfs;

/// What mount tables call it: the kernel's client, and ceph-fuse under mount(8) and by itself.
const TYPES: [&str; 3] = ["ceph", "fuse.ceph-fuse", "fuse.ceph"];
/// Bytes below a directory, as the metadata servers have them.
const USED: &CStr = c"ceph.dir.rbytes";
/// The limit; absent is none.
const LIMIT: &CStr = c"ceph.quota.max_bytes";
/// The program that sets it.
const TOOL: &str = "setfattr";
/// The largest limit: the metadata servers keep a signed number.
const MOST: u64 = i64::MAX as u64;

fn limit_of(dir: &Dir) -> Result<Option<u64>> {
    let limit = xattr::number(dir, LIMIT).map_err(|e| HostError::path("read the limit of", dir.path(), e))?;
    Ok(limit.filter(|bytes| *bytes > 0))
}

fn reading(dir: &Dir) -> Result<Reading> {
    let used = xattr::number(dir, USED).map_err(|e| HostError::path("read the usage of", dir.path(), e))?;
    Ok(Reading { used, limit: limit_of(dir)? })
}

impl QuotaDriver for Cephfs {
    fn kind(&self) -> DriverKind {
        DriverKind::Cephfs
    }

    fn default_folders(&self) -> Folders {
        Folders::Directory
    }

    fn inspect(&self, volume: &Path) -> Result<Readiness> {
        let path = volume.canonicalize().map_err(|e| HostError::path("resolve", volume, e))?;
        let mounts = own_mounts()?;
        let unable =
            |reason: String, remedy: &str| Ok(Readiness::Unable { reason, remedy: remedy.to_owned() });
        if !mount_of(&mounts, &path).is_some_and(|m| TYPES.contains(&m.filesystem.as_str())) {
            return unable(
                format!("{} is not on cephfs", volume.display()),
                "give a directory on a mounted CephFS, or another quota driver",
            );
        }
        match xattr::number(plain::open_volume(volume)?, USED) {
            Ok(Some(_)) => {}
            _ => {
                return unable(
                    format!("{} does not tell ceph.dir.rbytes", volume.display()),
                    "mount it with ceph-fuse, or with a kernel from 4.17 on",
                );
            }
        }
        if program::find(TOOL).is_none() {
            return unable("the program setfattr is not installed".to_owned(), "apt install attr");
        }
        Ok(Readiness::Ready)
    }

    fn enforcement(&self, _volume: &Path) -> Result<(Enforcement, Option<String>)> {
        Ok((
            Enforcement::Cooperative,
            Some(
                "CephFS leaves limits to its clients: who writes fast gets some way past a limit, and a host whose \
                 client was changed is not held"
                    .to_owned(),
            ),
        ))
    }

    fn prepare_scope(&self, scope: &ScopeAt<'_>) -> Result<()> {
        Ok(plain::prepare_scope(&plain::open_volume(scope.volume)?, scope.dir)?)
    }

    fn remove_scope(&self, scope: &ScopeAt<'_>) -> Result<Removal> {
        plain::remove_scope(&plain::open_volume(scope.volume)?, scope.dir)?;
        Ok(Removal::Gone)
    }

    /// A limit of 0 would be none.
    fn effective(&self, _volume: &Path, bytes: u64) -> u64 {
        bytes.clamp(1, MOST)
    }

    fn usage_lags(&self) -> bool {
        true
    }

    fn set_limit(&self, scope: &ScopeAt<'_>, limit: Option<u64>) -> Result<()> {
        // The directory is looked at first: where a link is in its place the tool would follow it.
        let dir = plain::open_volume(scope.volume)?.open_dir(scope.dir)?;
        let value = limit.unwrap_or(0).to_string();
        let program = Program::new(TOOL).from_package("attr");
        let said = program.args(["-n", "ceph.quota.max_bytes", "-v", &value]).arg(dir.path()).run()?;
        match said.status {
            0 => Ok(()),
            _ if said.complaint().contains("ermission") => Err(Error::from(said.failure())
                .hint("the client's key needs the flag p: ceph fs authorize FILESYSTEM CLIENT / rwp")),
            _ => Err(said.failure().into()),
        }
    }

    fn read(&self, volume: &Path, scopes: &[ScopeAt<'_>]) -> Result<Vec<Result<Reading>>> {
        let volume = plain::open_volume(volume)?;
        Ok(scopes.iter().map(|scope| reading(&volume.open_dir(scope.dir)?)).collect())
    }

    fn remove_folder(
        &self,
        _scope: &ScopeAt<'_>,
        parent: &Dir,
        name: &OsStr,
        progress: &dyn Progress,
    ) -> Result<()> {
        let options = RemoveOptions { subvolume: None, threads: 0 };
        match remove(parent, name, &options, progress) {
            // What holds a snapshot is left, without its files.
            Err(e) if e.errno() == Some(libc::ENOTEMPTY) => {
                snapshots::remove(&parent.open_dir(name)?, progress)?;
                Ok(remove(parent, name, &options, progress).map(drop)?)
            }
            other => Ok(other.map(drop)?),
        }
    }

    fn handover(&self, _folders: Folders) -> Handover {
        Handover::AtOnce
    }

    /// Clients refuse a rename from below one limit to below another (`EXDEV`): both are lifted for the one call.
    fn hand_over(&self, from: PlaceIn<'_>, to: PlaceIn<'_>) -> Result<()> {
        match plain::move_once(from, to) {
            Err(e) if e.errno() == Some(libc::EXDEV) => {}
            other => return Ok(other.map(drop)?),
        }
        let limits =
            [from.scope, to.scope].map(|scope| self.read_one(scope).map(|reading| (scope, reading.limit)));
        let limits = limits.into_iter().collect::<Result<Vec<_>>>()?;
        let limited = || limits.iter().filter(|(_, limit)| limit.is_some());
        let lifted = limited().try_for_each(|(scope, _)| self.set_limit(scope, None));
        let moved = lifted.and_then(|()| Ok(plain::move_once(from, to)?));
        let restored: Vec<_> = limited().map(|(scope, limit)| self.set_limit(scope, *limit)).collect();
        moved?;
        restored.into_iter().collect()
    }

    fn charge_of(&self, _scope: &ScopeAt<'_>, folder: &Dir) -> Result<Option<u64>> {
        Ok(reading(folder)?.used)
    }

    fn audit(&self, volume: &Path, scopes: &[ScopeAt<'_>], found: &mut dyn FnMut(Escape)) -> Result<()> {
        let volume = plain::open_volume(volume)?;
        for (place, scope) in scopes.iter().enumerate() {
            of_scope(&volume.open_dir(scope.dir)?, place)?.into_iter().for_each(&mut *found);
        }
        Ok(())
    }
}

/// What tenants did in a scope: snapshots, and directories with a limit of their own, which stops them before the
/// scope's does.
fn of_scope(top: &Dir, scope: usize) -> Result<Vec<Escape>> {
    let found = Mutex::new(Vec::new());
    let look = |path: &dyn Fn() -> PathBuf, entry: Found<'_>| {
        let Found::Directory(file) = entry else { return };
        let Some(dir) = handle(file, top.join(path())) else { return };
        let note = |kind, message| {
            let path = dir.path().to_owned();
            if let Ok(mut found) = found.lock() {
                found.push(Escape { kind, path, scope: Some(scope), id: None, message, mendable: false });
            }
        };
        if let Ok(names) = snapshots::of(&dir)
            && !names.is_empty()
        {
            let names: Vec<_> = names.iter().map(|name| name.to_string_lossy()).collect();
            let names = names.join(", ");
            note(
                EscapeKind::Snapshot,
                format!("it has the snapshots {names}: what was deleted since is kept, and not counted"),
            );
        }
        if dir.path() != top.path()
            && let Ok(Some(limit)) = limit_of(&dir)
        {
            let limit = size::human(limit);
            note(EscapeKind::NestedLimit, format!("it has a limit of its own, {limit}, below the scope's"));
        }
    };
    each(top, &look, &Silent)?;
    let mut found = found.into_inner().unwrap_or_default();
    found.sort_by(|a: &Escape, b: &Escape| a.path.cmp(&b.path));
    Ok(found)
}

fn handle(file: BorrowedFd<'_>, path: PathBuf) -> Option<Dir> {
    Some(Dir::from_fd(file.try_clone_to_owned().ok()?, path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_on_cephfs_is_refused_with_the_reason() {
        let temp = tempfile::tempdir().unwrap();
        let Readiness::Unable { reason, .. } = Cephfs.inspect(temp.path()).unwrap() else { panic!("unable") };
        assert!(reason.ends_with("is not on cephfs"), "{reason}");
    }

    #[test]
    fn a_limit_of_nothing_is_not_no_limit() {
        for (asked, effective) in [(0, 1), ((8 << 20) + 1, (8 << 20) + 1), (u64::MAX, MOST)] {
            assert_eq!(Cephfs.effective(Path::new("/"), asked), effective, "{asked}");
        }
    }
}
