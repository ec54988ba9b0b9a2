//! The part of the registry that no sidecar holds: settings, users, projects, limits of scopes that are not there, and where
//! the volumes are. It stands on some volumes as a registry of its own, `.vfadm/registry.yaml`, for `registry rebuild`, and
//! is written only by commits that change it: not when folders come, go or change.

use std::path::PathBuf;

use nix::libc;
use serde_json::Value;

use super::VolumeAt;
use super::step::owned_like;
use crate::domain::error::Result;
use crate::domain::record::{Project, Record, Scope, Settings, User, Volume};
use crate::host::files;
use crate::registry::root::{FILE, PRIVATE};
use crate::registry::{Change, Registry};

/// So many volumes carry it.
const COPIES: usize = 2;

/// True when changes are going to change that part of a registry.
pub(super) fn concerned(registry: &Registry, changes: &[Change]) -> bool {
    let absent = |record: &Value| record.get("present") == Some(&Value::Bool(false));
    changes.iter().any(|change| match change {
        Change::Settings(settings) => lasting(settings) != lasting(&registry.settings),
        Change::Put { section, key, record, .. } => match *section {
            User::SECTION | Project::SECTION => true,
            Volume::SECTION => !registry.contains::<Volume>(key),
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

/// Writes it. The volumes of single owners do not get it; those that can hang only where no other has it. A warning where
/// no volume has it.
pub(super) fn write(registry: &Registry) -> Option<String> {
    match try_write(registry) {
        Ok(failed) => failed,
        Err(error) => Some(error.message),
    }
    .map(|why| format!("no volume has the users and projects for a rebuild of the registry: {why}"))
}

fn try_write(registry: &Registry) -> Result<Option<String>> {
    let text = text(registry)?;
    let (mut local, mut distant) = (Vec::new(), Vec::new());
    for (name, volume) in registry.all::<Volume>()?.into_iter().filter(|(_, v)| v.dedicated_to.is_none()) {
        let at = VolumeAt::new(registry.header.registry, &name, &volume);
        let list = if at.may_hang()? { &mut distant } else { &mut local };
        let first = registry.settings.default_volume.as_ref() == Some(&name);
        list.insert(if first { 0 } else { list.len() }, at);
    }
    let (mut written, mut failed) = (0, None);
    for at in local.iter().chain(&distant) {
        if written == COPIES || (written > 0 && distant.iter().any(|other| other.id == at.id)) {
            break;
        }
        match write_on(at, &text) {
            Ok(()) => written += 1,
            Err(error) => failed = Some(error.message),
        }
    }
    Ok(failed.filter(|_| written == 0))
}

fn write_on(at: &VolumeAt, text: &[u8]) -> Result<()> {
    let dir = at.open()?.ensure_dir(PRIVATE, 0o700)?;
    Ok(files::replace(&dir, FILE, text, owned_like(&dir, 0o600)?)?)
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
