//! `kill -9` between any two system calls. strace kills at the entry of a call, before it has any effect (checked by
//! the first test), so killing at each state-changing call and at `exit_group` leaves every state that exists between
//! two calls. `VFADM_CRASH=every` kills at the other calls too.

mod cases;
mod change;
mod failing;
mod images;
mod records;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Command;

use crate::support::{Lab, MIB, Output, VFADM, kernel_limits, wait_until, words};

use super::consistency::{assert_whole, kernel_matches_registry, no_intents, records};
use cases::{CLONE_CASES, CUT_OFF, Case, FOLDER_CASES, QUOTA_CASES, TRANSFER_CASES};

/// Calls after which disk, kernel or the outside is another one. Opens count where they create or cut a file, `fcntl`
/// where it locks.
const CHANGES: &str = "open openat openat2 creat write writev pwrite64 pwritev pwritev2 rename renameat renameat2 \
    mkdir mkdirat link linkat symlink symlinkat unlink unlinkat rmdir mknod mknodat fsync fdatasync syncfs sync \
    sync_file_range chmod fchmod fchmodat fchmodat2 chown fchown lchown fchownat truncate ftruncate fallocate \
    copy_file_range sendfile setxattr lsetxattr fsetxattr removexattr lremovexattr fremovexattr utimensat ioctl \
    mount umount2 move_mount open_tree mount_setattr flock fcntl clone clone3 fork vfork execve kill tgkill \
    exit_group";

/// One place to die: the `nth` call of this name in any one thread.
pub type Point = (String, usize);

pub fn traced(lab: &Lab, file: &Path, options: &[String], command: &str) -> Output {
    let mut strace = Command::new("/usr/bin/strace");
    strace.args(["-f", "-qq", "-s", "0", "-o"]).arg(file).args(options).arg(VFADM).args(words(command));
    strace
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("VFADM_ROOT", &lab.root)
        .stdin(std::process::Stdio::null());
    Output::of(
        format!("strace {} vfadm {command}", options.join(" ")),
        &strace.output().expect("strace starts"),
    )
}

fn changes_state(name: &str, rest: &str) -> bool {
    match name {
        "open" | "openat" | "openat2" => ["O_CREAT", "O_TRUNC", "O_TMPFILE"].iter().any(|f| rest.contains(f)),
        "fcntl" => rest.contains("SETLK"),
        _ => CHANGES.split_whitespace().any(|c| c == name),
    }
}

/// Where the command of a trace can be killed. A thread counts its own calls, and so does strace.
pub fn points(trace: &str) -> Vec<Point> {
    let every = std::env::var_os("VFADM_CRASH").is_some_and(|v| v == "every");
    let mut counts: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    let mut found = BTreeSet::new();
    let mut in_order = Vec::new();
    // The first line is the start of vfadm itself, which strace does not let die.
    for line in trace.lines().skip(1) {
        let Some((thread, call)) = line.split_once(' ') else { continue };
        let Some((name, rest)) = call.trim_start().split_once('(') else { continue };
        if !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
            continue;
        }
        let count = counts.entry((thread, name)).or_default();
        *count += 1;
        if (every || changes_state(name, rest)) && found.insert((name, *count)) {
            in_order.push((name.to_owned(), *count));
        }
    }
    in_order
}

/// What makes strace kill at the `nth` call, or have that fail.
fn inject(call: &str, what: &str, nth: usize) -> Vec<String> {
    vec![format!("--trace={call}"), format!("--inject={call}:{what}:when={nth}")]
}

/// Takes away what a case may have left, and brings the lab to the state before its command.
fn arrange(lab: &Lab, case: &Case) {
    for reference in records(lab, "vfolders").keys() {
        lab.ok(&format!("vfolder delete {reference} --purge --yes"));
    }
    if records(lab, "scopes").contains_key("user/alice@local") {
        lab.ok("quota unset alice");
    }
    for line in case.arrange {
        if *line == CUT_OFF {
            cut_off(lab, line);
            continue;
        }
        lab.ok(line);
        if *line == "vfolder create alice/data" {
            let folder = lab.path("alice/data");
            fs::create_dir(folder.join("below")).unwrap();
            fs::write(folder.join("below/kept"), "kept").unwrap();
        }
    }
}

