//! Measures a tree, like `du`, with many threads; changes nothing, not even the times of access.

use std::collections::{HashMap, HashSet};
use std::ffi::{CStr, OsStr, OsString};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use nix::libc;

use super::Progress;
use super::node::Node;
use super::walk::{At, Crew, Visit, Walk};
use crate::host::dir::Dir;
use crate::host::entries::{self, Entry, Identity, Kind, Status};
use crate::host::{self, Error};

/// What is in a tree. A file with several names counts once, for all figures.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Measured {
    /// The sum of the lengths (`st_size`), in bytes, of all entries: `du --apparent-size` of coreutils up to 9.1.
    pub apparent: u64,
    /// The bytes allocated for all entries, as `du` counts them.
    pub allocated: u64,
    /// Regular files.
    pub files: u64,
    /// Directories, the measured one too.
    pub directories: u64,
    /// Symbolic links.
    pub symlinks: u64,
    /// FIFOs, sockets and devices.
    pub others: u64,
    /// The longest regular file, below the measured directory, and its length in bytes.
    pub largest: Option<(PathBuf, u64)>,
    /// The regular file whose content was not changed for longest, and when that was, in unix seconds.
    pub oldest: Option<(PathBuf, i64)>,
    /// Directories that could not be opened or read to the end, and entries without a status.
    pub unreadable: u64,
    /// Entries that were removed or moved away while they were measured.
    pub vanished: u64,
    /// Places inside where something else is mounted; it is not counted.
    pub foreign_mounts: u64,
}

impl Measured {
    fn count(&mut self, status: &Status) {
        self.apparent = self.apparent.saturating_add(status.size);
        self.allocated = self.allocated.saturating_add(status.allocated);
        match status.kind {
            Kind::File => self.files += 1,
            Kind::Directory => self.directories += 1,
            Kind::Symlink => self.symlinks += 1,
            Kind::Other => self.others += 1,
        }
    }

    fn count_failure(&mut self, error: &io::Error) {
        match error.raw_os_error() {
            Some(libc::ENOENT | libc::ENOTDIR | libc::ELOOP | libc::ESTALE) => self.vanished += 1,
            Some(libc::EXDEV) => self.foreign_mounts += 1,
            _ => self.unreadable += 1,
        }
    }

    fn entries(&self) -> u64 {
        self.files + self.directories + self.symlinks + self.others
    }

    fn add(&mut self, other: Measured) {
        self.apparent = self.apparent.saturating_add(other.apparent);
        self.allocated = self.allocated.saturating_add(other.allocated);
        self.files += other.files;
        self.directories += other.directories;
        self.symlinks += other.symlinks;
        self.others += other.others;
        self.unreadable += other.unreadable;
        self.vanished += other.vanished;
        self.foreign_mounts += other.foreign_mounts;
        if let Some(found) = other.largest
            && self.largest.as_ref().is_none_or(|had| (found.1, &had.0) > (had.1, &found.0))
        {
            self.largest = Some(found);
        }
        if let Some(found) = other.oldest
            && self.oldest.as_ref().is_none_or(|had| (found.1, &found.0) < (had.1, &had.0))
        {
            self.oldest = Some(found);
        }
    }
}

/// Walks a tree: hard links are counted once (by device and inode), links not followed, other filesystems mounted
/// inside not entered (btrfs subvolumes are).
///
/// Fails only when `dir` itself cannot be opened, or with `Error::Interrupted`; what cannot be read inside is
/// counted.
pub fn measure(dir: &Dir, progress: &dyn Progress) -> host::Result<Measured> {
    let mut total = Measured::default();
    for row in walk(dir, progress, 0)? {
        total.add(row.measured);
    }
    Ok(total)
}

/// How many entries at the top get a line of their own.
const LINES: usize = 10_000;

/// The same, per entry at the top: (name, measured), sorted by name; the folder itself under "".
///
/// A file with names in several entries counts in one of them. Beyond 10,000 entries at the top, the others are in
/// the line "" too.
pub fn measure_entries(dir: &Dir, progress: &dyn Progress) -> host::Result<Vec<(OsString, Measured)>> {
    let mut rows: Vec<_> =
        walk(dir, progress, LINES)?.into_iter().map(|row| (row.name, row.measured)).collect();
    rows.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(rows)
}

fn walk(dir: &Dir, progress: &dyn Progress, lines: usize) -> host::Result<Vec<Row>> {
    let path = |e| Error::path("read", dir.path(), e);
    let root = entries::reopen(dir).map_err(path)?;
    let status = entries::status(&root, c"").map_err(path)?;
    let walk = Walk::new(root, dir.path().to_owned(), Crew { threads: 0, share: true }, progress);
    let mut itself = Row::default();
    itself.measured.count(&status);
    let measurer = Measurer {
        lines,
        rows: Mutex::new(vec![itself]),
        seen: std::array::from_fn(|_| Mutex::new(HashMap::new())),
    };
    if !walk.run(&measurer, walk.root(status.identity, 0)) {
        return Err(Error::Interrupted);
    }
    Ok(measurer.rows.into_inner().unwrap_or_else(PoisonError::into_inner))
}

#[derive(Default)]
struct Row {
    name: OsString,
    measured: Measured,
}

/// The inodes of files with several names that were counted, by device; in parts, for the threads' sake and so that
/// only one part at a time grows.
type Seen = [Mutex<HashMap<u64, HashSet<u64>>>; 16];

