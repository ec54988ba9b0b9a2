//! How much folders hold: what the storage knows at once, what is counted, for whom, and against tenants who do not
//! want it known.

use std::ffi::OsStr;
use std::fs;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};
use serde_json::{Value, json};

use crate::support::{Lab, LabUp, MIB, Output, VFADM, system, wait_until, words};

/// alice owns `data`: two files, one of them with two names, a link, a FIFO and directories.
fn lab() -> Lab {
    let lab = Lab::plain();
    lab.ok("vfolder create alice/data");
    let data = lab.path("alice/data");
    fs::create_dir_all(data.join("runs/7")).unwrap();
    fs::write(data.join("runs/7/model"), vec![1; 100_000]).unwrap();
    fs::hard_link(data.join("runs/7/model"), data.join("runs/best")).unwrap();
    fs::write(data.join("notes"), "text").unwrap();
    fs::File::options()
        .write(true)
        .open(data.join("notes"))
        .unwrap()
        .set_modified(std::time::UNIX_EPOCH + Duration::from_secs(1_000_000_000))
        .unwrap();
    symlink("/etc", data.join("link")).unwrap();
    system("/usr/bin/mkfifo", &[data.join("fifo").to_str().unwrap()]);
    lab
}

/// The only item of `vfolder usage`.
#[track_caller]
fn usage(lab: &Lab, line: &str) -> Value {
    let shown = lab.json(&format!("vfolder usage {line}"));
    assert_eq!(shown["count"], 1, "{shown}");
    shown["items"][0].clone()
}

fn names(list: &Value, key: &str) -> Vec<String> {
    list.as_array().unwrap().iter().map(|item| item[key].as_str().unwrap().to_owned()).collect()
}

#[test]
fn where_the_storage_counts_nothing_files_are_counted() {
    let lab = lab();
    let item = usage(&lab, "alice/data");
    let expected = [("files", 2), ("directories", 3), ("symlinks", 1), ("others", 1)];
    for (key, count) in expected {
        assert_eq!(item[key], count, "{key}: {item}");
    }
    assert_eq!(item["source"], "walk");
    assert!(
        item["charged_bytes_unknown_reason"].is_string() && item.get("charged_bytes").is_none(),
        "{item}"
    );
    assert_eq!(item["largest"]["bytes"], 100_000);
    assert_eq!(item["oldest"], json!({"path": "notes", "modified_at": "2001-09-09T01:46:40Z"}));
    let du = system("/usr/bin/du", &["-s", "-B1", lab.path("alice/data").to_str().unwrap()]);
    assert_eq!(item["allocated_bytes"].to_string(), du.split_whitespace().next().unwrap());
}

#[test]
fn the_charge_comes_from_the_storage_and_the_rest_from_a_walk() {
    let lab = Lab::btrfs();
    lab.ok("vfolder create alice/data");
    let data = lab.path("alice/data");
    fs::write(data.join("file"), vec![7; MIB as usize]).unwrap();
    // Shares its data with the first one: allocated twice, charged once.
    system(
        "/usr/bin/cp",
        &["--reflink=always", data.join("file").to_str().unwrap(), data.join("b").to_str().unwrap()],
    );
    system("/usr/bin/sync", &["-f", data.to_str().unwrap()]);
    let item = usage(&lab, "alice/data");
    let charge = item["charged_bytes"].as_u64().unwrap();
    assert_eq!(item["source"], "accounting");
    assert!((MIB..MIB * 3 / 2).contains(&charge), "{item}");
    for key in [
        "apparent_bytes",
        "allocated_bytes",
        "files",
        "directories",
        "symlinks",
        "others",
        "largest",
        "oldest",
    ] {
        let reason = item[format!("{key}_unknown_reason")].as_str().unwrap_or_default();
        assert!(item.get(key).is_none() && reason.contains("--walk"), "{key}: {item}");
    }
    for line in ["alice/data --walk", "alice/data --depth 1"] {
        let item = usage(&lab, line);
        let figures = [&item["source"], &item["charged_bytes"], &item["allocated_bytes"], &item["files"]];
        assert_eq!(figures, [&json!("walk"), &json!(charge), &json!(2 * MIB), &json!(2)], "{item}");
    }
    let table = lab.ok("vfolder usage alice/data").quiet().stdout;
    assert!(table.lines().next().unwrap().split_whitespace().eq(["VFOLDER", "CHARGED"]), "{table}");
}

