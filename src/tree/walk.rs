//! The walk that removing and measuring share: threads that take directories from a stack, bounded in memory and
//! descriptors whatever the shape of the tree.

use std::ffi::CStr;
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::Progress;
use super::node::{Handles, Node, is_in_place};
use super::pool::Pool;
use crate::host::entries::{self, Block, Entry, Hint, Identity, Status};

/// What is done with the directories of a walk. The methods are called from several threads.
pub(super) trait Visit: Sync {
    /// What is kept about every directory that waits.
    type Data: Send + Sync;
    /// What every thread keeps for itself.
    type Worker: Default;

    /// What to keep about the directory `name`, met in `parent`.
    fn met(&self, parent: &Node<Self::Data>, name: &CStr) -> Self::Data;
    /// A directory was opened for the first time. False: leave its entries alone.
    fn enter(
        &self,
        walk: &Walk<'_, Self>,
        worker: &mut Self::Worker,
        handle: &OwnedFd,
        at: At<'_, Self>,
        status: &Status,
    ) -> bool;
    /// What was met as a directory cannot be opened as one.
    fn refused(&self, walk: &Walk<'_, Self>, worker: &mut Self::Worker, at: At<'_, Self>, error: io::Error);
    /// An opened directory cannot be read, or (`ENOENT`, `ESTALE`, ...) is no longer where it was.
    fn lost(
        &self,
        walk: &Walk<'_, Self>,
        worker: &mut Self::Worker,
        node: &Node<Self::Data>,
        error: io::Error,
    );
    /// An entry that did not look like a directory. True: it is one.
    fn entry(
        &self,
        walk: &Walk<'_, Self>,
        worker: &mut Self::Worker,
        node: &Node<Self::Data>,
        dir: &OwnedFd,
        entry: &Entry<'_>,
    ) -> bool;
    /// The entries of one block are dealt with.
    fn block_done(&self, walk: &Walk<'_, Self>, worker: &mut Self::Worker, node: &Node<Self::Data>);
    /// A directory and all below it is dealt with. True: not yet, look at the name again.
    fn leave(
        &self,
        walk: &Walk<'_, Self>,
        worker: &mut Self::Worker,
        node: &Node<Self::Data>,
        parent: &Node<Self::Data>,
    ) -> bool;
    /// This thread has nothing more to do.
    fn end(&self, walk: &Walk<'_, Self>, worker: Self::Worker);
}

/// A directory by its name in an open one.
pub(super) struct At<'a, V: Visit + ?Sized> {
    pub(super) node: &'a Node<V::Data>,
    pub(super) parent: &'a Node<V::Data>,
    pub(super) parent_handle: &'a OwnedFd,
}

/// How many threads walk.
#[derive(Clone, Copy)]
pub(super) struct Crew {
    /// 0: the number of cores, at most 8.
    pub(super) threads: usize,
    /// Several threads may deal with the entries of one directory.
    pub(super) share: bool,
}

/// A walk under way.
pub(super) struct Walk<'a, V: Visit + ?Sized> {
    pub(super) handles: Handles,
    /// How many handles of each tree are kept.
    pub(super) kept: usize,
    path: PathBuf,
    threads: usize,
    share: bool,
    pool: Pool<Arc<Node<V::Data>>>,
    serial: AtomicU64,
    waiting: AtomicUsize,
    progress: &'a dyn Progress,
}

/// Room for about 2,000 entries with short names.
const BLOCK: usize = 64 * 1024;
/// Beyond so many known directories (about 150 bytes each), only one more is taken from a block at a time.
const KNOWN: usize = 100_000;
/// Descriptors that the rest of the process may have open.
const OTHERS: usize = 32;
/// Descriptors that one thread has in its hands, of each tree, beside the kept ones.
const IN_HAND: usize = 4;
/// How often a thread looks further up than one level whether it still is in the tree, and how far.
const LOOK_UP: Duration = Duration::from_millis(2);
const LEVELS: usize = 16;

struct Scratch {
    block: Block,
    order: Vec<(u64, usize)>,
    looked_up: Option<Instant>,
}

impl<'a, V: Visit + ?Sized> Walk<'a, V> {
    /// A walk that begins in `root`; `path` is for messages.
    pub(super) fn new(root: OwnedFd, path: PathBuf, crew: Crew, progress: &'a dyn Progress) -> Self {
        Walk::of_several(1, root, path, crew, progress)
    }

