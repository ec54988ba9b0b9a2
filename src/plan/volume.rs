//! A volume and a scope as steps name them: enough to act on them without the registry.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::domain::error::{Error, Result};
use crate::domain::owner::Owner;
use crate::domain::quota::{Folders, Storage};
use crate::domain::record::Volume;
use crate::host::dir::Dir;
use crate::host::process::{mount_of, own_mounts};
use crate::host::{self, deadline, files, probe};
use crate::quota::{self, QuotaDriver, ScopeAt, Work};
use crate::registry::root::MARKER;

/// A volume that a step works on.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct VolumeAt {
    /// The registry's id, as in the marker.
    pub registry: Uuid,
    /// The volume's id, as in the marker.
    pub id: Uuid,
    /// Its name.
    pub name: String,
    /// Where it is mounted.
    pub path: PathBuf,
    /// What sets its limits.
    #[serde(flatten)]
    pub storage: Storage,
    /// What a folder is on it.
    pub folders: Folders,
    /// Whether the registry says what to mount there.
    #[serde(default)]
    pub has_source: bool,
}

/// Where volumes did not answer.
static SILENT: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

/// Filesystems whose calls end whatever becomes of other hosts and programs.
const LOCAL: [&str; 8] = ["btrfs", "ext2", "ext3", "ext4", "overlay", "tmpfs", "xfs", "zfs"];

fn may_hang(path: &Path) -> Result<bool> {
    let mounts = own_mounts()?;
    Ok(mount_of(&mounts, path).is_none_or(|mount| !LOCAL.contains(&mount.filesystem.as_str())))
}

impl VolumeAt {
    /// From the registry.
    pub fn new(registry: Uuid, name: &str, volume: &Volume) -> VolumeAt {
        VolumeAt {
            registry,
            id: volume.id,
            name: name.to_owned(),
            path: PathBuf::from(&volume.path),
            storage: volume.storage.clone(),
            folders: volume.folders,
            has_source: volume.mount.is_some(),
        }
    }

    /// What brings it back where it is not mounted.
    pub fn remedy(&self) -> String {
        match self.has_source {
            true => format!("mount it: vfadm volume mount {}", self.name),
            false => "mount it".to_owned(),
        }
    }

    /// Its driver.
    pub fn driver(&self) -> Box<dyn QuotaDriver> {
        quota::driver(&self.storage)
    }

    /// Whether its filesystem depends on other hosts or programs.
    pub(super) fn may_hang(&self) -> Result<bool> {
        may_hang(&self.path)
    }

    /// The limit that its storage makes of one: never less.
    pub fn effective(&self, limit: Option<u64>) -> Option<u64> {
        let driver = self.driver();
        limit.map(|bytes| driver.effective(&self.path, bytes))
    }

    /// Opens it, after making sure that it is the volume that the registry means: an unmounted volume leaves an
    /// empty directory behind (exit 8).
    pub fn open(&self) -> Result<Dir> {
        self.try_open()?
    }

    /// The same, where it matters whether the volume is not there to be used (the inner error) or that could not be looked
    /// at.
    pub fn try_open(&self) -> Result<Result<Dir>> {
        let path = self.path.clone();
        // A network filesystem without its server would keep the command for ever.
        if self.may_hang()? && !self.answers()? {
            let waited = deadline::PROBE.as_secs();
            let why = format!("{} does not answer (waited {waited} s)", path.display());
            return Ok(Err(self.unusable(&why)));
        }
        let probed = deadline::within(deadline::PROBE, &format!("{}", path.display()), move || {
            let dir = Dir::open(&path)?;
            let marker = files::read(&dir, MARKER, 1 << 20)?;
            Ok::<_, host::Error>((dir, marker))
        });
        let (dir, marker) = match probed.and_then(|probed| probed) {
            Ok(found) => found,
            Err(e) if e.is_shortage() => return Err(e.into()),
            Err(e) if e.errno() == Some(nix::libc::EACCES) => return Ok(Err(self.denied(&e.to_string()))),
            Err(e) => return Ok(Err(self.unusable(&e.to_string()))),
        };
        Ok(match self.mismatch(marker.as_deref()) {
            Some((_, why)) => Err(self.unusable(&why)),
            None => Ok(dir),
        })
    }

