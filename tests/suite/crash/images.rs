//! Volumes that vfadm mounts itself. The tools that make, mount and grow a filesystem are killed too, and their calls fail.

use super::change::{Change, fail_all, kill_all, one};
use super::failing::SAMPLE;
use crate::support::Lab;

const ADD: &str = "volume add only {root}/only --dedicated-to alice --make-image 16m";
const UNMOUNTED: &[&str] = &[ADD, "vfolder create alice/data --volume only", "volume unmount only"];
/// Growing a mounted ext4 wants a capability that root in a container lacks.
const GROWN: &[&str] = &[
    "volume add only {root}/only --dedicated-to alice --make-image 320m --mount-type xfs",
    "vfolder create alice/data --volume only",
    "volume unmount only",
];
const MOUNT: &[&str] = &["volume mount only"];

const CHANGES: &[Change] = &[
    one(&[], ADD),
    one(UNMOUNTED, "volume mount only"),
    Change { each: MOUNT, ..one(UNMOUNTED, "volume unmount only") },
    Change { each: MOUNT, ..one(GROWN, "quota set alice 400m --volume only") },
    Change { each: MOUNT, ..one(&[ADD, "volume unmount only"], "volume remove only --yes") },
];

#[test]
fn a_change_of_an_image_that_is_killed_happened_or_did_not() {
    kill_all("images", Lab::plain, CHANGES, 2);
}

#[test]
fn a_change_of_an_image_in_which_a_call_fails_says_so_and_did_not_happen() {
    fail_all("images", Lab::plain, CHANGES, SAMPLE);
}
