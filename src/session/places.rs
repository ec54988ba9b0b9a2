//! Where checked handles are bound for engines that open paths by themselves, and later: between the check and the
//! engine's start a tenant could put a link into a path below a folder. `/run/vfadm/mounts/SESSION/N` is root's alone,
//! and is the object that was checked whatever its old path has become. `N` is the number of the mount in the session's
//! list, from 0.
//!
//! The places of a session carry its id and that of its registry: those of another registry are left alone.

use std::ffi::{OsStr, OsString};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::sys::stat::FileStat;
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

/// A directory without a mark that is older belongs to nobody: the mark is written right after it was made.
const UNMARKED: Duration = Duration::from_secs(60);

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

/// The sessions that have places on this host; without a mark, what is left of one whose places could not be taken away
/// wholly.
pub fn all() -> Result<Vec<(String, Option<Mark>)>> {
    let Some(places) = open()? else { return Ok(Vec::new()) };
    let mut found = Vec::new();
    for name in places.names()? {
        let Some(name) = name.to_str() else { continue };
        let Some(dir) = open_session(&places, name)? else { continue };
        let mark = read_mark_in(&dir)?;
        if mark.is_some() || is_old(&dir)? {
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

/// True where the place of a mount of this session is bound.
pub fn is_bound(session: &str, mark: &Mark, number: usize) -> Result<bool> {
    let Some(places) = open()? else { return Ok(false) };
    let Some(dir) = open_session(&places, session)? else { return Ok(false) };
    Ok(read_mark_in(&dir)?.as_ref() == Some(mark) && is_bound_in(&dir, number)?)
}

fn is_bound_in(dir: &Dir, number: usize) -> Result<bool> {
    let name = c_name(number.to_string().as_ref())?;
    Ok(entries::status(dir, &name).is_ok_and(|status| status.mount_root))
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
    // A kernel that joins gets what the others have.
    if is_bound_in(&dir, number)? {
        return Ok(());
    }
    let name = number.to_string();
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

/// Takes one place of a session away, and with the last one what the session has here.
pub fn unbind(session: &str, id: Uuid, number: usize) -> Result<()> {
    let Some(places) = open()? else { return Ok(()) };
    let Some(dir) = open_session(&places, session)? else { return Ok(()) };
    if read_mark_in(&dir)?.is_some_and(|mark| mark.session != id) {
        return Ok(());
    }
    remove_place(&dir, number.to_string().as_ref())?;
    let is_place = |name: &OsString| name.to_str().is_some_and(|name| name.parse::<usize>().is_ok());
    match dir.names()?.iter().any(is_place) {
        true => Ok(()),
        false => release(session, id),
    }
}

fn remove_place(dir: &Dir, name: &OsStr) -> Result<()> {
    mount::detach(&dir.join(name))?;
    let is_dir = |stat: FileStat| stat.st_mode & nix::libc::S_IFMT == nix::libc::S_IFDIR;
    match dir.stat(name)?.is_some_and(is_dir) {
        true => dir.remove_dir(name)?,
        false => dir.remove_file(name)?,
    };
    Ok(())
}

/// Takes the places of a session away, if they are those of the session that is meant. An engine that has them mounted
/// keeps its own mounts.
pub fn release(session: &str, id: Uuid) -> Result<()> {
    let Some(places) = open()? else { return Ok(()) };
    let Some(dir) = open_session(&places, session)? else { return Ok(()) };
    // Without a mark nothing has been bound: a run was cut off before or after.
    if read_mark_in(&dir)?.is_some_and(|mark| mark.session != id) {
        return Ok(());
    }
    // The mark goes last: what is left of a run that was cut off is still known.
    for name in dir.names()?.into_iter().filter(|name| name != MARK) {
        remove_place(&dir, &name)?;
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

fn open_session(places: &Dir, session: &str) -> Result<Option<Dir>> {
    match places.open_dir(session) {
        Ok(dir) => Ok(Some(dir)),
        Err(e) if e.errno() == Some(nix::libc::ENOENT) => Ok(None),
        Err(e) => Err(e),
    }
}

/// A time that the clock has not come to yet is no age.
fn is_old(dir: &Dir) -> Result<bool> {
    let changed = Duration::from_secs(dir.stat_self()?.st_mtime.try_into().unwrap_or(0));
    Ok(SystemTime::now().duration_since(UNIX_EPOCH + changed).is_ok_and(|age| age > UNMARKED))
}

fn read_mark(places: &Dir, session: &str) -> Result<Option<Mark>> {
    let dir = open_session(places, session)?;
    Ok(dir.map(|dir| read_mark_in(&dir)).transpose()?.flatten())
}

fn read_mark_in(dir: &Dir) -> Result<Option<Mark>> {
    let text = files::read(dir, MARK, MOST_BYTES)?;
    Ok(text.and_then(|text| serde_json::from_slice(&text).ok()))
}
