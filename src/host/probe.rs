//! A write by somebody who has no rights, to see whether the kernel stops it.

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

use nix::errno::Errno;
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout};

use super::error::{Error, Result};

/// What a write came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    /// Bytes that the kernel took.
    pub bytes: u64,
    /// The error that ended it.
    pub errno: Option<i32>,
}

const BLOCK: usize = 64 * 1024;

/// Whether a directory answers within `limit`, asked by a child. A process of which one thread waits for a server that
/// does not answer cannot end; this one can, whatever becomes of the child, which keeps nothing of it open: no pipe, no
/// lock.
pub fn answers(path: &Path, limit: Duration) -> Result<bool> {
    let failed = |e: Errno| Error::path("open", path, e);
    let name = std::ffi::CString::new(path.as_os_str().as_bytes()).map_err(|_| failed(Errno::EINVAL))?;
    let (reader, writer) = std::io::pipe().map_err(|e| Error::call("make a pipe", e))?;
    let report = writer.as_raw_fd();
    let child = fork(|| ask(&name, report))?;
    drop(writer);
    let mut waited = [PollFd::new(reader.as_fd(), PollFlags::POLLIN)];
    let timeout = PollTimeout::try_from(limit).unwrap_or(PollTimeout::MAX);
    let ready = nix::poll::poll(&mut waited, timeout);
    if matches!(ready, Ok(0) | Err(_)) {
        let _ = nix::sys::signal::kill(child, nix::sys::signal::Signal::SIGKILL);
        return match ready {
            Err(Errno::EINTR) => Err(Error::Interrupted),
            _ => Ok(false),
        };
    }
    while let Err(Errno::EINTR) = nix::sys::wait::waitpid(child, None) {}
    Ok(true)
}

/// vfadm has far fewer files open when it looks at a volume.
const MOST_OPEN: i32 = 1024;

/// Closes all but the pipe, looks at the directory, and says so.
#[allow(unsafe_code)]
fn ask(path: &std::ffi::CStr, report: i32) {
    // SAFETY: plain system calls; the path ends with a NUL byte, and the buffer is a whole `struct stat`.
    unsafe {
        // Not by close_range, which kernels before 5.9 lack.
        for fd in (0..MOST_OPEN).filter(|fd| *fd != report) {
            libc::close(fd);
        }
        let mut stat = std::mem::zeroed::<libc::stat>();
        libc::stat(path.as_ptr(), &mut stat);
        let mut room = std::mem::zeroed::<libc::statvfs>();
        libc::statvfs(path.as_ptr(), &mut room);
    }
    send(report, b"y");
}

/// How often a patient writer writes, nanoseconds.
const PACE: libc::c_long = 200_000_000;

/// Writes up to `bytes` bytes that no filesystem can compress to an open file, and makes them durable, in a child
/// with this uid and gid, no other groups and no capabilities. Where nothing stopped that, it goes on for as long as
/// `patience`, a little at a time.
pub fn write_as(file: &File, uid: u32, gid: u32, bytes: u64, patience: Duration) -> Result<Written> {
    let rounds = patience.as_nanos() / PACE.unsigned_abs() as u128;
    let block = noise();
    let (mut reader, writer) = std::io::pipe().map_err(|e| Error::call("make a pipe", e))?;
    let report = writer.as_raw_fd();
    let child = fork(|| {
        let written = match drop_rights(uid, gid) {
            0 => write_on(file.as_raw_fd(), &block, bytes, rounds),
            errno => (u64::MAX, errno),
        };
        let mut message = [0u8; 12];
        message[..8].copy_from_slice(&written.0.to_ne_bytes());
        message[8..].copy_from_slice(&written.1.to_ne_bytes());
        send(report, &message);
    })?;
    drop(writer);
    let mut message = [0u8; 12];
    let answer = reader.read_exact(&mut message);
    while let Err(Errno::EINTR) = nix::sys::wait::waitpid(child, None) {}
    answer.map_err(|e| Error::call("try a write without rights", e))?;
    let (count, errno) = message.split_at(8);
    let count = count.try_into().map(u64::from_ne_bytes).unwrap_or_default();
    let errno = errno.try_into().map(i32::from_ne_bytes).unwrap_or_default();
    if count == u64::MAX {
        return Err(Error::call("give up rights", std::io::Error::from_raw_os_error(errno)));
    }
    Ok(Written { bytes: count, errno: (errno != 0).then_some(errno) })
}

