//! Removing folders for good. The registry says so first; the removal runs without the lock, and running the
//! command again goes on with it.

use std::ffi::OsStr;
use std::path::Path;

use super::document::{self, Paths};
use super::resolve::Folder;
use super::scope::{self, Site};
use super::vfolder::{managed, not_ready};
use super::{Context, Done, State, claim, in_use, lock, read, sidecar, staging};
use crate::domain::error::{Error, Result};
use crate::domain::permission::Action;
use crate::domain::record::{Invitation, Status, VFolder, Volume};
use crate::domain::reference::FolderRef;
use crate::plan::intent::long_work_on;
use crate::plan::{self, Effects, Intent, Outcome, Plan, Step, VolumeAt};
use crate::quota::Work;
use crate::registry::{Change, Note, Registry};
use crate::tree::Progress;

/// Checks that a folder can be purged. `from_ready`: also one that is not in the trash.
pub(super) fn check(state: &State<'_>, reference: &FolderRef, from_ready: bool) -> Result<(Folder, Site)> {
    let (folder, site) = managed(state, reference, "purge", Action::Delete)?;
    let key = folder.key();
    if folder.record.status == Status::Ready && !from_ready {
        return Err(Error::conflict(format!("the vfolder {key} is not in the trash"))
            .hint(format!("vfadm vfolder delete {key} --purge does both")));
    }
    // What is on its way to another owner is whole; what was being made or filled is dropped so.
    if folder.record.transfer.is_some() {
        return Err(not_ready(&folder));
    }
    site.place.volume.driver().require_able(Work::Folders(site.place.volume.folders))?;
    // One whose data is gone can be forgotten.
    if !site.place.is_gone()? {
        site.place.open()?;
    }
    if !scope::is_needed(state.registry, &folder.owner, &folder.record.volume, Some(folder.record.id))? {
        site.place.volume.driver().require_able(Work::Scope)?;
    }
    let path = site.place.path().join(folder.record.place());
    require_left_alone(state, &folder)?;
    in_use::require_unused(state.registry, &key, &folder.record, &path)?;
    in_use::require_no_mount(&key, &path)?;
    Ok((folder, site))
}

/// Refuses while a command works on the folder without the lock, or clones it (exit 6).
pub(super) fn require_left_alone(state: &State<'_>, folder: &Folder) -> Result<()> {
    let mut worked_on = vec![folder.record.id];
    worked_on.extend(claim::clones_of(state.registry, folder.record.id)?);
    for id in worked_on {
        if let Some(by) = long_work_on(state.root, id)? {
            return Err(Error::in_use(format!(
                "'{}' (pid {} on {}) is at work on the vfolder {}",
                by.command,
                by.pid,
                by.host,
                folder.key()
            )));
        }
    }
    Ok(())
}

/// What a question before purging says; nothing is changed.
pub fn preview(ctx: &Context, reference: &FolderRef, from_ready: bool) -> Result<Done> {
    let reading = read(ctx)?;
    let (folder, site) = check(&reading.state(ctx), reference, from_ready)?;
    let key = folder.key();
    let mut plan = Plan::new(Outcome::Deleted, format!("vfolder {key} purged"));
    let path = site.place.path().join(folder.record.place());
    plan.tries = vec![removal(&path)];
    plan.item = Some(document::vfolder(&reading.registry, &mut Paths::default(), &folder, None)?);
    plan.changes.push(Change::remove::<VFolder>(key));
    plan.after.push(sidecar::no_folder(&site.place, &folder.record));
    Ok(Done { plan, planned: true, warnings: reading.warnings })
}

fn removal(path: &Path) -> String {
    format!("remove {} and all that is in it, for good", path.display())
}

/// Purges one folder.
pub fn purge(
    ctx: &Context,
    reference: &FolderRef,
    from_ready: bool,
    progress: &dyn Progress,
) -> Result<Done> {
    let (mut locked, mut warnings) = lock(ctx)?;
    let state = State { root: &locked.root, registry: &locked.registry, actor: &ctx.actor };
    let (folder, site) = check(&state, reference, from_ready)?;
    let key = folder.key();
    let item = document::vfolder(&locked.registry, &mut Paths::default(), &folder, None)?;
    // From here on nobody can restore it; a folder that was in use is moved aside first, under the lock.
    let doomed = VFolder { status: Status::Purging, ..folder.record.clone() };
    let mut first = Plan::new(Outcome::Changed, "");
    first.note = Note::STORAGE;
    let gone = site.place.lacks_folder(Path::new(&folder.record.place()))?;
    if matches!(folder.record.status, Status::Creating | Status::Copying | Status::Ready) && !gone {
        first.steps.push(Step::MoveFolder {
            scope: site.place.clone(),
            from: folder.record.place().into(),
            to: doomed.place().into(),
        });
    }
    first.changes.push(Change::put(key.clone(), &doomed)?);
    first.after.push(sidecar::folder(&locked.registry, &site.place, &folder.name, &doomed));
    warnings.extend(plan::execute(&mut locked, &first, &ctx.command)?);
    let generation = locked.registry.header.generation;
    let intent = Intent::begin(&locked.root, &ctx.command, generation, Some(folder.record.id), &[], &[])?;
    locked.unlock();

    remove(&site, &doomed, progress)?;

    let (mut locked, more) = lock(ctx)?;
    warnings.extend(more);
    let mut last = finish(&locked.registry, &folder)?;
    last.item = Some(item);
    last.tries.push(removal(&site.place.path().join(folder.record.place())));
    warnings.extend(plan::execute(&mut locked, &last, &ctx.command)?);
    if let Err(error) = drain(&mut locked, &folder.record.volume, &ctx.command) {
        warnings.push(format!("what earlier scopes left in the kernel stays for a while: {error}"));
    }
    warnings.extend(intent.end_in_force());
    locked.unlock();
    last.message = format!("vfolder {key} purged");
    Ok(Done { plan: last, planned: false, warnings })
}

