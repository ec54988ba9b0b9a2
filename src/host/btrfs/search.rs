//! Items of btrfs trees (`BTRFS_IOC_TREE_SEARCH_V2`). A search sees the running transaction, not the last commit.

use std::ffi::OsString;
use std::ops::ControlFlow;
use std::os::unix::ffi::OsStringExt;

use nix::errno::Errno;

use super::super::dir::Dir;
use super::super::error::{Error, Result};

pub(super) const LIMIT_MAX_RFER: u64 = 1 << 0;
pub(super) const LIMIT_MAX_EXCL: u64 = 1 << 1;
pub(super) const LIMIT_RSV_RFER: u64 = 1 << 2;

const ROOT_TREE: u64 = 1;
const TOP_SUBVOLUME: u64 = 5;
const QUOTA_TREE: u64 = 8;
/// `BTRFS_LAST_FREE_OBJECTID`: the last number that a subvolume can have.
const LAST_SUBVOLUME: u64 = -256i64 as u64;

const INODE_REF: u32 = 12;
/// Unlike `DIR_INDEX`, these are not put off until a commit.
const DIR_ITEM: u32 = 84;
const ROOT_ITEM: u32 = 132;
const ROOT_REF: u32 = 156;
const QGROUP_STATUS: u32 = 240;
const QGROUP_INFO: u32 = 242;
const QGROUP_LIMIT: u32 = 244;
const QGROUP_RELATION: u32 = 246;

/// A key of a btrfs tree: object, type, offset.
type Key = (u64, u32, u64);

/// An item as the search returns it.
struct Item<'a> {
    key: Key,
    data: &'a [u8],
}

/// `btrfs_ioctl_search_args_v2` with its buffer.
#[repr(C)]
struct Search {
    tree: u64,
    min_objectid: u64,
    max_objectid: u64,
    min_offset: u64,
    max_offset: u64,
    min_transid: u64,
    max_transid: u64,
    min_type: u32,
    max_type: u32,
    items: u32,
    unused: u32,
    unused_too: [u64; 4],
    size: u64,
    buffer: [u8; BUFFER],
}
/// Room for any item: a node has at most 64 KiB.
const BUFFER: usize = 66 * 1024;
/// The request number carries the size without the buffer.
const ARGS_SIZE: usize = std::mem::size_of::<Search>() - BUFFER;

#[allow(unsafe_code)]
fn search_once(dir: &Dir, args: &mut Search) -> nix::Result<()> {
    use std::os::fd::{AsFd, AsRawFd};
    let request = super::request(super::BOTH, 17, ARGS_SIZE);
    // SAFETY: `size` tells the kernel how long the buffer at the end of the argument is.
    let done = unsafe {
        nix::libc::ioctl(dir.as_fd().as_raw_fd(), request as _, std::ptr::from_mut::<Search>(args))
    };
    Errno::result(done).map(drop)
}

