//! Copying, while nobody interferes, against `cp -a`.

use std::collections::BTreeMap;
use std::ffi::{CStr, CString, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt, PermissionsExt, chown, lchown, symlink};
use std::os::unix::net::UnixListener;
use std::time::{Duration, Instant};

use nix::libc;

use super::*;
use crate::host::{copying, xattr};
use crate::tree::copy::{Copied, CopyOptions, copy};

impl Lab {
    /// Copies `tree` into the directory `to`, which is made if need be.
    pub(super) fn copy(&self, to: &str) -> host::Result<Copied> {
        self.copy_watched(to, &Silent)
    }

    pub(super) fn copy_watched(&self, to: &str, progress: &dyn Progress) -> host::Result<Copied> {
        fs::create_dir_all(self.path(to)).unwrap();
        let dir = |below| Dir::open(&self.path(below)).unwrap();
        copy(&dir("tree"), &dir(to), &CopyOptions { threads: 3, ..CopyOptions::default() }, progress)
    }

    /// Another filesystem, mounted at `at`.
    pub(super) fn second(&mut self, filesystem: &str, at: &str, bytes: u64) {
        let image = self.dir.path().join(format!("{filesystem}.image"));
        fs::File::create(&image).unwrap().set_len(bytes).unwrap();
        run(&format!("mkfs.{filesystem}"), [OsStr::new("-q"), image.as_ref()]);
        fs::create_dir_all(self.path(at)).unwrap();
        self.mount(["-o", "loop"], &image, &self.path(at));
    }
}

/// Both trees are equal in all that can be seen of them. `accessed`: in the times of access too, which reading changes.
pub(super) fn assert_equal(a: &Path, b: &Path, accessed: bool, case: &str) {
    let of = |top| {
        let undated = |line: String| match line.split_once(" accessed ") {
            Some((front, _)) if !accessed => front.to_owned(),
            _ => line,
        };
        listing(top).into_iter().map(undated).collect::<Vec<_>>()
    };
    let (mut a_lines, mut b_lines) = (of(a), of(b));
    let (all, others) = (a_lines.clone(), b_lines.clone());
    a_lines.retain(|line| !others.contains(line));
    b_lines.retain(|line| !all.contains(line));
    assert_eq!(a_lines, b_lines, "{case}");
    let (a, b) = (contents(a), contents(b));
    assert!(a.keys().eq(b.keys()), "{case}");
    let differ: Vec<_> = a.iter().filter(|(path, bytes)| b[*path] != **bytes).map(|(path, _)| path).collect();
    assert!(differ.is_empty(), "{case}: {differ:?}");
}

/// All that can be seen of a tree but the content: one line an entry.
fn listing(top: &Path) -> Vec<String> {
    let (mut lines, mut names) = (Vec::new(), BTreeMap::new());
    list(top, Path::new(""), &mut names, &mut lines);
    lines
}

fn list(top: &Path, below: &Path, names: &mut BTreeMap<u64, PathBuf>, lines: &mut Vec<String>) {
    let path = top.join(below);
    let meta = path.symlink_metadata().unwrap();
    let first = names.entry(meta.ino()).or_insert_with(|| below.to_owned()).clone();
    let size = if meta.is_dir() { 0 } else { meta.len() };
    let leads_to = if meta.is_symlink() { fs::read_link(&path).unwrap() } else { PathBuf::new() };
    let (modified, accessed) = ((meta.mtime(), meta.mtime_nsec()), (meta.atime(), meta.atime_nsec()));
    let links = if meta.is_dir() { 0 } else { meta.nlink() };
    let ids = (meta.uid(), meta.gid());
    let (device, attributes) = (meta.rdev(), attributes(&path));
    lines.push(format!(
        "{below:?} {:o} {ids:?} {size} {links} {first:?} {device:x} {leads_to:?} {attributes:?} \
         modified {modified:?} accessed {accessed:?}",
        meta.mode()
    ));
    if meta.is_dir() {
        let mut entries: Vec<_> =
            fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        entries.sort();
        for name in entries {
            list(top, &below.join(name), names, lines);
        }
    }
}

