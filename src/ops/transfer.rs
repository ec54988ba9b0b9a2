//! Another owner, or another volume, for a folder: data, charge and record go together.
//!
//! Where the storage can, the folder is moved by one short call. Else it is set aside, recorded as `copying`, and charged
//! anew or copied without the lock; running the command again goes on with that, and a transfer to the present owner
//! takes it back. The registry calls it the old owner's until it is wholly the new one's.

mod judge;
mod work;

use std::path::PathBuf;

use super::document::{self, Paths};
use super::resolve::{self, Folder};
use super::scope;
use super::vfolder::both_ways;
use super::{Context, Done, State, in_use, invitation, lock, read, sidecar};
use crate::domain::error::{Code, Error, Result};
use crate::domain::owner::Owner;
use crate::domain::permission::Level;
use crate::domain::record::{Status, Transit, VFolder};
use crate::domain::reference::FolderRef;
use crate::plan::{self, Intent, Outcome, Plan, ScopePlace, Step};
use crate::quota::Handover;
use crate::registry::{Change, Locked, Registry};
use crate::tree::Progress;
pub use judge::require_all;
use judge::{Found, Way, judge};

/// What `vfolder transfer` was asked.
#[derive(Clone, Debug)]
pub struct Transfer {
    /// Which folder.
    pub folder: FolderRef,
    /// Whose it is to be.
    pub to: Owner,
    /// On which volume; the present one, if the new owner may use it.
    pub volume: Option<String>,
    /// What the members of a project may do with it then.
    pub permission: Option<Level>,
    /// Also from the trash, where it stays.
    pub trashed: bool,
}

/// The plan of a transfer that is not carried out.
pub fn preview(ctx: &Context, request: &Transfer, progress: &dyn Progress) -> Result<Done> {
    let reading = read(ctx)?;
    let state = reading.state(ctx);
    let plan = match judge(&state, request)? {
        Found::Settled(plan) => plan,
        Found::Way(way) => {
            way.require_room(way.weigh(progress)?).map_err(|e| way.told(&state, e))?;
            if way.is_short() {
                at_once(&state, &way)?
            } else {
                let mut plan = match way.begun {
                    true => Plan::new(Outcome::Changed, ""),
                    false => begin(&state, &way)?,
                };
                plan.tries.push(way.describe());
                finished(&state, &way, plan)?
            }
        }
        Found::Back(way) => {
            let mut plan = taken_back(&state, &way)?;
            plan.tries.push(way.describe_return());
            plan
        }
    };
    Ok(Done { plan, planned: true, warnings: reading.warnings })
}

/// Transfers a folder, or goes on with that.
pub fn transfer(ctx: &Context, request: &Transfer, progress: &dyn Progress) -> Result<Done> {
    // Without the lock: a large folder takes its time. One that another command moves meanwhile is looked at again.
    let weight = match weigh_first(ctx, request, progress) {
        Err(error) if error.code != Code::Storage => return Err(error),
        weight => weight.ok(),
    };
    let (mut locked, mut warnings) = lock(ctx)?;
    let state = State { root: &locked.root, registry: &locked.registry, actor: &ctx.actor };
    let mut way = match judge(&state, request)? {
        Found::Settled(plan) => return Ok(Done { plan, planned: false, warnings }),
        Found::Back(way) => return take_back(ctx, locked, way, progress),
        Found::Way(way) => way,
    };
    let began_before = way.begun;
    if !began_before {
        let weight = weight.map_or_else(|| way.weigh(progress), Ok)?;
        way.require_room(weight).map_err(|e| way.told(&state, e))?;
        if way.is_short() {
            let plan = at_once(&state, &way)?;
            warnings.extend(plan::execute(&mut locked, &plan, &ctx.command)?);
            locked.unlock();
            return Ok(Done { plan, planned: false, warnings });
        }
        let first = begin(&state, &way)?;
        warnings.extend(plan::execute(&mut locked, &first, &ctx.command)?);
        way = again(&locked.registry, &way)?;
    }
    if let Err(error) = require_left(&locked.registry, &way) {
        if !began_before {
            let state = State { root: &locked.root, registry: &locked.registry, actor: &ctx.actor };
            let back = taken_back(&state, &way)?;
            plan::execute(&mut locked, &back, &ctx.command)?;
        }
        return Err(error);
    }
    let intent = begin_work(ctx, &locked, &way)?;
    locked.unlock();
    warnings.extend(work::carry_over(ctx, &way, progress).map_err(|e| resumable(e, &way))?);

    let (mut locked, more) = lock(ctx)?;
    warnings.extend(more);
    let state = State { root: &locked.root, registry: &locked.registry, actor: &ctx.actor };
    let way = again(&locked.registry, &way)?;
    let mut plan = finished(&state, &way, Plan::new(Outcome::Changed, ""))?;
    plan.tries.push(way.describe());
    warnings.extend(plan::execute(&mut locked, &plan, &ctx.command)?);
    warnings.extend(intent.end_in_force());
    locked.unlock();
    Ok(Done { plan, planned: false, warnings })
}

