//! Extended attributes of an open file or directory.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd};

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
}
