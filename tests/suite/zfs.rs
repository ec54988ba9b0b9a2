//! Volumes on ZFS: scopes, and folders too, are datasets.

use std::fs;
use std::path::Path;

use crate::support::{Lab, LabUp, system};

fn zfs(args: &[&str]) -> String {
    system("/usr/sbin/zfs", args)
}

/// A root with a volume `v` that is a dataset of the lab's pool; its name.
fn site(up: &LabUp, options: &str) -> (Lab, String) {
    let pool = system("/usr/bin/findmnt", &["-no", "SOURCE", up.mount().to_str().unwrap()]);
    let dataset = format!("{}/v", pool.trim());
    zfs(&["create", &dataset]);
    let lab = Lab::bare();
    lab.ok("init --volume spare=spare --quota none");
    lab.ok("user add alice");
    lab.ok(&format!("volume add v {} --quota zfs {options}", up.mount().join("v").display()));
    lab.ok("volume set v --default");
    (lab, dataset)
}

fn scope(lab: &Lab) -> String {
    lab.json("quota show alice")["items"][0]["path"].as_str().unwrap().to_owned()
}

fn dataset_of(path: &str) -> String {
    system("/usr/bin/findmnt", &["-no", "SOURCE", path]).trim().to_owned()
}

#[test]
fn nothing_is_written_under_a_scope_that_is_not_mounted() {
    let up = LabUp::new(Some("zfs"));
    let (lab, _) = site(&up, "");
    lab.ok("vfolder create alice/data --quota-init 8MiB");
    let (scope, before) = (scope(&lab), lab.registry_text());
    let dataset = dataset_of(&scope);
    zfs(&["unmount", &dataset]);
    for line in [
        "vfolder create alice/more",
        "vfolder delete alice/data",
        "quota set alice 16MiB",
        "session run --user alice -m data -- true",
        "session plan --user alice -m data",
        "vfolder usage alice/data",
    ] {
        lab.fails(8, line).says(&[
            &format!("the dataset {dataset} is not mounted at {scope}"),
            &format!("zfs mount {dataset}"),
        ]);
    }
    assert_eq!(fs::read_dir(&scope).unwrap().count(), 0);
    assert_eq!(lab.registry_text(), before);
    let found = lab.run("-o json volume check v").exits(10).json();
    assert_eq!(found["items"][0]["code"], "scope_missing", "{found}");
    zfs(&["mount", &dataset]);
    lab.ok("volume check v");
    lab.ok("vfolder create alice/more");
}

#[test]
fn a_folder_that_is_a_dataset_is_used_moved_and_removed_as_one() {
    let up = LabUp::new(Some("zfs"));
    let (lab, _) = site(&up, "--folders dataset");
    lab.ok("vfolder create alice/data --quota-init 64MiB");
    let folder = lab.path("alice/data");
    let own = dataset_of(folder.to_str().unwrap());
    let parent = dataset_of(&scope(&lab));
    assert_eq!(own, format!("{parent}/{}", lab.folder("alice/data", "id").replace('-', "")));

    lab.session("alice", "-m data:/workspace", "echo kept >/workspace/file").exits(0);
    let mut running = lab.session_in_background("s", "--user alice -m data");
    assert_eq!(running.ask("cat /home/work/data/file"), "kept");
    lab.fails(6, "vfolder delete alice/data").says(&["in use by session s"]);
    running.end().exits(0);

    // A snapshot of the administrator's goes with the folder, and does not keep it.
    zfs(&["snapshot", &format!("{own}@daily")]);
    lab.ok("vfolder delete alice/data");
    assert!(!folder.exists());
    lab.ok("vfolder restore alice/data");
    assert_eq!(fs::read_to_string(folder.join("file")).unwrap(), "kept\n");
    lab.ok("quota audit v");
    lab.ok("volume check v");
    lab.ok("vfolder delete alice/data --purge --yes");
    assert!(!zfs(&["list", "-Ho", "name"]).contains(&parent));
}

