//! Volumes: added, shown, checked, taken out.

mod actions;
mod add;
mod capacity;
mod check;
mod driver_file;
mod image;
mod mount;

use serde_json::{Map, Value};

use super::vfolder::not_ready;
use super::{Context, Done, State, claim, document, sidecar};
use crate::domain::driver_file::DriverFile;
use crate::domain::error::{Error, Result};
use crate::domain::record::{Scope, VFolder, Volume};
use crate::host::apart;
use crate::ops;
use crate::plan::{Outcome, Plan, Step, VolumeAt, look};
use crate::registry::{Change, Registry};
pub use actions::{forget_owner, set_actions};
pub use add::{Add, add, add_and_note};
pub use capacity::warnings;
pub use check::check;
pub(super) use check::{LIMITS_OFF, ability, look};
pub use driver_file::read as read_driver_file;
pub use image::grow;
pub use mount::{mount, unmount};

/// The documents of all volumes.
pub fn list(state: &State<'_>) -> Result<Vec<Value>> {
    Ok(document::volumes(state.registry, &state.registry.all::<Volume>()?))
}

/// The document of one, with its scopes and folders counted.
pub fn show(state: &State<'_>, name: &str) -> Result<Value> {
    let registry = state.registry;
    let volume: Volume = registry.require(name)?;
    let mut item = document::volume(registry, name, &volume);
    let usable = item["mounted"] == true;
    if let Value::Object(map) = &mut item {
        let end = format!("@{name}");
        let scopes = registry.keys::<Scope>().iter().filter(|k| k.ends_with(&end)).count();
        map.insert("scopes".to_owned(), scopes.into());
        map.insert("vfolders".to_owned(), folders_on(registry, name)?.len().into());
        map.insert("draining".to_owned(), volume.draining.len().into());
        let at = VolumeAt::new(registry.header.registry, name, &volume);
        map.extend(if usable { of_storage(at)? } else { limits(None) });
    }
    Ok(item)
}

/// What its driver says of a volume, which may cease to answer meanwhile.
fn of_storage(at: VolumeAt) -> Result<Map<String, Value>> {
    let answer = apart::each(&[at], look::SILENCE, |at| {
        let mut map = Map::new();
        if let Ok((enforcement, _)) = at.driver().enforcement(&at.path) {
            map.insert("enforcement".to_owned(), enforcement.name().into());
        }
        map.extend(limits(Some(at)));
        map
    })?;
    Ok(answer.into_iter().next().flatten().unwrap_or_else(|| limits(None)))
}

fn limits(usable: Option<&VolumeAt>) -> Map<String, Value> {
    let limits = capacity::of(usable).iter().map(capacity::document).collect();
    Map::from_iter([("limits".to_owned(), Value::Array(limits))])
}

fn folders_on(registry: &Registry, volume: &str) -> Result<Vec<String>> {
    let all = registry.all::<VFolder>()?;
    Ok(all.into_iter().filter(|(_, f)| f.volume == volume).map(|(key, _)| key).collect())
}

/// Plans another driver file for a volume of the driver `exec`.
pub fn set_driver_file(state: &State<'_>, name: &str, file: &DriverFile) -> Result<Plan> {
    let mut volume: Volume = state.registry.require(name)?;
    let Some(before) = volume.storage.file.replace(file.clone()) else {
        return Err(Error::conflict(format!(
            "the volume '{name}' has the driver {}, which takes no driver file",
            volume.storage.driver.name()
        )));
    };
    let mut plan = if before == *file {
        Plan::unchanged(format!("the volume '{name}' has this driver file already"))
    } else if before.wants_id() != file.wants_id() {
        return Err(Error::conflict(format!(
            "the driver file {} {} a number for each scope, and {} {}: scopes cannot change over",
            file.name,
            if file.wants_id() { "wants" } else { "wants not" },
            before.name,
            if before.wants_id() { "does" } else { "does not" },
        ))
        .hint("add a second volume with it"));
    } else {
        let mut plan =
            Plan::new(Outcome::Changed, format!("the volume '{name}' is driven by the file {}", file.name));
        let at = VolumeAt::new(state.registry.header.registry, name, &volume);
        at.open()?;
        add::require_ready(&*at.driver(), &at)?;
        plan.changes.push(Change::put(name.to_owned(), &volume)?);
        let marker = sidecar::marker(state.registry, name, &volume);
        plan.after.push(Step::Mark { volume: at, marker, update: true });
        plan
    };
    plan.item = Some(document::volume(state.registry, name, &volume));
    Ok(plan)
}

