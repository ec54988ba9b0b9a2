//! Whole-file locks that end with their process.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::time::Duration;

use nix::errno::Errno;
use nix::libc;

use super::error::{Error, Result};
use super::signals;

/// An exclusive lock on a file, let go when dropped.
#[derive(Debug)]
pub struct FileLock {
    file: File,
}

impl FileLock {
    /// The locked file.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Takes the lock if nobody has it; gives the file back if somebody does.
    pub fn try_lock(file: File) -> std::result::Result<FileLock, File> {
        match flock(&file, libc::LOCK_EX | libc::LOCK_NB) {
            Ok(()) => Ok(FileLock { file }),
            Err(_) => Err(file),
        }
    }

    /// Waits for the lock: a blocking `flock` that a timer interrupts, so that waiting commands are served in the
    /// kernel's order and use no processor time. `Ok(Err(file))` when the time is over.
    pub fn wait(file: File, timeout: Duration) -> Result<std::result::Result<FileLock, File>> {
        let file = match FileLock::try_lock(file) {
            Ok(lock) => return Ok(Ok(lock)),
            Err(file) => file,
        };
        if timeout.is_zero() {
            return Ok(Err(file));
        }
        signals::interrupt_on_alarm();
        let timer = Timer::start(timeout)?;
        loop {
            match flock(&file, libc::LOCK_EX) {
                Ok(()) => return Ok(Ok(FileLock { file })),
                Err(Errno::EINTR) => {
                    signals::check()?;
                    if timer.is_over() {
                        return Ok(Err(file));
                    }
                }
                Err(errno) => return Err(Error::call("lock the registry", errno)),
            }
        }
    }
}

impl Drop for FileLock {
    /// A child that has the file open as well does not keep the lock. Where that fails, the close lets go of it.
    fn drop(&mut self) {
        let _ = flock(&self.file, libc::LOCK_UN);
    }
}

/// Not by `File::lock` of std, which says nothing of `EINTR`, nor by the guard of nix, which panics when it cannot unlock.
#[allow(unsafe_code)]
fn flock(file: &File, operation: libc::c_int) -> nix::Result<()> {
    // SAFETY: a system call on integers.
    Errno::result(unsafe { libc::flock(file.as_raw_fd(), operation) }).map(drop)
}

/// SIGALRM after the time, and then every 20 ms, because the first one may come just before the call that it is to
/// interrupt.
struct Timer {
    end: std::time::Instant,
}

impl Timer {
    fn start(timeout: Duration) -> Result<Timer> {
        set_timer(timeout, Duration::from_millis(20))?;
        Ok(Timer { end: std::time::Instant::now() + timeout })
    }

    fn is_over(&self) -> bool {
        std::time::Instant::now() >= self.end
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        let _ = set_timer(Duration::ZERO, Duration::ZERO);
    }
}

#[allow(unsafe_code)]
fn set_timer(first: Duration, then: Duration) -> Result<()> {
    let value = |d: Duration| libc::timeval {
        tv_sec: d.as_secs() as libc::time_t,
        tv_usec: libc::suseconds_t::from(d.subsec_micros() as i32),
    };
    let timer = libc::itimerval { it_interval: value(then), it_value: value(first) };
    // SAFETY: `timer` is a valid itimerval; the old value is not asked for.
    let failed = unsafe { libc::setitimer(libc::ITIMER_REAL, &timer, std::ptr::null_mut()) } != 0;
    if failed { Err(Error::call("set a timer", Errno::last())) } else { Ok(()) }
}
