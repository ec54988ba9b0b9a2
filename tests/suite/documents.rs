//! `-o json` and `-o yaml`: the fixed shapes that scripts rely on.

use serde_json::Value;

use crate::support::{Lab, MIB};

fn lab() -> Lab {
    let lab = Lab::btrfs();
    lab.ok("vfolder create alice/data --quota-init 64m");
    lab.ok("vfolder create project/ml/sets --perm ro");
    lab.ok("vfolder create bob/old");
    lab.ok("vfolder delete bob/old");
    lab.ok(&format!(
        "session start s1 --user alice --project ml -m data:/w:ro --holder pid:{}",
        std::process::id()
    ));
    lab
}

fn keys<'a>(document: &Value, wanted: &[&'a str]) -> Vec<&'a str> {
    wanted.iter().filter(|k| document.get(**k).is_none()).copied().collect()
}

/// Lists, what one item is called, and the keys that are always there.
const LISTS: &[(&str, &str, &[&str])] = &[
    (
        "vfolder list",
        "VFolder",
        &["id", "name", "owner", "volume", "path", "status", "cloneable", "shares", "created_at"],
    ),
    ("trash list", "VFolder", &["id", "name", "owner", "volume", "status"]),
    (
        "quota show",
        "QuotaScope",
        &["owner", "volume", "path", "driver", "limit_bytes", "used_bytes", "enforcement"],
    ),
    (
        "volume list",
        "Volume",
        &["name", "path", "driver", "allowed", "mounted", "filesystem", "total_bytes", "used_bytes"],
    ),
    (
        "session list",
        "Session",
        &["id", "name", "user", "project", "kernels", "mounts", "state", "holder", "started_at"],
    ),
    ("user list", "User", &["name", "state"]),
    ("project list", "Project", &["name", "state", "members"]),
    (
        "registry log",
        "Change",
        &["generation", "time", "actor", "login", "host", "command", "state", "storage", "edited", "changes"],
    ),
];

#[test]
fn a_list_says_what_it_lists_and_how_many() {
    let lab = lab();
    for (line, kind, wanted) in LISTS {
        let list = lab.json(line);
        assert_eq!(list["apiVersion"], "vfadm/v1", "{line}");
        assert_eq!(list["kind"], format!("{kind}List"), "{line}");
        let items = list["items"].as_array().expect("items");
        assert_eq!(list["count"], items.len(), "{line}");
        assert!(!items.is_empty(), "{line}");
        for item in items {
            assert_eq!(keys(item, wanted), [""; 0], "{line}: missing in {item}");
        }
    }
}

#[test]
fn one_thing_has_the_keys_that_it_has_in_a_list() {
    let lab = lab();
    for (show, list) in [
        ("vfolder show alice/data", "vfolder list --owner alice"),
        ("user show alice", "user list"),
        ("project show ml", "project list"),
        ("volume show local", "volume list"),
        ("session show s1", "session list"),
    ] {
        let one = lab.json(show);
        let many = lab.json(list);
        assert_eq!(one["apiVersion"], "vfadm/v1", "{show}");
        assert_eq!(
            format!("{}List", one["kind"].as_str().unwrap()),
            many["kind"].as_str().unwrap(),
            "{show}"
        );
        for (key, value) in many["items"][0].as_object().unwrap() {
            if !["kind", "apiVersion", "used_bytes"].contains(&key.as_str()) {
                assert_eq!(&one[key], value, "{show}: {key}");
            }
        }
    }
}

#[test]
fn numbers_are_bytes_times_are_utc_and_unlimited_is_null() {
    let lab = lab();
    let scope = &lab.json("quota show alice")["items"][0];
    assert_eq!(scope["owner"], "user/alice");
    assert_eq!(scope["limit_bytes"], 64 * MIB);
    assert!(scope["used_bytes"].is_u64(), "{scope}");
    assert_eq!(scope["enforcement"], "kernel");
    let free = &lab.json("quota show project/ml")["items"][0];
    assert_eq!(free["limit_bytes"], Value::Null);
    assert!(free.as_object().unwrap().contains_key("limit_bytes"));
    let folder = lab.json("vfolder show alice/data");
    assert_eq!(folder["owner"], "user/alice");
    let created = folder["created_at"].as_str().unwrap();
    assert!(created.len() >= 20 && created.ends_with('Z') && created.contains('T'), "{created}");
    assert_eq!(lab.json("vfolder show project/ml/sets")["permission"], "ro");
    assert_eq!(folder["shares"], serde_json::json!([]));
}

