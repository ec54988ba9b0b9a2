//! Measures a tree, like `du`, with many threads; changes nothing, not even the times of access.

use std::collections::{HashMap, HashSet};
use std::ffi::{CStr, OsStr, OsString};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use nix::libc;

use super::Progress;
use super::node::Node;
use super::walk::{At, Crew, Visit, Walk};
use crate::host::dir::Dir;
use crate::host::entries::{self, Entry, Identity, Kind, Status, Time};
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
    /// The longest regular file (any of several), below the measured directory, and its length in bytes. The path is
    /// empty where it is longer than 4,096 bytes or there was no [`Room`] for it.
    pub largest: Option<(PathBuf, u64)>,
    /// The regular file whose content was not changed for longest, and when that was; its path as above.
    pub oldest: Option<(PathBuf, Time)>,
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

    /// Adds what another part of the same tree holds. The names in both are from the same directory, and take from
    /// `room`, in bytes.
    fn add(&mut self, other: &Measured, room: &mut usize) {
        self.apparent = self.apparent.saturating_add(other.apparent);
        self.allocated = self.allocated.saturating_add(other.allocated);
        self.files += other.files;
        self.directories += other.directories;
        self.symlinks += other.symlinks;
        self.others += other.others;
        self.unreadable += other.unreadable;
        self.vanished += other.vanished;
        self.foreign_mounts += other.foreign_mounts;
        if let Some(found) = &other.largest
            && self.largest.as_ref().is_none_or(|had| (found.1, &had.0) > (had.1, &found.0))
        {
            self.largest = Some((kept(&found.0, self.largest.take().map(|had| had.0), room), found.1));
        }
        if let Some(found) = &other.oldest
            && self.oldest.as_ref().is_none_or(|had| (found.1, &found.0) < (had.1, &had.0))
        {
            self.oldest = Some((kept(&found.0, self.oldest.take().map(|had| had.0), room), found.1));
        }
    }
}

/// The longest path that can be opened, in bytes (`PATH_MAX`).
const LONGEST: usize = 4096;

/// The path in place of another one, or an empty one where there is no room for it.
fn kept(path: &Path, before: Option<PathBuf>, room: &mut usize) -> PathBuf {
    *room = room.saturating_add(before.map_or(0, |path| path.as_os_str().len()));
    let length = path.as_os_str().len();
    match room.checked_sub(length).filter(|_| length <= LONGEST) {
        Some(left) => {
            *room = left;
            path.to_owned()
        }
        None => PathBuf::new(),
    }
}

/// How much is kept of entries that have lines of their own, however large the tree is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// Entries.
    pub lines: usize,
    /// Bytes of paths: theirs, and those of their largest and oldest files.
    pub bytes: usize,
}

impl Default for Room {
    fn default() -> Room {
        Room { lines: 10_000, bytes: 2 << 20 }
    }
}

/// What is in an entry of the tree and all below it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Its path below the measured directory; empty for that one itself.
    pub path: PathBuf,
    /// What is in it.
    pub measured: Measured,
}

/// A tree, and its entries down to some level.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parts {
    /// All of it.
    pub whole: Measured,
    /// The entries, sorted by path.
    pub parts: Vec<Part>,
    /// Entries of those levels that are no part of their own, because there is no room; they are counted in the one
    /// above.
    pub unlisted: u64,
    /// The room that is left.
    pub room: Room,
}

/// Walks a tree: hard links are counted once (by device and inode), links not followed, other filesystems mounted
/// inside not entered (btrfs subvolumes are).
///
/// Fails only when `dir` itself cannot be opened, or with `Error::Interrupted`; what cannot be read inside is
/// counted.
pub fn measure(dir: &Dir, progress: &dyn Progress) -> host::Result<Measured> {
    Ok(measure_parts(dir, 0, Room::default(), progress)?.whole)
}

