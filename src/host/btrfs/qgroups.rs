//! What the kernel says of qgroups: live from `/sys/fs/btrfs` (kernel 5.9), else from the quota tree, whose byte
//! counts are those of the last commit.

use std::fs;
use std::path::PathBuf;

use super::super::dir::Dir;
use super::super::error::{Error, Result};
use super::search;

/// The number of a qgroup: its level above its id.
pub const fn number(level: u16, id: u64) -> u64 {
    ((level as u64) << 48) | (id & ((1 << 48) - 1))
}

/// Whether and how quotas are on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// No quotas.
    Off,
    /// Simple quotas.
    Simple,
    /// Full qgroups; the numbers are wrong until a rescan when not consistent.
    Full {
        /// False until a rescan has ended.
        consistent: bool,
    },
}

/// Use and limit of one qgroup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// Bytes that the limit is held against: those written to disk and those still in memory
    /// (`referenced` + `rsv_data`). Tried on 6.18: the sum is right within one tree node during writes, write-back
    /// and overwrites, without a sync; bytes are freed at the next commit.
    pub used: u64,
    /// The limit.
    pub limit: super::Limit,
}

/// The qgroups of one filesystem.
pub struct Qgroups<'a> {
    dir: &'a Dir,
    sysfs: Option<PathBuf>,
}

impl<'a> Qgroups<'a> {
    /// The qgroups of the filesystem that holds `dir`.
    pub fn of(dir: &'a Dir) -> Result<Qgroups<'a>> {
        let sysfs = PathBuf::from(format!("/sys/fs/btrfs/{}/qgroups", super::fsid(dir)?));
        Ok(Qgroups { dir, sysfs: sysfs.is_dir().then_some(sysfs) })
    }

    /// The same from the quota tree, as on a kernel that does not show them in sysfs.
    pub fn in_tree(dir: &'a Dir) -> Qgroups<'a> {
        Qgroups { dir, sysfs: None }
    }

    /// Whether quotas are on.
    pub fn mode(&self) -> Result<Mode> {
        if let Some(sysfs) = &self.sysfs {
            let read = |name: &str| fs::read_to_string(sysfs.join(name)).ok();
            if let (Some(mode), Some(inconsistent)) = (read("mode"), read("inconsistent")) {
                return Ok(parse_mode(&mode, &inconsistent));
            }
        }
        Ok(match search::quota_status(self.dir)? {
            Some(status) if status.on && status.simple => Mode::Simple,
            Some(status) if status.on => Mode::Full { consistent: !status.inconsistent },
            _ => Mode::Off,
        })
    }

    /// True when there is a qgroup of this number.
    pub fn exists(&self, number: u64) -> Result<bool> {
        match self.directory(number) {
            Some(path) => Ok(path.is_dir()),
            None => Ok(search::qgroup_referenced(self.dir, number)?.is_some()),
        }
    }

    /// Use and limit of a qgroup; `None` when there is none of this number.
    pub fn usage(&self, number: u64) -> Result<Option<Usage>> {
        let Some(path) = self.directory(number) else {
            let Some(used) = search::qgroup_referenced(self.dir, number)? else { return Ok(None) };
            return Ok(Some(Usage { used, limit: search::qgroup_limit(self.dir, number)? }));
        };
        let read = |name: &str| -> Result<Option<u64>> {
            let file = path.join(name);
            match fs::read_to_string(&file) {
                Ok(text) => text.trim().parse().map(Some).map_err(|_| {
                    Error::path("read", &file, std::io::Error::from(std::io::ErrorKind::InvalidData))
                }),
                // The kernel removes the qgroup of a subvolume when it has freed it.
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
                Err(e) => Err(Error::path("read", &file, e)),
            }
        };
        let (Some(referenced), Some(reserved), Some(flags), Some(max)) =
            (read("referenced")?, read("rsv_data")?, read("limit_flags")?, read("max_referenced")?)
        else {
            return Ok(None);
        };
        let parked = match flags & search::LIMIT_RSV_RFER {
            0 => None,
            _ => search::qgroup_limit(self.dir, number)?.parked,
        };
        let enforced = (flags & search::LIMIT_MAX_RFER != 0).then_some(max);
        Ok(Some(Usage {
            used: referenced.saturating_add(reserved),
            limit: super::Limit { enforced, parked },
        }))
    }

    /// The least of what limits a qgroup, in bytes: how much is referenced, or how much of that is its own.
    pub fn least_limit(&self, number: u64) -> Result<Option<u64>> {
        search::qgroup_least_limit(self.dir, number)
    }

    /// The ids of all qgroups of a level.
    pub fn ids(&self, level: u16) -> Result<Vec<u64>> {
        let Some(sysfs) = &self.sysfs else { return search::qgroup_ids(self.dir, level) };
        let entries = fs::read_dir(sysfs).map_err(|e| Error::path("read", sysfs, e))?;
        let prefix = format!("{level}_");
        let id = |entry: std::io::Result<fs::DirEntry>| {
            entry.ok()?.file_name().to_str()?.strip_prefix(&prefix)?.parse().ok()
        };
        let mut ids: Vec<u64> = entries.filter_map(id).collect();
        ids.sort_unstable();
        Ok(ids)
    }

    /// The members of a qgroup.
    pub fn members(&self, number: u64) -> Result<Vec<u64>> {
        Ok(search::qgroup_relations(self.dir, number)?.into_iter().filter(|other| *other < number).collect())
    }

    /// Those that it is a member of.
    pub fn parents(&self, number: u64) -> Result<Vec<u64>> {
        Ok(search::qgroup_relations(self.dir, number)?.into_iter().filter(|other| *other > number).collect())
    }

    fn directory(&self, number: u64) -> Option<PathBuf> {
        let (level, id) = (number >> 48, number & ((1 << 48) - 1));
        self.sysfs.as_ref().map(|sysfs| sysfs.join(format!("{level}_{id}")))
    }
}

fn parse_mode(mode: &str, inconsistent: &str) -> Mode {
    match mode.trim() {
        "squota" => Mode::Simple,
        _ => Mode::Full { consistent: inconsistent.trim() == "0" },
    }
}

/// Whether this kernel has simple quotas; `None` when it does not say.
pub fn simple_quotas_known() -> Option<bool> {
    let features = PathBuf::from("/sys/fs/btrfs/features");
    features.is_dir().then(|| features.join("simple_quota").exists())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_holds_level_and_id() {
        assert_eq!(number(0, 256), 256);
        assert_eq!(number(1, 10001), 281_474_976_720_657);
    }

    #[test]
    fn the_mode_is_read_from_sysfs_words() {
        assert_eq!(parse_mode("squota\n", "0\n"), Mode::Simple);
        assert_eq!(parse_mode("qgroup\n", "0\n"), Mode::Full { consistent: true });
        assert_eq!(parse_mode("qgroup\n", "1\n"), Mode::Full { consistent: false });
    }
}