#[test]
fn yaml_holds_the_same_as_json() {
    let lab = lab();
    for (line, ..) in LISTS.iter().filter(|(line, ..)| !line.contains("volume") && !line.contains("quota")) {
        let yaml = lab.ok(&format!("-o yaml {line}"));
        let yaml: Value = serde_yaml::from_str(&yaml.stdout).expect("YAML");
        assert_eq!(yaml, lab.json(line), "{line}");
    }
}

#[test]
fn a_change_is_a_result() {
    let lab = lab();
    lab.ok("session start s2 --user bob");
    for (line, outcome) in [
        ("vfolder create bob/new", "created"),
        ("vfolder set bob/new --cloneable", "changed"),
        ("vfolder set bob/new --cloneable", "unchanged"),
        ("vfolder rename bob/new newer", "changed"),
        ("quota set bob 32m", "changed"),
        ("quota set bob 32m", "unchanged"),
        ("vfolder delete bob/newer", "deleted"),
        ("vfolder restore bob/newer", "changed"),
        ("vfolder delete bob/newer --purge --yes", "deleted"),
        ("user add carol", "created"),
        ("user remove carol --yes", "deleted"),
        ("session stop s2", "deleted"),
    ] {
        let out = lab.ok(&format!("-o json {line}"));
        // The holder of that session lives on, which is worth a warning.
        assert!(out.stderr.is_empty() || line == "session stop s1", "{out:?}");
        let result = out.json();
        assert_eq!(result["kind"], "Result", "{line}");
        assert_eq!(result["outcome"], outcome, "{line}");
        assert!(result["steps"].is_array(), "{line}: {result}");
    }
}

#[test]
fn tables_are_for_eyes_and_fit_a_narrow_terminal() {
    let lab = lab();
    let table = lab.ok("vfolder list").prints(&["user/alice", "data", "local", "ready"]);
    assert!(!table.stdout.contains('\u{1b}'), "colours in a pipe");
    let mut command = lab.command(["vfolder", "list"]);
    let out = command.env("COLUMNS", "60").output().unwrap();
    assert!(out.status.success());
    let typed = format!("stty cols 60; {} --root {} vfolder list", crate::support::VFADM, lab.root.display());
    let shown = crate::support::system("/usr/bin/script", &["-qec", &typed, "/dev/null"]);
    for line in shown.lines() {
        assert!(line.trim_end().chars().count() <= 60, "{line:?} is wider than the terminal");
    }
}

#[test]
fn vfolder_path_is_one_bare_line() {
    let lab = lab();
    let out = lab.ok("vfolder path alice/data").quiet();
    assert_eq!(out.stdout.lines().count(), 1);
    assert!(std::path::Path::new(out.stdout.trim_end()).is_dir());
}

#[test]
fn what_was_removed_is_in_the_result() {
    let lab = lab();
    lab.ok("session stop s1");
    let other = lab.second("other", "ext4", 64 * MIB);
    let added = lab.json(&format!("volume add other {} --quota none", other.mount.display()));
    assert_eq!(added["item"]["mounted"], true, "{added}");
    for (line, kind, name) in [
        ("vfolder purge bob/old", "VFolder", "old"),
        ("user remove bob", "User", "bob"),
        ("project remove ml --purge", "Project", "ml"),
        ("volume remove other", "Volume", "other"),
    ] {
        let planned = lab.json(&format!("{line} --dry-run"));
        let result = lab.json(&format!("{line} --yes"));
        assert_eq!((&result["kind"], &result["outcome"]), (&"Result".into(), &"deleted".into()), "{line}");
        assert_eq!(
            (&result["item"]["kind"], &result["item"]["name"]),
            (&kind.into(), &name.into()),
            "{line}"
        );
        assert_eq!(planned["item"]["name"], name, "{line}");
        assert_eq!(planned["steps"][0], result["steps"][0], "{line}: a dry run prints what is done");
    }
}
