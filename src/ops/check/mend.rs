//! The plans that mend what was found, each from the registry as it is under the lock.

use std::path::{Path, PathBuf};

use uuid::Uuid;

use super::charges::charge_scope;
use super::found::Mend;
use crate::domain::error::{Error, Result};
use crate::domain::level::Level;
use crate::domain::name;
use crate::domain::owner::{Owner, split_folder_key, split_scope_key};
use crate::domain::record::{
    Invitation, InvitationState, LimitSource, Scope, Session, Status, User, VFolder, Volume,
};
use crate::host::dir::Dir;
use crate::ops::layout::{self, Place};
use crate::ops::resolve::Folder;
use crate::ops::scope::Site;
use crate::ops::session::prune::prune;
use crate::ops::sidecar::note;
use crate::ops::{State, in_use, purge, sidecar};
use crate::plan::{Outcome, Plan, Step, VolumeAt};
use crate::quota::{self, ScopeAt};
use crate::registry::root::PRIVATE;
use crate::registry::{Change, Registry, now};

/// Long work, which is done without the lock.
pub fn is_long(mend: &Mend) -> bool {
    matches!(mend, Mend::Remove { .. } | Mend::Purge { .. } | Mend::Transfer { .. })
}

/// The plan of a short repair.
pub fn plan(state: &State<'_>, mend: &Mend) -> Result<Plan> {
    let registry = state.registry;
    let mut plan = Plan::new(Outcome::Changed, "");
    match mend {
        Mend::ByHand | Mend::Recovered | Mend::Remove { .. } | Mend::Purge { .. } | Mend::Transfer { .. } => {
        }
        Mend::Adopt { scope, place } => adopt(registry, scope, place, &mut plan)?,
        Mend::Forget { key } => return forget(state, key),
        Mend::Place { key, from } => {
            let (folder, site) = folder(registry, key)?;
            plan.steps.push(Step::MoveFolder {
                scope: site.place.clone(),
                from: PathBuf::from(from),
                to: PathBuf::from(folder.record.place()),
            });
            plan.after.push(sidecar::folder(registry, &site.place, &folder.name, &folder.record));
        }
        Mend::Owner { volume, dir } => {
            let notes = notes_of(registry, volume)?;
            let told = note::of_scope_itself(notes.as_ref(), dir)?;
            plan.changes.extend(told.and_then(|told| told.owner_of(dir, registry)));
        }
        Mend::Owners { volume } => {
            plan.lists = true;
            plan.tries.push(format!("write the list of users and projects on '{volume}' again"));
        }
        Mend::Scope { key } => record_scope(registry, key, &mut plan)?,
        Mend::MakeScope { key } => {
            let (site, record) = site(registry, key)?;
            let scope = site.place;
            plan.steps.push(Step::MakeScope { scope: scope.clone() });
            if record.limit.is_some() {
                plan.steps.push(Step::SetLimit { scope, from: None, to: record.limit });
            }
        }
        Mend::Limit { key, from } => {
            let (site, record) = site(registry, key)?;
            plan.steps.push(Step::SetLimit { scope: site.place, from: *from, to: record.limit });
        }
        Mend::Access { scope, place, folder, from, to } => {
            let (site, _) = site(registry, scope)?;
            let path = PathBuf::from(place);
            plan.steps.push(Step::SetAccess {
                scope: site.place,
                path,
                folder: *folder,
                from: *from,
                to: *to,
            });
        }
        Mend::Own { path, own } => plan.steps.push(Step::Secure { path: path.clone(), own: *own }),
        Mend::InnerLimits { key } => {
            let (site, _) = site(registry, key)?;
            plan.steps.push(Step::LiftInnerLimits { scope: site.place });
        }
        Mend::Charge { key } => {
            let (folder, site) = folder(registry, key)?;
            plan.steps.push(Step::Charge { scope: site.place, path: PathBuf::from(folder.record.place()) });
        }
        Mend::Stands { key } => {
            let (Folder { owner, name, record }, site) = folder(registry, key)?;
            let ready = VFolder { status: Status::Ready, trashed_at: None, clone: None, ..record };
            plan.changes.push(Change::put(owner.folder_key(&name), &ready)?);
            plan.after.push(sidecar::folder(registry, &site.place, &name, &ready));
        }
        Mend::ChargeScope { key, anew } => {
            let (site, record) = site(registry, key)?;
            charge_scope(site, &record, *anew, &mut plan);
        }
        Mend::Note { section, key } => sidecar::follow(registry, section, key, &mut plan)?,
        Mend::Marker { volume } => {
            let record: Volume = registry.require(volume)?;
            let at = VolumeAt::new(registry.header.registry, volume, &record);
            let marker = sidecar::marker(registry, volume, &record);
            plan.steps.push(Step::Mark { volume: at, marker, update: false });
        }
        Mend::NoNote { volume, dir, name } => {
            let record: Volume = registry.require(volume)?;
            let volume = VolumeAt::new(registry.header.registry, volume, &record);
            plan.after.push(Step::RemoveSidecar { volume, scope: dir.clone(), name: name.clone() });
        }
        Mend::Expire { id } => {
            let invitation: Invitation = registry.require(id)?;
            let expired = Invitation { state: InvitationState::Expired, ..invitation };
            plan.changes.push(Change::put(id, &expired)?);
        }
        Mend::Prune => return prune(state),
    }
    Ok(plan)
}

