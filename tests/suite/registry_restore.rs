//! `registry backup` and `registry restore`: an earlier registry comes back whole, whatever became of the present one.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::support::{Lab, Output, Snapshot, VFADM, system};

use super::consistency::{assert_whole, no_intents, records, registry};

/// Generation 6 is the lab's own; alice's folder `data` is generation 7, carol 8.
fn lab() -> Lab {
    let lab = Lab::plain();
    lab.ok("vfolder create alice/data");
    lab.ok("user add carol");
    assert_eq!(generation(&lab), 9);
    lab
}

fn generation(lab: &Lab) -> u64 {
    registry(lab)["vfadm"]["generation"].as_u64().unwrap()
}

fn items(lab: &Lab) -> Vec<Value> {
    lab.json("registry backup --list")["items"].as_array().unwrap().clone()
}

#[test]
fn a_backup_is_the_sealed_registry_for_root_alone() {
    let lab = lab();
    let file = lab.dir().join("copy.yaml");
    let target = file.display();
    lab.ok(&format!("registry backup {target}")).prints(&[&format!("generation 9 kept as {target}\n")]);
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o7777, 0o600);
    assert_eq!(fs::read(&file).unwrap(), fs::read(lab.registry()).unwrap());
    assert_eq!(lab.ok("registry backup -").stdout, lab.registry_text());
    lab.ok(&format!("registry backup {target}")).prints(&["(unchanged)"]);
    lab.ok("user add dave");
    lab.fails(4, &format!("registry backup {target}"))
        .says(&["exists already", "name another file or a directory, or replace it with --force"]);
    lab.ok(&format!("registry backup {target} --force"));
    assert!(fs::read_to_string(&file).unwrap().contains("\"dave\""));
    // An edit by hand is not sealed; its backup is.
    let text = lab.registry_text().replace("\"dave\"", "\"emil\"");
    fs::write(lab.registry(), text).unwrap();
    let sealed = lab.ok("registry backup -").stdout;
    fs::write(lab.registry(), sealed).unwrap();
    lab.ok("user show emil").quiet();
}

#[test]
fn a_directory_gets_a_file_that_is_named_by_generation_and_time() {
    let lab = lab();
    let dir = lab.dir().join("kept");
    fs::create_dir(&dir).unwrap();
    lab.ok(&format!("--dry-run registry backup {}", dir.display())).prints(&["planned, not done: "]);
    assert_eq!(fs::read_dir(&dir).unwrap().count(), 0);
    lab.ok(&format!("registry backup {}", dir.display()));
    let names: Vec<_> = fs::read_dir(&dir).unwrap().flatten().map(|e| e.file_name()).collect();
    assert!(names[0].to_str().unwrap().starts_with("registry-0000000009-20"), "{names:?}");
}

#[test]
fn the_backups_are_listed_also_without_a_registry() {
    let lab = lab();
    fs::remove_file(lab.registry()).unwrap();
    let items = items(&lab);
    assert_eq!(items.len(), 9);
    let last = &items[8];
    assert_eq!((&last["generation"], &last["records"]), (&9.into(), &7.into()), "{last}");
    assert!(last["time"].as_str().unwrap().ends_with('Z'));
    let file = Path::new(last["path"].as_str().unwrap());
    assert_eq!(last["size_bytes"], fs::metadata(file).unwrap().len());
    fs::write(file, "cut").unwrap();
    let broken = &self::items(&lab)[8];
    assert!(broken["records_unknown_reason"].as_str().unwrap().contains("line 1, column 1"), "{broken}");
}

#[test]
fn a_restore_shows_the_difference_and_asks() {
    let lab = lab();
    let before = Snapshot::of(&[&lab.root]);
    let carol = lab.registry_text().lines().find(|l| l.contains("\"carol\": ")).unwrap().to_owned();
    let shown = format!("@@ users @@\n-{carol}\n");
    let planned = lab.ok("--dry-run registry restore 8").stdout;
    assert!(planned.starts_with(&shown), "{planned}");
    assert!(planned.contains("planned, not done: registry restored from generation 8 ("), "{planned}");
    let asked = lab.fails(2, "registry restore 8");
    assert!(asked.stderr.starts_with(&shown) && asked.stderr.contains("say --yes"), "{}", asked.stderr);
    before.same_as(&Snapshot::of(&[&lab.root]), "a restore that was not answered");
    lab.ok("registry restore 8 --yes").prints(&["as generation 10; 1 record is different"]);
    lab.fails(3, "user show carol");
    assert_eq!(generation(&lab), 10, "generations go on upwards");
    lab.ok("registry restore 8 --yes").prints(&["(unchanged)"]);
}