/// Visits the items between two keys (both included) in order until the visitor breaks. False when the filesystem
/// has no such tree.
fn search(
    dir: &Dir,
    tree: u64,
    min: Key,
    max: Key,
    visit: &mut dyn FnMut(&Item<'_>) -> ControlFlow<()>,
) -> Result<bool> {
    search_since(dir, tree, 0, min, max, visit)
}

/// The same, of items in blocks that were written in this transaction or a later one.
fn search_since(
    dir: &Dir,
    tree: u64,
    transaction: u64,
    min: Key,
    max: Key,
    visit: &mut dyn FnMut(&Item<'_>) -> ControlFlow<()>,
) -> Result<bool> {
    let mut from = min;
    let mut args = Box::new(Search {
        tree,
        min_objectid: 0,
        max_objectid: max.0,
        min_offset: 0,
        max_offset: max.2,
        min_transid: transaction,
        max_transid: u64::MAX,
        min_type: 0,
        max_type: max.1,
        items: 0,
        unused: 0,
        unused_too: [0; 4],
        size: BUFFER as u64,
        buffer: [0; BUFFER],
    });
    loop {
        (args.min_objectid, args.min_type, args.min_offset) = from;
        args.items = u32::MAX;
        match search_once(dir, &mut args) {
            Ok(()) => {}
            Err(Errno::ENOENT) => return Ok(false),
            Err(e) => return Err(Error::path("search the btrfs trees of", dir.path(), e)),
        }
        if args.items == 0 {
            return Ok(true);
        }
        let mut last = None;
        for item in parse_items(&args.buffer, args.items) {
            if visit(&item).is_break() {
                return Ok(true);
            }
            last = Some(item.key);
        }
        match last.and_then(after) {
            Some(key) if key <= max => from = key,
            _ => return Ok(true),
        }
    }
}

/// The key that follows.
fn after(key: Key) -> Option<Key> {
    match key {
        (object, kind, offset) if offset < u64::MAX => Some((object, kind, offset + 1)),
        (object, kind, _) if kind < 255 => Some((object, kind + 1, 0)),
        (object, _, _) if object < u64::MAX => Some((object + 1, 0, 0)),
        _ => None,
    }
}

/// The items in a buffer: headers in the machine's byte order, each followed by its data.
fn parse_items(buffer: &[u8], count: u32) -> impl Iterator<Item = Item<'_>> {
    let mut rest = buffer;
    (0..count).map_while(move |_| {
        let (header, behind) = rest.split_at_checked(32)?;
        let word = |at: usize| header[at..at + 8].try_into().map(u64::from_ne_bytes).unwrap_or_default();
        let half = |at: usize| header[at..at + 4].try_into().map(u32::from_ne_bytes).unwrap_or_default();
        let (data, next) = behind.split_at_checked(half(28) as usize)?;
        rest = next;
        Some(Item { key: (word(8), half(24), word(16)), data })
    })
}

/// The number at an offset of an item's data, which is little-endian on every machine.
fn le64(data: &[u8], at: usize) -> Option<u64> {
    data.get(at..at + 8)?.try_into().ok().map(u64::from_le_bytes)
}

fn le16(data: &[u8], at: usize) -> Option<usize> {
    data.get(at..at + 2)?.try_into().ok().map(|b| usize::from(u16::from_le_bytes(b)))
}

/// A subvolume inside another one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Child {
    /// Its id.
    pub id: u64,
    /// The inode of the directory that holds it.
    pub dir: u64,
    /// Its name there.
    pub name: OsString,
}

fn parse_root_ref(key: Key, data: &[u8]) -> Option<Child> {
    let length = le16(data, 16)?;
    let name = data.get(18..18 + length)?;
    Some(Child { id: key.2, dir: le64(data, 0)?, name: OsString::from_vec(name.to_vec()) })
}

/// The subvolumes that are right inside the subvolume `id`.
pub fn children(dir: &Dir, id: u64) -> Result<Vec<Child>> {
    let mut found = Vec::new();
    search(dir, ROOT_TREE, (id, ROOT_REF, 0), (id, ROOT_REF, u64::MAX), &mut |item| {
        found.extend(parse_root_ref(item.key, item.data));
        ControlFlow::Continue(())
    })?;
    Ok(found)
}

/// The transaction that last wrote the subvolume `id` to the disk; what is changed in it from here on is in blocks of
/// later ones. `None` when there is no such subvolume.
pub fn generation(dir: &Dir, id: u64) -> Result<Option<u64>> {
    let mut found = None;
    search(dir, ROOT_TREE, (id, ROOT_ITEM, 0), (id, ROOT_ITEM, u64::MAX), &mut |item| {
        // Behind an inode item.
        found = le64(item.data, 160);
        ControlFlow::Break(())
    })?;
    Ok(found)
}

/// The entries for subvolumes in the directories of a subvolume, that were written after a transaction (and others that
/// share a block with something that was). An entry is left for a subvolume that is elsewhere: such ones are in every
/// snapshot.
pub fn entries_since(dir: &Dir, tree: u64, transaction: u64) -> Result<Vec<Child>> {
    let mut found = Vec::new();
    let (min, max) = ((super::ROOT_INODE, DIR_ITEM, 0), (LAST_SUBVOLUME, DIR_ITEM, u64::MAX));
    search_since(dir, tree, transaction + 1, min, max, &mut |item| {
        if item.key.1 == DIR_ITEM {
            let entries = dir_items(item.data).filter(|entry| u32::from(entry.kind) == ROOT_ITEM);
            let name = |name: &[u8]| OsString::from_vec(name.to_vec());
            found.extend(entries.map(|e| Child { id: e.leads_to, dir: item.key.0, name: name(e.name) }));
        }
        ControlFlow::Continue(())
    })?;
    Ok(found)
}

