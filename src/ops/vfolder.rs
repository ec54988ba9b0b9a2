//! Making, listing, renaming and changing folders.

use std::path::PathBuf;

use uuid::Uuid;

use super::document::{self, Paths};
use super::resolve::{self, Folder};
use super::scope::{self, Site};
use super::{State, claim, invitation, share, sidecar};
use crate::domain::error::{Error, Result};
use crate::domain::name;
use crate::domain::owner::Owner;
use crate::domain::permission::{self, Action, Level, Source};
use crate::domain::record::{Status, Transit, VFolder, Volume};
use crate::domain::reference::FolderRef;
use crate::domain::size::Limit;
use crate::plan::{Outcome, Plan, Step};
use crate::registry::{Change, now};

/// What `vfolder create` was asked.
#[derive(Clone, Debug)]
pub struct Create {
    /// Owner and name.
    pub folder: FolderRef,
    /// On which volume.
    pub volume: Option<String>,
    /// The limit of the scope, if this makes it.
    pub quota_init: Option<Limit>,
    /// What the members of a project may do.
    pub permission: Option<Level>,
    /// Whether others may clone it.
    pub cloneable: bool,
    /// An equal folder that is there already is fine.
    pub if_not_exists: bool,
}

/// Plans a new folder.
pub fn create(state: &State<'_>, request: &Create) -> Result<Plan> {
    let registry = state.registry;
    let (owner, folder_name) = resolve::new_folder(state.actor, &request.folder)?;
    let known = resolve::owner(registry, &owner)?;
    resolve::require_manager(state, &owner, "create")?;
    owner.may_own(&folder_name)?;
    let permission = permission_for(&owner, request.permission)?;
    let key = owner.folder_key(&folder_name);
    if let Some(existing) = registry.get::<VFolder>(&key)? {
        return existing_folder(
            state,
            Folder { owner, name: folder_name, record: existing },
            request,
            permission,
        );
    }
    known.require_active(&owner)?;
    claim::require_free(registry, &owner, &folder_name, None)?;
    claim::require_count(registry, &owner, &known, 1)?;
    let (volume_name, volume) = resolve::volume(registry, request.volume.as_deref(), &owner)?;
    require_use_of(&volume_name, &volume, &owner)?;
    permission::require_action(&volume_name, &volume, Action::Create, &owner)?;

    let mut plan = Plan::new(Outcome::Created, format!("vfolder {key} created on '{volume_name}'"));
    let site = Site::find(registry, &owner, &volume_name, &volume)?;
    let place = scope::ensure(registry, &site, request.quota_init, &mut plan)?;
    let record = VFolder {
        id: Uuid::new_v4(),
        volume: volume_name,
        status: Status::Ready,
        permission,
        cloneable: request.cloneable,
        created_at: now(),
        trashed_at: None,
        shares: Default::default(),
        transfer: None,
        clone: None,
        shares_blocks: false,
        extra: Default::default(),
    };
    plan.steps.push(Step::MakeFolder {
        scope: place.clone(),
        path: PathBuf::from(record.home()),
        uid: registry.settings.uid,
        gid: registry.settings.gid,
        mode: folder_mode(&registry.settings.mode)?,
    });
    plan.changes.push(Change::put(key, &record)?);
    plan.after.push(sidecar::folder(registry, &place, &folder_name, &record));
    let folder = Folder { owner, name: folder_name, record };
    plan.item = Some(document::vfolder(registry, &mut Paths::default(), &folder, None)?);
    Ok(plan)
}

/// The permission bits of a folder.
pub fn folder_mode(text: &str) -> Result<u32> {
    let mode = u32::from_str_radix(text, 8).ok().filter(|mode| *mode <= 0o7777).ok_or_else(|| {
        Error::usage(format!("'{text}' is not a mode")).hint("write three or four octal digits: 0770")
    })?;
    if mode & 0o700 != 0o700 {
        return Err(Error::usage(format!("with the mode {text}, sessions could not use their folders"))
            .hint("the first digit of the three has to be 7: 0770"));
    }
    Ok(mode)
}

pub(super) fn permission_for(owner: &Owner, asked: Option<Level>) -> Result<Option<Level>> {
    match (owner, asked) {
        (Owner::Project(_), asked) => Ok(Some(asked.unwrap_or(Level::Rw))),
        (Owner::User(_), None) => Ok(None),
        (Owner::User(_), Some(_)) => {
            Err(Error::usage("--perm is for folders of projects: it is what the project's members may do"))
        }
    }
}

/// Refuses a dedicated volume to all but its owner (exit 5).
pub fn require_use_of(volume_name: &str, volume: &Volume, owner: &Owner) -> Result<()> {
    match &volume.dedicated_to {
        Some(only) if only != owner => {
            Err(Error::not_permitted(format!("the volume '{volume_name}' is dedicated to {only}"))
                .hint("choose another volume with --volume"))
        }
        _ => Ok(()),
    }
}

