//! Storage and tools that fail: each is a clear error with exit 8, and the registry stays as it was.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::consistency::records_of;
use crate::support::{Image, Lab, Output, system, vfadm};

/// A root with the user alice and a volume without limits.
fn plain() -> Lab {
    let lab = Lab::bare();
    lab.ok("init --volume spare=spare --quota none");
    lab.ok("user add alice");
    lab
}

/// A program of the lab's own; its path.
fn program(lab: &Lab, name: &str, script: &str) -> String {
    let path = lab.dir().join(name);
    fs::write(&path, format!("#!/bin/sh\n{script}")).unwrap();
    system("/bin/chmod", &["755", path.to_str().unwrap()]);
    path.display().to_string()
}

/// Keeps the limit of each scope in a file beside itself.
const TOOL: &str = "set -eu
file=${0%/*}/limit-of-${2##*/}
case $1 in
set) echo \"$3\" >\"$file\" ;;
unset) rm -f \"$file\" ;;
read) echo \"used 0 limit $(cat \"$file\" 2>/dev/null || echo none)\" ;;
esac
";

/// A driver file whose `set` and `read` are these programs.
fn driver_file(lab: &Lab, set: &str, read: &str) -> PathBuf {
    let tool = program(lab, "tool", TOOL);
    let own = |name: &str| if name.is_empty() { tool.clone() } else { name.to_owned() };
    let text = format!(
        "name: test\nenforcement: kernel\ndeadline_seconds: 1\nset: [{}, set, '{{path}}', '{{bytes}}']\n\
         unset: [{tool}, unset, '{{path}}']\nread: [{}, read, '{{path}}']\nused: {{pattern: 'used (\\d+)'}}\n\
         limit: {{pattern: 'limit (\\S+)'}}\n",
        own(set),
        own(read)
    );
    let path = lab.dir().join("driver.yaml");
    fs::write(&path, text).unwrap();
    path
}

fn add(lab: &Lab, file: &Path) -> Output {
    let volume = lab.dir().join("v");
    let _ = fs::create_dir(&volume);
    lab.run(&format!(
        "volume add v {} --quota exec --driver-file {} --no-verify",
        volume.display(),
        file.display()
    ))
}

#[test]
fn a_tool_that_does_not_do_its_work_is_an_error_that_changes_nothing() {
    let lab = plain();
    add(&lab, &driver_file(&lab, "", "")).exits(0);
    lab.ok("vfolder create alice/data --volume v");
    let hangs = program(&lab, "hangs", "sleep 60\n");
    let chatters = program(&lab, "chatters", "exec yes\n");
    let fails = program(&lab, "fails", "echo the cluster is down >&2; exit 3\n");
    for (set, read, message) in [
        (hangs.as_str(), "", "did not end within 1 s"),
        ("/bin/true", "", "limit was not applied: asked 1048576 bytes, storage says unlimited"),
        (&fails, "", "failed with exit status 3: the cluster is down"),
        ("", &hangs, "did not end within 1 s"),
        ("", &chatters, "printed more than 67108864 bytes"),
        ("", &fails, "failed with exit status 3: the cluster is down"),
        ("", "/bin/true", "succeeded, but printed nothing"),
        ("", "/bin/echo", "has no number for 'used'"),
    ] {
        lab.ok(&format!("volume set v --driver-file {}", driver_file(&lab, set, read).display()));
        let before = lab.registry_text();
        lab.fails(8, "quota set alice 1MiB --volume v").says(&[message]);
        assert_eq!(lab.registry_text(), before, "{message}");
        lab.ok(&format!("volume set v --driver-file {}", driver_file(&lab, "", "").display()));
        let scope = lab.json("quota show alice")["items"][0].clone();
        assert!(scope["limit_bytes"].is_null(), "{message}: {scope}");
    }
    lab.ok("quota set alice 1MiB --volume v");
    assert_eq!(lab.json("quota show alice")["items"][0]["limit_bytes"], 1 << 20);
}

