//! The files with several names, so that the copy has them once.

use std::collections::HashMap;
use std::ffi::CStr;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::Place;
use crate::host::entries::Status;

/// Which files with several names were met, by device and inode number; in parts, for the threads' sake and so that
/// only one part at a time grows.
pub(super) struct Links([Part; 16]);

#[derive(Default)]
struct Part {
    known: Mutex<HashMap<(u64, u64), Link>>,
    changed: Condvar,
}

struct Link {
    /// Where it is in the copy; `None` while it is being copied.
    made: Option<(Arc<Place>, Box<CStr>)>,
    /// How many names were not met.
    left: u32,
    /// Tells it from a later file with the same number.
    mark: u32,
}

/// What is to be done with a name.
pub(super) enum Claim {
    /// The file is to be copied, and then `made` or `forget` be called.
    Copy,
    /// The file is there, in this directory and by this name: it gets one more.
    Link(Arc<Place>, Box<CStr>),
}

impl Links {
    pub(super) fn new() -> Links {
        Links(std::array::from_fn(|_| Part::default()))
    }

    /// One more name of a file. Waits while another thread copies the file; `None` when that was `stopped`.
    pub(super) fn claim(&self, file: &Status, stopped: impl Fn() -> bool) -> Option<Claim> {
        let (part, key) = (self.part(file), key(file));
        let mut known = part.lock();
        loop {
            match known.get_mut(&key) {
                Some(link) if link.is_of(file) => match &link.made {
                    Some((place, name)) => {
                        let claim = Claim::Link(Arc::clone(place), name.clone());
                        link.left = link.left.saturating_sub(1);
                        if link.left == 0 {
                            known.remove(&key);
                        }
                        return Some(claim);
                    }
                    None if stopped() => return None,
                    None => {
                        let wait = part.changed.wait_timeout(known, Duration::from_millis(100));
                        known = wait.unwrap_or_else(PoisonError::into_inner).0;
                    }
                },
                _ => {
                    let (left, mark) = (file.links.saturating_sub(1), file.identity.birth_mark());
                    known.insert(key, Link { made: None, left, mark });
                    return Some(Claim::Copy);
                }
            }
        }
    }

    /// The file was copied, or found in the copy.
    pub(super) fn made(&self, file: &Status, place: &Arc<Place>, name: &CStr) {
        let part = self.part(file);
        if let Some(link) = part.lock().get_mut(&key(file)).filter(|link| link.is_of(file)) {
            link.made = Some((Arc::clone(place), name.into()));
        }
        part.changed.notify_all();
    }

    /// The file could not be copied, or gets no more names: the next name is a file of its own.
    pub(super) fn forget(&self, file: &Status) {
        let part = self.part(file);
        let mut known = part.lock();
        if known.get(&key(file)).is_some_and(|link| link.is_of(file)) {
            known.remove(&key(file));
        }
        drop(known);
        part.changed.notify_all();
    }

    fn part(&self, file: &Status) -> &Part {
        &self.0[(file.identity.inode % self.0.len() as u64) as usize]
    }
}

impl Link {
    fn is_of(&self, file: &Status) -> bool {
        self.mark == file.identity.birth_mark()
    }
}

impl Part {
    fn lock(&self) -> MutexGuard<'_, HashMap<(u64, u64), Link>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn key(file: &Status) -> (u64, u64) {
    (file.identity.device, file.identity.inode)
}
