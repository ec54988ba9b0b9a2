//! Volumes that vfadm mounts itself.

use serde_json::json;

use crate::domain::error::{Error, Result};
use crate::domain::record::{MountSource, Volume};
use crate::host::process;
use crate::ops::{State, document, in_use};
use crate::plan::{Outcome, Plan, Step, VolumeAt};

fn known(state: &State<'_>, name: &str) -> Result<(Volume, MountSource, VolumeAt)> {
    let volume: Volume = state.registry.require(name)?;
    let Some(source) = volume.mount.clone() else {
        return Err(Error::conflict(format!(
            "the registry does not say what to mount for the volume '{name}'"
        ))
        .hint(format!("mount it at {} yourself", volume.path)));
    };
    let at = VolumeAt::new(state.registry.header.registry, name, &volume);
    Ok((volume, source, at))
}

fn is_mounted(at: &VolumeAt) -> Result<bool> {
    Ok(process::own_mounts()?.iter().any(|mount| mount.point == at.path))
}

/// Plans to mount a volume at its path.
pub fn mount(state: &State<'_>, name: &str) -> Result<Plan> {
    let (volume, source, at) = known(state, name)?;
    let message = format!("volume {name} mounted at {}", volume.path);
    let mut plan = if is_mounted(&at)? {
        at.open()?;
        Plan::unchanged(message)
    } else {
        let mut plan = Plan::new(Outcome::Changed, message);
        // What is there is nothing for an undo to remove.
        if !at.path.is_dir() {
            plan.steps.push(Step::MakeVolumeDir { path: at.path.clone() });
        }
        plan.steps.push(Step::Mount { path: at.path.clone(), source });
        plan.steps.push(Step::Inspect { volume: at, known: true });
        plan
    };
    plan.item = Some(document::volume(state.registry, name, &volume));
    Ok(plan)
}

/// Plans to unmount a volume; refused (exit 6) while a session of the registry or a process of this host uses it.
pub fn unmount(state: &State<'_>, name: &str) -> Result<Plan> {
    let (volume, source, at) = known(state, name)?;
    let message = format!("volume {name} unmounted from {}", volume.path);
    let mut plan = if is_mounted(&at)? {
        require_unused(state, name, &at)?;
        let mut plan = Plan::new(Outcome::Changed, message);
        plan.steps.push(Step::Unmount { path: at.path.clone(), source });
        plan
    } else {
        Plan::unchanged(message)
    };
    plan.item = Some(document::volume(state.registry, name, &volume));
    Ok(plan)
}

fn require_unused(state: &State<'_>, name: &str, at: &VolumeAt) -> Result<()> {
    let sessions = in_use::sessions_on(state.registry, name)?;
    if let Some(first) = sessions.first() {
        return Err(Error::in_use(format!(
            "the volume '{name}' is in use by the sessions {}",
            sessions.join(", ")
        ))
        .hint(format!("end them first: vfadm session stop {first}"))
        .detail("sessions", json!(sessions)));
    }
    let target = process::Target::of(&at.path)?;
    let users = target.map_or(Ok(Vec::new()), |target| target.users())?;
    match users.first() {
        None => Ok(()),
        Some(user) => Err(Error::in_use(format!("the volume '{name}' is in use on this host by {user}"))
            .hint("end that process first")
            .detail("pids", json!([user.pid]))
            .detail("processes", in_use::processes(&users))),
    }
}
