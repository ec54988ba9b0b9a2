//! The kernels of a session join and leave, on one host or many.

use std::process::Stdio;

use serde_json::Value;

use crate::support::{Host, Lab, Output, Snapshot};

use super::consistency::{assert_whole, no_intents, records};

fn kernels(lab: &Lab, session: &str) -> Vec<(String, String)> {
    let shown = lab.json(&format!("session show {session}"));
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    shown["kernels"].as_array().unwrap().iter().map(|k| (text(&k["name"]), text(&k["node"]))).collect()
}

fn hostname() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap().trim().to_owned()
}

#[test]
fn kernels_are_counted_or_named() {
    let lab = Lab::plain();
    let (here, pair) = (hostname(), |name: &str, node: &str| (name.to_owned(), node.to_owned()));
    lab.ok("session start one --user alice");
    assert_eq!(kernels(&lab, "one"), [pair("main", &here)]);
    lab.ok("session start three --user alice --kernels 3");
    assert_eq!(kernels(&lab, "three"), [pair("main", &here), pair("sub1", &here), pair("sub2", &here)]);
    lab.ok("session start two --user alice --kernel main --kernel sub1@gpu02");
    assert_eq!(kernels(&lab, "two"), [pair("main", &here), pair("sub1", "gpu02")]);
    assert_eq!(lab.json("session plan --user alice --kernel a@gpu02")["kernels"][0]["node"], "gpu02");
    for options in [
        "--kernels 0",
        "--kernels x",
        "--kernels 2 --kernel a",
        "--kernel a --kernel a@gpu02",
        "--kernel @gpu02",
        "--kernel a@",
        "--kernel a/b",
    ] {
        lab.fails(2, &format!("session start bad --user alice {options}"));
    }
}

#[test]
fn kernels_join_with_the_sessions_own_plan_and_the_last_ends_it() {
    let lab = Lab::plain();
    lab.ok("vfolder create alice/data");
    lab.ok("vfolder create alice/other");
    lab.ok("session start s --user alice -m data:/w:ro --kernel main@gpu01");
    let mounts = lab.json("session show s")["mounts"].clone();
    // A dot folder that was made since makes no other plan.
    lab.ok("vfolder create alice/.config");
    lab.ok("session start s --kernel sub1@gpu02");
    lab.ok("session start s --kernel sub2 --user alice -m data:/w:ro");
    assert_eq!(lab.json("session start s --kernel sub3@gpu02 --as alice")["outcome"], "changed");
    assert_eq!(lab.json("session show s")["mounts"], mounts);
    let before = lab.registry_text();
    for (code, line, says) in [
        (4, "session start s --user alice", "is running already"),
        (4, "session start s --user alice --kernels 2", "is running already"),
        (4, "session start s --kernel sub1@gpu03", "a kernel 'sub1' already, on gpu02"),
        (4, "session start s --kernel sub1@gpu02", "a kernel 'sub1' already, on gpu02"),
        (4, "session start s --kernel new --user bob", "is alice's"),
        (4, "session start s --kernel new --as bob", "is running already"),
        (4, "session start s --kernel new --project ml", "works for none"),
        (4, "session start s --kernel new --lease 1h", "a lease is the whole session's"),
        (4, "session start s --kernel new -m data:/w", "has other mounts"),
        (4, "session start s --kernel new -m data:/w:ro -m other", "has other mounts"),
        (3, "session start none --kernel new", "to join"),
        (2, "session start none", "--user"),
        (3, "session stop s --kernel none", "no kernel 'none'"),
        (3, "session stop s --kernel sub1 --as bob", "no session"),
    ] {
        lab.fails(code, line).says(&[says]);
    }
    assert_eq!(lab.registry_text(), before, "what was refused changes nothing");
    for kernel in ["main", "sub1", "sub2"] {
        assert_eq!(lab.json(&format!("session stop s --kernel {kernel}"))["outcome"], "changed");
        lab.fails(6, "vfolder delete alice/data");
    }
    assert_eq!(lab.json("session stop s --kernel sub3")["outcome"], "deleted");
    lab.fails(3, "session show s");
    lab.ok("vfolder delete alice/data");
}

