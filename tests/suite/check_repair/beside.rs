//! Repairs beside other commands.

use serde_json::json;

use crate::suite::check::{DAMAGES, codes, site};
use crate::suite::consistency::{assert_whole, records};

#[test]
fn beside_commands_that_change_things_all_the_time_nothing_is_found() {
    let lab = site();
    let wait = "--lock-timeout 60s -q --yes";
    std::thread::scope(|scope| {
        let workers = ["alice", "bob"].map(|owner| {
            let lab = &lab;
            scope.spawn(move || {
                for n in 0..12 {
                    for line in [
                        format!("vfolder create {owner}/f{n}"),
                        format!("vfolder rename {owner}/f{n} g{n}"),
                        format!("vfolder clone {owner}/g{n} {owner}/c{n}"),
                        format!("vfolder delete {owner}/g{n}"),
                        format!("vfolder purge {owner}/g{n}"),
                        format!("vfolder delete {owner}/c{n} --purge"),
                    ] {
                        lab.ok(&format!("{line} {wait}"));
                    }
                }
            })
        });
        let mut looked = 0;
        while workers.iter().any(|worker| !worker.is_finished()) {
            assert_eq!(codes(&lab), [""; 0]);
            let out = lab.run(&format!("-o json check --repair {wait}")).exits(0).json();
            assert_eq!(out["mended"], json!([]));
            looked += 1;
        }
        assert!(looked > 2, "{looked}");
    });
    assert_whole(&lab, "in the end");
}

#[test]
fn several_repairs_at_once_mend_each_thing_once() {
    let lab = site();
    for what in [
        "a directory in the place of a vfolder",
        "a copy without a record",
        "neither record nor sidecar",
        "a scope that everybody may pass",
        "a vfolder that is root's",
        "the version of the layout was removed",
        "a sidecar of nothing",
        "an invitation nobody answered",
        "a purge that was cut off",
        "a sidecar was removed",
    ] {
        let damage = DAMAGES.iter().find(|damage| damage.what == what).expect(what);
        (damage.make)(&lab);
    }
    let codes: Vec<i32> = std::thread::scope(|scope| {
        let runs = [(); 4].map(|()| scope.spawn(|| lab.run("--yes check --repair --lock-timeout 60s").code));
        runs.into_iter().map(|run| run.join().unwrap()).collect()
    });
    assert!(codes.iter().all(|code| matches!(code, 0 | 10)), "{codes:?}");
    lab.ok("--yes check --repair");
    lab.ok("check").quiet();
    let folders: Vec<String> = records(&lab, "vfolders").into_keys().collect();
    assert_eq!(folders, ["project/ml/sets", "user/alice/data", "user/alice/recovered-01234567"]);
    assert_whole(&lab, "four at once");
}
