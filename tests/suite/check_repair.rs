//! `check --repair`: what is mended, what is only told, and that it loses nothing without being asked.

mod beside;
mod crash;
mod losses;
mod returned;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::json;

use super::check::{
    DAMAGES, Damage, Repair, codes, damages, items, left, populated, scope_of, sidecar, site,
};
use super::consistency::{assert_whole, kernel_matches_registry, records};
use crate::support::{Lab, LabUp, VFADM, kernel_limits, system, wait_until, words};

/// Damages a lab, and insists that it is mended: nothing that loses data without `--yes`, and nothing for nothing.
fn is_mended(lab: &Lab, damage: &Damage) {
    let Damage { what, make, repair, code } = damage;
    make(lab);
    assert!(codes(lab).contains(&(*code).to_owned()), "{what}");
    if *repair == Repair::Losing {
        let out = lab.run("-o json check --repair");
        assert_eq!(out.code, 10, "{what}: {out:?}");
        assert!(left(&out).contains(&(*code).to_owned()), "{what}: {out:?}");
    }
    let out = lab.run("--yes check --repair");
    assert_eq!(out.code, 0, "{what}: {out:?}");
    assert!(out.stderr.contains("mended: "), "{what}: {out:?}");
    assert_eq!(codes(lab), [""; 0], "{what}");
    assert_whole(lab, what);
    if !matches!(*code, "vfolder_missing" | "work_cut_off") {
        let kept = if what.contains("in the place") { "alice/recovered-01234567" } else { "alice/data" };
        assert_eq!(fs::read_to_string(lab.path(kept).join("kept")).unwrap(), "kept", "{what}");
    }
    lab.ok("--yes check --repair").quiet();
}

#[test]
fn each_kind_of_damage_is_mended() {
    for damage in damages().filter(|d| d.repair != Repair::ByHand) {
        is_mended(&site(), damage);
    }
}

/// Folders are subvolumes, scopes have numbers in the kernel: it is put right there too.
#[test]
fn each_kind_of_damage_is_mended_on_btrfs() {
    let of_directories = |d: &&Damage| d.repair != Repair::ByHand && !d.what.contains("in the place");
    for damage in damages().filter(of_directories) {
        let lab = populated(Lab::btrfs());
        is_mended(&lab, damage);
        kernel_matches_registry(&lab, damage.what);
    }
}

#[test]
fn a_directory_that_is_no_subvolume_is_not_recorded_as_one() {
    let lab = populated(Lab::btrfs());
    let damage = DAMAGES.iter().find(|d| d.what.contains("in the place")).unwrap();
    (damage.make)(&lab);
    let found = lab.run("-o json check --repair").exits(10).json();
    let finding = &items(&found)[0];
    assert_eq!(finding["code"], "vfolder_unrecorded");
    assert!(finding["repair"].as_str().unwrap().starts_with("it is not the subvolume"), "{finding}");
}

#[test]
fn the_recorded_limit_is_set_again() {
    let lab = populated(Lab::btrfs());
    lab.ok("quota set alice 64m");
    let id = records(&lab, "scopes")["user/alice@local"]["kernel_id"].as_u64().unwrap();
    let mount = lab.volume.to_str().unwrap();
    system("/usr/bin/btrfs", &["qgroup", "limit", "32m", &format!("1/{id}"), mount]);
    assert_eq!(codes(&lab), ["limit_differs"]);
    lab.run("check --repair").exits(0).says(&["mended: quota scope user/alice@local"]);
    assert_eq!(kernel_limits(&lab.volume)[&id], Some(64 << 20));
    assert_eq!(codes(&lab), [""; 0]);
}

