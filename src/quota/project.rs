//! Project quotas of XFS and ext4: a scope is a directory whose project every new entry inherits, and the limit is the
//! project's.
//!
//! The number is given to the empty scope directory by handle (`FS_IOC_FSSETXATTR`); no tree is ever tagged, and
//! `/etc/projects` is not read. Limits are set and read by `xfs_quota`, which knows ext4 as well (`-f`) and prints one
//! form for both; of `quota`'s own tools none reads one project without its name.
//!
//! As tried on Linux 6.1:
//! * XFS stops everybody with `ENOSPC`, root too; ext4 stops everybody but root, with `EDQUOT`.
//! * `xfs_quota` ends with status 0 for almost every failure. It says what went wrong on stderr, or nothing at all.
//! * The tool takes whole KiB, and rounds a number of bytes down. XFS makes whole blocks of them, rounded up; ext4 does
//!   not. A limit of 0 is none.
//! * In a full project of XFS root can move and remove entries, but not make them ([`room`]).
//! * XFS charges each file in full that shares its extents with others (`FICLONE`, `copy_file_range`), across projects
//!   and within one, and stops a reflink at the limit. ext4 has none.
//! * The owner of a file can take it out of its project (`chattr -p`), unless it lives in a user namespace.

mod audit;
mod recharge;
mod renew;
mod report;
mod room;
mod tool;

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use nix::libc;

use super::{Capacity, Escape, Handover, PlaceIn, QuotaDriver, Readiness, Reading, Removal, ScopeAt, plain};
use crate::domain::error::{Error, Result};
use crate::domain::quota::{DriverKind, Enforcement, Folders};
use crate::host::dir::Dir;
use crate::host::process::{Mount, mount_of, own_mounts};
use crate::host::project::{Project, project, set_project};
use crate::host::space::block_size;
use crate::host::{self, Error as HostError, program};
use crate::tree::Progress;
use tool::Tool;

/// The driver of XFS and of ext4.
pub struct ProjectQuota {
    /// Which of the two.
    pub kind: DriverKind,
}

/// What the tool takes and prints.
const UNIT: u64 = 1024;
/// `struct fsxattr` holds a number of 32 bits; the last one is the kernel's own.
const IDS: u64 = u32::MAX as u64 - 1;

fn id_of(scope: &ScopeAt<'_>) -> Result<u32> {
    scope.kernel_id.and_then(|id| u32::try_from(id).ok()).ok_or_else(|| {
        Error::storage(format!("the quota scope {} has no project id", scope.dir))
            .hint("see: vfadm volume check")
    })
}

/// The least multiple of the block, and of what the tool takes, that is not less.
fn round_up(bytes: u64, block: u64) -> u64 {
    let unit = block.max(UNIT);
    bytes.max(1).div_ceil(unit).saturating_mul(unit)
}

/// Sees to it that a directory is charged to a project.
fn give(dir: &Dir, wanted: Project) -> Result<()> {
    let failed = |e| HostError::path("set the project of", dir.path(), e);
    if project(dir).map_err(failed)? != wanted {
        set_project(dir, wanted).map_err(failed)?;
    }
    Ok(())
}

impl ProjectQuota {
    fn mount(&self, volume: &Path) -> Result<Mount> {
        let path = volume.canonicalize().map_err(|e| HostError::path("resolve", volume, e))?;
        let mounts = own_mounts()?;
        let holder = mount_of(&mounts, &path).filter(|mount| mount.filesystem == self.kind.name());
        holder.cloned().ok_or_else(|| {
            Error::storage(format!("{} is not on {}", volume.display(), self.kind.name()))
                .hint("is the volume mounted? vfadm volume check")
        })
    }

    fn readiness(&self, mount: &Mount) -> Readiness {
        judge(self.kind, mount, program::find(tool::NAME).is_some())
    }

    /// The tool, where the filesystem can tell what it is asked.
    fn tool(&self, volume: &Path) -> Result<Tool> {
        let mount = self.mount(volume)?;
        if let Readiness::Unable { reason, remedy } = self.readiness(&mount)
            && !is_counted(&mount)
        {
            return Err(Error::storage(reason).hint(remedy));
        }
        Ok(Tool { mount: mount.point, foreign: self.kind == DriverKind::Ext4 })
    }
}

