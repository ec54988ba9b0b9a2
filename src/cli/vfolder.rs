//! `vfadm vfolder` and `vfadm trash`.

use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};

use super::parse;
use super::progress::Progress;
use crate::domain::owner::Owner;
use crate::domain::permission::Level;
use crate::domain::reference::FolderRef;
use crate::domain::size::Limit;

/// Where a folder is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[allow(missing_docs)]
pub enum Status {
    Ready,
    Trashed,
    Purging,
    Creating,
    Copying,
}

/// The order of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Sort {
    /// By owner, then by name
    Owner,
    /// By name
    Name,
    /// By volume
    Volume,
    /// By status
    Status,
    /// The oldest first
    Created,
}

/// Folders.
#[derive(Debug, Subcommand)]
pub enum Vfolder {
    /// Make a folder
    Create {
        /// OWNER/NAME, as in alice/data or project/ml/data
        #[arg(value_name = "VFOLDER", value_parser = parse::folder)]
        folder: FolderRef,
        /// On which volume
        #[arg(long, value_parser = parse::volume)]
        volume: Option<String>,
        /// The limit of the owner's quota scope, if this folder is its first on the volume
        #[arg(long, value_name = "SIZE", value_parser = parse::limit)]
        quota_init: Option<Limit>,
        /// What the members of the owning project may do: none, ro or rw (default rw)
        #[arg(long, value_name = "LEVEL", value_parser = parse::level)]
        perm: Option<Level>,
        /// Others may clone it
        #[arg(long)]
        cloneable: bool,
        /// An equal folder that exists already is fine
        #[arg(long)]
        if_not_exists: bool,
    },
    /// List folders
    #[command(visible_alias = "ls")]
    List {
        /// Only of this owner
        #[arg(long, value_parser = parse::owner)]
        owner: Option<Owner>,
        /// Only on this volume
        #[arg(long, value_parser = parse::volume)]
        volume: Option<String>,
        /// Only in this status
        #[arg(long, value_enum)]
        status: Option<Status>,
        /// Only those with a grant; with --as, only those that were shared with the user
        #[arg(long)]
        shared: bool,
        /// Only names that match this pattern: 'data-*'
        #[arg(long, value_name = "GLOB", value_parser = parse::glob)]
        name: Option<glob::Pattern>,
        /// In which order
        #[arg(long, value_enum, default_value = "owner", value_name = "KEY")]
        sort: Sort,
        /// At most so many
        #[arg(long, value_name = "N")]
        limit: Option<usize>,
    },
    /// Show a folder
    Show {
        /// OWNER/NAME or id:PREFIX
        #[arg(value_name = "VFOLDER", value_parser = parse::folder)]
        folder: FolderRef,
    },
    /// Print the path of a folder on the storage host
    Path {
        /// OWNER/NAME or id:PREFIX
        #[arg(value_name = "VFOLDER", value_parser = parse::folder)]
        folder: FolderRef,
    },
    /// Give a folder another name
    Rename {
        /// OWNER/NAME or id:PREFIX
        #[arg(value_name = "VFOLDER", value_parser = parse::folder)]
        folder: FolderRef,
        /// The new name, without owner
        #[arg(value_name = "NEWNAME", value_parser = parse::vfolder_name)]
        new_name: String,
    },
    /// Change a folder's properties
    #[command(group = clap::ArgGroup::new("property").required(true).multiple(true).args(["perm", "cloneable", "not_cloneable"]))]
    Set {
        /// OWNER/NAME or id:PREFIX
        #[arg(value_name = "VFOLDER", value_parser = parse::folder)]
        folder: FolderRef,
        /// What the members of the owning project may do: none, ro or rw
        #[arg(long, value_name = "LEVEL", value_parser = parse::level)]
        perm: Option<Level>,
        /// Others may clone it
        #[arg(long)]
        cloneable: bool,
        /// Others may not clone it
        #[arg(long, conflicts_with = "cloneable")]
        not_cloneable: bool,
    },
    /// Move a folder to the trash
    #[command(visible_alias = "rm")]
    Delete {
        /// OWNER/NAME or id:PREFIX
        #[arg(value_name = "VFOLDER", value_parser = parse::folder)]
        folder: FolderRef,
        /// Remove it for good
        #[arg(long)]
        purge: bool,
        /// How far it is
        #[command(flatten)]
        progress: Progress,
    },
    /// Take a folder out of the trash
    Restore {
        /// OWNER/NAME or id:PREFIX
        #[arg(value_name = "VFOLDER", value_parser = parse::folder)]
        folder: FolderRef,
    },
    /// Remove a folder in the trash for good
    Purge {
        /// OWNER/NAME or id:PREFIX
        #[arg(value_name = "VFOLDER", value_parser = parse::folder)]
        folder: FolderRef,
        /// How far it is
        #[command(flatten)]
        progress: Progress,
    },
    /// Give a folder to another owner, or move it to another volume: data, charge and record
    Transfer {
        /// OWNER/NAME or id:PREFIX
        #[arg(value_name = "VFOLDER", value_parser = parse::folder)]
        folder: FolderRef,
        /// The new owner: USER, or project/PROJECT; the present one takes a transfer back that was cut off
        #[arg(value_name = "NEWOWNER", value_parser = parse::owner)]
        to: Owner,
        /// On this volume (default: where it is, if the new owner may use that)
        #[arg(long, value_parser = parse::volume)]
        volume: Option<String>,
        /// What the members of the project that gets it may do (default: its present level, or rw)
        #[arg(long, value_name = "LEVEL", value_parser = parse::level)]
        perm: Option<Level>,
        /// How far it is
        #[command(flatten)]
        progress: Progress,
    },
    /// Make another folder with what a folder holds: at once where the storage has snapshots, else by a copy
    Clone {
        /// Of which: OWNER/NAME, id:PREFIX, or a name with --as
        #[arg(value_name = "VFOLDER", value_parser = parse::folder)]
        from: FolderRef,
        /// The new one: OWNER/NAME, or a name with --as
        #[arg(value_name = "NEW", value_parser = parse::folder)]
        to: FolderRef,
        /// On this volume (default: where new folders of the owner go)
        #[arg(long, value_parser = parse::volume)]
        volume: Option<String>,
        /// By a snapshot also for another owner: what both share stays charged to the owner of the source
        #[arg(long)]
        linked: bool,
        /// Also where it does not fit into the limit or on the volume
        #[arg(long)]
        allow_over: bool,
        /// Go on with a clone that was cut off (the default)
        #[arg(long, conflicts_with = "restart")]
        resume: bool,
        /// Throw away what a clone that was cut off has copied, and begin again
        #[arg(long)]
        restart: bool,
        /// How far it is
        #[command(flatten)]
        progress: Progress,
    },
    /// Give users a grant on a folder, or change it
    Share {
        /// OWNER/NAME or id:PREFIX
        #[arg(value_name = "VFOLDER", value_parser = parse::folder)]
        folder: FolderRef,
        /// With whom
        #[arg(long = "with", required = true, num_args = 1.., value_name = "USER", value_parser = parse::user)]
        users: Vec<String>,
        /// What they may do: none (for members of the owning project), ro or rw
        #[arg(long, value_name = "LEVEL", value_parser = parse::level)]
        perm: Level,
        /// Also where a session of theirs has more than that mounted
        #[arg(long)]
        force: bool,
    },
    /// Take grants on a folder away
    Unshare {
        /// OWNER/NAME or id:PREFIX
        #[arg(value_name = "VFOLDER", value_parser = parse::folder)]
        folder: FolderRef,
        /// From whom
        #[arg(long = "from", required = true, num_args = 1.., value_name = "USER", value_parser = parse::user)]
        users: Vec<String>,
        /// Also while a session of theirs has it mounted
        #[arg(long)]
        force: bool,
    },
    /// Give back one's own grant on a folder (with --as)
    Leave {
        /// OWNER/NAME, id:PREFIX, or a name
        #[arg(value_name = "VFOLDER", value_parser = parse::folder)]
        folder: FolderRef,
    },
    /// Invite users to a folder: they have a grant once they accept
    Invite {
        /// OWNER/NAME, id:PREFIX, or a name with --as
        #[arg(value_name = "VFOLDER", value_parser = parse::folder)]
        folder: FolderRef,
        /// Whom
        #[arg(required = true, value_name = "USER", value_parser = parse::user)]
        users: Vec<String>,
        /// What they would get: ro or rw
        #[arg(long, value_name = "LEVEL", value_parser = parse::mount_level)]
        perm: Level,
        /// How long the invitation waits
        #[arg(long, value_name = "DURATION", default_value = "7d", value_parser = parse::duration)]
        expires: Duration,
    },
    /// Measure what folders hold
    ///
    /// Where the storage keeps the charge of each folder (btrfs subvolumes, ZFS datasets, CephFS), that is shown, at once.
    /// Other folders, and all with --walk or --depth, are counted: a file with several names once, mounts inside not at all.
    /// Exit status 8 when something in them could not be read.
    Usage(Usage),
}

