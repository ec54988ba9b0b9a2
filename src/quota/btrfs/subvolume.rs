//! Removes a subvolume and those that a tenant made inside it.

use std::ffi::OsStr;

use nix::libc;

use super::room::Charged;
use crate::host::btrfs::qgroups::Qgroups;
use crate::host::btrfs::search::{Child, children};
use crate::host::btrfs::{
    ROOT_INODE, is_read_only, is_subvolume, path_of_inode, set_read_only, subvolume_destroy, subvolume_id,
};
use crate::host::dir::Dir;
use crate::host::{Error, Result};
use crate::tree::Progress;
use crate::tree::remove::{RemoveOptions, remove as remove_tree};

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
    let mut removal = Removal { scope, progress, top: None };
    match removal.remove(parent, name, 0) {
        // A nested subvolume at a path that is too long to be looked up: walk.
        Err(e) if e.errno() == Some(libc::ENAMETOOLONG) => {}
        other => return other.map(drop),
    }
    let nested = |parent: &Dir, name: &OsStr| remove(scope, parent, name, progress);
    let options = RemoveOptions { subvolume: Some(&nested), threads: 1 };
    let dir = parent.open_dir(name)?;
    for entry in dir.names()? {
        remove_tree(&dir, &entry, &options, progress)?;
    }
    removal.remove(parent, name, 0).map(drop)
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

/// The directory that holds a nested subvolume; `None` when a tenant moved it meanwhile.
fn holder(dir: &Dir, id: u64, child: &Child) -> Result<Option<Dir>> {
    if child.dir == ROOT_INODE {
        return dir.try_clone().map(Some);
    }
    let Some(path) = present(path_of_inode(dir, id, child.dir))? else { return Ok(None) };
    let Some(found) = present(dir.open_beneath(path.as_ref()))? else { return Ok(None) };
    let same = found.stat_self()?.st_ino == child.dir && subvolume_id(&found)? == id;
    Ok(same.then_some(found))
}

/// `None` for what is not (or no longer) there.
fn present<T>(result: Result<T>) -> Result<Option<T>> {
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
