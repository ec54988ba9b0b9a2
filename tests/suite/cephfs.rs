//! A root and a volume on CephFS: two mounts of it are two nodes.

use std::fs;
use std::process::{Command, Stdio};

use crate::support::{Lab, LabUp, Output, system, vfadm};

use super::consistency::{assert_whole, no_intents, records};

/// So many of each kind: a change that follows one of the other node takes a second or two on ceph-fuse.
const MADE: usize = 10;
const MOVED: usize = 5;

/// A root `root` and a volume `v` on the lab's CephFS, with the user alice.
fn site(up: &LabUp) -> Lab {
    let lab = Lab::at(up.mount().join("root"), up.mount().join("v"));
    fs::create_dir(&lab.volume).unwrap();
    lab.ok(&format!("init --volume v={} --quota cephfs", lab.volume.display()));
    lab.ok("user add alice");
    lab
}

/// vfadm as it runs on the second node: under another host name, and with the second mount where the first one is.
fn on_node_2(up: &LabUp, lab: &Lab, line: &str) -> Command {
    let mount = up.mount();
    let script = format!(
        "mount --bind {0}2 {0} && echo node2 >/proc/sys/kernel/hostname && exec \"$@\"",
        mount.display()
    );
    let mut command = Command::new("/usr/bin/unshare");
    command.args(["--mount", "--uts", "sh", "-c", &script, "sh"]).arg(vfadm());
    command.args(line.split(' ')).env("VFADM_ROOT", &lab.root);
    command
}

/// Fifty commands at once: folders that are made, moved and deleted, users that both add, limits, and readers in between.
#[test]
fn many_commands_from_two_nodes_lose_nothing_and_do_nothing_twice() {
    let up = LabUp::new(Some("cephfs"));
    let lab = site(&up);
    for n in 0..MOVED {
        lab.ok(&format!("vfolder create alice/old-{n}"));
    }
    let patient = |line: String| format!("{line} --lock-timeout 120s");
    let mut lines = Vec::new();
    for n in 0..MADE {
        for node in ["one", "two"] {
            lines.push((node, patient(format!("vfolder create alice/{node}-{n}")), &[0][..]));
        }
    }
    for n in 0..MOVED {
        lines.push(("one", patient(format!("vfolder rename alice/old-{n} new-{n}")), &[0, 4]));
        lines.push(("two", patient(format!("vfolder delete alice/old-{n}")), &[0, 3]));
        lines.push(("one", patient(format!("user add u{n}")), &[0, 4]));
        lines.push(("two", patient(format!("user add u{n}")), &[0, 4]));
        lines.push(("one", patient(format!("quota set alice {}MiB", 64 + n)), &[0]));
        lines.push(("two", "vfolder list".to_owned(), &[0]));
    }
    let started: Vec<_> = lines
        .into_iter()
        .map(|(node, line, codes)| {
            let mut command = match node {
                "one" => lab.command(line.split(' ')),
                _ => on_node_2(&up, &lab, &line),
            };
            let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
            (line, codes, child)
        })
        .collect();
    let mut added = 0;
    for (line, codes, child) in started {
        let out = Output::of(line, &child.wait_with_output().unwrap());
        assert!(codes.contains(&out.code), "{out:?}");
        added += usize::from(out.line.starts_with("user add") && out.code == 0);
    }
    assert_eq!(added, MOVED, "of two that add the same user one wins");
    assert_eq!(records(&lab, "users").len(), 1 + MOVED);
    let folders = records(&lab, "vfolders");
    assert_eq!(folders.len(), 2 * MADE + MOVED);
    for n in 0..MOVED {
        let one = ["old", "new"].map(|name| folders.contains_key(&format!("user/alice/{name}-{n}")));
        assert_eq!(one.iter().filter(|there| **there).count(), 1, "old-{n} or new-{n}");
    }
    assert_eq!(records(&lab, "scopes").len(), 1);
    no_intents(&lab, "commands from two nodes");
    assert_whole(&lab, "commands from two nodes");
    let log = lab.json("registry log");
    let mut generations: Vec<u64> =
        log["items"].as_array().unwrap().iter().map(|e| e["generation"].as_u64().unwrap()).collect();
    let all = generations.len();
    generations.dedup();
    assert_eq!(generations.len(), all, "each change has a generation of its own");
    lab.ok("check").quiet();
    let seen = on_node_2(&up, &lab, "-o json vfolder list").output().unwrap();
    let seen = Output::of("on node 2: vfolder list".to_owned(), &seen).exits(0).json();
    assert_eq!(seen["count"], 2 * MADE + MOVED);
}

