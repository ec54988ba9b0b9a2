//! What this host sees of the volumes, noted for the other nodes.

use jiff::Timestamp;

use super::{document, file};
use crate::domain::error::{Code, Result};
use crate::domain::node::{Node, Sight, VolumeState};
use crate::domain::record::Volume;
use crate::host::{apart, process};
use crate::ops::volume::{LIMITS_OFF, ability};
use crate::ops::{Context, Done, State};
use crate::plan::{Outcome, Plan, VolumeAt, look};
use crate::quota::Readiness;

/// Looks at all volumes of the registry, and notes what this host sees, without the registry's lock. Nothing is written
/// to a volume.
pub fn check_in(ctx: &Context, state: &State<'_>) -> Result<Done> {
    let registry = state.registry;
    let volumes: Vec<VolumeAt> = registry
        .all::<Volume>()?
        .iter()
        .map(|(name, volume)| VolumeAt::new(registry.header.registry, name, volume))
        .collect();
    let said = Node {
        seen_at: Some(crate::registry::now()),
        boot_id: Some(process::boot_id().to_owned()).filter(|id| !id.is_empty()),
        booted_at: process::booted_at().and_then(|seconds| Timestamp::from_second(seconds).ok()),
        version: Some(env!("CARGO_PKG_VERSION").to_owned()),
        volumes: sights(&volumes)?,
        ..Node::default()
    };
    let name = file::own_name();
    let node = if ctx.dry_run { said } else { file::note(state.root, ctx.lock_timeout, said)? };
    let usable = node.volumes.iter().filter(|sight| sight.state == VolumeState::Ok).count();
    let message = format!("node {name} checked in: {usable} of {} volumes are ok", node.volumes.len());
    let mut plan = Plan::new(Outcome::Changed, message);
    plan.tries.push(format!("note what {name} sees of {} volumes", node.volumes.len()));
    plan.item = Some(document(&name, &node));
    Ok(Done { plan, planned: ctx.dry_run, warnings: Vec::new() })
}

fn sights(volumes: &[VolumeAt]) -> Result<Vec<Sight>> {
    let mut sights = look::look(volumes)?;
    look::search(volumes, &mut sights)?;
    let asked: Vec<usize> = (0..sights.len()).filter(|at| sights[*at].state.is_usable()).collect();
    let answers = apart::each(&asked, look::SILENCE, |at| obstacle(&volumes[*at]))?;
    for (at, answer) in asked.into_iter().zip(answers) {
        let sight = &mut sights[at];
        match answer {
            None => {
                let hung = look::silent(&volumes[at], look::SILENCE);
                (sight.state, sight.reason) = (hung.state, hung.reason);
            }
            Some(Some((state, reason))) if sight.state < state => {
                (sight.state, sight.reason) = (state, Some(reason));
            }
            Some(_) => {}
        }
    }
    Ok(sights)
}

/// Why a volume's driver cannot work.
fn obstacle(volume: &VolumeAt) -> Option<(VolumeState, String)> {
    match ability(volume) {
        Ok(Readiness::Ready) => None,
        Ok(Readiness::Unable { reason, .. }) => Some((VolumeState::DriverUnable, reason)),
        Ok(Readiness::NeedsEnabling { .. }) => Some((VolumeState::DriverUnable, LIMITS_OFF.to_owned())),
        Err(error) if error.code == Code::Interrupted => None,
        Err(error) => Some((VolumeState::Unreadable, error.message)),
    }
}
