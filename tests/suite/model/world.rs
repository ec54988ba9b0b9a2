//! What there is, and the rules that several commands share (SEMANTICS §1 and §2).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// Names come from small fixed sets, so that collisions are frequent.
pub type Name = &'static str;
/// `None` is the superadmin, `Some` is `--as USER`.
pub type Actor = Option<Name>;

pub const USERS: [Name; 4] = ["alice", "bob", "carol", "dave"];
pub const VOLUMES: [Name; 2] = ["local", "second"];
/// The one that is meant where none is named.
pub const DEFAULT_VOLUME: Name = "local";

/// Folder names as they are typed, and as they are kept; `None` is refused.
const FOLDER_NAMES: [(Name, Option<Name>); 9] = [
    ("data", Some("data")),
    ("sets", Some("sets")),
    ("\u{e9}", Some("\u{e9}")),
    // Kept in NFC.
    ("e\u{301}", Some("\u{e9}")),
    // A leading dot means auto-mount.
    (".config", Some(".config")),
    (".local", Some(".local")),
    ("a:b", None),
    ("end.", None),
    // Reserved.
    (".bashrc", None),
];
/// The same, as often as they are wanted.
#[rustfmt::skip]
pub const TYPED_NAMES: [Name; 24] = [
    "data", "data", "data", "data", "data", "data", "sets", "sets", "sets", "sets", "sets", "\u{e9}", "\u{e9}",
    "\u{e9}", "e\u{301}", "e\u{301}", ".config", ".config", ".config", ".local", ".local", "a:b", "end.", ".bashrc",
];
/// A user name that is refused: capitals.
pub const BAD_USER: Name = "Eve";

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Owner {
    User(Name),
    Project(Name),
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Owner::User(name) => write!(f, "user/{name}"),
            Owner::Project(name) => write!(f, "project/{name}"),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    None,
    Ro,
    Rw,
}

pub const LEVELS: [Level; 3] = [Level::None, Level::Ro, Level::Rw];

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(["none", "ro", "rw"][*self as usize])
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Admin,
    Member,
}

/// The volume actions, by their words.
pub type Action = Name;
pub const ACTIONS: [Action; 7] = ["create", "modify", "delete", "mount", "clone", "invite", "share"];

/// Why a command is refused, as its exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Refusal {
    Usage = 2,
    NotFound = 3,
    Conflict = 4,
    NotPermitted = 5,
}

/// How a command ends that is not refused, by the word in its document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Created,
    Changed,
    Deleted,
    Unchanged,
    /// It only reads.
    Shown,
    /// `permission explain`.
    Explained {
        allowed: bool,
        level: Level,
    },
}

pub type Answer = Result<Outcome, Refusal>;

/// A folder as it is typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reference {
    Named(Owner, Name),
    /// Its number in the order of creation; `None` is an id that no folder has.
    Id(Option<usize>),
    Bare(Name),
}

