//! A call that fails instead of a kill: a full disk, a broken disk, a full quota. The command ends with an error and the state
//! is as before, or it does its work all the same; it is never half done.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;

use serde_json::Value;

use super::cases::{CLONE_CASES, Case, FOLDER_CASES, QUOTA_CASES, TRANSFER_CASES};
use super::{arrange, inject, points, traced};
use crate::suite::consistency::{assert_whole, kernel_matches_registry, no_intents, records};
use crate::support::{Lab, Output};

/// What a call answers, and the words for it.
pub(super) const ERRORS: [(&str, &str); 3] =
    [("ENOSPC", "No space left on device"), ("EIO", "Input/output error"), ("EDQUOT", "Disk quota exceeded")];

/// Calls that a filesystem can refuse so.
pub(super) const REFUSABLE: &str = "open openat openat2 creat write writev pwrite64 pwritev pwritev2 rename renameat renameat2 mkdir \
    mkdirat link linkat symlink symlinkat unlink unlinkat rmdir mknod mknodat fsync fdatasync syncfs chmod fchmod fchmodat \
    fchmodat2 chown fchown lchown fchownat truncate ftruncate fallocate copy_file_range setxattr lsetxattr fsetxattr \
    removexattr utimensat ioctl";

/// Of so many calls one is tried, unless `VFADM_CRASH` is set. No multiple of the number of errors.
pub(super) const SAMPLE: usize = 4;

/// All that an acknowledged change is in.
fn state(lab: &Lab) -> BTreeMap<&'static str, BTreeMap<String, Value>> {
    ["users", "projects", "volumes", "scopes", "vfolders"]
        .map(|section| (section, records(lab, section)))
        .into()
}

fn fail_everywhere(lab: &Lab, case: &Case) {
    let trace = lab.dir().join("trace");
    for _ in 0..2 {
        arrange(lab, case);
        traced(lab, &trace, &[], case.command).exits(0);
    }
    let text = fs::read_to_string(&trace).expect("a trace");
    let step = if std::env::var_os("VFADM_CRASH").is_some() { 1 } else { SAMPLE };
    let (mut tried, mut refused) = (0, 0);
    for (at, (call, nth)) in points(&text).into_iter().enumerate().step_by(step) {
        if !REFUSABLE.split_whitespace().any(|name| name == call) {
            continue;
        }
        let (errno, words) = ERRORS[at % ERRORS.len()];
        arrange(lab, case);
        let before = state(lab);
        let options = inject(&call, &format!("error={errno}"), nth);
        let out = traced(lab, &trace, &options, case.command);
        let at = format!("{}, {errno} at {call} number {nth}", case.name);
        tried += 1;
        assert!(!out.stderr.contains("panicked") && out.code != 101, "{at}");
        if out.code != 0 {
            refused += 1;
            told(&out, words, &at);
        }
        // What could not be undone is, by the next command.
        assert_eq!(lab.run("user set bob --state active").code, 0, "{at}: the next command");
        let in_force = out.stderr.contains("the change is in force");
        if out.code != 0 && !case.long {
            assert_eq!(state(lab) == before, !in_force, "{at}: the state is as before");
        }
        let again = lab.run(case.command);
        assert!(case.again.contains(&again.code), "{at}: the same command again: {again:?}");
        // A sidecar that could not be written was a warning.
        if lab.run("check").code != 0 {
            assert!(out.code != 0 || out.stderr.contains("warning: could not"), "{at}");
            let repaired = lab.run("check --repair --yes");
            assert_eq!(repaired.code, 0, "{at}: {repaired:?}");
            assert_eq!(lab.run("check").code, 0, "{at}: after a repair");
        }
        no_intents(lab, &at);
        assert_whole(lab, &at);
        kernel_matches_registry(lab, &at);
        if let Some((key, _)) = case.kept {
            lab.ok(&format!("vfolder restore {key}"));
            let kept = fs::read_to_string(lab.path(key).join("below/kept"));
            assert_eq!(kept.ok().as_deref(), Some("kept"), "{at}: the tenant's data");
        }
    }
    let _ = writeln!(std::io::stdout(), "{}: {tried} calls failed, {refused} of them ended it", case.name);
    assert!(refused * SAMPLE > 10, "{}: {refused} of {tried} failures were noticed", case.name);
}

/// A sentence with the kernel's words, or with the tool that kept them to itself, and an exit code for it.
pub(super) fn told(out: &Output, words: &str, at: &str) {
    // 1: what was done could not be printed.
    assert!([1, 8, 9].contains(&out.code), "{at}: {out:?}");
    let known = out.stderr.contains(words) || out.stderr.contains("' failed with exit status ");
    assert!(out.stderr.contains("error: ") && known, "{at}: {out:?}");
}

#[test]
fn what_fails_is_told_and_undone_on_a_plain_directory() {
    let lab = Lab::plain();
    fs::create_dir(lab.dir().join("second")).unwrap();
    lab.ok(&format!("volume add second {} --quota none", lab.dir().join("second").display()));
    lab.ok("volume set local --default");
    for case in FOLDER_CASES.iter().chain(TRANSFER_CASES).chain(CLONE_CASES) {
        fail_everywhere(&lab, case);
    }
}

#[test]
fn what_fails_is_told_and_undone_on_btrfs() {
    let lab = Lab::btrfs();
    for case in QUOTA_CASES {
        fail_everywhere(&lab, case);
    }
    lab.ok("user set alice --default-quota 48m");
    lab.ok("user set bob --default-quota 32m");
    for case in FOLDER_CASES.iter().chain(&TRANSFER_CASES[..1]).chain(CLONE_CASES) {
        fail_everywhere(&lab, case);
    }
}
