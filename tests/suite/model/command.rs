//! The commands: how each is typed, what it needs, and which function of the model predicts it. A new command is a
//! variant here, an arm in each of the two matches, and a line in `random.rs`.

use std::fmt;

use super::folders::Create;
use super::world::*;

pub enum Command {
    Create(Create),
    Rename { folder: Reference, to: Name },
    Set { folder: Reference, perm: Option<Level>, cloneable: Option<bool> },
    Delete { folder: Reference, purge: bool },
    Restore { folder: Reference },
    Purge { folder: Reference },
    Show { folder: Reference },
    Transfer { folder: Reference, to: Owner, perm: Option<Level> },
    Share { folder: Reference, users: Vec<Name>, perm: Level },
    Unshare { folder: Reference, users: Vec<Name> },
    Leave { folder: Reference },
    Invite { folder: Reference, users: Vec<Name>, perm: Level, term: bool },
    Accept(Option<usize>),
    Reject(Option<usize>),
    Cancel(Option<usize>),
    Explain { action: Action, folder: Reference },
    Add(Owner),
    Limit { owner: Owner, most: Most },
    Remove { owner: Owner, purge: bool },
    AddMember { project: Name, users: Vec<Name>, role: Option<Role> },
    RemoveMember { project: Name, users: Vec<Name> },
    Rule { allow: bool, volume: Name, actions: Vec<Action>, whom: Option<Owner> },
}

impl Command {
    /// What the model says to it. What is malformed is refused before anything is read, then `--as` with a command
    /// that is the superadmin's, then an actor that does not exist.
    pub fn predict(&self, world: &mut World, actor: Actor) -> Answer {
        let (names, users) = self.typed();
        names.into_iter().try_for_each(|name| folder_name(name).map(drop))?;
        require(!users.contains(&BAD_USER) && actor != Some(BAD_USER), Refusal::Usage)?;
        // An invitation to nothing cannot be written.
        let nothing = matches!(self, Command::Invite { perm: Level::None, .. });
        require(!nothing, Refusal::Usage)?;
        require(actor.is_none() || !self.is_the_superadmins(), Refusal::NotPermitted)?;
        require(actor.is_none_or(|user| world.users.contains_key(user)), Refusal::NotFound)?;
        match self {
            Command::Create(asked) => world.create(actor, asked),
            Command::Rename { folder, to } => world.rename(actor, *folder, to),
            Command::Set { folder, perm, cloneable } => world.set(actor, *folder, *perm, *cloneable),
            Command::Delete { folder, purge: false } => world.delete(actor, *folder),
            Command::Delete { folder, purge: true } => world.purge(actor, *folder, true),
            Command::Restore { folder } => world.restore(actor, *folder),
            Command::Purge { folder } => world.purge(actor, *folder, false),
            Command::Show { folder } => world.find(actor, *folder).map(|_| Outcome::Shown),
            Command::Transfer { folder, to, perm } => world.transfer(actor, *folder, *to, *perm),
            Command::Share { folder, users, perm } => world.share(actor, *folder, users, *perm),
            Command::Unshare { folder, users } => world.unshare(actor, *folder, users),
            Command::Leave { folder } => world.leave(actor, *folder),
            Command::Invite { folder, users, perm, term } => {
                world.invite(actor, *folder, users, *perm, *term)
            }
            Command::Accept(number) => world.accept(actor, *number),
            Command::Reject(number) => world.reject(actor, *number),
            Command::Cancel(number) => world.cancel(actor, *number),
            Command::Explain { action, folder } => world.explain(actor, action, *folder),
            Command::Add(owner) => world.add(*owner),
            Command::Limit { owner, most } => world.limit(*owner, *most),
            Command::Remove { owner, purge } => world.remove(*owner, *purge),
            Command::AddMember { project, users, role } => world.add_members(project, users, *role),
            Command::RemoveMember { project, users } => world.remove_members(project, users),
            Command::Rule { allow, volume, actions, whom } => world.rule(*allow, volume, actions, *whom),
        }
    }

    /// The folder that it is about.
    pub fn folder(&self) -> Option<Reference> {
        match self {
            Command::Create(Create { folder, .. })
            | Command::Rename { folder, .. }
            | Command::Set { folder, .. }
            | Command::Delete { folder, .. }
            | Command::Restore { folder }
            | Command::Purge { folder }
            | Command::Show { folder }
            | Command::Transfer { folder, .. }
            | Command::Share { folder, .. }
            | Command::Unshare { folder, .. }
            | Command::Leave { folder }
            | Command::Invite { folder, .. }
            | Command::Explain { folder, .. } => Some(*folder),
            _ => None,
        }
    }

    /// The names of folders and of users in it.
    fn typed(&self) -> (Vec<Name>, Vec<Name>) {
        let mut names = Vec::new();
        if let Some(Reference::Named(_, name) | Reference::Bare(name)) = self.folder() {
            names.push(name);
        }
        let users = match self {
            Command::Rename { to, .. } => {
                names.push(*to);
                Vec::new()
            }
            Command::Share { users, .. }
            | Command::Unshare { users, .. }
            | Command::Invite { users, .. }
            | Command::AddMember { users, .. }
            | Command::RemoveMember { users, .. } => users.clone(),
            Command::Add(Owner::User(user)) => vec![*user],
            _ => Vec::new(),
        };
        (names, users)
    }

