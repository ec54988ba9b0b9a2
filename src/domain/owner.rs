//! Who owns folders: a user or a project.

use std::fmt;
use std::str::FromStr;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::error::{Error, Result};
use super::name;

/// The owner of vfolders and quota scopes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Owner {
    /// A user, by name.
    User(String),
    /// A project, by name.
    Project(String),
}

impl Owner {
    /// `user` or `project`.
    pub fn kind(&self) -> &'static str {
        match self {
            Owner::User(_) => "user",
            Owner::Project(_) => "project",
        }
    }

    /// The name without its kind.
    pub fn name(&self) -> &str {
        match self {
            Owner::User(name) | Owner::Project(name) => name,
        }
    }

    /// Checks that the owner may have a folder of this name: only users have auto-mount (dot) folders; a project may
    /// own `.local`.
    pub fn may_own(&self, name: &str) -> Result<()> {
        if name::is_automatic(name) && matches!(self, Owner::Project(_)) && name != ".local" {
            return Err(Error::usage(format!(
                "a project cannot own '{name}': folders with a leading dot are mounted automatically for their user"
            ))
            .hint("a project may own '.local'; otherwise leave the dot out"));
        }
        Ok(())
    }

    /// The registry key of the owner's folder `name`.
    pub fn folder_key(&self, name: &str) -> String {
        format!("{self}/{name}")
    }

    /// The registry key of the owner's quota scope on a volume.
    pub fn scope_key(&self, volume: &str) -> String {
        format!("{self}@{volume}")
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.kind(), self.name())
    }
}

impl FromStr for Owner {
    type Err = Error;

    fn from_str(text: &str) -> Result<Owner> {
        match text.split_once('/') {
            None => Ok(Owner::User(name::owner("user", text)?)),
            Some(("user", rest)) => Ok(Owner::User(name::owner("user", rest)?)),
            Some(("project", rest)) => Ok(Owner::Project(name::owner("project", rest)?)),
            Some(_) => Err(Error::usage(format!("'{}' is not an owner", name::shown(text)))
                .hint("write alice or user/alice for a user, project/ml for a project")),
        }
    }
}

impl Serialize for Owner {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Owner {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Owner, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(|e: Error| D::Error::custom(e.message))
    }
}

/// Splits the registry key of a folder (`user/alice/data`) into owner and name.
pub fn split_folder_key(key: &str) -> Option<(Owner, &str)> {
    let (owner, name) = key.rsplit_once('/')?;
    let owner = match owner.split_once('/')? {
        ("user", name) => Owner::User(name.to_owned()),
        ("project", name) => Owner::Project(name.to_owned()),
        _ => return None,
    };
    Some((owner, name))
}

/// Splits the registry key of a quota scope (`user/alice@fast`) into owner and volume.
pub fn split_scope_key(key: &str) -> Option<(Owner, &str)> {
    // User names may contain '@'; volume names do not.
    let (owner, volume) = key.rsplit_once('@')?;
    Some((owner.parse().ok()?, volume))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_users_have_dot_folders_but_a_project_may_own_dot_local() {
        let project = Owner::Project("ml".into());
        assert!(project.may_own(".config").is_err());
        assert!(project.may_own(".local").is_ok());
        assert!(Owner::User("alice".into()).may_own(".config").is_ok());
    }

    #[test]
    fn an_owner_is_a_user_unless_it_says_project() {
        for (text, owner) in [
            ("alice", Owner::User("alice".into())),
            ("user/alice", Owner::User("alice".into())),
            ("project/ml", Owner::Project("ml".into())),
        ] {
            assert_eq!(text.parse(), Ok(owner), "{text}");
        }
        for text in ["", "Alice", "group/x", "user/", "project/ml/x", "user"] {
            assert!(text.parse::<Owner>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_scope_key_is_split_at_the_last_at_sign() {
        let owner = Owner::User("a@b".into());
        assert_eq!(split_scope_key(&owner.scope_key("fast")), Some((owner, "fast")));
    }
}
