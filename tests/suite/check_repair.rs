//! `check --repair`: what is mended, what is only told, and that it loses nothing without being asked.

use std::fs;

use super::check::{DAMAGES, Damage, Repair, codes, left, site};
use super::consistency::assert_whole;

#[test]
fn each_kind_of_damage_is_mended() {
    for Damage { what, make, repair, code } in DAMAGES.iter().filter(|d| d.repair != Repair::ByHand) {
        let lab = site();
        make(&lab);
        if *repair == Repair::Losing {
            let out = lab.run("-o json check --repair");
            assert_eq!(out.code, 10, "{what}: {out:?}");
            assert!(left(&out).contains(&(*code).to_owned()), "{what}: {out:?}");
        }
        let out = lab.run("--yes check --repair");
        assert_eq!(out.code, 0, "{what}: {out:?}");
        assert!(out.stderr.contains("mended: "), "{what}: {out:?}");
        assert_eq!(codes(&lab), [""; 0], "{what}");
        assert_whole(&lab, what);
        if !matches!(*code, "vfolder_missing" | "work_cut_off") {
            let kept = if what.contains("in the place") { "alice/recovered-01234567" } else { "alice/data" };
            assert_eq!(fs::read_to_string(lab.path(kept).join("kept")).unwrap(), "kept", "{what}");
        }
        lab.ok("--yes check --repair").quiet();
    }
}
