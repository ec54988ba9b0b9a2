//! Another folder with what a folder holds: who may, what refuses it, which way it goes, and what holds while it is under
//! way.

mod charges;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::json;

use crate::support::{Lab, MIB, Snapshot, VFADM, system, wait_until, words};

use super::consistency::{assert_whole, no_intents};

/// alice owns `data` with a file in it; `ml` (alice its admin, bob a member) owns `sets`. carol is nobody's.
fn site() -> Lab {
    furnished(Lab::plain())
}

fn furnished(lab: Lab) -> Lab {
    lab.ok("user add carol");
    lab.ok("vfolder create alice/data");
    fs::write(lab.path("alice/data").join("file"), "kept").unwrap();
    lab.ok("vfolder create project/ml/sets --perm ro");
    lab
}

fn fill(folder: &Path, files: u32) {
    for number in 0..files {
        fs::write(folder.join(format!("f{number}")), "x").unwrap();
    }
}

/// What `find` and `cat` say of a tree: all that `cp -a` keeps, but the times of access.
fn told(tree: &Path) -> String {
    // How long a directory is, and how many names it has, is the filesystem's affair.
    let all = "%P %y %m %U:%G %T@ %l";
    let (directory, other) = (format!("{all}\\n"), format!("{all} %n %s\\n"));
    let find =
        [tree.to_str().unwrap(), "(", "-type", "d", "-printf", &directory, ")", "-o", "-printf", &other];
    let mut lines: Vec<String> = system("/usr/bin/find", &find).lines().map(str::to_owned).collect();
    lines.sort();
    let content = format!(
        "cd '{}' && find . -type f -size -2M -print0 | sort -z | xargs -0r sha256sum && find . | sort | getfattr -dhm - - 2>/dev/null || true",
        tree.display()
    );
    lines.join("\n") + &system("/bin/sh", &["-c", &content])
}

#[test]
fn who_may_clone() {
    for (line, code) in [
        ("alice/data bob/copy", 0),
        ("alice/data alice/copy", 0),
        ("alice/data project/ml/copy", 0),
        ("project/ml/sets carol/copy", 0),
        ("alice/data alice/copy --as alice", 0),
        ("data copy --as alice", 0),
        ("alice/data project/ml/copy --as alice", 0),
        ("project/ml/sets copy --as alice", 0),
        // A member of the project may read it; it is not cloneable, and not the member's own.
        ("project/ml/sets copy --as bob", 5),
        ("alice/data bob/copy --as alice", 5),
        ("alice/data copy --as bob", 3),
        ("alice/data nobody/copy", 3),
        ("alice/nothing bob/copy", 3),
        ("alice/data project/nothing/copy", 3),
        ("alice/data bob", 2),
        ("alice/data bob/-copy", 2),
    ] {
        let lab = site();
        let before = lab.registry_text();
        lab.run(&format!("vfolder clone {line}")).exits(code);
        assert_eq!(lab.registry_text() == before, code != 0, "{line}");
    }
}

/// Whoever has a folder only to read may copy what it holds where its owner says so.
#[test]
fn a_cloneable_folder_can_be_cloned_by_whom_it_is_shared_with() {
    let lab = site();
    lab.ok("vfolder share alice/data --with bob --perm ro");
    lab.fails(5, "vfolder clone data copy --as bob").says(&[
        "the vfolder user/alice/data is not cloneable, and is somebody else's",
        "user/alice can let others clone it: vfadm vfolder set user/alice/data --cloneable",
    ]);
    lab.ok("vfolder set alice/data --cloneable");
    lab.ok("permission explain clone alice/data --as bob");
    let made = lab.json("vfolder clone data copy --as bob")["item"].clone();
    assert_eq!((&made["owner"], &made["cloneable"]), (&json!("user/bob"), &json!(false)), "{made}");
    assert_eq!(fs::read_to_string(lab.path("bob/copy").join("file")).unwrap(), "kept");
}

