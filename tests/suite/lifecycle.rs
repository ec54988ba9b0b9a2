//! A folder's life: create, use, delete, restore, purge; and who is in the way.

use std::fs;
use std::process::Command;

use crate::support::{Lab, start_time, system, wait_until};

use super::consistency::{assert_whole, no_intents, records};

fn holder() -> String {
    format!("--holder pid:{}", std::process::id())
}

#[test]
fn delete_keeps_the_data_the_name_and_the_charge() {
    for lab in [Lab::plain(), Lab::btrfs()] {
        lab.ok("vfolder create alice/data");
        let path = lab.path("alice/data");
        fs::write(path.join("kept"), "kept").unwrap();
        let id = lab.folder("alice/data", "id");
        lab.ok("vfolder delete alice/data");
        assert!(!path.exists());
        assert_eq!(lab.folder("alice/data", "status"), "trashed");
        lab.fails(4, "vfolder create alice/data").says(&["restore", "purge"]);
        lab.fails(4, "session plan --user alice -m data");
        assert_eq!(lab.json("trash list")["items"][0]["name"], "data");
        lab.ok("vfolder restore alice/data");
        assert_eq!(lab.path("alice/data"), path);
        assert_eq!(fs::read_to_string(path.join("kept")).unwrap(), "kept");
        assert_eq!(lab.folder("alice/data", "id"), id);
        assert_whole(&lab, "restored");
    }
}

#[test]
fn purge_removes_everything_and_frees_the_name() {
    for lab in [Lab::plain(), Lab::btrfs()] {
        lab.ok("vfolder create alice/data");
        let path = lab.path("alice/data");
        for dir in 0..20 {
            let dir = path.join(format!("d{dir}/e/f"));
            fs::create_dir_all(&dir).unwrap();
            fs::write(dir.join("x"), "x").unwrap();
            std::os::unix::fs::symlink("/etc", dir.join("link")).unwrap();
        }
        lab.fails(4, "vfolder purge alice/data --yes").says(&["delete"]);
        lab.ok("vfolder delete alice/data --purge --yes");
        lab.fails(3, "vfolder show alice/data");
        assert!(fs::metadata("/etc/passwd").is_ok());
        assert!(!path.exists());
        assert_whole(&lab, "purged");
        no_intents(&lab, "purged");
        assert!(
            records(&lab, "scopes").values().all(|s| s["present"] != true),
            "the last folder takes its scope along"
        );
        lab.ok("vfolder create alice/data");
    }
}

#[test]
fn purge_never_leaves_the_folder_by_a_link() {
    let lab = Lab::plain();
    let outside = lab.dir().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("precious"), "x").unwrap();
    lab.ok("vfolder create alice/data");
    std::os::unix::fs::symlink(&outside, lab.path("alice/data").join("link")).unwrap();
    lab.ok("vfolder delete alice/data --purge --yes");
    assert!(outside.join("precious").exists());
}

#[test]
fn trash_empty_takes_what_is_old_enough() {
    let lab = Lab::plain();
    for (owner, name) in [("alice", "one"), ("bob", "two"), ("alice", "three")] {
        lab.ok(&format!("vfolder create {owner}/{name}"));
        lab.ok(&format!("vfolder delete {owner}/{name}"));
    }
    lab.ok("trash empty --older-than 1d --yes");
    assert_eq!(lab.json("trash list")["count"], 3);
    lab.ok("trash empty --older-than 0s --owner bob --yes");
    assert_eq!(lab.json("trash list")["count"], 2);
    lab.ok("trash empty --older-than 0s --yes");
    assert_eq!(lab.json("trash list")["count"], 0);
    assert_whole(&lab, "emptied");
}

#[test]
fn rename_moves_nothing_on_disk() {
    let lab = Lab::plain();
    lab.ok("vfolder create alice/data");
    let path = lab.path("alice/data");
    lab.ok(&format!("session start s1 --user alice -m data {}", holder()));
    lab.ok("vfolder rename alice/data better");
    assert_eq!(lab.path("alice/better"), path);
    lab.fails(3, "vfolder show alice/data");
}

#[test]
fn limits_of_an_owner_count_every_status() {
    let lab = Lab::plain();
    lab.ok("user set alice --max-vfolders 2");
    lab.ok("vfolder create alice/one");
    lab.ok("vfolder create alice/two");
    lab.ok("vfolder delete alice/two");
    lab.fails(4, "vfolder create alice/three");
    lab.ok("vfolder purge alice/two --yes");
    lab.ok("vfolder create alice/three");
    lab.ok("user set alice --max-vfolders unlimited");
    lab.ok("vfolder create alice/four");
}

#[test]
fn what_a_session_has_is_in_use_until_it_ends() {
    let lab = Lab::plain();
    lab.ok("vfolder create alice/data");
    lab.ok(&format!("session start train-1 --user alice -m data {}", holder()));
    for line in ["vfolder delete alice/data", "vfolder delete alice/data --purge --yes"] {
        lab.fails(6, line).says(&["train-1"]);
    }
    lab.ok("session stop train-1");
    lab.ok("vfolder delete alice/data");
}

#[test]
fn a_session_that_runs_here_is_in_use() {
    let lab = Lab::btrfs();
    lab.ok("vfolder create alice/data");
    let session = lab.session_in_background("live", "--user alice -m data:/w");
    lab.fails(6, "vfolder delete alice/data").says(&["live"]);
    session.end().exits(0);
    lab.fails(3, "session show live");
    lab.ok("vfolder delete alice/data");
}

