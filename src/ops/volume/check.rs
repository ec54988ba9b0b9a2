//! Volumes against what the registry says of them.

use std::path::Path;

use crate::domain::error::{Code, Result};
use crate::domain::finding::Finding;
use crate::domain::record::{Status, Volume};
use crate::host::dir::Dir;
use crate::host::files;
use crate::ops::State;
use crate::ops::scope;
use crate::plan::VolumeAt;
use crate::quota::{self, Readiness, ScopeAt};

/// Looks whether volumes are mounted, are the right ones, and hold what the registry says.
pub fn check(state: &State<'_>, only: Option<&str>) -> Result<Vec<Finding>> {
    let registry = state.registry;
    let volumes = match only {
        Some(name) => vec![(name.to_owned(), registry.require::<Volume>(name)?)],
        None => registry.all::<Volume>()?,
    };
    let mut findings = Vec::new();
    for (name, volume) in volumes {
        let at = VolumeAt::new(registry.header.registry, &name, &volume);
        let subject = format!("volume {name}");
        let dir = match at.open() {
            Ok(dir) => dir,
            Err(error) => {
                findings.push(Finding::error("volume_unusable", subject, error.message).repair("mount it"));
                continue;
            }
        };
        if !is_writable(&dir) {
            findings.push(Finding::error(
                "volume_read_only",
                &subject,
                format!("{} is mounted read-only", volume.path),
            ));
        }
        // What only another host can do is looked at there.
        let readiness = match quota::is_set_here(&at.storage) {
            true => at.driver().inspect(&at.path)?,
            false => Readiness::Ready,
        };
        if let Readiness::Unable { reason, remedy } = &readiness {
            findings.push(Finding::error("driver_unable", &subject, reason).repair(remedy));
        }
        if let Readiness::NeedsEnabling { .. } = readiness {
            let why = "quotas were switched off on its filesystem: no limit holds";
            findings.push(Finding::error("limits_off", &subject, why).repair(
                "move the folders to a volume with quotas; what was written meanwhile will not be counted where they \
                 are switched on again",
            ));
            continue;
        }
        match check_scopes(state, &at, &volume, &mut findings) {
            Err(error) if error.code == Code::Storage => {
                findings.push(Finding::error("limits_unreadable", &subject, error.message));
            }
            other => other?,
        }
    }
    Ok(findings)
}

fn is_writable(dir: &Dir) -> bool {
    !files::is_read_only(dir)
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
            {
                findings.push(Finding::error("vfolder_missing", format!("vfolder {key}"), error.message));
            }
        }
    }
    Ok(())
}
