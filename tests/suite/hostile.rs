//! A registry of bytes that nobody meant: each command reads it as edited by hand, or refuses it, and writes nothing.

use std::fs;

use crate::support::{Lab, Snapshot};

const COMMANDS: [&str; 5] = ["vfolder list", "quota show", "registry check", "volume list", "session list"];

fn lab() -> Lab {
    let lab = Lab::plain();
    lab.ok("vfolder create alice/data");
    lab.ok("vfolder create project/ml/sets --perm ro");
    lab.ok("vfolder invite alice/data bob --perm rw");
    lab
}

/// As an editor does it: the newest backup is the same file, and stays.
fn put(lab: &Lab, bytes: &[u8]) {
    let draft = lab.root.join("draft");
    fs::write(&draft, bytes).unwrap();
    fs::rename(&draft, lab.registry()).unwrap();
}

#[test]
fn a_flipped_bit_is_told_as_an_edit_or_refused() {
    let lab = lab();
    let whole = fs::read(lab.registry()).unwrap();
    put(&lab, &whole);
    let before =
        Snapshot::of(&[&lab.volume, &lab.root.join(".vfadm/backups"), &lab.root.join(".vfadm/history")]);
    let (mut told, mut refused) = (0, 0);
    for flip in 0..200 {
        // Spread over the file, each bit in turn.
        let mut bytes = whole.clone();
        bytes[flip * whole.len() / 200] ^= 1 << (flip % 8);
        put(&lab, &bytes);
        let out = lab.run(COMMANDS[flip % COMMANDS.len()]);
        match out.code {
            0 => {
                told += 1;
                assert!(out.stderr.contains("by hand"), "flip {flip} was not told: {out:?}");
            }
            9 => refused += 1,
            _ => panic!("flip {flip}: {out:?}"),
        }
        assert_eq!(fs::read(lab.registry()).unwrap(), bytes, "flip {flip}: {out:?}");
    }
    let after =
        Snapshot::of(&[&lab.volume, &lab.root.join(".vfadm/backups"), &lab.root.join(".vfadm/history")]);
    before.same_as(&after, "a command on a spoiled registry");
    assert!(told > 20 && refused > 20, "{told} told, {refused} refused");
}

#[test]
fn a_registry_that_is_cut_is_refused_by_every_kind_of_command() {
    let lab = lab();
    let whole = fs::read(lab.registry()).unwrap();
    let ends: Vec<usize> = (1..whole.len()).filter(|at| whole[at - 1] == b'\n').collect();
    let middles = ends.windows(2).map(|ends| (ends[0] + ends[1]) / 2);
    let lines = ["check", "vfolder delete alice/data", "user set bob --max-vfolders 3", "session prune"];
    for (at, cut) in ends.iter().copied().chain(middles).enumerate() {
        put(&lab, &whole[..cut]);
        let before = Snapshot::of(&[&lab.registry(), &lab.volume]);
        let out = lab.run(lines[at % lines.len()]);
        assert_eq!(out.code, 9, "cut at byte {cut}: {out:?}");
        before.same_as(&Snapshot::of(&[&lab.registry(), &lab.volume]), "a command on a cut registry");
    }
}
