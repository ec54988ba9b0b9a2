//! The command that takes a change back which the history alone cannot.

use serde_json::Value;

use crate::domain::name::shell_word;
use crate::domain::owner::{split_folder_key, split_scope_key};
use crate::domain::record::{LimitSource, Record, Scope, Session, VFolder, Volume};
use crate::registry::history::{Changed, Entry};

/// What to type, where there is something.
pub fn of(entry: &Entry) -> Option<String> {
    let first = |section: &str| entry.changes.iter().find(|change| change.section == section);
    if let Some(command) = of_transfer(entry) {
        return Some(command);
    }
    // A folder comes with its scope, and a volume goes with its scopes.
    if let Some(change) = first(VFolder::SECTION) {
        return of_folder(change);
    }
    first(Volume::SECTION)
        .and_then(of_volume)
        .or_else(|| first(Scope::SECTION).and_then(of_scope))
        .or_else(|| first(Session::SECTION).and_then(of_session))
}

fn status(record: &Option<Value>) -> Option<&str> {
    record.as_ref()?.get("status")?.as_str()
}

/// A folder that came to another key or volume.
fn of_transfer(entry: &Entry) -> Option<String> {
    let folders = || entry.changes.iter().filter(|change| change.section == VFolder::SECTION);
    let of = |record: &Option<Value>, key: &str| Some(record.as_ref()?.get(key)?.as_str()?.to_owned());
    let left = folders().find(|change| change.before.is_some() && of(&change.before, "volume").is_some())?;
    let id = of(&left.before, "id");
    let came = folders().find(|change| change.after.is_some() && of(&change.after, "id") == id)?;
    let (owner, name) = split_folder_key(&left.key)?;
    let volume = of(&left.before, "volume")?;
    let (to, new_name) = split_folder_key(&came.key)?;
    // What is in the trash is not transferred by itself.
    let ready = status(&came.after) == Some("ready");
    let moved =
        ready && name == new_name && (owner != to || of(&came.after, "volume").as_ref() != Some(&volume));
    let perm = of(&left.before, "permission").map(|level| format!(" --perm {level}")).unwrap_or_default();
    let key = shell_word(&came.key);
    moved.then(|| format!("vfadm vfolder transfer {key} {owner} --volume {volume}{perm}"))
}

fn of_folder(change: &Changed) -> Option<String> {
    let was_a_clone = change.before.as_ref().is_some_and(|record| record.get("clone").is_some());
    let verb = match (status(&change.before), status(&change.after)) {
        (None | Some("trashed"), Some("ready")) => "delete",
        (Some("copying"), Some("ready")) if was_a_clone => "delete",
        (None, Some("copying")) => "purge",
        (Some("ready"), Some("trashed")) => "restore",
        _ => return None,
    };
    Some(format!("vfadm vfolder {verb} {}", shell_word(&change.key)))
}

fn of_scope(change: &Changed) -> Option<String> {
    let (owner, volume) = split_scope_key(&change.key)?;
    let record = |value: &Option<Value>| serde_json::from_value::<Scope>(value.clone()?).ok();
    let set = |scope: &Scope| {
        let limit = scope.limit.map_or("unlimited".to_owned(), |bytes| bytes.to_string());
        format!("vfadm quota set {owner} {limit} --volume {volume}")
    };
    match (record(&change.before), record(&change.after)) {
        (Some(before), _) if before.source == LimitSource::Set => Some(set(&before)),
        (_, Some(after)) if after.source == LimitSource::Set => {
            Some(format!("vfadm quota unset {owner} --volume {volume}"))
        }
        _ => None,
    }
}

fn of_volume(change: &Changed) -> Option<String> {
    let name = &change.key;
    match (&change.before, &change.after) {
        (None, Some(_)) => Some(format!("vfadm volume remove {name}")),
        (Some(before), None) => {
            let path = before.get("path")?.as_str()?;
            Some(format!("vfadm volume add {name} {}", shell_word(path)))
        }
        _ => None,
    }
}

