//! `.vfadm/nodes/HOST.yaml` of the root: read without a lock, written under one of its own.

use std::time::Duration;

use jiff::Timestamp;

use crate::domain::error::{Code, Error, Result};
use crate::domain::node::{Node, Report};
use crate::domain::quota::Storage;
use crate::host::dir::Dir;
use crate::host::files::{self, Ownership};
use crate::host::lock::FileLock;
use crate::host::process::hostname;
use crate::registry::document::plain;
use crate::registry::root::Root;

const DIR: &str = "nodes";
const MOST: u64 = 1 << 20;
const END: &str = ".yaml";
/// How long to wait for another command of this host that notes something.
const PATIENCE: Duration = Duration::from_secs(10);

/// The name of this host as a node.
pub(super) fn own_name() -> String {
    hostname().replace('/', "_")
}

fn file_name(node: &str) -> String {
    format!("{node}{END}")
}

fn lock_name(node: &str) -> String {
    format!(".{node}.lock")
}

fn read(dir: &Dir, node: &str) -> Result<Node> {
    // What cannot be read is found out again.
    Ok(parse(dir, node).unwrap_or_default())
}

fn parse(dir: &Dir, node: &str) -> Option<Node> {
    decode(&files::read(dir, &file_name(node), MOST).ok()??)
}

fn decode(bytes: &[u8]) -> Option<Node> {
    plain(bytes.to_vec()).ok()
}

/// What a node has said; `None` where it never checked in.
pub fn report_of(root: &Root, node: &str) -> Result<Option<Report>> {
    let Some(dir) = root.private_if_there(DIR)? else { return Ok(None) };
    let report = Report { name: node.to_owned(), node: read(&dir, node)? };
    Ok(Some(report).filter(|report| report.node.seen_at.is_some()))
}

/// All nodes that have checked in, by name. A host that only noted which limits hold there is none.
pub(super) fn reports(root: &Root) -> Result<Vec<Report>> {
    let Some(dir) = root.private_if_there(DIR)? else { return Ok(Vec::new()) };
    let mut reports = Vec::new();
    for name in names(&dir)? {
        let node = read(&dir, &name)?;
        if node.seen_at.is_some() {
            reports.push(Report { name, node });
        }
    }
    Ok(reports)
}

/// The nodes whose file is there and cannot be read.
pub(super) fn unreadable(root: &Root) -> Result<Vec<String>> {
    let Some(dir) = root.private_if_there(DIR)? else { return Ok(Vec::new()) };
    Ok(names(&dir)?.into_iter().filter(|name| parse(&dir, name).is_none()).collect())
}

fn names(dir: &Dir) -> Result<Vec<String>> {
    let all = dir.names()?.into_iter().filter_map(|name| name.into_string().ok());
    let mut names: Vec<String> = all
        .filter(|name| !name.starts_with('.'))
        .filter_map(|name| name.strip_suffix(END).map(str::to_owned))
        .collect();
    names.sort();
    Ok(names)
}

/// True when a limit of this driver was seen to hold on this host.
pub fn is_verified(root: &Root, storage: &Storage) -> Result<bool> {
    let Some(dir) = root.private_if_there(DIR)? else { return Ok(false) };
    Ok(read(&dir, &own_name())?.verified.contains_key(&storage.label()))
}

/// Notes that a limit of this driver was seen to hold on this host.
pub fn note_verified(root: &Root, storage: &Storage) -> Result<()> {
    update(root, PATIENCE, |dir, mut node| {
        node.verified.insert(storage.label(), crate::registry::now());
        files::publish_draft(dir, &draft(dir, &node)?)?;
        Ok(())
    })
}

