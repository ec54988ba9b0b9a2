//! From what stands on the volumes to a registry. Of two that contradict each other the higher generation wins; what
//! cannot be kept as it was is told, and nothing on the volumes is touched.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use uuid::Uuid;

use super::found::{Contents, FoundFolder, FoundScope};
use super::owners::Owners;
use crate::domain::error::Result;
use crate::domain::name;
use crate::domain::owner::{Owner, split_scope_key};
use crate::domain::permission::Level;
use crate::domain::record::{LimitSource, Record, Scope, Status, VFolder, Volume};
use crate::domain::size::Limit;
use crate::ops::layout::Place;
use crate::ops::sidecar::note::{FolderNote, Marker};
use crate::plan::VolumeAt;
use crate::registry::{Change, Registry, now};

/// A volume that was found: where, its marker, and what stands on it.
pub(super) struct FoundVolume {
    pub path: PathBuf,
    pub marker: Marker,
    pub contents: Contents,
}

/// What became of it.
pub(super) struct Merged {
    pub registry: Registry,
    /// What could not be kept as it was.
    pub notes: Vec<String>,
    /// Records beside which something else is written than was found there: section and key.
    pub differ: BTreeSet<(&'static str, String)>,
    /// Where a list of users and projects stands of which nothing was used.
    pub unused: Vec<VolumeAt>,
}

struct Merge<'a> {
    into: Merged,
    owners: Owners<'a>,
    ids: BTreeSet<Uuid>,
    kernel_ids: BTreeSet<(String, u64)>,
}

/// Where a folder was found.
struct Spot<'a> {
    volume: &'a str,
    dir: &'a str,
    digits: &'a str,
    scope: &'a FoundScope,
    folder: &'a FoundFolder,
}

/// Brings what was found into `registry`, which has settings and nothing else. `core` is the part of the registry that no
/// sidecar holds.
pub(super) fn merge(registry: Registry, volumes: &[FoundVolume], core: Option<&Registry>) -> Result<Merged> {
    let into = Merged { registry, notes: Vec::new(), differ: BTreeSet::new(), unused: Vec::new() };
    let mut merge = Merge {
        into,
        owners: Owners::gather(volumes, core)?,
        ids: BTreeSet::new(),
        kernel_ids: BTreeSet::new(),
    };
    for volume in volumes {
        merge.volume(volume)?;
    }
    for volume in volumes {
        for (dir, scope) in &volume.contents.scopes {
            merge.scope(&volume.marker.name, dir, scope)?;
        }
    }
    merge.absent_scopes(core)?;
    let spots = volumes.iter().flat_map(|volume| {
        volume.contents.scopes.iter().flat_map(move |(dir, scope)| {
            scope.folders.iter().map(move |(digits, folder)| Spot {
                volume: &volume.marker.name,
                dir,
                digits,
                scope,
                folder,
            })
        })
    });
    let mut spots: Vec<Spot<'_>> = spots.collect();
    spots.sort_by_key(|spot| std::cmp::Reverse(spot.folder.note.as_ref().map_or(0, |note| note.generation)));
    for spot in &spots {
        merge.folder(spot)?;
    }
    merge.owners_of_shares()?;
    merge.count_kernel_ids()?;
    let notes = merge.owners.put(&mut merge.into.registry)?;
    merge.into.notes.extend(notes);
    Ok(merge.into)
}

