//! Who is charged for a clone.

use std::fs;

use serde_json::json;

use super::{furnished, told};
use crate::support::{Lab, MIB};

/// From one kind of storage to another: the new scope is charged.
#[test]
fn a_clone_on_another_volume_is_charged_there() {
    let lab = furnished(Lab::btrfs());
    fs::write(lab.path("alice/data").join("big"), vec![5; 2 * MIB as usize]).unwrap();
    let plain = lab.dir().join("plain");
    fs::create_dir(&plain).unwrap();
    lab.ok(&format!("volume add plain {} --quota none", plain.display()));
    lab.ok("vfolder clone alice/data bob/there --volume plain");
    assert_eq!(lab.folder("bob/there", "volume"), "plain");
    lab.ok("vfolder clone bob/there carol/back --volume local");
    assert_eq!(told(&lab.path("carol/back")), told(&lab.path("alice/data")));
    nix::unistd::sync();
    let shown = lab.json("quota show carol");
    assert!(shown["items"][0]["used_bytes"].as_u64().unwrap() >= 2 * MIB, "{shown}");
    lab.ok("check");
}

/// A clone shares all with its source and is charged with nothing: a copy of it takes all the same.
#[test]
fn what_a_clone_shares_counts_where_it_is_copied() {
    let lab = furnished(Lab::btrfs());
    fs::write(lab.path("alice/data").join("big"), vec![5; 8 * MIB as usize]).unwrap();
    nix::unistd::sync();
    let made = lab.json("vfolder clone alice/data alice/snap");
    assert_eq!(made["item"]["clone"], json!({"source": "user/alice/data", "way": "snapshot"}));
    assert_eq!(told(&lab.path("alice/snap")), told(&lab.path("alice/data")));
    let second = lab.second("second", "btrfs", 256 << 20);
    lab.ok(&format!("volume add second {} --quota btrfs", second.mount.display()));
    lab.ok("quota set bob 4m --volume second");
    for line in [
        "vfolder clone alice/snap bob/copy --volume second",
        "vfolder transfer alice/snap bob --volume second",
    ] {
        lab.fails(8, line)
            .says(&["user/bob has 4 MiB left of 4 MiB on 'second', and user/alice/snap takes 8"]);
    }
    lab.ok("check");
}

/// Who is charged for a linked clone is said; its own limit holds for what it writes.
#[test]
fn a_linked_clone_is_charged_to_the_owner_of_its_source() {
    let lab = furnished(Lab::btrfs());
    fs::write(lab.path("alice/data").join("big"), vec![5; 8 * MIB as usize]).unwrap();
    nix::unistd::sync();
    lab.ok("quota set bob 4m");
    lab.fails(8, "vfolder clone alice/data bob/copy");
    lab.ok("vfolder clone alice/data bob/copy --linked").says(&[
        "what user/bob/copy shares with user/alice/data, setuid files and devices too, stays charged to user/alice for as \
         long as that has folders on 'local'; neither depends on the other",
    ]);
    let used =
        |owner: &str| lab.json(&format!("quota show {owner}"))["items"][0]["used_bytes"].as_u64().unwrap();
    assert!(used("alice") >= 8 * MIB && used("bob") < MIB, "{} and {}", used("alice"), used("bob"));
    let stopped = lab.session("bob", "-m copy", "dd if=/dev/zero of=copy/more bs=1M count=8");
    assert!(stopped.stderr.contains("Disk quota exceeded"), "{stopped:?}");
    lab.ok("vfolder delete alice/data --purge --yes");
    assert_eq!(fs::metadata(lab.path("bob/copy").join("big")).unwrap().len(), 8 * MIB);
    lab.ok("vfolder delete bob/copy --purge --yes");
    lab.ok("check");
}

/// Two who help each other could else hold more than both are limited to: what the one pays for until it is gone.
#[test]
fn what_shares_blocks_goes_to_nobody_else_without_its_charge() {
    let lab = furnished(Lab::btrfs());
    fs::write(lab.path("alice/data").join("big"), vec![5; 8 * MIB as usize]).unwrap();
    nix::unistd::sync();
    lab.ok("vfolder set alice/data --cloneable");
    lab.ok("vfolder share alice/data --with bob --perm ro");
    lab.fails(5, "vfolder clone data copy --linked --as bob").says(&[
        "bob may not make a linked clone: what it shares with user/alice/data would stay charged to user/alice",
        "the superadmin may; without --linked it is copied",
    ]);
    lab.ok("vfolder clone data snap --as alice");
    lab.ok("quota set bob 4m");
    for folder in ["alice/snap", "alice/data"] {
        lab.fails(4, &format!("vfolder transfer {folder} bob --as alice")).says(&["user/bob cannot take"]);
        lab.fails(8, &format!("vfolder transfer {folder} bob")).says(&["user/bob has 4 MiB left of 4 MiB"]);
    }
    lab.ok("quota set bob 32m");
    lab.ok("vfolder transfer alice/snap bob");
    lab.ok("vfolder delete alice/data --purge --yes");
    nix::unistd::sync();
    let shown = lab.json("quota show bob");
    assert!(shown["items"][0]["used_bytes"].as_u64().unwrap() >= 8 * MIB, "{shown}");
    lab.ok("check");
}