/// Kills a transfer at its first copied file.
fn cut_off(lab: &Lab, line: &str) {
    let options =
        ["--trace=fchown,fchownat", "--inject=fchown,fchownat:signal=KILL:when=1"].map(str::to_owned);
    traced(lab, &lab.dir().join("trace"), &options, line).exits(137);
    assert_eq!(lab.folder("alice/data", "status"), "copying");
}

fn die_everywhere(lab: &Lab, case: &Case) {
    let trace = lab.dir().join("trace");
    // Twice: the first runs also fill the backups, whose rotation is part of what is to be interrupted.
    for _ in 0..2 {
        arrange(lab, case);
        traced(lab, &trace, &[], case.command).exits(0);
    }
    let points = points(&fs::read_to_string(&trace).expect("a trace"));
    assert!(
        points.len() > 10,
        "{}: a command that changes something makes more calls than {points:?}",
        case.name
    );

    let mut missed = 0;
    for (call, nth) in &points {
        let at = format!("{} killed at {call} number {nth}", case.name);
        arrange(lab, case);
        // Only the call that is to die is traced: strace is slow. (With --seccomp-bpf it is fast, and the call takes
        // effect before the process dies.)
        let options = inject(call, "signal=KILL", *nth);
        let killed = traced(lab, &trace, &options, case.command);
        if killed.code != 137 {
            // Worker threads share the work differently each time, and so make fewer calls of a kind.
            missed += 1;
            killed.exits(0);
            continue;
        }
        survive(lab, case, &at);
    }
    // Past the runner's capture: how much was tried belongs to the result.
    let tried = points.len() - missed;
    let _ = writeln!(std::io::stdout(), "{}: killed at {tried} of {} points", case.name, points.len());
    assert!(
        missed * 10 <= points.len(),
        "{}: {missed} of {} points were not reached",
        case.name,
        points.len()
    );
}

/// What must hold once the command was killed, whatever the point.
fn survive(lab: &Lab, case: &Case, at: &str) {
    let next = lab.run("vfolder create alice/probe");
    assert_eq!(next.code, 0, "{at}: the next command: {next:?}");
    let check = lab.run("registry check");
    if case.long && check.code == 10 {
        // The one thing that may be found is the purge itself, with the advice to run it again.
        let findings: Vec<_> = check.stdout.lines().skip(1).collect();
        assert_eq!(findings.len(), 1, "{at}: {check:?}");
        assert!(findings[0].contains("change_cut_off"), "{at}: {check:?}");
        assert!(check.stderr.contains("run it again"), "{at}: {check:?}");
    } else {
        assert_eq!(check.code, 0, "{at}: {check:?}");
    }
    if !case.long {
        no_intents(lab, at);
        assert_whole(lab, at);
        kernel_matches_registry(lab, at);
    }

    let again = lab.run(case.command);
    assert!(case.again.contains(&again.code), "{at}: the same command again: {again:?}");
    no_intents(lab, at);
    assert_whole(lab, at);
    kernel_matches_registry(lab, at);
    match case.kept {
        Some((key, status)) => {
            assert_eq!(lab.folder(key, "status"), status, "{at}");
            let restored = lab.run(&format!("vfolder restore {key}"));
            assert_eq!(restored.code, 0, "{at}: {restored:?}");
            let kept = fs::read_to_string(lab.path(key).join("below/kept"));
            assert_eq!(kept.ok().as_deref(), Some("kept"), "{at}: the tenant's data");
        }
        None if case.long => {
            lab.fails(3, "vfolder show alice/data");
            lab.ok("registry check");
        }
        None => {}
    }
    if case.command.starts_with("quota set") {
        let limit = kernel_limits(&lab.volume).into_values().flatten().max();
        assert_eq!(limit, Some(64 * MIB), "{at}: the kernel's limit");
    }
}

