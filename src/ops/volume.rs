//! Volumes: added, shown, checked, taken out.

use std::path::{Path, PathBuf};

use serde_json::Value;
use uuid::Uuid;

use super::resolve;
use super::{State, document, sidecar};
use crate::domain::error::{Error, Result};
use crate::domain::finding::Finding;
use crate::domain::name;
use crate::domain::owner::Owner;
use crate::domain::quota::{DriverKind, Folders};
use crate::domain::record::{Scope, VFolder, Volume};
use crate::host::dir::Dir;
use crate::host::files;
use crate::plan::{Outcome, Plan, Step, VolumeAt};
use crate::quota::{self, QuotaDriver, Readiness};
use crate::registry::root::MARKER;
use crate::registry::{Change, Registry};

/// What `volume add` was asked.
#[derive(Clone, Debug)]
pub struct Add {
    /// Its name.
    pub name: String,
    /// Where it is mounted.
    pub path: PathBuf,
    /// Its driver; `None` finds out by trying.
    pub driver: Option<DriverKind>,
    /// What a folder is.
    pub folders: Option<Folders>,
    /// The only owner.
    pub dedicated_to: Option<Owner>,
    /// Make the directory, if there is none (`init`).
    pub make_dir: bool,
    /// Switch quotas on although that cannot be taken back.
    pub yes: bool,
    /// Only plan.
    pub dry_run: bool,
}

/// Plans a new volume.
pub fn add(state: &State<'_>, request: &Add) -> Result<Plan> {
    let registry = state.registry;
    let volume_name = name::thing("volume", &request.name)?;
    if registry.contains::<Volume>(&volume_name) {
        return Err(Error::conflict(format!("the volume '{volume_name}' exists already"))
            .hint(format!("vfadm volume show {volume_name}")));
    }
    let mut plan = Plan::new(Outcome::Created, "");
    let path = place(request, &mut plan)?;
    let exists = plan.steps.is_empty();
    require_apart(registry, &path)?;
    if exists {
        require_unmarked(&path)?;
    }
    if let Some(owner) = &request.dedicated_to {
        resolve::owner(registry, owner)?;
    }
    let probed = if exists { path.clone() } else { path.parent().unwrap_or(&path).to_owned() };
    let driver = choose(request, &probed, &mut plan)?;
    let folders = request.folders.unwrap_or_else(|| driver.default_folders());
    if !driver.supports(folders) {
        return Err(Error::usage(format!(
            "the driver {} makes no {}s",
            driver.kind().name(),
            folders.name()
        )));
    }
    let volume = Volume {
        id: Uuid::new_v4(),
        path: utf8(&path)?,
        driver: driver.kind(),
        folders,
        dedicated_to: request.dedicated_to.clone(),
        blocked: Vec::new(),
        blocked_for: Default::default(),
        allowed_for: Default::default(),
        draining: Vec::new(),
        extra: Default::default(),
    };
    let at = VolumeAt::new(registry.header.registry, &volume_name, &volume);
    enable(driver, &at, &probed, request.yes, &mut plan)?;
    plan.steps.push(Step::Mark {
        volume: at,
        marker: sidecar::marker(registry, &volume_name, &volume),
        update: false,
    });
    plan.message = format!(
        "volume {volume_name} added: {} with the driver {} (folders: {})",
        path.display(),
        driver.kind().name(),
        folders.name()
    );
    plan.changes.push(Change::put(volume_name.clone(), &volume)?);
    plan.item = Some(document::volume(registry, &volume_name, &volume));
    Ok(plan)
}

fn utf8(path: &Path) -> Result<String> {
    path.to_str()
        .map(str::to_owned)
        .ok_or_else(|| Error::usage(format!("the path of a volume has to be UTF-8: {}", path.display())))
}

fn place(request: &Add, plan: &mut Plan) -> Result<PathBuf> {
    let path = &request.path;
    if !path.is_absolute() {
        return Err(Error::usage(format!("the path of a volume has to be absolute: {}", path.display())));
    }
    match path.canonicalize() {
        Ok(real) => {
            Dir::open(&real)?;
            Ok(real)
        }
        Err(e) if e.kind() == std::io::ErrorKind::NotFound && request.make_dir => {
            plan.steps.push(Step::MakeVolumeDir { path: path.clone() });
            Ok(path.clone())
        }
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            Err(Error::not_found(format!("there is no directory {}", path.display()))
                .hint("mount the filesystem there, or make the directory, first"))
        }
        Err(e) => Err(crate::host::Error::path("open", path, e).into()),
    }
}

