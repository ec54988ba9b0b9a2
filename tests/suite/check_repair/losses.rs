//! What is lost by a repair is told first, and agreed to.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::json;

use crate::suite::check::{DAMAGES, codes, items, left, populated, scope_of, site};
use crate::suite::consistency::{records_of, registry};
use crate::support::{Lab, system};

/// All that is lost is told before anybody agrees to it; should the directory come back, the records can too.
#[test]
fn of_a_scope_that_was_moved_away_nothing_is_lost_unseen() {
    for lab in [site(), populated(Lab::btrfs())] {
        let scope = scope_of(&lab, "alice/data");
        let away = lab.volume.join("was");
        let before = lab.registry_text();
        let generation = registry(&lab)["vfadm"]["generation"].clone();
        fs::rename(&scope, &away).unwrap();
        let lost = ["scope_missing", "vfolder_missing", "vfolder_missing"];
        assert_eq!(codes(&lab), lost);
        let out = lab.run("-o json check --repair");
        assert_eq!((out.code, left(&out)), (10, lost.map(str::to_owned).to_vec()), "{out:?}");
        assert!(items(&out.json()).iter().all(|finding| finding["loses_data"] == true), "{out:?}");
        let out = lab.run("--yes check --repair --dry-run");
        assert!(out.stdout.contains("alice/data") && out.stdout.contains("alice/old"), "{out:?}");
        assert_eq!(lab.registry_text(), before);
        assert!(!scope.exists());
        lab.ok("--yes check --repair");
        lab.fails(3, "vfolder show alice/data");
        assert_eq!(codes(&lab), [""; 0]);
        fs::rename(&away, &scope).unwrap();
        lab.ok(&format!("registry restore {generation} --yes"));
        lab.ok("check --repair");
        let shares = lab.json("vfolder show alice/data")["shares"].clone();
        assert_eq!(shares, json!([{"user": "bob", "permission": "ro"}]));
        assert_eq!(fs::read_to_string(lab.path("alice/data").join("kept")).unwrap(), "kept");
        assert_eq!(lab.folder("alice/old", "status"), "trashed");
    }
}

/// Its folders are there, under the name of nobody.
#[test]
fn of_a_scope_that_was_renamed_nothing_is_forgotten() {
    let lab = site();
    let scope = scope_of(&lab, "alice/data");
    let other = lab.volume.join("ab".repeat(16));
    let before = lab.registry_text();
    fs::rename(&scope, &other).unwrap();
    let out = lab.run("--yes -o json check --repair").exits(10);
    assert!(items(&out.json()).iter().all(|finding| finding["loses_data"] == false), "{out:?}");
    lab.run("check").exits(10).says(&[
        &format!("mv -T {} {}", other.display(), scope.display()),
        "hint: vfolder user/alice/data: it is at another place",
    ]);
    assert_eq!(records_of(&lab.registry_text()), records_of(&before));
    fs::rename(&other, &scope).unwrap();
    assert_eq!(codes(&lab), [""; 0]);
}

/// Nobody who purges leaves a sidecar that tells of a folder in the trash.
#[test]
fn a_purge_of_which_the_volume_knows_nothing_is_not_finished_unasked() {
    let lab = site();
    fs::write(lab.path("alice/old").join("kept"), "kept").unwrap();
    let text = lab.registry_text();
    fs::write(lab.registry(), text.replace("\"trashed\"", "\"purging\"")).unwrap();
    let out = lab.run("-o json check").exits(10).json();
    let finding = items(&out).iter().find(|finding| finding["code"] == "work_cut_off").unwrap();
    assert_eq!(finding["loses_data"], true, "{out:#}");
    assert_eq!(items(&out).len(), 1, "{out:#}");
    let path = scope_of(&lab, "alice/data").join(".trash");
    lab.run("check --repair").exits(10);
    let kept = fs::read_dir(path).unwrap().next().unwrap().unwrap().path().join("kept");
    assert_eq!(fs::read_to_string(kept).unwrap(), "kept");
}

/// What a session has mounted is not forgotten, whatever is asked.
#[test]
fn a_missing_folder_of_a_session_waits_for_its_end() {
    let lab = site();
    lab.ok("session start s1 --user alice -m data");
    fs::remove_dir_all(lab.path("alice/data")).unwrap();
    lab.run("--yes check --repair").exits(10).says(&["vfadm session stop s1"]);
    lab.ok("session stop s1");
    lab.ok("--yes check --repair");
    lab.fails(3, "vfolder show alice/data");
}

/// What is in a scope comes to light once its owner and it are recorded again.
#[test]
fn losses_that_come_to_light_by_mending_are_left_and_told() {
    let lab = site();
    let staging = scope_of(&lab, "project/ml/sets").join(".staging");
    let copy = staging.join("0123456789abcdef0123456789abcdef");
    fs::create_dir_all(&copy).unwrap();
    fs::set_permissions(&staging, fs::Permissions::from_mode(0o700)).unwrap();
    let damage = DAMAGES.iter().find(|d| d.what.contains("a project and all that it has")).unwrap();
    (damage.make)(&lab);
    assert_eq!(codes(&lab), ["scope_unowned", "owners_stale"]);
    let out = lab.run("-o json check --repair --yes");
    assert_eq!((out.code, left(&out)), (10, vec!["staging_left".to_owned()]), "{out:?}");
    assert!(copy.exists());
    lab.ok("check --repair --yes");
    assert!(!copy.exists());
    lab.ok("check").quiet();
}

/// Only what knows itself by its sidecars: a mount that failed leaves an empty directory.
#[test]
fn a_marker_is_not_written_where_nothing_tells_of_the_volume() {
    let lab = site();
    let away = lab.volume.with_extension("away");
    fs::rename(&lab.volume, &away).unwrap();
    fs::create_dir(&lab.volume).unwrap();
    assert_eq!(codes(&lab), ["volume_unusable"]);
    fs::create_dir(lab.volume.join(".vfadm")).unwrap();
    lab.run("--yes check --repair").exits(10);
    assert!(!lab.volume.join(".vfadm-volume.yaml").exists());
    // Sidecars alone, as after a restore of the wrong directory.
    fs::remove_dir(lab.volume.join(".vfadm")).unwrap();
    system(
        "/usr/bin/cp",
        &["-a", &format!("{}/.vfadm", away.display()), &format!("{}/", lab.volume.display())],
    );
    assert_eq!(codes(&lab), ["volume_unusable"]);
    fs::remove_dir_all(&lab.volume).unwrap();
    fs::rename(&away, &lab.volume).unwrap();
    lab.ok("check").quiet();
}
