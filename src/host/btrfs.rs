//! btrfs by its ioctls (`linux/btrfs.h`), so that nothing has to be installed and nothing has to be started.

pub mod qgroups;
pub mod search;

use std::ffi::{OsStr, OsString};
use std::mem::size_of;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use nix::errno::Errno;
use nix::libc;

use super::dir::Dir;
use super::error::{Error, Result};

/// Inode number of the root directory of every subvolume (`BTRFS_FIRST_FREE_OBJECTID`).
pub const ROOT_INODE: u64 = 256;

/// Inode number of what stands in a snapshot for a subvolume inside of its source (`BTRFS_EMPTY_SUBVOL_DIR_OBJECTID`).
pub const STUB_INODE: u64 = 2;

/// How the kernel counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accounting {
    /// Simple quotas (kernel 6.7): an extent is charged to the subvolume that wrote it. A subvolume made inside
    /// another one joins the qgroups of its parent.
    Simple,
    /// Full qgroups: counts shared and exclusive bytes. A subvolume made by a tenant belongs to no parent qgroup.
    Full,
}

/// What became of a qgroup that was to be destroyed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Destroyed {
    /// There is none of this number (any more).
    Gone,
    /// It has members, or bytes are charged to it (`EBUSY`).
    Busy,
}

/// The limit of a qgroup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// What the kernel enforces, in bytes; `None` is no limit.
    pub enforced: Option<u64>,
    /// A number that the kernel keeps beside the limit without using it (`rsv_rfer`).
    pub parked: Option<u64>,
}

const fn request(direction: u64, number: u64, size: usize) -> u64 {
    (direction << 30) | ((size as u64) << 16) | (0x94 << 8) | number
}
const NONE: u64 = 0;
const WRITE: u64 = 1;
const READ: u64 = 2;
const BOTH: u64 = 3;

/// `ioctl` with an argument of exactly the type that the request number was made for.
fn ioctl<T>(dir: &impl AsFd, direction: u64, number: u64, arg: &mut T) -> nix::Result<()> {
    ioctl_value(dir, direction, number, arg).map(drop)
}

/// The same; what it returns.
#[allow(unsafe_code)]
fn ioctl_value<T>(dir: &impl AsFd, direction: u64, number: u64, arg: &mut T) -> nix::Result<i32> {
    let request = request(direction, number, size_of::<T>());
    // SAFETY: the size of T is part of the request, so the kernel reads and writes no more than `arg`; pointers
    // inside T (one, in `VolumeArgs2`) are kept alive by the caller for the whole call.
    let done = unsafe { libc::ioctl(dir.as_fd().as_raw_fd(), request as _, std::ptr::from_mut(arg)) };
    Errno::result(done)
}

/// True when the directory is on btrfs.
pub fn is_btrfs(dir: &Dir) -> Result<bool> {
    let stat = nix::sys::statfs::fstatfs(dir).map_err(|e| Error::path("read", dir.path(), e))?;
    Ok(stat.filesystem_type() == nix::sys::statfs::BTRFS_SUPER_MAGIC)
}

/// True when the directory is the root of a btrfs subvolume.
pub fn is_subvolume(dir: &Dir) -> Result<bool> {
    Ok(dir.stat_self()?.st_ino == ROOT_INODE && is_btrfs(dir)?)
}

#[repr(C)]
struct FsInfo {
    max_id: u64,
    devices: u64,
    fsid: [u8; 16],
    rest: [u8; 992],
}

/// The filesystem's id, as `/sys/fs/btrfs` spells it.
pub fn fsid(dir: &Dir) -> Result<String> {
    let mut info = FsInfo { max_id: 0, devices: 0, fsid: [0; 16], rest: [0; 992] };
    ioctl(dir, READ, 31, &mut info).map_err(|e| Error::path("read the filesystem id of", dir.path(), e))?;
    Ok(uuid::Uuid::from_bytes(info.fsid).hyphenated().to_string())
}

/// Switches quotas on. Simple quotas are `EINVAL` on a kernel that lacks them.
pub fn quota_enable(dir: &Dir, accounting: Accounting) -> Result<()> {
    let command: u64 = match accounting {
        Accounting::Full => 1,
        Accounting::Simple => 4,
    };
    ioctl(dir, BOTH, 40, &mut [command, 0]).map_err(|e| Error::path("enable quotas on", dir.path(), e))
}

/// Switches quotas off, and forgets all qgroups.
pub fn quota_disable(dir: &Dir) -> Result<()> {
    ioctl(dir, BOTH, 40, &mut [2u64, 0]).map_err(|e| Error::path("disable quotas on", dir.path(), e))
}

