//! Folders and scopes that btrfs does not charge as it should: what is found, what mends it, and what is refused meanwhile.

use std::fs;
use std::path::Path;

use vfadm::host::btrfs::{Accounting, quota_enable};
use vfadm::host::dir::Dir;

use super::check::{codes, items};
use super::consistency::{assert_whole, no_intents, records};
use crate::support::{Lab, MIB, Output, kernel_limits, system};

/// alice owns `data` under a limit of 16 MiB, bob `data` under one of 8 MiB.
fn site() -> Lab {
    furnished(Lab::btrfs())
}

fn furnished(lab: Lab) -> Lab {
    for (owner, limit) in [("alice", "16m"), ("bob", "8m")] {
        lab.ok(&format!("vfolder create {owner}/data --quota-init {limit}"));
        fs::write(lab.path(&format!("{owner}/data")).join("file"), "kept").unwrap();
    }
    lab
}

/// One whose folders are plain directories in one subvolume a scope.
fn of_directories() -> Lab {
    let lab = Lab::btrfs();
    lab.ok("volume remove local --yes");
    lab.ok(&format!("volume add local {} --quota btrfs --folders directory", lab.image().mount.display()));
    furnished(lab)
}

fn number(lab: &Lab, owner: &str) -> u64 {
    records(lab, "scopes")[&format!("user/{owner}@local")]["kernel_id"].as_u64().unwrap()
}

fn btrfs(lab: &Lab, line: &str) -> String {
    let mut words = crate::support::words(line);
    words.push(lab.volume.to_str().unwrap());
    system("/usr/bin/btrfs", &words)
}

fn subvolume(path: &Path) -> String {
    let shown = system("/usr/bin/btrfs", &["inspect-internal", "rootid", path.to_str().unwrap()]);
    format!("0/{}", shown.trim())
}

/// The line of `qgroup show -c` of a scope's qgroup.
fn members(lab: &Lab, owner: &str) -> String {
    let number = format!("1/{} ", number(lab, owner));
    let shown = btrfs(lab, "qgroup show -c --raw");
    shown.lines().find(|line| line.trim_start().starts_with(&number)).unwrap_or_default().to_owned()
}

/// What a tenant writes: so many MiB.
fn write(lab: &Lab, folder: &str, mib: u64) -> Output {
    let (owner, name) = folder.split_once('/').unwrap();
    lab.session(
        owner,
        &format!("-m {name}"),
        &format!("dd if=/dev/zero of={name}/more bs=1M count={mib} 2>&1"),
    )
}

/// Puts a plain directory with the same content in a folder's place, as a restore from a backup does.
fn restore(lab: &Lab, folder: &str) {
    let path = lab.path(folder);
    let (from, aside) = (path.to_str().unwrap(), path.with_extension("restored"));
    system("/usr/bin/cp", &["-a", from, aside.to_str().unwrap()]);
    system("/usr/bin/btrfs", &["subvolume", "delete", from]);
    fs::rename(&aside, &path).unwrap();
}

#[test]
fn a_plain_directory_in_the_place_of_a_folder_is_found() {
    let lab = site();
    restore(&lab, "alice/data");
    let path = lab.path("alice/data");
    for line in ["-o json check", "-o json check --repair", "-o json quota audit"] {
        let found = lab.run(line).exits(10).json();
        let finding = &items(&found)[0];
        assert_eq!(finding["code"], "not_charged", "{line}");
        assert_eq!(finding["subject"], "vfolder user/alice/data", "{line}");
        let message =
            format!("{}: it is a plain directory, and not charged to its quota scope", path.display());
        assert_eq!(finding["message"], message.as_str(), "{line}");
        let repair = finding["repair"].as_str().unwrap();
        assert!(repair.contains("vfadm vfolder clone user/alice/data OWNER/NEWNAME"), "{line}: {repair}");
    }
    // As the finding says.
    fs::write(path.join("big"), vec![3; 4 * MIB as usize]).unwrap();
    nix::unistd::sync();
    lab.fails(8, "vfolder clone user/alice/data bob/x --linked").says(&["plain directory"]);
    let made = lab.json("vfolder clone user/alice/data user/alice/new");
    assert_eq!(made["item"]["clone"]["way"], "copy");
    nix::unistd::sync();
    let used = lab.json("quota show alice")["items"][0]["used_bytes"].as_u64().unwrap();
    assert!(used >= 4 * MIB, "{used}");
    lab.ok("--yes vfolder delete alice/data --purge");
    lab.ok("vfolder rename alice/new data");
    assert_eq!(fs::read_to_string(lab.path("alice/data").join("file")).unwrap(), "kept");
    write(&lab, "alice/data", 32).prints(&["Disk quota exceeded"]);
    assert_eq!(codes(&lab), [""; 0]);
    lab.ok("quota audit");
}

