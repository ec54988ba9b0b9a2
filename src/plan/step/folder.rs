//! Folders, and the scopes that hold them.

use std::ffi::OsStr;
use std::path::Path;

use super::{Effects, ScopePlace, VolumeAt, remove_if_empty};
use crate::domain::error::{Error, Result};
use crate::host::dir::Dir;
use crate::quota::{self, PlaceIn, Removal};
use crate::tree::Silent;

const SCOPE_MODE: u32 = 0o700;

fn split(path: &Path) -> Result<(&Path, &OsStr)> {
    path.parent()
        .zip(path.file_name())
        .ok_or_else(|| Error::storage(format!("{} is not a folder's path", path.display())))
}

pub(super) fn make_folder(scope: &ScopePlace, path: &Path, ids: (u32, u32), mode: u32) -> Result<()> {
    let (parents, name) = split(path)?;
    let top = scope.open()?;
    let parent = top.ensure_path(parents, SCOPE_MODE)?;
    let driver = scope.volume.driver();
    driver.make_folder(&scope.at(), &parent, name)?;
    let folder = driver.open_folder(&scope.at(), &parent, name)?;
    folder.set_mode(mode)?;
    folder.set_owner(ids.0, ids.1)?;
    sync_path(&top, parents)
}

/// A path below a scope; true for the top of a folder, false for a directory of vfadm's own.
type Top<'a> = (&'a Path, bool);

fn open_top(scope: &ScopePlace, (path, folder): Top<'_>) -> Result<Dir> {
    match folder {
        true => scope.open_folder(path),
        false if path.as_os_str().is_empty() => scope.open(),
        false => Ok(scope.open()?.open_beneath(path)?),
    }
}

pub(super) fn set_access(scope: &ScopePlace, top: Top<'_>, to: (u32, u32, u32)) -> Result<()> {
    give(&open_top(scope, top)?, to)
}

fn give(dir: &Dir, (uid, gid, mode): (u32, u32, u32)) -> Result<()> {
    // In this order: a change of the owner takes bits of the mode away.
    dir.set_owner(uid, gid)?;
    Ok(dir.set_mode(mode)?)
}

/// Takes back [`set_access`], unless it changed nothing, or something else is in the place of the directory.
pub(super) fn restore_access(scope: &ScopePlace, top: Top<'_>, from: (u32, u32, u32)) -> Result<()> {
    let dir = match open_top(scope, top) {
        Err(error) if is_another(&error) => return Ok(()),
        dir => dir?,
    };
    let stat = dir.stat_self()?;
    match (stat.st_uid, stat.st_gid, stat.st_mode & 0o7777) == from {
        true => Ok(()),
        false => give(&dir, from),
    }
}

/// Whether an error of an open means that the directory is not there any more, or that something is mounted over it.
fn is_another(error: &Error) -> bool {
    error.is_of(&["ENOENT", "ENOTDIR", "ELOOP", "EXDEV"])
}

/// Makes the entries of a directory, and of those above it up to `top`, durable.
fn sync_path(top: &Dir, below: &Path) -> Result<()> {
    let mut here = Some(below);
    while let Some(path) = here {
        if path.as_os_str().is_empty() {
            top.sync()?;
        } else {
            top.open_beneath(path)?.sync()?;
        }
        here = path.parent();
    }
    Ok(())
}

pub(super) fn unmake_folder(scope: &ScopePlace, path: &Path) -> Result<()> {
    let (parents, name) = split(path)?;
    let Some(top) = open_if_there(scope)? else { return Ok(()) };
    if let Ok(parent) = top.open_beneath(parents) {
        scope.volume.driver().remove_empty_folder(&scope.at(), &parent, name)?;
    }
    prune_parents(&top, parents)
}

fn open_if_there(scope: &ScopePlace) -> Result<Option<Dir>> {
    let volume = scope.volume.open()?;
    if volume.stat(&scope.dir)?.is_none() {
        return Ok(None);
    }
    Ok(Some(scope.volume.driver().open_scope(&volume, &scope.at())?))
}

/// Removes empty directories from `below` upwards, not including the scope itself.
pub fn prune_parents(top: &Dir, below: &Path) -> Result<()> {
    let mut here = below;
    while let Some((parents, name)) = here.parent().zip(here.file_name()) {
        let parent = if parents.as_os_str().is_empty() { top.try_clone() } else { top.open_beneath(parents) };
        if let Ok(parent) = parent {
            remove_if_empty(&parent, name)?;
        }
        here = parents;
    }
    Ok(())
}

pub(super) fn prune(scope: &ScopePlace, place: &Path) -> Result<()> {
    match open_if_there(scope)? {
        Some(top) => prune_parents(&top, split(place)?.0),
        None => Ok(()),
    }
}

/// The directories above the old place stay, so that a folder comes back from the trash of a full scope.
pub(super) fn move_folder(scope: &ScopePlace, from: &Path, to: &Path) -> Result<()> {
    let ((from_parents, from_name), (to_parents, to_name)) = (split(from)?, split(to)?);
    let top = scope.open()?;
    let source = top.open_beneath(from_parents).ok();
    let there = match &source {
        Some(dir) => dir.stat(from_name)?.is_some(),
        None => false,
    };
    // A move must work in a full scope too.
    let driver = scope.volume.driver();
    driver.despite_limit(&scope.at(), &mut || top.ensure_path(to_parents, SCOPE_MODE).map(|_| ()))?;
    let target = top.open_beneath(to_parents)?;
    match source {
        Some(source) if there => {
            driver.move_folder(&scope.at(), (&source, from_name), (&target, to_name))?;
            sync_path(&top, to_parents)?;
            source.sync()?;
        }
        _ if target.stat(to_name)?.is_some() => {}
        _ => return Err(missing((scope, from))),
    }
    Ok(())
}

