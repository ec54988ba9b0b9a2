//! The first process of a new PID namespace: forked, watched while it makes itself ready, held at a gate.
//!
//! Two pipes join it to its maker. It reports on one (`M`: map my user namespace, `R`: ready, `E`: an error follows)
//! and waits on the other for one byte. An end of file there means that its maker has gone, and so does it.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::libc;
use nix::sched::CloneFlags;
use nix::sys::signal::{SigHandler, Signal};
use nix::sys::wait::WaitStatus;
use nix::unistd::{ForkResult, Pid};

use super::error::{Error, Result};

const MAP: u8 = b'M';
const READY: u8 = b'R';
const ERROR: u8 = b'E';
const START: &str = "start the session";

/// A first process, seen from its maker. Dropped, it ends with everything in its namespace.
#[derive(Debug)]
pub struct Init {
    pid: Pid,
    gate: File,
    ended: bool,
}

/// The maker, seen from the first process.
#[derive(Debug)]
pub struct Maker {
    report: File,
    gate: File,
}

impl Init {
    /// Forks the first process of a new PID namespace, which runs `body` and exits with what it returns, and waits
    /// until `body` reports itself ready. The caller must have no other thread, and the calling thread must outlive
    /// the process: the kernel ties its death to that of this thread. With `map`, a user namespace that `body` asks
    /// to have mapped maps this user and group onto themselves and nothing else.
    ///
    /// An error before the report, in `body` or here, leaves no process behind.
    pub fn fork(map: Option<(u32, u32)>, body: impl FnOnce(&mut Maker) -> Result<u8>) -> Result<Init> {
        Init::forked(fork_into_new_pids, true, map, body)
    }

    /// The same for a process that stays in the PID namespace, the terminal session and the process group of its
    /// maker: `body` makes itself ready and turns into another program.
    pub fn fork_beside(body: impl FnOnce(&mut Maker) -> Result<u8>) -> Result<Init> {
        Init::forked(|| fork().map_err(|e| Error::call(START, e)), false, None, body)
    }

    fn forked(
        fork: impl FnOnce() -> Result<ForkResult>,
        leads_session: bool,
        map: Option<(u32, u32)>,
        body: impl FnOnce(&mut Maker) -> Result<u8>,
    ) -> Result<Init> {
        let call = |e| Error::call(START, e);
        let (report_out, report_in) = nix::unistd::pipe2(OFlag::O_CLOEXEC).map_err(call)?;
        let (gate_out, gate_in) = nix::unistd::pipe2(OFlag::O_CLOEXEC).map_err(call)?;
        // Where the caller was started with SIGCHLD ignored, there would be no exit status to fetch.
        default_action(Signal::SIGCHLD).map_err(call)?;
        match fork()? {
            ForkResult::Child => {
                drop((report_out, gate_in));
                let mut maker = Maker { report: File::from(report_in), gate: File::from(gate_out) };
                be_first(&mut maker, leads_session, body)
            }
            ForkResult::Parent { child } => {
                drop((report_in, gate_out));
                let mut init = Init { pid: child, gate: File::from(gate_in), ended: false };
                init.watch(File::from(report_out), map)?;
                Ok(init)
            }
        }
    }

    /// The process id in the namespace of the caller.
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// Lets the first process go on.
    pub fn open_gate(&mut self) -> Result<()> {
        self.gate.write_all(b"G").map_err(|e| Error::call(START, e))
    }

    /// The exit status, 128 + N after signal N; `None` while the process lives.
    pub fn ended(&mut self) -> Result<Option<u8>> {
        let status = nix::sys::wait::waitpid(self.pid, Some(nix::sys::wait::WaitPidFlag::WNOHANG))
            .map_err(|e| Error::call("wait for the session", e))?;
        let code = exit_code(status);
        self.ended |= code.is_some();
        Ok(code)
    }

    fn watch(&mut self, mut report: File, map: Option<(u32, u32)>) -> Result<()> {
        loop {
            let mut tag = [0];
            let read = report.read(&mut tag).map_err(|e| match e.kind() {
                io::ErrorKind::Interrupted => Error::Interrupted,
                _ => Error::call(START, e),
            })?;
            match (read, tag[0]) {
                (1, READY) => return Ok(()),
                (1, MAP) => {
                    write_maps(self.pid, map)?;
                    self.gate.write_all(b"M").map_err(|e| Error::call(START, e))?;
                }
                (1, ERROR) => {
                    let mut told = Vec::new();
                    report.read_to_end(&mut told).map_err(|e| Error::call(START, e))?;
                    return Err(decode(&told));
                }
                _ => return Err(Error::Program("the session ended before it was ready".to_owned())),
            }
        }
    }
}

