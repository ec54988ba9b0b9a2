//! Reading the registry of a root.

use super::backups;
use super::root::{FILE, Root, cannot_read};
use super::state::Registry;
use super::validate::newly_broken;
use crate::domain::error::{Error, Result};
use crate::host::files;

/// A registry larger than this (a million folders) is taken for a mistake.
pub const MOST_BYTES: u64 = 1 << 30;

/// So many characters of what is wrong are shown.
const MOST_SHOWN: usize = 400;

/// Reads the registry of a root. A file that somebody edited is validated as a whole; a broken one is an error that
/// says how to bring the last good one back (exit 9).
pub fn load(root: &Root) -> Result<Registry> {
    let bytes = files::read(root.dir(), FILE, MOST_BYTES)
        .map_err(cannot_read)?
        .ok_or_else(|| Error::registry(format!("there is no registry at {}", root.file().display())))?;
    read(bytes, root).map_err(|error| match backups::remedy(root) {
        Some(remedy) if error.hint.is_none() => error.hint(remedy),
        _ => error,
    })
}

fn read(bytes: Vec<u8>, root: &Root) -> Result<Registry> {
    let mut registry = Registry::parse(bytes, root.file())?;
    if registry.was_edited() {
        require_sound(None, &registry)?;
    }
    registry.remedy = backups::remedy_unchecked(root);
    Ok(registry)
}

/// Refuses a registry that breaks a rule (exit 9), unless it was broken `before` in the same way.
pub fn require_sound(before: Option<&Registry>, registry: &Registry) -> Result<()> {
    let Some(worst) = newly_broken(before, registry)? else { return Ok(()) };
    let line = worst.line.unwrap_or(1);
    let file = registry.file().display();
    let (subject, message) = (short(&worst.subject), short(&worst.message));
    Err(Error::registry(match &*worst.code {
        // Its message begins with the column.
        "record_broken" => format!("{file}: line {line}, {message}"),
        _ => format!("{file}: line {line}: {subject}: {message}"),
    })
    .detail("line", line))
}

/// A text that may hold a key of any length.
fn short(text: &str) -> String {
    match text.char_indices().nth(MOST_SHOWN) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}