#[test]
fn the_engine_of_a_kernel_that_joins_is_told_what_the_session_has() {
    let lab = Lab::plain();
    lab.ok("vfolder create alice/.first");
    let told = |line: &str| lab.json(line)["item"]["engine"].clone();
    let first = told("session start s --user alice --kernel main --engine json");
    assert!(first.to_string().contains("/home/work/.first"), "{first}");
    lab.ok("vfolder create alice/.aa");
    assert_eq!(told("session start s --kernel sub1 --engine json"), first);
    let mounts = lab.json("session show s")["mounts"].clone();
    assert_eq!((mounts.as_array().unwrap().len(), &mounts[0]["auto"]), (1, &Value::Bool(true)), "{mounts}");
    lab.ok("vfolder delete alice/.aa");
}

#[test]
fn a_kernel_does_not_get_what_was_forbidden_since() {
    let lab = Lab::plain();
    lab.ok("vfolder create alice/data");
    lab.ok("vfolder share alice/data --with bob --perm rw");
    lab.ok("session start s --user bob -m alice/data:/w:rw --kernel main@gpu01");
    for (forbid, allow, code) in [
        ("volume block-mount local", "volume allow-mount local", 5),
        ("user set bob --state inactive", "user set bob --state active", 5),
        (
            "vfolder share alice/data --with bob --perm ro --force",
            "vfolder share alice/data --with bob --perm rw",
            5,
        ),
        ("vfolder unshare alice/data --from bob --force", "vfolder share alice/data --with bob --perm rw", 3),
    ] {
        lab.ok(forbid);
        lab.fails(code, "session start s --kernel sub1@gpu02");
        lab.ok(allow);
    }
    lab.ok("session start s --kernel sub1@gpu02");
}

#[test]
fn a_kernel_whose_holder_is_gone_gives_its_name_back() {
    let lab = Lab::plain();
    let mut sleep = std::process::Command::new("/usr/bin/sleep").arg("600").spawn().unwrap();
    lab.ok("session start s --user alice");
    lab.ok(&format!("session start s --kernel sub1 --holder pid:{}", sleep.id()));
    lab.fails(4, "session start s --kernel sub1");
    lab.ok("session stop s --kernel main").quiet();
    lab.ok("session start s --kernel main");
    sleep.kill().unwrap();
    sleep.wait().unwrap();
    lab.ok("session start s --kernel sub1");
    assert_eq!(kernels(&lab, "s").len(), 2);
}

#[test]
fn a_session_that_runs_a_command_is_joined_by_none() {
    let lab = Lab::plain();
    let session = lab.session_in_background("live", "--user alice");
    lab.fails(4, "session start live --kernel sub1").says(&["session run"]);
    lab.fails(4, "session stop live --kernel main").says(&["vfadm session stop live"]);
    session.end().exits(0);
}

#[test]
fn dry_runs_of_all_of_it_write_nothing() {
    let lab = Lab::plain();
    lab.ok("session start s --user alice --lease 1h");
    let before = Snapshot::of(&[&lab.root]);
    for line in [
        "session start t --user alice --kernels 4 --lease 1h",
        "session start s --kernel sub1@gpu02 --holder slurm:7",
        "session renew s --lease 2h",
        "session stop s --kernel main",
        "session prune",
    ] {
        lab.ok(&format!("--dry-run {line}"));
        before.same_as(&Snapshot::of(&[&lab.root]), line);
    }
}

