//! Nodes: processes with a mount table, a host name and a network of their own, over one root.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::{Lab, LabUp, Output, python, system, vfadm};

/// What a command with a volume that hangs may take; each of its probes is given up after 4 seconds.
const IN_TIME: Duration = Duration::from_secs(15);

/// Three volumes that each node binds at the same places, and a fourth place.
struct Site {
    lab: Lab,
    dir: PathBuf,
}

const VOLUMES: [&str; 3] = ["v1", "v2", "v3"];

impl Site {
    fn new() -> Site {
        let lab = Lab::bare();
        let site = Site { dir: lab.dir().to_owned(), lab };
        for place in VOLUMES.iter().flat_map(|v| [format!("store/{v}"), format!("mnt/{v}")]) {
            fs::create_dir_all(site.dir.join(place)).unwrap();
        }
        fs::create_dir(site.dir.join("else")).unwrap();
        let at = |volume: &str| site.dir.join("mnt").join(volume).display().to_string();
        site.on("n1", "", &format!("init --volume v1={} --quota none", at("v1"))).exits(0);
        for volume in ["v2", "v3"] {
            site.on("n1", "", &format!("volume add {volume} {} --quota none", at(volume))).exits(0);
        }
        site.on("n1", "", "user add alice").exits(0);
        site.on("n1", "", "vfolder create alice/data --volume v1").exits(0);
        site
    }

    /// Runs a command line on a node, after a line of shell that changes its mounts: `$S` is where the volumes are
    /// kept, `$M` where they are mounted, `$D` the directory of both.
    fn on(&self, node: &str, changed: &str, line: &str) -> Output {
        let out = self.command(node, changed, line).output().unwrap();
        Output::of(format!("on {node} ({changed}): {line}"), &out)
    }

    fn command(&self, node: &str, changed: &str, line: &str) -> Command {
        let script = format!(
            "set -e; D={}; S=$D/store; M=$D/mnt; echo {node} >/proc/sys/kernel/hostname; \
             for v in v1 v2 v3; do mount --bind $S/$v $M/$v; done; {changed} exec \"$@\"",
            self.dir.display()
        );
        let mut command = Command::new("/usr/bin/unshare");
        command.args(["--mount", "--uts", "--net", "sh", "-c", &script, "sh"]).arg(vfadm());
        command.args(line.split(' ')).env("VFADM_ROOT", &self.lab.root).stdin(Stdio::null());
        command
    }

    fn check_in(&self, node: &str, changed: &str) {
        self.on(node, changed, "node check-in").exits(0);
    }

    fn file(&self, node: &str) -> PathBuf {
        self.lab.root.join(format!(".vfadm/nodes/{node}.yaml"))
    }

    /// What deviates between the nodes, as `CODE: SUBJECT: MESSAGE`, with the site's directory as `D`.
    fn deviations(&self) -> Vec<String> {
        let out = self.on("n1", "", "-o json volume check --nodes");
        let list = out.json();
        assert_eq!(out.code, if list["count"] == 0 { 0 } else { 10 }, "{out:?}");
        let text = |value: &Value| value.as_str().unwrap().replace(&self.dir.display().to_string(), "D");
        let items = list["items"].as_array().unwrap();
        items
            .iter()
            .map(|f| format!("{}: {}: {}", text(&f["code"]), text(&f["subject"]), text(&f["message"])))
            .collect()
    }

    fn edit(&self, node: &str, change: &str) {
        let script = format!(
            "import sys, yaml, datetime\np = sys.argv[1]\nd = yaml.safe_load(open(p))\n\
             now = datetime.datetime.now(datetime.timezone.utc)\n{change}\nopen(p, 'w').write(yaml.dump(d))"
        );
        python(&script, &self.file(node));
    }
}

/// A filesystem in the place of `v2` whose daemon never says a word, and somebody who waits for it.
const HUNG: &str = "exec 3<>/dev/fuse; umount $M/v2; \
                    mount -i -t fuse -o fd=3,rootmode=40000,user_id=0,group_id=0 hung $M/v2; \
                    (cat $M/v2/file </dev/null >/dev/null 2>&1 3<&- &)";

