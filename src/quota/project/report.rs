//! What `xfs_quota -c 'report -p -n -N -b'` prints: a line for each project that uses something or has a limit.

use std::collections::{HashMap, HashSet};

use crate::quota::Reading;

const UNIT: u64 = 1024;

/// One project, in KiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) used: u64,
    /// vfadm parks the true limit here while the hard one is raised.
    pub(super) soft: u64,
    pub(super) hard: u64,
}

impl Line {
    pub(super) fn is_unused(&self) -> bool {
        *self == Line { used: 0, soft: 0, hard: 0 }
    }

    pub(super) fn has_limit(&self) -> bool {
        self.soft > 0 || self.hard > 0
    }

    /// The limit in KiB; 0 is none.
    pub(super) fn limit(&self) -> u64 {
        if self.soft > 0 { self.soft } else { self.hard }
    }

    pub(super) fn reading(&self) -> Reading {
        let limit = Some(self.limit()).filter(|kib| *kib > 0).map(|kib| kib.saturating_mul(UNIT));
        Reading { used: Some(self.used.saturating_mul(UNIT)), limit }
    }
}

/// A line `#10000  8192  0  4096  00 [--none--]`: what follows the limits are warnings and the grace time. A project is
/// named by its number whatever `/etc/projid` says (`-n`).
pub(super) fn parse_line(line: &str) -> Option<(u64, Line)> {
    let mut fields = line.split_ascii_whitespace();
    let id = fields.next()?.strip_prefix('#')?.parse().ok()?;
    let mut number = || fields.next()?.parse::<u64>().ok();
    Some((id, Line { used: number()?, soft: number()?, hard: number()? }))
}

/// The projects of a report, only those that are wanted; `None` when there is not a single line: even an empty
/// filesystem has the project 0.
pub(super) fn parse(text: &[u8], wanted: Option<&HashSet<u64>>) -> Option<HashMap<u64, Line>> {
    let mut any = false;
    let mut found = HashMap::new();
    for line in text.split(|byte| *byte == b'\n') {
        let Some((id, line)) = std::str::from_utf8(line).ok().and_then(parse_line) else { continue };
        any = true;
        if wanted.is_none_or(|wanted| wanted.contains(&id)) {
            found.insert(id, line);
        }
    }
    any.then_some(found)
}