fn handle(path: &Path) -> std::os::fd::OwnedFd {
    let parent = Dir::open(path.parent().unwrap()).unwrap();
    copying::open_any(parent, &CString::new(path.file_name().unwrap().as_bytes()).unwrap()).unwrap()
}

pub(super) fn attributes(path: &Path) -> BTreeMap<CString, Vec<u8>> {
    let (file, mut buffer) = (handle(path), vec![0; xattr::LONGEST]);
    let length = xattr::list(&file, &mut buffer).unwrap();
    let names: Vec<CString> = xattr::names(&buffer[..length]).map(CStr::to_owned).collect();
    let mut value = |name: &CString| {
        let length = xattr::read(&file, name, &mut buffer).unwrap();
        buffer[..length].to_vec()
    };
    names.into_iter().map(|name| (name.clone(), value(&name))).collect()
}

/// The content of all regular files.
fn contents(top: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let files =
        walkdir::WalkDir::new(top).into_iter().map(Result::unwrap).filter(|e| e.file_type().is_file());
    files.map(|e| (e.path().strip_prefix(top).unwrap().to_owned(), fs::read(e.path()).unwrap())).collect()
}

/// An ACL as the kernel keeps it: the owner, the user 7, the group, the mask and the others.
fn acl(user: u16) -> Vec<u8> {
    let none = u32::MAX;
    let entries = [(1_u16, 7_u16, none), (2, user, 7), (4, 5, none), (16, 7, none), (32, 0, none)];
    let mut bytes = 2_u32.to_le_bytes().to_vec();
    for (tag, permissions, id) in entries {
        bytes.extend(tag.to_le_bytes());
        bytes.extend(permissions.to_le_bytes());
        bytes.extend(id.to_le_bytes());
    }
    bytes
}

