//! Volumes against what the registry says of them.

use std::path::Path;

use crate::domain::error::{Code, Error, Result};
use crate::domain::finding::Finding;
use crate::domain::node::{Sight, VolumeState};
use crate::domain::record::{Status, Volume};
use crate::host::apart;
use crate::ops::State;
use crate::ops::check::{Disk, Found, Known, Mend};
use crate::ops::scope;
use crate::plan::{VolumeAt, look};
use crate::quota::{self, Readiness, ScopeAt};

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
    let usable: Vec<usize> = (0..at.len()).filter(|index| sights[*index].state.is_usable()).collect();
    let answers = apart::each(&usable, look::SILENCE, |index| {
        let mut found = Vec::new();
        let (at, volume) = (&at[*index], &volumes[*index].1);
        check_usable(state, known, (at, volume), &sights[*index], &mut found)?;
        if sights[*index].state == VolumeState::ReadOnly {
            found.iter_mut().for_each(Found::cannot_be_mended_here);
        }
        Ok::<_, Error>(found)
    })?;
    let mut answers = answers.into_iter();
    let mut found = Vec::new();
    for (at, sight) in at.iter().zip(sights) {
        let answer = if sight.state.is_usable() { answers.next() } else { None };
        match answer {
            None => found.push(unusable(at, &sight)),
            Some(None) => found.push(unusable(at, &look::silent(at, look::SILENCE))),
            Some(Some(of_volume)) => found.extend(of_volume?),
        }
    }
    Ok(found)
}

fn unusable(at: &VolumeAt, sight: &Sight) -> Found {
    let error = at.unusable(sight.reason.as_deref().unwrap_or_default());
    Found::by_hand(Finding::error("volume_unusable", subject(at), error.message).repair("mount it"))
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
        by_hand(Finding::error("volume_read_only", &subject, reason));
    }
    let readiness = match ability(at) {
        // It may have gone since it was looked at.
        Err(error) if error.code == Code::Storage => {
            by_hand(Finding::error("volume_unusable", &subject, error.message).repair("mount it"));
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
            all.push(Found::by_hand(Finding::error("limits_unreadable", &subject, error.message)));
        }
        other => other?,
    }
    Ok(())
}

fn check_scopes(
    state: &State<'_>,
    known: Option<&Known>,
    (at, volume): (&VolumeAt, &Volume),
    all: &mut Vec<Found>,
) -> Result<()> {
    let registry = state.registry;
    let sites = scope::present(registry, &at.name, volume)?;
    let sites = scope::usable(at, sites, |finding, site| {
        let gone = site.place.is_gone().unwrap_or(false);
        let holds = scope::folders(registry, &site.place.owner, &at.name);
        let folders = holds.unwrap_or_default().len();
        all.push(match (gone, folders) {
            (true, 0) => {
                Found::mended(finding, Mend::MakeScope { key: site.key() }, "makes it again, empty")
            }
            // Where it is somewhere, it can come back whole: nothing is made in its place.
            (true, folders) => {
                let held = if folders == 1 { "1 vfolder".to_owned() } else { format!("{folders} vfolders") };
                let finding = Finding { message: format!("{}; it held {held}", finding.message), ..finding };
                Found::by_hand(finding.repair(format!(
                    "bring {} back; what has gone for good is forgotten by vfadm vfolder delete VFOLDER --purge",
                    site.place.path().display()
                )))
            }
            (false, _) => Found::by_hand(finding),
        });
    })?;
    let places: Vec<ScopeAt<'_>> = sites.iter().map(|(site, _)| site.place.at()).collect();
    if at.storage.driver.limits_scopes() && quota::is_set_here(&at.storage) {
        let readings = at.driver().read(&at.path, &places)?;
        for ((site, scope), reading) in sites.iter().zip(readings) {
            match reading {
                Ok(reading) if reading.limit == scope.limit => {}
                Ok(reading) => {
                    let mend = Mend::Limit { key: site.key(), from: reading.limit };
                    let finding = scope::differs(site, reading.limit, scope.limit);
                    all.push(Found { finding, mend, folder: None });
                }
                Err(error) => all.push(Found::by_hand(scope::unreadable(site, &error))),
            }
        }
    }
    if let Some(known) = known {
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
