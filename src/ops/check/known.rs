//! What is asked for each directory that is found.

use std::collections::{BTreeSet, HashMap};

use uuid::Uuid;

use crate::domain::error::Result;
use crate::domain::owner::Owner;
use crate::domain::record::{Project, User, VFolder};
use crate::ops::State;
use crate::ops::resolve::Folder;
use crate::plan::intent;

/// All folders by their ids, all owners by their directories, and on
/// which folders somebody is at work.
pub struct Known {
    folders: HashMap<Uuid, Folder>,
    owners: HashMap<String, Owner>,
    worked_on: BTreeSet<Uuid>,
}

impl Known {
    /// As a registry has it.
    pub fn new(state: &State<'_>) -> Result<Known> {
        let registry = state.registry;
        let mut folders = HashMap::new();
        for (key, record) in registry.all::<VFolder>()? {
            let folder = Folder::from(&key, record);
            folders.extend(folder.map(|folder| (folder.record.id, folder)));
        }
        let users = registry.all::<User>()?.into_iter();
        let projects = registry.all::<Project>()?.into_iter();
        let owners = users
            .map(|(name, user)| (user.id, Owner::User(name)))
            .chain(projects.map(|(name, project)| (project.id, Owner::Project(name))))
            .map(|(id, owner)| (id.simple().to_string(), owner))
            .collect();
        let worked_on = intent::at_work(state.root)?.into_iter().filter_map(|by| by.long_work_on).collect();
        Ok(Known { folders, owners, worked_on })
    }

    /// True while a command works on a folder without the lock.
    pub fn is_worked_on(&self, id: Uuid) -> bool {
        self.worked_on.contains(&id)
    }

    /// The folder of this id.
    pub fn folder(&self, id: Uuid) -> Option<&Folder> {
        self.folders.get(&id)
    }

    /// The directory of an owner's scopes.
    pub fn dir(&self, owner: &Owner) -> Option<&str> {
        self.owners.iter().find(|(_, known)| *known == owner).map(|(dir, _)| dir.as_str())
    }

    /// Whose scopes have this directory.
    pub fn owner(&self, dir: &str) -> Option<&Owner> {
        self.owners.get(dir)
    }
}
