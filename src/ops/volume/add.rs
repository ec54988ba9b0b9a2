//! A new volume.

use std::path::{Path, PathBuf};

use uuid::Uuid;

use super::image;
use crate::domain::driver_file::DriverFile;
use crate::domain::error::{Error, Result};
use crate::domain::name;
use crate::domain::owner::Owner;
use crate::domain::quota::{DriverKind, Folders, Storage};
use crate::domain::record::{MountSource, Volume};
use crate::host::dir::Dir;
use crate::host::space::space;
use crate::ops::{self, Context, Done, State, document, node, resolve, sidecar};
use crate::plan::{Outcome, Plan, Step, VolumeAt};
use crate::quota::{self, QuotaDriver, Readiness};
use crate::registry::root::{MARKER, PRIVATE};
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
    /// The driver file of the driver `exec`.
    pub driver_file: Option<DriverFile>,
    /// What a folder is.
    pub folders: Option<Folders>,
    /// The only owner.
    pub dedicated_to: Option<Owner>,
    /// The only host that can set limits.
    pub quota_host: Option<String>,
    /// What to mount there first.
    pub mount: Option<MountSource>,
    /// Make an image of this size, in the file that `mount` names.
    pub make_image: Option<u64>,
    /// Make the directory, if there is none.
    pub make_dir: bool,
    /// Switch quotas on although that cannot be taken back.
    pub yes: bool,
    /// Try whether the limits hold, where that was not tried on this host yet.
    pub verify: bool,
    /// Only plan.
    pub dry_run: bool,
}

