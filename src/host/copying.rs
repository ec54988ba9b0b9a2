//! Raw calls for copying trees: entries are made by the handle of their directory, and never where there is one.
//! Errors carry no path: the caller knows it, and builds one only when it has to be shown.

use std::ffi::{CStr, OsStr};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, OpenHow, PosixFadviseAdvice, ResolveFlag};
use nix::libc;
use nix::sys::stat::{Mode, SFlag, UtimensatFlags};
use nix::sys::time::TimeSpec;
use nix::unistd::Whence;

use super::entries::{self, Status, Time};

/// A handle on the entry `name` of `dir`, whatever it is, that neither reads nor waits nor wakes a device; of a link
/// itself. `EXDEV` when something is mounted there.
pub fn open_any(dir: impl AsFd, name: &CStr) -> io::Result<OwnedFd> {
    let dir = dir.as_fd();
    let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let resolve = ResolveFlag::RESOLVE_NO_SYMLINKS
        .union(ResolveFlag::RESOLVE_NO_MAGICLINKS)
        .union(ResolveFlag::RESOLVE_NO_XDEV);
    match nix::fcntl::openat2(dir, name, OpenHow::new().flags(flags).resolve(resolve)) {
        // Before Linux 5.6, and under the seccomp filters of that time.
        Err(Errno::ENOSYS | Errno::EPERM) => {
            let opened = nix::fcntl::openat(dir, name, flags, Mode::empty())?;
            match entries::mount_id(opened.as_fd())? == entries::mount_id(dir)? {
                true => Ok(opened),
                false => Err(Errno::EXDEV.into()),
            }
        }
        other => Ok(other?),
    }
}

/// Opens the entry `name` of `dir`, said to be a regular file, for reading; whether it is one is for the caller to
/// see. In a tree that [`without_devices`] gave no device can have taken its place, and a FIFO is not waited for.
/// The time of access stays as it is, where root may that.
///
/// [`without_devices`]: super::nodev::without_devices
pub fn open_file(dir: impl AsFd, name: &CStr) -> io::Result<OwnedFd> {
    let resolve = ResolveFlag::RESOLVE_NO_SYMLINKS
        .union(ResolveFlag::RESOLVE_NO_MAGICLINKS)
        .union(ResolveFlag::RESOLVE_NO_XDEV);
    let how = OpenHow::new().flags(READ | OFlag::O_NOATIME | OFlag::O_NOFOLLOW).resolve(resolve);
    Ok(nix::fcntl::openat2(dir, name, how)?)
}

const READ: OFlag = OFlag::O_RDONLY.union(OFlag::O_CLOEXEC).union(OFlag::O_NONBLOCK).union(OFlag::O_NOCTTY);

/// Opens the regular file that `open_any` found for reading. The time of access stays as it is, where root may that.
pub fn open_for_reading(found: impl AsFd) -> io::Result<OwnedFd> {
    // By the name of the handle: by its own name, a device could be there by now, and be woken.
    let path = format!("/proc/self/fd/{}", found.as_fd().as_raw_fd());
    match nix::fcntl::open(path.as_str(), READ | OFlag::O_NOATIME, Mode::empty()) {
        Err(Errno::EPERM) => Ok(nix::fcntl::open(path.as_str(), READ, Mode::empty())?),
        other => Ok(other?),
    }
}

/// What a link leads to, by the handle that `open_any` gave.
pub fn read_link(link: impl AsFd) -> io::Result<std::ffi::OsString> {
    Ok(nix::fcntl::readlinkat(link, c"")?)
}

/// Makes an empty regular file, open for writing; the umask takes its part of the mode.
pub fn make_file(dir: impl AsFd, name: &CStr, mode: u32) -> io::Result<OwnedFd> {
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    Ok(nix::fcntl::openat(dir, name, flags, Mode::from_bits_truncate(mode & 0o777))?)
}

