//! Copies a tree that its owner may change meanwhile, as `cp -a` does, into a directory that only root can reach.
//!
//! The source is walked by handles like everywhere here. The directories of the target are nodes of a tree of their
//! own, whose handles are kept and had again in the same way.

mod attributes;
mod data;
mod directory;
mod entry;
mod links;
mod report;

use std::ffi::{CStr, OsStr};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use nix::libc;

use super::Progress;
use super::failures::Failures;
use super::node::{Handles, Node};
use super::walk::{At, Crew, Visit, Walk};
use crate::host::dir::Dir;
use crate::host::entries::{self, Entry, Hint, Identity, Status};
use crate::host::{self, Error, copying, nodev};
use attributes::Buffers;
use data::Means;
use directory::Made;
use links::Links;
pub use report::Copied;

/// How to copy.
#[derive(Clone, Copy, Debug, Default)]
pub struct CopyOptions {
    /// How many threads; 0: the number of cores, at most 8.
    pub threads: usize,
    /// The copy may share data with the source (reflinks). Whoever pays for the source then pays for the copy: not
    /// where the owner changes.
    pub share: bool,
    /// For a copy that is another owner's: the setuid and setgid bits of regular files and their capabilities
    /// (`security.capability`) are left out, and block and character devices are not made. Directories keep setgid.
    pub strip: bool,
}

/// Copies what is in `from`, with its own owner, mode, times and attributes, into the directory `to`, which exists
/// and which only root may reach; `to` itself is root's alone (0700) until all is done. Times of access in `from` are left alone.
///
/// Equal to `cp -a`: holes, hard links within the tree, links, special files, owners, modes, times and extended
/// attributes (but `ceph.*`, which Ceph computes) are kept; flags (`chattr`) are not. btrfs subvolumes are copied as
/// directories, mounts inside are failures (`EXDEV`).
///
/// What `to` holds of an earlier run is kept when it is of the same kind and, for a regular file, when it has the same
/// length and time of modification (which is set when all data is there) and nothing of the source changed since the
/// copy of it was begun: the source's ctime, which nobody can set, lies before the copy's birth (where the
/// filesystem keeps no birth, length and time decide alone). So another file by the same name, of equal length and time, is copied again.
/// That holds as far as the clocks of both filesystems agree; a ctime in the future tells nothing. Anything else is
/// replaced, and what `from` does not have is removed. So a copy that was ended goes on when it is called again. At
/// the end all is on the disk.
///
/// Goes on after what cannot be copied, and returns the first failure with the number of the others. Ends at once
/// when the target is full (`ENOSPC`, `EDQUOT`), and with `Error::Interrupted` when `progress` says stop. What is
/// removed meanwhile is counted, what is changed meanwhile is copied as it is found, and both are noted.
pub fn copy(from: &Dir, to: &Dir, options: &CopyOptions, progress: &dyn Progress) -> host::Result<Copied> {
    let quiet = nodev::without_devices(from);
    let (status, source) = match &quiet {
        Some(tree) => opened(tree, from, "copy")?,
        None => opened(from, from, "copy")?,
    };
    let (target_status, target) = opened(to, to, "write")?;
    let crew = Crew { threads: options.threads, share: true };
    let walk = Walk::of_several(2, source, from.path().to_owned(), crew, progress);
    let copier = Copier {
        target: Handles::new(target, walk.kept),
        path: to.path().to_owned(),
        top: target_status.identity,
        umask: copying::umask(),
        quiet: quiet.is_some(),
        strip: options.strip,
        means: Means::new(options.share),
        links: Links::new(),
        copied: Mutex::new(Copied::default()),
        failures: Failures::new("copied"),
        end: OnceLock::new(),
    };
    let root = walk.root(status.identity, OnceLock::new());
    let mut worker = Worker::default();
    copier.begin(&walk, &mut worker, &root, &status);
    let finished = walk.run(&copier, Arc::clone(&root));
    if finished {
        copier.complete(&walk, &mut worker, &root, &status);
    }
    copier.end(&walk, worker);
    let stopped = walk.stopped();
    if let Some(error) = copier.end.into_inner() {
        return Err(error);
    }
    if stopped {
        return Err(Error::Interrupted);
    }
    let copied = copier.copied.into_inner().unwrap_or_else(PoisonError::into_inner);
    let copied = copier.failures.or(copied)?;
    to.sync_filesystem()?;
    Ok(copied)
}

