//! What stands beside the data, so that a registry can be rebuilt from the volumes: the marker of a volume, and a
//! sidecar for each scope and folder.

pub mod note;

use serde_json::{Value, json};

use super::resolve;
use super::scope::Site;
use crate::domain::error::Result;
use crate::domain::owner::{Owner, split_folder_key, split_scope_key};
use crate::domain::record::{Project, Record, Scope, User, VFolder, Volume};
use crate::plan::{Plan, ScopePlace, Step, VolumeAt};
use crate::registry::Registry;

/// A document as YAML text: one key a line, the values in flow style.
fn text(title: &str, document: &Value) -> String {
    let mut text = format!("# vfadm: {title}. Written by vfadm; the registry is the truth.\n");
    if let Value::Object(map) = document {
        for (key, value) in map {
            text.push_str(&format!("{key}: {value}\n"));
        }
    }
    text
}

/// The text of a volume's marker.
pub fn marker(registry: &Registry, name: &str, volume: &Volume) -> String {
    let settings = &registry.settings;
    text(
        "this directory is a volume",
        &json!({
            "generation": generation(registry),
            "registry": registry.header.registry,
            "root": registry.file().parent(),
            "id": volume.id,
            "name": name,
            "settings": {"uid": settings.uid, "gid": settings.gid, "mode": settings.mode},
            "volume": volume,
        }),
    )
}

/// The generation that the commit of the present change will have.
fn generation(registry: &Registry) -> u64 {
    registry.header.generation + 1
}

/// Writes the sidecar of a folder.
pub fn folder(registry: &Registry, scope: &ScopePlace, name: &str, record: &VFolder) -> Step {
    Step::WriteSidecar {
        volume: scope.volume.clone(),
        scope: scope.dir.clone(),
        name: record.digits(),
        text: text(
            "a vfolder",
            &json!({
                "generation": generation(registry),
                "owner": scope.owner,
                "name": name,
                "vfolder": record,
            }),
        ),
    }
}

/// Removes the sidecar of a folder.
pub fn no_folder(scope: &ScopePlace, record: &VFolder) -> Step {
    Step::RemoveSidecar { volume: scope.volume.clone(), scope: scope.dir.clone(), name: record.digits() }
}

/// Writes the sidecar of a scope, with the record of its owner.
pub fn scope(registry: &Registry, place: &ScopePlace, record: &Scope, owner: &Value) -> Step {
    Step::WriteSidecar {
        volume: place.volume.clone(),
        scope: place.dir.clone(),
        name: "scope".to_owned(),
        text: text(
            "a quota scope",
            &json!({
                "generation": generation(registry),
                "owner": place.owner,
                "owner_record": owner,
                "scope": record,
            }),
        ),
    }
}

/// Removes all sidecars of a scope.
pub fn no_scope(place: &ScopePlace) -> Step {
    Step::RemoveSidecar { volume: place.volume.clone(), scope: place.dir.clone(), name: "scope".to_owned() }
}

/// The record of an owner, as the registry has it.
pub fn owner_record(registry: &Registry, owner: &Owner) -> Result<Value> {
    Ok(match owner {
        Owner::User(name) => json!(registry.get::<User>(name)?),
        Owner::Project(name) => json!(registry.get::<Project>(name)?),
    })
}

/// Brings the sidecars of all scopes of an owner up to date after its record has changed to `record`.
pub fn owner_changed(registry: &Registry, owner: &Owner, dir: &str, record: &Value) -> Result<Vec<Step>> {
    let mut steps = Vec::new();
    for (key, found) in registry.with_prefix::<Scope>(&format!("{owner}@"))? {
        let Some((_, volume_name)) = key.rsplit_once('@') else { continue };
        let Some(volume) = registry.get::<Volume>(volume_name)?.filter(|_| found.present) else { continue };
        let place = ScopePlace {
            volume: VolumeAt::new(registry.header.registry, volume_name, &volume),
            owner: owner.clone(),
            dir: dir.to_owned(),
            kernel_id: found.kernel_id,
        };
        steps.push(scope(registry, &place, &found, record));
    }
    Ok(steps)
}

/// Adds to a plan what brings the notes beside the data up to date with a record of `registry`, as it will be.
pub fn follow(registry: &Registry, section: &str, key: &str, plan: &mut Plan) -> Result<()> {
    match section {
        VFolder::SECTION => {
            if let (Some((owner, name)), Some(record)) =
                (split_folder_key(key), registry.get::<VFolder>(key)?)
            {
                let site = Site::of_folder(registry, &owner, &record)?;
                plan.after.push(folder(registry, &site.place, name, &record));
            }
        }
        Scope::SECTION => {
            if let (Some((owner, volume)), Some(record)) = (split_scope_key(key), registry.get::<Scope>(key)?)
                && record.present
            {
                let site = Site::find(registry, &owner, volume, &registry.require::<Volume>(volume)?)?;
                plan.after.push(scope(registry, &site.place, &record, &owner_record(registry, &owner)?));
            }
        }
        User::SECTION | Project::SECTION => {
            let owner = match section {
                User::SECTION => Owner::User(key.to_owned()),
                _ => Owner::Project(key.to_owned()),
            };
            let record = owner_record(registry, &owner)?;
            if !record.is_null() {
                let dir = resolve::owner(registry, &owner)?.dir;
                plan.after.extend(owner_changed(registry, &owner, &dir, &record)?);
            }
        }
        Volume::SECTION => {
            if let Some(record) = registry.get::<Volume>(key)? {
                let at = VolumeAt::new(registry.header.registry, key, &record);
                match at.open() {
                    Ok(_) => {
                        let marker = marker(registry, key, &record);
                        plan.after.push(Step::Mark { volume: at, marker, update: true });
                    }
                    Err(error) => plan
                        .warnings
                        .push(format!("the marker of '{key}' was not written: {}", error.message)),
                }
            }
        }
        _ => {}
    }
    Ok(())
}