#[test]
fn it_is_refused_where_the_new_owner_or_a_volume_would_not_hold_it() {
    for (arrange, line, code, words) in [
        ("vfolder create bob/copy", "alice/data bob/copy", 4, "the vfolder user/bob/copy exists already"),
        (
            "vfolder create bob/copy\nvfolder delete bob/copy",
            "alice/data bob/copy",
            4,
            "is in the trash, and keeps",
        ),
        ("", "alice/data alice/data", 4, "the vfolder user/alice/data exists already"),
        (
            "user set bob --max-vfolders 0",
            "alice/data bob/copy",
            4,
            "user/bob owns 0 vfolders, and may own 0",
        ),
        ("user set bob --state inactive", "alice/data bob/copy", 5, "user/bob is inactive"),
        ("", "alice/data project/ml/.conf", 2, "a project cannot own '.conf'"),
        ("volume block-clone local", "alice/data bob/copy", 5, "blocks 'clone' for user/alice"),
        ("volume block local clone --for alice", "alice/data bob/copy", 5, "blocks 'clone' for user/alice"),
        ("volume block local create", "alice/data bob/copy", 5, "blocks 'create' for user/bob"),
        ("volume block local create --for bob", "alice/data bob/copy", 5, "blocks 'create' for user/bob"),
        ("vfolder delete alice/data", "alice/data bob/copy", 4, "the vfolder user/alice/data is trashed"),
        ("user set bob --max-quota 1m", "alice/data bob/copy", 8, "a limit of 1 MiB cannot be enforced"),
        ("", "alice/data bob/copy --linked", 8, "has no snapshots of a directory"),
        ("", "alice/data bob/copy --volume nothing", 3, "there is no volume 'nothing'"),
    ] {
        let lab = site();
        for step in arrange.lines() {
            lab.ok(step);
        }
        let before = lab.registry_text();
        lab.fails(code, &format!("vfolder clone {line}")).says(&[words]);
        lab.fails(code, &format!("vfolder clone {line} --dry-run")).says(&[words]);
        assert_eq!(lab.registry_text(), before, "{arrange}: {line}");
        no_intents(&lab, line);
    }
}

#[test]
fn a_dry_run_says_which_way_it_would_go_and_writes_nothing() {
    let lab = site();
    let before = Snapshot::of(&[&lab.root]);
    let planned = lab.json("vfolder clone alice/data bob/copy --dry-run");
    assert_eq!(planned["outcome"], "planned");
    let steps: Vec<&str> = planned["steps"].as_array().unwrap().iter().map(|s| s.as_str().unwrap()).collect();
    assert!(steps[0].starts_with("clone user/alice/data as user/bob/copy by copy: 2 inodes, "), "{steps:?}");
    assert!(steps[1].starts_with("make the quota scope of user/bob"), "{steps:?}");
    before.same_as(&Snapshot::of(&[&lab.root]), "a dry run");
}

/// What is said on stderr, what on stdout, and what a program reads.
#[test]
fn what_was_copied_is_told() {
    let lab = site();
    let folder = lab.path("alice/data");
    fs::write(folder.join("more"), vec![7; 3 * MIB as usize]).unwrap();
    let out = lab.ok("vfolder clone alice/data bob/copy");
    assert!(
        out.stderr.starts_with("clone user/alice/data as user/bob/copy by copy: 3 inodes, 3.0 MiB"),
        "{}",
        out.stderr
    );
    assert_eq!(out.stdout, "vfolder user/bob/copy cloned from user/alice/data: 2 files, 3.0 MiB\n");
    let made = lab.json("vfolder clone alice/data bob/again");
    let mut clone = made["item"]["clone"].clone();
    assert_eq!(clone["bytes"].take(), json!(3 * MIB + 4));
    let want = json!({
        "source": "user/alice/data", "way": "copy", "files": 2, "directories": 1, "symlinks": 0, "others": 0,
        "bytes": null, "shared_bytes": 0, "kept": 0, "vanished": 0,
    });
    assert_eq!(
        (&made["outcome"], &clone, &made["item"]["status"]),
        (&json!("created"), &want, &json!("ready"))
    );
    lab.ok("vfolder clone alice/data bob/quiet -q").quiet();
    assert_whole(&lab, "after clones");
    lab.ok("check");
}

