//! What a plan does to the storage. Each step can be run twice, and be undone whether it ran, ran in part, or did
//! not run at all.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::volume::{ScopePlace, VolumeAt};
use crate::domain::error::{Error, Result};
use crate::domain::size::Limit;
use crate::host::dir::Dir;
use crate::host::error::errno_name;
use crate::host::files::{self, Ownership};
use crate::quota::{self, Removal};
use crate::registry::root::{MARKER, PRIVATE};

/// One step.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub enum Step {
    /// Makes the directory of a volume, where there is none.
    MakeVolumeDir {
        /// Its path.
        path: PathBuf,
    },
    /// Switches limits on.
    EnableQuota {
        /// Where.
        volume: VolumeAt,
        /// What that does, for the plan.
        what: String,
    },
    /// Tries whether a limit stops a write.
    Verify {
        /// Where.
        volume: VolumeAt,
    },
    /// Writes marker and layout version into a volume.
    Mark {
        /// Which volume.
        volume: VolumeAt,
        /// The text of the marker.
        marker: String,
        /// True when a marker of this volume is there already and is only brought up to date.
        update: bool,
    },
    /// Takes the marker away.
    Unmark {
        /// Which volume.
        volume: VolumeAt,
        /// The text of the marker, to undo it.
        marker: String,
    },
    /// Makes a scope's directory and kernel objects.
    MakeScope {
        /// Which.
        scope: ScopePlace,
    },
    /// Sets a limit.
    SetLimit {
        /// Of which scope.
        scope: ScopePlace,
        /// What it is.
        from: Option<u64>,
        /// What it is to be.
        to: Option<u64>,
    },
    /// Makes an empty folder.
    MakeFolder {
        /// In which scope.
        scope: ScopePlace,
        /// Its path below the scope.
        path: PathBuf,
        /// The shared owner.
        uid: u32,
        /// The shared group.
        gid: u32,
        /// Permission bits.
        mode: u32,
    },
    /// Moves a folder within its scope by one rename.
    MoveFolder {
        /// In which scope.
        scope: ScopePlace,
        /// From this path below the scope,
        from: PathBuf,
        /// to this one.
        to: PathBuf,
    },
    /// Removes an empty scope and its kernel objects.
    RemoveScope {
        /// Which.
        scope: ScopePlace,
        /// Its limit, to undo it.
        limit: Option<u64>,
    },
    /// Removes kernel objects of scopes removed earlier, which still carried a charge then.
    Drain {
        /// On which volume.
        volume: VolumeAt,
        /// The kernel's numbers.
        ids: Vec<u64>,
    },
    /// Writes a sidecar.
    WriteSidecar {
        /// On which volume.
        volume: VolumeAt,
        /// The scope's directory name.
        scope: String,
        /// `scope`, or the folder's 32 digits.
        name: String,
        /// The text.
        text: String,
    },
    /// Removes a sidecar.
    RemoveSidecar {
        /// On which volume.
        volume: VolumeAt,
        /// The scope's directory name.
        scope: String,
        /// `scope` (all of the scope's), or the folder's 32 digits.
        name: String,
    },
}

/// What steps found out, for the commit.
#[derive(Debug, Default)]
pub struct Effects {
    /// Scopes whose kernel objects could not be removed yet: volume name and kernel id.
    pub draining: Vec<(String, u64)>,
    /// Kernel ids that have gone: volume name and kernel id.
    pub drained: Vec<(String, u64)>,
}

const SCOPE_MODE: u32 = 0o700;
const LAYOUT: (&str, &[u8]) = ("version.txt", b"3\n");

