//! The last change of the registry, taken back.

use serde_json::{Value, json};

use super::{counterpart, document};
use crate::domain::error::{Error, Result};
use crate::domain::owner::{Owner, split_folder_key};
use crate::domain::permission::{self, Level};
use crate::domain::record::{Invitation, InvitationState, Project, Record, Scope, Session, VFolder, Volume};
use crate::ops::{State, in_use, resolve, sidecar, volume};
use crate::plan::{Outcome, Plan};
use crate::registry::history::{self, Changed, Entry, State as Standing};
use crate::registry::state::SETTINGS;
use crate::registry::{Change, Registry, now, validate};

/// Plans that the last change which is in force, and is no undo itself, is taken back. Exit 4 where it did something on
/// the storage or is about sessions, where a record is not as the change left it, and where the registry would break a
/// rule; exit 6 where a session would keep more than its user has then.
pub fn undo(state: &State<'_>) -> Result<Plan> {
    let (found, warnings) = last(state)?;
    let Some(entry) = found else {
        return Ok(Plan { warnings, ..Plan::unchanged("there is no change to undo") });
    };
    require_registry_only(&entry)?;
    let mut plan =
        Plan::new(Outcome::Changed, format!("undid '{}' (generation {})", entry.command, entry.generation));
    plan.warnings = warnings;
    let mut after = state.registry.clone();
    // A session that has ended is not brought back with what is left of it.
    for change in entry.changes.iter().filter(|change| change.section != Session::SECTION) {
        require_as_left(state.registry, &entry, change)?;
        let change = Change::of(&change.section, &change.key, earlier(state, change, &mut plan)?)
            .ok_or_else(|| cannot(&entry, "this vfadm does not know its records"))?;
        after.apply(&change);
        plan.changes.push(change);
    }
    require_sound(state.registry, &after, &entry)?;
    require_no_keeper(state.registry, &after, &entry.changes)?;
    for change in &entry.changes {
        if change.before.is_some() {
            sidecar::follow(&after, &change.section, &change.key, &mut plan)?;
        }
    }
    plan.note.undoes = Some(entry.generation);
    plan.item = Some(document(&entry, Standing::InForce));
    Ok(plan)
}

/// The newest change that can be meant. Older files are read only where the newer ones hold none.
fn last(state: &State<'_>) -> Result<(Option<Entry>, Vec<String>)> {
    let header = &state.registry.header;
    let own = history::month_of(header.updated_at);
    let months = history::months(state.root)?;
    let mut newest: Vec<&String> = months.iter().filter(|month| **month < own).rev().collect();
    newest.insert(0, &own);
    let mut told = Vec::new();
    for from in newest {
        let (entries, warnings) = history::read(state.root, from)?;
        let standings = history::states(&entries, header);
        let meant = |(entry, standing): &(Entry, Standing)| {
            let changed = !entry.changes.is_empty() && !is_tidying(entry);
            *standing == Standing::InForce && entry.undoes.is_none() && changed
        };
        let found = entries.into_iter().zip(standings).rfind(meant);
        told = warnings;
        if let Some((entry, _)) = found {
            return Ok((Some(entry), told));
        }
    }
    Ok((None, told))
}

/// True for what vfadm does by itself after a change: kernel objects that were drained are forgotten.
fn is_tidying(entry: &Entry) -> bool {
    let rest = |record: &Option<Value>| {
        let mut record = record.clone();
        record.as_mut().and_then(Value::as_object_mut).and_then(|map| map.remove("draining"));
        record
    };
    let only_drained = |c: &Changed| c.section == Volume::SECTION && rest(&c.before) == rest(&c.after);
    entry.storage && entry.changes.iter().all(only_drained)
}

fn cannot(entry: &Entry, why: &str) -> Error {
    Error::conflict(format!(
        "'{}' (generation {}, {}) cannot be undone: {why}",
        entry.command, entry.generation, entry.time
    ))
    .detail("generation", entry.generation)
    .detail("command", entry.command.clone())
}

fn require_registry_only(entry: &Entry) -> Result<()> {
    let hint = match counterpart::of(entry) {
        Some(command) => format!("take it back by hand: {command}"),
        None => "'vfadm registry log -o json' shows what it changed".to_owned(),
    };
    if entry.storage || entry.changes.iter().any(limits_differ) {
        return Err(cannot(entry, "it changed the storage too").hint(hint));
    }
    if entry.changes.iter().all(|change| change.section == Session::SECTION) {
        return Err(cannot(entry, "the record of a session follows what runs").hint(hint));
    }
    Ok(())
}

/// True where the limit in the registry would no longer be the one of the storage: one that somebody had set there by
/// hand is recorded without a step.
fn limits_differ(change: &Changed) -> bool {
    match (&change.before, &change.after) {
        (Some(before), Some(after)) if change.section == Scope::SECTION => {
            before["present"] == true && before["limit"] != after["limit"]
        }
        _ => false,
    }
}

