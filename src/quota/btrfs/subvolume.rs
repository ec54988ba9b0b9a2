//! Removes a subvolume and those that a tenant made inside it.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use nix::libc;

use super::room::Charged;
use crate::host::btrfs::qgroups::Qgroups;
use crate::host::btrfs::search::{Child, children, names_to};
use crate::host::btrfs::{is_read_only, is_subvolume, set_read_only, subvolume_destroy, subvolume_id};
use crate::host::dir::Dir;
use crate::host::{Error, Result};
use crate::tree::Progress;

/// How deep nested subvolumes are followed with open handles; deeper ones are moved up first.
const DEPTH: u32 = 16;

/// How often a subvolume that is being filled with new ones is tried again.
const ROUNDS: u32 = 16;

struct Removal<'a> {
    scope: Option<Charged<'a>>,
    progress: &'a dyn Progress,
    /// The outermost subvolume: deeply nested ones are moved here.
    top: Option<Dir>,
}

/// Removes the subvolume that is the entry `name` of `parent`. Its files are not walked: the time depends on the
/// number of nested subvolumes only. An absent one is fine, and so is what is no subvolume: it is left.
pub(in crate::quota) fn remove(
    scope: Option<Charged<'_>>,
    parent: &Dir,
    name: &OsStr,
    progress: &dyn Progress,
) -> Result<()> {
    Removal { scope, progress, top: None }.remove(parent, name, 0).map(drop)
}

impl Removal<'_> {
    /// Makes a call that a full scope must not stop.
    fn make<T>(&self, mut call: impl FnMut() -> Result<T>) -> Result<T> {
        match &self.scope {
            Some(scope) => scope.make(&mut call),
            None => call(),
        }
    }

    /// True when a subvolume was removed.
    fn remove(&mut self, parent: &Dir, name: &OsStr, depth: u32) -> Result<bool> {
        let Some(dir) = present(parent.open_dir(name))? else { return Ok(false) };
        if !is_subvolume(&dir)? {
            return Ok(false);
        }
        let id = subvolume_id(&dir)?;
        if self.top.is_none() {
            self.top = Some(dir.try_clone()?);
        }
        let bytes = Qgroups::of(&dir)?.usage(id)?.map_or(0, |usage| usage.used);
        let mut rounds = ROUNDS;
        loop {
            if is_read_only(&dir)? {
                self.make(|| set_read_only(&dir, false))?;
            }
            let mut moving = false;
            for child in children(&dir, id)? {
                moving |= self.remove_child(&dir, id, &child, depth)?;
            }
            match present(self.make(|| subvolume_destroy(parent, name))) {
                Ok(_) => {
                    self.progress.add(1, bytes);
                    return Ok(true);
                }
                // Subvolumes were moved up to this one, or a tenant makes new ones: as long as some go, go on.
                Err(e) if e.errno() == Some(libc::ENOTEMPTY) && (moving || rounds > 0) => {
                    rounds = if moving { ROUNDS } else { rounds - 1 };
                }
                Err(e) => return Err(e),
            }
        }
    }

    /// True when the nested subvolume was removed or moved up.
    fn remove_child(&mut self, dir: &Dir, id: u64, child: &Child, depth: u32) -> Result<bool> {
        if self.progress.stopped() {
            return Err(Error::Interrupted);
        }
        let Some(holder) = holder(dir, id, child)? else { return Ok(false) };
        if depth < DEPTH {
            return self.remove(&holder, &child.name, depth + 1);
        }
        let Some(top) = &self.top else { return Ok(false) };
        // A name that a tenant cannot take beforehand.
        let to = format!(".vfadm-nested-{}", uuid::Uuid::new_v4().simple());
        Ok(present(self.make(|| holder.rename(&child.name, top, &to)))?.is_some())
    }
}

/// The directory that holds a nested subvolume of `dir`; `None` when a tenant moved it meanwhile.
pub(super) fn holder(dir: &Dir, id: u64, child: &Child) -> Result<Option<Dir>> {
    let Some(names) = names_to(dir, id, child.dir)? else { return Ok(None) };
    let Some(found) = present(open_long(dir, names.iter()))? else { return Ok(None) };
    let same = found.stat_self()?.st_ino == child.dir && subvolume_id(&found)? == id;
    Ok(same.then_some(found))
}

/// How many bytes of a path one call takes: the kernel takes 4095.
const LENGTH: usize = 2048;

/// Opens a directory below another one, by a path of any length, without following a link, leaving it or crossing a
/// mount.
pub(super) fn open_long<'a>(dir: &Dir, names: impl Iterator<Item = &'a OsString>) -> Result<Dir> {
    let mut here = dir.try_clone()?;
    let mut path = PathBuf::new();
    for name in names {
        path.push(name);
        if path.as_os_str().len() > LENGTH {
            here = here.open_beneath(&std::mem::take(&mut path))?;
        }
    }
    match path.as_os_str().is_empty() {
        true => Ok(here),
        false => here.open_beneath(&path),
    }
}

/// `None` for what is not (or no longer) there.
pub(super) fn present<T>(result: Result<T>) -> Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(e)
            if matches!(
                e.errno(),
                Some(libc::ENOENT | libc::ENOTDIR | libc::ELOOP | libc::EXDEV | libc::EEXIST)
            ) =>
        {
            Ok(None)
        }
        Err(e) => Err(e),
    }
}
