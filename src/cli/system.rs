//! `vfadm init`, `registry`, `completions` and `man`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::parse;
use super::volume::Driver;
use crate::domain::duration::Since;
use crate::domain::reference::Subject;

/// A new registry.
#[derive(Debug, Args)]
pub struct Init {
    /// The uid that owns all folders
    // Sessions do not run as root, and the highest number means "no user" to the kernel.
    #[arg(long, value_name = "N", default_value_t = 50_000, value_parser = clap::value_parser!(u32).range(1..=4_294_967_294))]
    pub uid: u32,
    /// The gid that owns all folders
    #[arg(long, value_name = "N", default_value_t = 50_000, value_parser = clap::value_parser!(u32).range(1..=4_294_967_294))]
    pub gid: u32,
    /// The mode of folders
    #[arg(long, default_value = "0770")]
    pub mode: String,
    /// The first volume (default: local=ROOT/local)
    #[arg(long, value_name = "NAME=PATH", value_parser = parse::named_path())]
    pub volume: Option<(String, PathBuf)>,
    /// What sets the limits of the first volume
    #[arg(long, value_enum, default_value = "auto", value_name = "DRIVER")]
    pub quota: Driver,
}

/// What is not as it should be.
#[derive(Debug, Args)]
pub struct Check {
    /// Mend it; what would lose data is asked about, or needs --yes
    #[arg(long)]
    pub repair: bool,
}

/// The registry file.
#[derive(Debug, Subcommand)]
pub enum Registry {
    /// Print it
    Show,
    /// Look for mistakes in it
    Check,
    /// Print the JSON Schema of its records
    Schema,
    /// Copy it into a file, or show the backups of it
    Backup {
        /// A new file, a directory that gets one, or - for stdout
        #[arg(value_name = "FILE", required_unless_present = "list")]
        file: Option<PathBuf>,
        /// Show the backups that vfadm keeps by itself
        #[arg(long, conflicts_with_all = ["file", "force"])]
        list: bool,
        /// Replace a file that is there
        #[arg(long)]
        force: bool,
    },
    /// Bring an earlier one back, also where the present one has gone or is broken; sessions stay as they are
    Restore {
        /// The generation of a backup, or a file
        #[arg(value_name = "GENERATION|FILE", required_unless_present = "latest")]
        from: Option<PathBuf>,
        /// The newest backup that can be read and is not the present registry
        #[arg(long, conflicts_with = "from")]
        latest: bool,
        /// Also one of another registry; also while a command works on a folder; forget sessions on folders that go
        #[arg(long)]
        force: bool,
    },
    /// Make it anew from what stands on the volumes, where it was lost; sessions and invitations do not come back
    Rebuild {
        /// Where a volume is that is neither in the root nor a mount point
        #[arg(long = "volume", value_name = "PATH")]
        volumes: Vec<PathBuf>,
        /// Although the registry can be read, or a volume is missing
        #[arg(long)]
        force: bool,
    },
    /// Change it with an editor (VISUAL, EDITOR): it is checked, and the difference shown, before it counts
    Edit {
        /// A text that an earlier edit kept
        #[arg(value_name = "FILE")]
        file: Option<PathBuf>,
    },
    /// Show what was changed, when, by whom and by which command, the oldest first
    Log(Log),
    /// Take the last change back, where it changed nothing but the registry
    Undo,
}

/// Changes that are shown.
#[derive(Debug, Args)]
pub struct Log {
    /// Only changes of this vfolder (OWNER/NAME, a name that it had, or id:PREFIX) or owner
    #[arg(long = "ref", value_name = "REF", value_parser = parse::subject)]
    pub of: Option<Subject>,
    /// Only changes since then: 2h, 7d, 2026-11-24 or 2026-11-24T12:00:00Z
    #[arg(long, value_name = "WHEN", value_parser = parse::since)]
    pub since: Option<Since>,
    /// Only the last so many
    #[arg(long, value_name = "N")]
    pub limit: Option<usize>,
}

/// A completion script.
#[derive(Debug, Args)]
pub struct Completions {
    /// For which shell
    #[arg(value_enum)]
    pub shell: Shell,
}

/// A shell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[allow(missing_docs)]
pub enum Shell {
    Bash,
    Zsh,
    Fish,
}

/// Manual pages.
#[derive(Debug, Args)]
pub struct Man {
    /// Into this directory
    #[arg(long, value_name = "DIR")]
    pub dir: PathBuf,
}
