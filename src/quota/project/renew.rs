//! Links and special files of a folder that gets another project. They cannot be opened, and so not be given to it: each is
//! made again in a directory that has the project, and takes the place of the old one.

use std::ffi::{CStr, CString, OsStr, OsString};
use std::io;
use std::os::fd::BorrowedFd;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use super::plain;
use crate::domain::error::Result;
use crate::host::dir::Dir;
use crate::host::entries::{self, Kind};
use crate::host::{self, Error as HostError, copying};
use crate::quota::{QuotaDriver, ScopeAt};
use crate::tree::Silent;
use crate::tree::remove::{RemoveOptions, remove};

/// A directory of the scope in which entries are made.
pub(super) struct Workshop<'a> {
    driver: &'a dyn QuotaDriver,
    scope: &'a ScopeAt<'a>,
    staging: Dir,
    /// Its name in there: one a folder.
    name: OsString,
    dir: Dir,
    serial: AtomicU64,
    /// The times of the directory that an entry is put into are put back: one at a time.
    lock: Mutex<()>,
}

impl<'a> Workshop<'a> {
    /// Makes it in the scope's `.staging`, for one folder. What an interruption left in it goes.
    pub(super) fn open(
        driver: &'a dyn QuotaDriver,
        scope: &'a ScopeAt<'a>,
        folder: &OsStr,
    ) -> Result<Workshop<'a>> {
        let mut name = OsString::from(".renewed-");
        name.push(folder);
        let top = plain::open_volume(scope.volume)?.open_dir(scope.dir)?;
        driver.despite_limit(scope, &mut || top.ensure_dir(".staging", plain::SCOPE_MODE).map(drop))?;
        let staging = top.open_dir(".staging")?;
        clear(&staging, &name)?;
        driver.despite_limit(scope, &mut || staging.ensure_dir(&name, plain::SCOPE_MODE).map(drop))?;
        let dir = staging.open_dir(&name)?;
        Ok(Workshop { driver, scope, staging, name, dir, serial: AtomicU64::new(0), lock: Mutex::new(()) })
    }

    /// Makes the entry `name` of `dir` again. One with several names is left: it would get several.
    pub(super) fn renew(&self, dir: BorrowedFd<'_>, name: &CStr) -> Result<()> {
        let path = |e| HostError::path("make again", self.dir.path(), e);
        self.driver.despite_limit(self.scope, &mut || self.renew_once(dir, name).map_err(path))
    }

    fn renew_once(&self, dir: BorrowedFd<'_>, name: &CStr) -> io::Result<()> {
        let old = match copying::open_any(dir, name) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
            other => other?,
        };
        let status = entries::status(&old, c"")?;
        if status.links > 1 {
            return Ok(());
        }
        let draft = CString::new(self.serial.fetch_add(1, Ordering::Relaxed).to_string())?;
        match status.kind {
            Kind::Symlink => copying::make_link(&self.dir, &draft, &copying::read_link(&old)?)?,
            Kind::Other => copying::make_special(&self.dir, &draft, &status)?,
            Kind::File | Kind::Directory => return Ok(()),
        }
        copying::set_ids_at(&self.dir, &draft, status.ids)?;
        if status.kind == Kind::Other {
            copying::set_mode(copying::open_any(&self.dir, &draft)?, status.mode)?;
        }
        copying::set_times_at(&self.dir, &draft, status.accessed, status.modified)?;
        let _one = self.lock.lock();
        let holder = entries::status(dir, c"")?;
        nix::fcntl::renameat(&self.dir, draft.as_c_str(), dir, name)?;
        copying::set_times(dir, holder.accessed, holder.modified)
    }

    /// Takes the directory away.
    pub(super) fn close(self) -> host::Result<()> {
        clear(&self.staging, &self.name)
    }
}

fn clear(staging: &Dir, name: &OsStr) -> host::Result<()> {
    let options = RemoveOptions { subvolume: None, threads: 1 };
    remove(staging, name, &options, &Silent).map(drop)
}
