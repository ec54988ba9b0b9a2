//! The outer half of a running session: vfadm waits for its end, passes signals on, and stands between the caller's
//! terminal and the session's own.
//!
//! A session gets a pseudo-terminal of its own: with the caller's, a command could push input into it that root's
//! shell would read afterwards (`TIOCSTI`), and could not do job control without taking it from vfadm.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout};
use nix::sys::signal::{SigSet, SigmaskHow, Signal, kill, raise};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::stat::Mode;
use nix::sys::termios::{SetArg, Termios, tcgetattr, tcsetattr};

use super::error::{Error, Result};
use super::namespace::Init;
use super::supervise::awaited;

const PTY_MAKER: &str = "dev/pts/ptmx";
const PTY: &str = "/dev/pts/0";
const ACTION: &str = "use the terminal";

/// The caller's terminal, and the end of the session's own that vfadm holds.
#[derive(Debug)]
pub struct Terminal {
    outer: OwnedFd,
    output: OwnedFd,
    settings: Termios,
    inner: File,
    /// What was typed and does not fit into the session's terminal yet.
    typed: Vec<u8>,
    hung_up: bool,
}

/// True when the standard input is a terminal: the session gets one, too.
pub fn wanted() -> bool {
    is_terminal(io::stdin().as_fd())
}

/// Opens the first pseudo-terminal in the devpts of a session that waits at its gate.
pub fn open(init: &Init) -> Result<Terminal> {
    let path = PathBuf::from(format!("/proc/{}/root", init.pid())).join(PTY_MAKER);
    let flags = OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK;
    let inner = nix::fcntl::open(&path, flags, Mode::empty()).map_err(|e| Error::path("open", &path, e))?;
    unlock(inner.as_fd()).map_err(|e| Error::call(ACTION, e))?;
    let input = io::stdin();
    let streams = [io::stdout().as_fd().try_clone_to_owned(), io::stderr().as_fd().try_clone_to_owned()];
    let outer = input.as_fd().try_clone_to_owned().map_err(|e| Error::call(ACTION, e))?;
    let output = streams.into_iter().flatten().find(|stream| is_terminal(stream.as_fd()));
    let output = match output {
        Some(stream) => stream,
        None => outer.try_clone().map_err(|e| Error::call(ACTION, e))?,
    };
    let settings = tcgetattr(&outer).map_err(|e| Error::call(ACTION, e))?;
    tcsetattr(&inner, SetArg::TCSANOW, &settings).map_err(|e| Error::call(ACTION, e))?;
    let terminal =
        Terminal { outer, output, settings, inner: File::from(inner), typed: Vec::new(), hung_up: false };
    terminal.copy_size();
    Ok(terminal)
}

/// Puts the session's terminal in the place of each standard stream that is a terminal, and makes it the controlling
/// terminal of the calling process, which has to lead a session.
pub fn adopt() -> Result<()> {
    let error = |e: Errno| Error::path("open", PTY, e);
    let pty = nix::fcntl::open(PTY, OFlag::O_RDWR | OFlag::O_CLOEXEC, Mode::empty()).map_err(error)?;
    control(pty.as_fd()).map_err(error)?;
    nix::unistd::dup2_stdin(&pty).map_err(error)?;
    if is_terminal(io::stdout().as_fd()) {
        nix::unistd::dup2_stdout(&pty).map_err(error)?;
    }
    if is_terminal(io::stderr().as_fd()) {
        nix::unistd::dup2_stderr(&pty).map_err(error)?;
    }
    Ok(())
}

/// Opens the gate and stays until the session's first process has ended; its exit status.
pub fn attend(init: &mut Init, mut terminal: Option<Terminal>) -> Result<u8> {
    let set = awaited();
    let before = set.thread_swap_mask(SigmaskHow::SIG_BLOCK).map_err(|e| Error::call("block signals", e))?;
    let result = attend_blocked(init, &mut terminal, &set);
    let restored = before.thread_set_mask().map_err(|e| Error::call("restore signals", e));
    result.and_then(|code| restored.map(|()| code))
}

fn attend_blocked(init: &mut Init, terminal: &mut Option<Terminal>, set: &SigSet) -> Result<u8> {
    let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
    let signals = SignalFd::with_flags(set, flags).map_err(|e| Error::call("wait for signals", e))?;
    if let Some(terminal) = terminal {
        terminal.make_raw()?;
    }
    init.open_gate()?;
    loop {
        wait(&signals, terminal.as_mut())?;
        while let Some(info) = signals.read_signal().map_err(|e| Error::call("wait for signals", e))? {
            let number = i32::try_from(info.ssi_signo).unwrap_or(0);
            let Ok(signal) = Signal::try_from(number) else { continue };
            if signal != Signal::SIGCHLD {
                pass(init, signal, terminal.as_ref())?;
            } else if let Some(code) = init.ended()? {
                if let Some(terminal) = terminal {
                    terminal.drain();
                }
                return Ok(code);
            }
        }
    }
}

fn pass(init: &Init, signal: Signal, terminal: Option<&Terminal>) -> Result<()> {
    if let (Signal::SIGWINCH, Some(terminal)) = (signal, terminal) {
        // The session's terminal tells those that it concerns.
        terminal.copy_size();
        return Ok(());
    }
    // The process has not been waited for: its id cannot be another's.
    let _ = kill(init.pid(), signal);
    if signal == Signal::SIGTSTP {
        // vfadm stops with its command, and goes on with SIGCONT, which is passed on in its turn.
        if let Some(terminal) = terminal {
            terminal.restore();
        }
        raise(Signal::SIGSTOP).map_err(|e| Error::call("stop", e))?;
        if let Some(terminal) = terminal {
            terminal.make_raw()?;
        }
    }
    Ok(())
}

