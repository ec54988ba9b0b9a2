//! A kernel that refuses a call: each is an error with the kernel's words, whatever the call was for.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::support::{Lab, Output, system, vfadm, words};

/// Runs a command line under strace, which has calls fail.
fn injected(lab: &Lab, inject: &str, line: &str) -> Output {
    let calls = inject.split(':').next().unwrap();
    let mut strace = Command::new("/usr/bin/strace");
    strace.args(["-f", "-qq", "-o", "/dev/null", &format!("--trace={calls}"), &format!("--inject={inject}")]);
    strace.arg(vfadm()).args(words(line)).env_clear().env("VFADM_ROOT", &lab.root);
    Output::of(format!("{inject}: vfadm {line}"), &strace.output().expect("strace starts"))
}

/// Runs a line of a shell in which `$VFADM` is the program.
fn shell(lab: &Lab, script: &str) -> Output {
    let mut shell = Command::new("/bin/bash");
    shell.args(["-c", script]).env_clear().env("PATH", "/usr/bin:/bin").env("VFADM", vfadm());
    let out = shell.env("VFADM_ROOT", &lab.root).current_dir(lab.dir()).output().expect("a shell starts");
    Output::of(script.to_owned(), &out)
}

#[test]
fn where_no_thread_can_be_started_that_is_told() {
    let lab = Lab::plain();
    lab.ok("vfolder create alice/data");
    let mut failed = 0;
    for line in [
        "user set bob --state inactive",
        "vfolder create alice/more",
        "session start s --user alice -m data",
        "vfolder clone alice/data alice/copy",
        "vfolder transfer alice/data project/ml",
        "vfolder delete alice/data --purge --yes",
        "quota audit local",
        "check",
    ] {
        let out = injected(&lab, "clone3:error=EAGAIN", line);
        assert!(!out.stderr.contains("panicked") && out.code != 101, "{out:?}");
        let is_whole = out.code == 0 && lab.run("check").code == 0;
        assert!(is_whole || out.stderr.contains("cannot start a thread") || out.code == 10, "{out:?}");
        if out.code != 0 {
            failed += 1;
            assert!([8, 10].contains(&out.code), "{out:?}");
            let told = out.stderr.contains("cannot start a thread: Resource temporarily unavailable");
            assert!(told || out.stdout.contains("cannot start a thread"), "{out:?}");
            assert!(!out.stderr.contains("mount it"), "{out:?}");
        }
    }
    assert!(failed > 3, "{failed}");
    // A list of users that could not be written was a warning.
    lab.ok("check --repair");
    lab.ok("check").quiet();
}

#[test]
fn a_lock_that_cannot_be_taken_off_ends_with_its_file() {
    let lab = Lab::plain();
    for nth in 1..4 {
        let line = format!("user set bob --max-vfolders {nth}");
        let out = injected(&lab, &format!("flock:error=EIO:when={nth}"), &line);
        assert!(out.code == 0 || out.code == 8 && nth == 1, "{out:?}");
    }
    assert_eq!(lab.json("user show bob")["max_vfolders"], 3);
    for nth in 1..6 {
        let line = format!("vfolder create alice/n{nth}");
        let out = injected(&lab, &format!("flock:error=EIO:when={nth}"), &line);
        assert!([0, 8].contains(&out.code), "{out:?}");
    }
    lab.ok("check").quiet();
}

#[test]
fn a_limit_on_the_size_of_files_is_an_error_and_not_the_end() {
    let lab = Lab::plain();
    let before = lab.registry_text();
    shell(&lab, "ulimit -f 1; $VFADM user add x").exits(8).says(&["File too large"]);
    assert_eq!(lab.registry_text(), before);
    // What is started has the default again.
    let editor = "VISUAL='sh -c \"dd if=/dev/zero of=big bs=4k count=1 2>/dev/null\"'";
    shell(&lab, &format!("export {editor}; ulimit -f 2; $VFADM registry edit")).exits(8).says(&["editor"]);
}

#[test]
fn without_dev_null_that_is_told_and_no_volume_is_taken_for_one_that_hangs() {
    let lab = Lab::plain();
    let mut strace = Command::new("/usr/bin/strace");
    strace.args(["-f", "-qq", "-o", "/dev/null", "-P", "/dev/null", "-e", "inject=openat:error=ENOENT"]);
    strace.arg(vfadm()).arg("check").env_clear().env("VFADM_ROOT", &lab.root);
    let out = Output::of("check without /dev/null".to_owned(), &strace.output().unwrap());
    let out = out.exits(8).says(&["cannot open /dev/null: No such file or directory"]);
    assert!(!out.stderr.contains("does not answer"), "{out:?}");
}

