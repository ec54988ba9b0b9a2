//! Folders had again, on a pool of the lab.

use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::*;
use crate::domain::error::Code;
use crate::host::probe::write_as;
use crate::quota::ensure_limit;
use crate::tree::Silent;

const MIB: u64 = 1 << 20;
const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/labs/zfs");
const SCOPES: [&str; 2] = ["0fd0aaaaaaaaaaaaaaaaaaaaaaaaaaaa", "1fd0aaaaaaaaaaaaaaaaaaaaaaaaaaaa"];
const SOURCE: &str = "aaaa0000000000000000000000000001";
const CLONE: &str = "bbbb0000000000000000000000000002";
const SECOND: &str = "cccc0000000000000000000000000003";

/// A pool with two scopes, whose folders are datasets.
struct Pool {
    dir: tempfile::TempDir,
    volume: PathBuf,
    _one: MutexGuard<'static, ()>,
}

/// One pool at a time: in trials zfs-fuse hung when several were made and filled at once by one process.
static ONE: Mutex<()> = Mutex::new(());

/// A dataset that was used a moment ago is busy for another.
#[allow(clippy::disallowed_methods)]
fn run(program: &str, args: &[&str]) -> String {
    let mut out = std::process::Command::new(program).args(args).output().unwrap();
    for _ in 0..50 {
        if !String::from_utf8_lossy(&out.stderr).contains("is busy") {
            break;
        }
        std::thread::sleep(Duration::from_millis(100));
        out = std::process::Command::new(program).args(args).output().unwrap();
    }
    let said = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success() || std::thread::panicking(), "{program} {args:?}: {said}");
    String::from_utf8_lossy(&out.stdout).into_owned()
}

impl Pool {
    fn new() -> Pool {
        let one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
        let dir = tempfile::Builder::new().prefix("vfadm-zfs-").tempdir_in("/dev/shm").unwrap();
        run(SCRIPT, &["up", dir.path().to_str().unwrap()]);
        let pool = Pool { volume: dir.path().join("mnt"), dir, _one: one };
        for scope in SCOPES {
            Zfs.prepare_scope(&pool.scope(scope)).unwrap();
        }
        pool
    }

    fn scope<'a>(&'a self, name: &'a str) -> ScopeAt<'a> {
        ScopeAt { volume: &self.volume, dir: name, kernel_id: None, folders: Folders::Dataset }
    }

