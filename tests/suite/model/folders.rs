//! Folders: made, renamed, set, deleted, restored, purged (SEMANTICS §1, §2, §4).

use super::world::*;

/// `vfolder create`
pub struct Create {
    pub folder: Reference,
    pub volume: Option<Name>,
    pub perm: Option<Level>,
    pub cloneable: bool,
    pub if_not_exists: bool,
}

impl World {
    pub fn create(&mut self, actor: Actor, asked: &Create) -> Answer {
        let (owner, name) = self.new_folder(actor, asked.folder)?;
        require(self.is_known(owner), Refusal::NotFound)?;
        require(self.manages(actor, owner), Refusal::NotPermitted)?;
        may_own(owner, name)?;
        let members = level_for_members(owner, asked.perm)?;
        // A name is unique for its owner over all volumes, in every status.
        if let Some(there) = self.folders.get(&(owner, name)) {
            let equal = asked.volume.is_none_or(|volume| volume == there.volume)
                && (asked.perm.is_none() || members == there.members)
                && asked.cloneable == there.cloneable;
            require(asked.if_not_exists && equal && !there.trashed, Refusal::Conflict)?;
            return Ok(Outcome::Unchanged);
        }
        self.require_room_for_one(owner)?;
        let volume = asked.volume.unwrap_or(DEFAULT_VOLUME);
        require(self.volumes.contains_key(volume), Refusal::NotFound)?;
        require(self.allows(volume, "create", owner), Refusal::NotPermitted)?;
        let (number, grants) = (self.folders_made, Default::default());
        let folder = Folder { number, volume, trashed: false, members, cloneable: asked.cloneable, grants };
        self.folders.insert((owner, name), folder);
        self.folders_made += 1;
        Ok(Outcome::Created)
    }

    /// Counted in every status; 0 = none may be made.
    fn require_room_for_one(&self, owner: Owner) -> Result<(), Refusal> {
        let owned = self.folders.keys().filter(|key| key.0 == owner).count();
        let most = match owner {
            Owner::User(user) => self.users[user],
            Owner::Project(project) => self.projects[project].most,
        };
        require(most.is_none_or(|most| owned < most), Refusal::Conflict)
    }

    /// Of a folder that is to be made, a bare name means the user's own.
    pub fn new_folder(&self, actor: Actor, reference: Reference) -> Result<Key, Refusal> {
        match (reference, actor) {
            (Reference::Named(owner, name), _) => Ok((owner, folder_name(name)?)),
            (Reference::Bare(name), Some(user)) => Ok((Owner::User(user), folder_name(name)?)),
            (Reference::Bare(_), None) | (Reference::Id(_), _) => Err(Refusal::Usage),
        }
    }

    /// `vfolder rename`
    pub fn rename(&mut self, actor: Actor, reference: Reference, to: Name) -> Answer {
        let key = self.managed(actor, reference, "modify")?;
        let new = (key.0, folder_name(to)?);
        if new == key {
            return Ok(Outcome::Unchanged);
        }
        let folder = &self.folders[&key];
        require(!folder.trashed, Refusal::Conflict)?;
        may_own(key.0, new.1)?;
        // A dot folder is not made by renaming a project's folder, or one that is shared or that users are invited to.
        if is_automatic(new.1) && !is_automatic(key.1) {
            require(matches!(key.0, Owner::User(_)), Refusal::Usage)?;
            let invited = self.pending(folder.number).next().is_some();
            require(folder.grants.is_empty() && !invited, Refusal::Conflict)?;
        }
        require(!self.folders.contains_key(&new), Refusal::Conflict)?;
        let folder = self.folders.remove(&key).expect("it was found");
        self.folders.insert(new, folder);
        Ok(Outcome::Changed)
    }

    /// `vfolder set`
    pub fn set(
        &mut self,
        actor: Actor,
        reference: Reference,
        perm: Option<Level>,
        cloneable: Option<bool>,
    ) -> Answer {
        let key = self.managed(actor, reference, "modify")?;
        let before = self.folders[&key].clone();
        let folder = self.folder(key);
        if perm.is_some() {
            folder.members = level_for_members(key.0, perm)?;
        }
        folder.cloneable = cloneable.unwrap_or(folder.cloneable);
        let differs = *folder != before;
        require(!differs || !before.trashed, Refusal::Conflict)?;
        changed(differs)
    }

