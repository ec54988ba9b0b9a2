//! Sessions on the engines that run here: bwrap, systemd-nspawn and runc, over a root of busybox.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::support::{Lab, Output, SHARED_ID, Snapshot, system, wait_until};

/// What `session run` starts here. There is no docker engine.
const RUN: [&str; 4] = ["bwrap", "nspawn", "runc", "podman"];
/// What is printed is run with these.
const PRINTED: [&str; 3] = ["bwrap", "nspawn", "runc"];

/// The environment in which podman runs on this machine: with runc, as crun refuses hybrid cgroups, and without the
/// limits that it would raise, which needs a capability that a container of a CI has not.
fn podman(lab: &Lab) -> (&'static str, PathBuf) {
    let runtime = lab.dir().join("runtime");
    let script = r#"#!/usr/bin/python3
import json, os, sys
if '--bundle' in sys.argv:
    path = os.path.join(sys.argv[sys.argv.index('--bundle') + 1], 'config.json')
    config = json.load(open(path))
    config['process'].pop('rlimits', None)
    json.dump(config, open(path, 'w'))
os.execv('/usr/sbin/runc', ['runc'] + sys.argv[1:])
"#;
    fs::write(&runtime, script).unwrap();
    fs::set_permissions(&runtime, fs::Permissions::from_mode(0o755)).unwrap();
    let config = lab.dir().join("containers.conf");
    let text = format!(
        "[containers]\nnetns = \"host\"\ncgroupns = \"host\"\nlog_driver = \"none\"\n[engine]\n\
         cgroup_manager = \"cgroupfs\"\nevents_logger = \"none\"\nruntime = \"mild\"\n[engine.runtimes]\n\
         mild = [\"{}\"]\n",
        runtime.display()
    );
    fs::write(&config, text).unwrap();
    ("CONTAINERS_CONF", config)
}

/// `session run` of a script with an engine.
fn command(lab: &Lab, engine: &str, name: &str, rootfs: &Path, script: &str) -> Command {
    let line = format!(
        "session run {name} --user alice {MOUNTS} --engine {engine} --rootfs {} -- sh -c",
        rootfs.display()
    );
    let mut command = lab.command(line.split_whitespace());
    let (variable, value) = podman(lab);
    command.arg(script).env(variable, value);
    command
}

/// A name that no other run of the tests has: places of sessions are the host's.
fn named(name: &str) -> String {
    format!("{name}-{}", std::process::id())
}

fn mounted() -> String {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
    table.lines().filter(|line| line.contains("/run/vfadm/mounts")).map(|line| format!("{line}\n")).collect()
}

/// Nothing is mounted, or left, for a session of this name.
#[track_caller]
fn nothing_left(session: &str) {
    let place = format!("/run/vfadm/mounts/{session}");
    assert!(!mounted().contains(&format!("{place}/")), "{}", mounted());
    assert!(!Path::new(&place).exists(), "{place}");
}

/// Folders of alice and bob, files that say whose they are, and a root of busybox.
fn lab() -> (Lab, PathBuf) {
    let lab = Lab::plain();
    for folder in ["alice/data", "alice/sets", "bob/secret"] {
        lab.ok(&format!("vfolder create {folder}"));
        write(&lab.path(folder).join("mark"), folder);
    }
    let sub = lab.path("alice/data").join("sub");
    fs::create_dir_all(sub.join("deep")).unwrap();
    write(&sub.join("deep/mark"), "the subpath");
    for dir in [&sub, &sub.join("deep")] {
        chown(dir, Some(SHARED_ID), Some(SHARED_ID)).unwrap();
    }
    let rootfs = lab.dir().join("rootfs");
    for dir in ["bin", "usr", "etc"] {
        fs::create_dir_all(rootfs.join(dir)).unwrap();
    }
    fs::copy("/bin/busybox", rootfs.join("bin/busybox")).unwrap();
    for tool in ["sh", "cat", "ls", "id", "sleep", "touch", "find", "kill"] {
        symlink("busybox", rootfs.join("bin").join(tool)).unwrap();
    }
    (lab, rootfs)
}

fn write(path: &Path, text: &str) {
    fs::write(path, format!("{text}\n")).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o666)).unwrap();
}

const MOUNTS: &str = "-m data:/w -m alice/data/sub/deep:/s -m sets:/r:ro";