/// What is charged to nobody has no limit.
#[test]
fn a_folder_out_of_its_qgroup_is_charged_there_again() {
    let lab = populated(Lab::btrfs());
    lab.ok("quota set alice 64m");
    let mount = lab.volume.to_str().unwrap().to_owned();
    let number =
        |owner: &str| records(&lab, "scopes")[&format!("user/{owner}@local")]["kernel_id"].as_u64().unwrap();
    let subvolume = |path: &Path| {
        let shown = system("/usr/bin/btrfs", &["inspect-internal", "rootid", path.to_str().unwrap()]);
        format!("0/{}", shown.trim())
    };
    lab.ok("vfolder create bob/data");
    let (alice, bob) = (format!("1/{}", number("alice")), format!("1/{}", number("bob")));
    let folder = lab.path("alice/data");
    let nested = folder.join("nested");
    system("/usr/bin/btrfs", &["subvolume", "create", nested.to_str().unwrap()]);
    fs::write(nested.join("file"), vec![7; 2 << 20]).unwrap();
    for path in [&folder, &nested] {
        system("/usr/bin/btrfs", &["qgroup", "remove", "--no-rescan", &subvolume(path), &alice, &mount]);
    }
    // As when it was moved by hand from another scope.
    system("/usr/bin/btrfs", &["qgroup", "assign", "--no-rescan", &subvolume(&folder), &bob, &mount]);
    assert_eq!(codes(&lab), ["not_charged"]);
    lab.run("check")
        .exits(10)
        .says(&["hint: vfolder user/alice/data: vfadm check --repair charges it there"]);
    lab.run("check --repair").exits(0).says(&["mended: vfolder user/alice/data"]);
    assert_eq!(codes(&lab), [""; 0]);
    let members = |id: u64| {
        let shown = system("/usr/bin/btrfs", &["qgroup", "show", "-c", "--raw", &mount]);
        let line =
            shown.lines().find(|line| line.trim_start().starts_with(&format!("1/{id} "))).unwrap_or_default();
        line.to_owned()
    };
    for path in [&folder, &nested] {
        assert!(members(number("alice")).contains(&subvolume(path)), "{}", members(number("alice")));
        assert!(!members(number("bob")).contains(&subvolume(path)), "{}", members(number("bob")));
    }
    system("/usr/bin/sync", &["-f", &mount]);
    let used = lab.json("quota show alice")["items"][0]["used_bytes"].as_u64().unwrap();
    assert!(used >= 2 << 20, "{used}");
    // A limit of a folder alone.
    system("/usr/bin/btrfs", &["qgroup", "limit", "1m", &subvolume(&folder), &mount]);
    assert_eq!(codes(&lab), ["limit_inside"]);
    system("/usr/bin/btrfs", &["qgroup", "limit", "-e", "8m", &subvolume(&nested), &mount]);
    lab.run("check").prints(&[
        "quota scope user/alice@local",
        "has a limit of 1 MiB",
        "has a limit of 8 MiB",
    ]);
    lab.run("check --repair").exits(0);
    assert_eq!(codes(&lab), [""; 0]);
    // The same of a subvolume inside of a folder, which only a walk finds.
    system("/usr/bin/btrfs", &["qgroup", "remove", "--no-rescan", &subvolume(&nested), &alice, &mount]);
    assert_eq!(codes(&lab), [""; 0]);
    lab.run("quota audit --fix").exits(10);
    assert!(members(number("alice")).contains(&subvolume(&nested)), "{}", members(number("alice")));
}

#[test]
fn what_a_sidecar_tells_is_recorded_again() {
    let lab = site();
    let (id, text) = (lab.folder("alice/data", "id"), lab.registry_text());
    let gone = |line: &&str| !line.contains(&id);
    let without: Vec<&str> = text.lines().filter(gone).collect();
    fs::write(lab.registry(), format!("{}\n", without.join("\n"))).unwrap();
    lab.fails(3, "vfolder show alice/data");
    lab.ok("check --repair");
    assert_eq!(lab.json("vfolder show alice/data")["shares"], json!([{"user": "bob", "permission": "ro"}]));
    assert_eq!(lab.folder("alice/data", "id"), id);
}

#[test]
fn a_name_that_was_given_away_is_not_taken_and_nobody_gets_more_than_the_owner() {
    let lab = site();
    let digits = lab.folder("project/ml/sets", "id").replace('-', "");
    let text = lab.registry_text();
    let without: Vec<&str> = text.lines().filter(|line| !line.contains("project/ml/sets")).collect();
    fs::write(lab.registry(), format!("{}\n", without.join("\n"))).unwrap();
    lab.ok("vfolder create project/ml/sets --perm rw");
    fs::remove_file(scope_sidecar(&lab, "project/ml/sets", &digits)).unwrap();
    lab.ok("check --repair");
    let recovered = format!("project/ml/recovered-{}", &digits[..8]);
    assert_eq!(lab.folder(&recovered, "permission"), "none");
    assert_eq!(lab.folder("project/ml/sets", "permission"), "rw");
    assert_whole(&lab, "recovered");
}

fn scope_sidecar(lab: &Lab, beside: &str, digits: &str) -> std::path::PathBuf {
    sidecar(lab, beside).with_file_name(format!("{digits}.yaml"))
}

