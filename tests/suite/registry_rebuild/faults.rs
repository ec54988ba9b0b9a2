//! Storage that hands out a part of what is on it: a rebuild does not take that for all.

use std::fs;
use std::path::Path;

use crate::suite::crash::traced;
use crate::support::{Lab, Output};

use super::{all, lose, rebuild, records, registry, replace, sidecar, small};

/// Runs a command of which the `nth` call of a name fails in each of its processes; `None` where it makes fewer.
fn failing(lab: &Lab, line: &str, call: &str, nth: usize) -> Option<Output> {
    let options = [format!("--trace={call}"), format!("--inject={call}:error=EIO:when={nth}")];
    let file = lab.dir().join("trace");
    let out = traced(lab, &file, &options, line);
    fs::read_to_string(file).unwrap().contains("(INJECTED)").then_some(out)
}

/// A lab with users and a project that only the list knows.
fn listed() -> Lab {
    let lab = small();
    lab.ok("user add unseen --max-vfolders 3");
    lab.ok("project add chem");
    lab.ok("project add-member chem unseen");
    lab
}

#[test]
fn a_call_that_fails_makes_no_poorer_registry() {
    let lab = listed();
    let before = all(&lab);
    let list = lab.volume.join(".vfadm/registry.yaml");
    let mut refused = 0;
    for call in ["read", "openat", "openat2", "getdents64"] {
        for nth in 1.. {
            if lab.registry().exists() {
                lose(&lab);
            }
            let Some(out) = failing(&lab, "registry rebuild --yes", call, nth) else { break };
            let at = format!("{call} number {nth}: {out:?}");
            if lab.registry().exists() {
                assert_eq!(all(&lab), before, "{at}");
            } else {
                assert_ne!(out.code, 0, "{at}");
            }
            refused += usize::from(out.stderr.contains("could not be read whole"));
            assert!(fs::read_to_string(&list).unwrap().contains("\"unseen\""), "{at}");
        }
    }
    assert!(refused > 5, "{refused}");
}

/// Runs a command for which all calls of a name fail on what is open at a path.
fn failing_at(lab: &Lab, line: &str, call: &str, path: &Path) -> Output {
    let options = [
        format!("--trace-path={}", path.display()),
        format!("--inject={call}:error=EIO"),
        format!("--trace={call}"),
    ];
    traced(lab, &lab.dir().join("trace"), &options, line)
}

#[test]
fn a_volume_that_is_read_in_part_is_refused_and_force_goes_on() {
    let lab = listed();
    let list = lab.volume.join(".vfadm/registry.yaml");
    let whole = fs::read(&list).unwrap();
    let folder = lab.path("alice/data");
    let above: Vec<_> = folder.ancestors().skip(1).take(3).collect();
    let sidecar = sidecar(&lab, "user/alice/data");
    lose(&lab);
    let partly =
        format!("the volume 'local' at {} could not be read whole: cannot read ", lab.volume.display());
    let hint =
        "see to its filesystem, then try again; --force goes on with what can be read, and forgets the rest";
    for (call, path) in above.into_iter().map(|dir| ("getdents64", dir)).chain([
        ("getdents64", sidecar.parent().unwrap()),
        ("read", &sidecar),
        ("read", &list),
    ]) {
        failing_at(&lab, "registry rebuild --yes", call, path)
            .exits(8)
            .says(&[&format!("{partly}{}: Input/output error", path.display()), hint]);
        assert!(!lab.registry().exists());
        assert_eq!(fs::read(&list).unwrap(), whole);
    }
    let out = failing_at(&lab, "registry rebuild --yes --force", "read", &list).exits(0).says(&[
        &format!("{partly}{}: Input/output error", list.display()),
        "the list of users and projects that could not be read is kept: ",
    ]);
    assert_eq!(records(&lab, "users").into_keys().collect::<Vec<_>>(), ["alice", "bob"]);
    let kept = out.stderr.lines().find_map(|line| line.split_once(" could not be read is kept: "));
    assert_eq!(fs::read(kept.unwrap().1).unwrap(), whole);
}

#[test]
fn a_marker_that_the_storage_does_not_hand_out_may_be_a_volumes() {
    let lab = listed();
    let aside = lab.root.join("aside");
    fs::create_dir(&aside).unwrap();
    lab.ok(&format!("volume add aside {} --quota none", aside.display()));
    for volume in [&lab.volume, &aside] {
        let _ = fs::remove_file(volume.join(".vfadm/registry.yaml"));
    }
    lose(&lab);
    let marker = aside.join(".vfadm-volume.yaml");
    failing_at(&lab, "registry rebuild --yes", "read", &marker)
        .exits(8)
        .says(&[&format!("cannot read {}: Input/output error: a volume may be there", marker.display())]);
    failing_at(&lab, "registry rebuild --yes --force", "read", &marker).exits(0);
    assert_eq!(records(&lab, "volumes").into_keys().collect::<Vec<_>>(), ["local"]);
}

#[test]
fn a_list_that_means_nothing_is_kept_beside_the_new_one() {
    let lab = listed();
    let list = lab.volume.join(".vfadm/registry.yaml");
    let spoiled = fs::read_to_string(&list).unwrap().replace("end:", "fin:");
    fs::write(&list, &spoiled).unwrap();
    lose(&lab);
    let out = lab.ok("registry rebuild --yes");
    let kept = out.stderr.lines().find_map(|line| line.split_once(" could not be read is kept: "));
    assert_eq!(fs::read_to_string(kept.expect("a path").1).unwrap(), spoiled);
    lab.ok("check").quiet();
}

#[test]
fn a_generation_that_cannot_be_counts_as_none() {
    let lab = small();
    let before = records(&lab, "vfolders");
    let key = before.keys().next().unwrap().clone();
    let (from, to) = ("generation: ", "generation: 18446744073709551615 # ");
    for file in [sidecar(&lab, &key), lab.volume.join(".vfadm-volume.yaml")] {
        replace(&file, from, to);
    }
    lab.run("check").says(&[]);
    lose(&lab);
    rebuild(&lab).says(&["has the generation 18446744073709551615, which cannot be: it counts as 0"]);
    assert_eq!(records(&lab, "vfolders"), before);
    assert!(registry(&lab)["vfadm"]["generation"].as_u64().unwrap() < 100);
}
