//! Measuring, against `du` and `find`.

use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::time::{Duration, UNIX_EPOCH};

use super::*;
use crate::tree::measure::measure_entries;

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
    assert_eq!(measured.oldest, Some(("b/c/old".into(), -7)));
    assert_eq!(lab.measure("tree/b/c").largest, Some(("old".into(), "tree/b/c/old".len() as u64)));
    fs::remove_file(lab.path("tree/a/young")).unwrap();
    let empty = lab.measure("tree/a");
    assert_eq!((empty.largest, empty.oldest), (None, None));
}

#[test]
fn entries_add_up_to_the_whole() {
    let lab = Lab::image("ext4");
    lab.make(["tree/a/b/c", "tree/d/e", "tree/d/f", "tree/file", "tree/empty/"]);
    let odd = OsStr::from_bytes(b"\xff\xfe");
    fs::create_dir(lab.path("tree").join(odd)).unwrap();
    let rows = measure_entries(&Dir::open(&lab.path("tree")).unwrap(), &Silent).unwrap();
    let names: Vec<_> = rows.iter().map(|(name, _)| name.as_os_str()).collect();
    assert_eq!(names, [OsStr::new(""), "a".as_ref(), "d".as_ref(), "empty".as_ref(), "file".as_ref(), odd]);
    let counts: Vec<_> = rows.iter().map(|(_, m)| (m.files, m.directories)).collect();
    assert_eq!(counts, [(0, 1), (1, 2), (2, 1), (0, 1), (1, 0), (0, 1)]);
    assert_eq!(rows[1].1.largest, Some(("a/b/c".into(), "tree/a/b/c".len() as u64)));
    let whole = lab.measure("tree");
    assert_eq!(rows.iter().map(|(_, m)| m.allocated).sum::<u64>(), whole.allocated);
    assert_eq!(rows.iter().map(|(_, m)| m.apparent).sum::<u64>(), whole.apparent);
}

#[test]
fn more_entries_than_lines_are_counted_in_the_unnamed_line() {
    let lab = Lab::memory();
    lab.fill("tree", 10_500);
    let rows = measure_entries(&Dir::open(&lab.path("tree")).unwrap(), &Silent).unwrap();
    assert_eq!(rows.len(), 10_001);
    assert_eq!((rows[0].0.as_os_str(), rows[0].1.files), (OsStr::new(""), 500));
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
