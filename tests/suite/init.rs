//! `init`, and what it leaves on disk.

use std::fs;
use std::os::unix::fs::MetadataExt;

use crate::support::{Lab, Snapshot};

#[test]
fn without_a_volume_it_makes_one_called_local_in_the_root() {
    let lab = Lab::bare();
    lab.ok("init");
    let volumes = lab.json("volume list");
    assert_eq!(volumes["count"], 1);
    assert_eq!(volumes["items"][0]["name"], "local");
    assert_eq!(volumes["items"][0]["path"], lab.root.join("local").to_str().unwrap());
    lab.ok("user add alice");
    lab.ok("vfolder create alice/data");
}

#[test]
fn what_tenants_must_not_see_is_closed_to_them() {
    let lab = Lab::plain();
    lab.ok("vfolder create alice/data");
    let mode = |path: &std::path::Path| {
        let meta = fs::symlink_metadata(path).unwrap();
        (meta.mode() & 0o7777, meta.uid(), meta.gid())
    };
    assert_eq!(mode(&lab.registry()), (0o600, 0, 0));
    assert_eq!(mode(&lab.root.join(".vfadm")).0 & 0o077, 0);
    assert_eq!(mode(&lab.volume.join(".vfadm")).0 & 0o077, 0);
    let folder = lab.path("alice/data");
    assert_eq!(mode(&folder), (0o770, 50_000, 50_000));
    let scope = folder.ancestors().nth(3).unwrap();
    assert_eq!(mode(scope), (0o700, 0, 0), "no session may pass the scope's directory");
    assert_eq!(scope.parent().unwrap(), lab.volume);
}

#[test]
fn the_layout_is_that_of_backend_ai_volumes() {
    let lab = Lab::plain();
    lab.ok("vfolder create alice/data");
    assert_eq!(fs::read_to_string(lab.volume.join("version.txt")).unwrap().trim(), "3");
    let id = lab.folder("alice/data", "id").replace('-', "");
    let path = lab.path("alice/data");
    assert!(path.ends_with(format!("{}/{}/{}", &id[..2], &id[2..4], &id[4..])), "{}", path.display());
    let marker = fs::read_to_string(lab.volume.join(".vfadm-volume.yaml")).unwrap();
    let marker: serde_json::Value = serde_yaml::from_str(&marker).unwrap();
    assert!(marker.to_string().contains("local"), "{marker}");
}

#[test]
fn a_second_init_changes_nothing() {
    let lab = Lab::plain();
    let before = Snapshot::of(&[&lab.registry(), &lab.volume]);
    let again = lab.ok(&format!("init --volume local={} --quota none", lab.volume.display()));
    again.prints(&["unchanged"]);
    before.same_as(&Snapshot::of(&[&lab.registry(), &lab.volume]), "a second init");
}

#[test]
fn the_shared_ids_and_the_mode_can_be_chosen() {
    let lab = Lab::bare();
    lab.ok("init --uid 1234 --gid 2345 --mode 0750");
    lab.ok("user add alice");
    lab.ok("vfolder create alice/data");
    let meta = fs::metadata(lab.path("alice/data")).unwrap();
    assert_eq!((meta.uid(), meta.gid(), meta.mode() & 0o7777), (1234, 2345, 0o750));
}

#[test]
fn ids_and_modes_with_which_no_session_could_run_are_refused() {
    let lab = Lab::bare();
    for options in ["--uid 0", "--gid 0", "--uid 4294967295", "--gid 4294967295", "--mode 0", "--mode 0070"] {
        lab.fails(2, &format!("init {options}"));
    }
    assert!(!lab.root.exists());
}

#[test]
fn a_root_that_was_never_made_is_met_with_the_command_that_makes_it() {
    let lab = Lab::bare();
    for line in ["vfolder list", "vfolder create alice/data", "registry check"] {
        let out = lab.run(line);
        assert_ne!(out.code, 0, "{out:?}");
        out.says(&["vfadm", "init"]);
    }
    assert!(!lab.root.exists(), "asking made a root");
}
