//! The driver on a real filesystem.

mod removal;
mod snapshot;

use nix::errno::Errno;
use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::*;
use crate::domain::error::Code;
use crate::host::btrfs::qgroups::Mode;
use crate::host::btrfs::{Accounting, Limit, qgroup_limit, quota_enable, set_read_only, subvolume_create};
use crate::host::probe::write_as;
use crate::quota::ensure_limit;
use crate::quota::testing::Image;
use crate::tree::Silent;

const MIB: u64 = 1 << 20;
const NAME: &str = "0fd0aaaaaaaaaaaaaaaaaaaaaaaaaaaa";

/// A filesystem with a scope.
struct Lab {
    image: Image,
    folders: Folders,
    id: u64,
}

impl Lab {
    fn new(name: &str, folders: Folders) -> Lab {
        let lab = Lab { image: Image::btrfs(name), folders, id: 10001 };
        Btrfs.enable(lab.image.path()).unwrap();
        Btrfs.prepare_scope(&lab.scope()).unwrap();
        lab
    }

    fn scope(&self) -> ScopeAt<'_> {
        ScopeAt { volume: self.image.path(), dir: NAME, kernel_id: Some(self.id), folders: self.folders }
    }

    fn path(&self) -> PathBuf {
        self.image.path().join(NAME)
    }

    fn dir(&self) -> Dir {
        Dir::open(&self.path()).unwrap()
    }

    fn limit(&self, limit: u64) {
        ensure_limit(&Btrfs, &self.scope(), Some(limit)).unwrap();
    }

    fn reading(&self) -> Reading {
        Btrfs.read_one(&self.scope()).unwrap()
    }

    fn folder(&self, name: &str) -> Result<PathBuf> {
        Btrfs.make_folder(&self.scope(), &self.dir(), OsStr::new(name))?;
        Ok(self.path().join(name))
    }

    /// Removes the scope, and waits for the kernel as long as a loaded machine takes.
    fn removed(&self) {
        let end = std::time::Instant::now() + Duration::from_secs(20);
        while Btrfs.remove_scope(&self.scope()).unwrap() != Removal::Gone {
            assert!(std::time::Instant::now() < end, "{:?}", self.image.qgroups());
        }
    }

    fn remove(&self, name: &str) -> Result<()> {
        Btrfs.remove_folder(&self.scope(), &self.dir(), OsStr::new(name), &Silent)
    }
}

fn write(path: &Path, bytes: u64) -> (u64, Option<i32>) {
    let written = write_as(&File::create(path).unwrap(), 65534, 65534, bytes, Default::default()).unwrap();
    (written.bytes, written.errno)
}

/// Uses up a scope to the last byte: data, then files without data.
fn fill(folder: &Path) {
    let (_, errno) = write(&folder.join("fill"), 1024 * MIB);
    assert_eq!(errno, Some(libc::EDQUOT));
    for n in 0..100_000 {
        if File::create(folder.join(format!("f{n}"))).is_err() {
            return;
        }
    }
    panic!("the scope cannot be filled");
}

fn nest(parent: &Path, name: &str) -> PathBuf {
    subvolume_create(&Dir::open(parent).unwrap(), OsStr::new(name), None).unwrap();
    parent.join(name)
}

#[test]
fn a_tenant_is_stopped_at_the_limit_and_goes_on_when_it_grows() {
    let lab = Lab::new("limit", Folders::Subvolume);
    lab.limit(8 * MIB);
    let folder = lab.folder("data").unwrap();
    assert_eq!(fs::metadata(&folder).unwrap().permissions().mode() & 0o7777, 0o700);
    let (written, errno) = write(&folder.join("a"), 16 * MIB);
    assert_eq!(errno, Some(libc::EDQUOT));
    assert!(written <= 8 * MIB && written > 7 * MIB, "{written}");
    lab.limit(32 * MIB);
    assert_eq!(write(&folder.join("b"), 16 * MIB), (16 * MIB, None));
    lab.remove("data").unwrap();
}