/// A handle for reading the directory that `handle` stands for; `dir` has its path.
fn opened(handle: impl AsFd, dir: &Dir, action: &'static str) -> host::Result<(Status, OwnedFd)> {
    let opened = entries::reopen(handle).and_then(|root| Ok((entries::status(&root, c"")?, root)));
    opened.map_err(|e| Error::path(action, dir.path(), e))
}

/// A directory of the target.
type Place = Node<Made>;
/// What is kept about a directory of the source: where it is copied to, once that is known.
type Target = OnceLock<Arc<Place>>;

/// A directory of the target that is open.
#[derive(Clone)]
struct Here {
    place: Arc<Place>,
    handle: Arc<OwnedFd>,
}

/// What keeps something from being copied.
enum Trouble {
    /// A call on the source.
    Source(io::Error),
    /// A call on the target.
    Target(io::Error),
    /// Something with a path of its own.
    Whole(Error),
    /// The work is to end.
    Stopped,
}

struct Copier {
    target: Handles,
    path: PathBuf,
    /// The directory that is copied into.
    top: Identity,
    umask: u32,
    /// No device can be opened in the source.
    quiet: bool,
    /// See `CopyOptions`.
    strip: bool,
    means: Means,
    links: Links,
    copied: Mutex<Copied>,
    failures: Failures,
    /// Why the copy ends before its time.
    end: OnceLock<Error>,
}

/// What every thread keeps for itself.
#[derive(Default)]
struct Worker {
    /// The directory of the target that was used last.
    here: Option<Here>,
    buffers: Buffers,
    copied: Copied,
    untold: Untold,
}

/// Entries and bytes that were copied and not yet told of.
#[derive(Default)]
struct Untold {
    entries: u64,
    bytes: u64,
}

type Copy<'w> = Walk<'w, Copier>;

impl Untold {
    fn tell(&mut self, walk: &Copy<'_>) {
        let Untold { entries, bytes } = std::mem::take(self);
        if (entries, bytes) != (0, 0) {
            walk.add(entries, bytes);
        }
    }

    /// Tells when it is worth it, so that a long file is seen to grow. `Stopped` when the work is to end.
    fn add_bytes(&mut self, walk: &Copy<'_>, bytes: u64) -> Result<(), Trouble> {
        self.bytes += bytes;
        if self.bytes >= 4 << 20 {
            self.tell(walk);
        }
        if walk.stopped() { Err(Trouble::Stopped) } else { Ok(()) }
    }

    fn add_entry(&mut self, walk: &Copy<'_>) {
        self.entries += 1;
        if self.entries >= 256 {
            self.tell(walk);
        }
    }
}

impl Copier {
    /// The target of a directory that was entered.
    fn here(&self, worker: &mut Worker, node: &Node<Target>) -> Result<Here, Trouble> {
        let stale = || Trouble::Target(io::Error::from_raw_os_error(libc::ESTALE));
        let place = node.data.get().ok_or_else(stale)?;
        if let Some(here) = worker.here.as_ref().filter(|here| Arc::ptr_eq(&here.place, place)) {
            return Ok(here.clone());
        }
        let handle = self.target.get(place).map_err(Trouble::Target)?;
        let here = Here { place: Arc::clone(place), handle };
        worker.here = Some(here.clone());
        Ok(here)
    }

