//! Volumes against what the registry says of them.

use std::path::Path;

use crate::domain::error::{Code, Error, Result};
use crate::domain::finding::Finding;
use crate::domain::node::{Sight, VolumeState};
use crate::domain::record::{Scope, Status, Volume};
use crate::host::apart;
use crate::host::dir::Dir;
use crate::ops::State;
use crate::ops::check::{self, Disk, Found, Known, Mend};
use crate::ops::scope::{self, Site};
use crate::ops::sidecar::note;
use crate::plan::{VolumeAt, look};
use crate::quota::{self, Readiness, ScopeAt};
use crate::registry::Registry;
use crate::registry::root::PRIVATE;

/// What is wrong where limits would have to be switched on.
pub(in crate::ops) const LIMITS_OFF: &str = "quotas were switched off on its filesystem: no limit holds";

/// Looks whether volumes are mounted, are the right ones, and hold what the registry says.
pub fn check(state: &State<'_>, only: Option<&str>) -> Result<Vec<Finding>> {
    let volumes = match only {
        Some(name) => vec![(name.to_owned(), state.registry.require::<Volume>(name)?)],
        None => state.registry.all::<Volume>()?,
    };
    Ok(look(state, &volumes, None)?.into_iter().map(|found| found.finding).collect())
}

/// The same, with what mends it; `known` has the directories gone through too. Each volume is looked at by a process of
/// its own, so that one that hangs is told of beside the others.
pub(in crate::ops) fn look(
    state: &State<'_>,
    volumes: &[(String, Volume)],
    known: Option<&Known>,
) -> Result<Vec<Found>> {
    let registry = state.registry;
    let at: Vec<VolumeAt> =
        volumes.iter().map(|(name, volume)| VolumeAt::new(registry.header.registry, name, volume)).collect();
    let sights = look::look(&at)?;
    let answering: Vec<usize> = (0..at.len()).filter(|index| answers_at_all(&sights[*index])).collect();
    let answers = apart::each(&answering, look::SILENCE, |index| {
        let mut found = Vec::new();
        let (at, volume) = (&at[*index], &volumes[*index].1);
        if !sights[*index].state.is_usable() {
            let found = if knows_itself(registry, at, volume) {
                lost_marker(at, &sights[*index])
            } else {
                unusable(at, &sights[*index])
            };
            return Ok(vec![found]);
        }
        check_usable(state, known, (at, volume), &sights[*index], &mut found)?;
        if sights[*index].state == VolumeState::ReadOnly {
            found.iter_mut().for_each(Found::cannot_be_mended_here);
        }
        Ok::<_, Error>(found)
    })?;
    let mut answers = answers.into_iter();
    let mut found = Vec::new();
    for (at, sight) in at.iter().zip(sights) {
        let answer = if answers_at_all(&sight) { answers.next() } else { None };
        match answer {
            None => found.push(unusable(at, &sight)),
            Some(None) => found.push(unusable(at, &look::silent(at, look::SILENCE))),
            Some(Some(of_volume)) => found.extend(of_volume?),
        }
    }
    Ok(found)
}

/// Whether there is something to be looked at.
fn answers_at_all(sight: &Sight) -> bool {
    sight.state.is_usable() || sight.lacks_marker()
}

/// Whether what stands there without its marker is the volume all the same: of each folder that the registry has there
/// the sidecar or the directory may be missing, but one has both, and no sidecar tells of another volume.
fn knows_itself(registry: &Registry, at: &VolumeAt, volume: &Volume) -> bool {
    let look = || -> Result<bool> {
        let top = Dir::open(&at.path)?;
        if top.stat(PRIVATE)?.is_none() {
            return Ok(false);
        }
        let notes = top.open_dir(PRIVATE)?;
        let mut known = false;
        for (site, _) in scope::present(registry, &at.name, volume)? {
            let of_scope = note::of_scope(Some(&notes), &site.place.dir)?;
            for (_, folder) in scope::folders(registry, &site.place.owner, &at.name)? {
                let Some(told) = note::of_folder(of_scope.as_ref(), folder.id) else { continue };
                if told.vfolder.volume != at.name {
                    return Ok(false);
                }
                known |= site.place.path().join(folder.place()).symlink_metadata().is_ok();
            }
        }
        Ok(known)
    };
    look().unwrap_or(false)
}