#[test]
fn a_driver_file_that_cannot_be_used_is_refused_with_its_place() {
    let lab = plain();
    let path = driver_file(&lab, "", "").display().to_string();
    let changed = |from: &str, to: &str| {
        let text = fs::read_to_string(driver_file(&lab, "", "")).unwrap();
        assert!(text.contains(from), "{from} is not in {text}");
        fs::write(&path, text.replacen(from, to, 1)).unwrap();
        add(&lab, Path::new(&path))
    };
    changed("enforcement: kernel", "enforcement: iron")
        .exits(2)
        .says(&[&format!("error: {path}:2:14: enforcement: unknown variant `iron`")]);
    changed("'{bytes}'", "'{gib}'").exits(2).says(&[
        &format!("error: {path}: 'set': there is no placeholder {{gib}}"),
        "hint: there are {path}, {scope}, {volume}, {id}, {bytes} and {kib}",
    ]);
    changed("/tool, set", "/tool-that-is-not-there, set")
        .exits(8)
        .says(&["the driver exec cannot be used on", "tool-that-is-not-there is not installed"]);
    system("/bin/chmod", &["666", &path]);
    add(&lab, Path::new(&path))
        .exits(5)
        .says(&["names programs that root runs, and others than root can write to it"]);
    system("/bin/chmod", &["600", &path]);
    for (code, line, message) in [
        (3, "volume add v /tmp --driver-file /nowhere/x.yaml", "there is no file /nowhere/x.yaml"),
        (2, "volume add v /tmp --quota exec", "add --driver-file FILE"),
        (2, "volume add v /tmp --quota btrfs --driver-file PATH", "goes with --quota exec, not btrfs"),
        (4, "volume set spare --driver-file PATH", "has the driver none, which takes no driver file"),
    ] {
        driver_file(&lab, "", "");
        lab.fails(code, &line.replace("PATH", &path)).says(&[message]);
    }
    assert_eq!(lab.json("volume list")["count"], 1);
}

#[test]
fn a_program_that_others_than_root_can_write_to_is_neither_taken_nor_run() {
    let lab = plain();
    let own = lab.dir().join("tools");
    fs::create_dir(&own).unwrap();
    let set = program(&lab, "tools/set", "exec \"${0%/*}/../tool\" \"$@\"\n");
    let file = driver_file(&lab, &set, "");
    let loose: [(&str, &[&str]); 4] = [
        (&set, &["/bin/chmod", "777"]),
        (&set, &["/bin/chmod", "775"]),
        (&set, &["/bin/chown", "50000"]),
        (own.to_str().unwrap(), &["/bin/chmod", "777"]),
    ];
    let tight = |path: &str| {
        system("/bin/chown", &["0:0", path]);
        system("/bin/chmod", &["755", path]);
    };
    for (path, how) in loose {
        system(how[0], &[how[1], path]);
        add(&lab, &file).exits(5).says(&[
            &format!("{} has root run {set}, and others than root can write to {path}", file.display()),
            &format!("hint: chown root:root {path} && chmod go-w {path}"),
        ]);
        tight(path);
    }
    // As in /tmp: an entry is its owner's to replace.
    system("/bin/chmod", &["1777", own.to_str().unwrap()]);
    add(&lab, &file).exits(0);
    lab.ok("quota set alice 1MiB --volume v");
    let before = lab.registry_text();
    for (path, how) in loose {
        system(how[0], &[how[1], path]);
        lab.fails(5, &format!("volume set v --driver-file {}", file.display()));
        lab.fails(8, "quota set alice 2MiB --volume v")
            .says(&[&format!("{set} is not run as root: others than root can write to {path}")]);
        tight(path);
    }
    assert_eq!(lab.registry_text(), before);
    lab.ok("quota set alice 2MiB --volume v");
}

#[test]
fn a_filesystem_without_project_quotas_is_refused_with_the_mount_option_that_is_missing() {
    for kind in ["xfs", "ext4"] {
        let lab = plain();
        let image = lab.second("pool", kind, 320 << 20);
        let before = lab.registry_text();
        lab.fails(8, &format!("volume add v {} --quota {kind}", image.mount.display()))
            .says(&[&format!("{} is mounted without the option prjquota", image.mount.display()), "hint: "]);
        // It is not taken for one without limits in silence.
        let plain = lab.run(&format!("volume add v {}", image.mount.display())).exits(0);
        plain.says(&["no limits can be set: ", "without the option prjquota"]);
        lab.ok("volume remove v --yes");
        assert_eq!(records_of(&before), records_of(&lab.registry_text()));
    }
}

