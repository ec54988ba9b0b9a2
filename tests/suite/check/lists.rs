//! The lists of users and projects that volumes carry for a rebuild are kept up to date, or found and mended.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::suite::consistency::records;
use crate::suite::crash::traced;
use crate::support::Lab;

use super::codes;

fn list(volume: &Path) -> String {
    fs::read_to_string(volume.join(".vfadm/registry.yaml")).unwrap()
}

#[test]
fn a_list_that_a_killed_command_left_behind_is_mended_and_brings_nobody_back() {
    let lab = Lab::plain();
    let mut stale = 0;
    for (command, arrange, call) in [
        ("project remove-member ml bob", "project add-member ml bob", "openat"),
        ("project remove-member ml bob", "project add-member ml bob", "renameat"),
        ("user remove zoe --yes", "user add zoe", "renameat"),
        ("user set bob --state inactive", "user set bob --state active", "renameat"),
    ] {
        for nth in 1.. {
            lab.run(arrange);
            let options = [format!("--trace={call}"), format!("--inject={call}:signal=KILL:when={nth}")];
            if traced(&lab, &lab.dir().join("trace"), &options, command).code == 0 {
                break;
            }
            if !codes(&lab).iter().any(|code| code == "owners_stale") {
                continue;
            }
            stale += 1;
            lab.ok("check --repair");
            lab.ok("check").quiet();
            assert!(!lab.volume.join(".vfadm/.registry.yaml.new").exists());
            let before = (records(&lab, "users"), records(&lab, "projects"));
            fs::remove_file(lab.registry()).unwrap();
            fs::remove_dir_all(lab.root.join(".vfadm")).unwrap();
            lab.ok("registry rebuild --yes");
            assert_eq!(
                (records(&lab, "users"), records(&lab, "projects")),
                before,
                "{command}: {call} {nth}"
            );
        }
    }
    assert!(stale >= 4, "{stale}");
}

#[test]
fn a_list_that_could_not_be_written_is_told_and_found() {
    let lab = Lab::plain();
    let before = list(&lab.volume);
    let options = ["--trace=renameat".to_owned(), "--inject=renameat:error=EIO:when=2".to_owned()];
    traced(&lab, &lab.dir().join("trace"), &options, "user add zoe")
        .exits(0)
        .says(&["no volume has the users and projects for a rebuild of the registry"]);
    assert_eq!(list(&lab.volume), before);
    assert_eq!(codes(&lab), ["owners_stale"]);
    let planned = lab.run("--dry-run check --repair").exits(0);
    assert!(planned.stdout.contains("write the list of users and projects on 'local' again"), "{planned:?}");
    lab.ok("check --repair");
    assert!(list(&lab.volume).contains("\"zoe\""));
    lab.ok("check").quiet();
}

#[test]
fn two_volumes_carry_the_list_and_others_have_none() {
    let lab = Lab::plain();
    let volumes = ["b", "c"].map(|name| {
        let path = lab.root.join(name);
        fs::create_dir(&path).unwrap();
        lab.ok(&format!("volume add {name} {} --quota none", path.display()));
        path
    });
    let has = |volume: &Path| volume.join(".vfadm/registry.yaml").exists();
    let carry = || [has(&volumes[0]), has(&volumes[1]), has(&lab.volume)];
    lab.ok("user add zoe");
    assert_eq!(carry(), [true, true, false], "in the order of their names");
    lab.ok("check").quiet();
    lab.ok("volume set local --default");
    assert_eq!(carry(), [true, false, true]);
    lab.ok("check").quiet();
    // A copy where none is expected is one that nobody keeps up to date.
    let copy = volumes[1].join(".vfadm/registry.yaml");
    fs::write(&copy, "vfadm: {").unwrap();
    fs::set_permissions(&copy, fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!(codes(&lab), ["owners_stale"]);
    lab.ok("check --repair");
    assert_eq!(carry(), [true, false, true]);
    lab.ok("check").quiet();
}
