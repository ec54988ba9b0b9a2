//! What is on a volume, and not in the registry: after a backup was brought back, or records were lost.

use std::fs;
use std::os::unix::fs::symlink;

use crate::suite::check::{codes, forget, items, populated, scope_of, sidecar, site};
use crate::suite::consistency::{assert_whole, no_intents, records};
use crate::support::{Lab, kernel_limits, system};

/// An undo would take what the scope holds with it.
#[test]
fn a_scope_that_the_registry_does_not_know_is_not_made_but_recorded() {
    for lab in [Lab::plain(), Lab::btrfs()] {
        let before = lab.dir().join("before.yaml");
        lab.ok(&format!("registry backup {}", before.display()));
        lab.ok("vfolder create alice/empty");
        lab.ok("vfolder share alice/empty --with bob --perm rw");
        lab.ok("vfolder create alice/full");
        fs::write(lab.path("alice/full").join("f"), "kept").unwrap();
        lab.ok(&format!("registry restore {} --yes", before.display()));
        lab.fails(8, "vfolder create alice/new")
            .says(&["is there already", "hint: vfadm check --repair records it again"]);
        no_intents(&lab, "a refusal");
        lab.ok("check --repair");
        lab.ok("vfolder create alice/new");
        assert_eq!(lab.json("vfolder show alice/empty")["shares"][0]["user"], "bob");
        assert_eq!(fs::read_to_string(lab.path("alice/full").join("f")).unwrap(), "kept");
        assert_whole(&lab, "in the end");
    }
}

#[test]
fn of_one_that_is_there_twice_none_is_recorded() {
    let lab = site();
    let (home, digits) = (lab.path("alice/data"), super::super::check::digits(&lab, "alice/data"));
    let copy = scope_of(&lab, "alice/data").join(".trash").join(digits);
    system("/bin/cp", &["-a", home.to_str().unwrap(), copy.to_str().unwrap()]);
    forget(&lab, "user/alice/data");
    lab.run("--yes check --repair").exits(10).says(&["it is at several places"]);
    assert_eq!(codes(&lab), ["vfolder_unrecorded", "vfolder_unrecorded"]);
    assert!(home.join("kept").exists() && copy.join("kept").exists());
    fs::remove_dir_all(copy).unwrap();
    lab.ok("check --repair");
    assert_eq!(lab.json("vfolder show alice/data")["shares"][0]["user"], "bob");
}

/// It is all that is known of a folder that lies in another scope.
#[test]
fn a_sidecar_of_what_lies_elsewhere_on_the_volume_stays() {
    let lab = site();
    lab.ok("vfolder create bob/other");
    let (note, from) = (sidecar(&lab, "alice/data"), lab.path("alice/data"));
    let below = from.strip_prefix(scope_of(&lab, "alice/data")).unwrap().to_owned();
    let to = scope_of(&lab, "bob/other").join(below);
    fs::create_dir_all(to.parent().unwrap()).unwrap();
    fs::rename(&from, &to).unwrap();
    for above in to.ancestors().skip(1).take(2) {
        system("/bin/chmod", &["700", above.to_str().unwrap()]);
    }
    forget(&lab, "user/alice/data");
    lab.run("check --repair");
    assert!(note.exists());
}

#[test]
fn a_limit_that_only_the_storage_knows_is_recorded_with_its_scope() {
    let lab = populated(Lab::btrfs());
    lab.ok("quota set alice 64m");
    let limits = kernel_limits(&lab.volume);
    let notes = sidecar(&lab, "alice/data").parent().unwrap().to_owned();
    for key in ["user/alice/data", "user/alice/old", "user/alice@local"] {
        forget(&lab, key);
    }
    fs::remove_dir_all(notes).unwrap();
    let _ = lab.run("check --repair --yes");
    assert_eq!(kernel_limits(&lab.volume), limits);
    assert_eq!(records(&lab, "scopes")["user/alice@local"]["limit"], 64 << 20);
}

#[test]
fn a_link_in_the_place_of_a_scope_is_told() {
    let lab = site();
    let scope = scope_of(&lab, "project/ml/sets");
    fs::rename(&scope, lab.dir().join("away")).unwrap();
    symlink(lab.dir().join("away"), &scope).unwrap();
    for key in ["project/ml/sets", "project/ml@local"] {
        forget(&lab, key);
    }
    let out = lab.run("-o json check").exits(10).json();
    let told = |finding: &serde_json::Value| finding["message"] == "is in the place of a quota scope";
    assert!(items(&out).iter().any(told), "{out:#}");
    lab.fails(8, "vfolder create project/ml/new").says(&["is there already"]);
}
