//! The size of a volume that is an image.

use std::path::{Path, PathBuf};

use crate::domain::error::{Error, Result};
use crate::domain::record::Volume;
use crate::domain::size::{self, Limit};
use crate::host::image;
use crate::ops::document;
use crate::ops::scope::Site;
use crate::plan::{Outcome, Plan, Step};
use crate::registry::Registry;

/// The largest block of a filesystem: what is less is not missing.
const BLOCK: u64 = 64 << 10;

/// Plans the growth of the image that a dedicated volume is. The size of any other volume is not vfadm's to change, and
/// no filesystem is made smaller under its owner (exit 8).
pub fn grow(registry: &Registry, site: &Site, volume: &Volume, limit: Limit) -> Result<Plan> {
    let at = &site.place.volume;
    let owner = &site.place.owner;
    at.open()?;
    let refusal = Error::storage(format!(
        "the limit of {owner} is the size of its volume '{}', and cannot be set",
        at.name
    ));
    let (Some(source), Some(bytes)) = (volume.mount.as_ref().filter(|m| m.image), limit.0) else {
        return Err(refusal.hint(match volume.mount.as_ref().is_some_and(|m| m.image) {
            true => "say how large its image is to be".to_owned(),
            false => format!("grow the filesystem at {} (lvextend -r, resize2fs, xfs_growfs)", volume.path),
        }));
    };
    let file = PathBuf::from(&source.source);
    let now = image::size(&file)?;
    let message = format!("the image of '{}' is {}", at.name, size::human(bytes));
    if bytes < now {
        return Err(Error::storage(format!(
            "the image {} is {}: vfadm grows an image, it cannot shrink one",
            file.display(),
            size::human(now)
        ))
        .hint(format!("make a smaller volume, and move what is in {} there", volume.path)));
    }
    let kind = source.kind.clone().unwrap_or_default();
    // A file can be larger than the filesystem in it, where a growth was cut off.
    let device = image::loop_device(&file).unwrap_or_else(|| file.clone());
    let mut plan = if bytes == now && image::filesystem_size(&kind, &at.path, &device)? + BLOCK > bytes {
        Plan::unchanged(message)
    } else {
        Plan::new(Outcome::Changed, message)
    };
    plan.item = Some(document::volume(registry, &at.name, volume));
    if plan.outcome == Outcome::Unchanged {
        return Ok(plan);
    }
    require_room(&file, bytes - now)?;
    plan.steps.push(Step::GrowImage { volume: at.clone(), path: file, kind, bytes });
    Ok(plan)
}

/// Refuses an image that its filesystem has no room for.
pub(super) fn require_room(file: &Path, bytes: u64) -> Result<()> {
    let parent = file.parent().unwrap_or(file);
    let room = crate::host::files::room(parent)?;
    let free = room.total.saturating_sub(room.used);
    if bytes <= free {
        return Ok(());
    }
    Err(Error::storage(format!(
        "there is no room for {} more at {}: {} are free",
        size::human(bytes),
        parent.display(),
        size::human(free)
    )))
}
