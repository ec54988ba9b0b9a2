//! A lost registry, brought back from what stands on the volumes: markers, sidecars, the part of the registry that some
//! volumes carry, directories, and the limits that the storage holds. Sessions and invitations stand there nowhere.

mod found;
mod merge;
mod owners;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use serde_json::json;
use uuid::Uuid;

use self::found::Site;
use self::merge::{FoundVolume, Merged};
use super::{Held, hold};
use crate::domain::error::{Error, Result};
use crate::domain::name::shell_word;
use crate::domain::record::{Header, Project, Settings, User, VFolder, Volume};
use crate::ops::init::{FIRST_KERNEL_ID, TRASH_DAYS};
use crate::ops::sidecar::note::Marker;
use crate::ops::{Context, Done, sidecar};
use crate::plan::{self, Outcome, Plan, VolumeAt, look};
use crate::registry::difference::{difference, lines};
use crate::registry::generation::MOST_GENERATION;
use crate::registry::history::Changed;
use crate::registry::root::{MARKER, PRIVATE};
use crate::registry::state::SCHEMA;
use crate::registry::{Present, Registry, Root, load, now, root};

/// For what the storage does not hand out.
const FORCE: &str =
    "see to its filesystem, then try again; --force goes on with what can be read, and forgets the rest";

/// What `registry rebuild` was asked.
#[derive(Clone, Debug)]
pub struct Request {
    /// Where volumes are, besides the usual places.
    pub volumes: Vec<PathBuf>,
    /// Although the registry can be read, or a volume is missing.
    pub force: bool,
}

/// What a rebuild is going to do, for the question; nothing is changed.
pub struct Rebuilt {
    /// The plan; its lines are the records.
    pub done: Done,
    /// How many there are of each, as a sentence.
    pub summary: String,
    changes: Vec<Changed>,
}

/// Looks at the volumes and makes a registry of what is there.
pub fn preview(ctx: &Context, request: &Request) -> Result<Rebuilt> {
    let root = Root::find(&ctx.root)?;
    let present = Present::look(&root)?;
    require_lost(&root, &present, request)?;
    let merged = gather(&root, present.registry.as_ref(), present.generation, request)?;
    let changes = difference(None, &merged.registry)?;
    let mut warnings = merged.notes.clone();
    if present.fault.is_some() && present.registry.is_some() {
        warnings.push(
            "there is a backup that can be read: 'vfadm registry restore --latest' brings more back"
                .to_owned(),
        );
    }
    let plan = planned(&merged, &changes);
    Ok(Rebuilt { summary: summary(&merged.registry), done: Done { plan, planned: true, warnings }, changes })
}

/// Writes it, as it was shown.
pub fn rebuild(ctx: &Context, request: &Request, shown: &Rebuilt) -> Result<Done> {
    root::require_shared_locks(Root::find(&ctx.root)?.path())?;
    let made = || Ok(empty(Uuid::nil(), None, None, 0, PathBuf::new()));
    let Held { mut locked, before, lost, broken, mut warnings } = hold(ctx, made)?;
    if !lost && !request.force {
        return Err(readable(&locked.root));
    }
    let generation = locked.registry.header.generation;
    let mut merged = gather(&locked.root, before.as_ref(), generation, request)?;
    let changes = difference(None, &merged.registry)?;
    if !was_shown(&changes, &shown.changes) {
        return Err(Error::conflict("the volumes were changed meanwhile: nothing was done")
            .hint("the same command shows anew what is there"));
    }
    let mut plan = planned(&merged, &changes);
    locked.registry.header.generation = merged.registry.header.generation;
    for (section, key) in std::mem::take(&mut merged.differ) {
        sidecar::follow(&merged.registry, section, &key, &mut plan)?;
    }
    for volume in &merged.unused {
        let kept = plan::owners::keep(volume, merged.registry.header.generation + 1)?;
        warnings.extend(kept.map(|path| {
            format!("the list of users and projects that could not be read is kept: {}", path.display())
        }));
    }
    warnings.extend(plan::replace(
        &mut locked,
        merged.registry,
        Vec::new(),
        broken,
        &plan.after,
        &ctx.command,
    )?);
    locked.unlock();
    Ok(Done { plan, planned: false, warnings })
}

/// True when there is nothing that was not shown. Something may have gone: what a change that was cut off had begun is
/// undone by then.
fn was_shown(changes: &[Changed], shown: &[Changed]) -> bool {
    let keys: BTreeSet<(&str, &str)> = shown.iter().map(|c| (c.section.as_str(), c.key.as_str())).collect();
    changes.iter().all(|change| keys.contains(&(&change.section, &change.key)))
}

