//! The present and earlier generations of the registry, as hard links: the last 10, one an hour of the last 24, one a day of the
//! last 14.

use std::path::PathBuf;

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use super::generation::MOST_GENERATION;
use super::load::MOST_BYTES;
use super::root::{FILE, PRIVATE, Root};
use super::state::Registry;
use crate::domain::error::{Error, Result};
use crate::host::dir::Dir;
use crate::host::files;

const FOLDER: &str = "backups";
const TIME: &str = "%Y%m%dT%H%M%SZ";
/// Ten earlier ones, and the present one.
const LAST: usize = 11;
const HOURS: usize = 24;
const DAYS: usize = 14;
const REMEDY: &str = "to bring the last good one back: vfadm registry restore --latest";

/// A backup's file name: its generation and the time at which it was kept. Sorted by time: an earlier generation that
/// was brought back counts on from its own number.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Backup {
    /// `20261123T041209Z`.
    time: String,
    /// The generation that it holds.
    pub generation: u64,
}

impl Backup {
    /// The name of its file.
    pub fn name(&self) -> String {
        format!("registry-{:010}-{}.yaml", self.generation, self.time)
    }

    fn parse(name: &str) -> Option<Backup> {
        let rest = name.strip_prefix("registry-")?.strip_suffix(".yaml")?;
        let (generation, time) = rest.split_once('-')?;
        let generation = generation.parse().ok().filter(|generation| *generation <= MOST_GENERATION)?;
        Some(Backup { generation, time: time.to_owned() })
    }

    fn hour(&self) -> &str {
        self.time.get(..11).unwrap_or(&self.time)
    }

    fn day(&self) -> &str {
        self.time.get(..8).unwrap_or(&self.time)
    }
}

/// Keeps the present file as a backup, unless it is kept already, and drops the ones that are not kept any longer.
pub(super) fn keep(root: &Root, generation: u64, now: Timestamp) -> Result<()> {
    let folder = root.private(FOLDER)?;
    let newest = list(root)?.pop();
    if newest.as_ref().is_some_and(|newest| is_present(root, &folder, newest)) {
        return Ok(());
    }
    let backup = Backup { generation, time: time_after(newest.as_ref(), generation, now) };
    files::link(root.dir(), FILE, &folder, &backup.name())?;
    for old in surplus(list(root)?) {
        folder.remove_file(old.name())?;
    }
    Ok(())
}

/// The time that a backup is named by: the present one, unless the clock was put back. They are sorted by it, and the oldest go.
fn time_after(newest: Option<&Backup>, generation: u64, now: Timestamp) -> String {
    let time = |at: Timestamp| at.strftime(TIME).to_string();
    let Some(newest) = newest.filter(|newest| newest.time >= time(now)) else { return time(now) };
    if generation > newest.generation {
        return newest.time.clone();
    }
    let second = |text: &str| TimeZone::UTC.to_timestamp(DateTime::strptime(TIME, text).ok()?).ok();
    second(&newest.time).map_or_else(|| newest.time.clone(), |at| time(at + SignedDuration::from_secs(1)))
}

/// True when a backup and the present file are one: what breaks one of them in place breaks both.
fn is_present(root: &Root, folder: &Dir, backup: &Backup) -> bool {
    let inode = |dir: &Dir, name: &str| dir.stat(name).ok().flatten().map(|stat| (stat.st_dev, stat.st_ino));
    inode(root.dir(), FILE).is_some_and(|present| inode(folder, &backup.name()) == Some(present))
}

/// Keeps the present file, which cannot be read, apart from the backups: it is not counted with them, and stays.
pub(super) fn set_aside(root: &Root, _generation: u64, now: Timestamp) -> Result<()> {
    let folder = root.private(FOLDER)?;
    Ok(files::link(root.dir(), FILE, &folder, &format!("broken-{}.yaml", now.strftime("%Y%m%dT%H%M%SZ")))?)
}

/// The text of a backup and its path; `None` when it has gone meanwhile.
pub fn read(root: &Root, backup: &Backup) -> Result<Option<(Vec<u8>, PathBuf)>> {
    let Some(folder) = root.private_if_there(FOLDER)? else { return Ok(None) };
    let name = backup.name();
    Ok(files::read(&folder, &name, MOST_BYTES)?.map(|bytes| (bytes, folder.join(&name))))
}

/// The newest backup that can be read and is not the present file itself.
pub fn newest(root: &Root) -> Result<Option<Registry>> {
    let Some(folder) = root.private_if_there(FOLDER)? else { return Ok(None) };
    let others = list(root)?.into_iter().rev().filter(|backup| !is_present(root, &folder, backup));
    Ok(others.filter_map(|backup| whole(root, &backup)).next())
}

