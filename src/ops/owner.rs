//! Users and projects.

use serde_json::{Value, json};
use uuid::Uuid;

use super::scope::{self, Site};
use super::vfolder::not_ready;
use super::{State, claim, document, in_use, purge, share, sidecar, transfer, volume};
use crate::domain::error::{Error, Result};
use crate::domain::name;
use crate::domain::owner::{Owner, split_folder_key};
use crate::domain::record::{
    Allowance, Invitation, OwnerState, Project, Role, Scope, Session, User, VFolder, Volume,
};
use crate::domain::size::Limit;
use crate::plan::{Outcome, Plan};
use crate::registry::Change;
use crate::tree::Progress;

/// What is to be changed of an owner; `None` leaves it.
#[derive(Clone, Debug, Default)]
pub struct Properties {
    /// The most folders; `Some(None)` is unlimited.
    pub max_vfolders: Option<Option<u64>>,
    /// A bound for each scope.
    pub max_quota: Option<Limit>,
    /// The limit of new scopes.
    pub default_quota: Option<Limit>,
    /// Active or not.
    pub state: Option<OwnerState>,
}

impl Properties {
    fn apply(&self, allowance: &mut Allowance, state: &mut OwnerState) {
        if let Some(most) = self.max_vfolders {
            allowance.max_vfolders = most;
        }
        if let Some(Limit(limit)) = self.max_quota {
            allowance.max_quota = limit;
        }
        if let Some(Limit(limit)) = self.default_quota {
            allowance.default_quota = limit;
        }
        if let Some(new) = self.state {
            *state = new;
        }
    }
}

fn exists(kind: &str, name: &str) -> Error {
    Error::conflict(format!("the {kind} {name} exists already")).hint(format!("vfadm {kind} show {name}"))
}

/// Plans a new user or project.
pub fn add(state: &State<'_>, owner: &Owner, properties: &Properties) -> Result<Plan> {
    let registry = state.registry;
    let (kind, name) = (owner.kind(), owner.name());
    let id = Uuid::new_v4();
    let mut plan = Plan::new(Outcome::Created, format!("{kind} {name} added"));
    let (mut allowance, mut active) = (Allowance::default(), OwnerState::Active);
    properties.apply(&mut allowance, &mut active);
    match owner {
        Owner::User(_) => {
            if registry.contains::<User>(name) {
                return Err(exists(kind, name));
            }
            let user = User { id, state: active, allowance, extra: Default::default() };
            plan.item = Some(document::user(registry, name, &user));
            plan.changes.push(Change::put(name, &user)?);
        }
        Owner::Project(_) => {
            if registry.contains::<Project>(name) {
                return Err(exists(kind, name));
            }
            let project = Project {
                id,
                state: active,
                members: Default::default(),
                allowance,
                extra: Default::default(),
            };
            plan.item = Some(document::project(registry, name, &project));
            plan.changes.push(Change::put(name, &project)?);
        }
    }
    Ok(plan)
}

/// The documents of all users or all projects.
pub fn list(state: &State<'_>, kind: &str) -> Result<Vec<Value>> {
    let registry = state.registry;
    Ok(match kind {
        "user" => registry.all::<User>()?.iter().map(|(n, u)| document::user(registry, n, u)).collect(),
        _ => registry.all::<Project>()?.iter().map(|(n, p)| document::project(registry, n, p)).collect(),
    })
}

/// The document of one.
pub fn show(state: &State<'_>, owner: &Owner) -> Result<Value> {
    let (registry, name) = (state.registry, owner.name());
    Ok(match owner {
        Owner::User(_) => document::user(registry, name, &registry.require::<User>(name)?),
        Owner::Project(_) => document::project(registry, name, &registry.require::<Project>(name)?),
    })
}

/// Plans other properties.
pub fn set(state: &State<'_>, owner: &Owner, properties: &Properties) -> Result<Plan> {
    let (registry, name) = (state.registry, owner.name());
    match owner {
        Owner::User(_) => {
            let before: User = registry.require(name)?;
            let mut user = before.clone();
            properties.apply(&mut user.allowance, &mut user.state);
            let same = (&before.allowance, before.state) == (&user.allowance, user.state);
            changed(
                state,
                owner,
                same,
                Change::put(name, &user)?,
                json!(user),
                user.id,
                document::user(registry, name, &user),
            )
        }
        Owner::Project(_) => {
            let before: Project = registry.require(name)?;
            let mut project = before.clone();
            properties.apply(&mut project.allowance, &mut project.state);
            let same = (&before.allowance, before.state) == (&project.allowance, project.state);
            project_changed(state, name, same, project, format!("project {name} changed"))
        }
    }
}

fn project_changed(
    state: &State<'_>,
    name: &str,
    same: bool,
    project: Project,
    message: String,
) -> Result<Plan> {
    let owner = Owner::Project(name.to_owned());
    let item = document::project(state.registry, name, &project);
    let mut plan =
        changed(state, &owner, same, Change::put(name, &project)?, json!(project), project.id, item)?;
    if !same {
        plan.message = message;
    }
    Ok(plan)
}

