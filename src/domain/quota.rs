//! Words of the quota drivers.

use serde::{Deserialize, Serialize};

use super::driver_file::DriverFile;

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
    /// XFS project quotas.
    Xfs,
    /// ext4 project quotas.
    Ext4,
    /// ZFS datasets.
    Zfs,
    /// CephFS, by an attribute of the scope's directory.
    Cephfs,
    /// btrfs qgroups.
    Btrfs,
    /// Programs that a driver file names.
    Exec,
    /// The whole volume belongs to one owner.
    Dedicated,
    /// No limits.
    None,
}

/// How a volume's limits are set: all that a driver is made from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Storage {
    /// What sets them.
    pub driver: DriverKind,
    /// The only host that can set them, by the name that `uname -n` prints there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quota_host: Option<String>,
    /// The driver file of the driver `exec`.
    #[serde(rename = "exec", default, skip_serializing_if = "Option::is_none")]
    pub file: Option<DriverFile>,
}

impl Storage {
    /// A driver that needs no settings.
    pub fn of(driver: DriverKind) -> Storage {
        Storage { driver, quota_host: None, file: None }
    }

    /// What a driver file describes.
    pub fn exec(file: DriverFile) -> Storage {
        Storage { driver: DriverKind::Exec, quota_host: None, file: Some(file) }
    }

    /// The driver by its full name: `xfs`, `exec:weka`.
    pub fn label(&self) -> String {
        match &self.file {
            Some(file) => format!("{}:{}", self.driver.name(), file.name),
            None => self.driver.name().to_owned(),
        }
    }
}

impl DriverKind {
    /// True when each quota scope has a limit of its own.
    pub fn limits_scopes(self) -> bool {
        !matches!(self, DriverKind::Dedicated | DriverKind::None)
    }

    /// The word on the command line and in the registry.
    pub fn name(self) -> &'static str {
        match self {
            DriverKind::Xfs => "xfs",
            DriverKind::Ext4 => "ext4",
            DriverKind::Zfs => "zfs",
            DriverKind::Cephfs => "cephfs",
            DriverKind::Btrfs => "btrfs",
            DriverKind::Exec => "exec",
            DriverKind::Dedicated => "dedicated",
            DriverKind::None => "none",
        }
    }
}
