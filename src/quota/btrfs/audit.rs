//! Subvolumes that are no folders, and qgroups that are no scopes.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use super::{handover, plain, qgroup};
use crate::domain::error::{Error, Result};
use crate::domain::quota::Folders;
use crate::host::btrfs::qgroups::Qgroups;
use crate::host::btrfs::search::{Child, children};
use crate::host::btrfs::{is_read_only, path_of_inode, subvolume_id};
use crate::host::dir::Dir;
use crate::quota::audit::OWN_IDS;
use crate::quota::{Capacity, Escape, EscapeKind, ScopeAt, Uncharged};

pub(super) fn audit(volume: &Path, scopes: &[ScopeAt<'_>], found: &mut dyn FnMut(Escape)) -> Result<()> {
    let dir = plain::open_volume(volume)?;
    let known: HashSet<u64> = scopes.iter().filter_map(|scope| scope.kernel_id).collect();
    for id in Qgroups::of(&dir)?.ids(1)? {
        if OWN_IDS.contains(&id) && !known.contains(&id) {
            found(Escape {
                kind: EscapeKind::Unaccounted,
                path: volume.to_owned(),
                scope: None,
                id: Some(id),
                message: format!(
                    "the qgroup 1/{id} belongs to no scope of this volume; if no other volume is on this filesystem: \
                     btrfs qgroup destroy 1/{id} {}",
                    volume.display()
                ),
                mendable: false,
            });
        }
    }
    let mut seen = Tree::of(volume, &dir, scopes)?;
    let top = subvolume_id(&dir)?;
    seen.below(top, &PathBuf::new(), None, found)
}

/// Charges what is not charged, with all below it, to the scope that it is in.
pub(super) fn mend(volume: &Path, scopes: &[ScopeAt<'_>], escape: &Escape) -> Result<()> {
    let path = escape.path.display();
    let gone = || Error::storage(format!("{path} is another one than it was"));
    let scope = escape.scope.and_then(|place| scopes.get(place)).ok_or_else(gone)?;
    let dir = plain::open_volume(volume)?;
    // The way to it is a tenant's: it must lead to the subvolume that was found, by no link.
    let below = escape.path.strip_prefix(volume).map_err(|_| gone())?;
    let found = dir.open_beneath(below)?;
    if !below.starts_with(scope.dir) || Some(subvolume_id(&found)?) != escape.id {
        return Err(gone());
    }
    handover::charge(&dir, &found, qgroup(scope)?)
}

/// How many qgroups and subvolumes there are. Nothing but the 48 bits of their ids bounds them.
pub(super) fn capacities(dir: &Dir) -> Result<Vec<Capacity>> {
    let qgroups = Qgroups::of(dir)?;
    let count = |level| qgroups.ids(level).map(|ids| ids.len() as u64);
    let most = Some(1 << 48);
    Ok(vec![
        Capacity { name: "qgroups", used: count(0)? + count(1)?, most },
        // Each has a qgroup of level 0.
        Capacity { name: "subvolumes", used: count(0)?, most },
    ])
}

struct Tree<'a> {
    volume: &'a Path,
    dir: &'a Dir,
    /// The path of the volume in its subvolume.
    prefix: PathBuf,
    scopes: &'a [ScopeAt<'a>],
    by_name: HashMap<&'a str, usize>,
    /// The qgroup of each scope.
    own: Vec<u64>,
    qgroups: Qgroups<'a>,
}

impl<'a> Tree<'a> {
    fn of(volume: &'a Path, dir: &'a Dir, scopes: &'a [ScopeAt<'a>]) -> Result<Tree<'a>> {
        let prefix = path_of_inode(dir, subvolume_id(dir)?, dir.stat_self()?.st_ino)?;
        let own = scopes.iter().map(qgroup).collect::<Result<_>>()?;
        let by_name = scopes.iter().enumerate().map(|(place, scope)| (scope.dir, place)).collect();
        Ok(Tree { volume, dir, prefix: prefix.into(), scopes, by_name, own, qgroups: Qgroups::of(dir)? })
    }

    /// Looks at the subvolumes right inside of `id`, which is at `at` below the volume, and is a folder or a scope of
    /// the scope `of`.
    fn below(&mut self, id: u64, at: &Path, of: Option<usize>, found: &mut dyn FnMut(Escape)) -> Result<()> {
        for child in children(self.dir, id)? {
            // The path of a child of the volume's own subvolume begins at that subvolume's root.
            let Some(path) = self.path(id, &child, at, of.is_none())? else { continue };
            let scope = of.or_else(|| {
                let first = path.components().next()?.as_os_str().to_str()?;
                self.by_name.get(first).copied()
            });
            let Some(scope) = scope else { continue };
            self.judge(scope, &child, &path, of.is_some(), found)?;
            self.below(child.id, &path, Some(scope), found)?;
        }
        Ok(())
    }

    /// The path of a subvolume below the volume; `None` where it is outside, or its path is too long to be told.
    fn path(&self, parent: u64, child: &Child, at: &Path, top: bool) -> Result<Option<PathBuf>> {
        let Ok(holder) = path_of_inode(self.dir, parent, child.dir) else { return Ok(None) };
        let path = Path::new(&holder).join(&child.name);
        Ok(match top {
            true => path.strip_prefix(&self.prefix).ok().map(Path::to_owned),
            false => Some(at.join(path)),
        })
    }

    fn judge(
        &self,
        scope: usize,
        child: &Child,
        path: &Path,
        nested: bool,
        found: &mut dyn FnMut(Escape),
    ) -> Result<()> {
        let how = handover::of_subvolume(&self.qgroups, child.id, self.own[scope])?;
        let own = !nested && is_own(path, self.scopes[scope].folders);
        if own && how.is_none() {
            return Ok(());
        }
        let full = self.volume.join(path);
        let kind = match how {
            None => EscapeKind::NestedSubvolume,
            Some(Uncharged::Twice(_)) => EscapeKind::ChargedTwice,
            Some(_) => EscapeKind::NotCharged,
        };
        let read_only = Dir::open(&full).and_then(|dir| is_read_only(&dir)).unwrap_or(false);
        let what = match (own, read_only) {
            (true, _) => "the folder's subvolume",
            (_, true) => "a read-only snapshot inside of a folder",
            _ => "a subvolume inside of a folder",
        };
        let message = match how {
            None => format!("{what}; it is counted, but a snapshot that is not made by vfadm leaves it out"),
            Some(Uncharged::Twice(other)) => {
                format!("{what} is charged to its scope, and to the qgroup 1/{other} as well")
            }
            Some(_) if own => format!("{what} is not charged to its scope"),
            Some(_) => format!("{what}, and it is not charged to its scope"),
        };
        let mendable = how.is_some();
        found(Escape { kind, path: full, scope: Some(scope), id: Some(child.id), message, mendable });
        Ok(())
    }
}

/// Whether this is where vfadm itself makes subvolumes: a folder, one in the trash or on its way, the scope itself.
fn is_own(path: &Path, folders: Folders) -> bool {
    let parts: Vec<&str> = path.iter().filter_map(|part| part.to_str()).collect();
    let hex = |text: &str, length: usize| text.len() == length && text.bytes().all(|b| b.is_ascii_hexdigit());
    match (folders, parts.as_slice()) {
        (Folders::Directory, [_]) => true,
        (Folders::Directory, _) => false,
        (_, [_, a, b, rest]) => hex(a, 2) && hex(b, 2) && hex(rest, 28),
        (_, [_, ".trash" | ".staging", name]) => hex(name, 32),
        _ => false,
    }
}