impl Step {
    /// What it does, as a line of a plan.
    pub fn describe(&self) -> String {
        match self {
            Step::MakeVolumeDir { path } => format!("make the directory {}", path.display()),
            Step::EnableQuota { what, .. } => what.clone(),
            Step::Verify { volume } => {
                format!("try whether a limit at {} stops a write of uid 65534", volume.path.display())
            }
            Step::Mark { volume, update: false, .. } => {
                format!("mark {} as the volume '{}'", volume.path.display(), volume.name)
            }
            Step::Mark { volume, .. } => {
                format!("bring the marker of the volume '{}' up to date", volume.name)
            }
            Step::Unmark { volume, .. } => format!("remove the marker from {}", volume.path.display()),
            Step::MakeScope { scope } => {
                format!("make the quota scope of {} at {}", scope.owner, scope.path().display())
            }
            Step::SetLimit { scope, from, to } => format!(
                "set the limit of {} on '{}' to {} (from {})",
                scope.owner,
                scope.volume.name,
                Limit(*to),
                Limit(*from)
            ),
            Step::MakeFolder { scope, path, .. } => {
                format!("make the {} {}", scope.volume.folders.name(), scope.path().join(path).display())
            }
            Step::MoveFolder { scope, from, to } => {
                format!("move {} to {}", scope.path().join(from).display(), to.display())
            }
            Step::RemoveScope { scope, .. } => {
                format!("remove the empty quota scope of {} at {}", scope.owner, scope.path().display())
            }
            Step::Drain { volume, .. } => format!("remove drained kernel objects on '{}'", volume.name),
            Step::WriteSidecar { volume, scope, name, .. } => {
                format!("write the sidecar {}", sidecar_path(volume, scope, name).display())
            }
            Step::RemoveSidecar { volume, scope, name } => {
                format!("remove the sidecar {}", sidecar_path(volume, scope, name).display())
            }
        }
    }

    /// Carries it out.
    pub fn run(&self, effects: &mut Effects) -> Result<()> {
        match self {
            Step::MakeVolumeDir { path } => make_volume_dir(path),
            Step::EnableQuota { volume, .. } => volume.driver().enable(&volume.path),
            Step::Verify { volume } => verify(volume),
            Step::Mark { volume, marker, update } => mark(volume, marker, *update),
            Step::Unmark { volume, .. } => remove_marker(volume),
            Step::MakeScope { scope } => {
                let volume = scope.volume.open()?;
                scope.volume.driver().prepare_scope(&scope.at())?;
                Ok(volume.sync()?)
            }
            Step::SetLimit { scope, to, .. } => {
                scope.open()?;
                quota::ensure_limit(&*scope.volume.driver(), &scope.at(), *to).map(|_| ())
            }
            Step::MakeFolder { scope, path, uid, gid, mode } => make_folder(scope, path, (*uid, *gid), *mode),
            Step::MoveFolder { scope, from, to } => move_folder(scope, from, to),
            Step::RemoveScope { scope, .. } => remove_scope(scope, effects),
            Step::Drain { volume, ids } => drain(volume, ids, effects),
            Step::WriteSidecar { volume, scope, name, text } => write_sidecar(volume, scope, name, text),
            Step::RemoveSidecar { volume, scope, name } => remove_sidecar(volume, scope, name),
        }
    }

    /// Puts back what was before, however far [`Step::run`] came.
    pub fn undo(&self) -> Result<()> {
        match self {
            Step::MakeVolumeDir { path } => {
                // Only if it is still empty: what was there before, or came since, is not ours.
                match path.parent().zip(path.file_name()) {
                    Some((parent, name)) => remove_if_empty(&Dir::open(parent)?, name),
                    None => Ok(()),
                }
            }
            // Quotas without limits do no harm.
            Step::EnableQuota { .. } | Step::Verify { .. } | Step::Drain { .. } => Ok(()),
            Step::Mark { update: true, .. } => Ok(()),
            Step::Mark { volume, .. } => unmark(volume),
            Step::Unmark { volume, marker } => write_marker(&Dir::open(&volume.path)?, marker),
            Step::MakeScope { scope } => {
                scope.volume.open()?;
                scope.volume.driver().remove_scope(&scope.at()).map(|_| ())
            }
            Step::SetLimit { scope, from, .. } => {
                scope.volume.open()?;
                quota::ensure_limit(&*scope.volume.driver(), &scope.at(), *from).map(|_| ())
            }
            Step::MakeFolder { scope, path, .. } => unmake_folder(scope, path),
            Step::MoveFolder { scope, from, to } => move_folder(scope, to, from),
            Step::RemoveScope { scope, limit } => {
                scope.volume.open()?;
                scope.volume.driver().prepare_scope(&scope.at())?;
                quota::ensure_limit(&*scope.volume.driver(), &scope.at(), *limit).map(|_| ())
            }
            // Sidecars follow the registry, which did not change.
            Step::WriteSidecar { .. } | Step::RemoveSidecar { .. } => Ok(()),
        }
    }
}

