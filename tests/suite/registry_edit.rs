//! `registry edit`: the text is judged before it counts, and nothing that was typed is lost.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use crate::support::{Lab, Output, Snapshot, VFADM, wait_until};

use super::consistency::{records, registry};

fn lab() -> Lab {
    let lab = Lab::plain();
    lab.ok("vfolder create project/ml/sets --perm ro");
    lab
}

/// Edits with a shell script that has the file in `$1`.
fn edit(lab: &Lab, script: &str, options: &[&str]) -> Output {
    let editor = lab.dir().join("editor");
    fs::write(&editor, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&editor, fs::Permissions::from_mode(0o755)).unwrap();
    let mut command = lab.command(["registry", "edit"].iter().chain(options));
    let out = command.env("EDITOR", &editor).output().unwrap();
    Output::of(format!("EDITOR='{script}' vfadm registry edit"), &out)
}

/// Texts that were kept.
fn kept(lab: &Lab) -> Vec<PathBuf> {
    let all = fs::read_dir(lab.root.join(".vfadm")).unwrap().flatten().map(|e| e.path());
    all.filter(|p| p.file_name().unwrap().to_str().unwrap().starts_with("edit-")).collect()
}

const TO_RW: &str = r#"sed -i 's/"permission":"ro"/"permission":"rw"/' "$1""#;

#[test]
fn the_difference_is_shown_and_put_in_force() {
    let lab = lab();
    let line = lab.registry_text().lines().find(|l| l.contains("/sets\": ")).unwrap().to_owned();
    let generation = registry(&lab)["vfadm"]["generation"].as_u64().unwrap();
    let out = edit(&lab, &format!("stat -c %a \"$1\" > {}/mode; {TO_RW}", lab.dir().display()), &["--yes"])
        .exits(0);
    let shown = format!("@@ vfolders @@\n-{line}\n+{}\n", line.replace("\"ro\"", "\"rw\""));
    assert!(out.stderr.starts_with(&shown), "{}", out.stderr);
    assert_eq!(out.stdout, "registry edited: 1 record is different\n");
    assert_eq!(lab.folder("project/ml/sets", "permission"), "rw");
    assert_eq!(fs::read_to_string(lab.dir().join("mode")).unwrap(), "600\n");
    assert!(kept(&lab).is_empty());
    lab.ok("check").quiet();
    assert_eq!(registry(&lab)["vfadm"]["generation"], generation + 1, "and sealed");
    lab.ok("registry undo");
    assert_eq!(lab.folder("project/ml/sets", "permission"), "ro");
}

#[test]
fn header_and_end_are_vfadms_own_and_comments_stay() {
    let lab = lab();
    let id = registry(&lab)["vfadm"]["registry"].clone();
    let script = r#"sed -i -e 's/^users:/# the chemists\nusers:/' -e 's/"generation":[0-9]*/"generation":1/' \
        -e 's/"registry":"[0-9a-f]*/"registry":"00000000/' "$1""#;
    edit(&lab, script, &["--yes"]).exits(0).prints(&["registry edited: no record is different"]);
    lab.ok("user list").quiet();
    assert!(lab.registry_text().contains("# the chemists\nusers:"));
    assert_eq!(
        (&registry(&lab)["vfadm"]["registry"], &registry(&lab)["vfadm"]["generation"]),
        (&id, &9.into())
    );
}

#[test]
fn nothing_changes_without_an_edit_an_answer_or_an_editor_that_ends_well() {
    let lab = lab();
    let before = Snapshot::of(&[&lab.registry(), &lab.volume]);
    for (script, options, code, words, keeps) in [
        ("true", &[][..], 0, "", false),
        ("touch \"$1\"", &["--yes"], 0, "", false),
        ("exit 3", &["--yes"], 8, "failed with exit status 3", false),
        ("kill -9 $$", &["--yes"], 8, "", false),
        ("rm \"$1\"", &["--yes"], 9, "the editor left no ", false),
        (&format!("{TO_RW}; exit 3"), &["--yes"], 8, "the text is kept: vfadm registry edit /", true),
        (TO_RW, &[], 2, "There is no terminal to ask on", true),
        (TO_RW, &["--dry-run"], 0, "", false),
        (": > \"$1\"", &["--yes"], 9, "line 1, column 1: the file was cut", true),
        ("ln -sf /etc/passwd \"$1\"", &["--yes"], 8, "", false),
        (
            r#"sed -i 's/"bob":"member"/"zoe":"member"/' "$1""#,
            &["--yes"],
            9,
            "its member 'zoe' does not exist",
            true,
        ),
        (
            r#"sed -i 's/"permission":"ro"/"permission":"RO"/' "$1""#,
            &["--yes"],
            9,
            ": project/ml/sets.permission: unknown variant `RO`",
            true,
        ),
        (r#"sed -i 's/^users:/users: [/' "$1""#, &["--yes"], 9, "column ", true),
    ] {
        let out = edit(&lab, script, options).exits(code).says(&[words]);
        before.same_as(&Snapshot::of(&[&lab.registry(), &lab.volume]), script);
        let left = kept(&lab);
        assert_eq!(left.len(), usize::from(keeps), "{script}: {left:?}: {}", out.stderr);
        for file in left {
            assert!(out.stderr.contains(file.to_str().unwrap()), "{}", out.stderr);
            assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o7777, 0o600);
            fs::remove_file(file).unwrap();
        }
    }
}

