//! A volume that belongs to one owner: its size is the limit.

use std::ffi::OsStr;
use std::path::Path;

use super::{QuotaDriver, Readiness, Reading, Removal, ScopeAt, btrfs::subvolume, plain};
use crate::domain::error::{Error, Result};
use crate::domain::quota::{DriverKind, Enforcement, Folders};
use crate::host::Error as HostError;
use crate::host::dir::Dir;
use crate::host::process::{Mount, own_mounts};
use crate::host::space::space;
use crate::tree::Progress;

/// The driver of volumes of a fixed size.
pub struct Dedicated;

/// Whether `path`, which must be absolute and free of links, is the mount point of a filesystem of its own.
fn judge(mounts: &[Mount], path: &Path) -> Readiness {
    let unable = |reason: String| Readiness::Unable {
        reason,
        remedy: "mount a filesystem of the wanted size there, which nothing else uses".to_owned(),
    };
    // Of mounts at one place the last one is seen.
    let Some(mount) = mounts.iter().rfind(|m| m.point == path) else {
        return unable(format!("{} is not the mount point of a filesystem of its own", path.display()));
    };
    // Network filesystems show a path of the server here; of a local one only a part is mounted.
    if mount.root != Path::new("/") && mount.source.starts_with('/') {
        return unable(format!(
            "only the part {} of the filesystem on {} is mounted at {}",
            mount.root.display(),
            mount.source,
            path.display()
        ));
    }
    Readiness::Ready
}

impl QuotaDriver for Dedicated {
    fn kind(&self) -> DriverKind {
        DriverKind::Dedicated
    }

    fn default_folders(&self) -> Folders {
        Folders::Directory
    }

    fn inspect(&self, volume: &Path) -> Result<Readiness> {
        plain::open_volume(volume)?;
        let path = volume.canonicalize().map_err(|e| HostError::path("resolve", volume, e))?;
        Ok(judge(&own_mounts()?, &path))
    }

    fn enforcement(&self, _volume: &Path) -> Result<(Enforcement, Option<String>)> {
        Ok((Enforcement::Volume, None))
    }

    fn prepare_scope(&self, scope: &ScopeAt<'_>) -> Result<()> {
        let volume = plain::open_volume(scope.volume)?;
        plain::prepare_scope(&volume, scope.dir)?;
        // Made while there is room for it: a folder of a full volume can go to the trash.
        Ok(volume.open_dir(scope.dir)?.ensure_dir(".trash", plain::SCOPE_MODE).map(drop)?)
    }

    fn remove_scope(&self, scope: &ScopeAt<'_>) -> Result<Removal> {
        plain::remove_scope(&plain::open_volume(scope.volume)?, scope.dir)?;
        Ok(Removal::Gone)
    }

    fn set_limit(&self, scope: &ScopeAt<'_>, _limit: Option<u64>) -> Result<()> {
        Err(Error::storage("the limit of a dedicated volume is its size").hint(format!(
            "to change it, grow the filesystem at {} (btrfs filesystem resize, resize2fs, xfs_growfs)",
            scope.volume.display()
        )))
    }

    fn read(&self, volume: &Path, scopes: &[ScopeAt<'_>]) -> Result<Vec<Result<Reading>>> {
        let space = space(&plain::open_volume(volume)?)?;
        Ok(vec![Ok(Reading { used: Some(space.used), limit: Some(space.total) }); scopes.len()])
    }

    fn remove_folder(
        &self,
        _scope: &ScopeAt<'_>,
        parent: &Dir,
        name: &OsStr,
        progress: &dyn Progress,
    ) -> Result<()> {
        let nested = |parent: &Dir, name: &OsStr| subvolume::remove(None, parent, name, progress);
        Ok(plain::remove_folder(parent, name, &nested, progress)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::error::Code;
    use crate::host::process::parse_mounts;
    use crate::quota::ensure_limit;
    use crate::quota::testing::Image;

    const MOUNTS: &str = "\
21 1 8:1 / / rw - ext4 /dev/sda1 rw
30 21 7:0 / /mnt/alice rw - xfs /dev/loop0 rw
31 21 8:1 /srv/bob /mnt/bob rw - ext4 /dev/sda1 rw
32 21 0:50 /export/carol /mnt/carol rw - nfs4 filer:/export/carol rw
";

    #[test]
    fn only_the_mount_point_of_a_whole_filesystem_is_ready() {
        let mounts = parse_mounts(MOUNTS.as_bytes());
        let ready = |path: &str| judge(&mounts, Path::new(path)) == Readiness::Ready;
        assert!(ready("/mnt/alice"));
        assert!(ready("/mnt/carol"));
        assert!(!ready("/mnt/bob"));
        assert!(!ready("/mnt/alice/deeper"));
        assert!(!ready("/mnt"));
    }

    #[test]
    fn the_size_of_the_volume_is_the_limit() {
        let image = Image::btrfs("dedicated");
        let scope = ScopeAt { volume: image.path(), dir: "s", kernel_id: None, folders: Folders::Directory };
        assert_eq!(Dedicated.inspect(image.path()).unwrap(), Readiness::Ready);
        Dedicated.prepare_scope(&scope).unwrap();
        let reading = Dedicated.read_one(&scope).unwrap();
        assert_eq!(reading.limit, Some(Image::SIZE));
        assert!(reading.used.unwrap() < Image::SIZE / 10);
        assert!(!ensure_limit(&Dedicated, &scope, None).unwrap());
        assert!(!ensure_limit(&Dedicated, &scope, reading.limit).unwrap());
        assert_eq!(ensure_limit(&Dedicated, &scope, Some(1)).unwrap_err().code, Code::Storage);
        std::fs::create_dir(image.path().join("sub")).unwrap();
        let below = Dedicated.inspect(&image.path().join("sub")).unwrap();
        assert!(matches!(below, Readiness::Unable { .. }));
    }
}
