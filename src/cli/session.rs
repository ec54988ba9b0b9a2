//! `vfadm session`.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};

use super::parse;
use crate::domain::engine::Engine;
use crate::domain::holder::Named;
use crate::domain::reference::{KernelRef, MountRequest};

/// Whose session it is, and what it mounts.
#[derive(Debug, Args)]
pub struct Mounts {
    /// Whose session it is
    #[arg(long, value_parser = parse::user)]
    pub user: String,
    /// What it mounts.
    #[command(flatten)]
    pub wanted: Wanted,
}

/// What a session mounts.
#[derive(Debug, Args)]
pub struct Wanted {
    /// The project it works for
    #[arg(long, value_parser = parse::project)]
    pub project: Option<String>,
    /// A folder to mount: REF[:DEST][:ro|rw]
    #[arg(short, long = "mount", value_name = "MOUNT", value_parser = parse::mount)]
    pub mounts: Vec<MountRequest>,
}

/// How many kernels a session has, and where.
#[derive(Debug, Args)]
pub struct Kernels {
    /// How many kernels it has on this host: main, sub1, sub2 and so on
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000), conflicts_with = "kernel")]
    pub kernels: Option<u32>,
    /// A kernel, on this host or another: NAME or NAME@NODE; with 'start' it joins the session that runs
    #[arg(long, value_name = "NAME@NODE", value_parser = parse::kernel)]
    pub kernel: Vec<KernelRef>,
    /// Also on a node whose last check-in lacks a volume of the session
    #[arg(long)]
    pub force: bool,
}

/// What keeps a session alive. Without it, it lives until it is stopped.
#[derive(Debug, Args)]
pub struct Held {
    /// What keeps these kernels alive: pid:N, container:NAME, unit:NAME or slurm:JOBID
    #[arg(long, value_parser = parse::holder, conflicts_with = "lease")]
    pub holder: Option<Named>,
    /// How long the session lives, if it is not renewed
    #[arg(long, value_name = "DURATION", value_parser = parse::duration)]
    pub lease: Option<Duration>,
}

/// What an engine is told of it.
#[derive(Debug, Args)]
pub struct Told {
    /// Print what this engine has to be told: docker, podman, nerdctl, compose, k8s, apptainer, enroot, nspawn, bwrap,
    /// oci, fstab, json
    #[arg(long, value_name = "ENGINE", value_parser = parse::engine)]
    pub engine: Option<Engine>,
    /// The root directory of the session, for oci and fstab
    #[arg(long, value_name = "DIR", requires = "engine")]
    pub rootfs: Option<PathBuf>,
}

/// Sessions.
#[derive(Debug, Subcommand)]
pub enum Session {
    /// Show what a session would mount
    Plan {
        /// What it mounts.
        #[command(flatten)]
        mounts: Mounts,
        /// Its kernels.
        #[command(flatten)]
        kernels: Kernels,
        /// What keeps it alive.
        #[command(flatten)]
        held: Held,
        /// What an engine is told.
        #[command(flatten)]
        told: Told,
    },
    /// Record a session that somebody else runs, or kernels that join it
    Start {
        /// Its name
        #[arg(value_parser = parse::session)]
        session: String,
        /// Whose session it is; a kernel that joins need not say it
        #[arg(long, value_parser = parse::user)]
        user: Option<String>,
        /// What it mounts.
        #[command(flatten)]
        wanted: Wanted,
        /// Its kernels.
        #[command(flatten)]
        kernels: Kernels,
        /// What keeps it alive.
        #[command(flatten)]
        held: Held,
        /// What an engine is told.
        #[command(flatten)]
        told: Told,
    },
    /// Run a command in a session of its own
    Run {
        /// Its name
        #[arg(value_parser = parse::session)]
        session: Option<String>,
        /// What it mounts.
        #[command(flatten)]
        mounts: Mounts,
        /// Have this engine run it, in the foreground: nspawn, bwrap, runc, podman, docker
        #[arg(long, value_name = "ENGINE", value_parser = parse::engine)]
        engine: Option<Engine>,
        /// The image for docker and podman
        #[arg(long, requires = "engine")]
        image: Option<String>,
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
    /// End a session, or one kernel of it; with the last it ends
    Stop {
        /// Its name
        #[arg(value_parser = parse::session)]
        session: String,
        /// Take only this kernel out
        #[arg(long, value_name = "NAME", value_parser = parse::kernel_name)]
        kernel: Option<String>,
    },
    /// Give a session its lease again, from now on
    Renew {
        /// Its name
        #[arg(value_parser = parse::session)]
        session: String,
        /// A lease of another length
        #[arg(long, value_name = "DURATION", value_parser = parse::duration)]
        lease: Option<Duration>,
    },
    /// Forget the kernels whose holder is gone, and the sessions whose lease is over
    Prune,
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