#[test]
fn the_kill_comes_before_the_call_has_an_effect() {
    let lab = Lab::bare();
    let (trace, made) = (lab.dir().join("trace"), lab.dir().join("made"));
    for (call, exists) in [("mkdir", false), ("exit_group", true)] {
        let mut strace = Command::new("/usr/bin/strace");
        strace
            .args(["-f", "-qq", "-o"])
            .arg(&trace)
            .args(["-e", &format!("inject={call}:signal=KILL:when=1")]);
        let out = strace.arg("/usr/bin/mkdir").arg(&made).output().unwrap();
        assert_eq!(Output::of(call.into(), &out).code, 137);
        assert_eq!(made.exists(), exists, "killed at {call}");
    }
}

#[test]
fn folders_survive_a_kill_at_any_call_on_a_plain_directory() {
    let lab = Lab::plain();
    for case in FOLDER_CASES {
        die_everywhere(&lab, case);
    }
}

#[test]
fn folders_survive_a_kill_at_any_call_on_btrfs() {
    let lab = Lab::btrfs();
    lab.ok("user set alice --default-quota 48m");
    for case in FOLDER_CASES {
        die_everywhere(&lab, case);
    }
}

#[test]
fn transfers_survive_a_kill_at_any_call_on_a_plain_directory() {
    let lab = Lab::plain();
    fs::create_dir(lab.dir().join("second")).unwrap();
    lab.ok(&format!("volume add second {} --quota none", lab.dir().join("second").display()));
    lab.ok("volume set local --default");
    for case in TRANSFER_CASES {
        die_everywhere(&lab, case);
    }
}

#[test]
fn transfers_survive_a_kill_at_any_call_on_btrfs() {
    let lab = Lab::btrfs();
    lab.ok("user set alice --default-quota 48m");
    lab.ok("user set bob --default-quota 32m");
    let image = lab.second("second", "btrfs", 256 << 20);
    lab.ok(&format!("volume add second {} --quota btrfs", image.mount.display()));
    lab.ok("volume set local --default");
    for case in &TRANSFER_CASES[..2] {
        die_everywhere(&lab, case);
    }
}

#[test]
fn clones_survive_a_kill_at_any_call_on_a_plain_directory() {
    let lab = Lab::plain();
    for case in CLONE_CASES {
        die_everywhere(&lab, case);
    }
}

#[test]
fn clones_survive_a_kill_at_any_call_on_btrfs() {
    let lab = Lab::btrfs();
    lab.ok("user set alice --default-quota 48m");
    lab.ok("user set bob --default-quota 32m");
    for case in CLONE_CASES {
        die_everywhere(&lab, case);
    }
}

#[test]
fn limits_survive_a_kill_at_any_call_on_btrfs() {
    let lab = Lab::btrfs();
    for case in QUOTA_CASES {
        die_everywhere(&lab, case);
    }
}

/// Kills a command at each of its state-changing calls, each time in a new lab.
fn die_in_new_labs(make: impl Fn() -> Lab, command: impl Fn(&Lab) -> String, check: impl Fn(&Lab, &str)) {
    let lab = make();
    let trace = lab.dir().join("trace");
    let line = command(&lab);
    traced(&lab, &trace, &[], &line).exits(0);
    let points = points(&fs::read_to_string(&trace).expect("a trace"));
    assert!(points.len() > 10, "{line}: {points:?}");
    for (call, nth) in &points {
        let lab = make();
        let line = command(&lab);
        let options = inject(call, "signal=KILL", *nth);
        // 137 is also what a session ends with whose command was killed.
        assert_ne!(traced(&lab, &lab.dir().join("trace"), &options, &line).code, 0, "{line}: {call} {nth}");
        check(&lab, &format!("{line} killed at {call} number {nth}"));
    }
}