/// Adds a volume, and notes that its driver was seen to hold.
pub fn add_and_note(ctx: &Context, request: &Add) -> Result<Done> {
    let mut done = ops::change(ctx, |state| add(state, request))?;
    let verified = done.plan.steps.iter().find_map(|step| match step {
        Step::Verify { volume } => Some(&volume.storage),
        _ => None,
    });
    if let Some(storage) = verified.filter(|_| !done.planned) {
        let noted = ops::read(ctx).and_then(|reading| node::note_verified(&reading.root, storage));
        done.warnings.extend(noted.err().map(|e| format!("it will be tried again: {}", e.message)));
    }
    Ok(done)
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
    require_apart(state, &path)?;
    if exists && request.mount.is_none() {
        require_unmarked(&path)?;
    }
    if let Some(owner) = &request.dedicated_to {
        require_within(registry, owner, request, &path)?;
    }
    if request.mount.is_some() && request.driver.is_none() && request.dedicated_to.is_none() {
        return Err(
            Error::usage("what is not mounted yet cannot be tried").hint("name the driver with --quota")
        );
    }
    let probed = if exists { path.clone() } else { path.parent().unwrap_or(&path).to_owned() };
    let storage = Storage { quota_host: request.quota_host.clone(), ..choose(request, &probed, &mut plan)? };
    let driver = quota::driver(&storage);
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
        storage,
        folders,
        mount: request.mount.clone(),
        dedicated_to: request.dedicated_to.clone(),
        blocked: Vec::new(),
        blocked_for: Default::default(),
        allowed_for: Default::default(),
        draining: Vec::new(),
        extra: Default::default(),
    };
    let at = VolumeAt::new(registry.header.registry, &volume_name, &volume);
    match &request.mount {
        Some(source) => mount(request, source, &at, &mut plan)?,
        None => enable(&*driver, &at, &probed, request.yes, &mut plan)?,
    }
    // A driver that was found by trying has been tried.
    let untried = request.driver.is_some() && driver.kind().limits_scopes();
    if request.verify && untried && !node::is_verified(state.root, &volume.storage)? {
        plan.steps.push(Step::Verify { volume: at.clone() });
    }
    plan.steps.push(Step::Mark {
        volume: at,
        marker: sidecar::marker(registry, &volume_name, &volume),
        update: false,
    });
    plan.message = format!(
        "volume {volume_name} added: {} with the driver {} (folders: {})",
        path.display(),
        volume.storage.label(),
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

/// Refuses a volume that is larger than its owner may have (exit 4).
fn require_within(registry: &Registry, owner: &Owner, request: &Add, path: &Path) -> Result<()> {
    let known = resolve::owner(registry, owner)?;
    let bytes = match request.make_image {
        Some(bytes) => Some(bytes),
        // What is still to be mounted is not there to be measured.
        None if request.mount.is_some() => None,
        None => Some(space(&Dir::open(path)?)?.total),
    };
    match bytes {
        Some(bytes) => ops::scope::require_allowed(owner, &known.allowance, Some(bytes)),
        None => Ok(()),
    }
}

/// A volume inside another would be counted and removed with it.
fn require_apart(state: &State<'_>, path: &Path) -> Result<()> {
    let root = state.root.path();
    if root.starts_with(path) || path.starts_with(root.join(PRIVATE)) {
        return Err(Error::conflict(format!(
            "{} holds the registry: a volume has to be beside it, or below",
            path.display()
        ))
        .hint(format!("give it a directory of its own: {}", root.join("NAME").display())));
    }
    for (other, record) in state.registry.all::<Volume>()? {
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

/// The settings of the driver that was asked for, or of the best one that works there.
fn choose(request: &Add, path: &Path, plan: &mut Plan) -> Result<Storage> {
    match (request.driver, &request.driver_file) {
        (Some(DriverKind::Exec), None) => {
            return Err(Error::usage("the driver exec needs a file that says what to run")
                .hint("add --driver-file FILE; examples/drivers has some"));
        }
        (Some(DriverKind::Exec), Some(file)) if request.dedicated_to.is_none() => {
            return Ok(Storage::exec(file.clone()));
        }
        (Some(DriverKind::Exec) | None, _) | (_, None) => {}
        (Some(kind), Some(_)) => {
            return Err(Error::usage(format!("--driver-file goes with --quota exec, not {}", kind.name())));
        }
    }
    match (request.driver, &request.dedicated_to) {
        (Some(DriverKind::Dedicated), None) => {
            Err(Error::usage("a dedicated volume needs its owner").hint("add --dedicated-to OWNER"))
        }
        (Some(kind), Some(_)) if kind != DriverKind::Dedicated => {
            Err(Error::usage(format!("--dedicated-to goes with --quota dedicated, not {}", kind.name())))
        }
        (Some(kind), _) => Ok(Storage::of(kind)),
        (None, Some(_)) => Ok(Storage::of(DriverKind::Dedicated)),
        (None, None) if request.dry_run => {
            plan.tries.push("would try which driver can stop a write past a limit".to_owned());
            Ok(Storage::of(likely(path)?.map_or(DriverKind::None, |(kind, _)| kind)))
        }
        (None, None) => detect(request, path, plan).map(Storage::of),
    }
}

/// The first kind that could work there, by looking only.
fn likely(path: &Path) -> Result<Option<(DriverKind, Readiness)>> {
    for kind in quota::CANDIDATES {
        match quota::driver(&Storage::of(kind)).inspect(path)? {
            Readiness::Unable { .. } => {}
            readiness => return Ok(Some((kind, readiness))),
        }
    }
    Ok(None)
}

fn detect(request: &Add, path: &Path, plan: &mut Plan) -> Result<DriverKind> {
    let harmless = matches!(likely(path)?, Some((_, Readiness::NeedsEnabling { caution: None, .. })));
    let detected = quota::detect(path, request.yes || harmless)?;
    if let Some(Readiness::NeedsEnabling { what, caution }) = detected.needs {
        return Err(Error::usage(format!("{}: to {what}: {}", path.display(), caution.unwrap_or_default()))
            .hint("say --yes to do it all the same, or --quota none to have no limits"));
    }
    if detected.kind == DriverKind::None {
        plan.warnings.extend(detected.passed_over.iter().map(|why| format!("no limits can be set: {why}")));
    }
    Ok(detected.kind)
}

/// Makes the image, if one is to be made, and mounts it; what is there can be looked at only then.
fn mount(request: &Add, source: &MountSource, at: &VolumeAt, plan: &mut Plan) -> Result<()> {
    let file = Path::new(&source.source);
    if request.make_image.is_none() && file.is_absolute() && !file.exists() {
        return Err(Error::storage(format!("there is no {} to mount", file.display()))
            .hint("name a device or an image with --mount-source, or make one with --make-image SIZE"));
    }
    if let Some(bytes) = request.make_image {
        if file.exists() {
            return Err(Error::conflict(format!("{} exists already", file.display()))
                .hint("name another file with --mount-source, or leave --make-image out to mount this one"));
        }
        image::require_room(file, bytes)?;
        let kind = source.kind.clone().unwrap_or_default();
        plan.steps.push(Step::MakeImage { path: file.to_owned(), bytes, kind, id: at.id });
    }
    plan.steps.push(Step::Mount { path: at.path.clone(), source: source.clone() });
    plan.steps.push(Step::Inspect { volume: at.clone(), known: false });
    Ok(())
}

fn unable(driver: &dyn QuotaDriver, at: &VolumeAt, reason: &str, remedy: String) -> Error {
    Error::storage(format!(
        "the driver {} cannot be used on {}: {reason}",
        driver.kind().name(),
        at.path.display()
    ))
    .hint(remedy)
}

/// Refuses a driver that cannot work on the volume as it is (exit 8).
pub(super) fn require_ready(driver: &dyn QuotaDriver, at: &VolumeAt) -> Result<()> {
    match driver.inspect(&at.path)? {
        Readiness::Unable { reason, remedy } => Err(unable(driver, at, &reason, remedy)),
        _ => Ok(()),
    }
}

fn enable(driver: &dyn QuotaDriver, at: &VolumeAt, probed: &Path, yes: bool, plan: &mut Plan) -> Result<()> {
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
        Readiness::Unable { reason, remedy } => return Err(unable(driver, at, &reason, remedy)),
    }
    Ok(())
}
