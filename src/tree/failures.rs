//! What went wrong in a walk that goes on: the first failure, and how many more there were.

use std::fmt;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::host::{self, Error};

/// The failures of a walk.
pub(super) struct Failures {
    /// What was to be done with the entries: `removed`.
    done: &'static str,
    seen: Mutex<Seen>,
}

struct Seen {
    first: Option<Error>,
    more: u64,
}

impl Failures {
    /// None yet; `done` is what could not be done to an entry: `removed`.
    pub(super) fn new(done: &'static str) -> Failures {
        Failures { done, seen: Mutex::new(Seen { first: None, more: 0 }) }
    }

    /// One more. Of all but the first only the number is shown, so that `error` is not asked for: a path costs its
    /// depth.
    pub(super) fn add(&self, error: impl FnOnce() -> Error) {
        if self.lock().first.is_none() {
            let error = error();
            let mut seen = self.lock();
            if seen.first.is_none() {
                seen.first = Some(error);
                return;
            }
        }
        self.lock().more += 1;
    }

    /// The first failure, with the number of the others; or else `result`.
    pub(super) fn or<T>(self, result: T) -> host::Result<T> {
        let seen = self.seen.into_inner().unwrap_or_else(PoisonError::into_inner);
        match seen.first {
            Some(Error::Path { action, path, source }) if seen.more > 0 => {
                let kind = source.kind();
                let several = Several { first: source, more: seen.more, done: self.done };
                Err(Error::Path { action, path, source: io::Error::new(kind, several) })
            }
            Some(first) => Err(first),
            None => Ok(result),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The reason of the first failure, and how many more there were.
#[derive(Debug)]
struct Several {
    first: io::Error,
    more: u64,
    done: &'static str,
}

impl fmt::Display for Several {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Several { first, more, done } = self;
        let entries = if *more == 1 { "entry" } else { "entries" };
        write!(f, "{} (and {more} more {entries} could not be {done})", host::error::reason(first))
    }
}

impl std::error::Error for Several {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.first)
    }
}
