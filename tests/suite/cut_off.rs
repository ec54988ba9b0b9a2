//! What was begun, was cut off or has failed, and can be neither undone nor finished: when its intent goes, and when it stays.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};

use super::check::{codes, populated};
use super::consistency::no_intents;
use crate::support::{Lab, system};

fn intents(lab: &Lab) -> usize {
    fs::read_dir(lab.root.join(".vfadm/intents")).unwrap().count()
}

/// A lab with a second volume, `x`, on which a change was cut off, and in whose place there is an empty directory.
fn site() -> (Lab, PathBuf) {
    let lab = Lab::plain();
    let volume = lab.dir().join("x");
    fs::create_dir(&volume).unwrap();
    lab.ok(&format!("volume add x {} --quota none", volume.display()));
    lab.ok("volume set local --default");
    lab.cut_off("vfolder create alice/y --volume x");
    assert_eq!(intents(&lab), 1);
    fs::rename(&volume, lab.dir().join("x.gone")).unwrap();
    fs::create_dir(&volume).unwrap();
    (lab, volume)
}

#[test]
fn what_was_cut_off_on_a_volume_goes_with_it() {
    let (lab, volume) = site();
    lab.ok("user add carol").says(&["cannot be tidied up from here"]);
    assert_eq!(intents(&lab), 1);
    lab.ok("volume remove x --yes").says(&[
        "vfadm vfolder create alice/y --volume x' was cut off on ",
        &format!(
            "and is forgotten: it was about 'x' ({}), which the registry no longer has; there may be left what it had \
             begun to do: make the quota scope of user/alice at {}/",
            volume.display(),
            volume.display()
        ),
    ]);
    no_intents(&lab, "the volume was removed");
    assert_eq!(codes(&lab), [""; 0]);
    lab.ok("vfolder create alice/y").quiet();
}

/// As where the volume was removed by a vfadm that left its intents.
#[test]
fn what_was_cut_off_on_a_volume_that_has_no_record_is_dropped_by_the_next_command() {
    let (lab, _) = site();
    let text = lab.registry_text();
    let kept: Vec<&str> = text.lines().filter(|line| !line.trim_start().starts_with("\"x\":")).collect();
    fs::write(lab.registry(), format!("{}\n", kept.join("\n"))).unwrap();
    assert_eq!(codes(&lab), ["change_cut_off", "owners_stale"]);
    lab.ok("user add carol").says(&["and is forgotten: it was about 'x'"]);
    no_intents(&lab, "dropped");
    assert_eq!(codes(&lab), [""; 0]);
}

#[test]
fn what_was_cut_off_on_a_volume_that_is_only_away_is_undone_when_it_is_back() {
    let (lab, volume) = site();
    for line in ["--yes check --repair", "volume remove local --yes", "user add carol"] {
        lab.run(line).says(&["cannot be tidied up from here"]);
        assert_eq!(intents(&lab), 1, "{line}");
    }
    fs::remove_dir(&volume).unwrap();
    fs::rename(lab.dir().join("x.gone"), &volume).unwrap();
    lab.ok("user add dora");
    no_intents(&lab, "undone");
    assert_eq!(codes(&lab), [""; 0]);
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

#[test]
fn a_marker_that_cannot_be_written_leaves_nothing_behind() {
    let lab = populated(Lab::plain());
    let marker = lab.volume.join(".vfadm-volume.yaml");
    fs::remove_file(&marker).unwrap();
    fs::create_dir(&marker).unwrap();
    for _ in 0..2 {
        lab.run("--yes check --repair").exits(10);
        no_intents(&lab, "the marker could not be written");
        assert!(lab.volume.join("version.txt").exists() && lab.volume.join(".vfadm").is_dir());
    }
    fs::remove_dir(&marker).unwrap();
    lab.run("--yes check --repair").exits(0);
    assert_eq!(codes(&lab), [""; 0]);
}

#[test]
fn what_is_mounted_over_a_folder_is_told_and_left_alone() {
    let lab = populated(Lab::plain());
    let folder = lab.path("alice/data");
    let point = folder.to_str().unwrap();
    system("/usr/bin/mount", &["-t", "tmpfs", "-o", "mode=0755", "none", point]);
    let before = mode(&folder);
    let found = codes(&lab);
    let out = lab.run("--yes check --repair").exits(10);
    let after = mode(&folder);
    system("/usr/bin/umount", &[point]);
    assert_eq!(found, ["nested_mount"]);
    out.prints(&["vfolder user/alice/data", &format!("none (tmpfs) is mounted at {point}")])
        .says(&[&format!("umount {point}")]);
    assert_eq!(before, after);
    no_intents(&lab, "something is mounted there");
    assert_eq!(codes(&lab), [""; 0]);
}

/// Nobody may change its owner, not even root.
#[test]
fn an_owner_that_cannot_be_changed_leaves_nothing_behind() {
    // A tmpfs may know no flags.
    let lab = Lab::plain();
    let image = lab.second("old", "ext4", 64 << 20);
    lab.ok(&format!("volume add old {} --quota none", image.mount.display()));
    lab.ok("vfolder create alice/data --volume old");
    let folder = lab.path("alice/data");
    chown(&folder, Some(1), Some(1)).unwrap();
    system("/usr/bin/chattr", &["+i", folder.to_str().unwrap()]);
    for _ in 0..2 {
        lab.run("--yes check --repair").exits(10).prints(&["vfolder user/alice/data"]);
        no_intents(&lab, "the owner could not be changed");
    }
    system("/usr/bin/chattr", &["-i", folder.to_str().unwrap()]);
    lab.run("--yes check --repair").exits(0);
    assert_eq!(codes(&lab), [""; 0]);
}
