//! What an owner has and is going to have: names, and how many folders. Asked by everything that gives an owner a folder.

use uuid::Uuid;

use super::resolve::{Folder, OwnerRecord};
use crate::domain::error::{Error, Result};
use crate::domain::owner::Owner;
use crate::domain::record::{Status, Transit, VFolder};
use crate::registry::Registry;

/// The folders that are on their way to another owner or volume.
pub fn in_transit(registry: &Registry) -> Result<Vec<(Folder, Transit)>> {
    let mut found = Vec::new();
    for key in registry.find_text::<VFolder>("\"transfer\"") {
        if let Some(record) = registry.get::<VFolder>(&key)?
            && let Some(transit) = record.transfer.clone()
            && let Some(folder) = Folder::from(&key, record)
        {
            found.push((folder, transit));
        }
    }
    Ok(found)
}

/// Those that are on their way to an owner.
pub fn arriving(registry: &Registry, owner: &Owner) -> Result<Vec<Folder>> {
    let all = in_transit(registry)?.into_iter();
    Ok(all.filter(|(_, transit)| transit.to == *owner).map(|(folder, _)| folder).collect())
}

/// The unfinished clones of a folder.
pub fn clones_of(registry: &Registry, source: Uuid) -> Result<Vec<Uuid>> {
    let mut found = Vec::new();
    for key in registry.find_text::<VFolder>(&source.to_string()) {
        if let Some(record) = registry.get::<VFolder>(&key)?
            && record.clone.as_ref().is_some_and(|clone| clone.of == source)
        {
            found.push(record.id);
        }
    }
    Ok(found)
}

/// Refuses a name that the owner has given already, in any status, or that a folder on its way to it has (exit 4).
/// `except`: the folder that is to get it.
pub fn require_free(registry: &Registry, owner: &Owner, name: &str, except: Option<Uuid>) -> Result<()> {
    let key = owner.folder_key(name);
    if let Some(record) = registry.get::<VFolder>(&key)?
        && Some(record.id) != except
    {
        let error = Error::conflict(format!("the vfolder {key} exists already"));
        return Err(match record.status {
            Status::Trashed => in_the_trash(&key),
            _ => error.hint("choose another name"),
        });
    }
    match arriving(registry, owner)?.into_iter().find(|f| f.name == name && Some(f.record.id) != except) {
        None => Ok(()),
        Some(other) => Err(Error::conflict(format!("{} is being transferred to {owner}", other.key()))
            .hint("choose another name")),
    }
}

/// That a folder in the trash keeps its name.
pub fn in_the_trash(key: &str) -> Error {
    Error::conflict(format!("the vfolder {key} is in the trash, and keeps its name"))
        .hint(format!("vfadm vfolder restore {key}, or vfadm vfolder purge {key}"))
}

/// Refuses more folders than the owner may have (exit 4).
pub fn require_count(registry: &Registry, owner: &Owner, known: &OwnerRecord, more: u64) -> Result<()> {
    let Some(most) = known.allowance.max_vfolders else { return Ok(()) };
    let elsewhere = |folder: &Folder| folder.owner != *owner;
    let coming = arriving(registry, owner)?.into_iter().filter(elsewhere).count();
    let count = (registry.keys_with_prefix::<VFolder>(&format!("{owner}/")).len() + coming) as u64;
    if count + more <= most {
        return Ok(());
    }
    Err(Error::conflict(format!("{owner} owns {count} vfolders, and may own {most} (the trash counts)"))
        .hint(format!("purge some, or: vfadm {} set {} --max-vfolders N", owner.kind(), owner.name())))
}
