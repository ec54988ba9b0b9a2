//! Where checked handles are bound for engines that open paths by themselves, and later: between the check and the
//! engine's start a tenant could put a link into a path below a folder. `/run/vfadm/mounts/SESSION/N` is root's alone,
//! and is the object that was checked whatever its old path has become. `N` is the number of the mount in the session's
//! list, from 0.
//!
//! The places of a session carry its id and that of its registry: those of another registry are left alone.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::host::dir::{Dir, c_name, create_file};
use crate::host::entries;
use crate::host::files::{self, Ownership};
use crate::host::mount::{self, Api, Source, Spot};
use crate::host::{Error, Result};

/// Where all sessions of this host have theirs.
pub const PLACES: &str = "/run/vfadm/mounts";

/// The file that says whose the places of a session are.
const MARK: &str = ".session";
const MOST_BYTES: u64 = 4096;

/// Whose places they are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// The registry's id.
    pub registry: Uuid,
    /// The session's id.
    pub session: Uuid,
}

/// The place of a session's mount.
pub fn path(session: &str, number: usize) -> PathBuf {
    Path::new(PLACES).join(session).join(number.to_string())
}

/// The sessions that have places on this host.
pub fn all() -> Result<Vec<(String, Mark)>> {
    let Some(places) = open()? else { return Ok(Vec::new()) };
    let mut found = Vec::new();
    for name in places.names()? {
        let Some(name) = name.to_str() else { continue };
        if let Some(mark) = read_mark(&places, name)? {
            found.push((name.to_owned(), mark));
        }
    }
    found.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(found)
}

/// Whose the places of this name are, where there are any.
pub fn owner(session: &str) -> Result<Option<Mark>> {
    match open()? {
        Some(places) => read_mark(&places, session),
        None => Ok(None),
    }
}

/// Binds what a handle stands for at its place, `nosuid,nodev`, without the mounts below it. Mounts made later at the
/// old path do not appear there, but the place itself reaches the mount namespaces that follow the host's, so that the
/// daemon of an engine sees it.
pub fn bind(session: &str, mark: &Mark, number: usize, handle: OwnedFd, read_only: bool) -> Result<()> {
    let run = Dir::open(Path::new("/run"))?;
    let dir = run.ensure_path(&Path::new("vfadm/mounts").join(session), 0o700)?;
    if let Some(other) = read_mark_in(&dir)? {
        if other != *mark {
            return Err(Error::Program(format!("{} belongs to another session", dir.path().display())));
        }
    } else {
        let text = serde_json::to_vec(mark).map_err(|e| Error::Program(e.to_string()))?;
        files::replace(&dir, MARK, &text, Ownership { mode: 0o600, ids: (0, 0) })?;
    }
    let name = number.to_string();
    // A kernel that joins gets what the others have.
    let bound = entries::status(&dir, &c_name(name.as_ref())?).is_ok_and(|status| status.mount_root);
    if bound {
        return Ok(());
    }
    let source = Source::take(handle, Api::of_kernel())?;
    if source.is_dir()? {
        dir.ensure_dir(&name, 0o700)?;
    } else if dir.stat(&name)?.is_none() {
        create_file(&dir, &name, 0o600)?;
    }
    source.attach(&Spot::open(&dir, name.as_ref())?)?;
    let spot = Spot::open(&dir, name.as_ref())?;
    mount::restrict(&spot, read_only)?;
    mount::seclude(&spot)
}

/// Takes the places of a session away, if they are those of the session that is meant. An engine that has them mounted
/// keeps its own mounts.
pub fn release(session: &str, id: Uuid) -> Result<()> {
    let Some(places) = open()? else { return Ok(()) };
    let dir = match places.open_dir(session) {
        Ok(dir) => dir,
        Err(e) if e.errno() == Some(nix::libc::ENOENT) => return Ok(()),
        Err(e) => return Err(e),
    };
    // Without a mark nothing has been bound: a run was cut off before or after.
    if read_mark_in(&dir)?.is_some_and(|mark| mark.session != id) {
        return Ok(());
    }
    // The mark goes last: what is left of a run that was cut off is still known.
    for name in dir.names()?.into_iter().filter(|name| name != MARK) {
        mount::detach(&dir.join(&name))?;
        let is_dir = dir.stat(&name)?.is_some_and(|s| s.st_mode & nix::libc::S_IFMT == nix::libc::S_IFDIR);
        if is_dir {
            dir.remove_dir(&name)?
        } else {
            dir.remove_file(&name)?
        };
    }
    dir.remove_file(MARK)?;
    places.remove_dir(session)?;
    Ok(())
}

fn open() -> Result<Option<Dir>> {
    match Dir::open(Path::new(PLACES)) {
        Ok(dir) => Ok(Some(dir)),
        // Whoever is not root has none.
        Err(e) if matches!(e.errno(), Some(nix::libc::ENOENT | nix::libc::EACCES)) => Ok(None),
        Err(e) => Err(e),
    }
}

fn read_mark(places: &Dir, session: &str) -> Result<Option<Mark>> {
    let dir = match places.open_dir(session) {
        Ok(dir) => dir,
        Err(e) if e.errno() == Some(nix::libc::ENOENT) => return Ok(None),
        Err(e) => return Err(e),
    };
    read_mark_in(&dir)
}

fn read_mark_in(dir: &Dir) -> Result<Option<Mark>> {
    let text = files::read(dir, MARK, MOST_BYTES)?;
    Ok(text.and_then(|text| serde_json::from_slice(&text).ok()))
}