fn require_as_left(registry: &Registry, entry: &Entry, change: &Changed) -> Result<()> {
    if registry.record(&change.section, &change.key)? == change.after {
        return Ok(());
    }
    let what = match change.section.as_str() {
        SETTINGS => "the settings are".to_owned(),
        section => format!("{section}: '{}' is", change.key),
    };
    Err(cannot(entry, &format!("{what} not as it left them"))
        .hint("it was changed by hand since; 'vfadm registry log -o json' shows what it was"))
}

/// The record as it was, where it can be that again.
fn earlier(state: &State<'_>, change: &Changed, plan: &mut Plan) -> Result<Option<Value>> {
    let Some(before) = change.before.clone() else { return Ok(None) };
    if change.section == Invitation::SECTION
        && let Ok(invitation) = serde_json::from_value::<Invitation>(before.clone())
        && invitation.state != invitation.state_at(now())
    {
        let state = invitation.state_at(now());
        plan.warnings.push(format!("the invitation of {} is {} meanwhile", invitation.invitee, state.name()));
        let expired = Invitation { state: InvitationState::Expired, ..invitation };
        return Ok(Some(json!(expired)));
    }
    if change.section == Volume::SECTION
        && let Ok(record) = serde_json::from_value::<Volume>(before.clone())
        && let Some(file) = &record.storage.file
        && state
            .registry
            .get::<Volume>(&change.key)?
            .is_some_and(|present| present.storage.file != record.storage.file)
    {
        // Looked at as when it was set first: its programs may have gone.
        volume::set_driver_file(state, &change.key, file)?;
    }
    Ok(Some(before))
}

/// Refuses what would break a rule that holds for the registry as it is (exit 4).
fn require_sound(before: &Registry, after: &Registry, entry: &Entry) -> Result<()> {
    match validate::newly_broken(Some(before), after)? {
        None => Ok(()),
        Some(finding) => Err(cannot(entry, &format!("{}: {}", finding.subject, finding.message))
            .hint("'vfadm registry log' shows what was changed since")),
    }
}

/// Refuses where a session would keep a mount that its user could not have any more (exit 6).
fn require_no_keeper(before: &Registry, after: &Registry, changes: &[Changed]) -> Result<()> {
    let (mut told, mut names) = (Vec::new(), Vec::new());
    for folder in folders_of(before, changes)? {
        let id = folder.id.to_string();
        for (name, session) in in_use::sessions_with(before, &folder)? {
            let most = session.mounts.iter().filter(|m| m.vfolder == folder.id).map(|m| m.permission).max();
            let (was, key) = level(before, &session.user, &id)?;
            let (will_be, _) = level(after, &session.user, &id)?;
            if will_be < was && most.is_some_and(|most| will_be < most) {
                told.push(format!("session {name} of {} has {key} mounted", session.user));
                names.push(name);
            }
        }
    }
    match names.first() {
        None => Ok(()),
        Some(first) => Err(Error::in_use(format!("{}, and would keep more than it may", told.join(", ")))
            .hint(format!("end it first: vfadm session stop {first}"))
            .detail("sessions", json!(names))),
    }
}

/// The folders on which a change can mean another level to somebody.
fn folders_of(registry: &Registry, changes: &[Changed]) -> Result<Vec<VFolder>> {
    let mut folders = Vec::new();
    for change in changes {
        match change.section.as_str() {
            VFolder::SECTION => folders.extend(registry.get::<VFolder>(&change.key)?),
            Project::SECTION => {
                let prefix = format!("{}/", Owner::Project(change.key.clone()));
                folders.extend(registry.with_prefix::<VFolder>(&prefix)?.into_iter().map(|(_, f)| f));
            }
            _ => {}
        }
    }
    Ok(folders)
}

/// What a user may do with a folder, and what that is called.
fn level(registry: &Registry, user: &str, id: &str) -> Result<(Level, String)> {
    let key = registry.find_text::<VFolder>(id).into_iter().next().unwrap_or_else(|| id.to_owned());
    let (Some((owner, _)), Some(folder)) = (split_folder_key(&key), registry.get::<VFolder>(&key)?) else {
        return Ok((Level::None, key));
    };
    let project = resolve::owning_project(registry, &owner)?;
    let level = permission::level_of(user, &owner, &folder, project.as_ref());
    Ok((level.map_or(Level::None, |(level, _)| level), key))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernel_objects_that_were_drained_are_no_change_of_an_administrator() {
        let volume = |draining: &[u64], blocked: &[&str]| json!({"draining": draining, "blocked": blocked});
        for (storage, section, before, after, tidying) in [
            (true, "volumes", volume(&[7], &[]), json!({"blocked": []}), true),
            (true, "volumes", volume(&[7], &[]), volume(&[], &["clone"]), false),
            (false, "volumes", volume(&[7], &[]), volume(&[], &[]), false),
            (true, "scopes", volume(&[7], &[]), volume(&[], &[]), false),
        ] {
            let entry = json!({
                "generation": 2, "time": "2026-11-24T00:00:00Z", "actor": "", "login": "", "host": "",
                "command": "", "storage": storage,
                "changes": [{"section": section, "key": "v", "before": before, "after": after}],
            });
            let entry: Entry = serde_json::from_value(entry).unwrap();
            assert_eq!(is_tidying(&entry), tidying, "{entry:?}");
        }
    }
}
