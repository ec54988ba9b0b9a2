//! The registry file in other hands: edited, reformatted, cut, corrupted.

use std::fs;
use std::time::{Duration, Instant};

use crate::support::{Lab, Snapshot, python};

use super::consistency::records;

const REFORMAT: &str = "
import sys, yaml
path = sys.argv[1]
data = yaml.safe_load(open(path))
open(path, 'w').write(yaml.safe_dump(data, default_flow_style=False, sort_keys=False, indent=4))
";

fn lab() -> Lab {
    let lab = Lab::plain();
    lab.ok("vfolder create alice/data");
    lab.ok("vfolder create project/ml/sets --perm ro");
    lab
}

fn edit(lab: &Lab, from: &str, to: &str) {
    let text = lab.registry_text();
    assert!(text.contains(from), "{from:?} is not in {text}");
    fs::write(lab.registry(), text.replacen(from, to, 1)).unwrap();
}

#[test]
fn a_record_is_one_line_and_the_file_is_plain_yaml() {
    let lab = lab();
    let text = lab.registry_text();
    let line = text.lines().find(|l| l.contains("\"user/alice/data\"")).expect("one line for a record");
    assert!(line.starts_with("  \"user/alice/data\": {\"id\":"), "{line}");
    assert!(text.lines().last().unwrap().starts_with("end: {"), "{text}");
    assert_eq!(records(&lab, "vfolders").len(), 2);
}

#[test]
fn comments_unknown_keys_and_other_lines_are_carried_over() {
    let lab = lab();
    edit(&lab, "users:\n", "users:\n  # the chemists\n");
    edit(&lab, "  \"bob\": {", "  \"bob\": {\"desk\":\"4.12\",");
    edit(
        &lab,
        "  \"user/alice/data\": {",
        "  # ask before deleting\n  \"user/alice/data\": {\"ticket\": 17 , ",
    );
    edit(&lab, "\nvfolders:", "\nx-site: {rack: [1, 2]}  # ours\nvfolders:");
    let warned = lab.ok("vfolder create alice/second");
    assert_eq!(
        warned.stderr.matches("warning").count(),
        1,
        "one warning that somebody edited: {}",
        warned.stderr
    );
    lab.ok("vfolder create alice/third").quiet();
    lab.ok("user set bob --max-vfolders 9");
    lab.ok("vfolder rename alice/data kept");
    let text = lab.registry_text();
    for kept in [
        "  # the chemists\n",
        "\"desk\":\"4.12\"",
        "  # ask before deleting\n",
        "x-site: {rack: [1, 2]}  # ours\n",
    ] {
        assert!(text.contains(kept), "{kept:?} is gone from {text}");
    }
    assert_eq!(records(&lab, "vfolders")["user/alice/kept"]["ticket"], 17);
    assert_eq!(records(&lab, "users")["bob"]["max_vfolders"], 9);
}

#[test]
fn a_file_that_another_program_rewrote_is_read_and_written() {
    let lab = lab();
    let before = lab.json("vfolder list");
    python(REFORMAT, &lab.registry());
    assert!(!lab.registry_text().contains("{\"id\""), "the file was reformatted");
    assert_eq!(lab.json("vfolder list"), before);
    lab.ok("vfolder create alice/second");
    lab.ok("vfolder delete alice/data");
    lab.ok("registry check");
    assert_eq!(lab.json("vfolder show alice/data")["status"], "trashed");
    assert_eq!(lab.json("vfolder list --owner alice")["items"].as_array().unwrap().len(), 2);
}

#[test]
fn an_edit_by_hand_counts() {
    let lab = lab();
    edit(&lab, "\"permission\":\"ro\"", "\"permission\":\"rw\"");
    assert_eq!(lab.folder("project/ml/sets", "permission"), "rw");
    lab.ok("vfolder create alice/more");
    assert_eq!(lab.folder("project/ml/sets", "permission"), "rw");
}

#[test]
fn a_cut_file_is_refused_whatever_the_offset() {
    let lab = lab();
    let whole = fs::read(lab.registry()).unwrap();
    let step = whole.len() / 40 + 1;
    // Besides the even cuts, those at the end of a line: YAML alone takes what is left for a whole file.
    let line_ends = whole.iter().enumerate().filter(|(_, b)| **b == b'\n').map(|(at, _)| at + 1);
    let last_line = whole[..whole.len() - 1].iter().rposition(|b| *b == b'\n').unwrap() + 1;
    for cut in (0..whole.len()).step_by(step).chain(line_ends.filter(|at| *at <= last_line)) {
        fs::write(lab.registry(), &whole[..cut]).unwrap();
        let before = Snapshot::of(&[&lab.registry(), &lab.volume]);
        for line in ["vfolder list", "vfolder create alice/new", "registry check", "quota show"] {
            let out = lab.run(line);
            assert_eq!(out.code, 9, "cut at byte {cut}: {out:?}");
            assert!(
                out.stderr.contains("line ") && out.stderr.contains("column "),
                "cut at {cut}: {}",
                out.stderr
            );
        }
        before.same_as(&Snapshot::of(&[&lab.registry(), &lab.volume]), "a command on a cut registry");
    }
}

