//! The directories of the target: made when the source's are entered, finished when they are left.

use std::ffi::{CStr, OsStr};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use nix::libc;

use super::attributes::{self, DEFAULT_ACL};
use super::{Copier, Copy, Here, Place, Target, Trouble, Worker};
use crate::host::dir::Dir;
use crate::host::entries::{self, Block, Kind, Status, Time};
use crate::host::{Error, copying, xattr};
use crate::tree::Progress;
use crate::tree::node::Node;
use crate::tree::remove::{RemoveOptions, remove};
use crate::tree::walk::{At, Visit};

/// What is kept about a directory of the target until it is left.
pub(super) struct Made {
    /// It is of an earlier run.
    existed: bool,
    /// The times that it gets.
    accessed: Time,
    modified: Time,
    /// The source has an ACL for new entries, which those of the copy must not get by it.
    has_default: AtomicBool,
    /// The owner and group that new files in it have, once one was made.
    gives: OnceLock<(u32, u32)>,
}

/// What had the name in the target.
pub(super) enum Found<T> {
    /// Nothing that could stay: this was made.
    Made(T),
    /// Something that stays.
    Kept(Status),
}

impl Made {
    fn new(existed: bool, status: &Status) -> Made {
        Made {
            existed,
            accessed: status.accessed,
            modified: status.modified,
            has_default: false.into(),
            gives: OnceLock::new(),
        }
    }

    /// The owner and group that `file`, just made in the directory, has. They depend on the directory's group and mode,
    /// which stay while it is filled, and on the mount and the server: asked once.
    pub(super) fn gives(&self, file: &OwnedFd) -> io::Result<(u32, u32)> {
        match self.gives.get() {
            Some(ids) => Ok(*ids),
            None => entries::status(file, c"").map(|made| *self.gives.get_or_init(|| made.ids)),
        }
    }
}

impl Copier {
    /// Prepares the directory that is copied into. It is root's alone until all is done, so that nobody gets at what
    /// is below.
    pub(super) fn begin(&self, walk: &Copy<'_>, worker: &mut Worker, root: &Node<Target>, status: &Status) {
        let place = Arc::new(Node::new(None, c"", 0, Made::new(true, status)));
        let _ = place.identity.set(self.top);
        let _ = root.data.set(Arc::clone(&place));
        worker.copied.directories += 1;
        let prepare = || {
            let source = walk.handles.get(root).map_err(Trouble::Source)?;
            let handle = self.target.get(&place).map_err(Trouble::Target)?;
            entries::seize(&handle).map_err(Trouble::Target)?;
            match xattr::remove(&handle, DEFAULT_ACL) {
                Err(e) if e.raw_os_error() != Some(libc::EOPNOTSUPP) => return Err(Trouble::Target(e)),
                _ => {}
            }
            self.prune(walk, root, &source, &Here { place, handle })
        };
        if let Err(trouble) = prepare() {
            self.trouble(walk, worker, root, None, trouble);
        }
    }

    /// Makes the directory that was copied into what the source is.
    pub(super) fn complete(
        &self,
        walk: &Copy<'_>,
        worker: &mut Worker,
        root: &Node<Target>,
        status: &Status,
    ) {
        let described = self.here(worker, root).and_then(|here| {
            let source = walk.handles.get(root).map_err(Trouble::Source)?;
            self.describe_directory(worker, root, &source, &here, status)
        });
        if let Err(trouble) = described {
            self.trouble(walk, worker, root, None, trouble);
        }
        self.leave(walk, worker, root, root);
    }

    /// Makes a directory, or finds it from an earlier run, and opens it.
    pub(super) fn make_directory(
        &self,
        walk: &Copy<'_>,
        worker: &mut Worker,
        at: &At<'_, Copier>,
        status: &Status,
    ) -> Result<Here, Trouble> {
        if status.identity == self.top {
            let itself = io::Error::from_raw_os_error(libc::EINVAL);
            return Err(Trouble::Whole(Error::path("copy into itself", walk.path(at.node), itself)));
        }
        let name = &*at.node.name;
        let above = self.here(worker, at.parent)?;
        let keep = |there: &Status| Ok(there.kind == Kind::Directory);
        let found =
            self.put(walk, &above, at.parent, name, keep, || copying::make_directory(&above.handle, name))?;
        let existed = matches!(found, Found::Kept(_));
        match existed {
            true => worker.copied.kept += 1,
            false => worker.copied.directories += 1,
        }
        worker.untold.add_entry(walk);
        let handle = Arc::new(self.target.open(&above.handle, name).map_err(Trouble::Target)?);
        let identity = entries::status(&handle, c"").map_err(Trouble::Target)?.identity;
        let place = Arc::new(Node::new(Some(&above.place), name, at.node.serial, Made::new(existed, status)));
        let _ = place.identity.set(identity);
        self.target.keep(&place, &handle);
        let _ = at.node.data.set(Arc::clone(&place));
        let here = Here { place, handle };
        worker.here = Some(here.clone());
        Ok(here)
    }