fn run(lab: &Lab, engine: &str, name: &str, rootfs: &Path, script: &str) -> Output {
    let out = command(lab, engine, name, rootfs, script).output().unwrap();
    Output::of(format!("vfadm session run {name} --engine {engine}"), &out)
}

#[test]
fn a_tenant_sees_its_folders_and_the_subpath_and_writes_where_it_may() {
    let (lab, rootfs) = lab();
    let before = Snapshot::of(&[&rootfs]);
    for engine in RUN {
        let name = named(&format!("sees-{engine}"));
        let script = "cat /w/mark /s/mark /r/mark; ls -A /s; echo new > /w/new && echo wrote; echo x > /r/mark
                      touch /s/../up 2>/dev/null; echo $PWD; echo $HOME $USER $VFADM_SESSION
                      while read key value; do case $key in Cap???:|NoNewPrivs:) echo $value;; esac; done < /proc/self/status
                      find / -name mark 2>/dev/null; exit 7";
        let out = run(&lab, engine, &name, &rootfs, script).exits(7).says(&["Read-only file system"]);
        let lines: Vec<&str> = out.stdout.lines().collect();
        // podman begins where the image says.
        let begins = if engine == "podman" { "/" } else { "/home/work" };
        let expected = ["alice/data", "the subpath", "alice/sets", "mark", "wrote", begins];
        assert_eq!(lines[..6], expected, "{engine}: {out:?}");
        assert_eq!(lines[6], format!("/home/work alice {name}"), "{engine}");
        assert_eq!(lines[7..13], [&["0000000000000000"; 5][..], &["1"]].concat(), "{engine}: no privileges");
        let mut found = lines[13..].to_vec();
        found.sort_unstable();
        assert_eq!(
            found,
            ["/r/mark", "/s/mark", "/w/mark", "/w/sub/deep/mark"],
            "{engine}: nothing else of the volume"
        );
        let new = lab.path("alice/data").join("new");
        let made = fs::metadata(&new).unwrap();
        assert_eq!((made.uid(), made.gid()), (SHARED_ID, SHARED_ID), "{engine}");
        fs::remove_file(new).unwrap();
        assert_eq!(fs::read_to_string(lab.path("alice/sets").join("mark")).unwrap(), "alice/sets\n");
        assert!(!lab.path("alice/data").join("sub/up").exists(), "{engine}: out of the subpath");
        nothing_left(&name);
    }
    assert_eq!(lab.json("session list")["count"], 0);
    before.same_as(&Snapshot::of(&[&rootfs]), "sessions on engines");
}

#[test]
fn the_session_is_held_for_its_life_and_signals_reach_the_command() {
    let (lab, rootfs) = lab();
    for engine in RUN {
        let name = named(&format!("held-{engine}"));
        let script = "trap 'echo caught; exit 9' TERM; echo ready; while :; do sleep 0.05; done";
        let mut command = command(&lab, engine, &name, &rootfs, script);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut said = String::new();
        stdout.read_line(&mut said).unwrap();
        let shown = lab.json(&format!("session show {name}"));
        assert_eq!(
            (&shown["state"], &shown["kernels"][0]["holder"]["kind"]),
            (&"running".into(), &"process".into())
        );
        lab.fails(6, "vfolder delete alice/data").says(&[&name]);
        system("/bin/kill", &["-TERM", &child.id().to_string()]);
        stdout.read_line(&mut said).unwrap();
        assert_eq!(said, "ready\ncaught\n", "{engine}");
        assert_eq!(child.wait().unwrap().code(), Some(9), "{engine}");
        lab.fails(3, &format!("session show {name}"));
    }
    lab.ok("vfolder delete alice/data");
}

#[test]
fn stop_ends_an_engine_that_does_not_listen() {
    let (lab, rootfs) = lab();
    for engine in RUN {
        let name = named(&format!("deaf-{engine}"));
        let script = "trap '' TERM INT HUP; while :; do touch /w/beat; sleep 0.05; done";
        let mut command = command(&lab, engine, &name, &rootfs, script);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let beat = lab.path("alice/data").join("beat");
        wait_until("the command runs", || beat.exists());
        lab.ok(&format!("session stop {name}"));
        child.wait().unwrap();
        wait_until(&format!("the command of {engine} has ended"), || {
            let _ = fs::remove_file(&beat);
            std::thread::sleep(std::time::Duration::from_millis(200));
            !beat.exists()
        });
        assert_eq!(lab.json("session list")["count"], 0, "{engine}");
    }
}

