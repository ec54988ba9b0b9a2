//! Writing manual pages into a directory.

use std::path::Path;

use crate::domain::error::Result;
use crate::host::dir::Dir;
use crate::host::files::{self, Ownership};

/// Writes pages into a directory, which is made if need be. Pages that are as they should be are not touched.
pub fn write(path: &Path, pages: &[(String, Vec<u8>)]) -> Result<()> {
    std::fs::create_dir_all(path).map_err(|e| crate::host::Error::path("make directory", path, e))?;
    let real = path.canonicalize().map_err(|e| crate::host::Error::path("open", path, e))?;
    let dir = Dir::open(&real)?;
    let stat = dir.stat_self()?;
    for (name, text) in pages {
        if files::read(&dir, name, 1 << 24)?.as_ref() != Some(text) {
            files::replace(&dir, name, text, Ownership { mode: 0o644, ids: (stat.st_uid, stat.st_gid) })?;
        }
    }
    Ok(())
}