fn remove(site: &Site, folder: &VFolder, progress: &dyn Progress) -> Result<()> {
    if site.place.is_gone()? {
        return Ok(());
    }
    let scope = site.place.open()?;
    let Ok(trash) = scope.open_beneath(Path::new(".trash")) else { return Ok(()) };
    site.place
        .volume
        .driver()
        .remove_folder(&site.place.at(), &trash, OsStr::new(&folder.digits()), progress)
        .map_err(staging::not_removed)?;
    // The directories of its place were kept for a return from the trash.
    if let Some(parents) = Path::new(&folder.home()).parent() {
        plan::prune_parents(&scope, parents)?;
    }
    Ok(trash.sync()?)
}

/// The end of a folder: record, invitations, and with its last one the scope.
pub(super) fn finish(registry: &Registry, folder: &Folder) -> Result<Plan> {
    let mut plan = Plan::new(Outcome::Deleted, "");
    plan.note = Note::STORAGE;
    let key = folder.key();
    plan.changes.push(Change::remove::<VFolder>(key));
    for invitation in registry.find_text::<Invitation>(&folder.record.id.to_string()) {
        plan.changes.push(Change::remove::<Invitation>(invitation));
    }
    // Read again: the limit may have been changed while the folder was removed.
    let site = Site::of_folder(registry, &folder.owner, &folder.record)?;
    scope::leave(registry, &site, &folder.record, &mut plan)?;
    Ok(plan)
}

/// Tries to remove what earlier scopes of the volume left in the kernel.
pub fn drain(locked: &mut crate::registry::Locked, volume: &str, command: &str) -> Result<()> {
    let Some(record) = locked.registry.get::<Volume>(volume)?.filter(|v| !v.draining.is_empty()) else {
        return Ok(());
    };
    let at = VolumeAt::new(locked.registry.header.registry, volume, &record);
    let step = Step::Drain { volume: at, ids: record.draining.clone() };
    let mut effects = Effects::default();
    let generation = locked.registry.header.generation;
    let intent = Intent::begin(&locked.root, command, generation, None, &[], std::slice::from_ref(&step))?;
    step.run(&mut effects)?;
    plan::commit_effects(locked, Vec::new(), &effects, Note::STORAGE)?;
    intent.end()
}

/// Which folders `trash empty` removes.
#[derive(Clone, Debug, Default)]
pub struct TrashFilter {
    /// In the trash for at least so long.
    pub older_than: Option<std::time::Duration>,
    /// Of this owner.
    pub owner: Option<crate::domain::owner::Owner>,
    /// On this volume.
    pub volume: Option<String>,
}

/// The folders in the trash that a filter names, and those whose purge was cut off.
pub fn trashed(state: &State<'_>, filter: &TrashFilter) -> Result<Vec<Folder>> {
    let now = crate::registry::now();
    let mut found = Vec::new();
    if let Some(volume) = &filter.volume {
        state.registry.require::<Volume>(volume)?;
    }
    if let Some(owner) = &filter.owner {
        super::resolve::owner(state.registry, owner)?;
    }
    for (key, record) in state.registry.all::<VFolder>()? {
        let Some((owner, name)) = crate::domain::owner::split_folder_key(&key) else { continue };
        let old = |record: &VFolder| match (filter.older_than, record.trashed_at) {
            (Some(age), Some(at)) => now.as_second() - at.as_second() >= age.as_secs() as i64,
            (Some(_), None) => false,
            (None, _) => true,
        };
        let project = super::resolve::owning_project(state.registry, &owner)?;
        if matches!(record.status, Status::Trashed | Status::Purging)
            && filter.owner.as_ref().is_none_or(|o| *o == owner)
            && filter.volume.as_ref().is_none_or(|v| *v == record.volume)
            && old(&record)
            && crate::domain::permission::manages(state.actor, &owner, project.as_ref())
        {
            found.push(Folder { owner, name: name.to_owned(), record });
        }
    }
    Ok(found)
}
