//! From what was typed to records: folders, volumes, owners.

use uuid::Uuid;

use crate::domain::error::{Error, Result};
use crate::domain::name::printable;
use crate::domain::owner::{Owner, split_folder_key};
use crate::domain::permission::{self, Actor, Level, Source};
use crate::domain::record::{Allowance, Project, User, VFolder, Volume};
use crate::domain::reference::FolderRef;
use crate::ops::State;
use crate::registry::Registry;

/// A folder of the registry.
#[derive(Clone, Debug)]
pub struct Folder {
    /// Whose it is.
    pub owner: Owner,
    /// Its name.
    pub name: String,
    /// Its record.
    pub record: VFolder,
}

impl Folder {
    /// Its key in the registry, which is also how messages call it.
    pub fn key(&self) -> String {
        self.owner.folder_key(&self.name)
    }

    /// A record by its key.
    pub fn from(key: &str, record: VFolder) -> Option<Folder> {
        let (owner, name) = split_folder_key(key)?;
        Some(Folder { owner, name: name.to_owned(), record })
    }
}

/// Finds the folder that a reference means. Folders out of the actor's reach do not exist for it (exit 3).
pub fn folder(state: &State<'_>, reference: &FolderRef) -> Result<Folder> {
    let missing = || {
        Error::not_found(format!("there is no vfolder '{}'", printable(&reference.to_string())))
            .hint("'vfadm vfolder list' shows what there is")
    };
    match reference {
        FolderRef::Named(owner, name) => {
            let key = owner.folder_key(name);
            let record = state.registry.get::<VFolder>(&key)?.ok_or_else(missing)?;
            let folder = Folder { owner: owner.clone(), name: name.clone(), record };
            if reachable(state, &folder)? { Ok(folder) } else { Err(missing()) }
        }
        FolderRef::Id(prefix) => by_id(state, prefix)?.ok_or_else(missing),
        FolderRef::Bare(name) => by_name(state, name)?.ok_or_else(missing),
    }
}

/// The owner and name that a reference to a folder that is to be made means.
pub fn new_folder(actor: &Actor, reference: &FolderRef) -> Result<(Owner, String)> {
    match (reference, actor) {
        (FolderRef::Named(owner, name), _) => Ok((owner.clone(), name.clone())),
        (FolderRef::Bare(name), Actor::User(user)) => Ok((Owner::User(user.clone()), name.clone())),
        (FolderRef::Bare(name), Actor::Superadmin) => Err(bare_without_user(name)),
        (FolderRef::Id(_), _) => Err(Error::usage("an id cannot name a vfolder that is to be made")
            .hint("write OWNER/NAME, as in alice/data")),
    }
}

fn bare_without_user(name: &str) -> Error {
    Error::usage(format!("'{name}' does not say whose vfolder it is"))
        .hint(format!("write OWNER/{name}, as in alice/{name} or project/ml/{name}"))
}

fn by_id(state: &State<'_>, prefix: &str) -> Result<Option<Folder>> {
    // Ids stand in the file with dashes: after 8, 12, 16 and 20 digits.
    let mut dashed = String::new();
    for (at, digit) in prefix.chars().enumerate() {
        if matches!(at, 8 | 12 | 16 | 20) {
            dashed.push('-');
        }
        dashed.push(digit);
    }
    let mut found = Vec::new();
    for key in state.registry.find_text::<VFolder>(&dashed) {
        let Some(record) = state.registry.get::<VFolder>(&key)? else { continue };
        if record.digits().starts_with(prefix)
            && let Some(folder) = Folder::from(&key, record)
            && reachable(state, &folder)?
        {
            found.push(folder);
        }
    }
    only(found, &format!("id:{prefix}"))
}

/// The folder with an id, where there is one.
pub fn with_id(registry: &Registry, id: Uuid) -> Result<Option<Folder>> {
    for key in registry.find_text::<VFolder>(&id.to_string()) {
        if let Some(folder) = registry.get::<VFolder>(&key)?.and_then(|record| Folder::from(&key, record))
            && folder.record.id == id
        {
            return Ok(Some(folder));
        }
    }
    Ok(None)
}

fn by_name(state: &State<'_>, name: &str) -> Result<Option<Folder>> {
    let Some(user) = state.actor.user() else { return Err(bare_without_user(name)) };
    by_name_of(state.registry, user, name)
}

/// The folder that a user means by a bare name: any that the user can reach.
pub fn by_name_of(registry: &Registry, user: &str, name: &str) -> Result<Option<Folder>> {
    let found = reach_of(registry, user)?.into_iter().map(|r| r.folder).filter(|f| f.name == name).collect();
    only(found, name)
}

fn only(mut found: Vec<Folder>, typed: &str) -> Result<Option<Folder>> {
    if found.len() > 1 {
        let keys: Vec<String> = found.iter().map(Folder::key).collect();
        return Err(
            Error::usage(format!("'{typed}' may mean {}", keys.join(" or "))).hint("write the one you mean")
        );
    }
    Ok(found.pop())
}

fn reachable(state: &State<'_>, folder: &Folder) -> Result<bool> {
    Ok(match state.actor {
        Actor::Superadmin => true,
        Actor::User(user) => {
            let project = owning_project(state.registry, &folder.owner)?;
            permission::level_of(user, &folder.owner, &folder.record, project.as_ref()).is_some()
        }
    })
}