    /// `vfolder delete`: it keeps its name, its grants and its pending invitations.
    pub fn delete(&mut self, actor: Actor, reference: Reference) -> Answer {
        let key = self.managed(actor, reference, "delete")?;
        let was_trashed = std::mem::replace(&mut self.folder(key).trashed, true);
        Ok(if was_trashed { Outcome::Unchanged } else { Outcome::Deleted })
    }

    /// `vfolder restore`
    pub fn restore(&mut self, actor: Actor, reference: Reference) -> Answer {
        let key = self.managed(actor, reference, "delete")?;
        let was_trashed = std::mem::replace(&mut self.folder(key).trashed, false);
        changed(was_trashed)
    }

    /// `vfolder purge`, of a trashed folder; `vfolder delete --purge`, of a ready one too.
    pub fn purge(&mut self, actor: Actor, reference: Reference, from_ready: bool) -> Answer {
        let key = self.managed(actor, reference, "delete")?;
        require(self.folders[&key].trashed || from_ready, Refusal::Conflict)?;
        self.forget_folder(key);
        Ok(Outcome::Deleted)
    }

    /// `vfolder transfer`, within the volume: refused where the new owner's name or count would not hold. What the new
    /// owner has anyway, or cannot give or get, ends.
    pub fn transfer(&mut self, actor: Actor, reference: Reference, to: Owner, perm: Option<Level>) -> Answer {
        let key = self.managed(actor, reference, "modify")?;
        level_for_members(to, perm)?;
        require(self.is_known(to), Refusal::NotFound)?;
        if to == key.0 {
            return Ok(Outcome::Unchanged);
        }
        require(!self.folders[&key].trashed, Refusal::Conflict)?;
        // A user hands nothing over to a project of strangers.
        let stranger = |user| matches!(to, Owner::Project(_)) && self.role(to, user).is_none();
        require(!actor.is_some_and(stranger), Refusal::NotPermitted)?;
        may_own(to, key.1)?;
        require(self.allows(self.folders[&key].volume, "create", to), Refusal::NotPermitted)?;
        require(!self.folders.contains_key(&(to, key.1)), Refusal::Conflict)?;
        self.require_room_for_one(to)?;
        let mut folder = self.folders.remove(&key).expect("it was found");
        folder.members = match to {
            Owner::User(_) => None,
            Owner::Project(_) => perm.or(folder.members).or(Some(Level::Rw)),
        };
        folder.grants.retain(|user, level| match to {
            Owner::User(name) => *user != name && *level > Level::None,
            Owner::Project(_) => *level > Level::None || self.role(to, user).is_some(),
        });
        let number = folder.number;
        self.folders.insert((to, key.1), folder);
        let ends = |i: &Invitation| {
            i.folder == number
                && i.state == "pending"
                && (self.manages(Some(i.invitee), to) || !self.manages(i.inviter, to))
        };
        let over: Vec<usize> = self.invitations.iter().filter(|(_, i)| ends(i)).map(|(n, _)| *n).collect();
        over.into_iter().for_each(|n| self.invitations.get_mut(&n).expect("it is there").state = "canceled");
        Ok(Outcome::Changed)
    }

    /// With a folder go its grants and its invitations.
    pub fn forget_folder(&mut self, key: Key) {
        let gone = self.folders.remove(&key).expect("it was found");
        self.invitations.retain(|_, invitation| invitation.folder != gone.number);
    }
}

/// A project's folder has a level for its members, rw unless told; a user's has none.
fn level_for_members(owner: Owner, asked: Option<Level>) -> Result<Option<Level>, Refusal> {
    match owner {
        Owner::Project(_) => Ok(Some(asked.unwrap_or(Level::Rw))),
        Owner::User(_) => require(asked.is_none(), Refusal::Usage).map(|()| None),
    }
}
