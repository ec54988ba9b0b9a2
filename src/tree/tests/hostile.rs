//! Trees whose owner changes them at full speed while root works.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::time::{Duration, Instant};

use nix::fcntl::{RenameFlags, renameat2};
use nix::libc;

use super::*;

/// Does `mischief` over and over while `work` runs, which may panic.
fn against<T>(mischief: impl Fn() + Sync, work: impl FnOnce() -> T) -> T {
    struct Stop<'a>(&'a AtomicBool);
    impl Drop for Stop<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    let stopped = AtomicBool::new(false);
    std::thread::scope(|threads| {
        let _stop = Stop(&stopped);
        threads.spawn(|| {
            while !stopped.load(Ordering::Relaxed) {
                mischief();
            }
        });
        work()
    })
}

/// Exchanges two entries of `tree` as fast as it can while `work` runs.
fn while_exchanging<T>(lab: &Lab, a: &str, b: &str, work: impl FnOnce() -> T) -> T {
    let dir = Dir::open(&lab.path("tree")).unwrap();
    let exchange = || {
        let _ = renameat2(&dir, a, &dir, b, RenameFlags::RENAME_EXCHANGE);
    };
    against(exchange, work)
}

/// Gone, or said not to be.
fn removed_or_said_so(lab: &Lab, removed: &host::Result<Removed>) {
    match removed {
        Ok(_) => assert!(!lab.exists("tree")),
        Err(e) => assert!(lab.exists("tree"), "{e}"),
    }
}

#[test]
fn directories_exchanged_for_links_lead_nowhere() {
    let lab = Lab::memory();
    lab.fill("outside", 300);
    lab.make(["outside/sub/kept"]);
    fs::write(lab.path("outside/secret"), vec![1; 1 << 20]).unwrap();
    let end = Instant::now() + Duration::from_secs(3);
    while Instant::now() < end {
        lab.fill("tree/d", 300);
        lab.make(["tree/d/sub/file", "tree/e/f"]);
        symlink(lab.path("outside"), lab.path("tree/link")).unwrap();
        while_exchanging(&lab, "d", "link", || {
            for _ in 0..20 {
                let measured = lab.measure("tree");
                assert!(measured.largest.is_none_or(|(_, size)| size < 1 << 20));
            }
            removed_or_said_so(&lab, &lab.remove("tree"));
        });
        lab.remove("tree").unwrap();
        assert_eq!(lab.count("outside"), 302);
        assert!(lab.exists("outside/sub/kept"));
    }
}

#[test]
fn directories_exchanged_for_fifos_keep_nobody_waiting() {
    let lab = Lab::memory();
    let end = Instant::now() + Duration::from_secs(2);
    while Instant::now() < end {
        lab.make(["tree/d/file", "tree/e/f"]);
        run("mkfifo", [lab.path("tree/fifo")]);
        while_exchanging(&lab, "d", "fifo", || {
            for _ in 0..100 {
                lab.measure("tree");
            }
            removed_or_said_so(&lab, &lab.remove("tree"));
        });
        lab.remove("tree").unwrap();
    }
}

#[test]
fn what_is_moved_out_is_left_alone() {
    // What is moved, and where the files are then.
    for (moved, files) in [("tree/a", "outside/a/b"), ("tree/a/b", "outside/b")] {
        let lab = Lab::memory();
        lab.make(["outside/kept"]);
        for n in 0..20 {
            lab.fill(&format!("tree/a/b/{n}"), 1000);
        }
        let to = lab.path("outside").join(Path::new(moved).file_name().unwrap());
        let moves = Once::new(|| fs::rename(lab.path(moved), &to).unwrap());
        lab.remove_watched("tree", &moves).unwrap();
        assert!(!lab.exists("tree") && lab.exists("outside/kept"));
        // A block that was read, or a few milliseconds of work further up, may still go.
        let left = lab.measure(files).files;
        assert!(left > 8000, "{moved}: {left} are left");
    }
}

#[test]
fn moving_directories_in_and_out_never_leads_beside_the_tree() {
    let lab = Lab::memory();
    let tree = lab.handle();
    let end = Instant::now() + Duration::from_secs(3);
    while Instant::now() < end {
        lab.make(["outside/x/kept", "outside/kept", "tree/a/b/c/d/e/file", "tree/f/g"]);
        lab.fill("tree/a/b/c/many", 500);
        let moves = || {
            for (from, to) in [("tree/a/b/c", "outside/x/c"), ("outside/x/c", "tree/a/b/c")] {
                let _ = renameat2(&tree, from, &tree, to, RenameFlags::RENAME_NOREPLACE);
            }
        };
        against(moves, || removed_or_said_so(&lab, &lab.remove("tree")));
        assert!(lab.exists("outside/x/kept") && lab.exists("outside/kept"));
        lab.remove("tree").unwrap();
        lab.remove("outside").unwrap();
    }
}

