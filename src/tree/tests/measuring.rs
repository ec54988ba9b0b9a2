//! Measuring, against `du` and `find`.

use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::time::{Duration, UNIX_EPOCH};

use super::*;
use crate::host::entries::Time;
use crate::tree::measure::{Room, measure_parts};

fn du(args: &[&str], path: &Path) -> u64 {
    let text = run("du", args.iter().map(OsStr::new).chain([path.as_os_str()]));
    text.split_whitespace().next().unwrap().parse().unwrap()
}

/// How many different inodes `find` finds.
fn found(path: &Path, kind: &[&str]) -> u64 {
    let args = [path.as_os_str()].into_iter().chain(kind.iter().map(OsStr::new));
    let text = run("find", args.chain(["-printf", "%D:%i\n"].map(OsStr::new)));
    text.lines().collect::<std::collections::HashSet<_>>().len() as u64
}

/// From coreutils 9.2 on `du --apparent-size` leaves out what is neither a file nor a link.
fn du_counts_directories() -> bool {
    let text = run("du", ["--version"]);
    let version = text.lines().next().unwrap().rsplit(' ').next().unwrap().to_owned();
    let mut numbers = version.split('.').map(|n| n.parse::<u32>().unwrap_or(0));
    (numbers.next(), numbers.next()) < (Some(9), Some(2))
}

#[test]
fn it_agrees_with_du_and_find() {
    for filesystem in ["ext4", "xfs", "btrfs"] {
        let lab = Lab::image(filesystem);
        lab.make(["tree/a/b/c", "tree/a/empty/", "tree/file", "tree/d/e/f/g"]);
        lab.fill("tree/many", 3000);
        for n in 0..200 {
            fs::write(lab.path("tree/a").join(format!("f{n}")), vec![1; n * 100]).unwrap();
            fs::hard_link(lab.path("tree/file"), lab.path("tree/many").join(format!("link{n}"))).unwrap();
        }
        let sparse = fs::File::create(lab.path("tree/sparse")).unwrap();
        sparse.set_len(1 << 30).unwrap();
        symlink("nowhere", lab.path("tree/link")).unwrap();
        symlink("/", lab.path("tree/root")).unwrap();
        let _socket = UnixListener::bind(lab.path("tree/socket")).unwrap();
        run("mkfifo", [lab.path("tree/fifo")]);
        run("mknod", [lab.path("tree/device").as_os_str(), "b".as_ref(), "7".as_ref(), "0".as_ref()]);
        if filesystem == "btrfs" {
            for name in ["tree/sub", "tree/a/sub"] {
                run("btrfs", ["subvolume".as_ref(), "create".as_ref(), lab.path(name).as_os_str()]);
                lab.make([format!("{name}/inside").as_str()]);
                fs::hard_link(lab.path(name).join("inside"), lab.path(name).join("again")).unwrap();
            }
        }
        run("sync", ["-f".as_ref(), lab.top.as_os_str()]);
        let (path, measured) = (lab.path("tree"), lab.measure("tree"));
        assert_eq!(measured.allocated, du(&["-s", "-B1"], &path), "{filesystem}");
        if du_counts_directories() {
            assert_eq!(measured.apparent, du(&["-sb"], &path), "{filesystem}");
        }
        assert!(measured.apparent > 1 << 30 && measured.allocated < 1 << 27);
        for (count, kind) in [(measured.files, "f"), (measured.directories, "d"), (measured.symlinks, "l")] {
            assert_eq!(count, found(&path, &["-type", kind]), "{filesystem} {kind}");
        }
        assert_eq!(measured.others, 3);
        assert_eq!((measured.unreadable, measured.vanished, measured.foreign_mounts), (0, 0, 0));
        assert_eq!(measured.largest, Some(("sparse".into(), 1 << 30)));
    }
}

#[test]
fn the_largest_and_the_oldest_file_are_named() {
    let lab = Lab::memory();
    lab.make(["tree/a/young", "tree/b/c/old", "tree/b/large"]);
    fs::write(lab.path("tree/b/large"), vec![0; 5000]).unwrap();
    let old = fs::File::options().write(true).open(lab.path("tree/b/c/old")).unwrap();
    old.set_modified(UNIX_EPOCH - Duration::from_secs(7)).unwrap();
    let measured = lab.measure("tree");
    assert_eq!(measured.largest, Some(("b/large".into(), 5000)));
    assert_eq!(measured.oldest, Some(("b/c/old".into(), Time { seconds: -7, nanoseconds: 0 })));
    assert_eq!(lab.measure("tree/b/c").largest, Some(("old".into(), "tree/b/c/old".len() as u64)));
    fs::remove_file(lab.path("tree/a/young")).unwrap();
    let empty = lab.measure("tree/a");
    assert_eq!((empty.largest, empty.oldest), (None, None));
}

