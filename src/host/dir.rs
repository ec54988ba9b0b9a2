//! Directory handles. A tree that tenants can write to is reached by these only: never by path, never through a
//! symbolic link.

use std::ffi::{CString, OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};

use nix::fcntl::{AtFlags, OFlag, OpenHow, ResolveFlag};
use nix::libc;
use nix::sys::stat::{FileStat, Mode};

use super::error::{Error, Result};

/// An open directory, with the path it was reached by (for messages only).
#[derive(Debug)]
pub struct Dir {
    fd: OwnedFd,
    path: PathBuf,
}

/// Looking at a directory leaves no trace in it.
const OPEN_DIR: OFlag = OFlag::O_RDONLY
    .union(OFlag::O_DIRECTORY)
    .union(OFlag::O_NOFOLLOW)
    .union(OFlag::O_CLOEXEC)
    .union(OFlag::O_NOATIME);

/// Opens something for reading without a new access time; whoever may not have that (`EPERM`: neither owner nor root)
/// reads it all the same.
pub(super) fn without_trace<T>(flags: OFlag, open: impl Fn(OFlag) -> nix::Result<T>) -> nix::Result<T> {
    match open(flags | OFlag::O_NOATIME) {
        Err(nix::errno::Errno::EPERM) => open(flags.difference(OFlag::O_NOATIME)),
        other => other,
    }
}

impl Dir {
    /// Opens a directory that only root can replace (a root, a volume). The last component may not be a link.
    pub fn open(path: &Path) -> Result<Dir> {
        let fd = without_trace(OPEN_DIR, |flags| nix::fcntl::open(path, flags, Mode::empty()))
            .map_err(|e| Error::path("open", path, e))?;
        Ok(Dir { fd, path: path.to_owned() })
    }

    /// A handle that was opened elsewhere.
    pub fn from_fd(fd: OwnedFd, path: PathBuf) -> Dir {
        Dir { fd, path }
    }

    /// The path for messages.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The path of an entry, for messages.
    pub fn join(&self, name: impl AsRef<Path>) -> PathBuf {
        self.path.join(name)
    }

    /// Gives the handle away.
    pub fn into_fd(self) -> OwnedFd {
        self.fd
    }

    /// A second handle on the same directory.
    pub fn try_clone(&self) -> Result<Dir> {
        let fd = self.fd.try_clone().map_err(|e| Error::path("open", &self.path, e))?;
        Ok(Dir { fd, path: self.path.clone() })
    }

    /// Opens one entry as a directory; a link, or anything else that is no directory, is an error.
    pub fn open_dir(&self, name: impl AsRef<OsStr>) -> Result<Dir> {
        let name = name.as_ref();
        let fd = without_trace(OPEN_DIR, |flags| nix::fcntl::openat(&self.fd, name, flags, Mode::empty()))
            .map_err(|e| Error::path("open", self.join(name), e))?;
        super::apart::beat();
        Ok(Dir { fd, path: self.join(name) })
    }

    /// Opens a directory below this one without following a link, leaving it or crossing a mount
    /// (`openat2`; one component at a time where the kernel lacks it).
    pub fn open_beneath(&self, below: &Path) -> Result<Dir> {
        let how = |flags| {
            OpenHow::new().flags(flags).resolve(
                ResolveFlag::RESOLVE_BENEATH
                    .union(ResolveFlag::RESOLVE_NO_SYMLINKS)
                    .union(ResolveFlag::RESOLVE_NO_MAGICLINKS)
                    .union(ResolveFlag::RESOLVE_NO_XDEV),
            )
        };
        match without_trace(OPEN_DIR, |flags| nix::fcntl::openat2(&self.fd, below, how(flags))) {
            Ok(fd) => {
                super::apart::beat();
                Ok(Dir { fd, path: self.join(below) })
            }
            Err(nix::errno::Errno::ENOSYS) => self.walk(below),
            Err(e) => Err(Error::path("open", self.join(below), e)),
        }
    }

    fn walk(&self, below: &Path) -> Result<Dir> {
        let mut here = self.try_clone()?;
        let device = here.stat_self()?.st_dev;
        for part in below.components() {
            match part {
                Component::CurDir => {}
                Component::Normal(name) => {
                    here = here.open_dir(name)?;
                    // A btrfs subvolume has a device number of its own, and is entered like a directory.
                    let stat = here.stat_self()?;
                    if stat.st_dev != device && stat.st_ino != 256 {
                        return Err(Error::path(
                            "open",
                            here.path,
                            io::Error::from_raw_os_error(libc::EXDEV),
                        ));
                    }
                }
                _ => {
                    return Err(Error::path(
                        "open",
                        self.join(below),
                        io::Error::from_raw_os_error(libc::EXDEV),
                    ));
                }
            }
        }
        Ok(here)
    }