/// A folder that a user can reach, and how.
#[derive(Clone, Debug)]
pub struct Reach {
    /// The folder.
    pub folder: Folder,
    /// What the user may do with its content.
    pub level: Level,
    /// Where that comes from.
    pub source: Source,
}

/// All folders that a user can reach: own ones, those of projects, and shared ones.
pub fn reach_of(registry: &Registry, user: &str) -> Result<Vec<Reach>> {
    let own = Owner::User(user.to_owned());
    let mut keys = registry.keys_with_prefix::<VFolder>(&format!("{own}/"));
    for project in registry.find_text::<Project>(&format!("\"{user}\"")) {
        keys.extend(registry.keys_with_prefix::<VFolder>(&format!("{}/", Owner::Project(project))));
    }
    keys.extend(registry.find_text::<VFolder>(&format!("\"{user}\"")));
    keys.sort();
    keys.dedup();
    let mut reach = Vec::new();
    for key in keys {
        let Some(folder) = registry.get::<VFolder>(&key)?.and_then(|record| Folder::from(&key, record))
        else {
            continue;
        };
        let project = owning_project(registry, &folder.owner)?;
        if let Some((level, source)) =
            permission::level_of(user, &folder.owner, &folder.record, project.as_ref())
        {
            reach.push(Reach { folder, level, source });
        }
    }
    Ok(reach)
}

/// The record of the project that owns, where it is one.
pub fn owning_project(registry: &Registry, owner: &Owner) -> Result<Option<Project>> {
    match owner {
        Owner::User(_) => Ok(None),
        Owner::Project(name) => registry.get(name),
    }
}

/// Refuses unless the actor manages the owner's folders (exit 5; exit 3 when it cannot even see them).
pub fn require_manager(state: &State<'_>, owner: &Owner, verb: &str) -> Result<()> {
    let project = owning_project(state.registry, owner)?;
    if permission::manages(state.actor, owner, project.as_ref()) {
        return Ok(());
    }
    let who = state.actor.user().unwrap_or("superadmin");
    Err(Error::not_permitted(format!("{who} may not {verb} a vfolder of {owner}")).hint(match owner {
        Owner::User(name) => format!("{name} and the superadmin may"),
        Owner::Project(_) => "the project's admins and the superadmin may".to_owned(),
    }))
}

/// What is known of an owner.
#[derive(Clone, Debug)]
pub struct OwnerRecord {
    /// The name of its scopes on disk, in 32 digits.
    pub dir: String,
    /// How much it may have.
    pub allowance: Allowance,
    /// Whether it may make folders.
    pub active: bool,
}

impl OwnerRecord {
    /// Refuses new folders to an inactive owner (exit 5).
    pub fn require_active(&self, owner: &Owner) -> Result<()> {
        if self.active {
            return Ok(());
        }
        Err(Error::not_permitted(format!("{owner} is inactive")).hint(format!(
            "vfadm {} set {} --state active",
            owner.kind(),
            owner.name()
        )))
    }
}

/// The record of an owner (exit 3).
pub fn owner(registry: &Registry, owner: &Owner) -> Result<OwnerRecord> {
    use crate::domain::record::OwnerState::Active;
    let (id, allowance, state) = match owner {
        Owner::User(name) => {
            let user =
                registry.require::<User>(name).map_err(|e| e.hint(format!("vfadm user add {name}")))?;
            (user.id, user.allowance, user.state)
        }
        Owner::Project(name) => {
            let project =
                registry.require::<Project>(name).map_err(|e| e.hint(format!("vfadm project add {name}")))?;
            (project.id, project.allowance, project.state)
        }
    };
    Ok(OwnerRecord { dir: id.simple().to_string(), allowance, active: state == Active })
}

/// The volume that is meant: the named one; else the owner's dedicated one, the default, the only one.
pub fn volume(registry: &Registry, named: Option<&str>, owner: &Owner) -> Result<(String, Volume)> {
    if let Some(name) = named {
        let name = crate::domain::name::thing("volume", name)?;
        let volume =
            registry.require::<Volume>(&name).map_err(|e| e.hint("'vfadm volume list' shows them"))?;
        return Ok((name, volume));
    }
    let mut volumes = registry.all::<Volume>()?;
    if let Some(at) = volumes.iter().position(|(_, v)| v.dedicated_to.as_ref() == Some(owner)) {
        return Ok(volumes.swap_remove(at));
    }
    if let Some(default) = &registry.settings.default_volume
        && let Some(at) = volumes.iter().position(|(name, _)| name == default)
    {
        return Ok(volumes.swap_remove(at));
    }
    match volumes.len() {
        0 => Err(Error::not_found("there is no volume yet").hint("vfadm volume add NAME PATH")),
        1 => Ok(volumes.swap_remove(0)),
        _ => {
            let names: Vec<&str> = volumes.iter().map(|(name, _)| name.as_str()).collect();
            Err(Error::usage(format!("there are several volumes: {}", names.join(", ")))
                .hint("name one with --volume, or choose a default: vfadm volume set NAME --default"))
        }
    }
}
