//! What is not as it should be: the registry against sidecars, directories, limits, mounts and sessions. Looking writes
//! nothing, not even an access time; [`repair`] mends.

mod charges;
mod disk;
mod found;
mod known;
mod mend;
mod own;
mod owners;
mod records;
mod repair;
mod scopes;
mod sidecars;
mod unfinished;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use uuid::Uuid;

pub(in crate::ops) use charges::{plain_directory, uncounted};
pub use disk::Disk;
pub use found::{Found, Mend};
pub use known::Known;
pub use repair::{Repaired, preview, repair};

use super::{Context, Reading, State, in_use, volume};
use crate::domain::error::Result;
use crate::domain::finding::Finding;
use crate::domain::record::{VFolder, Volume};
use crate::host::signals;
use crate::ops::resolve::Folder;
use crate::plan::intent;
use crate::registry::{Registry, Root, validate};

/// So often it is looked, where other commands keep changing the registry.
const LOOKS: usize = 6;

const SEVERAL: &str = "it is at several places: see which is the newest, and move the others away";

/// How often it is looked whether a command has ended.
const POLL: Duration = Duration::from_millis(20);

/// The registry by itself, and changes that were cut off.
pub fn registry(reading: &Reading) -> Result<Vec<Finding>> {
    let found = by_itself(&reading.root, &reading.registry)?;
    Ok(found.into_iter().map(|found| found.finding).collect())
}

fn by_itself(root: &Root, registry: &Registry) -> Result<Vec<Found>> {
    let editable = |finding: Finding| match finding.repair {
        Some(_) => Found::by_hand(finding),
        None => Found::by_hand(finding.repair("vfadm registry edit")),
    };
    let mut found: Vec<Found> = validate::validate(registry)?.into_iter().map(editable).collect();
    for left in intent::left_behind(root, registry)? {
        let finding = Finding::warning(
            "change_cut_off",
            format!("'{}'", left.command),
            format!("it was cut off on {} at {}", left.host, left.since),
        );
        let finding = finding.repair("the next command that changes something tidies up");
        found.push(Found { finding, mend: Mend::Recovered, folder: None });
    }
    for path in intent::strays(root)? {
        let message = "is no intent that this vfadm can read";
        let finding = Finding::warning("stray_entry", path.display().to_string(), message);
        found.push(Found::by_hand(finding.repair("see what it is, and move it away")));
    }
    Ok(found)
}

/// Everything, looked at until it stands: what another command did meanwhile is no finding. What is found is found each
/// time, and says the same.
pub fn settled(ctx: &Context) -> Result<Vec<Found>> {
    settled_without(ctx, &BTreeSet::new())
}

/// The same without some volumes.
fn settled_without(ctx: &Context, without: &BTreeSet<String>) -> Result<Vec<Found>> {
    let mut found: Option<Vec<Found>> = None;
    for _ in 0..LOOKS {
        let reading = super::read(ctx)?;
        let mut seen = look(&reading.state(ctx), without)?;
        let is_second = found.is_some();
        if let Some(found) = found {
            let before: BTreeSet<_> = found.iter().map(Found::said).collect();
            seen.retain(|found| before.contains(&found.said()));
        }
        let stood = registry_stands(&reading)?;
        if seen.is_empty() || (is_second && stood) {
            return Ok(seen);
        }
        found = Some(seen);
        wait_for_those_at_work(ctx, &reading.root)?;
    }
    Ok(found.unwrap_or_default())
}

/// True where nobody has changed the registry since it was read.
fn registry_stands(reading: &Reading) -> Result<bool> {
    let present = crate::registry::load(&reading.root)?;
    Ok(present.header.generation == reading.registry.header.generation)
}

/// Whoever had begun something before may not have ended it by the next look.
fn wait_for_those_at_work(ctx: &Context, root: &Root) -> Result<()> {
    let end = Instant::now() + ctx.lock_timeout;
    let running = intent::short_work(root)?;
    while Instant::now() < end && intent::short_work(root)?.iter().any(|one| running.contains(one)) {
        signals::check()?;
        std::thread::sleep(POLL);
    }
    Ok(())
}

