//! Volumes: their directory, their marker, a trial of their limits.

use std::ffi::OsStr;
use std::path::Path;

use nix::libc;

use super::{VolumeAt, owned_like, remove_if_empty};
use crate::domain::error::{Error, Result};
use crate::host::dir::Dir;
use crate::host::error::errno_name;
use crate::host::files;
use crate::quota;
use crate::registry::root::{FILE, LAYOUT, MARKER, PRIVATE};

/// The layout of Backend.AI volumes that has quota scopes.
const VERSION: &[u8] = b"3\n";

pub(super) fn make_volume_dir(path: &Path) -> Result<()> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(Error::usage(format!("{} cannot be a volume", path.display())));
    };
    let parent = Dir::open(parent)?;
    if parent.make_dir(name, 0o755)? {
        parent.open_dir(name)?.set_mode(0o755)?;
        parent.sync()?;
    }
    Ok(())
}

pub(super) fn verify(volume: &VolumeAt) -> Result<()> {
    let proof = quota::prove(&*volume.driver(), &volume.path)?;
    if proof.enforced {
        return Ok(());
    }
    let met = proof.errno.map_or("nothing stopped it".to_owned(), |n| format!("it got {}", errno_name(n)));
    Err(Error::storage(format!(
        "limits of the driver {} do not hold at {}: uid 65534 wrote {} bytes under a limit of {}, and {met}",
        volume.storage.driver.name(),
        volume.path.display(),
        proof.written,
        proof.limit
    ))
    .hint("--no-verify adds the volume all the same, --quota none without limits"))
}

pub(super) fn mark(volume: &VolumeAt, marker: &str, update: bool) -> Result<()> {
    if update {
        volume.open()?;
    }
    let dir = Dir::open(&volume.path)?;
    if !has_layout(&dir) {
        files::replace(&dir, LAYOUT, VERSION, owned_like(&dir, 0o644)?)?;
    }
    dir.ensure_dir(PRIVATE, 0o700)?;
    write_marker(&dir, marker)
}

/// Whether a volume says how it is laid out.
pub fn has_layout(dir: &Dir) -> bool {
    let read = files::read(dir, LAYOUT, 64).ok().flatten();
    read.is_some_and(|text| text.trim_ascii() == VERSION.trim_ascii())
}

pub(super) fn write_marker(dir: &Dir, marker: &str) -> Result<()> {
    Ok(files::replace(dir, MARKER, marker.as_bytes(), owned_like(dir, 0o600)?)?)
}

pub(super) fn remove_marker(volume: &VolumeAt) -> Result<()> {
    let dir = Dir::open(&volume.path)?;
    if dir.stat(MARKER)?.is_none() {
        return Ok(());
    }
    let dir = volume.open()?;
    dir.remove_file(MARKER)?;
    if let Ok(private) = dir.open_dir(PRIVATE) {
        private.remove_file(FILE)?;
        remove_if_empty(&dir, PRIVATE)?;
    }
    Ok(dir.sync()?)
}

/// Takes back [`mark`] of a new volume, as far as it came. Where there is more of vfadm's, it was a volume before: the marker
/// of one was lost, and only that was to be written.
pub(super) fn unmark(volume: &VolumeAt) -> Result<()> {
    if !volume.path.exists() {
        return Ok(());
    }
    let dir = Dir::open(&volume.path)?;
    remove_own(&dir, MARKER)?;
    if dir.stat(PRIVATE)?.is_some() {
        if !dir.open_dir(PRIVATE)?.names()?.is_empty() {
            return Ok(());
        }
        remove_if_empty(&dir, OsStr::new(PRIVATE))?;
    }
    remove_own(&dir, LAYOUT)
}

/// Removes a file of vfadm's and its draft; what else has the name was not made by it.
fn remove_own(dir: &Dir, name: &str) -> Result<()> {
    for name in [name, &files::draft_name(name)] {
        if dir.stat(name)?.is_some_and(|stat| stat.st_mode & libc::S_IFMT == libc::S_IFREG) {
            dir.remove_file(name)?;
        }
    }
    Ok(())
}