impl Drop for Init {
    fn drop(&mut self) {
        if !self.ended {
            let _ = nix::sys::signal::kill(self.pid, Signal::SIGKILL);
            while nix::sys::wait::waitpid(self.pid, None) == Err(Errno::EINTR) {}
        }
    }
}

impl Maker {
    /// Moves this process into a user namespace that its maker maps.
    pub fn enter_user_namespace(&mut self) -> Result<()> {
        unshare(CloneFlags::CLONE_NEWUSER, "make a user namespace")?;
        self.report.write_all(&[MAP]).map_err(|e| Error::call(START, e))?;
        self.wait()
    }

    /// Reports that everything is set up, and returns when the gate opens.
    pub fn ready(&mut self) -> Result<()> {
        self.report.write_all(&[READY]).map_err(|e| Error::call(START, e))?;
        self.wait()
    }

    fn wait(&mut self) -> Result<()> {
        self.gate.read_exact(&mut [0]).map_err(|e| Error::call(START, e))
    }

    /// Closes every descriptor from 3 up that is neither in `keep` nor a pipe to the maker: with them go the locks
    /// that the maker holds and the mounts that they would keep busy.
    pub fn close_others(&self, keep: &[RawFd]) -> Result<()> {
        let kept = |fd: &RawFd| {
            *fd < 3 || *fd == self.report.as_raw_fd() || *fd == self.gate.as_raw_fd() || keep.contains(fd)
        };
        for fd in open_descriptors()?.into_iter().filter(|fd| !kept(fd)) {
            close(fd);
        }
        Ok(())
    }
}

/// Moves the calling process into mount and IPC namespaces of its own.
pub fn enter_mount_namespace() -> Result<()> {
    unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWIPC, "make a mount namespace")?;
    super::mount::make_private()
}

/// Moves the calling process into a mount namespace of its own that follows the host's.
pub fn enter_following_mount_namespace() -> Result<()> {
    unshare(CloneFlags::CLONE_NEWNS, "make a mount namespace")?;
    super::mount::follow_host()
}

/// Changes the working directory.
pub fn enter_directory(path: &Path) -> Result<()> {
    nix::unistd::chdir(path).map_err(|e| Error::path("enter", path, e))
}

/// Ends this process without running what its maker has registered for its own end.
#[allow(unsafe_code)]
pub fn exit(code: u8) -> ! {
    // SAFETY: _exit takes any status and does not return.
    unsafe { libc::_exit(i32::from(code)) }
}

/// The status of a process that has ended, as a shell shows it.
pub fn exit_code(status: WaitStatus) -> Option<u8> {
    match status {
        WaitStatus::Exited(_, code) => Some(u8::try_from(code).unwrap_or(u8::MAX)),
        WaitStatus::Signaled(_, signal, _) => Some(128_u8.saturating_add(signal as u8)),
        _ => None,
    }
}

/// Gives a signal its default action.
#[allow(unsafe_code)]
pub fn default_action(signal: Signal) -> nix::Result<()> {
    // SAFETY: no handler is installed, so nothing can run that is not safe in a handler.
    unsafe { nix::sys::signal::signal(signal, SigHandler::SigDfl) }.map(drop)
}

/// Gives every signal its default action, real-time ones included.
#[allow(unsafe_code)]
pub fn default_actions() {
    for number in 1..=libc::SIGRTMAX() {
        // SAFETY: no handler is installed. The numbers that have but one action are refused.
        unsafe { libc::signal(number, libc::SIG_DFL) };
    }
}

/// A fork whose calling process must have no other thread.
#[allow(unsafe_code)]
pub fn fork() -> nix::Result<ForkResult> {
    // SAFETY: without other threads, no lock can be held by one that the child lacks.
    #[allow(clippy::disallowed_methods)]
    unsafe {
        nix::unistd::fork()
    }
}

/// Open descriptors of this process.
pub fn open_descriptors() -> Result<Vec<RawFd>> {
    let error = |e| Error::path("read", "/proc/self/fd", e);
    let mut open = Vec::new();
    for entry in std::fs::read_dir("/proc/self/fd").map_err(error)? {
        let name = entry.map_err(error)?.file_name();
        open.extend(name.to_str().and_then(|name| name.parse::<RawFd>().ok()));
    }
    Ok(open)
}

/// Closes a descriptor of a process that is about to become another program or that uses nothing of its maker.
#[allow(unsafe_code)]
pub fn close(fd: RawFd) {
    // SAFETY: whoever owned the descriptor is never run again in this process.
    unsafe { libc::close(fd) };
}