impl Merge<'_> {
    fn note(&mut self, text: String) {
        self.into.notes.push(text);
    }

    fn volume(&mut self, found: &FoundVolume) -> Result<()> {
        let (key, mut record) = (found.marker.name.clone(), found.marker.volume.clone());
        self.into.notes.extend(found.contents.notes.iter().cloned());
        let path = found.path.display().to_string();
        if record.path != path {
            self.note(format!("the volume '{key}' was at {}, and is at {path}", record.path));
            self.into.differ.insert((Volume::SECTION, key.clone()));
            record.path = path;
        }
        if let Some(owner) = &record.dedicated_to {
            self.owners.require(owner);
        }
        record.id = found.marker.id;
        self.ids.insert(record.id);
        self.into.registry.apply(&Change::put(key, &record)?);
        Ok(())
    }

    fn scope(&mut self, volume: &str, dir: &str, found: &FoundScope) -> Result<()> {
        let Some(owner) = self.owners.of(dir) else {
            if found.exists {
                self.note(format!(
                    "nobody is known to own the quota scope {dir} on '{volume}': it is left as it is"
                ));
            }
            return Ok(());
        };
        let key = owner.scope_key(volume);
        let noted = found.note.as_ref().map(|note| note.scope.clone());
        let mut scope = noted.clone().unwrap_or(Scope {
            limit: None,
            source: LimitSource::None,
            kernel_id: None,
            present: true,
            extra: Default::default(),
        });
        scope.present = found.exists;
        if !found.exists {
            if scope.source == LimitSource::Set && noted.is_some() {
                scope.kernel_id = None;
                self.into.registry.apply(&Change::put(key, &scope)?);
            }
            return Ok(());
        }
        if let Some(held) = found.limit.filter(|held| held.bytes != scope.limit) {
            if noted.is_some() {
                self.note(format!(
                    "{key}: the storage holds a limit of {}, its sidecar says {}: the storage's counts",
                    Limit(held.bytes),
                    Limit(scope.limit)
                ));
            }
            (scope.limit, scope.source) = (held.bytes, LimitSource::Set);
            self.into.differ.insert((Scope::SECTION, key.clone()));
        }
        if scope.kernel_id.is_none() && found.number.is_some() {
            scope.kernel_id = found.number;
            self.into.differ.insert((Scope::SECTION, key.clone()));
        }
        if noted.is_none() {
            self.note(format!("{key} has no sidecar that can be read: it was found by its directory"));
            self.into.differ.insert((Scope::SECTION, key.clone()));
        }
        if let Some(id) = scope.kernel_id
            && !self.kernel_ids.insert((volume.to_owned(), id))
        {
            self.note(format!("{key} has the kernel id {id} of another quota scope: it is left out"));
            scope.kernel_id = None;
        }
        self.into.registry.apply(&Change::put(key, &scope)?);
        Ok(())
    }

    /// Limits that were set for scopes that are not there.
    fn absent_scopes(&mut self, core: Option<&Registry>) -> Result<()> {
        for (key, scope) in core.map(|core| core.all::<Scope>()).transpose()?.unwrap_or_default() {
            let Some((owner, volume)) = split_scope_key(&key) else { continue };
            let there = self.into.registry.contains::<Volume>(volume) && self.owners.knows(&owner);
            if there && !scope.present && !self.into.registry.contains::<Scope>(&key) {
                self.into.registry.apply(&Change::put(key, &scope)?);
            }
        }
        Ok(())
    }

    fn folder(&mut self, spot: &Spot<'_>) -> Result<()> {
        let where_it_is = format!("{} in the quota scope {} on '{}'", spot.digits, spot.dir, spot.volume);
        let (Some(owner), Ok(id)) = (self.owners.of(spot.dir), Uuid::try_parse(spot.digits)) else {
            return Ok(());
        };
        let note = spot.folder.note.as_ref().filter(|note| note.vfolder.id == id);
        let Some((status, transfer)) = status(spot, note) else {
            self.note(match spot.folder.places.first() {
                Some(_) => {
                    format!("the folder {where_it_is} was being made or copied: it is left in .staging")
                }
                None => {
                    format!("the sidecar of the folder {where_it_is} has no directory: it is left as it is")
                }
            });
            return Ok(());
        };
        if !self.ids.insert(id) {
            self.note(format!(
                "there is a second folder {where_it_is}, of an older generation: it is left as it is"
            ));
            return Ok(());
        }
        let key = self.key_of(&owner, spot, note);
        let mut record = note.map(|note| note.vfolder.clone()).unwrap_or_else(|| recovered(id));
        spot.volume.clone_into(&mut record.volume);
        if record.status != status {
            if note.is_some() {
                let (was, is) = (record.status.name(), status.name());
                self.note(format!("{key} was {was} by its sidecar, and is {is} by its directory"));
            }
            record.trashed_at = (status == Status::Trashed).then(now);
            record.status = status;
            self.into.differ.insert((VFolder::SECTION, key.clone()));
        }
        if !transfer {
            record.transfer = None;
        }
        record.permission = match owner {
            Owner::User(_) => None,
            Owner::Project(_) => Some(record.permission.unwrap_or(Level::None)),
        };
        self.into.registry.apply(&Change::put(key, &record)?);
        Ok(())
    }

    /// The name of its sidecar, where that can be its name, else one made of its digits.
    fn key_of(&mut self, owner: &Owner, spot: &Spot<'_>, note: Option<&FolderNote>) -> String {
        let registry = &self.into.registry;
        let free = |name: &str| !registry.contains::<VFolder>(&owner.folder_key(name));
        let good = |name: &str| {
            name::vfolder(name).is_ok_and(|nfc| nfc == name) && owner.may_own(name).is_ok() && free(name)
        };
        let name = note.map(|note| note.name.as_str()).unwrap_or_default();
        if good(name) {
            return owner.folder_key(name);
        }
        let tried = [format!("{name}-{}", &spot.digits[..8]), format!("recovered-{}", &spot.digits[..8])];
        let other = tried.into_iter().find(|name| good(name));
        let key = owner.folder_key(&other.unwrap_or_else(|| format!("recovered-{}", spot.digits)));
        self.note(match (note, name::vfolder(name)) {
            (None, _) => format!("{key} was found by its directory: no sidecar of it can be read"),
            (Some(_), Ok(_)) => format!("{owner} has two folders '{name}': the older one is {key}"),
            (Some(_), Err(_)) => {
                format!("{key} was called '{}', which cannot be a vfolder name", name::printable(name))
            }
        });
        self.into.differ.insert((VFolder::SECTION, key.clone()));
        key
    }

    /// Grants are to users that are known; those of a dot folder are none.
    fn owners_of_shares(&mut self) -> Result<()> {
        for (key, mut folder) in self.into.registry.all::<VFolder>()? {
            let before = folder.shares.len();
            let dotted = key.rsplit('/').next().is_some_and(name::is_automatic);
            folder.shares.retain(|user, _| !dotted && self.owners.accepts(user));
            if folder.shares.len() < before {
                self.note(format!(
                    "{key} was shared with users who are not there any more: they have lost it"
                ));
                self.into.differ.insert((VFolder::SECTION, key.clone()));
                self.into.registry.apply(&Change::put(key, &folder)?);
            }
        }
        Ok(())
    }

    fn count_kernel_ids(&mut self) -> Result<()> {
        let draining: Vec<u64> =
            self.into.registry.all::<Volume>()?.into_iter().flat_map(|(_, volume)| volume.draining).collect();
        let used = self.kernel_ids.iter().map(|(_, id)| *id).chain(draining).max();
        let mut settings = self.into.registry.settings.clone();
        settings.next_kernel_id = settings.next_kernel_id.max(used.map_or(0, |id| id.saturating_add(1)));
        self.into.registry.apply(&Change::Settings(settings));
        Ok(())
    }
}

