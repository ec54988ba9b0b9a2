//! `vfadm session`.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::parse;
use crate::domain::reference::MountRequest;

/// Whose session it is, and what it mounts.
#[derive(Debug, Args)]
pub struct Mounts {
    /// Whose session it is
    #[arg(long, value_parser = parse::user)]
    pub user: String,
    /// The project it works for
    #[arg(long, value_parser = parse::project)]
    pub project: Option<String>,
    /// A folder to mount: REF[:DEST][:ro|rw]
    #[arg(short, long = "mount", value_name = "MOUNT", value_parser = parse::mount)]
    pub mounts: Vec<MountRequest>,
}

/// Sessions.
#[derive(Debug, Subcommand)]
pub enum Session {
    /// Show what a session would mount
    Plan {
        /// What it mounts.
        #[command(flatten)]
        mounts: Mounts,
    },
    /// Record a session that somebody else runs
    Start {
        /// Its name
        #[arg(value_parser = parse::session)]
        session: String,
        /// What it mounts.
        #[command(flatten)]
        mounts: Mounts,
        /// What keeps it alive: pid:N. Without it, it lives until it is stopped
        #[arg(long)]
        holder: Option<String>,
    },
    /// Run a command in a session of its own
    Run {
        /// Its name
        #[arg(value_parser = parse::session)]
        session: Option<String>,
        /// What it mounts.
        #[command(flatten)]
        mounts: Mounts,
        /// Run in this root directory instead of the host's; it is not changed
        #[arg(long, value_name = "DIR")]
        rootfs: Option<PathBuf>,
        /// Run in a user namespace of its own
        #[arg(long)]
        userns: bool,
        /// The command and its arguments
        #[arg(last = true, required = true, value_name = "CMD", value_hint = clap::ValueHint::CommandWithArguments)]
        command: Vec<OsString>,
    },
    /// End a session
    Stop {
        /// Its name
        #[arg(value_parser = parse::session)]
        session: String,
    },
    /// List the sessions
    #[command(visible_alias = "ls")]
    List,
    /// Show a session
    Show {
        /// Its name
        #[arg(value_parser = parse::session)]
        session: String,
    },
}
