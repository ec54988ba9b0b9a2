//! `check`: what each kind of damage is called, and that looking leaves no trace.

mod damages;
mod lists;
mod more;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::support::{Lab, Output, Snapshot, system};

pub use damages::{DAMAGES, Damage, Repair, forget};

/// All kinds of damage.
pub fn damages() -> impl Iterator<Item = &'static Damage> {
    DAMAGES.iter().chain(more::MORE)
}

/// alice owns `data`, shared with bob, and `old` in the trash; `ml` owns `sets`.
pub fn site() -> Lab {
    populated(Lab::plain())
}

pub fn populated(lab: Lab) -> Lab {
    lab.ok("vfolder create alice/data");
    fs::write(lab.path("alice/data").join("kept"), "kept").unwrap();
    lab.ok("vfolder share alice/data --with bob --perm ro");
    lab.ok("vfolder create alice/old");
    lab.ok("vfolder delete alice/old");
    lab.ok("vfolder create project/ml/sets --perm ro");
    lab
}

/// The codes of what a check finds, with exit 10 where there are any.
#[track_caller]
pub fn codes(lab: &Lab) -> Vec<String> {
    let out = lab.run("-o json check");
    let found = out.json();
    let codes: Vec<String> = items(&found).iter().map(|f| f["code"].as_str().unwrap().to_owned()).collect();
    assert_eq!(out.code, if codes.is_empty() { 0 } else { 10 }, "{out:?}");
    codes
}

pub fn items(found: &Value) -> &Vec<Value> {
    found["items"].as_array().unwrap()
}

/// The directory of a folder's scope.
pub fn scope_of(lab: &Lab, folder: &str) -> PathBuf {
    lab.path(folder).ancestors().nth(3).unwrap().to_owned()
}

pub fn digits(lab: &Lab, folder: &str) -> String {
    lab.folder(folder, "id").replace('-', "")
}

pub fn sidecar(lab: &Lab, folder: &str) -> PathBuf {
    let name = format!("{}.yaml", digits(lab, folder));
    let scopes = fs::read_dir(lab.volume.join(".vfadm")).unwrap().flatten();
    scopes.map(|scope| scope.path().join(&name)).find(|path| path.exists()).expect("a sidecar")
}

#[test]
fn each_kind_of_damage_has_its_code_and_says_what_mends_it() {
    for Damage { code, what, make, repair } in damages() {
        let lab = site();
        assert_eq!(codes(&lab), [""; 0], "before: {what}");
        make(&lab);
        let out = lab.run("-o json check").exits(10);
        let found = out.json();
        // Whatever takes an owner out of the registry leaves it in the list of them all.
        let is_meant = |f: &&Value| f["code"] != "owners_stale" || *code == "owners_stale";
        let meant: Vec<&Value> = items(&found).iter().filter(is_meant).collect();
        let codes: BTreeSet<&str> = meant.iter().map(|f| f["code"].as_str().unwrap()).collect();
        assert_eq!(codes, BTreeSet::from([*code]), "{what}: {found:#}");
        for finding in meant {
            let mend = finding["repair"].as_str().unwrap_or_default();
            assert!(!mend.is_empty(), "{what}: {finding}");
            assert_eq!(finding["loses_data"], Value::Bool(*repair == Repair::Losing), "{what}: {finding}");
            assert_eq!(
                mend.starts_with("vfadm check --repair"),
                *repair != Repair::ByHand,
                "{what}: {finding}"
            );
            assert_eq!(
                mend.starts_with("vfadm check --repair --yes "),
                *repair == Repair::Losing,
                "{what}: {finding}"
            );
        }
    }
}

/// All times of all that is there, to the nanosecond; `find` itself would leave its mark in directories.
fn times(dirs: &[&Path]) -> String {
    let script = r#"
import os, sys
def visit(path):
    s = os.lstat(path)
    print(path, s.st_atime_ns, s.st_mtime_ns, s.st_ctime_ns)
    if os.path.isdir(path) and not os.path.islink(path):
        fd = os.open(path, os.O_RDONLY | os.O_NOATIME)
        names = sorted(os.listdir(fd))
        os.close(fd)
        for name in names:
            visit(os.path.join(path, name))
for path in sys.argv[1:]:
    visit(path)
"#;
    let mut args = vec!["-c", script];
    args.extend(dirs.iter().map(|dir| dir.to_str().unwrap()));
    system("/usr/bin/python3", &args)
}

