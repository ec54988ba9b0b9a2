//! The part of a transfer that takes long, done without the lock. Each can be called again.

use std::path::Path;

use super::{Way, again};
use crate::domain::error::{Error, Result};
use crate::domain::record::VFolder;
use crate::host::process;
use crate::ops::{Context, lock, sidecar, staging};
use crate::plan::{self, Outcome, Plan};
use crate::quota::Handover;
use crate::registry::{Change, Note};
use crate::tree::Progress;
use crate::tree::copy::{CopyOptions, copy};

/// How often what is copied is gone through until nothing is left to copy.
const PASSES: u32 = 8;
/// Charges the folder to its new owner, or copies it and removes the original. What could not be kept as it was is told.
pub(super) fn carry_over(ctx: &Context, way: &Way, progress: &dyn Progress) -> Result<Vec<String>> {
    let place = way.aside();
    if way.route != Handover::Copied {
        let folder = way.from.place.open_folder(Path::new(&place))?;
        way.from.place.volume.driver().recharge(&way.to.place.at(), &folder, progress)?;
        return Ok(Vec::new());
    }
    let mut warnings = Vec::new();
    if !way.transit.copied {
        warnings = copy_over(way, &place, progress)?;
        mark_copied(ctx, way)?;
    }
    staging::remove(&way.from.place, Path::new(&place), progress)?;
    Ok(warnings)
}

/// Undoes what was done of it.
pub(super) fn carry_back(way: &Way, progress: &dyn Progress) -> Result<()> {
    let place = way.aside();
    if way.route == Handover::Copied {
        // Where the volume has gone, so has the copy; the original is whole.
        return if way.to.place.volume.open().is_ok() {
            staging::remove(&way.to.place, Path::new(&place), progress)
        } else {
            Ok(())
        };
    }
    let folder = way.from.place.open_folder(Path::new(&place))?;
    way.from.place.volume.driver().recharge(&way.from.place.at(), &folder, progress)
}

fn copy_over(way: &Way, place: &str, progress: &dyn Progress) -> Result<Vec<String>> {
    // After a crash of the host nobody knows what of an earlier copy is on the disk.
    if way.transit.boot_id != process::boot_id() {
        staging::remove(&way.to.place, Path::new(place), progress)?;
    }
    let original = way.from.place.open_folder(Path::new(place))?;
    let target = staging::folder(&way.to.place, Path::new(place))?;
    let options = CopyOptions::default();
    let mut copied = copy(&original, &target, &options, progress)?;
    let warnings = staging::told(&way.folder.key(), &copied);
    // The original is removed next: what somebody moved past the copier has to be in the copy too.
    for _ in 1..PASSES {
        copied = copy(&original, &target, &options, progress)?;
        if copied.found_all() {
            return Ok(warnings);
        }
    }
    Err(Error::in_use(format!("the vfolder {} is being changed while it is copied", way.folder.key())))
}

/// From here on the copy counts.
fn mark_copied(ctx: &Context, way: &Way) -> Result<()> {
    let (mut locked, _) = lock(ctx)?;
    let way = again(&locked.registry, way)?;
    let mut record = way.folder.record.clone();
    if let Some(transit) = &mut record.transfer {
        transit.copied = true;
    }
    let mut plan = Plan::new(Outcome::Changed, "");
    plan.note = Note::STORAGE;
    plan.changes.push(Change::put::<VFolder>(way.folder.key(), &record)?);
    plan.after.push(sidecar::folder(&locked.registry, &way.from.place, &way.folder.name, &record));
    plan::execute(&mut locked, &plan, &ctx.command)?;
    locked.unlock();
    Ok(())
}