fn make_volume_dir(path: &Path) -> Result<()> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(Error::usage(format!("{} cannot be a volume", path.display())));
    };
    let parent = Dir::open(parent)?;
    if parent.make_dir(name, 0o755)? {
        parent.open_dir(name)?.set_mode(0o755)?;
        parent.sync()?;
    }
    Ok(())
}

fn verify(volume: &VolumeAt) -> Result<()> {
    let proof = quota::prove(&*volume.driver(), &volume.path)?;
    if proof.enforced {
        return Ok(());
    }
    let met = proof.errno.map_or("nothing stopped it".to_owned(), |n| format!("it got {}", errno_name(n)));
    Err(Error::storage(format!(
        "limits of the driver {} do not hold at {}: uid 65534 wrote {} bytes under a limit of {}, and {met}",
        volume.storage.driver.name(),
        volume.path.display(),
        proof.written,
        proof.limit
    ))
    .hint("--no-verify adds the volume all the same, --quota none without limits"))
}

fn mark(volume: &VolumeAt, marker: &str, update: bool) -> Result<()> {
    if update {
        volume.open()?;
    }
    let dir = Dir::open(&volume.path)?;
    if dir.stat(LAYOUT.0)?.is_none() {
        files::replace(&dir, LAYOUT.0, LAYOUT.1, owned_like(&dir, 0o644)?)?;
    }
    dir.ensure_dir(PRIVATE, 0o700)?;
    write_marker(&dir, marker)
}

fn write_marker(dir: &Dir, marker: &str) -> Result<()> {
    Ok(files::replace(dir, MARKER, marker.as_bytes(), owned_like(dir, 0o600)?)?)
}

fn remove_marker(volume: &VolumeAt) -> Result<()> {
    let dir = Dir::open(&volume.path)?;
    if dir.stat(MARKER)?.is_none() {
        return Ok(());
    }
    let dir = volume.open()?;
    dir.remove_file(MARKER)?;
    Ok(dir.sync()?)
}

/// Files of vfadm's own belong to whoever owns the directory (root on a real host).
fn owned_like(dir: &Dir, mode: u32) -> Result<Ownership> {
    let stat = dir.stat_self()?;
    Ok(Ownership { mode, ids: (stat.st_uid, stat.st_gid) })
}

fn unmark(volume: &VolumeAt) -> Result<()> {
    if !volume.path.exists() {
        return Ok(());
    }
    let dir = Dir::open(&volume.path)?;
    for name in [MARKER, LAYOUT.0] {
        dir.remove_file(name)?;
        dir.remove_file(files::draft_name(name))?;
    }
    remove_if_empty(&dir, OsStr::new(PRIVATE))
}

/// Removes an empty directory, and leaves one with content alone.
fn remove_if_empty(parent: &Dir, name: impl AsRef<OsStr>) -> Result<()> {
    match parent.remove_dir(name.as_ref()) {
        Err(e) if matches!(e.errno(), Some(nix::libc::ENOTEMPTY | nix::libc::EBUSY)) => Ok(()),
        other => Ok(other.map(|_| ())?),
    }
}

fn split(path: &Path) -> Result<(&Path, &OsStr)> {
    path.parent()
        .zip(path.file_name())
        .ok_or_else(|| Error::storage(format!("{} is not a folder's path", path.display())))
}

fn make_folder(scope: &ScopePlace, path: &Path, ids: (u32, u32), mode: u32) -> Result<()> {
    let (parents, name) = split(path)?;
    let top = scope.open()?;
    let parent = top.ensure_path(parents, SCOPE_MODE)?;
    scope.volume.driver().make_folder(&scope.at(), &parent, name)?;
    let folder = parent.open_beneath(Path::new(name))?;
    folder.set_mode(mode)?;
    folder.set_owner(ids.0, ids.1)?;
    sync_path(&top, parents)
}

/// Makes the entries of a directory, and of those above it up to `top`, durable.
fn sync_path(top: &Dir, below: &Path) -> Result<()> {
    let mut here = Some(below);
    while let Some(path) = here {
        if path.as_os_str().is_empty() {
            top.sync()?;
        } else {
            top.open_beneath(path)?.sync()?;
        }
        here = path.parent();
    }
    Ok(())
}

