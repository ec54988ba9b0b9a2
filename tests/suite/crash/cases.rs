//! Commands that are killed, and what must be left of them.

pub(super) struct Case {
    pub(super) name: &'static str,
    /// Brings the lab to the state before the command, from whatever state it is in.
    pub(super) arrange: &'static [&'static str],
    pub(super) command: &'static str,
    /// Exit codes of the same command afterwards.
    pub(super) again: &'static [i32],
    /// Purges are finished by the same command only; everything else by the next one, whatever it is.
    pub(super) long: bool,
    /// Where the data of `alice/data` must still be after the second run, and in which status; `None`: it is to be gone.
    pub(super) kept: Option<(&'static str, &'static str)>,
}

pub(super) const FOLDER_CASES: &[Case] = &[
    Case {
        name: "create, with its scope",
        arrange: &[],
        command: "vfolder create alice/data",
        again: &[0, 4],
        long: false,
        kept: None,
    },
    Case {
        name: "create, in a scope that is there",
        arrange: &["vfolder create alice/other"],
        command: "vfolder create alice/data --cloneable",
        again: &[0, 4],
        long: false,
        kept: None,
    },
    Case {
        name: "delete",
        arrange: &["vfolder create alice/data"],
        command: "vfolder delete alice/data",
        again: &[0],
        long: false,
        kept: Some(("alice/data", "trashed")),
    },
    Case {
        name: "restore",
        arrange: &["vfolder create alice/data", "vfolder delete alice/data"],
        command: "vfolder restore alice/data",
        again: &[0],
        long: false,
        kept: Some(("alice/data", "ready")),
    },
    Case {
        name: "purge, with its scope",
        arrange: &["vfolder create alice/data", "vfolder delete alice/data"],
        command: "vfolder purge alice/data --yes",
        again: &[0, 3],
        long: true,
        kept: None,
    },
    Case {
        name: "delete and purge, in a scope that stays",
        arrange: &["vfolder create alice/other", "vfolder create alice/data"],
        command: "vfolder delete alice/data --purge --yes",
        again: &[0, 3],
        long: true,
        kept: None,
    },
];

pub(super) const TRANSFER_CASES: &[Case] = &[
    Case {
        name: "transfer, by the storage itself",
        arrange: &["vfolder create alice/data"],
        command: "vfolder transfer alice/data bob",
        again: &[0, 3],
        long: false,
        kept: Some(("bob/data", "ready")),
    },
    Case {
        name: "transfer, by a copy",
        arrange: &["vfolder create alice/other", "vfolder create alice/data"],
        command: "vfolder transfer alice/data bob --volume second",
        again: &[0, 3],
        long: true,
        kept: Some(("bob/data", "ready")),
    },
    Case {
        name: "transfer, taken back",
        arrange: &["vfolder create alice/data", CUT_OFF],
        command: "vfolder transfer alice/data alice",
        again: &[0],
        long: true,
        kept: Some(("alice/data", "ready")),
    },
];

/// The second is a snapshot where the storage has them.
pub(super) const CLONE_CASES: &[Case] = &[
    Case {
        name: "clone, by a copy",
        arrange: &["vfolder create alice/data"],
        command: "vfolder clone alice/data bob/copy",
        again: &[0, 4],
        long: true,
        kept: Some(("bob/copy", "ready")),
    },
    Case {
        name: "clone, within its scope",
        arrange: &["vfolder create alice/data"],
        command: "vfolder clone alice/data alice/copy",
        again: &[0, 4],
        long: true,
        kept: Some(("alice/copy", "ready")),
    },
];

/// Stands for a transfer that is killed while it copies.
pub(super) const CUT_OFF: &str = "vfolder transfer alice/data bob --volume second";

pub(super) const QUOTA_CASES: &[Case] = &[
    Case {
        name: "quota set, another limit",
        arrange: &["vfolder create alice/data", "quota set alice 32m"],
        command: "quota set alice 64m",
        again: &[0],
        long: false,
        kept: Some(("alice/data", "ready")),
    },
    Case {
        name: "quota set, before the first folder",
        arrange: &[],
        command: "quota set alice 64m",
        again: &[0],
        long: false,
        kept: None,
    },
];
