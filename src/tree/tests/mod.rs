//! Trees on real filesystems, changed by others meanwhile.

mod copying;
mod hostile;
mod limits;
mod measuring;
mod removing;
mod resuming;
mod stripping;

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use super::measure::{Measured, measure};
use super::remove::{RemoveOptions, Removed, remove};
use super::{Progress, Silent};
use crate::host::dir::Dir;
use crate::host::{self, Error};

/// A directory of its own, on a tmpfs or in an image.
struct Lab {
    dir: tempfile::TempDir,
    top: PathBuf,
    mounts: Vec<PathBuf>,
}

impl Lab {
    /// On a tmpfs.
    fn memory() -> Lab {
        let dir = tempfile::Builder::new().prefix("vfadm-tree-").tempdir_in("/dev/shm").unwrap();
        let top = dir.path().join("top");
        fs::create_dir(&top).unwrap();
        Lab { dir, top, mounts: Vec::new() }
    }

    /// On a filesystem of its own: `ext4`, `xfs` or `btrfs`.
    fn image(filesystem: &str) -> Lab {
        let mut lab = Lab::memory();
        let image = lab.dir.path().join("image");
        fs::File::create(&image).unwrap().set_len(512 << 20).unwrap();
        run(&format!("mkfs.{filesystem}"), [OsStr::new("-q"), image.as_ref()]);
        lab.mount(["-o", "loop"], &image, &lab.top.clone());
        lab
    }

    fn mount<const N: usize>(&mut self, options: [&str; N], from: &Path, at: &Path) {
        let options = options.map(OsStr::new);
        run("mount", options.iter().copied().chain([from.as_os_str(), at.as_os_str()]));
        self.mounts.push(at.to_owned());
    }

    fn path(&self, below: &str) -> PathBuf {
        self.top.join(below)
    }

    /// Makes files with their parents: `dir/` is a directory.
    fn make<'a>(&self, entries: impl IntoIterator<Item = &'a str>) {
        for entry in entries {
            let path = self.path(entry);
            if entry.ends_with('/') {
                fs::create_dir_all(path).unwrap();
            } else {
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, entry).unwrap();
            }
        }
    }

    /// So many empty files in one directory.
    fn fill(&self, dir: &str, files: usize) {
        fs::create_dir_all(self.path(dir)).unwrap();
        for n in 0..files {
            fs::File::create(self.path(dir).join(format!("file{n}"))).unwrap();
        }
    }

    fn handle(&self) -> Dir {
        Dir::open(&self.top).unwrap()
    }

    fn remove(&self, name: &str) -> host::Result<Removed> {
        self.remove_watched(name, &Silent)
    }

    fn remove_watched(&self, name: &str, progress: &dyn Progress) -> host::Result<Removed> {
        remove(&self.handle(), name.as_ref(), &RemoveOptions { subvolume: None, threads: 3 }, progress)
    }

    fn measure(&self, below: &str) -> Measured {
        measure(&Dir::open(&self.path(below)).unwrap(), &Silent).unwrap()
    }

    fn exists(&self, below: &str) -> bool {
        self.path(below).symlink_metadata().is_ok()
    }

    fn count(&self, below: &str) -> usize {
        fs::read_dir(self.path(below)).unwrap().count()
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for mount in self.mounts.iter().rev() {
            let done = output("umount", [OsStr::new("-l"), mount.as_ref()]);
            assert!(done.status.success() || std::thread::panicking(), "{mount:?} stays mounted");
        }
    }
}

#[allow(clippy::disallowed_methods)]
fn program(name: &str) -> std::process::Command {
    let mut program = std::process::Command::new(name);
    program.env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin").env("LC_ALL", "C");
    program
}

fn output<S: AsRef<OsStr>>(name: &str, args: impl IntoIterator<Item = S>) -> std::process::Output {
    program(name).args(args).output().unwrap()
}

fn run<S: AsRef<OsStr>>(name: &str, args: impl IntoIterator<Item = S>) -> String {
    let done = output(name, args);
    assert!(done.status.success(), "{name}: {}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8_lossy(&done.stdout).into_owned()
}

/// Calls something at the first news of progress.
struct Once<F: Fn() + Sync> {
    then: F,
    done: AtomicBool,
}

impl<F: Fn() + Sync> Once<F> {
    fn new(then: F) -> Once<F> {
        Once { then, done: AtomicBool::new(false) }
    }
}

impl<F: Fn() + Sync> Progress for Once<F> {
    fn add(&self, _entries: u64, _bytes: u64) {
        if !self.done.swap(true, Ordering::SeqCst) {
            (self.then)();
        }
    }
    fn stopped(&self) -> bool {
        false
    }
}
