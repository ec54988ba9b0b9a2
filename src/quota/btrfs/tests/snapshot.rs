//! Folders had again by a snapshot.

use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, symlink};
use std::sync::atomic::{AtomicBool, Ordering};

use super::*;
use crate::host::btrfs::is_read_only;
use crate::host::btrfs::subvolume_id;
use crate::host::copying::set_times;
use crate::host::entries::Time;

/// A second scope of the lab's volume.
const OTHER: &str = "1fd0aaaaaaaaaaaaaaaaaaaaaaaaaaaa";

fn other(lab: &Lab) -> ScopeAt<'_> {
    ScopeAt { dir: OTHER, kernel_id: Some(lab.id + 1), ..lab.scope() }
}

fn at<'a>(scope: &'a ScopeAt<'a>, parent: &'a Dir, name: &'a str) -> PlaceIn<'a> {
    PlaceIn { scope, parent, name: OsStr::new(name) }
}

/// A snapshot of the lab's folder `data` as the folder `clone` of a scope.
fn take(lab: &Lab, to: &ScopeAt<'_>) -> Result<PathBuf> {
    let parent = Dir::open(&lab.image.path().join(to.dir)).unwrap();
    let from = lab.dir();
    Btrfs.snapshot(at(&lab.scope(), &from, "data"), at(to, &parent, "clone"))?;
    Ok(parent.join("clone"))
}

/// The lab with a second scope.
fn two(name: &str) -> Lab {
    let lab = Lab::new(name, Folders::Subvolume);
    Btrfs.prepare_scope(&other(&lab)).unwrap();
    lab
}

fn remove(lab: &Lab, scope: &ScopeAt<'_>, name: &str) {
    let parent = Dir::open(&lab.image.path().join(scope.dir)).unwrap();
    Btrfs.remove_folder(scope, &parent, OsStr::new(name), &Silent).unwrap();
}

fn remove_scope(scope: &ScopeAt<'_>) {
    let end = std::time::Instant::now() + Duration::from_secs(20);
    while Btrfs.remove_scope(scope).unwrap() != Removal::Gone {
        assert!(std::time::Instant::now() < end);
    }
}

/// A time long ago, other ones for access and change.
fn age(path: &Path) {
    let time = |seconds| Time { seconds, nanoseconds: 123_456_789 };
    set_times(File::open(path).unwrap(), time(2_000_000_000), time(1_000_000_000)).unwrap();
}

/// A folder with nested subvolumes of all kinds; how many there are.
fn populate(lab: &Lab) -> usize {
    let folder = lab.folder("data").unwrap();
    fs::write(folder.join("file"), "top").unwrap();
    fs::hard_link(folder.join("file"), folder.join("second name")).unwrap();
    symlink("/etc/passwd", folder.join("link")).unwrap();
    let mut here = nest(&folder, "one");
    for name in ["two", "three"] {
        fs::write(here.join("file"), name).unwrap();
        fs::create_dir(here.join("directory")).unwrap();
        here = nest(&here.join("directory"), name);
    }
    fs::write(here.join("file"), "innermost").unwrap();
    // A snapshot of the tenant's own has an empty directory for each of these.
    let (top, id) = (Dir::open(&folder).unwrap(), number(1, lab.id));
    btrfs::snapshot_create(&top.open_dir("one").unwrap(), &top, OsStr::new("own"), id).unwrap();
    let odd = folder.join(OsStr::from_bytes(b"od\xff\n d"));
    fs::create_dir(&odd).unwrap();
    subvolume_create(&Dir::open(&odd).unwrap(), OsStr::from_bytes(b"-\xfe\x1b[31m"), None).unwrap();
    fs::write(odd.join(OsStr::from_bytes(b"-\xfe\x1b[31m/file")), "odd").unwrap();
    let locked = nest(&folder, "locked");
    nest(&locked, "inside");
    fs::write(locked.join("inside/file"), "in a read-only one").unwrap();
    set_read_only(&Dir::open(&locked.join("inside")).unwrap(), true).unwrap();
    let closed = folder.join("closed");
    fs::create_dir(&closed).unwrap();
    fs::write(nest(&closed, "nested").join("file"), "behind 0000").unwrap();
    fs::set_permissions(closed.join("nested"), fs::Permissions::from_mode(0o1700)).unwrap();
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o0)).unwrap();
    std::os::unix::fs::chown(closed.join("nested"), Some(65534), Some(7)).unwrap();
    for path in [&folder, &folder.join("one/directory"), &closed, &odd, &locked] {
        age(path);
    }
    set_read_only(&Dir::open(&locked).unwrap(), true).unwrap();
    8
}

