//! What a check found, with what mends it.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::domain::finding::Finding;

/// The command that carries out a [`Mend`].
pub const REPAIR: &str = "vfadm check --repair";

/// A finding and its repair.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Found {
    /// What an administrator sees.
    pub finding: Finding,
    /// What mends it.
    pub mend: Mend,
    /// The folder that it is about, where it is about one.
    pub folder: Option<Uuid>,
}

/// How something is mended. It names records by their keys: they are read again under the lock.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Mend {
    /// By an administrator.
    ByHand,
    /// By whoever takes the lock.
    Recovered,
    /// A directory without a record gets one.
    Adopt {
        /// The scope.
        scope: String,
        /// Its path below the scope.
        place: String,
    },
    /// A record without a directory goes.
    Forget {
        /// The folder.
        key: String,
    },
    /// A folder is moved to the place that its record names.
    Place {
        /// The folder.
        key: String,
        /// Where it is below the scope.
        from: String,
    },
    /// The owner of a scope is recorded again, as its sidecar says.
    Owner {
        /// On which volume.
        volume: String,
        /// The directory of the scope.
        dir: String,
    },
    /// The list of users and projects on a volume is written again.
    Owners {
        /// The volume.
        volume: String,
    },
    /// A scope is recorded again.
    Scope {
        /// The scope.
        key: String,
    },
    /// The directory of a scope is made again.
    MakeScope {
        /// The scope.
        key: String,
    },
    /// The recorded limit is set.
    Limit {
        /// The scope.
        key: String,
        /// What the storage says.
        from: Option<u64>,
    },
    /// A directory gets the right owner and mode.
    Access {
        /// The scope.
        scope: String,
        /// The path below the scope; empty for itself.
        place: String,
        /// True for the top directory of a folder.
        folder: bool,
        /// Owner, group and mode that it has,
        from: (u32, u32, u32),
        /// and those that it gets.
        to: (u32, u32, u32),
    },
    /// A folder is charged to its scope.
    Charge {
        /// The folder.
        key: String,
    },
    /// What is vfadm's own becomes so.
    Own {
        /// The root, or the volume.
        path: PathBuf,
        /// Whose it is to be.
        own: u32,
    },
    /// A scope is charged by its number again.
    ChargeScope {
        /// The scope.
        key: String,
        /// True where the kernel's object of the number, and the limit with it, is to be made.
        anew: bool,
    },
    /// The limits inside of a scope go.
    InnerLimits {
        /// The scope.
        key: String,
    },
    /// A directory of nobody is removed with all that is in it.
    Remove {
        /// The scope.
        scope: String,
        /// Its path below the scope.
        place: String,
        /// The folder that it was, or would have been.
        id: Uuid,
    },
    /// A sidecar or a marker is written again.
    Note {
        /// The section of the record that it follows.
        section: String,
        /// Its key.
        key: String,
    },
    /// A marker that is lost is written again.
    Marker {
        /// The volume.
        volume: String,
    },
    /// A sidecar goes.
    NoNote {
        /// On which volume.
        volume: String,
        /// The directory of the scope.
        dir: String,
        /// `scope` for all of them, or the folder's digits.
        name: String,
    },
    /// An invitation is written down as expired.
    Expire {
        /// Its id.
        id: String,
    },
    /// What `session prune` does.
    Prune,
    /// What is whole in a folder's place is a ready folder.
    Stands {
        /// The folder.
        key: String,
    },
    /// A purge is finished, a clone dropped.
    Purge {
        /// The folder.
        key: String,
    },
    /// A transfer is ended, or taken back.
    Transfer {
        /// The folder.
        key: String,
        /// Ended, not taken back.
        on: bool,
    },
}

impl Found {
    /// What vfadm does not mend.
    pub fn by_hand(finding: Finding) -> Found {
        Found { finding, mend: Mend::ByHand, folder: None }
    }

    /// What `check --repair` mends; `how` goes on from the command.
    pub fn mended(finding: Finding, mend: Mend, how: &str) -> Found {
        let yes = if finding.loses_data { " --yes" } else { "" };
        Found { finding: finding.repair(format!("{REPAIR}{yes} {how}")), mend, folder: None }
    }

    /// A folder of which nothing is left.
    pub fn forgotten(key: String, id: Uuid, message: String) -> Found {
        let finding = Finding::error("vfolder_missing", format!("vfolder {key}"), message).losing();
        Found::mended(finding, Mend::Forget { key }, "forgets its record and grants").about(id)
    }

    /// Says which folder it is about.
    #[must_use]
    pub fn about(self, folder: Uuid) -> Found {
        Found { folder: Some(folder), ..self }
    }

    /// It is left to an administrator, and so loses nothing.
    pub fn leave(&mut self, repair: impl Into<String>) {
        self.mend = Mend::ByHand;
        self.finding.loses_data = false;
        self.finding.repair = Some(repair.into());
    }

    /// What is on a volume to which nothing can be written waits for that.
    pub fn cannot_be_mended_here(&mut self) {
        if self.mend != Mend::ByHand {
            self.mend = Mend::ByHand;
            let how = self.finding.repair.take().unwrap_or_default();
            self.finding.repair = Some(format!("make its volume writable, then: {how}"));
        }
    }

    /// True where `check --repair` mends it.
    pub fn can_be_mended(&self) -> bool {
        self.mend != Mend::ByHand
    }

    /// What it says, in full.
    pub fn said(&self) -> (String, String, String) {
        let (code, subject) = self.of();
        (code, subject, self.finding.message.clone())
    }

    /// Which kind of finding about what.
    pub fn of(&self) -> (String, String) {
        (self.finding.code.to_string(), self.finding.subject.clone())
    }
}
