//! The registry file as a whole: kept, brought back, edited, rebuilt.

mod backup;
mod edit;
pub mod rebuild;
mod restore;

pub use backup::{backup, list, text};
pub use edit::Edit;
pub use restore::{Preview, Source, preview, restore};

use std::path::{Path, PathBuf};

use super::Context;
use crate::domain::error::{Error, Result};
use crate::host::dir::Dir;
use crate::host::{self, files};
use crate::plan::intent;
use crate::registry::load::MOST_BYTES;
use crate::registry::{Locked, Present, Registry, Root, store};

/// A root whose registry is to be replaced as a whole.
struct Held {
    locked: Locked,
    /// What the change is compared with.
    before: Option<Registry>,
    /// The file cannot be read,
    lost: bool,
    /// and is there.
    broken: bool,
    warnings: Vec<String>,
}

/// Takes the lock of a root whose registry may be lost, and tidies up after commands that were cut off. `make` gives the
/// registry that a root without any is taken for.
fn hold(ctx: &Context, make: impl FnOnce() -> Result<Registry>) -> Result<Held> {
    let root = Root::find(&ctx.root)?;
    let lock = store::lock_root(&root, ctx.lock_timeout, &ctx.command)?;
    let present = Present::look(&root)?;
    let broken = present.is_broken(&root)?;
    let known = match &present.registry {
        Some(registry) => registry.clone(),
        None => make()?,
    };
    let before = present.registry;
    if present.fault.is_some() {
        let warnings = intent::settle(&root, present.committed)?;
        let mut locked = Locked::over(root, known, ctx.by(), lock);
        locked.registry.header.generation = locked.registry.header.generation.max(present.generation);
        return Ok(Held { locked, before, lost: true, broken, warnings });
    }
    let mut locked = Locked::over(root, known, ctx.by(), lock);
    let warnings = intent::recover(&mut locked)?;
    let before = Some(locked.registry.clone());
    Ok(Held { locked, before, lost: false, broken, warnings })
}

/// Refuses while somebody works on a folder without the lock: the record that says so would go (exit 6).
fn require_nobody_at_work(root: &Root) -> Result<()> {
    match intent::at_work(root)?.first() {
        None => Ok(()),
        Some(by) => Err(Error::in_use(format!(
            "'{}' (pid {} on {}) is at work since {}",
            by.command, by.pid, by.host, by.since
        ))
        .hint("wait for its end, or use --force")),
    }
}

/// The text of a file that an administrator named, and its path without links.
fn read_file(path: &Path) -> Result<(Vec<u8>, PathBuf)> {
    let missing = || Error::not_found(format!("there is no file {}", path.display()));
    let real = path.canonicalize().map_err(|e| match e.kind() {
        std::io::ErrorKind::NotFound => missing(),
        _ => host::Error::path("open", path, e).into(),
    })?;
    let (Some(parent), Some(name)) = (real.parent(), real.file_name().and_then(|name| name.to_str())) else {
        return Err(Error::usage(format!("{} is not a file of a registry", path.display())));
    };
    let bytes =
        files::read(&Dir::open(parent)?, name, MOST_BYTES).map_err(|e| Error::registry(e.to_string()))?;
    Ok((bytes.ok_or_else(missing)?, real))
}