/// Starts a session for an engine and answers what it is told.
fn told(lab: &Lab, name: &str, engine: &str) -> String {
    lab.ok(&format!("session start {name} --user alice {MOUNTS} --engine {engine}")).stdout
}

/// Runs what was printed with the engine itself, as root of this host.
fn launch(engine: &str, told: &str, lab: &Lab, rootfs: &Path, script: &str) -> Output {
    let root = rootfs.display();
    let line = match engine {
        "bwrap" => {
            format!("bwrap --unshare-pid --bind {root} / --proc /proc --dev /dev {told} sh -c '{script}'")
        }
        "nspawn" => {
            format!(
                "systemd-nspawn --quiet --register=no --keep-unit --console=autopipe --as-pid2 -D {root} {told} sh -c '{script}'"
            )
        }
        _ => {
            let mut config: Value = serde_json::from_str(told).unwrap();
            config["process"]["args"] = serde_json::json!(["sh", "-c", script]);
            let bundle = lab.dir().join("bundle");
            fs::create_dir_all(&bundle).unwrap();
            fs::write(bundle.join("config.json"), config.to_string()).unwrap();
            format!("runc run --bundle {} vfadm-test-{}", bundle.display(), std::process::id())
        }
    };
    let told = line.replace(" \\\n", " ").replace('\n', " ");
    let out = Command::new("/bin/bash").args(["-c", &told]).stdin(Stdio::null()).output().unwrap();
    Output::of(told, &out)
}

#[test]
fn what_is_printed_runs_and_a_link_put_into_the_subpath_leads_nowhere() {
    let (lab, rootfs) = lab();
    for engine in PRINTED {
        let name = named(&format!("link-{engine}"));
        let told = match engine {
            "runc" => {
                let line = format!(
                    "session start {name} --user alice {MOUNTS} --engine oci --rootfs {}",
                    rootfs.display()
                );
                lab.ok(&line).stdout
            }
            _ => told(&lab, &name, engine),
        };
        let sub = lab.path("alice/data").join("sub");
        fs::rename(sub.join("deep"), sub.join("kept")).unwrap();
        symlink(lab.path("bob/secret"), sub.join("deep")).unwrap();
        let script = "cat /s/mark /w/mark; echo x >> /s/mark && echo wrote; echo x > /r/mark";
        let out = launch(engine, &told, &lab, &rootfs, script).says(&["Read-only file system"]);
        assert_eq!(out.stdout, "the subpath\nalice/data\nwrote\n", "{engine}: {out:?}");
        assert_eq!(fs::read_to_string(lab.path("bob/secret").join("mark")).unwrap(), "bob/secret\n");
        fs::remove_file(sub.join("deep")).unwrap();
        fs::rename(sub.join("kept"), sub.join("deep")).unwrap();
        write(&sub.join("deep/mark"), "the subpath");
        lab.ok(&format!("session stop {name}"));
        nothing_left(&name);
    }
}

#[test]
fn a_place_is_roots_alone_and_read_only_where_the_mount_is() {
    let [place1] = ["place-1"].map(named);
    let lab = lab().0;
    lab.ok(&format!(
        "session start {place1} --user alice -m alice/data/sub:/a -m alice/data/sub/deep:/b:ro --engine json"
    ));
    for dir in ["/run/vfadm", "/run/vfadm/mounts", &format!("/run/vfadm/mounts/{place1}")] {
        let meta = fs::metadata(dir).unwrap();
        assert_eq!((meta.uid(), meta.permissions().mode() & 0o7777), (0, 0o700), "{dir}");
    }
    let table = mounted();
    let options = |number: u32| {
        let line =
            table.lines().find(|l| l.contains(&format!("/run/vfadm/mounts/{place1}/{number} "))).unwrap();
        line.split(' ').nth(5).unwrap().split(',').map(str::to_owned).collect::<Vec<_>>()
    };
    assert!(options(0).iter().any(|o| o == "rw") && options(1).iter().any(|o| o == "ro"), "{table}");
    for number in [0, 1] {
        assert!(
            options(number).iter().any(|o| o == "nosuid") && options(number).iter().any(|o| o == "nodev")
        );
    }
    assert!(fs::write(format!("/run/vfadm/mounts/{place1}/1/x"), "").is_err());
    lab.ok(&format!("session stop {place1}"));
    nothing_left(&place1);
}

