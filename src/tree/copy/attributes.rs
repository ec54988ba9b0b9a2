//! Owner, mode and extended attributes of one file or directory.

use std::ffi::CStr;
use std::io;
use std::os::fd::BorrowedFd;

use nix::libc;

use super::{Trouble, is_full};
use crate::host::entries::Status;
use crate::host::{self, copying, xattr};

/// The ACL that new entries of a directory get.
pub(super) const DEFAULT_ACL: &CStr = c"system.posix_acl_default";
/// What a program may do beyond its user.
const CAPABILITIES: &CStr = c"security.capability";

/// What a thread reads into, again and again.
#[derive(Default)]
pub(super) struct Buffers {
    /// The content of files.
    pub(super) data: Vec<u8>,
    names: Vec<u8>,
    value: Vec<u8>,
}

/// What the copy of an entry is like.
pub(super) struct Copy<'a> {
    pub(super) source: BorrowedFd<'a>,
    pub(super) target: BorrowedFd<'a>,
    pub(super) status: &'a Status,
    /// The permissions that the target has, where they are known.
    pub(super) mode: Option<u32>,
    /// The owner and group that it has, where they are known.
    pub(super) ids: Option<(u32, u32)>,
    /// It is of an earlier run, and may have attributes that the source has not.
    pub(super) existed: bool,
    /// Capabilities are left out.
    pub(super) strip: bool,
}

/// What the source has beside what was copied.
#[derive(Default)]
pub(super) struct Left {
    /// An ACL for new entries.
    pub(super) has_default: bool,
    /// Capabilities, which were to be left out.
    pub(super) capabilities: bool,
}

/// Gives the copy owner, mode and attributes of the source, but neither times nor the ACL for new entries. `note` is
/// told what the target refuses.
pub(super) fn copy(
    copy: &Copy<'_>,
    buffers: &mut Buffers,
    note: &mut dyn FnMut(String),
) -> Result<Left, Trouble> {
    let Buffers { names, value, .. } = buffers;
    let length = grown(names, |buffer| xattr::list(copy.source, buffer)).map_err(Trouble::Source)?;
    let names = &names[..length];
    if copy.existed {
        remove_others(copy, names, note).map_err(Trouble::Target)?;
    }
    // The order matters: a change of the owner takes setuid and capabilities away, one of the mode alters an ACL.
    if copy.ids != Some(copy.status.ids) {
        copying::set_ids(copy.target, copy.status.ids).map_err(Trouble::Target)?;
    }
    let mode = copy.status.mode & 0o7777;
    if copy.mode != Some(mode) {
        copying::set_mode(copy.target, mode).map_err(Trouble::Target)?;
    }
    let mut left = Left::default();
    for name in xattr::names(names).filter(|name| !is_computed(name)) {
        if name == DEFAULT_ACL {
            left.has_default = true;
        } else if copy.strip && name == CAPABILITIES {
            left.capabilities = true;
        } else {
            copy_one(copy.source, copy.target, name, value, note)?;
        }
    }
    Ok(left)
}

/// True when the file has capabilities.
pub(super) fn has_capabilities(file: BorrowedFd<'_>, buffers: &mut Buffers) -> Result<bool, Trouble> {
    let names = &mut buffers.names;
    let length = grown(names, |buffer| xattr::list(file, buffer)).map_err(Trouble::Source)?;
    Ok(xattr::names(&names[..length]).any(|name| name == CAPABILITIES))
}

/// Copies one attribute; one that the source lost meanwhile is left out.
pub(super) fn copy_one(
    source: BorrowedFd<'_>,
    target: BorrowedFd<'_>,
    name: &CStr,
    value: &mut Vec<u8>,
    note: &mut dyn FnMut(String),
) -> Result<(), Trouble> {
    let length = match grown(value, |buffer| xattr::read(source, name, buffer)) {
        Ok(length) => length,
        Err(e) if e.raw_os_error() == Some(libc::ENODATA) => return Ok(()),
        Err(e) => return Err(Trouble::Source(e)),
    };
    match xattr::set(target, name, &value[..length]) {
        Ok(()) => Ok(()),
        // ext4 answers so too when a value is longer than it can keep.
        Err(e) if e.raw_os_error() == Some(libc::ENOSPC) && !copying::is_full(target) => {
            note(refused(name, &e));
            Ok(())
        }
        Err(e) if is_full(e.raw_os_error()) || e.raw_os_error() == Some(libc::EIO) => Err(Trouble::Target(e)),
        Err(e) => {
            note(refused(name, &e));
            Ok(())
        }
    }
}

impl Buffers {
    /// Copies the ACL for new entries.
    pub(super) fn copy_default_acl(
        &mut self,
        source: BorrowedFd<'_>,
        target: BorrowedFd<'_>,
        note: &mut dyn FnMut(String),
    ) -> Result<(), Trouble> {
        copy_one(source, target, DEFAULT_ACL, &mut self.value, note)
    }
}

fn refused(name: &CStr, error: &io::Error) -> String {
    format!("the attribute {:?} was refused: {}", name.to_string_lossy(), host::error::reason(error))
}

/// Removes the attributes whose names are not among `names`, and the ACL for new entries.
fn remove_others(copy: &Copy<'_>, names: &[u8], note: &mut dyn FnMut(String)) -> io::Result<()> {
    let (target, mut there) = (copy.target, Vec::new());
    let goes = |name: &CStr| name == DEFAULT_ACL || (copy.strip && name == CAPABILITIES);
    let length = grown(&mut there, |buffer| xattr::list(target, buffer))?;
    for name in xattr::names(&there[..length]) {
        // SELinux labels everything, and takes no label away.
        let stays = is_computed(name) || name == c"security.selinux";
        if !stays && (goes(name) || xattr::names(names).all(|other| other != name)) {
            match xattr::remove(target, name) {
                Err(e) if is_full(e.raw_os_error()) => return Err(e),
                Err(e) => note(format!(
                    "the attribute {:?} stays: {}",
                    name.to_string_lossy(),
                    host::error::reason(&e)
                )),
                Ok(()) => {}
            }
        }
    }
    Ok(())
}

/// Ceph computes its attributes, and has layouts among them that are those of the pools of one filesystem. XFS shows
/// root the ACLs, which are copied as such, a second time.
fn is_computed(name: &CStr) -> bool {
    let name = name.to_bytes();
    name.starts_with(b"ceph.") || matches!(name, b"trusted.SGI_ACL_FILE" | b"trusted.SGI_ACL_DEFAULT")
}

/// Calls with a small buffer, which is faster, and again with the largest that can be needed.
fn grown(buffer: &mut Vec<u8>, mut call: impl FnMut(&mut [u8]) -> io::Result<usize>) -> io::Result<usize> {
    const USUAL: usize = 1024;
    if buffer.is_empty() {
        buffer.resize(USUAL, 0);
    }
    match call(&mut buffer[..USUAL]) {
        Err(e) if e.raw_os_error() == Some(libc::ERANGE) => {
            buffer.resize(xattr::LONGEST, 0);
            call(buffer)
        }
        other => other,
    }
}
