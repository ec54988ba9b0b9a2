//! `registry rebuild`: a registry that was lost with all its backups comes back from what stands on the volumes.

mod faults;
mod numbers;
mod places;

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::support::{Image, Lab, Output, Snapshot, kernel_limits, system};

use super::consistency::{assert_whole, records, registry};

/// Sections of which every field has to come back.
const SECTIONS: [&str; 5] = ["volumes", "users", "projects", "scopes", "vfolders"];

/// A site with something of everything on a btrfs volume with simple quotas and a second volume.
fn rich() -> (Lab, Image) {
    let lab = Lab::btrfs();
    let second = lab.second("slow", "btrfs", 256 << 20);
    for line in [
        &format!("volume add slow {} --quota btrfs", second.mount.display()),
        "volume set local --default",
        "user add carol --max-vfolders 9 --max-quota 64m --default-quota 16m",
        "project add chem --default-quota 8m",
        "project add-member chem carol --role admin",
        "project add-member chem bob",
        "volume block slow clone invite",
        "volume block local share --for bob",
        "volume allow slow clone --for project/ml",
        "vfolder create alice/data --quota-init 32m",
        "vfolder create alice/.config",
        "vfolder create alice/slow --volume slow",
        "vfolder create project/ml/sets --perm ro --cloneable",
        "vfolder create project/chem/runs --volume slow --perm rw",
        "vfolder create carol/gone",
        "vfolder delete carol/gone",
        "vfolder share project/ml/sets --with bob --perm rw",
        "vfolder share alice/data --with bob carol --perm ro",
        "vfolder rename alice/slow archive",
        "quota set alice 48m",
        "quota set bob 12m --volume slow",
        "vfolder create bob/short",
        "quota set bob 20m",
        "vfolder delete bob/short --purge --yes",
        "user add dave",
        "user add eve",
        "user remove dave --yes",
        "user set bob --state inactive",
    ] {
        lab.ok(line);
    }
    fs::write(lab.path("alice/data").join("f"), vec![1; 3 << 20]).unwrap();
    (lab, second)
}

fn lose(lab: &Lab) {
    fs::remove_file(lab.registry()).unwrap();
    fs::remove_dir_all(lab.root.join(".vfadm")).unwrap();
}

fn all(lab: &Lab) -> Value {
    SECTIONS.iter().map(|section| (section.to_string(), json!(records(lab, section)))).collect()
}

/// What a lost registry says of users and projects, and how a rebuild ends.
fn rebuild(lab: &Lab) -> Output {
    lab.ok("registry rebuild --yes")
}

#[test]
fn every_record_comes_back_as_it_was() {
    let (lab, second) = rich();
    system("/bin/sync", &["-f", lab.volume.to_str().unwrap()]);
    let (before, header, settings) =
        (all(&lab), registry(&lab)["vfadm"].clone(), registry(&lab)["settings"].clone());
    let (quotas, limits) = (lab.json("quota show"), kernel_limits(&lab.volume));
    let volumes = Snapshot::of(&[&lab.volume, &second.mount]);
    lose(&lab);
    lab.fails(9, "user list").says(&["there is no registry at"]);

    let planned = lab.ok("--dry-run registry rebuild");
    assert!(planned.stdout.contains("+  \"user/alice/archive\": {"), "{}", planned.stdout);
    // Mount points of others may hang.
    let mut told = planned.stderr.lines().filter(|line| !line.ends_with("does not answer"));
    assert_eq!(told.next(), None, "nothing is in doubt");
    volumes.same_as(&Snapshot::of(&[&lab.volume, &second.mount]), "a rebuild that was not carried out");
    lab.fails(2, "registry rebuild").says(&["Make a registry of 2 volumes, 4 users, 2 projects, 6 vfolders; sessions and invitations are gone? There is no terminal"]);
    let out = rebuild(&lab);
    let generation = header["generation"].as_u64().unwrap() + 1;
    assert_eq!(
        out.stdout,
        format!(
            "registry rebuilt as generation {generation}: 2 volumes, 4 users, 2 projects, 6 vfolders; sessions and \
             invitations are gone\n"
        )
    );

    let after = all(&lab);
    for section in SECTIONS {
        assert_eq!(after[section], before[section], "{section}");
    }
    assert_eq!(registry(&lab)["settings"], settings);
    assert_eq!(registry(&lab)["vfadm"]["registry"], header["registry"]);
    assert_eq!(registry(&lab)["vfadm"]["generation"], generation);
    assert_eq!(fs::metadata(lab.registry()).unwrap().permissions().mode() & 0o7777, 0o600);
    lab.ok("check").quiet();
    assert_eq!(lab.json("quota show"), quotas);
    assert_eq!(kernel_limits(&lab.volume), limits);
    assert_whole(&lab, "after a rebuild");
    // And it goes on.
    lab.ok("vfolder create eve/new");
    lab.ok("vfolder restore carol/gone");
    lab.ok("check").quiet();
}