/// A volume `v` on a btrfs image of its own.
fn on_btrfs(lab: &Lab) -> Image {
    let image = lab.second("pool", "btrfs", 256 << 20);
    lab.ok(&format!("volume add v {} --quota btrfs --no-verify", image.mount.display()));
    lab.ok("vfolder create alice/data --volume v");
    image
}

/// What touches a volume, and is refused with exit 8 when the volume is not as it should be.
const TOUCHING: [&str; 5] = [
    "vfolder create alice/more --volume v",
    "vfolder delete alice/data",
    "quota set alice 1MiB --volume v",
    "session plan --user alice -m data",
    "quota verify v",
];

#[test]
fn a_volume_that_is_not_mounted_is_not_written_to() {
    let lab = plain();
    let image = on_btrfs(&lab);
    let before = lab.registry_text();
    system("/usr/bin/umount", &[image.mount.to_str().unwrap()]);
    for line in TOUCHING {
        lab.fails(8, line).says(&[
            &format!("the volume 'v' is not mounted at {}: there is no marker", image.mount.display()),
            "vfadm volume check v",
        ]);
    }
    assert_eq!(fs::read_dir(&image.mount).unwrap().count(), 0);
    assert_eq!(lab.registry_text(), before);
    let shown = lab.run("-o json quota show alice").exits(0);
    let scope = shown.json()["items"][0].clone();
    assert!(scope["used_bytes_unknown_reason"].as_str().unwrap().contains("is not mounted"), "{scope}");
}

#[test]
fn a_read_only_volume_is_an_error_that_changes_nothing() {
    let lab = plain();
    let image = on_btrfs(&lab);
    let mount = image.mount.to_str().unwrap();
    system("/usr/bin/mount", &["-o", "remount,ro", mount]);
    let before = lab.registry_text();
    for line in [
        "vfolder create alice/more --volume v",
        "vfolder delete alice/data",
        "quota set alice 1MiB --volume v",
    ] {
        lab.fails(8, line).says(&["Read-only file system"]);
    }
    assert_eq!(lab.registry_text(), before);
    let found = lab.run("-o json volume check v").exits(10).json();
    assert_eq!(found["items"][0]["code"], "volume_read_only", "{found}");
    system("/usr/bin/mount", &["-o", "remount,rw", mount]);
    lab.ok("vfolder create alice/more --volume v");
}

#[test]
fn a_stale_handle_is_an_error_that_changes_nothing() {
    let lab = plain();
    let image = on_btrfs(&lab);
    let before = lab.registry_text();
    for line in TOUCHING {
        let mut strace = Command::new("/usr/bin/strace");
        strace.args(["-f", "-qq", "-o", "/dev/null", "-P"]).arg(&image.mount);
        strace.args(["-e", "inject=openat:error=ESTALE"]).arg(vfadm()).args(line.split(' '));
        let out = strace.env("VFADM_ROOT", &lab.root).output().unwrap();
        Output::of(line.to_owned(), &out).exits(8).says(&["Stale file handle"]);
    }
    assert_eq!(lab.registry_text(), before);
}

#[test]
fn limits_that_one_host_sets_are_refused_on_others_with_its_name() {
    let lab = plain();
    let image = lab.second("pool", "btrfs", 256 << 20);
    let host = system("/usr/bin/uname", &["-n"]).trim().to_owned();
    lab.ok(&format!("volume add v {} --quota btrfs --quota-host {host}", image.mount.display()));
    lab.ok("vfolder create alice/data --volume v");
    let before = lab.registry_text();
    let elsewhere = |line: &str| {
        let script = "echo other >/proc/sys/kernel/hostname && exec \"$@\"";
        let mut command = Command::new("/usr/bin/unshare");
        command.args(["--uts", "sh", "-c", script, "sh"]).arg(vfadm()).args(line.split(' '));
        Output::of(line.to_owned(), &command.env("VFADM_ROOT", &lab.root).output().unwrap())
    };
    for line in [
        "quota set alice 1MiB --volume v",
        "vfolder create alice/more --volume v",
        "vfolder delete alice/data",
        "vfolder delete alice/data --purge --yes",
        "quota verify v",
        "quota audit v",
    ] {
        elsewhere(line).exits(8).says(&[
            &format!("can be set and read on the host '{host}' only; this is 'other'"),
            &format!("hint: run the same command on {host}"),
        ]);
    }
    let intents: Vec<_> = fs::read_dir(lab.root.join(".vfadm/intents")).unwrap().collect();
    assert!(intents.is_empty(), "{intents:?}");
    assert_eq!(lab.registry_text(), before);
    let shown = elsewhere("-o json quota show alice").exits(0).json();
    assert!(shown["items"][0]["used_bytes_unknown_reason"].as_str().unwrap().contains(&host), "{shown}");
    lab.ok("quota set alice 1MiB --volume v");
}