/// Links of both kinds, holes, attributes, lists of rights, special files, names that are no UTF-8, directories that
/// nobody may enter.
#[test]
fn the_clone_equals_what_cp_makes_but_for_rights_of_root() {
    for lab in [site(), furnished(Lab::btrfs())] {
        let folder = lab.path("alice/data");
        system("/bin/sh", &["-c", &format!("cd '{}' && {EVERYTHING}", folder.display())]);
        let setuid = folder.join("setuid");
        fs::write(&setuid, "#!").unwrap();
        fs::set_permissions(&setuid, fs::Permissions::from_mode(0o4755)).unwrap();
        system("/bin/mknod", &[folder.join("device").to_str().unwrap(), "c", "1", "3"]);
        let peer = lab.dir().join("peer");
        system("/bin/cp", &["-a", folder.to_str().unwrap(), peer.to_str().unwrap()]);

        let out = lab.ok("vfolder clone alice/data bob/copy");
        for words in ["user/bob/copy: setuid ", "user/bob/copy: device "] {
            assert!(out.stderr.contains(words), "{words}: {}", out.stderr);
        }
        let copy = lab.path("bob/copy");
        assert!(!copy.join("device").exists());
        assert_eq!(fs::metadata(copy.join("setuid")).unwrap().mode() & 0o7777, 0o755);
        fs::remove_file(peer.join("device")).unwrap();
        fs::set_permissions(peer.join("setuid"), fs::Permissions::from_mode(0o755)).unwrap();
        let restore = format!("touch -r '{}' '{}'", folder.display(), peer.display());
        system("/bin/sh", &["-c", &restore]);
        assert_eq!(told(&copy), told(&peer));
        // A hole of a tebibyte takes nothing.
        let hole = fs::metadata(copy.join("hole")).unwrap();
        assert!(hole.len() == 1 << 40 && hole.blocks() < 1024, "{} blocks", hole.blocks());
        let (one, two) = (fs::metadata(copy.join("a")).unwrap(), fs::metadata(copy.join("d/b")).unwrap());
        assert_eq!((one.ino(), one.nlink()), (two.ino(), 2));
        assert_eq!(fs::read_link(copy.join("loop")).unwrap(), Path::new("loop"));
        lab.ok("check");
    }
}

const EVERYTHING: &str = "mkdir -p d closed/inside && echo text > a && ln a d/b && ln -s loop loop && ln -s /etc/shadow out \
    && ln -s nowhere broken && mkfifo fifo && truncate -s 1T hole && printf end | dd of=hole bs=1 seek=500000000000 \
    conv=notrunc status=none && python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind(\"sock\")' \
    && echo odd > \"$(printf 'n\\377\\nl')\" && setfattr -n user.note -v kept a && touch -h -d '2001-02-03 04:05:06.123456789' loop \
    && touch -d '1999-12-31 23:59:59.987654321' d && echo shut > closed/inside/f && chown -R 50000:50000 . && chmod 0 closed/inside closed";