#[test]
fn a_registry_that_can_be_read_is_not_rebuilt() {
    let lab = Lab::plain();
    lab.fails(4, "registry rebuild --yes").says(&[
        "can be read: there is nothing to rebuild",
        "vfadm registry restore goes back to a backup",
        "--force",
    ]);
    let before = all(&lab);
    lab.ok("registry rebuild --yes --force");
    assert_eq!(all(&lab), before);
    fs::write(lab.registry(), "spoiled").unwrap();
    lab.ok("registry rebuild --yes")
        .says(&["warning: there is a backup that can be read: 'vfadm registry restore --latest'"]);
    assert_eq!(all(&lab), before);
}

#[test]
fn creating_folders_writes_nothing_more_for_it() {
    let lab = Lab::plain();
    let file = lab.volume.join(".vfadm/registry.yaml");
    let before = fs::read(&file).unwrap();
    for line in [
        "vfolder create alice/data",
        "vfolder rename alice/data b",
        "vfolder delete alice/b",
        "session start s --user bob",
    ] {
        lab.ok(line);
        assert_eq!(fs::read(&file).unwrap(), before, "{line}");
    }
    for line in [
        "user add zoe",
        "user set zoe --max-vfolders 3",
        "project add-member ml zoe",
        "user remove zoe --yes",
    ] {
        let before = fs::read(&file).unwrap();
        lab.ok(line);
        assert_ne!(fs::read(&file).unwrap(), before, "{line}");
    }
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o7777, 0o600);
}

/// A plain lab with folders of alice, bob and ml; the path of a sidecar.
fn small() -> Lab {
    let lab = Lab::plain();
    for line in [
        "vfolder create alice/data",
        "vfolder create alice/second",
        "vfolder create project/ml/sets --perm ro",
        "vfolder share project/ml/sets --with bob --perm rw",
    ] {
        lab.ok(line);
    }
    lab
}

fn sidecar(lab: &Lab, key: &str) -> PathBuf {
    let record = &records(lab, "vfolders")[key];
    let id = record["id"].as_str().unwrap().replace('-', "");
    let scopes = fs::read_dir(lab.volume.join(".vfadm")).unwrap().flatten();
    let mut files = scopes.map(|scope| scope.path().join(format!("{id}.yaml")));
    files.find(|file| file.exists()).expect("a sidecar")
}

#[test]
fn without_the_list_of_users_the_owners_and_those_that_are_named_come_back() {
    let lab = small();
    lab.ok("user add unseen");
    let before = records(&lab, "vfolders");
    fs::remove_file(lab.volume.join(".vfadm/registry.yaml")).unwrap();
    lose(&lab);
    rebuild(&lab).says(&[
        "no volume has the list of all users and projects",
        "user/bob is named, but nothing else is known of it",
    ]);
    assert_eq!(records(&lab, "vfolders"), before);
    assert_eq!(records(&lab, "users").into_keys().collect::<Vec<_>>(), ["alice", "bob"]);
    assert_eq!(records(&lab, "projects")["ml"]["members"], json!({"alice": "admin", "bob": "member"}));
    lab.ok("check").quiet();
}

