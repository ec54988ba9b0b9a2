//! Grants and invitations, and why (SEMANTICS §2 and §3).

use super::world::*;

impl World {
    /// `vfolder share`: on a user's folder the superadmin only (a user invites), on a project's its admins too.
    pub fn share(&mut self, actor: Actor, reference: Reference, users: &[Name], level: Level) -> Answer {
        let key = self.find(actor, reference)?;
        let by_owner = matches!(key.0, Owner::User(_)) && actor.is_some();
        require(!by_owner && self.manages(actor, key.0), Refusal::NotPermitted)?;
        self.require_open(key, "share")?;
        self.require_takers(key, users)?;
        // `none` takes away what comes with the project, and a stranger has nothing of it.
        let members = users.iter().all(|user| self.role(key.0, user).is_some());
        require(level > Level::None || members, Refusal::Conflict)?;
        let before = self.folders[&key].clone();
        let folder = self.folder(key);
        folder.grants.extend(users.iter().map(|user| (*user, level)));
        let differs = *folder != before;
        // Who has a grant has no invitation to wait for.
        for invitation in self.invitations.values_mut() {
            let over = invitation.folder == before.number && users.contains(&invitation.invitee);
            if over && invitation.state == "pending" {
                invitation.state = "canceled";
            }
        }
        changed(differs)
    }

    /// A folder that is shared or invited to is ready, without a leading dot, on a volume that allows it.
    fn require_open(&self, key: Key, action: Action) -> Result<(), Refusal> {
        let folder = &self.folders[&key];
        require(self.allows(folder.volume, action, key.0), Refusal::NotPermitted)?;
        require(!folder.trashed && !is_automatic(key.1), Refusal::Conflict)
    }

    /// The owner and the project's admins need no grant.
    fn require_takers(&self, key: Key, users: &[Name]) -> Result<(), Refusal> {
        self.require_users(users)?;
        let needs_none = |user: &Name| self.manages(Some(user), key.0);
        require(!users.iter().any(needs_none), Refusal::Conflict)
    }

    /// `vfolder unshare`: who gives, takes; also of a folder in the trash, and whatever the volume allows.
    pub fn unshare(&mut self, actor: Actor, reference: Reference, users: &[Name]) -> Answer {
        let key = self.find(actor, reference)?;
        require(self.manages(actor, key.0), Refusal::NotPermitted)?;
        self.require_users(users)?;
        let grants = &mut self.folder(key).grants;
        let before = grants.len();
        grants.retain(|user, _| !users.contains(user));
        changed(grants.len() < before)
    }

    /// `vfolder leave`, by whom the grant was given to. Nobody has more afterwards: a grant that lowers what a member
    /// has is not given back.
    pub fn leave(&mut self, actor: Actor, reference: Reference) -> Answer {
        let user = actor.ok_or(Refusal::Usage)?;
        let key = self.find(actor, reference)?;
        let before = self.level(user, key);
        require(self.folder(key).grants.remove(user).is_some(), Refusal::Conflict)?;
        let more = self.level(user, key).map(|(level, _)| level) > before.map(|(level, _)| level);
        require(!more, Refusal::NotPermitted)?;
        Ok(Outcome::Changed)
    }

    /// `vfolder invite`: all of them or none. `term` is false where it is over at once.
    pub fn invite(
        &mut self,
        actor: Actor,
        reference: Reference,
        users: &[Name],
        level: Level,
        term: bool,
    ) -> Answer {
        let key = self.find(actor, reference)?;
        require(self.manages(actor, key.0), Refusal::NotPermitted)?;
        self.require_open(key, "invite")?;
        self.require_takers(key, users)?;
        let folder = self.folders[&key].number;
        for user in users {
            require(!self.folders[&key].grants.contains_key(user), Refusal::Conflict)?;
            require(self.pending(folder).all(|i| i.invitee != *user), Refusal::Conflict)?;
        }
        let state = if term { "pending" } else { "expired" };
        for (at, &invitee) in users.iter().enumerate() {
            if !users[..at].contains(&invitee) {
                let invitation = Invitation { folder, inviter: actor, invitee, level, state };
                self.invitations.insert(self.invitations_made, invitation);
                self.invitations_made += 1;
            }
        }
        Ok(Outcome::Created)
    }

