//! What a copy tells in the end.

use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

/// What was copied. What was there already counts in `kept` alone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Copied {
    /// Regular files; one with several names counts once.
    pub files: u64,
    /// Further names of files (hard links).
    pub names: u64,
    /// Directories, the copied one too.
    pub directories: u64,
    /// Symbolic links.
    pub symlinks: u64,
    /// FIFOs, sockets and devices.
    pub others: u64,
    /// Bytes written, without holes.
    pub bytes: u64,
    /// Entries that were there already from an earlier run, further names too.
    pub kept: u64,
    /// Bytes that are shared with the source (reflinks).
    pub shared: u64,
    /// Entries that were removed or moved away while they were copied; each is noted.
    pub vanished: u64,
    /// Files whose setuid bit, setgid bit or capabilities were left out (`CopyOptions::strip`); each is noted.
    pub stripped: u64,
    /// Devices that were not made (`CopyOptions::strip`); each is noted.
    pub skipped_devices: u64,
    /// What is not as in the source, and why: the path below the copied directory, and a sentence.
    pub notes: Vec<(PathBuf, String)>,
    /// How many notes there were beyond those.
    pub more_notes: u64,
}

/// How many notes are kept, and how long their paths may be together, in bytes.
const NOTES: usize = 100;
const LENGTH: usize = 64 * 1024;

impl Copied {
    /// True when the copy was complete before: nothing was made, and nothing went away meanwhile.
    pub fn found_all(&self) -> bool {
        // The copied directory itself counts at each time.
        self.files + self.names + self.symlinks + self.others + self.vanished == 0 && self.directories <= 1
    }

    pub(super) fn vanish(&mut self, path: impl FnOnce() -> PathBuf) {
        self.vanished += 1;
        self.note(path, || "was removed or moved away meanwhile".to_owned());
    }

    /// Notes something, as far as there is room.
    pub(super) fn note(&mut self, path: impl FnOnce() -> PathBuf, text: impl FnOnce() -> String) {
        if self.notes.len() < NOTES {
            self.keep_note((path(), text()));
        } else {
            self.more_notes += 1;
        }
    }

    fn keep_note(&mut self, note: (PathBuf, String)) {
        let length = |path: &PathBuf| path.as_os_str().as_bytes().len();
        let all: usize = self.notes.iter().map(|(path, _)| length(path)).sum();
        if self.notes.len() < NOTES && all + length(&note.0) <= LENGTH {
            self.notes.push(note);
        } else {
            self.more_notes += 1;
        }
    }

    pub(super) fn add(&mut self, other: Copied) {
        self.files += other.files;
        self.names += other.names;
        self.directories += other.directories;
        self.symlinks += other.symlinks;
        self.others += other.others;
        self.bytes += other.bytes;
        self.kept += other.kept;
        self.shared += other.shared;
        self.vanished += other.vanished;
        self.stripped += other.stripped;
        self.skipped_devices += other.skipped_devices;
        self.more_notes += other.more_notes;
        for note in other.notes {
            self.keep_note(note);
        }
    }
}