#[test]
fn a_folder_without_a_sidecar_that_can_be_read_is_its_scopes_owners() {
    type Damage = fn(&Path);
    let table: &[(&str, Damage, &str)] = &[
        ("gone", |file| fs::remove_file(file).unwrap(), ""),
        ("empty", |file| fs::write(file, "").unwrap(), "line 1, column 1"),
        ("cut", |file| fs::write(file, &fs::read(file).unwrap()[..120]).unwrap(), "line "),
        ("not text", |file| fs::write(file, b"\xff\xfe").unwrap(), "the byte 0xff is not UTF-8 text"),
        ("a list", |file| fs::write(file, "[1, 2]\n").unwrap(), "line 1"),
        ("a key twice", |file| append(file, "name: x\n"), "the key \"name\" stands twice"),
        ("an anchor", |file| append(file, "x: &a [1]\ny: *a\n"), "anchors (&), aliases (*)"),
        (
            "deep",
            |file| append(file, &format!("x: {}\n", "[".repeat(100_000))),
            "nested more than 100 levels deep",
        ),
        (
            "many values",
            |file| append(file, &format!("x: [{}1]\n", "1,".repeat(530_000))),
            "is larger than 1048576 bytes",
        ),
        ("a wrong type", |file| replace(file, "generation: ", "generation: x"), "line "),
        (
            "another id",
            |file| replace(file, "\"id\":\"", "\"id\":\"00000000-0000-4000-8000-000000000000\",\"x\":\""),
            "",
        ),
        (
            "a long line",
            |file| fs::write(file, vec![b'a'; 100 << 20]).unwrap(),
            "is larger than 1048576 bytes",
        ),
        (
            "a link",
            |file| swap(file, |file| symlink("/etc/passwd", file).unwrap()),
            "Too many levels of symbolic links",
        ),
        (
            "a fifo",
            |file| swap(file, |file| drop(system("/usr/bin/mkfifo", &[file.to_str().unwrap()]))),
            "is not a regular file",
        ),
        ("a directory", |file| swap(file, |file| fs::create_dir_all(file).unwrap()), "is not a regular file"),
    ];
    for (what, damage, words) in table {
        let lab = small();
        let file = sidecar(&lab, "user/alice/second");
        let id = lab.folder("alice/second", "id");
        damage(&file);
        lose(&lab);
        let name = format!("recovered-{}", &id[..8]);
        rebuild(&lab).says(&[&format!("user/alice/{name} was found by its directory"), words]);
        assert_eq!(lab.folder(&format!("alice/{name}"), "id"), id, "{what}");
        assert_eq!(lab.folder(&format!("alice/{name}"), "status"), "ready", "{what}");
        assert_eq!(lab.folder("alice/data", "status"), "ready", "{what}");
        // A directory in the place of a sidecar is left to an administrator.
        lab.run("check --repair");
        let check = lab.run("check");
        assert!(check.code == 0 || check.stdout.contains("is not a regular file"), "{what}: {check:?}");
    }
}

fn append(file: &Path, text: &str) {
    let before = fs::read_to_string(file).unwrap();
    fs::write(file, before + text).unwrap();
}

fn replace(file: &Path, from: &str, to: &str) {
    let before = fs::read_to_string(file).unwrap();
    assert!(before.contains(from), "{before}");
    fs::write(file, before.replacen(from, to, 1)).unwrap();
}

fn swap(file: &Path, with: impl FnOnce(&Path)) {
    fs::remove_file(file).unwrap();
    with(file);
}

