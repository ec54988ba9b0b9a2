//! The same command a second time: a conflict where it makes something, `unchanged` where it finds things as asked.

use crate::support::{Lab, Snapshot};

#[test]
fn what_exists_is_a_conflict() {
    let lab = Lab::plain();
    let elsewhere = lab.dir().join("elsewhere");
    std::fs::create_dir(&elsewhere).unwrap();
    let volume = format!("volume add more {} --quota none", elsewhere.display());
    for line in [
        "user add carol",
        "project add chem",
        &volume,
        "vfolder create carol/data --volume local",
        "session start s1 --user carol -m data",
    ] {
        lab.ok(line);
        lab.fails(4, line);
    }
}

#[test]
fn what_is_as_asked_stays_unchanged() {
    let lab = Lab::btrfs();
    lab.ok("vfolder create alice/data");
    lab.ok("vfolder create project/ml/sets --perm ro");
    for line in [
        "user set alice --max-vfolders 5",
        "user set alice --state inactive",
        "user set alice --state active",
        "project set ml --max-vfolders 5",
        "project add-member ml bob --role admin",
        "project remove-member ml bob",
        "vfolder set project/ml/sets --perm rw",
        "vfolder set alice/data --cloneable",
        "quota set alice 64m",
        "quota unset alice",
        "vfolder delete alice/data",
        "vfolder restore alice/data",
    ] {
        let outcome = if line.starts_with("vfolder delete") { "deleted" } else { "changed" };
        assert_eq!(lab.json(line)["outcome"], outcome, "{line}");
        unchanged(&lab, line);
    }
    // By its new name a renamed folder is as asked.
    lab.ok("vfolder rename alice/data data2");
    unchanged(&lab, "vfolder rename alice/data2 data2");
}

#[track_caller]
fn unchanged(lab: &Lab, line: &str) {
    let before = Snapshot::of(&[&lab.registry(), &lab.volume]);
    let result = lab.json(line);
    assert_eq!(result["outcome"], "unchanged", "{line}: {result}");
    before.same_as(&Snapshot::of(&[&lab.registry(), &lab.volume]), &format!("{line}, the second time,"));
}

#[test]
fn if_not_exists_accepts_what_has_the_same_properties() {
    let lab = Lab::btrfs();
    let line = "vfolder create alice/data --cloneable --if-not-exists";
    assert_eq!(lab.json(line)["outcome"], "created");
    assert_eq!(lab.json(line)["outcome"], "unchanged");
    lab.fails(4, "vfolder create alice/data --if-not-exists");
    lab.ok("vfolder delete alice/data");
    lab.fails(4, line);
}

#[test]
fn setting_the_same_limit_again_calls_nothing_that_writes() {
    let lab = Lab::btrfs();
    lab.ok("vfolder create alice/data");
    lab.ok("quota set alice 64m");
    let trace = lab.dir().join("trace");
    let mut strace = std::process::Command::new("/usr/bin/strace");
    strace
        .args(["-f", "-qq", "-e", "trace=ioctl,rename,renameat,renameat2,pwrite64,mkdirat", "-o"])
        .arg(&trace);
    strace.arg(crate::support::VFADM).args(["quota", "set", "alice", "64m"]);
    assert!(strace.env_clear().env("VFADM_ROOT", &lab.root).status().unwrap().success());
    let text = std::fs::read_to_string(&trace).unwrap();
    let writes: Vec<_> = text
        .lines()
        .filter(|l| ["QGROUP_LIMIT", "rename", "pwrite", "mkdir"].iter().any(|w| l.contains(w)))
        .collect();
    assert!(writes.is_empty(), "{writes:#?}");
}
