//! Removing, while nobody interferes.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::sync::Mutex;
use std::sync::atomic::AtomicU64;

use nix::libc;

use super::*;

#[test]
fn every_kind_of_entry_is_removed_and_counted() {
    for filesystem in ["ext4", "xfs", "btrfs"] {
        let lab = Lab::image(filesystem);
        lab.make(["tree/a/b/c", "tree/a/empty/", "tree/file", "beside"]);
        let odd = OsString::from_vec(vec![b'n', 0xff, b'\n']);
        fs::create_dir(lab.path("tree").join(&odd)).unwrap();
        fs::write(lab.path("tree").join(&odd).join(&odd), "").unwrap();
        fs::hard_link(lab.path("tree/file"), lab.path("tree/a/linked")).unwrap();
        symlink(lab.path("beside"), lab.path("tree/link")).unwrap();
        symlink("nowhere", lab.path("tree/broken")).unwrap();
        let _socket = UnixListener::bind(lab.path("tree/socket")).unwrap();
        run("mkfifo", [lab.path("tree/fifo")]);
        run("mknod", [lab.path("tree/device").as_os_str(), "c".as_ref(), "1".as_ref(), "3".as_ref()]);
        fs::set_permissions(lab.path("tree/a"), fs::Permissions::from_mode(0o000)).unwrap();
        assert_eq!(lab.remove("tree").unwrap(), Removed { entries: 14 }, "{filesystem}");
        assert!(!lab.exists("tree"));
        assert_eq!(fs::read_to_string(lab.path("beside")).unwrap(), "beside");
    }
}

#[test]
fn a_wide_tree_is_removed_on_every_filesystem() {
    for filesystem in ["ext4", "xfs", "btrfs"] {
        let lab = Lab::image(filesystem);
        lab.fill("tree/flat", 10_000);
        for n in 0..3000 {
            lab.make([format!("tree/wide/{n}/file").as_str()]);
        }
        assert_eq!(lab.remove("tree").unwrap().entries, 1 + 10_001 + 1 + 6000, "{filesystem}");
        assert!(!lab.exists("tree"));
    }
}

#[test]
fn what_is_no_directory_is_removed_and_what_is_absent_is_fine() {
    let lab = Lab::memory();
    lab.make(["file", "kept/file"]);
    symlink("kept", lab.path("link")).unwrap();
    for (name, entries) in [("file", 1), ("file", 0), ("link", 1), ("absent", 0)] {
        assert_eq!(lab.remove(name).unwrap(), Removed { entries }, "{name}");
        assert!(!lab.exists(name));
    }
    assert!(lab.exists("kept/file"));
}

#[test]
fn only_a_name_is_taken() {
    let lab = Lab::memory();
    lab.make(["kept/file"]);
    for name in ["", ".", "..", "kept/file", "/", "../top"] {
        assert_eq!(lab.remove(name).unwrap_err().errno(), Some(libc::EINVAL), "{name:?}");
    }
    assert!(lab.exists("kept/file"));
}

#[test]
fn what_cannot_be_removed_is_named_and_the_rest_goes() {
    let lab = Lab::image("ext4");
    lab.make(["tree/a/fixed", "tree/a/other", "tree/b/fixed", "tree/b/c/d", "tree/e"]);
    for (fixed, text) in [
        (vec!["tree/a/fixed"], "Operation not permitted".to_owned()),
        (
            vec!["tree/a/fixed", "tree/b/fixed"],
            "Operation not permitted (and 1 more entry could not be removed)".to_owned(),
        ),
    ] {
        for path in &fixed {
            lab.make([*path]);
            run("chattr", ["+i".as_ref(), lab.path(path).as_os_str()]);
        }
        let error = lab.remove("tree").unwrap_err();
        for path in &fixed {
            run("chattr", ["-i".as_ref(), lab.path(path).as_os_str()]);
        }
        let expected = |p: &&str| format!("cannot remove {}: {text}", lab.path(p).display());
        assert!(fixed.iter().map(expected).any(|e| e == error.to_string()), "{error}");
        let left: u64 = fixed.len() as u64;
        let measured = lab.measure("tree");
        assert_eq!((measured.files, measured.directories), (left, left + 1));
    }
    lab.remove("tree").unwrap();
    assert!(!lab.exists("tree"));
}

