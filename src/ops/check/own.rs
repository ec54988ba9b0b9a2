//! Whom vfadm's own files belong to, and who else may read them.

use super::found::{Found, Mend};
use crate::domain::error::Result;
use crate::domain::finding::Finding;
use crate::host::dir::Dir;
use crate::plan::exposed;

/// Looks at a root, or at a volume, whose files are to be those of `own`.
pub(super) fn files(top: &Dir, own: u32) -> Result<Option<Found>> {
    let open = exposed(top, own)?;
    let Some(first) = open.first() else { return Ok(None) };
    let first = top.join(first);
    let message = match open.len() {
        1 => format!("{} is to be uid {own}'s alone", first.display()),
        count => format!("{} and {} more are to be uid {own}'s alone", first.display(), count - 1),
    };
    let finding = Finding::error("own_access", top.path().display().to_string(), message);
    let mend = Mend::Own { path: top.path().to_owned(), own };
    Ok(Some(Found::mended(finding, mend, "takes the rights of others")))
}