#[test]
fn looking_changes_nothing_not_even_access_times() {
    let lab = Lab::bare();
    fs::create_dir(&lab.root).unwrap();
    let root = lab.root.to_str().unwrap();
    // Each access counts at once, on a filesystem that writes access times.
    system("/usr/bin/mount", &["-t", "tmpfs", "-o", "strictatime,size=64m", "none", root]);
    let outcome = std::panic::catch_unwind(|| {
        let lab = Lab::at(lab.root.clone(), lab.volume.clone());
        lab.ok(&format!("init --volume local={} --quota none", lab.volume.display()));
        lab.ok("user add alice");
        lab.ok("user add bob");
        lab.ok("project add ml");
        let lab = populated(lab);
        fs::write(scope_of(&lab, "alice/data").join("stray"), "").unwrap();
        std::thread::sleep(std::time::Duration::from_millis(20));
        for (line, code) in [("check", 10), ("volume check", 0), ("--dry-run check --repair", 10)] {
            let before = times(&[&lab.root]);
            lab.run(line).exits(code);
            assert_eq!(times(&[&lab.root]), before, "{line}");
        }
    });
    system("/usr/bin/umount", &[root]);
    outcome.unwrap();
}

#[test]
fn a_plan_of_repairs_writes_nothing() {
    for Damage { what, make, repair, .. } in damages() {
        let lab = site();
        make(&lab);
        let before = Snapshot::of(&[&lab.root]);
        let code = if *repair == Repair::ByHand { 10 } else { 0 };
        let out = lab.run("--dry-run --yes check --repair");
        assert_eq!(out.code, code, "{what}: {out:?}");
        before.same_as(&Snapshot::of(&[&lab.root]), what);
        if *repair != Repair::ByHand {
            assert!(out.stdout.lines().count() > 1, "{what}: {out:?}");
            out.prints(&["planned, not done: ", " mended"]);
        }
    }
}

/// The sources of the program.
fn sources(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap().flatten() {
        match entry.path() {
            path if path.is_dir() => sources(&path, found),
            path => found.extend(path.extension().is_some_and(|e| e == "rs").then_some(path)),
        }
    }
}

#[test]
fn every_code_is_in_the_manual_and_no_other() {
    let known: BTreeSet<&str> = vfadm::domain::finding::CODES.iter().map(|meaning| meaning.code).collect();
    assert_eq!(known.len(), vfadm::domain::finding::CODES.len(), "twice in the list");
    let mut files = Vec::new();
    sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut files);
    let mut text = String::new();
    for file in files.iter().filter(|file| !file.ends_with("domain/finding/codes.rs")) {
        text.push_str(&fs::read_to_string(file).unwrap());
    }
    let unused: Vec<_> = known.iter().filter(|code| !text.contains(&format!("\"{code}\""))).collect();
    assert!(unused.is_empty(), "nothing finds {unused:?}");
    let mut used = BTreeSet::new();
    for call in ["Finding::error(", "Finding::warning(", "self.error::<"] {
        for (at, _) in text.match_indices(call) {
            let rest = &text[at + call.len()..];
            let rest = if call.ends_with('<') { rest.split_once('(').unwrap().1 } else { rest };
            if let Some(code) = rest.trim_start().strip_prefix('"') {
                used.insert(code.split_once('"').unwrap().0.to_owned());
            }
        }
    }
    assert!(used.len() > 40, "{used:?}");
    let unknown: Vec<_> = used.iter().filter(|code| !known.contains(code.as_str())).collect();
    assert!(unknown.is_empty(), "not in the list: {unknown:?}");
    let shown = Path::new(env!("CARGO_MANIFEST_DIR")).join("man/vfadm-check.8");
    let page = fs::read_to_string(shown).unwrap();
    let missing: Vec<_> = known.iter().filter(|code| !page.contains(&format!("\\fB{code}\\fR"))).collect();
    assert!(missing.is_empty(), "not in the manual: {missing:?}");
}

#[test]
fn each_code_that_is_mended_has_its_damage() {
    let repairs = [include_str!("check_repair.rs"), include_str!("charges.rs")].concat();
    let covered = |code: &str| {
        damages().any(|damage| damage.code == code) || repairs.contains(&format!("[\"{code}\"]"))
    };
    let mended = vfadm::domain::finding::CODES.iter().filter(|meaning| {
        use vfadm::domain::finding::Repair::{Asked, Check};
        matches!(meaning.repair, Check | Asked)
    });
    let missing: Vec<_> = mended.map(|meaning| meaning.code).filter(|code| !covered(code)).collect();
    assert!(missing.is_empty(), "nothing makes {missing:?}");
    for Damage { code, repair, what, .. } in damages() {
        let meaning = vfadm::domain::finding::CODES.iter().find(|meaning| meaning.code == *code).unwrap();
        let told = meaning.repair == vfadm::domain::finding::Repair::Asked;
        assert!(
            told || *repair != Repair::Losing,
            "{what}: the manual does not say that it can lose something"
        );
    }
}

/// What a run says, for other tests of checks.
pub fn left(out: &Output) -> Vec<String> {
    items(&out.json()).iter().map(|f| f["code"].as_str().unwrap().to_owned()).collect()
}