/// Notes what this host says of itself, and how its clock stands to the one of the root's filesystem; what else is in
/// the file is kept. What was written.
pub(super) fn note(root: &Root, timeout: Duration, said: Node) -> Result<Node> {
    let mut written = said;
    update(root, timeout, |dir, before| {
        written.verified = before.verified;
        written.extra = before.extra;
        let begun = Timestamp::now();
        let name = draft(dir, &written)?;
        let ended = Timestamp::now();
        let stat = dir.stat(files::draft_name(&name))?;
        let stamp = stat.and_then(|stat| Timestamp::new(stat.st_mtime, stat.st_mtime_nsec as i32).ok());
        written.clock_offset_seconds = stamp.map(|stamp| ahead(begun, ended, stamp));
        written.seen_at = Some(crate::registry::now());
        files::publish_draft(dir, &draft(dir, &written)?)?;
        Ok(())
    })?;
    Ok(written)
}

/// How far a clock is ahead that said `begun` before and `ended` after something that another clock has stamped,
/// seconds, at least: negative where it is behind.
fn ahead(begun: Timestamp, ended: Timestamp, stamp: Timestamp) -> f64 {
    let offset = if stamp < begun {
        begun.duration_since(stamp)
    } else if stamp > ended {
        ended.duration_since(stamp)
    } else {
        return 0.0;
    };
    offset.as_millis() as f64 / 1000.0
}

/// Forgets a node.
pub(super) fn remove(root: &Root, node: &str, timeout: Duration) -> Result<()> {
    let Some(dir) = root.private_if_there(DIR)? else { return Ok(()) };
    let _lock = lock(&dir, node, timeout)?;
    dir.remove_file(file_name(node))?;
    dir.remove_file(lock_name(node))?;
    Ok(dir.sync()?)
}

/// Writes the draft of this host's file; the file's name.
fn draft(dir: &Dir, node: &Node) -> Result<String> {
    let text = serde_yaml::to_string(node).map_err(|e| Error::storage(format!("cannot note that: {e}")))?;
    let stat = dir.stat_self()?;
    let like = Ownership { mode: 0o600, ids: (stat.st_uid, stat.st_gid) };
    let name = file_name(&own_name());
    files::write_draft(dir, &name, text.as_bytes(), like)?;
    Ok(name)
}

fn update(root: &Root, timeout: Duration, change: impl FnOnce(&Dir, Node) -> Result<()>) -> Result<()> {
    let dir = root.private(DIR)?;
    let name = own_name();
    let _lock = lock(&dir, &name, timeout)?;
    change(&dir, read(&dir, &name)?)
}

/// The lock of a node's file; exit 7 where another command keeps it for too long.
fn lock(dir: &Dir, node: &str, timeout: Duration) -> Result<FileLock> {
    loop {
        let file = files::open_or_create(dir, &lock_name(node))?;
        let Ok(lock) = FileLock::wait(file, timeout)? else {
            let message = format!("another command writes what is noted of {node}");
            return Err(Error::new(Code::Busy, message).hint("--lock-timeout waits longer"));
        };
        // It goes with its node: what was waited for may be the lock of a file that has gone.
        let is_it = files::is_at(lock.file(), dir, &lock_name(node))?;
        if is_it {
            return Ok(lock);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_is_off_by_what_the_time_of_a_write_cannot_explain() {
        let at = |millis: i64| Timestamp::from_millisecond(1_800_000_000_000 + millis).unwrap();
        for (begun, ended, stamp, offset) in [
            (at(0), at(50), at(30), 0.0),
            (at(0), at(50), at(-3000), 3.0),
            (at(0), at(50), at(10_050), -10.0),
            (at(0), at(0), at(0), 0.0),
        ] {
            assert_eq!(ahead(begun, ended, stamp), offset, "{begun} {ended} {stamp}");
        }
    }

    #[test]
    fn a_hostile_node_file_is_refused_at_once_and_a_node_is_read_as_written() {
        let text = "seen_at: 2026-11-24T12:00:00Z\nkernel: '9.1'\nvolumes:\n- volume: v\n  state: asleep\n  path: /v\n  heat: 3\n";
        assert!(decode(text.as_bytes()).is_some());
        crate::testing::each_yaml(&[text], MOST as usize, |bytes| {
            if let Some(node) = decode(bytes) {
                let written = serde_yaml::to_string(&node).unwrap();
                let again = decode(written.as_bytes()).map(|node| serde_yaml::to_string(&node).unwrap());
                assert_eq!(again, Some(written));
            }
        });
    }
}
