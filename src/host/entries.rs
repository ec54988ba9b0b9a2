//! Raw calls for walking hostile trees: blocks of directory entries, `statx`, opening and removing single entries.
//! Errors carry no path: the caller knows it, and builds one only when it has to be shown.

use std::ffi::CStr;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::{SystemTime, UNIX_EPOCH};

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag};
use nix::libc;
use nix::sys::stat::Mode;
use nix::unistd::UnlinkatFlags;

/// What the directory says an entry is; some filesystems do not say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hint {
    /// A directory, when the block was read.
    Directory,
    /// A regular file.
    File,
    /// A link, FIFO, socket or device.
    Other,
    /// The filesystem does not keep the type in the directory.
    Unknown,
}

/// One entry of a block.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    /// The inode number, for ordering only: a mount point shows the number below the mount.
    pub inode: u64,
    /// Where in the directory to go on behind this entry.
    pub next: i64,
    /// The type, as the directory has it.
    pub hint: Hint,
    /// The name.
    pub name: &'a CStr,
}

/// A buffer of directory entries as `getdents64` returns them.
pub struct Block {
    bytes: Box<[u8]>,
    used: usize,
    end: bool,
}

/// The fixed part of `struct linux_dirent64`: inode, offset, record length, type.
const HEADER: usize = 19;

impl Block {
    /// A buffer of `size` bytes: an entry takes 24 bytes and more.
    pub fn new(size: usize) -> Block {
        Block { bytes: vec![0; size].into_boxed_slice(), used: 0, end: false }
    }

    /// Reads entries from the offset `from` on (0, or an entry's `next`), until the buffer is well filled or the
    /// directory ends.
    pub fn read(&mut self, dir: impl AsFd, from: i64) -> io::Result<()> {
        let dir = dir.as_fd();
        self.used = 0;
        self.end = false;
        nix::unistd::lseek(dir, from, nix::unistd::Whence::SeekSet)?;
        // A second call nearly always meets the end of a small directory: one visit instead of two.
        while self.used < self.bytes.len() / 4 * 3 {
            match getdents(dir, &mut self.bytes[self.used..]) {
                Ok(0) => {
                    self.end = true;
                    break;
                }
                Ok(read) => self.used += read,
                Err(_) if self.used > 0 => break,
                Err(e) => return Err(e.into()),
            }
        }
        Ok(())
    }

    /// True when nothing follows the entries of this block.
    pub fn is_last(&self) -> bool {
        self.end
    }

    /// The entry at a position that `entries` gave.
    pub fn at(&self, position: usize) -> Option<Entry<'_>> {
        Some(self.parse(position)?.0)
    }

    /// The entries and their positions in the buffer, without `.` and `..`.
    pub fn entries(&self) -> impl Iterator<Item = (usize, Entry<'_>)> {
        let mut position = 0;
        std::iter::from_fn(move || {
            let here = position;
            let (entry, length) = self.parse(here)?;
            position += length;
            Some((here, entry))
        })
        .filter(|(_, entry)| !matches!(entry.name.to_bytes(), b"." | b".."))
    }

    fn parse(&self, position: usize) -> Option<(Entry<'_>, usize)> {
        let rest = self.bytes.get(position..self.used)?;
        let header = rest.get(..HEADER)?;
        let length = usize::from(u16::from_ne_bytes(header[16..18].try_into().ok()?));
        let entry = Entry {
            inode: u64::from_ne_bytes(header[..8].try_into().ok()?),
            next: i64::from_ne_bytes(header[8..16].try_into().ok()?),
            hint: match header[18] {
                libc::DT_DIR => Hint::Directory,
                libc::DT_REG => Hint::File,
                libc::DT_UNKNOWN => Hint::Unknown,
                _ => Hint::Other,
            },
            name: CStr::from_bytes_until_nul(rest.get(HEADER..length)?).ok()?,
        };
        Some((entry, length))
    }
}

#[allow(unsafe_code)]
fn getdents(dir: BorrowedFd<'_>, buffer: &mut [u8]) -> nix::Result<usize> {
    // SAFETY: the kernel writes at most `buffer.len()` bytes to `buffer`, which lives through the call.
    let read =
        unsafe { libc::syscall(libc::SYS_getdents64, dir.as_raw_fd(), buffer.as_mut_ptr(), buffer.len()) };
    Errno::result(read).map(|n| n as usize)
}

/// Which file it is. Inode numbers are used again after a removal; the time of birth, where the filesystem keeps
/// one, tells the two apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The device; every btrfs subvolume has its own.
    pub device: u64,
    /// The inode number.
    pub inode: u64,
    born: Option<Time>,
}

impl Identity {
    /// A few bits that nearly always differ between two files that had the same inode number one after the other.
    pub fn birth_mark(&self) -> u32 {
        self.born.map_or(0, |at| at.nanoseconds ^ (at.seconds as u32).rotate_left(16))
    }
}

