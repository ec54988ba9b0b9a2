//! Removes a tree: many threads, few calls a file, nothing outside it.

use std::ffi::{CStr, OsStr};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};

use nix::libc;

use super::Progress;
use super::failures::Failures;
use super::node::Node;
use super::walk::{At, Crew, Visit, Walk};
use crate::host::dir::{Dir, c_name};
use crate::host::entries::{self, Entry, Filesystem, Status};
use crate::host::{self, Error};

/// Removes one subvolume: entry `name` of `parent`. Given by drivers whose trees may hold nested subvolumes.
pub type RemoveSubvolume<'a> = &'a (dyn Fn(&Dir, &OsStr) -> host::Result<()> + Sync);

/// How to remove.
#[derive(Clone, Copy, Default)]
pub struct RemoveOptions<'a> {
    /// Removes the btrfs subvolumes that are met; without it they are emptied and removed like directories.
    pub subvolume: Option<RemoveSubvolume<'a>>,
    /// How many threads; 0: what the filesystem bears, at most the number of cores and 8.
    pub threads: usize,
}

/// What was removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Removed {
    /// Files, links, directories and subvolumes; a subvolume that `RemoveOptions::subvolume` took counts as one.
    pub entries: u64,
}

/// Removes the entry `name` of `parent`, file or directory, and all below it. Nothing there: `Ok`.
///
/// Goes on after what cannot be removed (an immutable file, a mount point: `EBUSY`) and returns the first failure,
/// with the number of the others. `Error::Interrupted` when `progress` says stop; the rest is still there, and
/// another call goes on with it. Links are not followed and mounts not entered. A directory that is moved out of the
/// tree meanwhile is left alone as soon as that is seen; one that is filled meanwhile is tried again, from the
/// third time on with root as its owner, and in the end given up (`ENOTEMPTY`).
pub fn remove(
    parent: &Dir,
    name: &OsStr,
    options: &RemoveOptions<'_>,
    progress: &dyn Progress,
) -> host::Result<Removed> {
    let path = |e| Error::path("remove", parent.join(name), e);
    // A walk begins in a directory and takes its entries by their names: a path would lead it elsewhere.
    if name.is_empty() || name == "." || name == ".." || name.as_bytes().contains(&b'/') {
        return Err(path(io::Error::from_raw_os_error(libc::EINVAL)));
    }
    let c_name = c_name(name)?;
    let identity = entries::status(parent, c"").map_err(path)?.identity;
    let root = parent.try_clone()?.into_fd();
    let walk = Walk::new(root, parent.path().to_owned(), crew(parent, options.threads), progress);
    let remover = Remover {
        subvolume: options.subvolume,
        removed: AtomicU64::new(0),
        failures: Failures::new("removed"),
    };
    let root = walk.root(identity, State::default());
    // The root itself is never left: only what is in it.
    root.pending.fetch_add(1, Ordering::Relaxed);
    let finished = walk.run(&remover, walk.child(&root, &c_name, State::default()));
    if !finished {
        return Err(Error::Interrupted);
    }
    remover.failures.or(Removed { entries: remover.removed.into_inner() })
}

/// Measured with 100,000 files: ext4 frees inodes outside the directory's lock, so that two threads are of use even
/// in one directory; on XFS they hinder each other there, on btrfs everywhere.
fn crew(parent: &Dir, threads: usize) -> Crew {
    let filesystem = entries::filesystem(parent);
    let threads = if threads == 0 && filesystem == Filesystem::Btrfs { 1 } else { threads };
    Crew { threads, share: filesystem == Filesystem::Ext }
}

/// How often a directory that did not get empty is tried again.
const ROUNDS: u8 = 16;
/// From which round on nobody else may make entries in it.
const SEIZE: u8 = 2;

/// What is kept about a directory.
#[derive(Default)]
struct State {
    /// Something in it could not be removed: it stays.
    stuck: AtomicBool,
    /// It is no longer where it was met: whatever has its name is somebody else's.
    moved: AtomicBool,
    /// How often it, or one above it, did not get empty. Inherited, so that a tree whose every level is being
    /// filled does not multiply the rounds.
    rounds: AtomicU8,
}

struct Remover<'a> {
    subvolume: Option<RemoveSubvolume<'a>>,
    removed: AtomicU64,
    failures: Failures,
}

/// Entries that were removed and not yet told of.
#[derive(Default)]
struct Untold(u64);

type Remove<'w, 'r> = Walk<'w, Remover<'r>>;

impl Remover<'_> {
    fn fail(&self, node: &Node<State>, error: impl FnOnce() -> Error) {
        node.data.stuck.store(true, Ordering::Relaxed);
        self.failures.add(error);
    }

    fn tell(&self, walk: &Remove<'_, '_>, untold: &mut Untold) {
        let entries = std::mem::take(&mut untold.0);
        if entries > 0 {
            self.removed.fetch_add(entries, Ordering::Relaxed);
            walk.add(entries, 0);
        }
    }
}

