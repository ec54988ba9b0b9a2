//! The present and earlier generations of the registry, as hard links: the last 10, one an hour of the last 24, one a day of the
//! last 14.

use jiff::Timestamp;

use super::root::{FILE, Root};
use super::state::Registry;
use crate::domain::error::Result;
use crate::domain::name::shell_word;
use crate::host::dir::Dir;
use crate::host::files;

const FOLDER: &str = "backups";
/// Ten earlier ones, and the present one.
const LAST: usize = 11;
const HOURS: usize = 24;
const DAYS: usize = 14;

/// A backup's file name: its generation and the time at which it was kept. Sorted by time: an earlier generation that
/// was brought back counts on from its own number.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Backup {
    /// `20261123T041209Z`.
    time: String,
    generation: u64,
}

impl Backup {
    fn name(&self) -> String {
        format!("registry-{:010}-{}.yaml", self.generation, self.time)
    }

    fn parse(name: &str) -> Option<Backup> {
        let rest = name.strip_prefix("registry-")?.strip_suffix(".yaml")?;
        let (generation, time) = rest.split_once('-')?;
        Some(Backup { generation: generation.parse().ok()?, time: time.to_owned() })
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
    if list(root)?.last().is_some_and(|newest| is_present(root, &folder, newest)) {
        return Ok(());
    }
    let time = now.strftime("%Y%m%dT%H%M%SZ").to_string();
    let backup = Backup { generation, time };
    files::link(root.dir(), FILE, &folder, &backup.name())?;
    for old in surplus(list(root)?) {
        folder.remove_file(old.name())?;
    }
    Ok(())
}

/// True when a backup and the present file are one: what breaks one of them in place breaks both.
fn is_present(root: &Root, folder: &Dir, backup: &Backup) -> bool {
    let inode = |dir: &Dir, name: &str| dir.stat(name).ok().flatten().map(|stat| (stat.st_dev, stat.st_ino));
    inode(root.dir(), FILE).is_some_and(|present| inode(folder, &backup.name()) == Some(present))
}

/// Oldest first.
fn list(root: &Root) -> Result<Vec<Backup>> {
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

/// The command that brings the newest backup back that can be read.
pub(super) fn remedy(root: &Root) -> Option<String> {
    let folder = root.private_if_there(FOLDER).ok()??;
    for backup in list(root).ok()?.into_iter().rev() {
        let name = backup.name();
        let Ok(Some(bytes)) = files::read(&folder, &name, u64::MAX - 1) else { continue };
        if Registry::parse(bytes, folder.join(&name)).is_ok_and(|r| !r.was_edited()) {
            return Some(command(root, &folder.join(&name)));
        }
    }
    None
}

/// The same without reading the backup: for records that turn out to be broken later.
pub(super) fn remedy_unchecked(root: &Root) -> Option<String> {
    let folder = root.private_if_there(FOLDER).ok()??;
    let newest = list(root).ok()?.into_iter().rfind(|backup| !is_present(root, &folder, backup))?;
    Some(command(root, &folder.join(newest.name())))
}

fn command(root: &Root, backup: &std::path::Path) -> String {
    let quoted = |path: &std::path::Path| shell_word(&path.display().to_string());
    format!(
        "to bring the last good one back: cp -p --remove-destination {} {}",
        quoted(backup),
        quoted(&root.file())
    )
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
