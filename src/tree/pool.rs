//! The work that is left, shared by the threads that walk a tree.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// A stack of jobs. Last in, first out keeps the walk near the leaves, and with that the stack short.
pub(super) struct Pool<T> {
    state: Mutex<State<T>>,
    changed: Condvar,
    stopped: AtomicBool,
}

struct State<T> {
    jobs: Vec<T>,
    workers: usize,
    waiting: usize,
}

impl<T> Pool<T> {
    /// A pool for so many workers, each of which calls `next` until there is no more.
    pub(super) fn new(workers: usize) -> Pool<T> {
        Pool {
            state: Mutex::new(State { jobs: Vec::new(), workers, waiting: 0 }),
            changed: Condvar::new(),
            stopped: AtomicBool::new(false),
        }
    }

    /// Adds jobs; the last one is taken first.
    pub(super) fn push(&self, jobs: impl IntoIterator<Item = T>) {
        let mut state = self.lock();
        state.jobs.extend(jobs);
        if state.waiting > 0 && !state.jobs.is_empty() {
            self.changed.notify_all();
        }
    }

    /// The next job. `None` when all workers ask for one and there is none, or after `stop`.
    pub(super) fn next(&self) -> Option<T> {
        let mut state = self.lock();
        state.waiting += 1;
        loop {
            if self.is_stopped() {
                return None;
            }
            if let Some(job) = state.jobs.pop() {
                state.waiting -= 1;
                return Some(job);
            }
            if state.waiting == state.workers {
                self.changed.notify_all();
                return None;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// One worker could not be started.
    pub(super) fn one_worker_less(&self) {
        self.lock().workers -= 1;
        self.changed.notify_all();
    }

    /// Lets every worker end; what is left is not done.
    pub(super) fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
        // Under the lock, so that no worker is between its look at the flag and its sleep.
        let _state = self.lock();
        self.changed.notify_all();
    }

    /// True after `stop`.
    pub(super) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
