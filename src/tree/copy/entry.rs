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
use crate::host::entries::{self, Entry, Hint, Kind, Status, Time};
use crate::tree::node::Node;

/// An entry of the source, and where it is copied to.
struct Item<'a> {
    node: &'a Node<Target>,
    name: &'a CStr,
    source: OwnedFd,
    /// `source` is open for reading.
    readable: bool,
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
        entry: &Entry<'_>,
    ) -> bool {
        let copied = self.look(worker, node, dir, entry).and_then(|item| match item {
            Some(item) if self.strip && is_device(&item.status) => {
                self.skip(walk, worker, item).map(|()| false)
            }
            Some(item) if item.status.links > 1 => self.several(walk, worker, item).map(|()| false),
            Some(item) => self.one(walk, worker, item).map(|()| false),
            None => Ok(true),
        });
        copied.unwrap_or_else(|trouble| {
            self.trouble(walk, worker, node, Some(entry.name), trouble);
            false
        })
    }

    /// What the entry is; `None`: a directory.
    fn look<'a>(
        &self,
        worker: &mut Worker,
        node: &'a Node<Target>,
        dir: &OwnedFd,
        &Entry { name, hint, .. }: &Entry<'a>,
    ) -> Result<Option<Item<'a>>, Trouble> {
        let look = |source: OwnedFd| Ok((entries::status(&source, c"")?, source));
        // One call less for nearly all; whatever is in its way, the other way tells.
        let readable = match hint {
            Hint::File if self.quiet => copying::open_file(dir, name).and_then(look).ok(),
            _ => None,
        };
        let readable = readable.filter(|(status, _)| status.kind == Kind::File);
        let (is_readable, looked) = match readable {
            Some(looked) => (true, looked),
            None => {
                let found = self.target.patiently(|| copying::open_any(dir, name));
                (false, found.and_then(look).map_err(Trouble::Source)?)
            }
        };
        let (status, source) = looked;
        if status.kind == Kind::Directory {
            return Ok(None);
        }
        let here = self.here(worker, node)?;
        Ok(Some(Item { node, name, source, readable: is_readable, status, here }))
    }

    /// A device that the copy does not get.
    fn skip(&self, walk: &Copy<'_>, worker: &mut Worker, item: Item<'_>) -> Result<(), Trouble> {
        worker.copied.skipped_devices += 1;
        worker.copied.note(|| item.below(), || "is a device and was left out".to_owned());
        // Something of an earlier run may have its name.
        self.clear(walk, &item.here, item.node, item.name)
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

    fn file(&self, walk: &Copy<'_>, worker: &mut Worker, mut item: Item<'_>) -> Result<(), Trouble> {
        let bits = if self.strip { item.status.mode & 0o6000 } else { 0 };
        item.status.mode &= !bits;
        let Item { name, status, here, .. } = &item;
        let same = |there: &Status| {
            let of = |file: &Status| (file.kind, file.size, file.modified);
            // What has one name in the source has one in the copy.
            let alike = of(there) == of(status) && (status.links > 1 || there.links == 1);
            // By a clock that was ahead then, and is no longer, nothing can be told.
            // The copy's ctime is no help: in a trial on zfs-fuse it never came to lie behind the source's.
            let is_of_this = |made| status.changed < made || status.changed > Time::now();
            Ok(alike && there.made().is_none_or(is_of_this))
        };
        let make = || self.target.patiently(|| copying::make_file(&here.handle, name, status.mode));
        match self.put(walk, here, item.node, name, same, make)? {
            Found::Kept(there) => {
                worker.copied.kept += 1;
                let of = |file: &Status| (file.ids, file.mode);
                let mut capabilities =
                    self.strip && attributes::has_capabilities(item.source.as_fd(), &mut worker.buffers)?;
                // The run before may have been told otherwise, and of a clock that was ahead nothing is known.
                if of(&there) != of(status) || capabilities || status.changed >= there.changed {
                    capabilities = self.describe(worker, &item, true)?;
                }
                self.note_stripped(worker, &item, bits, capabilities);
                Ok(())
            }
            Found::Made(target) => {
                let filled = self.fill(walk, worker, &item, &target);
                match filled {
                    Ok(capabilities) => {
                        worker.copied.files += 1;
                        self.note_stripped(worker, &item, bits, capabilities);
                    }
                    Err(Trouble::Stopped) => {}
                    // A part of a file is of no use to anybody.
                    Err(_) => drop(entries::remove_file(&here.handle, name)),
                }
                filled.map(drop)
            }
        }
    }

    fn note_stripped(&self, worker: &mut Worker, item: &Item<'_>, bits: u32, capabilities: bool) {
        let lost =
            [(bits & 0o4000 != 0, "setuid"), (bits & 0o2000 != 0, "setgid"), (capabilities, "capabilities")];
        let lost: Vec<&str> = lost.iter().filter(|(lost, _)| *lost).map(|(_, what)| *what).collect();
        if !lost.is_empty() {
            worker.copied.stripped += 1;
            worker.copied.note(|| item.below(), || format!("lost {}", lost.join(", ")));
        }
    }

    /// Content, owner, mode, attributes and, in the end, the times of a file that was made. True when the source has
    /// capabilities that were left out.
    fn fill(
        &self,
        walk: &Copy<'_>,
        worker: &mut Worker,
        item: &Item<'_>,
        target: &OwnedFd,
    ) -> Result<bool, Trouble> {
        let Item { source, status, .. } = item;
        let opened = match item.readable {
            true => None,
            false => {
                let open = || copying::open_for_reading(source);
                Some(self.target.patiently(open).map_err(Trouble::Source)?)
            }
        };
        let from = opened.as_ref().unwrap_or(source);
        let ids = item.here.place.data.gives(target).map_err(Trouble::Target)?;
        let Worker { buffers, copied, untold, .. } = worker;
        let pair = Pair { from, to: target, status };
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
            ids: Some(ids),
            existed: false,
            strip: self.strip,
        };
        let left = attributes::copy(&copy, buffers, &mut |text| copied.note(|| item.below(), || text))?;
        copying::set_times(target, status.accessed, status.modified).map_err(Trouble::Target)?;
        Ok(left.capabilities)
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
        self.describe(worker, item, existed).map(drop)
    }

    /// Owner, mode, attributes and times of an entry of the target, which is not opened. True when the source has
    /// capabilities that were left out.
    fn describe(&self, worker: &mut Worker, item: &Item<'_>, existed: bool) -> Result<bool, Trouble> {
        let Item { name, status, here, .. } = item;
        let open = || -> io::Result<OwnedFd> { copying::open_any(&here.handle, name) };
        let target = self.target.patiently(open).map_err(Trouble::Target)?;
        let Worker { buffers, copied, .. } = worker;
        let copy = attributes::Copy {
            source: item.source.as_fd(),
            target: target.as_fd(),
            status,
            mode: None,
            ids: None,
            existed,
            strip: self.strip,
        };
        let left = attributes::copy(&copy, buffers, &mut |text| copied.note(|| item.below(), || text))?;
        copying::set_times_at(&here.handle, name, status.accessed, status.modified)
            .map_err(Trouble::Target)?;
        Ok(left.capabilities)
    }
}

fn is_device(status: &Status) -> bool {
    matches!(status.mode & libc::S_IFMT, libc::S_IFBLK | libc::S_IFCHR)
}
