//! The drivers, and what the table expects of each.

use std::fs;
use std::path::PathBuf;

use crate::escapes::{self, Escape};
use crate::site::Site;
use crate::support::{LabUp, MIB, system};

/// Where a driver's cases run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// On this kernel.
    Here,
    /// In the guest of `tests/labs/guest`.
    Guest,
}

/// What a case comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    /// It holds as described.
    Holds,
    /// The command that the case turns on is refused: exit code, and words of the message.
    Refused(i32, &'static str),
    /// The storage does it in its own way, which the case knows by this word.
    Differs(&'static str),
}

/// A driver under test.
pub struct Driver {
    /// Its column.
    pub name: &'static str,
    pub place: Place,
    /// The script that brings its storage up; without one a plain directory.
    pub lab: Option<&'static str>,
    /// True where each case gets a lab of its own, because numbers in the kernel are the filesystem's.
    pub per_case: bool,
    /// The options of `volume add`.
    pub options: fn(&LabUp) -> String,
    /// True where a volume is made as large as the limit.
    pub sized: bool,
    /// Makes a place for the volume of a case.
    pub arrange: fn(&LabUp, &str) -> PathBuf,
    /// What `quota show` says of it.
    pub enforcement: &'static str,
    /// The kernel's words to a tenant who writes past the limit; none where nothing stops it.
    pub error: Option<&'static str>,
    /// Bytes that may be written past a limit before it is noticed.
    pub overshoot: u64,
    /// True where a write past the limit is stopped only after a while: it is repeated.
    pub lags: bool,
    /// Bytes that a scope without a folder may be charged.
    pub empty: u64,
    /// Gives alice's scope a limit of 32 MiB without vfadm.
    pub tamper: fn(&Site<'_>),
    /// What an audit has to find, besides a mount in a folder.
    pub escapes: &'static [Escape],
    /// Where a case does not hold as described.
    pub exceptions: &'static [(&'static str, Expect)],
}

impl Driver {
    /// The table's cell.
    pub fn expect(&self, case: &str) -> Expect {
        let found = self.exceptions.iter().find(|(name, _)| *name == case);
        found.map_or(Expect::Holds, |(_, expect)| *expect)
    }
}

const EDQUOT: Option<&str> = Some("Disk quota exceeded");
const ENOSPC: Option<&str> = Some("No space left on device");

const fn plain(name: &'static str) -> Driver {
    Driver {
        name,
        place: Place::Here,
        lab: Some(name),
        per_case: false,
        options: |_| String::new(),
        sized: false,
        arrange: directory,
        enforcement: "kernel",
        error: EDQUOT,
        overshoot: 0,
        lags: false,
        empty: 0,
        tamper: |_| {},
        escapes: &[],
        exceptions: &[],
    }
}

const fn zfs(name: &'static str) -> Driver {
    Driver {
        lab: Some("zfs"),
        arrange: |lab, case| {
            let mount = lab.mount();
            let pool = system("/usr/bin/findmnt", &["-no", "SOURCE", mount.to_str().unwrap()]);
            system("/usr/sbin/zfs", &["create", &format!("{}/{case}", pool.trim())]);
            mount.join(case)
        },
        // What is in flight when the quota is reached.
        overshoot: MIB,
        // What a new dataset takes.
        empty: 256 << 10,
        tamper: |site| {
            let scope = site.scope_dir();
            let dataset = system("/usr/bin/findmnt", &["-no", "SOURCE", scope.to_str().unwrap()]);
            system("/usr/sbin/zfs", &["set", "quota=32M", dataset.trim()]);
        },
        escapes: &[escapes::DATASET, escapes::STRAY_DATASET],
        exceptions: &[("shrink_below_usage", Expect::Refused(8, "are used, more than"))],
        ..plain(name)
    }
}

/// A stand-in for an appliance, by the driver file of its lab.
const fn exec(name: &'static str) -> Driver {
    Driver {
        per_case: true,
        options: |lab| format!("--quota exec --driver-file {}", driver_file(lab).display()),
        // The node of the subvolume that the stand-in makes of a scope.
        empty: 16 << 10,
        tamper: run_set,
        ..plain(name)
    }
}

fn driver_file(lab: &LabUp) -> PathBuf {
    lab.mount().with_file_name("driver.yaml")
}

/// Runs the command `set` of the driver file.
fn run_set(site: &Site<'_>) {
    let text = fs::read_to_string(driver_file(site.labup)).expect("a driver file");
    let file: serde_json::Value = serde_yaml::from_str(&text).expect("YAML");
    let scope = site.scope_dir();
    let values = [
        ("{path}", scope.display().to_string()),
        ("{scope}", scope.file_name().unwrap().to_str().unwrap().to_owned()),
        ("{volume}", site.volume().display().to_string()),
        ("{id}", site.kernel_id().unwrap_or_default().to_string()),
        ("{bytes}", (32 * MIB).to_string()),
        ("{kib}", (32 * MIB / 1024).to_string()),
    ];
    let fill = |word: &serde_json::Value| {
        let word = word.as_str().map_or_else(|| word.to_string(), str::to_owned);
        values.iter().fold(word, |word, (from, to)| word.replace(from, to))
    };
    let words: Vec<String> = file["set"].as_array().expect("a command").iter().map(fill).collect();
    let rest: Vec<&str> = words[1..].iter().map(String::as_str).collect();
    system(&words[0], &rest);
}

