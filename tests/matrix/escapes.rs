//! What gets past a limit, or is in the storage without a scope: done by the tenant where a tenant can.

use std::path::Path;

use crate::site::{NOBODY, Site, write};
use crate::support::{MIB, system};

/// One of them.
pub struct Escape {
    /// The code of the finding.
    pub code: &'static str,
    /// Does it, in alice's folder.
    pub make: fn(&Site<'_>, &Path),
    /// Takes it back; none where `quota audit --fix` mends it.
    pub undo: Option<fn(&Site<'_>, &Path)>,
}

/// A line that the tenant runs in his folder.
fn tenant(folder: &Path, line: &str) {
    // The folder lies behind directories that only root can pass.
    let script = format!(
        "cd {} && exec setpriv --reuid={NOBODY} --regid={NOBODY} --clear-groups --inh-caps=-all {line}",
        folder.display()
    );
    system("/bin/sh", &["-c", &script]);
}

fn root(line: &str) {
    system("/bin/sh", &["-c", &format!("PATH=/usr/sbin:/usr/bin:/sbin:/bin; {line}")]);
}

/// Something mounted inside of a folder.
pub const MOUNT: Escape = Escape {
    code: "nested_mount",
    make: |_, folder| {
        tenant(folder, "mkdir mnt");
        root(&format!("mount -t tmpfs tmpfs {}/mnt", folder.display()));
    },
    undo: Some(|_, folder| root(&format!("umount {}/mnt", folder.display()))),
};

/// A file that its owner took out of its project.
pub const PROJECT: Escape = Escape {
    code: "foreign_project",
    make: |_, folder| {
        assert_eq!(write(folder, "left", 4).error, None);
        tenant(folder, "chattr -p 0 left");
    },
    undo: None,
};

/// A directory whose new entries would be in no project.
pub const INHERIT: Escape = Escape {
    code: "not_inherited",
    make: |_, folder| {
        tenant(folder, "mkdir dir");
        tenant(folder, "xfs_io -r -c 'chattr -P' dir");
    },
    undo: None,
};

fn stray_limit(site: &Site<'_>, limit: &str) {
    let options = if site.driver.name == "ext4" { "-f" } else { "" };
    let mount = site.labup.mount();
    root(&format!("xfs_quota {options} -x -c 'limit -p bhard={limit} 23456' {}", mount.display()));
}

/// A limit in the kernel that is nobody's.
pub const STRAY_PROJECT: Escape = Escape {
    code: "unaccounted",
    make: |site, _| stray_limit(site, "1m"),
    undo: Some(|site, _| stray_limit(site, "0")),
};

/// A subvolume in a folder.
pub const SUBVOLUME: Escape = Escape {
    code: "nested_subvolume",
    make: |_, folder| tenant(folder, "btrfs subvolume create sub"),
    undo: Some(|_, folder| root(&format!("btrfs subvolume delete {}/sub", folder.display()))),
};

/// A snapshot that cannot be written to, and so not emptied.
pub const SNAPSHOT: Escape = Escape {
    code: "nested_subvolume",
    make: |_, folder| {
        root(&format!("btrfs subvolume create {0}/s && chown {NOBODY}:{NOBODY} {0}/s", folder.display()));
        tenant(folder, "btrfs subvolume snapshot -r s snap");
        root(&format!("btrfs subvolume delete {}/s", folder.display()));
    },
    undo: Some(|_, folder| root(&format!("btrfs subvolume delete {}/snap", folder.display()))),
};

/// A qgroup that is nobody's.
pub const QGROUP: Escape = Escape {
    code: "unaccounted",
    make: |site, _| root(&format!("btrfs qgroup create 1/23456 {}", site.volume().display())),
    undo: Some(|site, _| root(&format!("btrfs qgroup destroy 1/23456 {}", site.volume().display()))),
};

fn dataset(path: &Path) -> String {
    system("/usr/bin/findmnt", &["-no", "SOURCE", path.to_str().unwrap()]).trim().to_owned()
}

/// One that was looked at just before is busy for a moment.
fn destroy(dataset: &str) {
    root(&format!("for n in $(seq 50); do zfs destroy {dataset} && exit 0; sleep 0.1; done; exit 1"));
}

/// A dataset in a scope.
pub const DATASET: Escape = Escape {
    code: "nested_subvolume",
    make: |site, _| root(&format!("zfs create -o mountpoint=none {}/extra", dataset(&site.scope_dir()))),
    undo: Some(|site, _| destroy(&format!("{}/extra", dataset(&site.scope_dir())))),
};

const STRAY: &str = "00112233445566778899aabbccddeeff";

/// A dataset that looks like a scope's, and is nobody's.
pub const STRAY_DATASET: Escape = Escape {
    code: "unaccounted",
    make: |site, _| root(&format!("zfs create {}/{STRAY}", dataset(site.volume()))),
    undo: Some(|site, _| destroy(&format!("{}/{STRAY}", dataset(site.volume())))),
};

/// A snapshot that is not counted.
pub const CEPH_SNAPSHOT: Escape = Escape {
    code: "snapshot",
    make: |_, folder| tenant(folder, "mkdir .snap/mine"),
    undo: Some(|_, folder| root(&format!("rmdir {}/.snap/mine", folder.display()))),
};

/// A limit that a tenant gave himself.
pub const CEPH_LIMIT: Escape = Escape {
    code: "nested_limit",
    make: |_, folder| {
        tenant(folder, "mkdir own");
        tenant(folder, "setfattr -n ceph.quota.max_bytes -v 1048576 own");
    },
    undo: Some(|_, folder| root(&format!("setfattr -n ceph.quota.max_bytes -v 0 {}/own", folder.display()))),
};

/// Each is found, by its code alone, with its path; what can be mended is, and its charge comes back.
pub fn found_and_mended(site: &Site<'_>, folder: &Path) -> String {
    let (mut found, mut mended) = (0, 0);
    for escape in std::iter::once(&MOUNT).chain(site.driver.escapes) {
        (escape.make)(site, folder);
        let audit = site.run("-o json quota audit v").exits(10).json();
        let codes: Vec<&str> =
            audit["items"].as_array().unwrap().iter().map(|f| f["code"].as_str().unwrap()).collect();
        assert_eq!(codes, [escape.code], "{audit}");
        let paths = site.run("quota audit v -0").exits(10).stdout;
        assert!(paths.ends_with('\0') && Path::new(&paths[..paths.len() - 1]).is_absolute(), "{paths:?}");
        match escape.undo {
            Some(undo) => {
                site.run("quota audit v --fix --yes").exits(10);
                undo(site, folder);
            }
            None => {
                site.ok("quota audit v --fix --yes");
                mended += 1;
            }
        }
        site.ok("quota audit v");
        found += 1;
    }
    if folder.join("left").exists() {
        let used = site.scope("alice")["used_bytes"].as_u64();
        assert!(used.is_some_and(|used| used >= 4 * MIB), "{used:?} are used");
    }
    format!("{found} found, {mended} mended")
}