/// How many levels of directories are followed upwards: somebody who moves them at the same time could make it a circle.
const LEVELS: usize = 100_000;

/// The names that lead from the root of the subvolume `tree` to a directory in it, however long that path is; `None`
/// when there is no such directory.
pub fn names_to(dir: &Dir, tree: u64, directory: u64) -> Result<Option<Vec<OsString>>> {
    let (mut here, mut names) = (directory, Vec::new());
    while here != super::ROOT_INODE {
        let mut found = None;
        // A directory has one name.
        search(dir, tree, (here, INODE_REF, 0), (here, INODE_REF, u64::MAX), &mut |item| {
            found = parse_inode_ref(item.key, item.data);
            ControlFlow::Break(())
        })?;
        let Some((parent, name)) = found.filter(|_| names.len() < LEVELS) else { return Ok(None) };
        names.push(name);
        here = parent;
    }
    names.reverse();
    Ok(Some(names))
}

fn parse_inode_ref(key: Key, data: &[u8]) -> Option<(u64, OsString)> {
    let length = le16(data, 8)?;
    Some((key.2, OsString::from_vec(data.get(10..10 + length)?.to_vec())))
}

/// True while the subvolume exists or is still being freed.
pub fn subvolume_exists(dir: &Dir, id: u64) -> Result<bool> {
    let mut found = false;
    search(dir, ROOT_TREE, (id, ROOT_ITEM, 0), (id, ROOT_ITEM, u64::MAX), &mut |_| {
        found = true;
        ControlFlow::Break(())
    })?;
    Ok(found)
}

