//! The documents of the contract: what `-o json` and `-o yaml` show of a record. They are not the registry's own
//! structures.

use std::collections::HashMap;

use serde_json::{Map, Value, json};

use super::in_use;
use super::liveness::Witness;
use super::resolve::{self, Folder};
use crate::domain::error::Result;
use crate::domain::holder::Life;
use crate::domain::node::Sight;
use crate::domain::owner::Owner;
use crate::domain::permission::{Action, Level, Source};
use crate::domain::quota::Enforcement;
use crate::domain::record::{Allowance, Invitation, Kernel, Project, Session, User, VFolder, Volume};
use crate::plan::{VolumeAt, look};
use crate::quota::Reading;
use crate::registry::Registry;

/// Paths of folders, with the volumes' paths and the owners' ids looked up once.
#[derive(Default)]
pub struct Paths {
    volumes: HashMap<String, String>,
    owners: HashMap<String, String>,
}

impl Paths {
    /// The directory of an owner's folder.
    pub fn of(&mut self, registry: &Registry, owner: &Owner, record: &VFolder) -> Result<String> {
        if !self.volumes.contains_key(&record.volume) {
            let path = registry.require::<Volume>(&record.volume)?.path;
            self.volumes.insert(record.volume.clone(), path);
        }
        let key = owner.to_string();
        if !self.owners.contains_key(&key) {
            self.owners.insert(key.clone(), resolve::owner(registry, owner)?.dir);
        }
        Ok(format!("{}/{}/{}", self.volumes[&record.volume], self.owners[&key], record.place()))
    }
}

/// A folder. `level` is the actor's and where it comes from, where the command runs for a user.
pub fn vfolder(
    registry: &Registry,
    paths: &mut Paths,
    folder: &Folder,
    level: Option<(Level, Source)>,
) -> Result<Value> {
    let record = &folder.record;
    let shares: Vec<Value> =
        record.shares.iter().map(|(user, level)| json!({"user": user, "permission": level})).collect();
    let mut item = json!({
        "id": record.id,
        "name": folder.name,
        "owner": folder.owner,
        "volume": record.volume,
        "path": paths.of(registry, &folder.owner, record)?,
        "status": record.status,
        "permission": level.map(|(level, _)| level).or(record.permission).unwrap_or(Level::Rw),
        "cloneable": record.cloneable,
        "shares": shares,
        "created_at": record.created_at,
    });
    if let (Some((_, source)), Value::Object(map)) = (level, &mut item) {
        map.insert("source".to_owned(), json!(source.name()));
    }
    if let (Some(transit), Value::Object(map)) = (&record.transfer, &mut item) {
        map.insert("transfer".to_owned(), json!({"to": transit.to, "volume": transit.volume}));
    }
    if let (Some(clone), Value::Object(map)) = (&record.clone, &mut item) {
        // The source may be out of a user's reach.
        let source = match level {
            None => resolve::with_id(registry, clone.of)?.map(|source| source.key()),
            Some(_) => None,
        };
        map.insert("clone".to_owned(), json!({ "source": source }));
    }
    if let (Some(at), Value::Object(map)) = (record.trashed_at, &mut item) {
        map.insert("trashed_at".to_owned(), json!(at));
    }
    Ok(item)
}

fn allowance(item: &mut Map<String, Value>, allowance: &Allowance) {
    item.insert("max_vfolders".to_owned(), json!(allowance.max_vfolders));
    item.insert("max_quota".to_owned(), json!(allowance.max_quota));
    item.insert("default_quota".to_owned(), json!(allowance.default_quota));
}

/// A user.
pub fn user(registry: &Registry, name: &str, user: &User) -> Value {
    let folders = registry.keys_with_prefix::<VFolder>(&format!("user/{name}/")).len();
    let mut item = Map::new();
    item.insert("id".to_owned(), json!(user.id));
    item.insert("name".to_owned(), json!(name));
    item.insert("state".to_owned(), json!(user.state));
    item.insert("vfolders".to_owned(), json!(folders));
    allowance(&mut item, &user.allowance);
    Value::Object(item)
}

