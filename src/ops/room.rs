//! Whether what is going to come fits: into the limit of a scope, and on the filesystem below it.

use super::scope::{self, Site};
use crate::domain::error::{Error, Result};
use crate::domain::size;
use crate::host::space::{free_inodes, space};

/// What a folder takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Need {
    /// Bytes, as they are charged.
    pub bytes: u64,
    /// Files, directories and all else that has an inode; `None` where that was not counted.
    pub inodes: Option<u64>,
}

/// Used bytes and limit of a scope, where it is limited.
pub fn limit(site: &Site) -> Result<Option<(u64, u64)>> {
    if !site.is_present() {
        return Ok(scope::limit_for(site, None)?.0.map(|limit| (0, limit)));
    }
    let place = &site.place;
    let reading = place.volume.driver().read_one(&place.at())?;
    Ok(reading.used.zip(reading.limit))
}

/// Refuses what a scope has no room for (exit 8).
pub fn require_in_scope(site: &Site, key: &str, need: Need) -> Result<()> {
    let Some((used, limit)) = limit(site)? else { return Ok(()) };
    if need.bytes == 0 || used.saturating_add(need.bytes) <= limit {
        return Ok(());
    }
    let (left, name) = (limit.saturating_sub(used), &site.place.volume.name);
    Err(Error::storage(format!(
        "{} has {} left of {} on '{name}', and {key} takes {}",
        site.place.owner,
        size::human(left),
        size::human(limit),
        size::human(need.bytes)
    ))
    .hint(format!("vfadm quota set {} SIZE --volume {name}", site.place.owner))
    .detail("needed_bytes", need.bytes)
    .detail("left_bytes", left))
}

/// Refuses what the filesystem of a scope has no room for (exit 8).
pub fn require_on_volume(site: &Site, key: &str, need: Need) -> Result<()> {
    let volume = &site.place.volume;
    let dir = volume.open()?;
    let left = space(&dir)?.available;
    if need.bytes > left {
        return Err(Error::storage(format!(
            "the volume '{}' has {} left, and {key} takes {}",
            volume.name,
            size::human(left),
            size::human(need.bytes)
        ))
        .detail("needed_bytes", need.bytes)
        .detail("left_bytes", left));
    }
    match free_inodes(&dir)?.zip(need.inodes) {
        Some((left, inodes)) if inodes > left => Err(Error::storage(format!(
            "the volume '{}' has {left} inodes left, and {key} takes {inodes}",
            volume.name
        ))
        .detail("needed_inodes", inodes)
        .detail("left_inodes", left)),
        _ => Ok(()),
    }
}