#[test]
fn a_limit_that_one_node_set_is_read_and_changed_on_the_other() {
    let up = LabUp::new(Some("cephfs"));
    let lab = site(&up);
    lab.ok("vfolder create alice/data --quota-init 8MiB");
    let on_2 = |line: &str| {
        let out = on_node_2(&up, &lab, line).output().unwrap();
        Output::of(format!("on node 2: {line}"), &out).exits(0)
    };
    let shown = on_2("-o json quota show alice").json();
    assert_eq!(shown["items"][0]["limit_bytes"], 8 << 20, "{shown}");
    on_2("quota set alice 64MiB");
    let shown = lab.json("quota show alice");
    assert_eq!(shown["items"][0]["limit_bytes"], 64 << 20, "{shown}");
    assert_eq!(shown["items"][0]["usage"], "lagging");
}

#[test]
fn snapshots_that_a_tenant_took_are_found_and_do_not_keep_a_folder_from_being_purged() {
    let up = LabUp::new(Some("cephfs"));
    let lab = site(&up);
    lab.ok("vfolder create alice/data");
    let folder = lab.path("alice/data");
    let as_tenant = |line: &str| {
        let ids = "--reuid=50000 --regid=50000 --clear-groups --inh-caps=-all";
        // The tenant's session is in the folder, which lies behind directories that only root can pass.
        let script = format!("cd {} && exec setpriv {ids} {line}", folder.display());
        system("/bin/sh", &["-c", &script]);
    };
    as_tenant("mkdir -p deep/er");
    as_tenant("dd if=/dev/zero of=deep/file bs=64k count=4 status=none");
    as_tenant("mkdir .snap/one");
    as_tenant("mkdir deep/er/.snap/two");
    as_tenant("setfattr -n ceph.quota.max_bytes -v 1048576 deep");

    let audit = lab.run("-o json quota audit").exits(10).json();
    let found: Vec<(String, String)> = audit["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|f| (f["code"].as_str().unwrap().to_owned(), f["message"].as_str().unwrap().to_owned()))
        .collect();
    let at = |path: &str| folder.join(path).display().to_string();
    let uncounted = "what was deleted since is kept, and not counted";
    assert_eq!(
        found,
        [
            ("snapshot".to_owned(), format!("{}: it has the snapshots one: {uncounted}", folder.display())),
            (
                "nested_limit".to_owned(),
                format!("{}: it has a limit of its own, 1 MiB, below the scope's", at("deep"))
            ),
            ("snapshot".to_owned(), format!("{}: it has the snapshots two: {uncounted}", at("deep/er"))),
        ]
    );

    lab.ok("vfolder delete alice/data");
    lab.ok("vfolder purge alice/data --yes");
    assert!(!folder.exists());
    lab.ok("quota audit");
}

#[test]
fn a_mount_that_hangs_does_not_hang_vfadm() {
    let up = LabUp::new(Some("cephfs"));
    let lab = Lab::bare();
    let volume = up.mount().join("v");
    fs::create_dir(&volume).unwrap();
    lab.ok(&format!("init --volume v={} --quota cephfs", volume.display()));
    lab.ok("user add alice");
    lab.ok("vfolder create alice/data --quota-init 8MiB");
    let before = lab.registry_text();
    let pid = fs::read_to_string(up.mount().parent().unwrap().join("run/fuse.pid")).unwrap();
    system("/bin/kill", &["-STOP", pid.trim()]);
    // What the kernel has handed to the client already cannot be given up, not even by a process that ends: it is only
    // gone once the client goes on. What each command said and how it ended was decided long before.
    let script = format!("sleep 60; kill -CONT {}", pid.trim());
    let mut later = Command::new("/bin/sh")
        .args(["-c", &script])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let silent = format!("the volume 'v' is not mounted at {0}: {0} does not answer", volume.display());
    let lines = [
        ("vfolder create alice/more", 8),
        ("vfolder delete alice/data", 8),
        ("quota set alice 16MiB", 8),
        ("quota verify v", 8),
        ("quota show", 0),
        ("volume show v", 0),
        ("volume check", 10),
        ("vfolder list", 0),
        ("session plan --user alice -m data", 8),
    ];
    let ended: Vec<_> = std::thread::scope(|scope| {
        let lab = &lab;
        let run = |line: &'static str| move || lab.run(&format!("--lock-timeout 120s {line}"));
        let started = lines.map(|(line, code)| (line, code, scope.spawn(run(line))));
        started.into_iter().map(|(line, code, run)| (line, code, run.join().unwrap())).collect()
    });
    system("/bin/kill", &["-CONT", pid.trim()]);
    later.kill().unwrap();
    later.wait().unwrap();
    for (line, code, out) in ended {
        let out = out.exits(code);
        let told = out.stderr.contains(&silent) || out.stdout.contains(&silent) || line == "vfolder list";
        assert!(told, "`{line}` does not say {silent:?}: {out:?}");
    }
    assert_eq!(lab.registry_text(), before);
    lab.ok("volume check");
    lab.ok("vfolder create alice/more");
}