#[test]
fn a_restore_is_a_change_on_record_that_can_be_undone() {
    let lab = lab();
    lab.ok("registry restore 8 --yes");
    let log = lab.json("registry log");
    let last = log["items"].as_array().unwrap().last().unwrap().clone();
    assert!(last["command"].as_str().unwrap().ends_with("registry restore 8 --yes"), "{last}");
    assert_eq!(last["changes"][0]["key"], "carol", "{last}");
    lab.ok("registry undo");
    lab.ok("user show carol").quiet();
}

#[test]
fn a_lost_cut_or_spoiled_registry_comes_back() {
    type Damage = fn(&Lab);
    let table: &[(&str, Damage, bool)] = &[
        ("gone", |lab| fs::remove_file(lab.registry()).unwrap(), false),
        // The newest backup is a link to the file, and goes with it: the history knows the last change.
        ("cut in place", |lab| fs::write(lab.registry(), "vfadm: {").unwrap(), true),
        ("emptied in place", |lab| fs::write(lab.registry(), "").unwrap(), true),
        ("empty", |lab| replace(lab, b""), true),
        ("cut", |lab| replace(lab, &fs::read(lab.registry()).unwrap()[..500]), true),
        ("zeroes", |lab| replace(lab, &[0; 4096]), true),
        ("no registry", |lab| replace(lab, b"%PDF-1.4\n\xff\xfe"), true),
    ];
    for (what, damage, aside) in table {
        let lab = lab();
        damage(&lab);
        lab.fails(9, "user list").says(&["vfadm registry restore --latest"]);
        lab.ok("registry restore --latest --yes").prints(&["from generation 9", "as generation 10"]);
        lab.ok("user show carol").quiet();
        // What was spoiled in place was a backup too, of the same file.
        let check = lab.run("check");
        assert!(check.code == 0 || check.stdout.contains("backup_unreadable"), "{what}: {check:?}");
        let kept = fs::read_dir(lab.root.join(".vfadm/backups")).unwrap().flatten();
        let kept = kept.filter(|e| e.file_name().to_str().unwrap().starts_with("broken-")).count();
        assert_eq!(kept == 1, *aside, "{what}: the broken file is kept");
        assert_eq!(fs::metadata(lab.registry()).unwrap().permissions().mode() & 0o7777, 0o600, "{what}");
        lab.ok("vfolder create alice/next");
        assert_eq!(generation(&lab), 11, "{what}");
    }
}

/// A new file in the place of the registry, as editors write.
fn replace(lab: &Lab, bytes: &[u8]) {
    let new = lab.root.join("new");
    fs::write(&new, bytes).unwrap();
    fs::rename(new, lab.registry()).unwrap();
}

#[test]
fn a_file_that_is_broken_or_another_registrys_is_refused() {
    let lab = lab();
    let other = Lab::plain();
    let file = lab.dir().join("other.yaml");
    let name = file.display();
    other.ok(&format!("registry backup {name}"));
    let line = format!("registry restore {name} --yes");
    let before = Snapshot::of(&[&lab.registry(), &lab.volume]);
    lab.fails(4, &line).says(&["is of the registry ", ", and this is ", "--force restores it all the same"]);
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, &text[..text.len() - 9]).unwrap();
    lab.fails(9, &line).says(&["line ", "column ", "the file was cut"]);
    fs::write(&file, text.replace("\"schema\":1", "\"schema\":2")).unwrap();
    lab.fails(9, &line).says(&["has schema 2, which is newer than this vfadm (1)", "install"]);
    fs::write(&file, text.replace("\"bob\":\"member\"", "\"zoe\":\"member\"")).unwrap();
    lab.fails(9, &line).says(&["line ", "project ml: its member 'zoe' does not exist"]);
    fs::remove_file(&file).unwrap();
    lab.fails(3, &line).says(&["there is no file"]);
    lab.fails(3, "registry restore 77 --yes").says(&["there is no backup of generation 77", "backup --list"]);
    lab.fails(2, "registry restore --yes");
    before.same_as(&Snapshot::of(&[&lab.registry(), &lab.volume]), "a refused restore");
    other.ok(&format!("registry backup {name}"));
    lab.ok(&format!("{line} --force"));
    assert_eq!(registry(&lab)["vfadm"]["registry"], registry(&other)["vfadm"]["registry"]);
}

#[test]
fn a_registry_of_a_newer_vfadm_is_not_written_over() {
    let lab = lab();
    let text = lab.registry_text().replace("\"schema\":1", "\"schema\":9");
    replace(&lab, text.as_bytes());
    for line in ["user list", "user add x", "registry restore --latest --yes", "registry edit"] {
        lab.fails(9, line)
            .says(&["has schema 9, which is newer than this vfadm (1)", "install the vfadm that wrote it"]);
    }
    lab.ok("registry restore --latest --yes --force");
}

