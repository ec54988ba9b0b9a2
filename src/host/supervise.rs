//! The inner half of a running session: its first process starts the command, passes signals on to it, and reaps
//! whatever is orphaned in its PID namespace.

use std::ffi::{CString, OsStr, OsString};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::errno::Errno;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::stat::Mode;
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::{ForkResult, Pid};

use super::error::{Error, Result};
use super::{namespace, terminal};

/// Signals that are passed on to the command's process group. `SIGTSTP` stops it: the group has no parent in its
/// session, and the kernel ignores a `SIGTSTP` there.
pub const FORWARDED: [Signal; 9] = [
    Signal::SIGINT,
    Signal::SIGTERM,
    Signal::SIGHUP,
    Signal::SIGQUIT,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
    Signal::SIGWINCH,
    Signal::SIGCONT,
    Signal::SIGTSTP,
];

/// All tenants of a host share one user and one group, so the group bits keep nobody out; what has the group alone (an
/// exporter, a transfer job) can go on with the files.
const UMASK: Mode = Mode::S_IWOTH;

/// What is run in a session.
#[derive(Debug)]
pub struct Command {
    argv: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
    /// The standard streams that are terminals are the session's own.
    pub terminal: bool,
}

impl Command {
    /// `argv` is the program, looked up in the `PATH` of `env` unless it holds a slash, and its arguments; `env` is the
    /// whole environment. With `terminal`, the first pseudo-terminal of the session takes the place of each standard
    /// stream that is a terminal. Without a program: `EINVAL`.
    pub fn new(argv: Vec<OsString>, env: Vec<(OsString, OsString)>, terminal: bool) -> Result<Command> {
        match argv.first() {
            Some(program) if !program.is_empty() => Ok(Command { argv, env, terminal }),
            _ => Err(Error::call("run an empty command", Errno::EINVAL)),
        }
    }
}

/// [`FORWARDED`] and the end of a child: what both halves of a session wait for.
pub fn awaited() -> SigSet {
    let mut set: SigSet = FORWARDED.into_iter().collect();
    set.add(Signal::SIGCHLD);
    set
}

/// Runs the command until it ends, and returns its exit status: 127 when it was not found, 126 when it could not be
/// executed, 128 + N after signal N.
pub fn serve(command: &Command) -> Result<u8> {
    // A blocked signal is kept for the first process of a namespace; one left to its default action would be lost.
    SigSet::all().thread_block().map_err(|e| Error::call("block signals", e))?;
    let child = match namespace::fork().map_err(|e| Error::call("start the command", e))? {
        ForkResult::Child => namespace::exit(become_command(command)),
        ForkResult::Parent { child } => child,
    };
    let awaited = awaited();
    loop {
        match awaited.wait().map_err(|e| Error::call("wait for the command", e))? {
            Signal::SIGCHLD => {
                if let Some(code) = reap(child) {
                    return Ok(code);
                }
            }
            Signal::SIGTSTP => pass(child, Signal::SIGSTOP),
            signal => pass(child, signal),
        }
    }
}

/// Reaps what has ended; the exit status of `child` when it is among them.
fn reap(child: Pid) -> Option<u8> {
    loop {
        let status = waitpid(None, Some(WaitPidFlag::WNOHANG)).ok()?;
        let ended = namespace::exit_code(status);
        if status.pid()? == child && ended.is_some() {
            return ended;
        }
    }
}

fn pass(child: Pid, signal: Signal) {
    // Until it has made its group, there is the child alone.
    if nix::sys::signal::killpg(child, signal) == Err(Errno::ESRCH) {
        let _ = nix::sys::signal::kill(child, signal);
    }
}

/// Turns this process into the command; the exit status that says why it could not.
fn become_command(command: &Command) -> u8 {
    match prepare(command).map(|()| execute(command)) {
        Ok(errno) => refused(command, errno),
        Err(error) => {
            complain(&error.to_string());
            126
        }
    }
}

/// Turns this process into a program of the host, with its terminal; returns only with the exit status that says why
/// it could not.
pub fn become_program(command: &Command) -> u8 {
    match reset() {
        Ok(()) => refused(command, execute(command)),
        Err(error) => {
            complain(&error.to_string());
            126
        }
    }
}

fn refused(command: &Command, errno: Errno) -> u8 {
    let name = command.argv.first().map(OsString::as_os_str).unwrap_or_default();
    complain(&format!("cannot run {name:?}: {}", errno.desc()));
    if errno == Errno::ENOENT { 127 } else { 126 }
}

fn complain(text: &str) {
    let _ = nix::unistd::write(std::io::stderr().as_fd(), format!("vfadm: {text}\n").as_bytes());
}

/// The command leads a session of its own: a terminal of the caller that it still holds cannot become its own, so it
/// cannot push input into it (`TIOCSTI`).
fn prepare(command: &Command) -> Result<()> {
    nix::unistd::setsid().map_err(|e| Error::call("leave the terminal", e))?;
    if command.terminal {
        terminal::adopt()?;
    }
    for fd in namespace::open_descriptors()?.into_iter().filter(|fd| *fd > 2) {
        namespace::close(fd);
    }
    reset()
}

fn reset() -> Result<()> {
    namespace::default_actions();
    nix::sys::stat::umask(UMASK);
    SigSet::empty().thread_set_mask().map_err(|e| Error::call("reset signals", e))
}

/// execve(2) of the first match in `PATH`, as execvp(3) would find it; returns only with a reason.
fn execute(command: &Command) -> Errno {
    let Some(program) = command.argv.first() else { return Errno::ENOENT };
    let argv: Option<Vec<CString>> = command.argv.iter().map(|arg| c_string(arg)).collect();
    let env = command.env.iter().map(|(name, value)| {
        let mut pair = name.clone();
        pair.push("=");
        pair.push(value);
        c_string(&pair)
    });
    let (Some(argv), Some(env)) = (argv, env.collect::<Option<Vec<_>>>()) else { return Errno::EINVAL };
    let try_one = |path: &Path| match c_string(path.as_os_str()) {
        Some(path) => nix::unistd::execve(&path, &argv, &env).err().unwrap_or(Errno::ENOENT),
        None => Errno::EINVAL,
    };
    if program.as_bytes().contains(&b'/') {
        return try_one(Path::new(program));
    }
    let path = command.env.iter().find(|(name, _)| name == "PATH").map(|(_, value)| value.as_os_str());
    let mut reason = Errno::ENOENT;
    for dir in std::env::split_paths(path.unwrap_or(OsStr::new("/usr/bin:/bin"))) {
        match try_one(&dir.join(program)) {
            Errno::ENOENT | Errno::ENOTDIR => {}
            // A later directory may hold one that can be executed.
            errno => reason = errno,
        }
    }
    reason
}

fn c_string(text: &OsStr) -> Option<CString> {
    CString::new(text.as_bytes()).ok()
}