fn whole(root: &Root, backup: &Backup) -> Option<Registry> {
    let (bytes, path) = read(root, backup).ok()??;
    Registry::parse(bytes, path).ok().filter(|registry| !registry.was_edited())
}

/// Those that cannot be read, and why.
pub fn broken(root: &Root) -> Result<Vec<(PathBuf, Error)>> {
    let mut broken = Vec::new();
    for backup in list(root)? {
        let parsed = read(root, &backup).map(|read| read.map(|(bytes, path)| Registry::parse(bytes, path)));
        if let Err(error) | Ok(Some(Err(error))) = parsed {
            broken.push((root.path().join(PRIVATE).join(FOLDER).join(backup.name()), error));
        }
    }
    Ok(broken)
}

/// All of them, the oldest first.
pub fn list(root: &Root) -> Result<Vec<Backup>> {
    let Some(folder) = root.private_if_there(FOLDER)? else { return Ok(Vec::new()) };
    let mut backups: Vec<Backup> =
        folder.names()?.iter().filter_map(|n| Backup::parse(n.to_str()?)).collect();
    backups.sort();
    Ok(backups)
}

fn surplus(backups: Vec<Backup>) -> Vec<Backup> {
    let mut kept = vec![false; backups.len()];
    let from = backups.len().saturating_sub(LAST);
    kept[from..].fill(true);
    keep_newest_of_each(&backups, &mut kept, Backup::hour, HOURS);
    keep_newest_of_each(&backups, &mut kept, Backup::day, DAYS);
    backups.into_iter().zip(kept).filter(|(_, kept)| !kept).map(|(b, _)| b).collect()
}

fn keep_newest_of_each(backups: &[Backup], kept: &mut [bool], period: fn(&Backup) -> &str, most: usize) {
    let mut seen: Vec<&str> = Vec::new();
    for (at, backup) in backups.iter().enumerate().rev() {
        let this = period(backup);
        if seen.contains(&this) {
            continue;
        }
        if seen.len() == most {
            return;
        }
        seen.push(this);
        kept[at] = true;
    }
}

/// The command that brings the newest backup back, where there is one that can be read.
pub(super) fn remedy(root: &Root) -> Option<String> {
    newest(root).ok()?.map(|_| REMEDY.to_owned())
}

/// The same without reading the backup: for records that turn out to be broken later.
pub(super) fn remedy_unchecked(root: &Root) -> Option<String> {
    let folder = root.private_if_there(FOLDER).ok()??;
    list(root).ok()?.iter().rfind(|backup| !is_present(root, &folder, backup)).map(|_| REMEDY.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn backup(generation: u64, time: &str) -> Backup {
        Backup { generation, time: time.to_owned() }
    }

    #[test]
    fn a_backup_is_named_by_generation_and_time() {
        let one = backup(42, "20261123T041209Z");
        assert_eq!(one.name(), "registry-0000000042-20261123T041209Z.yaml");
        assert_eq!(Backup::parse(&one.name()), Some(one));
        assert_eq!(Backup::parse("other.yaml"), None);
    }

    #[test]
    fn a_clock_that_was_put_back_keeps_the_order() {
        let now: Timestamp = "2026-11-23T04:12:09Z".parse().unwrap();
        for (newest, generation, expected) in [
            (None, 7, "20261123T041209Z"),
            (Some(backup(6, "20261123T041208Z")), 7, "20261123T041209Z"),
            (Some(backup(6, "20261123T041209Z")), 7, "20261123T041209Z"),
            (Some(backup(6, "20271231T235959Z")), 7, "20271231T235959Z"),
            // An earlier generation was brought back.
            (Some(backup(9, "20261123T041209Z")), 7, "20261123T041210Z"),
            (Some(backup(9, "20271231T235959Z")), 7, "20280101T000000Z"),
            (Some(backup(9, "of no time")), 7, "of no time"),
        ] {
            assert_eq!(time_after(newest.as_ref(), generation, now), expected, "{newest:?}");
        }
    }

    #[test]
    fn ten_last_one_an_hour_and_one_a_day_are_kept() {
        let mut all = Vec::new();
        for day in 1..=20 {
            for hour in 0..24 {
                for minute in [0, 30] {
                    all.push(backup(all.len() as u64, &format!("202611{day:02}T{hour:02}{minute:02}00Z")));
                }
            }
        }
        let dropped = surplus(all.clone());
        let kept: Vec<_> = all.iter().filter(|b| !dropped.contains(b)).collect();
        assert_eq!(kept.len(), 24 + 5 + 13, "24 hours, 5 half hours among the last eleven, 13 earlier days");
        assert!(kept.iter().any(|b| b.time == "20261107T233000Z"));
        assert!(!kept.iter().any(|b| b.time.starts_with("20261106")));
    }
}
