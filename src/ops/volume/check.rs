//! Volumes against what the registry says of them.

use std::path::Path;

use crate::domain::error::{Code, Result};
use crate::domain::finding::Finding;
use crate::domain::node::{Sight, VolumeState};
use crate::domain::record::{Status, Volume};
use crate::host::apart;
use crate::ops::State;
use crate::ops::scope;
use crate::plan::{VolumeAt, look};
use crate::quota::{self, Readiness, ScopeAt};

/// What is wrong where limits would have to be switched on.
pub(in crate::ops) const LIMITS_OFF: &str = "quotas were switched off on its filesystem: no limit holds";

/// Looks whether volumes are mounted, are the right ones, and hold what the registry says. Each is looked at by a
/// process of its own, so that one that hangs is told of beside the others.
pub fn check(state: &State<'_>, only: Option<&str>) -> Result<Vec<Finding>> {
    let registry = state.registry;
    let volumes = match only {
        Some(name) => vec![(name.to_owned(), registry.require::<Volume>(name)?)],
        None => registry.all::<Volume>()?,
    };
    let at: Vec<VolumeAt> =
        volumes.iter().map(|(name, volume)| VolumeAt::new(registry.header.registry, name, volume)).collect();
    let sights = look::look(&at)?;
    let usable: Vec<usize> = (0..at.len()).filter(|index| sights[*index].state.is_usable()).collect();
    let answers = apart::each(&usable, look::SILENCE, |index| {
        let mut findings = Vec::new();
        check_usable(state, &at[*index], &volumes[*index].1, &sights[*index], &mut findings)
            .map(|()| findings)
    })?;
    let mut answers = answers.into_iter();
    let mut findings = Vec::new();
    for (at, sight) in at.iter().zip(sights) {
        let answer = if sight.state.is_usable() { answers.next() } else { None };
        match answer {
            None => findings.push(unusable(at, &sight)),
            Some(None) => findings.push(unusable(at, &look::silent(at, look::SILENCE))),
            Some(Some(found)) => findings.extend(found?),
        }
    }
    Ok(findings)
}

fn unusable(at: &VolumeAt, sight: &Sight) -> Finding {
    let error = at.unusable(sight.reason.as_deref().unwrap_or_default());
    Finding::error("volume_unusable", subject(at), error.message).repair("mount it")
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
    at: &VolumeAt,
    volume: &Volume,
    sight: &Sight,
    findings: &mut Vec<Finding>,
) -> Result<()> {
    let subject = subject(at);
    if let Some(reason) = sight.reason.as_ref().filter(|_| sight.state == VolumeState::ReadOnly) {
        findings.push(Finding::error("volume_read_only", &subject, reason));
    }
    let readiness = match ability(at) {
        // It may have gone since it was looked at.
        Err(error) if error.code == Code::Storage => {
            findings.push(Finding::error("volume_unusable", &subject, error.message).repair("mount it"));
            return Ok(());
        }
        other => other?,
    };
    if let Readiness::Unable { reason, remedy } = &readiness {
        findings.push(Finding::error("driver_unable", &subject, reason).repair(remedy));
    }
    if let Readiness::NeedsEnabling { .. } = readiness {
        findings.push(Finding::error("limits_off", &subject, LIMITS_OFF).repair(
            "move the folders to a volume with quotas; what was written meanwhile will not be counted where they \
             are switched on again",
        ));
        return Ok(());
    }
    match check_scopes(state, at, volume, findings) {
        Err(error) if error.code == Code::Storage => {
            findings.push(Finding::error("limits_unreadable", &subject, error.message));
        }
        other => other?,
    }
    Ok(())
}

fn check_scopes(
    state: &State<'_>,
    at: &VolumeAt,
    volume: &Volume,
    findings: &mut Vec<Finding>,
) -> Result<()> {
    let registry = state.registry;
    let sites = scope::present(registry, &at.name, volume)?;
    let sites = scope::usable(at, sites, |finding, _| findings.push(finding))?;
    let places: Vec<ScopeAt<'_>> = sites.iter().map(|(site, _)| site.place.at()).collect();
    if at.storage.driver.limits_scopes() && quota::is_set_here(&at.storage) {
        let readings = at.driver().read(&at.path, &places)?;
        for ((site, scope), reading) in sites.iter().zip(readings) {
            match reading {
                Ok(reading) if reading.limit == scope.limit => {}
                Ok(reading) => findings.push(scope::differs(site, reading.limit, scope.limit)),
                Err(error) => findings.push(scope::unreadable(site, &error)),
            }
        }
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
                findings.push(Finding::error("vfolder_missing", format!("vfolder {key}"), error.message));
            }
        }
    }
    Ok(())
}