/// A directory of the lab's filesystem.
fn directory(lab: &LabUp, case: &str) -> PathBuf {
    let path = lab.mount().join(case);
    fs::create_dir(&path).expect("a directory for the volume");
    path
}

fn id(site: &Site<'_>) -> u64 {
    site.kernel_id().expect("the scope has a number")
}

fn btrfs_limit(site: &Site<'_>) {
    let qgroup = format!("1/{}", id(site));
    let limit = (32 * MIB).to_string();
    system("/usr/bin/btrfs", &["qgroup", "limit", &limit, &qgroup, site.volume().to_str().unwrap()]);
}

fn project_limit(site: &Site<'_>, options: &[&str]) {
    let command = format!("limit -p bhard=32m {}", id(site));
    let mount = site.labup.mount();
    let rest = ["-x", "-c", &command, mount.to_str().unwrap()];
    system("/usr/sbin/xfs_quota", &[options, &rest].concat());
}

const BTRFS: &[Escape] = &[escapes::SUBVOLUME, escapes::SNAPSHOT, escapes::QGROUP];
const NO_LIMITS: Expect = Expect::Refused(8, "the driver 'none'");
const ITS_SIZE: Expect = Expect::Refused(8, "is the size of its volume");

/// All of them; each has to run.
pub const DRIVERS: &[Driver] = &[
    Driver {
        place: Place::Guest,
        per_case: true,
        options: |_| "--quota xfs".to_owned(),
        enforcement: "kernel_owner_can_leave",
        error: ENOSPC,
        tamper: |site| project_limit(site, &[]),
        escapes: &[escapes::PROJECT, escapes::INHERIT, escapes::STRAY_PROJECT],
        ..plain("xfs")
    },
    Driver {
        place: Place::Guest,
        per_case: true,
        options: |_| "--quota ext4".to_owned(),
        enforcement: "kernel_owner_can_leave",
        // The block of the scope's directory.
        empty: 4096,
        tamper: |site| project_limit(site, &["-f"]),
        escapes: &[escapes::PROJECT, escapes::INHERIT, escapes::STRAY_PROJECT],
        ..plain("ext4")
    },
    Driver {
        per_case: true,
        options: |_| "--quota btrfs".to_owned(),
        tamper: btrfs_limit,
        escapes: BTRFS,
        ..plain("btrfs")
    },
    Driver {
        lab: Some("btrfs"),
        per_case: true,
        options: |_| "--quota btrfs --folders directory".to_owned(),
        tamper: btrfs_limit,
        escapes: BTRFS,
        empty: 16 << 10,
        ..plain("btrfs-directory")
    },
    Driver { options: |_| "--quota zfs".to_owned(), ..zfs("zfs") },
    Driver { options: |_| "--quota zfs --folders dataset".to_owned(), ..zfs("zfs-dataset") },
    Driver {
        options: |_| "--quota cephfs".to_owned(),
        enforcement: "cooperative",
        // Usage is known to the client some seconds after a write.
        lags: true,
        overshoot: 64 * MIB,
        tamper: |site| {
            let scope = site.scope_dir();
            let limit = (32 * MIB).to_string();
            let words = ["-n", "ceph.quota.max_bytes", "-v", &limit, scope.to_str().unwrap()];
            system("/usr/bin/setfattr", &words);
        },
        escapes: &[escapes::CEPH_SNAPSHOT, escapes::CEPH_LIMIT],
        exceptions: &[("sparse", Expect::Differs("counted in full"))],
        ..plain("cephfs")
    },
    Driver {
        // Growing a mounted ext4 wants a capability that root in a container lacks.
        place: Place::Guest,
        lab: None,
        options: |_| "--quota dedicated --dedicated-to alice".to_owned(),
        sized: true,
        enforcement: "volume",
        error: ENOSPC,
        // What a new ext4 takes for itself.
        empty: 8 << 20,
        tamper: |site| {
            system("/usr/bin/umount", &[site.volume().to_str().unwrap()]);
        },
        exceptions: &[
            ("shrink_below_usage", Expect::Refused(8, "cannot shrink")),
            ("unset", ITS_SIZE),
            ("unlimited", ITS_SIZE),
            ("two_scopes", Expect::Refused(5, "is dedicated to user/alice")),
            ("out_of_band", Expect::Differs("unmounted")),
        ],
        ..plain("dedicated")
    },
    exec("weka"),
    exec("storage-scale"),
    exec("netapp-ontap"),
    Driver { exceptions: &[("one_pass", Expect::Differs("a run a scope"))], ..exec("lustre") },
    Driver {
        lab: None,
        options: |_| "--quota none".to_owned(),
        enforcement: "none",
        error: None,
        exceptions: &[
            ("stopped_write", NO_LIMITS),
            ("grow_while_full", NO_LIMITS),
            ("shrink_below_usage", NO_LIMITS),
            ("unset", NO_LIMITS),
            ("round_up", NO_LIMITS),
            ("same_again", NO_LIMITS),
            ("delete_while_full", NO_LIMITS),
            ("out_of_band", NO_LIMITS),
            ("two_scopes", NO_LIMITS),
            ("sparse", NO_LIMITS),
            ("nested", NO_LIMITS),
            ("transfer_full", NO_LIMITS),
            ("clone_full", NO_LIMITS),
            ("gone_without_a_trace", NO_LIMITS),
            ("unused_scope", Expect::Differs("not counted")),
        ],
        ..plain("none")
    },
];
