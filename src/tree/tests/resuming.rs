//! Copying again: after an end before the time, and when something changed in between.

use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::time::{Duration, Instant};

use super::copying::assert_equal;
use super::*;
use crate::tree::copy::{CopyOptions, copy};

/// Stops after so many questions whether to stop.
struct StopAt(u64, AtomicU64);

impl Progress for StopAt {
    fn add(&self, _entries: u64, _bytes: u64) {}
    fn stopped(&self) -> bool {
        self.1.fetch_add(1, Ordering::Relaxed) >= self.0
    }
}

fn make(lab: &Lab) {
    for n in 0..12 {
        lab.make([format!("tree/{n}/sub/file").as_str(), format!("tree/{n}/deep/er/file{n}").as_str()]);
        fs::hard_link(lab.path(&format!("tree/{n}/sub/file")), lab.path(&format!("tree/linked{n}"))).unwrap();
        symlink("somewhere", lab.path(&format!("tree/{n}/link"))).unwrap();
        fs::write(lab.path(&format!("tree/{n}/long")), vec![n; 3 << 20]).unwrap();
        chown(lab.path(&format!("tree/{n}")), Some(n.into()), Some(7)).unwrap();
    }
    run("mkfifo", [lab.path("tree/fifo")]);
    chown(lab.path("tree"), Some(13), Some(13)).unwrap();
    fs::set_permissions(lab.path("tree"), fs::Permissions::from_mode(0o777)).unwrap();
}

#[test]
fn a_copy_goes_on_wherever_it_was_ended() {
    let lab = Lab::memory();
    make(&lab);
    let whole = walkdir::WalkDir::new(lab.path("tree")).into_iter().count();
    let (mut at, mut ends) = (0, 0);
    loop {
        let to = format!("copy{at}");
        let watched = lab.copy_watched(&to, &StopAt(at, AtomicU64::new(0)));
        let top = lab.path(&to).metadata().unwrap();
        // Nobody gets at what is not whole.
        assert_eq!((top.uid(), top.mode() & 0o777), if watched.is_ok() { (13, 0o777) } else { (0, 0o700) });
        let finished = match watched {
            Ok(_) => true,
            Err(Error::Interrupted) => false,
            Err(e) => panic!("{e}"),
        };
        let second = lab.copy(&to).unwrap();
        assert_equal(&lab.path(&to), &lab.path("tree"), false, &format!("ended after {at}"));
        let made = second.files + second.names + second.symlinks + second.others + second.directories;
        assert_eq!(made + second.kept, whole as u64, "ended after {at}");
        lab.remove(&to).unwrap();
        if finished {
            // Only the copied directory itself is made in any case.
            assert_eq!((made, second.bytes), (1, 0));
            break;
        }
        ends += 1;
        at += 1 + at / 8;
    }
    assert!(ends > 20, "{ends}");
}

#[test]
fn names_of_one_file_are_joined_again() {
    let lab = Lab::memory();
    lab.make(["tree/a", "tree/d/"]);
    fs::hard_link(lab.path("tree/a"), lab.path("tree/d/b")).unwrap();
    lab.copy("copy").unwrap();
    fs::remove_file(lab.path("copy/d/b")).unwrap();
    run("cp", ["-a".as_ref(), lab.path("copy/a").as_os_str(), lab.path("copy/d/b").as_os_str()]);
    lab.copy("copy").unwrap();
    assert_equal(&lab.path("copy"), &lab.path("tree"), false, "");
    // And what is one file in the copy alone gets two.
    fs::remove_file(lab.path("tree/d/b")).unwrap();
    run("cp", ["-a".as_ref(), lab.path("tree/a").as_os_str(), lab.path("tree/d/b").as_os_str()]);
    lab.copy("copy").unwrap();
    assert_equal(&lab.path("copy"), &lab.path("tree"), false, "");
}

#[test]
fn what_differs_is_replaced_and_what_is_gone_is_removed() {
    let lab = Lab::memory();
    make(&lab);
    lab.copy("copy").unwrap();
    let (tree, copied) = (|p: &str| lab.path("tree").join(p), |p: &str| lab.path("copy").join(p));
    // In the source: other content of the same length, other kinds, another mode, owner and link; something is gone.
    fs::write(tree("0/sub/file"), "other").unwrap();
    fs::write(tree("1/long"), vec![9; 3 << 20]).unwrap();
    fs::remove_file(tree("2/long")).unwrap();
    fs::create_dir(tree("2/long")).unwrap();
    lab.make(["tree/2/long/file"]);
    run("rm", ["-r".as_ref(), tree("3/sub").as_os_str(), tree("8").as_os_str()]);
    fs::write(tree("3/sub"), "a file").unwrap();
    fs::set_permissions(tree("4/long"), fs::Permissions::from_mode(0o4711)).unwrap();
    chown(tree("5/long"), Some(77), None).unwrap();
    fs::remove_file(tree("6/link")).unwrap();
    symlink("elsewhere", tree("6/link")).unwrap();
    fs::remove_file(tree("7/link")).unwrap();
    fs::remove_file(tree("fifo")).unwrap();
    symlink("0", tree("fifo")).unwrap();
    run(
        "setfattr",
        ["-n", "trusted.x", "-v", "1"].map(OsStr::new).into_iter().chain([tree("9/long").as_os_str()]),
    );
    // In the copy: half a file, strange things, a trap.
    fs::OpenOptions::new().write(true).open(copied("10/long")).unwrap().set_len(1 << 20).unwrap();
    run(
        "setfattr",
        ["-n", "trusted.y", "-v", "1"].map(OsStr::new).into_iter().chain([copied("10").as_os_str()]),
    );
    lab.make(["copy/strange/deep/er/file", "copy/11/strange", "outside/kept"]);
    fs::remove_file(copied("11/long")).unwrap();
    symlink(lab.path("outside"), copied("11/long")).unwrap();
    fs::rename(copied("11/deep"), lab.path("deep")).unwrap();
    symlink(lab.path("outside"), copied("11/deep")).unwrap();
    let before = copied("4/long").metadata().unwrap().ino();
    let second = lab.copy("copy").unwrap();
    assert_equal(&lab.path("copy"), &lab.path("tree"), false, "");
    assert_eq!(lab.count("outside"), 1);
    // Whatever was changed in the source: nobody knows what, and its content is copied again.
    assert_ne!(copied("4/long").metadata().unwrap().ino(), before);
    // Six of the files of 3 MiB.
    assert!(second.bytes < 19 << 20, "{}", second.bytes);
}