#[test]
fn nobody_sees_it_before_it_is_whole_and_it_can_be_gone_on_with_begun_again_or_dropped() {
    let lab = site();
    for (then, code) in [
        ("vfolder clone alice/data bob/copy", 0),
        ("vfolder clone alice/data bob/copy --resume", 0),
        ("vfolder clone alice/data bob/copy --restart", 0),
        ("vfolder purge bob/copy --yes", 0),
        ("vfolder delete bob/copy --purge --yes", 0),
        ("user remove bob --purge --yes", 0),
    ] {
        lab.cut_off("vfolder clone alice/data bob/copy");
        let shown = lab.json("vfolder show bob/copy");
        assert_eq!(
            (&shown["status"], &shown["clone"]),
            (&json!("copying"), &json!({"source": "user/alice/data"}))
        );
        for (line, code) in [
            ("vfolder delete bob/copy", 4),
            ("vfolder rename bob/copy other", 4),
            ("vfolder transfer bob/copy carol", 4),
            ("vfolder clone bob/copy bob/third", 4),
            ("vfolder clone project/ml/sets bob/copy", 4),
            ("vfolder create bob/copy", 4),
            ("session start s --user bob -m copy", 4),
        ] {
            lab.fails(code, line).says(&["vfadm vfolder purge user/bob/copy drops it"]);
        }
        let found = lab.run("-o json check").exits(10).json();
        assert_eq!(
            (&found["count"], &found["items"][0]["code"]),
            (&json!(1), &json!("work_cut_off")),
            "{found}"
        );
        lab.run(then).exits(code);
        if then.contains("clone") {
            assert_eq!(fs::read_to_string(lab.path("bob/copy").join("file")).unwrap(), "kept");
            lab.ok("vfolder delete bob/copy --purge --yes");
        }
        if then.contains("remove") {
            lab.ok("user add bob");
        }
        lab.fails(3, "vfolder show bob/copy");
        no_intents(&lab, then);
        assert_whole(&lab, then);
        lab.ok("check");
    }
}

#[test]
fn what_was_copied_before_is_not_copied_again_unless_asked() {
    let lab = site();
    fill(&lab.path("alice/data"), 50);
    for (option, kept) in [("", true), (" --resume", true), (" --restart", false)] {
        // Late enough that some are there: the copier gives each its times.
        let line = "vfolder clone alice/data bob/copy";
        let mut strace = Command::new("/usr/bin/strace");
        strace.args(["-f", "-qq", "-o", "/dev/null", "--trace=utimensat"]);
        strace.args(["--inject=utimensat:signal=KILL:when=15", VFADM]).args(words(line));
        strace.env_clear().env("VFADM_ROOT", &lab.root).output().expect("strace starts");
        let done = lab.json(&format!("{line}{option}"));
        assert_eq!(done["item"]["clone"]["kept"].as_u64().unwrap() > 5, kept, "{option}: {done}");
        assert_eq!(fs::read_dir(lab.path("bob/copy")).unwrap().count(), 51);
        lab.ok("vfolder delete bob/copy --purge --yes");
    }
}

#[test]
fn of_two_clones_to_one_name_one_wins_and_the_other_leaves_nothing() {
    let lab = site();
    fill(&lab.path("alice/data"), 300);
    for round in 0..8 {
        let line = format!("vfolder clone alice/data bob/n{round}");
        let codes: Vec<i32> = std::thread::scope(|scope| {
            let runs = [(); 2].map(|()| scope.spawn(|| lab.run(&line).code));
            runs.into_iter().map(|run| run.join().unwrap()).collect()
        });
        assert!(codes.contains(&0) && codes.contains(&4), "{codes:?}");
        assert_eq!(fs::read_dir(lab.path(&format!("bob/n{round}"))).unwrap().count(), 301);
    }
    no_intents(&lab, "in the end");
    assert_whole(&lab, "in the end");
    lab.ok("check");
}

/// While it is copied the source stays where it is.
#[test]
fn the_source_of_a_clone_under_way_is_in_use() {
    let lab = site();
    let line = "vfolder clone alice/data bob/copy";
    let mut strace = Command::new("/usr/bin/strace");
    strace.args(["-f", "-qq", "-o", "/dev/null", "--trace=fchown,fchownat"]);
    strace.args(["--inject=fchown,fchownat:delay_enter=3000000:when=1", VFADM]).args(words(line));
    let mut child = strace.env_clear().env("VFADM_ROOT", &lab.root).stderr(Stdio::null()).spawn().unwrap();
    wait_until("it copies", || lab.run("vfolder show bob/copy").code == 0);
    for line in [
        "vfolder delete alice/data",
        "vfolder delete alice/data --purge --yes",
        "vfolder transfer alice/data carol",
    ] {
        lab.fails(6, line).says(&["is at work on the vfolder user/alice/data"]);
    }
    lab.fails(4, line).says(&["the vfolder user/bob/copy exists already", "is filling it"]);
    assert!(child.wait().unwrap().success());
    lab.ok("vfolder delete alice/data");
    lab.ok("check");
}

