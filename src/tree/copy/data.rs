//! The content of a regular file.

use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::libc;

use super::Trouble;
use crate::host::copying;
use crate::host::entries::{self, Status};

/// How much is read, written and then told of at a time, bytes.
const PART: usize = 1 << 20;
/// How much the filesystem copies before a look whether to stop, bytes.
const STRETCH: usize = 8 << 20;

/// How content is copied; what does not work once is not tried again.
pub(super) struct Means {
    share: AtomicBool,
    within: AtomicBool,
}

/// What came of a file.
#[derive(Default)]
pub(super) struct Content {
    /// Bytes that were written.
    pub(super) written: u64,
    /// Bytes that are shared with the source.
    pub(super) shared: u64,
    /// It was changed meanwhile: what was there is in the copy.
    pub(super) changed: bool,
}

/// The two files.
pub(super) struct Pair<'a> {
    pub(super) from: &'a OwnedFd,
    pub(super) to: &'a OwnedFd,
    pub(super) status: &'a Status,
}

impl Means {
    /// With `share`, the copy may share what it has with the source.
    pub(super) fn new(share: bool) -> Means {
        Means { share: AtomicBool::new(share), within: AtomicBool::new(share) }
    }

    /// Copies the content of one file into an empty one, holes as holes, up to the length that the file had when its
    /// status was read.
    pub(super) fn copy(
        &self,
        pair: &Pair<'_>,
        buffer: &mut Vec<u8>,
        tell: &mut dyn FnMut(u64) -> Result<(), Trouble>,
    ) -> Result<Content, Trouble> {
        let size = pair.status.size;
        if size == 0 {
            return Ok(Content::default());
        }
        if self.shares(pair)? {
            // Without holes.
            let shared = size.min(pair.status.allocated);
            tell(shared)?;
            return Ok(Content { shared, changed: has_changed(pair)?, ..Content::default() });
        }
        if buffer.is_empty() {
            buffer.resize(PART, 0);
        }
        // Fewer blocks than bytes: there are holes, or the filesystem packs. Long files are worth a closer look.
        let small = size < PART as u64;
        // Blocks are counted in units of 512 bytes.
        if small && pair.status.allocated + 511 >= size {
            let read =
                copying::read_at(pair.from, &mut buffer[..size as usize + 1], 0).map_err(Trouble::Source)?;
            let length = read.min(size as usize);
            copying::write_at(pair.to, &buffer[..length], 0).map_err(Trouble::Target)?;
            tell(length as u64)?;
            let changed = read as u64 != size || has_changed(pair)?;
            return Ok(Content { written: length as u64, shared: 0, changed });
        }
        if !small {
            copying::read_ahead(pair.from);
        }
        let mut content = Content::default();
        let mut end = 0;
        while let Some((begin, stop)) = next_data(pair, end)? {
            end = self.stretch(pair, buffer, (begin, stop), &mut content, tell)?;
            if end < stop {
                break;
            }
        }
        let there = entries::status(pair.from, c"").map_err(Trouble::Source)?;
        content.changed = (there.size, there.modified) != (size, pair.status.modified);
        let length = size.min(there.size);
        if end != length {
            // A length is on the disk before the data below it: after a crash, all would look as if it were there.
            if content.written > 0 {
                copying::sync_data(pair.to).map_err(Trouble::Target)?;
            }
            copying::set_length(pair.to, length).map_err(Trouble::Target)?;
        }
        Ok(content)
    }

    /// True when the file shares all with its source.
    fn shares(&self, pair: &Pair<'_>) -> Result<bool, Trouble> {
        if !self.share.load(Ordering::Relaxed) {
            return Ok(false);
        }
        match copying::share(pair.from, pair.to) {
            Ok(()) => Ok(true),
            Err(e) => match e.raw_os_error() {
                Some(libc::EXDEV | libc::EOPNOTSUPP | libc::ENOTTY | libc::ENOSYS) => {
                    self.share.store(false, Ordering::Relaxed);
                    Ok(false)
                }
                // This file cannot, another may.
                Some(libc::EINVAL | libc::EPERM | libc::ETXTBSY) => Ok(false),
                _ => Err(Trouble::Target(e)),
            },
        }
    }

    /// Copies data from `begin` to `stop`; where it ended, which is before `stop` when the file ends there.
    fn stretch(
        &self,
        pair: &Pair<'_>,
        buffer: &mut [u8],
        (begin, stop): (u64, u64),
        content: &mut Content,
        tell: &mut dyn FnMut(u64) -> Result<(), Trouble>,
    ) -> Result<u64, Trouble> {
        let mut at = begin;
        while at < stop {
            let copied = match self.part_within(pair, at, stop)? {
                Some(copied) => copied,
                None => {
                    let most = (stop - at).min(buffer.len() as u64) as usize;
                    let read =
                        copying::read_at(pair.from, &mut buffer[..most], at).map_err(Trouble::Source)?;
                    copying::write_at(pair.to, &buffer[..read], at).map_err(Trouble::Target)?;
                    read as u64
                }
            };
            if copied == 0 {
                break;
            }
            at += copied;
            content.written += copied;
            tell(copied)?;
        }
        Ok(at)
    }

    /// Lets the filesystem copy; `None` where it cannot, or comes to nothing.
    fn part_within(&self, pair: &Pair<'_>, at: u64, stop: u64) -> Result<Option<u64>, Trouble> {
        if !self.within.load(Ordering::Relaxed) {
            return Ok(None);
        }
        let most = (stop - at).min(STRETCH as u64) as usize;
        match copying::copy_within(pair.from, pair.to, at, most) {
            // Some filesystems end early without a word: reading tells.
            Ok(0) => Ok(None),
            Ok(copied) => Ok(Some(copied as u64)),
            Err(e) if matches!(e.raw_os_error(), Some(libc::ENOSPC | libc::EDQUOT)) => {
                Err(Trouble::Target(e))
            }
            Err(_) => {
                self.within.store(false, Ordering::Relaxed);
                Ok(None)
            }
        }
    }
}

/// True when the file was written to since its status was read.
fn has_changed(pair: &Pair<'_>) -> Result<bool, Trouble> {
    let of = |status: &Status| (status.size, status.modified);
    Ok(of(&entries::status(pair.from, c"").map_err(Trouble::Source)?) != of(pair.status))
}

/// The next data below the length that the file had; all of it where the filesystem does not tell holes.
fn next_data(pair: &Pair<'_>, from: u64) -> Result<Option<(u64, u64)>, Trouble> {
    let size = pair.status.size;
    if from >= size {
        return Ok(None);
    }
    match copying::next_data(pair.from, from) {
        Ok(found) => Ok(found.filter(|(begin, _)| *begin < size).map(|(begin, end)| (begin, end.min(size)))),
        Err(e) if matches!(e.raw_os_error(), Some(libc::EINVAL | libc::EOPNOTSUPP)) => Ok(Some((from, size))),
        Err(e) => Err(Trouble::Source(e)),
    }
}