    /// Sorts out what went wrong with the entry `name` of a directory, or with the directory itself.
    fn trouble(
        &self,
        walk: &Copy<'_>,
        worker: &mut Worker,
        node: &Node<Target>,
        name: Option<&CStr>,
        trouble: Trouble,
    ) {
        let of_entry = |dir: PathBuf| match name {
            Some(name) => dir.join(OsStr::from_bytes(name.to_bytes())),
            None => dir,
        };
        let target = |e| Error::path("write", of_entry(self.path.join(node.below())), e);
        match trouble {
            Trouble::Stopped | Trouble::Whole(Error::Interrupted) => walk.stop(),
            Trouble::Target(e) if is_full(e.raw_os_error()) => self.give_up(walk, target(e)),
            Trouble::Whole(e) if is_full(e.errno()) => self.give_up(walk, e),
            Trouble::Target(e) => self.failures.add(|| target(e)),
            Trouble::Whole(e) => self.failures.add(|| e),
            Trouble::Source(e) => match e.raw_os_error() {
                Some(libc::ENOENT | libc::ESTALE | libc::ENOTDIR | libc::ELOOP) => {
                    worker.copied.vanish(|| of_entry(node.below()));
                }
                number => self.failures.add(|| {
                    let mount = number == Some(libc::EXDEV);
                    let action = if mount { "copy the mount point" } else { "copy" };
                    Error::path(action, of_entry(walk.path(node)), e)
                }),
            },
        }
    }

    fn give_up(&self, walk: &Copy<'_>, error: Error) {
        let _ = self.end.set(error);
        walk.stop();
    }
}

fn is_full(number: Option<i32>) -> bool {
    matches!(number, Some(libc::ENOSPC | libc::EDQUOT))
}

impl Visit for Copier {
    type Data = Target;
    type Worker = Worker;

    fn met(&self, _parent: &Node<Target>, _name: &CStr) -> Target {
        OnceLock::new()
    }

    fn enter(
        &self,
        walk: &Copy<'_>,
        worker: &mut Worker,
        handle: &OwnedFd,
        at: At<'_, Self>,
        status: &Status,
    ) -> bool {
        let made = self.make_directory(walk, worker, &at, status);
        let made = made.and_then(|here| self.furnish(walk, worker, at.node, handle, &here, status));
        if let Err(trouble) = made {
            self.trouble(walk, worker, at.node, None, trouble);
        }
        // What is in it can be copied even where not all of its own could be.
        at.node.data.get().is_some() && !walk.stopped()
    }

    fn refused(&self, walk: &Copy<'_>, worker: &mut Worker, at: At<'_, Self>, error: io::Error) {
        match error.raw_os_error() {
            // No directory any more.
            Some(libc::ENOTDIR | libc::ELOOP) => {
                let entry = Entry { inode: 0, next: 0, hint: Hint::Unknown, name: &at.node.name };
                if self.copy_entry(walk, worker, at.parent, at.parent_handle, &entry) {
                    worker.copied.vanish(|| at.node.below());
                }
            }
            _ => self.trouble(walk, worker, at.node, None, Trouble::Source(error)),
        }
    }

    fn lost(&self, walk: &Copy<'_>, worker: &mut Worker, node: &Node<Target>, error: io::Error) {
        self.trouble(walk, worker, node, None, Trouble::Source(error));
    }

    fn entry(
        &self,
        walk: &Copy<'_>,
        worker: &mut Worker,
        node: &Node<Target>,
        dir: &OwnedFd,
        entry: &Entry<'_>,
    ) -> bool {
        self.copy_entry(walk, worker, node, dir, entry)
    }

    fn block_done(&self, walk: &Copy<'_>, worker: &mut Worker, _node: &Node<Target>) {
        worker.here = None;
        worker.untold.tell(walk);
    }

    fn leave(
        &self,
        walk: &Copy<'_>,
        worker: &mut Worker,
        node: &Node<Target>,
        _parent: &Node<Target>,
    ) -> bool {
        worker.here = None;
        if let Some(place) = node.data.get()
            && let Err(trouble) = self.finish(walk, worker, node, place)
        {
            self.trouble(walk, worker, node, None, trouble);
        }
        false
    }

    fn end(&self, walk: &Copy<'_>, mut worker: Worker) {
        worker.untold.tell(walk);
        let mut copied = self.copied.lock().unwrap_or_else(PoisonError::into_inner);
        copied.add(worker.copied);
    }
}