#[test]
fn a_plain_directory_in_the_place_of_a_folder_is_copied_to_its_new_owner() {
    let lab = site();
    restore(&lab, "alice/data");
    lab.ok("vfolder rename alice/data old");
    fs::write(lab.path("alice/old").join("big"), vec![3; 12 * MIB as usize]).unwrap();
    nix::unistd::sync();
    lab.fails(8, "--dry-run vfolder transfer alice/old bob").says(&["user/bob has"]);
    lab.fails(8, "vfolder transfer alice/old bob").says(&["user/bob has"]);
    no_intents(&lab, "it was refused");
    lab.ok("quota set bob 64m");
    lab.ok("vfolder transfer alice/old bob");
    assert_eq!(fs::read_to_string(lab.path("bob/old").join("file")).unwrap(), "kept");
    nix::unistd::sync();
    let used = lab.json("quota show bob")["items"][0]["used_bytes"].as_u64().unwrap();
    assert!(used >= 12 * MIB, "{used}");
    assert_eq!(codes(&lab), [""; 0]);
    assert_whole(&lab, "transferred");
}

#[test]
fn a_scope_of_directories_out_of_its_qgroup_is_charged_there_again() {
    let lab = of_directories();
    let number = number(&lab, "alice");
    let scope = lab.path("alice/data").ancestors().nth(3).unwrap().to_owned();
    btrfs(&lab, &format!("qgroup remove --no-rescan {} 1/{number}", subvolume(&scope)));
    assert_eq!(codes(&lab), ["not_charged"]);
    lab.run("check").exits(10).prints(&["quota scope user/alice@local"]);
    lab.run("--dry-run check --repair")
        .exits(0)
        .prints(&[&format!("charge {} to its number in the kernel, {number}", scope.display())]);
    lab.run("check --repair").exits(0).says(&["mended: quota scope user/alice@local"]);
    write(&lab, "alice/data", 32).prints(&["Disk quota exceeded"]);
    assert_eq!(codes(&lab), [""; 0]);
    lab.ok("quota audit");
}

/// Its members leave it first: a qgroup with members is destroyed by no tool.
fn destroy(lab: &Lab, owner: &str, member: &Path) {
    let number = number(lab, owner);
    btrfs(lab, &format!("qgroup remove --no-rescan {} 1/{number}", subvolume(member)));
    btrfs(lab, &format!("qgroup destroy 1/{number}"));
}