#[test]
fn what_contradicts_is_told_and_nothing_is_lost() {
    type Damage = fn(&Lab);
    let table: &[(&str, Damage, &[&str], &[&str])] = &[
        (
            "two folders of one name",
            |lab| replace(&sidecar(lab, "user/alice/data"), "name: \"data\"", "name: \"second\""),
            &["user/alice has two folders 'second': the older one is user/alice/second-"],
            &["user/alice/second"],
        ),
        (
            "a name that is none",
            |lab| replace(&sidecar(lab, "user/alice/data"), "name: \"data\"", "name: \"../../etc\""),
            &["was called '../../etc', which cannot be a vfolder name"],
            &["user/alice/second"],
        ),
        (
            "a sidecar without a directory",
            |lab| fs::remove_dir(lab.path("alice/data")).unwrap(),
            &["has no directory: it is left as it is"],
            &["user/alice/second"],
        ),
        (
            "a folder that somebody moved to the trash",
            |lab| {
                let path = lab.path("alice/data");
                let scope = path.ancestors().nth(3).unwrap().to_owned();
                fs::create_dir_all(scope.join(".trash")).unwrap();
                let id = lab.folder("alice/data", "id").replace('-', "");
                fs::rename(path, scope.join(".trash").join(id)).unwrap();
            },
            &["user/alice/data was ready by its sidecar, and is trashed by its directory"],
            &["user/alice/data", "user/alice/second"],
        ),
        (
            "a scope of nobody",
            |lab| fs::create_dir_all(lab.volume.join("0".repeat(32))).unwrap(),
            &["nobody is known to own the quota scope 00000000000000000000000000000000 on 'local'"],
            &["user/alice/data", "user/alice/second"],
        ),
        (
            "a grant to a user who was removed",
            |lab| replace(&sidecar(lab, "project/ml/sets"), "\"bob\"", "\"old\""),
            &["project/ml/sets was shared with users who are not there any more"],
            &["project/ml/sets"],
        ),
        (
            "a scope's sidecar of somebody else",
            |lab| {
                replace(
                    &sidecar(lab, "user/alice/data").with_file_name("scope.yaml"),
                    "\"id\":\"",
                    "\"id\":\"11111111-0000-4000-8000-000000000000\",\"x\":\"",
                )
            },
            &["is another's, user/alice"],
            &["user/alice/data", "user/alice/second"],
        ),
        (
            "a spoiled list of users",
            |lab| fs::write(lab.volume.join(".vfadm/registry.yaml"), "vfadm: {").unwrap(),
            &["registry.yaml: line 1, column 1: ", "no volume has the list of all users"],
            &["user/alice/data"],
        ),
    ];
    for (what, damage, words, there) in table {
        let lab = small();
        damage(&lab);
        let files = names(&lab.volume);
        lose(&lab);
        let planned = lab.ok("--dry-run registry rebuild");
        rebuild(&lab).says(words);
        for word in *words {
            assert!(planned.stderr.contains(word), "{what}: {}", planned.stderr);
        }
        for key in *there {
            assert!(records(&lab, "vfolders").contains_key(*key), "{what}: {key}");
        }
        assert!(files.iter().all(|file| names(&lab.volume).contains(file)), "{what}: files are missing");
        // Sidecars of what is not there go, also those that come to light by that; a scope of nobody is left to an administrator.
        for _ in 0..2 {
            lab.run("check --repair --yes");
        }
        let check = lab.run("check");
        assert!(check.code == 0 || check.stdout.contains("scope_unowned"), "{what}: {check:?}");
        lab.ok("vfolder create alice/next");
    }
}

/// Everything below a directory.
fn names(dir: &Path) -> Vec<String> {
    system("/usr/bin/find", &[dir.to_str().unwrap()]).lines().map(str::to_owned).collect()
}

#[test]
fn a_limit_that_the_storage_holds_counts_more_than_its_sidecar() {
    let lab = Lab::btrfs();
    lab.ok("vfolder create alice/data --quota-init 32m");
    let file = sidecar(&lab, "user/alice/data").with_file_name("scope.yaml");
    replace(&file, "\"limit\":33554432", "\"limit\":1");
    lose(&lab);
    rebuild(&lab).says(&["user/alice@local: the storage holds a limit of 32 MiB, its sidecar says 1 B"]);
    lab.ok("check").quiet();
    assert_eq!(records(&lab, "scopes")["user/alice@local"]["limit"], 32 << 20);
    assert!(
        records(&lab, "scopes")["user/alice@local"]["source"].is_null(),
        "as if an administrator had set it"
    );
}