/// Numbers that look random (xorshift), so that compression gains nothing.
fn noise() -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut block = Vec::with_capacity(BLOCK);
    while block.len() < BLOCK {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        block.extend(state.to_ne_bytes());
    }
    block
}

/// Runs `work` in a child that dies with its parent and ends with status 0. `work` may make system calls only: no
/// allocation, no lock, for another thread may have held one when the child was made.
#[allow(unsafe_code)]
fn fork(work: impl FnOnce()) -> Result<nix::unistd::Pid> {
    let parent = nix::unistd::getpid();
    // SAFETY: the child calls only functions that are safe after a fork, and leaves by _exit.
    match unsafe { libc::fork() } {
        -1 => Err(Error::call("start a child process", Errno::last())),
        0 => {
            // SAFETY: plain system calls on integers.
            unsafe {
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                if libc::getppid() == parent.as_raw() {
                    work();
                }
                libc::_exit(0)
            }
        }
        pid => Ok(nix::unistd::Pid::from_raw(pid)),
    }
}

/// Becomes a user without rights; 0 or an error number. The raw calls change this thread only, which is all there is
/// in a child.
#[allow(unsafe_code)]
fn drop_rights(uid: u32, gid: u32) -> i32 {
    // SAFETY: plain system calls; the list of groups is empty.
    unsafe {
        let failed = libc::syscall(libc::SYS_setgroups, 0, std::ptr::null::<libc::gid_t>()) != 0
            || libc::syscall(libc::SYS_setresgid, gid, gid, gid) != 0
            || libc::syscall(libc::SYS_setresuid, uid, uid, uid) != 0;
        if failed { *libc::__errno_location() } else { 0 }
    }
}

/// [`write_all`], and then a block at a time with pauses.
#[allow(unsafe_code)]
fn write_on(fd: i32, block: &[u8], bytes: u64, rounds: u128) -> (u64, i32) {
    let (mut done, mut errno) = write_all(fd, block, bytes);
    for _ in 0..rounds {
        if errno != 0 {
            break;
        }
        let pause = libc::timespec { tv_sec: 0, tv_nsec: PACE };
        // SAFETY: the kernel reads the pause, and is not asked for what is left of it.
        unsafe { libc::nanosleep(&pause, std::ptr::null_mut()) };
        let (more, stopped) = write_all(fd, block, block.len() as u64);
        (done, errno) = (done + more, stopped);
    }
    (done, errno)
}

/// Bytes written and the error number that ended it (0: none).
#[allow(unsafe_code)]
fn write_all(fd: i32, block: &[u8], bytes: u64) -> (u64, i32) {
    let mut done = 0;
    while done < bytes {
        let length = block.len().min(usize::try_from(bytes - done).unwrap_or(usize::MAX));
        // SAFETY: `length` is at most the length of the block.
        match unsafe { libc::write(fd, block.as_ptr().cast(), length) } {
            // SAFETY: reads this thread's error number.
            -1 => match unsafe { *libc::__errno_location() } {
                libc::EINTR => {}
                errno => return (done, errno),
            },
            count => done += count.unsigned_abs() as u64,
        }
    }
    // SAFETY: a system call on an integer; the error number is this thread's.
    let errno = unsafe { if libc::fsync(fd) == 0 { 0 } else { *libc::__errno_location() } };
    (done, errno)
}

#[allow(unsafe_code)]
fn send(fd: i32, message: &[u8]) {
    // SAFETY: the length is the message's own. A message this short is written in one piece (PIPE_BUF).
    unsafe { libc::write(fd, message.as_ptr().cast(), message.len()) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_that_is_there_answers_and_so_does_one_that_is_not() {
        for path in ["/dev/shm", "/nowhere"] {
            assert!(answers(Path::new(path), Duration::from_secs(10)).unwrap(), "{path}");
        }
    }

    #[test]
    fn a_write_that_nothing_stops_is_counted() {
        let file = tempfile::tempfile().unwrap();
        assert_eq!(
            write_as(&file, 65534, 65534, 200_000, Duration::ZERO).unwrap(),
            Written { bytes: 200_000, errno: None }
        );
        assert_eq!(file.metadata().unwrap().len(), 200_000);
    }

    #[test]
    fn the_error_that_stops_a_write_comes_back() {
        let file = File::options().write(true).open("/dev/full").unwrap();
        assert_eq!(
            write_as(&file, 65534, 65534, 1, Duration::ZERO).unwrap(),
            Written { bytes: 0, errno: Some(libc::ENOSPC) }
        );
    }
}
