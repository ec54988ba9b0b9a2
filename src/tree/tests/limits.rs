//! Few descriptors, little memory: each case runs in a process of its own.

use std::os::fd::OwnedFd;
use std::sync::atomic::AtomicUsize;

use super::*;

/// Runs the named test again, alone in a process, under `limits` of the shell. False in that process.
fn again(test: &str, limits: &str) -> bool {
    if std::env::var_os("VFADM_TEST_ALONE").is_some() {
        return false;
    }
    let this = std::env::current_exe().unwrap();
    let mut shell = program("sh");
    shell.env("VFADM_TEST_ALONE", "1").args(["-c", &format!("{limits}; exec \"$0\" \"$@\"")]).arg(this);
    let done = shell.args(["--exact", &format!("tree::tests::limits::{test}")]).output().unwrap();
    let text = String::from_utf8_lossy(&done.stdout);
    assert!(done.status.success() && text.contains("1 passed"), "{text}");
    true
}

/// The most memory that this process ever had, in KiB.
fn peak() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Sees how many descriptors the process has open.
struct Descriptors(AtomicUsize);

impl Progress for Descriptors {
    fn add(&self, _entries: u64, _bytes: u64) {
        let open = fs::read_dir("/proc/self/fd").unwrap().count();
        self.0.fetch_max(open, Ordering::Relaxed);
    }
    fn stopped(&self) -> bool {
        false
    }
}

/// Makes a chain of directories, each with a file and an empty directory beside the next.
fn chain(dir: &Dir, levels: u64) {
    let mut here: OwnedFd = dir.try_clone().unwrap().into_fd();
    for _ in 0..levels {
        let next = Dir::from_fd(here, PathBuf::new());
        for name in ["d", "e"] {
            next.make_dir(name, 0o700).unwrap();
        }
        crate::host::dir::create_file(&next, "f", 0o600).unwrap();
        here = next.open_dir("d").unwrap().into_fd();
    }
}

#[test]
fn a_tree_deeper_than_any_path_needs_few_descriptors() {
    if again("a_tree_deeper_than_any_path_needs_few_descriptors", "ulimit -n 64") {
        return;
    }
    for (filesystem, levels) in [("ext4", 10_000), ("btrfs", 1000)] {
        let lab = Lab::image(filesystem);
        lab.make(["tree/"]);
        chain(&Dir::open(&lab.path("tree")).unwrap(), levels);
        let seen = Descriptors(AtomicUsize::new(0));
        let measured = measure(&Dir::open(&lab.path("tree")).unwrap(), &seen).unwrap();
        assert_eq!((measured.files, measured.directories), (levels, 2 * levels + 1), "{filesystem}");
        assert_eq!(measured.unreadable + measured.vanished, 0);
        assert_eq!(lab.remove_watched("tree", &seen).unwrap().entries, 3 * levels + 1, "{filesystem}");
        assert!(!lab.exists("tree"));
        let seen = seen.0.into_inner();
        assert!(seen > 20 && seen < 60, "{seen} descriptors");
    }
}

#[test]
fn a_deep_tree_is_copied_with_few_descriptors() {
    if again("a_deep_tree_is_copied_with_few_descriptors", "ulimit -n 32") {
        return;
    }
    for (filesystem, levels) in [("ext4", 10_000), ("btrfs", 1000)] {
        let mut lab = Lab::image(filesystem);
        // Each has inodes for one such tree.
        lab.second(filesystem, "other", 512 << 20);
        lab.make(["tree/"]);
        chain(&Dir::open(&lab.path("tree")).unwrap(), levels);
        let seen = Descriptors(AtomicUsize::new(0));
        let copied = lab.copy_watched("other/copy", &seen).unwrap();
        assert_eq!((copied.files, copied.directories), (levels, 2 * levels + 1), "{filesystem}");
        let measured = lab.measure("other/copy");
        assert_eq!((measured.files, measured.directories), (levels, 2 * levels + 1), "{filesystem}");
        // Again, with nearly all of it there, and a deep tree in the place of a file.
        let tree = Dir::open(&lab.path("tree")).unwrap();
        remove(&tree, "d".as_ref(), &RemoveOptions::default(), &Silent).unwrap();
        fs::write(lab.path("tree/d"), "").unwrap();
        assert_eq!(lab.copy("other/copy").unwrap().files, 1, "{filesystem}");
        assert_eq!(lab.measure("other/copy").files, 2, "{filesystem}");
        let seen = seen.0.into_inner();
        assert!(seen > 10 && seen < 32, "{seen} descriptors");
    }
}

