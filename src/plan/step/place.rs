//! Places of checked handles.

use std::path::Path;

use uuid::Uuid;

use super::ScopePlace;
use crate::domain::error::Result;
use crate::host::dir::open_path_beneath;
use crate::host::process;
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

/// Takes the place away again, on the host that has it.
pub fn unbind(host: &str, session: &str, mark: &Mark, number: usize) -> Result<()> {
    match host.is_empty() || host == process::hostname() {
        true => Ok(places::unbind(session, mark.session, number)?),
        false => Ok(()),
    }
}

/// Takes away what sessions of these ids have on this host.
pub fn release(sessions: &[(String, Uuid)]) -> Result<()> {
    for (name, id) in sessions {
        places::release(name, *id)?;
    }
    Ok(())
}
