//! A folder that is a subvolume is had again by a snapshot, whatever its size.
//!
//! As tried on 6.18:
//! * With simple quotas what both share stays charged to the subvolume that wrote it, also when that one has been
//!   removed; with full qgroups it is charged to each.
//! * Subvolumes that a tenant made inside are empty directories in a snapshot. Each is snapshotted into its place, after
//!   the one around it, and so nothing is left out.
//! * A snapshot is frozen, and nobody but root reaches the new folder: what can move is the source alone. The subvolumes
//!   in it are listed before. Where one is not in the snapshot as it was listed, or the snapshot has one that was not
//!   listed (then it is in a block that was written meanwhile), all is made again.

use std::ffi::{OsStr, OsString};

use super::handover::family;
use super::room::Charged;
use super::subvolume::{self, open_long, present};
use super::{charged, plain, require_qgroup};
use crate::domain::error::{Code, Error, Result};
use crate::host::btrfs::qgroups::{Mode, Qgroups};
use crate::host::btrfs::search::{Child, children, entries_since, generation, names_to};
use crate::host::btrfs::{STUB_INODE, is_subvolume, rescan_start, snapshot_create, subvolume_id};
use crate::host::copying::set_times;
use crate::host::dir::Dir;
use crate::host::entries::Time;
use crate::host::{self, signals};
use crate::quota::PlaceIn;
use crate::tree::Silent;

/// How often it is begun again while a tenant moves subvolumes in the source.
const ROUNDS: u32 = 16;

/// A subvolume inside of the folder.
struct Nested {
    id: u64,
    /// The names that lead to it from the folder.
    path: Vec<OsString>,
}

struct Snapshot<'a> {
    scope: Charged<'a>,
    source: &'a Dir,
    to: PlaceIn<'a>,
}

pub(super) fn snapshot(from: PlaceIn<'_>, to: PlaceIn<'_>) -> Result<()> {
    let volume = plain::open_volume(to.scope.volume)?;
    let scope = charged(&volume, to.scope)?;
    require_qgroup(&volume, scope.qgroup)?;
    let source = from.parent.open_dir(from.name)?;
    if !is_subvolume(&source)? {
        return Err(Error::storage(format!("{} is no subvolume", source.path().display())));
    }
    let snapshot = Snapshot { scope, source: &source, to };
    for _ in 0..ROUNDS {
        if snapshot.attempt()? {
            // A snapshot that joins another qgroup than its source may leave full qgroups uncounted.
            if Qgroups::of(&volume)?.mode()? == (Mode::Full { consistent: false }) {
                rescan_start(&volume)?;
            }
            return Ok(());
        }
        subvolume::remove(Some(scope), to.parent, to.name, &Silent)?;
    }
    let path = source.path().display();
    Err(Error::new(
        Code::InUse,
        format!("subvolumes inside of {path} are moved, made or removed all the time"),
    )
    .hint("try again when that has ended"))
}

impl Snapshot<'_> {
    /// Makes the folder; false when something moved in the source meanwhile.
    fn attempt(&self) -> host::Result<bool> {
        let id = subvolume_id(self.source)?;
        let mut left = Vec::new();
        let top = Nested { id, path: Vec::new() };
        if !self.take(&top, self.source, self.to.parent, self.to.name, &mut left)? {
            return Ok(false);
        }
        let folder = self.to.parent.open_dir(self.to.name)?;
        let mut taken = vec![id];
        while let Some(next) = left.pop() {
            signals::check()?;
            if !self.fill(&folder, &next, &mut left)? {
                return Ok(false);
            }
            taken.push(next.id);
        }
        // The times of the directories that hold them.
        if taken.len() > 1 {
            folder.sync_filesystem()?;
        }
        // One that went from one subvolume to another may have been seen in neither, or in both.
        let mut there = family(self.source)?;
        taken.sort_unstable();
        there.sort_unstable();
        Ok(taken == there)
    }

    /// Puts the snapshot of a nested subvolume where its empty directory is.
    fn fill(&self, folder: &Dir, nested: &Nested, left: &mut Vec<Nested>) -> host::Result<bool> {
        let Some(source) = present(open_long(self.source, nested.path.iter()))? else { return Ok(false) };
        if !is_subvolume(&source)? || subvolume_id(&source)? != nested.id {
            return Ok(false);
        }
        let Some((name, above)) = nested.path.split_last() else { return Ok(false) };
        let holder = open_long(folder, above.iter())?;
        // What was made there when the list of subvolumes had been read already.
        if holder.stat(name)?.is_none_or(|stat| stat.st_ino != STUB_INODE) {
            return Ok(false);
        }
        let before = holder.stat_self()?;
        self.make(|| holder.remove_dir(name))?;
        let taken = self.take(nested, &source, &holder, name, left)?;
        let time = |seconds, nanoseconds: i64| Time { seconds, nanoseconds: nanoseconds as u32 };
        let (read, written) =
            (time(before.st_atime, before.st_atime_nsec), time(before.st_mtime, before.st_mtime_nsec));
        self.make(|| {
            set_times(&holder, read, written)
                .map_err(|e| host::Error::path("set the times of", holder.path(), e))
        })?;
        Ok(taken)
    }

    /// Makes one snapshot, and adds what is right inside of it to the list. False when that changed meanwhile.
    fn take(
        &self,
        what: &Nested,
        source: &Dir,
        parent: &Dir,
        name: &OsStr,
        left: &mut Vec<Nested>,
    ) -> host::Result<bool> {
        let Some(generation) = generation(source, what.id)? else { return Ok(false) };
        let inside = children(source, what.id)?;
        self.make(|| snapshot_create(source, parent, name, self.scope.qgroup))?;
        let made = parent.open_dir(name)?;
        let id = subvolume_id(&made)?;
        for entry in entries_since(&made, id, generation)? {
            if !inside.contains(&entry) && !is_stub(source, what.id, &entry)? {
                return Ok(false);
            }
        }
        for child in inside {
            let Some(names) = names_to(&made, id, child.dir)? else { return Ok(false) };
            let path = what.path.iter().cloned().chain(names).chain([child.name]).collect();
            left.push(Nested { id: child.id, path });
        }
        Ok(true)
    }

    /// Makes a call that a full scope must not stop.
    fn make<T>(&self, mut call: impl FnMut() -> host::Result<T>) -> host::Result<T> {
        self.scope.make(&mut call)
    }
}

/// Whether what leads to a subvolume in a snapshot was an empty directory in the source already, which is the snapshot of
/// something else itself.
fn is_stub(source: &Dir, id: u64, entry: &Child) -> host::Result<bool> {
    let Some(holder) = subvolume::holder(source, id, entry)? else { return Ok(false) };
    Ok(holder.stat(&entry.name)?.is_some_and(|stat| stat.st_ino == STUB_INODE))
}