    /// Whether it answers. One that did not is not waited for again by the same command, for each of its folders.
    fn answers(&self) -> Result<bool> {
        let mut silent = SILENT.lock().unwrap_or_else(PoisonError::into_inner);
        if silent.contains(&self.path) {
            return Ok(false);
        }
        let answers = probe::answers(&self.path, deadline::PROBE)?;
        if !answers {
            silent.push(self.path.clone());
        }
        Ok(answers)
    }

    /// That root of this host is not let in (exit 8).
    pub fn denied(&self, why: &str) -> Error {
        let path = self.path.display();
        Error::storage(format!(
            "the volume '{}' at {path} does not let root of this host in: {why}",
            self.name
        ))
        .hint(format!(
            "let root in (NFS: export it with no_root_squash), then look: vfadm volume check {}",
            self.name
        ))
    }

    /// That it cannot be used, and why (exit 8).
    pub fn unusable(&self, why: &str) -> Error {
        Error::storage(format!("the volume '{}' is not mounted at {}: {why}", self.name, self.path.display()))
            .hint(match self.has_source {
                true => self.remedy(),
                false => format!("mount it, then look: vfadm volume check {}", self.name),
            })
    }
}

/// A quota scope that a step works on.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ScopePlace {
    /// On which volume.
    pub volume: VolumeAt,
    /// Whose it is.
    pub owner: Owner,
    /// Its directory: the owner's id in 32 digits.
    pub dir: String,
    /// The kernel's number of it.
    pub kernel_id: Option<u64>,
}

impl ScopePlace {
    /// As the driver sees it.
    pub fn at(&self) -> ScopeAt<'_> {
        ScopeAt {
            volume: &self.volume.path,
            dir: &self.dir,
            kernel_id: self.kernel_id,
            folders: self.volume.folders,
        }
    }

    /// Its path, for messages.
    pub fn path(&self) -> PathBuf {
        self.volume.path.join(&self.dir)
    }

    /// Opens its directory on the right volume.
    pub fn open(&self) -> Result<Dir> {
        self.volume.driver().open_scope(&self.volume.open()?, &self.at())
    }

    /// True where its volume is there, and holds nothing of it any more.
    pub fn is_gone(&self) -> Result<bool> {
        self.volume.driver().scope_is_gone(&self.volume.open()?, &self.at())
    }

    /// True where there is nothing at a folder's path below the scope any more, or no scope.
    pub fn lacks_folder(&self, place: &Path) -> Result<bool> {
        if self.is_gone()? {
            return Ok(true);
        }
        let scope = self.open()?;
        let (Some(parents), Some(name)) = (place.parent(), place.file_name()) else { return Ok(true) };
        match scope.open_beneath(parents) {
            Err(e) if e.errno() == Some(nix::libc::ENOENT) => Ok(true),
            parent => Ok(parent?.stat(name)?.is_none()),
        }
    }

    /// Opens its directory, where this host can make, move and remove folders.
    pub fn open_for_folders(&self) -> Result<Dir> {
        self.volume.driver().require_able(Work::Folders(self.volume.folders))?;
        self.open()
    }

    /// Opens a folder by its path below the scope.
    pub fn open_folder(&self, place: &Path) -> Result<Dir> {
        self.open_folder_in(&self.open()?, place)
    }

    /// The same, in the scope's directory.
    pub fn open_folder_in(&self, scope: &Dir, place: &Path) -> Result<Dir> {
        let (Some(parents), Some(name)) = (place.parent(), place.file_name()) else {
            return Err(Error::storage(format!("{} is not a folder's path", place.display())));
        };
        self.volume.driver().open_folder(&self.at(), &scope.open_beneath(parents)?, name)
    }

    /// What it is called in messages.
    pub fn name(&self) -> String {
        self.owner.scope_key(&self.volume.name)
    }
}
