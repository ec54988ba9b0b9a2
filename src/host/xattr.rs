//! Extended attributes of an open file or directory.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};

use nix::errno::Errno;
use nix::libc;

/// Longer than any number or path that is asked for.
const MOST: usize = 4096;

/// The value of an attribute; `None` where the file has none of this name. `EOPNOTSUPP` where the filesystem knows no
/// such attributes.
#[allow(unsafe_code)]
pub fn get(file: impl AsFd, name: &CStr) -> io::Result<Option<Vec<u8>>> {
    let mut value = vec![0_u8; MOST];
    let fd = file.as_fd().as_raw_fd();
    // SAFETY: the name ends with a NUL byte, and the buffer is as long as is said.
    let length = unsafe { libc::fgetxattr(fd, name.as_ptr(), value.as_mut_ptr().cast(), value.len()) };
    match Errno::result(length) {
        Ok(length) => {
            value.truncate(length.unsigned_abs());
            Ok(Some(value))
        }
        Err(Errno::ENODATA) => Ok(None),
        Err(e) => Err(e.into()),
    }
}

/// An attribute whose value is a number in decimal digits; `None` where there is none of this name.
pub fn number(file: impl AsFd, name: &CStr) -> io::Result<Option<u64>> {
    let Some(value) = get(file, name)? else { return Ok(None) };
    let number = std::str::from_utf8(&value).ok().and_then(|text| text.trim().parse().ok());
    number.map(Some).ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))
}

/// The most bytes that a list of names, and that a value can have (`XATTR_LIST_MAX`, `XATTR_SIZE_MAX`).
pub const LONGEST: usize = 64 * 1024;

/// The names of all attributes, each with a NUL byte behind it, in `buffer`; how many bytes they are. None too where
/// the filesystem knows no attributes. `file` may be an `O_PATH` handle; that of a link stands for the link.
#[allow(unsafe_code)]
pub fn list(file: impl AsFd, buffer: &mut [u8]) -> io::Result<usize> {
    let fd = file.as_fd().as_raw_fd();
    let (list, room) = (buffer.as_mut_ptr().cast(), buffer.len());
    // SAFETY: the buffer is as long as is said, and the path ends with a NUL byte.
    let length = match Errno::result(unsafe { libc::flistxattr(fd, list, room) }) {
        Err(Errno::EBADF) => Errno::result(unsafe { libc::listxattr(by_path(fd)?.as_ptr(), list, room) }),
        other => other,
    };
    match length {
        Ok(length) => Ok(length.unsigned_abs()),
        Err(Errno::EOPNOTSUPP) => Ok(0),
        Err(e) => Err(e.into()),
    }
}

/// The names in a list that `list` made.
pub fn names(list: &[u8]) -> impl Iterator<Item = &CStr> {
    list.split_inclusive(|byte| *byte == 0).filter_map(|name| CStr::from_bytes_with_nul(name).ok())
}

/// Reads a value into `buffer`; how many bytes it is. `ENODATA` where there is none of this name, `ERANGE` when the
/// buffer is too small.
#[allow(unsafe_code)]
pub fn read(file: impl AsFd, name: &CStr, buffer: &mut [u8]) -> io::Result<usize> {
    let fd = file.as_fd().as_raw_fd();
    let (value, room) = (buffer.as_mut_ptr().cast(), buffer.len());
    // SAFETY: the buffer is as long as is said, and the name and the path end with a NUL byte.
    let length = match Errno::result(unsafe { libc::fgetxattr(fd, name.as_ptr(), value, room) }) {
        Err(Errno::EBADF) => {
            Errno::result(unsafe { libc::getxattr(by_path(fd)?.as_ptr(), name.as_ptr(), value, room) })
        }
        other => other,
    };
    Ok(length?.unsigned_abs())
}