/// A volume inside another would be counted and removed with it.
fn require_apart(registry: &Registry, path: &Path) -> Result<()> {
    for (other, record) in registry.all::<Volume>()? {
        let there = Path::new(&record.path);
        if path == there {
            return Err(Error::conflict(format!("{} is the volume '{other}' already", path.display())));
        }
        if path.starts_with(there) || there.starts_with(path) {
            return Err(Error::conflict(format!(
                "{} and the volume '{other}' at {} lie one inside the other",
                path.display(),
                there.display()
            )));
        }
    }
    Ok(())
}

fn require_unmarked(path: &Path) -> Result<()> {
    let dir = Dir::open(path)?;
    if dir.stat(MARKER)?.is_some() {
        return Err(Error::conflict(format!(
            "{} is marked as a volume of a registry already",
            path.display()
        ))
        .hint(format!("if that registry is gone for good, remove {} first", dir.join(MARKER).display())));
    }
    Ok(())
}

fn choose(request: &Add, path: &Path, plan: &mut Plan) -> Result<&'static dyn QuotaDriver> {
    match (request.driver, &request.dedicated_to) {
        (Some(DriverKind::Dedicated), None) => {
            Err(Error::usage("a dedicated volume needs its owner").hint("add --dedicated-to OWNER"))
        }
        (Some(kind), Some(_)) if kind != DriverKind::Dedicated => {
            Err(Error::usage(format!("--dedicated-to goes with --quota dedicated, not {}", kind.name())))
        }
        (Some(kind), _) => Ok(quota::driver(kind)),
        (None, Some(_)) => Ok(quota::driver(DriverKind::Dedicated)),
        (None, None) if request.dry_run => {
            plan.tries.push("would try which driver can stop a write past a limit".to_owned());
            let kind = match quota::driver(DriverKind::Btrfs).inspect(path)? {
                Readiness::Unable { .. } => DriverKind::None,
                _ => DriverKind::Btrfs,
            };
            Ok(quota::driver(kind))
        }
        (None, None) => {
            let harmless = matches!(
                quota::driver(DriverKind::Btrfs).inspect(path)?,
                Readiness::NeedsEnabling { caution: None, .. }
            );
            let detected = quota::detect(path, request.yes || harmless)?;
            if let Some(Readiness::NeedsEnabling { what, caution }) = detected.needs {
                return Err(Error::usage(format!(
                    "{}: to {what}: {}",
                    path.display(),
                    caution.unwrap_or_default()
                ))
                .hint("say --yes to do it all the same, or --quota none to have no limits"));
            }
            if detected.kind == DriverKind::None {
                plan.warnings
                    .extend(detected.passed_over.iter().map(|why| format!("no limits can be set: {why}")));
            }
            Ok(quota::driver(detected.kind))
        }
    }
}

fn enable(
    driver: &'static dyn QuotaDriver,
    at: &VolumeAt,
    probed: &Path,
    yes: bool,
    plan: &mut Plan,
) -> Result<()> {
    match driver.inspect(probed)? {
        Readiness::Ready => plan.warnings.extend(driver.enforcement(probed)?.1),
        Readiness::NeedsEnabling { what, caution } => {
            if let Some(caution) = caution {
                if !yes {
                    return Err(Error::usage(format!("{}: {caution}", at.path.display()))
                        .hint("say --yes to do it all the same, or --quota none to have no limits"));
                }
                plan.warnings.push(caution);
            }
            plan.steps.push(Step::EnableQuota { volume: at.clone(), what });
        }
        Readiness::Unable { reason, remedy } => {
            return Err(Error::storage(format!(
                "the driver {} cannot be used on {}: {reason}",
                driver.kind().name(),
                at.path.display()
            ))
            .hint(remedy));
        }
    }
    Ok(())
}

/// The documents of all volumes.
pub fn list(state: &State<'_>) -> Result<Vec<Value>> {
    Ok(state.registry.all::<Volume>()?.iter().map(|(n, v)| document::volume(state.registry, n, v)).collect())
}

/// The document of one, with its scopes and folders counted.
pub fn show(state: &State<'_>, name: &str) -> Result<Value> {
    let registry = state.registry;
    let volume: Volume = registry.require(name)?;
    let mut item = document::volume(registry, name, &volume);
    if let Value::Object(map) = &mut item {
        let end = format!("@{name}");
        let scopes = registry.keys::<Scope>().iter().filter(|k| k.ends_with(&end)).count();
        map.insert("scopes".to_owned(), scopes.into());
        map.insert("vfolders".to_owned(), folders_on(registry, name)?.len().into());
        map.insert("draining".to_owned(), volume.draining.len().into());
        let at = VolumeAt::new(registry.header.registry, name, &volume);
        if let Ok((enforcement, _)) = at.driver().enforcement(&at.path) {
            map.insert("enforcement".to_owned(), enforcement.name().into());
        }
    }
    Ok(item)
}

