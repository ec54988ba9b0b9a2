//! Grants: given, changed and taken away.

use super::document::{self, Paths};
use super::resolve::{self, Folder};
use super::scope::Site;
use super::vfolder::require_ready;
use super::{State, in_use, invitation, sidecar};
use crate::domain::error::{Error, Result};
use crate::domain::name;
use crate::domain::owner::Owner;
use crate::domain::permission::{self, Action, Actor, Level};
use crate::domain::record::{Project, Role, User, VFolder, Volume};
use crate::domain::reference::FolderRef;
use crate::plan::{Outcome, Plan};
use crate::registry::{Change, Registry};

/// What `vfolder share` was asked.
#[derive(Clone, Debug)]
pub struct Share {
    /// Which folder.
    pub folder: FolderRef,
    /// With whom.
    pub users: Vec<String>,
    /// What they may do.
    pub level: Level,
    /// Also where a session would keep more than that.
    pub force: bool,
}

/// Plans grants. A user's folder is shared by the superadmin only: the user invites, so that the other one consents.
pub fn share(state: &State<'_>, request: &Share) -> Result<Plan> {
    let folder = resolve::folder(state, &request.folder)?;
    let key = folder.key();
    if let (Actor::User(actor), Owner::User(owner)) = (state.actor, &folder.owner)
        && actor == owner
    {
        return Err(Error::not_permitted(format!("{actor} may invite users to {key}, and not share it"))
            .hint(format!(
                "vfadm vfolder invite {key} {} --perm {} --as {actor}",
                request.users.join(" "),
                request.level
            )));
    }
    resolve::require_manager(state, &folder.owner, "share")?;
    let (site, project) = open_to_others(state, &folder, Action::Share)?;
    require_takers(state, &folder, &request.users)?;
    if request.level == Level::None
        && let Some(stranger) = request.users.iter().find(|user| !is_member(project.as_ref(), user))
    {
        return Err(Error::conflict(format!(
            "{stranger} has nothing of {key} that could be taken away by 'none'"
        ))
        .hint(format!("vfadm vfolder unshare {key} --from {stranger} takes a grant away")));
    }
    let mut record = folder.record.clone();
    for user in &request.users {
        record.shares.insert(user.clone(), request.level);
    }
    let message = format!("vfolder {key} shared with {} ({})", request.users.join(", "), request.level);
    let mut plan = regranted(state, &folder, &site, record, &request.users, request.force, message)?;
    invitation::supersede(state, &folder, &request.users, &mut plan)?;
    Ok(plan)
}

/// Plans the end of grants. Who has none is left alone.
pub fn unshare(state: &State<'_>, reference: &FolderRef, users: &[String], force: bool) -> Result<Plan> {
    let folder = resolve::folder(state, reference)?;
    resolve::require_manager(state, &folder.owner, "unshare")?;
    require_users(state, users)?;
    let site = Site::of_folder(state.registry, &folder.owner, &folder.record)?;
    let mut record = folder.record.clone();
    record.shares.retain(|user, _| !users.contains(user));
    let message = format!("vfolder {} no longer shared with {}", folder.key(), users.join(", "));
    regranted(state, &folder, &site, record, users, force, message)
}

/// Plans that the actor gives a grant back. One that lowers what a member has is not the member's to give (exit 5).
pub fn leave(state: &State<'_>, reference: &FolderRef) -> Result<Plan> {
    let Some(user) = state.actor.user().map(str::to_owned) else {
        return Err(Error::usage("somebody has to leave").hint("say who: --as USER"));
    };
    let folder = resolve::folder(state, reference)?;
    let key = folder.key();
    if !folder.record.shares.contains_key(&user) {
        return Err(Error::conflict(format!("{user} has no grant on {key} to give back")).hint(
            match &folder.owner {
                Owner::User(_) => format!("it is {user}'s own: vfadm vfolder delete {key}"),
                Owner::Project(project) => {
                    format!("it comes with the project: vfadm project remove-member {project} {user}")
                }
            },
        ));
    }
    let site = Site::of_folder(state.registry, &folder.owner, &folder.record)?;
    let mut record = folder.record.clone();
    record.shares.remove(&user);
    let project = resolve::owning_project(state.registry, &folder.owner)?;
    let level = |record: &VFolder| permission::level_of(&user, &folder.owner, record, project.as_ref());
    if level(&record).map(|(level, _)| level) > level(&folder.record).map(|(level, _)| level) {
        return Err(Error::not_permitted(format!(
            "the grant of {user} on {key} lowers what members have, and is not {user}'s to give back"
        ))
        .hint(format!(
            "the project's admins and the superadmin may: vfadm vfolder unshare {key} --from {user}"
        )));
    }
    let message = format!("{user} left vfolder {key}");
    regranted(state, &folder, &site, record, &[user], false, message)
}

/// A folder that can be shared or invited to: ready, without a leading dot, on a volume that allows it.
pub(super) fn open_to_others(
    state: &State<'_>,
    folder: &Folder,
    action: Action,
) -> Result<(Site, Option<Project>)> {
    let registry = state.registry;
    let volume = registry.require::<Volume>(&folder.record.volume)?;
    permission::require_action(&folder.record.volume, &volume, action, &folder.owner)?;
    require_ready(folder)?;
    require_no_dot(folder)?;
    let site = Site::find(registry, &folder.owner, &folder.record.volume, &volume)?;
    Ok((site, resolve::owning_project(registry, &folder.owner)?))
}

