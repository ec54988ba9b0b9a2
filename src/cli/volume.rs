//! `vfadm volume` and `vfadm quota`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgGroup, Args, Subcommand, ValueEnum, ValueHint};

use super::parse;
use crate::domain::owner::Owner;
use crate::domain::size::Limit;

/// What sets the limits of a volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Driver {
    /// Find out by trying
    Auto,
    /// XFS project quotas
    Xfs,
    /// ext4 project quotas
    Ext4,
    /// ZFS datasets
    Zfs,
    /// CephFS directory quotas
    Cephfs,
    /// btrfs qgroups
    Btrfs,
    /// Any other storage, by the programs that --driver-file names
    Exec,
    /// The whole volume belongs to one owner; its size is the limit
    Dedicated,
    /// No limits
    None,
}

/// What a folder is on a volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Folders {
    /// A plain directory
    Directory,
    /// A btrfs subvolume
    Subvolume,
    /// A ZFS dataset, below its quota scope's
    Dataset,
}

/// An action with the folders of a volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Action {
    /// Make folders
    Create,
    /// Rename and change folders
    Modify,
    /// Move folders to the trash, restore and purge them
    Delete,
    /// Mount folders in sessions
    Mount,
    /// Clone folders
    Clone,
    /// Invite users to folders
    Invite,
    /// Share folders with users
    Share,
}

/// Which actions of which volume, and for whom.
#[derive(Debug, Args)]
pub struct Actions {
    /// The volume's name
    #[arg(value_parser = parse::volume)]
    pub volume: String,
    /// What
    #[arg(required = true, value_enum, value_name = "ACTION")]
    pub actions: Vec<Action>,
    /// Only for this owner; beats what is said for everybody
    #[arg(long = "for", value_name = "OWNER", value_parser = parse::owner)]
    pub owner: Option<Owner>,
}

/// Which volume, and for whom.
#[derive(Debug, Args)]
pub struct OneAction {
    /// The volume's name
    #[arg(value_parser = parse::volume)]
    pub volume: String,
    /// Only for this owner; beats what is said for everybody
    #[arg(long = "for", value_name = "OWNER", value_parser = parse::owner)]
    pub owner: Option<Owner>,
}

