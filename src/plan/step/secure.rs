//! vfadm's own files in a root or on a volume: theirs alone to whom they belong.

use std::path::{Path, PathBuf};

use nix::libc;
use nix::sys::stat::FileStat;

use crate::domain::error::Result;
use crate::host::dir::Dir;
use crate::host::files;
use crate::registry::root::{FILE, MARKER, PRIVATE};

/// So deep are they below [`PRIVATE`].
const DEPTH: usize = 2;

fn kind(stat: &FileStat) -> u32 {
    stat.st_mode & libc::S_IFMT
}

/// What of vfadm's own files and directories in `top` others can read or write, or is somebody else's than `own` or the owner
/// of `top`; paths below it.
pub fn exposed(top: &Dir, own: u32) -> Result<Vec<PathBuf>> {
    let above = top.stat_self()?.st_uid;
    let is_exposed = |stat: &FileStat| {
        matches!(kind(stat), libc::S_IFREG | libc::S_IFDIR)
            && (stat.st_mode & 0o077 != 0 || ![own, above].contains(&stat.st_uid))
    };
    let mut found = Vec::new();
    for name in [FILE, MARKER, PRIVATE] {
        found.extend(top.stat(name)?.filter(is_exposed).map(|_| PathBuf::from(name)));
    }
    below(top, Path::new(PRIVATE), DEPTH, &is_exposed, &mut found)?;
    Ok(found)
}

fn below(
    top: &Dir,
    path: &Path,
    depth: usize,
    is_exposed: &dyn Fn(&FileStat) -> bool,
    found: &mut Vec<PathBuf>,
) -> Result<()> {
    let Ok(dir) = top.open_beneath(path) else { return Ok(()) };
    for name in dir.names()? {
        let Some(stat) = dir.stat(&name)? else { continue };
        let path = path.join(&name);
        if is_exposed(&stat) {
            found.push(path.clone());
        }
        if depth > 1 && kind(&stat) == libc::S_IFDIR {
            below(top, &path, depth - 1, is_exposed, found)?;
        }
    }
    Ok(())
}

/// Gives what is [`exposed`] to `own`, and takes the rights of others.
pub(super) fn secure(top: &Path, own: u32) -> Result<()> {
    let top = Dir::open(top)?;
    let above = top.stat_self()?.st_uid;
    for path in exposed(&top, own)? {
        let (Some(above_it), Some(name)) = (path.parent(), path.file_name()) else { continue };
        let is_top = above_it.as_os_str().is_empty();
        let parent = if is_top { top.try_clone()? } else { top.open_beneath(above_it)? };
        files::secure(&parent, name, |uid| if uid == above { uid } else { own })?;
    }
    Ok(())
}