/// Whether projects are counted without being limited.
fn is_counted(mount: &Mount) -> bool {
    mount.super_options.split(',').any(|option| option == "pqnoenforce")
}

/// Whether project quotas are in force on a mount, by the options of its filesystem.
fn judge(kind: DriverKind, mount: &Mount, installed: bool) -> Readiness {
    let options: Vec<&str> = mount.super_options.split(',').collect();
    let (point, device) = (mount.point.display(), &mount.source);
    if is_counted(mount) {
        return Readiness::Unable {
            reason: format!("{point} is mounted with pqnoenforce: projects are counted, but not limited"),
            remedy: "mount it with the option prjquota instead".to_owned(),
        };
    }
    if !options.iter().any(|option| matches!(*option, "prjquota" | "pquota")) {
        let remedy = match kind {
            DriverKind::Xfs => format!(
                "put prjquota among its options in /etc/fstab, then umount {point} and mount {point} (a remount does \
                 not switch it on; for the root filesystem: rootflags=pquota on the kernel's command line)"
            ),
            _ => format!(
                "umount {point}; tune2fs -O project,quota -Q prjquota {device}; mount it with the option prjquota"
            ),
        };
        return Readiness::Unable {
            reason: format!("{point} is mounted without the option prjquota"),
            remedy,
        };
    }
    if !installed {
        return Readiness::Unable {
            reason: "the program xfs_quota is not installed".to_owned(),
            remedy: "apt install xfsprogs".to_owned(),
        };
    }
    Readiness::Ready
}

impl QuotaDriver for ProjectQuota {
    fn kind(&self) -> DriverKind {
        self.kind
    }

    fn default_folders(&self) -> Folders {
        Folders::Directory
    }

    fn wants_kernel_id(&self) -> bool {
        true
    }

    fn inspect(&self, volume: &Path) -> Result<Readiness> {
        plain::open_volume(volume)?;
        match self.mount(volume) {
            Ok(mount) => Ok(self.readiness(&mount)),
            Err(error) => Ok(Readiness::Unable {
                reason: error.message,
                remedy: format!(
                    "give a directory on {}, mounted with prjquota, or another quota driver",
                    self.kind.name()
                ),
            }),
        }
    }

    fn enforcement(&self, volume: &Path) -> Result<(Enforcement, Option<String>)> {
        if let Readiness::Unable { reason, .. } = self.readiness(&self.mount(volume)?) {
            return Ok((Enforcement::None, Some(reason)));
        }
        let root = if self.kind == DriverKind::Ext4 { "; root is not held by it" } else { "" };
        Ok((
            Enforcement::KernelOwnerCanLeave,
            Some(format!(
                "the owner of a file can take it out of its project (chattr -p), and out of the limit{root}: \
                 'vfadm quota audit' finds such files"
            )),
        ))
    }

    fn kernel_id_is_free(&self, volume: &Path, id: u64) -> Result<bool> {
        if id > IDS {
            return Err(Error::storage(format!("{id} is above the highest project id, {IDS}")));
        }
        let line = self.tool(volume)?.one(id)?;
        Ok(line.is_none_or(|line| line.is_unused()) && !tool::is_named(id)?)
    }

    fn number_of(&self, scope: &ScopeAt<'_>, _folders: &[PathBuf]) -> Result<Option<u64>> {
        let top = plain::open_volume(scope.volume)?.open_beneath(Path::new(scope.dir))?;
        let failed = |e| HostError::path("read the project of", top.path(), e);
        let number = u64::from(project(&top).map_err(failed)?.id);
        Ok(Some(number).filter(|number| super::audit::OWN_IDS.contains(number)))
    }

    fn prepare_scope(&self, scope: &ScopeAt<'_>) -> Result<()> {
        let volume = plain::open_volume(scope.volume)?;
        plain::prepare_scope(&volume, scope.dir)?;
        give(&volume.open_dir(scope.dir)?, Project { id: id_of(scope)?, inherited: true })
    }

    fn remove_scope(&self, scope: &ScopeAt<'_>) -> Result<Removal> {
        let tool = self.tool(scope.volume)?;
        plain::remove_scope(&plain::open_volume(scope.volume)?, scope.dir)?;
        let id = u64::from(id_of(scope)?);
        if tool.one(id)?.is_some_and(|line| line.has_limit()) {
            tool.limit(id, None, 0)?;
        }
        Ok(Removal::Gone)
    }