/// Makes or replaces an attribute.
#[allow(unsafe_code)]
pub fn set(file: impl AsFd, name: &CStr, value: &[u8]) -> io::Result<()> {
    let fd = file.as_fd().as_raw_fd();
    let (bytes, length) = (value.as_ptr().cast(), value.len());
    // SAFETY: the value is as long as is said, and the name and the path end with a NUL byte.
    match Errno::result(unsafe { libc::fsetxattr(fd, name.as_ptr(), bytes, length, 0) }) {
        Err(Errno::EBADF) => {
            let path = by_path(fd)?;
            Errno::result(unsafe { libc::setxattr(path.as_ptr(), name.as_ptr(), bytes, length, 0) })?;
        }
        other => drop(other?),
    }
    Ok(())
}

/// Removes an attribute; none of this name: `Ok`.
#[allow(unsafe_code)]
pub fn remove(file: impl AsFd, name: &CStr) -> io::Result<()> {
    let fd = file.as_fd().as_raw_fd();
    // SAFETY: the name and the path end with a NUL byte.
    let removed = match Errno::result(unsafe { libc::fremovexattr(fd, name.as_ptr()) }) {
        Err(Errno::EBADF) => {
            Errno::result(unsafe { libc::removexattr(by_path(fd)?.as_ptr(), name.as_ptr()) })
        }
        other => other,
    };
    match removed {
        Ok(_) | Err(Errno::ENODATA) => Ok(()),
        Err(e) => Err(e.into()),
    }
}

/// What leads to an `O_PATH` handle, which the calls by descriptor refuse.
fn by_path(fd: RawFd) -> io::Result<CString> {
    Ok(CString::new(format!("/proc/self/fd/{fd}"))?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::program::Program;

    #[test]
    fn a_number_is_read_and_what_is_none_is_an_error() {
        let temp = tempfile::tempdir_in("/dev/shm").unwrap();
        let file = std::fs::File::open(temp.path()).unwrap();
        assert_eq!(number(&file, c"trusted.limit").unwrap(), None);
        let set = |value: &str| {
            let words = ["-n", "trusted.limit", "-v", value];
            Program::new("setfattr").args(words).arg(temp.path()).succeed().unwrap();
        };
        set("8388608");
        assert_eq!(number(&file, c"trusted.limit").unwrap(), Some(8 << 20));
        set("much");
        assert_eq!(number(&file, c"trusted.limit").unwrap_err().kind(), io::ErrorKind::InvalidData);
    }

    #[test]
    fn attributes_of_a_handle_without_access_are_read_and_written_too() {
        let temp = tempfile::tempdir_in("/dev/shm").unwrap();
        let fifo = temp.path().join("fifo");
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let dir = std::fs::File::open(temp.path()).unwrap();
        let special = super::super::copying::open_any(&dir, c"fifo").unwrap();
        let mut buffer = [0; 1000];
        for file in [dir.as_fd(), special.as_fd()] {
            assert_eq!(list(file, &mut buffer).unwrap(), 0);
            set(file, c"trusted.a", b"1").unwrap();
            set(file, c"trusted.b", b"").unwrap();
            let length = list(file, &mut buffer).unwrap();
            let mut found: Vec<_> = names(&buffer[..length]).map(CStr::to_owned).collect();
            found.sort();
            assert_eq!(found, [c"trusted.a".to_owned(), c"trusted.b".to_owned()]);
            assert_eq!(read(file, c"trusted.a", &mut buffer).unwrap(), 1);
            assert_eq!((buffer[0], read(file, c"trusted.b", &mut buffer).unwrap()), (b'1', 0));
            assert_eq!(list(file, &mut buffer[..3]).unwrap_err().raw_os_error(), Some(libc::ERANGE));
            remove(file, c"trusted.a").unwrap();
            remove(file, c"trusted.a").unwrap();
            assert_eq!(
                read(file, c"trusted.a", &mut buffer).unwrap_err().raw_os_error(),
                Some(libc::ENODATA)
            );
        }
    }
}
