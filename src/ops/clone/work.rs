//! The part of a clone that takes long, done without the lock. Each can be called again.

use std::ffi::OsStr;
use std::path::Path;

use super::judge::{Means, Way};
use crate::domain::error::{Error, Result};
use crate::host::process;
use crate::ops::staging;
use crate::quota::PlaceIn;
use crate::tree::Progress;
use crate::tree::copy::{Copied, CopyOptions, copy};

/// Fills the new folder. `restart`: what is there already is thrown away first.
pub(super) fn fill(way: &Way, restart: bool, progress: &dyn Progress) -> Result<Copied> {
    // After a crash of the host nobody knows what of an earlier copy is on the disk.
    let lost = way.target.record.clone.as_ref().is_some_and(|c| c.boot_id != process::boot_id());
    if restart || lost || way.means == Means::Stream {
        throw_away(way, progress)?;
    }
    if way.means == Means::Stream && stream(way, progress)? {
        return Ok(Copied::default());
    }
    let place = way.target.record.place();
    let source = way.from.place.open_folder(Path::new(&way.source.record.place()))?;
    let target = staging::folder(&way.to.place, Path::new(&place))?;
    let options = CopyOptions { threads: 0, share: way.may_share, strip: true };
    Ok(copy(&source, &target, &options, progress)?)
}

fn stream(way: &Way, progress: &dyn Progress) -> Result<bool> {
    let (at, place) = (way.source.record.place(), way.target.record.place());
    let split = |path: &str| -> (std::path::PathBuf, std::ffi::OsString) {
        let path = Path::new(path);
        let name = path.file_name().unwrap_or(OsStr::new("")).to_owned();
        (path.parent().unwrap_or(path).to_owned(), name)
    };
    let ((from_parents, from_name), (to_parents, to_name)) = (split(&at), split(&place));
    let source = way.from.place.open()?.open_beneath(&from_parents)?;
    let target = staging::parent(&way.to.place, &to_parents)?;
    let (from, to) = (way.from.place.at(), way.to.place.at());
    way.from.place.volume.driver().send(
        PlaceIn { scope: &from, parent: &source, name: &from_name },
        PlaceIn { scope: &to, parent: &target, name: &to_name },
        progress,
    )
}

/// Removes what was copied.
pub(super) fn throw_away(way: &Way, progress: &dyn Progress) -> Result<()> {
    staging::remove(&way.to.place, Path::new(&way.target.record.place()), progress)
}

/// True where a limit or the disk was full.
pub(super) fn is_full(error: &Error) -> bool {
    error.is_of(&["ENOSPC", "EDQUOT"])
}