#[test]
fn a_nested_subvolume_is_no_escape() {
    let lab = Lab::new("escape", Folders::Subvolume);
    lab.limit(8 * MIB);
    let nested = nest(&lab.folder("data").unwrap(), "nested");
    let (written, errno) = write(&nested.join("a"), 16 * MIB);
    assert_eq!(errno, Some(libc::EDQUOT));
    assert!(written <= 8 * MIB, "{written}");
}

#[test]
fn plain_directories_share_the_limit_of_their_scope() {
    let lab = Lab::new("directory", Folders::Directory);
    lab.limit(8 * MIB);
    let (one, two) = (lab.folder("one").unwrap(), lab.folder("two").unwrap());
    assert_eq!(write(&one.join("a"), 6 * MIB), (6 * MIB, None));
    assert_eq!(write(&two.join("a"), 6 * MIB).1, Some(libc::EDQUOT));
    lab.remove("one").unwrap();
    lab.remove("two").unwrap();
    lab.removed();
}

#[test]
fn used_bytes_are_right_without_a_sync() {
    let lab = Lab::new("used", Folders::Subvolume);
    lab.limit(64 * MIB);
    let folder = lab.folder("data").unwrap();
    let close = |want: u64| {
        let used = lab.reading().used.unwrap();
        assert!(used.abs_diff(want) <= 128 * 1024, "used {used}, wrote {want}");
    };
    // Still in memory, then on disk, then both.
    fs::write(folder.join("a"), vec![7; 5 * MIB as usize]).unwrap();
    close(5 * MIB);
    File::open(folder.join("a")).unwrap().sync_all().unwrap();
    close(5 * MIB);
    fs::write(folder.join("b"), vec![7; 3 * MIB as usize]).unwrap();
    close(8 * MIB);
}

#[test]
fn the_same_limit_is_not_written_again() {
    let lab = Lab::new("same", Folders::Subvolume);
    let ensure = |want| ensure_limit(&Btrfs, &lab.scope(), want).unwrap();
    assert!(!ensure(None));
    assert!(ensure(Some(8 * MIB + 1)));
    assert_eq!(lab.reading().limit, Some(8 * MIB + 1));
    assert!(!ensure(Some(8 * MIB + 1)));
    assert!(ensure(Some(0)));
    assert_eq!(lab.reading().limit, Some(0));
    assert!(ensure(None));
    assert_eq!(lab.reading().limit, None);
}

#[test]
fn everything_can_be_called_twice() {
    let lab = Lab::new("twice", Folders::Subvolume);
    Btrfs.enable(lab.image.path()).unwrap();
    Btrfs.prepare_scope(&lab.scope()).unwrap();
    assert!(!Btrfs.kernel_id_is_free(lab.image.path(), lab.id).unwrap());
    assert!(Btrfs.kernel_id_is_free(lab.image.path(), lab.id + 1).unwrap());
    lab.folder("data").unwrap();
    assert!(lab.folder("data").unwrap_err().message.contains("exists"));
    let empty = || Btrfs.remove_empty_folder(&lab.scope(), &lab.dir(), OsStr::new("data"));
    File::create(lab.path().join("data/file")).unwrap();
    assert!(empty().unwrap_err().message.contains("not empty"));
    fs::remove_file(lab.path().join("data/file")).unwrap();
    empty().unwrap();
    empty().unwrap();
    lab.remove("data").unwrap();
    lab.removed();
    assert_eq!(Btrfs.remove_scope(&lab.scope()).unwrap(), Removal::Gone);
    assert!(Btrfs.kernel_id_is_free(lab.image.path(), lab.id).unwrap());
}

#[test]
fn a_full_scope_can_be_worked_on() {
    let lab = Lab::new("full", Folders::Subvolume);
    lab.limit(8 * MIB);
    let folder = lab.folder("data").unwrap();
    nest(&nest(&folder, "n1"), "n2");
    let locked = nest(&folder, "ro");
    set_read_only(&Dir::open(&locked).unwrap(), true).unwrap();
    fill(&folder);
    // To the trash and to nothing, with nested subvolumes and a read-only one inside.
    let trash = lab.dir().ensure_dir(".trash", 0o700).unwrap();
    lab.dir().rename("data", &trash, "data").unwrap();
    Btrfs.remove_folder(&lab.scope(), &trash, OsStr::new("data"), &Silent).unwrap();
    assert!(trash.is_empty().unwrap());
    assert_eq!(lab.reading().limit, Some(8 * MIB));
    lab.removed();
    assert_eq!(lab.image.qgroups(), ["0_5"]);
}