#[test]
fn datasets_and_cephfs_keep_the_charge_too() {
    for (storage, setup) in [("zfs", "--quota zfs --folders dataset"), ("cephfs", "--quota cephfs")] {
        let up = LabUp::new(Some(storage));
        let volume = up.mount().join("v");
        if storage == "zfs" {
            let pool = system("/usr/bin/findmnt", &["-no", "SOURCE", up.mount().to_str().unwrap()]);
            system("/usr/sbin/zfs", &["create", &format!("{}/v", pool.trim())]);
        } else {
            fs::create_dir(&volume).unwrap();
        }
        let lab = Lab::bare();
        lab.ok("init --volume spare=spare --quota none");
        lab.ok("user add alice");
        lab.ok(&format!("volume add v {} {setup}", volume.display()));
        lab.ok("vfolder create alice/data --volume v");
        // ZFS may compress what can be.
        let mut random = vec![0; MIB as usize];
        fs::File::open("/dev/urandom").unwrap().read_exact(&mut random).unwrap();
        fs::write(lab.path("alice/data").join("file"), random).unwrap();
        if storage == "zfs" {
            // Has ZFS write what it holds back for half a minute.
            let path = lab.path("alice/data");
            let own = system("/usr/bin/findmnt", &["-no", "SOURCE", path.to_str().unwrap()]);
            system("/usr/sbin/zfs", &["snapshot", &format!("{}@now", own.trim())]);
        }
        wait_until("the storage has counted it", || {
            usage(&lab, "alice/data")["charged_bytes"].as_u64() >= Some(MIB)
        });
        let item = usage(&lab, "alice/data");
        assert_eq!((&item["source"], &item["usage"]), (&json!("accounting"), &json!("lagging")), "{item}");
        assert!(item["charged_bytes"].as_u64() < Some(2 * MIB), "{item}");
        assert_eq!(usage(&lab, "alice/data --walk")["files"], 1);
    }
}

#[test]
fn depth_tells_of_each_entry_and_all_below_it() {
    let lab = lab();
    let one = usage(&lab, "alice/data --depth 1")["entries"].clone();
    assert_eq!(names(&one, "path"), ["fifo", "link", "notes", "runs"]);
    let (runs, notes) = (&one[3], &one[2]);
    assert_eq!((&runs["files"], &runs["directories"]), (&json!(1), &json!(2)), "{runs}");
    assert_eq!((&notes["files"], &notes["apparent_bytes"]), (&json!(1), &json!(4)), "{notes}");
    let two = usage(&lab, "alice/data --depth 2")["entries"].clone();
    assert_eq!(names(&two, "path"), ["fifo", "link", "notes", "runs", "runs/7", "runs/best"]);
    let table = lab.ok("vfolder usage alice/data --depth 1").stdout;
    let paths: Vec<_> = table.lines().map(|line| line.split_whitespace().nth(1).unwrap()).collect();
    assert_eq!(paths, ["PATH", "-", "fifo", "link", "notes", "runs"], "{table}");
}

#[test]
fn names_that_are_no_text_keep_their_bytes_and_do_not_steer_the_terminal() {
    let lab = Lab::plain();
    lab.ok("vfolder create alice/data");
    let odd = OsStr::from_bytes(b"\x1b[31m\xff\n");
    fs::write(lab.path("alice/data").join(odd), "x").unwrap();
    let item = usage(&lab, "alice/data --depth 1");
    assert_eq!(item["entries"][0]["path_hex"], "1b5b33316dff0a");
    assert_eq!(item["largest"]["path_hex"], "1b5b33316dff0a");
    for line in
        ["vfolder usage alice/data", "vfolder usage alice/data --depth 1", "-o tsv vfolder usage --all"]
    {
        let text = lab.ok(line).stdout;
        assert!(
            text.contains(r"\u{1b}[31m") && !text.contains('\u{1b}') && text.lines().count() <= 3,
            "{text:?}"
        );
    }
}

#[test]
fn what_is_to_be_measured_has_to_be_said() {
    let lab = lab();
    lab.fails(2, "vfolder usage").says(&["vfadm", "vfolder usage OWNER/NAME", "--all"]);
    lab.fails(2, "vfolder usage alice/data --all");
    lab.fails(2, "vfolder usage alice/data --depth 0");
    lab.fails(3, "vfolder usage alice/none");
    // As du does: what is named twice is measured once.
    usage(&lab, "alice/data user/alice/data");
}

#[test]
fn all_of_it_has_a_total_and_what_is_in_the_trash_counts() {
    let lab = lab();
    lab.ok("vfolder create bob/old");
    fs::write(lab.path("bob/old").join("file"), vec![1; 5000]).unwrap();
    lab.ok("vfolder delete bob/old");
    let shown = lab.json("vfolder usage --all");
    assert_eq!(names(&shown["items"], "status"), ["ready", "trashed"]);
    assert_eq!(shown["total"]["files"], 3);
    assert!(shown["total"]["charged_bytes_unknown_reason"].is_string(), "{shown}");
    let table = lab.ok("vfolder usage --all").stdout;
    assert!(table.contains("STATUS") && table.contains("trashed"), "{table}");
    assert!(table.lines().last().unwrap().starts_with("total "), "{table}");
    assert!(!lab.ok("vfolder usage alice/data").stdout.contains("total"));
    assert!(!lab.ok("-o tsv vfolder usage --all").stdout.contains("total"));
}