#[test]
fn a_qgroup_that_was_destroyed_is_made_again() {
    for lab in [site(), of_directories()] {
        let folder = lab.path("alice/data");
        let scope = folder.ancestors().nth(3).unwrap();
        let is_plain = subvolume(&folder) == subvolume(scope);
        fs::write(folder.join("big"), vec![3; 4 * MIB as usize]).unwrap();
        nix::unistd::sync();
        destroy(&lab, "alice", if is_plain { scope } else { &folder });
        let number = number(&lab, "alice");
        assert_eq!(codes(&lab), ["not_charged"]);
        for line in ["check", "volume check local", "quota audit", "quota audit --fix"] {
            let message = format!("the storage has nothing of its number {number} any more");
            lab.run(line)
                .exits(10)
                .prints(&[&message])
                .says(&["hint: quota scope user/alice@local: vfadm check --repair makes that again"]);
        }
        for line in ["quota set alice 32m", "quota set alice 16m", "--dry-run quota set alice 32m"] {
            lab.fails(8, line).says(&["vfadm check --repair makes that again"]);
        }
        lab.fails(8, "vfolder create alice/more").says(&["vfadm check"]);
        lab.run("check --repair").exits(0).says(&["mended: quota scope user/alice@local"]);
        assert_eq!(kernel_limits(&lab.volume)[&number], Some(16 * MIB));
        assert_eq!(codes(&lab), [""; 0]);
        nix::unistd::sync();
        let used = lab.json("quota show alice")["items"][0]["used_bytes"].as_u64().unwrap();
        assert!(used >= 4 * MIB, "{used}");
        write(&lab, "alice/data", 32).prints(&["Disk quota exceeded"]);
        lab.ok("quota set alice 32m");
        lab.ok("quota audit");
        no_intents(&lab, "mended");
    }
}

/// All qgroups go with them; what was written before is never counted by simple quotas.
#[test]
fn scopes_are_charged_again_after_quotas_were_switched_off_and_on() {
    let lab = site();
    btrfs(&lab, "quota disable");
    assert_eq!(codes(&lab), ["limits_off"]);
    quota_enable(&Dir::open(&lab.volume).unwrap(), Accounting::Simple).unwrap();
    assert_eq!(codes(&lab), ["not_charged", "not_charged"]);
    lab.run("check").exits(10).says(&["what was written before quotas were last switched on is not counted"]);
    lab.run("check --repair").exits(0);
    assert_eq!(codes(&lab), [""; 0]);
    let limits = kernel_limits(&lab.volume);
    assert_eq!(limits[&number(&lab, "alice")], Some(16 * MIB));
    assert_eq!(limits[&number(&lab, "bob")], Some(8 * MIB));
    for folder in ["alice/data", "bob/data"] {
        write(&lab, folder, 32).prints(&["Disk quota exceeded"]);
    }
    lab.ok("quota audit");
}

#[test]
fn a_folder_in_the_qgroup_of_another_scope_too_leaves_that() {
    for fixed_by in ["check --repair", "quota audit --fix"] {
        let lab = site();
        let (folder, bob) = (lab.path("alice/data"), number(&lab, "bob"));
        let id = subvolume(&folder);
        btrfs(&lab, &format!("qgroup assign --no-rescan {id} 1/{bob}"));
        assert_eq!(codes(&lab), ["charged_twice"]);
        let found = lab.run("-o json quota audit").exits(10).json();
        assert_eq!(items(&found)[0]["code"], "charged_twice");
        lab.run("check").exits(10).prints(&[&format!(
            "{}: it is charged to the number {bob} as well, another's",
            folder.display()
        )]);
        lab.run(fixed_by).exits(0).says(&["mended: "]);
        assert_eq!(codes(&lab), [""; 0]);
        lab.ok("quota audit");
        assert!(members(&lab, "alice").contains(&id), "{}", members(&lab, "alice"));
        assert!(!members(&lab, "bob").contains(&id), "{}", members(&lab, "bob"));
    }
    // A scope of plain directories is charged as one.
    let lab = of_directories();
    let scope = lab.path("alice/data").ancestors().nth(3).unwrap().to_owned();
    btrfs(&lab, &format!("qgroup assign --no-rescan {} 1/{}", subvolume(&scope), number(&lab, "bob")));
    assert_eq!(codes(&lab), ["charged_twice"]);
    lab.run("check --repair").exits(0).says(&["mended: quota scope user/alice@local"]);
    assert_eq!(codes(&lab), [""; 0]);
}