/// The type of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// A FIFO, socket or device.
    Other,
}

/// A time of a file: the order is that of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time {
    /// Unix seconds.
    pub seconds: i64,
    /// And so many nanoseconds.
    pub nanoseconds: u32,
}

impl Time {
    /// The present, by this host's clock.
    pub fn now() -> Time {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Time { seconds: since.as_secs().cast_signed(), nanoseconds: since.subsec_nanos() }
    }
}

/// What `statx` answers about a file.
#[derive(Clone, Copy, Debug)]
pub struct Status {
    /// Which file.
    pub identity: Identity,
    /// Its type.
    pub kind: Kind,
    /// The type and the permissions (`st_mode`).
    pub mode: u32,
    /// Owner and group.
    pub ids: (u32, u32),
    /// Which device it stands for, when it is a device.
    pub device: u64,
    /// How many names it has.
    pub links: u32,
    /// Its length in bytes.
    pub size: u64,
    /// The bytes allocated for it.
    pub allocated: u64,
    /// When its content was last read, as far as the mount keeps that.
    pub accessed: Time,
    /// When its content was last changed.
    pub modified: Time,
    /// When anything of it was last changed; nobody can set this one.
    pub changed: Time,
    /// True when something is mounted here (false too where the kernel, before 5.8, does not say).
    pub mount_root: bool,
}

impl Status {
    /// When it was made, where the filesystem keeps that.
    pub fn made(&self) -> Option<Time> {
        self.identity.born
    }
}

/// The status of the entry `name` of `dir`, of a link itself; with an empty name, of `dir`.
pub fn status(dir: impl AsFd, name: &CStr) -> io::Result<Status> {
    let stat = statx(dir.as_fd(), name)?;
    let born = stat.stx_mask & libc::STATX_BTIME != 0;
    let time = |at: libc::statx_timestamp| Time { seconds: at.tv_sec, nanoseconds: at.tv_nsec };
    Ok(Status {
        identity: Identity {
            device: libc::makedev(stat.stx_dev_major, stat.stx_dev_minor),
            inode: stat.stx_ino,
            born: born.then(|| time(stat.stx_btime)),
        },
        kind: match u32::from(stat.stx_mode) & libc::S_IFMT {
            libc::S_IFREG => Kind::File,
            libc::S_IFDIR => Kind::Directory,
            libc::S_IFLNK => Kind::Symlink,
            _ => Kind::Other,
        },
        mode: u32::from(stat.stx_mode),
        ids: (stat.stx_uid, stat.stx_gid),
        device: libc::makedev(stat.stx_rdev_major, stat.stx_rdev_minor),
        links: stat.stx_nlink,
        size: stat.stx_size,
        allocated: stat.stx_blocks * 512,
        accessed: time(stat.stx_atime),
        modified: time(stat.stx_mtime),
        changed: time(stat.stx_ctime),
        mount_root: stat.stx_attributes & libc::STATX_ATTR_MOUNT_ROOT as u64 != 0,
    })
}

#[allow(unsafe_code)]
fn statx(dir: BorrowedFd<'_>, name: &CStr) -> nix::Result<libc::statx> {
    let flags = libc::AT_SYMLINK_NOFOLLOW | libc::AT_NO_AUTOMOUNT | libc::AT_EMPTY_PATH;
    let mask = libc::STATX_BASIC_STATS | libc::STATX_BTIME;
    let mut stat = MaybeUninit::<libc::statx>::zeroed();
    // SAFETY: `name` is a C string and `stat` a whole `struct statx`, which is valid with all bytes zero and which
    // the kernel fills on success.
    unsafe {
        Errno::result(libc::statx(dir.as_raw_fd(), name.as_ptr(), flags, mask, stat.as_mut_ptr()))?;
        Ok(stat.assume_init())
    }
}

const OPEN: OFlag = OFlag::O_RDONLY
    .union(OFlag::O_DIRECTORY)
    .union(OFlag::O_NOFOLLOW)
    .union(OFlag::O_CLOEXEC)
    .union(OFlag::O_NOATIME);

