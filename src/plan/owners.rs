//! The part of the registry that no sidecar holds: settings, users, projects, limits of scopes that are not there, and where
//! the volumes are. It stands on some volumes as a registry of its own, `.vfadm/registry.yaml`, for `registry rebuild`, and
//! is written only by commits that change it: not when folders come, go or change.

use std::collections::BTreeMap;
use std::path::PathBuf;

use nix::libc;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::VolumeAt;
use super::step::owned_like;
use crate::domain::error::Result;
use crate::domain::record::{Project, Record, Scope, Settings, User, Volume};
use crate::host::files;
use crate::registry::root::{FILE, PRIVATE};
use crate::registry::{Change, Registry};

/// So many volumes carry it.
pub const COPIES: usize = 2;

/// The most bytes of it; of 100,000 users it has 10 MiB.
pub const MOST: u64 = 64 << 20;

/// True when changes are going to change that part of a registry.
pub(super) fn concerned(registry: &Registry, changes: &[Change]) -> bool {
    let absent = |record: &Value| record.get("present") == Some(&Value::Bool(false));
    changes.iter().any(|change| match change {
        Change::Settings(settings) => lasting(settings) != lasting(&registry.settings),
        Change::Put { section, key, record, .. } => match *section {
            User::SECTION | Project::SECTION => true,
            Volume::SECTION => {
                !matches!(registry.get::<Volume>(key), Ok(Some(volume)) if is_placed(&volume, record))
            }
            Scope::SECTION => absent(record) || was_absent(registry, key),
            _ => false,
        },
        Change::Remove { section, key, .. } => match *section {
            User::SECTION | Project::SECTION | Volume::SECTION => true,
            Scope::SECTION => was_absent(registry, key),
            _ => false,
        },
    })
}

/// True where a record of a volume leaves it where it is, and open to the same owners.
fn is_placed(volume: &Volume, record: &Value) -> bool {
    let [path, owner] = ["path", "dedicated_to"].map(|field| record.get(field).cloned().unwrap_or_default());
    (json!(volume.path), json!(volume.dedicated_to)) == (path, owner)
}

fn was_absent(registry: &Registry, key: &str) -> bool {
    matches!(registry.get::<Scope>(key), Ok(Some(scope)) if !scope.present)
}

/// The settings without the number that each new scope counts up: a rebuild counts anew.
fn lasting(settings: &Settings) -> Option<Value> {
    serde_json::to_value(Settings { next_kernel_id: 0, ..settings.clone() }).ok()
}

/// The text of it.
fn text(registry: &Registry) -> Result<Vec<u8>> {
    let mut part =
        Registry::new(registry.header.clone(), registry.settings.clone(), registry.file().to_owned());
    for (key, record) in registry.all::<Volume>()? {
        part.apply(&Change::put(key, &record)?);
    }
    for (key, record) in registry.all::<User>()? {
        part.apply(&Change::put(key, &record)?);
    }
    for (key, record) in registry.all::<Project>()? {
        part.apply(&Change::put(key, &record)?);
    }
    for (key, record) in registry.all::<Scope>()?.into_iter().filter(|(_, scope)| !scope.present) {
        part.apply(&Change::put(key, &record)?);
    }
    Ok(part.render())
}

/// The volumes that may carry it, in the order in which they get it: not those of single owners.
pub struct Carriers {
    /// Those that answer whatever becomes of other hosts.
    pub local: Vec<VolumeAt>,
    /// The others get it only where no local one has it.
    pub distant: Vec<VolumeAt>,
}

/// The volumes of a registry that may carry it.
pub fn carriers(registry: &Registry) -> Result<Carriers> {
    let mut carriers = Carriers { local: Vec::new(), distant: Vec::new() };
    for (name, volume) in registry.all::<Volume>()?.into_iter().filter(|(_, v)| v.dedicated_to.is_none()) {
        let at = VolumeAt::new(registry.header.registry, &name, &volume);
        let list = if at.may_hang()? { &mut carriers.distant } else { &mut carriers.local };
        let first = registry.settings.default_volume.as_ref() == Some(&name);
        list.insert(if first { 0 } else { list.len() }, at);
    }
    Ok(carriers)
}

/// Writes it, and takes away what other local volumes still have of it. Warnings where it could not be written on a volume
/// that is there, and where no volume has it.
pub(super) fn write(registry: &Registry) -> Vec<String> {
    let none =
        |why: &str| format!("no volume has the users and projects for a rebuild of the registry: {why}");
    match try_write(registry) {
        Ok((0, failed)) => failed.last().map(|(_, why)| none(why)).into_iter().collect(),
        Ok((_, failed)) => {
            let failed = failed.into_iter().filter(|(was_there, _)| *was_there);
            failed.map(|(_, why)| format!("the list of users and projects was not written: {why}")).collect()
        }
        Err(error) => vec![none(&error.message)],
    }
}

