//! Hosts that are not as they should be: few open files, a strange umask, no room, no right to write, a clock that was put
//! back, no /proc, signals at any time. What works, works; what does not is told, and changes nothing.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::consistency::{assert_whole, no_intents, records_of};
use crate::support::{Lab, Output, Snapshot, VFADM, system};

/// Runs a command line after this script, in the same shell.
fn after(lab: &Lab, script: &str, line: &str) -> Output {
    let mut shell = Command::new("/bin/bash");
    let script = format!("set -e; {script}; exec \"$@\"");
    shell.args(["-c", &script, "bash", VFADM]).args(line.split(' ')).env("VFADM_ROOT", &lab.root);
    Output::of(format!("{script} {line}"), &shell.stdin(Stdio::null()).output().unwrap())
}

fn populated() -> Lab {
    let lab = Lab::plain();
    lab.ok("vfolder create alice/data");
    fs::write(lab.path("alice/data").join("kept"), "kept").unwrap();
    lab
}

/// Directories below each other, many beside each other: each takes a handle of those that walk them.
#[test]
fn thirty_two_open_files_are_enough() {
    let lab = populated();
    let make = "import os, sys\nos.chdir(sys.argv[1])\nfor n in range(40):\n os.mkdir(f'wide{n}'); open(f'wide{n}/f', 'w')\n\
                for n in range(1500):\n os.mkdir('deep'); os.chdir('deep')\n";
    system("/usr/bin/python3", &["-c", make, lab.path("alice/data").to_str().unwrap()]);
    for line in [
        "vfolder usage alice/data --walk",
        "vfolder clone alice/data alice/copy",
        "vfolder transfer alice/copy bob",
        "quota audit",
        "session run --user alice -m data -- /bin/true",
        "vfolder delete bob/copy --purge --yes",
        "check",
        "registry backup --list",
    ] {
        after(&lab, "ulimit -n 32", line).exits(0);
    }
    assert_whole(&lab, "with 32 open files");
}

#[test]
fn too_few_open_files_are_told_and_nothing_changes() {
    let lab = populated();
    let before = lab.registry_text();
    for most in 5..12 {
        let out = after(&lab, &format!("ulimit -n {most}"), &format!("vfolder create alice/n{most}"));
        if out.code != 0 {
            out.exits(8).says(&["error: ", "Too many open files"]);
        }
    }
    lab.ok("user set alice --state active");
    no_intents(&lab, "too few open files");
    assert_whole(&lab, "too few open files");
    let made: Vec<String> =
        lab.registry_text().lines().filter(|line| line.contains("alice/n")).map(str::to_owned).collect();
    assert!(made.len() < 7, "{made:?}");
    assert!(before.contains("alice/data"));
    lab.ok("check").quiet();
}