fn timed(what: impl FnOnce() -> Output) -> Output {
    let begun = Instant::now();
    let out = what();
    assert!(begun.elapsed() < IN_TIME, "{out:?} took {:?}", begun.elapsed());
    out
}

#[test]
fn nodes_that_have_all_volumes_alike_do_not_deviate() {
    let site = Site::new();
    let none = site.on("n1", "", "volume check --nodes").exits(0);
    assert!(none.stderr.contains("no node has checked in"), "{none:?}");
    let out = site.on("n1", "", "-o json node check-in").exits(0).json();
    assert_eq!((&out["kind"], &out["outcome"]), (&"Result".into(), &"changed".into()), "{out}");
    site.check_in("n2", "");
    assert_eq!(site.deviations(), [""; 0]);

    let list = site.on("n2", "", "-o json node list").exits(0).json();
    assert_eq!((&list["kind"], &list["count"]), (&"NodeList".into(), &2.into()), "{list}");
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    for (node, name) in list["items"].as_array().unwrap().iter().zip(["n1", "n2"]) {
        assert_eq!(node["name"], name);
        assert_eq!((&node["boot_id"], &node["state"]), (&boot.trim().into(), &"ok".into()), "{node}");
        assert!(node["seen_at"].as_str().unwrap().ends_with('Z'), "{node}");
        assert!(node["clock_offset_seconds"].as_f64().unwrap().abs() < 2.0, "{node}");
        for (sight, volume) in node["volumes"].as_array().unwrap().iter().zip(VOLUMES) {
            assert_eq!((&sight["volume"], &sight["state"]), (&volume.into(), &"ok".into()), "{node}");
            assert_eq!(sight["mount_point"], site.dir.join("mnt").join(volume).to_str().unwrap());
            assert_eq!((&sight["marker_matches"], &sight["writable"]), (&true.into(), &true.into()));
            for key in ["read_ms", "total_bytes", "free_bytes"] {
                assert!(sight[key].is_number(), "{key}: {sight}");
            }
            assert!(sight["filesystem"].is_string() && sight["source"].is_string(), "{sight}");
        }
    }
    let table = site.on("n1", "", "node list").exits(0).stdout;
    let head: Vec<&str> = table.lines().next().unwrap().split_whitespace().collect();
    assert_eq!(head, ["NODE", "SEEN", "BOOT", "CLOCK", "VOLUMES", "STATE"], "{table}");
    assert!(table.lines().nth(1).unwrap().contains("3/3"), "{table}");
    let matrix = site.on("n1", "", "volume check --nodes").exits(0).stdout;
    let words: Vec<&str> = matrix.lines().next().unwrap().split_whitespace().collect();
    assert_eq!(words, ["VOLUME", "n1", "n2"], "{matrix}");
    assert_eq!(matrix.lines().count(), 4, "{matrix}");
}

