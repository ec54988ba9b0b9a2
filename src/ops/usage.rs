//! How much folders hold: from the storage's own accounting where it keeps one for each folder, else counted.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use serde_json::{Map, Value, json};

use super::resolve::{self, Folder};
use super::scope::Site;
use super::{Context, State, read};
use crate::domain::error::{Code, Result};
use crate::domain::owner::split_folder_key;
use crate::domain::record::VFolder;
use crate::domain::reference::FolderRef;
use crate::tree::Progress;
use crate::tree::measure::{Measured, Part, Room, measure_parts};

/// How to measure.
#[derive(Clone, Copy, Debug, Default)]
pub struct How {
    /// Count, also where the storage keeps the charge.
    pub walk: bool,
    /// Also each entry down to so many levels, which only a walk knows.
    pub levels: usize,
}

/// What only a walk knows.
const COUNTED: [&str; 8] =
    ["apparent_bytes", "allocated_bytes", "files", "directories", "symlinks", "others", "largest", "oldest"];

/// What adds up over folders.
const SUMS: [&str; 7] =
    ["charged_bytes", "apparent_bytes", "allocated_bytes", "files", "directories", "symlinks", "others"];

/// The folders that are meant, each once: the named ones, or all that the actor can see.
pub fn folders(state: &State<'_>, references: &[FolderRef], all: bool) -> Result<Vec<Folder>> {
    if !all {
        let mut found: Vec<Folder> = Vec::new();
        for reference in references {
            let folder = resolve::folder(state, reference)?;
            if found.iter().all(|other| other.record.id != folder.record.id) {
                found.push(folder);
            }
        }
        return Ok(found);
    }
    if let Some(user) = state.actor.user() {
        return Ok(resolve::reach_of(state.registry, user)?.into_iter().map(|r| r.folder).collect());
    }
    let records = state.registry.all::<VFolder>()?;
    Ok(records
        .into_iter()
        .filter_map(|(key, record)| {
            let (owner, name) = split_folder_key(&key)?;
            Some(Folder { owner, name: name.to_owned(), record })
        })
        .collect())
}

/// The folder as the registry has it by now; `None` where it has gone, or is out of the actor's reach.
pub fn again(ctx: &Context, folder: &Folder) -> Result<Option<Folder>> {
    let reading = read(ctx)?;
    match resolve::folder(&reading.state(ctx), &FolderRef::Id(folder.record.digits())) {
        Err(error) if error.code == Code::NotFound => Ok(None),
        found => found.map(Some),
    }
}

/// Measures a folder; its entries take from `room`. `watch` is called where that means a walk.
pub fn usage(
    state: &State<'_>,
    folder: &Folder,
    how: How,
    room: &mut Room,
    watch: &dyn Fn() -> Box<dyn Progress>,
) -> Result<Value> {
    let site = Site::of_folder(state.registry, &folder.owner, &folder.record)?;
    let dir = site.place.open_folder(Path::new(&folder.record.place()))?;
    let driver = site.place.volume.driver();
    let mut item = Map::new();
    item.insert("vfolder".to_owned(), json!(folder.key()));
    item.insert("volume".to_owned(), json!(folder.record.volume));
    item.insert("status".to_owned(), json!(folder.record.status));
    let charge = match driver.charge_of(&site.place.at(), &dir) {
        Ok(Some(bytes)) => Ok(bytes),
        Ok(None) => Err("the storage keeps no charge for a single folder here".to_owned()),
        Err(error) => Err(error.message),
    };
    let counts = how.walk || how.levels > 0 || charge.is_err();
    item.insert("source".to_owned(), json!(if counts { "walk" } else { "accounting" }));
    match charge {
        Ok(bytes) => {
            item.insert("charged_bytes".to_owned(), json!(bytes));
            if driver.usage_lags() {
                item.insert("usage".to_owned(), json!("lagging"));
            }
        }
        Err(reason) => drop(item.insert("charged_bytes_unknown_reason".to_owned(), json!(reason))),
    }
    if !counts {
        for key in COUNTED {
            let reason = "the storage keeps the charge only; 'vfadm vfolder usage --walk' counts";
            item.insert(format!("{key}_unknown_reason"), json!(reason));
        }
        return Ok(Value::Object(item));
    }
    let measured = measure_parts(&dir, how.levels, *room, &*watch())?;
    *room = measured.room;
    put(&mut item, &measured.whole);
    if how.levels > 0 {
        let entries: Vec<Value> = measured.parts.into_iter().map(entry).collect();
        item.insert("entries".to_owned(), json!(entries));
        if measured.unlisted > 0 {
            item.insert("unlisted_entries".to_owned(), json!(measured.unlisted));
        }
    }
    Ok(Value::Object(item))
}