#[test]
fn init_that_was_killed_can_be_typed_again() {
    die_in_new_labs(
        Lab::bare,
        |_| "init".to_owned(),
        |lab, at| {
            let again = lab.run("init");
            assert_eq!(again.code, 0, "{at}: {again:?}");
            lab.ok("user add alice");
            lab.ok("vfolder create alice/data");
            assert_eq!(lab.json("volume list")["count"], 1, "{at}");
            no_intents(lab, at);
            assert_whole(lab, at);
        },
    );
}

#[test]
fn a_volume_is_added_whole_or_not_at_all() {
    let other = |lab: &Lab| lab.dir().join("other");
    die_in_new_labs(
        || {
            let lab = Lab::plain();
            fs::create_dir(other(&lab)).unwrap();
            lab
        },
        |lab| format!("volume add other {}", other(lab).display()),
        |lab, at| {
            lab.ok("user add carol");
            no_intents(lab, at);
            let marked = other(lab).join(".vfadm-volume.yaml").exists();
            assert_eq!(lab.run("volume show other").code == 0, marked, "{at}: record and marker");
            let again = lab.run(&format!("volume add other {}", other(lab).display()));
            assert_eq!(again.code, if marked { 4 } else { 0 }, "{at}: {again:?}");
            lab.ok("vfolder create carol/data --volume other");
            lab.ok("registry check");
        },
    );
}

/// Whichever of its processes dies: nothing of the session stays, and its folder is not in use.
#[test]
fn nothing_stays_of_a_session_that_was_killed() {
    let mounts = || fs::read_to_string("/proc/self/mounts").unwrap();
    die_in_new_labs(
        || {
            let lab = Lab::plain();
            lab.ok("vfolder create alice/data");
            lab
        },
        |_| "session run s1 --user alice -m data -- /bin/true".to_owned(),
        |lab, at| {
            let here = lab.dir().to_str().expect("a path in UTF-8");
            assert!(!mounts().contains(here), "{at}: mounts of the session are on the host");
            wait_until("the session's processes have gone", || {
                lab.run("vfolder delete alice/data").code == 0
            });
            no_intents(lab, at);
            assert_eq!(lab.run("session run s1 --user alice -- /bin/true").code, 0, "{at}: its name is free");
            assert_eq!(lab.json("session list")["count"], 0, "{at}");
        },
    );
}

/// What is bound for an engine goes with the record, or was never there.
#[test]
fn places_of_a_session_survive_no_kill_without_its_record() {
    // Places are the host's: each lab has a name of its own.
    let name = |lab: &Lab| lab.dir().file_name().unwrap().to_str().unwrap().to_owned();
    let place = |lab: &Lab| format!("/run/vfadm/mounts/{}", name(lab));
    let start =
        |lab: &Lab| format!("session start {} --user alice -m alice/data/sub:/s --engine json", name(lab));
    let made = || {
        let lab = Lab::plain();
        lab.ok("vfolder create alice/data");
        fs::create_dir(lab.path("alice/data").join("sub")).unwrap();
        lab
    };
    let started = || {
        let lab = made();
        lab.ok(&start(&lab));
        lab
    };
    let check = |lab: &Lab, at: &str| {
        lab.ok("session start other --user alice");
        no_intents(lab, at);
        let recorded = lab.run(&format!("session show {}", name(lab))).code == 0;
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
        assert_eq!(mounts.contains(&format!("{}/0 ", place(lab))), recorded, "{at}: record and bind");
        assert_eq!(Path::new(&place(lab)).exists(), recorded, "{at}: record and directory");
        if recorded {
            lab.ok(&format!("session stop {}", name(lab)));
        }
        assert!(!Path::new(&place(lab)).exists(), "{at}");
    };
    let first = std::cell::OnceCell::new();
    die_in_new_labs(
        made,
        |lab| {
            first.get_or_init(|| place(lab));
            start(lab)
        },
        check,
    );
    // The one that was only looked at, to its end, has nobody who stops it.
    let left = first.get().unwrap();
    crate::support::system("/bin/umount", &[&format!("{left}/0")]);
    fs::remove_dir_all(left).unwrap();
    die_in_new_labs(started, |lab| format!("session stop {}", name(lab)), check);
}