#[test]
fn what_is_wrong_with_a_volume_on_a_node_is_told_apart() {
    let site = Site::new();
    let other = Lab::plain();
    let foreign = format!("mount --bind {} $M/v2;", other.volume.display());
    let v2 = "volume v2 on n2";
    let no_marker = "there is no marker .vfadm-volume.yaml in D/mnt/v2";
    let cases: &[(&str, &str, String)] = &[
        (
            "umount $M/v2;",
            "node_volume_fell_off",
            format!("only the directory under it is there: {no_marker}"),
        ),
        (
            "umount $M/v2; mount -t tmpfs t $M; mkdir $M/v1 $M/v3; for v in v1 v3; do mount --bind $S/$v $M/$v; done;",
            "node_volume_missing",
            "there is no directory D/mnt/v2".to_owned(),
        ),
        (
            "mount --bind $S/v3 $M/v2;",
            "node_volume_foreign",
            "another filesystem is in its place: D/mnt/v2 holds another volume".to_owned(),
        ),
        (
            &foreign,
            "node_volume_foreign",
            "another filesystem is in its place: D/mnt/v2 belongs to another registry".to_owned(),
        ),
        (
            "umount $M/v2; mount -t tmpfs fresh $M/v2;",
            "node_volume_foreign",
            format!("another filesystem is in its place: {no_marker} (tmpfs from fresh)"),
        ),
        (
            "mount -o remount,bind,ro $M/v2;",
            "node_volume_read_only",
            "D/mnt/v2 is mounted read-only".to_owned(),
        ),
        (
            "umount $M/v2; mount --bind $S/v2 $D/else;",
            "node_volume_differs",
            "it is at D/else, and has to be at D/mnt/v2".to_owned(),
        ),
        (
            "mount -t tmpfs fresh $M/v2; cp $S/v2/.vfadm-volume.yaml $M/v2;",
            "node_volume_differs",
            "it is tmpfs from fresh, and on n1 ".to_owned(),
        ),
    ];
    site.check_in("n1", "");
    for (changed, code, message) in cases {
        site.check_in("n2", changed);
        let found = site.deviations();
        assert_eq!(found.len(), 1, "{changed}: {found:?}");
        let expected = format!("{code}: {v2}: {message}");
        assert!(found[0].starts_with(&expected), "{changed}: {found:?}, not {expected:?}");
    }
    site.check_in("n2", "");
    assert_eq!(site.deviations(), [""; 0]);
    // The majority is right: of two nodes the first, of three the two that agree.
    site.check_in("n0", cases[7].0);
    let found = site.deviations();
    assert!(found.len() == 1 && found[0].contains("volume v2 on n0: it is tmpfs from fresh"), "{found:?}");
}

#[test]
fn a_volume_that_hangs_keeps_no_command_and_no_other_volume_waiting() {
    let site = Site::new();
    site.check_in("n1", "");
    let hung = format!("{HUNG};");
    let on = |line: &str| timed(|| site.on("n2", &hung, line));
    on("node check-in").exits(0);
    let silent = "D/mnt/v2 does not answer (waited 4 s)";
    assert_eq!(site.deviations(), [format!("node_volume_hung: volume v2 on n2: {silent}")]);

    let list = on("-o json volume list").exits(0).json();
    let seen: Vec<_> =
        list["items"].as_array().unwrap().iter().map(|v| (&v["name"], &v["state"], &v["mounted"])).collect();
    let expected = [("v1", "ok", true), ("v2", "hung", false), ("v3", "ok", true)];
    assert_eq!(seen.len(), 3);
    for ((name, state, mounted), seen) in expected.into_iter().zip(seen) {
        assert_eq!(seen, (&name.into(), &state.into(), &mounted.into()), "{list}");
    }
    assert!(list["items"][0]["total_bytes"].is_u64(), "{list}");
    let told = list["items"][1]["total_bytes_unknown_reason"].as_str().unwrap();
    assert!(told.contains("does not answer"), "{list}");

    let check = on("-o json volume check").exits(10).json();
    assert_eq!(check["count"], 1, "{check}");
    assert_eq!(check["items"][0]["code"], "volume_unusable");
    assert_eq!(on("-o json volume show v2").exits(0).json()["state"], "hung");
    assert_eq!(on("-o json volume show v3").exits(0).json()["state"], "ok");
    // The others are mended meanwhile.
    fs::remove_file(site.dir.join("store/v1/version.txt")).unwrap();
    let repaired = site.on("n2", &hung, "-o json check --repair").exits(10).json();
    assert_eq!((&repaired["count"], &repaired["mended"][0]["code"]), (&1.into(), &"marker_stale".into()));
    // Whether a folder is in use is found out in /proc, past what waits for the hung mount.
    on("vfolder delete alice/data").exits(0);
    on("volume remove v3 --yes").exits(0);
}

