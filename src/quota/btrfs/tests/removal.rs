//! Removing folders and scopes.

use std::sync::atomic::{AtomicU64, Ordering};

use super::*;

#[test]
fn nested_subvolumes_deeper_than_the_handles_are_removed() {
    let lab = Lab::new("deep", Folders::Subvolume);
    let mut here = lab.folder("data").unwrap();
    for n in 0..60 {
        let inner = here.join("d");
        fs::create_dir(&inner).unwrap();
        fs::write(inner.join("file"), "x").unwrap();
        here = nest(&inner, &format!("s{n}"));
    }
    for n in 0..5 {
        nest(&lab.path().join("data"), &format!("side{n}"));
    }
    struct Count(AtomicU64);
    impl Progress for Count {
        fn add(&self, entries: u64, _bytes: u64) {
            self.0.fetch_add(entries, Ordering::Relaxed);
        }
        fn stopped(&self) -> bool {
            false
        }
    }
    let count = Count(AtomicU64::new(0));
    Btrfs.remove_folder(&lab.scope(), &lab.dir(), OsStr::new("data"), &count).unwrap();
    assert_eq!(count.0.into_inner(), 66);
    assert!(!lab.path().join("data").exists());
}

#[test]
fn a_nested_subvolume_below_a_very_long_path_is_removed() {
    let lab = Lab::new("long", Folders::Subvolume);
    lab.folder("data").unwrap();
    let mut here = lab.dir().open_dir("data").unwrap();
    for _ in 0..30 {
        here = here.ensure_dir("d".repeat(200), 0o700).unwrap();
    }
    subvolume_create(&here, OsStr::new("nested"), None).unwrap();
    lab.remove("data").unwrap();
    assert!(!lab.path().join("data").exists());
}

#[test]
fn removal_stops_when_it_is_told_to_and_goes_on_later() {
    struct Stop;
    impl Progress for Stop {
        fn add(&self, _entries: u64, _bytes: u64) {}
        fn stopped(&self) -> bool {
            true
        }
    }
    let lab = Lab::new("stop", Folders::Subvolume);
    nest(&lab.folder("data").unwrap(), "nested");
    let error = Btrfs.remove_folder(&lab.scope(), &lab.dir(), OsStr::new("data"), &Stop).unwrap_err();
    assert_eq!(error.code, Code::Interrupted);
    assert!(lab.path().join("data").exists());
    lab.remove("data").unwrap();
}

#[test]
fn data_that_lives_on_in_a_reflink_keeps_its_scope_draining() {
    let lab = Lab::new("pinned", Folders::Subvolume);
    let from = lab.folder("data").unwrap().join("file");
    assert_eq!(write(&from, 4 * MIB), (4 * MIB, None));
    let other = nest(lab.image.path(), "other");
    let copy = other.join("file");
    // A copy on one btrfs shares its extents.
    reflink(&from, &copy);
    lab.remove("data").unwrap();
    assert_eq!(Btrfs.remove_scope(&lab.scope()).unwrap(), Removal::Draining);
    assert!(!lab.path().exists());
    assert_eq!(Btrfs.drain(&lab.scope()).unwrap(), Removal::Draining);
    fs::remove_file(&copy).unwrap();
    lab.removed();
    assert_eq!(lab.image.qgroups().iter().filter(|q| q.starts_with("1_")).count(), 0);
}

#[allow(clippy::disallowed_methods)]
fn reflink(from: &Path, to: &Path) {
    let done = std::process::Command::new("cp").arg("--reflink=always").args([from, to]).status().unwrap();
    assert!(done.success());
}

#[test]
fn a_large_folder_is_removed_without_a_walk() {
    let lab = Lab::new("large", Folders::Subvolume);
    let folder = lab.folder("data").unwrap();
    for n in 0..20_000 {
        File::create(folder.join(n.to_string())).unwrap();
    }
    let begin = std::time::Instant::now();
    lab.remove("data").unwrap();
    assert!(begin.elapsed() < Duration::from_millis(500), "{:?}", begin.elapsed());
}

#[test]
fn a_tenant_who_swaps_directories_for_links_loses_nothing_of_others() {
    use std::sync::atomic::AtomicBool;
    let lab = Lab::new("swap", Folders::Subvolume);
    let folder = lab.folder("data").unwrap();
    let outside = lab.image.path().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::create_dir(folder.join("d")).unwrap();
    std::os::unix::fs::symlink(&outside, folder.join("link")).unwrap();
    for n in 0..100 {
        nest(&folder.join("d"), &n.to_string());
        nest(&outside, &n.to_string());
    }
    let stop = AtomicBool::new(false);
    std::thread::scope(|threads| {
        threads.spawn(|| {
            let dir = Dir::open(&folder).unwrap();
            while !stop.load(Ordering::Relaxed) {
                let exchange = nix::fcntl::RenameFlags::RENAME_EXCHANGE;
                let _ = nix::fcntl::renameat2(&dir, "d", &dir, "link", exchange);
            }
        });
        let removed = lab.remove("data");
        stop.store(true, Ordering::Relaxed);
        // Nested subvolumes that were never seen in place may be left: then it says so.
        if let Err(e) = removed {
            assert!(e.message.contains("not empty"), "{e}");
        }
    });
    lab.remove("data").unwrap();
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 100);
}
