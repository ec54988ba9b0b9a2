//! Size and free room of filesystems.

use super::dir::Dir;
use super::error::{Error, Result};

/// What `statvfs` says, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    /// Size of the filesystem.
    pub total: u64,
    /// What is not free, what the filesystem keeps for root not included.
    pub used: u64,
    /// What an ordinary user can still write.
    pub available: u64,
}

/// The room on the filesystem that holds the directory.
pub fn space(dir: &Dir) -> Result<Space> {
    let stat = nix::sys::statvfs::fstatvfs(dir).map_err(|e| Error::path("read", dir.path(), e))?;
    let bytes = |blocks: u64| blocks.saturating_mul(stat.fragment_size());
    Ok(Space {
        total: bytes(stat.blocks()),
        used: bytes(stat.blocks().saturating_sub(stat.blocks_free())),
        available: bytes(stat.blocks_available()),
    })
}

/// How many files and directories can still be made; `None` where the filesystem makes inodes as it needs them.
pub fn free_inodes(dir: &Dir) -> Result<Option<u64>> {
    let stat = nix::sys::statvfs::fstatvfs(dir).map_err(|e| Error::path("read", dir.path(), e))?;
    Ok((stat.files() > 0).then(|| stat.files_available()))
}

/// The size of the blocks of the filesystem that holds the directory, bytes.
pub fn block_size(dir: &Dir) -> Result<u64> {
    let stat = nix::sys::statvfs::fstatvfs(dir).map_err(|e| Error::path("read", dir.path(), e))?;
    Ok(stat.fragment_size())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_fit_into_the_whole() {
        let space = space(&Dir::open(std::path::Path::new("/dev/shm")).unwrap()).unwrap();
        assert!(space.total > 0 && space.used + space.available <= space.total, "{space:?}");
    }
}