/// Sleeps until a signal or a byte arrives, and carries the bytes.
fn wait(signals: &SignalFd, terminal: Option<&mut Terminal>) -> Result<()> {
    let mut fds = vec![PollFd::new(signals.as_fd(), PollFlags::POLLIN)];
    let Some(terminal) = terminal else { return poll(&mut fds) };
    let typing = terminal.typed.is_empty() && !terminal.hung_up;
    let inner =
        if terminal.typed.is_empty() { PollFlags::POLLIN } else { PollFlags::POLLIN | PollFlags::POLLOUT };
    fds.push(PollFd::new(terminal.inner.as_fd(), inner));
    if typing {
        fds.push(PollFd::new(terminal.outer.as_fd(), PollFlags::POLLIN));
    }
    poll(&mut fds)?;
    let ready = |at: usize| fds.get(at).and_then(PollFd::any).unwrap_or(false);
    let (inner, outer) = (ready(1), ready(2));
    drop(fds);
    if outer {
        terminal.read_typed();
    }
    if inner && terminal.carry_output() == Carried::Nothing {
        // While no process of the session holds its terminal, it is ready at once and has nothing.
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    terminal.write_typed();
    Ok(())
}

fn poll(fds: &mut [PollFd<'_>]) -> Result<()> {
    match nix::poll::poll(fds, PollTimeout::NONE) {
        Ok(_) | Err(Errno::EINTR) => Ok(()),
        Err(e) => Err(Error::call("wait for the session", e)),
    }
}

#[derive(PartialEq)]
enum Carried {
    Something,
    Nothing,
}

impl Terminal {
    fn make_raw(&self) -> Result<()> {
        let mut raw = self.settings.clone();
        nix::sys::termios::cfmakeraw(&mut raw);
        tcsetattr(&self.outer, SetArg::TCSADRAIN, &raw).map_err(|e| Error::call(ACTION, e))
    }

    fn restore(&self) {
        let _ = tcsetattr(&self.outer, SetArg::TCSADRAIN, &self.settings);
    }

    fn copy_size(&self) {
        copy_size(self.outer.as_fd(), self.inner.as_fd());
    }

    fn read_typed(&mut self) {
        let mut bytes = [0; 4096];
        match nix::unistd::read(&self.outer, &mut bytes) {
            Ok(0) => self.hung_up = true,
            Ok(count) => self.typed.extend_from_slice(&bytes[..count]),
            Err(Errno::EINTR | Errno::EAGAIN) => {}
            Err(_) => self.hung_up = true,
        }
    }

    fn write_typed(&mut self) {
        if !self.typed.is_empty() {
            match self.inner.write(&self.typed) {
                Ok(count) => drop(self.typed.drain(..count)),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                // Nobody reads any more.
                Err(_) => self.typed.clear(),
            }
        }
    }

    fn carry_output(&mut self) -> Carried {
        let mut bytes = [0; 16384];
        match self.inner.read(&mut bytes) {
            Ok(count) if count > 0 => {
                self.show(&bytes[..count]);
                Carried::Something
            }
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => Carried::Something,
            _ => Carried::Nothing,
        }
    }

    /// A caller's terminal that takes nothing more must not end the session.
    fn show(&self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            match nix::unistd::write(&self.output, bytes) {
                Ok(count) => bytes = &bytes[count..],
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => {
                    let mut fds = [PollFd::new(self.output.as_fd(), PollFlags::POLLOUT)];
                    let _ = poll(&mut fds);
                }
                Err(_) => return,
            }
        }
    }

    /// What the session wrote before its end.
    fn drain(&mut self) {
        let mut bytes = [0; 16384];
        while let Ok(count) = self.inner.read(&mut bytes) {
            if count == 0 {
                return;
            }
            self.show(&bytes[..count]);
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.restore();
    }
}

fn is_terminal(fd: BorrowedFd<'_>) -> bool {
    nix::unistd::isatty(fd).unwrap_or(false)
}

#[allow(unsafe_code)]
fn unlock(pty: BorrowedFd<'_>) -> nix::Result<()> {
    let lock: libc::c_int = 0;
    // SAFETY: the kernel reads one int.
    Errno::result(unsafe { libc::ioctl(pty.as_raw_fd(), libc::TIOCSPTLCK, &raw const lock) }).map(drop)
}

#[allow(unsafe_code)]
fn control(pty: BorrowedFd<'_>) -> nix::Result<()> {
    // SAFETY: the argument is an integer.
    Errno::result(unsafe { libc::ioctl(pty.as_raw_fd(), libc::TIOCSCTTY, 0) }).map(drop)
}

#[allow(unsafe_code)]
fn copy_size(from: BorrowedFd<'_>, to: BorrowedFd<'_>) {
    let mut size = libc::winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: the kernel writes one winsize.
    if unsafe { libc::ioctl(from.as_raw_fd(), libc::TIOCGWINSZ, &raw mut size) } == 0 {
        // SAFETY: the kernel reads one winsize.
        unsafe { libc::ioctl(to.as_raw_fd(), libc::TIOCSWINSZ, &raw const size) };
    }
}
