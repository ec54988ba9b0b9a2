//! Scopes and folders that are plain directories.

use std::ffi::OsStr;
use std::path::Path;

use nix::libc;

use crate::host::dir::Dir;
use crate::host::{self, Error};
use crate::quota::PlaceIn;
use crate::tree::Progress;
use crate::tree::remove::{RemoveOptions, RemoveSubvolume, remove};

/// Only root passes a scope: tenants reach their folders by the mounts of a session.
pub(super) const SCOPE_MODE: u32 = 0o700;

/// How deep a scope's own directories go: `.trash` and two levels of ids, one more for what a crash left.
const SCOPE_DEPTH: u32 = 4;

/// Makes the scope's directory.
pub(super) fn prepare_scope(volume: &Dir, scope: &str) -> host::Result<()> {
    volume.ensure_dir(scope, SCOPE_MODE).map(drop)
}

/// Removes the scope's directory, which may hold empty directories; an absent one is fine, anything else in it is
/// `ENOTEMPTY`.
pub(super) fn remove_scope(volume: &Dir, scope: &str) -> host::Result<()> {
    remove_empty(volume, OsStr::new(scope), SCOPE_DEPTH)
}

/// Removes an entry that is, or holds nothing but, empty directories.
pub(super) fn remove_empty_tree(parent: &Dir, name: &OsStr) -> host::Result<()> {
    remove_empty(parent, name, SCOPE_DEPTH)
}

fn remove_empty(parent: &Dir, name: &OsStr, depth: u32) -> host::Result<()> {
    match parent.remove_dir(name) {
        Err(e) if e.errno() == Some(libc::ENOTEMPTY) && depth > 0 => {}
        other => return other.map(drop),
    }
    let dir = parent.open_dir(name)?;
    for entry in dir.names()? {
        match remove_empty(&dir, &entry, depth - 1) {
            // A file: the directory that holds it is what is not empty.
            Err(e) if e.errno() == Some(libc::ENOTDIR) => {
                return Err(Error::path(
                    "remove",
                    dir.path(),
                    std::io::Error::from_raw_os_error(libc::ENOTEMPTY),
                ));
            }
            other => other?,
        }
    }
    parent.remove_dir(name).map(drop)
}

/// Makes an empty folder.
pub(super) fn make_folder(parent: &Dir, name: &OsStr) -> host::Result<()> {
    if parent.make_dir(name, SCOPE_MODE)? {
        return Ok(());
    }
    Err(Error::path("make directory", parent.join(name), std::io::Error::from_raw_os_error(libc::EEXIST)))
}

/// Removes an empty folder; an absent one is fine.
pub(super) fn remove_empty_folder(parent: &Dir, name: &OsStr) -> host::Result<()> {
    parent.remove_dir(name).map(drop)
}

/// Removes a folder and all that is in it; an absent one is fine.
pub(super) fn remove_folder(
    parent: &Dir,
    name: &OsStr,
    subvolume: RemoveSubvolume<'_>,
    progress: &dyn Progress,
) -> host::Result<()> {
    remove(parent, name, &RemoveOptions { subvolume: Some(subvolume), threads: 0 }, progress).map(drop)
}

/// Moves a folder to another scope by a rename; false when it is there already.
pub(super) fn move_once(from: PlaceIn<'_>, to: PlaceIn<'_>) -> host::Result<bool> {
    if from.parent.stat(from.name)?.is_none() && to.parent.stat(to.name)?.is_some() {
        return Ok(false);
    }
    from.parent.rename(from.name, to.parent, to.name).map(|()| true)
}

/// Opens a volume.
pub(super) fn open_volume(volume: &Path) -> host::Result<Dir> {
    Dir::open(volume)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn volume() -> (tempfile::TempDir, Dir) {
        let temp = tempfile::tempdir().unwrap();
        let dir = Dir::open(temp.path()).unwrap();
        (temp, dir)
    }

    #[test]
    fn a_scope_of_empty_directories_is_removed_twice() {
        let (temp, dir) = volume();
        prepare_scope(&dir, "s").unwrap();
        std::fs::create_dir_all(temp.path().join("s/aa/bb")).unwrap();
        std::fs::create_dir_all(temp.path().join("s/.trash")).unwrap();
        remove_scope(&dir, "s").unwrap();
        assert!(!temp.path().join("s").exists());
        remove_scope(&dir, "s").unwrap();
    }

    #[test]
    fn a_scope_with_a_file_stays_and_says_so() {
        let (temp, dir) = volume();
        prepare_scope(&dir, "s").unwrap();
        std::fs::create_dir_all(temp.path().join("s/aa")).unwrap();
        std::fs::write(temp.path().join("s/aa/file"), "x").unwrap();
        assert_eq!(remove_scope(&dir, "s").unwrap_err().errno(), Some(libc::ENOTEMPTY));
        assert!(temp.path().join("s/aa/file").exists());
    }

    #[test]
    fn a_folder_is_made_once() {
        let (_temp, dir) = volume();
        make_folder(&dir, OsStr::new("f")).unwrap();
        assert_eq!(make_folder(&dir, OsStr::new("f")).unwrap_err().errno(), Some(libc::EEXIST));
        remove_empty_folder(&dir, OsStr::new("f")).unwrap();
        remove_empty_folder(&dir, OsStr::new("f")).unwrap();
    }
}