/// Makes an empty directory for root alone.
pub fn make_directory(dir: impl AsFd, name: &CStr) -> io::Result<()> {
    Ok(nix::sys::stat::mkdirat(dir, name, Mode::S_IRWXU)?)
}

/// Makes a symbolic link.
pub fn make_link(dir: impl AsFd, name: &CStr, leads_to: &OsStr) -> io::Result<()> {
    Ok(nix::unistd::symlinkat(leads_to, dir, name)?)
}

/// Makes a FIFO, a socket or a device as another one is, for root alone.
pub fn make_special(dir: impl AsFd, name: &CStr, like: &Status) -> io::Result<()> {
    let kind = SFlag::from_bits_truncate(like.mode & libc::S_IFMT);
    Ok(nix::sys::stat::mknodat(dir, name, kind, Mode::S_IRUSR | Mode::S_IWUSR, like.device)?)
}

/// Gives an entry that is no directory a second name.
pub fn make_name(dir: impl AsFd, name: &CStr, to: impl AsFd, second: &CStr) -> io::Result<()> {
    Ok(nix::unistd::linkat(dir, name, to, second, AtFlags::empty())?)
}

/// Changes owner and group of an open file or directory, or by an `O_PATH` handle. Takes setuid and setgid from a
/// regular file.
pub fn set_ids(file: impl AsFd, (uid, gid): (u32, u32)) -> io::Result<()> {
    Ok(nix::unistd::fchownat(file, c"", Some(uid.into()), Some(gid.into()), AtFlags::AT_EMPTY_PATH)?)
}

/// Changes owner and group of the entry `name` of `dir`, of a link itself.
pub fn set_ids_at(dir: impl AsFd, name: &CStr, (uid, gid): (u32, u32)) -> io::Result<()> {
    let flags = AtFlags::AT_SYMLINK_NOFOLLOW;
    Ok(nix::unistd::fchownat(dir, name, Some(uid.into()), Some(gid.into()), flags)?)
}

/// Changes the permissions of an open file or directory; an `O_PATH` handle may be that of a special file.
pub fn set_mode(file: impl AsFd, mode: u32) -> io::Result<()> {
    let (file, mode) = (file.as_fd(), Mode::from_bits_truncate(mode & 0o7777));
    match nix::sys::stat::fchmod(file, mode) {
        Err(Errno::EBADF) => {
            let path = format!("/proc/self/fd/{}", file.as_raw_fd());
            let flags = nix::sys::stat::FchmodatFlags::FollowSymlink;
            Ok(nix::sys::stat::fchmodat(nix::fcntl::AT_FDCWD, path.as_str(), mode, flags)?)
        }
        other => Ok(other?),
    }
}

/// Sets the times of access and of change of an open file or directory.
pub fn set_times(file: impl AsFd, accessed: Time, modified: Time) -> io::Result<()> {
    Ok(nix::sys::stat::futimens(file, &spec(accessed), &spec(modified))?)
}

/// Sets the times of the entry `name` of `dir`, of a link itself.
pub fn set_times_at(dir: impl AsFd, name: &CStr, accessed: Time, modified: Time) -> io::Result<()> {
    let flags = UtimensatFlags::NoFollowSymlink;
    Ok(nix::sys::stat::utimensat(dir, name, &spec(accessed), &spec(modified), flags)?)
}

fn spec(time: Time) -> TimeSpec {
    TimeSpec::new(time.seconds, i64::from(time.nanoseconds))
}

/// Where data begins at or behind `from`, and where it ends; `None` when only a hole follows. The end is at most the
/// file's.
pub fn next_data(file: impl AsFd, from: u64) -> io::Result<Option<(u64, u64)>> {
    let file = file.as_fd();
    let seek =
        |from: u64, whence| nix::unistd::lseek(file, from.cast_signed(), whence).map(i64::cast_unsigned);
    match seek(from, Whence::SeekData).and_then(|data| Ok((data, seek(data, Whence::SeekHole)?))) {
        Ok(found) => Ok(Some(found)),
        Err(Errno::ENXIO) => Ok(None),
        Err(e) => Err(e.into()),
    }
}