    /// `fstat` of the directory itself.
    pub fn stat_self(&self) -> Result<FileStat> {
        nix::sys::stat::fstat(&self.fd).map_err(|e| Error::path("read", &self.path, e))
    }

    /// True where an entry is a regular file, or there is none.
    pub fn is_file_or_nothing(&self, name: impl AsRef<OsStr>) -> Result<bool> {
        let is_file = |stat: FileStat| stat.st_mode & libc::S_IFMT == libc::S_IFREG;
        Ok(self.stat(name)?.is_none_or(is_file))
    }

    /// `lstat` of an entry; `None` where there is no such entry.
    pub fn stat(&self, name: impl AsRef<OsStr>) -> Result<Option<FileStat>> {
        let name = name.as_ref();
        match nix::sys::stat::fstatat(&self.fd, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(stat)),
            Err(nix::errno::Errno::ENOENT) => Ok(None),
            Err(e) => Err(Error::path("read", self.join(name), e)),
        }
    }

    /// Makes a directory; `false` when the entry exists already.
    pub fn make_dir(&self, name: impl AsRef<OsStr>, mode: u32) -> Result<bool> {
        let name = name.as_ref();
        match nix::sys::stat::mkdirat(&self.fd, name, Mode::from_bits_truncate(mode)) {
            Ok(()) => Ok(true),
            Err(nix::errno::Errno::EEXIST) => Ok(false),
            Err(e) => Err(Error::path("make directory", self.join(name), e)),
        }
    }

    /// Makes a directory if need be, gives it exactly this mode when it was made here, and opens it.
    pub fn ensure_dir(&self, name: impl AsRef<OsStr>, mode: u32) -> Result<Dir> {
        // Looked for first: it is there nearly always, and then nothing is written.
        match self.open_dir(&name) {
            Err(e) if e.errno() == Some(libc::ENOENT) => {}
            other => return other,
        }
        let made = self.make_dir(&name, mode)?;
        let dir = self.open_dir(&name)?;
        if made {
            dir.set_mode(mode)?;
        }
        Ok(dir)
    }

    /// `ensure_dir` for each component of a relative path.
    pub fn ensure_path(&self, below: &Path, mode: u32) -> Result<Dir> {
        let mut here = self.try_clone()?;
        for part in below.components() {
            if let Component::Normal(name) = part {
                here = here.ensure_dir(name, mode)?;
            }
        }
        Ok(here)
    }

    /// `fchmod` of the directory itself (the umask plays no part).
    pub fn set_mode(&self, mode: u32) -> Result<()> {
        nix::sys::stat::fchmod(&self.fd, Mode::from_bits_truncate(mode))
            .map_err(|e| Error::path("change the mode of", &self.path, e))
    }

    /// `fchown` of the directory itself.
    pub fn set_owner(&self, uid: u32, gid: u32) -> Result<()> {
        nix::unistd::fchown(&self.fd, Some(uid.into()), Some(gid.into()))
            .map_err(|e| Error::path("change the owner of", &self.path, e))
    }

    /// Moves an entry to another directory of the same filesystem; an existing target is never replaced
    /// (`EEXIST`).
    pub fn rename(&self, name: impl AsRef<OsStr>, to: &Dir, to_name: impl AsRef<OsStr>) -> Result<()> {
        let (name, to_name) = (name.as_ref(), to_name.as_ref());
        let flags = nix::fcntl::RenameFlags::RENAME_NOREPLACE;
        match nix::fcntl::renameat2(&self.fd, name, &to.fd, to_name, flags) {
            Err(nix::errno::Errno::EINVAL) => self.rename_after_looking(name, to, to_name),
            other => other.map_err(|e| Error::path("move", self.join(name), e)),
        }
    }

    /// ZFS before 2.2, NFS and many FUSE filesystems know no flags. Both directories are vfadm's own, and its lock is
    /// held: nobody makes the target between the look and the move.
    fn rename_after_looking(&self, name: &OsStr, to: &Dir, to_name: &OsStr) -> Result<()> {
        let failed = |e| Error::path("move", self.join(name), e);
        if to.stat(to_name)?.is_some() {
            return Err(failed(nix::errno::Errno::EEXIST));
        }
        nix::fcntl::renameat(&self.fd, name, &to.fd, to_name).map_err(failed)
    }

    /// Removes an entry that is not a directory; `false` when there was none.
    pub fn remove_file(&self, name: impl AsRef<OsStr>) -> Result<bool> {
        self.unlink(name.as_ref(), nix::unistd::UnlinkatFlags::NoRemoveDir)
    }

    /// Removes an empty directory; `false` when there was none.
    pub fn remove_dir(&self, name: impl AsRef<OsStr>) -> Result<bool> {
        self.unlink(name.as_ref(), nix::unistd::UnlinkatFlags::RemoveDir)
    }

    fn unlink(&self, name: &OsStr, how: nix::unistd::UnlinkatFlags) -> Result<bool> {
        match nix::unistd::unlinkat(&self.fd, name, how) {
            Ok(()) => Ok(true),
            Err(nix::errno::Errno::ENOENT) => Ok(false),
            Err(e) => Err(Error::path("remove", self.join(name), e)),
        }
    }

    /// The names in the directory, without `.` and `..`, in no order.
    pub fn names(&self) -> Result<Vec<OsString>> {
        let fd = self.fd.try_clone().map_err(|e| Error::path("read", &self.path, e))?;
        // A duplicate shares its offset with the original: begin at the start whoever read before.
        let mut dir = nix::dir::Dir::from_fd(fd).map_err(|e| Error::path("read", &self.path, e))?;
        rewind(dir.as_raw_fd());
        let mut names = Vec::new();
        for entry in dir.iter() {
            let entry = entry.map_err(|e| Error::path("read", &self.path, e))?;
            let name = entry.file_name().to_bytes();
            if name != b"." && name != b".." {
                names.push(OsString::from_vec(name.to_vec()));
            }
        }
        Ok(names)
    }

    /// True when there is no entry in the directory.
    pub fn is_empty(&self) -> Result<bool> {
        Ok(self.names()?.is_empty())
    }

    /// Makes all of the filesystem that holds the directory durable.
    pub fn sync_filesystem(&self) -> Result<()> {
        nix::unistd::syncfs(&self.fd).map_err(|e| Error::path("sync the filesystem of", &self.path, e))
    }

    /// Makes the directory's entries durable.
    pub fn sync(&self) -> Result<()> {
        nix::unistd::fsync(&self.fd).map_err(|e| Error::path("sync", &self.path, e))
    }
}

