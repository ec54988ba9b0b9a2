//! What a plan does to the storage. Each step can be run twice, and be undone whether it ran, ran in part, or did
//! not run at all.

mod describe;
mod folder;
mod image;
mod own;
mod place;
mod secure;
mod sidecar;
mod volume;
mod volumes;

pub use folder::prune_parents;
pub use own::owned_like;
use own::remove_if_empty;
pub use secure::exposed;
pub use volume::has_layout;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::volume::{ScopePlace, VolumeAt};
use crate::domain::error::Result;
use crate::domain::record::MountSource;
use crate::host::dir::Dir;
use crate::quota;
use crate::session::places::Mark;

/// One step.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub enum Step {
    /// Makes the directory of a volume, where there is none.
    MakeVolumeDir {
        /// Its path.
        path: PathBuf,
    },
    /// Makes a filesystem in a file.
    MakeImage {
        /// The file.
        path: PathBuf,
        /// Its size.
        bytes: u64,
        /// `ext4` or `xfs`.
        kind: String,
        /// The filesystem's id: the volume's.
        id: Uuid,
    },
    /// Grows such a file and its filesystem, mounted as a volume.
    GrowImage {
        /// Which volume.
        volume: VolumeAt,
        /// The file.
        path: PathBuf,
        /// `ext4` or `xfs`.
        kind: String,
        /// The size that it is to have.
        bytes: u64,
    },
    /// Mounts a filesystem.
    Mount {
        /// Where.
        path: PathBuf,
        /// What.
        source: MountSource,
    },
    /// Unmounts it.
    Unmount {
        /// Where.
        path: PathBuf,
        /// What.
        source: MountSource,
    },
    /// Makes sure that what was mounted can be used as this volume.
    Inspect {
        /// Which volume.
        volume: VolumeAt,
        /// True when it has to be marked as this volume; a new one is not yet.
        #[serde(default)]
        known: bool,
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
    /// Gives a directory another owner and mode.
    SetAccess {
        /// In which scope.
        scope: ScopePlace,
        /// Its path below the scope; empty for that itself.
        path: PathBuf,
        /// True for the top of a folder, false for a directory of vfadm's own.
        folder: bool,
        /// The owner, group and mode that it has.
        from: (u32, u32, u32),
        /// Those that it gets.
        to: (u32, u32, u32),
    },
    /// Charges a folder to its scope.
    Charge {
        /// Its scope.
        scope: ScopePlace,
        /// Its path below the scope.
        path: PathBuf,
    },
    /// Charges a scope by its number in the kernel again, which is made where it is not there.
    ChargeScope {
        /// The scope.
        scope: ScopePlace,
    },
    /// Lifts the limits that are inside of a scope.
    LiftInnerLimits {
        /// The scope.
        scope: ScopePlace,
    },
    /// Takes the rights of others from vfadm's own files in a root or on a volume.
    Secure {
        /// The root or the volume.
        path: PathBuf,
        /// Whose they are to be.
        own: u32,
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
    /// Moves a folder, with its charge, to another scope of the volume.
    HandOver {
        /// From this scope,
        from: Box<ScopePlace>,
        /// where it has this path,
        at: PathBuf,
        /// to this scope,
        to: Box<ScopePlace>,
        /// where it gets this one.
        place: PathBuf,
    },
    /// Makes a folder of a snapshot of another.
    Snapshot {
        /// Of what is in this scope
        from: Box<ScopePlace>,
        /// at this path,
        at: PathBuf,
        /// in this scope,
        to: Box<ScopePlace>,
        /// where it is made at this path,
        staged: PathBuf,
        /// and then gets this one.
        place: PathBuf,
    },
    /// Removes the directories above a folder's place where they are empty.
    Prune {
        /// In which scope.
        scope: ScopePlace,
        /// The path of the place below the scope.
        place: PathBuf,
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
    /// Binds what was checked where an engine finds it: the handle, not the path again.
    BindPlace {
        /// The session's name.
        session: String,
        /// On which host; another one has places of its own.
        #[serde(default)]
        host: String,
        /// Whose the place is.
        mark: Mark,
        /// The number of the mount in the session's list.
        number: usize,
        /// The scope of the folder.
        scope: ScopePlace,
        /// Its path below the scope.
        folder: PathBuf,
        /// The path below the folder.
        subpath: PathBuf,
        /// Whether nobody may write there.
        read_only: bool,
    },
    /// Takes the places of sessions away that are not there any more.
    ReleasePlaces {
        /// Names and ids.
        sessions: Vec<(String, Uuid)>,
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

impl Step {
    /// True when it changes nothing on the storage but notes of what the registry says.
    pub fn only_notes(&self) -> bool {
        matches!(
            self,
            Step::WriteSidecar { .. }
                | Step::RemoveSidecar { .. }
                | Step::ReleasePlaces { .. }
                | Step::Mark { update: true, .. }
        )
    }

    /// Carries it out.
    pub fn run(&self, effects: &mut Effects) -> Result<()> {
        match self {
            Step::MakeVolumeDir { path } => volume::make_volume_dir(path),
            Step::MakeImage { path, bytes, kind, id } => image::make(path, *bytes, kind, *id),
            Step::GrowImage { volume, path, kind, bytes } => image::grow(volume, path, kind, *bytes),
            Step::Mount { path, source } => image::mount(path, source),
            Step::Unmount { path, source } => image::unmount(path, source),
            Step::Inspect { volume, known } => image::inspect(volume, *known),
            Step::EnableQuota { volume, .. } => volume.driver().enable(&volume.path),
            Step::Verify { volume } => volume::verify(volume),
            Step::Mark { volume, marker, update } => volume::mark(volume, marker, *update),
            Step::Unmark { volume, .. } => volume::remove_marker(volume),
            Step::MakeScope { scope } => {
                let volume = scope.volume.open()?;
                scope.volume.driver().prepare_scope(&scope.at())?;
                folder::make_trash(scope)?;
                Ok(volume.sync()?)
            }
            Step::SetLimit { scope, to, .. } => {
                scope.open()?;
                quota::ensure_limit(&*scope.volume.driver(), &scope.at(), *to).map(|_| ())
            }
            Step::MakeFolder { scope, path, uid, gid, mode } => {
                folder::make_folder(scope, path, (*uid, *gid), *mode)
            }
            Step::SetAccess { scope, path, folder, to, .. } => {
                folder::set_access(scope, (path, *folder), *to)
            }
            Step::Charge { scope, path } => {
                scope.volume.driver().charge(&scope.at(), &scope.open_folder(path)?)
            }
            Step::ChargeScope { scope } => {
                scope.open()?;
                scope.volume.driver().charge_scope(&scope.at())
            }
            Step::LiftInnerLimits { scope } => {
                scope.open()?;
                scope.volume.driver().lift_inner_limits(&scope.at())
            }
            Step::Secure { path, own } => secure::secure(path, *own),
            Step::MoveFolder { scope, from, to } => folder::move_folder(scope, from, to),
            Step::HandOver { from, at, to, place } => folder::hand_over((from, at), (to, place)),
            Step::Snapshot { from, at, to, staged, place } => {
                folder::snapshot((from, at), (to, staged))?;
                folder::move_folder(to, staged, place)
            }
            Step::Prune { scope, place } => folder::prune(scope, place),
            Step::RemoveScope { scope, .. } => folder::remove_scope(scope, effects),
            Step::Drain { volume, ids } => folder::drain(volume, ids, effects),
            Step::BindPlace { session, mark, number, scope, folder, subpath, read_only, .. } => {
                place::bind((session, mark, *number), (scope, folder, subpath), *read_only)
            }
            Step::ReleasePlaces { sessions } => place::release(sessions),
            Step::WriteSidecar { volume, scope, name, text } => sidecar::write(volume, scope, name, text),
            Step::RemoveSidecar { volume, scope, name } => sidecar::remove(volume, scope, name),
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
            Step::MakeImage { path, id, .. } => image::unmake(path, *id),
            Step::Mount { path, source } => image::undo_mount(path, source),
            Step::Unmount { path, source } => image::mount(path, source),
            // A filesystem that is larger than asked does no harm, and cannot be made smaller.
            Step::GrowImage { .. } | Step::Inspect { .. } => Ok(()),
            Step::BindPlace { session, host, mark, number, .. } => {
                place::unbind(host, session, mark, *number)
            }
            // Nobody has them any more.
            Step::ReleasePlaces { .. } => Ok(()),
            // Quotas without limits do no harm.
            Step::EnableQuota { .. } | Step::Verify { .. } | Step::Drain { .. } => Ok(()),
            Step::Mark { update: true, .. } => Ok(()),
            Step::Mark { volume, .. } => volume::unmark(volume),
            Step::Unmark { volume, marker } => volume::write_marker(&Dir::open(&volume.path)?, marker),
            Step::MakeScope { scope } => {
                scope.volume.open()?;
                match scope.volume.driver().remove_scope(&scope.at()) {
                    // It holds what this did not make: a check finds it.
                    Err(error) if error.is_of(&["ENOTEMPTY"]) => Ok(()),
                    other => other.map(drop),
                }
            }
            Step::SetLimit { scope, from, .. } => {
                scope.volume.open()?;
                quota::ensure_limit(&*scope.volume.driver(), &scope.at(), *from).map(|_| ())
            }
            Step::MakeFolder { scope, path, .. } => folder::unmake_folder(scope, path),
            Step::SetAccess { scope, path, folder, from, .. } => {
                folder::restore_access(scope, (path, *folder), *from)
            }
            Step::MoveFolder { scope, from, to } => folder::move_folder(scope, to, from),
            Step::HandOver { from, at, to, place } => folder::hand_back((from, at), (to, place)),
            Step::Snapshot { to, staged, place, .. } => {
                folder::remove_snapshot(to, place)?;
                folder::remove_snapshot(to, staged)?;
                folder::prune(to, place)
            }
            Step::RemoveScope { scope, limit } => {
                scope.volume.open()?;
                scope.volume.driver().prepare_scope(&scope.at())?;
                quota::ensure_limit(&*scope.volume.driver(), &scope.at(), *limit).map(|_| ())
            }
            // That is how it belongs.
            Step::Charge { .. }
            | Step::ChargeScope { .. }
            | Step::LiftInnerLimits { .. }
            | Step::Secure { .. } => Ok(()),
            // They are made again by who needs them.
            Step::Prune { .. } => Ok(()),
            // Sidecars follow the registry, which did not change.
            Step::WriteSidecar { .. } | Step::RemoveSidecar { .. } => Ok(()),
        }
    }
}