/// The registry goes back, and the volumes do not: folders made, deleted, purged and transferred since.
#[test]
fn volumes_follow_a_registry_that_was_brought_back() {
    for lab in [site(), populated(Lab::btrfs())] {
        lab.ok("vfolder create alice/gone");
        let backup = lab.dir().join("backup.yaml");
        lab.ok(&format!("registry backup {}", backup.display()));
        lab.ok("vfolder delete alice/gone --purge --yes");
        lab.ok("vfolder delete alice/data");
        lab.ok("vfolder restore alice/old");
        lab.ok("user add carol");
        lab.ok("vfolder create carol/new");
        fs::write(lab.path("carol/new").join("kept"), "carol's").unwrap();
        lab.ok(&format!("registry restore {} --yes", backup.display()));
        let out = lab.run("-o json check --repair");
        assert_eq!((out.code, left(&out)), (10, vec!["vfolder_missing".to_owned()]), "{out:?}");
        lab.ok("check --repair --yes");
        assert_eq!(fs::read_to_string(lab.path("alice/data").join("kept")).unwrap(), "kept");
        assert_eq!(lab.folder("alice/old", "status"), "trashed");
        assert_eq!(fs::read_to_string(lab.path("carol/new").join("kept")).unwrap(), "carol's");
        lab.fails(3, "vfolder show alice/gone");
        assert_whole(&lab, "after a restore");
        lab.ok("check").quiet();
    }
}

/// Two that could be it, and neither where it belongs: nothing is moved, and its record is not forgotten.
#[test]
fn of_several_places_none_is_chosen() {
    let lab = site();
    let digits = lab.folder("alice/data", "id").replace('-', "");
    let other = scope_of(&lab, "project/ml/sets").join(".trash");
    fs::create_dir_all(&other).unwrap();
    fs::set_permissions(&other, fs::Permissions::from_mode(0o700)).unwrap();
    let (here, copy) = (scope_of(&lab, "alice/data").join(".trash").join(&digits), other.join(&digits));
    fs::rename(lab.path("alice/data"), &here).unwrap();
    system("/usr/bin/cp", &["-a", here.to_str().unwrap(), copy.to_str().unwrap()]);
    let out = lab.run("-o json --yes check --repair");
    assert_eq!((out.code, left(&out)), (10, ["vfolder_misplaced"; 2].map(str::to_owned).to_vec()), "{out:?}");
    assert!(here.join("kept").exists() && copy.join("kept").exists());
    fs::rename(copy, lab.dir().join("aside")).unwrap();
    lab.ok("check --repair");
    assert!(lab.path("alice/data").join("kept").exists());
}

/// Runs a command under strace.
fn injected(lab: &Lab, inject: &str, line: &str) -> Command {
    let calls = inject.split(':').next().unwrap();
    let mut strace = Command::new("/usr/bin/strace");
    strace.args(["-f", "-qq", "-o", "/dev/null", &format!("--trace={calls}"), &format!("--inject={inject}")]);
    strace.arg(VFADM).args(words(line)).env_clear().env("VFADM_ROOT", &lab.root).stderr(Stdio::null());
    strace
}

fn cut_off(lab: &Lab, line: &str) {
    let status = injected(lab, "fchown,fchownat:signal=KILL:when=1", line).status().unwrap();
    assert!(!status.success());
}

#[test]
fn work_that_was_cut_off_is_finished_dropped_or_taken_back() {
    let lab = site();
    let second = lab.dir().join("second");
    fs::create_dir(&second).unwrap();
    lab.ok(&format!("volume add second {} --quota none", second.display()));
    for (line, owner) in [
        ("vfolder clone alice/data bob/copy --volume local", "alice"),
        ("vfolder transfer alice/data bob --volume second", "alice"),
    ] {
        cut_off(&lab, line);
        assert_eq!(codes(&lab), ["work_cut_off"], "{line}");
        lab.run("check --repair").exits(0).says(&["mended: vfolder "]);
        assert_eq!(codes(&lab), [""; 0], "{line}");
        assert_eq!(fs::read_to_string(lab.path(&format!("{owner}/data")).join("kept")).unwrap(), "kept");
        lab.fails(3, "vfolder show bob/copy");
        assert_whole(&lab, line);
    }
}

#[test]
fn a_short_change_that_was_cut_off_is_undone() {
    let lab = site();
    cut_off(&lab, "vfolder create alice/more");
    let of_change = |code: &String| code == "change_cut_off";
    assert_eq!(codes(&lab).into_iter().filter(of_change).collect::<Vec<_>>(), ["change_cut_off"]);
    let plan = lab.run("--dry-run check --repair").exits(0);
    assert_eq!(
        plan.stdout.lines().next(),
        Some("undo or finish what was cut off, look again, and mend what is left")
    );
    lab.ok("check --repair");
    assert_eq!(codes(&lab), [""; 0]);
    assert_whole(&lab, "undone");
    lab.fails(3, "vfolder show alice/more");
}