#[test]
fn a_folder_whose_dataset_is_not_mounted_is_neither_mounted_nor_lost() {
    let up = LabUp::new(Some("zfs"));
    let (lab, _) = site(&up, "--folders dataset");
    lab.ok("vfolder create alice/data");
    let folder = lab.path("alice/data");
    fs::write(folder.join("file"), "kept").unwrap();
    let own = dataset_of(folder.to_str().unwrap());
    zfs(&["unmount", &own]);
    lab.fails(8, "session plan --user alice -m data").says(&[&format!("the dataset {own} is not mounted")]);
    let found = lab.run("-o json volume check v").exits(10).json();
    assert_eq!(found["items"][0]["code"], "vfolder_missing", "{found}");
    // The trash is reached by what ZFS knows, not by what is mounted.
    lab.ok("vfolder delete alice/data");
    lab.ok("vfolder restore alice/data");
    assert_eq!(fs::read_to_string(folder.join("file")).unwrap(), "kept");
}

#[test]
fn a_directory_of_a_dataset_is_no_volume() {
    let up = LabUp::new(Some("zfs"));
    let (lab, dataset) = site(&up, "");
    let below = up.mount().join("plain");
    fs::create_dir(&below).unwrap();
    let pool = Path::new(&dataset).parent().unwrap().display().to_string();
    lab.fails(8, &format!("volume add w {} --quota zfs", below.display())).says(&[
        &format!("{} is a directory of the dataset {pool}, not a dataset of its own", below.display()),
        "zfs create -o mountpoint=",
    ]);
}

#[test]
fn a_trial_that_was_killed_does_not_keep_the_next_one_from_working() {
    let up = LabUp::new(Some("zfs"));
    let (lab, dataset) = site(&up, "");
    let left = up.mount().join("v/vfadm-trial-4000000000");
    fs::create_dir(&left).unwrap();
    lab.ok("quota verify v");
    assert!(!left.exists());
    // A dataset that was made, and not mounted.
    zfs(&["create", "-o", "canmount=noauto", &format!("{dataset}/vfadm-trial-4000000000")]);
    lab.ok("quota verify v");
    assert!(!zfs(&["list", "-Ho", "name"]).contains("trial"));
}

#[test]
fn a_scope_that_is_not_mounted_is_not_called_nobodys() {
    let up = LabUp::new(Some("zfs"));
    let (lab, _) = site(&up, "");
    lab.ok("vfolder create alice/data");
    let scope = scope(&lab);
    zfs(&["unmount", &dataset_of(&scope)]);
    let found = lab.run("-o json quota audit v").exits(10).json();
    assert_eq!(
        (&found["count"], &found["items"][0]["code"]),
        (&1.into(), &"scope_missing".into()),
        "{found}"
    );
}

/// A process that ends with the test.
struct Tenant(std::process::Child);

impl Drop for Tenant {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_full_scope_is_managed_while_its_tenant_goes_on_writing() {
    let up = LabUp::new(Some("zfs"));
    let (lab, _) = site(&up, "");
    lab.ok("vfolder create alice/data --quota-init 8MiB");
    lab.ok("vfolder create alice/other");
    let file = lab.path("alice/data").join("big");
    let script = format!(
        "exec 3>>{}; while :; do head -c 65536 /dev/urandom >&3 2>/dev/null || sleep 0.01; done",
        file.display()
    );
    let tenant = Tenant(std::process::Command::new("/bin/sh").args(["-c", &script]).spawn().unwrap());
    std::thread::sleep(std::time::Duration::from_secs(2));
    for _ in 0..4 {
        lab.ok("vfolder delete alice/other");
        lab.ok("vfolder restore alice/other");
    }
    drop(tenant);
    let used = || lab.json("quota show alice")["items"][0]["used_bytes"].as_u64().unwrap();
    assert!(used() < 24 << 20, "{} bytes under a limit of 8 MiB", used());
    // What holds is what is shown, until it is the limit again.
    let shown = lab.json("quota show alice")["items"][0]["limit_bytes"].as_u64().unwrap();
    let real = zfs(&["get", "-Hpo", "value", "quota", &dataset_of(&scope(&lab))]);
    assert_eq!(shown.to_string(), real.trim());
    if shown != 8 << 20 {
        lab.run("volume check v").exits(10).prints(&["limit_differs"]);
    }
    lab.ok("vfolder delete alice/data --purge --yes");
    let mut left = 60;
    while lab.run("quota audit v --fix").code != 0 && left > 0 {
        std::thread::sleep(std::time::Duration::from_millis(500));
        left -= 1;
    }
    assert_eq!(lab.json("quota show alice")["items"][0]["limit_bytes"], 8 << 20);
    lab.ok("volume check v");
}
