//! Steps in words.

use std::path::PathBuf;

use super::{Step, sidecar};
use crate::domain::size::Limit;
use crate::session::places;

impl Step {
    /// What it does, as a line of a plan.
    pub fn describe(&self) -> String {
        match self {
            Step::MakeVolumeDir { path } => format!("make the directory {}", path.display()),
            Step::MakeImage { path, bytes, kind, .. } => {
                format!("make an image of {} with {kind} in {}", Limit(Some(*bytes)), path.display())
            }
            Step::GrowImage { path, bytes, .. } => {
                format!("grow the image {} and its filesystem to {}", path.display(), Limit(Some(*bytes)))
            }
            Step::Mount { path, source } => format!("mount {} at {}", source.source, path.display()),
            Step::Unmount { path, .. } => format!("unmount {}", path.display()),
            Step::Inspect { volume, .. } => {
                format!("look whether {} can be the volume '{}'", volume.path.display(), volume.name)
            }
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
            Step::SetAccess { scope, path, to: (uid, gid, mode), .. } => {
                let path: PathBuf = scope.path().join(path).components().collect();
                format!("give {} to {uid}:{gid} with the mode {mode:04o}", path.display())
            }
            Step::Charge { scope, path } => {
                format!("charge {} to its quota scope", scope.path().join(path).display())
            }
            Step::ChargeScope { scope } => format!(
                "charge {} to its number in the kernel, {}",
                scope.path().display(),
                scope.kernel_id.map_or("none".to_owned(), |id| id.to_string())
            ),
            Step::LiftInnerLimits { scope } => {
                format!("lift the limits inside of the quota scope {}", scope.dir)
            }
            Step::Secure { path, .. } => {
                format!("take the rights of others from vfadm's files in {}", path.display())
            }
            Step::MoveFolder { scope, from, to } => {
                format!("move {} to {}", scope.path().join(from).display(), to.display())
            }
            Step::HandOver { from, at, to, place } => format!(
                "move {} to {}, charged to {}",
                from.path().join(at).display(),
                to.path().join(place).display(),
                to.owner
            ),
            Step::Snapshot { from, at, to, place, .. } => {
                format!("snapshot {} as {}", from.path().join(at).display(), to.path().join(place).display())
            }
            Step::Prune { scope, place } => {
                format!("remove the empty directories above {}", scope.path().join(place).display())
            }
            Step::RemoveScope { scope, .. } => {
                format!("remove the empty quota scope of {} at {}", scope.owner, scope.path().display())
            }
            Step::Drain { volume, .. } => format!("remove drained kernel objects on '{}'", volume.name),
            Step::BindPlace { session, number, scope, folder, subpath, .. } => {
                let from = scope.path().join(folder).join(subpath);
                format!("bind {} at {}", from.display(), places::path(session, *number).display())
            }
            Step::ReleasePlaces { sessions } => {
                let names: Vec<&str> = sessions.iter().map(|(name, _)| name.as_str()).collect();
                format!("take away the binds of session {} below {}", names.join(", "), places::PLACES)
            }
            Step::WriteSidecar { volume, scope, name, .. } => {
                format!("write the sidecar {}", sidecar::path(volume, scope, name).display())
            }
            Step::RemoveSidecar { volume, scope, name } => {
                format!("remove the sidecar {}", sidecar::path(volume, scope, name).display())
            }
        }
    }
}