fn require_lost(root: &Root, present: &Present, request: &Request) -> Result<()> {
    if request.force {
        return Ok(());
    }
    present.require_no_newer()?;
    if present.fault.is_none() { Err(readable(root)) } else { Ok(()) }
}

fn readable(root: &Root) -> Error {
    Error::conflict(format!("{} can be read: there is nothing to rebuild", root.file().display()))
        .hint("vfadm check shows what is wrong, vfadm registry restore goes back to a backup; --force rebuilds all the same")
}

fn planned(merged: &Merged, changes: &[Changed]) -> Plan {
    let generation = merged.registry.header.generation + 1;
    let summary = summary(&merged.registry);
    let mut plan =
        Plan::new(Outcome::Created, format!("registry rebuilt as generation {generation}: {summary}"));
    plan.tries = lines(changes);
    plan.item = Some(json!({
        "registry": merged.registry.header.registry,
        "generation": generation,
        "records": merged.registry.total(),
    }));
    plan
}

fn summary(registry: &Registry) -> String {
    let some = |n: usize, what: &str| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
    format!(
        "{}, {}, {}, {}; sessions and invitations are gone",
        some(registry.count::<Volume>(), "volume"),
        some(registry.count::<User>(), "user"),
        some(registry.count::<Project>(), "project"),
        some(registry.count::<VFolder>(), "vfolder"),
    )
}

/// A registry without records.
fn empty(
    id: Uuid,
    core: Option<&Registry>,
    marker: Option<&Marker>,
    generation: u64,
    file: PathBuf,
) -> Registry {
    let header =
        Header { schema: SCHEMA, registry: id, generation, updated_at: now(), extra: Default::default() };
    let shared = marker.map(|marker| &marker.settings);
    let settings = core.map(|core| core.settings.clone()).unwrap_or_else(|| Settings {
        uid: shared.map_or(0, |shared| shared.uid),
        gid: shared.map_or(0, |shared| shared.gid),
        mode: shared.map_or_else(String::new, |shared| shared.mode.clone()),
        default_volume: None,
        next_kernel_id: FIRST_KERNEL_ID,
        trash_days: TRASH_DAYS,
        extra: Default::default(),
    });
    Registry::new(header, settings, file)
}

fn gather(root: &Root, before: Option<&Registry>, known: u64, request: &Request) -> Result<Merged> {
    let mut notes = Vec::new();
    let sites = sites(root, before, request, &mut notes)?;
    let id = sites.first().map_or(Uuid::nil(), |site| site.marker.registry);
    let contents = found::contents(&sites.iter().map(Site::at).collect::<Vec<_>>())?;
    let mut volumes = Vec::new();
    for (Site { path, marker, .. }, contents) in sites.into_iter().zip(contents) {
        let contents = contents.ok_or_else(|| {
            Error::storage(format!("the volume '{}' at {} does not answer", marker.name, path.display()))
                .hint("see to the server of its filesystem")
        })?;
        volumes.push(FoundVolume { path, marker, contents });
    }
    require_whole(&volumes, request, &mut notes)?;
    bound_notes(&mut volumes, &mut notes);
    let Core { newest: core, unused } = core(&volumes, id, &mut notes);
    require_all(core.as_ref(), &volumes, request, &mut notes)?;
    let marker = volumes.iter().map(|volume| &volume.marker).max_by_key(|marker| marker.generation);
    let generation = generations(&volumes).chain(core.as_ref().map(|core| core.header.generation)).max();
    let generation = generation.unwrap_or(0).max(known);
    let mut registry = empty(id, core.as_ref(), marker, generation, root.file());
    let default = registry.settings.default_volume.clone();
    if default.is_some_and(|default| !volumes.iter().any(|volume| volume.marker.name == default)) {
        registry.settings.default_volume = None;
    }
    let mut merged = merge::merge(registry, &volumes, core.as_ref())?;
    merged.notes.splice(0..0, notes);
    merged.unused = unused;
    load::require_sound(None, &merged.registry)?;
    Ok(merged)
}

/// A generation that no registry can have counts as none: others would seem older than it for ever.
fn bound(generation: &mut u64, what: impl Fn() -> String, notes: &mut Vec<String>) {
    if *generation > MOST_GENERATION {
        notes.push(format!("{} has the generation {generation}, which cannot be: it counts as 0", what()));
        *generation = 0;
    }
}