fn weigh_first(ctx: &Context, request: &Transfer, progress: &dyn Progress) -> Result<Option<u64>> {
    let reading = read(ctx)?;
    match judge(&reading.state(ctx), request)? {
        Found::Way(way) => way.weigh(progress),
        Found::Settled(_) | Found::Back(_) => Ok(None),
    }
}

fn take_back(ctx: &Context, locked: Locked, way: Way, progress: &dyn Progress) -> Result<Done> {
    let intent = begin_work(ctx, &locked, &way)?;
    locked.unlock();
    work::carry_back(&way, progress).map_err(|e| resumable(e, &way))?;
    let (mut locked, mut warnings) = lock(ctx)?;
    let state = State { root: &locked.root, registry: &locked.registry, actor: &ctx.actor };
    let way = again(&locked.registry, &way)?;
    let mut plan = taken_back(&state, &way)?;
    plan.tries.push(way.describe_return());
    warnings.extend(plan::execute(&mut locked, &plan, &ctx.command)?);
    warnings.extend(intent.end_in_force());
    locked.unlock();
    Ok(Done { plan, planned: false, warnings })
}

/// Refuses to copy what a process still has open (exit 6): it may have been opened after it was looked at first. Aside, nobody
/// but root can reach it.
fn require_left(registry: &Registry, way: &Way) -> Result<()> {
    if way.route != Handover::Copied || way.transit.copied {
        return Ok(());
    }
    let path = way.from.place.path().join(way.aside());
    in_use::require_unused(registry, &way.folder.key(), &way.folder.record, &path)
}

fn begin_work(ctx: &Context, locked: &Locked, way: &Way) -> Result<Intent> {
    let generation = locked.registry.header.generation;
    Intent::begin(&locked.root, &ctx.command, generation, Some(way.folder.record.id), &[], &[])
}

/// The same way as the registry has it after the long work: limits may have been changed meanwhile.
fn again(registry: &Registry, way: &Way) -> Result<Way> {
    let key = way.folder.key();
    let record: VFolder = registry.require(&key)?;
    let transit = record.transfer.clone().ok_or_else(|| {
        Error::conflict(format!("the vfolder {key} is no longer being transferred to {}", way.to.place.owner))
    })?;
    Way::of_transit(registry, Folder { record, ..way.folder.clone() }, transit)
}

fn resumable(error: Error, way: &Way) -> Error {
    match error.hint {
        Some(_) => error,
        None => error.hint(both_ways(&way.folder, &way.transit)),
    }
}

/// One short change: the storage moves folder and charge by itself.
fn at_once(state: &State<'_>, way: &Way) -> Result<Plan> {
    let mut plan = Plan::new(Outcome::Changed, "");
    let to = scope::ensure(state.registry, &way.to, None, &mut plan)?;
    let record = way.arrived(state.registry)?;
    plan.steps.push(Step::HandOver {
        from: Box::new(way.from.place.clone()),
        at: PathBuf::from(way.folder.record.place()),
        to: Box::new(to.clone()),
        place: PathBuf::from(record.place()),
    });
    settle(state, way, record, &to, plan)
}

/// Sets the folder aside, where no session can have it, and makes the new owner's scope.
fn begin(state: &State<'_>, way: &Way) -> Result<Plan> {
    let mut plan = Plan::new(Outcome::Changed, "");
    scope::ensure(state.registry, &way.to, None, &mut plan)?;
    let transfer = Some(way.transit.clone());
    let record = VFolder { status: Status::Copying, transfer, ..way.folder.record.clone() };
    plan.steps.push(Step::MoveFolder {
        scope: way.from.place.clone(),
        from: PathBuf::from(way.folder.record.place()),
        to: PathBuf::from(record.place()),
    });
    plan.changes.push(Change::put(way.folder.key(), &record)?);
    plan.after.push(sidecar::folder(state.registry, &way.from.place, &way.folder.name, &record));
    Ok(plan)
}

/// Adds the last part: the folder gets its place with its new owner.
fn finished(state: &State<'_>, way: &Way, mut plan: Plan) -> Result<Plan> {
    let record = way.arrived(state.registry)?;
    let (aside, place) = (PathBuf::from(way.aside()), PathBuf::from(record.place()));
    let to = way.to.place.clone();
    plan.steps.push(match way.route {
        Handover::Copied => Step::MoveFolder { scope: to.clone(), from: aside, to: place },
        _ => {
            let (from, to) = (Box::new(way.from.place.clone()), Box::new(to.clone()));
            Step::HandOver { from, at: aside, to, place }
        }
    });
    settle(state, way, record, &to, plan)
}

