//! What a session sees and what it can write.

use std::os::unix::fs::{MetadataExt, symlink};

use super::*;

/// The mount points in a session without accelerators, besides those of its folders.
const OWN: [&str; 17] = [
    "/",
    "/dev",
    "/dev/full",
    "/dev/null",
    "/dev/pts",
    "/dev/random",
    "/dev/shm",
    "/dev/tty",
    "/dev/urandom",
    "/dev/zero",
    "/home",
    "/home/work",
    "/proc",
    "/root",
    "/run",
    "/tmp",
    "/var/tmp",
];

fn mounts_of(text: &str) -> Vec<&str> {
    text.lines().collect()
}

#[test]
fn only_the_planned_folders_are_mounted() {
    let (data, model) = (folder(), folder());
    let spec = json!({"binds": [
        [data.path(), "/home/work/data", false],
        [model.path(), "/workspace/deep/model", true],
    ]});
    let (status, text) = shell(spec, "cut -d' ' -f5 /proc/self/mountinfo | sort");
    let optional = |point: &&str| !point.starts_with("/sys") && !point.starts_with("/dev/nvidia");
    let system = |point: &&str| !root_system(point);
    let found: Vec<_> = mounts_of(&text).into_iter().filter(optional).filter(system).collect();
    let mut expected = OWN.to_vec();
    expected.extend(["/home/work/data", "/workspace/deep/model"]);
    expected.sort_unstable();
    assert_eq!((status, found), (0, expected));
}

/// What a test machine has mounted below its own `/usr` or `/opt`, other tests included.
fn root_system(point: &str) -> bool {
    ["/usr", "/opt", "/etc", "/nix"].iter().any(|system| point.starts_with(system))
}

fn a_folder_is_writable_or_read_only(paths: bool) {
    let (data, model) = (folder(), folder());
    fs::write(model.path().join("weights"), "42").unwrap();
    let spec = json!({"paths": paths, "binds": [
        [data.path(), "/home/work/data", false],
        [model.path(), "/home/work/model", true],
    ]});
    let (status, text) = shell(
        spec,
        "cat model/weights; echo new > data/out; mkdir data/dir; echo x > model/weights; rm model/weights; \
         grep -cE ' /home/work/(data|model) r[wo],nosuid,nodev' /proc/self/mountinfo",
    );
    assert_eq!(status, 0, "{text}");
    assert!(text.starts_with("422\n"), "{text}");
    assert_eq!(text.matches("Read-only file system").count(), 2, "{text}");
    let out = fs::metadata(data.path().join("out")).unwrap();
    assert_eq!((out.uid(), out.gid(), out.mode() & 0o777), (UID, UID, 0o664));
    assert_eq!(fs::metadata(data.path().join("dir")).unwrap().mode() & 0o777, 0o775);
    assert_eq!(fs::read_to_string(model.path().join("weights")).unwrap(), "42");
}

#[test]
fn a_folder_is_writable_or_read_only_as_planned() {
    a_folder_is_writable_or_read_only(false);
}

#[test]
fn a_kernel_without_open_tree_binds_the_same() {
    a_folder_is_writable_or_read_only(true);
}

#[test]
fn the_checked_handle_is_bound_and_not_its_path() {
    for paths in [false, true] {
        let dir = folder();
        let (checked, other) = (dir.path().join("checked"), dir.path().join("other"));
        for (path, text) in [(&checked, "checked"), (&other, "other")] {
            fs::create_dir(path).unwrap();
            fs::write(path.join("name"), text).unwrap();
        }
        let spec = json!({"paths": paths, "swap": [checked, other], "binds": [[checked, "/data", true]]});
        let (status, text) = shell(spec, "cat /data/name");
        assert_eq!((status, text.as_str()), (0, "checked"));
    }
}

#[test]
fn a_file_and_a_folder_inside_a_folder_are_bound() {
    let (outer, inner) = (folder(), folder());
    fs::create_dir(outer.path().join("sub")).unwrap();
    fs::write(inner.path().join("file"), "deep").unwrap();
    let spec = json!({"binds": [
        [outer.path(), "/data", false],
        [inner.path(), "/data/sub", true],
        [inner.path().join("file"), "/home/work/file", true],
    ]});
    assert_eq!(shell(spec, "cat /data/sub/file file; test -d /data/sub"), (0, "deepdeep".to_owned()));
}

