//! Who may do what.

pub use super::action::Action;
use super::error::{Error, Result};
pub use super::level::Level;
use super::owner::Owner;
use super::record::{Project, Role, User, VFolder, Volume};

/// On whose behalf a command runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Actor {
    /// root at the storage host.
    Superadmin,
    /// `--as USER`.
    User(String),
}

impl Actor {
    /// The user, where it is one.
    pub fn user(&self) -> Option<&str> {
        match self {
            Actor::Superadmin => None,
            Actor::User(name) => Some(name),
        }
    }
}

/// The level that `user` has on a folder, and where it comes from; `None` when the folder is out of reach.
/// `project` is the owning project, for a project's folder.
pub fn level_of(
    user: &str,
    owner: &Owner,
    folder: &VFolder,
    project: Option<&Project>,
) -> Option<(Level, Source)> {
    let grant = folder.shares.get(user).map(|level| (*level, Source::Share));
    match owner {
        Owner::User(name) if name == user => Some((Level::Rw, Source::Owner)),
        Owner::User(_) => grant.filter(|(level, _)| *level > Level::None),
        Owner::Project(_) => match project.and_then(|p| p.members.get(user)) {
            Some(Role::Admin) => Some((Level::Rw, Source::ProjectAdmin)),
            Some(Role::Member) => grant
                .or(Some((folder.permission.unwrap_or(Level::Rw), Source::Project)))
                .filter(|(level, _)| *level > Level::None),
            None => grant.filter(|(level, _)| *level > Level::None),
        },
    }
}

/// Where a level comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The user owns the folder.
    Owner,
    /// The user is an admin of the owning project.
    ProjectAdmin,
    /// The user is a member of the owning project.
    Project,
    /// A grant.
    Share,
}

impl Source {
    /// The word in documents.
    pub fn name(self) -> &'static str {
        match self {
            Source::Owner => "owner",
            Source::ProjectAdmin => "project-admin",
            Source::Project => "project",
            Source::Share => "share",
        }
    }
}

/// True when the actor may create, rename, set, delete, restore and purge the owner's folders.
pub fn manages(actor: &Actor, owner: &Owner, project: Option<&Project>) -> bool {
    match (actor, owner) {
        (Actor::Superadmin, _) => true,
        (Actor::User(user), Owner::User(name)) => user == name,
        (Actor::User(user), Owner::Project(_)) => {
            project.and_then(|p| p.members.get(user)).is_some_and(|role| *role == Role::Admin)
        }
    }
}

/// What decides whether a volume allows an action to an owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// `blocked_for` names the owner.
    BlockedForOwner,
    /// `allowed_for` names the owner.
    AllowedForOwner,
    /// `blocked`: for everybody.
    Blocked,
    /// Nothing: everything is allowed at first.
    Default,
}

impl Rule {
    /// The first that applies: the narrower rule beats the wider, and a block for an owner beats an allow for it. Binds
    /// the superadmin too.
    pub fn of(volume: &Volume, action: Action, owner: &Owner) -> Rule {
        let key = owner.to_string();
        let listed = |rules: &std::collections::BTreeMap<String, Vec<Action>>| {
            rules.get(&key).is_some_and(|l| l.contains(&action))
        };
        match () {
            () if listed(&volume.blocked_for) => Rule::BlockedForOwner,
            () if listed(&volume.allowed_for) => Rule::AllowedForOwner,
            () if volume.blocked.contains(&action) => Rule::Blocked,
            () => Rule::Default,
        }
    }

    /// Whether the action is allowed by it.
    pub fn allows(self) -> bool {
        matches!(self, Rule::AllowedForOwner | Rule::Default)
    }
}

/// Refuses an action that the volume blocks (exit 5).
pub fn require_action(name: &str, volume: &Volume, action: Action, owner: &Owner) -> Result<()> {
    let rule = Rule::of(volume, action, owner);
    if rule.allows() {
        return Ok(());
    }
    let action = action.name();
    Err(Error::not_permitted(format!("the volume '{name}' blocks '{action}' for {owner}")).hint(match rule {
        Rule::BlockedForOwner => format!("vfadm volume allow {name} {action} --for {owner}"),
        _ => format!("vfadm volume allow {name} {action}, or for this owner alone: --for {owner}"),
    }))
}

/// True for a user who may start sessions and own new folders.
pub fn is_active(user: &User) -> bool {
    user.state == super::record::OwnerState::Active
}
