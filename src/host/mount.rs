//! Mounts of the calling process's mount namespace. What is mounted, and where, is named by handles: a path could
//! mean something else by the time it is used.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::libc;
use nix::mount::{MntFlags, MsFlags};
use nix::sys::stat::Mode;
use nix::sys::statvfs::FsFlags;

use super::dir::Dir;
use super::error::{Error, Result};

/// The links of a `/dev`, and where they lead.
pub const DEVICE_LINKS: [(&str, &str); 5] = [
    ("ptmx", "pts/ptmx"),
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
];

/// Mount flags of mount(2).
pub use nix::mount::MsFlags as Flags;

const OPEN_TREE_CLONE: libc::c_uint = 1;
const MOVE_MOUNT_EMPTY_PATHS: libc::c_uint = 0x04 | 0x40;

/// How a handle is bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Api {
    /// `open_tree` and `move_mount` (Linux 5.2).
    Handles,
    /// mount(2) on `/proc/self/fd`.
    Paths,
}

impl Api {
    /// What the running kernel offers.
    pub fn of_kernel() -> Api {
        match open_tree(None) {
            Err(Errno::ENOSYS) => Api::Paths,
            _ => Api::Handles,
        }
    }
}

/// A place that something is mounted on, with its path for messages.
#[derive(Debug)]
pub struct Spot {
    fd: OwnedFd,
    path: PathBuf,
}

impl Spot {
    /// The entry `name` of `dir`, whatever it is; a symbolic link is not followed.
    pub fn open(dir: &Dir, name: &OsStr) -> Result<Spot> {
        let path = dir.join(name);
        let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let fd =
            nix::fcntl::openat(dir, name, flags, Mode::empty()).map_err(|e| Error::path("open", &path, e))?;
        Ok(Spot { fd, path })
    }

    /// The place that a directory handle stands for.
    pub fn of(dir: Dir) -> Spot {
        let path = dir.path().to_owned();
        Spot { fd: dir.into_fd(), path }
    }
}

impl AsFd for Spot {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Something to be bound into another mount namespace, by the handle that was checked.
#[derive(Debug)]
pub enum Source {
    /// A detached mount of it, which any namespace can take in.
    Detached(OwnedFd),
    /// The handle, which has to be found again in the other namespace.
    Handle(OwnedFd),
}

impl Source {
    /// Takes the object while its namespace is still that of the caller: the kernel binds nothing from another one
    /// (`EINVAL`).
    pub fn take(handle: OwnedFd, api: Api) -> Result<Source> {
        match api {
            Api::Paths => Ok(Source::Handle(handle)),
            Api::Handles => {
                let detached = open_tree(Some(handle.as_fd()))
                    .map_err(|e| Error::path("mount", name_of(handle.as_fd()), e))?;
                Ok(Source::Detached(detached))
            }
        }
    }

    /// The same object, after the caller has moved to its new namespace. A handle is found again by the path that it
    /// has, and is the same object or an error (`ESTALE`): `handle` stays open, so its inode number cannot go to
    /// another file.
    pub fn follow(self) -> Result<Source> {
        let Source::Handle(handle) = self else { return Ok(self) };
        let path = std::fs::read_link(handle_path(handle.as_fd()))
            .map_err(|e| Error::path("read", handle_path(handle.as_fd()), e))?;
        let found = open_no_links(&path)?;
        let was = nix::sys::stat::fstat(&handle).map_err(|e| Error::path("read", &path, e))?;
        let is = nix::sys::stat::fstat(&found).map_err(|e| Error::path("read", &path, e))?;
        if (was.st_dev, was.st_ino) != (is.st_dev, is.st_ino) {
            return Err(Error::path("mount", path, Errno::ESTALE));
        }
        Ok(Source::Handle(found))
    }

    /// True for a directory.
    pub fn is_dir(&self) -> Result<bool> {
        let (Source::Detached(fd) | Source::Handle(fd)) = self;
        let stat = nix::sys::stat::fstat(fd).map_err(|e| Error::path("read", name_of(fd.as_fd()), e))?;
        Ok(stat.st_mode & libc::S_IFMT == libc::S_IFDIR)
    }

