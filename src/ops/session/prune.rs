//! What is left of sessions whose holders have gone is taken out of the registry.

use serde_json::{Value, json};

use super::still_runs;
use crate::domain::error::Result;
use crate::domain::holder::Life;
use crate::domain::owner::split_folder_key;
use crate::domain::record::{Kernel, Session, VFolder};
use crate::host::process;
use crate::ops::liveness::Witness;
use crate::ops::scope::Site;
use crate::ops::{State, in_use, places};
use crate::plan::{Outcome, Plan};
use crate::registry::{Change, now};
use crate::session::places::PLACES;

/// Plans the removal of kernels that are provably gone, of sessions whose lease is over, and of those that have no kernel
/// left; nothing else, and all in one commit. Nothing is ended: what still runs of a session whose lease is over is a
/// warning.
pub fn prune(state: &State<'_>) -> Result<Plan> {
    let witness = Witness::new(state.registry);
    let (mut changes, mut removed, mut lines, mut warnings) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let (mut ended, mut kernels) = (Vec::new(), 0);
    // Those that go on, on other hosts only.
    let mut left_here = Vec::new();
    for (name, session) in state.registry.all::<Session>()? {
        let mut left = session.clone();
        left.kernels.clear();
        for kernel in &session.kernels {
            match witness.life(&session, kernel) {
                Life::Gone(why) => {
                    lines.push(format!("remove the kernel {} of session {name}: {why}", kernel.name));
                    removed.push(fact(&name, &session, kernel, &why));
                }
                _ => left.kernels.push(kernel.clone()),
            }
        }
        let gone = session.kernels.len() - left.kernels.len();
        if left.kernels.is_empty() {
            let over = session.lease.as_ref().filter(|lease| lease.until <= now());
            if over.is_some() {
                warnings.extend(running(state, &name, &session, &witness)?);
            }
            lines.push(format!("end the session {name} of {}: it has no kernel left", session.user));
            changes.push(Change::remove::<Session>(name.clone()));
            ended.push(name);
        } else if gone > 0 {
            let here = |kernel: &Kernel| kernel.node == process::hostname();
            if left.kernels.iter().all(|kernel| !here(kernel)) && session.kernels.iter().any(here) {
                left_here.push(name.clone());
            }
            changes.push(Change::put(name, &left)?);
        }
        kernels += gone;
    }
    let gone: Vec<&str> = ended.iter().chain(&left_here).map(String::as_str).collect();
    if changes.is_empty() {
        let mut plan = Plan::unchanged("no session is stale");
        places::tidy(state.registry, &gone, &mut plan)?;
        if !plan.after.is_empty() {
            plan.outcome = Outcome::Deleted;
            plan.message = "mounts of sessions that have ended taken away".to_owned();
        }
        return Ok(plan);
    }
    let message =
        format!("{} removed, {} ended", counted(kernels, "kernel"), counted(ended.len(), "session"));
    let mut plan = Plan::new(Outcome::Deleted, message);
    places::tidy(state.registry, &gone, &mut plan)?;
    plan.tries = lines;
    plan.changes = changes;
    plan.warnings = warnings;
    plan.item = Some(json!({"removed": removed}));
    Ok(plan)
}

fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

fn fact(name: &str, session: &Session, kernel: &Kernel, why: &str) -> Value {
    json!({
        "session": name,
        "user": session.user,
        "kernel": kernel.name,
        "node": kernel.node,
        "holder": kernel.holder,
        "because": why,
    })
}

/// What still runs on this host of a session that is over: what holds its kernels, and who uses folders that no living
/// session has.
fn running(state: &State<'_>, name: &str, session: &Session, witness: &Witness<'_>) -> Result<Vec<String>> {
    let told = session.kernels.iter().filter_map(|kernel| still_runs(session, kernel, witness));
    let mut warnings: Vec<String> = told.map(|told| format!("session {name} is over: {told}")).collect();
    let mut folders: Vec<_> = session.mounts.iter().map(|mount| mount.vfolder).collect();
    folders.sort_unstable();
    folders.dedup();
    for id in folders {
        for key in state.registry.find_text::<VFolder>(&id.to_string()) {
            let (Some(record), Some((owner, _))) =
                (state.registry.get::<VFolder>(&key)?.filter(|f| f.id == id), split_folder_key(&key))
            else {
                continue;
            };
            if !in_use::sessions_with(state.registry, &record)?.is_empty() {
                continue;
            }
            let path = Site::of_folder(state.registry, &owner, &record)?.place.path().join(record.place());
            // Only a warning: where the mounts cannot be read, nothing is said.
            let Ok(Some(target)) = process::Target::of(&path) else { continue };
            for user in target.except_mounts_below(PLACES).users().unwrap_or_default() {
                warnings.push(format!("session {name} is over: {key} is still used by {user}"));
            }
        }
    }
    Ok(warnings)
}
