//! A folder that is a subvolume goes to another scope by a rename, and its charge by another membership of its qgroup,
//! whatever its size; so do the subvolumes that a tenant made inside it.
//!
//! As tried on 6.18 with simple quotas: the charge is the other qgroup's when the call returns, also above its limit.
//! Extents that the subvolume shares with another one stay charged to the one that wrote them. What was written, and is
//! not yet on the disk, is released from the qgroup that it belongs to then: hence the sync before.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::{id_of, plain, qgroup};
use crate::domain::error::{Error, Result};
use crate::domain::quota::Folders;
use crate::host;
use crate::host::btrfs::qgroups::Qgroups;
use crate::host::btrfs::search::children;
use crate::host::btrfs::{is_subvolume, qgroup_assign, rescan_start, subvolume_id};
use crate::host::dir::Dir;
use crate::quota::audit::OWN_IDS;
use crate::quota::{PlaceIn, ScopeAt, Uncharged};

/// The ids of a subvolume and of all below it.
pub(super) fn family(dir: &Dir) -> host::Result<Vec<u64>> {
    let mut ids = vec![subvolume_id(dir)?];
    let mut next = 0;
    while let Some(id) = ids.get(next).copied() {
        ids.extend(children(dir, id)?.iter().map(|child| child.id));
        next += 1;
    }
    Ok(ids)
}

pub(super) fn hand_over(from: PlaceIn<'_>, to: PlaceIn<'_>) -> Result<()> {
    if from.parent.stat(from.name)?.is_some() {
        from.parent.sync_filesystem()?;
    }
    plain::move_once(from, to)?;
    let folder = to.parent.open_dir(to.name)?;
    if !is_subvolume(&folder)? {
        return Err(no_subvolume(&folder));
    }
    join(to.parent, &folder, qgroup(to.scope)?)
}

/// Charges a subvolume and all below it to one scope alone. The subvolume that a plain directory is in is the volume's.
pub(super) fn charge(outside: &Dir, folder: &Dir, to: u64) -> Result<()> {
    if !is_subvolume(folder)? {
        return Err(no_subvolume(folder));
    }
    folder.sync_filesystem()?;
    join(outside, folder, to)
}

fn no_subvolume(folder: &Dir) -> Error {
    let path = folder.path().display();
    Error::storage(format!("{path} is no subvolume, and is not charged to its quota scope"))
}

/// Makes a subvolume and all below it members of one scope's qgroup, and of no other's. By a handle outside of it: inside of a
/// full scope the kernel refuses it (EDQUOT).
fn join(outside: &Dir, folder: &Dir, to: u64) -> Result<()> {
    let qgroups = Qgroups::of(outside)?;
    let mut uncounted = false;
    for id in family(folder)? {
        uncounted |= qgroup_assign(outside, id, to, true)?;
        for other in others(&qgroups.parents(id)?, to) {
            uncounted |= qgroup_assign(outside, id, other, false)?;
        }
    }
    if uncounted {
        rescan_start(outside)?;
    }
    Ok(())
}

/// Those of a subvolume's qgroups that are other scopes'.
fn others(parents: &[u64], own: u64) -> Vec<u64> {
    parents.iter().copied().filter(|other| *other != own && is_scopes(*other)).collect()
}

/// Whether a qgroup has a number that vfadm gives.
fn is_scopes(qgroup: u64) -> bool {
    qgroup >> 48 == 1 && OWN_IDS.contains(&id_of(qgroup))
}

/// The number of a scope by the qgroups that its subvolumes are members of; `None` where they are of none, or of several.
pub(super) fn number_of(scope: &ScopeAt<'_>, folders: &[PathBuf]) -> Result<Option<u64>> {
    let volume = plain::open_volume(scope.volume)?;
    let top = volume.open_beneath(Path::new(scope.dir))?;
    let mut subvolumes = Vec::new();
    if is_subvolume(&top)? {
        subvolumes.push(subvolume_id(&top)?);
    }
    for path in folders {
        let folder = top.open_beneath(path)?;
        if is_subvolume(&folder)? {
            subvolumes.push(subvolume_id(&folder)?);
        }
    }
    let qgroups = Qgroups::of(&volume)?;
    let mut numbers = BTreeSet::new();
    for id in subvolumes {
        numbers.extend(qgroups.parents(id)?.into_iter().filter(|number| is_scopes(*number)));
    }
    Ok(numbers.pop_first().filter(|_| numbers.is_empty()).map(id_of))
}

/// Those of a scope's folders, by their paths below it, that are not charged to it alone. Where folders are plain
/// directories, the scope is one subvolume for all of them.
pub(super) fn uncharged(scope: &ScopeAt<'_>, folders: &[PathBuf]) -> Result<Vec<(PathBuf, Uncharged)>> {
    let volume = plain::open_volume(scope.volume)?;
    let (qgroups, own) = (Qgroups::of(&volume)?, qgroup(scope)?);
    let mut found = Vec::new();
    if !qgroups.exists(own)? {
        return Ok(found);
    }
    let top = volume.open_dir(scope.dir)?;
    if scope.folders == Folders::Directory {
        found.extend(judge(&qgroups, &top, own)?.map(|how| (PathBuf::new(), how)));
        return Ok(found);
    }
    for path in folders {
        let how = judge(&qgroups, &top.open_beneath(path)?, own)?;
        found.extend(how.map(|how| (path.clone(), how)));
    }
    Ok(found)
}

fn judge(qgroups: &Qgroups<'_>, dir: &Dir, own: u64) -> Result<Option<Uncharged>> {
    match is_subvolume(dir)? {
        true => Ok(of_subvolume(qgroups, subvolume_id(dir)?, own)?),
        false => Ok(Some(Uncharged::PlainDirectory)),
    }
}

/// How a subvolume is not charged to the one scope that has this qgroup.
pub(super) fn of_subvolume(qgroups: &Qgroups<'_>, id: u64, own: u64) -> host::Result<Option<Uncharged>> {
    let parents = qgroups.parents(id)?;
    if !parents.contains(&own) {
        return Ok(Some(Uncharged::Missing));
    }
    Ok(others(&parents, own).first().map(|other| Uncharged::Twice(id_of(*other))))
}

pub(super) fn charge_of(folder: &Dir) -> Result<Option<u64>> {
    if !is_subvolume(folder)? {
        return Ok(None);
    }
    let qgroups = Qgroups::of(folder)?;
    let mut sum = 0u64;
    for id in family(folder)? {
        sum = sum.saturating_add(qgroups.usage(id)?.map_or(0, |usage| usage.used));
    }
    Ok(Some(sum))
}