#[test]
fn nothing_is_made_inside_a_folder_that_is_bound() {
    let (outer, inner) = (folder(), folder());
    let spec = json!({"binds": [[outer.path(), "/data", false], [inner.path(), "/data/sub", true]]});
    let (status, text) = shell(spec, "true");
    assert_eq!((status, text.trim()), (99, "cannot open /data/sub: No such file or directory"));
    assert_eq!(fs::read_dir(outer.path()).unwrap().count(), 0);
}

#[test]
fn a_link_in_a_folder_leads_no_mount_elsewhere() {
    let (outer, inner) = (folder(), folder());
    fs::create_dir(outer.path().join("real")).unwrap();
    symlink("/etc", outer.path().join("sub")).unwrap();
    for target in ["/data/sub/ssl", "/data/sub"] {
        let spec = json!({"binds": [[outer.path(), "/data", false], [inner.path(), target, true]]});
        let (status, text) = shell(spec, "ls -A /etc | head -3");
        assert_eq!(status, 99, "{text}");
    }
}

#[test]
fn missing_targets_do_not_appear_on_the_host() {
    let data = folder();
    let target = format!("/vfadm-test-{}", std::process::id());
    let spec = json!({"binds": [
        [data.path(), format!("{target}/a"), false],
        [data.path(), "/home/work/b/c", false],
    ]});
    let script = format!("touch {target}/a/seen; stat -c %u:%a /home/work /home/work/b {target}");
    assert_eq!(shell(spec, &script), (0, "50000:755\n50000:755\n0:755\n".to_owned()));
    assert!(data.path().join("seen").exists());
    assert!(!Path::new(&target).exists());
}

#[test]
fn a_hidden_volume_shows_only_what_is_bound_in_it() {
    let root = folder_in("/srv");
    fs::set_permissions(root.path(), fs::Permissions::from_mode(0o755)).unwrap();
    for name in ["mine", "theirs", "late"] {
        fs::create_dir(root.path().join(name)).unwrap();
        fs::write(root.path().join(name).join("text"), name).unwrap();
    }
    let path = root.path().display();
    // Without the cover all of it can be read: the test would notice.
    let script = format!("cat {path}/*/text; ls {path}");
    assert_eq!(shell(json!({}), &script).1, "lateminetheirslate\nmine\ntheirs\n");

    let mine = root.path().join("mine");
    let binds = json!([[mine, "/home/work/mine", false], [mine, mine, true]]);
    let spec = json!({"hide": [root.path()], "binds": binds});
    let script = format!("cat {path}/*/text; ls {path}; cat mine/text; touch {path}/x; umount {path}");
    let (_, text) = shell(spec.clone(), &script);
    assert!(text.starts_with("minemine\nmine"), "{text}");
    assert!(text.contains("Read-only file system"), "{text}");
    assert!(!text.contains("theirs"), "{text}");

    // A user namespace of the tenant's own has root in it, and lifts no cover.
    let script = format!(
        "unshare -Urm sh -c 'umount {path}; umount -l {path}; mount -o remount,bind,rw /home/work/mine; cat {path}/*/text; id -u'"
    );
    let (_, text) = shell(spec, &script);
    assert!(text.contains("mine0\n") && !text.contains("theirs"), "{text}");
}

#[test]
fn a_volume_is_hidden_under_the_name_of_a_link() {
    let root = folder_in("/srv");
    fs::set_permissions(root.path(), fs::Permissions::from_mode(0o755)).unwrap();
    fs::create_dir(root.path().join("volume")).unwrap();
    fs::write(root.path().join("volume/text"), "secret").unwrap();
    symlink("volume", root.path().join("link")).unwrap();
    let spec = json!({"hide": [root.path().join("link")]});
    let (_, text) = shell(spec, &format!("cat {}/*/text", root.path().display()));
    assert!(text.contains("No such file"), "{text}");
}