#[test]
fn ten_volumes_of_which_several_hang_are_looked_at_side_by_side() {
    let site = Site::new();
    let mut hung = String::new();
    for n in 4..=10 {
        let volume = site.dir.join(format!("mnt/v{n}"));
        fs::create_dir(&volume).unwrap();
        site.on("n1", "", &format!("volume add v{n} {} --quota none", volume.display())).exits(0);
        if n > 6 {
            hung += &format!("mount -i -t fuse -o fd={n},rootmode=40000,user_id=0,group_id=0 hung $M/v{n}; ");
        }
    }
    // Descriptors above 9 are not for every shell.
    let hung = format!("exec 7<>/dev/fuse 8<>/dev/fuse 9<>/dev/fuse; {}", hung.replace("fd=10", "fd=6"));
    let hung = hung.replacen("exec 7", "exec 6<>/dev/fuse 7", 1);
    timed(|| site.on("n2", &hung, "node check-in").exits(0));
    let list = site.on("n2", "", "-o json node list").exits(0).json();
    let states: Vec<&str> = list["items"][0]["volumes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|sight| sight["state"].as_str().unwrap())
        .collect();
    // By name: v1, v10, v2, v3 ...
    assert_eq!(states, ["ok", "hung", "ok", "ok", "ok", "ok", "ok", "hung", "hung", "hung"], "{list}");
    let check = timed(|| site.on("n2", &hung, "-o json volume check").exits(10)).json();
    assert_eq!(check["count"], 4, "{check}");
}

#[test]
fn a_volume_that_begins_to_hang_while_it_is_checked_is_left_behind() {
    let site = Site::new();
    // A scope that goes away as soon as somebody asks for its limit: after the volume was looked at.
    let (mark, driver) = (site.dir.join("go"), site.dir.join("driver.yaml"));
    let read = format!(
        "if test -e {}; then exec 8<>/dev/fuse; \
         mount -i -t fuse -o fd=8,rootmode=40000,user_id=0,group_id=0 h $1; \
         setsid sleep 30 </dev/null >/dev/null 2>&1 & fi; echo limit: none used: 0",
        mark.display(),
    );
    let file = serde_json::json!({
        "name": "fickle", "enforcement": "kernel", "set": ["true", "{bytes}"], "unset": ["true"],
        "read": ["sh", "-c", read, "sh", "{path}"], "limit": {"pattern": "limit: (\\w+)"}, "none": "none",
    });
    fs::write(&driver, file.to_string()).unwrap();
    site.on("n1", "", "volume remove v2 --yes").exits(0);
    let at = site.dir.join("mnt/v2");
    let line = format!("volume add v2 {} --driver-file {} --no-verify", at.display(), driver.display());
    site.on("n1", "", &line).exits(0);
    site.on("n1", "", "vfolder create alice/more --volume v2").exits(0);
    site.on("n1", "", "volume check").exits(0);
    fs::write(&mark, "").unwrap();
    let begun = Instant::now();
    let check = site.on("n2", "", "-o json volume check").exits(10).json();
    assert!(begun.elapsed() < 2 * IN_TIME, "{:?}", begun.elapsed());
    let told = check["items"][0]["message"].as_str().unwrap();
    assert!(check["count"] == 1 && told.contains("mnt/v2 does not answer (waited 10 s)"), "{check}");
}

#[test]
fn old_check_ins_and_clocks_that_are_off_are_told() {
    let site = Site::new();
    site.check_in("n1", "");
    let cases = [
        (
            "d['seen_at'] = (now - datetime.timedelta(hours=3, minutes=1)).isoformat()",
            "node_not_seen",
            "last seen 3h ago",
        ),
        ("d['seen_at'] = (now + datetime.timedelta(seconds=90)).isoformat()", "node_clock_off", "s ahead"),
        ("d['clock_offset_seconds'] = -7.25", "node_clock_off", "its clock is 7.2 s behind"),
        ("d['clock_offset_seconds'] = 1.9", "", ""),
        (
            "d['volumes'] = d['volumes'][:2]",
            "node_not_seen: volume v3 on n2",
            "has not looked at this volume yet",
        ),
        (
            "d['volumes'][1]['path'] = '/old/v2'",
            "node_volume_differs: volume v2 on n2",
            "looked for at /old/v2",
        ),
        ("d['volumes'][1]['state'] = 'on_fire'", "node_volume_unreadable: volume v2 on n2", "unknown"),
    ];
    for (change, code, message) in cases {
        site.check_in("n2", "");
        site.edit("n2", change);
        let found = site.deviations();
        match code {
            "" => assert_eq!(found, [""; 0], "{change}"),
            _ => {
                assert!(found.len() == 1 && found[0].starts_with(code), "{change}: {found:?}");
                assert!(found[0].contains(message), "{change}: {found:?}");
            }
        }
    }
    site.check_in("n2", "");
    site.edit("n2", "d['seen_at'] = (now - datetime.timedelta(hours=3, minutes=1)).isoformat()");
    site.on("n1", "", "volume check --nodes --stale 4h").exits(0);
    site.on("n1", "", "volume check v1 --nodes --stale 2h").exits(10);
}

#[test]
fn check_ins_at_once_keep_what_the_file_holds_besides() {
    let site = Site::new();
    site.check_in("n1", "");
    site.edit("n1", "d['verified'] = {'btrfs': now.isoformat()}; d['rack'] = 'b7'");
    let started: Vec<_> = (0..8)
        .map(|_| {
            let mut command = site.command("n1", "", "--lock-timeout 60s node check-in");
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
        })
        .collect();
    for child in started {
        Output::of("node check-in".to_owned(), &child.wait_with_output().unwrap()).exits(0);
    }
    let text = fs::read_to_string(site.file("n1")).unwrap();
    let node: Value = serde_yaml::from_str(&text).unwrap();
    assert!(node["verified"]["btrfs"].is_string() && node["rack"] == "b7", "{text}");
    assert_eq!(node["volumes"].as_array().unwrap().len(), 3, "{text}");
}

#[test]
fn a_dry_check_in_writes_nothing_and_a_node_that_left_is_forgotten() {
    let site = Site::new();
    let planned = site.on("n2", "", "-o json node check-in --dry-run").exits(0).json();
    assert_eq!(
        (&planned["outcome"], &planned["item"]["name"]),
        (&"planned".into(), &"n2".into()),
        "{planned}"
    );
    assert!(!site.file("n2").exists());
    site.check_in("n1", "");
    site.check_in("n2", "");
    site.on("n1", "", "node remove n2").exits(2).says(&["--yes"]);
    site.on("n1", "", "node remove n3 --yes").exits(3).says(&["no node 'n3'", "n1, n2"]);
    site.on("n1", "", "node remove n2 --dry-run").exits(0);
    assert!(site.file("n2").exists());
    site.on("n1", "", "node remove n2 --yes").exits(0);
    let left: Vec<_> =
        fs::read_dir(site.lab.root.join(".vfadm/nodes")).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert!(left.iter().all(|name| !name.to_str().unwrap().contains("n2")), "{left:?}");
    for line in ["node list", "node check-in", "node remove n1 --yes"] {
        site.on("n1", "", &format!("--as alice {line}")).exits(5);
    }
}

/// Two nodes on one CephFS: the second has the second mount where the first has the first.
fn on_ceph_node_2(up: &LabUp, root: &Path, line: &str) -> Output {
    let mount = up.mount();
    let script = format!(
        "mount --bind {0}2 {0} && echo node2 >/proc/sys/kernel/hostname && exec \"$@\"",
        mount.display()
    );
    let mut command = Command::new("/usr/bin/unshare");
    command.args(["--mount", "--uts", "sh", "-c", &script, "sh"]).arg(vfadm());
    command.args(line.split(' ')).env("VFADM_ROOT", root).stdin(Stdio::null());
    Output::of(format!("on node 2: {line}"), &command.output().unwrap())
}

#[test]
fn a_ceph_client_that_stopped_is_told_by_its_node_and_the_other_node_is_well() {
    let up = LabUp::new(Some("cephfs"));
    let lab = Lab::bare();
    for dir in [up.mount().join("v"), up.mount().join("w"), lab.dir().join("plain")] {
        fs::create_dir(dir).unwrap();
    }
    let (ceph, shared) = (up.mount().join("v").display().to_string(), up.mount().join("root"));
    lab.ok(&format!("init --volume v={ceph} --quota cephfs"));
    lab.ok(&format!("volume add plain {} --quota none", lab.dir().join("plain").display()));
    lab.ok("user add alice");
    lab.ok("vfolder create alice/data --volume plain");
    // A second registry, whose root is on the filesystem that hangs.
    let beside = Lab::at(shared.clone(), up.mount().join("w"));
    beside.ok(&format!("init --volume w={} --quota none", beside.volume.display()));

    lab.ok("node check-in");
    on_ceph_node_2(&up, &lab.root, "node check-in").exits(0);
    lab.ok("volume check --nodes");

    let pid = fs::read_to_string(up.mount().parent().unwrap().join("run/fuse2.pid")).unwrap();
    system("/bin/kill", &["-STOP", pid.trim()]);
    let script = format!("sleep 90; kill -CONT {}", pid.trim());
    let mut later = Command::new("/bin/sh").args(["-c", &script]).stdout(Stdio::null()).spawn().unwrap();
    let outs = [
        timed(|| on_ceph_node_2(&up, &lab.root, "-o json volume list")),
        timed(|| on_ceph_node_2(&up, &lab.root, "-o json volume check")),
        timed(|| on_ceph_node_2(&up, &lab.root, "node check-in")),
        timed(|| on_ceph_node_2(&up, &shared, "volume list")),
        timed(|| on_ceph_node_2(&up, &lab.root, "session run --user alice -m data -- ls /home/work")),
        timed(|| on_ceph_node_2(&up, &lab.root, "vfolder delete alice/data")),
    ];
    let compared = lab.run("-o json volume check --nodes");
    system("/bin/kill", &["-CONT", pid.trim()]);
    later.kill().unwrap();
    later.wait().unwrap();
    let [list, check, check_in, on_root, session, delete] = outs;
    let list = list.exits(0).json();
    assert_eq!(
        (&list["items"][0]["state"], &list["items"][1]["state"]),
        (&"ok".into(), &"hung".into()),
        "{list}"
    );
    assert_eq!(check.exits(10).json()["count"], 1);
    check_in.exits(0);
    on_root.exits(9).says(&["does not answer"]);
    assert_eq!(session.exits(0).stdout, "data\n");
    delete.exits(0);
    let compared = compared.exits(10).json();
    assert_eq!(compared["count"], 1, "{compared}");
    assert_eq!(compared["items"][0]["code"], "node_volume_hung");
    assert_eq!(compared["items"][0]["subject"], "volume v on node2");

    on_ceph_node_2(&up, &lab.root, "node check-in").exits(0);
    lab.ok("volume check --nodes");
}

/// A file that nobody can read spoils nothing for the other nodes, is found, and can be removed.
#[test]
fn a_file_that_cannot_be_read_is_one_nodes_affair() {
    let lab = Lab::plain();
    lab.ok("node check-in");
    let nodes = lab.root.join(".vfadm/nodes");
    let deep = format!("x: {}{}", "[".repeat(100_000), "]".repeat(100_000));
    fs::write(nodes.join("deep.yaml"), deep).unwrap();
    fs::write(nodes.join("rubbish.yaml"), "- 1\n").unwrap();
    fs::write(nodes.join("large.yaml"), vec![b'#'; 2 << 20]).unwrap();
    fs::create_dir(nodes.join("dir.yaml")).unwrap();
    let begun = Instant::now();
    assert_eq!(lab.json("node list")["count"], 1);
    let found = lab.run("-o json volume check --nodes").exits(10).json();
    let subjects: Vec<&str> =
        found["items"].as_array().unwrap().iter().map(|f| f["subject"].as_str().unwrap()).collect();
    assert_eq!(subjects, ["node deep", "node dir", "node large", "node rubbish"], "{found}");
    assert!(begun.elapsed() < IN_TIME, "{:?}", begun.elapsed());
    for name in ["deep", "rubbish", "large"] {
        lab.ok(&format!("node remove {name} --yes"));
    }
    fs::remove_dir(nodes.join("dir.yaml")).unwrap();
    lab.ok("volume check --nodes");
    let own =
        fs::read_dir(&nodes).unwrap().map(|e| e.unwrap().path()).find(|p| p.extension().is_some()).unwrap();
    let text = fs::read_to_string(&own).unwrap();
    let text: String = text.lines().filter(|l| !l.starts_with("boot_id")).map(|l| format!("{l}\n")).collect();
    fs::write(&own, text + "boot_id: \"\\e[2Jx\\r\"\n").unwrap();
    assert!(!lab.ok("node list").stdout.contains('\u{1b}'));
}