    /// Calls with the place of a folder in the first or the second scope.
    fn at<T>(&self, scope: usize, name: &str, call: impl FnOnce(PlaceIn<'_>) -> T) -> T {
        let scope = self.scope(SCOPES[scope]);
        let parent = Dir::open(&self.volume).unwrap().open_dir(scope.dir).unwrap();
        call(PlaceIn { scope: &scope, parent: &parent, name: OsStr::new(name) })
    }

    fn path(&self, scope: usize, name: &str) -> PathBuf {
        self.volume.join(SCOPES[scope]).join(name)
    }

    /// The first scope's folder [`SOURCE`], with a file of so many bytes.
    fn source(&self, bytes: u64) -> PathBuf {
        self.at(0, SOURCE, |at| Zfs.make_folder(at.scope, at.parent, at.name)).unwrap();
        let folder = self.path(0, SOURCE);
        let file = File::create(folder.join("file")).unwrap();
        assert_eq!(write_as(&file, 65534, 65534, bytes, Duration::ZERO).unwrap().bytes, bytes);
        std::os::unix::fs::chown(&folder, Some(5), Some(7)).unwrap();
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o2750)).unwrap();
        folder
    }

    fn snapshot(&self, scope: usize, name: &str) -> Result<PathBuf> {
        self.at(0, SOURCE, |from| self.at(scope, name, |to| Zfs.snapshot(from, to)))?;
        Ok(self.path(scope, name))
    }

    fn remove(&self, scope: usize, name: &str) -> Result<()> {
        self.at(scope, name, |at| Zfs.remove_folder(at.scope, at.parent, at.name, &Silent))
    }

    fn limit(&self, scope: usize, bytes: Option<u64>) {
        ensure_limit(&Zfs, &self.scope(SCOPES[scope]), bytes).unwrap();
    }

    /// What a scope uses, once ZFS knows it.
    fn used(&self, scope: usize, about: u64) {
        let end = Instant::now() + Duration::from_secs(30);
        loop {
            let used = Zfs.read_one(&self.scope(SCOPES[scope])).unwrap().used.unwrap();
            if used.abs_diff(about) < MIB {
                return;
            }
            assert!(Instant::now() < end, "{used} bytes are used, not {about}");
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// The datasets and snapshots below the scopes, without the names of pool and scope.
    fn names(&self) -> Vec<String> {
        let pool = volume_dataset(&self.volume).unwrap();
        let listed = run("/usr/sbin/zfs", &["list", "-Ho", "name", "-t", "all", "-r", &pool]);
        listed.lines().filter_map(|name| name.splitn(3, '/').nth(2)).map(str::to_owned).collect()
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        run(SCRIPT, &["down", self.dir.path().to_str().unwrap()]);
    }
}

/// Has a tenant write to a file until it is stopped, as ZFS does within seconds; bytes and error.
fn overfill(path: &Path) -> (u64, Option<i32>) {
    let file = File::options().append(true).create(true).open(path).unwrap();
    let written = write_as(&file, 65534, 65534, 64 * MIB, Duration::from_secs(20)).unwrap();
    (written.bytes, written.errno)
}

fn is_like_its_source(clone: &Path, bytes: u64) {
    let made = fs::metadata(clone).unwrap();
    assert_eq!((made.permissions().mode() & 0o7777, made.uid(), made.gid()), (0o2750, 5, 7));
    assert_eq!(fs::metadata(clone.join("file")).unwrap().len(), bytes);
}

#[test]
fn a_clone_is_made_at_once_and_charged_with_what_is_written_to_it() {
    let pool = Pool::new();
    pool.source(8 * MIB);
    pool.used(0, 8 * MIB);
    for (scope, name) in [(0, SECOND), (1, CLONE)] {
        let begin = Instant::now();
        is_like_its_source(&pool.snapshot(scope, name).unwrap(), 8 * MIB);
        assert!(begin.elapsed() < Duration::from_secs(2), "{:?}", begin.elapsed());
    }
    pool.used(0, 8 * MIB);
    pool.used(1, 0);
    assert!(pool.snapshot(1, CLONE).unwrap_err().message.contains("exists"));
    pool.limit(1, Some(4 * MIB));
    let (written, errno) = overfill(&pool.path(1, CLONE).join("file"));
    assert_eq!(errno, Some(libc::EDQUOT));
    assert!(written < 16 * MIB, "{written}");
    pool.used(0, 8 * MIB);
}

#[test]
fn nothing_is_left_in_whichever_order_source_and_clones_go() {
    let pool = Pool::new();
    for (place, order) in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [2, 1, 0]].iter().enumerate() {
        pool.source(2 * MIB);
        let folders = [(0, SOURCE), (place % 2, CLONE), (1, SECOND)];
        for (scope, name) in &folders[1..] {
            pool.snapshot(*scope, name).unwrap();
        }
        for (n, gone) in order.iter().enumerate() {
            pool.remove(folders[*gone].0, folders[*gone].1).unwrap();
            for left in &order[n + 1..] {
                is_like_its_source(&pool.path(folders[*left].0, folders[*left].1), 2 * MIB);
            }
        }
        assert_eq!(pool.names(), [""; 0], "{order:?}");
    }
    for scope in SCOPES {
        assert_eq!(Zfs.remove_scope(&pool.scope(scope)).unwrap(), Removal::Gone);
    }
}

#[test]
fn a_source_whose_clone_has_no_room_for_what_they_share_stays_and_names_the_clone() {
    let pool = Pool::new();
    pool.source(8 * MIB);
    pool.used(0, 8 * MIB);
    pool.limit(1, Some(4 * MIB));
    pool.snapshot(1, CLONE).unwrap();
    let error = pool.remove(0, SOURCE).unwrap_err();
    assert_eq!(error.code, Code::Storage);
    assert!(error.message.contains(&format!("{}/{CLONE} was cloned from it", SCOPES[1])), "{error}");
    is_like_its_source(&pool.path(0, SOURCE), 8 * MIB);
    pool.limit(1, Some(16 * MIB));
    pool.remove(0, SOURCE).unwrap();
    // The charge went with it.
    pool.used(0, 0);
    pool.used(1, 8 * MIB);
    pool.remove(1, CLONE).unwrap();
    assert_eq!(pool.names(), [""; 0]);
}

#[test]
fn snapshots_of_an_administrator_go_with_the_source_and_its_clones_elsewhere_keep_it() {
    let pool = Pool::new();
    pool.source(MIB);
    let own = format!("{}/{}/{SOURCE}", volume_dataset(&pool.volume).unwrap(), SCOPES[0]);
    run("/usr/sbin/zfs", &["snapshot", &format!("{own}@before")]);
    pool.snapshot(0, CLONE).unwrap();
    run("/usr/sbin/zfs", &["snapshot", &format!("{own}@after")]);
    pool.remove(0, SOURCE).unwrap();
    assert_eq!(pool.names(), [CLONE]);
    // A clone that vfadm did not make is not touched.
    let clone = format!("{}/{}/{CLONE}", volume_dataset(&pool.volume).unwrap(), SCOPES[0]);
    let foreign = format!("{}/foreign", volume_dataset(&pool.volume).unwrap());
    run("/usr/sbin/zfs", &["snapshot", &format!("{clone}@own")]);
    run("/usr/sbin/zfs", &["clone", &format!("{clone}@own"), &foreign]);
    let error = pool.remove(0, CLONE).unwrap_err();
    assert!(error.message.contains("has dependent clones") && error.message.contains(&foreign), "{error}");
    run("/usr/sbin/zfs", &["destroy", &foreign]);
    pool.remove(0, CLONE).unwrap();
    assert_eq!(pool.names(), [""; 0]);
}