fn site(registry: &Registry, key: &str) -> Result<(Site, Scope)> {
    let record: Scope = registry.require(key)?;
    Ok((site_of(registry, key)?, record))
}

/// The scope of a key.
pub fn site_of(registry: &Registry, key: &str) -> Result<Site> {
    let (owner, volume) =
        split_scope_key(key).ok_or_else(|| Error::not_found(format!("no scope '{key}'")))?;
    Site::find(registry, &owner, volume, &registry.require::<Volume>(volume)?)
}

fn folder(registry: &Registry, key: &str) -> Result<(Folder, Site)> {
    let record: VFolder = registry.require(key)?;
    let folder =
        Folder::from(key, record).ok_or_else(|| Error::not_found(format!("there is no vfolder {key}")))?;
    let site = Site::of_folder(registry, &folder.owner, &folder.record)?;
    Ok((folder, site))
}

/// The directory with the sidecars of a volume.
fn notes_of(registry: &Registry, volume: &str) -> Result<Option<Dir>> {
    let record: Volume = registry.require(volume)?;
    let top = VolumeAt::new(registry.header.registry, volume, &record).open()?;
    Ok(top.stat(PRIVATE)?.map(|_| top.open_dir(PRIVATE)).transpose()?)
}

/// The id of a folder by its path below its scope.
fn id_at(place: &str) -> Option<Uuid> {
    let digits = match place.split_once('/') {
        Some((".staging" | ".trash", digits)) => digits.to_owned(),
        _ => place.replace('/', ""),
    };
    Uuid::parse_str(&digits).ok()
}

/// Records a directory: as its sidecar says, or under a name made of its id, for the owner of the scope alone.
fn adopt(registry: &Registry, scope: &str, place: &str, plan: &mut Plan) -> Result<()> {
    let site = site_of(registry, scope)?;
    let owner = site.place.owner.clone();
    let id = id_at(place).ok_or_else(|| Error::storage(format!("{place} is not a folder's path")))?;
    for key in registry.find_text::<VFolder>(&id.to_string()) {
        if registry.require::<VFolder>(&key)?.id == id {
            return Err(Error::conflict(format!("{key} has the id of {place} already")));
        }
    }
    let notes = note::of_scope(notes_of(registry, &site.place.volume.name)?.as_ref(), &site.place.dir)?;
    let told = note::of_folder(notes.as_ref(), id);
    let status = if place.starts_with(".trash/") { Status::Trashed } else { Status::Ready };
    let trashed_at = told.as_ref().and_then(|told| told.vfolder.trashed_at).or_else(|| Some(now()));
    let permission = |told: Option<Level>| match owner {
        Owner::User(_) => None,
        Owner::Project(_) => Some(told.unwrap_or(Level::None)),
    };
    let mut record = match &told {
        Some(told) => VFolder { permission: permission(told.vfolder.permission), ..told.vfolder.clone() },
        None => VFolder {
            id,
            volume: String::new(),
            status,
            permission: permission(None),
            cloneable: false,
            created_at: now(),
            trashed_at: None,
            shares: Default::default(),
            transfer: None,
            clone: None,
            shares_blocks: false,
            extra: Default::default(),
        },
    };
    let name = told.map(|told| told.name).unwrap_or_default();
    let name = name_for(registry, &owner, &name, id)?;
    record.volume = site.place.volume.name.clone();
    (record.transfer, record.clone) = (None, None);
    record.status = status;
    record.trashed_at = trashed_at.filter(|_| status == Status::Trashed);
    record.shares.retain(|user, _| {
        registry.contains::<User>(user) && Owner::User(user.clone()) != owner && !name::is_automatic(&name)
    });
    if record.place() != place {
        plan.steps.push(Step::MoveFolder {
            scope: site.place.clone(),
            from: PathBuf::from(place),
            to: PathBuf::from(record.place()),
        });
    }
    let key = owner.folder_key(&name);
    plan.changes.push(Change::put(key, &record)?);
    plan.after.push(sidecar::folder(registry, &site.place, &name, &record));
    Ok(())
}

/// The name that was told, if the owner may have it and it is free; else one of the id.
fn name_for(registry: &Registry, owner: &Owner, told: &str, id: Uuid) -> Result<String> {
    let free = |name: &str| crate::ops::claim::require_free(registry, owner, name, None).is_ok();
    if name::vfolder(told).is_ok_and(|nfc| nfc == told && owner.may_own(told).is_ok()) && free(told) {
        return Ok(told.to_owned());
    }
    let digits = id.simple().to_string();
    let names = [8, 16, 32].map(|length| format!("recovered-{}", &digits[..length]));
    names
        .into_iter()
        .find(|name| free(name))
        .ok_or_else(|| Error::conflict(format!("{owner} has a vfolder recovered-{digits} already")))
}