/// One of everything, at `tree`.
fn make_everything(lab: &Lab) {
    let at = |below: &str| lab.path("tree").join(below);
    lab.make(["tree/a/b/c", "tree/a/empty/", "tree/closed/inside/file", "tree/file", "tree/d/e/f/g"]);
    lab.fill("tree/many", 2500);
    let odd = OsString::from_vec(vec![b'n', 0xff, b'\n']);
    lab.make([format!("tree/{}/x", "n".repeat(255)).as_str(), "tree/odd/"]);
    fs::write(at("odd").join(&odd), "odd").unwrap();
    symlink(&odd, at("odd/link")).unwrap();
    symlink("../nowhere", at("broken")).unwrap();
    fs::write(at("random"), (0..3_000_000_u32).map(|n| (n.wrapping_mul(n) >> 7) as u8).collect::<Vec<_>>())
        .unwrap();
    fs::write(at("exactly"), vec![b'x'; 1 << 20]).unwrap();
    let holes = fs::File::create(at("holes")).unwrap();
    holes.set_len(9 << 20).unwrap();
    holes.write_all_at(&[7; 5000], 4 << 20).unwrap();
    for (from, to) in
        [("file", "a/linked"), ("a/b/c", "d/e/c"), ("file", "many/again"), ("broken", "d/broken")]
    {
        fs::hard_link(at(from), at(to)).unwrap();
    }
    drop(UnixListener::bind(at("socket")).unwrap());
    run("mkfifo", [at("fifo"), at("d/fifo")]);
    fs::hard_link(at("fifo"), at("d/e/fifo")).unwrap();
    run("mknod", [at("null").as_os_str(), "c".as_ref(), "1".as_ref(), "3".as_ref()]);
    run("mknod", [at("loop").as_os_str(), "b".as_ref(), "7".as_ref(), "300".as_ref()]);
    for (below, ids) in [("a", (50_000, 50_001)), ("a/b/c", (1, 2)), ("fifo", (3, 4)), ("null", (5, 6))] {
        chown(at(below), Some(ids.0), Some(ids.1)).unwrap();
    }
    lchown(at("broken"), Some(8), Some(9)).unwrap();
    for (below, mode) in [
        ("a", 0o2775),
        ("a/b", 0o1777),
        ("a/b/c", 0o6755),
        ("many/file1", 0),
        ("many/file2", 0o1644),
        ("many/file3", 0o666),
        ("fifo", 0o4731),
        ("closed", 0),
        ("closed/inside", 0),
    ] {
        fs::set_permissions(at(below), fs::Permissions::from_mode(mode)).unwrap();
    }
    for (below, name, value) in [
        ("random", c"user.long", vec![b'v'; 2000]),
        ("random", c"trusted.empty", vec![]),
        ("a", c"trusted.dir", b"1".to_vec()),
        ("fifo", c"trusted.fifo", b"2".to_vec()),
        ("many/file4", c"security.test", b"\0\xff".to_vec()),
        ("many/file5", c"system.posix_acl_access", acl(6)),
        ("d", c"system.posix_acl_access", acl(4)),
        ("d", c"system.posix_acl_default", acl(7)),
        ("d/e", c"system.posix_acl_default", acl(2)),
    ] {
        xattr::set(handle(&at(below)), name, &value).unwrap();
    }
    run("setcap", ["cap_net_raw+ep".as_ref(), at("many/file6").as_os_str()]);
    for (seconds, below) in
        [(1, "a"), (2, "a/empty"), (3, "broken"), (4, "fifo"), (5, "holes"), (6, "closed"), (7, "d")]
    {
        let time = |kind, nanoseconds| {
            let date = format!("--date=@{}.{nanoseconds:09}", 1_000_000_000 + seconds);
            run("touch", [OsStr::new("-h"), kind, date.as_ref(), at(below).as_os_str()]);
        };
        time("-m".as_ref(), 123_456_789);
        time("-a".as_ref(), 987_654_321);
    }
}

#[test]
fn a_copy_is_what_cp_makes_of_it() {
    for filesystem in ["ext4", "xfs", "btrfs"] {
        let lab = Lab::image(filesystem);
        make_everything(&lab);
        // Whoever compares has to read.
        run("mount", ["-o".as_ref(), "remount,noatime".as_ref(), lab.top.as_os_str()]);
        let copied = lab.copy("copy").unwrap();
        assert_eq!((copied.files, copied.names, copied.directories), (2500 + 9, 5, 12), "{filesystem}");
        assert_eq!((copied.symlinks, copied.others), (2, 5));
        assert_eq!((copied.kept, copied.shared, copied.vanished), (0, 0, 0));
        assert_eq!((copied.notes, copied.more_notes), (Vec::new(), 0));
        run("cp", ["-a".as_ref(), lab.path("tree").as_os_str(), lab.path("cp").as_os_str()]);
        assert_equal(&lab.path("copy"), &lab.path("tree"), true, filesystem);
        assert_equal(&lab.path("copy"), &lab.path("cp"), true, filesystem);
    }
}

#[test]
fn the_source_does_not_change() {
    let lab = Lab::image("ext4");
    make_everything(&lab);
    // So that any reading would set the time of access.
    run("mount", ["-o".as_ref(), "remount,strictatime".as_ref(), lab.top.as_os_str()]);
    let stat = |below: &str| {
        let meta = lab.path(below).symlink_metadata().unwrap();
        (meta.atime(), meta.atime_nsec(), meta.ctime(), meta.ctime_nsec())
    };
    let paths =
        ["tree", "tree/a", "tree/many", "tree/random", "tree/closed/inside", "tree/fifo", "tree/holes"];
    let times = paths.map(stat);
    lab.copy("copy").unwrap();
    assert_eq!(paths.map(stat), times);
}