struct Measurer {
    lines: usize,
    rows: Mutex<Vec<Row>>,
    seen: Seen,
}

/// What a thread has measured since it last wrote that into the row.
#[derive(Default)]
struct Sum {
    row: usize,
    measured: Measured,
    /// The largest size and the oldest time that the row had then: a path is made only for what goes beyond.
    largest: Option<u64>,
    oldest: Option<i64>,
}

impl Measurer {
    /// The row of an entry of `parent`.
    fn row(&self, parent: &Node<usize>, name: &CStr) -> usize {
        if parent.parent.is_some() || self.lines == 0 {
            return parent.data;
        }
        let mut rows = self.rows();
        if rows.len() > self.lines {
            return 0;
        }
        rows.push(Row { name: OsString::from_vec(name.to_bytes().to_vec()), ..Row::default() });
        rows.len() - 1
    }

    /// The sum to add to, for `row`.
    fn sum<'s>(&self, walk: &Walk<'_, Self>, sum: &'s mut Sum, row: usize) -> &'s mut Sum {
        if sum.row != row {
            self.write(walk, sum, row);
        }
        sum
    }

    /// Writes the sum into its row, and begins one for the row `next`.
    fn write(&self, walk: &Walk<'_, Self>, sum: &mut Sum, next: usize) {
        let measured = std::mem::take(&mut sum.measured);
        walk.add(measured.entries(), measured.allocated);
        let mut rows = self.rows();
        if let Some(row) = rows.get_mut(sum.row) {
            row.measured.add(measured);
        }
        if let Some(row) = rows.get(next) {
            sum.largest = row.measured.largest.as_ref().map(|(_, size)| *size);
            sum.oldest = row.measured.oldest.as_ref().map(|(_, time)| *time);
        }
        sum.row = next;
    }

    fn is_seen(&self, file: &Identity) -> bool {
        let part = &self.seen[(file.inode % self.seen.len() as u64) as usize];
        let mut seen = part.lock().unwrap_or_else(PoisonError::into_inner);
        !seen.entry(file.device).or_default().insert(file.inode)
    }

    fn rows(&self) -> MutexGuard<'_, Vec<Row>> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Visit for Measurer {
    /// The row that a directory counts in.
    type Data = usize;
    type Worker = Sum;

    fn met(&self, parent: &Node<usize>, name: &CStr) -> usize {
        self.row(parent, name)
    }

    fn enter(
        &self,
        walk: &Walk<'_, Self>,
        sum: &mut Sum,
        _handle: &OwnedFd,
        at: At<'_, Self>,
        status: &Status,
    ) -> bool {
        self.sum(walk, sum, at.node.data).measured.count(status);
        true
    }

    fn refused(&self, walk: &Walk<'_, Self>, sum: &mut Sum, at: At<'_, Self>, error: io::Error) {
        let measured = &mut self.sum(walk, sum, at.node.data).measured;
        // A directory that cannot be opened still has a size of its own.
        if matches!(error.raw_os_error(), Some(libc::EACCES | libc::EPERM | libc::EIO))
            && let Ok(status) = entries::status(at.parent_handle, &at.node.name)
            && status.kind == Kind::Directory
        {
            measured.count(&status);
        }
        measured.count_failure(&error);
    }

    fn lost(&self, walk: &Walk<'_, Self>, sum: &mut Sum, node: &Node<usize>, error: io::Error) {
        self.sum(walk, sum, node.data).measured.count_failure(&error);
    }

    fn entry(
        &self,
        walk: &Walk<'_, Self>,
        sum: &mut Sum,
        node: &Node<usize>,
        dir: &OwnedFd,
        entry: &Entry<'_>,
    ) -> bool {
        let status = match entries::status(dir, entry.name) {
            Ok(status) if status.kind == Kind::Directory => return true,
            Ok(status) => status,
            Err(error) => {
                self.sum(walk, sum, node.data).measured.count_failure(&error);
                return false;
            }
        };
        let sum = self.sum(walk, sum, self.row(node, entry.name));
        if status.mount_root {
            sum.measured.foreign_mounts += 1;
            return false;
        }
        if status.links > 1 && self.is_seen(&status.identity) {
            return false;
        }
        sum.measured.count(&status);
        if status.kind == Kind::File {
            let path = || node.below().join(OsStr::from_bytes(entry.name.to_bytes()));
            if sum.largest.is_none_or(|size| status.size > size) {
                sum.largest = Some(status.size);
                sum.measured.largest = Some((path(), status.size));
            }
            if sum.oldest.is_none_or(|time| status.modified.seconds < time) {
                sum.oldest = Some(status.modified.seconds);
                sum.measured.oldest = Some((path(), status.modified.seconds));
            }
        }
        false
    }

    fn block_done(&self, walk: &Walk<'_, Self>, sum: &mut Sum, _node: &Node<usize>) {
        let row = sum.row;
        self.write(walk, sum, row);
    }

    fn leave(&self, _: &Walk<'_, Self>, _: &mut Sum, _: &Node<usize>, _: &Node<usize>) -> bool {
        false
    }

    fn end(&self, walk: &Walk<'_, Self>, mut sum: Sum) {
        let row = sum.row;
        self.write(walk, &mut sum, row);
    }
}
