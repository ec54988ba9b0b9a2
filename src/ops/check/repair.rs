//! Mending what was found. Everything is looked at again under the lock first, so that nothing that a running command
//! is about to end is mended; what takes long is done without it. Killed at any point, it is run again.

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::found::{Found, Mend};
use super::{look, mend, settled_without};
use crate::domain::error::{Code, Result};
use crate::domain::finding::Finding;
use crate::domain::record::VFolder;
use crate::domain::reference::FolderRef;
use crate::host::signals;
use crate::ops::scope::Site;
use crate::ops::transfer::{Transfer, transfer};
use crate::ops::{Context, Done, State, lock, purge, read, staging};
use crate::plan::{self, Intent, Outcome, Plan};
use crate::registry::Locked;
use crate::tree::Progress;

/// What is mended may bring more to light: the owner of a scope, then the scope, then its folders and their sidecars.
const ROUNDS: usize = 6;

/// So many notes are written in one change: an intent holds them all.
const AT_ONCE: usize = 1000;

/// How it ended.
pub struct Repaired {
    /// What is still not as it should be.
    pub left: Vec<Finding>,
    /// What was mended.
    pub mended: Vec<Finding>,
    /// Told on stderr.
    pub warnings: Vec<String>,
}

/// The findings of a check, and what of them is to be mended.
struct Work<'a> {
    ctx: &'a Context,
    allowed: &'a dyn Fn(&Finding) -> bool,
    /// Not there, or silent: nothing is looked at or mended there.
    without: BTreeSet<String>,
    /// What the first look found: nothing else is lost.
    first: BTreeSet<(String, String)>,
    tried: BTreeSet<((String, String), Mend)>,
    seen: Vec<Found>,
    warnings: Vec<String>,
}

/// Mends what can be mended of `first`, and what comes to light by that. `allowed`: whether something may be mended
/// although that can lose data.
pub fn repair(
    ctx: &Context,
    first: Vec<Found>,
    allowed: &dyn Fn(&Finding) -> bool,
    progress: &dyn Progress,
) -> Result<Repaired> {
    let volume = |f: &Found| f.finding.subject.strip_prefix("volume ").map(str::to_owned);
    let unusable: Vec<Found> =
        first.iter().filter(|f| f.finding.code == "volume_unusable").cloned().collect();
    let without: BTreeSet<String> = unusable.iter().filter_map(volume).collect();
    let listed = first.iter().map(Found::of).collect();
    let mut work = Work {
        ctx,
        allowed,
        without,
        first: listed,
        tried: BTreeSet::new(),
        seen: first,
        warnings: Vec::new(),
    };
    if work.seen.iter().any(Found::can_be_mended) {
        for _ in 0..ROUNDS {
            if !work.round(progress)? {
                break;
            }
        }
    }
    // What is not there, or silent, need not be waited for again.
    let mut left = settled_without(ctx, &work.without)?;
    left.splice(0..0, unusable);
    let still: BTreeSet<_> = left.iter().map(Found::of).collect();
    let mut told = BTreeSet::new();
    let may = |f: &Found| f.can_be_mended() && (!f.finding.loses_data || allowed(&f.finding));
    let mended = work.seen.into_iter().filter(|f| may(f) && !still.contains(&f.of()));
    let mended =
        mended.filter(|f| told.insert((f.of(), f.finding.message.clone()))).map(|f| f.finding).collect();
    let mut said = BTreeSet::new();
    work.warnings.retain(|warning| said.insert(warning.clone()));
    Ok(Repaired { left: left.into_iter().map(|f| f.finding).collect(), mended, warnings: work.warnings })
}

