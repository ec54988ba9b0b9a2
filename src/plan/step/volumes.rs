//! On which volumes a step works.

use super::{Step, VolumeAt};

impl Step {
    /// The volumes of a step that works inside of volumes alone: what it leaves goes with them. `None` for one that does
    /// something elsewhere too, or by which a volume comes.
    pub fn volumes(&self) -> Option<Vec<&VolumeAt>> {
        Some(match self {
            Step::MakeVolumeDir { .. }
            | Step::MakeImage { .. }
            | Step::GrowImage { .. }
            | Step::Mount { .. }
            | Step::Unmount { .. }
            | Step::Inspect { .. }
            | Step::EnableQuota { .. }
            | Step::Verify { .. }
            | Step::Mark { update: false, .. }
            | Step::BindPlace { .. }
            | Step::ReleasePlaces { .. }
            | Step::Secure { .. } => return None,
            Step::Mark { volume, .. }
            | Step::Unmark { volume, .. }
            | Step::Drain { volume, .. }
            | Step::WriteSidecar { volume, .. }
            | Step::RemoveSidecar { volume, .. } => vec![volume],
            Step::MakeScope { scope }
            | Step::SetLimit { scope, .. }
            | Step::MakeFolder { scope, .. }
            | Step::SetAccess { scope, .. }
            | Step::Charge { scope, .. }
            | Step::ChargeScope { scope }
            | Step::LiftInnerLimits { scope }
            | Step::MoveFolder { scope, .. }
            | Step::Prune { scope, .. }
            | Step::RemoveScope { scope, .. } => vec![&scope.volume],
            Step::HandOver { from, to, .. } | Step::Snapshot { from, to, .. } => {
                vec![&from.volume, &to.volume]
            }
        })
    }
}