    /// Gives a directory all but its times and its ACL for new entries; one of an earlier run loses what the source
    /// has not.
    pub(super) fn furnish(
        &self,
        walk: &Copy<'_>,
        worker: &mut Worker,
        node: &Node<Target>,
        source: &OwnedFd,
        here: &Here,
        status: &Status,
    ) -> Result<(), Trouble> {
        self.describe_directory(worker, node, source, here, status)?;
        if here.place.data.existed { self.prune(walk, node, source, here) } else { Ok(()) }
    }

    fn describe_directory(
        &self,
        worker: &mut Worker,
        node: &Node<Target>,
        source: &OwnedFd,
        here: &Here,
        status: &Status,
    ) -> Result<(), Trouble> {
        let Worker { buffers, copied, .. } = worker;
        let copy = attributes::Copy {
            source: source.as_fd(),
            target: here.handle.as_fd(),
            status,
            mode: None,
            ids: None,
            existed: here.place.data.existed,
            strip: false,
        };
        let done = attributes::copy(&copy, buffers, &mut |text| copied.note(|| node.below(), || text))?;
        here.place.data.has_default.store(done.has_default, Ordering::Relaxed);
        Ok(())
    }

    /// Removes what the source has not.
    fn prune(
        &self,
        walk: &Copy<'_>,
        node: &Node<Target>,
        source: &OwnedFd,
        here: &Here,
    ) -> Result<(), Trouble> {
        let mut block = Block::new(16 * 1024);
        let mut next = 0;
        loop {
            block.read(&here.handle, next).map_err(Trouble::Target)?;
            for (count, (_, entry)) in block.entries().enumerate() {
                next = entry.next;
                if count % 32 == 31 && walk.stopped() {
                    return Err(Trouble::Stopped);
                }
                let found = entries::status(source, entry.name);
                if found.is_err_and(|e| e.raw_os_error() == Some(libc::ENOENT)) {
                    self.clear(walk, here, node, entry.name)?;
                }
            }
            if block.is_last() {
                return Ok(());
            }
        }
    }

    /// The ACL for new entries and the times, when nothing more is made in the directory.
    pub(super) fn finish(
        &self,
        walk: &Copy<'_>,
        worker: &mut Worker,
        node: &Node<Target>,
        place: &Place,
    ) -> Result<(), Trouble> {
        let handle = self.target.get(place).map_err(Trouble::Target)?;
        let Worker { buffers, copied, .. } = worker;
        let mut acl = Ok(());
        if place.data.has_default.load(Ordering::Relaxed) {
            let note = &mut |text| copied.note(|| node.below(), || text);
            acl = walk
                .handles
                .get(node)
                .map_err(Trouble::Source)
                .and_then(|source| buffers.copy_default_acl(source.as_fd(), handle.as_fd(), note));
            walk.handles.forget(node);
        }
        let times = copying::set_times(&handle, place.data.accessed, place.data.modified);
        if let Some(parent) = &place.parent {
            self.target.ascend(&handle, parent);
        }
        self.target.forget(place);
        acl.and(times.map_err(Trouble::Target))
    }

    /// Makes something by a name of the target, in the place of what has it, unless that may stay.
    pub(super) fn put<T>(
        &self,
        walk: &Copy<'_>,
        here: &Here,
        node: &Node<Target>,
        name: &CStr,
        keep: impl Fn(&Status) -> Result<bool, Trouble>,
        make: impl Fn() -> io::Result<T>,
    ) -> Result<Found<T>, Trouble> {
        loop {
            match make() {
                Ok(made) => return Ok(Found::Made(made)),
                Err(e) if e.raw_os_error() == Some(libc::EEXIST) => {}
                Err(e) => return Err(Trouble::Target(e)),
            }
            match entries::status(&here.handle, name) {
                Ok(there) if keep(&there)? => return Ok(Found::Kept(there)),
                Ok(_) => self.clear(walk, here, node, name)?,
                Err(e) if e.raw_os_error() == Some(libc::ENOENT) => {}
                Err(e) => return Err(Trouble::Target(e)),
            }
            if walk.stopped() {
                return Err(Trouble::Stopped);
            }
        }
    }

    /// Removes an entry of the target and all below it.
    pub(super) fn clear(
        &self,
        walk: &Copy<'_>,
        here: &Here,
        node: &Node<Target>,
        name: &CStr,
    ) -> Result<(), Trouble> {
        match entries::remove_file(&here.handle, name) {
            Err(e) if e.raw_os_error() == Some(libc::EISDIR) => {}
            Err(e) if e.raw_os_error() == Some(libc::ENOENT) => return Ok(()),
            other => return other.map_err(Trouble::Target),
        }
        // Another walk needs descriptors of its own.
        self.target.close();
        walk.handles.close();
        let parent = here.handle.try_clone().map_err(Trouble::Target)?;
        let parent = Dir::from_fd(parent, self.path.join(node.below()));
        let options = RemoveOptions { subvolume: None, threads: 1 };
        let removed =
            remove(&parent, OsStr::from_bytes(name.to_bytes()), &options, &Quiet(&|| walk.stopped()));
        removed.map(drop).map_err(Trouble::Whole)
    }
}

/// What is removed is no progress of the copy, which ends all the same.
struct Quiet<'a>(&'a (dyn Fn() -> bool + Sync));

impl Progress for Quiet<'_> {
    fn add(&self, _entries: u64, _bytes: u64) {}
    fn stopped(&self) -> bool {
        (self.0)()
    }
}
