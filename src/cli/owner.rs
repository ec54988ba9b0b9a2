//! `vfadm user` and `vfadm project`.

use clap::{Args, Subcommand, ValueEnum};

use super::parse::{self, Count};
use crate::domain::owner::Owner;
use crate::domain::size::Limit;

/// Limits of an owner.
#[derive(Clone, Debug, Args)]
pub struct Limits {
    /// The most folders, the trash counted: a number, or unlimited
    #[arg(long, value_name = "N", value_parser = parse::count)]
    pub max_vfolders: Option<Count>,
    /// A bound for the limit of each of its quota scopes, or unlimited
    #[arg(long, value_name = "SIZE", value_parser = parse::limit)]
    pub max_quota: Option<Limit>,
    /// The limit of its new quota scopes, or unlimited
    #[arg(long, value_name = "SIZE", value_parser = parse::limit)]
    pub default_quota: Option<Limit>,
    /// Inactive owners make no folders, and inactive users start no sessions
    #[arg(long, value_enum)]
    pub state: Option<State>,
}

/// Whether an owner may make folders.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[allow(missing_docs)]
pub enum State {
    Active,
    Inactive,
}

/// What a member may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Role {
    /// Manages the project's folders
    Admin,
    /// Uses them
    Member,
}

/// Users.
#[derive(Debug, Subcommand)]
pub enum User {
    /// Add a user
    Add {
        /// The user's name
        #[arg(value_parser = parse::user)]
        user: String,
        /// Limits.
        #[command(flatten)]
        limits: Limits,
    },
    /// List the users
    #[command(visible_alias = "ls")]
    List,
    /// Show a user
    Show {
        /// The user's name
        #[arg(value_parser = parse::user)]
        user: String,
    },
    /// Change a user's limits or state
    Set {
        /// The user's name
        #[arg(value_parser = parse::user)]
        user: String,
        /// Limits.
        #[command(flatten)]
        limits: Limits,
    },
    /// Remove a user
    #[command(visible_alias = "rm")]
    Remove {
        /// The user's name
        #[arg(value_parser = parse::user)]
        user: String,
        /// Purge all folders that the user owns
        #[arg(long)]
        purge: bool,
        /// Give them to another owner
        #[arg(long, value_name = "OWNER", value_parser = parse::owner, conflicts_with = "purge")]
        transfer_to: Option<Owner>,
    },
}

/// Projects.
#[derive(Debug, Subcommand)]
pub enum Project {
    /// Add a project
    Add {
        /// The project's name
        #[arg(value_parser = parse::project)]
        project: String,
        /// Limits.
        #[command(flatten)]
        limits: Limits,
    },
    /// List the projects
    #[command(visible_alias = "ls")]
    List,
    /// Show a project
    Show {
        /// The project's name
        #[arg(value_parser = parse::project)]
        project: String,
    },
    /// Change a project's limits or state
    Set {
        /// The project's name
        #[arg(value_parser = parse::project)]
        project: String,
        /// Limits.
        #[command(flatten)]
        limits: Limits,
    },
    /// Remove a project
    #[command(visible_alias = "rm")]
    Remove {
        /// The project's name
        #[arg(value_parser = parse::project)]
        project: String,
        /// Purge all folders that the project owns
        #[arg(long)]
        purge: bool,
        /// Give them to another owner
        #[arg(long, value_name = "OWNER", value_parser = parse::owner, conflicts_with = "purge")]
        transfer_to: Option<Owner>,
    },
    /// Add members, or change their role
    AddMember {
        /// The project's name
        #[arg(value_parser = parse::project)]
        project: String,
        /// Users
        #[arg(required = true, value_name = "USER", value_parser = parse::user)]
        users: Vec<String>,
        /// What they may do (default: what a present member may, and `member` for a new one)
        #[arg(long, value_enum)]
        role: Option<Role>,
    },
    /// Remove members
    RemoveMember {
        /// The project's name
        #[arg(value_parser = parse::project)]
        project: String,
        /// Users
        #[arg(required = true, value_name = "USER", value_parser = parse::user)]
        users: Vec<String>,
        /// Also while a session of theirs has a folder of the project mounted
        #[arg(long)]
        force: bool,
    },
}
