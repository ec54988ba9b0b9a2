//! Markers and sidecars, read. A volume may be anybody's: what is read is bounded, and may be wrong.

use std::path::PathBuf;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use crate::domain::error::{Error, Result};
use crate::domain::name;
use crate::domain::owner::Owner;
use crate::domain::record::{Project, Scope, User, VFolder, Volume};
use crate::host::dir::Dir;
use crate::host::files;
use crate::registry::document::plain;
use crate::registry::{Change, Registry};

/// The most bytes of a sidecar or marker; a folder that is shared with ten thousand users has 400 KiB.
pub const MOST: u64 = 1 << 20;

/// How the files of sidecars end.
pub const END: &str = ".yaml";

/// A marker.
#[derive(Clone, Serialize, Deserialize)]
pub struct Marker {
    /// Which generation wrote it; older ones do not say.
    #[serde(default)]
    pub generation: u64,
    /// The registry's id.
    pub registry: Uuid,
    /// The root of that registry; older ones do not say.
    #[serde(default)]
    pub root: Option<PathBuf>,
    /// The volume's id.
    pub id: Uuid,
    /// The volume's name.
    pub name: String,
    /// What holds for all volumes of the registry.
    pub settings: Shared,
    /// The volume's record.
    pub volume: Volume,
}

/// The settings in a marker.
#[derive(Clone, Serialize, Deserialize)]
pub struct Shared {
    /// The uid of all tenants.
    pub uid: u32,
    /// Their gid.
    pub gid: u32,
    /// The mode of a folder, in octal digits.
    pub mode: String,
}

/// The sidecar of a scope.
#[derive(Clone, Serialize, Deserialize)]
pub struct ScopeNote {
    /// Which generation wrote it.
    pub generation: u64,
    /// Whose it is.
    pub owner: Owner,
    /// The owner's record.
    pub owner_record: Value,
    /// Its own.
    pub scope: Scope,
}

impl ScopeNote {
    /// What records the owner of the scope `dir` again; `None` where the name belongs to somebody, or nothing says who
    /// it was.
    pub fn owner_of(&self, dir: &str, registry: &Registry) -> Option<Change> {
        let record = self.owner_record.clone();
        match &self.owner {
            Owner::User(user) => {
                let record: User = serde_json::from_value(record).ok()?;
                let fits = record.id.simple().to_string() == dir && name::owner("user", user).is_ok();
                (fits && !registry.contains::<User>(user)).then(|| Change::put(user, &record).ok())?
            }
            Owner::Project(project) => {
                let mut record: Project = serde_json::from_value(record).ok()?;
                record.members.retain(|member, _| registry.contains::<User>(member));
                let fits = record.id.simple().to_string() == dir && name::owner("project", project).is_ok();
                (fits && !registry.contains::<Project>(project))
                    .then(|| Change::put(project, &record).ok())?
            }
        }
    }
}

/// The sidecar of a folder.
#[derive(Clone, Serialize, Deserialize)]
pub struct FolderNote {
    /// Which generation wrote it.
    pub generation: u64,
    /// Whose the folder is.
    pub owner: Owner,
    /// Its name.
    pub name: String,
    /// Its record.
    pub vfolder: VFolder,
}

impl FolderNote {
    /// The folder's key, when this was written.
    pub fn key(&self) -> String {
        self.owner.folder_key(&self.name)
    }

    /// True where what lies in .staging is more than a piece of a copy: it was whole, or may be all that there is of a folder on
    /// its way to another owner.
    pub fn is_finished(&self) -> bool {
        self.vfolder.transfer.is_some() || !self.vfolder.is_half_done()
    }
}

/// A marker or sidecar; `None` where there is none. What cannot be read, or means nothing, is an error (exit 9).
pub fn read<T: DeserializeOwned>(dir: &Dir, name: &str) -> Result<Option<T>> {
    let Some(bytes) = files::read(dir, name, MOST)? else { return Ok(None) };
    plain(bytes).map(Some).map_err(|e| Error::registry(format!("{}: {e}", dir.join(name).display())))
}

/// The directory with the sidecars of a scope. `notes` is the one with those of the volume.
pub fn of_scope(notes: Option<&Dir>, scope: &str) -> Result<Option<Dir>> {
    match notes {
        Some(notes) if notes.stat(scope)?.is_some() => Ok(Some(notes.open_dir(scope)?)),
        _ => Ok(None),
    }
}

/// What the sidecar of a folder says; `None` where there is none that can be read.
pub fn of_folder(notes: Option<&Dir>, id: Uuid) -> Option<FolderNote> {
    let told: FolderNote = read(notes?, &format!("{}{END}", id.simple())).ok()??;
    Some(told).filter(|told| told.vfolder.id == id)
}

/// What the sidecar of a scope itself says; `None` where there is none that can be read. `notes` is the directory with
/// those of the volume.
pub fn of_scope_itself(notes: Option<&Dir>, scope: &str) -> Result<Option<ScopeNote>> {
    Ok(of_scope(notes, scope)?.and_then(|dir| read(&dir, &format!("scope{END}")).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hostile_note_is_refused_at_once() {
        let folder = "owner: user/alice\nname: data\ngeneration: 4\nvfolder:\n  id: 3d1d94f0-0f6d-4e7b-b1a6-5a0a8e6f1214\n  \
                      volume: fast\n  status: ready\n  created_at: 2026-11-20T09:00:00Z\n";
        assert!(plain::<FolderNote>(folder.as_bytes().to_vec()).is_ok());
        crate::testing::each_yaml(&[folder], MOST as usize, |text| {
            let _ = plain::<FolderNote>(text.to_vec());
            let _ = plain::<ScopeNote>(text.to_vec());
            let _ = plain::<Marker>(text.to_vec());
        });
    }
}