impl Work<'_> {
    /// Looks under the lock, and mends what was not tried yet; false where there was nothing.
    fn round(&mut self, progress: &dyn Progress) -> Result<bool> {
        let (mut locked, warnings) = lock(self.ctx)?;
        self.warnings.extend(warnings);
        let found = look(&self.state(&locked), &self.without)?;
        let agreed = |f: &Found| self.first.contains(&f.of()) && (self.allowed)(&f.finding);
        let may = |f: &Found| f.can_be_mended() && (!f.finding.loses_data || agreed(f));
        let mut todo: Vec<Found> = found.into_iter().filter(may).collect();
        todo.retain(|f| self.tried.insert((f.of(), f.mend.clone())));
        if todo.is_empty() {
            return Ok(false);
        }
        let (long, short): (Vec<&Found>, Vec<&Found>) = todo.iter().partition(|f| mend::is_long(&f.mend));
        for some in short.chunks(AT_ONCE) {
            self.short(&mut locked, some)?;
        }
        let removals = self.claim(&locked, &long)?;
        locked.unlock();
        for (site, place, intent) in removals {
            let removed = staging::remove(&site.place, &place, progress).and_then(|()| intent.end());
            self.tell(removed)?;
        }
        for found in long {
            self.long(&found.mend, progress)?;
        }
        self.seen.extend(todo);
        Ok(true)
    }

    fn state<'b>(&'b self, locked: &'b Locked) -> State<'b> {
        State { root: &locked.root, registry: &locked.registry, actor: &self.ctx.actor }
    }

    /// A failure is told, and keeps nothing else from being mended; a signal ends all.
    fn tell<T>(&mut self, result: Result<T>) -> Result<Option<T>> {
        match result {
            Ok(done) => Ok(Some(done)),
            Err(error) if error.code == Code::Interrupted => Err(error),
            Err(error) => {
                let hint = error.hint.map(|hint| format!(" ({hint})")).unwrap_or_default();
                self.warnings.push(format!("{}{hint}", error.message));
                Ok(None)
            }
        }
    }

    /// What only writes notes and records is one change; each of the others is one of its own.
    fn short(&mut self, locked: &mut Locked, todo: &[&Found]) -> Result<()> {
        let mut ahead = locked.registry.clone();
        let mut notes = Plan::new(Outcome::Changed, "");
        let mut alone = Vec::new();
        for found in todo {
            let state = State { root: &locked.root, registry: &ahead, actor: &self.ctx.actor };
            let planned = mend::plan(&state, &found.mend);
            let Some(plan) = self.tell(planned)? else { continue };
            if !plan.steps.is_empty() {
                alone.push(found);
                continue;
            }
            self.warnings.extend(plan.warnings);
            plan.changes.iter().for_each(|change| ahead.apply(change));
            notes.changes.extend(plan.changes);
            notes.after.extend(plan.after);
            notes.lists |= plan.lists;
        }
        drop(ahead);
        if !notes.changes.is_empty() || !notes.after.is_empty() || notes.lists {
            let done = plan::execute(locked, &notes, &self.ctx.command);
            let warnings = self.tell(done)?;
            self.warnings.extend(warnings.unwrap_or_default());
        }
        for found in alone {
            signals::check()?;
            let planned = mend::plan(&self.state(locked), &found.mend);
            let Some(plan) = self.tell(planned)? else { continue };
            let done = plan::execute(locked, &plan, &self.ctx.command);
            let warnings = self.tell(done)?;
            self.warnings.extend(plan.warnings);
            self.warnings.extend(warnings.unwrap_or_default());
        }
        Ok(())
    }

    /// Says, under the lock, that this process removes directories of nobody.
    fn claim(&mut self, locked: &Locked, todo: &[&Found]) -> Result<Vec<(Site, PathBuf, Intent)>> {
        let mut claimed = Vec::new();
        for found in todo {
            let Mend::Remove { scope, place, id } = &found.mend else { continue };
            let generation = locked.registry.header.generation;
            let begun = mend::site_of(&locked.registry, scope).and_then(|site| {
                let intent = Intent::begin(&locked.root, &self.ctx.command, generation, Some(*id), &[], &[])?;
                Ok((site, PathBuf::from(place), intent))
            });
            claimed.extend(self.tell(begun)?);
        }
        Ok(claimed)
    }

    fn long(&mut self, mend: &Mend, progress: &dyn Progress) -> Result<()> {
        let done = match mend {
            Mend::Purge { key } => {
                let (owner, name) = mend::named(key)?;
                purge::purge(self.ctx, &FolderRef::Named(owner, name), true, progress)
            }
            Mend::Transfer { key, on } => self.transfer(key, *on, progress),
            _ => return Ok(()),
        };
        let done = self.tell(done)?;
        self.warnings.extend(done.into_iter().flat_map(|done| done.warnings));
        Ok(())
    }

    fn transfer(&self, key: &str, on: bool, progress: &dyn Progress) -> Result<Done> {
        let (owner, name) = mend::named(key)?;
        let reading = read(self.ctx)?;
        let record: VFolder = reading.registry.require(key)?;
        let transit = record.transfer.as_ref().filter(|_| on);
        let request = Transfer {
            folder: FolderRef::Named(owner.clone(), name),
            to: transit.map_or(owner, |transit| transit.to.clone()),
            volume: Some(transit.map_or(record.volume.clone(), |transit| transit.volume.clone())),
            permission: None,
            trashed: true,
        };
        transfer(self.ctx, &request, progress)
    }
}

/// What [`repair`] would do of what was found, as a plan; what comes to light by it is not foreseen. Also what it would
/// leave.
pub fn preview(
    ctx: &Context,
    found: Vec<Found>,
    allowed: &dyn Fn(&Finding) -> bool,
) -> Result<(Done, Vec<Finding>)> {
    let reading = read(ctx)?;
    let mut ahead = reading.registry.clone();
    let mut all = Plan::new(Outcome::Changed, "");
    let (mut left, mut mended) = (Vec::new(), 0);
    // What was cut off may be behind any of the others: what is left then, only a look can tell.
    let cut_off = found.iter().any(|found| found.mend == Mend::Recovered);
    if cut_off {
        all.tries.push("undo or finish what was cut off, look again, and mend what is left".to_owned());
    }
    for found in found {
        let may = !found.finding.loses_data || allowed(&found.finding);
        if !found.can_be_mended() || !may {
            left.push(found.finding);
            continue;
        }
        mended += 1;
        if cut_off {
            continue;
        }
        all.tries.extend(mend::describe(&ahead, &found.mend));
        let state = State { root: &reading.root, registry: &ahead, actor: &ctx.actor };
        match mend::plan(&state, &found.mend) {
            Ok(plan) => {
                plan.changes.iter().for_each(|change| ahead.apply(change));
                all.tries.extend(plan.describe());
                all.warnings.extend(plan.warnings);
            }
            Err(error) => {
                all.warnings.push(error.message);
                mended -= 1;
                left.push(found.finding);
            }
        }
    }
    if mended == 0 {
        all.outcome = Outcome::Unchanged;
    }
    let s = if mended == 1 { "" } else { "s" };
    all.message = format!("{mended} finding{s} mended");
    Ok((Done { plan: all, planned: true, warnings: reading.warnings }, left))
}