#[test]
fn a_folder_is_in_use_by_the_session_and_not_by_its_binds() {
    let [use1] = ["use-1"].map(named);
    let lab = lab().0;
    let mut holder = Command::new("/bin/sleep").arg("600").spawn().unwrap();
    lab.ok(&format!(
        "session start {use1} --user alice -m alice/data/sub:/s --engine json --holder pid:{}",
        holder.id()
    ));
    let refused = lab.fails(6, "vfolder delete alice/data");
    assert!(
        refused.stderr.contains(&format!("session {use1} (")) && !refused.stderr.contains("mounted at"),
        "{refused:?}"
    );
    holder.kill().unwrap();
    holder.wait().unwrap();
    assert!(mounted().contains(&format!("/run/vfadm/mounts/{use1}/0 ")), "nobody has stopped the session");
    lab.ok("vfolder delete alice/data");
    lab.ok(&format!("session stop {use1}"));
    nothing_left(&use1);
}

#[test]
fn what_a_lost_session_left_goes_with_the_next_start() {
    let [lost1, lost2, lost3] = ["lost-1", "lost-2", "lost-3"].map(named);
    let lab = lab().0;
    let before = lab.registry_text();
    lab.ok(&format!("session start {lost1} --user alice -m alice/data/sub:/s --engine json"));
    // As after a crash between the binds and the commit.
    fs::write(lab.registry(), before).unwrap();
    assert!(mounted().contains(&format!("/run/vfadm/mounts/{lost1}/0 ")));
    let other = Lab::plain();
    other.ok(&format!("session start {lost2} --user bob"));
    assert!(
        mounted().contains(&format!("/run/vfadm/mounts/{lost1}/0 ")),
        "those of another registry are left alone"
    );
    lab.ok(&format!("session start {lost3} --user alice"));
    nothing_left(&lost1);
}

#[test]
fn a_start_that_fails_leaves_nothing() {
    let [same1, fails1] = ["same-1", "fails-1"].map(named);
    let lab = lab().0;
    let taken = Lab::plain();
    taken.ok("vfolder create alice/x");
    fs::create_dir(taken.path("alice/x").join("y")).unwrap();
    taken.ok(&format!("session start {same1} --user alice -m alice/x/y:/y --engine json"));
    lab.fails(4, &format!("session start {same1} --user alice -m alice/data/sub:/s --engine json"))
        .says(&[&same1, "another root"]);
    assert!(
        mounted().contains(&format!("/run/vfadm/mounts/{same1}/0 ")),
        "the other root's session keeps its own"
    );
    taken.ok(&format!("session stop {same1}"));
    lab.fails(2, &format!("session start {fails1} --user alice -m alice/data/sub:/s:x --engine json"));
    lab.fails(
        2,
        &format!("session start {fails1} --user alice -m alice/data/sub:/a:ro --engine docker --rootfs /x"),
    );
    lab.fails(
        4,
        &format!("session start {fails1} --user alice -m alice/data/sub:/a -m data:/a/b --engine docker"),
    );
    nothing_left(&fails1);
    nothing_left(&same1);
}

#[test]
fn an_engine_gets_what_it_can_make_a_root_of() {
    let (lab, rootfs) = lab();
    let root = format!("--rootfs {}", rootfs.display());
    for (options, said) in [
        ("--engine bwrap".to_owned(), "--rootfs DIR"),
        ("--engine docker".to_owned(), "--image IMAGE"),
        (format!("--engine docker {root}"), "--image IMAGE"),
        (format!("--engine compose {root}"), "session start"),
        (format!("--engine runc {root} --image x"), "no --image"),
        (format!("--engine bwrap {root} --userns"), "--userns"),
    ] {
        lab.fails(2, &format!("session run --user alice {options} -- sh")).says(&[said]);
        lab.fails(2, &format!("--dry-run session run --user alice {options} -- sh")).says(&[said]);
    }
    let missing = run(&lab, "bwrap", &named("missing"), Path::new("/nonexistent"), "true");
    assert_eq!(missing.code, 8, "{missing:?}");
    assert_eq!(lab.json("session list")["count"], 0);
}