#[test]
fn a_directory_that_its_owner_keeps_filling_is_removed() {
    let lab = Lab::image("ext4");
    let script = "for j in 1 2 3 4 5 6; do (i=0; while :; do i=$((i+1)); : > f$j-$i; done) & done; wait";
    for _ in 0..3 {
        lab.make(["tree/dir/"]);
        fs::set_permissions(lab.path("tree/dir"), fs::Permissions::from_mode(0o777)).unwrap();
        let mut tenant = program("sh");
        tenant.args(["-c", script]).current_dir(lab.path("tree/dir")).uid(50_000).gid(50_000);
        let quiet = std::process::Stdio::null;
        let mut tenant = tenant.process_group(0).stderr(quiet()).stdout(quiet()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(200));
        let removed = lab.remove("tree");
        nix::sys::signal::killpg(
            nix::unistd::Pid::from_raw(tenant.id() as i32),
            nix::sys::signal::Signal::SIGKILL,
        )
        .unwrap();
        tenant.wait().unwrap();
        assert!(removed.unwrap().entries > 2);
        assert!(!lab.exists("tree"));
    }
}

#[test]
fn what_vanishes_is_no_failure() {
    let lab = Lab::memory();
    for n in 0..50 {
        lab.fill(&format!("tree/{n}/sub"), 100);
    }
    std::thread::scope(|threads| {
        threads.spawn(|| output("rm", ["-rf".as_ref(), lab.path("tree").as_os_str()]));
        assert_eq!(lab.measure("").unreadable, 0);
        lab.remove("tree").unwrap();
    });
    assert!(!lab.exists("tree"));
}

#[test]
fn a_directory_made_in_the_place_of_a_removed_one_is_another() {
    use crate::host::entries::status;
    let lab = Lab::image("ext4");
    let mut seen: Vec<crate::host::entries::Identity> = Vec::new();
    for _ in 0..50 {
        fs::create_dir(lab.path("dir")).unwrap();
        seen.push(status(lab.handle(), c"dir").unwrap().identity);
        fs::remove_dir(lab.path("dir")).unwrap();
    }
    let numbers: std::collections::HashSet<_> = seen.iter().map(|identity| identity.inode).collect();
    assert!(numbers.len() < seen.len(), "no inode number was used again");
    for (n, identity) in seen.iter().enumerate() {
        assert!(!seen[..n].contains(identity));
    }
}

#[test]
fn a_handle_that_is_opened_again_is_on_the_same_directory_or_none() {
    use crate::host::entries::{open_directory, reopen, status};
    use crate::tree::node::{Handles, Node};
    use std::sync::{Arc, OnceLock};
    let lab = Lab::memory();
    lab.make(["tree/a/b/", "tree/other/b/", "side/"]);
    let node = |parent: Option<&Arc<Node<()>>>, name: &std::ffi::CStr, serial, path: &str| {
        let dir = Dir::open(&lab.path(path)).unwrap();
        Arc::new(Node {
            parent: parent.cloned(),
            name: name.into(),
            serial,
            identity: OnceLock::from(status(dir, c"").unwrap().identity),
            next: 0.into(),
            pending: 1.into(),
            data: (),
        })
    };
    let root = node(None, c"", 0, "tree");
    let a = node(Some(&root), c"a", 1, "tree/a");
    let b = node(Some(&a), c"b", 2, "tree/a/b");
    let handles = |capacity| Handles::new(reopen(Dir::open(&lab.path("tree")).unwrap()).unwrap(), capacity);
    let identity = |handle: &std::os::fd::OwnedFd| status(handle, c"").unwrap().identity;

    let few = handles(1);
    for node in [&b, &a, &b] {
        assert_eq!(Some(&identity(&few.get(node).unwrap())), node.identity.get());
    }
    assert!(few.kept(&b).is_some() && few.kept(&a).is_none());
    few.forget(&b);
    assert!(few.kept(&b).is_none());

    // The same names lead to other directories.
    let tree = Dir::open(&lab.path("tree")).unwrap();
    renameat2(&tree, "a", &tree, "other", RenameFlags::RENAME_EXCHANGE).unwrap();
    assert_eq!(handles(9).get(&b).unwrap_err().raw_os_error(), Some(libc::ESTALE));

    // Up from a directory that was moved: not to where it is now.
    let child = open_directory(Dir::open(&lab.path("tree/other")).unwrap(), c"b").unwrap();
    let up = handles(9);
    up.ascend(&child, &a);
    assert_eq!(identity(&up.kept(&a).unwrap()), *a.identity.get().unwrap());
    fs::rename(lab.path("tree/other/b"), lab.path("side/b")).unwrap();
    let up = handles(9);
    up.ascend(&child, &a);
    assert!(up.kept(&a).is_none());
}

