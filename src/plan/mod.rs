//! Plans: printed with `--dry-run`, or carried out with a durable intent.

pub mod intent;
pub mod look;
pub mod owners;
pub mod step;
pub mod volume;

use serde_json::Value;

pub use intent::Intent;
pub use step::{Effects, Step, exposed, has_layout, prune_parents};
pub use volume::{ScopePlace, VolumeAt};

use crate::domain::error::{Error, Result};
use crate::domain::record::Volume;
use crate::host::signals;
use crate::registry::history::Changed;
use crate::registry::{Change, Locked, Note, Registry};

/// How a command ended, or would end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Outcome {
    Created,
    Changed,
    Unchanged,
    Deleted,
    Planned,
}

impl Outcome {
    /// The word in documents.
    pub fn name(self) -> &'static str {
        match self {
            Outcome::Created => "created",
            Outcome::Changed => "changed",
            Outcome::Unchanged => "unchanged",
            Outcome::Deleted => "deleted",
            Outcome::Planned => "planned",
        }
    }
}

/// What a command is going to do. Computing it reads, and never writes.
#[derive(Debug)]
pub struct Plan {
    /// What comes before the commit.
    pub steps: Vec<Step>,
    /// The commit.
    pub changes: Vec<Change>,
    /// What comes after it; its failure is a warning.
    pub after: Vec<Step>,
    /// What the history says of the commit; that steps touch the storage need not be said.
    pub note: Note,
    /// How the command will have ended.
    pub outcome: Outcome,
    /// What happened, as a sentence: `vfolder user/alice/data created on 'fast'`.
    pub message: String,
    /// Told on stderr.
    pub warnings: Vec<String>,
    /// The thing as it will be, for documents.
    pub item: Option<Value>,
    /// Lines of the plan that are no steps: what can be known by trying only (`would try ...`), and long work.
    pub tries: Vec<String>,
    /// The lists of users and projects on volumes are written again, whatever changes.
    pub lists: bool,
}

impl Plan {
    /// A plan without steps.
    pub fn new(outcome: Outcome, message: impl Into<String>) -> Plan {
        Plan {
            steps: Vec::new(),
            changes: Vec::new(),
            after: Vec::new(),
            note: Note::default(),
            outcome,
            message: message.into(),
            warnings: Vec::new(),
            item: None,
            tries: Vec::new(),
            lists: false,
        }
    }

    /// Everything is as asked.
    pub fn unchanged(message: impl Into<String>) -> Plan {
        Plan::new(Outcome::Unchanged, message)
    }

    fn noted(&self) -> Note {
        let on_storage = !self.steps.is_empty() || !self.after.iter().all(Step::only_notes);
        Note { storage: self.note.storage || on_storage, ..self.note }
    }

    /// The plan as lines.
    pub fn describe(&self) -> Vec<String> {
        let tries = self.tries.iter().cloned();
        let steps = self.steps.iter().map(Step::describe);
        let changes = self.changes.iter().map(Change::describe);
        let after = self.after.iter().map(Step::describe);
        tries.chain(steps).chain(changes).chain(after).collect()
    }
}

/// Carries a plan out: intent, steps, commit, what comes after. Until the commit everything is undone when
/// something fails or a signal comes.
pub fn execute(locked: &mut Locked, plan: &Plan, command: &str) -> Result<Vec<String>> {
    let generation = locked.registry.header.generation;
    let mut warnings = Vec::new();
    let concerned = plan.lists || owners::concerned(&locked.registry, &plan.changes);
    if plan.steps.is_empty() && plan.after.is_empty() {
        signals::check()?;
        let committed = locked.commit(&plan.changes, plan.noted());
        committed
            .map_err(|error| if committed_on_disk(locked, generation) { in_force(error) } else { error })?;
        warnings.extend(if concerned { owners::write(&locked.registry) } else { Vec::new() });
        return Ok(warnings);
    }
    let intent = Intent::begin(&locked.root, command, generation, None, &plan.steps, &plan.after)?;
    let mut effects = Effects::default();
    if let Err(error) = run_and_commit(locked, plan, &mut effects) {
        return Err(match committed_on_disk(locked, generation) {
            true => in_force(error),
            false => give_up(intent, plan, error),
        });
    }
    warnings.extend(if concerned { owners::write(&locked.registry) } else { Vec::new() });
    for step in &plan.after {
        if let Err(error) = step.run(&mut effects) {
            warnings.push(format!("could not {}: {error}", step.describe()));
        }
    }
    let drained = Effects { drained: effects.drained, ..Effects::default() };
    if let Err(error) = commit_effects(locked, Vec::new(), &drained, Note::STORAGE) {
        warnings.push(format!("could not record what the kernel has freed: {error}"));
    }
    warnings.extend(intent.end_in_force());
    Ok(warnings)
}

