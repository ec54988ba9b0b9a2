//! The list of users and projects that some volumes carry for `registry rebuild`, against the registry.

use super::found::{Found, Mend};
use crate::domain::error::Result;
use crate::domain::finding::Finding;
use crate::host::apart;
use crate::ops::State;
use crate::plan::owners::{COPIES, Carriers, Copy, carriers, copy_on, essence};
use crate::plan::{VolumeAt, look};

/// Looks at the volumes that `is_looked_at`. Of those that depend on other hosts it is enough that one volume of all has it:
/// to another host others may be local.
pub fn look(state: &State<'_>, is_looked_at: impl Fn(&str) -> bool) -> Result<Vec<Found>> {
    let Carriers { local, distant } = carriers(state.registry)?;
    let mine = local.len();
    let all: Vec<(usize, VolumeAt)> = local.into_iter().chain(distant).enumerate().collect();
    let all: Vec<(usize, VolumeAt)> = all.into_iter().filter(|(_, at)| is_looked_at(&at.name)).collect();
    let wanted = essence(state.registry)?;
    let seen = apart::each(&all, look::SILENCE, |(_, at)| copy_on(at, state.registry, &wanted).ok())?;
    let is_current = |seen: &Option<Option<(Copy, bool)>>| matches!(seen, Some(Some((Copy::Current, _))));
    let is_somewhere = seen.iter().any(is_current);
    let mut found = Vec::new();
    for ((place, at), seen) in all.iter().zip(seen) {
        // What cannot be opened is a finding of its own.
        let Some((copy, draft)) = seen.flatten() else { continue };
        let carries = if *place < mine { *place < COPIES } else { *place - mine < COPIES && !is_somewhere };
        let counts = carries || *place < mine;
        found.extend(match copy {
            Copy::Missing if carries => {
                let message = "it has no list of users and projects, from which a lost registry is rebuilt";
                Some(again(at, "owners_missing", message.to_owned()))
            }
            Copy::Stale(why) if counts => {
                Some(again(at, "owners_stale", format!("its list of users and projects: {why}")))
            }
            Copy::Newer(generation) => {
                let message = format!(
                    "its list of users and projects is of generation {generation}, and the registry of {}",
                    state.registry.header.generation
                );
                let finding = Finding::error("owners_newer", format!("volume {}", at.name), message).losing();
                let how = "writes what the registry says; the list's is lost";
                Some(Found::mended(finding, Mend::Owners { volume: at.name.clone() }, how))
            }
            _ if draft && counts => {
                let message = "a list of users and projects that was not finished lies on it";
                Some(again(at, "owners_stale", message.to_owned()))
            }
            _ => None,
        });
    }
    Ok(found)
}

fn again(at: &VolumeAt, code: &'static str, message: String) -> Found {
    let finding = Finding::warning(code, format!("volume {}", at.name), message);
    Found::mended(finding, Mend::Owners { volume: at.name.clone() }, "writes it again")
}
