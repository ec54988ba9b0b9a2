//! Filesystems in files: made, recognised, found on their loop device, grown.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, fallocate};

use super::dir::{Dir, create_file};
use super::error::{Error, Result};

/// Where the superblocks of ext4 (`s_uuid`) and XFS (`sb_uuid`) keep the filesystem's id.
const UUIDS: [(u64, [u8; 2], u64); 2] = [(1024 + 0x38, [0x53, 0xef], 1024 + 0x68), (0, *b"XF", 32)];

/// Makes a file of this size (0600) and takes its room on the disk, so that it cannot run out later. False where the
/// filesystem cannot take room ahead: then the file is sparse. An existing file is `EEXIST`.
pub fn make(dir: &Dir, name: &str, bytes: u64) -> Result<bool> {
    let file = create_file(dir, name, 0o600)?;
    reserve(&file, &dir.join(name), bytes)
}

/// Makes a file larger, and takes the room; see [`make`]. When that fails it has its size again.
pub fn extend(path: &Path, bytes: u64) -> Result<bool> {
    let file = File::options().read(true).write(true).open(path).map_err(|e| Error::path("open", path, e))?;
    let before = file.metadata().map_err(|e| Error::path("measure", path, e))?.len();
    if before >= bytes {
        return Ok(true);
    }
    reserve(&file, path, bytes).inspect_err(|_| {
        let _ = file.set_len(before);
    })
}

fn reserve(file: &File, path: &Path, bytes: u64) -> Result<bool> {
    let size = i64::try_from(bytes).map_err(|_| Error::path("make room in", path, Errno::EFBIG))?;
    match fallocate(file, FallocateFlags::empty(), 0, size) {
        Ok(()) => Ok(true),
        Err(Errno::EOPNOTSUPP) => {
            file.set_len(bytes).map_err(|e| Error::path("make room in", path, e)).map(|()| false)
        }
        Err(e) => Err(Error::path("make room in", path, e)),
    }
}

/// The id of the ext4 or XFS filesystem in a file; `None` when there is none, or no file.
pub fn filesystem_id(path: &Path) -> Option<[u8; 16]> {
    let file = File::open(path).ok()?;
    UUIDS.iter().find_map(|(magic_at, magic, id_at)| {
        let (mut found, mut id) = ([0; 2], [0; 16]);
        file.read_exact_at(&mut found, *magic_at).ok()?;
        file.read_exact_at(&mut id, *id_at).ok()?;
        (found == *magic).then_some(id)
    })
}

/// The loop device that stands for a file.
pub fn loop_device(path: &Path) -> Option<PathBuf> {
    let path = path.canonicalize().ok()?;
    let entries = std::fs::read_dir("/sys/block").ok()?;
    entries.flatten().find_map(|entry| {
        let backing = std::fs::read_to_string(entry.path().join("loop/backing_file")).ok()?;
        (Path::new(backing.trim_end_matches('\n')) == path).then(|| Path::new("/dev").join(entry.file_name()))
    })
}

mod raw {
    /// `struct xfs_fsop_geom_v1` of xfs_fs.h, as far as it is read.
    #[repr(C)]
    pub struct Geometry {
        pub block_size: u32,
        rest: [u32; 7],
        pub data_blocks: u64,
        end: [u64; 9],
    }

    nix::ioctl_read!(geometry, b'X', 100, Geometry);

    impl Geometry {
        pub fn new() -> Geometry {
            Geometry { block_size: 0, rest: [0; 7], data_blocks: 0, end: [0; 9] }
        }
    }
}

/// The size of a mounted filesystem that `kind` (`ext4`, `xfs`) names, bytes: what it takes of its device, and not what
/// is left of that for files. ext4 keeps it in its superblock, XFS is asked.
#[allow(unsafe_code)]
pub fn filesystem_size(kind: &str, mount: &Path, device: &Path) -> Result<u64> {
    if kind == "xfs" {
        let dir = File::open(mount).map_err(|e| Error::path("open", mount, e))?;
        let mut geometry = raw::Geometry::new();
        // SAFETY: the kernel fills a struct of the size that the request number carries.
        unsafe { raw::geometry(dir.as_raw_fd(), &mut geometry) }
            .map_err(|e| Error::path("measure", mount, e))?;
        return Ok(geometry.data_blocks.saturating_mul(u64::from(geometry.block_size)));
    }
    let file = File::open(device).map_err(|e| Error::path("open", device, e))?;
    let number = |at: u64| {
        let mut bytes = [0; 4];
        file.read_exact_at(&mut bytes, 1024 + at).map_err(|e| Error::path("read", device, e))?;
        Ok::<u32, Error>(u32::from_le_bytes(bytes))
    };
    // `s_blocks_count_lo`, `s_log_block_size`, `s_blocks_count_hi` (ext4's documentation, "The Super Block").
    let blocks = u64::from(number(0x4)?) | u64::from(number(0x150)?) << 32;
    Ok(blocks << (10 + number(0x18)?.min(6)))
}

/// The size of a file in bytes.
pub fn size(path: &Path) -> Result<u64> {
    std::fs::metadata(path).map(|meta| meta.len()).map_err(|e| Error::path("measure", path, e))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_takes_its_room_grows_and_is_made_once() {
        let temp = tempfile::tempdir_in("/dev/shm").unwrap();
        let dir = Dir::open(temp.path()).unwrap();
        assert!(make(&dir, "x.img", 1 << 20).unwrap());
        assert_eq!(make(&dir, "x.img", 1 << 20).unwrap_err().errno(), Some(nix::libc::EEXIST));
        let path = temp.path().join("x.img");
        assert_eq!(size(&path).unwrap(), 1 << 20);
        extend(&path, 3 << 20).unwrap();
        extend(&path, 2 << 20).unwrap();
        assert_eq!(size(&path).unwrap(), 3 << 20);
        assert_eq!(extend(&path, u64::MAX).unwrap_err().errno(), Some(nix::libc::EFBIG));
        assert_eq!(filesystem_id(&path), None);
        assert_eq!(loop_device(&path), None);
    }

    #[test]
    fn a_filesystem_is_known_by_its_id() {
        let temp = tempfile::tempdir_in("/dev/shm").unwrap();
        let dir = Dir::open(temp.path()).unwrap();
        let id = "6f1c0d5e-8a53-4a5e-9d3c-2f6f6a0f7b11";
        make(&dir, "x.img", 8 << 20).unwrap();
        let path = temp.path().join("x.img");
        let program = crate::host::program::Program::new("mkfs.ext4").args(["-q", "-U", id]).arg(&path);
        program.succeed().unwrap();
        let found = filesystem_id(&path).map(uuid::Uuid::from_bytes).map(|u| u.to_string());
        assert_eq!(found.as_deref(), Some(id));
    }
}