fn unmake_folder(scope: &ScopePlace, path: &Path) -> Result<()> {
    let (parents, name) = split(path)?;
    let Some(top) = open_if_there(scope)? else { return Ok(()) };
    if let Ok(parent) = top.open_beneath(parents) {
        scope.volume.driver().remove_empty_folder(&scope.at(), &parent, name)?;
    }
    prune_parents(&top, parents)
}

fn open_if_there(scope: &ScopePlace) -> Result<Option<Dir>> {
    let volume = scope.volume.open()?;
    if volume.stat(&scope.dir)?.is_none() {
        return Ok(None);
    }
    Ok(Some(scope.volume.driver().open_scope(&volume, &scope.at())?))
}

/// Removes empty directories from `below` upwards, not including the scope itself.
fn prune_parents(top: &Dir, below: &Path) -> Result<()> {
    let mut here = below;
    while let Some((parents, name)) = here.parent().zip(here.file_name()) {
        let parent = if parents.as_os_str().is_empty() { top.try_clone() } else { top.open_beneath(parents) };
        if let Ok(parent) = parent {
            remove_if_empty(&parent, name)?;
        }
        here = parents;
    }
    Ok(())
}

fn move_folder(scope: &ScopePlace, from: &Path, to: &Path) -> Result<()> {
    let ((from_parents, from_name), (to_parents, to_name)) = (split(from)?, split(to)?);
    let top = scope.open()?;
    let source = top.open_beneath(from_parents).ok();
    let there = match &source {
        Some(dir) => dir.stat(from_name)?.is_some(),
        None => false,
    };
    // A move must work in a full scope too.
    let driver = scope.volume.driver();
    driver.despite_limit(&scope.at(), &mut || top.ensure_path(to_parents, SCOPE_MODE).map(|_| ()))?;
    let target = top.open_beneath(to_parents)?;
    match source {
        Some(source) if there => {
            driver.move_folder(&scope.at(), (&source, from_name), (&target, to_name))?;
            sync_path(&top, to_parents)?;
            source.sync()?;
        }
        _ if target.stat(to_name)?.is_some() => {}
        _ => {
            return Err(Error::storage(format!("{} is missing", scope.path().join(from).display()))
                .hint("the registry has the folder, the storage does not: look with 'vfadm volume check'"));
        }
    }
    prune_parents(&top, from_parents)
}

fn remove_scope(scope: &ScopePlace, effects: &mut Effects) -> Result<()> {
    let volume = scope.volume.open()?;
    let removal = scope.volume.driver().remove_scope(&scope.at())?;
    volume.sync()?;
    if let (Removal::Draining, Some(id)) = (removal, scope.kernel_id) {
        effects.draining.push((scope.volume.name.clone(), id));
    }
    Ok(())
}

/// The directory of these scopes has gone; only their kernel objects may be left.
fn drain(volume: &VolumeAt, ids: &[u64], effects: &mut Effects) -> Result<()> {
    volume.open()?;
    for id in ids {
        let scope =
            quota::ScopeAt { volume: &volume.path, dir: "", kernel_id: Some(*id), folders: volume.folders };
        if volume.driver().drain(&scope)? == Removal::Gone {
            effects.drained.push((volume.name.clone(), *id));
        }
    }
    Ok(())
}

fn sidecar_path(volume: &VolumeAt, scope: &str, name: &str) -> PathBuf {
    volume.path.join(PRIVATE).join(scope).join(format!("{name}.yaml"))
}

fn write_sidecar(volume: &VolumeAt, scope: &str, name: &str, text: &str) -> Result<()> {
    let dir = volume.open()?.ensure_dir(PRIVATE, 0o700)?.ensure_dir(scope, 0o700)?;
    Ok(files::replace(&dir, &format!("{name}.yaml"), text.as_bytes(), owned_like(&dir, 0o600)?)?)
}

fn remove_sidecar(volume: &VolumeAt, scope: &str, name: &str) -> Result<()> {
    let private = volume.open()?.ensure_dir(PRIVATE, 0o700)?;
    if private.stat(scope)?.is_none() {
        return Ok(());
    }
    let dir = private.open_dir(scope)?;
    if name == "scope" {
        for entry in dir.names()? {
            dir.remove_file(entry)?;
        }
        return remove_if_empty(&private, scope);
    }
    dir.remove_file(format!("{name}.yaml"))?;
    dir.remove_file(files::draft_name(&format!("{name}.yaml")))?;
    Ok(())
}