fn lost_marker(at: &VolumeAt, sight: &Sight) -> Found {
    let why = sight.reason.as_deref().unwrap_or_default();
    let message = format!("{why}; by its sidecars it is this volume");
    let finding = Finding::error("marker_missing", subject(at), message).losing();
    Found::mended(finding, Mend::Marker { volume: at.name.clone() }, "writes it again")
}

fn unusable(at: &VolumeAt, sight: &Sight) -> Found {
    let why = sight.reason.as_deref().unwrap_or_default();
    let (error, repair) = match sight.denied {
        true => (at.denied(why), "let root in (NFS: export it with no_root_squash)".to_owned()),
        false => (at.unusable(why), at.remedy()),
    };
    Found::by_hand(Finding::error("volume_unusable", subject(at), error.message).repair(repair))
}

fn subject(at: &VolumeAt) -> String {
    format!("volume {}", at.name)
}

/// Whether the driver of a volume that is there can set and read its limits: what only another host can do is looked at
/// there.
pub fn ability(at: &VolumeAt) -> Result<Readiness> {
    if quota::is_set_here(&at.storage) { at.driver().inspect(&at.path) } else { Ok(Readiness::Ready) }
}

fn check_usable(
    state: &State<'_>,
    known: Option<&Known>,
    (at, volume): (&VolumeAt, &Volume),
    sight: &Sight,
    all: &mut Vec<Found>,
) -> Result<()> {
    let subject = subject(at);
    let mut by_hand = |finding| all.push(Found::by_hand(finding));
    if let Some(reason) = sight.reason.as_ref().filter(|_| sight.state == VolumeState::ReadOnly) {
        let repair = format!("make it writable: mount -o remount,rw {}", at.path.display());
        by_hand(Finding::error("volume_read_only", &subject, reason).repair(repair));
    }
    let readiness = match ability(at) {
        // It may have gone since it was looked at.
        Err(error) if error.code == Code::Storage => {
            by_hand(Finding::error("volume_unusable", &subject, error.message).repair(at.remedy()));
            return Ok(());
        }
        other => other?,
    };
    if let Readiness::Unable { reason, remedy } = &readiness {
        by_hand(Finding::error("driver_unable", &subject, reason).repair(remedy));
    }
    if let Readiness::NeedsEnabling { .. } = readiness {
        by_hand(Finding::error("limits_off", &subject, LIMITS_OFF).repair(
            "move the folders to a volume with quotas; what was written meanwhile will not be counted where they \
             are switched on again",
        ));
        return Ok(());
    }
    match check_scopes(state, known, (at, volume), all) {
        Err(error) if error.code == Code::Storage => {
            let repair = error.hint.unwrap_or_else(|| format!("vfadm volume check {}", at.name));
            all.push(Found::by_hand(
                Finding::error("limits_unreadable", &subject, error.message).repair(repair),
            ));
        }
        other => other?,
    }
    Ok(())
}