#[test]
fn holes_stay_holes_however_long() {
    for filesystem in ["ext4", "xfs", "btrfs"] {
        let lab = Lab::image(filesystem);
        lab.make(["tree/"]);
        let file = |name: &str| fs::File::create(lab.path("tree").join(name)).unwrap();
        file("only").set_len(1 << 40).unwrap();
        for (name, at) in [("front", (1 << 40) - 1), ("both", 1 << 39), ("behind", 0)] {
            let file = file(name);
            file.set_len(1 << 40).unwrap();
            file.write_all_at(b"!", at).unwrap();
        }
        file("small").set_len(5000).unwrap();
        let begun = Instant::now();
        let copied = lab.copy("copy").unwrap();
        assert!(begun.elapsed() < Duration::from_secs(5), "{filesystem}: {:?}", begun.elapsed());
        assert!(copied.bytes < 1 << 20, "{filesystem}: {}", copied.bytes);
        for (name, at) in [("front", (1 << 40) - 1), ("both", 1 << 39), ("behind", 0)] {
            let file = fs::File::open(lab.path("copy").join(name)).unwrap();
            let mut byte = [0; 1];
            file.read_exact_at(&mut byte, at).unwrap();
            let meta = file.metadata().unwrap();
            assert_eq!((byte[0], meta.len()), (b'!', 1 << 40), "{filesystem}: {name}");
            assert!(meta.blocks() * 512 < 1 << 20, "{filesystem}: {name}");
        }
        for (name, length) in [("only", 1 << 40), ("small", 5000)] {
            let meta = lab.path("copy").join(name).metadata().unwrap();
            assert_eq!((meta.len(), meta.blocks()), (length, 0), "{filesystem}: {name}");
        }
    }
}

#[test]
fn names_of_one_file_stay_names_of_one_file() {
    let lab = Lab::memory();
    fs::create_dir_all(lab.path("outside")).unwrap();
    for n in 0..2000 {
        lab.make([format!("tree/{}/first{n}", n % 7).as_str()]);
        for copy in 0..4 {
            lab.make([format!("tree/{}/", 10 + copy).as_str()]);
            let to = lab.path(&format!("tree/{}/name{n}", 10 + copy));
            fs::hard_link(lab.path(&format!("tree/{}/first{n}", n % 7)), to).unwrap();
        }
        // A name outside of the tree is none of the copy's.
        let first = lab.path(&format!("tree/{}/first{n}", n % 7));
        fs::hard_link(first, lab.path(&format!("outside/{n}"))).unwrap();
    }
    let copied = lab.copy("copy").unwrap();
    assert_eq!((copied.files, copied.names), (2000, 8000));
    for n in 0..2000 {
        let of = |below: String| lab.path("copy").join(below).metadata().unwrap();
        let first = of(format!("{}/first{n}", n % 7));
        assert_eq!(first.nlink(), 5);
        assert!((0..4).all(|copy| of(format!("{}/name{n}", 10 + copy)).ino() == first.ino()));
    }
}

#[test]
fn data_is_shared_only_when_that_is_asked_for() {
    for (filesystem, shares) in [("btrfs", true), ("xfs", true), ("ext4", false)] {
        let lab = Lab::image(filesystem);
        lab.make(["tree/a/file", "tree/empty", "joined/", "own/"]);
        fs::write(lab.path("tree/empty"), "").unwrap();
        let long: Vec<u8> = (0..20_000_000_u32).map(|n| (n.wrapping_mul(n) >> 9) as u8).collect();
        fs::write(lab.path("tree/long"), &long).unwrap();
        let extents = |path: &str| {
            run("sync", ["-f".as_ref(), lab.top.as_os_str()]);
            run("filefrag", ["-v".as_ref(), lab.path(path).as_os_str()]).contains("shared")
        };
        let into = |to: &str, share| {
            let dir = |below| Dir::open(&lab.path(below)).unwrap();
            copy(&dir("tree"), &dir(to), &CopyOptions { threads: 2, share, strip: false }, &Silent).unwrap()
        };
        let own = into("own", false);
        assert_eq!((own.shared, own.bytes), (0, 20_000_000 + 11), "{filesystem}");
        assert!(!extents("own/long"), "{filesystem}");
        let shared = into("joined", true);
        assert_eq!(shared.shared + shared.bytes, 20_000_000 + 11, "{filesystem}");
        assert_eq!((extents("joined/long"), shared.shared > 0), (shares, shares), "{filesystem}");
        assert_eq!(contents(&lab.path("joined")), contents(&lab.path("tree")));
        assert_eq!(contents(&lab.path("own")), contents(&lab.path("tree")));
    }
}

