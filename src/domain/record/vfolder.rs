//! The record of a folder.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::domain::level::Level;
use crate::domain::owner::Owner;

/// Where a folder is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Being made.
    Creating,
    /// Being filled by a clone.
    Copying,
    /// Usable.
    Ready,
    /// In the trash.
    Trashed,
    /// Being removed for good.
    Purging,
}

impl Status {
    /// The word in documents.
    pub fn name(self) -> &'static str {
        match self {
            Status::Creating => "creating",
            Status::Copying => "copying",
            Status::Ready => "ready",
            Status::Trashed => "trashed",
            Status::Purging => "purging",
        }
    }
}

/// Where a folder is going. Until it has come there it is its old owner's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transit {
    /// Whose it is going to be.
    pub to: Owner,
    /// On which volume.
    pub volume: String,
    /// What the members of the project may do then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub permission: Option<Level>,
    /// Under which boot of a host it was begun: what was copied before a crash of the host may not be on the disk.
    pub boot_id: String,
    /// True once it has been copied whole: from then on the copy counts, and the original is removed.
    #[serde(default, skip_serializing_if = "super::is_false")]
    pub copied: bool,
}

/// What a folder is being filled from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cloning {
    /// The id of the source.
    pub of: Uuid,
    /// Under which boot of a host it was begun: what was copied before a crash of the host may not be on the disk.
    pub boot_id: String,
}

/// A virtual folder.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct VFolder {
    /// Its path on disk is made of the digits.
    pub id: Uuid,
    /// The volume that holds it.
    pub volume: String,
    /// Where it is in its life.
    pub status: Status,
    /// What the members of the owning project may do; absent for a user's folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub permission: Option<Level>,
    /// Whether others may clone it.
    #[serde(default, skip_serializing_if = "super::is_false")]
    pub cloneable: bool,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was put into the trash.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trashed_at: Option<Timestamp>,
    /// Grants to users.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub shares: BTreeMap<String, Level>,
    /// Set while it is on its way to another owner or volume; its status is `copying` then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transfer: Option<Transit>,
    /// Set while a clone fills it; its status is `copying` then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clone: Option<Cloning>,
    /// True where it was made by a snapshot, or one was made of it: some of its blocks may be charged for the other.
    #[serde(default, skip_serializing_if = "super::is_false")]
    pub shares_blocks: bool,
    /// Keys that this version does not know.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// The path below its scope of a ready folder, by the 32 digits of its id.
pub fn home_of(digits: &str) -> String {
    format!("{}/{}/{}", &digits[..2], &digits[2..4], &digits[4..])
}

impl VFolder {
    /// The 32 digits of the id.
    pub fn digits(&self) -> String {
        self.id.simple().to_string()
    }

    /// The path below its scope while it is in use: `aa/bb/` and 28 digits, as on Backend.AI volumes of version 3.
    pub fn home(&self) -> String {
        home_of(&self.digits())
    }

    /// True while it is made or removed, unless that is by a transfer.
    pub fn is_half_done(&self) -> bool {
        !matches!(self.status, Status::Ready | Status::Trashed) && self.transfer.is_none()
    }

    /// The path below its scope in the present status.
    pub fn place(&self) -> String {
        match self.status {
            Status::Trashed | Status::Purging => format!(".trash/{}", self.digits()),
            Status::Creating | Status::Copying => format!(".staging/{}", self.digits()),
            Status::Ready => self.home(),
        }
    }
}
