//! Limits: what the kernel does to a tenant's write, and what an administrator sees of it.

use std::fs;

use crate::support::{Lab, MIB, Output, kernel_limits};

/// A tenant writes `mib` MiB into a file of the folder that is at `/w` in its session.
fn write(lab: &Lab, folder: &str, file: &str, mib: u32) -> Output {
    let script = format!("dd if=/dev/zero of=/w/{file} bs=1M count={mib} 2>&1");
    let owner = folder.split('/').next().unwrap();
    lab.session(owner, &format!("-m {folder}:/w"), &script)
}

#[test]
fn a_tenants_write_is_stopped_at_the_limit_and_goes_on_when_it_grows() {
    let lab = Lab::btrfs();
    lab.ok("vfolder create alice/data --quota-init 32m");
    let stopped = write(&lab, "alice/data", "big", 48).exits(1).prints(&["Disk quota exceeded"]);
    let written = fs::metadata(lab.path("alice/data").join("big")).unwrap().len();
    assert!((24 * MIB..=32 * MIB).contains(&written), "{written} bytes were written: {stopped:?}");

    lab.ok("quota set alice 64m");
    write(&lab, "alice/data", "big", 48).exits(0);
    let scope = &lab.json("quota show alice")["items"][0];
    assert_eq!(scope["limit_bytes"], 64 * MIB);
    let used = scope["used_bytes"].as_u64().unwrap();
    assert!((48 * MIB..50 * MIB).contains(&used), "{used}");
    let percent = scope["used_percent"].as_f64().unwrap();
    assert!((74.0..79.0).contains(&percent), "{percent}");
}

#[test]
fn all_folders_of_an_owner_on_a_volume_share_its_limit() {
    let lab = Lab::btrfs();
    lab.ok("quota set alice 32m");
    lab.ok("vfolder create alice/one");
    lab.ok("vfolder create alice/two");
    lab.ok("vfolder create bob/own");
    write(&lab, "alice/one", "f", 20).exits(0);
    write(&lab, "alice/two", "f", 20).exits(1).prints(&["Disk quota exceeded"]);
    write(&lab, "bob/own", "f", 40).exits(0);
}

#[test]
fn a_nested_subvolume_does_not_get_past_the_limit() {
    let lab = Lab::btrfs();
    lab.ok("vfolder create alice/data --quota-init 16m");
    let script = "btrfs subvolume create /w/nest >&2 && dd if=/dev/zero of=/w/nest/f bs=1M count=32 2>&1";
    lab.session("alice", "-m data:/w", script).exits(1).prints(&["Disk quota exceeded"]);
}

#[test]
fn a_full_scope_can_still_be_managed() {
    let lab = Lab::btrfs();
    lab.ok("vfolder create alice/data --quota-init 16m");
    lab.ok("vfolder create alice/rest");
    write(&lab, "alice/data", "fill", 64).exits(1);
    lab.session("alice", "-m data:/w", "for i in 1 2 3 4 5 6 7 8 9; do echo x > /w/$i; done; true").exits(0);
    lab.ok("vfolder rename alice/rest left");
    lab.ok("vfolder delete alice/left");
    lab.ok("quota set alice 17m");
    lab.ok("quota set alice 16m");
    lab.ok("vfolder delete alice/data");
    lab.ok("vfolder restore alice/data");
    lab.ok("vfolder delete alice/data --purge --yes");
    lab.ok("vfolder purge alice/left --yes");
    assert_eq!(lab.json("vfolder list")["count"], 0);
}

#[test]
fn a_limit_below_what_is_used_is_set_with_a_warning() {
    let lab = Lab::btrfs();
    lab.ok("vfolder create alice/data --quota-init 32m");
    write(&lab, "alice/data", "f", 20).exits(0);
    lab.fails(4, "quota set alice 8m --no-shrink");
    assert_eq!(lab.json("quota show alice")["items"][0]["limit_bytes"], 32 * MIB);
    lab.ok("quota set alice 8m").says(&["warning"]);
    write(&lab, "alice/data", "g", 1).exits(1).prints(&["Disk quota exceeded"]);
}

#[test]
fn a_scope_gets_its_limit_from_the_first_that_says_one() {
    let lab = Lab::btrfs();
    let limit = |owner: &str| lab.json(&format!("quota show {owner}"))["items"][0]["limit_bytes"].clone();
    for (user, before, create, expected) in [
        ("u1", "", "", None),
        ("u2", "--max-quota 40m", "", Some(40)),
        ("u3", "--max-quota 40m --default-quota 24m", "", Some(24)),
        ("u4", "--max-quota 40m --default-quota 24m", "--quota-init 16m", Some(16)),
    ] {
        lab.ok(&format!("user add {user}"));
        if !before.is_empty() {
            lab.ok(&format!("user set {user} {before}"));
        }
        lab.ok(&format!("vfolder create {user}/data {create}"));
        assert_eq!(limit(user).as_u64(), expected.map(|m| m * MIB), "{user}");
    }
    // What an administrator set comes first, and stays.
    lab.ok("user add u5");
    lab.ok("quota set u5 12m");
    lab.ok("vfolder create u5/data");
    assert_eq!(limit("u5"), 12 * MIB);
    lab.ok("vfolder delete u5/data --purge --yes");
    lab.ok("vfolder create u5/again");
    assert_eq!(limit("u5"), 12 * MIB);
    lab.fails(4, "vfolder create u5/more --quota-init 8m");
    lab.fails(4, "vfolder create u4/over --quota-init 8m");
    lab.fails(4, "quota set u4 64m");
    lab.fails(4, "quota set u4 unlimited");
}

