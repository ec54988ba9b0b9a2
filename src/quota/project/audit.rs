//! Files that left their project, and projects that are no scopes.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use super::tool::Tool;
use super::{id_of, plain};
use crate::domain::error::{Error, Result};
use crate::host::Error as HostError;
use crate::host::dir::{Dir, c_name};
use crate::host::project::{Project, open_file, project, set_project};
use crate::quota::audit::OWN_IDS;
use crate::quota::{Escape, EscapeKind, ScopeAt};
use crate::tree::Silent;
use crate::tree::each::{Found, each};

/// So many findings of one scope are enough to see what is wrong with it.
const MOST: usize = 10_000;

pub(super) fn audit(
    tool: &Tool,
    volume: &Path,
    scopes: &[ScopeAt<'_>],
    found: &mut dyn FnMut(Escape),
) -> Result<()> {
    let dir = plain::open_volume(volume)?;
    for (place, scope) in scopes.iter().enumerate() {
        for escape in of_scope(&dir.open_dir(scope.dir)?, id_of(scope)?, place)? {
            found(escape);
        }
    }
    let known: HashSet<u64> = scopes.iter().filter_map(|scope| scope.kernel_id).collect();
    let mut strange: Vec<_> = tool
        .all()?
        .into_iter()
        .filter(|(id, line)| OWN_IDS.contains(id) && !known.contains(id) && !line.is_unused())
        .collect();
    strange.sort_by_key(|(id, _)| *id);
    for (id, line) in strange {
        found(Escape {
            kind: EscapeKind::Unaccounted,
            path: volume.to_owned(),
            scope: None,
            id: Some(id),
            message: format!(
                "the project {id} belongs to no scope; it uses {} KiB and has a limit of {} KiB",
                line.used,
                line.limit()
            ),
            mendable: false,
        });
    }
    Ok(())
}

fn of_scope(dir: &Dir, id: u32, scope: usize) -> Result<Vec<Escape>> {
    let found = Mutex::new(Vec::new());
    let wanted = Project { id, inherited: true };
    let look = |path: &dyn Fn() -> PathBuf, entry: Found<'_>| {
        let (file, is_dir) = match entry {
            Found::Directory(dir) => (dir, true),
            Found::File(file) => (file, false),
            Found::Other { .. } => return,
        };
        let Ok(now) = project(file) else { return };
        let (kind, message) = match is_dir {
            _ if now.id != wanted.id => {
                (EscapeKind::ForeignProject, format!("it is charged to the project {}, not {id}", now.id))
            }
            true if !now.inherited => {
                (EscapeKind::NotInherited, format!("new entries do not get its project {id}"))
            }
            _ => return,
        };
        let path = dir.path().join(path());
        let escape =
            Escape { kind, path, scope: Some(scope), id: Some(u64::from(id)), message, mendable: true };
        if let Ok(mut found) = found.lock()
            && found.len() < MOST
        {
            found.push(escape);
        }
    };
    each(dir, &look, &Silent)?;
    let mut found = found.into_inner().unwrap_or_default();
    found.sort_by(|a: &Escape, b: &Escape| a.path.cmp(&b.path));
    Ok(found)
}

/// Gives an entry of the scope its project back. Nothing outside of the scope can be reached: the path is walked from
/// its directory, without links.
pub(super) fn mend(volume: &Path, scope: &ScopeAt<'_>, path: &Path) -> Result<()> {
    let top = plain::open_volume(volume)?.open_dir(scope.dir)?;
    let outside = || Error::storage(format!("{} is not in the scope", path.display()));
    let below = path.strip_prefix(top.path()).map_err(|_| outside())?;
    let id = id_of(scope)?;
    let failed = |e| Error::from(HostError::path("set the project of", path, e));
    if below.as_os_str().is_empty() {
        return set_project(&top, Project { id, inherited: true }).map_err(failed);
    }
    let name: &OsStr = below.file_name().ok_or_else(outside)?;
    let parent = match below.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        Some(parent) => top.open_beneath(parent)?,
        None => top,
    };
    match parent.open_beneath(Path::new(name)) {
        Ok(dir) => set_project(&dir, Project { id, inherited: true }).map_err(failed),
        Err(_) => {
            let file = open_file(&parent, &c_name(name)?).map_err(failed)?;
            set_project(&file, Project { id, inherited: false }).map_err(failed)
        }
    }
}
