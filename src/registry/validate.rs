//! The rules that a whole registry has to keep, for files that somebody edited and for `registry check`.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use uuid::Uuid;

use super::state::Registry;
use crate::domain::error::Result;
use crate::domain::finding::{Finding, Severity};
use crate::domain::name;
use crate::domain::owner::{Owner, split_folder_key, split_scope_key};
use crate::domain::record::{
    Allowance, Invitation, InvitationState, Project, Record, Scope, Session, User, VFolder, Volume,
};
use crate::domain::size;

/// Everything that is not as it should be, errors first.
pub fn validate(registry: &Registry) -> Result<Vec<Finding>> {
    let mut check = Check { registry, findings: Vec::new(), ids: BTreeMap::new() };
    check.decode::<Volume>();
    check.decode::<User>();
    check.decode::<Project>();
    check.decode::<Scope>();
    check.decode::<VFolder>();
    check.decode::<Invitation>();
    check.decode::<Session>();
    // A record that cannot be decoded cannot be compared with others.
    if check.findings.is_empty() {
        check.volumes()?;
        check.owners()?;
        check.scopes()?;
        check.vfolders()?;
        check.invitations()?;
        check.sessions()?;
        check.settings();
    }
    let mut findings = check.findings;
    findings.sort_by_key(|f| std::cmp::Reverse(f.severity));
    Ok(findings)
}

/// The first error of a registry that it has not had `before`.
pub fn newly_broken(before: Option<&Registry>, after: &Registry) -> Result<Option<Finding>> {
    let errors = |registry| -> Result<Vec<Finding>> {
        Ok(validate(registry)?.into_iter().filter(|f| f.severity == Severity::Error).collect())
    };
    let found = errors(after)?;
    let known = if found.is_empty() { None } else { before.map(errors).transpose()? }.unwrap_or_default();
    let is_known = |new: &Finding| {
        known.iter().any(|k| (&k.code, &k.subject, &k.message) == (&new.code, &new.subject, &new.message))
    };
    Ok(found.into_iter().find(|finding| !is_known(finding)))
}

struct Check<'a> {
    registry: &'a Registry,
    findings: Vec<Finding>,
    ids: BTreeMap<Uuid, String>,
}