/// The status by where the folder lies, and whether its transfer goes on; `None` where there is nothing to have.
fn status(spot: &Spot<'_>, note: Option<&FolderNote>) -> Option<(Status, bool)> {
    let places = &spot.folder.places;
    let noted = note.map(|note| &note.vfolder);
    if let Some(folder) = noted
        && folder.status == Status::Copying
        && folder.transfer.is_some()
        && (places.contains(&Place::Staging) || !spot.scope.seen)
    {
        return Some((Status::Copying, true));
    }
    let lies = |status: Status| match status {
        Status::Ready => places.contains(&Place::Home),
        Status::Trashed | Status::Purging => places.contains(&Place::Trash),
        Status::Creating | Status::Copying => false,
    };
    let status = match noted.map(|folder| folder.status) {
        // What cannot be looked at is believed.
        Some(status) if lies(status) || (spot.scope.exists && !spot.scope.seen) => status,
        _ if lies(Status::Ready) => Status::Ready,
        _ if lies(Status::Trashed) => Status::Trashed,
        _ => return None,
    };
    Some((status, false))
}

fn recovered(id: Uuid) -> VFolder {
    VFolder {
        id,
        volume: String::new(),
        status: Status::Creating,
        permission: None,
        cloneable: false,
        created_at: now(),
        trashed_at: None,
        shares: BTreeMap::new(),
        transfer: None,
        clone: None,
        shares_blocks: false,
        extra: Default::default(),
    }
}
