//! Users, projects, their members, and what volumes allow (SEMANTICS §2 and §4).

use super::world::*;

impl World {
    /// `user add`, `project add`
    pub fn add(&mut self, owner: Owner) -> Answer {
        require(!self.is_known(owner), Refusal::Conflict)?;
        match owner {
            Owner::User(name) => _ = self.users.insert(name, None),
            Owner::Project(name) => _ = self.projects.insert(name, Project::default()),
        }
        Ok(Outcome::Created)
    }

    /// `user set --max-vfolders`, `project set --max-vfolders`; it may be below what is owned.
    pub fn limit(&mut self, owner: Owner, most: Most) -> Answer {
        let limit = match owner {
            Owner::User(name) => self.users.get_mut(name),
            Owner::Project(name) => self.projects.get_mut(name).map(|project| &mut project.most),
        };
        let limit = limit.ok_or(Refusal::NotFound)?;
        changed(std::mem::replace(limit, most) != most)
    }

    /// `user remove`, `project remove`: refused while it owns folders, unless they are purged with it, and each of them
    /// can be. What names it goes too.
    pub fn remove(&mut self, owner: Owner, purge: bool) -> Answer {
        require(self.is_known(owner), Refusal::NotFound)?;
        let keys: Vec<Key> = self.folders.keys().copied().filter(|key| key.0 == owner).collect();
        require(keys.is_empty() || purge, Refusal::Conflict)?;
        for key in keys {
            require(self.allows(self.folders[&key].volume, "delete", owner), Refusal::NotPermitted)?;
            self.forget_folder(key);
        }
        for volume in self.volumes.values_mut() {
            volume.blocked_for.retain(|(whose, _)| *whose != owner);
            volume.allowed_for.retain(|(whose, _)| *whose != owner);
        }
        match owner {
            Owner::Project(name) => _ = self.projects.remove(name),
            Owner::User(name) => {
                self.users.remove(name);
                self.projects.values_mut().for_each(|project| _ = project.members.remove(name));
                self.folders.values_mut().for_each(|folder| _ = folder.grants.remove(name));
                self.invitations.retain(|_, i| i.invitee != name && i.inviter != Some(name));
            }
        }
        Ok(Outcome::Deleted)
    }

    /// `project add-member`: all of them or none; without a role a present member keeps its own.
    pub fn add_members(&mut self, project: Name, users: &[Name], role: Option<Role>) -> Answer {
        let known = self.projects.get(project).ok_or(Refusal::NotFound)?;
        self.require_users(users)?;
        let mut members = known.members.clone();
        for user in users {
            let present = members.get(user).copied();
            members.insert(user, role.or(present).unwrap_or(Role::Member));
        }
        self.set_members(project, members)
    }

    /// `project remove-member`: who is none is left alone. Who was one has nothing of the project's folders any more.
    pub fn remove_members(&mut self, project: Name, users: &[Name]) -> Answer {
        let known = self.projects.get(project).ok_or(Refusal::NotFound)?;
        self.require_users(users)?;
        let mut members = known.members.clone();
        members.retain(|user, _| !users.contains(user));
        let left: Vec<Name> = known.members.keys().copied().filter(|user| users.contains(user)).collect();
        let of_project = self.folders.iter_mut().filter(|(key, _)| key.0 == Owner::Project(project));
        of_project.for_each(|(_, folder)| folder.grants.retain(|user, _| !left.contains(user)));
        self.set_members(project, members)
    }

    fn set_members(&mut self, project: Name, members: std::collections::BTreeMap<Name, Role>) -> Answer {
        let known = self.projects.get_mut(project).expect("it was found");
        changed(std::mem::replace(&mut known.members, members.clone()) != members)
    }

    /// `volume allow`, `volume block`: for everybody it leaves the rules for single owners; an owner has one rule an
    /// action.
    pub fn rule(&mut self, allow: bool, volume: Name, actions: &[Action], whom: Option<Owner>) -> Answer {
        require(self.volumes.contains_key(volume), Refusal::NotFound)?;
        require(whom.is_none_or(|owner| self.is_known(owner)), Refusal::NotFound)?;
        let volume = self.volumes.get_mut(volume).expect("it is there");
        let before = volume.clone();
        for &action in actions {
            match whom {
                None if allow => _ = volume.blocked.remove(action),
                None => _ = volume.blocked.insert(action),
                Some(owner) => {
                    let (to, from) = match allow {
                        true => (&mut volume.allowed_for, &mut volume.blocked_for),
                        false => (&mut volume.blocked_for, &mut volume.allowed_for),
                    };
                    to.insert((owner, action));
                    from.remove(&(owner, action));
                }
            }
        }
        changed(*volume != before)
    }
}
