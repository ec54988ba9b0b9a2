//! Many administrators and cron jobs at once.

use std::process::{Command, Stdio};

use crate::support::{Lab, Output, VFADM, system, wait_until};

use super::consistency::{assert_whole, no_intents, records};

const CROWD: usize = 64;

/// Starts all the command lines at once and answers how each ended.
fn at_once(lab: &Lab, lines: impl Iterator<Item = String>) -> Vec<Output> {
    let started: Vec<_> = lines
        .map(|line| {
            let mut command = lab.command(line.split(' '));
            let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("vfadm starts");
            (line, child)
        })
        .collect();
    started.into_iter().map(|(line, child)| Output::of(line, &child.wait_with_output().unwrap())).collect()
}

#[test]
fn different_names_all_succeed() {
    for lab in [Lab::plain(), Lab::btrfs()] {
        for out in at_once(&lab, (0..CROWD).map(|n| format!("vfolder create alice/n{n} --lock-timeout 120s")))
        {
            out.exits(0);
        }
        assert_eq!(records(&lab, "vfolders").len(), CROWD);
        assert_eq!(records(&lab, "scopes").len(), 1);
        assert_whole(&lab, "64 folders at once");
        no_intents(&lab, "64 folders at once");
        lab.ok("registry check");
    }
}

#[test]
fn of_one_name_exactly_one_succeeds() {
    for lab in [Lab::plain(), Lab::btrfs()] {
        let out =
            at_once(&lab, (0..CROWD).map(|_| "vfolder create alice/same --lock-timeout 120s".to_owned()));
        let with = |code: i32| out.iter().filter(|o| o.code == code).count();
        assert_eq!((with(0), with(4)), (1, CROWD - 1), "{out:#?}");
        assert_whole(&lab, "one name 64 times");
        no_intents(&lab, "one name 64 times");
    }
}

#[test]
fn opposite_commands_leave_one_whole_state() {
    let lab = Lab::btrfs();
    for n in 0..8 {
        lab.ok(&format!("vfolder create alice/f{n}"));
    }
    let lines = (0..8).flat_map(|n| {
        ["delete alice/fN", "restore alice/fN", "delete alice/fN --purge --yes", "rename alice/fN gN"]
            .map(|line| format!("vfolder {} --lock-timeout 120s", line.replace('N', &n.to_string())))
    });
    for out in at_once(&lab, lines) {
        assert!([0, 3, 4].contains(&out.code), "{out:?}");
    }
    assert_whole(&lab, "deletes, restores, purges and renames at once");
    no_intents(&lab, "deletes, restores, purges and renames at once");
    lab.ok("registry check");
}

/// Whoever dies while it holds the lock gives it back; whoever only takes long keeps no reader waiting.
#[test]
fn the_lock_goes_with_its_holder_and_readers_need_none() {
    let lab = Lab::plain();
    lab.ok("vfolder create alice/data");
    let mut strace = Command::new("/usr/bin/strace");
    strace.args(["-f", "-qq", "-o", "/dev/null", "-e", "trace=renameat"]);
    strace
        .args(["-e", "inject=renameat:delay_enter=60000000:when=1"])
        .arg(VFADM)
        .args(["user", "add", "slow"]);
    let mut slow = strace.env("VFADM_ROOT", &lab.root).stderr(Stdio::null()).spawn().unwrap();
    wait_until("the lock is held", || lab.run("user set alice --max-vfolders 9 --lock-timeout 0s").code == 7);
    lab.ok("vfolder list").prints(&["data"]);
    lab.ok("check").quiet();
    lab.fails(7, "user add bob2 --lock-timeout 0s").says(&["vfadm user add slow", "has held it since"]);
    system("/usr/bin/pkill", &["-KILL", "-P", &slow.id().to_string()]);
    slow.wait().unwrap();
    lab.ok("user add next");
    lab.fails(3, "user show slow");
    no_intents(&lab, "a holder that died");
    lab.ok("check").quiet();
}
