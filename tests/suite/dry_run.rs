//! `--dry-run` prints the plan, ends like the real run would, and changes no byte.

use crate::support::{Lab, Snapshot, kernel_limits};

/// Every command that changes something, with the exit code of the real run on [`lab`]. `ELSEWHERE` is an empty
/// directory, `VOLUME` the volume's.
const CHANGES: &[(&str, i32)] = &[
    ("init --volume local=VOLUME --quota btrfs", 0),
    ("init --uid 1", 4),
    ("user add carol", 0),
    ("user add alice", 4),
    ("user set alice --max-vfolders 7", 0),
    ("user remove bob --yes", 0),
    ("user remove carol --yes", 3),
    ("project add chem", 0),
    ("project set ml --max-vfolders 7", 0),
    ("project add-member ml bob --role admin", 0),
    ("project remove-member ml bob", 0),
    ("project remove ml --yes", 4),
    ("volume add more ELSEWHERE --quota none", 0),
    ("volume remove local --yes", 4),
    ("vfolder create alice/new", 0),
    ("vfolder create bob/first --quota-init 8m", 0),
    ("vfolder create alice/data", 4),
    ("vfolder create alice/.ssh", 2),
    ("vfolder rename alice/data kept", 0),
    ("vfolder rename alice/data second", 4),
    ("vfolder set alice/data --cloneable", 0),
    ("vfolder delete alice/data", 0),
    ("vfolder delete alice/data --purge --yes", 0),
    ("vfolder delete alice/busy", 6),
    ("vfolder restore alice/gone", 0),
    ("vfolder restore alice/data", 0),
    ("vfolder purge alice/gone --yes", 0),
    ("vfolder purge alice/data --yes", 4),
    ("trash empty --yes", 0),
    ("quota set alice 64m", 0),
    ("quota set bob 64m", 0),
    ("quota unset alice", 0),
    ("session start s2 --user alice -m data", 0),
    ("session start s1 --user alice", 4),
    ("session stop s1", 0),
    ("session stop none", 3),
    ("registry undo", 4),
    ("registry backup ELSEWHERE", 0),
    ("registry restore 8 --yes", 6),
    ("registry restore 8 --force --yes", 0),
    ("node check-in", 0),
    ("node remove none --yes", 3),
];

fn lab() -> Lab {
    let lab = Lab::btrfs();
    lab.ok("quota set alice 32m");
    for name in ["data", "second", "gone", "busy"] {
        lab.ok(&format!("vfolder create alice/{name}"));
        std::fs::write(lab.path(&format!("alice/{name}")).join("f"), "x").unwrap();
    }
    lab.ok("vfolder create project/ml/sets");
    lab.ok("vfolder delete alice/gone");
    lab.ok("session start s1 --user alice -m busy");
    std::fs::create_dir(lab.dir().join("elsewhere")).unwrap();
    lab
}

fn fill_in(lab: &Lab, line: &str) -> String {
    let line = line.replace("VOLUME", lab.volume.to_str().unwrap());
    line.replace("ELSEWHERE", lab.dir().join("elsewhere").to_str().unwrap())
}

#[test]
fn it_changes_no_byte_and_ends_with_the_code_of_the_real_run() {
    let lab = lab();
    let elsewhere = lab.dir().join("elsewhere");
    let everything = || Snapshot::of(&[&lab.root, &lab.volume, &elsewhere]);
    let before = everything();
    let limits = kernel_limits(&lab.volume);
    for (line, code) in CHANGES {
        // The same from cron: without `--yes` nothing would be asked, since nothing is done.
        let out = lab.run(&format!("--dry-run {}", fill_in(&lab, line)));
        assert_eq!(out.code, *code, "{out:?}");
        if *code == 0 {
            assert!(!out.stdout.is_empty(), "{line}: no plan was printed");
        }
        before.same_as(&everything(), &format!("--dry-run {line}"));
        assert_eq!(kernel_limits(&lab.volume), limits, "{line}");
    }
}

#[test]
fn the_plan_is_a_document_for_scripts() {
    let lab = lab();
    for (line, _) in CHANGES.iter().filter(|(_, code)| *code == 0) {
        let result = lab.json(&format!("--dry-run {}", fill_in(&lab, line)));
        assert_eq!(result["kind"], "Result", "{line}");
        let outcome = result["outcome"].as_str().unwrap_or_default();
        assert!(["planned", "unchanged"].contains(&outcome), "{line}: {result}");
        let steps = result["steps"].as_array().map_or(0, Vec::len);
        assert_eq!(steps == 0, outcome == "unchanged", "{line}: {result}");
    }
}

#[test]
fn the_real_run_does_what_was_planned() {
    let lab = lab();
    for line in
        ["vfolder create bob/first --quota-init 8m", "quota set alice 64m", "vfolder delete alice/data"]
    {
        let planned = lab.json(&format!("--dry-run {line}"));
        let done = lab.json(line);
        let count = |result: &serde_json::Value| result["steps"].as_array().map(Vec::len);
        assert_eq!(count(&planned), count(&done), "{line}: {planned} against {done}");
    }
}
