//! Copies of the registry.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use crate::domain::error::{Error, Result};
use crate::host::dir::Dir;
use crate::host::files::{self, Ownership};
use crate::ops::{Context, Done, Reading, read};
use crate::plan::{Outcome, Plan};
use crate::registry::{Registry, Root, backups};

/// The registry as it is, sealed, whole whoever writes meanwhile.
pub fn text(reading: &Reading) -> Vec<u8> {
    reading.registry.render()
}

/// Writes the registry into a file, or into a new file of a directory, for root alone. One that is there is replaced with
/// `force` only (exit 4), unless it is the same.
pub fn backup(ctx: &Context, target: &Path, force: bool) -> Result<Done> {
    let reading = read(ctx)?;
    let header = &reading.registry.header;
    let target = match target.is_dir() {
        true => target.join(format!(
            "registry-{:010}-{}.yaml",
            header.generation,
            header.updated_at.strftime("%Y%m%dT%H%M%SZ")
        )),
        false => target.to_owned(),
    };
    let (dir, name) = open(&target)?;
    let bytes = text(&reading);
    let message = format!("generation {} kept as {}", header.generation, target.display());
    let mut plan = Plan::new(Outcome::Created, message);
    plan.item = Some(json!({
        "generation": header.generation,
        "time": header.updated_at,
        "records": reading.registry.total(),
        "size_bytes": bytes.len(),
        "path": target,
    }));
    if dir.stat(&name)?.is_some() {
        if files::read(&dir, &name, bytes.len() as u64).is_ok_and(|there| there.as_ref() == Some(&bytes)) {
            plan.outcome = Outcome::Unchanged;
            return Ok(Done { plan, planned: ctx.dry_run, warnings: reading.warnings });
        }
        if !force {
            return Err(Error::conflict(format!("{} exists already", target.display()))
                .hint("name another file or a directory, or replace it with --force"));
        }
    }
    plan.tries.push(format!("write {}", target.display()));
    if !ctx.dry_run {
        let own = Ownership { mode: 0o600, ids: (files::own_uid(), files::own_gid()) };
        files::replace(&dir, &name, &bytes, own)?;
    }
    Ok(Done { plan, planned: ctx.dry_run, warnings: reading.warnings })
}

fn open(target: &Path) -> Result<(Dir, String)> {
    let name = target.file_name().and_then(|name| name.to_str());
    let name = name.ok_or_else(|| Error::usage(format!("{} cannot be a file's name", target.display())))?;
    let parent = match target.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let real = parent.canonicalize().map_err(|e| crate::host::Error::path("open", parent, e))?;
    Ok((Dir::open(&real)?, name.to_owned()))
}

/// The backups of a root, the oldest first. Its registry may be lost; where it never had one, that is exit 9.
pub fn list(ctx: &Context) -> Result<Vec<Value>> {
    let root = Root::find(&ctx.root)?;
    let mut items = Vec::new();
    for backup in backups::list(&root)? {
        match backups::read(&root, &backup) {
            Ok(Some((bytes, path))) => items.push(item(backup.generation, bytes, path)),
            Ok(None) => {}
            Err(error) => items.push(json!({
                "generation": backup.generation,
                "records_unknown_reason": error.message,
            })),
        }
    }
    if items.is_empty() {
        Root::open(&ctx.root)?;
    }
    Ok(items)
}

fn item(generation: u64, bytes: Vec<u8>, path: PathBuf) -> Value {
    let mut item = Map::new();
    let size = bytes.len();
    item.insert("generation".to_owned(), generation.into());
    match Registry::parse(bytes, path.clone()) {
        Ok(registry) => {
            item.insert("time".to_owned(), json!(registry.header.updated_at));
            item.insert("records".to_owned(), registry.total().into());
        }
        Err(error) => {
            item.insert("records_unknown_reason".to_owned(), error.message.into());
        }
    }
    item.insert("size_bytes".to_owned(), size.into());
    item.insert("path".to_owned(), json!(path));
    Value::Object(item)
}
