//! Whether files of two directories can share their data.

use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode;

use super::copying;
use super::dir::Dir;

/// True where a file in `to` can share the data of one in `from`: tried with two empty files without a name, which leave
/// no trace. False also where such files cannot be made (FUSE, a full filesystem).
pub fn can_share(from: &Dir, to: &Dir) -> bool {
    let nameless = |dir: &Dir| {
        let flags = OFlag::O_TMPFILE | OFlag::O_RDWR | OFlag::O_CLOEXEC;
        openat(dir, ".", flags, Mode::from_bits_truncate(0o600)).ok()
    };
    nameless(from).zip(nameless(to)).is_some_and(|(from, to)| copying::share(&from, &to).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_cannot() {
        let dir = Dir::open(std::path::Path::new("/dev/shm")).unwrap();
        assert!(!can_share(&dir, &dir));
    }
}