fn rewind(fd: RawFd) {
    let _ = nix::unistd::lseek(
        // The descriptor is owned by the caller's Dir and outlives this call.
        borrow(fd),
        0,
        nix::unistd::Whence::SeekSet,
    );
}

#[allow(unsafe_code)]
fn borrow<'a>(fd: RawFd) -> BorrowedFd<'a> {
    // SAFETY: called with a descriptor that its owner keeps open for the whole call.
    unsafe { BorrowedFd::borrow_raw(fd) }
}

impl AsFd for Dir {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// `O_TMPFILE`-free creation of a file that must not exist, relative to a handle.
pub fn create_file(dir: &Dir, name: impl AsRef<OsStr>, mode: u32) -> Result<std::fs::File> {
    let name = name.as_ref();
    let flags = OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let fd = nix::fcntl::openat(dir, name, flags, Mode::from_bits_truncate(mode))
        .map_err(|e| Error::path("create", dir.join(name), e))?;
    nix::sys::stat::fchmod(&fd, Mode::from_bits_truncate(mode))
        .map_err(|e| Error::path("create", dir.join(name), e))?;
    Ok(std::fs::File::from(fd))
}

/// A C string of a name; names with NUL cannot come from the kernel.
pub fn c_name(name: &OsStr) -> Result<CString> {
    CString::new(name.as_bytes())
        .map_err(|_| Error::path("use", PathBuf::from(name), io::Error::from_raw_os_error(libc::EINVAL)))
}

/// Opens what is at `path` below `dir` as an `O_PATH` handle, without following links or leaving. A link itself is
/// refused too (`ELOOP`).
pub fn open_path_beneath(dir: &Dir, below: &Path) -> Result<OwnedFd> {
    let fd = open_any_beneath(dir, below)?;
    let stat = nix::sys::stat::fstat(&fd).map_err(|e| Error::path("read", dir.join(below), e))?;
    if stat.st_mode & libc::S_IFMT == libc::S_IFLNK {
        return Err(Error::path("open", dir.join(below), io::Error::from_raw_os_error(libc::ELOOP)));
    }
    Ok(fd)
}

fn open_any_beneath(dir: &Dir, below: &Path) -> Result<OwnedFd> {
    let how = OpenHow::new().flags(OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC).resolve(
        ResolveFlag::RESOLVE_BENEATH
            .union(ResolveFlag::RESOLVE_NO_SYMLINKS)
            .union(ResolveFlag::RESOLVE_NO_MAGICLINKS)
            .union(ResolveFlag::RESOLVE_NO_XDEV),
    );
    match nix::fcntl::openat2(dir, below, how) {
        Ok(fd) => Ok(fd),
        Err(nix::errno::Errno::ENOSYS) => {
            let parent = below.parent().unwrap_or(Path::new(""));
            let holder = dir.walk(parent)?;
            let name = below.file_name().unwrap_or(OsStr::new("."));
            let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
            nix::fcntl::openat(&holder, name, flags, Mode::empty())
                .map_err(|e| Error::path("open", dir.join(below), e))
        }
        Err(e) => Err(Error::path("open", dir.join(below), e)),
    }
}
