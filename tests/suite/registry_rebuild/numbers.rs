//! The number that a quota scope has in the kernel, where its sidecar is lost too.

use std::fs;

use crate::support::{Lab, kernel_limits};

use super::{lose, records, sidecar};

#[test]
fn a_scope_without_a_sidecar_gets_the_number_that_its_folders_are_charged_to() {
    let lab = Lab::btrfs();
    lab.ok("vfolder create alice/data --quota-init 32m");
    let before = records(&lab, "scopes")["user/alice@local"].clone();
    let limits = kernel_limits(&lab.volume);
    let scope = sidecar(&lab, "user/alice/data").with_file_name("scope.yaml");
    fs::remove_file(&scope).unwrap();
    lose(&lab);
    lab.ok("registry rebuild --yes").says(&["user/alice@local has no sidecar that can be read"]);
    let after = records(&lab, "scopes")["user/alice@local"].clone();
    assert_eq!((&after["kernel_id"], &after["limit"]), (&before["kernel_id"], &before["limit"]));
    assert_eq!(kernel_limits(&lab.volume), limits);
    lab.ok("check").quiet();
    lab.ok("quota set alice 48m");
    lab.ok("vfolder create alice/more");
    // A check records it by the same number.
    fs::remove_file(&scope).unwrap();
    let text = lab.registry_text();
    let kept =
        text.lines().filter(|line| !["user/alice@local", "user/alice/"].iter().any(|key| line.contains(key)));
    fs::write(lab.registry(), kept.map(|line| format!("{line}\n")).collect::<String>()).unwrap();
    lab.ok("check --repair");
    assert_eq!(records(&lab, "scopes")["user/alice@local"]["kernel_id"], before["kernel_id"]);
    assert_eq!(lab.folder("alice/data", "status"), "ready");
    lab.run("check --repair");
    lab.ok("quota set alice 64m");
}