#[test]
fn a_new_folder_in_a_full_scope_is_refused_or_made_whole() {
    let lab = Lab::new("refuse", Folders::Subvolume);
    lab.limit(MIB);
    fill(&lab.folder("data").unwrap());
    // Lowering and raising the limit of a full scope works.
    lab.limit(MIB / 2);
    let error = lab.folder("more").unwrap_err();
    assert_eq!(error.code, Code::Storage);
    assert!(error.hint.unwrap().contains("full"));
    assert!(!lab.path().join("more").exists());
    lab.limit(4 * MIB);
    lab.folder("more").unwrap();
}

#[test]
fn a_move_inside_a_full_scope_of_plain_directories_works() {
    let lab = Lab::new("move", Folders::Directory);
    lab.limit(8 * MIB);
    let folder = lab.folder("data").unwrap();
    let trash = lab.dir().ensure_dir(".trash", 0o700).unwrap();
    fill(&folder);
    assert_eq!(lab.dir().rename("data", &trash, "data").unwrap_err().errno(), Some(libc::EDQUOT));
    Btrfs.despite_limit(&lab.scope(), &mut || lab.dir().rename("data", &trash, "data")).unwrap();
    assert_eq!(lab.reading().limit, Some(8 * MIB));
    Btrfs.remove_folder(&lab.scope(), &trash, OsStr::new("data"), &Silent).unwrap();
    // The scope's directory is a subvolume here, which an open handle would keep.
    drop(trash);
    lab.removed();
}

#[test]
fn a_limit_that_a_crash_left_raised_is_seen_and_put_right() {
    let lab = Lab::new("raised", Folders::Subvolume);
    lab.limit(8 * MIB);
    let dir = Dir::open(lab.image.path()).unwrap();
    let raised = Limit { enforced: Some(12 * MIB), parked: Some(8 * MIB) };
    qgroup_limit(&dir, number(1, lab.id), raised).unwrap();
    assert_eq!(Qgroups::of(&dir).unwrap().usage(number(1, lab.id)).unwrap().unwrap().limit, raised);
    assert_eq!(lab.reading().limit, Some(12 * MIB));
    assert!(ensure_limit(&Btrfs, &lab.scope(), Some(8 * MIB)).unwrap());
    let after = Qgroups::of(&dir).unwrap().usage(number(1, lab.id)).unwrap().unwrap().limit;
    assert_eq!(after, Limit { enforced: Some(8 * MIB), parked: None });
}

#[test]
fn the_limit_is_the_true_one_while_room_is_made() {
    let lab = Lab::new("during", Folders::Subvolume);
    lab.limit(8 * MIB);
    let mut tries = 0;
    let full = || Err(HostError::call("try", Errno::EDQUOT));
    let error = Btrfs.despite_limit(&lab.scope(), &mut || {
        tries += 1;
        assert_eq!(lab.reading().limit, Some(8 * MIB));
        full()
    });
    assert_eq!((tries, error.unwrap_err().code), (2, Code::Storage));
    assert_eq!(lab.reading().limit, Some(8 * MIB));
}

#[test]
fn a_folder_that_would_not_be_counted_is_not_made() {
    let lab = Lab::new("off", Folders::Subvolume);
    btrfs::quota_disable(&Dir::open(lab.image.path()).unwrap()).unwrap();
    let error = lab.folder("data").unwrap_err();
    assert!(error.message.contains("qgroup 1/10001 is missing"), "{error}");
    assert!(!lab.path().join("data").exists());
    assert_eq!(Btrfs.enforcement(lab.image.path()).unwrap().0, Enforcement::None);
}