fn existing_folder(
    state: &State<'_>,
    folder: Folder,
    request: &Create,
    permission: Option<Level>,
) -> Result<Plan> {
    let (key, record) = (folder.key(), &folder.record);
    match record.status {
        Status::Trashed => return Err(claim::in_the_trash(&key)),
        Status::Purging => {
            return Err(Error::conflict(format!("the vfolder {key} is being purged"))
                .hint(format!("vfadm vfolder purge {key} goes on with it, if it was cut off")));
        }
        Status::Copying if record.clone.is_some() => return Err(not_ready(&folder)),
        _ => {}
    }
    let differs = if request.volume.as_ref().is_some_and(|v| *v != record.volume) {
        Some(format!("it is on '{}'", record.volume))
    } else if request.permission.is_some() && permission != record.permission {
        Some(format!("its permission is {}", record.permission.unwrap_or(Level::Rw)))
    } else if request.cloneable != record.cloneable {
        Some(if record.cloneable { "it is cloneable" } else { "it is not cloneable" }.to_owned())
    } else {
        None
    };
    if request.if_not_exists && differs.is_none() {
        let mut plan = Plan::unchanged(format!("vfolder {key} exists already"));
        plan.item = Some(document::vfolder(state.registry, &mut Paths::default(), &folder, None)?);
        return Ok(plan);
    }
    let differs = differs.filter(|_| request.if_not_exists).map(|d| format!(", and {d}")).unwrap_or_default();
    Err(Error::conflict(format!("the vfolder {key} exists already{differs}"))
        .hint("choose another name; --if-not-exists accepts an equal one"))
}

/// Which folders `vfolder list` shows.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Of this owner.
    pub owner: Option<Owner>,
    /// On this volume.
    pub volume: Option<String>,
    /// In this status.
    pub status: Option<String>,
    /// With a grant; for a user: by a grant.
    pub shared: bool,
    /// Whose names match.
    pub name: Option<glob::Pattern>,
}

/// The documents of folders, sorted by owner and name.
pub fn list(state: &State<'_>, filter: &Filter) -> Result<Vec<serde_json::Value>> {
    let registry = state.registry;
    let mut paths = Paths::default();
    let wanted = |folder: &Folder| {
        filter.owner.as_ref().is_none_or(|o| *o == folder.owner)
            && filter.volume.as_ref().is_none_or(|v| *v == folder.record.volume)
            && filter.status.as_ref().is_none_or(|s| s == folder.record.status.name())
            && filter.name.as_ref().is_none_or(|pattern| pattern.matches(&folder.name))
    };
    if let Some(owner) = &filter.owner {
        resolve::owner(registry, owner)?;
    }
    if let Some(volume) = &filter.volume {
        registry.require::<Volume>(volume)?;
    }
    let mut items = Vec::new();
    if let Some(user) = state.actor.user() {
        for reach in resolve::reach_of(registry, user)?.into_iter().filter(|r| wanted(&r.folder)) {
            if filter.shared && reach.source != Source::Share {
                continue;
            }
            let level = Some((reach.level, reach.source));
            items.push(document::vfolder(registry, &mut paths, &reach.folder, level)?);
        }
        return Ok(items);
    }
    let records = match &filter.owner {
        Some(owner) => registry.with_prefix::<VFolder>(&format!("{owner}/"))?,
        None => registry.all::<VFolder>()?,
    };
    for (key, record) in records {
        let Some((owner, folder_name)) = crate::domain::owner::split_folder_key(&key) else { continue };
        let folder = Folder { owner, name: folder_name.to_owned(), record };
        if wanted(&folder) && !(filter.shared && folder.record.shares.is_empty()) {
            items.push(document::vfolder(registry, &mut paths, &folder, None)?);
        }
    }
    Ok(items)
}

/// The document of one folder.
pub fn show(state: &State<'_>, reference: &FolderRef) -> Result<serde_json::Value> {
    let folder = resolve::folder(state, reference)?;
    let level = match state.actor.user() {
        Some(user) => {
            let project = resolve::owning_project(state.registry, &folder.owner)?;
            permission::level_of(user, &folder.owner, &folder.record, project.as_ref())
        }
        None => None,
    };
    document::vfolder(state.registry, &mut Paths::default(), &folder, level)
}

/// A folder of which something is to change: found, managed by the actor, and the action allowed by its volume.
pub fn managed(
    state: &State<'_>,
    reference: &FolderRef,
    verb: &str,
    action: Action,
) -> Result<(Folder, Site)> {
    let folder = resolve::folder(state, reference)?;
    resolve::require_manager(state, &folder.owner, verb)?;
    let volume = state.registry.require::<Volume>(&folder.record.volume)?;
    permission::require_action(&folder.record.volume, &volume, action, &folder.owner)?;
    let site = Site::find(state.registry, &folder.owner, &folder.record.volume, &volume)?;
    Ok((folder, site))
}

