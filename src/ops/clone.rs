//! Another folder with what a folder holds.
//!
//! Where the storage has snapshots, it is one short change under the lock. Else the new folder is recorded as `copying`,
//! filled in the `.staging` of its scope without the lock, and published by one rename; running the command again goes on
//! with one that was cut off.

mod judge;
mod work;

use std::path::PathBuf;

use serde_json::{Map, Value, json};

use super::document::{self, Paths};
use super::resolve::{self, Folder};
use super::{Context, Done, State, lock, read, room, scope, sidecar};
use crate::domain::error::{Code, Error, Result};
use crate::domain::quota::Folders;
use crate::domain::record::{Status, VFolder};
use crate::domain::reference::FolderRef;
use crate::domain::size;
use crate::plan::{self, Intent, Outcome, Plan, Step};
use crate::registry::{Change, Locked, Note, Registry};
use crate::tree::Progress;
use crate::tree::copy::Copied;
use judge::{Means, Way, Weight, judge};

/// What `vfolder clone` was asked.
#[derive(Clone, Debug)]
pub struct Clone {
    /// Of which folder.
    pub from: FolderRef,
    /// Owner and name of the new one.
    pub to: FolderRef,
    /// On which volume; where the owner's folders go, if none is named.
    pub volume: Option<String>,
    /// By a snapshot also where the owner changes: what both share stays charged where it is.
    pub linked: bool,
    /// Also where it does not fit, as far as can be told.
    pub allow_over: bool,
    /// Throws away what an earlier run copied.
    pub restart: bool,
}

/// Told before the first byte: which way it goes.
pub type Announce<'a> = &'a dyn Fn(&str);

/// The plan of a clone that is not carried out.
pub fn preview(ctx: &Context, request: &Clone, progress: &dyn Progress) -> Result<Done> {
    let reading = read(ctx)?;
    let state = reading.state(ctx);
    let way = judge(&state, request)?;
    let weight = way.weigh(progress)?;
    let mut warnings = require_room(&way, request, weight)?;
    warnings.extend(reading.warnings.iter().cloned());
    let mut plan = match way.means {
        Means::Snapshot => at_once(&state, &way)?,
        _ => {
            let mut plan = Plan::new(Outcome::Created, "");
            if !way.begun {
                scope::ensure(state.registry, &way.to, None, &mut plan)?;
            }
            plan.tries.push(way.describe(weight));
            finished(&state, &way, plan, &Copied::default())?
        }
    };
    // Nobody knows yet what will have been copied.
    plan.message = way.message();
    Ok(Done { plan, planned: true, warnings })
}

/// Clones a folder, or goes on with that.
pub fn clone(
    ctx: &Context,
    request: &Clone,
    progress: &dyn Progress,
    announce: Announce<'_>,
) -> Result<Done> {
    // Without the lock: a large folder takes its time. One that another command moves meanwhile is looked at again.
    let weight = weigh_first(ctx, request, progress)?;
    let (mut locked, mut warnings) = lock(ctx)?;
    let state = State { root: &locked.root, registry: &locked.registry, actor: &ctx.actor };
    let mut way = judge(&state, request)?;
    let tight = require_room(&way, request, weight)?;
    announce(&way.describe(weight));
    tight.iter().for_each(|text| announce(text));
    if way.means == Means::Snapshot {
        let plan = at_once(&state, &way)?;
        warnings.extend(plan::execute(&mut locked, &plan, &ctx.command)?);
        locked.unlock();
        return Ok(Done { plan, planned: false, warnings });
    }
    if !way.begun {
        let first = begin(&state, &way)?;
        warnings.extend(plan::execute(&mut locked, &first, &ctx.command)?);
        way = again(&locked.registry, &way)?;
    }
    let intent = begin_work(ctx, &locked, &way)?;
    locked.unlock();
    if let Some(weight) = weight {
        progress.expect(weight.entries, weight.need.bytes);
    }
    let copied = match work::fill(&way, request.restart, progress) {
        Ok(copied) => copied,
        Err(error) if work::is_full(&error) => return Err(give_up(ctx, &way, intent, progress, error)),
        Err(error) => return Err(resumable(error, &way)),
    };
    warnings.extend(super::staging::told(&way.target.key(), &copied));

    let (mut locked, more) = lock(ctx)?;
    warnings.extend(more);
    let state = State { root: &locked.root, registry: &locked.registry, actor: &ctx.actor };
    let way = again(&locked.registry, &way)?;
    let mut plan = finished(&state, &way, Plan::new(Outcome::Created, ""), &copied)?;
    plan.tries.push(way.describe(weight));
    warnings.extend(plan::execute(&mut locked, &plan, &ctx.command)?);
    warnings.extend(intent.end_in_force());
    locked.unlock();
    Ok(Done { plan, planned: false, warnings })
}