/// A scope that cannot be opened, and where nothing of it is left, the folders that went with it: all is told at once,
/// so that nobody agrees to less than is lost.
fn lacks_scope(registry: &Registry, finding: Finding, site: &Site, all: &mut Vec<Found>) -> Result<()> {
    if !site.place.is_gone().unwrap_or(false) {
        let repair = format!("see what is at {}, and put the quota scope back", site.place.path().display());
        all.push(Found::by_hand(finding.repair(repair)));
        return Ok(());
    }
    let mut missing = Vec::new();
    for (key, folder) in scope::folders(registry, &site.place.owner, &site.place.volume.name)? {
        // Without a scope there is nothing of these either, and they are findings of their own.
        if folder.status == Status::Purging || folder.clone.is_some() || folder.transfer.is_some() {
            continue;
        }
        let path = site.place.path().join(folder.place());
        let message = format!("there is nothing at {}: its quota scope is not there", path.display());
        missing.push(Found::forgotten(key, folder.id, message));
    }
    let mend = Mend::MakeScope { key: site.key() };
    all.push(match missing.len() {
        0 => Found::mended(finding, mend, "makes it again, empty"),
        count => {
            let held = if count == 1 { "1 vfolder".to_owned() } else { format!("{count} vfolders") };
            let message =
                format!("{}; it held {held}: put it back, if it was only moved away", finding.message);
            let finding = Finding { message, ..finding }.losing();
            Found::mended(finding, mend, "makes it again, empty")
        }
    });
    all.extend(missing);
    Ok(())
}

/// What the registry does not know of stops an owner before the scope's limit does.
fn inner_limits(at: &VolumeAt, sites: &[(Site, Scope)], places: &[ScopeAt<'_>]) -> Result<Vec<Found>> {
    let told = at.driver().inner_limits(&at.path, places)?.into_iter();
    Ok(told
        .map(|(place, words)| {
            let key = sites[place].0.key();
            let message = format!("{words}, of which the registry knows nothing");
            let finding = Finding::warning("limit_inside", format!("quota scope {key}"), message);
            Found::mended(finding, Mend::InnerLimits { key }, "lifts it")
        })
        .collect())
}

fn check_scopes(
    state: &State<'_>,
    known: Option<&Known>,
    (at, volume): (&VolumeAt, &Volume),
    all: &mut Vec<Found>,
) -> Result<()> {
    let registry = state.registry;
    let sites = scope::present(registry, &at.name, volume)?;
    let mut unusable = Vec::new();
    let sites = scope::usable(at, sites, |finding, site| unusable.push((finding, site.clone())))?;
    for (finding, site) in unusable {
        lacks_scope(registry, finding, &site, all)?;
    }
    let places: Vec<ScopeAt<'_>> = sites.iter().map(|(site, _)| site.place.at()).collect();
    if at.storage.driver.limits_scopes() && quota::is_set_here(&at.storage) {
        let readings = at.driver().read(&at.path, &places)?;
        let uncounted = at.driver().uncounted(&at.path, &places)?;
        for (index, ((site, scope), reading)) in sites.iter().zip(readings).enumerate() {
            match reading {
                _ if uncounted.contains(&index) => all.push(check::uncounted(site)),
                Ok(reading) if reading.limit == scope.limit => {}
                Ok(reading) => {
                    let mend = Mend::Limit { key: site.key(), from: reading.limit };
                    let finding = scope::differs(site, reading.limit, scope.limit);
                    all.push(Found::mended(finding, mend, "sets the registry's"));
                }
                Err(error) => all.push(Found::by_hand(scope::unreadable(site, &error))),
            }
        }
    }
    if let Some(known) = known {
        if quota::is_set_here(&at.storage) {
            all.extend(inner_limits(at, &sites, &places)?);
        }
        return match Disk::look(state, known, (at, volume), &sites, all) {
            Err(error) if error.code == Code::Storage => {
                let finding = Finding::error("volume_unreadable", subject(at), error.message);
                all.push(Found::by_hand(finding.repair("look at the filesystem, and then again here")));
                Ok(())
            }
            other => other,
        };
    }
    let top = at.open()?;
    for (site, _) in &sites {
        let dir = top.open_dir(&site.place.dir)?;
        for (key, folder) in scope::folders(registry, &site.place.owner, &at.name)? {
            if let Err(error) = site.place.open_folder_in(&dir, Path::new(&folder.place()))
                && folder.status != Status::Purging
                // Once it has been copied, the original is removed bit by bit.
                && !folder.transfer.as_ref().is_some_and(|transit| transit.copied)
            {
                let finding = Finding::error("vfolder_missing", format!("vfolder {key}"), error.message);
                all.push(Found::by_hand(finding));
            }
        }
    }
    Ok(())
}