fn of_session(change: &Changed) -> Option<String> {
    change.before.is_none().then(|| format!("vfadm session stop {}", change.key))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn entry(changes: &[Changed]) -> Entry {
        let entry = json!({
            "generation": 2, "time": "2026-11-24T00:00:00Z", "actor": "", "login": "", "host": "",
            "command": "", "changes": changes,
        });
        serde_json::from_value(entry).unwrap()
    }

    fn changed(section: &str, key: &str, before: Value, after: Value) -> Changed {
        let there = |value: Value| Some(value).filter(|value| !value.is_null());
        Changed {
            section: section.to_owned(),
            key: key.to_owned(),
            before: there(before),
            after: there(after),
        }
    }

    #[test]
    fn a_transfer_is_taken_back_by_one_to_where_it_was() {
        let folder = |volume: &str| json!({"id": "x", "status": "ready", "volume": volume});
        let to_bob = [
            changed("vfolders", "user/a/d", folder("v"), Value::Null),
            changed("vfolders", "user/b/d", Value::Null, folder("v")),
        ];
        let to_bob = of(&entry(&to_bob));
        assert_eq!(to_bob.as_deref(), Some("vfadm vfolder transfer user/b/d user/a --volume v"));
        let to_w = of(&entry(&[changed("vfolders", "user/a/d", folder("v"), folder("w"))]));
        assert_eq!(to_w.as_deref(), Some("vfadm vfolder transfer user/a/d user/a --volume v"));
    }

    #[test]
    fn what_takes_a_change_of_the_storage_back_can_be_pasted() {
        let folder = |status: &str| json!({"id": "x", "status": status});
        let scope = |limit: Value, source: &str| json!({"limit": limit, "source": source, "present": true});
        let volume = json!({"path": "/mnt/a b"});
        let none = || Value::Null;
        for (section, key, before, after, command) in [
            ("vfolders", "user/a/d", none(), folder("ready"), Some("vfadm vfolder delete user/a/d")),
            (
                "vfolders",
                "user/a/d",
                folder("ready"),
                folder("trashed"),
                Some("vfadm vfolder restore user/a/d"),
            ),
            (
                "vfolders",
                "user/a/d",
                folder("trashed"),
                folder("ready"),
                Some("vfadm vfolder delete user/a/d"),
            ),
            ("vfolders", "user/a/d", none(), folder("copying"), Some("vfadm vfolder purge user/a/d")),
            (
                "vfolders",
                "user/a/d",
                json!({"id": "x", "status": "copying", "clone": {}}),
                folder("ready"),
                Some("vfadm vfolder delete user/a/d"),
            ),
            ("vfolders", "user/a/d", folder("copying"), folder("ready"), None),
            ("vfolders", "user/a/d", folder("trashed"), folder("purging"), None),
            ("vfolders", "user/a/d", folder("purging"), none(), None),
            (
                "scopes",
                "user/a@v",
                scope(json!(1024), "set"),
                scope(json!(2048), "set"),
                Some("vfadm quota set user/a 1024 --volume v"),
            ),
            (
                "scopes",
                "user/a@v",
                scope(none(), "set"),
                scope(json!(2048), "default"),
                Some("vfadm quota set user/a unlimited --volume v"),
            ),
            (
                "scopes",
                "user/a@v",
                scope(json!(7), "default"),
                scope(json!(2048), "set"),
                Some("vfadm quota unset user/a --volume v"),
            ),
            ("scopes", "user/a@v", none(), scope(none(), "set"), Some("vfadm quota unset user/a --volume v")),
            ("scopes", "user/a@v", scope(none(), "none"), none(), None),
            ("volumes", "v", none(), volume.clone(), Some("vfadm volume remove v")),
            ("volumes", "v", volume, none(), Some("vfadm volume add v '/mnt/a b'")),
            ("sessions", "s", none(), json!({}), Some("vfadm session stop s")),
            ("sessions", "s", json!({}), none(), None),
            ("settings", "", json!({}), json!({}), None),
        ] {
            let changed = changed(section, key, before, after);
            let shown = format!("{changed:?}");
            let entry = entry(&[changed]);
            assert_eq!(of(&entry).as_deref(), command, "{shown}");
        }
    }
}
