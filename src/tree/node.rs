//! The directories that a walk knows: how they hang together, and how a handle on one is had again.
//!
//! A tree can be deeper than there are descriptors, and its owner can move every part of it meanwhile. So only some
//! handles are kept; a lost one is opened again from the nearest ancestor whose handle is kept, or as `..` of a
//! child, and in both cases counts only when it is the directory that was met first.

use std::ffi::{CStr, OsStr};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicI64, AtomicUsize};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use nix::libc;

use crate::host::entries::{self, Identity};

/// A directory that was met, and is not yet dealt with.
pub(super) struct Node<D> {
    /// The directory that holds it; `None` for the one that the walk began with.
    pub(super) parent: Option<Arc<Node<D>>>,
    /// Its name in the parent.
    pub(super) name: Box<CStr>,
    /// A number that no other node of this walk has.
    pub(super) serial: u64,
    /// Which directory it is, once it was opened.
    pub(super) identity: OnceLock<Identity>,
    /// Where to go on reading.
    pub(super) next: AtomicI64,
    /// How many children, unread parts and blocks in work keep it from being dealt with.
    pub(super) pending: AtomicUsize,
    /// What the visitor keeps about it.
    pub(super) data: D,
}

impl<D> Node<D> {
    /// A directory that one thing keeps from being dealt with.
    pub(super) fn new(parent: Option<&Arc<Node<D>>>, name: &CStr, serial: u64, data: D) -> Node<D> {
        Node {
            parent: parent.map(Arc::clone),
            name: name.into(),
            serial,
            identity: OnceLock::new(),
            next: AtomicI64::new(0),
            pending: AtomicUsize::new(1),
            data,
        }
    }

    /// The path from the beginning of the walk, whose own name is left out.
    pub(super) fn below(&self) -> PathBuf {
        let mut names = Vec::new();
        let mut here = self;
        while let Some(parent) = &here.parent {
            names.push(OsStr::from_bytes(here.name.to_bytes()));
            here = parent;
        }
        names.into_iter().rev().collect()
    }
}

impl<D> Drop for Node<D> {
    /// Without recursion: the chain of parents can be longer than the stack would bear.
    fn drop(&mut self) {
        let mut up = self.parent.take();
        while let Some(mut node) = up.and_then(Arc::into_inner) {
            up = node.parent.take();
        }
    }
}

/// The handles that are kept open: those used last.
pub(super) struct Handles {
    root: Arc<OwnedFd>,
    kept: Mutex<Kept>,
    capacity: usize,
}

struct Kept {
    clock: u64,
    slots: Vec<Slot>,
}

struct Slot {
    serial: u64,
    used: u64,
    handle: Arc<OwnedFd>,
}

impl Handles {
    /// Keeps at most `capacity` handles, and `root`, the one that the walk began with.
    pub(super) fn new(root: OwnedFd, capacity: usize) -> Handles {
        let kept = Kept { clock: 0, slots: Vec::new() };
        Handles { root: Arc::new(root), kept: Mutex::new(kept), capacity: capacity.max(1) }
    }

    /// The handle of a directory, when it is kept.
    pub(super) fn kept<D>(&self, node: &Node<D>) -> Option<Arc<OwnedFd>> {
        if node.parent.is_none() {
            return Some(Arc::clone(&self.root));
        }
        let mut kept = self.lock();
        kept.clock += 1;
        let clock = kept.clock;
        let slot = kept.slots.iter_mut().find(|slot| slot.serial == node.serial)?;
        slot.used = clock;
        Some(Arc::clone(&slot.handle))
    }

    /// Keeps the handle of a directory in place of the one that was not used for longest.
    pub(super) fn keep<D>(&self, node: &Node<D>, handle: &Arc<OwnedFd>) {
        let mut kept = self.lock();
        kept.clock += 1;
        let slot = Slot { serial: node.serial, used: kept.clock, handle: Arc::clone(handle) };
        if let Some(same) = kept.slots.iter_mut().find(|kept| kept.serial == node.serial) {
            *same = slot;
        } else if kept.slots.len() < self.capacity {
            kept.slots.push(slot);
        } else if let Some(oldest) = kept.slots.iter_mut().min_by_key(|slot| slot.used) {
            *oldest = slot;
        }
    }

    /// Closes the handle of a directory that is dealt with.
    pub(super) fn forget<D>(&self, node: &Node<D>) {
        let mut kept = self.lock();
        if let Some(at) = kept.slots.iter().position(|slot| slot.serial == node.serial) {
            kept.slots.swap_remove(at);
        }
    }

    /// The handle of a directory that was opened before; an error when it cannot be had, `ESTALE` when another
    /// directory has its place.
    pub(super) fn get<D>(&self, node: &Node<D>) -> io::Result<Arc<OwnedFd>> {
        let mut way = Vec::new();
        let mut here = node;
        let mut handle = loop {
            if let Some(handle) = self.kept(here) {
                break handle;
            }
            way.push(here);
            match &here.parent {
                Some(parent) => here = parent,
                None => break Arc::clone(&self.root),
            }
        };
        while let Some(next) = way.pop() {
            let opened = Arc::new(self.open(&handle, &next.name)?);
            if next.identity.get() != Some(&entries::status(&opened, c"")?.identity) {
                return Err(io::Error::from_raw_os_error(libc::ESTALE));
            }
            self.keep(next, &opened);
            handle = opened;
        }
        Ok(handle)
    }

    /// Sees to it that the handle of `parent`, which holds the directory `child`, is kept, if that can be had
    /// cheaply.
    pub(super) fn ascend<D>(&self, child: &OwnedFd, parent: &Node<D>) {
        if self.kept(parent).is_some() {
            return;
        }
        let Some(identity) = parent.identity.get() else { return };
        if let Ok(Some(opened)) = self.patiently(|| entries::open_parent(child, identity)) {
            self.keep(parent, &Arc::new(opened));
        }
    }

    /// Opens a directory; waits when the process is out of descriptors.
    pub(super) fn open(&self, dir: &OwnedFd, name: &CStr) -> io::Result<OwnedFd> {
        self.patiently(|| entries::open_directory(dir, name))
    }

    /// Opens something else; waits, and closes what is kept, when the process is out of descriptors.
    pub(super) fn patiently<T>(&self, open: impl Fn() -> io::Result<T>) -> io::Result<T> {
        for _ in 0..50 {
            match open() {
                Err(e) if matches!(e.raw_os_error(), Some(libc::EMFILE | libc::ENFILE)) => {
                    self.close();
                    std::thread::sleep(Duration::from_millis(2));
                }
                other => return other,
            }
        }
        open()
    }

    /// Closes what is kept.
    pub(super) fn close(&self) {
        self.lock().slots.clear();
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// True while `dir`, opened as `node`, and its next `levels` ancestors are where they were met. Their owner may
/// move one out of the tree at any time: what is in it is no longer ours to touch.
pub(super) fn is_in_place<D>(node: &Node<D>, dir: &OwnedFd, levels: usize) -> io::Result<bool> {
    let mut up = Vec::with_capacity(3 * levels + 1);
    let mut here = node;
    for _ in 0..levels {
        let Some(parent) = &here.parent else { break };
        up.pop();
        up.extend_from_slice(if up.is_empty() { b"..\0" } else { b"/..\0" });
        let name = CStr::from_bytes_with_nul(&up).unwrap_or(c"..");
        if parent.identity.get() != Some(&entries::status(dir, name)?.identity) {
            return Ok(false);
        }
        here = parent;
    }
    Ok(true)
}
