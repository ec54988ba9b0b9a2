//! What an audit of limits finds.

use std::path::PathBuf;

/// Numbers in the kernel that are vfadm's: below, an administrator has some of his own, and above are those of trials,
/// which clean up after themselves.
pub(super) const OWN_IDS: std::ops::Range<u64> = 10_000..4_000_000_000;

/// A way past a limit, or something in the storage that no scope accounts for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Escape {
    /// Which.
    pub kind: EscapeKind,
    /// Where: a file or directory, or the volume itself.
    pub path: PathBuf,
    /// The scope that it is about, as its place in the list that was audited.
    pub scope: Option<usize>,
    /// The number of the project, qgroup or the like that it is about.
    pub id: Option<u64>,
    /// What it means, as a sentence.
    pub message: String,
    /// True when [`super::QuotaDriver::mend`] can mend it.
    pub mendable: bool,
}

/// How a folder is not charged to its scope alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Uncharged {
    /// It is not charged to it.
    Missing,
    /// It is a plain directory where only what the storage can charge may be.
    PlainDirectory,
    /// It is charged to another scope as well, by this number in the kernel.
    Twice(u64),
}

/// Kinds of [`Escape`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EscapeKind {
    /// A file or directory is charged to another project than its scope's.
    ForeignProject,
    /// New entries of a directory do not inherit its project.
    NotInherited,
    /// A subvolume or dataset inside a folder.
    NestedSubvolume,
    /// A subvolume or dataset that is not charged to its scope.
    NotCharged,
    /// A subvolume is charged to another scope as well.
    ChargedTwice,
    /// The storage holds a number, or a limit, that no scope has.
    Unaccounted,
    /// The storage's limit is above the scope's for want of room, or since a command was cut off.
    RaisedLimit,
    /// A directory has a snapshot that is not counted.
    Snapshot,
    /// A directory inside a scope has a limit of its own.
    NestedLimit,
}

impl EscapeKind {
    /// The word in findings.
    pub fn code(self) -> &'static str {
        match self {
            EscapeKind::ForeignProject => "foreign_project",
            EscapeKind::NotInherited => "not_inherited",
            EscapeKind::NestedSubvolume => "nested_subvolume",
            EscapeKind::NotCharged => "not_charged",
            EscapeKind::ChargedTwice => "charged_twice",
            EscapeKind::Unaccounted => "unaccounted",
            EscapeKind::RaisedLimit => "raised_limit",
            EscapeKind::Snapshot => "snapshot",
            EscapeKind::NestedLimit => "nested_limit",
        }
    }
}

/// How much is taken of something that the storage bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacity {
    /// What: `project ids`, `qgroups`, `datasets`, `subvolumes`, `mounts`.
    pub name: &'static str,
    /// How many there are.
    pub used: u64,
    /// How many there can be; `None` where nobody says.
    pub most: Option<u64>,
}
