//! What was typed. No input or output, no rules: only clap's structures and value parsers.

pub mod node;
pub mod owner;
pub mod parse;
pub mod progress;
pub mod session;
pub mod sharing;
pub mod system;
pub mod vfolder;
pub mod volume;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Gives users and projects of a cluster their storage: virtual folders with owners, hard quotas and session mounts.
#[derive(Debug, Parser)]
#[command(
    name = "vfadm",
    version,
    about,
    max_term_width = 100,
    propagate_version = true,
    disable_help_subcommand = true,
    arg_required_else_help = true,
    after_help = "Exit status: 0 done or unchanged, 1 failure, 2 usage, 3 not found, 4 conflict, 5 not permitted, \
                  6 in use, 7 registry busy, 8 storage, 9 registry unreadable, 10 findings, 130 interrupted."
)]
pub struct Cli {
    /// Options of every command.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Options of every command.
#[derive(Debug, Args)]
#[command(next_help_heading = "Global options")]
pub struct Global {
    /// The directory that holds registry.yaml [env: VFADM_ROOT] [default: /vfroot]
    // Not clap's `env`: it would show the option in every usage line as if it had to be given.
    #[arg(long, global = true, value_name = "DIR")]
    pub root: Option<PathBuf>,
    /// Run on behalf of this user, with this user's rights
    #[arg(long = "as", global = true, value_name = "USER", value_parser = parse::user)]
    pub as_user: Option<String>,
    /// How to print
    #[arg(short, long, global = true, value_enum, default_value = "table", hide_possible_values = false)]
    pub output: Format,
    /// Print what would be done, and do nothing
    #[arg(long, global = true)]
    pub dry_run: bool,
    /// Answer every question with yes
    #[arg(short, long, global = true)]
    pub yes: bool,
    /// Print nothing but errors (and the data of commands that show something)
    #[arg(short, long, global = true)]
    pub quiet: bool,
    /// Print more: what is done, step by step
    #[arg(short, long, global = true)]
    pub verbose: bool,
    /// How long to wait while another command changes the registry
    #[arg(long, global = true, value_name = "DURATION", default_value = "10s", value_parser = parse::duration)]
    pub lock_timeout: Duration,
    /// Use colours
    #[arg(long, global = true, value_enum, default_value = "auto", value_name = "WHEN")]
    pub color: When,
}

/// How to print.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[allow(missing_docs)]
pub enum Format {
    Table,
    Json,
    Yaml,
    Tsv,
}

/// When to use colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[allow(missing_docs)]
pub enum When {
    Auto,
    Always,
    Never,
}

/// The nouns.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make a registry and its first volume
    Init(system::Init),
    /// Users, who own folders
    #[command(subcommand)]
    User(owner::User),
    /// Projects, whose folders their members share
    #[command(subcommand)]
    Project(owner::Project),
    /// Volumes, which hold folders
    #[command(subcommand)]
    Volume(volume::Volume),
    /// Limits of owners on volumes
    #[command(subcommand)]
    Quota(volume::Quota),
    /// Virtual folders
    #[command(subcommand, visible_alias = "vf")]
    Vfolder(vfolder::Vfolder),
    /// Deleted folders
    #[command(subcommand)]
    Trash(vfolder::Trash),
    /// Grants that wait for a user's consent
    #[command(subcommand)]
    Invitation(sharing::Invitation),
    /// Who may do what, and why
    #[command(subcommand)]
    Permission(sharing::Permission),
    /// Sessions, which have folders mounted
    #[command(subcommand)]
    Session(session::Session),
    /// The hosts on which the volumes are mounted
    #[command(subcommand)]
    Node(node::Node),
    /// Look for what is not as it should be: registry, sidecars, directories, limits, mounts, sessions
    Check(system::Check),
    /// The registry file
    #[command(subcommand)]
    Registry(system::Registry),
    /// Print a shell's completion script
    Completions(system::Completions),
    /// Write the manual pages
    Man(system::Man),
}