/// Between the directory and its record, and while a clone fills a folder without the lock.
#[test]
fn what_a_running_command_is_about_to_end_is_no_finding() {
    for (line, inject, made) in [
        ("vfolder create alice/more", "fchown:delay_enter=2000000:when=1", "alice/more"),
        ("vfolder clone alice/data bob/copy", "fchown,fchownat:delay_enter=3000000:when=1", "bob/copy"),
    ] {
        for check in ["-o json check", "-o json check --repair --yes"] {
            let lab = site();
            let mut child = injected(&lab, inject, line).spawn().unwrap();
            wait_until("it has begun", || {
                let intents = fs::read_dir(lab.root.join(".vfadm/intents"));
                intents.is_ok_and(|intents| intents.count() > 0)
            });
            std::thread::sleep(Duration::from_millis(300));
            let found = lab.run(check);
            assert_eq!(found.code, 0, "{line}: {found:?}");
            assert!(child.wait().unwrap().success(), "{line}: {check}");
            lab.ok(&format!("vfolder path {made}"));
            lab.ok("check").quiet();
        }
    }
}

#[test]
fn a_volume_that_is_not_there_is_told_of_and_the_others_are_mended() {
    let lab = site();
    let image = lab.second("second", "ext4", 64 << 20);
    lab.ok(&format!("volume add second {} --quota none", image.mount.display()));
    lab.ok("vfolder create bob/far --volume second");
    let (mount, file) = (image.mount.to_str().unwrap(), lab.dir().join("second.img"));
    system("/usr/bin/umount", &[mount]);
    fs::remove_file(sidecar(&lab, "alice/data")).unwrap();
    let out = lab.run("-o json check --repair --yes");
    assert_eq!((out.code, left(&out)), (10, vec!["volume_unusable".to_owned()]), "{out:?}");
    assert_eq!(out.json()["mended"][0]["code"], "sidecar_missing");
    system("/usr/bin/mount", &["-o", "loop", file.to_str().unwrap(), mount]);
    lab.ok("check").quiet();
    // Nor is anything tried where nothing can be written.
    let scope = scope_of(&lab, "bob/far");
    fs::remove_dir_all(image.mount.join(".vfadm").join(scope.file_name().unwrap())).unwrap();
    system("/usr/bin/mount", &["-o", "remount,ro", mount]);
    let out = lab.run("-o json check --repair --yes");
    assert_eq!(left(&out), ["volume_read_only", "sidecar_missing", "sidecar_missing"], "{out:?}");
    assert!(!out.stderr.contains("warning: "), "{out:?}");
    system("/usr/bin/mount", &["-o", "remount,rw", mount]);
    lab.ok("check --repair");
}

/// Without a terminal nothing is asked: what loses something is left, and told with `--yes`.
#[test]
fn on_a_terminal_the_answer_decides_what_may_be_lost() {
    let lab = site();
    fs::create_dir(scope_of(&lab, "alice/data").join(".trash/0123456789abcdef0123456789abcdef")).unwrap();
    fs::remove_file(sidecar(&lab, "alice/data")).unwrap();
    lab.run("check --repair").exits(10).says(&[
        "hint: ",
        "vfadm check --repair --yes removes it for good",
        "mended: ",
    ]);
    let typed = format!("{VFADM} --root {} check --repair", lab.root.display());
    let asked = |answer: &str| {
        let line = format!("printf '{answer}\\r' | TERM=dumb /usr/bin/script -qec '{typed}' /dev/null");
        let out = Command::new("/bin/sh").args(["-c", &line]).output().unwrap();
        String::from_utf8_lossy(&out.stdout).into_owned()
    };
    let said = asked("n");
    assert!(said.contains("trash_left: ") && said.contains("Mend these too?"), "{said}");
    assert_eq!(codes(&lab), ["trash_left"]);
    asked("y");
    assert_eq!(codes(&lab), [""; 0]);
}