/// A project.
pub fn project(registry: &Registry, name: &str, project: &Project) -> Value {
    let folders = registry.keys_with_prefix::<VFolder>(&format!("project/{name}/")).len();
    let members: Vec<Value> =
        project.members.iter().map(|(user, role)| json!({"user": user, "role": role})).collect();
    let mut item = Map::new();
    item.insert("id".to_owned(), json!(project.id));
    item.insert("name".to_owned(), json!(name));
    item.insert("state".to_owned(), json!(project.state));
    item.insert("vfolders".to_owned(), json!(folders));
    item.insert("members".to_owned(), json!(members));
    allowance(&mut item, &project.allowance);
    Value::Object(item)
}

/// A volume, with what its filesystem says.
pub fn volume(registry: &Registry, name: &str, record: &Volume) -> Value {
    let volumes = [(name.to_owned(), record.clone())];
    self::volumes(registry, &volumes).into_iter().next().unwrap_or_default()
}

/// Volumes, each with what its filesystem says, or why it says nothing.
pub fn volumes(registry: &Registry, volumes: &[(String, Volume)]) -> Vec<Value> {
    let at: Vec<VolumeAt> =
        volumes.iter().map(|(name, record)| VolumeAt::new(registry.header.registry, name, record)).collect();
    let sights = look::look(&at);
    let mut items = Vec::with_capacity(volumes.len());
    for (index, (name, record)) in volumes.iter().enumerate() {
        let mut item = recorded(registry, name, record);
        match &sights {
            Ok(sights) => seen(&mut item, &at[index], &sights[index]),
            Err(error) => unknown(&mut item, &error.message),
        }
        items.push(Value::Object(item));
    }
    items
}