#[test]
fn a_user_measures_what_it_can_reach() {
    let lab = lab();
    lab.ok("vfolder create bob/own");
    lab.ok("vfolder create project/ml/sets");
    lab.ok("user add carol");
    lab.fails(3, "vfolder usage alice/data --as bob");
    let all = |user: &str| names(&lab.json(&format!("vfolder usage --all --as {user}"))["items"], "vfolder");
    assert_eq!(all("bob"), ["project/ml/sets", "user/bob/own"]);
    assert!(all("carol").is_empty());
    lab.ok("vfolder share alice/data --with bob --perm ro");
    assert_eq!(all("bob"), ["project/ml/sets", "user/alice/data", "user/bob/own"]);
    lab.ok("vfolder usage data --as bob");
}

#[test]
fn mounts_inside_are_told_and_not_entered() {
    let lab = lab();
    let inside = lab.path("alice/data").join("runs");
    system("/usr/bin/mount", &["--bind", "/usr", inside.to_str().unwrap()]);
    let out = lab.run("-o json vfolder usage alice/data");
    system("/usr/bin/umount", &[inside.to_str().unwrap()]);
    let out = out.exits(0).says(&["user/alice/data: 1 mount inside was not entered"]);
    assert_eq!(
        (&out.json()["items"][0]["foreign_mounts"], &out.json()["items"][0]["files"]),
        (&1.into(), &1.into())
    );
}

#[test]
fn a_folder_that_cannot_be_measured_keeps_no_other_from_it() {
    let lab = lab();
    let second = lab.dir().join("second");
    fs::create_dir(&second).unwrap();
    lab.ok(&format!("volume add second {} --quota none", second.display()));
    lab.ok("vfolder create bob/far --volume second");
    fs::rename(second.join(".vfadm-volume.yaml"), second.join("away")).unwrap();
    lab.fails(8, "vfolder usage bob/far").says(&["the volume 'second' is not mounted"]);
    for line in ["--all", "bob/far alice/data"] {
        let out = lab.fails(8, &format!("-o json vfolder usage {line}")).says(&["user/bob/far: "]);
        assert_eq!(names(&out.json()["items"], "vfolder"), ["user/alice/data"]);
    }
}

/// Measures `a` and then `b`, of alice, slowly; what is done to `b` meanwhile.
#[track_caller]
fn meanwhile(done: &str) -> Output {
    let lab = Lab::plain();
    for name in ["a", "b"] {
        lab.ok(&format!("vfolder create alice/{name}"));
        for n in 0..20 {
            fs::write(lab.path(&format!("alice/{name}")).join(format!("f{n}")), "x").unwrap();
        }
    }
    let mut strace = Command::new("/usr/bin/strace");
    strace.args([
        "-f",
        "-qq",
        "-o",
        "/dev/null",
        "--trace=statx",
        "--inject=statx:delay_enter=100000",
        VFADM,
    ]);
    strace.args(["-o", "json", "vfolder", "usage", "alice/a", "alice/b", "--progress", "none"]);
    strace.env_clear().env("VFADM_ROOT", &lab.root).stdin(Stdio::null());
    let slow = strace.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    std::thread::sleep(Duration::from_millis(600));
    lab.ok(done);
    Output::of(done.to_owned(), &slow.wait_with_output().unwrap())
}

#[test]
fn a_folder_that_goes_meanwhile_is_no_failure() {
    let out = meanwhile("vfolder delete alice/b --purge --yes")
        .exits(0)
        .says(&["user/alice/b was removed meanwhile"]);
    assert_eq!(names(&out.json()["items"], "vfolder"), ["user/alice/a"]);
    let out = meanwhile("vfolder delete alice/b").exits(0).quiet().json();
    assert_eq!((&out["items"][1]["status"], &out["items"][1]["files"]), (&json!("trashed"), &json!(20)));
}

#[test]
fn what_cannot_be_read_is_told_and_a_failure() {
    let lab = lab();
    let mut strace = Command::new("/usr/bin/strace");
    strace.args(["-f", "-qq", "-o", "/dev/null", "--trace=statx", "--inject=statx:error=EIO:when=4+", VFADM]);
    strace.args(["vfolder", "usage", "alice/data"]).env_clear().env("VFADM_ROOT", &lab.root);
    let out = Output::of("usage".to_owned(), &strace.output().unwrap()).exits(8);
    out.says(&["warning: user/alice/data: ", "could not be read"]).prints(&["user/alice/data"]);
}

