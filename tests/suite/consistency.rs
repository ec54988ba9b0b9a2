//! Registry against disk against kernel, judged from the files alone: what [`super::crash`] and the parallel tests
//! insist on.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::support::{Lab, kernel_limits};

/// The registry as any YAML reader sees it.
pub fn registry(lab: &Lab) -> Value {
    serde_yaml::from_str(&lab.registry_text()).expect("the registry is YAML")
}

/// The registry without its generation and time.
pub fn records_of(text: &str) -> Vec<&str> {
    text.lines().filter(|line| !line.starts_with("vfadm:") && !line.starts_with("end:")).collect()
}

/// The records of a section, by key.
pub fn records(lab: &Lab, section: &str) -> BTreeMap<String, Value> {
    let registry = registry(lab);
    let records = registry[section].as_object().cloned().unwrap_or_default();
    records.into_iter().collect()
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(dir)
        .into_iter()
        .flatten()
        .flatten()
        .map(|e| e.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

fn is_hex(name: &str, digits: usize) -> bool {
    name.len() == digits && name.bytes().all(|b| b.is_ascii_hexdigit())
}

/// The intents that are open. A change that ended, or was finished for the one that died, leaves none.
pub fn no_intents(lab: &Lab, at: &str) {
    let intents = names(&lab.root.join(".vfadm/intents"));
    assert!(intents.is_empty(), "{at}: intents are left: {intents:?}");
}

/// Every folder on disk has its record and the other way round, sidecars too, and nothing lies about; on every volume but
/// those that vfadm mounts, and which are not mounted.
pub fn assert_whole(lab: &Lab, at: &str) {
    let folders = records(lab, "vfolders");
    for (name, volume) in records(lab, "volumes") {
        let path = Path::new(volume["path"].as_str().expect("a path"));
        if volume.get("mount").is_some() && !path.join(".vfadm-volume.yaml").exists() {
            continue;
        }
        let here = folders.iter().filter(|(_, record)| record["volume"] == name.as_str());
        assert_volume_whole(path, here, at);
    }
    for dir in [&lab.root, &lab.root.join(".vfadm"), &lab.root.join(".vfadm/backups")] {
        nothing_loose(dir, at);
    }
}

fn nothing_loose(dir: &Path, at: &str) {
    let loose = |name: &String| name.contains("tmp") || name.contains(".new");
    let temporary: Vec<String> = names(dir).into_iter().filter(loose).collect();
    assert!(temporary.is_empty(), "{at}: temporary files in {}: {temporary:?}", dir.display());
}

fn assert_volume_whole<'a>(volume: &Path, folders: impl Iterator<Item = (&'a String, &'a Value)>, at: &str) {
    let (mut ready, mut trashed) = (BTreeSet::new(), BTreeSet::new());
    for (name, record) in folders {
        let id = record["id"].as_str().expect("an id").replace('-', "");
        match record["status"].as_str() {
            Some("ready") => ready.insert(id),
            Some("trashed") => trashed.insert(id),
            other => panic!("{at}: {name} is {other:?}"),
        };
    }

    let (mut on_disk, mut in_trash, mut stray) = (BTreeSet::new(), BTreeSet::new(), Vec::new());
    let mut scopes = BTreeSet::new();
    for scope in names(volume).into_iter().filter(|n| is_hex(n, 32)) {
        let dir = volume.join(&scope);
        for first in names(&dir) {
            match first.as_str() {
                ".trash" => in_trash.extend(names(&dir.join(first))),
                ".staging" => stray.extend(names(&dir.join(first))),
                first if is_hex(first, 2) => {
                    for second in names(&dir.join(first)) {
                        let found = names(&dir.join(first).join(&second));
                        on_disk.extend(found.into_iter().map(|rest| format!("{first}{second}{rest}")));
                    }
                }
                other => stray.push(other.to_owned()),
            }
        }
        scopes.insert(scope);
    }
    assert!(stray.is_empty(), "{at}: stray entries on the volume: {stray:?}");
    assert_eq!(on_disk, ready, "{at}: folders on disk (left) and ready in the registry (right)");
    assert_eq!(in_trash, trashed, "{at}: folders in .trash (left) and trashed in the registry (right)");

    let mut sidecars = BTreeSet::new();
    for scope in names(&volume.join(".vfadm")).into_iter().filter(|name| name != "registry.yaml") {
        assert!(scopes.contains(&scope), "{at}: sidecars of a scope that is gone: {scope}");
        let files = names(&volume.join(".vfadm").join(scope));
        sidecars.extend(files.into_iter().filter(|f| f != "scope.yaml").map(|f| f.replace('-', "")));
    }
    let expected = ready.union(&trashed).map(|id| format!("{id}.yaml")).collect();
    assert_eq!(sidecars, expected, "{at}: sidecars (left) and folders of the registry (right)");
    nothing_loose(volume, at);
}

/// The limits in the kernel are those of the registry, and the kernel has no scope that the registry does not know; on the
/// volume `local`.
pub fn kernel_matches_registry(lab: &Lab, at: &str) {
    let kernel = kernel_limits(&lab.volume);
    let mut known = BTreeSet::new();
    for (name, scope) in records(lab, "scopes").into_iter().filter(|(name, _)| name.ends_with("@local")) {
        let Some(id) = scope["kernel_id"].as_u64() else { continue };
        known.insert(id);
        if scope["present"] == Value::Bool(true) {
            assert_eq!(
                kernel.get(&id),
                Some(&scope["limit"].as_u64()),
                "{at}: limit of {name} in the kernel"
            );
        }
    }
    for volume in records(lab, "volumes").values() {
        known.extend(volume["draining"].as_array().into_iter().flatten().filter_map(Value::as_u64));
    }
    let unknown: Vec<_> = kernel.iter().filter(|(id, _)| !known.contains(id)).collect();
    assert!(unknown.is_empty(), "{at}: scopes in the kernel that the registry does not know: {unknown:?}");
}
