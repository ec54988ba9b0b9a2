//! Single entries of directories on this machine's filesystems.

use std::fs;
use std::path::Path;

use super::*;

fn open(path: &Path) -> OwnedFd {
    fs::File::open(path).unwrap().into()
}

#[test]
fn blocks_go_on_where_the_last_one_ended() {
    let dir = tempfile::tempdir().unwrap();
    let mut expected: Vec<String> = (0..500).map(|n| format!("name{n}")).collect();
    for name in &expected {
        fs::write(dir.path().join(name), "").unwrap();
    }
    fs::create_dir(dir.path().join("directory")).unwrap();
    let (handle, mut block) = (open(dir.path()), Block::new(1024));
    let (mut names, mut from, mut blocks) = (Vec::new(), 0, 0);
    loop {
        block.read(&handle, from).unwrap();
        blocks += 1;
        for (position, entry) in block.entries() {
            let name = entry.name.to_str().unwrap();
            assert_eq!(block.at(position).unwrap().name, entry.name);
            assert_eq!(entry.hint == Hint::Directory, name == "directory");
            names.push(name.to_owned());
            from = entry.next;
        }
        if block.is_last() {
            break;
        }
    }
    assert!(blocks > 10);
    names.sort();
    expected.push("directory".to_owned());
    expected.sort();
    assert_eq!(names, expected);
}

#[test]
fn only_directories_of_the_same_mount_are_opened() {
    let dir = tempfile::tempdir().unwrap();
    let (handle, at) = (open(dir.path()), dir.path());
    fs::create_dir(at.join("directory")).unwrap();
    fs::write(at.join("file"), "").unwrap();
    std::os::unix::fs::symlink("directory", at.join("link")).unwrap();
    nix::unistd::mkfifo(&at.join("fifo"), Mode::S_IRWXU).unwrap();
    for by_mount_id in [false, true] {
        let error = |dir: BorrowedFd<'_>, name: &CStr| {
            let opened =
                if by_mount_id { open_directory_by_mount_id(dir, name) } else { open_directory(dir, name) };
            opened.map_or_else(|e| e.raw_os_error().unwrap(), |_| 0)
        };
        assert_eq!(error(handle.as_fd(), c"directory"), 0);
        assert_eq!(error(handle.as_fd(), c"absent"), libc::ENOENT);
        assert_eq!(error(handle.as_fd(), c"file"), libc::ENOTDIR);
        assert_eq!(error(handle.as_fd(), c"fifo"), libc::ENOTDIR);
        assert!([libc::ENOTDIR, libc::ELOOP].contains(&error(handle.as_fd(), c"link")));
        assert_eq!(error(open(Path::new("/")).as_fd(), c"proc"), libc::EXDEV);
    }
}

#[test]
fn a_parent_is_opened_only_when_it_is_the_one_expected() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    for name in ["one", "two", "one/child"] {
        fs::create_dir(path(name)).unwrap();
    }
    let (one, child) = (open(&path("one")), open(&path("one/child")));
    let expected = status(&one, c"").unwrap().identity;
    let parent = open_parent(&child, &expected).unwrap().unwrap();
    assert_eq!(status(&parent, c"").unwrap().identity, expected);
    let mut block = Block::new(1024);
    block.read(&parent, 0).unwrap();
    assert_eq!(block.entries().next().unwrap().1.name, c"child");
    fs::rename(path("one/child"), path("two/child")).unwrap();
    assert!(open_parent(&child, &expected).unwrap().is_none());
}