fn bound_notes(volumes: &mut [FoundVolume], notes: &mut Vec<String>) {
    for volume in volumes {
        for (dir, scope) in &mut volume.contents.scopes {
            let what = |note: &str| format!("the sidecar of {note} on the volume '{}'", volume.marker.name);
            if let Some(note) = &mut scope.note {
                bound(&mut note.generation, || what(&format!("the quota scope {dir}")), notes);
            }
            for (id, folder) in &mut scope.folders {
                if let Some(note) = &mut folder.note {
                    bound(&mut note.generation, || what(&format!("the vfolder {id}")), notes);
                }
            }
        }
    }
}

fn generations(volumes: &[FoundVolume]) -> impl Iterator<Item = u64> {
    let scopes = volumes.iter().flat_map(|volume| volume.contents.scopes.values());
    let noted = scopes.flat_map(|scope| {
        let folders = scope.folders.values().filter_map(|folder| folder.note.as_ref());
        scope.note.iter().map(|note| note.generation).chain(folders.map(|note| note.generation))
    });
    volumes.iter().map(|volume| volume.marker.generation).chain(noted)
}

/// The volumes of one registry: in the directories of the root, where they were named, and where the others say that they
/// are; unless these are all of them, at mount points too.
fn sites(
    root: &Root,
    before: Option<&Registry>,
    request: &Request,
    notes: &mut Vec<String>,
) -> Result<Vec<Site>> {
    let real = |path: &PathBuf| path.canonicalize().map_err(|e| crate::host::Error::path("open", path, e));
    let named = request.volumes.iter().map(real).collect::<crate::host::Result<Vec<PathBuf>>>()?;
    let below =
        root.dir().names()?.into_iter().filter(|name| name != PRIVATE).map(|name| root.path().join(name));
    let below: Vec<PathBuf> = below.collect();
    let recorded = before.map(|registry| registry.all::<Volume>()).transpose()?.unwrap_or_default();
    let recorded = recorded.into_iter().map(|(_, volume)| PathBuf::from(volume.path));
    let (mut found, mut looked) = (Vec::new(), BTreeSet::new());
    let mut look_at = |paths: Vec<PathBuf>, is_ours: bool, found: &mut Vec<Site>| -> Result<()> {
        let new: Vec<PathBuf> = paths.into_iter().filter(|path| looked.insert(path.clone())).collect();
        let mut looked = found::sites(&new)?;
        for Site { path, marker, .. } in &mut looked.sites {
            bound(&mut marker.generation, || path.join(MARKER).display().to_string(), notes);
        }
        found.extend(looked.sites);
        notes.extend(looked.notes);
        // What is mounted elsewhere is most likely somebody else's.
        match looked.gaps.first() {
            Some(gap) if is_ours && !request.force => {
                return Err(Error::storage(format!("{gap}: a volume may be there")).hint(FORCE));
            }
            _ => notes.extend(looked.gaps),
        }
        Ok(())
    };
    look_at(named.iter().chain(&below).cloned().chain(recorded).collect(), true, &mut found)?;
    if let Some(path) = named.iter().find(|path| !found.iter().any(|site| site.path == **path)) {
        let why = notes.first().map(|note| format!(": {note}")).unwrap_or_default();
        return Err(Error::not_found(format!(
            "{} has no marker {MARKER} that can be read{why}",
            path.display()
        )));
    }
    let siblings = |found: &[Site]| -> Vec<(Uuid, PathBuf)> {
        found.iter().filter_map(|site| site.siblings.clone()).flatten().collect()
    };
    let mut told: Vec<PathBuf> = siblings(&found).into_iter().map(|(_, path)| path).collect();
    // What was found may be a copy of what is still where it was.
    told.extend(found.iter().map(|site| PathBuf::from(&site.marker.volume.path)));
    look_at(told, true, &mut found)?;
    let known = siblings(&found);
    let is_there = |id: &Uuid| found.iter().any(|site| site.marker.id == *id);
    if known.is_empty() || !known.iter().all(|(id, _)| is_there(id)) {
        look_at(look::mount_points()?, false, &mut found)?;
    }
    let of = |is_meant: &dyn Fn(&Site) -> bool| -> Vec<Uuid> {
        found.iter().filter(|site| is_meant(site)).map(|site| site.marker.registry).collect()
    };
    let candidates = [
        before.map(|registry| vec![registry.header.registry]).unwrap_or_default(),
        of(&|site| named.contains(&site.path)),
        of(&|site| below.contains(&site.path)),
        of(&|site| site.marker.root.as_deref() == Some(root.path())),
        of(&|_| true),
    ];
    let mut ids = candidates.into_iter().find(|ids| !ids.is_empty()).unwrap_or_default();
    ids.sort();
    ids.dedup();
    let id = match ids.as_slice() {
        [id] => *id,
        [] => {
            return Err(Error::not_found(format!(
                "no volume was found, neither in {} nor at a mount point",
                root.path().display()
            ))
            .hint("mount the volumes, or say where one is: --volume PATH"));
        }
        _ => {
            return Err(Error::conflict("there are volumes of several registries")
                .hint("say which are meant: --volume PATH of one of them"));
        }
    };
    found.retain(|site| site.marker.registry == id);
    one_of_each(found, notes)
}

