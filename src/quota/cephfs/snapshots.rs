//! Snapshots that tenants made: entries of the hidden directory `.snap`.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::Mutex;

use super::handle;
use crate::domain::error::Result;
use crate::host;
use crate::host::dir::Dir;
use crate::tree::Progress;
use crate::tree::each::{Found, each};

const SNAP: &str = ".snap";
/// Snapshots of a directory above are shown with this in front of their names; they are not this directory's.
const INHERITED: u8 = b'_';

/// The snapshots of one directory itself.
pub(super) fn of(dir: &Dir) -> host::Result<Vec<OsString>> {
    let mut names = dir.open_dir(SNAP)?.names()?;
    names.retain(|name| name.as_bytes().first() != Some(&INHERITED));
    names.sort();
    Ok(names)
}

/// Removes all snapshots at and below `top`.
pub(super) fn remove(top: &Dir, progress: &dyn Progress) -> Result<()> {
    let failed = Mutex::new(None);
    let look = |path: &dyn Fn() -> PathBuf, entry: Found<'_>| {
        let Found::Directory(file) = entry else { return };
        let Some(dir) = handle(file, top.join(path())) else { return };
        if let (Err(error), Ok(mut failed)) = (remove_of(&dir), failed.lock()) {
            failed.get_or_insert(error);
        }
    };
    each(top, &look, progress)?;
    match failed.into_inner().unwrap_or_default() {
        Some(error) => Err(error.into()),
        None => Ok(()),
    }
}

fn remove_of(dir: &Dir) -> host::Result<()> {
    let names = of(dir)?;
    let snap = dir.open_dir(SNAP)?;
    names.iter().try_for_each(|name| snap.remove_dir(name).map(drop))
}