/// The paths of the parts down to so many levels, and how many files each holds.
fn parts(lab: &Lab, levels: usize) -> Vec<(String, u64)> {
    let parts = measure_parts(&Dir::open(&lab.path("tree")).unwrap(), levels, Room::default(), &Silent)
        .unwrap()
        .parts;
    parts.iter().map(|part| (part.path.display().to_string(), part.measured.files)).collect()
}

#[test]
fn entries_hold_all_below_them() {
    let lab = Lab::image("ext4");
    lab.make(["tree/a/b/c/d", "tree/a/e", "tree/f/g", "tree/file", "tree/empty/"]);
    // Blocks are allocated late.
    run("sync", ["-f".as_ref(), lab.top.as_os_str()]);
    let named =
        |parts: &[(&str, u64)]| -> Vec<_> { parts.iter().map(|(p, n)| ((*p).to_owned(), *n)).collect() };
    assert_eq!(parts(&lab, 0), []);
    assert_eq!(parts(&lab, 1), named(&[("a", 2), ("empty", 0), ("f", 1), ("file", 1)]));
    let two = [("a", 2), ("a/b", 1), ("a/e", 1), ("empty", 0), ("f", 1), ("f/g", 1), ("file", 1)];
    assert_eq!(parts(&lab, 2), named(&two));
    assert_eq!(parts(&lab, 9).len(), two.len() + 2);
    let measured =
        measure_parts(&Dir::open(&lab.path("tree")).unwrap(), 1, Room::default(), &Silent).unwrap();
    // Which of several files of one time is the oldest, nobody can say.
    let timeless = |measured: Measured| Measured { oldest: None, ..measured };
    assert_eq!(timeless(measured.whole), timeless(lab.measure("tree")));
    for part in &measured.parts {
        let path = lab.path("tree").join(&part.path);
        assert_eq!(part.measured.allocated, du(&["-s", "-B1"], &path), "{}", part.path.display());
    }
    assert_eq!(measured.parts[0].measured.largest, Some(("a/b/c/d".into(), "tree/a/b/c/d".len() as u64)));
}

#[test]
fn names_of_entries_are_bytes() {
    let lab = Lab::memory();
    let odd = OsStr::from_bytes(b"\xff\n\xfe");
    fs::create_dir_all(lab.path("tree").join(odd)).unwrap();
    let parts =
        measure_parts(&Dir::open(&lab.path("tree")).unwrap(), 1, Room::default(), &Silent).unwrap().parts;
    assert_eq!(parts[0].path.as_os_str(), odd);
}

#[test]
fn more_entries_than_lines_are_counted_in_the_one_above() {
    let lab = Lab::memory();
    lab.fill("tree/d", 10_500);
    let measured =
        measure_parts(&Dir::open(&lab.path("tree")).unwrap(), 2, Room::default(), &Silent).unwrap();
    assert_eq!((measured.parts.len(), measured.unlisted), (10_000, 501));
    assert_eq!((measured.parts[0].measured.files, measured.whole.files), (10_500, 10_500));
}

#[test]
fn measuring_leaves_the_times_of_access() {
    let lab = Lab::image("ext4");
    lab.make(["tree/a/b"]);
    let accessed = || run("stat", ["-c".as_ref(), "%x".as_ref(), lab.path("tree/a").as_os_str()]);
    let before = accessed();
    std::thread::sleep(Duration::from_millis(20));
    lab.measure("tree");
    assert_eq!(accessed(), before);
}

#[test]
fn a_measured_handle_may_be_used_before_and_after() {
    let lab = Lab::memory();
    lab.make(["tree/a", "tree/b"]);
    let dir = Dir::open(&lab.path("tree")).unwrap();
    for _ in 0..2 {
        assert_eq!(dir.names().unwrap().len(), 2);
        assert_eq!(measure(&dir, &Silent).unwrap().files, 2);
    }
}
