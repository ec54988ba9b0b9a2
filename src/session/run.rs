//! Runs a command in a session of its own, of which all tenants' sharing one user makes the isolation: without it, one
//! session reads another's files through `/proc/PID/root`, and a private mount namespace keeps every mount of the host
//! busy.
//!
//! The session has its own mount, PID and IPC namespace (not network: sockets are the host's, abstract ones included;
//! nor the user's kernel keyring, except with a user namespace) and the root that [`super::root`] describes. Its
//! processes have the shared user and group, no other group, no capability, and gain none from any program.

use std::ffi::OsString;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::errno::Errno;

use super::root::{self, Folder, Plan};
use crate::host::mount::{Api, Source};
use crate::host::namespace::{self, Init, Maker};
use crate::host::supervise::{self, Command};
use crate::host::terminal::{self, Terminal};
use crate::host::{Error, Result, apart, privileges};

/// How long a path that is to be hidden may take to be looked up.
const PATIENCE: Duration = Duration::from_secs(4);

/// A folder, or a subpath of one, to be bound into the session.
#[derive(Debug)]
pub struct Bind {
    /// Handle (`O_PATH`) of the directory or file that was checked; this object is bound, whatever its path has become.
    pub source: OwnedFd,
    /// Absolute path inside the session. No part of it may be a symbolic link.
    pub target: PathBuf,
    /// Nobody in the session can write to it.
    pub read_only: bool,
}

/// What a session is.
#[derive(Debug)]
pub struct RunSpec {
    /// What its root is made of; `None`: the host's `/`.
    pub rootfs: Option<PathBuf>,
    /// Parents come before children.
    pub binds: Vec<Bind>,
    /// Paths of the host (the root, the volumes) of which nothing but the binds may be visible.
    pub hide: Vec<PathBuf>,
    /// The shared user; root is refused (`EINVAL`).
    pub uid: u32,
    /// The shared group.
    pub gid: u32,
    /// Also run in a user namespace that maps only this user and group onto themselves.
    pub userns: bool,
    /// The program, looked up in `PATH` inside the session, and its arguments.
    pub command: Vec<OsString>,
    /// The whole environment.
    pub env: Vec<(OsString, OsString)>,
    /// Where the command starts.
    pub workdir: PathBuf,
}

/// A session that is set up and waits for its command to be started. Dropped, it ends.
#[derive(Debug)]
pub struct Started {
    init: Init,
    terminal: Option<Terminal>,
}

/// Forks the session's first process, which builds the whole root, gives up its privileges and waits at a gate. An
/// error of whatever failed leaves nothing behind.
///
/// The caller must have no other thread, and the calling thread must live as long as the session, which ends with it.
pub fn start(spec: RunSpec) -> Result<Started> {
    start_with(spec, Api::of_kernel())
}

impl Started {
    /// Process id, in the caller's PID namespace, of the session's first process; the session lives as long as it.
    pub fn pid(&self) -> u32 {
        self.init.pid().as_raw().unsigned_abs()
    }

    /// Runs the command and returns its exit status: 128 + N after signal N, 127 when it was not found, 126 when it
    /// could not be executed. `SIGINT`, `SIGTERM`, `SIGHUP`, `SIGQUIT`, `SIGUSR1`, `SIGUSR2`, `SIGWINCH`, `SIGCONT`
    /// and `SIGTSTP` are passed on to its process group. Whatever the command leaves running ends with it.
    pub fn run(mut self) -> Result<u8> {
        terminal::attend(&mut self.init, self.terminal.take())
    }

    /// Ends the session without running the command.
    pub fn abandon(self) {
        drop(self);
    }
}

fn start_with(mut spec: RunSpec, api: Api) -> Result<Started> {
    if spec.uid == 0 {
        return Err(Error::call("run a session as root", Errno::EINVAL));
    }
    let argv = std::mem::take(&mut spec.command);
    let env = std::mem::take(&mut spec.env);
    let command = Command::new(argv, env, terminal::wanted())?;
    let hide = hidden(&spec)?;
    let wants_terminal = command.terminal;
    let map = spec.userns.then_some((spec.uid, spec.gid));
    let init = Init::fork(map, move |maker| {
        set_up(spec, hide, api, maker)?;
        supervise::serve(&command)
    })?;
    let terminal = if wants_terminal { Some(terminal::open(&init)?) } else { None };
    Ok(Started { init, terminal })
}

/// What the session's first process does before the gate opens. Everything of the host that it holds is let go of
/// here.
fn set_up(spec: RunSpec, hide: Vec<PathBuf>, api: Api, maker: &mut Maker) -> Result<()> {
    let handles: Vec<_> = spec.binds.iter().map(|bind| bind.source.as_raw_fd()).collect();
    maker.close_others(&handles)?;
    let folders = spec
        .binds
        .into_iter()
        .map(|Bind { source, target, read_only }| {
            Ok(Folder { source: Source::take(source, api)?, target, read_only })
        })
        .collect::<Result<Vec<_>>>()?;
    namespace::enter_mount_namespace()?;
    root::build(Plan { rootfs: spec.rootfs, folders, hide, uid: spec.uid, gid: spec.gid })?;

    privileges::drop_groups()?;
    if spec.userns {
        maker.enter_user_namespace()?;
    }
    privileges::become_user(spec.uid, spec.gid)?;
    namespace::enter_directory(&spec.workdir)?;
    maker.ready()
}

/// What is to be hidden, as paths of the session's root, parents first: under the name that it was given and under
/// its name without links, seen from the host's root and from that of the session.
fn hidden(spec: &RunSpec) -> Result<Vec<PathBuf>> {
    let lower = match &spec.rootfs {
        Some(rootfs) => std::fs::canonicalize(rootfs).map_err(|e| Error::path("open", rootfs, e))?,
        None => PathBuf::from("/"),
    };
    let mut hide = Vec::new();
    // A volume that the session does not use may hang; its path was without links when it was added.
    let found = apart::each(&spec.hide, PATIENCE, |path| {
        std::fs::canonicalize(path).ok().map(|real| real.into_os_string().into_vec())
    })?;
    for (path, real) in spec.hide.iter().zip(found) {
        let real = real.flatten().map_or_else(|| path.clone(), |real| OsString::from_vec(real).into());
        if let Ok(below) = real.strip_prefix(&lower) {
            hide.push(Path::new("/").join(below));
        }
        hide.push(real);
        hide.push(path.clone());
    }
    hide.sort();
    hide.dedup();
    match hide.iter().find(|path| path.parent().is_none()) {
        Some(path) => Err(Error::path("hide", path, Errno::EINVAL)),
        None => Ok(hide),
    }
}

#[cfg(test)]
mod tests;