/// Waits until a rescan of full qgroups has ended; returns at once when none is running.
pub fn rescan_wait(dir: &Dir) -> Result<()> {
    ioctl(dir, NONE, 46, &mut ()).map_err(|e| Error::path("wait for the quota rescan of", dir.path(), e))
}

/// Makes a qgroup; `false` when it is there already.
pub fn qgroup_create(dir: &Dir, id: u64) -> Result<bool> {
    match ioctl(dir, WRITE, 42, &mut [1u64, id]) {
        Ok(()) => Ok(true),
        Err(Errno::EEXIST) => Ok(false),
        Err(e) => Err(Error::path("create a qgroup on", dir.path(), e)),
    }
}

/// Destroys a qgroup and its memberships in others. Where quotas are off there is none.
pub fn qgroup_destroy(dir: &Dir, id: u64) -> Result<Destroyed> {
    match ioctl(dir, WRITE, 42, &mut [0u64, id]) {
        Ok(()) | Err(Errno::ENOENT | Errno::ENOTCONN) => Ok(Destroyed::Gone),
        Err(Errno::EBUSY) => Ok(Destroyed::Busy),
        Err(e) => Err(Error::path("destroy a qgroup on", dir.path(), e)),
    }
}

/// Makes one qgroup a member of another, or ends that; what it holds is charged there from then on, or no longer. As it
/// is already is fine. True where full qgroups have to be counted again.
pub fn qgroup_assign(dir: &Dir, member: u64, of: u64, assigned: bool) -> Result<bool> {
    let mut args = [u64::from(assigned), member, of];
    match ioctl_value(dir, WRITE, 41, &mut args) {
        Ok(value) => Ok(value > 0),
        Err(Errno::EEXIST) if assigned => Ok(false),
        Err(Errno::ENOENT) if !assigned => Ok(false),
        Err(e) => Err(Error::path("move a qgroup on", dir.path(), e)),
    }
}

/// Begins to count full qgroups again; it goes on in the background. One that is running is fine.
pub fn rescan_start(dir: &Dir) -> Result<()> {
    match ioctl(dir, WRITE, 44, &mut [0u64; 8]) {
        Ok(()) | Err(Errno::EINPROGRESS) => Ok(()),
        Err(e) => Err(Error::path("count the qgroups again on", dir.path(), e)),
    }
}

/// Writes the limit of a qgroup. It is in force when the call returns.
pub fn qgroup_limit(dir: &Dir, id: u64, limit: Limit) -> Result<()> {
    const CLEAR: u64 = u64::MAX;
    const FLAGS: u64 = search::LIMIT_MAX_RFER | search::LIMIT_RSV_RFER;
    let mut args = [id, FLAGS, limit.enforced.unwrap_or(CLEAR), 0, limit.parked.unwrap_or(CLEAR), 0];
    ioctl(dir, READ, 43, &mut args).map_err(|e| Error::path("set a quota limit on", dir.path(), e))
}

/// Takes away all limits of a qgroup.
pub fn qgroup_unlimit(dir: &Dir, id: u64) -> Result<()> {
    const CLEAR: u64 = u64::MAX;
    const FLAGS: u64 = search::LIMIT_MAX_RFER | search::LIMIT_MAX_EXCL;
    let mut args = [id, FLAGS, CLEAR, CLEAR, 0, 0];
    ioctl(dir, READ, 43, &mut args).map_err(|e| Error::path("lift a quota limit on", dir.path(), e))
}

#[repr(C)]
struct VolumeArgs {
    fd: i64,
    name: [u8; 4088],
}

#[repr(C)]
struct VolumeArgs2 {
    fd: i64,
    transid: u64,
    flags: u64,
    size: u64,
    inherit: *const Inherit,
    unused: [u64; 2],
    name: [u8; 4040],
}

/// `btrfs_qgroup_inherit` with room for one qgroup.
#[repr(C)]
struct Inherit {
    flags: u64,
    qgroups: u64,
    ref_copies: u64,
    excl_copies: u64,
    limit: [u64; 5],
    qgroup: u64,
}

fn name_field<const N: usize>(name: &OsStr) -> nix::Result<[u8; N]> {
    let mut field = [0; N];
    let bytes = name.as_bytes();
    // The last byte stays 0.
    if bytes.len() >= N || bytes.is_empty() || bytes.contains(&0) || bytes.contains(&b'/') {
        return Err(Errno::EINVAL);
    }
    field[..bytes.len()].copy_from_slice(bytes);
    Ok(field)
}

/// Makes a subvolume as the entry `name` of `parent`. With a qgroup it is a member of it from its first byte on;
/// the kernel passes over a qgroup that does not exist. The mode follows the umask.
pub fn subvolume_create(parent: &Dir, name: &OsStr, qgroup: Option<u64>) -> Result<()> {
    make_subvolume(24, 0, parent, name, qgroup)
        .map_err(|e| Error::path("create subvolume", parent.join(name), e))
}