impl Check<'_> {
    fn decode<R: Record>(&mut self) {
        for error in self.registry.check_records::<R>() {
            let mut finding = Finding::error(
                "record_broken",
                R::SECTION,
                format!("column {}: {}", error.column, error.message),
            );
            finding.line = Some(error.line);
            self.findings.push(finding);
        }
    }

    fn report<R: Record>(&mut self, key: &str, finding: Finding) {
        let line = self.registry.line_of(R::SECTION, key);
        self.findings.push(Finding { line, ..finding });
    }

    fn error<R: Record>(&mut self, code: &'static str, key: &str, message: impl Into<String>) {
        self.report::<R>(key, Finding::error(code, format!("{} {key}", R::NOUN), message));
    }

    fn unique_id<R: Record>(&mut self, key: &str, id: Uuid) {
        let here = format!("{} {key}", R::NOUN);
        if let Some(other) = self.ids.insert(id, here) {
            self.error::<R>("duplicate_id", key, format!("its id is also the id of the {other}"));
        }
    }

    fn volumes(&mut self) -> Result<()> {
        for (key, volume) in self.registry.all::<Volume>()? {
            self.unique_id::<Volume>(&key, volume.id);
            if let Err(e) = name::thing("volume", &key) {
                self.error::<Volume>("bad_name", &key, e.message);
            }
            if !volume.path.starts_with('/') {
                self.error::<Volume>("bad_path", &key, "its path is not absolute");
            }
            let dedicated = volume.storage.driver == crate::domain::quota::DriverKind::Dedicated;
            match &volume.dedicated_to {
                Some(owner) if !self.owner_exists(owner) => {
                    self.error::<Volume>(
                        "unknown_owner",
                        &key,
                        format!("it is dedicated to {owner}, who does not exist"),
                    );
                }
                None if dedicated => self.error::<Volume>("no_owner", &key, "it is dedicated to nobody"),
                _ => {}
            }
            let exec = volume.storage.driver == crate::domain::quota::DriverKind::Exec;
            if exec != volume.storage.file.is_some() {
                self.error::<Volume>("bad_driver", &key, "the driver exec, and only it, has a driver file");
            }
        }
        Ok(())
    }

    fn owner_exists(&self, owner: &Owner) -> bool {
        match owner {
            Owner::User(name) => self.registry.contains::<User>(name),
            Owner::Project(name) => self.registry.contains::<Project>(name),
        }
    }

    fn owners(&mut self) -> Result<()> {
        for (key, user) in self.registry.all::<User>()? {
            self.unique_id::<User>(&key, user.id);
            if let Err(e) = name::owner("user", &key) {
                self.error::<User>("bad_name", &key, e.message);
            }
            self.folder_count::<User>(&key, &Owner::User(key.clone()), &user.allowance);
        }
        for (key, project) in self.registry.all::<Project>()? {
            self.unique_id::<Project>(&key, project.id);
            if let Err(e) = name::owner("project", &key) {
                self.error::<Project>("bad_name", &key, e.message);
            }
            for member in project.members.keys().filter(|m| !self.registry.contains::<User>(m)) {
                self.error::<Project>("unknown_user", &key, format!("its member '{member}' does not exist"));
            }
            self.folder_count::<Project>(&key, &Owner::Project(key.clone()), &project.allowance);
        }
        Ok(())
    }

    fn folder_count<R: Record>(&mut self, key: &str, owner: &Owner, allowance: &Allowance) {
        let count = self.registry.keys_with_prefix::<VFolder>(&format!("{owner}/")).len() as u64;
        if let Some(most) = allowance.max_vfolders.filter(|most| count > *most) {
            let finding = Finding::warning(
                "over_max_vfolders",
                format!("{} {key}", R::NOUN),
                format!("owns {count} vfolders, more than its maximum of {most}"),
            );
            let (kind, name) = (owner.kind(), owner.name());
            let raise = format!("purge some, or: vfadm {kind} set {name} --max-vfolders N");
            self.report::<R>(key, finding.repair(raise));
        }
    }

    fn scopes(&mut self) -> Result<()> {
        let mut kernel_ids = BTreeMap::new();
        for (key, scope) in self.registry.all::<Scope>()? {
            let Some((owner, volume)) = split_scope_key(&key) else {
                self.error::<Scope>("bad_key", &key, "its key is not OWNER@VOLUME");
                continue;
            };
            if !self.owner_exists(&owner) {
                self.error::<Scope>("unknown_owner", &key, format!("its owner {owner} does not exist"));
            }
            if !self.registry.contains::<Volume>(volume) {
                self.error::<Scope>("unknown_volume", &key, format!("its volume '{volume}' does not exist"));
            }
            if let Some(id) = scope.kernel_id {
                if let Some(other) = kernel_ids.insert((volume.to_owned(), id), key.clone()) {
                    self.error::<Scope>(
                        "duplicate_kernel_id",
                        &key,
                        format!("its kernel id {id} is also the one of {other}"),
                    );
                }
                if id >= self.registry.settings.next_kernel_id {
                    self.error::<Scope>(
                        "kernel_id_ahead",
                        &key,
                        format!("its kernel id {id} is not below next_kernel_id"),
                    );
                }
            }
            let most = self.allowance_of(&owner)?.and_then(|a| a.max_quota);
            if let Some(most) = most
                && scope.present
                && scope.limit.is_none_or(|limit| limit > most)
                && !self.is_dedicated(volume)?
            {
                let has = scope.limit.map_or("unlimited".to_owned(), size::human);
                let finding = Finding::warning(
                    "over_max_quota",
                    format!("{} {key}", Scope::NOUN),
                    format!("its limit of {has} is above the maximum of {owner}, {}", size::human(most)),
                );
                let lower = format!("vfadm quota set {owner} SIZE --volume {volume}");
                self.report::<Scope>(&key, finding.repair(lower));
            }
        }
        Ok(())
    }

    /// The size of a dedicated volume is its limit; the registry holds none.
    fn is_dedicated(&self, volume: &str) -> Result<bool> {
        let volume = self.registry.get::<Volume>(volume)?;
        Ok(volume.is_some_and(|v| v.storage.driver == crate::domain::quota::DriverKind::Dedicated))
    }

    fn allowance_of(&self, owner: &Owner) -> Result<Option<Allowance>> {
        Ok(match owner {
            Owner::User(name) => self.registry.get::<User>(name)?.map(|u| u.allowance),
            Owner::Project(name) => self.registry.get::<Project>(name)?.map(|p| p.allowance),
        })
    }

    fn vfolders(&mut self) -> Result<()> {
        let users: BTreeSet<String> = self.registry.keys::<User>().into_iter().collect();
        for (key, folder) in self.registry.all::<VFolder>()? {
            self.unique_id::<VFolder>(&key, folder.id);
            let Some((owner, folder_name)) = split_folder_key(&key) else {
                self.error::<VFolder>(
                    "bad_key",
                    &key,
                    "its key is not user/NAME/FOLDER or project/NAME/FOLDER",
                );
                continue;
            };
            match name::vfolder(folder_name).and_then(|nfc| owner.may_own(&nfc).map(|()| nfc)) {
                Ok(nfc) if nfc != folder_name => {
                    self.error::<VFolder>("bad_name", &key, "its name is not in NFC")
                }
                Ok(_) => {}
                Err(e) => self.error::<VFolder>("bad_name", &key, e.message),
            }
            if !self.owner_exists(&owner) {
                self.error::<VFolder>("unknown_owner", &key, format!("its owner {owner} does not exist"));
            }
            if !self.registry.contains::<Volume>(&folder.volume) {
                self.error::<VFolder>(
                    "unknown_volume",
                    &key,
                    format!("its volume '{}' does not exist", folder.volume),
                );
            } else if !self.registry.contains::<Scope>(&owner.scope_key(&folder.volume)) {
                self.error::<VFolder>(
                    "no_scope",
                    &key,
                    format!("{owner} has no quota scope on '{}'", folder.volume),
                );
            }
            for user in folder.shares.keys().filter(|u| !users.contains(*u)) {
                self.error::<VFolder>(
                    "unknown_user",
                    &key,
                    format!("it is shared with '{user}', who does not exist"),
                );
            }
            if name::is_automatic(folder_name) && !folder.shares.is_empty() {
                self.error::<VFolder>(
                    "shared_dot_folder",
                    &key,
                    "a folder with a leading dot cannot be shared",
                );
            }
        }
        Ok(())
    }

    fn invitations(&mut self) -> Result<()> {
        let folders: HashMap<Uuid, String> =
            self.registry.all::<VFolder>()?.into_iter().map(|(key, folder)| (folder.id, key)).collect();
        let mut waiting = BTreeSet::new();
        for (key, invitation) in self.registry.all::<Invitation>()? {
            if key.parse::<Uuid>().is_err() {
                self.error::<Invitation>("bad_key", &key, "its key is not a UUID");
            }
            if !self.ids.contains_key(&invitation.vfolder) && invitation.state == InvitationState::Pending {
                self.error::<Invitation>("unknown_vfolder", &key, "its vfolder does not exist");
            }
            if invitation.state != InvitationState::Pending {
                continue;
            }
            let (owner, name) =
                folders.get(&invitation.vfolder).and_then(|key| split_folder_key(key)).unzip();
            let invitee = &invitation.invitee;
            let void = if !self.registry.contains::<User>(invitee) {
                format!("its invitee '{invitee}' does not exist")
            } else if owner == Some(Owner::User(invitee.clone())) {
                format!("its invitee '{invitee}' is the owner of the vfolder")
            } else if name.is_some_and(name::is_automatic) {
                "its vfolder begins with a dot, and cannot be shared".to_owned()
            } else if !waiting.insert((invitation.vfolder, invitee.clone())) {
                format!("another one to the same vfolder waits for '{invitee}'")
            } else {
                continue;
            };
            let subject = format!("{} {key}", Invitation::NOUN);
            let repair = format!("vfadm invitation cancel {key}");
            self.report::<Invitation>(
                &key,
                Finding::warning("invitation_void", subject, void).repair(repair),
            );
        }
        Ok(())
    }

    fn sessions(&mut self) -> Result<()> {
        for (key, session) in self.registry.all::<Session>()? {
            if let Err(e) = name::thing("session", &key) {
                self.error::<Session>("bad_name", &key, e.message);
            }
            if !self.registry.contains::<User>(&session.user) {
                self.error::<Session>(
                    "unknown_user",
                    &key,
                    format!("its user '{}' does not exist", session.user),
                );
            }
            let mut kernels = BTreeSet::new();
            for kernel in &session.kernels {
                if let Err(e) = name::thing("kernel", &kernel.name) {
                    self.error::<Session>("bad_name", &key, e.message);
                }
                if !kernels.insert(&kernel.name) {
                    let message = format!("it has two kernels '{}'", kernel.name);
                    self.error::<Session>("duplicate_kernel", &key, message);
                }
            }
            let gone: Vec<_> = session.mounts.iter().filter(|m| !self.ids.contains_key(&m.vfolder)).collect();
            for mount in gone {
                self.error::<Session>(
                    "unknown_vfolder",
                    &key,
                    format!("its vfolder {} does not exist", mount.vfolder),
                );
            }
        }
        Ok(())
    }

    fn settings(&mut self) {
        let settings = &self.registry.settings;
        let line = self.registry.line_of_part("settings");
        if let Some(volume) =
            settings.default_volume.as_ref().filter(|v| !self.registry.contains::<Volume>(v))
        {
            let message = format!("the default volume '{volume}' does not exist");
            self.findings.push(Finding { line, ..Finding::error("unknown_volume", "settings", message) });
        }
        if u32::from_str_radix(&settings.mode, 8).is_err() {
            let finding = Finding::error("bad_mode", "settings", "the mode is not an octal number");
            self.findings.push(Finding { line, ..finding });
        }
    }
}
