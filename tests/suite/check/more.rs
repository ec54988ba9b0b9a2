//! Damage that root does to what vfadm keeps for itself, and records that say what is not so.

use std::fs;
use std::os::unix::fs::{chown, symlink};

use super::damages::Repair::{ByHand, Harmless};
use super::damages::{Damage, edit, forget, mode, replace_all, to_staging};
use super::{digits, scope_of, sidecar};

pub const MORE: &[Damage] = &[
    Damage {
        code: "work_cut_off",
        what: "one that is being purged by its record, and lies whole where it was",
        make: |lab| replace_all(lab, "alice/data", "\"ready\"", "\"purging\""),
        repair: Harmless,
    },
    Damage {
        code: "work_cut_off",
        what: "one that is being made by its record, and lies whole where it was",
        make: |lab| replace_all(lab, "alice/data", "\"ready\"", "\"creating\""),
        repair: Harmless,
    },
    Damage {
        code: "vfolder_unrecorded",
        what: "one that was whole was moved to .staging, and its record taken out",
        make: |lab| {
            to_staging(lab, "alice/data");
            forget(lab, "user/alice/data");
        },
        repair: Harmless,
    },
    Damage {
        code: "vfolder_missing",
        what: "a link is where it was",
        make: |lab| {
            fs::remove_dir_all(lab.path("alice/data")).unwrap();
            symlink("/etc", lab.path("alice/data")).unwrap();
        },
        repair: ByHand,
    },
    Damage {
        code: "vfolder_missing",
        what: "a file is where it was in the trash",
        make: |lab| {
            let place = scope_of(lab, "alice/data").join(".trash").join(digits(lab, "alice/old"));
            fs::remove_dir_all(&place).unwrap();
            fs::write(&place, "").unwrap();
        },
        repair: ByHand,
    },
    Damage {
        code: "scope_unreadable",
        what: "a file is where the sidecars of a scope were",
        make: |lab| {
            let notes = sidecar(lab, "alice/data").parent().unwrap().to_owned();
            fs::remove_dir_all(&notes).unwrap();
            fs::write(&notes, "").unwrap();
            mode(&notes, 0o600);
        },
        repair: ByHand,
    },
    Damage {
        code: "marker_stale",
        what: "the version of the layout is another one",
        make: |lab| fs::write(lab.volume.join("version.txt"), "2\n").unwrap(),
        repair: Harmless,
    },
    Damage {
        code: "marker_stale",
        what: "a directory is where the version of the layout was",
        make: |lab| {
            fs::remove_file(lab.volume.join("version.txt")).unwrap();
            fs::create_dir(lab.volume.join("version.txt")).unwrap();
        },
        repair: ByHand,
    },
    Damage {
        code: "sidecar_stale",
        what: "a directory is where a sidecar was",
        make: |lab| {
            let path = sidecar(lab, "alice/data");
            fs::remove_file(&path).unwrap();
            fs::create_dir(&path).unwrap();
            mode(&path, 0o700);
        },
        repair: ByHand,
    },
    Damage {
        code: "own_access",
        what: "everybody may write the registry",
        make: |lab| mode(&lab.registry(), 0o666),
        repair: Harmless,
    },
    Damage {
        code: "own_access",
        what: "everybody may pass the sidecars, which are a tenant's",
        make: |lab| {
            let path = sidecar(lab, "alice/data");
            mode(path.parent().unwrap(), 0o777);
            chown(path, Some(50_000), None).unwrap();
        },
        repair: Harmless,
    },
    Damage {
        code: "backup_unreadable",
        what: "a directory is called as a backup",
        make: |lab| {
            let path = lab.root.join(".vfadm/backups/registry-0000000001-20200101T000000Z.yaml");
            fs::create_dir(&path).unwrap();
            mode(&path, 0o700);
        },
        repair: ByHand,
    },
    Damage {
        code: "history_unreadable",
        what: "a directory is called as a month of the history",
        make: |lab| {
            let path = lab.root.join(".vfadm/history/2020-01.jsonl");
            fs::create_dir(&path).unwrap();
            mode(&path, 0o700);
        },
        repair: ByHand,
    },
    Damage {
        code: "stray_entry",
        what: "a directory lies between the intents",
        make: |lab| {
            let path = lab.root.join(".vfadm/intents/0123.yaml");
            fs::create_dir_all(&path).unwrap();
            mode(&path, 0o700);
        },
        repair: ByHand,
    },
    Damage {
        code: "invitation_void",
        what: "somebody is invited who does not exist",
        make: |lab| {
            lab.ok("user add carol");
            lab.ok("vfolder invite alice/data carol --perm ro");
            edit(lab, |line| Some(line.replace("\"invitee\":\"carol\"", "\"invitee\":\"ghost\"")));
        },
        repair: ByHand,
    },
];