#[test]
fn a_text_that_was_kept_is_gone_on_with() {
    let lab = lab();
    edit(&lab, r#"sed -i -e 's/"permission":"ro"/"permission":"RW"/' "$1""#, &["--yes"]).exits(9);
    let file = kept(&lab).remove(0);
    let out = edit(&lab, r#"sed -i 's/"RW"/"rw"/' "$1""#, &["--yes", file.to_str().unwrap()]).exits(0);
    assert_eq!(out.stdout, "registry edited: 1 record is different\n");
    assert_eq!(lab.folder("project/ml/sets", "permission"), "rw");
}

#[test]
fn what_others_change_meanwhile_stays() {
    let lab = lab();
    // The lock is not held while the editor runs.
    let meanwhile = |line: &str| format!("{VFADM} --root {} {line} || exit 9; {TO_RW}", lab.root.display());
    edit(&lab, &meanwhile("user add carol"), &["--yes"]).exits(0);
    lab.ok("user show carol").quiet();
    assert_eq!(lab.folder("project/ml/sets", "permission"), "rw");
    let script = format!(
        "{VFADM} --root {} vfolder set project/ml/sets --cloneable; sed -i 's/\"permission\":\"rw\"/\"permission\":\"ro\"/' $1",
        lab.root.display()
    );
    edit(&lab, &script, &["--yes"])
        .exits(4)
        .says(&["vfolders: 'project/ml/sets' was changed by another command meanwhile", "the text is kept"]);
    assert_eq!(records(&lab, "vfolders")["project/ml/sets"]["cloneable"], true);
    assert_eq!(lab.folder("project/ml/sets", "permission"), "rw");
}

#[test]
fn a_broken_registry_is_mended() {
    let lab = lab();
    let good = lab.registry_text();
    let new = lab.root.join("new");
    fs::write(&new, good.replacen("\"bob\": {", "\"bob\": {{", 1)).unwrap();
    fs::rename(new, lab.registry()).unwrap();
    lab.fails(9, "user list");
    let out = edit(&lab, "sed -i 's/{{/{/' \"$1\"", &["--yes"]).exits(0);
    assert!(out.stderr.starts_with("warning: ") && out.stderr.contains("line "), "{}", out.stderr);
    lab.ok("user list").quiet();
    assert_eq!(registry(&lab)["vfadm"]["generation"], 9, "generations go on");
    fs::remove_file(lab.registry()).unwrap();
    edit(&lab, "true", &[]).exits(9).says(&["has gone", "vfadm registry restore --latest"]);
}

#[test]
fn on_a_terminal_a_mistake_is_edited_again_or_discarded() {
    let lab = lab();
    // The first time it breaks the text, the second time it mends it.
    let once = lab.dir().join("once");
    let script = format!(
        "if [ -e {0} ]; then sed -i 's/\"RO\"/\"rw\"/' \"$1\"; else touch {0}; sed -i 's/\"permission\":\"ro\"/\"permission\":\"RO\"/' \"$1\"; fi",
        once.display()
    );
    let editor = lab.dir().join("editor");
    fs::write(&editor, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&editor, fs::Permissions::from_mode(0o755)).unwrap();
    let typed = format!("EDITOR={} {VFADM} --root {} registry edit", editor.display(), lab.root.display());
    let asked = |answers: &str| {
        let line = format!("({answers}) | TERM=xterm /usr/bin/script -qec '{typed}' /dev/null");
        let out = std::process::Command::new("/bin/sh").args(["-c", &line]).output().unwrap();
        String::from_utf8_lossy(&out.stdout).into_owned()
    };
    // "edit again", then "change it".
    let said = asked("sleep 1; printf '\\r'; sleep 1; printf '\\r'; sleep 1");
    assert!(said.contains("What now?") && said.contains("Change the registry?"), "{said}");
    assert_eq!(lab.folder("project/ml/sets", "permission"), "rw", "{said}");
    // "discard what was edited" is the second answer to a mistake.
    fs::remove_file(&once).unwrap();
    lab.ok("vfolder set project/ml/sets --perm ro");
    let said = asked("sleep 1; printf 'j\\r'; sleep 1");
    assert!(said.contains("nothing was done"), "{said}");
    assert!(kept(&lab).is_empty());
    assert_eq!(lab.folder("project/ml/sets", "permission"), "ro");
}

/// A mistake that is refused, so that the text is kept.
const MISTAKE: &str = r#"sed -i 's/"permission":"ro"/"permission":"RO"/' "$1""#;
const MENDED: &str = r#"sed -i 's/"permission":"RO"/"permission":"rw"/' "$1""#;

#[test]
fn a_text_that_was_kept_leaves_what_others_changed_since() {
    let lab = lab();
    edit(&lab, MISTAKE, &["--yes"]).exits(9);
    let file = kept(&lab).remove(0);
    for line in ["user add later", "vfolder create later/d", "user set bob --max-vfolders 42"] {
        lab.ok(line);
    }
    edit(&lab, MENDED, &["--yes", file.to_str().unwrap()])
        .exits(0)
        .prints(&["registry edited: 1 record is different"]);
    assert_eq!(lab.folder("project/ml/sets", "permission"), "rw");
    assert_eq!(records(&lab, "users")["bob"]["max_vfolders"], 42);
    lab.ok("vfolder show later/d").quiet();
    lab.ok("check").quiet();
    // What both changed stays a conflict, however often it is tried.
    fs::remove_file(&file).unwrap();
    let theirs = format!("{VFADM} --root {} vfolder set project/ml/sets --cloneable", lab.root.display());
    let mine = r#"sed -i 's/"permission":"rw"/"permission":"ro"/' "$1""#;
    edit(&lab, &format!("{theirs}; {mine}"), &["--yes"]).exits(4);
    for _ in 0..2 {
        let file = kept(&lab).remove(0);
        edit(&lab, "true", &["--yes", file.to_str().unwrap()])
            .exits(4)
            .says(&["vfolders: 'project/ml/sets' was changed by another command meanwhile"]);
        fs::remove_file(&file).unwrap();
    }
    assert_eq!(records(&lab, "vfolders")["project/ml/sets"]["cloneable"], true);
}

#[test]
fn a_text_of_a_generation_that_cannot_be_told_is_refused() {
    for (script, backups_go, changed, code, words) in [
        ("true", true, false, 0, ""),
        ("true", true, true, 4, "of which there is no backup any more"),
        ("sed -i 's/\"generation\":[0-9]*/\"generation\":99/' $F", false, true, 4, "no backup any more"),
        (
            "sed -i 's/\"registry\":\"[0-9a-f]*/\"registry\":\"00000000/' $F",
            false,
            true,
            4,
            "another registry",
        ),
        (": > $F", false, true, 4, "does not say which generation of the registry it was made from"),
    ] {
        let lab = lab();
        edit(&lab, MISTAKE, &["--yes"]).exits(9);
        let file = kept(&lab).remove(0);
        let spoil = script.replace("$F", file.to_str().unwrap());
        assert!(std::process::Command::new("/bin/sh").args(["-c", &spoil]).status().unwrap().success());
        if changed {
            lab.ok("user add later");
        }
        if backups_go {
            fs::remove_dir_all(lab.root.join(".vfadm/backups")).unwrap();
        }
        let before = lab.registry_text();
        let out = edit(&lab, MENDED, &["--yes", file.to_str().unwrap()]).exits(code).says(&[words]);
        if code != 0 {
            assert_eq!(lab.registry_text(), before, "{script}");
            assert!(out.stderr.contains(&format!("take what is missing from {}", file.display())));
            assert_eq!(kept(&lab), [file], "it stays");
        }
    }
}

#[test]
fn an_edit_by_hand_since_is_not_lost_by_a_kept_text() {
    let lab = lab();
    edit(&lab, MISTAKE, &["--yes"]).exits(9);
    let file = kept(&lab).remove(0);
    let new = lab.root.join("new");
    fs::write(&new, lab.registry_text().replace("\"trash_days\":30", "\"trash_days\":31")).unwrap();
    fs::rename(new, lab.registry()).unwrap();
    let words = "was edited by hand: there are two of it";
    edit(&lab, MENDED, &["--yes", file.to_str().unwrap()]).exits(4).says(&[words]);
    assert!(lab.registry_text().contains("\"trash_days\":31"));
}

#[test]
fn what_data_is_found_by_cannot_be_edited() {
    let lab = lab();
    lab.ok("user add free");
    let digits = "s/\"id\":\"[0-9a-f]*-/\"id\":\"00000000-/";
    for (line, code, words) in [
        (
            r#""local": "#,
            4,
            "volumes: the id of 'local' cannot be changed: its data on the volumes is found by it",
        ),
        (r#""ml": "#, 4, "projects: the id of 'ml' cannot be changed"),
        (r#""project\/ml\/sets": "#, 4, "vfolders: the id of 'project/ml/sets' cannot be changed"),
        (r#""free": "#, 0, ""),
    ] {
        let script = format!("sed -i '/^ *{line}/{digits}' \"$1\"");
        let out = edit(&lab, &script, &["--yes"]).exits(code).says(&[words]);
        assert_eq!(out.stderr.contains("put its id back: "), code == 4, "{}", out.stderr);
    }
    let script = r#"sed -i 's/"next_kernel_id":[0-9]*/"next_kernel_id":7/' "$1""#;
    edit(&lab, script, &["--yes"]).exits(4).says(&["next_kernel_id cannot go down from ", " to 7"]);
    lab.ok("check").quiet();
}

#[test]
fn a_folder_that_a_command_works_on_cannot_be_edited() {
    let lab = lab();
    lab.ok("vfolder create alice/data");
    fs::write(lab.path("alice/data").join("file"), "x").unwrap();
    let mut strace = std::process::Command::new("/usr/bin/strace");
    strace.args(["-f", "-qq", "-o", "/dev/null", "--trace=fchown,fchownat"]);
    strace.args(["--inject=fchown,fchownat:delay_enter=6000000:when=1", VFADM]);
    strace.args(["vfolder", "clone", "alice/data", "bob/copy"]).env_clear().env("VFADM_ROOT", &lab.root);
    let mut child = strace.stderr(std::process::Stdio::null()).spawn().unwrap();
    wait_until("it copies", || lab.run("vfolder show bob/copy").code == 0);
    for script in [
        r#"sed -i '/^ *"user\/bob\/copy": /d' "$1""#,
        r#"sed -i '/^ *"user\/bob\/copy": /s/}$/,"note":1}/' "$1""#,
    ] {
        edit(&lab, script, &["--yes"])
            .exits(6)
            .says(&["is at work on 'user/bob/copy' since ", "wait for its end"]);
    }
    edit(&lab, TO_RW, &["--yes"]).exits(0);
    assert!(child.wait().unwrap().success());
    lab.ok("check");
}

#[test]
fn the_text_of_an_edit_that_was_killed_is_named_by_the_next_one() {
    let lab = lab();
    // The editor's parent is a shell, and its parent is vfadm.
    let script = format!("{TO_RW}; kill -9 $(cut -d ' ' -f 4 /proc/$PPID/stat)");
    edit(&lab, &script, &["--yes"]).exits(137);
    let left = kept(&lab).remove(0).display().to_string();
    let told = format!(
        "warning: {left} is of another edit: if none is going on, take it up with 'vfadm registry edit {left}', or remove it"
    );
    edit(&lab, "true", &[]).exits(0).says(&[&told]);
    let out = edit(&lab, "true", &["--yes", &left]).exits(0);
    assert!(!out.stderr.contains("another edit"), "{out:?}");
    assert_eq!(lab.folder("project/ml/sets", "permission"), "rw");
    fs::remove_file(&left).unwrap();
    edit(&lab, "true", &[]).exits(0).quiet();
}

#[test]
fn without_a_terminal_the_editor_has_to_be_named() {
    let lab = lab();
    let out = lab.command(["registry", "edit"]).env_remove("EDITOR").env_remove("VISUAL").output().unwrap();
    Output::of("vfadm registry edit".to_owned(), &out).exits(2).says(&[
        "there is no terminal for an editor",
        "hint: name one that needs none, in the environment, as VISUAL or EDITOR",
    ]);
    assert_eq!(kept(&lab), [""; 0].map(PathBuf::from));
}