/// A volume that is seen in several places is taken where it was; of two volumes of one name, the newer one.
fn one_of_each(found: Vec<Site>, notes: &mut Vec<String>) -> Result<Vec<Site>> {
    let mut by_name: BTreeMap<String, Site> = BTreeMap::new();
    for site in found {
        let name = site.marker.name.clone();
        if crate::domain::name::thing("volume", &name).is_err() {
            notes.push(format!("{} has no name that a volume can have: it is left out", site.path.display()));
            continue;
        }
        let (better, worse) = match by_name.remove(&name) {
            None => (site, None),
            Some(there) if there.rank() >= site.rank() => (there, Some(site)),
            Some(there) => (site, Some(there)),
        };
        notes.extend(worse.map(|site| {
            format!("there is a second volume '{name}' at {}: it is left out", site.path.display())
        }));
        by_name.insert(name, better);
    }
    let mut ids = BTreeSet::new();
    match by_name.values().find(|site| !ids.insert(site.marker.id)) {
        None => Ok(by_name.into_values().collect()),
        Some(site) => Err(Error::conflict(format!(
            "{} holds the volume '{}', whose id another volume has",
            site.path.display(),
            site.marker.name
        ))),
    }
}

/// What no sidecar holds.
struct Core {
    /// The newest of the copies.
    newest: Option<Registry>,
    /// Copies that were not read, or not understood: they may say more than the newest.
    unused: Vec<VolumeAt>,
}

fn core(volumes: &[FoundVolume], id: Uuid, notes: &mut Vec<String>) -> Core {
    let mut newest: Option<Registry> = None;
    let mut unused = Vec::new();
    for volume in volumes {
        let at = || Site::at_path(&volume.path, &volume.marker);
        let Some(text) = &volume.contents.owners else {
            unused.extend(volume.contents.owners_unread.then(at));
            continue;
        };
        let file = volume.path.join(PRIVATE).join(root::FILE);
        let read = Registry::parse(text.clone().into_bytes(), file.clone())
            .and_then(|part| load::require_sound(None, &part).map(|()| part));
        match read {
            Ok(part) if part.header.registry == id => {
                if newest.as_ref().is_none_or(|other| other.header.generation < part.header.generation) {
                    newest = Some(part);
                }
                continue;
            }
            Ok(_) => notes.push(format!("{} is of another registry", file.display())),
            Err(error) => notes.push(error.message),
        }
        unused.push(at());
    }
    if newest.is_none() {
        notes.push(
            "no volume has the list of all users and projects: only those that own or share something come back; a volume \
             that is missing is named with --volume PATH"
                .to_owned(),
        );
    }
    Core { newest, unused }
}

/// Refuses to take a part of a volume for all that is on it (exit 8).
fn require_whole(volumes: &[FoundVolume], request: &Request, notes: &mut Vec<String>) -> Result<()> {
    for FoundVolume { path, marker, contents } in volumes {
        for gap in &contents.gaps {
            let partly =
                format!("the volume '{}' at {} could not be read whole: {gap}", marker.name, path.display());
            if !request.force {
                return Err(Error::storage(partly).hint(FORCE));
            }
            notes.push(partly);
        }
    }
    Ok(())
}

/// Refuses to leave a volume out whose folders would be forgotten (exit 8).
fn require_all(
    core: Option<&Registry>,
    volumes: &[FoundVolume],
    request: &Request,
    notes: &mut Vec<String>,
) -> Result<()> {
    for (name, record) in core.map(|core| core.all::<Volume>()).transpose()?.unwrap_or_default() {
        if volumes.iter().any(|volume| volume.marker.id == record.id) {
            continue;
        }
        let missing = format!("the volume '{name}' of {} was not found", record.path);
        if !request.force {
            return Err(Error::storage(missing).hint(format!(
                "mount it, or say where it is: --volume {}; --force leaves it out, with all that is on it",
                shell_word(&record.path)
            )));
        }
        notes.push(format!("{missing}: it is left out"));
    }
    Ok(())
}
