use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Every name, inode, mode, owner, time and byte below a directory, without access times: two equal snapshots mean
/// that nothing was written in between.
#[derive(PartialEq, Eq, Clone)]
pub struct Snapshot(BTreeMap<PathBuf, String>);

impl Snapshot {
    pub fn of(paths: &[&Path]) -> Snapshot {
        let mut seen = BTreeMap::new();
        for path in paths {
            visit(path, &mut seen);
        }
        Snapshot(seen)
    }

    /// Insists that nothing differs, and says what does.
    #[track_caller]
    pub fn same_as(&self, later: &Snapshot, what: &str) {
        let differs = |(path, entry): &(&PathBuf, &String)| self.0.get(*path) != Some(*entry);
        let changed: Vec<_> = later.0.iter().filter(differs).collect();
        let gone: Vec<_> = self.0.keys().filter(|p| !later.0.contains_key(*p)).collect();
        assert!(changed.is_empty() && gone.is_empty(), "{what} wrote: {changed:#?}, removed: {gone:#?}");
    }
}

fn visit(path: &Path, seen: &mut BTreeMap<PathBuf, String>) {
    // The kernel writes the image of a lab's filesystem back when it likes.
    if path.ends_with("pool.img") {
        return;
    }
    let Ok(meta) = fs::symlink_metadata(path) else { return };
    let content = if meta.is_file() {
        format!("{:?}", fs::read(path).map(|b| (b.len(), blake3::hash(&b).to_hex())))
    } else if meta.is_symlink() {
        format!("{:?}", fs::read_link(path))
    } else {
        String::new()
    };
    let times = (meta.mtime(), meta.mtime_nsec(), meta.ctime(), meta.ctime_nsec());
    let entry =
        format!("{:o} {}:{} inode {} {times:?} {content}", meta.mode(), meta.uid(), meta.gid(), meta.ino());
    seen.insert(path.to_owned(), entry);
    if meta.is_dir() {
        let mut entries: Vec<_> =
            fs::read_dir(path).into_iter().flatten().flatten().map(|e| e.path()).collect();
        entries.sort();
        for entry in entries {
            visit(&entry, seen);
        }
    }
}