/// Reads at an offset, as many bytes as there are; 0 at the end of the file.
pub fn read_at(file: impl AsFd, buffer: &mut [u8], from: u64) -> io::Result<usize> {
    Ok(again(|| nix::sys::uio::pread(file.as_fd(), buffer, from.cast_signed()))?)
}

/// Writes all bytes at an offset.
pub fn write_at(file: impl AsFd, mut bytes: &[u8], mut to: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        match again(|| nix::sys::uio::pwrite(file.as_fd(), bytes, to.cast_signed()))? {
            0 => return Err(io::ErrorKind::WriteZero.into()),
            written => {
                bytes = &bytes[written..];
                to += written as u64;
            }
        }
    }
    Ok(())
}

fn again<T>(mut call: impl FnMut() -> nix::Result<T>) -> nix::Result<T> {
    loop {
        match call() {
            Err(Errno::EINTR) => {}
            other => return other,
        }
    }
}

/// Sets the length of a file open for writing.
pub fn set_length(file: impl AsFd, length: u64) -> io::Result<()> {
    Ok(nix::unistd::ftruncate(file, length.cast_signed())?)
}

/// Waits until what was written to a file, and its length, are on the disk.
pub fn sync_data(file: impl AsFd) -> io::Result<()> {
    Ok(nix::unistd::fdatasync(file)?)
}

/// Says that a file will be read from the beginning to the end.
pub fn read_ahead(file: impl AsFd) {
    // Advice: nothing is lost where it is not taken.
    let _ = nix::fcntl::posix_fadvise(file, 0, 0, PosixFadviseAdvice::POSIX_FADV_SEQUENTIAL);
}

mod raw {
    // FICLONE of linux/fs.h.
    nix::ioctl_write_int!(clone, 0x94, 9);
}

/// Makes `to`, which is empty, share all data of `from`, holes too. `EXDEV`, `EOPNOTSUPP`, `ENOTTY` or `EINVAL` where that
/// cannot be.
#[allow(unsafe_code)]
pub fn share(from: impl AsFd, to: impl AsFd) -> io::Result<()> {
    let from = from.as_fd().as_raw_fd().unsigned_abs();
    // SAFETY: both descriptors are open through the call; the kernel touches no memory of ours.
    unsafe { raw::clone(to.as_fd().as_raw_fd(), from.into()) }?;
    Ok(())
}

/// Lets the filesystem copy up to `length` bytes at the same offset of both files, which may share them; how many
/// were. `EXDEV`, `EOPNOTSUPP`, `ENOSYS` or `EINVAL` where it cannot.
#[allow(unsafe_code)]
pub fn copy_within(from: impl AsFd, to: impl AsFd, at: u64, length: usize) -> io::Result<usize> {
    let (mut here, mut there) = (at.cast_signed(), at.cast_signed());
    let (from, to) = (from.as_fd().as_raw_fd(), to.as_fd().as_raw_fd());
    // SAFETY: both descriptors are open and both offsets live through the call. Not by the C library's function, which
    // the lowest glibc does not have.
    let copied = unsafe {
        libc::syscall(libc::SYS_copy_file_range, from, &raw mut here, to, &raw mut there, length, 0)
    };
    Ok(Errno::result(copied)?.unsigned_abs() as usize)
}

/// The permissions that new files do not get. All, where the kernel (before 4.7) does not tell.
pub fn umask() -> u32 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = text.lines().find_map(|line| line.strip_prefix("Umask:"));
    mask.and_then(|mask| u32::from_str_radix(mask.trim(), 8).ok()).unwrap_or(0o777)
}

/// True when the filesystem of `dir` has no room left for data or for files.
pub fn is_full(dir: impl AsFd) -> bool {
    nix::sys::statvfs::fstatvfs(dir)
        .is_ok_and(|space| space.blocks_free() == 0 || (space.files() > 0 && space.files_free() == 0))
}