#[test]
fn a_mount_inside_is_left_alone_and_named() {
    for kind in ["tmpfs", "bind", "file"] {
        let mut lab = Lab::memory();
        lab.make(["tree/a/point/", "tree/a/other", "tree/b", "elsewhere/kept", "one"]);
        let point = match kind {
            "file" => lab.path("tree/b"),
            _ => lab.path("tree/a/point"),
        };
        match kind {
            "tmpfs" => lab.mount(["-t", "tmpfs"], Path::new("none"), &point),
            "bind" => lab.mount(["--bind"], &lab.path("elsewhere"), &point),
            _ => lab.mount(["--bind"], &lab.path("one"), &point),
        }
        if kind == "tmpfs" {
            fs::write(point.join("kept"), "").unwrap();
        }
        let error = lab.remove("tree").unwrap_err();
        assert_eq!(error.errno(), Some(libc::EBUSY), "{kind}");
        let text = format!("cannot remove the mount point {}: Device or resource busy", point.display());
        assert_eq!(error.to_string(), text);
        assert!(kind == "file" || point.join("kept").exists(), "{kind}");
        assert!(lab.exists("elsewhere/kept") && lab.exists("one"));
        assert!(!lab.exists("tree/a/other"));
        let measured = lab.measure("tree");
        assert_eq!((measured.foreign_mounts, measured.files), (1, 0), "{kind}");
    }
}

#[test]
fn it_stops_when_told_to_and_goes_on_later() {
    struct StopAfter(u64, AtomicU64);
    impl Progress for StopAfter {
        fn add(&self, entries: u64, _bytes: u64) {
            self.1.fetch_add(entries, Ordering::Relaxed);
        }
        fn stopped(&self) -> bool {
            self.1.load(Ordering::Relaxed) >= self.0
        }
    }
    let lab = Lab::memory();
    for n in 0..10 {
        lab.fill(&format!("tree/{n}"), 2000);
    }
    let stop = |after| StopAfter(after, AtomicU64::new(0));
    assert!(matches!(lab.remove_watched("tree", &stop(0)), Err(Error::Interrupted)));
    assert_eq!(lab.measure("tree").files, 20_000);
    assert!(matches!(lab.remove_watched("tree", &stop(5000)), Err(Error::Interrupted)));
    let left = lab.measure("tree").files;
    assert!(left > 10_000 && left <= 15_000, "{left} are left");
    let dir = Dir::open(&lab.path("tree")).unwrap();
    assert!(matches!(measure(&dir, &stop(1)), Err(Error::Interrupted)));
    let rest = stop(u64::MAX);
    let removed = lab.remove_watched("tree", &rest).unwrap();
    assert_eq!(rest.1.into_inner(), removed.entries);
}

#[test]
fn nested_subvolumes_go_to_the_driver_or_are_emptied() {
    let lab = Lab::image("btrfs");
    let subvolume = |path: &str| {
        run("btrfs", ["subvolume".as_ref(), "create".as_ref(), lab.path(path).as_os_str()]);
        lab.make([format!("{path}/dir/file").as_str()]);
    };
    let make = || {
        lab.make(["tree/a/file"]);
        subvolume("tree/a/one");
        subvolume("tree/two");
    };
    make();
    assert_eq!(lab.remove("tree").unwrap().entries, 3 + 2 * 3);
    make();
    let seen = Mutex::new(Vec::new());
    let delete = |parent: &Dir, name: &OsStr| {
        seen.lock().unwrap().push(parent.join(name));
        run("btrfs", ["subvolume".as_ref(), "delete".as_ref(), parent.join(name).as_os_str()]);
        Ok(())
    };
    let options = RemoveOptions { subvolume: Some(&delete), threads: 0 };
    assert_eq!(remove(&lab.handle(), "tree".as_ref(), &options, &Silent).unwrap().entries, 3 + 2);
    let mut seen = seen.into_inner().unwrap();
    seen.sort();
    assert_eq!(seen, [lab.path("tree/a/one"), lab.path("tree/two")]);
    assert_eq!(lab.count(""), 0);
}

#[test]
fn a_failing_driver_keeps_what_is_above_the_subvolume() {
    let lab = Lab::image("btrfs");
    lab.make(["tree/a/file"]);
    run("btrfs", ["subvolume".as_ref(), "create".as_ref(), lab.path("tree/a/one").as_os_str()]);
    let fails = |_: &Dir, _: &OsStr| Err(Error::Program("no".to_owned()));
    let options = RemoveOptions { subvolume: Some(&fails), threads: 0 };
    let error = remove(&lab.handle(), "tree".as_ref(), &options, &Silent).unwrap_err();
    assert_eq!(error.to_string(), "no");
    assert!(lab.exists("tree/a/one") && !lab.exists("tree/a/file"));
}
