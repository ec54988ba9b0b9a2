//! Entries that are no directories.

use std::ffi::{CStr, OsStr};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use nix::libc;

use super::data::Pair;
use super::directory::Found;
use super::links::Claim;
use super::{Copier, Copy, Here, Target, Trouble, Worker, attributes};
use crate::host::copying;
use crate::host::entries::{self, Kind, Status};
use crate::tree::node::Node;

/// An entry of the source, and where it is copied to.
struct Item<'a> {
    node: &'a Node<Target>,
    name: &'a CStr,
    source: OwnedFd,
    status: Status,
    here: Here,
}

impl Item<'_> {
    /// The path below the copied directory, for notes.
    fn below(&self) -> std::path::PathBuf {
        self.node.below().join(OsStr::from_bytes(self.name.to_bytes()))
    }
}

impl Copier {
    /// Copies an entry that did not look like a directory. True: it is one.
    pub(super) fn copy_entry(
        &self,
        walk: &Copy<'_>,
        worker: &mut Worker,
        node: &Node<Target>,
        dir: &OwnedFd,
        name: &CStr,
    ) -> bool {
        let copied = self.look(worker, node, dir, name).and_then(|item| match item {
            Some(item) if item.status.links > 1 => self.several(walk, worker, item).map(|()| false),
            Some(item) => self.one(walk, worker, item).map(|()| false),
            None => Ok(true),
        });
        copied.unwrap_or_else(|trouble| {
            self.trouble(walk, worker, node, Some(name), trouble);
            false
        })
    }