/// What members of a project have of it from then on, and which grants end with it.
fn consequences(way: &Way, record: &VFolder) -> Vec<String> {
    let (key, before) = (way.to.place.owner.folder_key(&way.folder.name), &way.folder.record);
    let mut told = Vec::new();
    if let (Owner::Project(name), Some(level)) = (&way.to.place.owner, record.permission)
        && before.permission.is_none()
        && way.transit.permission.is_none()
    {
        told.push(format!(
            "the members of project {name} have {level} on it; to change that: vfadm vfolder set {key} --perm LEVEL"
        ));
    }
    let ended = before.shares.iter().filter(|(user, _)| !record.shares.contains_key(*user));
    let ended: Vec<String> = ended.map(|(user, level)| format!("{user} ({level})")).collect();
    if !ended.is_empty() {
        told.push(format!("grants that ended: {}", ended.join(", ")));
    }
    told
}

/// Adds what the registry and the sidecars say of it from then on.
fn settle(state: &State<'_>, way: &Way, record: VFolder, to: &ScopePlace, mut plan: Plan) -> Result<Plan> {
    let registry = state.registry;
    let (old, new) = (way.folder.key(), to.owner.folder_key(&way.folder.name));
    plan.message = match way.folder.record.volume == record.volume {
        true => format!("vfolder {old} transferred to {}", to.owner),
        false => format!("vfolder {old} transferred to {} on '{}'", to.owner, record.volume),
    };
    plan.warnings.extend(consequences(way, &record));
    if old != new {
        plan.changes.push(Change::remove::<VFolder>(old));
    }
    plan.changes.push(Change::put(new, &record)?);
    invitation::owner_changes(state, record.id, &to.owner, &mut plan)?;
    let stays = scope::leave(registry, &way.from, &way.folder.record, &mut plan)?;
    plan.after.push(sidecar::folder(registry, to, &way.folder.name, &record));
    if stays {
        let home = PathBuf::from(way.folder.record.home());
        plan.after.push(Step::Prune { scope: way.from.place.clone(), place: home });
    }
    let folder = Folder { owner: to.owner.clone(), name: way.folder.name.clone(), record };
    plan.item = Some(document::vfolder(registry, &mut Paths::default(), &folder, None)?);
    Ok(plan)
}

/// The folder is its owner's again.
fn taken_back(state: &State<'_>, way: &Way) -> Result<Plan> {
    let folder = &way.folder;
    let key = folder.key();
    let mut plan = Plan::new(Outcome::Changed, format!("vfolder {key} stays {}'s", folder.owner));
    let record = VFolder { status: way.final_status(), transfer: None, ..folder.record.clone() };
    plan.steps.push(Step::MoveFolder {
        scope: way.from.place.clone(),
        from: PathBuf::from(way.aside()),
        to: PathBuf::from(record.place()),
    });
    plan.changes.push(Change::put(key, &record)?);
    plan.after.push(sidecar::folder(state.registry, &way.from.place, &folder.name, &record));
    let to = &way.to.place;
    match to.volume.open() {
        Ok(_) if scope::is_needed(state.registry, &to.owner, &to.volume.name, Some(record.id))? => {}
        Ok(_) => scope::remove(&way.to, true, &mut plan)?,
        Err(error) => {
            plan.warnings.push(format!("{error}; what was copied to it stays there: {}", way.aside()));
        }
    }
    let folder = Folder { record, ..folder.clone() };
    plan.item = Some(document::vfolder(state.registry, &mut Paths::default(), &folder, None)?);
    Ok(plan)
}

/// The record of a folder with its new owner: the grants that still mean something.
fn carried(registry: &Registry, folder: &VFolder, transit: &Transit) -> Result<VFolder> {
    let to = &transit.to;
    let project = resolve::owning_project(registry, to)?;
    let mut record = VFolder { transfer: None, shares_blocks: false, ..folder.clone() };
    record.permission = match to {
        Owner::User(_) => None,
        Owner::Project(_) => Some(transit.permission.or(folder.permission).unwrap_or(Level::Rw)),
    };
    record.shares.retain(|user, level| match to {
        Owner::User(name) => user != name && *level > Level::None,
        // `none` takes something from members only.
        Owner::Project(_) => {
            *level > Level::None || project.as_ref().is_some_and(|p| p.members.contains_key(user))
        }
    });
    Ok(record)
}
