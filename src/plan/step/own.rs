//! Files and directories of vfadm's own.

use std::ffi::OsStr;

use crate::domain::error::Result;
use crate::host::dir::Dir;
use crate::host::files::Ownership;

/// Files of vfadm's own belong to whoever owns the directory (root on a real host).
pub fn owned_like(dir: &Dir, mode: u32) -> Result<Ownership> {
    let stat = dir.stat_self()?;
    Ok(Ownership { mode, ids: (stat.st_uid, stat.st_gid) })
}

/// Removes an empty directory, and leaves one with content alone.
pub fn remove_if_empty(parent: &Dir, name: impl AsRef<OsStr>) -> Result<()> {
    match parent.remove_dir(name.as_ref()) {
        Err(e) if matches!(e.errno(), Some(nix::libc::ENOTEMPTY | nix::libc::EBUSY)) => Ok(()),
        other => Ok(other.map(|_| ())?),
    }
}