impl Visit for Remover<'_> {
    type Data = State;
    type Worker = Untold;

    fn met(&self, parent: &Node<State>, _name: &CStr) -> State {
        State { rounds: AtomicU8::new(parent.data.rounds.load(Ordering::Relaxed)), ..State::default() }
    }

    fn enter(
        &self,
        walk: &Walk<'_, Self>,
        untold: &mut Untold,
        handle: &OwnedFd,
        at: At<'_, Self>,
        status: &Status,
    ) -> bool {
        let outside = at.parent.identity.get().map_or(0, |parent| parent.device);
        if let Some(remove) = self.subvolume
            && entries::is_subvolume(handle, &status.identity, outside)
        {
            let name = OsStr::from_bytes(at.node.name.to_bytes());
            let removed = match at.parent_handle.try_clone() {
                Ok(fd) => remove(&Dir::from_fd(fd, walk.path(at.parent)), name),
                Err(e) => Err(failure(walk.path(at.node), e)),
            };
            match removed {
                Ok(()) => untold.0 += 1,
                Err(e) if e.errno() == Some(libc::ENOENT) => {}
                Err(e) => self.fail(at.node, || e),
            }
            return false;
        }
        if at.node.data.rounds.load(Ordering::Relaxed) >= SEIZE {
            // Where that is not possible (a root that is squashed), the rounds end it.
            let _ = entries::seize(handle);
        }
        true
    }

    fn refused(&self, walk: &Walk<'_, Self>, untold: &mut Untold, at: At<'_, Self>, error: io::Error) {
        let removed = match error.raw_os_error() {
            Some(libc::ENOENT) => return,
            Some(libc::ENOTDIR | libc::ELOOP) => entries::remove_file(at.parent_handle, &at.node.name),
            Some(libc::EXDEV) => Err(io::Error::from_raw_os_error(libc::EBUSY)),
            // What cannot be opened may still be empty.
            _ => entries::remove_directory(at.parent_handle, &at.node.name).map_err(|_| error),
        };
        match removed {
            Ok(()) => untold.0 += 1,
            // A directory again: leaving it notices.
            Err(e) if matches!(e.raw_os_error(), Some(libc::ENOENT | libc::EISDIR)) => {}
            Err(e) => self.fail(at.node, || failure(walk.path(at.node), e)),
        }
    }

    fn lost(&self, walk: &Walk<'_, Self>, _untold: &mut Untold, node: &Node<State>, error: io::Error) {
        match error.raw_os_error() {
            Some(libc::ENOENT | libc::ENOTDIR | libc::ELOOP | libc::ESTALE) => {
                node.data.moved.store(true, Ordering::Relaxed);
            }
            _ => self.fail(node, || failure(walk.path(node), error)),
        }
    }

    fn entry(
        &self,
        walk: &Walk<'_, Self>,
        untold: &mut Untold,
        node: &Node<State>,
        dir: &OwnedFd,
        entry: &Entry<'_>,
    ) -> bool {
        match entries::remove_file(dir, entry.name) {
            Ok(()) => untold.0 += 1,
            Err(e) => match e.raw_os_error() {
                Some(libc::ENOENT) => {}
                Some(libc::EISDIR) => return true,
                _ => {
                    let path = || walk.path(node).join(OsStr::from_bytes(entry.name.to_bytes()));
                    self.fail(node, || failure(path(), e));
                }
            },
        }
        if untold.0 >= 256 {
            self.tell(walk, untold);
        }
        false
    }

    fn block_done(&self, walk: &Walk<'_, Self>, untold: &mut Untold, _node: &Node<State>) {
        self.tell(walk, untold);
    }

    fn leave(
        &self,
        walk: &Walk<'_, Self>,
        untold: &mut Untold,
        node: &Node<State>,
        parent: &Node<State>,
    ) -> bool {
        if node.data.stuck.load(Ordering::Relaxed) {
            parent.data.stuck.store(true, Ordering::Relaxed);
            return false;
        }
        // Should something have its name: the parent does not get empty, and is looked at again.
        if node.data.moved.load(Ordering::Relaxed) && parent.parent.is_some() {
            return false;
        }
        // A parent that cannot be reached was moved: the same holds one level up.
        let Ok(handle) = walk.handles.get(parent) else { return false };
        let error = match entries::remove_directory(&handle, &node.name) {
            Ok(()) => {
                untold.0 += 1;
                return false;
            }
            Err(e) => e,
        };
        match error.raw_os_error() {
            Some(libc::ENOENT) => return false,
            // Filled, or replaced, meanwhile.
            Some(libc::ENOTEMPTY | libc::EEXIST | libc::ENOTDIR)
                if node.data.rounds.fetch_add(1, Ordering::Relaxed) < ROUNDS =>
            {
                return true;
            }
            _ => {}
        }
        self.fail(node, || failure(walk.path(node), error));
        parent.data.stuck.store(true, Ordering::Relaxed);
        false
    }

    fn end(&self, walk: &Walk<'_, Self>, mut untold: Untold) {
        self.tell(walk, &mut untold);
    }
}

fn failure(path: PathBuf, error: io::Error) -> Error {
    let action = match error.raw_os_error() {
        Some(libc::EBUSY) => "remove the mount point",
        _ => "remove",
    };
    Error::path(action, path, error)
}