#[test]
fn full_qgroups_are_taken_as_they_are_and_called_cooperative() {
    let image = Image::btrfs("fullqg");
    let dir = Dir::open(image.path()).unwrap();
    quota_enable(&dir, Accounting::Full).unwrap();
    btrfs::rescan_wait(&dir).unwrap();
    assert_eq!(Btrfs.inspect(image.path()).unwrap(), Readiness::Ready);
    Btrfs.enable(image.path()).unwrap();
    let lab = Lab { image, folders: Folders::Subvolume, id: 10001 };
    Btrfs.prepare_scope(&lab.scope()).unwrap();
    lab.limit(8 * MIB);
    assert_eq!(Btrfs.enforcement(lab.image.path()).unwrap().0, Enforcement::Cooperative);
    let folder = lab.folder("data").unwrap();
    let nested = nest(&folder, "nested");
    assert_eq!(write(&folder.join("a"), 16 * MIB).1, Some(libc::EDQUOT));
    // The escape that the warning tells of.
    assert_eq!(write(&nested.join("a"), 16 * MIB), (16 * MIB, None));
    lab.remove("data").unwrap();
    lab.removed();
}

#[test]
fn a_filesystem_with_data_wants_a_caution_and_an_own_tree_does_not() {
    let image = Image::btrfs("caution");
    let volume = image.path().join("root/local");
    fs::create_dir_all(&volume).unwrap();
    fs::write(volume.join(".vfadm-volume.yaml"), "x").unwrap();
    fs::write(image.path().join("root/registry.yaml"), "x").unwrap();
    let caution = || match Btrfs.inspect(&volume).unwrap() {
        Readiness::NeedsEnabling { caution, .. } => caution,
        other => panic!("{other:?}"),
    };
    assert_eq!(caution(), None);
    fs::write(image.path().join("data"), "x").unwrap();
    assert!(caution().is_some());
    fs::remove_file(image.path().join("data")).unwrap();
    assert_eq!(caution(), None);
    nest(&volume, ".vfadm-sub");
    assert!(caution().is_some());
}

#[test]
fn what_is_not_btrfs_is_refused_with_a_remedy() {
    let temp = tempfile::tempdir_in("/dev/shm").unwrap();
    assert!(matches!(Btrfs.inspect(temp.path()).unwrap(), Readiness::Unable { .. }));
}

#[test]
fn sysfs_and_the_quota_tree_say_the_same() {
    let lab = Lab::new("tree", Folders::Subvolume);
    lab.limit(8 * MIB);
    let folder = lab.folder("data").unwrap();
    assert_eq!(write(&folder.join("a"), 2 * MIB), (2 * MIB, None));
    let dir = Dir::open(lab.image.path()).unwrap();
    let (live, tree) = (Qgroups::of(&dir).unwrap(), Qgroups::in_tree(&dir));
    let qgroup = number(1, lab.id);
    // The tree has the bytes of the last commit.
    nix::unistd::syncfs(&dir).unwrap();
    let usage = tree.usage(qgroup).unwrap().unwrap();
    assert_eq!(Some(usage), live.usage(qgroup).unwrap());
    assert!(usage.used > 2 * MIB);
    assert_eq!(tree.mode().unwrap(), live.mode().unwrap());
    assert!(tree.exists(qgroup).unwrap() && !tree.exists(qgroup + 1).unwrap());
    assert_eq!(tree.members(qgroup).unwrap(), [btrfs::subvolume_id(&Dir::open(&folder).unwrap()).unwrap()]);
    drop((live, tree));
    btrfs::quota_disable(&dir).unwrap();
    assert_eq!(Qgroups::in_tree(&dir).mode().unwrap(), Mode::Off);
}

#[test]
fn a_scope_that_is_not_charged_gets_no_plain_folder() {
    let lab = Lab::new("uncharged", Folders::Directory);
    let mut other = lab.scope();
    other.dir = "1fd0aaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    fs::create_dir(lab.image.path().join(other.dir)).unwrap();
    assert!(Btrfs.prepare_scope(&other).unwrap_err().message.contains("not charged"));
    let dir = Dir::open(&lab.image.path().join(other.dir)).unwrap();
    assert!(Btrfs.make_folder(&other, &dir, OsStr::new("data")).is_err());
    assert!(dir.is_empty().unwrap());
}