fn recorded(registry: &Registry, name: &str, volume: &Volume) -> Map<String, Value> {
    let allowed: Vec<&str> =
        Action::ALL.iter().filter(|a| !volume.blocked.contains(a)).map(|a| a.name()).collect();
    let item = json!({
        "id": volume.id,
        "name": name,
        "path": volume.path,
        "driver": volume.storage.driver,
        "folders": volume.folders,
        "default": registry.settings.default_volume.as_deref() == Some(name),
        "dedicated_to": volume.dedicated_to,
        "quota_host": volume.storage.quota_host,
        "driver_file": volume.storage.file.as_ref().map(|file| &file.name),
        "mount": volume.mount,
        "allowed": allowed,
        "blocked_for": volume.blocked_for,
        "allowed_for": volume.allowed_for,
    });
    match item {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

fn seen(item: &mut Map<String, Value>, at: &VolumeAt, sight: &Sight) {
    item.insert("mounted".to_owned(), json!(sight.state.is_usable()));
    item.insert("state".to_owned(), json!(sight.state));
    if sight.state.is_usable() {
        item.insert("filesystem".to_owned(), json!(sight.filesystem));
        item.insert("total_bytes".to_owned(), json!(sight.total_bytes));
        item.insert("used_bytes".to_owned(), json!(sight.used_bytes));
    } else {
        unknown(item, &at.unusable(sight.reason.as_deref().unwrap_or_default()).message);
    }
}

fn unknown(item: &mut Map<String, Value>, reason: &str) {
    for key in ["filesystem", "total_bytes", "used_bytes"] {
        item.insert(format!("{key}_unknown_reason"), json!(reason));
    }
}

/// A quota scope. `reading` is what the storage says, or why it says nothing.
pub fn scope(
    owner: &Owner,
    volume: &VolumeAt,
    path: &str,
    reading: std::result::Result<Reading, String>,
    enforcement: Option<Enforcement>,
) -> Value {
    let mut item = Map::new();
    item.insert("owner".to_owned(), json!(owner));
    item.insert("volume".to_owned(), json!(volume.name));
    item.insert("path".to_owned(), json!(path));
    item.insert("driver".to_owned(), json!(volume.storage.driver));
    match reading {
        Ok(Reading { used, limit }) => {
            item.insert("limit_bytes".to_owned(), json!(limit));
            if let Some(used) = used {
                item.insert("used_bytes".to_owned(), json!(used));
                let percent = limit.map(|l| if l == 0 { 100.0 } else { used as f64 * 100.0 / l as f64 });
                item.insert("used_percent".to_owned(), json!(percent.map(|p| (p * 10.0).round() / 10.0)));
            } else {
                let reason = "the storage does not count it; 'vfadm vfolder usage' walks the folders";
                item.insert("used_bytes_unknown_reason".to_owned(), json!(reason));
            }
            if volume.driver().usage_lags() {
                item.insert("usage".to_owned(), json!("lagging"));
            }
        }
        // What the registry says is not what the storage holds.
        Err(reason) => {
            item.insert("limit_bytes_unknown_reason".to_owned(), json!(reason));
            item.insert("used_bytes_unknown_reason".to_owned(), json!(reason));
        }
    }
    match enforcement {
        Some(enforcement) => item.insert("enforcement".to_owned(), json!(enforcement)),
        None => item.insert("enforcement_unknown_reason".to_owned(), json!("the volume cannot be used")),
    };
    Value::Object(item)
}

/// An invitation. `vfolder` is the folder's key.
pub fn invitation(id: &str, invitation: &Invitation, vfolder: &str) -> Value {
    json!({
        "id": id,
        "vfolder": vfolder,
        "inviter": invitation.inviter.as_deref().unwrap_or("superadmin"),
        "invitee": invitation.invitee,
        "permission": invitation.permission,
        "state": invitation.state_at(crate::registry::now()),
        "created_at": invitation.created_at,
        "expires_at": invitation.expires_at,
    })
}

/// A session, with what `witness` says of its kernels.
pub fn session(registry: &Registry, name: &str, session: &Session, witness: &Witness<'_>) -> Result<Value> {
    let mut names = HashMap::new();
    for mount in &session.mounts {
        let keys = registry.find_text::<VFolder>(&mount.vfolder.to_string());
        names.insert(mount.vfolder, keys.into_iter().next().unwrap_or_else(|| mount.vfolder.to_string()));
    }
    let mut paths = Paths::default();
    let mut mounts = Vec::new();
    for mount in &session.mounts {
        let key = &names[&mount.vfolder];
        let mut source = String::new();
        if let (Some((owner, _)), Some(record)) =
            (crate::domain::owner::split_folder_key(key), registry.get::<VFolder>(key)?)
        {
            source = paths.of(registry, &owner, &record)?;
            if !mount.subpath.is_empty() {
                source = format!("{source}/{}", mount.subpath);
            }
        }
        mounts.push(json!({
            "vfolder": key,
            "source": source,
            "target": mount.target,
            "permission": mount.permission,
            "auto": mount.auto,
        }));
    }
    let kernels: Vec<(Value, bool)> = session.kernels.iter().map(|k| kernel(session, k, witness)).collect();
    let alive = kernels.iter().any(|(_, alive)| *alive);
    Ok(json!({
        "id": session.id,
        "name": name,
        "user": session.user,
        "project": session.project,
        "kernels": kernels.into_iter().map(|(kernel, _)| kernel).collect::<Vec<_>>(),
        "mounts": mounts,
        "state": if alive { "running" } else { "dead" },
        "holder": in_use::holders_in_short(session, session.kernels.iter()),
        "lease_until": session.lease.as_ref().map(|lease| lease.until),
        "started_at": session.started_at,
    }))
}

/// A kernel, and whether it counts as alive.
fn kernel(session: &Session, kernel: &Kernel, witness: &Witness<'_>) -> (Value, bool) {
    let life = witness.life(session, kernel);
    let mut item = json!({
        "name": kernel.name,
        "node": kernel.node,
        "holder": kernel.holder,
        "state": life.name(),
        "alive": life.counts(),
        "started_at": kernel.started_at.unwrap_or(session.started_at),
    });
    if let (Life::Gone(why) | Life::Unknown(why), Value::Object(map)) = (&life, &mut item) {
        map.insert("because".to_owned(), json!(why));
    }
    (item, life.counts())
}
