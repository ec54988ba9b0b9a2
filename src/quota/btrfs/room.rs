//! Room in a full scope. A scope that is at its limit refuses root too (`EDQUOT`) when a subvolume is to be removed
//! from inside another one, made writable, or a directory is to be moved in a subvolume. `quota_override` of sysfs
//! would lift that, but it wants CAP_SYS_RESOURCE, which a container may lack, and it is one switch for the whole
//! filesystem. So the limit of the one scope is raised by a little while the one call is made.
//!
//! The true limit is parked in the qgroup itself (`rsv_rfer`, which the kernel stores and does not use), so that a
//! crash in between cannot lose it: who next writes the limit, or needs room, finds it there.

use std::fs::File;
use std::time::{Duration, Instant};

use nix::libc;

use crate::host::btrfs::qgroups::{Qgroups, Usage};
use crate::host::btrfs::{Limit, qgroup_limit};
use crate::host::dir::Dir;
use crate::host::lock::FileLock;
use crate::host::{Error, Result};

/// More than any one call reserves: a rename reserves 22 nodes, a node has at most 64 KiB.
const HEADROOM: u64 = 4 << 20;

/// How long to wait for somebody else who works on the limit; each holds the lock for one call.
const PATIENCE: Duration = Duration::from_secs(30);

/// A scope with a qgroup.
#[derive(Clone, Copy)]
pub struct Charged<'a> {
    /// The volume.
    pub volume: &'a Dir,
    /// The scope's directory in it.
    pub dir: &'a str,
    /// The number of its qgroup.
    pub qgroup: u64,
}

impl Charged<'_> {
    /// Writes the limit.
    pub fn set_limit(&self, limit: Option<u64>) -> Result<()> {
        let _lock = self.lock()?;
        // The largest number means no limit to the kernel.
        let enforced = limit.map(|bytes| bytes.min(u64::MAX - 1));
        qgroup_limit(self.volume, self.qgroup, Limit { enforced, parked: None })
    }

    /// The limit of a usage just read. While a call is made in a full scope it is the parked one; where a crash left
    /// the limit raised it is the raised one, for that is what holds.
    pub fn true_limit(&self, usage: &Usage) -> Option<u64> {
        match usage.limit {
            Limit { parked: Some(parked), .. } if self.is_locked() => Some(parked),
            limit => limit.enforced,
        }
    }

    /// Makes a call that must not fail because the scope is full.
    pub fn make<T>(&self, call: &mut dyn FnMut() -> Result<T>) -> Result<T> {
        match call() {
            Err(e) if e.errno() == Some(libc::EDQUOT) => {}
            other => return other,
        }
        let _lock = self.lock()?;
        let Some(usage) = Qgroups::of(self.volume)?.usage(self.qgroup)? else { return call() };
        let Some(limit) = usage.limit.parked.or(usage.limit.enforced) else { return call() };
        let raised = usage.used.max(limit).saturating_add(HEADROOM);
        qgroup_limit(self.volume, self.qgroup, Limit { enforced: Some(raised), parked: Some(limit) })?;
        let done = call();
        qgroup_limit(self.volume, self.qgroup, Limit { enforced: Some(limit), parked: None })?;
        done
    }

    /// The lock of the limit: on the scope's directory, where only root comes.
    fn lock(&self) -> Result<FileLock> {
        let end = Instant::now() + PATIENCE;
        let mut file = self.directory()?;
        loop {
            match FileLock::try_lock(file) {
                Ok(lock) => return Ok(lock),
                Err(_) if Instant::now() >= end => {
                    let busy = std::io::Error::from_raw_os_error(libc::EBUSY);
                    return Err(Error::path("lock", self.volume.join(self.dir), busy));
                }
                Err(back) => file = back,
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    fn is_locked(&self) -> bool {
        self.directory().is_ok_and(|file| FileLock::try_lock(file).is_err())
    }

    fn directory(&self) -> Result<File> {
        Ok(File::from(self.volume.open_dir(self.dir)?.into_fd()))
    }
}