    /// `invitation accept`: by the invitee alone, while it is pending, and what it offers can still be given.
    pub fn accept(&mut self, actor: Actor, number: Option<usize>) -> Answer {
        let (number, invitation) = self.invitation(actor, number)?;
        require(actor == Some(invitation.invitee), Refusal::NotPermitted)?;
        if invitation.state == "accepted" {
            return Ok(Outcome::Unchanged);
        }
        require(invitation.state == "pending", Refusal::Conflict)?;
        let key = self.key_of(invitation.folder).expect("a purge takes the invitations along");
        require(!self.folders[&key].trashed, Refusal::Conflict)?;
        require(self.manages(invitation.inviter, key.0), Refusal::Conflict)?;
        self.require_takers(key, &[invitation.invitee])?;
        self.folder(key).grants.insert(invitation.invitee, invitation.level);
        self.close(number, "accepted")
    }

    /// `invitation reject`: by the invitee alone.
    pub fn reject(&mut self, actor: Actor, number: Option<usize>) -> Answer {
        let (number, invitation) = self.invitation(actor, number)?;
        require(actor == Some(invitation.invitee), Refusal::NotPermitted)?;
        self.close(number, "rejected")
    }

    /// `invitation cancel`: by the inviter or the superadmin.
    pub fn cancel(&mut self, actor: Actor, number: Option<usize>) -> Answer {
        let (number, invitation) = self.invitation(actor, number)?;
        require(actor.is_none() || actor == invitation.inviter, Refusal::NotPermitted)?;
        self.close(number, "canceled")
    }

    /// Who neither sent nor got it does not see it.
    fn invitation(&self, actor: Actor, number: Option<usize>) -> Result<(usize, Invitation), Refusal> {
        let found = number.and_then(|number| Some((number, self.invitations.get(&number)?.clone())));
        let (number, invitation) = found.ok_or(Refusal::NotFound)?;
        let sees = actor.is_none() || actor == invitation.inviter || actor == Some(invitation.invitee);
        require(sees, Refusal::NotFound)?;
        Ok((number, invitation))
    }

    /// All states but `pending` are final; the same answer again finds things as asked.
    fn close(&mut self, number: usize, state: Name) -> Answer {
        let invitation = self.invitations.get_mut(&number).expect("it was found");
        require(invitation.state == "pending" || invitation.state == state, Refusal::Conflict)?;
        changed(std::mem::replace(&mut invitation.state, state) != state)
    }

    /// `permission explain`: the superadmin's question about a user, so that a folder out of reach is explained and not
    /// hidden.
    pub fn explain(&self, actor: Actor, action: Action, reference: Reference) -> Answer {
        let user = actor.ok_or(Refusal::Usage)?;
        if action == "create" {
            let (owner, _) = self.new_folder(actor, reference)?;
            require(self.is_known(owner), Refusal::NotFound)?;
            let allowed = self.manages(actor, owner) && self.allows(DEFAULT_VOLUME, action, owner);
            return Ok(Outcome::Explained { allowed, level: if allowed { Level::Rw } else { Level::None } });
        }
        let asking = if matches!(reference, Reference::Bare(_)) { actor } else { None };
        let key = self.find(asking, reference)?;
        let folder = &self.folders[&key];
        let Some((level, _)) = self.level(user, key) else {
            return Ok(Outcome::Explained { allowed: false, level: Level::None });
        };
        let manages = self.manages(actor, key.0);
        let by_user = match action {
            "mount" => !folder.trashed,
            "clone" => manages || folder.cloneable,
            "share" => manages && !is_automatic(key.1) && matches!(key.0, Owner::Project(_)),
            "invite" => manages && !is_automatic(key.1),
            _ => manages,
        };
        let allowed = by_user && self.allows(folder.volume, action, key.0);
        Ok(Outcome::Explained { allowed, level })
    }
}
