//! Volumes that vfadm mounts itself: images that it makes and grows, and sources that an administrator names.

use std::fs;

use crate::support::{Lab, MIB, wait_until};

fn mounted(path: &std::path::Path) -> bool {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    mounts.lines().any(|line| line.split(' ').nth(4) == path.to_str())
}

#[test]
fn an_image_is_made_mounted_grown_and_unmounted() {
    let lab = Lab::plain();
    let path = lab.dir().join("only");
    let add =
        format!("volume add only {} --dedicated-to alice --make-image 320m --mount-type xfs", path.display());
    lab.ok(&format!("--dry-run {add}")).prints(&["make an image of 320 MiB with xfs", "mount "]);
    assert!(!path.exists());
    lab.ok(&add);
    assert!(mounted(&path));
    lab.fails(4, &add);
    lab.ok("vfolder create alice/data");
    let limit = || lab.json("quota show alice --volume only")["items"][0]["limit_bytes"].as_u64().unwrap();
    let before = limit();

    lab.ok("quota set alice 400m --volume only").prints(&["the image of 'only' is 400 MiB"]);
    assert!(limit() > before + 60 * MIB, "{} after {before}", limit());
    lab.ok("quota set alice 400m --volume only").prints(&["unchanged"]);
    lab.fails(8, "quota set alice 330m --volume only").says(&["cannot shrink"]);
    lab.fails(8, "quota set alice 900000g --volume only").says(&["there is no room for"]);
    let script = "dd if=/dev/zero of=/w/f bs=1M count=512 2>&1";
    lab.session("alice", "-m data:/w", script).exits(1).prints(&["No space left on device"]);

    lab.ok("volume unmount only");
    assert!(!mounted(&path));
    lab.ok("volume unmount only").prints(&["unchanged"]);
    lab.fails(8, "vfolder create alice/more")
        .says(&["not mounted", "hint: mount it: vfadm volume mount only"]);
    lab.fails(10, "check").says(&["hint: volume only: mount it: vfadm volume mount only"]);
    lab.ok("volume mount only");
    lab.ok("volume mount only").prints(&["unchanged"]);
    lab.ok("volume check only");
    lab.ok("vfolder delete alice/data --purge --yes");
    lab.ok("volume unmount only");
}

#[test]
fn a_volume_in_use_is_not_unmounted() {
    let lab = Lab::plain();
    let path = lab.dir().join("only");
    lab.ok(&format!("volume add only {} --dedicated-to alice --make-image 16m", path.display()));
    lab.ok("vfolder create alice/data");
    let mut session = lab.session_in_background("s1", "--user alice -m data:/w");
    lab.fails(6, "volume unmount only").says(&["s1"]);
    assert_eq!(session.ask("echo x > /w/f; cat /w/f"), "x");
    session.end();
    let open = fs::File::open(lab.path("alice/data").join("f")).unwrap();
    lab.fails(6, "volume unmount only").says(&["pid"]);
    drop(open);
    // A program that another test starts at this moment has the file open until it runs.
    wait_until("the volume is not in use", || lab.run("volume unmount only").code == 0);
}

#[test]
fn what_cannot_be_mounted_leaves_nothing_behind() {
    let lab = Lab::plain();
    let before = lab.registry_text();
    let dir = lab.dir().join("point");
    let line = |options: &str| format!("volume add only {} --dedicated-to alice {options}", dir.display());
    for (code, options, words) in [
        (8, "--mount-source /nowhere/x.img --mount-type ext4", "mount"),
        (8, "--make-image 8m --mount-type xfs", "mkfs.xfs"),
        (2, "--make-image 8m --mount-type vfat", "ext4 or xfs"),
        (2, "--make-image unlimited", "size"),
        (2, "--mount-type ext4", "--mount-source"),
        (8, "--make-image 900000g", "no room"),
    ] {
        lab.fails(code, &line(options)).says(&[words]);
        assert!(!dir.exists(), "{options}");
        let left: Vec<_> = fs::read_dir(lab.dir()).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(left, ["root"], "{options}");
        assert_eq!(lab.registry_text(), before, "{options}");
    }
    let taken = lab.dir().join("point.img");
    fs::write(&taken, "mine").unwrap();
    lab.fails(4, &line("--make-image 8m")).says(&["exists already"]);
    assert_eq!(fs::read_to_string(&taken).unwrap(), "mine");
    fs::create_dir(&dir).unwrap();
    fs::write(dir.join("file"), "mine").unwrap();
    fs::remove_file(&taken).unwrap();
    lab.fails(8, &line("--make-image 8m")).says(&["is not empty"]);
    assert!(dir.join("file").exists() && !taken.exists());
}