/// A folder's path in a scope.
type At<'a> = (&'a ScopePlace, &'a Path);

/// Moves a folder to another scope of its volume. The directories above the old place stay until the change is in force.
pub(super) fn hand_over(from: At<'_>, to: At<'_>) -> Result<()> {
    let ((from_parents, from_name), (to_parents, to_name)) = (split(from.1)?, split(to.1)?);
    let driver = to.0.volume.driver();
    let above = |scope: &ScopePlace, parents: &Path| -> Result<(Dir, Dir)> {
        let top = scope.open()?;
        driver.despite_limit(&scope.at(), &mut || top.ensure_path(parents, SCOPE_MODE).map(|_| ()))?;
        let parent = top.open_beneath(parents)?;
        Ok((top, parent))
    };
    let ((_, source), (top, target)) = (above(from.0, from_parents)?, above(to.0, to_parents)?);
    if source.stat(from_name)?.is_none() && target.stat(to_name)?.is_none() {
        return Err(missing(from));
    }
    let (from_at, to_at) = (from.0.at(), to.0.at());
    driver.hand_over(
        PlaceIn { scope: &from_at, parent: &source, name: from_name },
        PlaceIn { scope: &to_at, parent: &target, name: to_name },
    )?;
    sync_path(&top, to_parents)?;
    Ok(source.sync()?)
}

/// Takes back [`hand_over`].
pub(super) fn hand_back(from: At<'_>, to: At<'_>) -> Result<()> {
    let Some(top) = open_if_there(to.0)? else { return Ok(()) };
    hand_over(to, from)?;
    prune_parents(&top, split(to.1)?.0)
}

/// Makes a folder of a snapshot of another. What an earlier run left unfinished is removed first.
pub(super) fn snapshot(from: At<'_>, to: At<'_>) -> Result<()> {
    let ((from_parents, from_name), (to_parents, to_name)) = (split(from.1)?, split(to.1)?);
    let source = from.0.open()?.open_beneath(from_parents)?;
    if source.stat(from_name)?.is_none() {
        return Err(missing(from));
    }
    let top = to.0.open()?;
    if top.open_beneath(to_parents).is_ok_and(|dir| !matches!(dir.stat(to_name), Ok(None))) {
        remove_snapshot(to.0, to.1)?;
    }
    let driver = to.0.volume.driver();
    driver.despite_limit(&to.0.at(), &mut || top.ensure_path(to_parents, SCOPE_MODE).map(|_| ()))?;
    let target = top.open_beneath(to_parents)?;
    let (from_at, to_at) = (from.0.at(), to.0.at());
    driver.snapshot(
        PlaceIn { scope: &from_at, parent: &source, name: from_name },
        PlaceIn { scope: &to_at, parent: &target, name: to_name },
    )?;
    sync_path(&top, to_parents)
}

/// Takes back [`snapshot`], however far it came.
pub(super) fn remove_snapshot(scope: &ScopePlace, path: &Path) -> Result<()> {
    let (parents, name) = split(path)?;
    let Some(top) = open_if_there(scope)? else { return Ok(()) };
    let Ok(parent) = top.open_beneath(parents) else { return Ok(()) };
    scope.volume.driver().remove_folder(&scope.at(), &parent, name, &Silent)?;
    Ok(parent.sync()?)
}

fn missing((scope, path): At<'_>) -> Error {
    Error::storage(format!("{} is missing", scope.path().join(path).display()))
        .hint("the registry has the folder, the storage does not: look with 'vfadm volume check'")
}

/// Makes the trash of a new scope: where the filesystem is full, nothing could be deleted without it.
pub(super) fn make_trash(scope: &ScopePlace) -> Result<()> {
    let top = scope.open()?;
    top.ensure_path(Path::new(".trash"), SCOPE_MODE)?;
    Ok(top.sync()?)
}

pub(super) fn remove_scope(scope: &ScopePlace, effects: &mut Effects) -> Result<()> {
    let volume = scope.volume.open()?;
    let removal = scope.volume.driver().remove_scope(&scope.at())?;
    volume.sync()?;
    if let (Removal::Draining, Some(id)) = (removal, scope.kernel_id) {
        effects.draining.push((scope.volume.name.clone(), id));
    }
    Ok(())
}

/// The directory of these scopes has gone; only their kernel objects may be left.
pub(super) fn drain(volume: &VolumeAt, ids: &[u64], effects: &mut Effects) -> Result<()> {
    volume.open()?;
    for id in ids {
        let scope =
            quota::ScopeAt { volume: &volume.path, dir: "", kernel_id: Some(*id), folders: volume.folders };
        if volume.driver().drain(&scope)? == Removal::Gone {
            effects.drained.push((volume.name.clone(), *id));
        }
    }
    Ok(())
}