/// On how many it was written; for each failure, whether the volume was there, and why.
fn try_write(registry: &Registry) -> Result<(usize, Vec<(bool, String)>)> {
    let text = text(registry)?;
    let Carriers { local, distant } = carriers(registry)?;
    let (mut written, mut failed) = (0, Vec::new());
    for (place, at) in local.iter().chain(&distant).enumerate() {
        let is_local = place < local.len();
        if written == COPIES || (written > 0 && !is_local) {
            if is_local {
                // A copy that is not kept up to date would be believed.
                let _ = remove_from(at);
            }
            continue;
        }
        let opened = at.open();
        let was_there = opened.is_ok();
        let done = opened.and_then(|top| {
            let dir = top.ensure_dir(PRIVATE, 0o700)?;
            Ok(files::replace(&dir, FILE, &text, owned_like(&dir, 0o600)?)?)
        });
        match done {
            Ok(()) => written += 1,
            Err(error) => failed.push((was_there, error.message)),
        }
    }
    Ok((written, failed))
}

fn remove_from(at: &VolumeAt) -> Result<()> {
    let dir = at.open()?.open_dir(PRIVATE)?;
    for name in [FILE, &files::draft_name(FILE)] {
        if dir.stat(name)?.is_some() {
            dir.remove_file(name)?;
        }
    }
    Ok(())
}

/// What a volume has of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Copy {
    /// Nothing.
    Missing,
    /// What the registry says.
    Current,
    /// Something else, and why that is so.
    Stale(String),
    /// Something else, of a generation that the registry has not reached.
    Newer(u64),
}

/// What a volume has of it, and whether a draft of it lies beside; `wanted` is the [`essence`] of the registry. What cannot be
/// read is stale.
pub fn copy_on(at: &VolumeAt, registry: &Registry, wanted: &Essence) -> Result<(Copy, bool)> {
    let top = at.open()?;
    if top.stat(PRIVATE)?.is_none() {
        return Ok((Copy::Missing, false));
    }
    let dir = top.open_dir(PRIVATE)?;
    let draft = dir.stat(files::draft_name(FILE))?.is_some();
    let bytes = match files::read(&dir, FILE, MOST) {
        Ok(None) => return Ok((Copy::Missing, draft)),
        Ok(Some(bytes)) => bytes,
        Err(error) => return Ok((Copy::Stale(error.to_string()), draft)),
    };
    let path = dir.join(FILE);
    let told = Registry::parse(bytes, path.clone()).and_then(|told| Ok((essence(&told)?, told)));
    let (path, mine) = (path.display(), &registry.header);
    let copy = match told {
        Err(error) => Copy::Stale(error.message),
        Ok((_, told)) if told.header.registry != mine.registry => {
            Copy::Stale(format!("{path} is of another registry"))
        }
        Ok((told, _)) if told == *wanted => Copy::Current,
        Ok((_, told)) if told.header.generation > mine.generation => Copy::Newer(told.header.generation),
        Ok((_, told)) => Copy::Stale(format!(
            "{path} is of generation {}, and says something else than the registry",
            told.header.generation
        )),
    };
    Ok((copy, draft))
}

/// Records by section and key.
pub type Essence = BTreeMap<(&'static str, String), Value>;

/// What a copy has to have in common with the registry. Of a volume that is its place: its marker says the rest.
pub fn essence(registry: &Registry) -> Result<Essence> {
    let mut all = BTreeMap::new();
    all.insert(("", String::new()), json!(lasting(&registry.settings)));
    for (key, volume) in registry.all::<Volume>()? {
        all.insert((Volume::SECTION, key), json!([volume.id, volume.path, volume.dedicated_to]));
    }
    for (key, user) in registry.all::<User>()? {
        all.insert((User::SECTION, key), json!(user));
    }
    for (key, project) in registry.all::<Project>()? {
        all.insert((Project::SECTION, key), json!(project));
    }
    for (key, scope) in registry.all::<Scope>()?.into_iter().filter(|(_, scope)| !scope.present) {
        all.insert((Scope::SECTION, key), json!(scope));
    }
    Ok(all)
}

/// Gives the list of a volume a second name, under which it stays when it is written anew; answers its path. `None` where
/// there is no list.
pub fn keep(at: &VolumeAt, generation: u64) -> Result<Option<PathBuf>> {
    let dir = at.open()?.open_dir(PRIVATE)?;
    let second = format!("{FILE}.before-{generation}");
    if dir.stat(FILE)?.is_none() {
        return Ok(None);
    }
    match files::link(&dir, FILE, &dir, &second) {
        // No hard links.
        Err(error) if matches!(error.errno(), Some(libc::EPERM | libc::EOPNOTSUPP | libc::ENOSYS)) => {
            dir.rename(FILE, &dir, &second)?;
        }
        linked => linked?,
    }
    Ok(Some(dir.join(second)))
}
