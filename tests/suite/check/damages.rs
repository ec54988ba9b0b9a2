//! Damage made by hand, and what it is called.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};

use crate::support::{Lab, system};

use super::{digits, scope_of, sidecar};

/// Damage made by hand.
pub struct Damage {
    /// What it is called.
    pub code: &'static str,
    /// How it comes about.
    pub what: &'static str,
    /// Makes it.
    pub make: fn(&Lab),
    /// What `check --repair` does about it.
    pub repair: Repair,
}

/// How it is mended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repair {
    /// At once.
    Harmless,
    /// With `--yes`.
    Losing,
    /// Not at all.
    ByHand,
}

use Repair::{ByHand, Harmless, Losing};

fn list(lab: &Lab) -> PathBuf {
    lab.volume.join(".vfadm/registry.yaml")
}

fn trash(lab: &Lab) -> PathBuf {
    scope_of(lab, "alice/data").join(".trash")
}

/// Takes a record's line out of the registry, or changes it, as with an editor.
pub fn edit(lab: &Lab, change: impl Fn(&str) -> Option<String>) {
    let text = lab.registry_text();
    let lines: Vec<String> = text.lines().filter_map(change).collect();
    fs::write(lab.registry(), format!("{}\n", lines.join("\n"))).unwrap();
}

pub fn forget(lab: &Lab, key: &str) {
    edit(lab, |line| (!line.trim_start().starts_with(&format!("{key:?}:"))).then(|| line.to_owned()));
}

fn replace(lab: &Lab, key: &str, from: &str, to: &str) {
    edit(lab, |line| {
        let is_it = line.trim_start().starts_with(&format!("{key:?}:"));
        Some(if is_it { line.replace(from, to) } else { line.to_owned() })
    });
}

/// The same where the sidecar says so too.
pub fn replace_all(lab: &Lab, folder: &str, from: &str, to: &str) {
    let sidecar = sidecar(lab, folder);
    let text = fs::read_to_string(&sidecar).unwrap();
    fs::write(&sidecar, text.replace(from, to)).unwrap();
    replace(lab, &format!("user/{folder}"), from, to);
}

pub fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// Moves a folder to where unfinished ones are.
pub fn to_staging(lab: &Lab, folder: &str) {
    let staging = scope_of(lab, folder).join(".staging");
    fs::create_dir_all(&staging).unwrap();
    mode(&staging, 0o700);
    fs::rename(lab.path(folder), staging.join(digits(lab, folder))).unwrap();
}

/// An unknown id.
const ID: &str = "0123456789abcdef0123456789abcdef";

fn make_home(lab: &Lab, scope: &Path) -> PathBuf {
    let home = scope.join(&ID[..2]).join(&ID[2..4]);
    fs::create_dir_all(&home).unwrap();
    mode(&scope.join(&ID[..2]), 0o700);
    mode(&home, 0o700);
    let folder = home.join(&ID[4..]);
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("kept"), "kept").unwrap();
    chown(&folder, Some(50_000), Some(50_000)).unwrap();
    let _ = lab;
    folder
}