#[test]
fn what_the_storage_does_not_tell_is_not_told_from_memory() {
    let lab = plain();
    add(&lab, &driver_file(&lab, "", "")).exits(0);
    lab.ok("user add bob");
    lab.ok("vfolder create alice/data --volume v --quota-init 1MiB");
    lab.ok("vfolder create bob/data --volume v --quota-init 1MiB");
    // The tool can tell of one scope, and not of the other.
    let scope = lab.json("quota show bob")["items"][0]["path"].as_str().unwrap().to_owned();
    let read = program(
        &lab,
        "half",
        &format!("[ \"$2\" != {scope} ] || {{ echo broken >&2; exit 1; }}\necho used 0 limit 1048576\n"),
    );
    lab.ok(&format!("volume set v --driver-file {}", driver_file(&lab, "", &read).display()));
    let out = lab.run("-o json quota show --volume v").exits(0);
    let items = out.json()["items"].clone();
    assert_eq!(items[0]["limit_bytes"], 1 << 20, "{items}");
    for key in ["limit_bytes", "used_bytes"] {
        assert!(items[1].get(key).is_none(), "{items}");
        let reason = items[1][format!("{key}_unknown_reason")].as_str().unwrap();
        assert!(reason.ends_with("failed with exit status 1: broken"), "{reason}");
    }
    out.says(&["warning: user/bob on 'v' cannot be read: "]);
    let table = lab.ok("quota show bob --volume v").stdout;
    assert!(table.lines().nth(1).unwrap().contains('?'), "{table}");
    // From cron: nothing is over, as far as can be seen, which is not far.
    lab.fails(8, "quota show --over 90% --volume v").says(&["cannot be read"]);
    let found = lab.run("-o json volume check v").exits(10).json();
    assert_eq!(
        (&found["count"], &found["items"][0]["code"]),
        (&1.into(), &"limits_unreadable".into()),
        "{found}"
    );
}

#[test]
fn a_scope_in_whose_place_is_something_else_is_refused_before_anything_is_begun() {
    let lab = plain();
    add(&lab, &driver_file(&lab, "", "")).exits(0);
    lab.ok("quota set alice 1MiB --volume v");
    let scope = lab.json("quota show alice")["items"][0]["path"].as_str().unwrap().to_owned();
    fs::remove_dir_all(&scope).unwrap();
    std::os::unix::fs::symlink("/etc", &scope).unwrap();
    let before = lab.registry_text();
    for line in
        ["quota unset alice --volume v", "vfolder create alice/data --volume v", "user remove alice --yes"]
    {
        lab.fails(8, line);
        lab.fails(8, &format!("--dry-run {line}"));
    }
    assert_eq!(lab.registry_text(), before);
    let intents: Vec<_> = fs::read_dir(lab.root.join(".vfadm/intents")).unwrap().collect();
    assert!(intents.is_empty(), "{intents:?}");
    // Where nothing is, nothing has to be removed.
    fs::remove_file(&scope).unwrap();
    lab.ok("quota unset alice --volume v");
    lab.ok("volume check v");
}