/// Volumes.
#[derive(Debug, Subcommand)]
pub enum Volume {
    /// Add a mounted filesystem, or a plain directory, as a volume
    Add {
        /// Its name
        #[arg(value_parser = parse::volume)]
        volume: String,
        /// Where it is mounted
        path: PathBuf,
        /// What sets its limits
        #[arg(long, value_enum, default_value = "auto", value_name = "DRIVER")]
        quota: Driver,
        /// What to run, for --quota exec: examples/drivers has files for Weka, ONTAP, Lustre and Storage Scale
        #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
        driver_file: Option<PathBuf>,
        /// What a folder is on it
        #[arg(long, value_enum)]
        folders: Option<Folders>,
        /// Give the whole volume to one owner
        #[arg(long, value_name = "OWNER", value_parser = parse::owner)]
        dedicated_to: Option<Owner>,
        /// Mount this at PATH first: a device, an image file, host:/export
        #[arg(long, value_name = "SOURCE")]
        mount_source: Option<String>,
        /// The type of that filesystem; of an image that is made: ext4 (default) or xfs
        #[arg(long, value_name = "TYPE")]
        mount_type: Option<String>,
        /// Mount options, separated by commas
        #[arg(long, value_name = "OPTIONS")]
        mount_options: Option<String>,
        /// Make an image of this size in the file of --mount-source (default: PATH.img), and mount it
        #[arg(long, value_name = "SIZE", value_parser = parse::size)]
        make_image: Option<u64>,
        /// The only host that can set limits, as 'uname -n' names it; elsewhere changes of limits are refused
        #[arg(long, value_name = "HOST", value_parser = parse::node)]
        quota_host: Option<String>,
        /// Do not try whether the limits hold before the volume is used
        #[arg(long)]
        no_verify: bool,
    },
    /// List the volumes
    #[command(visible_alias = "ls")]
    List,
    /// Show a volume
    Show {
        /// Its name
        #[arg(value_parser = parse::volume)]
        volume: String,
    },
    /// Change a volume
    #[command(group(ArgGroup::new("change").required(true)))]
    Set {
        /// Its name
        #[arg(value_parser = parse::volume)]
        volume: String,
        /// Make it the volume that is meant where none is named
        #[arg(long, group = "change")]
        default: bool,
        /// Drive a volume of the driver exec by another file
        #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, group = "change")]
        driver_file: Option<PathBuf>,
    },
    /// Mount a volume that was added with --mount-source or --make-image
    Mount {
        /// Its name
        #[arg(value_parser = parse::volume)]
        volume: String,
    },
    /// Unmount it, unless a session uses it
    #[command(visible_alias = "umount")]
    Unmount {
        /// Its name
        #[arg(value_parser = parse::volume)]
        volume: String,
    },
    /// Take a volume without folders out of the registry; what is on it stays
    #[command(visible_alias = "rm")]
    Remove {
        /// Its name
        #[arg(value_parser = parse::volume)]
        volume: String,
    },
    /// Let everybody, or one owner, do something with the folders of a volume
    Allow(Actions),
    /// Keep everybody, or one owner, from doing something with the folders of a volume
    Block(Actions),
    /// Let sessions mount its folders: allow VOLUME mount
    AllowMount(OneAction),
    /// Keep sessions from mounting its folders: block VOLUME mount
    BlockMount(OneAction),
    /// Let its folders be cloned: allow VOLUME clone
    AllowClone(OneAction),
    /// Keep its folders from being cloned: block VOLUME clone
    BlockClone(OneAction),
    /// Look whether volumes are mounted, are the right ones, and hold what the registry says
    Check {
        /// Only this one
        #[arg(value_parser = parse::volume)]
        volume: Option<String>,
        /// Compare what the nodes said when they last checked in, instead of looking from this host
        #[arg(long)]
        nodes: bool,
        /// Tell of nodes that were last seen longer ago, with --nodes
        #[arg(long, value_name = "DURATION", default_value = "15m", value_parser = parse::duration)]
        stale: Duration,
    },
}

/// Limits.
#[derive(Debug, Subcommand)]
pub enum Quota {
    /// Set the limit of an owner on a volume
    Set {
        /// Whose
        #[arg(value_parser = parse::owner)]
        owner: Owner,
        /// How much: 64MiB, 1.5g, unlimited
        #[arg(value_parser = parse::limit)]
        size: Limit,
        /// On which volume
        #[arg(long, value_parser = parse::volume)]
        volume: Option<String>,
        /// Refuse a limit below what is used
        #[arg(long)]
        no_shrink: bool,
    },
    /// Return to the owner's default
    Unset {
        /// Whose
        #[arg(value_parser = parse::owner)]
        owner: Owner,
        /// On which volume
        #[arg(long, value_parser = parse::volume)]
        volume: Option<String>,
    },
    /// Show limits and usage
    Show {
        /// Only of this owner
        #[arg(value_parser = parse::owner)]
        owner: Option<Owner>,
        /// Only on this volume
        #[arg(long, value_parser = parse::volume)]
        volume: Option<String>,
        /// Only scopes of which at least so much is used; exit 10 when there are any
        #[arg(long, value_name = "PERCENT", value_parser = parse::percent)]
        over: Option<f64>,
    },
    /// Prove that limits hold: a throw-away scope of 1 MiB, and a write past it by a user without rights
    Verify {
        /// Only on this volume
        #[arg(value_parser = parse::volume)]
        volume: Option<String>,
    },
    /// Look for what gets past the limits; exit 10 when there is something
    Audit {
        /// Only on this volume
        #[arg(value_parser = parse::volume)]
        volume: Option<String>,
        /// Mend what can be mended without losing data
        #[arg(long)]
        fix: bool,
        /// Print only the paths that findings are about, each ended by a NUL byte
        #[arg(short = '0', long, conflicts_with = "fix")]
        null: bool,
    },
}