#[test]
fn an_emptied_scope_leaves_nothing_in_the_kernel() {
    let lab = Lab::btrfs();
    lab.ok("vfolder create alice/data --quota-init 16m");
    lab.ok("vfolder create bob/data");
    assert_eq!(kernel_limits(&lab.volume).len(), 2);
    lab.ok("vfolder delete alice/data --purge --yes");
    assert_eq!(kernel_limits(&lab.volume).len(), 1, "{:?}", kernel_limits(&lab.volume));
    let ids: Vec<u64> = kernel_limits(&lab.volume).into_keys().collect();
    lab.ok("vfolder create alice/data");
    let new: Vec<u64> = kernel_limits(&lab.volume).into_keys().filter(|id| !ids.contains(id)).collect();
    assert!(new.iter().all(|id| *id > ids[0]), "kernel ids are never used twice: {ids:?}, {new:?}");
}

#[test]
fn a_volume_without_limits_says_so_and_what_to_do() {
    let lab = Lab::plain();
    for line in ["quota set alice 1g", "vfolder create alice/data --quota-init 1g"] {
        lab.fails(8, line).says(&["local", "btrfs"]);
    }
    assert_eq!(lab.json("vfolder list")["count"], 0);
    lab.ok("vfolder create alice/data");
    let scope = &lab.json("quota show alice")["items"][0];
    assert_eq!(scope["enforcement"], "none");
    assert_eq!(scope["limit_bytes"], serde_json::Value::Null);
}

#[test]
fn a_dedicated_volume_is_its_owners_alone_and_its_size_is_the_limit() {
    let lab = Lab::plain();
    for kind in ["ext4", "btrfs"] {
        let name = format!("only-{kind}");
        let image = lab.second(&name, kind, 128 << 20);
        lab.ok(&format!("user add {kind}-owner"));
        lab.ok(&format!(
            "volume add {name} {} --quota dedicated --dedicated-to {kind}-owner",
            image.mount.display()
        ));
        lab.fails(5, &format!("vfolder create bob/x --volume {name}"));
        // The owner's dedicated volume needs no name.
        lab.ok(&format!("vfolder create {kind}-owner/data"));
        assert_eq!(lab.folder(&format!("{kind}-owner/data"), "volume"), name);
        lab.fails(8, &format!("quota set {kind}-owner 1g --volume {name}"));
        let full = write(&lab, &format!("{kind}-owner/data"), "f", 256).exits(1);
        full.prints(&["No space left on device"]);
        let scope = &lab.json(&format!("quota show {kind}-owner --volume {name}"))["items"][0];
        assert_eq!(scope["enforcement"], "volume");
        assert!(scope["limit_bytes"].as_u64().unwrap() <= 128 * MIB, "{scope}");
        drop(image);
    }
}

#[test]
fn a_directory_that_is_no_volume_of_its_own_cannot_be_dedicated() {
    let lab = Lab::plain();
    let dir = lab.dir().join("plain");
    fs::create_dir(&dir).unwrap();
    lab.fails(8, &format!("volume add mine {} --quota dedicated --dedicated-to alice", dir.display()));
    assert_eq!(fs::read_dir(&dir).unwrap().count(), 0);
}

#[test]
fn auto_finds_the_driver_by_trying() {
    let lab = Lab::plain();
    let image = lab.second("pool", "btrfs", 512 << 20);
    let ext4 = lab.second("old", "ext4", 64 << 20);
    for (name, path, driver) in [("b", &image.mount, "btrfs"), ("e", &ext4.mount, "none")] {
        lab.ok(&format!("volume add {name} {}", path.display()));
        assert_eq!(lab.json(&format!("volume show {name}"))["driver"], driver, "{name}");
    }
    lab.ok("vfolder create alice/data --volume b --quota-init 8m");
    write(&lab, "alice/data", "f", 16).exits(1).prints(&["Disk quota exceeded"]);
    drop((image, ext4));
}

#[test]
fn quotas_on_a_btrfs_with_data_need_a_yes() {
    let lab = Lab::plain();
    let image = lab.second("pool", "btrfs", 512 << 20);
    fs::write(image.mount.join("earlier"), vec![1; 4 << 20]).unwrap();
    let line = format!("volume add b {} --quota btrfs", image.mount.display());
    lab.fails(2, &line).says(&["--yes"]);
    assert!(!image.mount.join(".vfadm-volume.yaml").exists());
    lab.ok(&format!("{line} --yes"));
}

#[test]
fn what_an_audit_would_mend_can_be_seen_first() {
    let lab = Lab::btrfs();
    lab.ok("vfolder create alice/data --quota-init 16MiB");
    let limit = |bytes: u64| {
        let mount = lab.image().mount.to_str().unwrap();
        crate::support::system("/usr/bin/btrfs", &["qgroup", "limit", &bytes.to_string(), "1/10000", mount]);
    };
    let shown = || lab.json("quota show alice")["items"][0]["limit_bytes"].as_u64().unwrap();
    limit(32 << 20);
    lab.run("--dry-run quota audit --fix").exits(0).says(&[
        "would mend: quota scope user/alice@local: the storage holds a limit of 32 MiB, the registry one of 16 MiB",
    ]);
    assert_eq!(shown(), 32 << 20);
    lab.run("quota audit --fix").exits(0).says(&["mended: quota scope user/alice@local"]);
    assert_eq!(shown(), 16 << 20);
    lab.ok("quota audit");
}