#[test]
fn sessions_stay_as_the_present_registry_has_them() {
    let lab = lab();
    lab.ok("session start early --user alice -m data");
    let with = generation(&lab);
    lab.ok("session stop early");
    lab.ok("session start now --user alice -m data");
    lab.ok(&format!("registry restore {with} --yes")).prints(&["(unchanged)"]);
    assert_eq!(records(&lab, "sessions").into_keys().collect::<Vec<_>>(), ["now"]);
    lab.fails(6, "registry restore 6 --yes").says(&[
        "session now has user/alice/data mounted, which is not in the registry that is to be restored",
        "vfadm session stop now",
    ]);
    lab.ok("registry restore 6 --yes --force").says(&["warning: the session now is forgotten"]);
    assert!(records(&lab, "sessions").is_empty());
}

#[test]
fn what_was_cut_off_before_the_registry_was_lost_is_tidied_up() {
    for loss in ["gone", "there"] {
        let lab = lab();
        // Killed when the folder is there and the registry does not say so.
        let killed = Command::new("/usr/bin/strace")
            .args(["-qq", "-f", "-e", "trace=renameat", "-e", "inject=renameat:signal=KILL:when=1"])
            .args([VFADM, "--root"])
            .arg(&lab.root)
            .args(["vfolder", "create", "alice/half"])
            .output()
            .unwrap();
        assert!(!killed.status.success());
        assert_eq!(fs::read_dir(lab.root.join(".vfadm/intents")).unwrap().count(), 1, "an intent is left");
        if loss == "gone" {
            fs::remove_file(lab.registry()).unwrap();
        }
        lab.ok("registry restore 8 --yes");
        no_intents(&lab, loss);
        assert_whole(&lab, loss);
    }
}

#[test]
fn what_stands_beside_the_data_follows() {
    let lab = lab();
    let old = generation(&lab);
    lab.ok("vfolder rename alice/data model");
    lab.ok("volume block local clone");
    lab.ok(&format!("registry restore {old} --yes"));
    let found = system(
        "/bin/sh",
        &["-c", &format!("cat {0}/.vfadm/*/*.yaml {0}/.vfadm-volume.yaml", lab.volume.display())],
    );
    assert!(found.contains("name: \"data\"\n") && !found.contains("name: \"model\""), "{found}");
    assert!(!found.contains("\"blocked\""), "{found}");
}

/// Runs a command in 2 GiB of memory.
fn bounded(lab: &Lab, line: &str) -> Output {
    let mut command = Command::new("/usr/bin/prlimit");
    command.args(["--as=2147483648", VFADM, "--root"]).arg(&lab.root).args(line.split(' '));
    Output::of(line.to_owned(), &command.output().unwrap())
}

#[test]
fn a_file_that_was_cut_anywhere_is_refused() {
    let lab = lab();
    let whole = fs::read(lab.registry()).unwrap();
    let file = lab.dir().join("cut.yaml");
    let line = format!("registry restore {} --yes", file.display());
    let before = Snapshot::of(&[&lab.root]);
    for cut in (0..whole.len()).step_by(whole.len() / 50) {
        fs::write(&file, &whole[..cut]).unwrap();
        lab.fails(9, &line).says(&["cut.yaml: line ", "column "]);
    }
    before.same_as(&Snapshot::of(&[&lab.root]), "refused restores");
}

#[test]
fn a_flipped_bit_is_refused_or_shown() {
    let lab = lab();
    let whole = fs::read(lab.registry()).unwrap();
    let file = lab.dir().join("flipped.yaml");
    let line = format!("registry restore {} --dry-run", file.display());
    for at in (0..whole.len()).step_by(whole.len() / 60) {
        let mut bytes = whole.clone();
        bytes[at] ^= 1 << (at % 8);
        fs::write(&file, &bytes).unwrap();
        let out = lab.run(&line);
        assert!([0, 4, 9].contains(&out.code), "byte {at}: {out:?}");
        assert!(!out.stderr.contains("panicked"), "byte {at}: {out:?}");
        if out.code == 9 {
            assert!(out.stderr.contains("flipped.yaml: line "), "byte {at}: {out:?}");
        }
    }
}