/// Makes a writable snapshot of the subvolume `of` (its root directory) as the entry `name` of `parent`; what was
/// written to it before is in it, and both are on the disk when the call returns. Subvolumes inside of `of` are empty
/// directories ([`STUB_INODE`]) there. The qgroup is as in [`subvolume_create`].
pub fn snapshot_create(of: &Dir, parent: &Dir, name: &OsStr, qgroup: u64) -> Result<()> {
    let of = of.as_fd().as_raw_fd();
    make_subvolume(23, of.into(), parent, name, Some(qgroup))
        .map_err(|e| Error::path("create snapshot", parent.join(name), e))
}

fn make_subvolume(request: u64, fd: i64, parent: &Dir, name: &OsStr, qgroup: Option<u64>) -> nix::Result<()> {
    const QGROUP_INHERIT: u64 = 1 << 2;
    let inherit = Inherit {
        flags: 0,
        qgroups: 1,
        ref_copies: 0,
        excl_copies: 0,
        limit: [0; 5],
        qgroup: qgroup.unwrap_or(0),
    };
    let mut args = VolumeArgs2 {
        fd,
        transid: 0,
        flags: 0,
        size: 0,
        inherit: std::ptr::null(),
        unused: [0; 2],
        name: name_field(name)?,
    };
    if qgroup.is_some() {
        args.flags = QGROUP_INHERIT;
        args.size = size_of::<Inherit>() as u64;
        args.inherit = &raw const inherit;
    }
    ioctl(parent, WRITE, request, &mut args)
}

/// Removes the subvolume that is the entry `name` of `parent`, whatever it holds, without a walk: its blocks are
/// freed in the background. `ENOTEMPTY` when another subvolume is in it.
pub fn subvolume_destroy(parent: &Dir, name: &OsStr) -> Result<()> {
    let failed = |e: Errno| Error::path("remove subvolume", parent.join(name), e);
    let mut args = VolumeArgs { fd: 0, name: name_field(name).map_err(failed)? };
    ioctl(parent, WRITE, 15, &mut args).map_err(failed)
}

/// True when the subvolume is read-only.
pub fn is_read_only(subvolume: &Dir) -> Result<bool> {
    let mut flags = 0u64;
    ioctl(subvolume, READ, 25, &mut flags)
        .map_err(|e| Error::path("read the flags of subvolume", subvolume.path(), e))?;
    Ok(flags & READ_ONLY != 0)
}

/// Makes a subvolume read-only or writable.
pub fn set_read_only(subvolume: &Dir, read_only: bool) -> Result<()> {
    let mut flags = if read_only { READ_ONLY } else { 0 };
    ioctl(subvolume, WRITE, 26, &mut flags)
        .map_err(|e| Error::path("change the flags of subvolume", subvolume.path(), e))
}

const READ_ONLY: u64 = 1 << 1;

#[repr(C)]
struct InodeLookup {
    tree: u64,
    inode: u64,
    name: [u8; 4080],
}

fn inode_lookup(dir: &Dir, tree: u64, inode: u64) -> nix::Result<InodeLookup> {
    let mut args = InodeLookup { tree, inode, name: [0; 4080] };
    ioctl(dir, BOTH, 18, &mut args).map(|()| args)
}

/// The id of the subvolume that holds the directory.
pub fn subvolume_id(dir: &Dir) -> Result<u64> {
    inode_lookup(dir, 0, ROOT_INODE)
        .map(|found| found.tree)
        .map_err(|e| Error::path("read the subvolume id of", dir.path(), e))
}

/// The path of an inode below the root of the subvolume `tree`, empty for the root itself. `ENOENT` when there is
/// no such inode, `ENAMETOOLONG` when the path is longer than 4079 bytes.
pub fn path_of_inode(dir: &Dir, tree: u64, inode: u64) -> Result<OsString> {
    let found = inode_lookup(dir, tree, inode)
        .map_err(|e| Error::path("look up a directory in subvolume", dir.path(), e))?;
    let end = found.name.iter().position(|b| *b == 0).unwrap_or(found.name.len());
    let path = found.name[..end].strip_suffix(b"/").unwrap_or(&found.name[..end]);
    Ok(OsString::from_vec(path.to_vec()))
}

/// Asks for a commit and does not wait for it. Subvolumes that were removed before it are freed after it.
pub fn start_sync(dir: &Dir) -> Result<()> {
    ioctl(dir, READ, 24, &mut 0u64).map_err(|e| Error::path("sync", dir.path(), e))
}
