//! `vfadm invitation` and `vfadm permission`.

use clap::{Args, Subcommand};

use super::parse;
use super::volume::Action;
use crate::domain::reference::FolderRef;

/// Invitations.
#[derive(Debug, Subcommand)]
pub enum Invitation {
    /// List invitations: one's own with --as, else all
    #[command(visible_alias = "ls")]
    List {
        /// Only those that were sent
        #[arg(long, conflicts_with_all = ["received", "all"])]
        sent: bool,
        /// Only those that were received
        #[arg(long, conflicts_with = "all")]
        received: bool,
        /// Those of all users
        #[arg(long)]
        all: bool,
    },
    /// Accept an invitation (with --as): the grant begins
    Accept(Which),
    /// Reject an invitation (with --as)
    Reject(Which),
    /// Take an invitation back that was sent
    Cancel(Which),
}

/// Which invitation.
#[derive(Debug, Args)]
pub struct Which {
    /// The first digits of its id; on a terminal it can be chosen from a list
    #[arg(value_parser = parse::id_prefix)]
    pub id: Option<String>,
}

/// Permissions.
#[derive(Debug, Subcommand)]
pub enum Permission {
    /// Tell whether a user may do something with a folder, what decides that, and what would change it (with --as)
    Explain {
        /// What
        #[arg(value_enum)]
        action: Action,
        /// OWNER/NAME or id:PREFIX
        #[arg(value_name = "VFOLDER", value_parser = parse::folder)]
        folder: FolderRef,
    },
}