#[test]
fn a_process_of_the_host_in_the_folder_is_in_use() {
    let lab = Lab::plain();
    lab.ok("vfolder create alice/data");
    let path = lab.path("alice/data");
    fs::write(path.join("log"), "x").unwrap();
    for how in ["working directory", "open file"] {
        let mut tail = Command::new("/usr/bin/tail");
        match how {
            "open file" => tail.arg("-f").arg(path.join("log")),
            _ => tail.args(["-f", "/dev/null"]).current_dir(&path),
        };
        let mut tail = tail.stdout(std::process::Stdio::null()).spawn().unwrap();
        wait_until("tail runs", || {
            fs::read_to_string(format!("/proc/{}/comm", tail.id())).is_ok_and(|c| c == "tail\n")
        });
        std::thread::sleep(std::time::Duration::from_millis(100));
        let out = lab.run("vfolder delete alice/data");
        tail.kill().unwrap();
        tail.wait().unwrap();
        out.exits(6).says(&["tail"]);
    }
    lab.ok("vfolder delete alice/data");
}

#[test]
fn a_session_whose_process_is_gone_does_not_count() {
    let lab = Lab::plain();
    for (name, how) in [("dead", "killed"), ("reused", "start time"), ("rebooted", "boot id")] {
        lab.ok(&format!("vfolder create alice/{name}"));
        let mut sleep = Command::new("/usr/bin/sleep").arg("600").spawn().unwrap();
        lab.ok(&format!("session start {name} --user alice -m {name} --holder pid:{}", sleep.id()));
        lab.fails(6, &format!("vfolder delete alice/{name}"));
        match how {
            // The pid is given to another process: its start time is another one.
            "start time" => {
                let text = lab.registry_text();
                let real = format!("\"start_time\":{}", start_time(sleep.id()).unwrap());
                assert!(text.contains(&real), "{text}");
                fs::write(lab.registry(), text.replace(&real, "\"start_time\":1")).unwrap();
            }
            "boot id" => {
                let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
                let text = lab.registry_text();
                assert!(text.contains(boot.trim()), "{text}");
                let other = "00000000-0000-4000-8000-000000000000";
                fs::write(lab.registry(), text.replace(boot.trim(), other)).unwrap();
            }
            _ => {
                sleep.kill().unwrap();
                sleep.wait().unwrap();
            }
        }
        lab.ok(&format!("vfolder delete alice/{name}"));
        let _ = sleep.kill();
        let _ = sleep.wait();
    }
}

#[test]
fn usage_measures_what_is_there() {
    let lab = Lab::plain();
    lab.ok("vfolder create alice/data");
    let path = lab.path("alice/data");
    fs::create_dir(path.join("d")).unwrap();
    fs::write(path.join("d/f"), vec![7; 100_000]).unwrap();
    fs::hard_link(path.join("d/f"), path.join("again")).unwrap();
    fs::File::create(path.join("sparse")).unwrap().set_len(1 << 30).unwrap();
    // As `du --apparent-size` counts: directories have a size too.
    let directories = [path.join("d"), path].map(|p| fs::metadata(p).unwrap().len()).iter().sum::<u64>();
    let shown = lab.json("vfolder usage alice/data");
    let item = &shown["items"][0];
    assert_eq!(item["apparent_bytes"], (1u64 << 30) + 100_000 + directories, "hard links once: {shown}");
    assert_eq!((&item["files"], &item["directories"]), (&2.into(), &2.into()), "{shown}");
}

/// What cannot be removed is said before the folder is set aside, or with what helps.
#[test]
fn a_mount_inside_or_an_immutable_file_is_named_with_what_to_do() {
    let lab = Lab::plain();
    let image = lab.second("disk", "ext4", 16 << 20);
    lab.ok(&format!("volume add disk {} --quota none", image.mount.display()));
    lab.ok("vfolder create alice/data --volume disk");
    let inside = lab.path("alice/data").join("inside");
    fs::create_dir(&inside).unwrap();
    let point = inside.to_str().unwrap();
    system("/usr/bin/mount", &["-t", "tmpfs", "inside", point]);
    for line in ["vfolder delete alice/data", "vfolder delete alice/data --purge --yes"] {
        lab.fails(6, line).says(&["inside is mounted at ", &format!("umount {point}")]);
    }
    system("/usr/bin/umount", &[point]);
    fs::write(inside.join("kept"), "").unwrap();
    let kept = inside.join("kept");
    system("/usr/bin/chattr", &["+i", kept.to_str().unwrap()]);
    lab.ok("vfolder delete alice/data");
    let refused = lab.fails(8, "vfolder purge alice/data --yes");
    refused.says(&["Operation not permitted", "chattr -R -i -a"]);
    let trash = system("/usr/bin/find", &[image.mount.to_str().unwrap(), "-name", "kept"]);
    system("/usr/bin/chattr", &["-i", trash.trim()]);
    lab.ok("vfolder purge alice/data --yes");
}

#[test]
fn on_a_full_filesystem_folders_are_deleted_all_the_same() {
    for kind in ["xfs", "ext4"] {
        let lab = Lab::plain();
        let image = lab.second("disk", kind, 320 << 20);
        lab.ok(&format!("volume add disk {} --quota none", image.mount.display()));
        lab.ok("vfolder create alice/data --volume disk");
        let full = format!("cat /dev/zero >'{}/fill' 2>/dev/null; sync", image.mount.display());
        system("/bin/sh", &["-c", &full]);
        lab.ok("vfolder delete alice/data");
        lab.ok("vfolder purge alice/data --yes");
    }
}