#[test]
fn ctrl_c_ends_it_within_a_second_and_leaves_what_can_be_gone_on_with() {
    let lab = site();
    fill(&lab.path("alice/data"), 20_000);
    let mut child =
        lab.command(words("vfolder clone alice/data bob/copy")).stderr(Stdio::null()).spawn().unwrap();
    wait_until("it copies", || lab.run("vfolder show bob/copy").code == 0);
    let begun = std::time::Instant::now();
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(child.id() as i32), nix::sys::signal::Signal::SIGINT)
        .unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert!(begun.elapsed().as_secs() < 5, "it took {:?}", begun.elapsed());
    assert_eq!(lab.folder("bob/copy", "status"), "copying");
    lab.ok("vfolder clone alice/data bob/copy");
    assert_eq!(fs::read_dir(lab.path("bob/copy")).unwrap().count(), 20_001);
    no_intents(&lab, "in the end");
    assert_whole(&lab, "in the end");
}

/// Refused with figures before the first byte; with --allow-over by the limit itself, and nothing is left of it.
#[test]
fn what_does_not_fit_is_refused_before_the_first_byte() {
    let lab = furnished(Lab::btrfs());
    fs::write(lab.path("alice/data").join("big"), vec![5; 8 * MIB as usize]).unwrap();
    nix::unistd::sync();
    lab.ok("quota set bob 4m");
    let before = lab.registry_text();
    let refused = lab.fails(8, "vfolder clone alice/data bob/copy");
    refused.says(&[
        "user/bob has 4 MiB left of 4 MiB on 'local', and user/alice/data takes 8",
        "vfadm quota set user/bob SIZE --volume local; --allow-over tries all the same",
    ]);
    let error = lab.run("-o json vfolder clone alice/data bob/copy").exits(8).error();
    assert_eq!(error["details"]["left_bytes"], json!(4 * MIB), "{error}");
    lab.fails(8, "vfolder clone alice/data bob/copy --dry-run");
    assert_eq!(lab.registry_text(), before);

    lab.fails(8, "vfolder clone alice/data bob/copy --allow-over")
        .says(&["user/bob has 4 MiB left", "Disk quota exceeded"]);
    lab.fails(3, "vfolder show bob/copy");
    no_intents(&lab, "after a full scope");
    assert_whole(&lab, "after a full scope");
    lab.ok("check");
    lab.ok("quota set bob 16m");
    lab.ok("vfolder clone alice/data bob/copy");
}

/// The link leads out, the directory is one for a moment only: the sentinel is never in the copy.
#[test]
fn a_tenant_who_swaps_directories_for_links_gets_nothing_else_copied() {
    let lab = site();
    let outside = lab.dir().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("secret"), "secret").unwrap();
    let folder = lab.path("alice/data");
    for number in 0..50 {
        let dir = folder.join(format!("d{number}"));
        fs::create_dir(&dir).unwrap();
        fs::write(dir.join("secret"), "own").unwrap();
    }
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                for number in 0..50 {
                    let (dir, aside) = (folder.join(format!("d{number}")), folder.join(".aside"));
                    if fs::rename(&dir, &aside).is_ok() {
                        let _ = symlink(&outside, &dir);
                        let _ = fs::remove_file(&dir);
                        let _ = fs::rename(&aside, &dir);
                    }
                }
            }
        });
        for round in 0..20 {
            lab.ok(&format!("vfolder clone alice/data bob/c{round}"));
            let copy = lab.path(&format!("bob/c{round}"));
            let found =
                system("/bin/sh", &["-c", &format!("grep -rl '^secret$' '{}' || true", copy.display())]);
            assert_eq!(found, "", "round {round}");
            lab.ok(&format!("vfolder delete bob/c{round} --purge --yes"));
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    assert_eq!(fs::read_to_string(outside.join("secret")).unwrap(), "secret");
}
