//! The project of a file: the number that XFS and ext4 charge its blocks to.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use nix::fcntl::OFlag;
use nix::sys::stat::Mode;

/// `struct fsxattr` of linux/fs.h.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Attributes {
    flags: u32,
    extent_size: u32,
    extents: u32,
    project: u32,
    copy_extent_size: u32,
    padding: [u8; 8],
}

mod raw {
    use super::Attributes;
    nix::ioctl_read!(get, b'X', 31, Attributes);
    nix::ioctl_write_ptr!(set, b'X', 32, Attributes);
}

/// `FS_XFLAG_PROJINHERIT`.
const INHERIT: u32 = 0x200;

/// What a file or directory is charged to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Project {
    /// The number.
    pub id: u32,
    /// True when new entries of the directory get it too.
    pub inherited: bool,
}

#[allow(unsafe_code)]
fn attributes(file: impl AsFd) -> io::Result<Attributes> {
    let mut attributes = Attributes::default();
    // SAFETY: the kernel fills a struct of the size that the request number carries.
    unsafe { raw::get(file.as_fd().as_raw_fd(), &mut attributes) }?;
    Ok(attributes)
}

/// The project of an open file or directory. `ENOTTY` where the filesystem knows none.
pub fn project(file: impl AsFd) -> io::Result<Project> {
    let attributes = attributes(file)?;
    Ok(Project { id: attributes.project, inherited: attributes.flags & INHERIT != 0 })
}

/// Changes it.
#[allow(unsafe_code)]
pub fn set_project(file: impl AsFd, project: Project) -> io::Result<()> {
    let mut attributes = attributes(&file)?;
    attributes.project = project.id;
    attributes.flags =
        if project.inherited { attributes.flags | INHERIT } else { attributes.flags & !INHERIT };
    // SAFETY: the kernel reads a struct of the size that the request number carries.
    unsafe { raw::set(file.as_fd().as_raw_fd(), &attributes) }?;
    Ok(())
}

/// Opens the regular file `name` of `dir` so that its project can be asked for; never waits, never follows a link.
pub fn open_file(dir: impl AsFd, name: &CStr) -> io::Result<OwnedFd> {
    let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC | OFlag::O_NOCTTY;
    Ok(nix::fcntl::openat(dir, name, flags, Mode::empty())?)
}
