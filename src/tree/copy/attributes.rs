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
    /// It is of an earlier run, and may have attributes that the source has not.
    pub(super) existed: bool,
}

/// Gives the copy owner, mode and attributes of the source, but neither times nor the ACL for new entries; true when
/// there is one. `note` is told what the target refuses.
pub(super) fn copy(
    copy: &Copy<'_>,
    buffers: &mut Buffers,
    note: &mut dyn FnMut(String),
) -> Result<bool, Trouble> {
    let Buffers { names, value, .. } = buffers;
    let length = grown(names, |buffer| xattr::list(copy.source, buffer)).map_err(Trouble::Source)?;
    let names = &names[..length];
    if copy.existed {
        remove_others(copy.target, names, note).map_err(Trouble::Target)?;
    }
    // The order matters: a change of the owner takes setuid and capabilities away, one of the mode alters an ACL.
    copying::set_ids(copy.target, copy.status.ids).map_err(Trouble::Target)?;
    let mode = copy.status.mode & 0o7777;
    if copy.mode != Some(mode) {
        copying::set_mode(copy.target, mode).map_err(Trouble::Target)?;
    }
    let mut has_default = false;
    for name in xattr::names(names).filter(|name| !is_computed(name)) {
        if name == DEFAULT_ACL {
            has_default = true;
            continue;
        }
        copy_one(copy.source, copy.target, name, value, note)?;
    }
    Ok(has_default)
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
fn remove_others(target: BorrowedFd<'_>, names: &[u8], note: &mut dyn FnMut(String)) -> io::Result<()> {
    let mut there = Vec::new();
    let length = grown(&mut there, |buffer| xattr::list(target, buffer))?;
    for name in xattr::names(&there[..length]) {
        // SELinux labels everything, and takes no label away.
        let stays = is_computed(name) || name == c"security.selinux";
        if !stays && (name == DEFAULT_ACL || xattr::names(names).all(|other| other != name)) {
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
