//! Commands that change records more than data.

use std::fs;

use super::change::{Change, fail_all, kill_all, one};
use super::failing::SAMPLE;
use crate::support::Lab;

const DATA: &str = "vfolder create alice/data";
const INVITED: &[&str] = &[DATA, "vfolder invite alice/data bob --perm rw"];
const SHARED: &[&str] =
    &["vfolder create project/ml/sets --perm ro", "vfolder share project/ml/sets --with bob --perm rw"];
const SECOND: &[&str] = &["volume add second {root}/second --quota none"];
const SESSION: &[&str] = &[DATA, "session start s1 --user alice -m data"];
/// Its lease is over when the command begins.
const OVER: &[&str] = &[DATA, "session start s1 --user alice -m data --lease 1s", "wait"];
const TRASH: &[&str] =
    &[DATA, "vfolder create alice/more", "vfolder delete alice/data", "vfolder delete alice/more"];

const CHANGES: &[Change] = &[
    one(&["vfolder create project/ml/sets --perm ro"], "vfolder share project/ml/sets --with bob --perm rw"),
    one(SHARED, "vfolder unshare project/ml/sets --from bob"),
    one(&[DATA], "vfolder invite alice/data bob --perm rw"),
    one(INVITED, "invitation accept {invitation} --as bob"),
    one(INVITED, "invitation reject {invitation} --as bob"),
    one(INVITED, "invitation cancel {invitation}"),
    one(&[DATA], "vfolder rename alice/data model"),
    one(&[DATA], "vfolder set alice/data --cloneable"),
    one(&[], "user add carol --max-vfolders 3"),
    one(&[DATA], "user set alice --max-vfolders 3"),
    one(&[], "user remove bob --yes"),
    one(&[], "project add vision"),
    one(&["user add carol"], "project add-member ml carol"),
    one(&[DATA], "project remove-member ml bob"),
    one(&[DATA], "volume block local clone"),
    one(SECOND, "volume set second --default"),
    one(SECOND, "volume remove second --yes"),
    one(&[DATA], "session start s1 --user alice -m data"),
    one(SESSION, "session stop s1"),
    one(OVER, "session prune"),
    one(&[DATA, "session start s1 --user alice -m data --lease 1h"], "session renew s1 --lease 2h"),
    one(&["volume block local clone"], "volume allow local clone --for alice"),
    one(&["user set bob --max-vfolders 3"], "registry undo"),
    one(
        &[DATA, "vfolder invite alice/data bob --perm rw", "invitation accept {invitation} --as bob"],
        "vfolder leave alice/data --as bob",
    ),
    one(&[], "project remove ml --yes"),
    one(&["quota set bob unlimited"], "quota unset bob"),
    one(&[DATA], "node check-in"),
    one(&["user set alice --max-vfolders 3"], "registry restore 7 --yes"),
    Change { several: true, ..one(TRASH, "trash empty --yes") },
    Change { several: true, ..one(&[DATA, "vfolder create alice/more"], "user remove alice --purge --yes") },
    Change {
        several: true,
        ..one(&[DATA, "vfolder create alice/more"], "user remove alice --transfer-to bob --yes")
    },
];

fn lab() -> Lab {
    let lab = Lab::plain();
    fs::create_dir(lab.root.join("second")).unwrap();
    lab
}

#[test]
fn a_change_of_records_that_is_killed_happened_or_did_not() {
    // All points of half the commands would do; each second one of all of them shows more in the same time.
    kill_all("records", lab, CHANGES, 2);
}

#[test]
fn a_change_of_records_in_which_a_call_fails_says_so_and_did_not_happen() {
    fail_all("records", lab, CHANGES, SAMPLE);
}