/// True when the filesystem holds nothing but what `own` says is its own: no subvolume, and along the path from the
/// top of the filesystem down to `dir` no entry but own ones.
pub fn holds_only(dir: &Dir, own: &dyn Fn(&[u8]) -> bool) -> Result<bool> {
    let mut subvolumes = false;
    search(
        dir,
        ROOT_TREE,
        (TOP_SUBVOLUME, 0, 0),
        (LAST_SUBVOLUME, u32::from(u8::MAX), u64::MAX),
        &mut |item| {
            subvolumes = item.key.1 == ROOT_REF;
            if subvolumes { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        },
    )?;
    if subvolumes {
        return Ok(false);
    }
    let path = super::path_of_inode(dir, TOP_SUBVOLUME, dir.stat_self()?.st_ino)?.into_vec();
    let mut chain = path.split(|b| *b == b'/').filter(|part| !part.is_empty());
    let mut here = super::ROOT_INODE;
    loop {
        let way = chain.next();
        let mut next = None;
        let mut foreign = false;
        search(dir, TOP_SUBVOLUME, (here, DIR_ITEM, 0), (here, DIR_ITEM, u64::MAX), &mut |item| {
            for entry in dir_items(item.data) {
                if way == Some(entry.name) {
                    next = Some(entry.leads_to);
                } else if !own(entry.name) {
                    foreign = true;
                }
            }
            if foreign { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
        match (foreign, way, next) {
            (true, _, _) => return Ok(false),
            (false, None, _) => return Ok(true),
            (false, Some(_), Some(inode)) => here = inode,
            // Renamed meanwhile: somebody is at work here.
            (false, Some(_), None) => return Ok(false),
        }
    }
}

/// An entry of a directory.
struct Entry<'a> {
    /// An inode, or a subvolume.
    leads_to: u64,
    /// The type of the key of that: [`ROOT_ITEM`] is a subvolume.
    kind: u8,
    name: &'a [u8],
}

/// The entries of a directory item, which holds all names of one hash.
fn dir_items(data: &[u8]) -> impl Iterator<Item = Entry<'_>> {
    let mut rest = data;
    std::iter::from_fn(move || {
        // The location is a key of 17 bytes, then transid, data_len, name_len and type.
        let (data_length, length) = (le16(rest, 25)?, le16(rest, 27)?);
        let name = rest.get(30..30 + length)?;
        let found = Entry { leads_to: le64(rest, 0)?, kind: *rest.get(8)?, name };
        rest = rest.get(30 + length + data_length..)?;
        Some(found)
    })
}

/// Flags of the quota tree's status item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Status {
    pub on: bool,
    pub inconsistent: bool,
    pub simple: bool,
}

fn parse_status(data: &[u8]) -> Option<Status> {
    let flags = le64(data, 16)?;
    Some(Status { on: flags & 1 != 0, inconsistent: flags & (1 << 2) != 0, simple: flags & (1 << 3) != 0 })
}

/// The status of quotas at the last commit; `None` where they are off.
pub(super) fn quota_status(dir: &Dir) -> Result<Option<Status>> {
    let mut status = None;
    search(dir, QUOTA_TREE, (0, QGROUP_STATUS, 0), (0, QGROUP_STATUS, 0), &mut |item| {
        status = parse_status(item.data);
        ControlFlow::Break(())
    })?;
    Ok(status)
}

/// Referenced bytes of a qgroup at the last commit; `None` when there is no such qgroup.
pub(super) fn qgroup_referenced(dir: &Dir, id: u64) -> Result<Option<u64>> {
    let mut referenced = None;
    search(dir, QUOTA_TREE, (0, QGROUP_INFO, id), (0, QGROUP_INFO, id), &mut |item| {
        referenced = le64(item.data, 8);
        ControlFlow::Break(())
    })?;
    Ok(referenced)
}

/// The limit of a qgroup, always current.
pub(super) fn qgroup_limit(dir: &Dir, id: u64) -> Result<super::Limit> {
    let mut limit = super::Limit { enforced: None, parked: None };
    search(dir, QUOTA_TREE, (0, QGROUP_LIMIT, id), (0, QGROUP_LIMIT, id), &mut |item| {
        limit = parse_limit(item.data).unwrap_or(limit);
        ControlFlow::Break(())
    })?;
    Ok(limit)
}

/// The least of all limits of a qgroup, always current.
pub(super) fn qgroup_least_limit(dir: &Dir, id: u64) -> Result<Option<u64>> {
    let mut least = None;
    search(dir, QUOTA_TREE, (0, QGROUP_LIMIT, id), (0, QGROUP_LIMIT, id), &mut |item| {
        let flags = le64(item.data, 0).unwrap_or(0);
        let limit = |flag: u64, at: usize| le64(item.data, at).filter(|_| flags & flag != 0);
        least = limit(LIMIT_MAX_RFER, 8).into_iter().chain(limit(LIMIT_MAX_EXCL, 16)).min();
        ControlFlow::Break(())
    })?;
    Ok(least)
}

fn parse_limit(data: &[u8]) -> Option<super::Limit> {
    let flags = le64(data, 0)?;
    Some(super::Limit {
        enforced: (flags & LIMIT_MAX_RFER != 0).then_some(le64(data, 8)?),
        parked: (flags & LIMIT_RSV_RFER != 0).then_some(le64(data, 24)?),
    })
}

/// The ids of all qgroups of a level, always current.
pub(super) fn qgroup_ids(dir: &Dir, level: u16) -> Result<Vec<u64>> {
    let (first, last) = ((level as u64) << 48, ((level as u64 + 1) << 48) - 1);
    let mut ids = Vec::new();
    search(dir, QUOTA_TREE, (0, QGROUP_INFO, first), (0, QGROUP_INFO, last), &mut |item| {
        ids.push(item.key.2 - first);
        ControlFlow::Continue(())
    })?;
    Ok(ids)
}

/// The members of a qgroup, and those that it is a member of, always current. A member has the smaller level.
pub(super) fn qgroup_relations(dir: &Dir, id: u64) -> Result<Vec<u64>> {
    let mut found = Vec::new();
    search(dir, QUOTA_TREE, (id, QGROUP_RELATION, 0), (id, QGROUP_RELATION, u64::MAX), &mut |item| {
        // A relation is stored in both directions.
        found.push(item.key.2);
        ControlFlow::Continue(())
    })?;
    Ok(found)
}

#[cfg(test)]
mod hostile;

#[cfg(test)]
mod tests {
    use super::super::Limit;
    use super::*;

    fn words(numbers: &[u64]) -> Vec<u8> {
        numbers.iter().flat_map(|n| n.to_le_bytes()).collect()
    }

    #[test]
    fn a_limit_counts_only_when_its_flag_is_set() {
        let parse = |flags| parse_limit(&words(&[flags, 10, 20, 30, 40])).unwrap();
        assert_eq!(parse(0), Limit { enforced: None, parked: None });
        assert_eq!(parse(1), Limit { enforced: Some(10), parked: None });
        assert_eq!(parse(5), Limit { enforced: Some(10), parked: Some(30) });
        assert_eq!(parse_limit(&[1, 0, 0]), None);
    }

    #[test]
    fn the_status_tells_simple_from_full_quotas() {
        let parse = |flags| parse_status(&words(&[1, 7, flags, 0])).unwrap();
        assert_eq!(parse(0b1001), Status { on: true, inconsistent: false, simple: true });
        assert_eq!(parse(0b0101), Status { on: true, inconsistent: true, simple: false });
        assert!(!parse(0).on);
    }

    #[test]
    fn a_child_is_read_from_its_reference() {
        let mut data = words(&[257, 3]);
        data.extend(4u16.to_le_bytes());
        data.extend(b"nest");
        let child = Child { id: 300, dir: 257, name: "nest".into() };
        assert_eq!(parse_root_ref((256, ROOT_REF, 300), &data), Some(child));
        assert_eq!(parse_root_ref((256, ROOT_REF, 300), &data[..20]), None);
    }

    #[test]
    fn the_name_of_a_directory_is_read_with_its_parent() {
        let mut data = words(&[5]);
        data.extend(3u16.to_le_bytes());
        data.extend(b"sub");
        assert_eq!(parse_inode_ref((300, INODE_REF, 256), &data), Some((256, "sub".into())));
        assert_eq!(parse_inode_ref((300, INODE_REF, 256), &data[..12]), None);
    }

    #[test]
    fn names_of_one_hash_are_all_seen() {
        let mut data = Vec::new();
        for (inode, name) in [(300u64, &b"one"[..]), (301, b"other")] {
            data.extend(inode.to_le_bytes());
            data.extend([0; 9 + 8 + 2]);
            data.extend((name.len() as u16).to_le_bytes());
            data.push(2);
            data.extend(name);
        }
        let seen: Vec<_> = dir_items(&data).map(|entry| (entry.leads_to, entry.name)).collect();
        assert_eq!(seen, [(300, &b"one"[..]), (301, &b"other"[..])]);
        assert_eq!(dir_items(&data[..35]).count(), 1);
    }

    #[test]
    fn a_cut_buffer_ends_the_items() {
        let mut buffer = Vec::new();
        for n in [1u64, 2] {
            buffer.extend(9u64.to_ne_bytes());
            buffer.extend(n.to_ne_bytes());
            buffer.extend((n * 10).to_ne_bytes());
            buffer.extend(156u32.to_ne_bytes());
            buffer.extend(3u32.to_ne_bytes());
            buffer.extend(b"abc");
        }
        let keys = |buffer: &[u8]| parse_items(buffer, 2).map(|i| i.key).collect::<Vec<_>>();
        assert_eq!(keys(&buffer), [(1, 156, 10), (2, 156, 20)]);
        assert_eq!(keys(&buffer[..69]), [(1, 156, 10)]);
    }

    #[test]
    fn keys_are_ordered_as_one_long_number() {
        assert_eq!(after((1, 2, 3)), Some((1, 2, 4)));
        assert_eq!(after((1, 2, u64::MAX)), Some((1, 3, 0)));
        assert_eq!(after((1, 255, u64::MAX)), Some((2, 0, 0)));
        assert_eq!(after((u64::MAX, 255, u64::MAX)), None);
    }
}
