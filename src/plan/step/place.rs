//! Places of checked handles.

use std::path::Path;

use uuid::Uuid;

use super::ScopePlace;
use crate::domain::error::Result;
use crate::host::dir::open_path_beneath;
use crate::session::places::{self, Mark};

/// Opens the folder by its scope's identity and the subpath without following a link, and binds that.
pub fn bind(
    (session, mark, number): (&str, &Mark, usize),
    (scope, folder, subpath): (&ScopePlace, &Path, &Path),
    read_only: bool,
) -> Result<()> {
    let folder = scope.open_folder(folder)?;
    let handle = open_path_beneath(&folder, subpath)?;
    Ok(places::bind(session, mark, number, handle, read_only)?)
}

/// Takes away what sessions of these ids have on this host.
pub fn release(sessions: &[(String, Uuid)]) -> Result<()> {
    for (name, id) in sessions {
        places::release(name, *id)?;
    }
    Ok(())
}