/// Puts another registry in the place of the whole file, and brings what stands beside the data up to date.
pub fn replace(
    locked: &mut Locked,
    with: Registry,
    changed: Vec<Changed>,
    broken: bool,
    after: &[Step],
    command: &str,
) -> Result<Vec<String>> {
    signals::check()?;
    let generation = locked.registry.header.generation;
    let intent = Intent::begin(&locked.root, command, generation, None, &[], after)?;
    if let Err(error) = locked.replace(with, changed, Note::default(), broken) {
        if committed_on_disk(locked, generation) {
            return Err(in_force(error));
        }
        intent.end()?;
        return Err(error);
    }
    let mut effects = Effects::default();
    let failed = after.iter().filter_map(|step| Some((step, step.run(&mut effects).err()?)));
    let warnings = failed.map(|(step, error)| format!("could not {}: {error}", step.describe()));
    let warnings = warnings.chain(owners::write(&locked.registry));
    Ok(warnings.chain(intent.end_in_force()).collect())
}

fn run_and_commit(locked: &mut Locked, plan: &Plan, effects: &mut Effects) -> Result<()> {
    for step in &plan.steps {
        signals::check()?;
        step.run(effects)?;
    }
    signals::check()?;
    commit_effects(locked, plan.changes.clone(), effects, plan.noted())
}

fn committed_on_disk(locked: &Locked, generation: u64) -> bool {
    crate::registry::load(&locked.root).is_ok_and(|r| r.header.generation > generation)
}

/// The rename happened, and the sync after it failed.
fn in_force(error: Error) -> Error {
    let message = format!("{}; the change is in force, but a power cut may take it back", error.message);
    Error { message, ..error }
}

fn give_up(intent: Intent, plan: &Plan, error: Error) -> Error {
    // A signal ended the command; what was begun has to be undone all the same.
    signals::forget();
    match intent::undo(&plan.steps) {
        Ok(()) => match intent.end() {
            Ok(()) => error,
            Err(left) => note(error, &left),
        },
        Err(left) => note(error, &left),
    }
}

fn note(error: Error, left: &Error) -> Error {
    let message = format!("{}; and what was begun could not be undone ({left})", error.message);
    Error { message, ..error }.hint("the next vfadm command that changes something tries again to undo it")
}

/// Commits changes together with what the steps found out about kernel objects.
pub fn commit_effects(
    locked: &mut Locked,
    mut changes: Vec<Change>,
    effects: &Effects,
    note: Note,
) -> Result<()> {
    let touched = effects.draining.iter().chain(&effects.drained).map(|(volume, _)| volume.clone());
    let volumes: std::collections::BTreeSet<String> = touched.collect();
    for name in volumes {
        let Some(mut volume) = pending_volume(&locked.registry, &changes, &name)? else { continue };
        let of = |list: &[(String, u64)]| -> Vec<u64> {
            list.iter().filter(|(v, _)| *v == name).map(|(_, id)| *id).collect()
        };
        let drained = of(&effects.drained);
        volume.draining.extend(of(&effects.draining));
        volume.draining.retain(|id| !drained.contains(id));
        volume.draining.sort_unstable();
        volume.draining.dedup();
        changes.push(Change::put(name, &volume)?);
    }
    locked.commit(&changes, note)
}

/// A volume's record as it will be after the changes.
fn pending_volume(registry: &Registry, changes: &[Change], name: &str) -> Result<Option<Volume>> {
    let pending = changes.iter().rev().find_map(|change| match change {
        Change::Put { section: "volumes", key, record, .. } if key == name => Some(record.clone()),
        _ => None,
    });
    match pending {
        Some(record) => serde_json::from_value(record)
            .map(Some)
            .map_err(|e| Error::storage(format!("cannot read the volume '{name}': {e}"))),
        None => registry.get(name),
    }
}