pub type Key = (Owner, Name);

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Folder {
    /// In the order of creation: what its id stands for here.
    pub number: usize,
    pub volume: Name,
    pub trashed: bool,
    /// What the members of the owning project have; `None` for a user's folder.
    pub members: Option<Level>,
    pub cloneable: bool,
    pub grants: BTreeMap<Name, Level>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invitation {
    /// The number of the folder.
    pub folder: usize,
    pub inviter: Actor,
    pub invitee: Name,
    pub level: Level,
    pub state: Name,
}

/// The most folders of an owner; `None` is unlimited.
pub type Most = Option<usize>;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Project {
    pub most: Most,
    pub members: BTreeMap<Name, Role>,
}

/// What a volume blocks; all is allowed at first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Volume {
    pub blocked: BTreeSet<Action>,
    pub blocked_for: BTreeSet<(Owner, Action)>,
    pub allowed_for: BTreeSet<(Owner, Action)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct World {
    pub users: BTreeMap<Name, Most>,
    pub projects: BTreeMap<Name, Project>,
    pub volumes: BTreeMap<Name, Volume>,
    pub folders: BTreeMap<Key, Folder>,
    /// By their number in the order of creation.
    pub invitations: BTreeMap<usize, Invitation>,
    /// How many were ever made.
    pub folders_made: usize,
    pub invitations_made: usize,
}

/// The name as it is kept.
pub fn folder_name(typed: Name) -> Result<Name, Refusal> {
    let (_, kept) = FOLDER_NAMES.iter().find(|(name, _)| *name == typed).expect("a name of the set");
    kept.ok_or(Refusal::Usage)
}

pub fn is_automatic(name: Name) -> bool {
    name.starts_with('.')
}

/// A project may own `.local`, and nothing else with a dot.
pub fn may_own(owner: Owner, name: Name) -> Result<(), Refusal> {
    match owner {
        Owner::Project(_) if is_automatic(name) && name != ".local" => Err(Refusal::Usage),
        _ => Ok(()),
    }
}

impl World {
    /// What `Lab::plain()` makes, a second volume, and carol; dave is yet to come.
    pub fn new() -> World {
        let members = BTreeMap::from([("alice", Role::Admin), ("bob", Role::Member)]);
        World {
            users: BTreeMap::from([("alice", None), ("bob", None), ("carol", None)]),
            projects: BTreeMap::from([("ml", Project { most: None, members })]),
            volumes: VOLUMES.map(|name| (name, Volume::default())).into(),
            folders: BTreeMap::new(),
            invitations: BTreeMap::new(),
            folders_made: 0,
            invitations_made: 0,
        }
    }

    pub fn is_known(&self, owner: Owner) -> bool {
        match owner {
            Owner::User(name) => self.users.contains_key(name),
            Owner::Project(name) => self.projects.contains_key(name),
        }
    }

    pub fn require_users(&self, users: &[Name]) -> Result<(), Refusal> {
        require(users.iter().all(|user| self.users.contains_key(user)), Refusal::NotFound)
    }

    pub fn role(&self, owner: Owner, user: Name) -> Option<Role> {
        match owner {
            Owner::User(_) => None,
            Owner::Project(project) => self.projects.get(project)?.members.get(user).copied(),
        }
    }

    /// The level of a user on a folder and where it comes from; `None` is out of reach. The owner of a user's folder
    /// and the admins of a project always have rw; for a member a grant replaces the folder's level, up or down.
    pub fn level(&self, user: Name, key: Key) -> Option<(Level, Name)> {
        let folder = &self.folders[&key];
        let grant = folder.grants.get(user).map(|level| (*level, "share"));
        let (level, source) = match (key.0, self.role(key.0, user)) {
            (Owner::User(owner), _) if owner == user => (Level::Rw, "owner"),
            (_, Some(Role::Admin)) => (Level::Rw, "project-admin"),
            (_, Some(Role::Member)) => grant.or(folder.members.map(|level| (level, "project")))?,
            _ => grant?,
        };
        (level > Level::None).then_some((level, source))
    }

    pub fn reaches(&self, actor: Actor, key: Key) -> bool {
        actor.is_none_or(|user| self.level(user, key).is_some())
    }

    /// The owning user, for a project's folder a project admin; everything: the superadmin.
    pub fn manages(&self, actor: Actor, owner: Owner) -> bool {
        match (actor, owner) {
            (None, _) => true,
            (Some(user), Owner::User(name)) => user == name,
            (Some(user), Owner::Project(_)) => self.role(owner, user) == Some(Role::Admin),
        }
    }

    /// The narrower rule beats the wider, and binds the superadmin too.
    pub fn allows(&self, volume: Name, action: Action, owner: Owner) -> bool {
        let volume = &self.volumes[volume];
        let rule = (owner, action);
        !volume.blocked_for.contains(&rule)
            && (volume.allowed_for.contains(&rule) || !volume.blocked.contains(action))
    }

    /// The folder that a reference means. One out of the actor's reach does not exist. A bare name is looked up among
    /// all folders that the user can reach; two matches are an error.
    pub fn find(&self, actor: Actor, reference: Reference) -> Result<Key, Refusal> {
        let reached = |key: &Key| self.reaches(actor, *key);
        let mut found = match reference {
            Reference::Named(owner, name) => {
                let key = (owner, folder_name(name)?);
                self.folders.contains_key(&key).then_some(key).into_iter().filter(reached).collect()
            }
            Reference::Id(number) => {
                self.key_of(number.unwrap_or(usize::MAX)).into_iter().filter(reached).collect()
            }
            Reference::Bare(_) if actor.is_none() => return Err(Refusal::Usage),
            Reference::Bare(name) => {
                let name = folder_name(name)?;
                let keys = self.folders.keys().copied();
                keys.filter(|key| key.1 == name && reached(key)).collect::<Vec<_>>()
            }
        };
        match found.len() {
            0 => Err(Refusal::NotFound),
            1 => Ok(found.remove(0)),
            _ => Err(Refusal::Usage),
        }
    }

    pub fn key_of(&self, number: usize) -> Option<Key> {
        self.folders.iter().find(|(_, folder)| folder.number == number).map(|(key, _)| *key)
    }

    pub fn folder(&mut self, key: Key) -> &mut Folder {
        self.folders.get_mut(&key).expect("a folder that was found")
    }

    /// A folder that the actor manages, on a volume that allows the action.
    pub fn managed(&self, actor: Actor, reference: Reference, action: Action) -> Result<Key, Refusal> {
        let key = self.find(actor, reference)?;
        require(self.manages(actor, key.0), Refusal::NotPermitted)?;
        require(self.allows(self.folders[&key].volume, action, key.0), Refusal::NotPermitted)?;
        Ok(key)
    }

    pub fn pending(&self, folder: usize) -> impl Iterator<Item = &Invitation> {
        self.invitations.values().filter(move |i| i.folder == folder && i.state == "pending")
    }
}

pub fn require(holds: bool, refusal: Refusal) -> Result<(), Refusal> {
    if holds { Ok(()) } else { Err(refusal) }
}

/// `Changed` where something differs.
pub fn changed(differs: bool) -> Answer {
    Ok(if differs { Outcome::Changed } else { Outcome::Unchanged })
}