#[allow(clippy::disallowed_methods)]
fn sh(dir: &Path, script: &str) -> String {
    let out = std::process::Command::new("/bin/sh").args(["-c", script]).current_dir(dir).output().unwrap();
    assert!(out.status.success(), "{script}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8_lossy(&out.stdout).into_owned()
}

/// What `find` and checksums say of a tree; `access` adds the times of access.
fn listing(dir: &Path, access: &str) -> String {
    // Each directory is looked at before it is read. What is empty in the snapshot of a tenant has no times.
    let listed = sh(
        dir,
        &format!(
            "find . ! -path ./own/directory/two -printf '%P %y %m %U %G %n %s %T@ {access} %l\\0' | LC_ALL=C sort -z | tr '\\0' '\\n'"
        ),
    );
    listed + &sh(dir, "find . -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum")
}

#[test]
fn a_snapshot_with_nested_subvolumes_equals_a_copy_in_the_same_and_another_scope() {
    let lab = two("equal");
    let nested = populate(&lab);
    for (scope, id) in [(lab.scope(), lab.id), (other(&lab), lab.id + 1)] {
        let clone = take(&lab, &scope).unwrap();
        let source = lab.path().join("data");
        assert_eq!(listing(&clone, "%A@"), listing(&source, "%A@"));
        let copy = lab.image.path().join("copy");
        sh(lab.image.path(), &format!("cp -a {} {}", source.display(), copy.display()));
        // `find` counts names of directories as the filesystem does, subvolumes and all.
        assert_eq!(listing(&clone, ""), listing(&copy, ""));
        sh(lab.image.path(), "rm -r copy");
        // All of it can be written to, and is charged to its scope.
        assert!(!is_read_only(&Dir::open(&clone.join("locked/inside")).unwrap()).unwrap());
        let dir = Dir::open(lab.image.path()).unwrap();
        let members = Qgroups::of(&dir).unwrap().members(number(1, id)).unwrap();
        let own = if id == lab.id { 2 * (nested + 1) } else { nested + 1 };
        assert_eq!(members.len(), own);
        assert!(members.contains(&subvolume_id(&Dir::open(&clone.join("closed/nested")).unwrap()).unwrap()));
        remove(&lab, &scope, "clone");
    }
}

#[test]
fn what_is_written_to_a_clone_is_charged_to_its_own_scope_and_stopped_there() {
    let lab = two("charge");
    let folder = lab.folder("data").unwrap();
    assert_eq!(write(&folder.join("a"), 12 * MIB), (12 * MIB, None));
    nest(&folder, "nested");
    let before = lab.reading().used.unwrap();
    let to = other(&lab);
    ensure_limit(&Btrfs, &to, Some(8 * MIB)).unwrap();
    let clone = take(&lab, &to).unwrap();
    let used = || Btrfs.read_one(&to).unwrap().used.unwrap();
    // What they share stays where it is.
    assert!(used() < MIB && lab.reading().used.unwrap() <= before + MIB, "{}", used());
    assert_eq!(write(&clone.join("nested/b"), 4 * MIB), (4 * MIB, None));
    assert!(used() >= 4 * MIB);
    // A file that is shared, written anew.
    let shared = File::options().write(true).open(clone.join("a")).unwrap();
    let written = write_as(&shared, 65534, 65534, 12 * MIB, Default::default()).unwrap();
    assert_eq!(written.errno, Some(libc::EDQUOT));
    assert!(written.bytes <= 4 * MIB && used() <= 8 * MIB, "{} {}", written.bytes, used());
    for path in ["a", "nested/b"] {
        let file = File::options().append(true).open(clone.join(path)).unwrap();
        let written = write_as(&file, 65534, 65534, 8 * MIB, Default::default()).unwrap();
        assert_eq!(written.errno, Some(libc::EDQUOT));
    }
    assert!(lab.reading().used.unwrap() <= before + MIB);
}

#[test]
fn a_full_scope_takes_a_clone_of_what_it_holds() {
    let lab = Lab::new("fullclone", Folders::Subvolume);
    lab.limit(8 * MIB);
    let folder = lab.folder("data").unwrap();
    let nested = nest(&nest(&folder, "n1"), "n2");
    fs::write(nested.join("file"), "inner").unwrap();
    set_read_only(&Dir::open(&folder.join("n1")).unwrap(), true).unwrap();
    fill(&folder);
    let clone = take(&lab, &lab.scope()).unwrap();
    // The kernel finds no room for the time of the last change of what was written last.
    let listed = "find . ! -name fill -printf '%P %y %s %T@\\n' | sort; cat n1/n2/file";
    assert_eq!(sh(&clone, listed), sh(&folder, listed));
    assert_eq!(lab.reading().limit, Some(8 * MIB));
    assert!(File::create(clone.join("more")).is_err());
    lab.remove("data").unwrap();
    lab.remove("clone").unwrap();
    lab.removed();
}

#[test]
fn nothing_is_left_in_whichever_order_source_and_clone_go() {
    for (name, same, source_first) in
        [("o1", true, true), ("o2", true, false), ("o3", false, true), ("o4", false, false)]
    {
        let lab = two(name);
        let folder = lab.folder("data").unwrap();
        assert_eq!(write(&folder.join("a"), 4 * MIB), (4 * MIB, None));
        assert_eq!(write(&nest(&folder, "nested").join("a"), 4 * MIB), (4 * MIB, None));
        let to = if same { lab.scope() } else { other(&lab) };
        let clone = take(&lab, &to).unwrap();
        if source_first {
            lab.remove("data").unwrap();
            assert_eq!(fs::metadata(clone.join("nested/a")).unwrap().len(), 4 * MIB);
            if !same {
                // What the clone holds is charged to the scope that wrote it, as long as it is there.
                assert_eq!(Btrfs.remove_scope(&lab.scope()).unwrap(), Removal::Draining);
            }
            remove(&lab, &to, "clone");
        } else {
            remove(&lab, &to, "clone");
            assert_eq!(fs::metadata(folder.join("nested/a")).unwrap().len(), 4 * MIB);
            lab.remove("data").unwrap();
        }
        remove_scope(&other(&lab));
        lab.removed();
        assert_eq!(lab.image.qgroups(), ["0_5"], "{name}");
        assert!(search::children(&Dir::open(lab.image.path()).unwrap(), 5).unwrap().is_empty());
    }
}

#[test]
fn with_full_qgroups_a_clone_is_charged_and_stopped_with_its_nested_subvolumes() {
    let image = Image::btrfs("fullclones");
    let dir = Dir::open(image.path()).unwrap();
    quota_enable(&dir, Accounting::Full).unwrap();
    btrfs::rescan_wait(&dir).unwrap();
    let lab = Lab { image, folders: Folders::Subvolume, id: 10001 };
    Btrfs.prepare_scope(&lab.scope()).unwrap();
    Btrfs.prepare_scope(&other(&lab)).unwrap();
    let folder = lab.folder("data").unwrap();
    assert_eq!(write(&folder.join("a"), 3 * MIB), (3 * MIB, None));
    nest(&folder, "nested");
    for to in [lab.scope(), other(&lab)] {
        ensure_limit(&Btrfs, &to, Some(8 * MIB)).unwrap();
        let clone = take(&lab, &to).unwrap();
        btrfs::rescan_wait(&dir).unwrap();
        assert_eq!(Qgroups::of(&dir).unwrap().mode().unwrap(), Mode::Full { consistent: true });
        dir.sync_filesystem().unwrap();
        let used = Btrfs.read_one(&to).unwrap().used.unwrap();
        assert!(used.abs_diff(3 * MIB) < MIB, "{used}");
        assert_eq!(write(&clone.join("nested/b"), 16 * MIB).1, Some(libc::EDQUOT));
        remove(&lab, &to, "clone");
    }
}

#[test]
fn where_a_reflink_charges_its_own_scope() {
    let lab = two("reflink");
    let says = |same| Btrfs.reflinks_charge_rightly(lab.image.path(), Folders::Subvolume, same).unwrap();
    assert_eq!((says(true), says(false)), (true, false));
    // As the kernel has it.
    let folder = lab.folder("data").unwrap();
    assert_eq!(write(&folder.join("a"), 4 * MIB), (4 * MIB, None));
    let to = other(&lab);
    let parent = Dir::open(&lab.image.path().join(OTHER)).unwrap();
    Btrfs.make_folder(&to, &parent, OsStr::new("copy")).unwrap();
    let copy = parent.join("copy/a");
    sh(&folder, &format!("cp --reflink=always a {}", copy.display()));
    lab.dir().sync_filesystem().unwrap();
    assert!(Btrfs.read_one(&to).unwrap().used.unwrap() < MIB);
    btrfs::quota_disable(&parent).unwrap();
    quota_enable(&parent, Accounting::Full).unwrap();
    btrfs::rescan_wait(&parent).unwrap();
    let says = |same| Btrfs.reflinks_charge_rightly(lab.image.path(), Folders::Subvolume, same).unwrap();
    assert_eq!((says(true), says(false)), (true, true));
}

#[test]
fn a_clone_is_not_put_where_something_is_and_an_unfinished_one_is_made_again() {
    let lab = Lab::new("again", Folders::Subvolume);
    populate(&lab);
    let clone = take(&lab, &lab.scope()).unwrap();
    assert!(take(&lab, &lab.scope()).unwrap_err().message.contains("exists"));
    // As a run that was killed leaves it: a directory that is still to be filled.
    lab.remove("clone").unwrap();
    btrfs::snapshot_create(
        &lab.dir().open_dir("data").unwrap(),
        &lab.dir(),
        OsStr::new("clone"),
        number(1, lab.id),
    )
    .unwrap();
    assert_eq!(fs::metadata(clone.join("one")).unwrap().ino(), btrfs::STUB_INODE);
    lab.remove("clone").unwrap();
    take(&lab, &lab.scope()).unwrap();
    assert_eq!(fs::read_to_string(clone.join("one/file")).unwrap(), "two");
    fs::create_dir(lab.path().join("plain")).unwrap();
    let (scope, dir) = (lab.scope(), lab.dir());
    let error = Btrfs.snapshot(at(&scope, &dir, "plain"), at(&scope, &dir, "new")).unwrap_err();
    assert!(error.message.ends_with("plain is no subvolume"), "{error}");
}

#[test]
fn a_nested_subvolume_below_a_very_long_path_is_in_the_clone() {
    let lab = Lab::new("far", Folders::Subvolume);
    let deep = |dir: Dir| (0..30).fold(dir, |dir, _| dir.ensure_dir("d".repeat(200), 0o700).unwrap());
    lab.folder("data").unwrap();
    let far = deep(lab.dir().open_dir("data").unwrap());
    subvolume_create(&far, OsStr::new("far"), None).unwrap();
    far.open_dir("far").unwrap().make_dir("inside", 0o700).unwrap();
    take(&lab, &lab.scope()).unwrap();
    let far = deep(lab.dir().open_dir("clone").unwrap()).open_dir("far").unwrap();
    assert_eq!(far.names().unwrap(), ["inside"]);
    drop(far);
    lab.remove("clone").unwrap();
}

#[test]
fn no_nested_subvolume_is_left_out_while_a_tenant_moves_them() {
    let lab = Lab::new("moving", Folders::Subvolume);
    let folder = lab.folder("data").unwrap();
    let outside = lab.image.path().join("outside");
    fs::create_dir(&outside).unwrap();
    nest(&outside, "nested");
    fs::write(outside.join("nested/secret"), "x").unwrap();
    symlink(&outside, folder.join("link")).unwrap();
    fs::create_dir_all(folder.join("d")).unwrap();
    for name in ["nested", "more"] {
        fs::write(nest(&folder.join("d"), name).join("file"), "x").unwrap();
    }
    let (stop, mut made) = (AtomicBool::new(false), 0);
    struct Stop<'a>(&'a AtomicBool);
    impl Drop for Stop<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    std::thread::scope(|threads| {
        // Also when a check fails.
        let _stop = Stop(&stop);
        threads.spawn(|| {
            let (top, inner) = (Dir::open(&folder).unwrap(), Dir::open(&folder.join("d")).unwrap());
            let more = inner.open_dir("more").unwrap();
            let exchange = nix::fcntl::RenameFlags::RENAME_EXCHANGE;
            while !stop.load(Ordering::Relaxed) {
                let _ = nix::fcntl::renameat2(&top, "d", &top, "link", exchange);
                for place in [&top, &more] {
                    inner.rename("nested", place, "elsewhere").unwrap();
                    place.rename("elsewhere", &inner, "nested").unwrap();
                }
                std::thread::sleep(Duration::from_micros(500));
            }
        });
        for _ in 0..30 {
            match take(&lab, &lab.scope()) {
                Ok(clone) => {
                    made += 1;
                    assert_eq!(sh(&clone, "find . -name file | wc -l").trim(), "2");
                    assert_eq!(sh(&clone, "find . -inum 2 | wc -l; find . -name secret").trim(), "0");
                    lab.remove("clone").unwrap();
                }
                Err(error) => {
                    assert_eq!(error.code, Code::InUse, "{error}");
                    assert!(!lab.path().join("clone").exists());
                }
            }
        }
    });
    assert!(made > 0);
    assert_eq!(fs::read_dir(outside.join("nested")).unwrap().count(), 1);
}

#[test]
fn a_snapshot_takes_no_longer_for_many_files() {
    let lab = Lab::new("quick", Folders::Subvolume);
    let folder = lab.folder("data").unwrap();
    for n in 0..20_000 {
        File::create(folder.join(n.to_string())).unwrap();
    }
    lab.dir().sync_filesystem().unwrap();
    let begin = std::time::Instant::now();
    take(&lab, &lab.scope()).unwrap();
    assert!(begin.elapsed() < Duration::from_millis(500), "{:?}", begin.elapsed());
}