#[test]
fn mounts_of_a_session_that_nobody_knows_are_taken_away() {
    let lab = site();
    fs::create_dir(lab.path("alice/data").join("below")).unwrap();
    let name = format!("check-{}", std::process::id());
    lab.ok(&format!("session start {name} --user alice -m alice/data/below:/w --engine docker --lease 1h"));
    let text = lab.registry_text();
    let without: Vec<&str> = text.lines().filter(|line| !line.contains(&name)).collect();
    fs::write(lab.registry(), format!("{}\n", without.join("\n"))).unwrap();
    assert_eq!(codes(&lab), ["places_left"]);
    lab.ok("check --repair");
    assert_eq!(codes(&lab), [""; 0]);
    assert!(!std::path::Path::new("/run/vfadm/mounts").join(&name).exists());
}

#[test]
fn datasets_are_mended_too() {
    let up = LabUp::new(Some("zfs"));
    let zfs = |args: &[&str]| system("/usr/sbin/zfs", args);
    let pool = system("/usr/bin/findmnt", &["-no", "SOURCE", up.mount().to_str().unwrap()]);
    zfs(&["create", &format!("{}/v", pool.trim())]);
    let mut lab = Lab::bare();
    lab.volume = up.mount().join("v");
    lab.ok("init --volume spare=spare --quota none");
    lab.ok(&format!("volume add local {} --quota zfs --folders dataset", lab.volume.display()));
    for line in ["volume set local --default", "user add alice", "user add bob", "project add ml"] {
        lab.ok(line);
    }
    let lab = populated(lab);
    lab.ok("quota set alice 64m");
    assert_eq!(codes(&lab), [""; 0]);
    for what in [
        "the record was taken out",
        "the record of one in the trash was taken out",
        "a scope that everybody may pass",
        "a vfolder that is root's",
        "the records of a scope and its folders were taken out",
        "a purge that was cut off",
        "a sidecar was removed",
    ] {
        is_mended(&lab, DAMAGES.iter().find(|damage| damage.what == what).expect(what));
    }
    let scope = scope_of(&lab, "alice/data");
    let dataset = system("/usr/bin/findmnt", &["-no", "SOURCE", scope.to_str().unwrap()]);
    zfs(&["set", "quota=32M", dataset.trim()]);
    assert_eq!(codes(&lab), ["limit_differs"]);
    lab.ok("check --repair");
    assert_eq!(zfs(&["get", "-Hpo", "value", "quota", dataset.trim()]).trim(), (64 << 20).to_string());
    // One that is not mounted is told, and is not made again.
    let folder = system("/usr/bin/findmnt", &["-no", "SOURCE", lab.path("alice/data").to_str().unwrap()]);
    zfs(&["unmount", folder.trim()]);
    let found = lab.run("-o json check --repair --yes");
    assert_eq!(left(&found), ["vfolder_missing"], "{found:?}");
    zfs(&["mount", folder.trim()]);
    lab.ok("check").quiet();
}

#[test]
fn ten_thousand_folders_are_looked_through_in_seconds() {
    let lab = site();
    let script = r#"
import json, os, sys, uuid
root, volume, scope = sys.argv[1:4]
lines = open(root + "/registry.yaml").read().split("\n")
at = next(i for i, l in enumerate(lines) if l.startswith("vfolders:")) + 1
new = []
for n in range(10000):
    i = uuid.uuid4()
    d = i.hex
    path = f"{volume}/{scope}/{d[:2]}/{d[2:4]}/{d[4:]}"
    os.makedirs(path, mode=0o700)
    os.chmod(path, 0o770)
    os.chown(path, 50000, 50000)
    record = {"id": str(i), "volume": "local", "status": "ready", "created_at": "2026-11-25T00:00:00Z"}
    new.append(f'  "user/bob/f{n:05}": ' + json.dumps(record, separators=(",", ":")))
lines[at:at] = new
open(root + "/registry.yaml", "w").write("\n".join(lines))
"#;
    lab.ok("quota set bob unlimited");
    let scope = lab.json("quota show bob")["items"][0]["path"].as_str().unwrap().to_owned();
    let scope = scope.rsplit('/').next().unwrap();
    let (root, volume) = (lab.root.to_str().unwrap(), lab.volume.to_str().unwrap());
    system("/usr/bin/python3", &["-c", script, root, volume, scope]);
    // All sidecars are written, in a few changes.
    let begun = Instant::now();
    lab.ok("check --repair -q");
    let repaired = begun.elapsed();
    let begun = Instant::now();
    lab.ok("check");
    let looked = begun.elapsed();
    eprintln!("10,000 folders: repaired in {repaired:?}, looked through in {looked:?}");
    // A debug build on a machine that does other things too.
    assert!(looked < Duration::from_secs(10), "{looked:?}");
}