#[test]
fn a_file_replaced_by_one_of_equal_length_and_time_is_copied_again() {
    for filesystem in ["ext4", "xfs", "btrfs"] {
        let lab = Lab::image(filesystem);
        lab.make(["tree/file", "tree/other", "tree/rewritten", "tree/same", "tree/d/"]);
        std::thread::sleep(Duration::from_millis(20));
        lab.copy("copy").unwrap();
        let tree = |name: &str| lab.path("tree").join(name);
        let ino = |name: &str| lab.path("copy").join(name).metadata().unwrap().ino();
        let before = ino("same");
        for name in ["new", "rewritten"] {
            let old = tree(if name == "new" { "file" } else { name }).metadata().unwrap();
            fs::write(tree(name), "x".repeat(old.len() as usize)).unwrap();
            let file = fs::File::options().write(true).open(tree(name)).unwrap();
            file.set_modified(old.modified().unwrap()).unwrap();
        }
        fs::rename(tree("new"), tree("file")).unwrap();
        // Longer than a step of the kernel's clock: within one, nobody knows what came first, and all is copied again.
        std::thread::sleep(Duration::from_millis(20));
        let second = lab.copy("copy").unwrap();
        assert_eq!((second.files, second.kept), (2, 3), "{filesystem}");
        assert_equal(&lab.path("copy"), &lab.path("tree"), false, filesystem);
        assert_eq!(ino("same"), before);
        assert!(lab.copy("copy").unwrap().found_all(), "{filesystem}");
    }
}

#[test]
fn a_file_changed_in_the_future_is_judged_by_length_and_time() {
    let mut lab = Lab::memory();
    lab.second("ext4", "disk", 20 << 20);
    lab.make(["disk/tree/file"]);
    // Nobody can set a ctime, but a clock that was ahead leaves such ones.
    let (disk, image) = (lab.path("disk"), lab.dir.path().join("ext4.image"));
    run("umount", [&disk]);
    let set = ["-w", "-R", "set_inode_field tree/file ctime 20350101000000"].map(OsStr::new);
    run("debugfs", set.into_iter().chain([image.as_os_str()]));
    run("mount", ["-o".as_ref(), "loop".as_ref(), image.as_os_str(), disk.as_os_str()]);
    assert_eq!(lab.path("disk/tree/file").metadata().unwrap().ctime(), 2_051_222_400);
    let pass = || {
        let dir = |below| Dir::open(&lab.path(below)).unwrap();
        copy(&dir("disk/tree"), &dir("disk/copy"), &CopyOptions::default(), &Silent).unwrap()
    };
    fs::create_dir(lab.path("disk/copy")).unwrap();
    assert_eq!(pass().files, 1);
    assert!(pass().found_all());
}

#[test]
fn it_stops_within_a_second_in_the_middle_of_a_file() {
    struct Stop(Instant, AtomicBool);
    impl Progress for Stop {
        fn add(&self, _entries: u64, bytes: u64) {
            assert!(bytes < 16 << 20);
        }
        fn stopped(&self) -> bool {
            let stopped = self.0.elapsed() > Duration::from_millis(100);
            self.1.fetch_or(stopped, Ordering::Relaxed);
            stopped
        }
    }
    let lab = Lab::image("ext4");
    lab.make(["tree/"]);
    // Its holes are too short to be skipped.
    let long = fs::File::create(lab.path("tree/long")).unwrap();
    nix::fcntl::fallocate(&long, nix::fcntl::FallocateFlags::empty(), 0, 200 << 20).unwrap();
    for at in 0..200 {
        std::os::unix::fs::FileExt::write_all_at(&long, &[1; 1 << 20], at << 20).unwrap();
    }
    let watch = Stop(Instant::now(), AtomicBool::new(false));
    let result = lab.copy_watched("copy", &watch);
    let elapsed = watch.0.elapsed();
    match result {
        // A fast machine is done before.
        Ok(_) => assert!(!watch.1.into_inner()),
        Err(error) => assert!(matches!(error, Error::Interrupted), "{error}"),
    }
    assert!(elapsed < Duration::from_millis(1100), "{elapsed:?}");
}
