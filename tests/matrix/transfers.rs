//! Folders that get another owner or another volume, with their charge.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;

use crate::cases::{Seen, full, stopped_by};
use crate::site::{Site, write};
use crate::support::MIB;

/// Fills a folder with what a tenant may have: a file of so many MiB, a second name for it, links, a FIFO.
pub fn fill(folder: &Path, mib: u64) -> String {
    let below = folder.join("a/b");
    fs::create_dir_all(&below).unwrap();
    assert_eq!(write(folder, "file", mib).error, None);
    fs::hard_link(folder.join("file"), below.join("second")).unwrap();
    symlink("../file", below.join("link")).unwrap();
    // It takes a block, which is charged: an audit finds what stays with the old owner.
    symlink("x".repeat(1000), below.join("long")).unwrap();
    nix::unistd::mkfifo(&below.join("fifo"), nix::sys::stat::Mode::S_IRUSR).unwrap();
    listing(folder)
}

/// What is in it: names, types, owners, sizes, times, numbers of names, and a sum of the content.
pub fn listing(folder: &Path) -> String {
    let mut lines = Vec::new();
    let mut left = vec![folder.to_owned()];
    while let Some(dir) = left.pop() {
        for entry in fs::read_dir(&dir).unwrap() {
            let path = entry.unwrap().path();
            let meta = path.symlink_metadata().unwrap();
            let content = match meta.file_type() {
                kind if kind.is_file() => blake3::hash(&fs::read(&path).unwrap()).to_hex().to_string(),
                kind if kind.is_symlink() => fs::read_link(&path).unwrap().display().to_string(),
                _ => String::new(),
            };
            let links = if meta.is_dir() { 0 } else { meta.nlink() };
            let size = if meta.is_file() { meta.size() } else { 0 };
            lines.push(format!(
                "{} {:o} {}:{} {size} {}.{} {links} {content}",
                path.strip_prefix(folder).unwrap().display(),
                meta.mode(),
                meta.uid(),
                meta.gid(),
                meta.mtime(),
                meta.mtime_nsec(),
            ));
            if meta.is_dir() {
                left.push(path);
            }
        }
    }
    lines.sort();
    lines.join("\n")
}

/// Usage may lag; it is waited for.
#[track_caller]
pub fn charged(site: &Site<'_>, owner: &str, what: &str, holds: impl Fn(u64) -> bool) {
    for _ in 0..120 {
        let scope = site.scope(owner);
        match scope["used_bytes"].as_u64() {
            None => return,
            Some(used) if holds(used) => return,
            Some(_) => std::thread::sleep(std::time::Duration::from_millis(250)),
        }
    }
    panic!("used bytes of {owner} should be {what}: {}", site.scope(owner));
}

#[track_caller]
pub fn in_order(site: &Site<'_>) {
    site.ok("volume check v");
    site.ok("volume check spare");
    site.ok("quota audit v");
    site.ok("registry check");
}

/// Data and charge are the new owner's, whose limit holds from then on; the old owner has neither.
pub fn transfer(site: &Site<'_>) -> String {
    if site.driver.sized {
        site.limit("24m").expect("a volume");
    } else if site.driver.error.is_some() {
        site.ok("quota set alice 24m --volume v");
        site.ok("quota set bob 16m --volume v");
    }
    let folder = site.folder("alice");
    let before = fill(&folder, 6);
    charged(site, "alice", "6 MiB", |used| used >= 6 * MIB);
    let to = if site.driver.sized {
        // Nobody else can have a part of a dedicated volume.
        site.run("vfolder transfer alice/data bob").exits(5).says(&["is dedicated to user/alice"]);
        "spare"
    } else {
        "v"
    };
    let done = site.json(&format!("vfolder transfer alice/data bob --volume {to}"));
    assert_eq!(done["outcome"], "changed", "{done}");
    assert_eq!(done["item"]["owner"], "user/bob", "{done}");
    assert!(!folder.exists());
    let moved = site.path("bob/data");
    assert_eq!(listing(&moved), before);
    let meta = moved.metadata().unwrap();
    assert_eq!((meta.mode() & 0o7777, meta.uid()), (0o770, crate::site::NOBODY));
    site.run("vfolder show alice/data").exits(3);
    in_order(site);
    if site.driver.sized || site.driver.error.is_none() {
        return "holds".to_owned();
    }
    charged(site, "bob", "6 MiB", |used| used >= 6 * MIB);
    // Her scope went with her last folder; in a new one she is charged nothing.
    let other = site.folder("alice");
    charged(site, "alice", "next to nothing", |used| used <= MIB);
    assert_eq!(write(&other, "file", 12).error, None);
    stopped_by(site, &moved, 16 * MIB - 6 * MIB)
}

/// Out of a full scope, and not into one.
pub fn transfer_full(site: &Site<'_>) -> Seen {
    full(site)?;
    if !site.driver.sized {
        site.ok("quota set bob 4m --volume v");
        site.run("vfolder transfer alice/data bob")
            .exits(8)
            .says(&["user/bob has ", " left of 4 MiB on 'v'"]);
        site.ok("quota set bob unlimited --volume v");
    }
    let before = listing(&site.path("alice/data"));
    let to = if site.driver.sized { "spare" } else { "v" };
    site.ok(&format!("vfolder transfer alice/data bob --volume {to}"));
    assert_eq!(listing(&site.path("bob/data")), before);
    in_order(site);
    Ok("holds".to_owned())
}

/// To another volume and back; the owner stays.
pub fn transfer_volume(site: &Site<'_>) -> String {
    if site.driver.sized {
        site.limit("24m").expect("a volume");
    }
    let folder = site.folder("alice");
    let before = fill(&folder, 3);
    site.ok("vfolder transfer alice/data alice --volume spare");
    assert!(!folder.exists());
    assert_eq!(listing(&site.path("alice/data")), before);
    in_order(site);
    let done = site.json("vfolder transfer alice/data alice --volume v");
    assert_eq!(done["item"]["volume"], "v", "{done}");
    assert_eq!(listing(&site.path("alice/data")), before);
    charged(site, "alice", "3 MiB", |used| used >= 3 * MIB);
    in_order(site);
    site.ok("vfolder delete alice/data --purge --yes");
    "holds".to_owned()
}
