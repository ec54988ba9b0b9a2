//! Questions: asked on a terminal, answered by `--yes`, and never assumed without either.

use crate::support::{Lab, Snapshot, VFADM};

fn lab() -> Lab {
    let lab = Lab::plain();
    lab.ok("user add carol");
    lab.ok("project add chem");
    for name in ["data", "gone"] {
        lab.ok(&format!("vfolder create alice/{name}"));
    }
    lab.ok("vfolder delete alice/gone");
    lab
}

#[test]
fn without_a_terminal_what_loses_something_needs_yes() {
    let lab = lab();
    let before = Snapshot::of(&[&lab.registry(), &lab.volume]);
    for line in [
        "vfolder purge alice/gone",
        "vfolder delete alice/data --purge",
        "trash empty",
        "user remove carol",
        "project remove chem",
    ] {
        lab.fails(2, line).says(&["--yes"]);
        before.same_as(&Snapshot::of(&[&lab.registry(), &lab.volume]), line);
    }
    for line in ["vfolder delete alice/data", "vfolder restore alice/data"] {
        lab.ok(line);
    }
    for line in ["vfolder purge alice/gone -y", "user remove carol --yes", "trash empty -y"] {
        lab.ok(line);
    }
}

#[test]
fn on_a_terminal_the_answer_decides() {
    let lab = lab();
    let typed = format!("{VFADM} --root {} vfolder purge alice/gone", lab.root.display());
    let asked = |answer: &str| {
        let line = format!("printf '{answer}\\r' | TERM=dumb /usr/bin/script -qec '{typed}' /dev/null");
        std::process::Command::new("/bin/sh").args(["-c", &line]).output().unwrap()
    };
    let refused = asked("n");
    let said = String::from_utf8_lossy(&refused.stdout).into_owned();
    assert!(said.contains("gone"), "the question names what would be lost: {said}");
    lab.ok("vfolder show alice/gone");
    asked("y");
    lab.fails(3, "vfolder show alice/gone");
}