/// Plans the default volume.
pub fn set_default(state: &State<'_>, name: &str) -> Result<Plan> {
    let volume: Volume = state.registry.require(name)?;
    let mut settings = state.registry.settings.clone();
    let mut plan = if settings.default_volume.as_deref() == Some(name) {
        Plan::unchanged(format!("'{name}' is the default volume already"))
    } else {
        settings.default_volume = Some(name.to_owned());
        let mut plan = Plan::new(Outcome::Changed, format!("'{name}' is the default volume"));
        plan.changes.push(Change::Settings(settings));
        plan
    };
    plan.item = Some(document::volume(state.registry, name, &volume));
    Ok(plan)
}

/// Takes a volume out of the registry. What was cut off on it and cannot be undone, for it has gone, goes with it.
pub fn take_out(ctx: &Context, name: &str) -> Result<Done> {
    let mut done = ops::change(ctx, |state| remove(state, name))?;
    if !done.planned {
        // Whoever takes the lock tidies up; the volume is removed, whatever becomes of that.
        match ops::lock(ctx) {
            Ok((locked, warnings)) => {
                locked.unlock();
                let new: Vec<String> = warnings.into_iter().filter(|w| !done.warnings.contains(w)).collect();
                done.warnings.extend(new);
            }
            Err(error) => done.warnings.push(error.message),
        }
    }
    Ok(done)
}

/// Plans to take a volume out of the registry. What is on it stays; only the marker goes.
pub fn remove(state: &State<'_>, name: &str) -> Result<Plan> {
    let registry = state.registry;
    let volume: Volume = registry.require(name)?;
    let folders = folders_on(registry, name)?;
    if !folders.is_empty() {
        let more = if folders.len() > 1 { format!(" and {} more", folders.len() - 1) } else { String::new() };
        return Err(Error::conflict(format!("the volume '{name}' holds {}{more}", folders[0]))
            .hint(format!("purge them first; 'vfadm vfolder list --volume {name}' shows them")));
    }
    if let Some(folder) = claim::in_transit(registry)?.into_iter().find(|(_, transit)| transit.volume == name)
    {
        return Err(not_ready(&folder.0));
    }
    let end = format!("@{name}");
    let usable = VolumeAt::new(registry.header.registry, name, &volume).open().is_ok();
    let mut plan =
        Plan::new(Outcome::Deleted, format!("volume {name} removed; {} stays as it is", volume.path));
    for key in registry.keys::<Scope>().into_iter().filter(|k| k.ends_with(&end)) {
        let Some((owner, _)) = crate::domain::owner::split_scope_key(&key) else { continue };
        if usable {
            let site = super::scope::Site::find(registry, &owner, name, &volume)?;
            super::scope::remove(&site, false, &mut plan)?;
        } else {
            // They hold no folders, and a disk that has died is never mounted again.
            plan.changes.push(Change::remove::<Scope>(key));
        }
    }
    plan.item = Some(document::volume(registry, name, &volume));
    let at = VolumeAt::new(registry.header.registry, name, &volume);
    if usable {
        // After the commit: a marker without a record is found by `volume add`, a record without one is not usable.
        plan.after.push(Step::Unmark { volume: at, marker: sidecar::marker(registry, name, &volume) });
    } else {
        plan.warnings.push(format!(
            "'{name}' is not mounted at {}: its marker and its empty scopes stay on it",
            volume.path
        ));
    }
    plan.changes.push(Change::remove::<Volume>(name));
    if registry.settings.default_volume.as_deref() == Some(name) {
        let mut settings = registry.settings.clone();
        settings.default_volume = None;
        plan.changes.push(Change::Settings(settings));
    }
    Ok(plan)
}
