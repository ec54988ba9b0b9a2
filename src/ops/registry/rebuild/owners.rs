//! Who owns what was found. A scope's directory has the id of its owner; the name comes from the part of the registry that no
//! sidecar holds, or from a sidecar that is newer.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::merge::FoundVolume;
use crate::domain::error::Result;
use crate::domain::name;
use crate::domain::owner::Owner;
use crate::domain::record::{Project, User};
use crate::registry::{Change, Registry};

struct Known {
    owner: Owner,
    record: Value,
    generation: u64,
}

/// All owners, by the 32 digits of their ids.
pub(super) struct Owners<'a> {
    by_digits: BTreeMap<String, Known>,
    core: Option<&'a Registry>,
    notes: Vec<String>,
}

impl<'a> Owners<'a> {
    /// Collects them.
    pub fn gather(volumes: &[FoundVolume], core: Option<&'a Registry>) -> Result<Owners<'a>> {
        let mut owners = Owners { by_digits: BTreeMap::new(), core, notes: Vec::new() };
        if let Some(core) = core {
            let generation = core.header.generation;
            for (name, user) in core.all::<User>()? {
                owners.add(user.id, Owner::User(name), json!(user), generation);
            }
            for (name, project) in core.all::<Project>()? {
                owners.add(project.id, Owner::Project(name), json!(project), generation);
            }
        }
        for (dir, scope) in volumes.iter().flat_map(|volume| &volume.contents.scopes) {
            let Some(note) = &scope.note else { continue };
            let id = match &note.owner {
                Owner::User(_) => {
                    serde_json::from_value::<User>(note.owner_record.clone()).map(|user| user.id)
                }
                Owner::Project(_) => {
                    serde_json::from_value::<Project>(note.owner_record.clone()).map(|project| project.id)
                }
            };
            match id {
                Ok(id) if id.simple().to_string() == *dir => {
                    owners.add(id, note.owner.clone(), note.owner_record.clone(), note.generation);
                }
                _ => owners
                    .notes
                    .push(format!("the sidecar of the quota scope {dir} is another's, {}", note.owner)),
            }
        }
        owners.name_apart();
        Ok(owners)
    }

    fn add(&mut self, id: Uuid, owner: Owner, record: Value, generation: u64) {
        let known = self.by_digits.entry(id.simple().to_string());
        let known =
            known.or_insert_with(|| Known { owner: owner.clone(), record: record.clone(), generation });
        if generation > known.generation {
            *known = Known { owner, record, generation };
        }
    }

    /// Of two owners of one name, who are not one by their ids, the older one gets another name.
    fn name_apart(&mut self) {
        let mut newest: Vec<(String, u64)> =
            self.by_digits.iter().map(|(digits, known)| (digits.clone(), known.generation)).collect();
        newest.sort_by_key(|(_, generation)| std::cmp::Reverse(*generation));
        let mut taken = BTreeSet::new();
        for (digits, _) in newest {
            let Some(known) = self.by_digits.get_mut(&digits) else { continue };
            if name::owner(known.owner.kind(), known.owner.name()).is_err()
                || !taken.insert(known.owner.to_string())
            {
                let name = format!("recovered-{}", &digits[..8]);
                self.notes.push(format!("there is a second {}: the older one is '{name}'", known.owner));
                known.owner = match known.owner {
                    Owner::User(_) => Owner::User(name),
                    Owner::Project(_) => Owner::Project(name),
                };
                taken.insert(known.owner.to_string());
            }
        }
    }

    /// Whose directory it is.
    pub fn of(&self, dir: &str) -> Option<Owner> {
        self.by_digits.get(dir).map(|known| known.owner.clone())
    }

    /// Whether there is such an owner.
    pub fn knows(&self, owner: &Owner) -> bool {
        self.by_digits.values().any(|known| known.owner == *owner)
    }

    /// Makes an owner that something else names. Without a scope, any id will do.
    pub fn require(&mut self, owner: &Owner) {
        if self.knows(owner) {
            return;
        }
        self.notes.push(format!("{owner} is named, but nothing else is known of it: it has no limits"));
        let id = Uuid::new_v4();
        self.add(id, owner.clone(), json!({"id": id}), 0);
    }

    /// Whether a grant or membership of a user counts: one who is not in the list of all users was removed.
    pub fn accepts(&mut self, user: &str) -> bool {
        let owner = Owner::User(user.to_owned());
        if !self.knows(&owner) {
            if self.core.is_some() || name::owner("user", user).is_err() {
                return false;
            }
            self.require(&owner);
        }
        true
    }

    /// Puts them into a registry; what is to be told of them.
    pub fn put(mut self, registry: &mut Registry) -> Result<Vec<String>> {
        let projects: Vec<String> = self
            .by_digits
            .iter()
            .filter(|(_, known)| matches!(known.owner, Owner::Project(_)))
            .map(|(digits, _)| digits.clone())
            .collect();
        for digits in projects {
            let Some(known) = self.by_digits.get(&digits) else { continue };
            let mut record = known.record.clone();
            let members = record.get("members").and_then(Value::as_object).cloned().unwrap_or_default();
            let kept: Map<String, Value> =
                members.into_iter().filter(|(user, _)| self.accepts(user)).collect();
            if let (Some(map), false) = (record.as_object_mut(), kept.is_empty()) {
                map.insert("members".to_owned(), Value::Object(kept));
            }
            if let Some(known) = self.by_digits.get_mut(&digits) {
                known.record = record;
            }
        }
        for known in self.by_digits.into_values() {
            let name = known.owner.name().to_owned();
            let invalid =
                |e: serde_json::Error| crate::domain::error::Error::registry(format!("{name}: {e}"));
            let change = match &known.owner {
                Owner::User(_) => {
                    Change::put(&*name, &serde_json::from_value::<User>(known.record).map_err(invalid)?)?
                }
                Owner::Project(_) => {
                    Change::put(&*name, &serde_json::from_value::<Project>(known.record).map_err(invalid)?)?
                }
            };
            registry.apply(&change);
        }
        Ok(self.notes)
    }
}
