//! `session run` as seen from inside, by somebody who wants out.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::process::{Command, Stdio};

use crate::support::{Lab, SHARED_ID, VFADM, system, wait_until};

fn lab() -> Lab {
    let lab = Lab::btrfs();
    for folder in ["alice/data", "alice/.config", "alice/hidden", "bob/secret"] {
        lab.ok(&format!("vfolder create {folder}"));
        fs::write(lab.path(folder).join("mark"), folder).unwrap();
        fs::set_permissions(lab.path(folder).join("mark"), fs::Permissions::from_mode(0o666)).unwrap();
    }
    lab
}

#[test]
fn the_plan_is_there_and_read_only_is_read_only() {
    let lab = lab();
    let script = "cat /w/mark .config/mark; touch /w/new; echo $?; echo more > .config/new; pwd; echo $HOME";
    let out = lab.session("alice", "-m data:/w:ro", script).exits(0).says(&["Read-only file system"]);
    assert_eq!(out.stdout, "alice/dataalice/.config1\n/home/work\n/home/work\n");
    let made = fs::metadata(lab.path("alice/.config").join("new")).unwrap();
    assert_eq!((made.uid(), made.gid()), (SHARED_ID, SHARED_ID));
}

#[test]
fn nothing_of_the_volumes_but_the_plan_is_reachable() {
    let lab = lab();
    let root = lab.root.display();
    let volume = lab.volume.display();
    let script = format!(
        "find / -xdev -name mark 2>/dev/null; find / -name mark 2>/dev/null | sort -u; ls {root} {volume} 2>/dev/null; true"
    );
    let out = lab.session("alice", "-m data:/w", &script).exits(0);
    let found: BTreeSet<&str> = out.stdout.lines().collect();
    assert_eq!(found, BTreeSet::from(["/home/work/.config/mark", "/w/mark"]));
}

#[test]
fn a_plain_volume_on_the_hosts_own_filesystem_is_hidden_too() {
    let lab = Lab::plain();
    // Not in memory but on `/`, of which the session's root is made.
    let dir = tempfile::Builder::new().prefix("vfadm-test-").tempdir_in("/opt").unwrap();
    lab.ok(&format!("volume add opt {} --quota none", dir.path().display()));
    for folder in ["alice/data", "bob/secret"] {
        lab.ok(&format!("vfolder create {folder} --volume opt"));
        fs::write(lab.path(folder).join("mark"), folder).unwrap();
    }
    let script = format!(
        "find / -name mark 2>/dev/null; cat {}/mark; ls -A {}",
        lab.path("bob/secret").display(),
        dir.path().display()
    );
    let out = lab.session("alice", "-m data", &script);
    assert_eq!(out.stdout.lines().collect::<Vec<_>>(), ["/home/work/data/mark"], "{out:?}");
}

#[test]
fn the_process_has_no_privileges() {
    let lab = lab();
    let out = lab.session("alice", "", "cat /proc/self/status; id").exits(0);
    let field = |name: &str| {
        let line = out.stdout.lines().find(|l| l.starts_with(&format!("{name}:"))).expect(name);
        line.split_once(':').unwrap().1.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        assert_eq!(field(set), "0000000000000000", "{set}");
    }
    assert_eq!(field("NoNewPrivs"), "1");
    assert_eq!(field("Groups"), "");
    assert_eq!(field("Uid"), [SHARED_ID; 4].map(|id| id.to_string()).join(" "));
    assert_eq!(field("Gid"), [SHARED_ID; 4].map(|id| id.to_string()).join(" "));
}

#[test]
fn set_user_id_and_device_files_in_a_folder_have_no_power() {
    let lab = lab();
    let path = lab.path("alice/data");
    fs::copy("/usr/bin/id", path.join("id")).unwrap();
    fs::set_permissions(path.join("id"), fs::Permissions::from_mode(0o4755)).unwrap();
    system("/usr/bin/mknod", &["-m", "666", path.join("zero").to_str().unwrap(), "c", "1", "5"]);
    let out = lab.session("alice", "-m data:/w", "/w/id -u; head -c1 /w/zero; echo $?").exits(0);
    assert_eq!(out.stdout, format!("{SHARED_ID}\n1\n"), "{out:?}");
}

#[test]
fn no_descriptor_of_vfadm_is_inherited() {
    let lab = lab();
    let out = lab.session("alice", "-m data", "exec ls -l /proc/self/fd").exits(0);
    let open: Vec<&str> = out.stdout.lines().filter(|l| l.contains("->") && !l.contains("/proc/")).collect();
    assert_eq!(open.len(), 3, "{open:#?}");
}

#[test]
fn one_session_cannot_reach_another() {
    let lab = lab();
    let mut victim = lab.session_in_background("victim", "--user bob -m secret:/s");
    assert_eq!(victim.ask("cat /s/mark; echo"), "bob/secret");
    assert_eq!(victim.ask("echo private > /tmp/t; echo private > /dev/shm/t; echo done"), "done");
    let pid = victim.pid();
    let script = format!(
        "for p in /proc/[0-9]*; do cat $p/root/s/mark $p/cwd/mark 2>/dev/null; done
         cat /proc/{pid}/root/s/mark 2>/dev/null
         kill -0 {pid} 2>/dev/null && echo reached
         kill -9 -1 2>/dev/null
         cat /tmp/t /dev/shm/t 2>/dev/null
         ls /proc | grep -c '^[0-9]'"
    );
    let attack = lab.session("alice", "-m data", &script);
    assert!(!attack.stdout.contains("secret") && !attack.stdout.contains("reached"), "{attack:?}");
    assert!(!attack.stdout.contains("private"), "{attack:?}");
    assert_eq!(victim.ask("echo alive"), "alive");
    victim.end().exits(0);
}

