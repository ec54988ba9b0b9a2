//! A driver on a host that cannot set the volume's limits, as where ZFS or XFS is behind NFS.

use std::ffi::OsStr;
use std::path::Path;

use super::{Capacity, Escape, Handover, PlaceIn, QuotaDriver, Readiness, Reading, Removal, ScopeAt, Work};
use crate::domain::error::{Error, Result};
use crate::domain::quota::{DriverKind, Enforcement, Folders};
use crate::host;
use crate::host::dir::Dir;
use crate::host::process::hostname;
use crate::tree::Progress;

/// Does what any host can do with files, and refuses (exit 8) what needs the storage's own tools.
pub struct Elsewhere {
    /// What it would be on the right host.
    pub driver: Box<dyn QuotaDriver>,
    /// The right host.
    pub host: String,
}

impl Elsewhere {
    fn refusal(&self) -> Error {
        Error::storage(format!(
            "limits of this volume ({}) can be set and read on the host '{}' only; this is '{}'",
            self.driver.kind().name(),
            self.host,
            hostname()
        ))
        .hint(format!("run the same command on {}", self.host))
        .detail("quota_host", self.host.clone())
    }
}

impl QuotaDriver for Elsewhere {
    fn kind(&self) -> DriverKind {
        self.driver.kind()
    }

    fn default_folders(&self) -> Folders {
        self.driver.default_folders()
    }

    fn supports(&self, folders: Folders) -> bool {
        self.driver.supports(folders)
    }

    fn wants_kernel_id(&self) -> bool {
        self.driver.wants_kernel_id()
    }

    fn inspect(&self, _volume: &Path) -> Result<Readiness> {
        let refusal = self.refusal();
        Ok(Readiness::Unable { reason: refusal.message, remedy: refusal.hint.unwrap_or_default() })
    }

    fn require_able(&self, work: Work) -> Result<()> {
        match work {
            Work::Folders(Folders::Directory) => Ok(()),
            _ => Err(self.refusal()),
        }
    }

    fn enable(&self, _volume: &Path) -> Result<()> {
        Err(self.refusal())
    }

    fn enforcement(&self, _volume: &Path) -> Result<(Enforcement, Option<String>)> {
        Err(self.refusal())
    }

    fn kernel_id_is_free(&self, _volume: &Path, _id: u64) -> Result<bool> {
        Err(self.refusal())
    }

    fn open_folder(&self, scope: &ScopeAt<'_>, parent: &Dir, name: &OsStr) -> Result<Dir> {
        if scope.folders == Folders::Directory {
            return Ok(parent.open_beneath(Path::new(name))?);
        }
        let dir = parent.open_dir(name)?;
        match dir.stat_self()?.st_dev == parent.stat_self()?.st_dev {
            true => Err(Error::storage(format!("nothing is mounted at {}", parent.join(name).display()))),
            false => Ok(dir),
        }
    }

    fn prepare_scope(&self, _scope: &ScopeAt<'_>) -> Result<()> {
        Err(self.refusal())
    }

    fn remove_scope(&self, _scope: &ScopeAt<'_>) -> Result<Removal> {
        Err(self.refusal())
    }

    fn drain(&self, _scope: &ScopeAt<'_>) -> Result<Removal> {
        Ok(Removal::Draining)
    }

    fn effective(&self, volume: &Path, bytes: u64) -> u64 {
        self.driver.effective(volume, bytes)
    }

    fn set_limit(&self, _scope: &ScopeAt<'_>, _limit: Option<u64>) -> Result<()> {
        Err(self.refusal())
    }

    fn read(&self, _volume: &Path, _scopes: &[ScopeAt<'_>]) -> Result<Vec<Result<Reading>>> {
        Err(self.refusal())
    }

    fn make_folder(&self, scope: &ScopeAt<'_>, parent: &Dir, name: &OsStr) -> Result<()> {
        match scope.folders {
            Folders::Directory => self.driver.make_folder(scope, parent, name),
            _ => Err(self.refusal()),
        }
    }

    fn remove_empty_folder(&self, scope: &ScopeAt<'_>, parent: &Dir, name: &OsStr) -> Result<()> {
        match scope.folders {
            Folders::Directory => self.driver.remove_empty_folder(scope, parent, name),
            _ => Err(self.refusal()),
        }
    }

    fn remove_folder(
        &self,
        scope: &ScopeAt<'_>,
        parent: &Dir,
        name: &OsStr,
        progress: &dyn Progress,
    ) -> Result<()> {
        match scope.folders {
            Folders::Directory => self.driver.remove_folder(scope, parent, name, progress),
            _ => Err(self.refusal()),
        }
    }

    fn move_folder(&self, scope: &ScopeAt<'_>, from: (&Dir, &OsStr), to: (&Dir, &OsStr)) -> Result<()> {
        match scope.folders {
            Folders::Directory => Ok(from.0.rename(from.1, to.0, to.1)?),
            _ => Err(self.refusal()),
        }
    }

    fn handover(&self, folders: Folders) -> Handover {
        self.driver.handover(folders)
    }

    fn recharge(&self, _to: &ScopeAt<'_>, _folder: &Dir, _progress: &dyn Progress) -> Result<()> {
        Err(self.refusal())
    }

    fn hand_over(&self, _from: PlaceIn<'_>, _to: PlaceIn<'_>) -> Result<()> {
        Err(self.refusal())
    }

    fn reflinks_charge_rightly(&self, _volume: &Path, _folders: Folders, same_scope: bool) -> Result<bool> {
        Ok(same_scope)
    }

    fn audit(&self, _volume: &Path, _scopes: &[ScopeAt<'_>], _found: &mut dyn FnMut(Escape)) -> Result<()> {
        Err(self.refusal())
    }

    fn mend(&self, _volume: &Path, _scopes: &[ScopeAt<'_>], _escape: &Escape) -> Result<()> {
        Err(self.refusal())
    }

    fn capacities(&self, _volume: &Path) -> Result<Vec<Capacity>> {
        Err(self.refusal())
    }

    fn refuses_below_usage(&self) -> bool {
        self.driver.refuses_below_usage()
    }

    fn usage_lags(&self) -> bool {
        self.driver.usage_lags()
    }

    fn despite_limit(&self, _scope: &ScopeAt<'_>, call: &mut dyn FnMut() -> host::Result<()>) -> Result<()> {
        Ok(call()?)
    }
}