#[test]
fn source_and_clone_are_moved_and_handed_over_and_stay_what_they_are() {
    let pool = Pool::new();
    pool.source(MIB);
    pool.snapshot(0, CLONE).unwrap();
    for name in [SOURCE, CLONE] {
        // To the trash, out of it, to the other scope.
        let trash = Dir::open(&pool.volume)
            .unwrap()
            .open_dir(SCOPES[0])
            .unwrap()
            .ensure_dir(".trash", 0o700)
            .unwrap();
        pool.at(0, name, |at| {
            Zfs.move_folder(at.scope, (at.parent, at.name), (&trash, at.name)).unwrap();
            is_like_its_source(&trash.join(name), MIB);
            Zfs.move_folder(at.scope, (&trash, at.name), (at.parent, at.name)).unwrap();
        });
        pool.at(0, name, |from| pool.at(1, name, |to| Zfs.hand_over(from, to))).unwrap();
        is_like_its_source(&pool.path(1, name), MIB);
    }
    pool.remove(1, SOURCE).unwrap();
    is_like_its_source(&pool.path(1, CLONE), MIB);
    pool.remove(1, CLONE).unwrap();
    assert_eq!(pool.names(), [""; 0]);
}

#[test]
fn a_full_scope_takes_a_clone_of_what_it_holds() {
    let pool = Pool::new();
    let folder = pool.source(MIB);
    pool.limit(0, Some(8 * MIB));
    assert_eq!(overfill(&folder.join("more")).1, Some(libc::EDQUOT));
    is_like_its_source(&pool.snapshot(0, CLONE).unwrap(), MIB);
    assert_eq!(overfill(&pool.path(0, CLONE).join("file")).1, Some(libc::EDQUOT));
    pool.remove(0, SOURCE).unwrap();
    pool.remove(0, CLONE).unwrap();
    assert_eq!(pool.names(), [""; 0]);
}

#[test]
fn a_copy_by_stream_is_charged_in_full_and_depends_on_nothing() {
    let pool = Pool::new();
    pool.source(8 * MIB);
    let send = || pool.at(0, SOURCE, |from| pool.at(1, CLONE, |to| Zfs.send(from, to, &Silent)));
    pool.limit(1, Some(4 * MIB));
    let error = send().unwrap_err();
    assert_eq!(error.code, Code::Storage);
    assert!(error.message.contains("receive"), "{error}");
    pool.remove(1, CLONE).unwrap();
    assert_eq!(pool.names(), [SOURCE]);
    pool.limit(1, Some(16 * MIB));
    assert!(send().unwrap());
    is_like_its_source(&pool.path(1, CLONE), 8 * MIB);
    assert_eq!(pool.names(), [SOURCE, CLONE]);
    pool.used(1, 8 * MIB);
    pool.remove(0, SOURCE).unwrap();
    is_like_its_source(&pool.path(1, CLONE), 8 * MIB);
    assert_eq!(overfill(&pool.path(1, CLONE).join("file")).1, Some(libc::EDQUOT));
}

#[test]
fn what_a_killed_command_left_of_a_clone_goes_with_the_unfinished_folder() {
    let pool = Pool::new();
    pool.source(MIB);
    let volume = volume_dataset(&pool.volume).unwrap();
    let snapshot = format!("{volume}/{}/{SOURCE}@vfadm-{CLONE}", SCOPES[0]);
    let clone = format!("{volume}/{}/{CLONE}", SCOPES[1]);
    let zfs = |line: &[&str]| run("/usr/sbin/zfs", line);
    zfs(&["snapshot", &snapshot]);
    pool.remove(1, CLONE).unwrap();
    assert_eq!(pool.names(), [SOURCE]);
    zfs(&["snapshot", &snapshot]);
    zfs(&["clone", &snapshot, &clone]);
    pool.remove(1, CLONE).unwrap();
    assert_eq!(pool.names(), [SOURCE]);
    // Received, and the snapshots still there on both sides.
    zfs(&["snapshot", &snapshot]);
    tool::send(&snapshot, &clone).unwrap();
    pool.remove(1, CLONE).unwrap();
    assert_eq!(pool.names(), [SOURCE]);
    zfs(&["snapshot", &snapshot]);
    pool.snapshot(1, CLONE).unwrap();
}

#[test]
fn a_folder_with_a_dataset_inside_is_not_cloned_without_it() {
    let pool = Pool::new();
    pool.source(MIB);
    let inside = format!("{}/{}/{SOURCE}/inside", volume_dataset(&pool.volume).unwrap(), SCOPES[0]);
    run("/usr/sbin/zfs", &["create", &inside]);
    let error = pool.snapshot(0, CLONE).unwrap_err();
    assert!(error.message.starts_with("there are datasets inside of"), "{error}");
    assert!(!pool.path(0, CLONE).exists());
}