    /// The same, when there are so many `trees` with handles like those of the walk, its own among them.
    pub(super) fn of_several(
        trees: usize,
        root: OwnedFd,
        path: PathBuf,
        crew: Crew,
        progress: &'a dyn Progress,
    ) -> Self {
        let cores = || std::thread::available_parallelism().map_or(1, |n| n.get().min(8));
        let spare = (entries::descriptor_limit().saturating_sub(OTHERS) / trees).max(2 * IN_HAND);
        let threads = if crew.threads == 0 { cores() } else { crew.threads }.clamp(1, spare / (2 * IN_HAND));
        let kept = (spare - threads * IN_HAND).min(128);
        Walk {
            handles: Handles::new(root, kept),
            kept,
            path,
            threads,
            share: crew.share,
            pool: Pool::new(threads),
            serial: AtomicU64::new(1),
            waiting: AtomicUsize::new(0),
            progress,
        }
    }

    /// The node of the directory that the walk begins in.
    pub(super) fn root(&self, identity: Identity, data: V::Data) -> Arc<Node<V::Data>> {
        let root = Node::new(None, c"", 0, data);
        let _ = root.identity.set(identity);
        Arc::new(root)
    }

    /// A directory met in `parent`. The caller has counted it in the parent's `pending`.
    pub(super) fn child(
        &self,
        parent: &Arc<Node<V::Data>>,
        name: &CStr,
        data: V::Data,
    ) -> Arc<Node<V::Data>> {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        Arc::new(Node::new(Some(parent), name, self.serial.fetch_add(1, Ordering::Relaxed), data))
    }

    /// The path of a directory, for messages.
    pub(super) fn path(&self, node: &Node<V::Data>) -> PathBuf {
        self.path.join(node.below())
    }

    /// Tells that so much more is done.
    pub(super) fn add(&self, entries: u64, bytes: u64) {
        self.progress.add(entries, bytes);
    }

    /// True when the work is to end at once.
    pub(super) fn stopped(&self) -> bool {
        if self.progress.stopped() {
            self.pool.stop();
        }
        self.pool.is_stopped()
    }

    /// Ends the work at once.
    pub(super) fn stop(&self) {
        self.pool.stop();
    }

    /// Walks from `first` on. True when all was dealt with, false when it was stopped.
    pub(super) fn run(&self, visit: &V, first: Arc<Node<V::Data>>) -> bool {
        self.pool.push([first]);
        let work = || {
            let mut worker = V::Worker::default();
            let mut scratch = Scratch { block: Block::new(BLOCK), order: Vec::new(), looked_up: None };
            while let Some(node) = self.pool.next() {
                if self.stopped() {
                    break;
                }
                self.job(visit, &mut worker, &mut scratch, node);
            }
            visit.end(self, worker);
        };
        std::thread::scope(|scope| {
            for _ in 1..self.threads {
                if std::thread::Builder::new().spawn_scoped(scope, work).is_err() {
                    self.pool.one_worker_less();
                }
            }
            work();
        });
        !self.pool.is_stopped()
    }

    /// Reads one block of a directory and deals with its entries; the rest of the directory and the directories
    /// in it go back to the pool, for any thread.
    fn job(&self, visit: &V, worker: &mut V::Worker, scratch: &mut Scratch, node: Arc<Node<V::Data>>) {
        let opened = match node.identity.get() {
            Some(_) => self.handles.get(&node).map_err(Some),
            None => self.open_first(visit, worker, &node),
        };
        let read = opened.and_then(|handle| {
            self.look_up(scratch, &node, &handle)?;
            scratch.block.read(&handle, node.next.load(Ordering::Relaxed))?;
            Ok(handle)
        });
        let handle = match read {
            Ok(handle) => handle,
            Err(error) => {
                if let Some(error) = error {
                    visit.lost(self, worker, &node, error);
                }
                return self.release(visit, worker, node, None);
            }
        };
        let mut jobs = self.sort(visit, scratch, &node);
        if self.share {
            self.pool.push(jobs.drain(..));
        }
        // In the order of inode numbers, which is about the order on the disk.
        scratch.order.sort_unstable();
        for (done, &(_, position)) in scratch.order.iter().enumerate() {
            if done % 32 == 31 && self.stopped() {
                break;
            }
            let Some(entry) = scratch.block.at(position) else { continue };
            if visit.entry(self, worker, &node, &handle, &entry) {
                node.pending.fetch_add(1, Ordering::Relaxed);
                self.pool.push([self.child(&node, entry.name, visit.met(&node, entry.name))]);
            }
        }
        self.pool.push(jobs);
        visit.block_done(self, worker, &node);
        self.release(visit, worker, node, Some(handle));
    }

