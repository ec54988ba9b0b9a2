//! All codes that a finding can have, and what each means.

use super::Severity;

/// Who mends what a code stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repair {
    /// `vfadm check --repair`.
    Check,
    /// The same, where it is asked or told `--yes`: something is lost by it.
    Asked,
    /// `vfadm quota audit --fix`.
    Audit,
    /// An administrator; the finding says how.
    ByHand,
}

impl Repair {
    /// As a sentence of the manual.
    pub fn sentence(self) -> &'static str {
        match self {
            Repair::Check => "Mended by 'check --repair'.",
            Repair::Asked => {
                "Mended by 'check --repair', which asks first or needs --yes where something is lost."
            }
            Repair::Audit => "Mended by 'quota audit --fix' where that loses nothing.",
            Repair::ByHand => "For an administrator to mend.",
        }
    }
}

/// What a code stands for.
#[derive(Clone, Copy, Debug)]
pub struct Meaning {
    /// The word.
    pub code: &'static str,
    /// How bad it is at worst.
    pub severity: Severity,
    /// A sentence.
    pub meaning: &'static str,
    /// Who mends it.
    pub repair: Repair,
}

const fn row(code: &'static str, severity: Severity, repair: Repair, meaning: &'static str) -> Meaning {
    Meaning { code, severity, meaning, repair }
}

use Repair::{Asked, Audit, ByHand, Check};
use Severity::{Error, Warning};