#[test]
fn volumes_are_found_in_the_root_at_mount_points_and_where_they_are_named() {
    let lab = Lab::plain();
    let second = lab.second("disk", "ext4", 64 << 20);
    let aside = lab.dir().join("aside");
    lab.ok(&format!("volume add disk {} --quota none", second.mount.display()));
    lab.ok(&format!(
        "volume add aside {} --quota none",
        fs::create_dir_all(&aside).map(|()| aside.display()).unwrap()
    ));
    for volume in ["local", "disk", "aside"] {
        lab.ok(&format!("vfolder create alice/{volume} --volume {volume}"));
    }
    let before = all(&lab);
    lose(&lab);
    lab.fails(8, "registry rebuild --yes").says(&[
        &format!("the volume 'aside' of {} was not found", aside.display()),
        &format!("mount it, or say where it is: --volume {}", aside.display()),
    ]);
    lab.fails(3, &format!("registry rebuild --yes --volume {}", lab.dir().display()))
        .says(&["has no marker .vfadm-volume.yaml"]);
    lab.ok(&format!("registry rebuild --yes --volume {}", aside.display())).prints(&["3 volumes, 2 users"]);
    assert_eq!(all(&lab), before);
    // A volume that is elsewhere is taken where it is.
    let moved = lab.dir().join("moved");
    fs::rename(&aside, &moved).unwrap();
    lose(&lab);
    lab.ok(&format!("registry rebuild --yes --volume {}", moved.display())).says(&[&format!(
        "the volume 'aside' was at {}, and is at {}",
        aside.display(),
        moved.display()
    )]);
    lab.ok("check").quiet();
    lose(&lab);
    lab.ok("registry rebuild --yes --force").says(&["was not found: it is left out"]);
    assert_eq!(records(&lab, "volumes").into_keys().collect::<Vec<_>>(), ["disk", "local"]);
}

#[test]
fn volumes_of_another_registry_are_no_part_of_it() {
    let (lab, other) = (small(), small());
    let before = all(&lab);
    lose(&lab);
    lab.ok(&format!("registry rebuild --yes --volume {}", lab.volume.display()));
    assert_eq!(all(&lab), before);
    lose(&lab);
    let line = format!(
        "registry rebuild --yes --volume {} --volume {}",
        lab.volume.display(),
        other.volume.display()
    );
    lab.fails(4, &line).says(&["there are volumes of several registries"]);
    let bare = Lab::bare();
    fs::create_dir_all(&bare.root).unwrap();
    bare.ok(&format!("registry rebuild --yes --volume {}", other.volume.display()));
    assert_eq!(records(&bare, "vfolders"), records(&other, "vfolders"));
}

#[test]
fn a_marker_that_is_hostile_is_told_and_left_out() {
    for (what, text, words) in [
        ("a bomb", "a: &a [1]\nb: *a\n".to_owned(), "anchors (&), aliases (*)"),
        ("no marker", "hello: world\n".to_owned(), "missing field"),
        ("a long line", "a".repeat(2 << 20), "is larger than 1048576 bytes"),
    ] {
        let lab = small();
        let evil = lab.root.join("evil");
        fs::create_dir_all(&evil).unwrap();
        fs::write(evil.join(".vfadm-volume.yaml"), text).unwrap();
        lose(&lab);
        let out = rebuild(&lab).says(&[words]);
        assert!(out.stderr.contains("evil/.vfadm-volume.yaml"), "{what}: {}", out.stderr);
        lab.ok("check").quiet();
    }
}

#[test]
fn a_change_that_was_cut_off_is_undone_first() {
    let lab = small();
    let killed = std::process::Command::new("/usr/bin/strace")
        .args(["-qq", "-f", "-e", "trace=renameat", "-e", "inject=renameat:signal=KILL:when=1"])
        .args([crate::support::VFADM, "--root"])
        .arg(&lab.root)
        .args(["vfolder", "create", "alice/half"])
        .output()
        .unwrap();
    assert!(!killed.status.success());
    fs::remove_file(lab.registry()).unwrap();
    fs::remove_dir_all(lab.root.join(".vfadm/backups")).unwrap();
    lab.fails(9, "user list").says(&["has gone", "vfadm registry rebuild"]);
    rebuild(&lab);
    super::consistency::no_intents(&lab, "after a rebuild");
    assert_eq!(
        records(&lab, "vfolders").into_keys().collect::<Vec<_>>(),
        ["project/ml/sets", "user/alice/data", "user/alice/second"]
    );
    assert_whole(&lab, "after a rebuild");
}