    /// Puts the entries of the block that are no directories into `order`, and returns the rest of the directory,
    /// if any, and the directories. The rest comes first: it is taken last, which keeps the pool small.
    fn sort(&self, visit: &V, scratch: &mut Scratch, node: &Arc<Node<V::Data>>) -> Vec<Arc<Node<V::Data>>> {
        let Scratch { block, order, .. } = scratch;
        let few = self.waiting.load(Ordering::Relaxed) > KNOWN;
        order.clear();
        let mut jobs = Vec::new();
        if !block.is_last() {
            jobs.push(Arc::clone(node));
        }
        for (position, entry) in block.entries() {
            node.next.store(entry.next, Ordering::Relaxed);
            if entry.hint != Hint::Directory {
                order.push((entry.inode, position));
                continue;
            }
            jobs.push(self.child(node, entry.name, visit.met(node, entry.name)));
            if few {
                if block.is_last() {
                    jobs.insert(0, Arc::clone(node));
                }
                break;
            }
        }
        node.pending.fetch_add(jobs.len(), Ordering::Relaxed);
        jobs
    }

    /// Opens a directory by the name it was met by. `Err(None)`: the visitor knows, and it is not to be read.
    fn open_first(
        &self,
        visit: &V,
        worker: &mut V::Worker,
        node: &Arc<Node<V::Data>>,
    ) -> Result<Arc<OwnedFd>, Option<io::Error>> {
        let Some(parent) = &node.parent else { return Ok(self.handles.get(node)?) };
        let parent_handle = self.handles.get(parent)?;
        let at = At { node, parent, parent_handle: &parent_handle };
        let opened = self.handles.open(&parent_handle, &node.name);
        let (handle, status) =
            match opened.and_then(|fd| entries::status(&fd, c"").map(|status| (fd, status))) {
                Ok((fd, status)) => (Arc::new(fd), status),
                Err(error) => {
                    visit.refused(self, worker, at, error);
                    return Err(None);
                }
            };
        let _ = node.identity.set(status.identity);
        if !visit.enter(self, worker, &handle, at, &status) {
            return Err(None);
        }
        self.handles.keep(node, &handle);
        Ok(handle)
    }

    /// `ESTALE` when the directory, or from time to time: one further up, was moved.
    fn look_up(&self, scratch: &mut Scratch, node: &Node<V::Data>, handle: &OwnedFd) -> io::Result<()> {
        let due = scratch.looked_up.is_none_or(|last| last.elapsed() > LOOK_UP);
        if !is_in_place(node, handle, if due { LEVELS } else { 1 })? {
            // The directories below a moved one come next: look again for each.
            scratch.looked_up = None;
            return Err(io::Error::from_raw_os_error(nix::libc::ESTALE));
        }
        if due {
            scratch.looked_up = Some(Instant::now());
        }
        Ok(())
    }

    /// One thing less keeps the directory from being dealt with; with the last one it is left, and its parents if
    /// nothing keeps them either.
    fn release(
        &self,
        visit: &V,
        worker: &mut V::Worker,
        mut node: Arc<Node<V::Data>>,
        mut handle: Option<Arc<OwnedFd>>,
    ) {
        while node.pending.fetch_sub(1, Ordering::AcqRel) == 1 && !self.stopped() {
            let Some(parent) = node.parent.clone() else { return };
            let handle_of_node = handle.take().or_else(|| self.handles.kept(&node));
            if let Some(handle) = handle_of_node {
                self.handles.ascend(&handle, &parent);
            }
            self.handles.forget(&node);
            if visit.leave(self, worker, &node, &parent) {
                self.pool.push([self.child(&parent, &node.name, visit.met(&node, &node.name))]);
                self.waiting.fetch_sub(1, Ordering::Relaxed);
                return;
            }
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            node = parent;
        }
    }
}
