//! Real filesystems for tests.

use std::path::{Path, PathBuf};

use crate::host::btrfs::fsid;
use crate::host::dir::Dir;

/// A filesystem in an image file, mounted until it is dropped.
pub(crate) struct Image {
    dir: tempfile::TempDir,
    mount: PathBuf,
}

impl Image {
    /// The size of every image.
    pub(crate) const SIZE: u64 = 512 << 20;

    /// A btrfs of its own.
    pub(crate) fn btrfs(name: &str) -> Image {
        let dir = tempfile::Builder::new().prefix(&format!("vfadm-{name}-")).tempdir_in("/dev/shm").unwrap();
        let (image, mount) = (dir.path().join("image"), dir.path().join("mount"));
        std::fs::create_dir(&mount).unwrap();
        std::fs::File::create(&image).unwrap().set_len(Image::SIZE).unwrap();
        run("mkfs.btrfs", &["-q".as_ref(), image.as_ref()]);
        run("mount", &["-o".as_ref(), "loop".as_ref(), image.as_ref(), mount.as_ref()]);
        Image { dir, mount }
    }

    /// Where it is mounted.
    pub(crate) fn path(&self) -> &Path {
        &self.mount
    }

    /// The names of its qgroups in sysfs, once the kernel has freed what was removed.
    pub(crate) fn qgroups(&self) -> Vec<String> {
        let dir = Dir::open(&self.mount).unwrap();
        let sysfs = format!("/sys/fs/btrfs/{}/qgroups", fsid(&dir).unwrap());
        let mut names: Vec<String> = std::fs::read_dir(sysfs)
            .unwrap()
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .filter(|name| name.contains('_') && name.starts_with(|c: char| c.is_ascii_digit()))
            .collect();
        names.sort();
        names
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        let out = command("umount", &["-l".as_ref(), self.mount.as_ref()]);
        assert!(out.status.success() || std::thread::panicking(), "{:?} stays mounted", self.mount);
        let _ = &self.dir;
    }
}

fn run(program: &str, args: &[&std::ffi::OsStr]) {
    let out = command(program, args);
    assert!(out.status.success(), "{program}: {}", String::from_utf8_lossy(&out.stderr));
}

#[allow(clippy::disallowed_methods)]
fn command(program: &str, args: &[&std::ffi::OsStr]) -> std::process::Output {
    let path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    std::process::Command::new(program).args(args).env("PATH", path).output().unwrap()
}