/// Opens the entry `name` of `dir` for reading when it is a directory (`ENOTDIR` or `ELOOP` when not; never waits
/// on a FIFO) on the same mount (`EXDEV` when not; a bind mount is another mount, a btrfs subvolume is not).
pub fn open_directory(dir: impl AsFd, name: &CStr) -> io::Result<OwnedFd> {
    let dir = dir.as_fd();
    let resolve = ResolveFlag::RESOLVE_NO_SYMLINKS
        .union(ResolveFlag::RESOLVE_NO_MAGICLINKS)
        .union(ResolveFlag::RESOLVE_NO_XDEV);
    let how = |flags| OpenHow::new().flags(flags).resolve(resolve);
    let opened = match nix::fcntl::openat2(dir, name, how(OPEN)) {
        // Not the owner, where root is squashed: the time of access has to change then.
        Err(Errno::EPERM) => nix::fcntl::openat2(dir, name, how(OPEN.difference(OFlag::O_NOATIME))),
        other => other,
    };
    match opened {
        // Before Linux 5.6, and under the seccomp filters of that time.
        Err(Errno::ENOSYS | Errno::EPERM) => open_directory_by_mount_id(dir, name),
        other => Ok(other?),
    }
}

fn open_directory_by_mount_id(dir: BorrowedFd<'_>, name: &CStr) -> io::Result<OwnedFd> {
    let opened = match nix::fcntl::openat(dir, name, OPEN, Mode::empty()) {
        Err(Errno::EPERM) => nix::fcntl::openat(dir, name, OPEN.difference(OFlag::O_NOATIME), Mode::empty())?,
        other => other?,
    };
    if mount_id(opened.as_fd())? != mount_id(dir)? {
        return Err(Errno::EXDEV.into());
    }
    Ok(opened)
}

/// The mount that a handle was opened on. `proc(5)`: the field `mnt_id` of fdinfo, since Linux 3.15.
pub(super) fn mount_id(fd: BorrowedFd<'_>) -> io::Result<u64> {
    let text = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", fd.as_raw_fd()))?;
    text.lines()
        .find_map(|line| line.strip_prefix("mnt_id:")?.trim().parse().ok())
        .ok_or_else(|| io::Error::from(io::ErrorKind::Unsupported))
}

/// Opens the directory that holds `dir`, when it is the one that is expected; `None` when `dir` was moved to
/// another. Nothing is read before that is known.
pub fn open_parent(dir: impl AsFd, expected: &Identity) -> io::Result<Option<OwnedFd>> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let found = nix::fcntl::openat(dir, c"..", flags, Mode::empty())?;
    if status(&found, c"")?.identity != *expected {
        return Ok(None);
    }
    reopen(&found).map(Some)
}

/// A second handle on a directory, with a reading position of its own.
pub fn reopen(dir: impl AsFd) -> io::Result<OwnedFd> {
    open_directory(dir, c".")
}

/// Removes an entry that is no directory (`EISDIR` when it is one).
pub fn remove_file(dir: impl AsFd, name: &CStr) -> io::Result<()> {
    Ok(nix::unistd::unlinkat(dir, name, UnlinkatFlags::NoRemoveDir)?)
}

/// Removes an empty directory, or, since Linux 4.18, an empty btrfs subvolume.
pub fn remove_directory(dir: impl AsFd, name: &CStr) -> io::Result<()> {
    Ok(nix::unistd::unlinkat(dir, name, UnlinkatFlags::RemoveDir)?)
}

/// Gives a directory to root alone, so that nobody else can make entries in it.
pub fn seize(dir: impl AsFd) -> io::Result<()> {
    let dir = dir.as_fd();
    nix::unistd::fchown(dir, Some(0.into()), Some(0.into()))?;
    Ok(nix::sys::stat::fchmod(dir, Mode::S_IRWXU)?)
}

/// True for the root of a btrfs subvolume, seen from a directory on the device `outside`.
pub fn is_subvolume(dir: impl AsFd, identity: &Identity, outside: u64) -> bool {
    // BTRFS_FIRST_FREE_OBJECTID: the inode number of the root of every subvolume.
    identity.inode == 256 && identity.device != outside && filesystem(dir) == Filesystem::Btrfs
}

/// Filesystems that are handled in their own way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filesystem {
    /// btrfs.
    Btrfs,
    /// ext2, ext3 or ext4.
    Ext,
    /// Any other, or not known.
    Other,
}

/// The filesystem that a directory is on.
pub fn filesystem(dir: impl AsFd) -> Filesystem {
    use nix::sys::statfs::{BTRFS_SUPER_MAGIC, EXT4_SUPER_MAGIC, fstatfs};
    match fstatfs(dir.as_fd()).map(|fs| fs.filesystem_type()) {
        Ok(BTRFS_SUPER_MAGIC) => Filesystem::Btrfs,
        Ok(EXT4_SUPER_MAGIC) => Filesystem::Ext,
        _ => Filesystem::Other,
    }
}

/// How many descriptors this process may have (`RLIMIT_NOFILE`, the soft limit).
#[allow(unsafe_code)]
pub fn descriptor_limit() -> usize {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the kernel writes one `struct rlimit`, which lives through the call.
    match unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) } {
        0 => usize::try_from(limit.rlim_cur).unwrap_or(usize::MAX),
        _ => 64,
    }
}

#[cfg(test)]
mod tests;
