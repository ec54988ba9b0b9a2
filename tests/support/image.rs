use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use super::system;

/// A directory for images and roots: in memory where there is room, since a shared disk makes times meaningless.
pub fn scratch() -> TempDir {
    let memory = Path::new("/dev/shm");
    let base = if free_bytes(memory) > 4 << 30 { memory.to_owned() } else { std::env::temp_dir() };
    tempfile::Builder::new().prefix("vfadm-test-").tempdir_in(base).expect("a scratch directory")
}

fn free_bytes(path: &Path) -> u64 {
    nix::sys::statvfs::statvfs(path).map_or(0, |s| s.blocks_available() * s.fragment_size())
}

/// A filesystem in a file, mounted by loop device; unmounted and gone when dropped, also after a panic.
pub struct Image {
    file: PathBuf,
    /// Where it is mounted.
    pub mount: PathBuf,
}

impl Image {
    /// Makes and mounts a filesystem of `kind` (`btrfs`, `ext4`, `xfs`) in `dir`.
    pub fn mount(dir: &Path, name: &str, kind: &str, size: u64) -> Image {
        let file = dir.join(format!("{name}.img"));
        let mount = dir.join(name);
        std::fs::File::create(&file).and_then(|f| f.set_len(size)).expect("an image file");
        std::fs::create_dir(&mount).expect("a mount point");
        let quiet = if kind == "btrfs" { "-f" } else { "-q" };
        system(&format!("/usr/sbin/mkfs.{kind}"), &[quiet, file.to_str().unwrap()]);
        let image = Image { file, mount };
        image.attach();
        image
    }

    /// The image's file.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// Mounts it (again). Two tests that pick the same free loop device meet in EBUSY: one of them tries again.
    pub fn attach(&self) {
        let (file, mount) = (self.file.to_str().unwrap(), self.mount.to_str().unwrap());
        let mut said = String::new();
        for attempt in 1..=40 {
            let out = Command::new("/usr/bin/mount").args(["-o", "loop", file, mount]).output().unwrap();
            if out.status.success() {
                return;
            }
            said = String::from_utf8_lossy(&out.stderr).into_owned();
            std::thread::sleep(Duration::from_millis(25 * attempt));
        }
        panic!("the lab cannot mount {file}: {said}");
    }

    /// Unmounts it, so that the bare mount point shows.
    pub fn detach(&self) {
        assert!(self.try_detach(), "{} is busy", self.mount.display());
    }

    fn try_detach(&self) -> bool {
        for attempt in 1..=40 {
            let out = Command::new("/usr/bin/umount").arg(&self.mount).output();
            if out.is_ok_and(|o| {
                o.status.success() || String::from_utf8_lossy(&o.stderr).contains("not mounted")
            }) {
                return true;
            }
            std::thread::sleep(Duration::from_millis(10 * attempt));
        }
        false
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        if !self.try_detach() {
            // A panic in a destructor would end the whole run; the lazy unmount keeps the machine clean.
            let _ = Command::new("/usr/bin/umount").arg("-l").arg(&self.mount).status();
            if !std::thread::panicking() {
                eprintln!("{} stayed busy", self.mount.display());
            }
        }
    }
}
