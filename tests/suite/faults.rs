//! A kernel that refuses a call: each is an error with the kernel's words, whatever the call was for.

use std::fs;
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
        if out.code != 0 {
            failed += 1;
            assert!([8, 10].contains(&out.code), "{out:?}");
            let told = out.stderr.contains("cannot start a thread: Resource temporarily unavailable");
            assert!(told || out.stdout.contains("cannot start a thread"), "{out:?}");
            assert!(!out.stderr.contains("not mounted"), "{out:?}");
        }
    }
    assert!(failed > 3, "{failed}");
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
