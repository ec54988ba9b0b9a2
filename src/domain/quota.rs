//! Words of the quota drivers.

use serde::{Deserialize, Serialize};

/// How well a limit holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Enforcement {
    /// The kernel stops every write past the limit.
    Kernel,
    /// The kernel stops writes, but the owner of a file can take it out of the scope.
    KernelOwnerCanLeave,
    /// A tenant who wants to can get past it.
    Cooperative,
    /// The size of the volume is the limit.
    Volume,
    /// There is no limit.
    None,
}

impl Enforcement {
    /// The word in documents and tables.
    pub fn name(self) -> &'static str {
        match self {
            Enforcement::Kernel => "kernel",
            Enforcement::KernelOwnerCanLeave => "kernel_owner_can_leave",
            Enforcement::Cooperative => "cooperative",
            Enforcement::Volume => "volume",
            Enforcement::None => "none",
        }
    }
}

/// What a folder is on its volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Folders {
    /// A plain directory.
    Directory,
    /// A btrfs subvolume.
    Subvolume,
    /// A ZFS dataset.
    Dataset,
}

impl Folders {
    /// The word on the command line and in the registry.
    pub fn name(self) -> &'static str {
        match self {
            Folders::Directory => "directory",
            Folders::Subvolume => "subvolume",
            Folders::Dataset => "dataset",
        }
    }
}

/// The driver of a volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DriverKind {
    /// btrfs qgroups.
    Btrfs,
    /// The whole volume belongs to one owner.
    Dedicated,
    /// No limits.
    None,
}

impl DriverKind {
    /// The word on the command line and in the registry.
    pub fn name(self) -> &'static str {
        match self {
            DriverKind::Btrfs => "btrfs",
            DriverKind::Dedicated => "dedicated",
            DriverKind::None => "none",
        }
    }
}