#[test]
fn files_get_their_owner_whatever_their_directory_gives_them() {
    for filesystem in ["ext4", "xfs", "btrfs"] {
        let lab = Lab::image(filesystem);
        lab.make(["tree/d/0", "tree/d/root", "tree/e/0", "tree/e/seven", "tree/f"]);
        chown(lab.path("tree/d"), Some(5), Some(7)).unwrap();
        fs::set_permissions(lab.path("tree/d"), fs::Permissions::from_mode(0o2770)).unwrap();
        for (below, ids) in [("d/0", (0, 7)), ("d/root", (0, 0)), ("e/seven", (7, 7)), ("f", (0, 9))] {
            chown(lab.path("tree").join(below), Some(ids.0), Some(ids.1)).unwrap();
        }
        lab.copy("copy").unwrap();
        assert_equal(&lab.path("copy"), &lab.path("tree"), false, filesystem);
    }
}

#[test]
fn what_the_target_refuses_is_noted() {
    let mut lab = Lab::image("ext4");
    lab.make(["tree/a/file", "tree/a/other"]);
    lab.second("xfs", "tree-is-elsewhere", 400 << 20);
    fs::create_dir(lab.path("tree-is-elsewhere/tree")).unwrap();
    fs::write(lab.path("tree-is-elsewhere/tree/file"), "").unwrap();
    let long = vec![1; 50_000];
    xattr::set(handle(&lab.path("tree-is-elsewhere/tree/file")), c"user.long", &long).unwrap();
    fs::create_dir(lab.path("copy")).unwrap();
    let dir = |below| Dir::open(&lab.path(below)).unwrap();
    let options = CopyOptions::default();
    let copied = copy(&dir("tree-is-elsewhere/tree"), &dir("copy"), &options, &Silent).unwrap();
    let text = "the attribute \"user.long\" was refused: No space left on device".to_owned();
    assert_eq!((copied.files, copied.notes, copied.more_notes), (1, vec![("file".into(), text)], 0));
}

#[test]
fn a_mount_inside_is_not_copied_and_named() {
    for kind in ["tmpfs", "bind", "file"] {
        let mut lab = Lab::memory();
        lab.make(["tree/a/point/", "tree/a/other", "tree/b", "elsewhere/secret", "one"]);
        let point = lab.path(if kind == "file" { "tree/b" } else { "tree/a/point" });
        match kind {
            "tmpfs" => lab.mount(["-t", "tmpfs"], Path::new("none"), &point),
            "bind" => lab.mount(["--bind"], &lab.path("elsewhere"), &point),
            _ => lab.mount(["--bind"], &lab.path("one"), &point),
        }
        let error = lab.copy("copy").unwrap_err();
        assert_eq!(error.errno(), Some(libc::EXDEV), "{kind}");
        let text = format!("cannot copy the mount point {}: Invalid cross-device link", point.display());
        assert_eq!(error.to_string(), text);
        assert!(lab.exists("copy/a/other") && !lab.exists("copy/a/point/secret"));
        assert_eq!(lab.exists("copy/b"), kind != "file");
    }
}