fn changed(
    state: &State<'_>,
    owner: &Owner,
    same: bool,
    change: Change,
    record: Value,
    id: Uuid,
    item: Value,
) -> Result<Plan> {
    let what = format!("{} {}", owner.kind(), owner.name());
    let mut plan = if same {
        Plan::unchanged(format!("{what} is as asked"))
    } else {
        let mut plan = Plan::new(Outcome::Changed, format!("{what} changed"));
        plan.changes.push(change);
        plan.after = sidecar::owner_changed(state.registry, owner, &id.simple().to_string(), &record)?;
        plan
    };
    plan.item = Some(item);
    Ok(plan)
}

/// Plans new members, or another role of present ones. Nothing is done unless all can be.
pub fn add_members(state: &State<'_>, name: &str, users: &[String], role: Option<Role>) -> Result<Plan> {
    let mut project: Project = state.registry.require(name)?;
    require_users(state, users)?;
    let before = project.members.clone();
    for user in users {
        name::owner("user", user)?;
        let present = project.members.get(user).copied();
        project.members.insert(user.clone(), role.or(present).unwrap_or(Role::Member));
    }
    let same = before == project.members;
    let role = role.unwrap_or(Role::Member);
    let message = format!("{} added to project {name} as {}", users.join(", "), role.name());
    let mut plan = project_changed(state, name, same, project.clone(), message)?;
    let owner = Owner::Project(name.to_owned());
    for (_, folder) in state.registry.with_prefix::<VFolder>(&format!("{owner}/"))? {
        let above = share::sessions_above(state.registry, &owner, &folder, Some(&project))?;
        plan.warnings.extend(above.iter().filter(|(_, user)| users.contains(user)).map(share::keeps));
    }
    Ok(plan)
}

fn require_users(state: &State<'_>, users: &[String]) -> Result<()> {
    let unknown: Vec<&str> =
        users.iter().map(String::as_str).filter(|u| !state.registry.contains::<User>(u)).collect();
    match unknown.first() {
        None => Ok(()),
        Some(first) => Err(Error::not_found(format!("there is no user {}", unknown.join(", ")))
            .hint(format!("vfadm user add {first}"))),
    }
}

/// Plans the end of memberships, and with them of the grants on the project's folders, which change what a member has.
/// Refused while a session of such a member has a folder of the project mounted.
pub fn remove_members(state: &State<'_>, name: &str, users: &[String], force: bool) -> Result<Plan> {
    let mut project: Project = state.registry.require(name)?;
    let strangers: Vec<String> =
        users.iter().filter(|u| !project.members.contains_key(*u)).cloned().collect();
    require_users(state, &strangers)?;
    let leaving = |user: &String| users.contains(user) && !strangers.contains(user);
    let before = project.members.clone();
    project.members.retain(|user, _| !leaving(user));
    let (mut warnings, mut ended) = (Vec::new(), Vec::new());
    let owner = Owner::Project(name.to_owned());
    for (key, mut folder) in state.registry.with_prefix::<VFolder>(&format!("{owner}/"))? {
        for (session, record) in in_use::sessions_with(state.registry, &folder)? {
            if leaving(&record.user) {
                if !force {
                    return Err(Error::in_use(format!(
                        "session {session} of {} has {key} mounted",
                        record.user
                    ))
                    .hint("end it first, or use --force: a running mount stays until the session ends"));
                }
                warnings.push(format!("session {session} keeps {key} mounted until it ends"));
            }
        }
        let had = folder.shares.len();
        folder.shares.retain(|user, _| !leaving(user));
        if folder.shares.len() < had {
            ended.push((key, folder));
        }
    }
    let same = before == project.members;
    let message = format!("{} removed from project {name}", users.join(", "));
    let mut plan = project_changed(state, name, same, project, message)?;
    plan.warnings = warnings;
    for (key, folder) in ended {
        let Some((_, folder_name)) = split_folder_key(&key) else { continue };
        let site = Site::of_folder(state.registry, &owner, &folder)?;
        plan.after.push(sidecar::folder(state.registry, &site.place, folder_name, &folder));
        plan.changes.push(Change::put(key, &folder)?);
    }
    Ok(plan)
}

/// The folders that keep an owner from being removed.
pub fn folders(state: &State<'_>, owner: &Owner) -> Vec<String> {
    state.registry.keys_with_prefix::<VFolder>(&format!("{owner}/"))
}

/// What becomes of the folders of an owner that is removed.
#[derive(Clone, Debug)]
pub enum Leftovers {
    /// There are none, or the owner stays.
    None,
    /// They are purged.
    Purged,
    /// They are another owner's from then on.
    TransferredTo(Owner),
}