    fn effective(&self, volume: &Path, bytes: u64) -> u64 {
        let block = match self.kind {
            DriverKind::Xfs => Dir::open(volume).and_then(|dir| block_size(&dir)).unwrap_or(UNIT),
            _ => UNIT,
        };
        round_up(bytes, block)
    }

    fn set_limit(&self, scope: &ScopeAt<'_>, limit: Option<u64>) -> Result<()> {
        let kib = limit.map_or(0, |bytes| bytes.div_ceil(UNIT));
        self.tool(scope.volume)?.limit(u64::from(id_of(scope)?), None, kib)
    }

    fn read(&self, volume: &Path, scopes: &[ScopeAt<'_>]) -> Result<Vec<Result<Reading>>> {
        let tool = self.tool(volume)?;
        let ids = scopes.iter().map(|scope| id_of(scope).map(u64::from)).collect::<Result<Vec<_>>>()?;
        let lines = match ids.as_slice() {
            [] => return Ok(Vec::new()),
            [id] => tool.one(*id)?.into_iter().map(|line| (*id, line)).collect(),
            ids => tool.some(&ids.iter().copied().collect())?,
        };
        // The kernel forgets a project that uses nothing and has no limit.
        let none = Reading { used: Some(0), limit: None };
        Ok(ids.iter().map(|id| Ok(lines.get(id).map_or(none, report::Line::reading))).collect())
    }

    fn make_folder(&self, scope: &ScopeAt<'_>, parent: &Dir, name: &OsStr) -> Result<()> {
        let failed = |e| HostError::path("ask for the project of", parent.path(), e);
        let wanted = Project { id: id_of(scope)?, inherited: true };
        if project(parent).map_err(failed)? != wanted {
            return Err(Error::storage(format!(
                "{} is not charged to the project {} of its quota scope",
                parent.path().display(),
                wanted.id
            ))
            .hint("find and mend it: vfadm quota audit --fix"));
        }
        self.despite_limit(scope, &mut || plain::make_folder(parent, name))
    }

    fn handover(&self, _folders: Folders) -> Handover {
        Handover::Recharged
    }

    fn recharge(&self, to: &ScopeAt<'_>, folder: &Dir, progress: &dyn Progress) -> Result<()> {
        recharge::recharge(self, to, folder, progress)
    }

    fn hand_over(&self, from: PlaceIn<'_>, to: PlaceIn<'_>) -> Result<()> {
        // Between projects a rename is EXDEV: it goes by what is moved, and not by what is in that.
        if from.parent.stat(from.name)?.is_some() {
            let folder = from.parent.open_dir(from.name)?;
            give(&folder, Project { id: id_of(to.scope)?, inherited: true })?;
        }
        self.despite_limit(to.scope, &mut || plain::move_once(from, to).map(drop))
    }

    fn audit(&self, volume: &Path, scopes: &[ScopeAt<'_>], found: &mut dyn FnMut(Escape)) -> Result<()> {
        audit::audit(&self.tool(volume)?, volume, scopes, found)
    }

    fn mend(&self, volume: &Path, scopes: &[ScopeAt<'_>], escape: &Escape) -> Result<()> {
        match escape.scope.and_then(|place| scopes.get(place)) {
            Some(scope) => audit::mend(volume, scope, &escape.path),
            None => Err(Error::storage(format!("{} cannot be mended by vfadm", escape.path.display()))),
        }
    }

    fn capacities(&self, volume: &Path) -> Result<Vec<Capacity>> {
        let used = self.tool(volume)?.count()?;
        Ok(vec![Capacity { name: "project ids", used, most: Some(IDS) }])
    }

    fn despite_limit(&self, scope: &ScopeAt<'_>, call: &mut dyn FnMut() -> host::Result<()>) -> Result<()> {
        match call() {
            Err(e) if matches!(e.errno(), Some(libc::ENOSPC | libc::EDQUOT)) => {
                room::with(&self.tool(scope.volume)?, u64::from(id_of(scope)?), call)
            }
            other => Ok(other?),
        }
    }
}

#[cfg(test)]
mod tests;
