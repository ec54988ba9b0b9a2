//! A program in the foreground: it has this terminal, and vfadm stays until it ends.
//!
//! Both are in one process group: what the terminal sends (Ctrl-C, Ctrl-Z) reaches both, and is not passed on a second
//! time. What is sent to vfadm alone is.

use std::ffi::OsString;
use std::os::fd::AsFd;
use std::path::PathBuf;

use nix::errno::Errno;
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout};
use nix::sys::signal::{SigSet, SigmaskHow, Signal, kill, killpg};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use super::error::{Error, Result};
use super::namespace::Init;
use super::{process, program};

/// What ends a program, or tells it something.
const PASSED: [Signal; 6] =
    [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGQUIT, Signal::SIGUSR1, Signal::SIGUSR2];

/// True when the standard input is a terminal.
pub fn on_terminal() -> bool {
    nix::unistd::isatty(std::io::stdin()).unwrap_or(false)
}

/// Where a program is, or an error that names the package it comes in.
pub fn find(name: &str, package: &str) -> Result<PathBuf> {
    program::find(name).ok_or_else(|| {
        Error::Program(format!("the program {name} is not installed (Debian package: {package})"))
    })
}

/// The caller's environment, with the `PATH` of the fixed directories.
pub fn environment() -> Vec<(OsString, OsString)> {
    let mut env: Vec<(OsString, OsString)> = std::env::vars_os().filter(|(name, _)| name != "PATH").collect();
    env.push(("PATH".into(), program::search_path().into()));
    env
}

/// Lets the program start and stays until it has ended; its exit status, 128 + N after signal N. A signal to vfadm alone
/// is passed on to the program's descendant `depth` generations down, or to the program where that is not there (yet).
pub fn attend(init: &mut Init, depth: usize) -> Result<u8> {
    let mut set: SigSet = PASSED.into_iter().collect();
    set.add(Signal::SIGCHLD);
    let before = set.thread_swap_mask(SigmaskHow::SIG_BLOCK).map_err(|e| Error::call("block signals", e))?;
    let result = attend_blocked(init, depth, &set);
    let restored = before.thread_set_mask().map_err(|e| Error::call("restore signals", e));
    result.and_then(|code| restored.map(|()| code))
}

/// Makes this process the parent of what its descendants leave behind, so that [`end_orphans`] finds it.
pub fn adopt_orphans() -> Result<()> {
    nix::sys::prctl::set_child_subreaper(true).map_err(|e| Error::call("adopt orphans", e))
}

/// Kills the children of this process, those that it has adopted too, until there is none.
pub fn end_orphans() {
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::StillAlive) => {
                for child in process::children(process::own_pid()) {
                    // It has not been waited for: its id cannot be another's.
                    let _ = kill(Pid::from_raw(child.cast_signed()), Signal::SIGKILL);
                }
                std::thread::sleep(std::time::Duration::from_millis(5));
            }
            Ok(_) | Err(Errno::EINTR) => {}
            Err(_) => return,
        }
    }
}

fn attend_blocked(init: &mut Init, depth: usize, set: &SigSet) -> Result<u8> {
    let failed = |e| Error::call("wait for signals", e);
    let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
    let signals = SignalFd::with_flags(set, flags).map_err(failed)?;
    init.open_gate()?;
    loop {
        if let Some(code) = init.ended()? {
            return Ok(code);
        }
        let mut fds = [PollFd::new(signals.as_fd(), PollFlags::POLLIN)];
        match nix::poll::poll(&mut fds, PollTimeout::NONE) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(e) => return Err(failed(e)),
        }
        while let Some(info) = signals.read_signal().map_err(failed)? {
            let number = i32::try_from(info.ssi_signo).unwrap_or(0);
            let Ok(signal) = Signal::try_from(number) else { continue };
            // The kernel itself sends what was typed on the terminal, to the whole process group.
            if signal != Signal::SIGCHLD && info.ssi_code != libc::SI_KERNEL {
                pass(init.pid(), depth, signal);
            }
        }
    }
}

/// Neither process has been waited for by anybody but its own parent, who lives: a failure means that it has just ended.
fn pass(program: Pid, depth: usize, signal: Signal) {
    let mut target = program.as_raw().unsigned_abs();
    for _ in 0..depth {
        match process::children(target).first() {
            Some(child) => target = *child,
            None => {
                target = program.as_raw().unsigned_abs();
                break;
            }
        }
    }
    let target = Pid::from_raw(target.cast_signed());
    let leads = target != program && nix::unistd::getpgid(Some(target)) == Ok(target);
    let _ = if leads { killpg(target, signal) } else { kill(target, signal) };
}