#[test]
fn a_mount_of_the_host_can_be_unmounted_while_a_session_runs() {
    let lab = lab();
    let other = lab.second("other", "ext4", 32 << 20);
    let mut session = lab.session_in_background("s", "--user alice -m data:/w");
    other.detach();
    assert_eq!(session.ask("cat /w/mark; echo"), "alice/data");
    let images = system("/usr/sbin/losetup", &["-a"]);
    assert!(
        !images.contains(lab.dir().join("other.img").to_str().unwrap()),
        "the loop device is held: {images}"
    );
    session.end().exits(0);
}

#[test]
fn targets_that_are_missing_do_not_appear_on_the_host() {
    let lab = lab();
    let target = format!("/vfadm-test-{}/deep/er", std::process::id());
    lab.session("alice", &format!("-m data:{target}"), &format!("cat {target}/mark; touch /home/work/x"))
        .exits(0);
    assert!(!std::path::Path::new(&target).ancestors().nth(2).unwrap().exists());
    assert!(!std::path::Path::new("/home/work/x").exists());
}

#[test]
fn another_root_stays_byte_for_byte_as_it_was() {
    let lab = lab();
    let rootfs = lab.dir().join("rootfs");
    fs::create_dir_all(rootfs.join("bin")).unwrap();
    fs::copy("/bin/busybox", rootfs.join("bin/busybox")).unwrap();
    for tool in ["sh", "cat", "touch", "ls", "id"] {
        std::os::unix::fs::symlink("busybox", rootfs.join("bin").join(tool)).unwrap();
    }
    let before = crate::support::Snapshot::of(&[&rootfs]);
    let options = format!("-m data:/w --rootfs {}", rootfs.display());
    let out = lab.session("alice", &options, "cat /w/mark; touch /tmp/x /home/work/x; id -u; ls /").exits(0);
    assert!(out.stdout.starts_with(&format!("alice/data{SHARED_ID}\n")), "{out:?}");
    assert!(!out.stdout.lines().any(|l| l == "usr" || l == "opt"), "the host's root shows: {out:?}");
    before.same_as(&crate::support::Snapshot::of(&[&rootfs]), "a session");
}

#[test]
fn the_exit_status_is_the_commands() {
    let lab = lab();
    for (script, code) in
        [("exit 0", 0), ("exit 1", 1), ("exit 42", 42), ("kill -TERM $$", 143), ("kill -9 $$", 137)]
    {
        lab.session("alice", "", script).exits(code);
    }
    for (command, code) in [("/nonexistent", 127), ("no-such-command", 127), ("/etc/passwd", 126)] {
        lab.run_args(&["session", "run", "--user", "alice", "--", command]).exits(code);
    }
    assert_eq!(lab.json("session list")["count"], 0, "the records are gone with the sessions");
}

#[test]
fn signals_are_passed_on() {
    let lab = lab();
    let mut command = lab.command(["session", "run", "s", "--user", "alice", "--", "/bin/sh", "-c"]);
    command.arg("trap 'echo caught; exit 9' TERM; echo ready; while :; do sleep 0.05; done");
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut stdout = std::io::BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    std::io::BufRead::read_line(&mut stdout, &mut line).unwrap();
    assert_eq!(line, "ready\n");
    system("/bin/kill", &["-TERM", &child.id().to_string()]);
    std::io::BufRead::read_line(&mut stdout, &mut line).unwrap();
    assert_eq!(line, "ready\ncaught\n");
    assert_eq!(child.wait().unwrap().code(), Some(9));
    lab.fails(3, "session show s");
}

#[test]
fn a_supervisor_that_is_killed_takes_the_session_along() {
    let lab = lab();
    let mut session = lab.session_in_background("s", "--user alice -m data:/w");
    let pid = session.pid();
    session.child.kill().unwrap();
    wait_until("the session has ended", || !std::path::Path::new(&format!("/proc/{pid}")).exists());
    lab.ok("vfolder delete alice/data");
}

#[test]
fn in_a_user_namespace_the_session_is_the_same_uid() {
    let lab = lab();
    let out = lab
        .session("alice", "-m data:/w --userns", "id -u; id -g; echo x > /w/f; cat /proc/self/uid_map")
        .exits(0);
    let map: Vec<&str> = out.stdout.lines().nth(2).unwrap_or_default().split_whitespace().collect();
    let id = SHARED_ID.to_string();
    assert_eq!(map, [&id, &id, "1"]);
    assert_eq!(fs::metadata(lab.path("alice/data").join("f")).unwrap().uid(), SHARED_ID);
}

#[test]
fn a_shell_on_a_terminal_has_job_control() {
    let lab = lab();
    let typed = format!(
        "{VFADM} --root {} session run --user alice -- /bin/sh -ic 'tty; echo in $PPID'",
        lab.root.display()
    );
    let out = Command::new("/usr/bin/script")
        .args(["-qec", &typed, "/dev/null"])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&out.stdout).into_owned();
    assert!(out.status.success() && said.contains("in 1"), "{said}");
    assert!(!said.contains("job control"), "{said}");
}