#[test]
fn too_few_open_files_are_told_as_such() {
    let lab = Lab::plain();
    lab.ok("vfolder create alice/data");
    let mut failed = 0;
    for most in 4..14 {
        for line in ["check", "vfolder create alice/data", "session plan --user alice -m data"] {
            let out = shell(&lab, &format!("ulimit -n {most}; $VFADM {line}"));
            if ![0, 4].contains(&out.code) {
                failed += 1;
                let told = if out.code == 10 { &out.stdout } else { &out.stderr };
                assert!(told.contains("Too many open files"), "{out:?}");
                assert!(
                    out.code == 10 || out.stderr.contains("hint: let it open more files: ulimit -n"),
                    "{out:?}"
                );
                assert!(!out.stderr.contains("mount it"), "{out:?}");
            }
        }
    }
    assert!(failed > 3, "{failed}");
}

#[test]
fn who_is_not_root_is_told_so_wherever_the_registry_cannot_be_read() {
    let lab = Lab::plain();
    for dir in [lab.dir(), &lab.root] {
        system("/bin/chmod", &["755", dir.to_str().unwrap()]);
    }
    let mut command = Command::new("/usr/bin/setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(vfadm()).args(["vfolder", "list"]);
    let out = command.env("VFADM_ROOT", &lab.root).output().unwrap();
    Output::of("vfolder list as nobody".to_owned(), &out).exits(9).says(&[
        &format!("cannot open {}: Permission denied", lab.registry().display()),
        "hint: run vfadm as root",
    ]);
}

#[test]
fn a_directory_that_never_was_a_root_has_no_backups_to_list() {
    let lab = Lab::bare();
    fs::create_dir(&lab.root).unwrap();
    lab.fails(9, "registry backup --list").says(&["there is no registry at"]);
}

#[test]
fn a_working_directory_that_is_gone_is_told_with_the_path_that_was_typed() {
    let lab = Lab::plain();
    let script = "mkdir $VFADM_ROOT/gone && cd $VFADM_ROOT/gone && rmdir ../gone && $VFADM volume add q . --quota none";
    shell(&lab, script).exits(8).says(&["cannot find the absolute path of .: No such file or directory"]);
}

/// A folder of alice's with the directory `sub`.
fn with_sub(lab: &Lab) {
    lab.ok("vfolder create alice/data");
    fs::create_dir(lab.path("alice/data").join("sub")).unwrap();
}

fn is_bound(session: &str, number: usize) -> bool {
    let place = format!(" /run/vfadm/mounts/{session}/{number} ");
    fs::read_to_string("/proc/self/mountinfo").unwrap().contains(&place)
}

#[test]
fn a_kernel_that_fails_to_join_leaves_the_others_their_binds() {
    let lab = Lab::plain();
    with_sub(&lab);
    let name = format!("fails-to-join-{}", std::process::id());
    let place = Path::new("/run/vfadm/mounts").join(&name);
    let mounts = "-m alice/data/sub:/s -m alice/data/sub:/t:ro";
    lab.ok(&format!("session start {name} --user alice {mounts} --kernel main --engine docker"));
    let join = format!("session start {name} --kernel sub1 --engine docker");
    let both = || is_bound(&name, 0) && is_bound(&name, 1);
    assert!(both());
    injected(&lab, "renameat:error=EIO:when=1", &join).exits(8);
    assert!(both(), "after a commit that failed");
    let killed = injected(&lab, "renameat:signal=KILL:when=1", &join);
    assert_eq!(killed.code, 137, "{killed:?}");
    lab.ok("user set bob --max-vfolders 7");
    assert!(both(), "after a command that was killed");
    // What the failed start has bound goes, and nothing else: as on a host that has one place of two.
    system("/usr/bin/umount", &[place.join("1").to_str().unwrap()]);
    injected(&lab, "renameat:error=EIO:when=1", &join).exits(8);
    assert!(is_bound(&name, 0) && !is_bound(&name, 1));
    lab.ok(&join);
    assert!(both());
    lab.ok(&format!("session stop {name}"));
    assert!(!place.exists());
    // The first start takes all of its own away.
    let start = format!("session start {name} --user alice {mounts} --engine docker");
    injected(&lab, "renameat:error=EIO:when=2", &start).exits(8);
    assert!(!place.exists(), "{:?}", fs::read_dir(&place).unwrap().collect::<Vec<_>>());
    lab.ok("check").quiet();
}

#[test]
fn places_of_a_start_that_was_cut_off_go_on_their_own_host_only() {
    let lab = Lab::plain();
    with_sub(&lab);
    let name = format!("cut-off-{}", std::process::id());
    let start = format!("session start {name} --user alice -m alice/data/sub:/s --engine json");
    let killed = injected(&lab, "renameat:signal=KILL:when=2", &start);
    assert_eq!(killed.code, 137, "{killed:?}");
    assert!(is_bound(&name, 0));
    let intents = lab.root.join(".vfadm/intents");
    let intent = fs::read_dir(&intents).unwrap().next().unwrap().unwrap().path();
    let text = fs::read_to_string(&intent).unwrap();
    let here = fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    let host = |name: &str| format!(r#""do":"bind_place","session":"NAME","host":"{}""#, name.trim());
    let (own, other) = (host(&here).replace("NAME", &name), host("elsewhere").replace("NAME", &name));
    assert!(text.contains(&own), "{text}");
    fs::write(&intent, text.replace(&own, &other)).unwrap();
    lab.ok("user set bob --max-vfolders 7");
    assert!(is_bound(&name, 0), "another host's");
    // The registry has gone on since.
    fs::write(&intent, text.replace("\"steps\":", "\"decided\":\"undo\",\"steps\":")).unwrap();
    lab.ok("user set bob --max-vfolders 8");
    assert!(!Path::new("/run/vfadm/mounts").join(&name).exists());
}

#[test]
fn what_is_left_of_places_without_a_mark_is_seen_once_it_is_nobodys() {
    let lab = Lab::plain();
    with_sub(&lab);
    let name = format!("no-mark-{}", std::process::id());
    let place = Path::new("/run/vfadm/mounts").join(&name);
    lab.ok(&format!("session start {name} --user alice -m alice/data/sub:/s --engine json"));
    injected(&lab, "unlinkat:error=EIO:when=3", &format!("session stop {name}")).says(&["warning: "]);
    assert!(place.exists() && fs::read_dir(&place).unwrap().count() == 0, "{:?}", place);
    assert_eq!(lab.json("session prune")["outcome"], "unchanged", "it may just be made");
    system("/usr/bin/touch", &["-d", "2 minutes ago", place.to_str().unwrap()]);
    lab.ok("session prune");
    assert!(!place.exists());
}

#[test]
fn a_folder_that_comes_by_itself_stays_away_with_a_word_or_the_session_does() {
    let lab = Lab::plain();
    lab.ok("vfolder create alice/.aa");
    lab.ok("volume block-mount local");
    let word = "warning: user/alice/.aa is not mounted: ";
    lab.ok("session start s --user alice").says(&[word, "mount"]);
    let told = lab.ok("session start t --user alice --engine json").says(&[word]);
    assert!(!told.stdout.contains(".aa"), "{told:?}");
    lab.session("alice", "", "true").exits(0).says(&[word]);
    lab.ok("volume allow-mount local");
    lab.ok("session start u --user alice").quiet();
    lab.ok("vfolder create alice/.bb");
    lab.ok("vfolder delete alice/.bb");
    lab.ok("session start v --user alice").quiet();
    // What could not be looked at is no reason to leave it out.
    let before = lab.registry_text();
    let mut strace = Command::new("/usr/bin/strace");
    strace.args([
        "-f",
        "-qq",
        "-o",
        "/dev/null",
        "-P",
        "/proc/self/mountinfo",
        "-e",
        "inject=openat:error=EIO",
    ]);
    strace.arg(vfadm()).args(["session", "start", "w", "--user", "alice"]).env("VFADM_ROOT", &lab.root);
    let out = Output::of("session start w".to_owned(), &strace.output().unwrap());
    out.exits(8).says(&["Input/output error"]);
    assert_eq!(lab.registry_text(), before);
}

#[test]
fn a_subpath_that_cannot_be_opened_is_told_in_the_kernels_words() {
    let lab = Lab::plain();
    with_sub(&lab);
    let plan = "session plan --user alice -m alice/data/sub:/s";
    for (error, words) in
        [("EMFILE", "Too many open files"), ("EACCES", "Permission denied"), ("EIO", "Input/output error")]
    {
        let mut refused = 0;
        for nth in 1..8 {
            let out = injected(&lab, &format!("openat2:error={error}:when={nth}"), plan);
            assert!(!out.stderr.contains("passes through a link"), "{out:?}");
            if out.code != 0 {
                out.exits(8).says(&[words]);
                refused += 1;
            }
        }
        assert!(refused > 1, "{error}");
    }
    lab.fails(2, "session plan --user alice -m alice/data/sub/../../..:/s");
    std::os::unix::fs::symlink("/etc", lab.path("alice/data").join("link")).unwrap();
    lab.fails(2, "session plan --user alice -m alice/data/link:/s")
        .says(&["passes through a link, or leaves the folder"]);
}
