//! How much a folder holds.

use std::path::Path;

use serde_json::{Value, json};

use super::State;
use super::resolve::{self, Folder};
use super::scope::Site;
use crate::domain::error::Result;
use crate::domain::owner::split_folder_key;
use crate::domain::record::VFolder;
use crate::domain::reference::FolderRef;
use crate::tree::Progress;
use crate::tree::measure::measure;

/// The folders that are meant: the named ones, or all that the actor can see.
pub fn folders(state: &State<'_>, references: &[FolderRef], all: bool) -> Result<Vec<Folder>> {
    if !all {
        return references.iter().map(|r| resolve::folder(state, r)).collect();
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

/// Walks a folder and counts.
pub fn usage(state: &State<'_>, folder: &Folder, progress: &dyn Progress) -> Result<Value> {
    let site = Site::of_folder(state.registry, &folder.owner, &folder.record)?;
    let dir = site.place.open_folder(Path::new(&folder.record.place()))?;
    let measured = measure(&dir, progress)?;
    let mut item = json!({
        "vfolder": folder.key(),
        "volume": folder.record.volume,
        "status": folder.record.status,
        "apparent_bytes": measured.apparent,
        "allocated_bytes": measured.allocated,
        "files": measured.files,
        "directories": measured.directories,
        "symlinks": measured.symlinks,
        "others": measured.others,
    });
    if let Value::Object(map) = &mut item {
        if let Some((path, bytes)) = &measured.largest {
            map.insert("largest".to_owned(), json!({"path": path.to_string_lossy(), "bytes": bytes}));
        }
        if let Some((path, time)) = &measured.oldest {
            let at = jiff::Timestamp::from_second(*time).ok();
            map.insert("oldest".to_owned(), json!({"path": path.to_string_lossy(), "modified_at": at}));
        }
        for (key, count) in [
            ("unreadable", measured.unreadable),
            ("vanished", measured.vanished),
            ("foreign_mounts", measured.foreign_mounts),
        ] {
            if count > 0 {
                map.insert(key.to_owned(), count.into());
            }
        }
    }
    Ok(item)
}