fn weigh_first(ctx: &Context, request: &Clone, progress: &dyn Progress) -> Result<Option<Weight>> {
    let reading = read(ctx)?;
    let way = judge(&reading.state(ctx), request)?;
    match way.weigh(progress) {
        Err(error) if error.code != Code::Storage => Err(error),
        weight => Ok(weight.ok().flatten()),
    }
}

/// Refuses what does not fit (exit 8), or warns of it where that was asked for.
fn require_room(way: &Way, request: &Clone, weight: Option<Weight>) -> Result<Vec<String>> {
    let Some(Weight { need, .. }) = weight.filter(|_| !way.begun) else { return Ok(Vec::new()) };
    let key = match way.means {
        Means::Snapshot if !way.charges_both() => format!("a clone of {}", way.source.key()),
        _ => way.source.key(),
    };
    let mut tight = room::require_in_scope(&way.to, &key, need).err();
    if tight.is_none() && way.takes_blocks() {
        tight = room::require_on_volume(&way.to, &key, need).err();
    }
    match tight {
        None => Ok(Vec::new()),
        Some(error) if request.allow_over && error.code == Code::Storage => Ok(vec![error.message]),
        Some(error) => {
            let hint = match &error.hint {
                Some(hint) => format!("{hint}; --allow-over tries all the same"),
                None => "--allow-over tries all the same".to_owned(),
            };
            Err(error.hint(hint))
        }
    }
}

fn begin_work(ctx: &Context, locked: &Locked, way: &Way) -> Result<Intent> {
    let generation = locked.registry.header.generation;
    Intent::begin(&locked.root, &ctx.command, generation, Some(way.target.record.id), &[], &[])
}

/// The same way as the registry has it after the long work: limits may have been changed meanwhile, and the folder renamed.
fn again(registry: &Registry, way: &Way) -> Result<Way> {
    let gone = || Error::conflict(format!("the vfolder {} is no longer there", way.target.key()));
    let target = resolve::with_id(registry, way.target.record.id)?.ok_or_else(gone)?;
    let to = scope::Site::of_folder(registry, &target.owner, &target.record)?;
    Ok(Way { target, to, ..way.clone() })
}

fn resumable(error: Error, way: &Way) -> Error {
    match error.hint {
        Some(_) => error,
        None => error.hint(both_ways(&way.source.key(), &way.target.key())),
    }
}

/// How a clone that was cut off is ended, or dropped.
pub fn both_ways(source: &str, target: &str) -> String {
    format!("vfadm vfolder clone {source} {target} goes on with it; vfadm vfolder purge {target} drops it")
}

/// There is no room: what was copied would only keep others from theirs.
fn give_up(ctx: &Context, way: &Way, intent: Intent, progress: &dyn Progress, error: Error) -> Error {
    match take_back(ctx, way, intent, progress) {
        Ok(()) => Error { message: format!("{}; what was copied has been removed", error.message), ..error },
        Err(left) => resumable(Error { message: format!("{}; {left}", error.message), ..error }, way),
    }
}

fn take_back(ctx: &Context, way: &Way, intent: Intent, progress: &dyn Progress) -> Result<()> {
    work::throw_away(way, progress)?;
    let (mut locked, _) = lock(ctx)?;
    let way = again(&locked.registry, way)?;
    let mut plan = Plan::new(Outcome::Deleted, "");
    plan.note = Note::STORAGE;
    plan.changes.push(Change::remove::<VFolder>(way.target.key()));
    scope::leave(&locked.registry, &way.to, &way.target.record, &mut plan)?;
    plan::execute(&mut locked, &plan, &ctx.command)?;
    intent.end()?;
    locked.unlock();
    Ok(())
}

/// One short change: the storage has it twice by itself.
fn at_once(state: &State<'_>, way: &Way) -> Result<Plan> {
    let mut plan = Plan::new(Outcome::Created, "");
    let to = scope::ensure(state.registry, &way.to, None, &mut plan)?;
    plan.steps.push(Step::Snapshot {
        from: Box::new(way.from.place.clone()),
        at: PathBuf::from(way.source.record.place()),
        to: Box::new(to),
        staged: PathBuf::from(way.target.record.place()),
        place: PathBuf::from(way.target.record.home()),
    });
    plan.warnings.extend(consequence(way));
    if !way.source.record.shares_blocks {
        let source = VFolder { shares_blocks: true, ..way.source.record.clone() };
        plan.changes.push(Change::put(way.source.key(), &source)?);
        plan.after.push(sidecar::folder(state.registry, &way.from.place, &way.source.name, &source));
    }
    let mut plan = settle(state, way, plan, json!({ "way": way.means.word() }))?;
    plan.message.push_str(" by a snapshot: they share all data");
    Ok(plan)
}

