//! An earlier registry, brought back. What it says counts from then on; generations go on upwards.
//!
//! Sessions are not brought back: those of the present registry stay, for they are what runs.

use std::path::PathBuf;

use serde_json::json;

use super::{Held, hold, read_file, require_nobody_at_work};
use crate::domain::error::{Error, Result};
use crate::domain::record::{Record, Session, VFolder};
use crate::ops::{Context, Done, sidecar};
use crate::plan::{self, Outcome, Plan};
use crate::registry::difference::{difference, lines};
use crate::registry::history::Changed;
use crate::registry::load;
use crate::registry::{Change, Present, Registry, Root, backups};

/// Which registry is meant.
#[derive(Clone, Debug)]
pub enum Source {
    /// The newest backup that can be read and is not the present file.
    Latest,
    /// The backup of this generation.
    Generation(u64),
    /// A file.
    File(PathBuf),
}

/// What a restore is going to do, for the question; nothing is changed.
pub struct Preview {
    /// The plan; its lines are the difference.
    pub done: Done,
    changes: Vec<Changed>,
}

/// Reads what is to be brought back and compares it with what is there.
pub fn preview(ctx: &Context, source: &Source, force: bool) -> Result<Preview> {
    let root = Root::find(&ctx.root)?;
    let present = Present::look(&root)?;
    if !force {
        present.require_no_newer()?;
        require_nobody_at_work(&root)?;
    }
    let wanted = read(&root, &present, source)?;
    let (changes, _, warnings) = compare(present.registry.as_ref(), &wanted, force)?;
    let lost = present.fault.is_some();
    Ok(Preview {
        done: Done { plan: planned(&wanted, &changes, lost, present.generation), planned: true, warnings },
        changes,
    })
}

/// Brings it back, as it was shown.
pub fn restore(ctx: &Context, source: &Source, force: bool, shown: &Preview) -> Result<Done> {
    let root = Root::find(&ctx.root)?;
    let wanted = read(&root, &Present::look(&root)?, source)?;
    let Held { mut locked, before, lost, broken, mut warnings } = hold(ctx, || Ok(wanted.clone()))?;
    if !force {
        require_nobody_at_work(&locked.root)?;
    }
    let (changes, mut registry, more) = compare(before.as_ref(), &wanted, force)?;
    warnings.extend(more);
    if changes != shown.changes {
        return Err(Error::conflict("the registry was changed meanwhile: nothing was done")
            .hint("the same command shows the difference anew"));
    }
    let mut plan = planned(&wanted, &changes, lost, locked.registry.header.generation);
    if plan.outcome != Outcome::Unchanged {
        registry.header.generation = locked.registry.header.generation;
        for change in changes.iter().filter(|change| change.after.is_some()) {
            sidecar::follow(&registry, &change.section, &change.key, &mut plan)?;
        }
        // Without an earlier registry the records are no changes that could be taken back.
        let noted = if before.is_some() { changes } else { Vec::new() };
        warnings.extend(plan::replace(&mut locked, registry, noted, broken, &plan.after, &ctx.command)?);
    }
    locked.unlock();
    Ok(Done { plan, planned: false, warnings })
}

fn planned(wanted: &Registry, changes: &[Changed], lost: bool, generation: u64) -> Plan {
    let header = &wanted.header;
    let what = format!("generation {} ({})", header.generation, header.updated_at);
    let count = match changes.len() {
        0 => "no record is".to_owned(),
        1 => "1 record is".to_owned(),
        n => format!("{n} records are"),
    };
    let mut plan = match lost || !changes.is_empty() {
        true => Plan::new(
            Outcome::Changed,
            format!("registry restored from {what} as generation {}; {count} different", generation + 1),
        ),
        false => Plan::unchanged(format!("the registry has the records of {what}")),
    };
    plan.tries = lines(changes);
    plan.item = Some(json!({
        "from_generation": header.generation,
        "generation": generation + u64::from(plan.outcome == Outcome::Changed),
        "records": wanted.total(),
        "records_changed": changes.len(),
    }));
    plan
}

/// Reads and checks the registry that is to be brought back.
fn read(root: &Root, present: &Present, source: &Source) -> Result<Registry> {
    let latest = || match present.fault {
        Some(_) => Ok(present.registry.clone()),
        None => backups::newest(root),
    };
    let registry = match source {
        Source::Latest => latest()?.ok_or_else(|| {
            Error::not_found(format!("{} has no backup that can be read", root.path().display()))
                .hint("bring the registry back from what stands on the volumes: vfadm registry rebuild")
        })?,
        Source::Generation(generation) => of_generation(root, *generation)?,
        Source::File(path) => {
            let (bytes, path) = read_file(path)?;
            Registry::parse(bytes, path)?
        }
    };
    load::require_sound(None, &registry)?;
    Ok(registry)
}

fn of_generation(root: &Root, generation: u64) -> Result<Registry> {
    let mut found = backups::list(root)?;
    found.retain(|backup| backup.generation == generation);
    let (Some(backup), true) = (found.first(), found.len() < 2) else {
        let error = match found.len() {
            0 => Error::not_found(format!("there is no backup of generation {generation}")),
            n => Error::conflict(format!("there are {n} backups of generation {generation}")),
        };
        return Err(error.hint("'vfadm registry backup --list' shows all with their files"));
    };
    let (bytes, path) = backups::read(root, backup)?
        .ok_or_else(|| Error::not_found(format!("the backup of generation {generation} has gone")))?;
    Registry::parse(bytes, path)
}

/// The difference, the registry as it is going to be, and what is to be told.
fn compare(
    before: Option<&Registry>,
    wanted: &Registry,
    force: bool,
) -> Result<(Vec<Changed>, Registry, Vec<String>)> {
    let (mut registry, mut warnings) = (wanted.clone(), Vec::new());
    let Some(before) = before else { return Ok((difference(None, &registry)?, registry, warnings)) };
    if before.header.registry != wanted.header.registry && !force {
        return Err(Error::conflict(format!(
            "{} is of the registry {}, and this is {}",
            wanted.file().display(),
            wanted.header.registry,
            before.header.registry
        ))
        .hint(
            "the volumes of this registry would not be its own any more; --force restores it all the same",
        ));
    }
    for key in registry.keys::<Session>() {
        registry.apply(&Change::remove::<Session>(key));
    }
    for (name, session) in before.all::<Session>()? {
        let gone = session
            .mounts
            .iter()
            .map(|mount| mount.vfolder.to_string())
            .find(|id| registry.find_text::<VFolder>(id).is_empty());
        match gone {
            Some(id) if !force => {
                let folder = before.find_text::<VFolder>(&id).into_iter().next().unwrap_or(id);
                return Err(Error::in_use(format!(
                    "session {name} has {folder} mounted, which is not in the registry that is to be restored"
                ))
                .hint(format!("end it first: vfadm session stop {name}, or forget it with --force")));
            }
            Some(_) => warnings.push(format!("the {} {name} is forgotten", Session::NOUN)),
            None => registry.apply(&Change::put(name, &session)?),
        }
    }
    load::require_sound(Some(wanted), &registry)?;
    Ok((difference(Some(before), &registry)?, registry, warnings))
}
