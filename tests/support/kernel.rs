use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use super::system;

/// One btrfs qgroup as the kernel shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Qgroup {
    /// Charged bytes.
    pub referenced: u64,
    /// The limit on them.
    pub limit: Option<u64>,
}

/// The qgroups of a mounted btrfs, by `LEVEL/ID`, read from sysfs: not by the code under test, and live.
fn qgroups(mount: &Path) -> BTreeMap<String, Qgroup> {
    let uuid = system("/usr/bin/findmnt", &["-n", "-o", "UUID", "--target", mount.to_str().unwrap()]);
    let dir = format!("/sys/fs/btrfs/{}/qgroups", uuid.trim());
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(&dir).into_iter().flatten().flatten() {
        let name = entry.file_name().into_string().unwrap_or_default();
        let Some((level, id)) = name.split_once('_') else { continue };
        if level.parse::<u16>().is_err() {
            continue;
        }
        let number =
            |file: &str| fs::read_to_string(entry.path().join(file)).ok()?.trim().parse::<u64>().ok();
        // Bit 1 of limit_flags: the limit on referenced bytes is in force.
        let limited = number("limit_flags").is_some_and(|flags| flags & 1 != 0);
        let limit = number("max_referenced").filter(|_| limited);
        found
            .insert(format!("{level}/{id}"), Qgroup { referenced: number("referenced").unwrap_or(0), limit });
    }
    found
}

/// The limits on scopes (level-1 qgroups) by number.
pub fn kernel_limits(mount: &Path) -> BTreeMap<u64, Option<u64>> {
    let of_scope =
        |(name, group): (String, Qgroup)| Some((name.strip_prefix("1/")?.parse().ok()?, group.limit));
    qgroups(mount).into_iter().filter_map(of_scope).collect()
}