#[test]
fn what_is_wrong_is_named_with_line_column_and_the_way_back() {
    type Damage = fn(&str) -> String;
    let table: &[(&str, Damage)] = &[
        ("an unclosed brace", |t| t.replacen("\"bob\": {", "\"bob\": {{", 1)),
        ("a tab as indentation", |t| t.replacen("  \"bob\"", "\t\"bob\"", 1)),
        ("a record twice", |t| {
            let line = t.lines().find(|l| l.contains("\"bob\": {")).unwrap();
            t.replacen(line, &format!("{line}\n{line}"), 1)
        }),
        ("an unknown status", |t| t.replacen("\"status\":\"ready\"", "\"status\":\"reddy\"", 1)),
        ("an id that is none", |t| t.replacen("\"vfolders\"", "", 1).replacen("\"id\":\"", "\"id\":\"x", 2)),
        ("zeroes in the middle", |t| t.replacen("\"bob\"", "\"b\0b\"", 1)),
        ("a list for a section", |t| t.replacen("\nusers:\n", "\nusers: [1]\nx:\n", 1)),
    ];
    let lab = lab();
    let good = lab.registry_text();
    for (what, damage) in table {
        let bad = damage(&good);
        assert_ne!(bad, good, "{what} damages nothing");
        fs::write(lab.registry(), &bad).unwrap();
        let before = Snapshot::of(&[&lab.registry(), &lab.volume]);
        for line in ["vfolder create alice/new", "registry check"] {
            let out = lab.run(line);
            assert_eq!(out.code, 9, "{what}: {out:?}");
            for word in ["line ", "column ", "vfadm registry restore --latest"] {
                assert!(out.stderr.contains(word), "{what}: no {word:?} in {}", out.stderr);
            }
        }
        before.same_as(&Snapshot::of(&[&lab.registry(), &lab.volume]), what);
    }
}

#[test]
fn bytes_that_are_no_text_are_refused_and_never_written_over() {
    let lab = lab();
    let good = fs::read(lab.registry()).unwrap();
    for at in (0..good.len()).step_by(good.len() / 25) {
        let mut bad = good.clone();
        bad[at] = 0xff;
        fs::write(lab.registry(), &bad).unwrap();
        assert_eq!(lab.run("vfolder create alice/new").code, 9, "byte {at}");
        assert_eq!(fs::read(lab.registry()).unwrap(), bad, "byte {at}");
    }
}

#[test]
fn the_command_that_the_message_names_brings_the_last_good_file_back() {
    let lab = lab();
    let text = lab.registry_text();
    fs::write(lab.registry(), &text[..text.len() / 2]).unwrap();
    lab.fails(9, "vfolder list")
        .says(&["hint: to bring the last good one back: vfadm registry restore --latest"]);
    lab.ok("registry restore --latest --yes");
    lab.ok("registry check");
    lab.ok("vfolder show alice/data");
    lab.ok("vfolder create alice/next");
}

#[test]
fn a_file_that_was_lost_comes_back_with_its_last_change() {
    for loss in ["rm", "cut"] {
        let lab = lab();
        lab.ok("user add last");
        match loss {
            "rm" => fs::remove_file(lab.registry()).unwrap(),
            _ => {
                let text = lab.registry_text();
                let end = text.find("\nend:").unwrap() + 1;
                // As `sed -i` does: a new file in the place of the old one.
                fs::remove_file(lab.registry()).unwrap();
                fs::write(lab.registry(), &text[..end]).unwrap();
            }
        }
        lab.fails(9, "user show last").says(&["vfadm registry restore --latest"]);
        lab.ok("registry restore --latest --yes");
        lab.ok("user show last").quiet();
    }
}

#[test]
fn a_root_that_lost_its_registry_is_not_made_anew() {
    let lab = lab();
    fs::remove_file(lab.registry()).unwrap();
    for line in ["init", "init --dry-run", "init --volume other=/nowhere"] {
        lab.fails(4, line).says(&["has gone, but its backups are there", "vfadm registry restore --latest"]);
    }
    assert!(!lab.registry().exists());
}

#[test]
fn the_lock_is_waited_for_and_then_given_up() {
    let lab = lab();
    let lock = fs::OpenOptions::new().write(true).open(lab.root.join(".vfadm/lock")).unwrap();
    lock.lock().unwrap();
    let begun = Instant::now();
    lab.fails(7, "--lock-timeout 1s vfolder create alice/late");
    let waited = begun.elapsed();
    assert!(waited > Duration::from_millis(900) && waited < Duration::from_secs(5), "{waited:?}");
    // Reading commands take no lock.
    lab.ok("vfolder list");
    lab.ok("--dry-run vfolder create alice/late");
    drop(lock);
    lab.ok("--lock-timeout 1s vfolder create alice/late");
}

#[test]
fn the_schema_names_every_section() {
    let lab = Lab::bare();
    let schema = lab.ok("registry schema").json();
    let properties = schema["properties"].as_object().expect("a schema of a mapping");
    for section in
        ["vfadm", "settings", "volumes", "users", "projects", "scopes", "vfolders", "sessions", "end"]
    {
        assert!(properties.contains_key(section), "{section}");
    }
}