#[test]
fn a_registry_in_which_two_kernels_have_one_name_is_not_read() {
    let lab = Lab::plain();
    lab.ok("session start s --user alice --kernels 2");
    let text = lab.registry_text().replace(r#""name":"sub1""#, r#""name":"main""#);
    std::fs::write(lab.registry(), text).unwrap();
    lab.fails(9, "session list").says(&["session s", "it has two kernels 'main'"]);
}

/// Starts all the command lines at once on a host and answers how each ended.
fn at_once(host: &Host<'_>, lines: impl Iterator<Item = String>) -> Vec<Output> {
    let started: Vec<_> = lines
        .map(|line| {
            let mut command = host.command(std::path::Path::new(&crate::support::vfadm()));
            command.args(line.split(' ')).stdout(Stdio::piped()).stderr(Stdio::piped());
            (command.spawn().expect("unshare starts"), line)
        })
        .collect();
    started.into_iter().map(|(child, line)| Output::of(line, &child.wait_with_output().unwrap())).collect()
}

#[test]
fn a_hundred_sessions_at_once_on_two_hosts_leave_nothing() {
    let lab = Lab::plain();
    lab.ok("vfolder create alice/data");
    let (one, two) = (Host::new(&lab, "gpu01"), Host::new(&lab, "gpu02"));
    let start = |n| format!("session start s{n} --user alice -m data --lock-timeout 300s");
    at_once(&one, (0..100).map(start)).into_iter().for_each(|out| drop(out.exits(0)));
    let join = |n| format!("session start s{n} --kernel sub1 --lock-timeout 300s");
    at_once(&two, (0..100).map(join)).into_iter().for_each(|out| drop(out.exits(0)));
    assert_eq!(records(&lab, "sessions").len(), 100);
    let leave = |n| format!("session stop s{n} --kernel sub1 --lock-timeout 300s");
    at_once(&two, (0..100).map(leave)).into_iter().for_each(|out| drop(out.exits(0)));
    let stop = |n| format!("session stop s{n} --kernel main --lock-timeout 300s");
    at_once(&one, (0..100).map(stop)).into_iter().for_each(|out| drop(out.exits(0)));
    assert_eq!(records(&lab, "sessions").len(), 0);
    assert!(!std::path::Path::new("/run/vfadm/mounts").join("s0").exists());
    assert_whole(&lab, "a hundred sessions");
    no_intents(&lab, "a hundred sessions");
    lab.ok("registry check");
    lab.ok("vfolder delete alice/data");
}

/// What node2 said of the volume at its check-in.
fn said_by_node2(lab: &Lab, state: &str) {
    let nodes = lab.root.join(".vfadm/nodes");
    std::fs::create_dir_all(&nodes).unwrap();
    let path = lab.volume.display();
    let text = format!(
        "seen_at: 2026-11-25T00:00:00Z\nboot_id: b\nvolumes:\n- {{volume: local, state: {state}, path: {path}}}\n"
    );
    std::fs::write(nodes.join("node2.yaml"), text).unwrap();
}

#[test]
fn a_kernel_is_not_placed_on_a_node_that_lacks_a_volume_of_the_session() {
    let lab = Lab::plain();
    lab.ok("vfolder create alice/data");
    let line = "session start train --user alice -m data --kernel main@node2";
    lab.run(&format!("{line} --dry-run")).exits(0).says(&["the node node2 never checked in"]);
    for state in ["missing", "fell_off", "foreign", "hung"] {
        said_by_node2(&lab, state);
        let before = lab.registry_text();
        let words = state.replace('_', " ");
        let told = format!("'local' ({words})");
        lab.fails(8, line).says(&["node2", &told]);
        lab.fails(8, "session plan --user alice -m data --kernel main@node2").says(&[&told]);
        assert_eq!(lab.registry_text(), before);
        // A session without a folder of that volume does not mind.
        lab.ok("session start idle --user alice --kernel main@node2");
        lab.ok("session stop idle");
    }
    lab.run(&format!("{line} --force")).exits(0).says(&["'local' (hung)"]);
    lab.fails(8, "session start train --kernel sub1@node2");
    said_by_node2(&lab, "ok");
    lab.ok("session start train --kernel sub1@node2");
}

/// Whoever placed a kernel on another host did not know its boot: that the host began to run later is enough.
#[test]
fn a_kernel_that_was_placed_elsewhere_ends_with_a_boot_after_its_start() {
    let lab = Lab::plain();
    lab.ok("session start train --user alice --kernel main@node2");
    let nodes = lab.root.join(".vfadm/nodes");
    std::fs::create_dir_all(&nodes).unwrap();
    for (booted_at, outcome) in [("2026-01-01T00:00:00Z", "unchanged"), ("2099-01-01T00:00:00Z", "deleted")] {
        let text = format!("seen_at: 2099-01-01T00:01:00Z\nboot_id: other\nbooted_at: {booted_at}\n");
        std::fs::write(nodes.join("node2.yaml"), text).unwrap();
        assert_eq!(lab.json("session prune")["outcome"], outcome, "{booted_at}");
    }
}