/// All of them, by the command that looks for them: the registry by itself (`registry check`, `check`), volumes
/// (`volume check`, `check`), the whole (`check`), ways past limits (`quota audit`), nodes (`volume check --nodes`).
pub const CODES: &[Meaning] = &[
    row("record_broken", Error, ByHand, "A line of the registry cannot be read."),
    row("bad_key", Error, ByHand, "The key of a record has another form than its section wants."),
    row("bad_name", Error, ByHand, "A name that the rules refuse."),
    row("bad_path", Error, ByHand, "The path of a volume is not absolute."),
    row(
        "bad_driver",
        Error,
        ByHand,
        "A volume has a driver file without the driver exec, or the other way round.",
    ),
    row("bad_mode", Error, ByHand, "The mode of folders is not an octal number."),
    row("no_owner", Error, ByHand, "A dedicated volume is nobody's."),
    row("no_scope", Error, ByHand, "A vfolder is on a volume on which its owner has no quota scope."),
    row("unknown_owner", Error, ByHand, "A record is of an owner who does not exist."),
    row("unknown_user", Error, ByHand, "A record names a user who does not exist."),
    row("unknown_volume", Error, ByHand, "A record names a volume that does not exist."),
    row(
        "unknown_vfolder",
        Error,
        ByHand,
        "A session or a pending invitation is about a vfolder that does not exist.",
    ),
    row("invitation_void", Warning, ByHand, "A pending invitation can never become a grant."),
    row("duplicate_id", Error, ByHand, "Two records have one id."),
    row("duplicate_kernel_id", Error, ByHand, "Two quota scopes of a volume have one number in the kernel."),
    row("kernel_id_ahead", Error, ByHand, "A quota scope has a number that would be given away again."),
    row("duplicate_kernel", Error, ByHand, "A session has two kernels of one name."),
    row("shared_dot_folder", Error, ByHand, "A vfolder with a leading dot is shared."),
    row("over_max_vfolders", Warning, ByHand, "An owner has more vfolders than its maximum."),
    row("over_max_quota", Warning, ByHand, "The limit of a quota scope is above the maximum of its owner."),
    row(
        "change_cut_off",
        Warning,
        Check,
        "A command was cut off; the next one that changes something tidies up.",
    ),
    row("volume_unusable", Error, ByHand, "A volume is not mounted, is another one, or does not answer."),
    row(
        "marker_missing",
        Error,
        Asked,
        "The marker of a volume is lost, and by the sidecars of its vfolders it is the volume; written again.",
    ),
    row(
        "volume_unreadable",
        Error,
        ByHand,
        "A directory of vfadm's on a volume cannot be read; the rest of it was not looked at.",
    ),
    row(
        "scope_unreadable",
        Error,
        ByHand,
        "Something in a quota scope cannot be read; the rest of it was not looked at.",
    ),
    row("volume_read_only", Error, ByHand, "Nothing can be written to a volume."),
    row("driver_unable", Error, ByHand, "The quota driver cannot work on a volume as it is."),
    row(
        "limits_off",
        Error,
        ByHand,
        "Quotas were switched off on the filesystem of a volume: no limit holds.",
    ),
    row(
        "limits_unreadable",
        Error,
        ByHand,
        "The storage does not tell the limits of a volume or of a quota scope.",
    ),
    row(
        "limit_inside",
        Warning,
        Check,
        "A part of a quota scope has a limit of its own in the storage; lifted.",
    ),
    row("limit_differs", Error, Check, "The storage holds another limit than the registry."),
    row(
        "scope_missing",
        Error,
        Asked,
        "The directory of a quota scope is not there; made again, empty, where nothing of it is left.",
    ),
    row(
        "vfolder_missing",
        Error,
        Asked,
        "A vfolder is not on its volume; the repair forgets the record, its name and grants.",
    ),
    row(
        "vfolder_misplaced",
        Error,
        Check,
        "A vfolder is at another place than its record says; moved there if that is free.",
    ),
    row(
        "vfolder_unrecorded",
        Error,
        Check,
        "A directory in a vfolder's place has no record; recorded by its sidecar, or as recovered-DIGITS.",
    ),
    row(
        "scope_unrecorded",
        Error,
        Check,
        "A quota scope of a known owner has no record; recorded by its sidecar.",
    ),
    row(
        "scope_unowned",
        Warning,
        Check,
        "A quota scope is nobody's; its owner is recorded again where the sidecar says who that is.",
    ),
    row("staging_left", Warning, Asked, "An unfinished copy in .staging is no record's; removed."),
    row("trash_left", Warning, Asked, "A directory in .trash has neither record nor sidecar; removed."),
    row(
        "stray_entry",
        Warning,
        ByHand,
        "Something that vfadm did not make lies between vfolders, where no session sees it.",
    ),
    row(
        "own_access",
        Error,
        Check,
        "vfadm's own files are not root's alone; the rights of others are taken.",
    ),
    row(
        "scope_access",
        Error,
        Check,
        "A directory of a quota scope is not root's alone, or root cannot use it.",
    ),
    row(
        "vfolder_access",
        Error,
        Check,
        "The top directory of a vfolder is not the shared uid and gid's, or cannot be used by them.",
    ),
    row(
        "work_cut_off",
        Warning,
        Asked,
        "A clone, transfer or purge was cut off; a purge is finished, a clone dropped, a transfer taken back or ended.",
    ),
    row(
        "marker_stale",
        Warning,
        Check,
        "The marker of a volume, or its version.txt, is not what the registry says; written again.",
    ),
    row("sidecar_missing", Warning, Check, "A quota scope or vfolder has no sidecar; written again."),
    row("sidecar_stale", Warning, Check, "A sidecar is not what the registry says; written again."),
    row(
        "sidecar_newer",
        Error,
        Asked,
        "A sidecar tells of a later change than the registry knows; the repair writes the registry's.",
    ),
    row(
        "sidecar_left",
        Warning,
        Asked,
        "A sidecar of something that is neither recorded nor on the volume; removed.",
    ),
    row(
        "owners_missing",
        Warning,
        Check,
        "A volume has no list of users and projects for 'registry rebuild'; written again.",
    ),
    row(
        "owners_stale",
        Warning,
        Check,
        "The list of users and projects on a volume is not what the registry says; written again.",
    ),
    row(
        "owners_newer",
        Error,
        Asked,
        "The list of users and projects on a volume is of a later generation than the registry; written again.",
    ),
    row(
        "invitation_expired",
        Warning,
        Check,
        "An invitation whose time is over is still written down as pending.",
    ),
    row(
        "session_dead",
        Warning,
        Check,
        "Kernels of a session have gone; what is over is removed, as by 'session prune'.",
    ),
    row(
        "places_left",
        Warning,
        Check,
        "Mounts below /run/vfadm/mounts of a session that has ended; taken away.",
    ),
    row("backup_unreadable", Warning, ByHand, "A backup of the registry cannot be read."),
    row("history_unreadable", Warning, ByHand, "A line of the history cannot be read."),
    row("shared_id", Error, ByHand, "Two quota scopes share one limit."),
    row(
        "nested_mount",
        Error,
        ByHand,
        "Something is mounted inside a quota scope: what is there is not counted.",
    ),
    row(
        "foreign_project",
        Error,
        Audit,
        "A file or directory is charged to another project than its scope's.",
    ),
    row("not_inherited", Error, Audit, "New entries of a directory do not inherit its project."),
    row("nested_subvolume", Warning, Audit, "A subvolume or dataset inside a vfolder."),
    row(
        "not_charged",
        Error,
        Check,
        "What is not charged to its quota scope and has no limit: a scope, a vfolder, a subvolume or dataset inside of one \
         ('quota audit --fix'); a plain directory in the place of a vfolder is for an administrator to mend.",
    ),
    row(
        "charged_twice",
        Error,
        Check,
        "A vfolder, or a subvolume inside of one ('quota audit --fix'), is charged to another quota scope as well, and \
         stopped by its limit.",
    ),
    row("unaccounted", Warning, Audit, "The storage holds a number, or a limit, that no scope has."),
    row(
        "raised_limit",
        Error,
        Audit,
        "The limit of the storage is above the scope's since a command was cut off.",
    ),
    row("snapshot", Error, Audit, "A directory has a snapshot that is not counted."),
    row("nested_limit", Warning, Audit, "A directory inside a scope has a limit of its own."),
    row("node_unreadable", Warning, ByHand, "What a node said cannot be read."),
    row("node_not_seen", Warning, ByHand, "A node has not checked in for long, or not looked at a volume."),
    row("node_clock_off", Error, ByHand, "The clock of a node is off."),
    row("node_volume_differs", Error, ByHand, "A volume is mounted on a node otherwise than elsewhere."),
    row("node_volume_read_only", Error, ByHand, "A node cannot write to a volume."),
    row("node_volume_driver_unable", Error, ByHand, "The quota driver cannot work on a node."),
    row(
        "node_volume_fell_off",
        Error,
        ByHand,
        "A volume is not mounted on a node: only the directory under it is there.",
    ),
    row("node_volume_missing", Error, ByHand, "There is no directory for a volume on a node."),
    row("node_volume_foreign", Error, ByHand, "Another filesystem is in the place of a volume on a node."),
    row("node_volume_hung", Error, ByHand, "A volume does not answer on a node."),
    row("node_volume_unreadable", Error, ByHand, "A volume cannot be read on a node."),
];
