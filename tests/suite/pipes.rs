//! From cron, through pipes, with a closed stdout.

use std::process::{Command, Stdio};

use crate::support::{Lab, Output, VFADM};

fn shell(lab: &Lab, script: &str) -> Output {
    let mut shell = Command::new("/bin/bash");
    shell.env_clear().env("VFADM", VFADM).env("VFADM_ROOT", &lab.root).env("PATH", "/usr/bin:/bin");
    let out =
        shell.args(["-c", &format!("set -o pipefail; {script}")]).stdin(Stdio::null()).output().unwrap();
    Output::of(script.to_owned(), &out)
}

#[test]
fn an_empty_environment_is_enough() {
    let lab = Lab::btrfs();
    for line in [
        "user add carol",
        "vfolder create carol/data --quota-init 8m",
        "session run --user carol -m data -- /bin/true",
        "quota set carol 16m",
        "vfolder delete carol/data --purge --yes",
        "vfolder list",
    ] {
        let mut command = Command::new("/usr/bin/env");
        command.arg("-i").arg(VFADM).arg("--root").arg(&lab.root).args(line.split(' ')).stdin(Stdio::null());
        Output::of(line.to_owned(), &command.output().unwrap()).exits(0);
    }
}

#[test]
fn a_reader_that_goes_early_is_no_failure_to_shout_about() {
    let lab = Lab::plain();
    for n in 0..60 {
        lab.ok(&format!("vfolder create alice/folder-{n}"));
    }
    for line in [
        "vfolder list",
        "-o json vfolder list",
        "-o yaml vfolder list",
        "--help",
        "completions bash",
        "registry show",
    ] {
        let out = shell(&lab, &format!("set +o pipefail; \"$VFADM\" {line} | head -n 1 >/dev/null"));
        assert_eq!((out.code, out.stderr.as_str()), (0, ""), "{line}");
    }
}

#[test]
fn a_stdout_that_cannot_be_written_is_a_failure() {
    let lab = Lab::plain();
    lab.ok("vfolder create alice/data");
    let full = shell(&lab, "\"$VFADM\" vfolder list > /dev/full");
    assert_eq!(full.code, 1, "{full:?}");
    assert!(!full.stderr.contains("panicked"), "{full:?}");
    for line in ["--help", "--version", "vfolder --help", "completions bash", "registry schema"] {
        let full = shell(&lab, &format!("\"$VFADM\" {line} > /dev/full"));
        assert!(full.code == 1 && full.stderr.contains("No space left on device"), "{full:?}");
    }
    let closed = shell(&lab, "\"$VFADM\" vfolder list >&-");
    assert!(!closed.stderr.contains("panicked"), "{closed:?}");
}

#[test]
fn a_change_counts_though_nobody_reads_that_it_was_made() {
    let lab = Lab::plain();
    for (name, script) in [("closed", ">&- 2>&-"), ("piped", "| true")] {
        shell(&lab, &format!("\"$VFADM\" vfolder create alice/{name} {script}"));
        lab.ok(&format!("vfolder show alice/{name}"));
    }
    lab.ok("registry check");
}

#[test]
fn data_goes_to_stdout_and_talk_to_stderr() {
    let lab = Lab::plain();
    lab.ok("vfolder create alice/data");
    for line in ["vfolder list", "user list", "volume list", "quota show", "vfolder usage --all"] {
        lab.ok(line).quiet();
    }
    // That there is nothing is talk.
    for line in ["session list", "trash list"] {
        assert_eq!(lab.ok(line).stdout, "", "{line}");
        lab.ok(&format!("-o json {line}")).quiet();
    }
    let out = lab.fails(3, "vfolder show alice/none");
    assert_eq!(out.stdout, "");
    lab.ok("--quiet vfolder create alice/more").quiet();
}