    /// Mounts it on `target`, without the mounts below it.
    pub fn attach(&self, target: &Spot) -> Result<()> {
        match self {
            Source::Handle(fd) => bind(fd, target),
            Source::Detached(fd) => {
                move_mount(fd.as_fd(), target.as_fd()).map_err(|e| Error::path("mount on", &target.path, e))
            }
        }
    }
}

/// Binds what `source` stands for, in this namespace, on `target`; not what is mounted below it.
pub fn bind(source: impl AsFd, target: &Spot) -> Result<()> {
    let source = handle_path(source.as_fd());
    mount(Some(&source), target, None, MsFlags::MS_BIND, None)
}

/// Mounts a new filesystem on `target`.
pub fn filesystem(kind: &str, target: &Spot, flags: Flags, data: &str) -> Result<()> {
    mount(Some(Path::new(kind)), target, Some(kind), flags, Some(data))
}

/// Makes the mount that `spot` stands for `nosuid`, `nodev` and, if asked, read-only, for itself alone; flags that it
/// has already stay. `spot` has to be opened after the mounting.
pub fn restrict(spot: &Spot, read_only: bool) -> Result<()> {
    let has = nix::sys::statvfs::fstatvfs(spot)
        .map_err(|e| Error::path("read the mount flags of", &spot.path, e))?
        .flags();
    let mut flags = MsFlags::MS_REMOUNT | MsFlags::MS_BIND | MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    let keep = [
        (FsFlags::ST_RDONLY, MsFlags::MS_RDONLY),
        (FsFlags::ST_NOEXEC, MsFlags::MS_NOEXEC),
        (FsFlags::ST_NOATIME, MsFlags::MS_NOATIME),
        (FsFlags::ST_NODIRATIME, MsFlags::MS_NODIRATIME),
        (FsFlags::ST_RELATIME, MsFlags::MS_RELATIME),
    ];
    for (had, flag) in keep {
        flags.set(flag, has.contains(had));
    }
    if read_only {
        flags.insert(MsFlags::MS_RDONLY);
    }
    mount(None, spot, None, flags, None)
}

/// Keeps mounts that are made below another mount of the same object from appearing below this one.
pub fn seclude(spot: &Spot) -> Result<()> {
    mount(None, spot, None, MsFlags::MS_PRIVATE, None)
}

/// Takes away whatever is mounted at a path, however many mounts lie there and whoever uses them. Nothing mounted there,
/// or no such path, is no error.
pub fn detach(path: &Path) -> Result<()> {
    loop {
        #[allow(clippy::disallowed_methods)]
        match nix::mount::umount2(path, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW) {
            Ok(()) => {}
            Err(Errno::EINVAL | Errno::ENOENT) => return Ok(()),
            Err(e) => return Err(Error::path("unmount", path, e)),
        }
    }
}

/// Has mounts of this namespace follow the host's, and not the other way round: what the host unmounts goes here too.
pub fn follow_host() -> Result<()> {
    #[allow(clippy::disallowed_methods)]
    nix::mount::mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_SLAVE, None::<&str>)
        .map_err(|e| Error::call("have the mounts follow the host's", e))
}

/// Keeps mounts of this namespace from reaching any other, and the other way round.
pub fn make_private() -> Result<()> {
    #[allow(clippy::disallowed_methods)]
    nix::mount::mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)
        .map_err(|e| Error::call("make the mounts private", e))
}

/// Makes `root`, a mount, the root of this process and its namespace, and lets go of the old one and of all that is
/// mounted in it.
pub fn change_root(root: &Dir) -> Result<()> {
    nix::unistd::fchdir(root).map_err(|e| Error::path("enter", root.path(), e))?;
    // The old root comes to lie above the new one, at the same place, and needs no directory of its own.
    nix::unistd::pivot_root(".", ".").map_err(|e| Error::call("change the root", e))?;
    #[allow(clippy::disallowed_methods)]
    nix::mount::umount2(".", MntFlags::MNT_DETACH).map_err(|e| Error::call("detach the host's root", e))?;
    nix::unistd::chdir("/").map_err(|e| Error::path("enter", "/", e))
}

/// Mount points of this namespace with their filesystem types, in the order of mounting.
pub fn points() -> Result<Vec<(PathBuf, String)>> {
    let table =
        std::fs::read("/proc/self/mountinfo").map_err(|e| Error::path("read", "/proc/self/mountinfo", e))?;
    Ok(table.split(|byte| *byte == b'\n').filter_map(point).collect())
}

/// One line of mountinfo (proc(5)): `ID PARENT DEVICE ROOT POINT OPTIONS TAGS... - TYPE SOURCE OPTIONS`.
fn point(line: &[u8]) -> Option<(PathBuf, String)> {
    let mut fields = line.split(|byte| *byte == b' ');
    let path = unescape(fields.nth(4)?);
    let kind = fields.skip_while(|field| *field != b"-").nth(1)?;
    Some((PathBuf::from(OsStr::from_bytes(&path)), String::from_utf8_lossy(kind).into_owned()))
}