/// Plans the removal of an owner with its scopes, memberships, grants, invitations, and the rules that volumes have for
/// it. Its folders have to be gone, or are yet to go: then each is checked as its purge or transfer will check it, for an
/// owner is removed whole or not at all.
pub fn remove(
    state: &State<'_>,
    owner: &Owner,
    leftovers: &Leftovers,
    progress: &dyn Progress,
) -> Result<Plan> {
    let (registry, kind, name) = (state.registry, owner.kind(), owner.name());
    let item = show(state, owner)?;
    let left = folders(state, owner);
    if !left.is_empty() && matches!(leftovers, Leftovers::None) {
        let count = if left.len() == 1 { "a vfolder".to_owned() } else { format!("{} vfolders", left.len()) };
        return Err(Error::conflict(format!("{owner} owns {count}: {}", some(&left)))
            .hint(format!(
                "give them to somebody else: vfadm {kind} remove {name} --transfer-to OWNER, or purge them with it: \
                 --purge"
            )));
    }
    if let Some(folder) = claim::arriving(registry, owner)?.first() {
        return Err(not_ready(folder));
    }
    if let Some((volume, _)) =
        registry.all::<Volume>()?.iter().find(|(_, v)| v.dedicated_to.as_ref() == Some(owner))
    {
        return Err(Error::conflict(format!("the volume '{volume}' is dedicated to {owner}"))
            .hint(format!("vfadm volume remove {volume}")));
    }
    let mut plan = Plan::new(Outcome::Deleted, format!("{kind} {name} removed"));
    plan.item = Some(item);
    match leftovers {
        Leftovers::None => {}
        Leftovers::Purged => {
            for key in &left {
                purge::check(state, &key.parse()?, true)?;
                plan.tries.push(format!("purge {key}"));
            }
        }
        Leftovers::TransferredTo(other) if other == owner => {
            return Err(Error::usage(format!("{owner} is the one that is to be removed")));
        }
        Leftovers::TransferredTo(other) => {
            transfer::require_all(state, &left, other, progress)?;
            plan.tries.extend(left.iter().map(|key| format!("transfer {key} to {other}")));
        }
    }
    for (key, record) in registry.with_prefix::<Scope>(&format!("{owner}@"))? {
        let Some((_, volume_name)) = key.rsplit_once('@') else { continue };
        let Some(volume) = registry.get::<Volume>(volume_name)? else { continue };
        let site = Site { record: Some(record), ..Site::find(registry, owner, volume_name, &volume)? };
        scope::remove(&site, false, &mut plan)?;
    }
    volume::forget_owner(registry, owner, &mut plan)?;
    match owner {
        Owner::User(_) => {
            require_no_session(state, name, |s| s.user == name)?;
            leave_everything(state, name, &mut plan)?;
            plan.changes.push(Change::remove::<User>(name));
        }
        Owner::Project(_) => {
            require_no_session(state, name, |s| s.project.as_deref() == Some(name))?;
            plan.changes.push(Change::remove::<Project>(name));
        }
    }
    Ok(plan)
}

fn some(names: &[String]) -> String {
    let shown = names.iter().take(5).cloned().collect::<Vec<_>>().join(", ");
    if names.len() > 5 { format!("{shown}, ...") } else { shown }
}

fn require_no_session(state: &State<'_>, name: &str, of: impl Fn(&Session) -> bool) -> Result<()> {
    for key in state.registry.find_text::<Session>(&format!("\"{name}\"")) {
        let session: Session = state.registry.require(&key)?;
        if of(&session) && in_use::session_is_alive(state.registry, &session) {
            return Err(Error::in_use(format!("the session {key} is running for {name}"))
                .hint(format!("end it first: vfadm session stop {key}")));
        }
    }
    Ok(())
}

fn leave_everything(state: &State<'_>, name: &str, plan: &mut Plan) -> Result<()> {
    let registry = state.registry;
    let needle = format!("\"{name}\"");
    for project in registry.find_text::<Project>(&needle) {
        let mut record: Project = registry.require(&project)?;
        if record.members.remove(name).is_some() {
            let (owner, dir) = (Owner::Project(project.clone()), record.id.simple().to_string());
            plan.after.extend(sidecar::owner_changed(registry, &owner, &dir, &json!(record))?);
            plan.changes.push(Change::put(project, &record)?);
        }
    }
    for key in registry.find_text::<VFolder>(&needle) {
        let mut record: VFolder = registry.require(&key)?;
        if record.shares.remove(name).is_some() {
            let Some((owner, folder_name)) = split_folder_key(&key) else { continue };
            let site = Site::of_folder(registry, &owner, &record)?;
            plan.after.push(sidecar::folder(registry, &site.place, folder_name, &record));
            plan.changes.push(Change::put(key, &record)?);
        }
    }
    for key in registry.find_text::<Invitation>(&needle) {
        let record: Invitation = registry.require(&key)?;
        if record.invitee == name || record.inviter.as_deref() == Some(name) {
            plan.changes.push(Change::remove::<Invitation>(key));
        }
    }
    for key in registry.find_text::<Session>(&needle) {
        if registry.require::<Session>(&key)?.user == name {
            plan.changes.push(Change::remove::<Session>(key));
        }
    }
    Ok(())
}