/// What to measure, and how.
#[derive(Debug, Args)]
pub struct Usage {
    /// OWNER/NAME or id:PREFIX
    #[arg(value_name = "VFOLDER", value_parser = parse::folder)]
    pub folders: Vec<FolderRef>,
    /// All folders, those in the trash too; with --as, all that the user can reach
    #[arg(long, conflicts_with = "folders")]
    pub all: bool,
    /// Count file by file, also where the storage keeps the charge
    #[arg(long)]
    pub walk: bool,
    /// Also each entry down to so many levels, at most 64; counts file by file
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=64))]
    pub depth: Option<u16>,
    /// How far it is
    #[command(flatten)]
    pub progress: Progress,
}

/// Deleted folders.
#[derive(Debug, Subcommand)]
pub enum Trash {
    /// List what is in the trash
    #[command(visible_alias = "ls")]
    List,
    /// Remove what is in the trash for good
    Empty {
        /// Only what has been there for so long: 30d
        #[arg(long, value_name = "DURATION", value_parser = parse::duration)]
        older_than: Option<Duration>,
        /// Only of this owner
        #[arg(long, value_parser = parse::owner)]
        owner: Option<Owner>,
        /// Only on this volume
        #[arg(long, value_parser = parse::volume)]
        volume: Option<String>,
        /// How far it is
        #[command(flatten)]
        progress: Progress,
    },
}