#[test]
fn a_copy_holds_nothing_from_beside_the_tree() {
    let lab = Lab::memory();
    lab.make(["outside/sub/secret"]);
    for n in 0..300 {
        fs::write(lab.path(&format!("outside/file{n}")), "secret").unwrap();
    }
    fs::create_dir(lab.path("outside/closed")).unwrap();
    symlink(lab.path("outside/file1"), lab.path("to-file")).unwrap();
    let end = Instant::now() + Duration::from_secs(4);
    for swapped in ["d", "d/sub", "d/file7"].iter().cycle() {
        if Instant::now() > end {
            break;
        }
        lab.fill("tree/d", 300);
        lab.fill("tree/d/sub", 300);
        let outside = if *swapped == "d/file7" { "outside/file1" } else { "outside" };
        symlink(lab.path(outside), lab.path("tree/link")).unwrap();
        while_exchanging(&lab, swapped, "link", || {
            for _ in 0..10 {
                lab.copy("copy").unwrap();
                // The tenant's link may be there, as a link.
                for entry in walkdir::WalkDir::new(lab.path("copy")).into_iter().map(Result::unwrap) {
                    let length = entry.metadata().unwrap().len();
                    assert!(!entry.file_type().is_file() || length == 0, "{entry:?}");
                }
                assert!(!lab.exists("copy/d/closed") || lab.path("copy/d").is_symlink());
            }
        });
        lab.remove("tree").unwrap();
        lab.remove("copy").unwrap();
        assert_eq!(lab.count("outside"), 302);
    }
}

#[test]
fn a_copy_wakes_no_device_and_waits_for_no_fifo() {
    let lab = Lab::memory();
    let end = Instant::now() + Duration::from_secs(2);
    while Instant::now() < end {
        lab.make(["tree/d/file", "tree/file"]);
        run("mkfifo", [lab.path("tree/fifo")]);
        while_exchanging(&lab, "file", "fifo", || (0..30).for_each(|_| drop(lab.copy("copy").unwrap())));
        // The null device would be read as an empty file, and another could do anything.
        run("mknod", [lab.path("tree/null").as_os_str(), "c".as_ref(), "1".as_ref(), "3".as_ref()]);
        while_exchanging(&lab, "file", "null", || (0..30).for_each(|_| drop(lab.copy("copy").unwrap())));
        while_exchanging(&lab, "d", "fifo", || (0..30).for_each(|_| drop(lab.copy("copy").unwrap())));
        lab.remove("tree").unwrap();
    }
}

#[test]
fn what_vanishes_while_it_is_copied_is_counted_and_noted() {
    let lab = Lab::memory();
    for n in 0..50 {
        lab.fill(&format!("tree/{n}/sub"), 100);
    }
    let moves = Once::new(|| {
        drop(run("rm", ["-rf".as_ref(), lab.path("tree/0").as_os_str(), lab.path("tree/49").as_os_str()]))
    });
    let copied = lab.copy_watched("copy", &moves).unwrap();
    assert!(copied.vanished > 0 && copied.files >= 4800, "{copied:?}");
    assert_eq!(copied.notes.len() as u64 + copied.more_notes, copied.vanished);
    assert!(copied.notes.iter().all(|(_, text)| text == "was removed or moved away meanwhile"));
}

#[test]
fn a_file_that_grows_for_ever_is_copied_as_it_was_found() {
    let lab = Lab::memory();
    lab.make(["tree/"]);
    let path = lab.path("tree/log");
    fs::write(&path, vec![1; 20 << 20]).unwrap();
    let grow = || {
        use std::io::Write;
        fs::OpenOptions::new().append(true).open(&path).unwrap().write_all(&[2; 100_000]).unwrap();
        std::thread::sleep(Duration::from_micros(200));
    };
    let copied = against(grow, || lab.copy("copy").unwrap());
    let text = "was changed while it was copied".to_owned();
    assert_eq!((copied.files, copied.notes), (1, vec![("log".into(), text)]));
    let bytes = fs::read(lab.path("copy/log")).unwrap();
    assert!(bytes.len() as u64 == copied.bytes && bytes[..20 << 20].iter().all(|byte| *byte == 1));
}