fn folders_on(registry: &Registry, volume: &str) -> Result<Vec<String>> {
    let all = registry.all::<VFolder>()?;
    Ok(all.into_iter().filter(|(_, f)| f.volume == volume).map(|(key, _)| key).collect())
}

/// Plans the default volume.
pub fn set_default(state: &State<'_>, name: &str) -> Result<Plan> {
    let volume: Volume = state.registry.require(name)?;
    let mut settings = state.registry.settings.clone();
    let mut plan = if settings.default_volume.as_deref() == Some(name) {
        Plan::unchanged(format!("'{name}' is the default volume already"))
    } else {
        settings.default_volume = Some(name.to_owned());
        let mut plan = Plan::new(Outcome::Changed, format!("'{name}' is the default volume"));
        plan.changes.push(Change::Settings(settings));
        plan
    };
    plan.item = Some(document::volume(state.registry, name, &volume));
    Ok(plan)
}

/// Plans to take a volume out of the registry. What is on it stays; only the marker goes.
pub fn remove(state: &State<'_>, name: &str) -> Result<Plan> {
    let registry = state.registry;
    let volume: Volume = registry.require(name)?;
    let folders = folders_on(registry, name)?;
    if !folders.is_empty() {
        let more = if folders.len() > 1 { format!(" and {} more", folders.len() - 1) } else { String::new() };
        return Err(Error::conflict(format!("the volume '{name}' holds {}{more}", folders[0]))
            .hint(format!("purge them first; 'vfadm vfolder list --volume {name}' shows them")));
    }
    let end = format!("@{name}");
    let mut plan =
        Plan::new(Outcome::Deleted, format!("volume {name} removed; {} stays as it is", volume.path));
    for key in registry.keys::<Scope>().into_iter().filter(|k| k.ends_with(&end)) {
        let Some((owner, _)) = crate::domain::owner::split_scope_key(&key) else { continue };
        super::scope::remove(&super::scope::Site::find(registry, &owner, name, &volume)?, false, &mut plan)?;
    }
    plan.item = Some(document::volume(registry, name, &volume));
    let at = VolumeAt::new(registry.header.registry, name, &volume);
    if at.open().is_ok() {
        // After the commit: a marker without a record is found by `volume add`, a record without one is not usable.
        plan.after.push(Step::Unmark { volume: at, marker: sidecar::marker(registry, name, &volume) });
    } else {
        plan.warnings.push(format!("'{name}' is not mounted at {}: its marker stays on it", volume.path));
    }
    plan.changes.push(Change::remove::<Volume>(name));
    if registry.settings.default_volume.as_deref() == Some(name) {
        let mut settings = registry.settings.clone();
        settings.default_volume = None;
        plan.changes.push(Change::Settings(settings));
    }
    Ok(plan)
}

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
        let Some((owner, _)) = crate::domain::owner::split_scope_key(&key) else { continue };
        if !scope.present {
            continue;
        }
        let volume = registry.require::<Volume>(&at.name)?;
        let site = super::scope::Site::find(registry, &owner, &at.name, &volume)?;
        let dir = match site.place.open() {
            Ok(dir) => dir,
            Err(error) => {
                findings.push(Finding::error("scope_missing", format!("quota scope {key}"), error.message));
                continue;
            }
        };
        let reading = at.driver().read(&at.path, &[site.place.at()])?;
        let enforced = !matches!(
            at.driver().enforcement(&at.path)?.0,
            crate::domain::quota::Enforcement::None | crate::domain::quota::Enforcement::Volume
        );
        if let Some(reading) = reading.first().filter(|r| enforced && r.limit != scope.limit) {
            findings.push(
                Finding::error(
                    "limit_differs",
                    format!("quota scope {key}"),
                    format!(
                        "the storage holds a limit of {}, the registry one of {}",
                        crate::domain::size::Limit(reading.limit),
                        crate::domain::size::Limit(scope.limit)
                    ),
                )
                .repair(format!(
                    "vfadm quota set {owner} {} --volume {}",
                    scope.limit.map_or("unlimited".to_owned(), |b| b.to_string()),
                    at.name
                )),
            );
        }
        for (folder_key, folder) in super::scope::folders(registry, &owner, &at.name)? {
            let there = dir.open_beneath(Path::new(&folder.place())).is_ok();
            if !there && folder.status != crate::domain::record::Status::Purging {
                let path = site.place.path().join(folder.place());
                findings.push(Finding::error(
                    "vfolder_missing",
                    format!("vfolder {folder_key}"),
                    format!("{} is missing", path.display()),
                ));
            }
        }
    }
    Ok(())
}
