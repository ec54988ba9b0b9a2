//! Folders that are not whole yet, in the `.staging` of a scope, where no session can have them.

use std::ffi::OsStr;
use std::path::Path;

use crate::domain::error::{Error, Result};
use crate::host::dir::Dir;
use crate::plan::ScopePlace;
use crate::tree::Progress;
use crate::tree::copy::Copied;

/// How many of the copier's notes are told.
const NOTES: usize = 5;

const IMMUTABLE: &str = "files that nobody may change or remove are shown by lsattr -R, and given free by chattr -R -i -a; \
                         then the same command goes on";

/// The folder that is copied to, made if need be.
pub fn folder(scope: &ScopePlace, place: &Path) -> Result<Dir> {
    let (parents, name) = place.parent().zip(place.file_name()).unwrap_or((place, OsStr::new("")));
    let parent = parent(scope, parents)?;
    if parent.stat(name)?.is_none() {
        scope.volume.driver().make_folder(&scope.at(), &parent, name)?;
    }
    scope.open_folder(place)
}

/// A directory of vfadm's own in a scope, made if need be.
pub fn parent(scope: &ScopePlace, path: &Path) -> Result<Dir> {
    let top = scope.open_for_folders()?;
    let driver = scope.volume.driver();
    driver.despite_limit(&scope.at(), &mut || top.ensure_path(path, 0o700).map(drop))?;
    Ok(top.open_beneath(path)?)
}

/// Removes a folder and all that is in it; an absent one is fine. Can be interrupted and called again.
pub fn remove(scope: &ScopePlace, place: &Path, progress: &dyn Progress) -> Result<()> {
    if scope.lacks_folder(place)? {
        return Ok(());
    }
    let (parents, name) = place.parent().zip(place.file_name()).unwrap_or((place, OsStr::new("")));
    let parent = scope.open()?.open_beneath(parents)?;
    let removed = scope.volume.driver().remove_folder(&scope.at(), &parent, name, progress);
    removed.map_err(not_removed)?;
    Ok(parent.sync()?)
}

/// Says what to do about a removal that was not done.
pub fn not_removed(error: Error) -> Error {
    match error.is_of(&["EPERM"]) {
        true => error.hint(IMMUTABLE),
        false => error.hint("the same command goes on with it"),
    }
}

/// What a copy of the folder `key` has to tell.
pub fn told(key: &str, copied: &Copied) -> Vec<String> {
    let notes = copied.notes.iter().take(NOTES);
    let mut told: Vec<String> =
        notes.map(|(path, text)| format!("{key}: {} {text}", path.display())).collect();
    let more = copied.notes.len().saturating_sub(NOTES) as u64 + copied.more_notes;
    if more > 0 {
        told.push(format!("{key}: {more} more like these"));
    }
    told
}