    /// What the entry is; `None`: a directory.
    fn look<'a>(
        &self,
        worker: &mut Worker,
        node: &'a Node<Target>,
        dir: &OwnedFd,
        name: &'a CStr,
    ) -> Result<Option<Item<'a>>, Trouble> {
        let found = self.target.patiently(|| copying::open_any(dir, name));
        let looked = found.and_then(|source| Ok((entries::status(&source, c"")?, source)));
        let (status, source) = looked.map_err(Trouble::Source)?;
        if status.kind == Kind::Directory {
            return Ok(None);
        }
        let here = self.here(worker, node)?;
        Ok(Some(Item { node, name, source, status, here }))
    }

    /// A file with several names: it is copied by the first that is met, and gets the others then.
    fn several(&self, walk: &Copy<'_>, worker: &mut Worker, item: Item<'_>) -> Result<(), Trouble> {
        let (status, name, here) = (item.status, item.name, item.here.clone());
        loop {
            let claim = self.links.claim(&status, || walk.stopped()).ok_or(Trouble::Stopped)?;
            let Claim::Link(place, first) = claim else {
                let copied = self.one(walk, worker, item);
                match &copied {
                    Ok(()) => self.links.made(&status, &here.place, name),
                    Err(_) => self.links.forget(&status),
                }
                return copied;
            };
            let from = self.target.get(&place).map_err(Trouble::Target)?;
            let keep = |there: &Status| {
                let first = entries::status(&from, &first).map_err(Trouble::Target)?;
                Ok(first.identity == there.identity)
            };
            let make = || copying::make_name(&from, &first, &here.handle, name);
            match self.put(walk, &here, item.node, name, keep, make) {
                Ok(Found::Made(())) => worker.copied.names += 1,
                Ok(Found::Kept(_)) => worker.copied.kept += 1,
                // As many names as the filesystem bears.
                Err(Trouble::Target(e)) if matches!(e.raw_os_error(), Some(libc::EMLINK | libc::ENOENT)) => {
                    self.links.forget(&status);
                    continue;
                }
                Err(trouble) => return Err(trouble),
            }
            return Ok(());
        }
    }

    fn one(&self, walk: &Copy<'_>, worker: &mut Worker, item: Item<'_>) -> Result<(), Trouble> {
        match item.status.kind {
            Kind::File => self.file(walk, worker, item)?,
            Kind::Symlink => self.symlink(walk, worker, &item)?,
            Kind::Other => self.special(walk, worker, &item)?,
            Kind::Directory => {}
        }
        worker.untold.add_entry(walk);
        Ok(())
    }

    fn file(&self, walk: &Copy<'_>, worker: &mut Worker, item: Item<'_>) -> Result<(), Trouble> {
        let Item { name, status, here, .. } = &item;
        let same = |there: &Status| {
            let of = |file: &Status| (file.kind, file.size, file.modified);
            // What has one name in the source has one in the copy.
            Ok(of(there) == of(status) && (status.links > 1 || there.links == 1))
        };
        let make = || self.target.patiently(|| copying::make_file(&here.handle, name, status.mode));
        match self.put(walk, here, item.node, name, same, make)? {
            Found::Kept(there) => {
                worker.copied.kept += 1;
                let of = |file: &Status| (file.ids, file.mode);
                // The owner may have changed more than the content since.
                if of(&there) != of(status) || status.changed >= there.changed {
                    self.describe(worker, &item, true)?;
                }
                Ok(())
            }
            Found::Made(target) => {
                let (here, name) = (here.clone(), *name);
                let filled = self.fill(walk, worker, item, &target);
                match filled {
                    Ok(()) => worker.copied.files += 1,
                    Err(Trouble::Stopped) => {}
                    // A part of a file is of no use to anybody.
                    Err(_) => drop(entries::remove_file(&here.handle, name)),
                }
                filled
            }
        }
    }

    /// Content, owner, mode, attributes and, in the end, the times of a file that was made.
    fn fill(
        &self,
        walk: &Copy<'_>,
        worker: &mut Worker,
        item: Item<'_>,
        target: &OwnedFd,
    ) -> Result<(), Trouble> {
        let from =
            self.target.patiently(|| copying::open_for_reading(&item.source)).map_err(Trouble::Source)?;
        let Worker { buffers, copied, untold, .. } = worker;
        let status = &item.status;
        let pair = Pair { from: &from, to: target, status };
        let mut tell = |bytes| untold.add_bytes(walk, bytes);
        let content = self.means.copy(&pair, &mut buffers.data, &mut tell)?;
        copied.bytes += content.written;
        copied.shared += content.shared;
        if content.changed {
            copied.note(|| item.below(), || "was changed while it was copied".to_owned());
        }
        let copy = attributes::Copy {
            source: from.as_fd(),
            target: target.as_fd(),
            status,
            mode: Some(status.mode & 0o777 & !self.umask),
            existed: false,
        };
        attributes::copy(&copy, buffers, &mut |text| copied.note(|| item.below(), || text))?;
        copying::set_times(target, status.accessed, status.modified).map_err(Trouble::Target)
    }

    fn symlink(&self, walk: &Copy<'_>, worker: &mut Worker, item: &Item<'_>) -> Result<(), Trouble> {
        let Item { name, status, here, .. } = item;
        let leads_to = copying::read_link(&item.source).map_err(Trouble::Source)?;
        let same = |there: &Status| {
            let read = || copying::read_link(copying::open_any(&here.handle, name)?);
            Ok(there.kind == Kind::Symlink && read().map_err(Trouble::Target)? == leads_to)
        };
        let make = || copying::make_link(&here.handle, name, &leads_to);
        match self.put(walk, here, item.node, name, same, make)? {
            Found::Made(()) => worker.copied.symlinks += 1,
            Found::Kept(_) => worker.copied.kept += 1,
        }
        // An earlier run may have ended in between.
        let described = copying::set_ids_at(&here.handle, name, status.ids)
            .and_then(|()| copying::set_times_at(&here.handle, name, status.accessed, status.modified));
        described.map_err(Trouble::Target)
    }

    fn special(&self, walk: &Copy<'_>, worker: &mut Worker, item: &Item<'_>) -> Result<(), Trouble> {
        let Item { name, status, here, .. } = item;
        let of = |file: &Status| (file.mode & libc::S_IFMT, file.device);
        let same = |there: &Status| Ok(of(there) == of(status));
        let make = || copying::make_special(&here.handle, name, status);
        let found = self.put(walk, here, item.node, name, same, make)?;
        let existed = matches!(found, Found::Kept(_));
        match existed {
            true => worker.copied.kept += 1,
            false => worker.copied.others += 1,
        }
        self.describe(worker, item, existed)
    }

    /// Owner, mode, attributes and times of an entry of the target, which is not opened.
    fn describe(&self, worker: &mut Worker, item: &Item<'_>, existed: bool) -> Result<(), Trouble> {
        let Item { name, status, here, .. } = item;
        let open = || -> io::Result<OwnedFd> { copying::open_any(&here.handle, name) };
        let target = self.target.patiently(open).map_err(Trouble::Target)?;
        let Worker { buffers, copied, .. } = worker;
        let copy = attributes::Copy {
            source: item.source.as_fd(),
            target: target.as_fd(),
            status,
            mode: None,
            existed,
        };
        attributes::copy(&copy, buffers, &mut |text| copied.note(|| item.below(), || text))?;
        copying::set_times_at(&here.handle, name, status.accessed, status.modified).map_err(Trouble::Target)
    }
}