pub(super) fn require_ready(folder: &Folder) -> Result<()> {
    if folder.record.status == Status::Ready {
        return Ok(());
    }
    Err(not_ready(folder))
}

/// Why something cannot be done with a folder that is not ready.
pub(super) fn not_ready(folder: &Folder) -> Error {
    let key = folder.key();
    if let Some(transit) = &folder.record.transfer {
        let error = Error::conflict(format!(
            "the vfolder {key} is being transferred to {} on '{}'",
            transit.to, transit.volume
        ));
        return error.hint(both_ways(folder, transit));
    }
    let error = Error::conflict(format!("the vfolder {key} is {}", folder.record.status.name()));
    if folder.record.clone.is_some() {
        let again = "the same 'vfadm vfolder clone' goes on with it, if it was cut off";
        return error.hint(format!("{again}; vfadm vfolder purge {key} drops it"));
    }
    match folder.record.status {
        Status::Trashed => error.hint(format!("vfadm vfolder restore {key}")),
        Status::Purging => {
            error.hint(format!("vfadm vfolder purge {key} goes on with it, if it was cut off"))
        }
        _ => error,
    }
}

/// How a transfer that was cut off is ended, or taken back.
pub(super) fn both_ways(folder: &Folder, transit: &Transit) -> String {
    let command = |owner: &Owner, volume: &str| {
        format!("vfadm vfolder transfer {} {owner} --volume {volume}", folder.key())
    };
    if transit.copied {
        return format!("{} ends it", command(&transit.to, &transit.volume));
    }
    let back = command(&folder.owner, &folder.record.volume);
    format!(
        "{} goes on with it, if it was cut off; {back} takes it back",
        command(&transit.to, &transit.volume)
    )
}

/// Plans another name.
pub fn rename(state: &State<'_>, reference: &FolderRef, new_name: &str) -> Result<Plan> {
    let new_name = name::vfolder(new_name)?;
    let (folder, site) = managed(state, reference, "rename", Action::Modify)?;
    let (old, new) = (folder.key(), folder.owner.folder_key(&new_name));
    if old == new {
        return Ok(Plan::unchanged(format!("vfolder {old} has this name already")));
    }
    require_ready(&folder)?;
    folder.owner.may_own(&new_name)?;
    if name::is_automatic(&new_name) && !name::is_automatic(&folder.name) {
        if let Owner::Project(_) = folder.owner {
            return Err(Error::usage("a project's folder cannot become an auto-mount folder by renaming"));
        }
        if !folder.record.shares.is_empty() {
            return Err(Error::conflict(format!(
                "the vfolder {old} is shared, and cannot become an auto-mount folder"
            )));
        }
        if invitation::is_awaited(state.registry, folder.record.id)? {
            return Err(Error::conflict(format!(
                "users are invited to the vfolder {old}, which cannot become an auto-mount folder"
            ))
            .hint("'vfadm invitation list' shows them; take them back first: vfadm invitation cancel"));
        }
    }
    claim::require_free(state.registry, &folder.owner, &new_name, None)?;
    let mut plan = Plan::new(Outcome::Changed, format!("vfolder {old} renamed to {new}"));
    plan.changes.push(Change::remove::<VFolder>(old));
    plan.changes.push(Change::put(new, &folder.record)?);
    plan.after.push(sidecar::folder(state.registry, &site.place, &new_name, &folder.record));
    let folder = Folder { name: new_name, ..folder };
    plan.item = Some(document::vfolder(state.registry, &mut Paths::default(), &folder, None)?);
    Ok(plan)
}

/// Plans other properties.
pub fn set(
    state: &State<'_>,
    reference: &FolderRef,
    level: Option<Level>,
    cloneable: Option<bool>,
) -> Result<Plan> {
    let (mut folder, site) = managed(state, reference, "change", Action::Modify)?;
    let key = folder.key();
    let before = (folder.record.permission, folder.record.cloneable);
    if level.is_some() {
        folder.record.permission = permission_for(&folder.owner, level)?;
    }
    folder.record.cloneable = cloneable.unwrap_or(folder.record.cloneable);
    let mut plan = if (folder.record.permission, folder.record.cloneable) == before {
        Plan::unchanged(format!("vfolder {key} is as asked"))
    } else {
        require_ready(&folder)?;
        Plan::new(Outcome::Changed, format!("vfolder {key} changed"))
    };
    if plan.outcome == Outcome::Changed {
        let project = resolve::owning_project(state.registry, &folder.owner)?;
        let above = share::sessions_above(state.registry, &folder.owner, &folder.record, project.as_ref())?;
        plan.warnings = above.iter().map(share::keeps).collect();
        plan.changes.push(Change::put(key, &folder.record)?);
        plan.after.push(sidecar::folder(state.registry, &site.place, &folder.name, &folder.record));
    }
    plan.item = Some(document::vfolder(state.registry, &mut Paths::default(), &folder, None)?);
    Ok(plan)
}