#[test]
fn the_hosts_other_mounts_are_not_there_but_its_programs_are() {
    let (opt, srv) = (tempfile::tempdir_in("/opt").unwrap(), tempfile::tempdir_in("/srv").unwrap());
    for dir in [&opt, &srv] {
        run("mount", &["-t", "tmpfs", "none", dir.path().to_str().unwrap()]);
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o777)).unwrap();
        fs::write(dir.path().join("text"), "here").unwrap();
    }
    let (opt_path, srv_path) = (opt.path().display(), srv.path().display());
    let (_, text) =
        shell(json!({}), &format!("cat {opt_path}/text; cat {srv_path}/text; touch {opt_path}/x"));
    for dir in [&opt, &srv] {
        run("umount", &[dir.path().to_str().unwrap()]);
    }
    assert!(text.starts_with("here"), "{text}");
    assert!(text.contains("No such file") && text.contains("Read-only file system"), "{text}");
}

#[test]
fn another_root_stays_as_it_was() {
    let rootfs = tempfile::tempdir_in("/dev/shm").unwrap();
    let top = rootfs.path();
    for dir in ["bin", "etc", "data", "home/work"] {
        fs::create_dir_all(top.join(dir)).unwrap();
    }
    fs::copy("/bin/busybox", top.join("bin/busybox")).unwrap();
    symlink("busybox", top.join("bin/sh")).unwrap();
    fs::write(top.join("etc/name"), "image").unwrap();
    // Links that would lead a mount out of the root.
    symlink("/dev/shm", top.join("tmp")).unwrap();
    symlink(top.join("data"), top.join("run")).unwrap();
    fs::set_permissions(top.join("data"), fs::Permissions::from_mode(0o777)).unwrap();
    fs::set_permissions(top, fs::Permissions::from_mode(0o755)).unwrap();
    let listing = || {
        let script = "cd $0 && find . -printf '%p %y %m %U %s %T@ %C@ %l\n' | sort && cat bin/busybox etc/name | cksum";
        Program::new("sh").args(["-c", script]).arg(top).output().unwrap().stdout
    };
    let before = listing();
    let data = folder();
    let spec = json!({"rootfs": top, "binds": [[data.path(), "/mnt/new/data", false]]});
    let script = "cat /etc/name; echo x > /data/x; cat /data/x; echo y > /mnt/new/data/y; echo z > /tmp/z; \
                  echo h > ~/h; /bin/busybox ls /; test ! -e /usr";
    let (status, text) = shell(spec, script);
    let top_level = "bin\ndata\ndev\netc\nhome\nmnt\nproc\nrun\nsys\ntmp\n";
    // busybox's ash has cat and friends inside; PATH holds /bin only.
    assert_eq!((status, text), (0, format!("imagex\n{top_level}")));
    assert!(data.path().join("y").exists());
    assert_eq!(String::from_utf8_lossy(&listing()), String::from_utf8_lossy(&before));
}

#[test]
fn temporary_directories_are_private() {
    let name = format!("vfadm-test-{}", std::process::id());
    let script =
        format!("for d in /tmp /var/tmp /dev/shm /run; do ls -A $d; done; touch /tmp/{name} /dev/shm/{name}");
    assert_eq!(shell(json!({}), &script), (0, String::new()));
    assert!(!Path::new("/tmp").join(&name).exists() && !Path::new("/dev/shm").join(&name).exists());
}

#[test]
fn a_device_and_a_setuid_program_in_a_folder_are_of_no_use() {
    let image = Image::new("btrfs");
    let data = folder_in(image.mnt().to_str().unwrap());
    run("mknod", &["-m", "666", data.path().join("null").to_str().unwrap(), "c", "1", "3"]);
    let program = data.path().join("busybox");
    fs::copy("/bin/busybox", &program).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o6755)).unwrap();
    let spec = json!({"binds": [[data.path(), "/data", false]]});
    let (_, text) = shell(spec, "echo x > /data/null; /data/busybox id -u; echo x > /dev/null && echo own");
    assert!(text.contains("50000\nown\n") && text.contains("/data/null: Permission denied"), "{text}");
}
