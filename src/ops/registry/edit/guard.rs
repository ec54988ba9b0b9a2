//! What an edit may not do, however sound the text is: lose the data of a record, or pull it from under a command.

use serde_json::Value;
use uuid::Uuid;

use crate::domain::error::{Error, Result};
use crate::domain::owner::Owner;
use crate::domain::record::{Project, Record, Scope, User, VFolder, Volume};
use crate::plan::intent;
use crate::registry::history::Changed;
use crate::registry::state::SETTINGS;
use crate::registry::{Registry, Root};

/// Refuses changes by which data would not be found, or kernel ids used twice (exit 4), and those of a folder that a command
/// works on (exit 6).
pub(super) fn require_safe(root: &Root, now: Option<&Registry>, changes: &[Changed]) -> Result<()> {
    let Some(now) = now else { return Ok(()) };
    let at_work = intent::at_work(root)?;
    for change in changes {
        let Some(before) = &change.before else { continue };
        if let Some(after) = &change.after {
            require_same_id(now, change, before, after)?;
            require_kernel_ids(change, before, after)?;
        }
        let folder = id(before).filter(|_| change.section == VFolder::SECTION);
        let worker = at_work.iter().find(|work| folder.is_some() && work.long_work_on == folder);
        if let Some(by) = worker {
            return Err(Error::in_use(format!(
                "'{}' (pid {} on {}) is at work on '{}' since {}",
                by.command, by.pid, by.host, change.key, by.since
            ))
            .hint("wait for its end"));
        }
    }
    Ok(())
}

fn id(record: &Value) -> Option<Uuid> {
    record.get("id")?.as_str()?.parse().ok()
}

/// Data lies in directories that are named after ids.
fn require_same_id(now: &Registry, change: &Changed, before: &Value, after: &Value) -> Result<()> {
    if id(before) == id(after) {
        return Ok(());
    }
    let has_scopes = |owner: Owner| !now.keys_with_prefix::<Scope>(&format!("{owner}@")).is_empty();
    let holds_data = match change.section.as_str() {
        User::SECTION => has_scopes(Owner::User(change.key.clone())),
        Project::SECTION => has_scopes(Owner::Project(change.key.clone())),
        section => section == Volume::SECTION || section == VFolder::SECTION,
    };
    if !holds_data {
        return Ok(());
    }
    Err(Error::conflict(format!(
        "{}: the id of '{}' cannot be changed: its data on the volumes is found by it",
        change.section, change.key
    ))
    .hint(format!("put its id back: {}", before["id"].as_str().unwrap_or_default())))
}

fn require_kernel_ids(change: &Changed, before: &Value, after: &Value) -> Result<()> {
    let next = |settings: &Value| settings.get("next_kernel_id").and_then(Value::as_u64).unwrap_or(0);
    let (before, after) = (next(before), next(after));
    if change.section != SETTINGS || after >= before {
        return Ok(());
    }
    Err(Error::conflict(format!(
        "settings: next_kernel_id cannot go down from {before} to {after}: a kernel id is never used twice"
    ))
    .hint(format!("put {before} back")))
}