#[test]
fn a_tenant_who_swaps_directories_for_links_leads_nowhere() {
    let lab = lab();
    let sentinel = lab.dir().join("sentinel");
    fs::create_dir(&sentinel).unwrap();
    fs::File::create(sentinel.join("secret")).unwrap().set_len(1 << 40).unwrap();
    let data = lab.path("alice/data");
    symlink(&sentinel, data.join("trap")).unwrap();
    let stop = AtomicBool::new(false);
    let exchange = |a: &Path, b: &Path| {
        let _ = renameat2(AT_FDCWD, a, AT_FDCWD, b, RenameFlags::RENAME_EXCHANGE);
    };
    std::thread::scope(|threads| {
        threads.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                exchange(&data.join("runs"), &data.join("trap"));
            }
        });
        let results: Vec<_> =
            (0..30).map(|_| lab.run("-o json vfolder usage alice/data --depth 2")).collect();
        stop.store(true, Ordering::Relaxed);
        for out in results {
            assert_eq!(out.code, 0, "{out:?}");
            assert!(!out.stdout.contains("secret"), "{out:?}");
            assert!(out.json()["items"][0]["apparent_bytes"].as_u64() < Some(1 << 40), "{out:?}");
        }
    });
}

#[test]
fn so_many_levels_and_no_more_are_listed() {
    let lab = lab();
    let out = lab.fails(2, "vfolder usage alice/data --depth 65");
    out.says(&["invalid value '65' for '--depth <N>': 65 is not in 1..=64"]);
    usage(&lab, "alice/data --depth 64");
}

/// The most memory that a command line held, in KiB, and what it said.
fn with_memory(lab: &Lab, line: &str) -> (u64, Output) {
    let mut time = Command::new("/usr/bin/time");
    time.args(["-f", "%M", "--output"]).arg(lab.dir().join("memory")).arg(VFADM).args(words(line));
    let out = time.env_clear().env("VFADM_ROOT", &lab.root).output().unwrap();
    let memory = fs::read_to_string(lab.dir().join("memory")).unwrap();
    (memory.trim().parse().unwrap(), Output::of(line.to_owned(), &out))
}

#[test]
fn no_tree_fills_the_memory() {
    let lab = Lab::plain();
    for folder in ["alice/deep", "alice/wide"] {
        lab.ok(&format!("vfolder create {folder}"));
    }
    let script = r"
import os, sys
def deep(at, name, levels):
    at = os.open(at, os.O_RDONLY)
    for n in range(levels):
        os.mkdir(name, dir_fd=at)
        os.close(os.open(b'file', os.O_CREAT | os.O_WRONLY, dir_fd=at))
        below = os.open(name, os.O_RDONLY, dir_fd=at)
        os.close(at)
        at = below
deep(sys.argv[1], b'd' * 250, 3000)
for n in range(400):
    name = sys.argv[2].encode() + b'/' + b'\xff' * 100 + b'%d' % n
    os.mkdir(name)
    deep(name, b'\xff' * 250, 30)
";
    let path = |reference: &str| lab.path(reference).to_str().unwrap().to_owned();
    system("/usr/bin/python3", &["-c", script, &path("alice/deep"), &path("alice/wide")]);
    for style in ["json", "yaml", "table", "tsv"] {
        for (folder, depth, files) in [("deep", 64, 3000), ("wide", 64, 12_000), ("wide", 1, 12_000)] {
            let line = format!("-o {style} vfolder usage alice/{folder} --depth {depth}");
            let (memory, out) = with_memory(&lab, &line);
            let out = out.exits(0);
            assert!(memory < 64 << 10, "{line}: {memory} KiB");
            assert!(out.stdout.len() < 32 << 20, "{line}: {} bytes", out.stdout.len());
            if style != "json" {
                continue;
            }
            let item = out.json()["items"][0].clone();
            assert_eq!(item["files"], files, "{line}");
            let listed = item["entries"].as_array().unwrap().len() as u64;
            let unlisted = item["unlisted_entries"].as_u64().unwrap_or_default();
            match (folder, depth) {
                // Directories to level 64 and the files beside them.
                ("deep", _) => assert_eq!((listed, unlisted), (128, 0)),
                (_, 1) => assert_eq!((listed, unlisted), (400, 0)),
                _ => {
                    assert!(listed > 500 && unlisted > 0, "{listed} {unlisted}");
                    out.says(&["entries are not listed"]);
                }
            }
        }
    }
    let (memory, out) = with_memory(&lab, "-o json vfolder usage --all --depth 64");
    assert!(memory < 64 << 10, "{memory} KiB");
    assert_eq!(out.exits(0).json()["total"]["files"], 15_000);
}