/// The same, with each entry down to so many levels, like `du -a -d LEVELS`. A file with names in several of them counts
/// in one. Where there is no more room, the others are counted in the one above alone.
pub fn measure_parts(dir: &Dir, levels: usize, room: Room, progress: &dyn Progress) -> host::Result<Parts> {
    let path = |e| Error::path("read", dir.path(), e);
    let root = entries::reopen(dir).map_err(path)?;
    let status = entries::status(&root, c"").map_err(path)?;
    let walk = Walk::new(root, dir.path().to_owned(), Crew { threads: 0, share: true }, progress);
    let mut itself = Row::default();
    itself.measured.count(&status);
    let measurer = Measurer {
        rows: Mutex::new(Rows { list: vec![itself], room }),
        unlisted: AtomicU64::new(0),
        seen: std::array::from_fn(|_| Mutex::new(HashMap::new())),
    };
    if !walk.run(&measurer, walk.root(status.identity, Place { row: 0, levels })) {
        return Err(Error::Interrupted);
    }
    let rows = measurer.rows.into_inner().unwrap_or_else(PoisonError::into_inner);
    let (mut parts, room) = added_up(rows);
    let whole = std::mem::take(&mut parts[0].measured);
    parts.remove(0);
    parts.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(Parts { whole, parts, unlisted: measurer.unlisted.into_inner(), room })
}

/// The rows, each with all below it; the first is the whole tree.
fn added_up(mut rows: Rows) -> (Vec<Part>, Room) {
    // A row stands behind the one above it.
    for at in (1..rows.list.len()).rev() {
        let (above, below) = rows.list.split_at_mut(at);
        let to = below[0].above;
        add(&mut above[to], to, &below[0].measured, &mut rows.room);
    }
    let mut parts: Vec<Part> = Vec::with_capacity(rows.list.len());
    for (at, row) in rows.list.into_iter().enumerate() {
        let path = if at == 0 { PathBuf::new() } else { parts[row.above].path.join(&row.name) };
        parts.push(Part { path, measured: row.measured });
    }
    (parts, rows.room)
}

/// Adds to the row `at`; the first one is the tree's, and needs no room.
fn add(row: &mut Row, at: usize, measured: &Measured, room: &mut Room) {
    let mut own = usize::MAX;
    row.measured.add(measured, if at == 0 { &mut own } else { &mut room.bytes });
}

struct Rows {
    list: Vec<Row>,
    room: Room,
}

#[derive(Default)]
struct Row {
    /// The row of the directory that it is in.
    above: usize,
    name: OsString,
    /// The bytes of its path.
    length: usize,
    measured: Measured,
}

/// Where a directory is counted.
#[derive(Clone, Copy)]
struct Place {
    row: usize,
    /// Entries down to so many levels below it have rows of their own.
    levels: usize,
}

/// The inodes of files with several names that were counted, by device; in parts, for the threads' sake and so that
/// only one part at a time grows.
type Seen = [Mutex<HashMap<u64, HashSet<u64>>>; 16];

struct Measurer {
    rows: Mutex<Rows>,
    unlisted: AtomicU64,
    seen: Seen,
}

/// What a thread has measured since it last wrote that into the row.
#[derive(Default)]
struct Sum {
    row: usize,
    measured: Measured,
    /// The largest size and the oldest time that the row had then: a path is made only for what goes beyond.
    largest: Option<u64>,
    oldest: Option<Time>,
    /// Entries and bytes that were not yet told of.
    untold: (u64, u64),
}

/// So many entries are told of at once.
const TOLD: u64 = 256;

impl Measurer {
    /// Where an entry of `parent` is counted.
    fn place(&self, parent: &Node<Place>, name: &CStr) -> Place {
        let Place { row, levels } = parent.data;
        if levels == 0 {
            return parent.data;
        }
        let mut rows = self.rows();
        let length = rows.list[row].length + 1 + name.count_bytes();
        let left = rows.room.lines.checked_sub(1).zip(rows.room.bytes.checked_sub(length));
        let Some((lines, bytes)) = left else {
            self.unlisted.fetch_add(1, Ordering::Relaxed);
            return Place { row, levels: 0 };
        };
        rows.room = Room { lines, bytes };
        let name = OsString::from_vec(name.to_bytes().to_vec());
        rows.list.push(Row { above: row, name, length, ..Row::default() });
        Place { row: rows.list.len() - 1, levels: levels - 1 }
    }

