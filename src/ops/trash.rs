//! Into the trash and back: one rename inside the scope.

use std::path::{Path, PathBuf};

use super::document::{self, Paths};
use super::purge::require_left_alone;
use super::vfolder::{managed, not_ready};
use super::{State, in_use, sidecar};
use crate::domain::error::{Error, Result};
use crate::domain::permission::Action;
use crate::domain::record::{Status, VFolder};
use crate::domain::reference::FolderRef;
use crate::ops::resolve::Folder;
use crate::plan::{Outcome, Plan, Step};
use crate::quota::Work;
use crate::registry::{Change, now};

/// Plans the way into the trash.
pub fn delete(state: &State<'_>, reference: &FolderRef) -> Result<Plan> {
    let (folder, site) = managed(state, reference, "delete", Action::Delete)?;
    let key = folder.key();
    match folder.record.status {
        Status::Trashed => return Ok(Plan::unchanged(format!("vfolder {key} is in the trash already"))),
        Status::Creating | Status::Copying | Status::Purging => return Err(not_ready(&folder)),
        Status::Ready => {}
    }
    let path = site.place.path().join(folder.record.place());
    site.place.volume.driver().require_able(Work::Folders(site.place.volume.folders))?;
    if site.place.lacks_folder(Path::new(&folder.record.place()))? {
        return Err(Error::storage(format!("{} is missing", path.display()))
            .hint(format!("if it is gone for good, forget it: vfadm vfolder delete {key} --purge")));
    }
    require_left_alone(state, &folder)?;
    in_use::require_unused(state.registry, &key, &folder.record, &path)?;
    in_use::require_no_mount(&key, &path)?;
    let record = VFolder { status: Status::Trashed, trashed_at: Some(now()), ..folder.record.clone() };
    let message = format!("vfolder {key} moved to the trash");
    let mut plan = moved(state, &folder, record, &site, Outcome::Deleted, message)?;
    plan.warnings.extend(shared_warning(&folder));
    Ok(plan)
}

fn shared_warning(folder: &Folder) -> Option<String> {
    let users: Vec<&str> = folder.record.shares.keys().map(String::as_str).collect();
    (!users.is_empty()).then(|| format!("it is shared with {}", users.join(", ")))
}

/// Plans the way back.
pub fn restore(state: &State<'_>, reference: &FolderRef) -> Result<Plan> {
    let (folder, site) = managed(state, reference, "restore", Action::Delete)?;
    let key = folder.key();
    match folder.record.status {
        Status::Ready => return Ok(Plan::unchanged(format!("vfolder {key} is not in the trash"))),
        Status::Trashed => {}
        _ => return Err(not_ready(&folder)),
    }
    site.place.open_for_folders()?;
    let record = VFolder { status: Status::Ready, trashed_at: None, ..folder.record.clone() };
    moved(state, &folder, record, &site, Outcome::Changed, format!("vfolder {key} restored"))
}

fn moved(
    state: &State<'_>,
    folder: &Folder,
    record: VFolder,
    site: &super::scope::Site,
    outcome: Outcome,
    message: String,
) -> Result<Plan> {
    let mut plan = Plan::new(outcome, message);
    plan.steps.push(Step::MoveFolder {
        scope: site.place.clone(),
        from: PathBuf::from(folder.record.place()),
        to: PathBuf::from(record.place()),
    });
    plan.changes.push(Change::put(folder.key(), &record)?);
    plan.after.push(sidecar::folder(state.registry, &site.place, &folder.name, &record));
    let folder = Folder { record, ..folder.clone() };
    plan.item = Some(document::vfolder(state.registry, &mut Paths::default(), &folder, None)?);
    Ok(plan)
}
