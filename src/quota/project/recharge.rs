//! Gives a folder and all that is in it to another project.
//!
//! As tried on Linux 6.1: the kernel lets root charge a file to a project that has no room for it.

use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use super::id_of;
use super::renew::Workshop;
use crate::domain::error::{Error, Result};
use crate::host::Error as HostError;
use crate::host::dir::Dir;
use crate::host::project::{Project, project, set_project};
use crate::quota::{QuotaDriver, ScopeAt};
use crate::tree::Progress;
use crate::tree::each::{Found, each};

/// How often a tree is walked until nothing in it has to be changed.
const PASSES: u32 = 8;

pub(super) fn recharge(
    driver: &dyn QuotaDriver,
    to: &ScopeAt<'_>,
    folder: &Dir,
    progress: &dyn Progress,
) -> Result<()> {
    let id = id_of(to)?;
    let name = folder.path().file_name().unwrap_or_default();
    let workshop = Workshop::open(driver, to, name)?;
    let first = pass(id, folder, Some(&workshop), progress);
    workshop.close()?;
    let mut changed = first?;
    for _ in 1..PASSES {
        if changed == 0 {
            break;
        }
        changed = pass(id, folder, None, progress)?;
    }
    Ok(())
}

/// How many files and directories were changed. What cannot be opened is made again in the workshop.
fn pass(id: u32, folder: &Dir, workshop: Option<&Workshop<'_>>, progress: &dyn Progress) -> Result<u64> {
    let changed = AtomicU64::new(0);
    let failed = Mutex::new(None);
    let fail = |error: Error| {
        if let Ok(mut failed) = failed.lock() {
            failed.get_or_insert(error);
        }
    };
    let look = |path: &dyn Fn() -> PathBuf, entry: Found<'_>| {
        let (file, inherited) = match entry {
            Found::Directory(dir) => (dir, true),
            Found::File(file) => (file, false),
            Found::Other { dir, name } => {
                if let Some(Err(error)) = workshop.map(|workshop| workshop.renew(dir, name)) {
                    fail(error);
                }
                return;
            }
        };
        let wanted = Project { id, inherited };
        let given = project(file).and_then(|now| match now == wanted {
            true => Ok(0),
            false => set_project(file, wanted).map(|()| 1),
        });
        match given {
            Ok(count) => {
                changed.fetch_add(count, Ordering::Relaxed);
                progress.add(count, 0);
            }
            Err(error) => {
                fail(HostError::path("set the project of", folder.path().join(path()), error).into());
            }
        }
    };
    each(folder, &look, progress)?;
    match failed.into_inner().unwrap_or_default() {
        Some(error) => Err(error),
        None => Ok(changed.into_inner()),
    }
}