/// Refuses a folder that is mounted in all sessions of its owner (exit 4).
pub(super) fn require_no_dot(folder: &Folder) -> Result<()> {
    if !name::is_automatic(&folder.name) {
        return Ok(());
    }
    Err(Error::conflict(format!(
        "the vfolder {} begins with a dot: it is mounted in all sessions of its owner, and cannot be shared",
        folder.key()
    ))
    .hint("rename it first, or make another one"))
}

fn is_member(project: Option<&Project>, user: &str) -> bool {
    project.is_some_and(|project| project.members.contains_key(user))
}

fn require_users(state: &State<'_>, users: &[String]) -> Result<()> {
    let unknown: Vec<&str> =
        users.iter().map(String::as_str).filter(|user| !state.registry.contains::<User>(user)).collect();
    match unknown.first() {
        None => Ok(()),
        Some(_) => Err(Error::not_found(format!("there is no user {}", unknown.join(", ")))
            .hint("'vfadm user list' shows them")),
    }
}

/// Refuses users to whom a grant would mean nothing, each by name: unknown ones (exit 3), the owner, and admins of the
/// owning project (exit 4).
pub(super) fn require_takers(state: &State<'_>, folder: &Folder, users: &[String]) -> Result<()> {
    require_users(state, users)?;
    let project = resolve::owning_project(state.registry, &folder.owner)?;
    let wrong: Vec<String> = users
        .iter()
        .filter_map(|user| match &folder.owner {
            Owner::User(owner) if owner == user => Some(format!("{user} owns it")),
            Owner::Project(name) => {
                let role = project.as_ref().and_then(|project| project.members.get(user));
                (role == Some(&Role::Admin)).then(|| format!("{user} is an admin of {name}"))
            }
            Owner::User(_) => None,
        })
        .collect();
    match wrong.is_empty() {
        true => Ok(()),
        false => Err(Error::conflict(format!("{} needs no grant: {}", folder.key(), wrong.join(", ")))),
    }
}

/// Plans other grants of a folder. Refused where a session of one of the users would keep more than that (exit 6),
/// unless forced.
pub(super) fn regranted(
    state: &State<'_>,
    folder: &Folder,
    site: &Site,
    record: VFolder,
    users: &[String],
    force: bool,
    message: String,
) -> Result<Plan> {
    let key = folder.key();
    let mut plan = if record.shares == folder.record.shares {
        Plan::unchanged(message)
    } else {
        let mut plan = Plan::new(Outcome::Changed, message);
        plan.warnings = keepers(state, folder, &record, users, force)?;
        plan.changes.push(Change::put(key, &record)?);
        plan.after.push(sidecar::folder(state.registry, &site.place, &folder.name, &record));
        plan
    };
    let folder = Folder { record, ..folder.clone() };
    plan.item = Some(document::vfolder(state.registry, &mut Paths::default(), &folder, None)?);
    Ok(plan)
}

/// A warning for each session that would keep more than its user has then; without `force` a refusal (exit 6).
fn keepers(
    state: &State<'_>,
    folder: &Folder,
    record: &VFolder,
    users: &[String],
    force: bool,
) -> Result<Vec<String>> {
    let project = resolve::owning_project(state.registry, &folder.owner)?;
    let mut found = sessions_above(state.registry, &folder.owner, record, project.as_ref())?;
    found.retain(|(_, user)| users.contains(user));
    let names: Vec<&str> = found.iter().map(|(name, _)| name.as_str()).collect();
    match names.first() {
        None => Ok(Vec::new()),
        Some(_) if force => Ok(found.iter().map(keeps).collect()),
        Some(first) => {
            let told: Vec<String> =
                found.iter().map(|(name, user)| format!("session {name} of {user}")).collect();
            Err(Error::in_use(format!("{} has {} mounted", told.join(", "), folder.key()))
                .hint(format!(
                    "end it first (vfadm session stop {first}), or use --force: a running mount stays"
                ))
                .detail("sessions", serde_json::json!(names)))
        }
    }
}

/// What is said of a session that keeps what its user has no longer.
pub(super) fn keeps((session, user): &(String, String)) -> String {
    format!("session {session} of {user} keeps its mount until it ends")
}

/// The living sessions, with their users, that have more of a folder mounted than it gives them with this record and this
/// owning project.
pub(super) fn sessions_above(
    registry: &Registry,
    owner: &Owner,
    record: &VFolder,
    project: Option<&Project>,
) -> Result<Vec<(String, String)>> {
    let mut found = Vec::new();
    for (name, session) in in_use::sessions_with(registry, record)? {
        let most = session.mounts.iter().filter(|m| m.vfolder == record.id).map(|m| m.permission).max();
        let level = permission::level_of(&session.user, owner, record, project).map(|(level, _)| level);
        if most > level {
            found.push((name, session.user));
        }
    }
    Ok(found)
}