#[test]
fn what_is_gone_for_good_can_be_forgotten() {
    let lab = plain();
    let image = on_btrfs(&lab);
    lab.ok("vfolder create alice/other --volume v");
    let folder = lab.path("alice/data");
    system("/usr/bin/btrfs", &["subvolume", "delete", folder.to_str().unwrap()]);
    lab.fails(8, "vfolder delete alice/data")
        .says(&[&format!("{} is missing", folder.display()), "vfadm vfolder delete user/alice/data --purge"]);
    lab.ok("vfolder delete alice/data --purge --yes");
    lab.ok("volume check v");
    // With the whole scope.
    let scope = lab.json("quota show alice --volume v")["items"][0]["path"].as_str().unwrap().to_owned();
    let other = lab.path("alice/other");
    system("/usr/bin/btrfs", &["subvolume", "delete", other.to_str().unwrap()]);
    fs::remove_dir_all(&scope).unwrap();
    lab.run("volume check v").exits(10);
    lab.ok("user remove alice --purge --yes");
    lab.ok("volume check v");
    lab.ok("quota audit v");
    drop(image);
}

#[test]
fn a_volume_on_a_dead_disk_can_be_taken_out() {
    let lab = plain();
    let image = lab.second("pool", "btrfs", 256 << 20);
    lab.ok(&format!("volume add v {} --quota btrfs --no-verify", image.mount.display()));
    lab.ok("quota set alice 1MiB --volume v");
    system("/usr/bin/umount", &[image.mount.to_str().unwrap()]);
    lab.ok("--dry-run volume remove v");
    lab.run("volume remove v --yes").exits(0).says(&["its marker and its empty scopes stay on it"]);
    lab.ok("user remove alice --yes");
    lab.ok("registry check");
}

#[test]
fn a_signal_ends_a_command_that_waits_for_a_tool() {
    let lab = plain();
    let hangs = program(&lab, "hangs", "sleep 60\n");
    let file = driver_file(&lab, &hangs, "");
    let slow = fs::read_to_string(&file).unwrap().replace("deadline_seconds: 1", "deadline_seconds: 60");
    fs::write(&file, slow).unwrap();
    add(&lab, &file).exits(0);
    lab.ok("vfolder create alice/data --volume v");
    let before = lab.registry_text();
    let begun = std::time::Instant::now();
    let mut command = lab.command(["quota", "set", "alice", "1MiB", "--volume", "v"]);
    let child =
        command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::piped()).spawn().unwrap();
    std::thread::sleep(std::time::Duration::from_millis(500));
    system("/bin/kill", &["-INT", &child.id().to_string()]);
    let out = Output::of("quota set".to_owned(), &child.wait_with_output().unwrap()).exits(130);
    assert!(begun.elapsed().as_secs() < 10, "{out:?}");
    assert_eq!(lab.registry_text(), before);
    let intents: Vec<_> = fs::read_dir(lab.root.join(".vfadm/intents")).unwrap().collect();
    assert!(intents.is_empty(), "{intents:?}");
}

#[test]
fn quotas_that_were_switched_off_are_found_and_called_so() {
    let lab = plain();
    let image = on_btrfs(&lab);
    lab.ok("quota set alice 16MiB --volume v");
    system("/usr/bin/btrfs", &["quota", "disable", image.mount.to_str().unwrap()]);
    let found = lab.run("-o json volume check v").exits(10).json();
    assert_eq!((&found["count"], &found["items"][0]["code"]), (&1.into(), &"limits_off".into()), "{found}");
    lab.fails(8, "quota set alice 32MiB --volume v").says(&["quotas are off on the filesystem"]);
    let shown = lab.run("-o json quota show alice --volume v").exits(0);
    assert_eq!(shown.json()["items"][0]["enforcement"], "none");
    shown.says(&["quotas are off"]);
}

#[test]
fn a_volume_has_a_directory_of_its_own() {
    let lab = plain();
    for path in
        [lab.root.clone(), lab.root.join(".vfadm"), lab.root.join(".vfadm/backups"), lab.dir().to_owned()]
    {
        lab.fails(4, &format!("volume add v {} --quota none", path.display())).says(&["holds the registry"]);
    }
    let nowhere =
        format!("volume add v {}/m --dedicated-to alice --mount-source /nowhere/x", lab.dir().display());
    for line in [nowhere.clone(), format!("--dry-run {nowhere}")] {
        lab.fails(8, &line).says(&["there is no /nowhere/x to mount"]);
    }
    lab.fails(2, &format!("volume add v {}/m --dedicated-to alice --make-image 0", lab.dir().display()));
}