#[test]
fn a_block_device_that_holds_another_registrys_volume_is_refused() {
    let lab = Lab::plain();
    let image = lab.second("theirs", "ext4", 32 << 20);
    let other = Lab::plain();
    other.ok(&format!("volume add v {} --quota dedicated --dedicated-to alice", image.mount.display()));
    let file = image.file().to_str().unwrap().to_owned();
    image.detach();
    let dir = lab.dir().join("point");
    let line = format!("volume add v {} --dedicated-to alice --mount-source {file}", dir.display());
    lab.fails(4, &line).says(&["marked as a volume of a registry already"]);
    assert!(!dir.exists() && !mounted(&dir));
}

#[test]
fn a_volume_that_vfadm_does_not_mount_says_so() {
    let lab = Lab::plain();
    lab.fails(4, "volume mount local").says(&["does not say what to mount"]);
    lab.fails(4, "volume unmount local");
}

#[test]
fn a_growth_that_was_cut_off_is_finished_and_not_called_unchanged() {
    let lab = Lab::plain();
    let path = lab.dir().join("only");
    lab.ok(&format!(
        "volume add only {} --dedicated-to alice --make-image 320m --mount-type xfs",
        path.display()
    ));
    lab.ok("vfolder create alice/data");
    let limit = || lab.json("quota show alice --volume only")["items"][0]["limit_bytes"].as_u64().unwrap();
    let before = limit();
    // The file grew, and the filesystem in it did not.
    fs::File::options().write(true).open(lab.dir().join("only.img")).unwrap().set_len(400 * MIB).unwrap();
    lab.ok("--dry-run quota set alice 400m --volume only").prints(&["grow the image"]);
    assert_eq!(lab.json("quota set alice 400m --volume only")["outcome"], "changed");
    assert!(limit() > before + 60 * MIB, "{} after {before}", limit());
    assert_eq!(lab.json("quota set alice 400m --volume only")["outcome"], "unchanged");
    lab.ok("volume unmount only");
}

#[test]
fn a_source_is_known_by_any_of_its_names() {
    let lab = Lab::plain();
    let file = lab.dir().join("disk.img");
    fs::File::create(&file).unwrap().set_len(64 * MIB).unwrap();
    let file = file.to_str().unwrap();
    crate::support::system("/usr/sbin/mkfs.ext4", &["-q", file]);
    let device = crate::support::system("/usr/sbin/losetup", &["-f", "--show", file]).trim().to_owned();
    let link = lab.dir().join("by-name");
    std::os::unix::fs::symlink(&device, &link).unwrap();
    let path = lab.dir().join("only");
    lab.ok(&format!(
        "volume add only {} --dedicated-to alice --mount-source {}",
        path.display(),
        link.display()
    ));
    assert!(mounted(&path));
    // What somebody mounted over it is not taken for it, nor is it called unmounted.
    crate::support::system("/usr/bin/mount", &["-t", "tmpfs", "tmpfs", path.to_str().unwrap()]);
    lab.fails(8, "volume unmount only").says(&["what is mounted at", "is tmpfs, and not"]);
    crate::support::system("/usr/bin/umount", &[path.to_str().unwrap()]);
    lab.ok("volume unmount only");
    assert!(!mounted(&path));
    crate::support::system("/usr/sbin/losetup", &["-d", &device]);
}

#[test]
fn another_filesystem_in_the_place_of_the_volume_is_not_mounted_as_it() {
    let lab = Lab::plain();
    let path = lab.dir().join("only");
    lab.ok(&format!("volume add only {} --dedicated-to alice --make-image 16m", path.display()));
    lab.ok("volume unmount only");
    let file = lab.dir().join("only.img");
    crate::support::system("/usr/sbin/mkfs.ext4", &["-q", "-F", file.to_str().unwrap()]);
    lab.fails(8, "volume mount only").says(&["there is no marker"]);
    assert!(!mounted(&path));
}

#[test]
fn a_volume_is_not_larger_than_its_owner_may_have() {
    let lab = Lab::plain();
    lab.ok("user set alice --max-quota 10m");
    let path = lab.dir().join("only");
    let add = format!("volume add only {} --dedicated-to alice --make-image 16m", path.display());
    lab.fails(4, &add).says(&["16 MiB is above the maximum of user/alice, 10 MiB"]);
    lab.ok("user set alice --max-quota 16m");
    lab.ok(&add);
    lab.fails(4, "quota set alice 20m --volume only").says(&["above the maximum"]);
    lab.ok("volume unmount only");
}
