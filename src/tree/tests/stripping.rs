//! Copying for another owner, without what gives power.

use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, chown};

use super::copying::{assert_equal, attributes};
use super::*;
use crate::tree::copy::{Copied, CopyOptions, copy};

#[test]
fn what_gives_power_is_stripped_and_told() {
    let lab = Lab::image("ext4");
    lab.make(["tree/d/file", "tree/plain", "copy/", "whole/"]);
    for (below, mode) in
        [("d", 0o2775), ("d/file", 0o6755), ("d/uid", 0o4711), ("gid", 0o2745), ("plain", 0o1644)]
    {
        let path = lab.path("tree").join(below);
        if !path.exists() {
            fs::write(&path, "").unwrap();
        }
        chown(&path, Some(7), Some(7)).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    }
    fs::hard_link(lab.path("tree/d/uid"), lab.path("tree/uid-too")).unwrap();
    fs::write(lab.path("tree/able"), "").unwrap();
    run("setcap", ["cap_net_raw+ep".as_ref(), lab.path("tree/able").as_os_str()]);
    run("mknod", [lab.path("tree/null").as_os_str(), "c".as_ref(), "1".as_ref(), "3".as_ref()]);
    run("mknod", [lab.path("tree/d/loop").as_os_str(), "b".as_ref(), "7".as_ref(), "300".as_ref()]);
    fs::hard_link(lab.path("tree/null"), lab.path("tree/zero")).unwrap();
    run("mkfifo", [lab.path("tree/fifo")]);
    let into = |to: &str, strip| {
        let dir = |below| Dir::open(&lab.path(below)).unwrap();
        let mut copied =
            copy(&dir("tree"), &dir(to), &CopyOptions { strip, ..CopyOptions::default() }, &Silent).unwrap();
        copied.notes.sort();
        copied
    };
    let mode = |below: &str| lab.path("copy").join(below).metadata().unwrap().mode() & 0o7777;
    let device = "is a device and was left out";
    // The second name of a file is none of its own; which one is told depends on the order.
    let uid = |copied: &Copied| copied.notes.iter().any(|(path, _)| path == Path::new("d/uid"));
    let notes = |first| {
        let all = [
            ("able", "lost capabilities"),
            ("d/file", "lost setuid, setgid"),
            ("d/loop", device),
            ("d/uid", "lost setuid"),
            ("gid", "lost setgid"),
            ("null", device),
            ("uid-too", "lost setuid"),
            ("zero", device),
        ];
        let other = if first { "uid-too" } else { "d/uid" };
        let told = all.into_iter().filter(|(path, _)| *path != other);
        told.map(|(path, text)| (PathBuf::from(path), text.to_owned())).collect::<Vec<_>>()
    };
    // What an earlier run made of it goes, and what is kept is told again.
    lab.make(["copy/null"]);
    for run in 0..2 {
        let copied = into("copy", true);
        assert_eq!(copied.notes, notes(uid(&copied)), "{run}");
        assert_eq!((copied.stripped, copied.skipped_devices, copied.more_notes), (4, 3, 0), "{run}");
        assert_eq!((copied.files, copied.names, copied.others), [(5, 1, 1), (0, 0, 0)][run]);
        let modes = ["d", "d/file", "d/uid", "gid", "plain"].map(mode);
        assert_eq!(modes, [0o2775, 0o755, 0o711, 0o745, 0o1644], "{run}");
        assert!(["null", "zero", "d/loop"].iter().all(|name| !lab.path("copy").join(name).exists()));
        assert!(attributes(&lab.path("copy/able")).is_empty());
        assert!(lab.path("copy/fifo").metadata().unwrap().file_type().is_fifo());
    }
    // A copy of all becomes one without.
    assert_eq!((into("whole", false).stripped, into("whole", true).stripped), (0, 4));
    assert_equal(&lab.path("whole"), &lab.path("copy"), false, "");
}
