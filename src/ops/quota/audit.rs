//! What gets past limits, and what the storage holds without a scope.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use crate::domain::error::{Code, Result};
use crate::domain::finding::Finding;
use crate::domain::quota::Folders;
use crate::domain::record::{Scope, Volume};
use crate::host::process::{Mount, own_mounts};
use crate::ops::check;
use crate::ops::scope::{self, Site};
use crate::ops::{self, Context, State};
use crate::plan::{ScopePlace, VolumeAt};
use crate::quota::{self, Escape, EscapeKind, ScopeAt, Uncharged};

/// A finding, and what mending it needs.
pub struct Audited {
    /// What an administrator sees.
    pub finding: Finding,
    /// The path that it is about, as bytes.
    pub path: Option<PathBuf>,
    mend: Mend,
}

impl Audited {
    /// True where [`fix`] would try to mend it.
    pub fn can_be_mended(&self) -> bool {
        !matches!(self.mend, Mend::ByHand)
    }
}

enum Mend {
    ByHand,
    Limit(ScopePlace),
    Escape(VolumeAt, Escape),
}

/// Looks through all volumes, or one.
pub fn audit(state: &State<'_>, only: Option<&str>) -> Result<Vec<Audited>> {
    let registry = state.registry;
    let volumes = match only {
        Some(name) => vec![(name.to_owned(), registry.require::<Volume>(name)?)],
        None => registry.all::<Volume>()?,
    };
    let mut found = Vec::new();
    for (name, volume) in volumes {
        let at = VolumeAt::new(registry.header.registry, &name, &volume);
        if let Err(error) = at.try_open()? {
            let finding = Finding::error("volume_unusable", format!("volume {name}"), error.message);
            found.push(by_hand(finding.repair(at.remedy()), Some(at.path)));
            continue;
        }
        match of_volume(state, &at, &volume, &mut found) {
            // The other volumes are worth looking at all the same.
            Err(error) if only.is_none() && error.code == Code::Storage => {
                let finding = Finding::error("volume_unusable", format!("volume {name}"), error.message);
                found.push(by_hand(finding, Some(at.path)));
            }
            other => other?,
        }
    }
    Ok(found)
}

/// Mends what can be mended without losing data; answers what is left, what was mended, and warnings. Only the
/// mending itself holds the lock: looking may walk every tree.
pub fn fix(ctx: &Context, only: Option<&str>) -> Result<(Vec<Finding>, Vec<Finding>, Vec<String>)> {
    let reading = ops::read(ctx)?;
    let found = audit(&reading.state(ctx), only)?;
    let (locked, mut warnings) = ops::lock(ctx)?;
    let state = State { root: &locked.root, registry: &locked.registry, actor: &ctx.actor };
    let mut mended = Vec::new();
    for audited in found {
        crate::host::signals::check()?;
        match mend(&state, &audited) {
            Ok(true) => mended.push(audited.finding),
            Ok(false) => {}
            Err(error) => warnings.push(error.message),
        }
    }
    locked.unlock();
    let reading = ops::read(ctx)?;
    let left = audit(&reading.state(ctx), only)?.into_iter().map(|audited| audited.finding).collect();
    Ok((left, mended, warnings))
}

fn mend(state: &State<'_>, audited: &Audited) -> Result<bool> {
    match &audited.mend {
        Mend::ByHand => Ok(false),
        Mend::Limit(place) => {
            // As it is recorded under the lock.
            let Some(record) = state.registry.get::<Scope>(&place.name())?.filter(|r| r.present) else {
                return Ok(false);
            };
            place.open()?;
            quota::ensure_limit(&*place.volume.driver(), &place.at(), record.limit)
        }
        Mend::Escape(at, escape) => {
            let volume = state.registry.require::<Volume>(&at.name)?;
            let sites = scope::present(state.registry, &at.name, &volume)?;
            let scopes: Vec<ScopeAt<'_>> = sites.iter().map(|(site, _)| site.place.at()).collect();
            at.driver().mend(&at.path, &scopes, escape)?;
            Ok(true)
        }
    }
}

fn by_hand(finding: Finding, path: Option<PathBuf>) -> Audited {
    Audited { finding, path, mend: Mend::ByHand }
}

fn of_volume(state: &State<'_>, at: &VolumeAt, volume: &Volume, found: &mut Vec<Audited>) -> Result<()> {
    let driver = at.driver();
    let sites = scope::present(state.registry, &at.name, volume)?;
    let own_dirs: HashSet<String> = sites.iter().map(|(site, _)| site.place.dir.clone()).collect();
    let missing = |finding, site: &Site| found.push(by_hand(finding, Some(site.place.path())));
    let sites = scope::usable(at, sites, missing)?;
    let (usable, records): (Vec<Site>, Vec<Scope>) = sites.into_iter().unzip();
    shared_ids(&usable, found);
    nested_mounts(state, &usable, found)?;
    let scopes: Vec<ScopeAt<'_>> = usable.iter().map(|site| site.place.at()).collect();
    if !at.storage.driver.limits_scopes() {
        return Ok(());
    }
    let uncounted = driver.uncounted(&at.path, &scopes)?;
    let readings = driver.read(&at.path, &scopes)?;
    for (index, ((site, record), reading)) in usable.iter().zip(&records).zip(readings).enumerate() {
        if uncounted.contains(&index) {
            found.push(by_hand(check::uncounted(site).finding, Some(site.place.path())));
            continue;
        }
        plain_directories(state, site, found)?;
        let reading = match reading {
            Ok(reading) => reading,
            Err(error) => {
                found.push(by_hand(scope::unreadable(site, &error), Some(site.place.path())));
                continue;
            }
        };
        if reading.limit != record.limit {
            found.push(Audited {
                finding: scope::differs(site, reading.limit, record.limit),
                path: Some(site.place.path()),
                mend: Mend::Limit(site.place.clone()),
            });
        }
    }
    let mut escapes = Vec::new();
    driver.audit(&at.path, &scopes, &mut |escape| escapes.push(escape))?;
    let accounted = ids_of_registry(state)?;
    // A scope that cannot be opened is a finding of its own, and is somebody's all the same.
    let is_scopes = |path: &Path| {
        path.file_name().and_then(|name| name.to_str()).is_some_and(|name| own_dirs.contains(name))
    };
    let told = |escape: &Escape| escape.scope.is_some_and(|place| uncounted.contains(&place));
    let known = |escape: &Escape| {
        escape.kind == EscapeKind::Unaccounted
            && (escape.id.is_some_and(|id| accounted.contains(&id)) || is_scopes(&escape.path))
    };
    for escape in escapes.into_iter().filter(|e| !known(e) && !told(e)) {
        found.push(escaped(at, &usable, escape));
    }
    Ok(())
}