#[test]
fn the_memory_of_a_copy_does_not_grow_with_the_tree() {
    if again("the_memory_of_a_copy_does_not_grow_with_the_tree", "true") {
        return;
    }
    let lab = Lab::memory();
    fs::create_dir_all(lab.path("tree/flat")).unwrap();
    for n in 0..60_000 {
        fs::File::create(lab.path("tree/flat").join(format!("file{n}"))).unwrap();
        fs::create_dir(lab.path("tree").join(format!("dir{n}"))).unwrap();
    }
    for n in 0..20_000 {
        let file = lab.path("tree/flat").join(format!("file{n}"));
        fs::hard_link(&file, lab.path("tree").join(format!("dir{n}/link"))).unwrap();
    }
    let before = peak();
    assert_eq!(lab.copy("copy").unwrap().files, 60_000);
    let grown = peak() - before;
    // A buffer of 1 MiB a thread, and 150 bytes a directory and a linked file at most.
    assert!(grown < 18 * 1024, "{grown} KiB");
}

#[test]
fn a_process_that_is_out_of_descriptors_waits_for_one() {
    if again("a_process_that_is_out_of_descriptors_waits_for_one", "ulimit -n 64") {
        return;
    }
    let lab = Lab::memory();
    for n in 0..200 {
        lab.fill(&format!("tree/{n}/a/b/c"), 2);
    }
    let (tree, top) = (Dir::open(&lab.path("tree")).unwrap(), lab.handle());
    let mut taken: Vec<_> = std::iter::from_fn(|| fs::File::open("/dev/null").ok()).collect();
    // What the walk and its threads hold at once at least.
    taken.truncate(taken.len() - 16);
    assert_eq!(measure(&tree, &Silent).unwrap().unreadable, 0);
    let options = RemoveOptions { subvolume: None, threads: 2 };
    remove(&top, "tree".as_ref(), &options, &Silent).unwrap();
    assert!(!lab.exists("tree"));
}

#[test]
fn memory_does_not_grow_with_the_tree() {
    if again("memory_does_not_grow_with_the_tree", "true") {
        return;
    }
    let lab = Lab::memory();
    fs::create_dir_all(lab.path("tree/links")).unwrap();
    for n in 0..50_000 {
        let file = lab.path("tree").join(format!("file{n}"));
        fs::File::create(&file).unwrap();
        fs::hard_link(&file, lab.path("tree/links").join(format!("link{n}"))).unwrap();
        fs::create_dir(lab.path("tree").join(format!("dir{n}"))).unwrap();
    }
    // The program's own pages are not the tree's.
    lab.fill("small", 10);
    lab.measure("small");
    lab.remove("small").unwrap();
    let before = peak();
    let measured = lab.measure("tree");
    assert_eq!((measured.files, measured.directories), (50_000, 50_002));
    lab.remove("tree").unwrap();
    let grown = peak() - before;
    // 64 MiB for 1,000,000; the hard links' set is the largest part.
    assert!(grown < 4 * 1024, "{grown} KiB");
}

#[test]
fn a_process_that_may_not_mount_copies_the_same() {
    let without = "exec setpriv --bounding-set=-sys_admin \"$0\" \"$@\"";
    if again("a_process_that_may_not_mount_copies_the_same", without) {
        return;
    }
    let lab = Lab::memory();
    assert!(crate::host::nodev::without_devices(lab.handle()).is_none());
    lab.make(["tree/a/file", "tree/b/other", "tree/d/"]);
    std::os::unix::fs::symlink("a/file", lab.path("tree/link")).unwrap();
    fs::hard_link(lab.path("tree/a/file"), lab.path("tree/b/file")).unwrap();
    run("mkfifo", [lab.path("tree/fifo")]);
    let copied = lab.copy("copy").unwrap();
    assert_eq!((copied.files, copied.names, copied.symlinks, copied.others), (2, 1, 1, 1));
    super::copying::assert_equal(&lab.path("copy"), &lab.path("tree"), false, "");
}
