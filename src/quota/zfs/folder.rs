//! Folders that are datasets of their own: children of the scope's, mounted at the folder's path. They are made, moved
//! and removed as such, whatever their size.

use std::ffi::OsStr;
use std::path::Path;

use nix::libc;

use super::{clone, dataset_at, plain, scope_dataset, tool};
use crate::domain::error::{Error, Result};
use crate::host::Error as HostError;
use crate::host::dir::Dir;
use crate::host::process::own_mounts;
use crate::host::program::Program;
use crate::quota::{PlaceIn, ScopeAt};

/// The dataset of the folder `name` in `parent`: the scope's, and the folder's 32 digits. In use a folder is at
/// `aa/bb/` and 28 digits; in `.trash` and `.staging` its name has them all.
pub(super) fn dataset(scope: &ScopeAt<'_>, parent: &Dir, name: &OsStr) -> Result<String> {
    let text = |part: Option<&OsStr>| part.map(|p| p.to_string_lossy().into_owned()).unwrap_or_default();
    let path = parent.path();
    let name = text(Some(name));
    let digits = match name.len() {
        28 => text(path.parent().and_then(Path::file_name)) + &text(path.file_name()) + &name,
        _ => name,
    };
    Ok(format!("{}/{digits}", scope_dataset(scope)?))
}

/// Opens a folder, after making sure that its dataset is mounted there (exit 8).
pub(super) fn open(scope: &ScopeAt<'_>, parent: &Dir, name: &OsStr) -> Result<Dir> {
    let dataset = dataset(scope, parent, name)?;
    let dir = parent.open_dir(name)?;
    if dir.stat_self()?.st_dev != parent.stat_self()?.st_dev
        && dataset_at(&parent.join(name))?.as_ref() == Some(&dataset)
    {
        return Ok(dir);
    }
    Err(Error::storage(format!("the dataset {dataset} is not mounted at {}", parent.join(name).display()))
        .hint(format!("zfs mount {dataset}")))
}

pub(super) fn make(scope: &ScopeAt<'_>, parent: &Dir, name: &OsStr) -> Result<()> {
    if parent.stat(name)?.is_some() {
        return Err(HostError::path(
            "make directory",
            parent.join(name),
            std::io::Error::from_raw_os_error(libc::EEXIST),
        )
        .into());
    }
    let option = format!("mountpoint={}", parent.join(name).display());
    tool::change("create", &["-o", &option, &dataset(scope, parent, name)?])?;
    Ok(open(scope, parent, name)?.set_mode(plain::SCOPE_MODE)?)
}

/// Unmounts the snapshots of a folder that OpenZFS mounted because somebody looked at them (`.zfs/snapshot/NAME`): they
/// keep its dataset busy.
fn release_snapshots(folder: &Path) -> Result<()> {
    let below = folder.join(".zfs/snapshot");
    for mount in own_mounts()?.iter().filter(|m| m.source.contains('@') && m.point.starts_with(&below)) {
        Program::new("umount").from_package("mount").arg("--").arg(&mount.point).succeed()?;
    }
    Ok(())
}

/// Removes a dataset with its snapshots, and the directory that it was mounted at.
pub(super) fn remove(scope: &ScopeAt<'_>, parent: &Dir, name: &OsStr) -> Result<()> {
    let dataset = dataset(scope, parent, name)?;
    let unfinished = clone::is_unfinished(&dataset)?;
    if tool::get(&dataset, &["type"])?.is_some() {
        release_snapshots(&parent.join(name))?;
        clone::destroy(scope, &dataset)?;
    }
    if unfinished {
        clone::sweep(scope, &dataset)?;
    }
    // Without its dataset there is an empty directory, or nothing.
    parent.remove_dir(name)?;
    Ok(())
}

/// Takes back [`make`]; what holds something stays, and is an error.
pub(super) fn remove_empty(scope: &ScopeAt<'_>, parent: &Dir, name: &OsStr) -> Result<()> {
    match parent.open_dir(name) {
        Ok(dir) if !dir.is_empty()? => {
            let full = std::io::Error::from_raw_os_error(libc::ENOTEMPTY);
            return Err(HostError::path("remove", parent.join(name), full).into());
        }
        Err(e) if e.errno() != Some(libc::ENOENT) => return Err(e.into()),
        _ => {}
    }
    remove(scope, parent, name)
}

/// Puts a folder's dataset below that of another scope, and mounts it there. ZFS refuses where the other scope has no
/// room for it.
pub(super) fn hand_over(from: PlaceIn<'_>, to: PlaceIn<'_>) -> Result<()> {
    let old = dataset(from.scope, from.parent, from.name)?;
    let new = dataset(to.scope, to.parent, to.name)?;
    if tool::get(&new, &["type"])?.is_none() {
        let mounted = from.parent.join(from.name);
        release_snapshots(&mounted)?;
        // By itself a rename unmounts and mounts again; on zfs-fuse the dataset is still busy in between.
        if dataset_at(&mounted)?.as_ref() == Some(&old) {
            tool::change_patiently("unmount", &[&old])?;
        }
        clone::rename(from.scope, &old, &new)?;
    }
    move_to(to.scope, (from.parent, from.name), (to.parent, to.name))
}

/// Mounts a folder's dataset somewhere else. `to` has to be there, and empty: ZFS would make it, but cannot in a full
/// scope.
pub(super) fn move_to(scope: &ScopeAt<'_>, from: (&Dir, &OsStr), to: (&Dir, &OsStr)) -> Result<()> {
    let dataset = dataset(scope, to.0, to.1)?;
    let target = to.0.join(to.1);
    if dataset_at(&target)?.as_ref() != Some(&dataset) {
        if !to.0.open_dir(to.1)?.is_empty()? {
            let there = std::io::Error::from_raw_os_error(libc::EEXIST);
            return Err(HostError::path("move", &target, there).into());
        }
        release_snapshots(&from.0.join(from.1))?;
        if tool::require(&dataset, "mountpoint")? != target.to_string_lossy() {
            tool::change_patiently("set", &[&format!("mountpoint={}", target.display()), &dataset])?;
        }
        // One that was not mounted before is not mounted by that.
        if dataset_at(&target)?.is_none() {
            tool::change_patiently("mount", &[&dataset])?;
        }
        open(scope, to.0, to.1)?;
    }
    from.0.remove_dir(from.1)?;
    Ok(())
}
