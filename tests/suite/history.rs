//! What was changed, when, by whom and by which command.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::support::{Lab, Snapshot, system};

/// alice owns `data`; `ml` (alice its admin, bob a member) owns `sets`, read-only for members.
pub fn site() -> Lab {
    let lab = Lab::plain();
    lab.ok("vfolder create alice/data");
    lab.ok("vfolder create project/ml/sets --perm ro");
    lab
}

pub fn dir(lab: &Lab) -> PathBuf {
    lab.root.join(".vfadm/history")
}

/// The only file of the history.
pub fn file(lab: &Lab) -> PathBuf {
    let files: Vec<PathBuf> = fs::read_dir(dir(lab)).unwrap().flatten().map(|e| e.path()).collect();
    assert_eq!(files.len(), 1, "{files:?}");
    files[0].clone()
}

pub fn lines(lab: &Lab) -> Vec<Value> {
    let text = fs::read_to_string(file(lab)).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The command of a change, without the program and its options.
fn command(change: &Value) -> String {
    let line = change["command"].as_str().unwrap();
    line.split_once("vfadm ").unwrap_or_else(|| panic!("{line}")).1.to_owned()
}

/// The commands that `registry log` shows.
pub fn shown(lab: &Lab, options: &str) -> Vec<String> {
    lab.json(&format!("registry log {options}"))["items"].as_array().unwrap().iter().map(command).collect()
}

/// The commands in a state, and generation by generation what there is.
fn in_state(lab: &Lab, state: &str) -> Vec<String> {
    let list = lab.json("registry log");
    let items = list["items"].as_array().unwrap();
    items.iter().filter(|item| item["state"] == state).map(command).collect()
}

/// The registry without its generation and time, and what stands beside the data without the generation.
pub fn records(lab: &Lab) -> String {
    let passing = |line: &&str| !["vfadm:", "end:", "generation:"].iter().any(|key| line.starts_with(key));
    let beside = system("/usr/bin/find", &[lab.volume.to_str().unwrap(), "-name", "*.yaml", "-type", "f"]);
    let mut beside: Vec<&str> = beside.lines().collect();
    beside.sort_unstable();
    let mut text = lab.registry_text().lines().filter(passing).collect::<Vec<_>>().join("\n");
    for path in beside {
        text.push_str(&format!("\n{path}\n"));
        let content = fs::read_to_string(path).unwrap();
        text.push_str(&content.lines().filter(passing).collect::<Vec<_>>().join("\n"));
    }
    text
}

#[test]
fn a_line_says_what_was_changed_by_whom_and_where() {
    let lab = site();
    let before = lines(&lab).len();
    let mut typed = lab.command(["vfolder", "set", "data", "--cloneable", "--as", "alice"]);
    assert!(typed.env("SUDO_UID", "1").output().unwrap().status.success());
    let lines = lines(&lab);
    assert_eq!(lines.len(), before + 1, "one line a command");
    let line = &lines[before];
    let login = match fs::read_to_string("/proc/self/loginuid").unwrap_or_default().trim() {
        "" | "4294967295" => system("/usr/bin/id", &["-nu", "1"]),
        uid => system("/usr/bin/id", &["-nu", uid]),
    };
    let header = lab.json("registry show")["vfadm"].clone();
    for (key, value) in [
        ("generation", header["generation"].clone()),
        ("time", header["updated_at"].clone()),
        ("actor", json!("alice")),
        ("login", json!(login.trim())),
        ("host", json!(system("/usr/bin/uname", &["-n"]).trim())),
        ("command", json!(format!("{} vfolder set data --cloneable --as alice", crate::support::VFADM))),
        ("storage", Value::Null),
        ("edited", Value::Null),
    ] {
        assert_eq!(line[key], value, "{key}");
    }
    let changes = line["changes"].as_array().unwrap();
    assert_eq!(changes.len(), 1, "{line}");
    assert_eq!((&changes[0]["section"], &changes[0]["key"]), (&json!("vfolders"), &json!("user/alice/data")));
    assert_eq!(changes[0]["before"]["cloneable"], Value::Null);
    assert_eq!(changes[0]["after"]["cloneable"], true);
    let generations: Vec<u64> = lines.iter().map(|l| l["generation"].as_u64().unwrap()).collect();
    assert_eq!(
        generations,
        (1..=lines.len() as u64).collect::<Vec<_>>(),
        "one commit a command, but for init"
    );
    let mode = |path: PathBuf| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    assert_eq!((mode(dir(&lab)), mode(file(&lab))), (0o700, 0o600));
}

#[test]
fn a_command_line_can_be_pasted() {
    let lab = site();
    let odd = lab.dir().join("it's a volume");
    fs::create_dir(&odd).unwrap();
    lab.run_args(&["volume", "add", "odd", odd.to_str().unwrap(), "--quota", "none"]).exits(0);
    let line = lab.json("registry log --limit 1")["items"][0]["command"].as_str().unwrap().to_owned();
    let words = system("/bin/sh", &["-c", &format!("printf '%s\\n' {line}")]);
    let words: Vec<&str> = words.lines().skip(1).collect();
    assert_eq!(words, ["volume", "add", "odd", odd.to_str().unwrap(), "--quota", "none"]);
    // Control characters reach neither the file nor the terminal.
    let steers = lab.dir().join("x\u{1b}[2J");
    fs::create_dir(&steers).unwrap();
    lab.run_args(&["volume", "add", "steers", steers.to_str().unwrap(), "--quota", "none"]).exits(0);
    let table = lab.ok("registry log --limit 1").stdout;
    assert!(table.contains("x\\033[2J") && !table.contains('\u{1b}'), "{table}");
}

#[test]
fn what_changes_nothing_leaves_no_line() {
    let lab = site();
    lab.ok("vfolder set alice/data --cloneable");
    let before = Snapshot::of(&[&dir(&lab)]);
    for (line, code) in [
        ("vfolder list", 0),
        ("registry log", 0),
        ("registry check", 0),
        ("volume check", 0),
        ("vfolder set alice/data --cloneable", 0),
        ("vfolder create alice/data", 4),
        ("vfolder share alice/data --with nobody-here --perm ro", 3),
        ("vfolder rename alice/data other --dry-run", 0),
        ("registry undo --dry-run", 0),
    ] {
        lab.run(line).exits(code);
        before.same_as(&Snapshot::of(&[&dir(&lab)]), line);
    }
}

#[test]
fn the_table_shows_a_line_a_change_the_oldest_first() {
    let lab = Lab::plain();
    let table = lab.ok("registry log --limit 2").stdout;
    let rows: Vec<Vec<&str>> = table.lines().map(|l| l.split_whitespace().collect()).collect();
    assert_eq!(rows[0], ["GENERATION", "TIME", "ACTOR", "LOGIN", "HOST", "STATE", "COMMAND"]);
    assert_eq!(rows[1][0], "6");
    assert_eq!((rows[2][0], rows[2][2], rows[2][5]), ("7", "superadmin", "in_force"));
    assert_eq!(rows[2][7..], ["project", "add-member", "ml", "bob"]);
    assert_eq!(rows.len(), 3);
    let list = lab.json("registry log");
    assert_eq!((&list["kind"], &list["count"]), (&json!("ChangeList"), &json!(7)));
    assert!(command(&list["items"][0]).starts_with("init "), "{list}");
    lab.fails(5, "registry log --as alice");
    lab.fails(5, "registry undo --as alice");
}

#[test]
fn a_folder_is_followed_through_its_names_and_after_it_has_gone() {
    let lab = site();
    let id = lab.folder("alice/data", "id");
    let story = [
        "vfolder create alice/data",
        "vfolder rename alice/data model",
        "vfolder invite alice/model bob --perm ro",
        "vfolder set alice/model --cloneable",
        "vfolder delete alice/model",
        "vfolder purge alice/model --yes",
        "vfolder purge alice/model --yes",
    ];
    for line in &story[1..6] {
        lab.ok(line);
        lab.ok("user set bob --state inactive");
        lab.ok("user set bob --state active");
    }
    for name in ["alice/data", "user/alice/data", "alice/model", &format!("id:{}", &id[..12])] {
        assert_eq!(shown(&lab, &format!("--ref {name}")), story, "{name}");
    }
    // Another folder of that name is another part of the story of the name.
    lab.ok("vfolder create alice/data");
    assert_eq!(shown(&lab, "--ref alice/model"), story);
    assert_eq!(shown(&lab, "--ref alice/data").len(), story.len() + 1);
    lab.ok("user add carol");
    for (of, code, message) in [
        ("alice/never", 3, "there is no vfolder 'user/alice/never', and the history knows of none"),
        ("id:00000000", 3, "there is no vfolder 'id:00000000', and the history knows of none"),
        ("dave", 3, "there is no user 'user/dave', and the history knows of none"),
        ("project/chem", 3, "there is no project 'project/chem', and the history knows of none"),
        ("carol", 0, ""),
        ("a/b/c", 2, ""),
        (".config", 2, ""),
    ] {
        lab.run(&format!("registry log --ref {of}")).exits(code).says(&[message]);
    }
    fs::remove_file(file(&lab)).unwrap();
    assert_eq!(shown(&lab, "--ref alice"), [""; 0], "known, and without a line");
    assert_eq!(shown(&lab, ""), [""; 0]);
}

#[test]
fn an_owner_is_found_in_what_it_owns_and_what_it_was_given() {
    let lab = site();
    lab.ok("vfolder share alice/data --with bob --perm ro");
    lab.ok("vfolder set alice/data --cloneable");
    lab.ok("vfolder unshare alice/data --from bob");
    lab.ok("session start s1 --user alice --project ml");
    lab.ok("project add chem");
    assert_eq!(
        shown(&lab, "--ref bob"),
        [
            "user add bob",
            "project add-member ml bob",
            "vfolder share alice/data --with bob --perm ro",
            "vfolder unshare alice/data --from bob",
        ]
    );
    assert_eq!(
        shown(&lab, "--ref project/ml"),
        [
            "project add ml",
            "project add-member ml alice --role admin",
            "project add-member ml bob",
            "vfolder create project/ml/sets --perm ro",
            "session start s1 --user alice --project ml",
        ]
    );
    lab.ok("session stop s1");
    lab.ok("project remove chem --yes");
    assert_eq!(shown(&lab, "--ref project/chem"), ["project add chem", "project remove chem --yes"]);
}

#[test]
fn since_is_a_time_or_how_long_ago() {
    let lab = site();
    let text = fs::read_to_string(file(&lab)).unwrap();
    // The same lines, spread over three months.
    fs::remove_file(file(&lab)).unwrap();
    for (at, line) in text.lines().enumerate() {
        let mut line: Value = serde_json::from_str(line).unwrap();
        let month = ["2025-01", "2025-02", "2025-03"][at / 3];
        line["time"] = json!(format!("{month}-1{at}T12:00:00Z"));
        let path = dir(&lab).join(format!("{month}.jsonl"));
        let before = fs::read_to_string(&path).unwrap_or_default();
        fs::write(path, format!("{before}{line}\n")).unwrap();
    }
    fs::write(dir(&lab).join("2024-12.jsonl.gz"), "not read").unwrap();
    let count = |options: &str| shown(&lab, options).len();
    assert_eq!(count(""), 9);
    for (since, left) in [
        ("2025-01-10", 9),
        ("2025-01-11", 8),
        ("2025-01-11T12:00:00Z", 8),
        ("2025-01-11T13:00:00+01:00", 8),
        ("2025-01-11T12:00:01Z", 7),
        ("2025-02-14", 5),
        ("2025-04-01", 0),
        ("7d", 0),
        ("5000w", 9),
    ] {
        assert_eq!(count(&format!("--since {since}")), left, "{since}");
    }
    lab.ok("user add carol");
    assert_eq!(shown(&lab, "--since 1h"), ["user add carol"]);
    assert_eq!(shown(&lab, "--since 2025-03-18 --limit 1"), ["user add carol"]);
    lab.fails(2, "registry log --since yesterday")
        .says(&["write 2h, 7d, 2026-11-24 or 2026-11-24T12:00:00Z"]);
}

#[test]
fn a_change_that_went_with_a_restored_backup_is_lost() {
    let lab = site();
    lab.ok("user add carol");
    let earlier = lab.dir().join("earlier");
    fs::copy(lab.registry(), &earlier).unwrap();
    lab.ok("user set carol --max-vfolders 3");
    lab.ok("user add dave");
    fs::copy(&earlier, lab.registry()).unwrap();
    assert_eq!(in_state(&lab, "lost"), ["user set carol --max-vfolders 3", "user add dave"]);
    lab.ok("user add erin");
    assert_eq!(in_state(&lab, "lost"), ["user set carol --max-vfolders 3", "user add dave"]);
    // What was lost cannot be undone: first erin, then carol.
    assert!(lab.ok("registry undo").stdout.contains("user add erin' (generation 11)"));
    assert!(lab.ok("registry undo").stdout.contains("user add carol' (generation 10)"));
    lab.fails(4, "registry undo").says(&["vfolder create project/ml/sets --perm ro' (generation 9, "]);
    assert_eq!(shown(&lab, "--ref dave"), ["user add dave"]);
}

#[test]
fn a_line_without_its_change_is_lost_and_one_that_was_cut_is_passed_over() {
    let lab = site();
    // As when a command is killed between the line and the rename.
    let before = fs::read(lab.registry()).unwrap();
    lab.ok("user add carol");
    fs::write(lab.registry(), before).unwrap();
    lab.ok("user add dave");
    assert_eq!(in_state(&lab, "lost"), ["user add carol"]);
    let whole = fs::read_to_string(file(&lab)).unwrap();
    fs::write(file(&lab), &whole[..whole.len() - 30]).unwrap();
    assert_eq!(shown(&lab, "--limit 1"), ["user add carol"]);
    lab.ok("user add erin");
    assert_eq!(shown(&lab, "--limit 1"), ["user add erin"]);
    lab.ok("registry log").quiet();
    assert!(lab.ok("registry undo").stdout.contains("user add erin'"));
    // A line that somebody spoiled is named.
    let spoiled = fs::read_to_string(file(&lab)).unwrap().replacen("\"generation\":", "\"generations\":", 1);
    fs::write(file(&lab), spoiled).unwrap();
    lab.ok("registry log").says(&[&format!("{}: line 1 is passed over", file(&lab).display())]);
}

#[test]
fn a_history_that_cannot_be_written_stops_the_change() {
    let lab = site();
    // A later month, so that this is the file that lines go to.
    fs::create_dir(dir(&lab).join("9998-01.jsonl")).unwrap();
    let before = Snapshot::of(&[&lab.registry()]);
    let text = records(&lab);
    for line in
        ["user add carol", "vfolder delete alice/data", "vfolder share alice/data --with bob --perm ro"]
    {
        lab.fails(8, line).says(&["9998-01.jsonl: Is a directory"]);
        assert_eq!(records(&lab), text, "{line}");
    }
    assert!(lab.path("alice/data").is_dir());
    assert_eq!(fs::read_dir(lab.root.join(".vfadm/intents")).unwrap().count(), 0);
    assert!(!lab.root.join(".registry.yaml.new").exists());
    before.same_as(&Snapshot::of(&[&lab.registry()]), "what failed");
    fs::remove_dir(dir(&lab).join("9998-01.jsonl")).unwrap();
    lab.ok("vfolder delete alice/data");
}

#[test]
fn a_hand_edit_is_said_once() {
    let lab = site();
    let text = lab.registry_text().replacen("\"bob\": {", "\"bob\": {\"desk\":\"4.12\",", 1);
    fs::write(lab.registry(), text).unwrap();
    lab.ok("vfolder create bob/first");
    lab.ok("vfolder create bob/second");
    let edited: Vec<String> = lines(&lab).iter().filter(|l| l["edited"] == true).map(command).collect();
    assert_eq!(edited, ["vfolder create bob/first"]);
}