/// Takes the octal escapes out of a field of mountinfo.
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&byte, tail)) = rest.split_first() {
        let code = tail.get(..3).and_then(|digits| std::str::from_utf8(digits).ok());
        match code.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(value) if byte == b'\\' => {
                plain.push(value);
                rest = &tail[3..];
            }
            _ => {
                plain.push(byte);
                rest = tail;
            }
        }
    }
    plain
}

/// Opens a directory that root has named; links are followed.
pub fn open_directory(path: &Path) -> Result<OwnedFd> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    nix::fcntl::open(path, flags, Mode::empty()).map_err(|e| Error::path("open", path, e))
}

/// Makes a symbolic link.
pub fn make_link(dir: &Dir, name: &str, to: &str) -> Result<()> {
    nix::unistd::symlinkat(to, dir, name).map_err(|e| Error::path("make link", dir.join(name), e))
}

/// Opens an absolute path of which no part may be a symbolic link.
pub fn open_no_links(path: &Path) -> Result<OwnedFd> {
    let mut here = Dir::open(Path::new("/"))?;
    let below = path.strip_prefix("/").unwrap_or(path);
    for part in below.parent().into_iter().flat_map(Path::components) {
        here = here.open_dir(part.as_os_str())?;
    }
    let name = below.file_name().unwrap_or(OsStr::new("."));
    Ok(Spot::open(&here, name)?.fd)
}

/// A path by which mount(2) reaches what a handle stands for.
pub fn handle_path(fd: BorrowedFd<'_>) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", fd.as_raw_fd()))
}

/// The path that an object has, for messages.
fn name_of(fd: BorrowedFd<'_>) -> PathBuf {
    let handle = handle_path(fd);
    std::fs::read_link(&handle).unwrap_or(handle)
}

fn mount(
    source: Option<&Path>,
    target: &Spot,
    kind: Option<&str>,
    flags: MsFlags,
    data: Option<&str>,
) -> Result<()> {
    #[allow(clippy::disallowed_methods)]
    nix::mount::mount(source, &handle_path(target.as_fd()), kind, flags, data)
        .map_err(|e| Error::path("mount on", &target.path, e))
}

/// `open_tree` of a handle as a detached mount; of nothing: asks whether the kernel has the call.
#[allow(unsafe_code)]
fn open_tree(handle: Option<BorrowedFd<'_>>) -> nix::Result<OwnedFd> {
    let fd = handle.map_or(-1, |handle| handle.as_raw_fd());
    let flags = OPEN_TREE_CLONE | libc::AT_EMPTY_PATH as libc::c_uint | libc::O_CLOEXEC as libc::c_uint;
    // SAFETY: the path is a NUL-terminated constant; the kernel reads nothing else.
    let answer = unsafe { libc::syscall(libc::SYS_open_tree, fd, c"".as_ptr(), flags) };
    let fd = Errno::result(answer)?;
    let fd = i32::try_from(fd).map_err(|_| Errno::EBADF)?;
    // SAFETY: the kernel has just made this descriptor, and nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

#[allow(unsafe_code)]
fn move_mount(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> nix::Result<()> {
    // SAFETY: both paths are NUL-terminated constants; the kernel reads nothing else.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_move_mount,
            from.as_raw_fd(),
            c"".as_ptr(),
            to.as_raw_fd(),
            c"".as_ptr(),
            MOVE_MOUNT_EMPTY_PATHS,
        )
    };
    Errno::result(answer).map(drop)
}

/// The answer of the kernel to a target that is no plain path.
pub fn bad_path(path: &Path) -> Error {
    Error::path("mount on", path, io::Error::from_raw_os_error(libc::EINVAL))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_point_with_a_space_and_tags_is_read() {
        let line = br"36 35 98:0 /mnt1 /opt/a\040b rw,noatime master:1 shared:7 - ext3 /dev/root rw";
        assert_eq!(point(line), Some((PathBuf::from("/opt/a b"), "ext3".to_owned())));
    }

    #[test]
    fn a_backslash_that_is_no_escape_stays() {
        assert_eq!(unescape(br"a\9z\134"), br"a\9z\");
    }

    #[test]
    fn a_link_on_the_way_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("real")).unwrap();
        std::os::unix::fs::symlink("real", dir.path().join("link")).unwrap();
        assert!(open_no_links(&dir.path().join("real")).is_ok());
        assert!(open_no_links(&dir.path().join("link/x")).is_err());
    }

    #[test]
    fn a_kernel_that_has_the_call_is_known() {
        let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
        let mut parts = release.split('.').map(|n| n.parse::<u32>().unwrap_or(0));
        if (parts.next().unwrap(), parts.next().unwrap()) >= (5, 2) {
            assert_eq!(Api::of_kernel(), Api::Handles);
        }
    }
}