    /// What to add to, for `row`.
    fn sum<'s>(&self, sum: &'s mut Sum, row: usize) -> &'s mut Sum {
        if sum.row != row {
            self.write(sum, row);
        }
        sum
    }

    /// Writes the sum into its row, and begins one for the row `next`.
    fn write(&self, sum: &mut Sum, next: usize) {
        let measured = std::mem::take(&mut sum.measured);
        let mut rows = self.rows();
        let Rows { list, room } = &mut *rows;
        if let Some(row) = list.get_mut(sum.row) {
            add(row, sum.row, &measured, room);
        }
        if let Some(row) = list.get(next) {
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

    fn rows(&self) -> MutexGuard<'_, Rows> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sum {
    fn count(&mut self, walk: &Walk<'_, Measurer>, status: &Status) {
        self.measured.count(status);
        self.untold.0 += 1;
        self.untold.1 += status.allocated;
        if self.untold.0 >= TOLD {
            self.tell(walk);
        }
    }

    fn tell(&mut self, walk: &Walk<'_, Measurer>) {
        let (entries, bytes) = std::mem::take(&mut self.untold);
        if entries > 0 {
            walk.add(entries, bytes);
        }
    }
}

impl Visit for Measurer {
    /// Where a directory counts.
    type Data = Place;
    type Worker = Sum;

    fn met(&self, parent: &Node<Place>, name: &CStr) -> Place {
        self.place(parent, name)
    }

    fn enter(
        &self,
        walk: &Walk<'_, Self>,
        sum: &mut Sum,
        _handle: &OwnedFd,
        at: At<'_, Self>,
        status: &Status,
    ) -> bool {
        self.sum(sum, at.node.data.row).count(walk, status);
        true
    }

    fn refused(&self, walk: &Walk<'_, Self>, sum: &mut Sum, at: At<'_, Self>, error: io::Error) {
        let sum = self.sum(sum, at.node.data.row);
        // A directory that cannot be opened still has a size of its own.
        if matches!(error.raw_os_error(), Some(libc::EACCES | libc::EPERM | libc::EIO))
            && let Ok(status) = entries::status(at.parent_handle, &at.node.name)
            && status.kind == Kind::Directory
        {
            sum.count(walk, &status);
        }
        sum.measured.count_failure(&error);
    }

    fn lost(&self, _: &Walk<'_, Self>, sum: &mut Sum, node: &Node<Place>, error: io::Error) {
        self.sum(sum, node.data.row).measured.count_failure(&error);
    }

    fn entry(
        &self,
        walk: &Walk<'_, Self>,
        sum: &mut Sum,
        node: &Node<Place>,
        dir: &OwnedFd,
        entry: &Entry<'_>,
    ) -> bool {
        let status = match entries::status(dir, entry.name) {
            Ok(status) if status.kind == Kind::Directory => return true,
            Ok(status) => status,
            Err(error) => {
                self.sum(sum, node.data.row).measured.count_failure(&error);
                return false;
            }
        };
        let sum = self.sum(sum, self.place(node, entry.name).row);
        if status.mount_root {
            sum.measured.foreign_mounts += 1;
            return false;
        }
        if status.links > 1 && self.is_seen(&status.identity) {
            return false;
        }
        sum.count(walk, &status);
        if status.kind == Kind::File {
            let path = || node.below().join(OsStr::from_bytes(entry.name.to_bytes()));
            if sum.largest.is_none_or(|size| status.size > size) {
                sum.largest = Some(status.size);
                sum.measured.largest = Some((path(), status.size));
            }
            if sum.oldest.is_none_or(|time| status.modified < time) {
                sum.oldest = Some(status.modified);
                sum.measured.oldest = Some((path(), status.modified));
            }
        }
        false
    }

    fn block_done(&self, walk: &Walk<'_, Self>, sum: &mut Sum, _node: &Node<Place>) {
        let row = sum.row;
        self.write(sum, row);
        sum.tell(walk);
    }

    fn leave(&self, _: &Walk<'_, Self>, _: &mut Sum, _: &Node<Place>, _: &Node<Place>) -> bool {
        false
    }

    fn end(&self, walk: &Walk<'_, Self>, mut sum: Sum) {
        let row = sum.row;
        self.write(&mut sum, row);
        sum.tell(walk);
    }
}