/// Everything, but volumes that are left out by their names; errors first.
fn look(state: &State<'_>, without: &BTreeSet<String>) -> Result<Vec<Found>> {
    let known = Known::new(state)?;
    let mut found = by_itself(state.root, state.registry)?;
    found.extend(records::look(state, &known)?);
    let mut volumes = state.registry.all::<Volume>()?;
    volumes.retain(|(name, _)| !without.contains(name));
    found.extend(volume::look(state, &volumes, Some(&known))?);
    found.extend(lists(state, &volumes, &found)?);
    once_each(state.registry, &known, &mut found)?;
    found.sort_by_key(|found| std::cmp::Reverse(found.finding.severity));
    Ok(found)
}

/// What a session has mounted is not forgotten.
fn held_by_a_session(registry: &Registry, found: &mut Found) -> Result<()> {
    let Mend::Forget { key } = &found.mend else { return Ok(()) };
    if let Some(folder) = registry.get::<VFolder>(key)?
        && let Some((session, _)) = in_use::sessions_with(registry, &folder)?.first()
    {
        found.leave(format!("a session has it mounted: vfadm session stop {session}; then look again"));
    }
    Ok(())
}

/// Of two findings of one folder's work that was cut off, the one that looked at the disk, which comes last, knows more.
fn one_way_on(found: &mut Vec<Found>) {
    let of = |found: &Found| found.folder.filter(|_| found.finding.code == "work_cut_off");
    let last: BTreeMap<Uuid, usize> =
        found.iter().enumerate().filter_map(|(place, found)| Some((of(found)?, place))).collect();
    let mut places = 0..;
    found.retain(|found| {
        let place = places.next();
        of(found).is_none_or(|id| last.get(&id).copied() == place)
    });
    // As long as nobody has agreed, the sidecar stays the witness.
    let doubted = |found: &&Found| found.finding.loses_data && of(found).is_some();
    let doubted: BTreeSet<String> =
        found.iter().filter(doubted).map(|found| found.finding.subject.clone()).collect();
    found.retain(|found| found.finding.code != "sidecar_stale" || !doubted.contains(&found.finding.subject));
}

/// The lists of users and projects, where a volume is there.
fn lists(state: &State<'_>, volumes: &[(String, Volume)], found: &[Found]) -> Result<Vec<Found>> {
    let said = |code: &str, name: &str| {
        let subject = format!("volume {name}");
        found.iter().any(|found| found.finding.code == code && found.finding.subject == subject)
    };
    let is_looked_at = |name: &str| {
        volumes.iter().any(|(volume, _)| volume == name)
            && !said("volume_unusable", name)
            && !said("marker_missing", name)
    };
    let mut lists = owners::look(state, is_looked_at)?;
    for list in &mut lists {
        if list.finding.subject.strip_prefix("volume ").is_some_and(|name| said("volume_read_only", name)) {
            list.cannot_be_mended_here();
        }
    }
    Ok(lists)
}

/// What is at one wrong place only can be put right; where there are several, or one and nothing in the right place, an
/// administrator decides, and no record is forgotten.
fn once_each(registry: &Registry, known: &Known, found: &mut Vec<Found>) -> Result<()> {
    let counted = |code: &str| -> BTreeMap<Uuid, usize> {
        let mut counted = BTreeMap::new();
        for id in found.iter().filter(|f| f.finding.code == code).filter_map(|f| f.folder) {
            *counted.entry(id).or_default() += 1;
        }
        counted
    };
    let (misplaced, unrecorded) = (counted("vfolder_misplaced"), counted("vfolder_unrecorded"));
    one_way_on(found);
    let scope_of = |folder: &Folder| folder.owner.scope_key(&folder.record.volume);
    let elsewhere: BTreeSet<String> =
        misplaced.keys().filter_map(|id| known.folder(*id)).map(scope_of).collect();
    for found in found.iter_mut() {
        held_by_a_session(registry, found)?;
        if let Mend::MakeScope { key } = &found.mend
            && elsewhere.contains(key)
        {
            found.leave("its vfolders are at another place, which is told by itself: move it back");
        }
        let Some(id) = found.folder else { continue };
        let times = |of: &BTreeMap<Uuid, usize>| of.get(&id).copied().unwrap_or_default();
        match &*found.finding.code {
            "vfolder_missing" if times(&misplaced) > 0 => {
                found.leave("it is at another place, which is told by itself");
            }
            "vfolder_misplaced" if times(&misplaced) > 1 => found.leave(SEVERAL),
            "vfolder_unrecorded" if times(&unrecorded) > 1 => found.leave(SEVERAL),
            _ => {}
        }
    }
    Ok(())
}