/// Takes a folder whose data has gone out of the registry.
fn forget(state: &State<'_>, key: &str) -> Result<Plan> {
    let (folder, _) = folder(state.registry, key)?;
    let mounted: Vec<String> = in_use::sessions_with(state.registry, &folder.record)?
        .into_iter()
        .map(|(name, _): (String, Session)| name)
        .collect();
    if !mounted.is_empty() {
        return Err(Error::in_use(format!("the vfolder {key} is mounted by session {}", mounted.join(", "))));
    }
    purge::finish(state.registry, &folder)
}

/// A scope that only the storage tells of, with the limit that it holds.
fn held(volume: &VolumeAt, scope: ScopeAt<'_>) -> Scope {
    let tells = volume.storage.driver.limits_scopes() && quota::is_set_here(&volume.storage);
    let limit = if tells { volume.driver().read_one(&scope).ok().and_then(|read| read.limit) } else { None };
    Scope {
        limit,
        source: if limit.is_some() { LimitSource::Set } else { LimitSource::None },
        kernel_id: scope.kernel_id,
        present: true,
        extra: Default::default(),
    }
}

/// Records a scope that is there: as its sidecar says, else with the limit that the storage holds. A limit that the registry
/// has kept stays.
fn record_scope(registry: &Registry, key: &str, plan: &mut Plan) -> Result<()> {
    let site = site_of(registry, key)?;
    let volume = &site.place.volume;
    let told = note::of_scope_itself(notes_of(registry, &volume.name)?.as_ref(), &site.place.dir)?;
    let told = told.map(|told| told.scope);
    let kernel_id = match told.as_ref().and_then(|told| told.kernel_id) {
        None => number_of(volume, &site.place.dir)?,
        told => told,
    };
    let kept = registry.get::<Scope>(key)?.filter(|record| record.source == LimitSource::Set);
    let of_storage = || held(volume, ScopeAt { kernel_id, ..site.place.at() });
    let record = Scope { present: true, kernel_id, ..kept.or(told).unwrap_or_else(of_storage) };
    if let Some(id) = record.kernel_id {
        let of_volume = |other: &str| split_scope_key(other).is_some_and(|(_, name)| name == volume.name);
        let taken = |(other, scope): &(String, Scope)| {
            scope.kernel_id == Some(id) && other != key && of_volume(other)
        };
        if registry.all::<Scope>()?.iter().any(taken) {
            return Err(Error::conflict(format!(
                "the quota scope {key} has the number {id} in the kernel, as has another one"
            )));
        }
        if id >= registry.settings.next_kernel_id {
            let settings =
                crate::domain::record::Settings { next_kernel_id: id + 1, ..registry.settings.clone() };
            plan.changes.push(Change::Settings(settings));
        }
    }
    let mut place = site.place.clone();
    place.kernel_id = record.kernel_id;
    plan.changes.push(Change::put(key, &record)?);
    let owner = sidecar::owner_record(registry, &place.owner)?;
    plan.after.push(sidecar::scope(registry, &place, &record, &owner));
    Ok(())
}

/// The number in the kernel of a scope of which no sidecar tells it, where this host can see it.
pub fn number_of(at: &VolumeAt, dir: &str) -> Result<Option<u64>> {
    let driver = at.driver();
    if !driver.wants_kernel_id() || !quota::is_set_here(&at.storage) {
        return Ok(None);
    }
    let scope = ScopeAt { volume: &at.path, dir, kernel_id: None, folders: at.folders };
    let top = at.open()?.open_beneath(Path::new(dir))?;
    // What is in staging may be on its way from another scope.
    let folders = layout::folders(&top)?.into_iter().filter(|(_, place)| *place != Place::Staging);
    let paths: Vec<PathBuf> = folders.map(|(digits, place)| place.path(&digits)).collect();
    driver.number_of(&scope, &paths)
}

/// The lines of a plan for long work.
pub fn describe(registry: &Registry, mend: &Mend) -> Option<String> {
    Some(match mend {
        Mend::Remove { scope, place, .. } => {
            let path = site_of(registry, scope).map(|site| site.place.path().join(place)).ok()?;
            format!("remove {} and all that is in it, for good", path.display())
        }
        Mend::Purge { key } => format!("remove what there is of vfolder {key}, for good"),
        Mend::Transfer { key, on: true } => format!("end the transfer of vfolder {key}"),
        Mend::Transfer { key, on: false } => format!("take the transfer of vfolder {key} back"),
        _ => return None,
    })
}

/// Owner and name of a folder.
pub fn named(key: &str) -> Result<(Owner, String)> {
    let (owner, name) =
        split_folder_key(key).ok_or_else(|| Error::not_found(format!("there is no vfolder {key}")))?;
    Ok((owner, name.to_owned()))
}
