//! A plain directory without limits.

use std::ffi::OsStr;
use std::path::Path;

use super::{Handover, QuotaDriver, Readiness, Reading, Removal, ScopeAt, btrfs::subvolume, plain};
use crate::domain::error::{Error, Result};
use crate::domain::quota::{DriverKind, Enforcement, Folders};
use crate::host::dir::Dir;
use crate::tree::Progress;

/// The driver that works on every filesystem and enforces nothing.
pub struct NoLimits;

impl QuotaDriver for NoLimits {
    fn kind(&self) -> DriverKind {
        DriverKind::None
    }

    fn default_folders(&self) -> Folders {
        Folders::Directory
    }

    fn inspect(&self, volume: &Path) -> Result<Readiness> {
        plain::open_volume(volume)?;
        Ok(Readiness::Ready)
    }

    fn enforcement(&self, _volume: &Path) -> Result<(Enforcement, Option<String>)> {
        Ok((Enforcement::None, None))
    }

    fn prepare_scope(&self, scope: &ScopeAt<'_>) -> Result<()> {
        Ok(plain::prepare_scope(&plain::open_volume(scope.volume)?, scope.dir)?)
    }

    fn remove_scope(&self, scope: &ScopeAt<'_>) -> Result<Removal> {
        plain::remove_scope(&plain::open_volume(scope.volume)?, scope.dir)?;
        Ok(Removal::Gone)
    }

    fn set_limit(&self, scope: &ScopeAt<'_>, limit: Option<u64>) -> Result<()> {
        if limit.is_none() {
            return Ok(());
        }
        let volume = scope.volume.display();
        Err(Error::storage(format!("the volume at {volume} cannot enforce a limit: its quota driver is 'none'"))
            .hint(
                "use a volume on storage with quotas: vfadm volume add NAME PATH --quota auto says what it can do",
            ))
    }

    fn read(&self, _volume: &Path, scopes: &[ScopeAt<'_>]) -> Result<Vec<Result<Reading>>> {
        Ok(vec![Ok(Reading { used: None, limit: None }); scopes.len()])
    }

    fn handover(&self, _folders: Folders) -> Handover {
        Handover::AtOnce
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
    use crate::quota::ensure_limit;

    #[test]
    fn a_limit_is_refused_and_none_is_unchanged() {
        let temp = tempfile::tempdir().unwrap();
        let scope = ScopeAt { volume: temp.path(), dir: "s", kernel_id: None, folders: Folders::Directory };
        NoLimits.prepare_scope(&scope).unwrap();
        assert!(!ensure_limit(&NoLimits, &scope, None).unwrap());
        let error = ensure_limit(&NoLimits, &scope, Some(1)).unwrap_err();
        assert_eq!(error.code, Code::Storage);
        assert!(error.hint.unwrap().contains("--quota auto"));
    }
}