    pub fn is_the_superadmins(&self) -> bool {
        use Command::*;
        matches!(
            self,
            Add(_) | Limit { .. } | Remove { .. } | AddMember { .. } | RemoveMember { .. } | Rule { .. }
        )
    }

    /// The action that its volume has to allow, where `permission explain` can be asked about it.
    pub fn question(&self) -> Option<(Action, Reference)> {
        match self {
            Command::Create(Create { folder, volume: None | Some(DEFAULT_VOLUME), .. }) => {
                Some(("create", *folder))
            }
            Command::Rename { folder, .. } | Command::Set { folder, .. } => Some(("modify", *folder)),
            Command::Delete { folder, .. } | Command::Restore { folder } | Command::Purge { folder } => {
                Some(("delete", *folder))
            }
            Command::Share { folder, .. } => Some(("share", *folder)),
            Command::Invite { folder, .. } => Some(("invite", *folder)),
            _ => None,
        }
    }
}

/// As it is typed. `${F[N]}` is the id of the Nth folder that was made, `${I[N]}` of the Nth invitation: a shell that
/// runs the printed lines fills them in.
impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Command::Create(asked) => {
                write!(f, "vfolder create {}", asked.folder)?;
                asked.volume.map_or(Ok(()), |volume| write!(f, " --volume {volume}"))?;
                asked.perm.map_or(Ok(()), |level| write!(f, " --perm {level}"))?;
                f.write_str(if asked.cloneable { " --cloneable" } else { "" })?;
                f.write_str(if asked.if_not_exists { " --if-not-exists" } else { "" })
            }
            Command::Rename { folder, to } => write!(f, "vfolder rename {folder} {to}"),
            Command::Set { folder, perm, cloneable } => {
                write!(f, "vfolder set {folder}")?;
                perm.map_or(Ok(()), |level| write!(f, " --perm {level}"))?;
                f.write_str(match cloneable {
                    None => "",
                    Some(true) => " --cloneable",
                    Some(false) => " --not-cloneable",
                })
            }
            Command::Delete { folder, purge: false } => write!(f, "vfolder delete {folder}"),
            Command::Delete { folder, purge: true } => write!(f, "vfolder delete {folder} --purge --yes"),
            Command::Restore { folder } => write!(f, "vfolder restore {folder}"),
            Command::Purge { folder } => write!(f, "vfolder purge {folder} --yes"),
            Command::Show { folder } => write!(f, "vfolder show {folder}"),
            Command::Transfer { folder, to, perm } => {
                write!(f, "vfolder transfer {folder} {to}")?;
                perm.map_or(Ok(()), |level| write!(f, " --perm {level}"))
            }
            Command::Share { folder, users, perm } => {
                write!(f, "vfolder share {folder} --with {} --perm {perm}", users.join(" "))
            }
            Command::Unshare { folder, users } => {
                write!(f, "vfolder unshare {folder} --from {}", users.join(" "))
            }
            Command::Leave { folder } => write!(f, "vfolder leave {folder}"),
            Command::Invite { folder, users, perm, term } => {
                let expires = if *term { "" } else { " --expires 0s" };
                write!(f, "vfolder invite {folder} {} --perm {perm}{expires}", users.join(" "))
            }
            Command::Accept(number) => write!(f, "invitation accept {}", invitation(*number)),
            Command::Reject(number) => write!(f, "invitation reject {}", invitation(*number)),
            Command::Cancel(number) => write!(f, "invitation cancel {}", invitation(*number)),
            Command::Explain { action, folder } => write!(f, "permission explain {action} {folder}"),
            Command::Add(owner) => write!(f, "{} add {}", kind(*owner), name(*owner)),
            Command::Limit { owner, most } => {
                let most = most.map_or("unlimited".to_owned(), |most| most.to_string());
                write!(f, "{} set {} --max-vfolders {most}", kind(*owner), name(*owner))
            }
            Command::Remove { owner, purge } => {
                let purge = if *purge { " --purge" } else { "" };
                write!(f, "{} remove {}{purge} --yes", kind(*owner), name(*owner))
            }
            Command::AddMember { project, users, role } => {
                write!(f, "project add-member {project} {}", users.join(" "))?;
                f.write_str(match role {
                    None => "",
                    Some(Role::Admin) => " --role admin",
                    Some(Role::Member) => " --role member",
                })
            }
            Command::RemoveMember { project, users } => {
                write!(f, "project remove-member {project} {}", users.join(" "))
            }
            Command::Rule { allow, volume, actions, whom } => {
                let verb = if *allow { "allow" } else { "block" };
                write!(f, "volume {verb} {volume} {}", actions.join(" "))?;
                whom.map_or(Ok(()), |owner| write!(f, " --for {owner}"))
            }
        }
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reference::Named(Owner::User(user), name) => write!(f, "{user}/{name}"),
            Reference::Named(owner, name) => write!(f, "{owner}/{name}"),
            Reference::Id(Some(number)) => write!(f, "id:${{F[{number}]}}"),
            Reference::Id(None) => f.write_str("id:00000000"),
            Reference::Bare(name) => f.write_str(name),
        }
    }
}

fn invitation(number: Option<usize>) -> String {
    number.map_or("00000000".to_owned(), |number| format!("${{I[{number}]}}"))
}

fn kind(owner: Owner) -> &'static str {
    match owner {
        Owner::User(_) => "user",
        Owner::Project(_) => "project",
    }
}

fn name(owner: Owner) -> Name {
    match owner {
        Owner::User(name) | Owner::Project(name) => name,
    }
}
