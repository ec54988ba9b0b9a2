//! What holds sessions, what is asked about it, and what is forgotten when it is gone.

use std::fs;
use std::process::{Child, Command};

use serde_json::{Value, json};

use crate::support::{Host, Lab, Snapshot};

use super::consistency::records;

/// A process that holds something, ended when dropped.
struct Sleep(Child);

impl Sleep {
    fn new() -> Sleep {
        Sleep(Command::new("/usr/bin/sleep").arg("600").spawn().expect("sleep starts"))
    }

    fn holder(&self) -> String {
        format!("pid:{}", self.0.id())
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Changes a record of the registry, as an administrator with an editor could.
fn edit(lab: &Lab, from: &str, to: &str) {
    let text = lab.registry_text();
    assert!(text.contains(from), "{from} is not in {text}");
    fs::write(lab.registry(), text.replace(from, to)).unwrap();
}

fn kernel(host: &Host<'_>, session: &str) -> Value {
    host.json(&format!("session show {session}"))["kernels"][0].clone()
}

const GONE: &str = "echo 'Error: No such container: c1' >&2; echo '[]'; exit 1";
const RUNNING: &str = r#"echo '[{"Name":"/c1","State":{"Status":"running"}}]'"#;

/// Holder, its program, and what that says of it: alive, gone and nothing.
const TABLE: [(&str, &str, [&str; 3]); 5] = [
    ("container:c1", "docker", [RUNNING, GONE, "echo 'Cannot connect to the Docker daemon' >&2; exit 1"]),
    ("container:podman/c1", "podman", [RUNNING, GONE, "exit 125"]),
    ("container:runc/c1", "runc", [r#"echo '[{"id":"c1","status":"running"}]'"#, "echo null", "exit 1"]),
    ("unit:train", "systemctl", ["echo active", "echo inactive; exit 3", "echo 'no bus' >&2; exit 1"]),
    ("slurm:7", "squeue", ["echo 7 RUNNING", "echo 7 COMPLETED", "echo 'Unable to contact' >&2; exit 1"]),
];

#[test]
fn a_session_lives_while_its_holder_is_not_provably_gone() {
    let lab = Lab::plain();
    lab.ok("vfolder create alice/data");
    for (holder, tool, [alive, gone, silent]) in TABLE {
        let host = Host::new(&lab, "gpu01");
        host.tool(tool, alive);
        host.ok(&format!("session start s --user alice -m data --holder {holder}"));
        for (says, state) in [(alive, "alive"), (silent, "unknown"), ("sleep 60", "unknown"), (gone, "dead")]
        {
            host.tool(tool, says);
            let kernel = kernel(&host, "s");
            assert_eq!(kernel["state"], state, "{holder}, '{says}': {kernel}");
            assert_eq!(kernel["alive"], state != "dead", "{kernel}");
            if says == alive {
                let ours = format!("session s ({} on gpu01)", told(holder));
                host.fails(6, "vfolder delete alice/data").says(&[&ours]);
            }
        }
        // A dead session keeps neither its folder nor its name.
        host.ok("vfolder delete alice/data");
        host.ok("vfolder restore alice/data");
        host.ok("session start s --user bob");
        host.ok("session stop s");
        fs::remove_file(lab.dir().join("host-gpu01/bin").join(tool)).unwrap();
        // Without the program nothing can be said.
        host.ok(&format!("session start s --user alice --holder {holder}"));
        assert_eq!(kernel(&host, "s")["state"], "unknown", "{holder}");
        assert_eq!(host.json("session prune")["outcome"], "unchanged", "{holder}");
        host.ok("session stop s");
    }
}

fn told(holder: &str) -> String {
    let (kind, name) = holder.split_once(':').unwrap();
    let name = name.rsplit('/').next().unwrap();
    format!("{} {name}", if kind == "slurm" { "Slurm job" } else { kind })
}

#[test]
fn a_holder_that_is_known_not_to_be_there_is_refused() {
    let lab = Lab::plain();
    let host = Host::new(&lab, "gpu01");
    for (holder, tool, [_, gone, _]) in TABLE.into_iter().filter(|(holder, ..)| !holder.starts_with("slurm"))
    {
        host.tool(tool, gone);
        host.fails(3, &format!("session start s --user alice --holder {holder}")).says(&["on this host"]);
        // Nor is it looked for on this host when the kernel is on another.
        host.ok(&format!("session start s --user alice --kernel k@gpu02 --holder {holder}"));
        host.ok("session stop s");
        fs::remove_file(lab.dir().join("host-gpu01/bin").join(tool)).unwrap();
    }
    for command in ["start s", "plan"] {
        let refused = |code, options| host.fails(code, &format!("session {command} --user alice {options}"));
        refused(2, "--kernel k@gpu02 --holder pid:1").says(&["gpu02"]);
        refused(2, "--holder pid:1 --lease 1h");
        refused(2, "--lease 0");
        refused(3, "--holder pid:4194304");
    }
}

#[test]
fn the_engine_that_has_a_container_is_the_one_that_is_asked() {
    let lab = Lab::plain();
    let host = Host::new(&lab, "gpu01");
    host.tool("docker", GONE);
    host.tool("podman", RUNNING);
    host.ok("session start s --user alice --holder container:c1");
    assert_eq!(kernel(&host, "s")["holder"], json!({"kind": "container", "engine": "podman", "name": "c1"}));
    host.asked("docker");
    assert_eq!(kernel(&host, "s")["state"], "alive");
    assert_eq!(host.asked("docker"), Vec::<String>::new());
}

#[test]
fn each_program_is_asked_once_for_all_and_only_when_it_matters() {
    let lab = Lab::plain();
    lab.ok("vfolder create alice/data");
    lab.ok("vfolder create alice/other");
    let host = Host::new(&lab, "gpu01");
    for job in [1, 2, 3] {
        host.ok(&format!("session start s{job} --user alice -m data --holder slurm:{job}"));
    }
    assert_eq!(host.asked("squeue"), Vec::<String>::new(), "a prolog must not call Slurm");
    host.tool("squeue", "echo 1 COMPLETED; echo 2 COMPLETED");
    host.ok("session list");
    assert_eq!(host.asked("squeue"), ["-h --states=all -j 1,2,3 -o %A %T"]);
    // Nobody has this one mounted, and the others do not depend on an answer.
    for line in ["vfolder delete alice/other", "vfolder list", "session stop s1", "user list"] {
        host.ok(line);
        assert_eq!(host.asked("squeue"), Vec::<String>::new(), "{line}");
    }
    host.ok("vfolder delete alice/data");
    assert_eq!(host.asked("squeue"), ["-h --states=all -j 2,3 -o %A %T"]);
}

#[test]
fn prune_removes_what_is_gone_and_nothing_else() {
    let lab = Lab::plain();
    lab.ok("vfolder create alice/data");
    let host = Host::new(&lab, "gpu01");
    assert_eq!(host.json("session prune")["outcome"], "unchanged");
    let (lives, dies) = (Sleep::new(), Sleep::new());
    host.ok(&format!("session start lives --user alice --holder {}", lives.holder()));
    host.ok(&format!("session start dies --user alice -m data --holder {}", dies.holder()));
    host.ok(&format!("session start half --user alice --holder {}", lives.holder()));
    host.ok(&format!("session start half --kernel sub1 --holder {}", dies.holder()));
    host.ok("session start manual --user alice");
    host.ok("session start leased --user alice --lease 2h");
    host.ok("session start over --user alice -m data --lease 1h");
    host.ok("session start elsewhere --user alice --kernel main@gpu02");
    for job in [8, 9] {
        host.ok(&format!("session start job{job} --user bob --holder slurm:{job}"));
    }
    host.tool("squeue", "echo 9 RUNNING");
    let until = records(&lab, "sessions")["over"]["lease"]["until"].as_str().unwrap().to_owned();
    edit(&lab, &format!(r#""{until}","seconds":3600"#), r#""2020-01-01T00:00:00Z","seconds":3600"#);
    drop(dies);

    host.fails(5, "session prune --as alice");
    let before = Snapshot::of(&[&lab.root]);
    let planned = host.ok("session prune --dry-run");
    before.same_as(&Snapshot::of(&[&lab.root]), "session prune --dry-run");
    let generation = super::consistency::registry(&lab)["vfadm"]["generation"].as_u64().unwrap();
    let done = host.ok("session prune");
    let reasons = [
        "remove the kernel main of session dies: pid ",
        "end the session dies of alice: it has no kernel left",
        "remove the kernel sub1 of session half: pid ",
        "remove the kernel main of session job8: Slurm knows no job 8",
        "remove the kernel main of session over: its lease ended at 2020-01-01T00:00:00Z",
    ];
    planned.prints(&reasons);
    done.prints(&reasons);
    let left: Vec<String> = records(&lab, "sessions").into_keys().collect();
    assert_eq!(left, ["elsewhere", "half", "job9", "leased", "lives", "manual"]);
    assert_eq!(records(&lab, "sessions")["half"]["kernels"].as_array().map(Vec::len), Some(1));
    let after = super::consistency::registry(&lab)["vfadm"]["generation"].as_u64().unwrap();
    assert_eq!(after, generation + 1, "one commit for all");
    assert_eq!(host.json("session prune")["outcome"], "unchanged");
    host.ok("vfolder delete alice/data");
}

#[test]
fn a_lease_ends_a_session_and_renewing_moves_its_end() {
    let lab = Lab::plain();
    lab.ok("vfolder create alice/data");
    lab.ok("session start s --user alice -m data --lease 12h");
    let until = |lab: &Lab| lab.json("session show s")["lease_until"].as_str().unwrap().to_owned();
    let first = until(&lab);
    lab.fails(6, "vfolder delete alice/data").says(&[&format!("session s (lease until {first}")]);
    lab.ok("session list").prints(&["LEASE", "11h 59m"]);
    lab.ok("session renew s --lease 2d --as alice");
    assert!(until(&lab) > first);
    lab.fails(3, "session renew s --as bob");
    let begin = records(&lab, "sessions")["s"]["lease"].clone();
    assert_eq!(begin["seconds"], 2 * 86_400);
    edit(&lab, begin["until"].as_str().unwrap(), "2100-01-01T00:00:00Z");
    lab.ok("session renew s");
    assert!(until(&lab).as_str() < "2100", "the same length from the present on, not added to what is left");

    let mut tail = Command::new("/usr/bin/tail");
    let file = lab.path("alice/data").join("f");
    fs::write(&file, "x").unwrap();
    let tail = Sleep(tail.arg("-f").arg(&file).stdout(std::process::Stdio::null()).spawn().unwrap());
    edit(&lab, &until(&lab), "2020-01-01T00:00:00Z");
    let shown = lab.json("session show s");
    assert_eq!((&shown["state"], &shown["kernels"][0]["state"]), (&json!("dead"), &json!("dead")));
    lab.fails(4, "session renew s").says(&["ended at 2020-01-01T00:00:00Z"]);
    // The registry forgets it; whoever is still in the folder is not overlooked.
    let using = format!("pid {} (tail of root, open file)", tail.0.id());
    lab.fails(6, "vfolder delete alice/data").says(&[&using]);
    let named = format!("session s is over: user/alice/data is still used by {using}");
    lab.ok("session prune").says(&[&named]);
    drop(tail);
    lab.ok("vfolder delete alice/data");
    for (line, code) in [
        ("session start m --user alice", 0),
        ("session renew m", 4),
        ("session renew m --lease 1h", 0),
        ("session start p --user alice --holder pid:1", 0),
        ("session renew p --lease 1h", 4),
        ("session renew none", 3),
    ] {
        lab.run(line).exits(code);
    }
}

#[test]
fn a_session_of_another_host_lives_until_that_host_is_known_to_have_been_booted_again() {
    let lab = Lab::plain();
    lab.ok("vfolder create alice/data");
    let nodes = lab.root.join(".vfadm/nodes");
    fs::create_dir_all(&nodes).unwrap();
    let there = Host::new(&lab, "gpu02");
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap().trim().to_owned();
    let other = "00000000-0000-4000-8000-000000000000";
    let sleep = Sleep::new();
    for (holder, name) in
        [(sleep.holder(), "process"), ("slurm:7".to_owned(), "job"), (String::new(), "manual")]
    {
        let option = if holder.is_empty() { String::new() } else { format!("--holder {holder}") };
        there.ok(&format!("session start {name} --user alice -m data {option}"));
        for (said, state) in [
            (None, "unknown"),
            (Some("verified: {}".to_owned()), "unknown"),
            (Some(format!("boot_id: {boot}\nseen_at: 2100-01-01T00:00:00Z")), "unknown"),
            (Some(format!("boot_id: {other}\nseen_at: 2020-01-01T00:00:00Z")), "unknown"),
            (Some(format!("boot_id: {other}\nseen_at: 2100-01-01T00:00:00Z")), "dead"),
        ] {
            match &said {
                Some(text) => fs::write(nodes.join("gpu02.yaml"), text).unwrap(),
                None => drop(fs::remove_file(nodes.join("gpu02.yaml"))),
            }
            let kernel = &lab.json(&format!("session show {name}"))["kernels"][0];
            assert_eq!(kernel["state"], state, "{name}, {said:?}: {kernel}");
            if state == "dead" {
                assert_eq!(kernel["because"], "gpu02 was booted again");
                lab.ok("session prune");
                lab.fails(3, &format!("session show {name}"));
            } else {
                lab.fails(6, "vfolder delete alice/data").says(&["on gpu02"]);
                assert_eq!(lab.json("session prune")["outcome"], "unchanged");
            }
        }
    }
    // Of a kernel that was placed there by another host it is not known under which boot.
    fs::write(nodes.join("gpu02.yaml"), format!("boot_id: {other}\nseen_at: 2100-01-01T00:00:00Z")).unwrap();
    lab.ok("session start placed --user alice --kernel main@gpu02");
    assert_eq!(lab.json("session show placed")["kernels"][0]["state"], "unknown");
}

#[test]
fn what_nothing_visible_holds_ends_with_the_boot_of_its_host() {
    let lab = Lab::plain();
    lab.ok("session start s --user alice");
    lab.ok("session start leased --user alice --lease 1h");
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap().trim().to_owned();
    assert_eq!(lab.json("session prune")["outcome"], "unchanged");
    edit(&lab, &boot, "00000000-0000-4000-8000-000000000000");
    let shown = lab.json("session show leased");
    assert!(shown["kernels"][0]["because"].as_str().unwrap().ends_with(" was booted again"), "{shown}");
    let pruned = lab.json("session prune");
    assert_eq!(pruned["item"]["kind"], "SessionPrune");
    assert_eq!(pruned["item"]["removed"].as_array().map(Vec::len), Some(2), "{pruned}");
    assert_eq!(records(&lab, "sessions").len(), 0);
}

#[test]
fn sessions_recorded_by_another_version_are_read() {
    let lab = Lab::plain();
    lab.ok("session start s --user alice");
    let record = records(&lab, "sessions")["s"]["kernels"][0].clone();
    let boot = format!(r#","boot_id":{}"#, record["boot_id"]);
    edit(&lab, &boot, "");
    assert_eq!(lab.json("session show s")["kernels"][0]["state"], "unknown");
    edit(&lab, r#""holder":{"kind":"manual"}"#, r#""holder":{"kind":"manual"},"later":[1]"#);
    lab.ok("session start s --kernel sub1");
    assert_eq!(records(&lab, "sessions")["s"]["kernels"][0]["later"], json!([1]));
}

/// A container with the host's name and boot id sees other pids: it can say nothing of them.
#[test]
fn of_a_pid_of_another_namespace_nothing_is_said() {
    let lab = Lab::plain();
    let sleep = Sleep::new();
    lab.ok(&format!("session start train --user alice --holder {}", sleep.holder()));
    let mut inside = Command::new("/usr/bin/unshare");
    inside.args(["--fork", "--pid", "--mount-proc"]).arg(crate::support::vfadm());
    inside.args(["-o", "json", "session", "prune", "--dry-run"]).env("VFADM_ROOT", &lab.root);
    let out = inside.output().unwrap();
    let said: Value = serde_json::from_slice(&out.stdout).unwrap_or_else(|_| panic!("{out:?}"));
    assert_eq!(said["outcome"], "unchanged", "{said}");
    drop(sleep);
    lab.ok("session prune");
    assert_eq!(lab.json("session list")["count"], 0);
}