#[test]
fn a_hundred_sessions_at_once_leave_nothing() {
    let lab = lab().0;
    let names: Vec<String> = (0..100).map(|n| named(&format!("many{n}"))).collect();
    std::thread::scope(|scope| {
        for names in names.chunks(25) {
            let lab = &lab;
            scope.spawn(move || {
                for name in names {
                    let mounts = "-m alice/data/sub:/a -m alice/data/sub/deep:/b:ro --engine json";
                    lab.ok(&format!("--lock-timeout 60s session start {name} --user alice {mounts}"));
                    assert_eq!(
                        fs::read(format!("/run/vfadm/mounts/{name}/1/mark")).unwrap(),
                        b"the subpath\n"
                    );
                    lab.ok(&format!("--lock-timeout 60s session stop {name}"));
                }
            });
        }
    });
    names.iter().for_each(|name| nothing_left(name));
    assert_eq!(lab.json("session list")["count"], 0);
    lab.ok("vfolder delete alice/data");
}

#[test]
fn a_vfadm_that_is_killed_takes_bwrap_and_nspawn_along() {
    let (lab, rootfs) = lab();
    for engine in ["bwrap", "nspawn"] {
        let name = named(&format!("killed-{engine}"));
        let mut command =
            command(&lab, engine, &name, &rootfs, "while :; do touch /w/beat; sleep 0.05; done");
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let beat = lab.path("alice/data").join("beat");
        wait_until("the command runs", || beat.exists());
        child.kill().unwrap();
        child.wait().unwrap();
        wait_until(&format!("the command of {engine} has ended"), || {
            let _ = fs::remove_file(&beat);
            std::thread::sleep(std::time::Duration::from_millis(200));
            !beat.exists()
        });
        wait_until("the session is dead", || lab.json(&format!("session show {name}"))["state"] == "dead");
        lab.ok(&format!("session stop {name}"));
        nothing_left(&name);
    }
    lab.ok("vfolder delete alice/data");
}

/// Which root and which image a session has is the administrator's choice, and never what others have.
#[test]
fn a_root_that_holds_what_is_others_is_refused() {
    let (lab, root) = lab();
    let secret = lab.path("bob/secret");
    let parent = lab.dir();
    for engine in ["", "--engine bwrap", "--engine runc", "--engine nspawn"] {
        for rootfs in [&secret, &lab.volume, &lab.root, parent] {
            let line = format!("session run --user alice {engine} --rootfs {} -- sh", rootfs.display());
            lab.fails(2, &line).says(&["lie one inside the other: the session would see what is others'"]);
            lab.fails(2, &line.replace(" -- ", " --dry-run -- "));
        }
        lab.fails(
            5,
            &format!("session run --user alice {engine} --rootfs {} --as alice -- sh", root.display()),
        );
    }
    for image in ["--privileged", "-v/:/host", ""] {
        let image = format!("--image={image}");
        lab.run_args(&["session", "run", "--user", "alice", "--engine", "podman", &image, "--", "ls"])
            .exits(2)
            .says(&["is not an image"]);
    }
    lab.fails(5, "session run --user alice --engine podman --image busybox --as alice -- ls");
}

#[test]
fn nothing_of_the_callers_environment_reaches_the_tenant() {
    let (lab, root) = lab();
    for engine in PRINTED {
        let script = "cat /proc/*/environ 2>/dev/null | tr '\\0' '\\n' | grep -c SECRET";
        let mut command = command(&lab, engine, &named(&format!("env-{engine}")), &root, script);
        let out = command.env("SECRET", "s3cr3t").output().unwrap();
        assert_eq!(String::from_utf8_lossy(&out.stdout).trim(), "0", "{engine}: {out:?}");
    }
}

/// runc goes on when vfadm is killed: the session counts, and `session stop` ends it.
#[test]
fn a_container_that_outlives_vfadm_keeps_its_session_until_it_is_stopped() {
    let (lab, root) = lab();
    let name = named("outlive");
    let script = "echo here; while :; do sleep 0.1; done";
    let mut child = command(&lab, "runc", &name, &root, script).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line.trim(), "here");
    child.kill().unwrap();
    child.wait().unwrap();
    let alive = || lab.json(&format!("session show {name}"))["state"].clone();
    assert_eq!(lab.json("session prune --dry-run")["outcome"], "unchanged");
    assert_eq!(alive(), "running");
    lab.ok(&format!("session stop {name}"));
    lab.fails(3, &format!("session show {name}"));
    assert!(!system("/usr/sbin/runc", &["list", "-q"]).contains("vfadm-"), "its container has gone");
    nothing_left(&name);
}
