use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

use super::scratch;

/// Where the scripts of the labs are.
const LABS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/labs");

/// A lab that is up, until it is dropped.
pub struct LabUp {
    script: Option<PathBuf>,
    dir: TempDir,
}

impl LabUp {
    /// The script of a lab.
    pub fn script_of(name: &str) -> PathBuf {
        Path::new(LABS).join(name)
    }

    /// Brings a lab up, by its script; without one it is a plain directory.
    pub fn new(script: Option<&str>) -> LabUp {
        let up = LabUp { script: script.map(LabUp::script_of), dir: scratch() };
        fs::create_dir_all(up.mount()).expect("a mount point");
        up.script("up");
        up
    }

    /// Where its filesystem is mounted.
    pub fn mount(&self) -> PathBuf {
        self.dir.path().join("mnt")
    }

    fn script(&self, word: &str) {
        let Some(script) = &self.script else { return };
        let out = Command::new(script).arg(word).arg(self.dir.path()).stdin(Stdio::null()).output();
        let out = out.unwrap_or_else(|e| panic!("{}: {e}", script.display()));
        let said = String::from_utf8_lossy(&out.stderr);
        assert!(out.status.success() || std::thread::panicking(), "{} {word}: {said}", script.display());
    }
}

impl Drop for LabUp {
    fn drop(&mut self) {
        unmount_below(self.dir.path());
        self.script("down");
    }
}

/// Unmounts what cases left mounted, the innermost first.
fn unmount_below(dir: &Path) {
    let mounts = fs::read_to_string("/proc/self/mountinfo").expect("a mount table");
    let mut points: Vec<&str> = mounts.lines().filter_map(|line| line.split(' ').nth(4)).collect();
    points.retain(|point| Path::new(point).starts_with(dir) && Path::new(point) != dir.join("mnt"));
    points.sort_by_key(|point| std::cmp::Reverse(point.len()));
    for point in points {
        let out = Command::new("/usr/bin/umount").arg(point).output();
        if !out.is_ok_and(|out| out.status.success()) {
            let _ = Command::new("/usr/bin/umount").arg("-l").arg(point).output();
        }
    }
}