/// The caller's next children go into a new PID namespace, then again into its own.
fn fork_into_new_pids() -> Result<ForkResult> {
    let own = File::open("/proc/self/ns/pid").map_err(|e| Error::path("open", "/proc/self/ns/pid", e))?;
    unshare(CloneFlags::CLONE_NEWPID, "make a PID namespace")?;
    let forked = fork();
    if let Ok(ForkResult::Child) = forked {
        return Ok(ForkResult::Child);
    }
    let back = nix::sched::setns(own.as_fd(), CloneFlags::CLONE_NEWPID);
    let forked = forked.map_err(|e| Error::call(START, e))?;
    if let (Err(e), ForkResult::Parent { child }) = (back, &forked) {
        drop(Init { pid: *child, gate: own, ended: false });
        return Err(Error::call("return to the PID namespace", e));
    }
    Ok(forked)
}

fn be_first(maker: &mut Maker, leads_session: bool, body: impl FnOnce(&mut Maker) -> Result<u8>) -> ! {
    if leads_session {
        // A terminal's signals go to the maker, who passes them on.
        let _ = nix::unistd::setsid();
    }
    let result = super::privileges::die_with_maker().and_then(|()| {
        // Unwinding would run the maker's own code a second time.
        catch_unwind(AssertUnwindSafe(|| body(maker)))
            .unwrap_or_else(|_| Err(Error::Program("the session's first process failed".to_owned())))
    });
    match result {
        Ok(code) => exit(code),
        Err(error) => {
            let _ = maker.report.write_all(&encode(&error));
            exit(1)
        }
    }
}

fn unshare(flags: CloneFlags, action: &'static str) -> Result<()> {
    #[allow(clippy::disallowed_methods)]
    nix::sched::unshare(flags).map_err(|e| Error::call(action, e))
}

/// `setgroups` is denied first: the kernel takes no map of groups from a process that could still drop some.
fn write_maps(pid: Pid, map: Option<(u32, u32)>) -> Result<()> {
    let Some((uid, gid)) = map else {
        return Err(Error::call("map a user namespace", Errno::EPERM));
    };
    let write = |name: &str, text: String| {
        let path = format!("/proc/{pid}/{name}");
        // One write: the kernel takes a map as a whole or not at all.
        File::options()
            .write(true)
            .open(&path)
            .and_then(|mut file| file.write_all(text.as_bytes()))
            .map_err(|e| Error::path("write", path, e))
    };
    write("setgroups", "deny".to_owned())?;
    write("uid_map", format!("{uid} {uid} 1"))?;
    write("gid_map", format!("{gid} {gid} 1"))
}

fn encode(error: &Error) -> Vec<u8> {
    let none = Path::new("");
    let (action, path, code) = match error {
        Error::Path { action, path, source } => (*action, path.as_path(), source.raw_os_error()),
        Error::Call { action, source } => (*action, none, source.raw_os_error()),
        Error::Program(_) | Error::Interrupted => ("", none, None),
    };
    let text = error.to_string();
    let code = code.unwrap_or(0).to_string();
    let fields = [action.as_bytes(), path.as_os_str().as_bytes(), code.as_bytes(), text.as_bytes()];
    let mut told = vec![ERROR];
    told.extend(fields.join(&0));
    told
}

fn decode(told: &[u8]) -> Error {
    let mut fields = told.splitn(4, |byte| *byte == 0);
    let mut next = || fields.next().unwrap_or_default();
    let (action, path, code, text) = (next(), next(), next(), next());
    let number = std::str::from_utf8(code).ok().and_then(|code| code.parse::<i32>().ok()).unwrap_or(0);
    if number == 0 {
        return Error::Program(String::from_utf8_lossy(text).into_owned());
    }
    // An action lives as long as the program; a command meets at most one error of this kind.
    let action: &'static str = String::from_utf8_lossy(action).into_owned().leak();
    let source = io::Error::from_raw_os_error(number);
    if path.is_empty() {
        Error::Call { action, source }
    } else {
        Error::path(action, std::ffi::OsStr::from_bytes(path), source)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(error: &Error) -> Error {
        decode(&encode(error)[1..])
    }

    #[test]
    fn an_error_arrives_as_it_was() {
        let error = Error::path("mount on", "/home/work/a b", Errno::EROFS);
        assert_eq!(told(&error).to_string(), error.to_string());
        assert_eq!(told(&error).errno(), Some(libc::EROFS));
        let error = Error::call("change the root", Errno::EINVAL);
        assert_eq!(told(&error).to_string(), error.to_string());
        let error = Error::Program("no luck".to_owned());
        assert_eq!(told(&error).to_string(), "no luck");
    }

    #[test]
    fn a_signal_is_shown_as_a_shell_shows_it() {
        let pid = Pid::from_raw(1);
        assert_eq!(exit_code(WaitStatus::Signaled(pid, Signal::SIGKILL, false)), Some(137));
        assert_eq!(exit_code(WaitStatus::Exited(pid, 3)), Some(3));
        assert_eq!(exit_code(WaitStatus::StillAlive), None);
    }
}
