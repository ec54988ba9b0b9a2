//! The registry that a kept text was made from, found again by the header that stands in the text.

use std::path::Path;

use serde_json::Value;

use crate::domain::error::{Error, Result};
use crate::domain::record::Header;
use crate::domain::text::shell_path;
use crate::registry::difference::difference;
use crate::registry::{Registry, Root, backups};

/// The registry of the text's generation: the present one where that is it, or its backup; `None` where nothing is known of
/// the registry at all. Exit 4 where it has gone or cannot be told, for then others' changes since cannot be either.
pub(super) fn of(
    root: &Root,
    present: Option<&Registry>,
    text: &[u8],
    path: &Path,
) -> Result<Option<Registry>> {
    let Some(present) = present else { return Ok(None) };
    let Some(header) = header(text, path) else {
        return Err(refused(path, "does not say which generation of the registry it was made from"));
    };
    if header.registry != present.header.registry {
        return Err(refused(path, "is of another registry"));
    }
    let mut found = candidates(root, &header)?;
    if is_same(&present.header, &header) {
        found.push(present.clone());
    }
    let Some(base) = found.pop() else {
        let why = format!(
            "was made from generation {} of {}, of which there is no backup any more",
            header.generation, header.updated_at
        );
        return Err(refused(path, &why));
    };
    for other in &found {
        if !difference(Some(&base), other)?.is_empty() {
            let why = format!(
                "was made from generation {}, and that was edited by hand: there are two of it",
                header.generation
            );
            return Err(refused(path, &why));
        }
    }
    Ok(Some(base))
}

fn candidates(root: &Root, header: &Header) -> Result<Vec<Registry>> {
    let mut found = Vec::new();
    for backup in backups::list(root)?.into_iter().filter(|b| b.generation == header.generation) {
        let Some((bytes, path)) = backups::read(root, &backup)? else { continue };
        found.extend(Registry::parse(bytes, path).ok().filter(|registry| is_same(&registry.header, header)));
    }
    Ok(found)
}

/// A generation that was lost may have been counted again, at another time.
fn is_same(one: &Header, other: &Header) -> bool {
    (one.generation, one.updated_at) == (other.generation, other.updated_at)
}

/// The header of a text that need not be sound otherwise.
fn header(text: &[u8], path: &Path) -> Option<Header> {
    if let Ok(registry) = Registry::parse(text.to_vec(), path.to_owned()) {
        return Some(registry.header);
    }
    let line = text.split(|byte| *byte == b'\n').find(|line| line.starts_with(b"vfadm:"))?;
    let mut line: Value = serde_yaml::from_slice(line).ok()?;
    serde_json::from_value(line.get_mut("vfadm")?.take()).ok()
}

fn refused(path: &Path, why: &str) -> Error {
    Error::conflict(format!("{} {why}: what others changed since would be lost", path.display())).hint(
        format!(
            "begin with the present registry, vfadm registry edit, and take what is missing from {}",
            shell_path(path)
        ),
    )
}
