//! What stands beside the folders on a volume, for the day the registry is lost.

use std::path::PathBuf;

use super::{VolumeAt, owned_like, remove_if_empty};
use crate::domain::error::Result;
use crate::host::files;
use crate::registry::root::PRIVATE;

pub(super) fn path(volume: &VolumeAt, scope: &str, name: &str) -> PathBuf {
    volume.path.join(PRIVATE).join(scope).join(format!("{name}.yaml"))
}

pub(super) fn write(volume: &VolumeAt, scope: &str, name: &str, text: &str) -> Result<()> {
    let dir = volume.open()?.ensure_dir(PRIVATE, 0o700)?.ensure_dir(scope, 0o700)?;
    Ok(files::replace(&dir, &format!("{name}.yaml"), text.as_bytes(), owned_like(&dir, 0o600)?)?)
}

pub(super) fn remove(volume: &VolumeAt, scope: &str, name: &str) -> Result<()> {
    let private = volume.open()?.ensure_dir(PRIVATE, 0o700)?;
    if private.stat(scope)?.is_none() {
        return Ok(());
    }
    let dir = private.open_dir(scope)?;
    if name == "scope" {
        for entry in dir.names()? {
            dir.remove_file(entry)?;
        }
        return remove_if_empty(&private, scope);
    }
    dir.remove_file(format!("{name}.yaml"))?;
    dir.remove_file(files::draft_name(&format!("{name}.yaml")))?;
    Ok(())
}