#[test]
fn subvolumes_are_copied_as_directories() {
    let lab = Lab::image("btrfs");
    lab.make(["tree/a/file"]);
    for path in ["tree/a/one", "tree/a/one/two"] {
        run("btrfs", ["subvolume".as_ref(), "create".as_ref(), lab.path(path).as_os_str()]);
        lab.make([format!("{path}/file").as_str()]);
        fs::hard_link(lab.path(&format!("{path}/file")), lab.path(&format!("{path}/linked"))).unwrap();
    }
    let copied = lab.copy("copy").unwrap();
    assert_eq!((copied.files, copied.names, copied.directories), (3, 2, 4));
    assert_eq!(contents(&lab.path("copy")), contents(&lab.path("tree")));
    assert_ne!(lab.path("copy/a/one").metadata().unwrap().ino(), 256);
}

#[test]
fn a_full_target_ends_it_at_once_with_its_path() {
    for filesystem in ["tmpfs", "ext4"] {
        let mut lab = Lab::memory();
        for n in 0..40 {
            lab.make([format!("tree/{n}/").as_str()]);
            for m in 0..100 {
                fs::write(lab.path(&format!("tree/{n}/file{m}")), vec![1; 100_000]).unwrap();
            }
        }
        fs::create_dir(lab.path("small")).unwrap();
        match filesystem {
            "tmpfs" => lab.mount(["-t", "tmpfs", "-o", "size=20m"], Path::new("none"), &lab.path("small")),
            _ => lab.second("ext4", "small", 20 << 20),
        }
        let error = lab.copy("small/copy").unwrap_err();
        assert_eq!(error.errno(), Some(libc::ENOSPC), "{filesystem}");
        let text = error.to_string();
        let begins = format!("cannot write {}/", lab.path("small/copy").display());
        assert!(text.starts_with(&begins) && text.ends_with(": No space left on device"), "{text}");
        // What was tried behind it would have made directories all the same.
        assert!(lab.count("small/copy") < 40, "{filesystem}");
    }
}

#[test]
fn what_cannot_be_copied_is_named_and_the_rest_goes_on() {
    let mut lab = Lab::memory();
    lab.make(["tree/a/one", "tree/b/one", "tree/c/one", "tree/d", "elsewhere/x"]);
    for at in ["tree/a", "tree/b", "tree/c"] {
        lab.mount(["--bind"], &lab.path("elsewhere"), &lab.path(at));
    }
    let text = lab.copy("copy").unwrap_err().to_string();
    let begins = format!("cannot copy the mount point {}/", lab.path("tree").display());
    let ends = ": Invalid cross-device link (and 2 more entries could not be copied)";
    assert!(text.starts_with(&begins) && text.ends_with(ends), "{text}");
    assert!(lab.exists("copy/d"));
}

#[test]
fn a_tree_is_not_copied_into_itself() {
    let lab = Lab::memory();
    lab.make(["tree/a/b/", "tree/c"]);
    let error = lab.copy("tree/a/b").unwrap_err();
    let text = format!("cannot copy into itself {}: Invalid argument", lab.path("tree/a/b").display());
    assert_eq!(error.to_string(), text);
    assert!(lab.exists("tree/a/b/c") && !lab.exists("tree/a/b/a/b/a"));
}

#[test]
fn the_kinds_of_special_files_stay() {
    let lab = Lab::memory();
    lab.make(["tree/"]);
    drop(UnixListener::bind(lab.path("tree/socket")).unwrap());
    run("mkfifo", [lab.path("tree/fifo")]);
    run("mknod", [lab.path("tree/null").as_os_str(), "c".as_ref(), "1".as_ref(), "3".as_ref()]);
    lab.copy("copy").unwrap();
    let kind = |name: &str| lab.path("copy").join(name).symlink_metadata().unwrap().file_type();
    assert!(kind("socket").is_socket() && kind("fifo").is_fifo() && kind("null").is_char_device());
}
