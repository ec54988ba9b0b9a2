//! A tree in which no device can be opened, whoever makes one there.

use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

use nix::errno::Errno;
use nix::libc;

// linux/mount.h
const OPEN_TREE_CLONE: libc::c_uint = 1;
const AT_RECURSIVE: libc::c_uint = 0x8000;
const MOUNT_ATTR_RDONLY: u64 = 1;
const MOUNT_ATTR_NODEV: u64 = 4;

#[repr(C)]
struct MountAttributes {
    set: u64,
    clear: u64,
    propagation: u64,
    user_namespace: u64,
}

/// A handle (`O_PATH`) on the directory `dir` and all that is mounted below it, by mounts of its own that are read-only
/// and know no devices (`nodev`): opening one there fails with `EACCES` before it is woken. The mounts are nowhere to be
/// seen, and end with the handle.
///
/// `None` before Linux 5.18: `open_tree` is of 5.2, `mount_setattr` of 5.12, and until 5.18 two mounts of one
/// filesystem could not share data. `None` too where this process may not mount.
#[allow(unsafe_code)]
pub fn without_devices(dir: impl AsFd) -> Option<OwnedFd> {
    if release()? < (5, 18) {
        return None;
    }
    let empty = libc::AT_EMPTY_PATH as libc::c_uint;
    let flags = OPEN_TREE_CLONE | AT_RECURSIVE | empty | libc::O_CLOEXEC as libc::c_uint;
    let dir = dir.as_fd().as_raw_fd();
    // SAFETY: the path is a NUL-terminated constant; the kernel reads nothing else.
    let answer = unsafe { libc::syscall(libc::SYS_open_tree, dir, c"".as_ptr(), flags) };
    let fd = i32::try_from(Errno::result(answer).ok()?).ok()?;
    // SAFETY: the kernel has just made this descriptor, and nobody else owns it.
    let tree = unsafe { OwnedFd::from_raw_fd(fd) };
    let quiet = MountAttributes {
        set: MOUNT_ATTR_RDONLY | MOUNT_ATTR_NODEV,
        clear: 0,
        propagation: 0,
        user_namespace: 0,
    };
    // SAFETY: the path is a NUL-terminated constant, and the attributes, as long as is said, live through the call.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            tree.as_raw_fd(),
            c"".as_ptr(),
            empty | AT_RECURSIVE,
            &raw const quiet,
            size_of::<MountAttributes>(),
        )
    };
    Errno::result(answer).ok()?;
    Some(tree)
}

/// The version of the kernel.
fn release() -> Option<(u32, u32)> {
    let name = nix::sys::utsname::uname().ok()?;
    let mut numbers = name.release().to_str()?.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::copying::{make_file, open_file};
    use crate::host::entries::reopen;
    use crate::host::program::Program;

    #[test]
    fn no_device_is_opened_and_nothing_written_in_such_a_tree() {
        let temp = tempfile::tempdir_in("/var/tmp").unwrap();
        let top = std::fs::File::open(temp.path()).unwrap();
        Program::new("mknod").arg(temp.path().join("null")).args(["c", "1", "3"]).succeed().unwrap();
        std::fs::write(temp.path().join("file"), "").unwrap();
        open_file(&top, c"null").unwrap();
        let tree = without_devices(&top).expect("this kernel and root can");
        let root = reopen(&tree).unwrap();
        assert_eq!(open_file(&root, c"null").unwrap_err().raw_os_error(), Some(libc::EACCES));
        open_file(&root, c"file").unwrap();
        assert_eq!(make_file(&root, c"other", 0o600).unwrap_err().raw_os_error(), Some(libc::EROFS));
        make_file(&top, c"other", 0o600).unwrap();
    }
}