/// Paths, modes and owners below the lab's root, the digits of ids left out.
fn modes(lab: &Lab) -> Vec<String> {
    let found = system("/usr/bin/find", &[lab.root.to_str().unwrap(), "-printf", "%m %U %G %d %y\n"]);
    let mut lines: Vec<String> = found.lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

#[test]
fn a_umask_takes_nothing_away() {
    let made = |umask: &str| {
        let lab = Lab::bare();
        for line in [
            "init",
            "user add alice",
            "vfolder create alice/data",
            "vfolder create alice/more",
            "vfolder clone alice/data alice/copy",
            "vfolder delete alice/more",
            "node check-in",
        ] {
            after(&lab, &format!("umask {umask}"), line).exits(0);
        }
        after(&lab, &format!("umask {umask}"), "check").exits(0);
        modes(&lab)
    };
    assert_eq!(made("0777"), made("0022"));
}

const CHANGES: [&str; 6] = [
    "vfolder create alice/more",
    "user add carol",
    "vfolder delete alice/data",
    "vfolder clone alice/data alice/copy",
    "quota set alice unlimited",
    "session run --user alice -m data -- /bin/true",
];
const READS: [&str; 7] = [
    "vfolder list",
    "quota show",
    "check",
    "vfolder usage --all",
    "session plan --user alice -m data",
    "registry log",
    "vfolder create alice/more --dry-run",
];

/// A root on a filesystem of its own, and a volume beside it.
struct Small {
    lab: Lab,
    mount: String,
    /// Has the directories of both.
    _base: Lab,
}

impl Small {
    fn new() -> Small {
        let base = Lab::bare();
        let mount = base.dir().join("small");
        fs::create_dir(&mount).unwrap();
        system("/usr/bin/mount", &["-t", "tmpfs", "-o", "size=400k", "none", mount.to_str().unwrap()]);
        let lab = Lab::at(mount.join("root"), base.dir().join("volume"));
        let small = Small { lab, mount: mount.display().to_string(), _base: base };
        small.lab.ok(&format!("init --volume local={} --quota none", small.lab.volume.display()));
        small.lab.ok("user add alice");
        small.lab.ok("vfolder create alice/data");
        small
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("/usr/bin/umount").arg(&self.mount).status();
    }
}

#[test]
fn a_full_root_refuses_changes_and_is_whole_once_there_is_room() {
    let small = Small::new();
    let lab = &small.lab;
    let before = lab.registry_text();
    let fill = Path::new(&small.mount).join("fill");
    let _ = fs::write(&fill, vec![0; 400 << 10]);
    for line in CHANGES {
        let out = lab.run(line);
        if line.starts_with("quota set") && out.code == 0 {
            continue;
        }
        out.exits(8).says(&["No space left on device"]);
        assert_eq!(lab.registry_text(), before, "{line}");
    }
    for line in READS {
        lab.run(line).exits(0);
    }
    fs::remove_file(&fill).unwrap();
    lab.ok("vfolder create alice/more");
    lab.ok("check").quiet();
    no_intents(lab, "after a full root");
    assert_whole(lab, "after a full root");
}

#[test]
fn from_a_root_that_is_read_only_everything_can_be_read() {
    let small = Small::new();
    let lab = &small.lab;
    system("/usr/bin/mount", &["-o", "remount,ro", &small.mount]);
    let before = Snapshot::of(&[&lab.root, &lab.volume]);
    for line in READS {
        lab.run(line).exits(0);
    }
    for line in CHANGES {
        lab.fails(8, line).says(&["Read-only file system"]);
    }
    before.same_as(&Snapshot::of(&[&lab.root, &lab.volume]), "a command on a root that is read-only");
}

/// The newest backup is the newest, leases and the trash wait, and the history stays in order.
#[test]
fn a_clock_that_was_put_back_loses_and_removes_nothing() {
    let lab = populated();
    lab.ok("vfolder create alice/old");
    lab.ok("vfolder delete alice/old");
    let past = |line: &str| {
        let mut command = Command::new("/usr/bin/faketime");
        command.arg("1 year ago").arg(VFADM).args(line.split(' ')).env("VFADM_ROOT", &lab.root);
        Output::of(format!("a year ago: {line}"), &command.output().unwrap())
    };
    // More than there are backups.
    for n in 0..14 {
        past(&format!("vfolder create alice/past-{n}")).exits(0);
    }
    past("vfolder delete alice/past-0").exits(0);
    past("trash empty --older-than 1d --yes").exits(0).prints(&[]);
    assert_eq!(lab.json("trash list")["count"], 2);
    past("check").exits(0);
    past("vfolder clone alice/data alice/copy").exits(0);
    let present = lab.registry_text();
    let listed = lab.json("registry backup --list");
    let generations: Vec<u64> =
        listed["items"].as_array().unwrap().iter().map(|b| b["generation"].as_u64().unwrap()).collect();
    assert!(generations.is_sorted(), "{generations:?}");
    // As by an editor that died.
    fs::remove_file(lab.registry()).unwrap();
    past("registry restore --latest --yes").exits(0);
    assert_eq!(records_of(&lab.registry_text()), records_of(&present));
    lab.ok("vfolder create alice/now");
    lab.ok("check").quiet();
    let log = lab.json("registry log");
    let lost = log["items"].as_array().unwrap().iter().filter(|entry| entry["state"] == "lost").count();
    assert_eq!(lost, 0, "{log}");
}

#[test]
fn without_proc_changes_are_refused_with_what_is_missing() {
    let lab = populated();
    let before = Snapshot::of(&[&lab.registry(), &lab.volume]);
    let without = |line: &str| {
        let script = format!("mount -t tmpfs none /proc; exec {VFADM} {line}");
        let mut command = Command::new("/usr/bin/unshare");
        command.args(["--mount", "sh", "-c", &script]).env("VFADM_ROOT", &lab.root);
        Output::of(format!("without /proc: {line}"), &command.output().unwrap())
    };
    for line in ["vfolder list", "registry log", "user list"] {
        without(line).exits(0);
    }
    for line in
        ["vfolder create alice/more", "vfolder delete alice/data", "check", "vfolder usage alice/data"]
    {
        without(line).exits(8).says(&["error: ", "/proc"]);
    }
    before.same_as(&Snapshot::of(&[&lab.registry(), &lab.volume]), "a command without /proc");
    no_intents(&lab, "without /proc");
}

/// As on a storage that takes root for nobody.
#[test]
fn where_root_is_squashed_that_is_told() {
    let lab = populated();
    system("/bin/chown", &["-R", "65534:65534", lab.volume.to_str().unwrap()]);
    let squashed = |line: &str| {
        let capabilities = "--drop=cap_dac_override,cap_dac_read_search,cap_chown,cap_fowner";
        let mut command = Command::new("/usr/sbin/capsh");
        command.args([capabilities, "--", "-c", &format!("{VFADM} {line}")]).env("VFADM_ROOT", &lab.root);
        Output::of(format!("root squashed: {line}"), &command.output().unwrap())
    };
    system("/bin/chmod", &["700", lab.volume.to_str().unwrap()]);
    let before = lab.registry_text();
    for line in ["vfolder create alice/more", "vfolder delete alice/data", "vfolder usage alice/data"] {
        squashed(line).exits(8).says(&[
            "does not let root of this host in: cannot open ",
            "Permission denied",
            "hint: let root in (NFS: export it with no_root_squash), then look: ",
        ]);
    }
    squashed("check").exits(10).says(&["hint: volume local: let root in"]);
    squashed("vfolder list").exits(0);
    assert_eq!(lab.registry_text(), before);
    no_intents(&lab, "root squashed");
}

#[test]
fn a_signal_at_any_time_leaves_all_or_nothing() {
    let lab = Lab::plain();
    lab.ok("vfolder create alice/kept");
    let (mut ended, mut cut) = (0, 0);
    for step in 0..60_u32 {
        let signal = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP][step as usize % 3];
        let line = format!("vfolder create alice/n{step}");
        let mut command = lab.command(line.split(' '));
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        std::thread::sleep(Duration::from_micros(u64::from(step) * 250));
        let _ = kill(Pid::from_raw(child.id().cast_signed()), signal);
        let out = Output::of(line, &child.wait_with_output().unwrap());
        let made = lab.run(&format!("vfolder show alice/n{step}")).code == 0;
        match out.code {
            0 => {
                ended += 1;
                assert!(made, "{out:?}");
            }
            // 128 + the signal, by itself or from the shell's view of it.
            code => {
                cut += 1;
                assert!(code > 128 || code == -1, "{signal}: {out:?}");
            }
        }
        assert!(!out.stderr.contains("panicked"), "{out:?}");
    }
    lab.ok("user set alice --state active");
    no_intents(&lab, "after signals");
    assert_whole(&lab, "after signals");
    lab.ok("check").quiet();
    assert!(ended > 0 && cut > 0, "{ended} ended, {cut} were cut off");
}