fn escaped(at: &VolumeAt, sites: &[Site], escape: Escape) -> Audited {
    let subject = match escape.scope.and_then(|place| sites.get(place)) {
        Some(site) => format!("quota scope {}", site.key()),
        None => format!("volume {}", at.name),
    };
    let code = escape.kind.code();
    let harmless = matches!(
        escape.kind,
        EscapeKind::NestedSubvolume | EscapeKind::NestedLimit | EscapeKind::Unaccounted
    );
    let message = format!("{}: {}", escape.path.display(), escape.message);
    let mut finding = match harmless {
        true => Finding::warning(code, subject, message),
        false => Finding::error(code, subject, message),
    };
    let path = Some(escape.path.clone());
    if escape.mendable {
        finding = finding.repair(format!("vfadm quota audit {} --fix", at.name));
        return Audited { finding, path, mend: Mend::Escape(at.clone(), escape) };
    }
    by_hand(finding, path)
}

/// The numbers of all scopes, and of removed ones that the kernel has not freed yet: several volumes may be on one
/// filesystem.
fn ids_of_registry(state: &State<'_>) -> Result<HashSet<u64>> {
    let mut ids: HashSet<u64> =
        state.registry.all::<Scope>()?.iter().filter_map(|(_, scope)| scope.kernel_id).collect();
    ids.extend(state.registry.all::<Volume>()?.into_iter().flat_map(|(_, volume)| volume.draining));
    Ok(ids)
}

/// Plain directories in the place of folders that are subvolumes.
fn plain_directories(state: &State<'_>, site: &Site, found: &mut Vec<Audited>) -> Result<()> {
    if site.place.volume.folders != Folders::Subvolume {
        return Ok(());
    }
    let (driver, top) = (site.place.volume.driver(), site.place.open()?);
    let mut places = HashMap::new();
    for (key, folder) in scope::folders(state.registry, &site.place.owner, &site.place.volume.name)? {
        let place = PathBuf::from(folder.place());
        if site.place.open_folder_in(&top, &place).is_ok() {
            places.insert(place, key);
        }
    }
    let paths: Vec<PathBuf> = places.keys().cloned().collect();
    for (path, how) in driver.uncharged(&site.place.at(), &paths)? {
        if let (Uncharged::PlainDirectory, Some(key)) = (how, places.get(&path)) {
            let path = site.place.path().join(&path);
            found.push(by_hand(check::plain_directory(key, &path), Some(path)));
        }
    }
    Ok(())
}

/// Two scopes of one number share one limit.
fn shared_ids(sites: &[Site], found: &mut Vec<Audited>) {
    let mut seen: HashMap<u64, &Site> = HashMap::new();
    for site in sites {
        let Some(id) = site.place.kernel_id else { continue };
        if let Some(first) = seen.insert(id, site) {
            let finding = Finding::error(
                "shared_id",
                format!("quota scope {}", site.key()),
                format!("it has the number {id}, as has {}: they share one limit", first.key()),
            );
            found.push(by_hand(finding, Some(site.place.path())));
        }
    }
}

/// What is mounted inside a scope is neither counted nor limited.
fn nested_mounts(state: &State<'_>, sites: &[Site], found: &mut Vec<Audited>) -> Result<()> {
    let mounts = own_mounts()?;
    for site in sites {
        let top = site.place.path();
        let own = folder_paths(state, site)?;
        for mount in mounts.iter().filter(|m| m.point.starts_with(&top) && m.point != top) {
            // A snapshot that OpenZFS mounted because somebody looked at it is counted, and cannot be written to.
            let is_snapshot = mount.source.contains('@') && mount.filesystem == "zfs";
            if own.contains(&mount.point) || is_snapshot {
                continue;
            }
            found.push(mounted(site, mount));
        }
    }
    Ok(())
}

/// Where folders are mounts of their own.
fn folder_paths(state: &State<'_>, site: &Site) -> Result<Vec<PathBuf>> {
    if site.place.volume.folders != Folders::Dataset {
        return Ok(Vec::new());
    }
    let folders = scope::folders(state.registry, &site.place.owner, &site.place.volume.name)?;
    let top = site.place.path();
    Ok(folders.iter().map(|(_, folder)| top.join(Path::new(&folder.place()))).collect())
}

fn mounted(site: &Site, mount: &Mount) -> Audited {
    let point = mount.point.display();
    let finding = Finding::error(
        "nested_mount",
        format!("quota scope {}", site.key()),
        format!(
            "{} ({}) is mounted at {point}: what is there is not counted",
            mount.source, mount.filesystem
        ),
    )
    .repair(format!("umount {}", crate::domain::text::shell_path(&mount.point)));
    by_hand(finding, Some(mount.point.clone()))
}