/// Records the new folder, where no session can have it, and makes its scope.
fn begin(state: &State<'_>, way: &Way) -> Result<Plan> {
    let mut plan = Plan::new(Outcome::Created, "");
    let place = scope::ensure(state.registry, &way.to, None, &mut plan)?;
    plan.changes.push(Change::put(way.target.key(), &way.target.record)?);
    plan.after.push(sidecar::folder(state.registry, &place, &way.target.name, &way.target.record));
    plan.note = Note::STORAGE;
    Ok(plan)
}

/// Adds the last part: the folder gets its place.
fn finished(state: &State<'_>, way: &Way, mut plan: Plan, copied: &Copied) -> Result<Plan> {
    plan.steps.push(Step::MoveFolder {
        scope: way.to.place.clone(),
        from: PathBuf::from(way.target.record.place()),
        to: PathBuf::from(way.target.record.home()),
    });
    let mut told = json!({ "way": way.means.word() });
    if let (Value::Object(map), true) = (&mut told, way.means != Means::Stream) {
        map.extend(counted(copied));
    }
    let mut plan = settle(state, way, plan, told)?;
    if way.means != Means::Stream {
        plan.message = format!("{}: {}", plan.message, in_words(copied));
    }
    Ok(plan)
}

fn counted(copied: &Copied) -> Map<String, Value> {
    let figures = [
        ("files", copied.files),
        ("directories", copied.directories),
        ("symlinks", copied.symlinks),
        ("others", copied.others),
        ("bytes", copied.bytes + copied.shared),
        ("shared_bytes", copied.shared),
        ("kept", copied.kept),
        ("vanished", copied.vanished),
    ];
    figures.into_iter().map(|(key, figure)| (key.to_owned(), json!(figure))).collect()
}

fn in_words(copied: &Copied) -> String {
    let files = if copied.files == 1 { "file" } else { "files" };
    let mut words = format!("{} {files}, {}", copied.files, size::human(copied.bytes + copied.shared));
    if copied.shared > 0 {
        words.push_str(&format!(", of which {} shared", size::human(copied.shared)));
    }
    if copied.kept > 0 {
        words.push_str(&format!("; {} entries were there already", copied.kept));
    }
    if copied.vanished > 0 {
        words.push_str(&format!("; {} vanished meanwhile", copied.vanished));
    }
    words
}

/// Adds what the registry and the sidecars say of it from then on.
fn settle(state: &State<'_>, way: &Way, mut plan: Plan, told: Value) -> Result<Plan> {
    let registry = state.registry;
    let shares_blocks = way.means == Means::Snapshot;
    let record = VFolder { status: Status::Ready, clone: None, shares_blocks, ..way.target.record.clone() };
    plan.message = way.message();
    plan.changes.push(Change::put(way.target.key(), &record)?);
    plan.after.push(sidecar::folder(registry, &way.to.place, &way.target.name, &record));
    let folder = Folder { record, ..way.target.clone() };
    let mut item = document::vfolder(registry, &mut Paths::default(), &folder, None)?;
    if let (Value::Object(map), Value::Object(mut told)) = (&mut item, told) {
        told.insert("source".to_owned(), json!(way.source.key()));
        map.insert("clone".to_owned(), Value::Object(told));
    }
    plan.item = Some(item);
    Ok(plan)
}

/// Who is charged, and what depends on what, where the owner of a snapshot is another.
fn consequence(way: &Way) -> Option<String> {
    let (source, target) = (&way.source, &way.target);
    if source.owner == target.owner {
        return None;
    }
    if way.charges_both() {
        let both = format!("{} and {}", source.owner, target.owner);
        return Some(format!(
            "what {} shares with {} is charged to both, {both}",
            target.key(),
            source.key()
        ));
    }
    let charge = format!(
        "what {} shares with {}, setuid files and devices too, stays charged to {}",
        target.key(),
        source.key(),
        source.owner
    );
    Some(match way.to.place.volume.folders {
        Folders::Dataset => format!(
            "{charge}; when {} is purged, that charge goes to {}, and the purge is refused where its limit is too low",
            source.key(),
            target.owner
        ),
        _ => format!(
            "{charge} for as long as that has folders on '{}'; neither depends on the other",
            target.record.volume
        ),
    })
}
