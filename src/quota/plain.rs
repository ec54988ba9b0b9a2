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

/// Makes the scope's directory.
pub(super) fn prepare_scope(volume: &Dir, scope: &str) -> host::Result<()> {
    volume.ensure_dir(scope, SCOPE_MODE).map(drop)
}

/// Removes the scope's directory with vfadm's own empty directories in it; an absent one is fine. What else is in it,
/// an empty folder too, stays, and is `ENOTEMPTY`.
pub(super) fn remove_scope(volume: &Dir, scope: &str) -> host::Result<()> {
    if !is_left(volume.remove_dir(scope))? {
        return Ok(());
    }
    remove_areas(&volume.open_dir(scope)?)?;
    volume.remove_dir(scope).map(drop)
}

/// Empties a scope of vfadm's own directories: `.trash`, `.staging`, and the two levels above folders.
pub(super) fn remove_areas(scope: &Dir) -> host::Result<()> {
    for name in scope.names()? {
        if !is_left(scope.remove_dir(&name))? {
            continue;
        }
        let shelf = scope.open_dir(&name)?;
        if !is_shelf(&name) {
            return Err(not_empty(&shelf));
        }
        for below in shelf.names()? {
            // An entry with another name is a folder, or nothing of vfadm's.
            if !is_shelf(&below) || is_left(shelf.remove_dir(&below))? {
                return Err(not_empty(&shelf));
            }
        }
        scope.remove_dir(&name)?;
    }
    Ok(())
}

/// Whether a directory was not removed because something is in it.
fn is_left(removed: host::Result<bool>) -> host::Result<bool> {
    match removed {
        Ok(_) => Ok(false),
        // A file is in the way of the directory that holds it.
        Err(e) if matches!(e.errno(), Some(libc::ENOTEMPTY | libc::ENOTDIR)) => Ok(true),
        Err(e) => Err(e),
    }
}

fn is_shelf(name: &OsStr) -> bool {
    name.len() == 2 && name.as_encoded_bytes().iter().all(u8::is_ascii_hexdigit)
}

fn not_empty(dir: &Dir) -> Error {
    Error::path("remove", dir.path(), std::io::Error::from_raw_os_error(libc::ENOTEMPTY))
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
    fn a_scope_with_an_empty_folder_stays_and_so_does_the_folder() {
        for place in [format!("s/aa/bb/{}", "c".repeat(28)), format!("s/.trash/{}", "d".repeat(32))] {
            let (temp, dir) = volume();
            let folder = temp.path().join(place);
            std::fs::create_dir_all(&folder).unwrap();
            assert_eq!(remove_scope(&dir, "s").unwrap_err().errno(), Some(libc::ENOTEMPTY));
            assert!(folder.is_dir());
        }
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
