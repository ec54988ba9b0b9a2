//! What a session gets to see, and the record of it.

use serde_json::Value;

use crate::support::Lab;

fn mounts(plan: &Value) -> Vec<(String, String, bool)> {
    let mounts = plan["mounts"].as_array().expect("mounts");
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    mounts.iter().map(|m| (text(&m["target"]), text(&m["permission"]), m["auto"] == true)).collect()
}

fn mount(target: &str, permission: &str, auto: bool) -> (String, String, bool) {
    (target.to_owned(), permission.to_owned(), auto)
}

#[test]
fn dot_folders_are_mounted_without_being_asked_for() {
    let lab = Lab::plain();
    lab.ok("vfolder create alice/.config");
    lab.ok("vfolder create alice/data");
    lab.ok("vfolder create project/ml/.local");
    assert_eq!(mounts(&lab.json("session plan --user alice")), [mount("/home/work/.config", "rw", true)]);
    assert_eq!(mounts(&lab.json("session plan --user bob")), []);
    let skipped = &lab.json("session plan --user alice")["skipped"];
    assert!(skipped.to_string().contains("user/alice/data"), "what is not mounted, and why: {skipped}");
    let with_project = mounts(&lab.json("session plan --user alice --project ml"));
    assert_eq!(
        with_project,
        [mount("/home/work/.config", "rw", true), mount("/home/work/.local", "rw", true)]
    );

    // The user's own .local beats the project's, and an explicit mount beats an automatic one.
    lab.ok("vfolder create alice/.local");
    let own = lab.json("session plan --user alice --project ml");
    let local =
        own["mounts"].as_array().unwrap().iter().find(|m| m["target"] == "/home/work/.local").unwrap();
    assert!(local["vfolder"].to_string().contains("user/alice/.local"), "{own}");
    let explicit = mounts(&lab.json("session plan --user alice -m .config:/c:ro"));
    assert!(explicit.contains(&mount("/c", "ro", false)), "{explicit:?}");
    assert!(!explicit.contains(&mount("/home/work/.config", "rw", true)), "{explicit:?}");
}

#[test]
fn levels_decide_what_is_mounted_and_how() {
    let lab = Lab::plain();
    lab.ok("vfolder create project/ml/read --perm ro");
    lab.ok("vfolder create project/ml/write --perm rw");
    lab.ok("vfolder create project/ml/closed --perm none");
    lab.ok("vfolder create alice/own");
    for (user, mount, expected) in [
        ("alice", "project/ml/read", Ok("rw")),
        ("bob", "project/ml/read", Ok("ro")),
        ("bob", "project/ml/read:ro", Ok("ro")),
        ("bob", "project/ml/read:rw", Err(5)),
        ("bob", "project/ml/write", Ok("rw")),
        ("bob", "project/ml/write:ro", Ok("ro")),
        ("bob", "project/ml/closed", Err(3)),
        ("bob", "alice/own", Err(3)),
    ] {
        let out = lab.run(&format!("-o json session plan --user {user} --project ml -m {mount}"));
        match expected {
            Ok(level) => assert_eq!(out.exits(0).json()["mounts"][0]["permission"], level, "{user} {mount}"),
            Err(code) => assert!(out.code == code || (code == 3 && out.code == 5), "{user} {mount}: {out:?}"),
        }
    }
    // A project's folders are offered to its sessions only.
    assert_ne!(lab.run("session plan --user bob -m project/ml/read").code, 0);
    assert_ne!(lab.run("session plan --user carol --project ml").code, 0);
}

#[test]
fn targets_that_meet_are_refused_naming_both() {
    let lab = Lab::plain();
    lab.ok("vfolder create alice/one");
    lab.ok("vfolder create alice/two");
    for second in ["two:one", "two:one/below", "two:/home/work/one", "two:./one/"] {
        lab.fails(4, &format!("session plan --user alice -m one -m {second}")).says(&["one", "two"]);
    }
    let twice = lab.json("session plan --user alice -m one -m one:/again:ro");
    assert_eq!(mounts(&twice), [mount("/home/work/one", "rw", false), mount("/again", "ro", false)]);
}

#[test]
fn a_subpath_stays_inside_its_folder() {
    let lab = Lab::plain();
    lab.ok("vfolder create alice/data");
    let path = lab.path("alice/data");
    std::fs::create_dir_all(path.join("a/b")).unwrap();
    std::os::unix::fs::symlink("/etc", path.join("out")).unwrap();
    std::os::unix::fs::symlink("a", path.join("in")).unwrap();
    lab.ok("session plan --user alice -m alice/data/a/b");
    for sub in ["none", "out", "in", "in/b", "out/ssl", "../..", "a/../.."] {
        let out = lab.run(&format!("session plan --user alice -m alice/data/{sub}:/w"));
        assert!([2, 3, 5].contains(&out.code), "{sub}: {out:?}");
    }
}

#[test]
fn a_session_is_on_record_from_start_to_stop() {
    let lab = Lab::plain();
    lab.ok("vfolder create alice/data");
    let pid = std::process::id();
    lab.ok(&format!("session start train-1 --user alice --project ml -m data:/w:ro --holder pid:{pid}"));
    let shown = lab.json("session show train-1");
    assert_eq!((shown["user"].as_str(), shown["project"].as_str()), (Some("alice"), Some("ml")));
    assert_eq!(shown["kernels"][0]["holder"]["pid"], pid);
    assert_eq!(shown["mounts"][0]["target"], "/w");
    assert_eq!(shown["mounts"][0]["permission"], "ro");
    assert_eq!(lab.json("session list")["count"], 1);
    lab.ok("session stop train-1");
    assert_eq!(lab.json("session list")["count"], 0);
    lab.fails(3, "session stop train-1");
}

#[test]
fn a_holder_has_to_be_there() {
    let lab = Lab::plain();
    let out = lab.run("session start s --user alice --holder pid:4194304");
    assert!([2, 3].contains(&out.code), "{out:?}");
    for holder in ["", "nonsense", "pid:", "pid:-1", "pid:x", "process:1"] {
        let out = lab.run_args(&["session", "start", "s", "--user", "alice", "--holder", holder]);
        assert_eq!(out.code, 2, "{holder:?}: {out:?}");
    }
    assert_eq!(lab.json("session list")["count"], 0);
}

#[test]
fn a_plan_records_nothing() {
    let lab = Lab::plain();
    lab.ok("vfolder create alice/data");
    let before = lab.registry_text();
    lab.ok("session plan --user alice -m data").prints(&["/home/work/data"]);
    assert_eq!(lab.registry_text(), before);
    lab.ok("vfolder delete alice/data");
}
