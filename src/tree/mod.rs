//! Copy, remove and measure trees by directory handles; a link is never followed.

pub mod copy;
pub mod each;
mod failures;
pub mod measure;
mod node;
mod pool;
pub mod remove;
mod walk;

/// Told about the work while it goes on, from several threads at once.
pub trait Progress: Sync {
    /// `entries` more files and directories, `bytes` more allocated bytes are done.
    fn add(&self, entries: u64, bytes: u64);
    /// What follows is so many entries and so many bytes, zero where that is not known; the count begins anew.
    fn expect(&self, _entries: u64, _bytes: u64) {}
    /// True once the work should stop at the next entry (a signal came).
    fn stopped(&self) -> bool;
}

/// Nobody watches.
pub struct Silent;

impl Progress for Silent {
    fn add(&self, _entries: u64, _bytes: u64) {}
    fn stopped(&self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests;