fn entry(part: Part) -> Value {
    let mut item = path(&part.path);
    put(&mut item, &part.measured);
    Value::Object(item)
}

/// A path in a tenant's tree: as text, and where it is none also its bytes, in hexadecimal digits.
fn path(path: &Path) -> Map<String, Value> {
    let mut item = Map::new();
    if path.as_os_str().is_empty() {
        item.insert("path_unknown_reason".to_owned(), json!("it is too long, or too many are listed"));
        return item;
    }
    item.insert("path".to_owned(), json!(path.to_string_lossy()));
    if path.to_str().is_none() {
        let bytes = path.as_os_str().as_bytes();
        let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        item.insert("path_hex".to_owned(), json!(digits));
    }
    item
}

fn put(item: &mut Map<String, Value>, measured: &Measured) {
    for (key, count) in [
        ("apparent_bytes", measured.apparent),
        ("allocated_bytes", measured.allocated),
        ("files", measured.files),
        ("directories", measured.directories),
        ("symlinks", measured.symlinks),
        ("others", measured.others),
    ] {
        item.insert(key.to_owned(), json!(count));
    }
    let named = |file: &Path, key: &str, value: Value| {
        let mut item = path(file);
        item.insert(key.to_owned(), value);
        Value::Object(item)
    };
    let largest = measured.largest.as_ref().map(|(file, bytes)| named(file, "bytes", json!(bytes)));
    item.insert("largest".to_owned(), json!(largest));
    let oldest = measured.oldest.as_ref().map(|(file, time)| {
        let at = jiff::Timestamp::from_second(time.seconds).ok();
        named(file, "modified_at", json!(at))
    });
    item.insert("oldest".to_owned(), json!(oldest));
    for (key, count) in [
        ("unreadable", measured.unreadable),
        ("vanished", measured.vanished),
        ("foreign_mounts", measured.foreign_mounts),
    ] {
        if count > 0 {
            item.insert(key.to_owned(), json!(count));
        }
    }
}

/// What a measured folder's figures leave out, as sentences.
pub fn notes(item: &Value) -> Vec<String> {
    let folder = item["vfolder"].as_str().unwrap_or_default();
    let several = |count: u64, one: &str, many: &str| match count {
        1 => format!("1 {one}"),
        count => format!("{count} {many}"),
    };
    [
        ("unreadable", "entry could not be read", "entries could not be read"),
        ("foreign_mounts", "mount inside was not entered", "mounts inside were not entered"),
        ("unlisted_entries", "entry is not listed", "entries are not listed"),
    ]
    .iter()
    .filter_map(|(key, one, many)| {
        let count = item.get(*key)?.as_u64()?;
        Some(format!("{folder}: {}", several(count, one, many)))
    })
    .collect()
}

/// The sums over folders; one that not all of them know is not known.
pub fn total(items: &[Value]) -> Value {
    let mut total = Map::new();
    for key in SUMS {
        let known: Vec<u64> = items.iter().filter_map(|item| item[key].as_u64()).collect();
        match items.len() - known.len() {
            0 => total.insert(key.to_owned(), json!(known.iter().fold(0u64, |a, b| a.saturating_add(*b)))),
            some => {
                let reason = format!("not known of {some} of {} folders", items.len());
                total.insert(format!("{key}_unknown_reason"), json!(reason))
            }
        };
    }
    Value::Object(total)
}

/// A measured folder, and then each of its entries, as lines of a table.
pub fn rows(mut item: Value) -> Vec<Value> {
    let entries = item.as_object_mut().and_then(|map| map.remove("entries"));
    let Some(Value::Array(entries)) = entries else { return vec![item] };
    let folder = item["vfolder"].clone();
    let mut rows = vec![item];
    for mut entry in entries {
        entry["vfolder"] = folder.clone();
        rows.push(entry);
    }
    rows
}
