//! Volumes against what the registry says of them.

use std::path::Path;

use crate::domain::error::Result;
use crate::domain::finding::Finding;
use crate::domain::owner::split_scope_key;
use crate::domain::record::{Scope, Status, Volume};
use crate::domain::size::Limit;
use crate::host::dir::Dir;
use crate::host::files;
use crate::ops::State;
use crate::ops::scope::{self, Site};
use crate::plan::VolumeAt;
use crate::quota::Readiness;

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
        if let Readiness::Unable { reason, remedy } = at.driver().inspect(&at.path)? {
            findings.push(Finding::error("driver_unable", &subject, reason).repair(remedy));
        }
        check_scopes(state, &at, &mut findings)?;
    }
    Ok(findings)
}

fn is_writable(dir: &Dir) -> bool {
    !files::is_read_only(dir)
}

fn check_scopes(state: &State<'_>, at: &VolumeAt, findings: &mut Vec<Finding>) -> Result<()> {
    let registry = state.registry;
    let end = format!("@{}", at.name);
    for key in registry.keys::<Scope>().into_iter().filter(|k| k.ends_with(&end)) {
        let scope: Scope = registry.require(&key)?;
        let Some((owner, _)) = split_scope_key(&key) else { continue };
        if !scope.present {
            continue;
        }
        let volume = registry.require::<Volume>(&at.name)?;
        let site = Site::find(registry, &owner, &at.name, &volume)?;
        if let Err(error) = site.place.open() {
            findings.push(Finding::error("scope_missing", format!("quota scope {key}"), error.message));
            continue;
        }
        let reading = at.driver().read(&at.path, &[site.place.at()])?;
        let enforced = at.storage.driver.limits_scopes();
        if let Some(reading) = reading.first().filter(|r| enforced && r.limit != scope.limit) {
            findings.push(
                Finding::error(
                    "limit_differs",
                    format!("quota scope {key}"),
                    format!(
                        "the storage holds a limit of {}, the registry one of {}",
                        Limit(reading.limit),
                        Limit(scope.limit)
                    ),
                )
                .repair(format!(
                    "vfadm quota set {owner} {} --volume {}",
                    scope.limit.map_or("unlimited".to_owned(), |b| b.to_string()),
                    at.name
                )),
            );
        }
        for (folder_key, folder) in scope::folders(registry, &owner, &at.name)? {
            if let Err(error) = site.place.open_folder(Path::new(&folder.place()))
                && folder.status != Status::Purging
            {
                let subject = format!("vfolder {folder_key}");
                findings.push(Finding::error("vfolder_missing", subject, error.message));
            }
        }
    }
    Ok(())
}