#[test]
fn a_hostile_file_costs_bounded_memory_and_is_refused_in_a_sentence() {
    let lab = lab();
    let good = lab.registry_text();
    let file = lab.dir().join("hostile.yaml");
    let before = Snapshot::of(&[&lab.root]);
    let long = "a".repeat(64 << 20);
    let table: [(&str, String, &str); 8] = [
        ("a long line", long.clone(), "line 1, column 1: the file was cut"),
        ("a long key", good.replace("\"alice\": {", &format!("\"{long}\": {{")), ": line "),
        (
            "a bomb",
            good.replace("\nusers:", "\na: &a [x, x]\nb: [*a, *a]\nusers:"),
            "anchors (&), aliases (*)",
        ),
        (
            "many values",
            good.replace("\nusers:", &format!("\nx: [{}1]\nusers:", "1,".repeat(4 << 20))),
            "more values than a record can hold",
        ),
        (
            "depth",
            good.replace("\nusers:", &format!("\nx: {}\nusers:", "[".repeat(1 << 20))),
            "nested more than 100 levels deep",
        ),
        (
            "a section twice",
            good.replace("\nusers:", "\nusers: {}\nusers:"),
            "the key \"users\" stands twice",
        ),
        (
            "a user twice",
            good.replace("  \"bob\": {", "  \"bob\": {\"id\":\"b\"}\n  \"bob\": {"),
            "the key \"bob\" stands twice",
        ),
        ("a wrong type", good.replace("\"uid\":50000", "\"uid\":[]"), "line 3, column "),
    ];
    for (what, text, words) in table {
        assert_ne!(text, good, "{what}");
        fs::write(&file, text).unwrap();
        let out = bounded(&lab, &format!("registry restore {} --yes", file.display())).exits(9);
        assert!(
            out.stderr.contains("hostile.yaml: line ") && out.stderr.contains(words),
            "{what}: {:.900}",
            out.stderr
        );
        assert!(out.stderr.len() < 2000, "{what}: {} bytes are said", out.stderr.len());
    }
    fs::remove_file(&file).unwrap();
    system("/usr/bin/mkfifo", &[file.to_str().unwrap()]);
    lab.fails(9, &format!("registry restore {} --yes", file.display())).says(&["is not a regular file"]);
    before.same_as(&Snapshot::of(&[&lab.root]), "refused restores");
}

#[test]
fn a_generation_that_cannot_be_is_a_fault_with_its_place_and_never_a_panic() {
    for generation in [u64::MAX, u64::MAX - 1, 1 << 53] {
        let lab = lab();
        let good = lab.registry_text();
        let text = good.replacen("\"generation\":9", &format!("\"generation\":{generation}"), 1);
        assert_ne!(text, good);
        replace(&lab, text.as_bytes());
        let words = format!("{generation} is no generation: the highest is 9007199254740991");
        for line in ["user list", "user add dave", "check"] {
            lab.fails(9, line).says(&["line 2, column ", &words, "vfadm registry restore --latest"]);
        }
        // A line of the history, and the name of a backup.
        let months = fs::read_dir(lab.root.join(".vfadm/history")).unwrap().flatten();
        let month = months.map(|e| e.path()).next().unwrap();
        let lines = fs::read_to_string(&month).unwrap();
        let line = lines.lines().last().unwrap();
        let high = line.replacen("\"generation\":9", &format!("\"generation\":{generation}"), 1);
        assert_ne!(high, line);
        fs::write(&month, format!("{lines}{high}\n")).unwrap();
        let backup = lab.root.join(format!(".vfadm/backups/registry-{generation}-20990101T000000Z.yaml"));
        fs::write(backup, &text).unwrap();
        lab.ok("registry restore --latest --yes").prints(&["as generation 10;"]);
        lab.ok("user add dave").quiet();
        lab.ok("registry log").says(&["is passed over: ", &words]);
    }
}

#[test]
fn after_the_highest_generation_nothing_is_committed() {
    let lab = lab();
    let text = lab.registry_text().replacen("\"generation\":9", "\"generation\":9007199254740991", 1);
    replace(&lab, text.as_bytes());
    lab.ok("user list");
    lab.fails(9, "user add dave").says(&["is the highest: nothing can be committed after it"]);
    lab.ok("user list");
}

#[test]
fn a_root_without_a_registry_names_rebuild_beside_init() {
    let lab = lab();
    let root = lab.root.display().to_string();
    fs::remove_file(lab.registry()).unwrap();
    fs::remove_dir_all(lab.root.join(".vfadm")).unwrap();
    let rebuild = format!("bring it back: vfadm --root {root} registry rebuild");
    lab.fails(9, "user list").says(&[
        "there is no registry at ",
        &format!("vfadm --root {root} init; "),
        &rebuild,
    ]);
    let away = lab.dir().join("away").display().to_string();
    let words = format!("bring it back: mkdir -p {away} && vfadm --root {away} registry rebuild");
    lab.fails(9, &format!("--root {away} user list")).says(&[&words]);
}