/// What is done to a plain volume and its registry.
pub const DAMAGES: &[Damage] = &[
    Damage {
        code: "vfolder_unrecorded",
        what: "a directory in the place of a vfolder",
        make: |lab| drop(make_home(lab, &scope_of(lab, "alice/data"))),
        repair: Harmless,
    },
    Damage {
        code: "vfolder_unrecorded",
        what: "the record was taken out",
        make: |lab| forget(lab, "user/alice/data"),
        repair: Harmless,
    },
    Damage {
        code: "vfolder_unrecorded",
        what: "the record of one in the trash was taken out",
        make: |lab| forget(lab, "user/alice/old"),
        repair: Harmless,
    },
    Damage {
        code: "vfolder_missing",
        what: "the directory was removed",
        make: |lab| fs::remove_dir_all(lab.path("alice/data")).unwrap(),
        repair: Losing,
    },
    Damage {
        code: "vfolder_misplaced",
        what: "it was moved into the trash by hand",
        make: |lab| {
            fs::rename(lab.path("alice/data"), trash(lab).join(digits(lab, "alice/data"))).unwrap();
        },
        repair: Harmless,
    },
    Damage {
        code: "vfolder_misplaced",
        what: "it is there twice",
        make: |lab| {
            let copy = trash(lab).join(digits(lab, "alice/data"));
            system("/usr/bin/cp", &["-a", lab.path("alice/data").to_str().unwrap(), copy.to_str().unwrap()]);
        },
        repair: ByHand,
    },
    Damage {
        code: "staging_left",
        what: "a copy without a record",
        make: |lab| {
            let staging = scope_of(lab, "alice/data").join(".staging");
            fs::create_dir_all(staging.join(ID).join("below")).unwrap();
            mode(&staging, 0o700);
        },
        repair: Losing,
    },
    Damage {
        code: "trash_left",
        what: "neither record nor sidecar",
        make: |lab| fs::create_dir(trash(lab).join(ID)).unwrap(),
        repair: Losing,
    },
    Damage {
        code: "stray_entry",
        what: "a file of somebody's in a scope",
        make: |lab| fs::write(scope_of(lab, "alice/data").join("notes.txt"), "").unwrap(),
        repair: ByHand,
    },
    Damage {
        code: "stray_entry",
        what: "a link in the place of a vfolder",
        make: |lab| {
            let folder = make_home(lab, &scope_of(lab, "alice/data"));
            fs::remove_dir_all(&folder).unwrap();
            std::os::unix::fs::symlink("/etc", folder).unwrap();
        },
        repair: ByHand,
    },
    Damage {
        code: "scope_access",
        what: "a scope that everybody may pass",
        make: |lab| mode(&scope_of(lab, "alice/data"), 0o755),
        repair: Harmless,
    },
    Damage {
        code: "scope_access",
        what: "a trash that is a tenant's",
        make: |lab| chown(trash(lab), Some(50_000), None).unwrap(),
        repair: Harmless,
    },
    Damage {
        code: "vfolder_access",
        what: "a vfolder that is root's",
        make: |lab| chown(lab.path("alice/data"), Some(0), Some(0)).unwrap(),
        repair: Harmless,
    },
    Damage {
        code: "vfolder_access",
        what: "a vfolder that its tenant locked",
        make: |lab| mode(&lab.path("alice/data"), 0o070),
        repair: Harmless,
    },
    Damage {
        code: "scope_missing",
        what: "a scope without folders was removed",
        make: |lab| {
            lab.ok("quota set bob unlimited");
            let scope = lab.json("quota show bob")["items"][0]["path"].as_str().unwrap().to_owned();
            fs::remove_dir_all(scope).unwrap();
        },
        repair: Harmless,
    },
    Damage {
        code: "scope_unrecorded",
        what: "the records of a scope and its folders were taken out",
        make: |lab| {
            forget(lab, "project/ml/sets");
            forget(lab, "project/ml@local");
        },
        repair: Harmless,
    },
    Damage {
        code: "scope_unowned",
        what: "the records of a project and all that it has were taken out",
        make: |lab| {
            forget(lab, "project/ml/sets");
            forget(lab, "project/ml@local");
            forget(lab, "ml");
        },
        repair: Harmless,
    },
    Damage {
        code: "scope_unowned",
        what: "a scope's directory that nothing tells of",
        make: |lab| fs::create_dir(lab.volume.join(ID)).unwrap(),
        repair: ByHand,
    },
    Damage {
        code: "work_cut_off",
        what: "a purge that was cut off",
        make: |lab| replace_all(lab, "alice/old", "\"trashed\"", "\"purging\""),
        repair: Harmless,
    },
    Damage {
        code: "work_cut_off",
        what: "one that was never made",
        make: |lab| {
            to_staging(lab, "alice/data");
            replace_all(lab, "alice/data", "\"ready\"", "\"creating\"");
        },
        repair: Losing,
    },
    Damage {
        code: "volume_unreadable",
        what: "a file in the place of the sidecars",
        make: |lab| {
            let notes = lab.volume.join(".vfadm");
            fs::rename(&notes, lab.dir().join("notes")).unwrap();
            fs::write(notes, "").unwrap();
        },
        repair: ByHand,
    },
    Damage {
        code: "marker_missing",
        what: "the marker was removed",
        make: |lab| fs::remove_file(lab.volume.join(".vfadm-volume.yaml")).unwrap(),
        repair: Losing,
    },
    Damage {
        code: "marker_missing",
        what: "the marker is of other bytes",
        make: |lab| fs::write(lab.volume.join(".vfadm-volume.yaml"), [0xff, 0, b'\n', b'{']).unwrap(),
        repair: Losing,
    },
    Damage {
        code: "marker_stale",
        what: "the marker tells of another name",
        make: |lab| {
            let marker = lab.volume.join(".vfadm-volume.yaml");
            let text = fs::read_to_string(&marker).unwrap();
            fs::write(&marker, text.replace("name: \"local\"", "name: \"other\"")).unwrap();
        },
        repair: Harmless,
    },
    Damage {
        code: "marker_stale",
        what: "the version of the layout was removed",
        make: |lab| fs::remove_file(lab.volume.join("version.txt")).unwrap(),
        repair: Harmless,
    },
    Damage {
        code: "sidecar_missing",
        what: "a sidecar was removed",
        make: |lab| fs::remove_file(sidecar(lab, "alice/data")).unwrap(),
        repair: Harmless,
    },
    Damage {
        code: "sidecar_stale",
        what: "a sidecar tells of another name",
        make: |lab| {
            let text = fs::read_to_string(sidecar(lab, "alice/data")).unwrap();
            fs::write(sidecar(lab, "alice/data"), text.replace("name: \"data\"", "name: \"other\"")).unwrap();
        },
        repair: Harmless,
    },
    Damage {
        code: "sidecar_stale",
        what: "a sidecar that cannot be read",
        make: |lab| fs::write(sidecar(lab, "alice/data"), [0xff, b'{']).unwrap(),
        repair: Harmless,
    },
    Damage {
        code: "sidecar_newer",
        what: "an older registry was copied over it",
        make: |lab| {
            let before = lab.registry_text();
            lab.ok("vfolder share alice/data --with bob --perm rw");
            fs::write(lab.registry(), before).unwrap();
        },
        repair: Losing,
    },
    Damage {
        code: "sidecar_stale",
        what: "a sidecar is of a generation that is still to come",
        make: |lab| {
            let path = sidecar(lab, "alice/data");
            let text = fs::read_to_string(&path).unwrap();
            let ahead = |line: &str| match line.starts_with("generation: ") {
                true => "generation: 9007199254740991".to_owned(),
                false => line.to_owned(),
            };
            let lines: Vec<String> = text.lines().map(ahead).collect();
            fs::write(&path, format!("{}\n", lines.join("\n"))).unwrap();
        },
        repair: Harmless,
    },
    Damage {
        code: "sidecar_left",
        what: "a sidecar of nothing",
        make: |lab| {
            let left = sidecar(lab, "alice/data").with_file_name(format!("{ID}.yaml"));
            fs::copy(sidecar(lab, "alice/data"), left).unwrap();
        },
        repair: Losing,
    },
    Damage {
        code: "sidecar_left",
        what: "sidecars of a scope that has gone",
        make: |lab| {
            let dir = lab.volume.join(".vfadm").join(ID);
            fs::create_dir(&dir).unwrap();
            fs::write(dir.join("scope.yaml"), "").unwrap();
            mode(&dir.join("scope.yaml"), 0o600);
            mode(&dir, 0o700);
        },
        repair: Losing,
    },
    Damage {
        code: "invitation_expired",
        what: "an invitation nobody answered",
        make: |lab| {
            lab.ok("user add carol");
            lab.ok("vfolder invite alice/data carol --perm ro --expires 1s");
            std::thread::sleep(std::time::Duration::from_secs(2));
        },
        repair: Harmless,
    },
    Damage {
        code: "session_dead",
        what: "a session whose process has ended",
        make: |lab| {
            let mut child = std::process::Command::new("/usr/bin/sleep").arg("60").spawn().unwrap();
            lab.ok(&format!("session start s1 --user alice -m data --holder pid:{}", child.id()));
            child.kill().unwrap();
            child.wait().unwrap();
        },
        repair: Harmless,
    },
    Damage {
        code: "owners_missing",
        what: "the list of users and projects was removed",
        make: |lab| fs::remove_file(list(lab)).unwrap(),
        repair: Harmless,
    },
    Damage {
        code: "owners_stale",
        what: "a list of users and projects that cannot be read",
        make: |lab| fs::write(list(lab), "vfadm: {").unwrap(),
        repair: Harmless,
    },
    Damage {
        code: "owners_stale",
        what: "an older list of users and projects was copied over it",
        make: |lab| {
            let before = fs::read(list(lab)).unwrap();
            lab.ok("project add-member ml bob");
            lab.ok("user add zoe");
            fs::write(list(lab), before).unwrap();
        },
        repair: Harmless,
    },
    Damage {
        code: "owners_stale",
        what: "a list of users and projects was not finished",
        make: |lab| {
            let draft = list(lab).with_file_name(".registry.yaml.new");
            fs::write(&draft, "vfadm: {").unwrap();
            mode(&draft, 0o600);
        },
        repair: Harmless,
    },
    Damage {
        code: "owners_newer",
        what: "an older registry was copied over one with another user",
        make: |lab| {
            let before = lab.registry_text();
            lab.ok("user add zoe");
            fs::write(lab.registry(), before).unwrap();
        },
        repair: Losing,
    },
    Damage {
        code: "backup_unreadable",
        what: "a backup was cut",
        make: |lab| {
            let backup = lab.root.join(".vfadm/backups/registry-0000000001-20200101T000000Z.yaml");
            fs::write(&backup, "vfadm: {").unwrap();
            mode(&backup, 0o600);
        },
        repair: ByHand,
    },
    Damage {
        code: "history_unreadable",
        what: "a line of the history was changed",
        make: |lab| {
            let file = fs::read_dir(lab.root.join(".vfadm/history")).unwrap().next().unwrap().unwrap().path();
            let text = fs::read_to_string(&file).unwrap();
            fs::write(file, format!("{{\"generation\":\"one\"}}\n{text}")).unwrap();
        },
        repair: ByHand,
    },
];
