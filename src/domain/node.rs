//! Nodes: what a host sees of the volumes, and what is not as on the others.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

mod deviation;

pub use deviation::{Report, Wanted, deviations};

/// How a volume looks from a host. The order is from good to bad.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VolumeState {
    /// As it should be.
    Ok,
    /// Cannot be written to.
    ReadOnly,
    /// Its driver cannot set or read limits.
    DriverUnable,
    /// Mounted, but not where the registry says.
    Elsewhere,
    /// Only the directory under it is there.
    FellOff,
    /// There is no such directory.
    Missing,
    /// Another volume, or another filesystem, is in its place.
    Foreign,
    /// Looking at it fails.
    Unreadable,
    /// It does not answer.
    Hung,
    /// A word that this version does not know.
    #[default]
    #[serde(other)]
    Unknown,
}

impl VolumeState {
    /// The word in documents.
    pub fn name(self) -> &'static str {
        match self {
            VolumeState::Ok => "ok",
            VolumeState::ReadOnly => "read_only",
            VolumeState::DriverUnable => "driver_unable",
            VolumeState::Elsewhere => "elsewhere",
            VolumeState::FellOff => "fell_off",
            VolumeState::Missing => "missing",
            VolumeState::Foreign => "foreign",
            VolumeState::Unreadable => "unreadable",
            VolumeState::Hung => "hung",
            VolumeState::Unknown => "unknown",
        }
    }

    /// True where it is the volume that is meant, and answers.
    pub fn is_usable(self) -> bool {
        matches!(self, VolumeState::Ok | VolumeState::ReadOnly | VolumeState::DriverUnable)
    }
}

/// What a host sees of a volume.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Sight {
    /// Which volume.
    pub volume: String,
    /// How it looks.
    pub state: VolumeState,
    /// Why it is not `ok`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Whether root of this host is not let in.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub denied: bool,
    /// Where it was looked for.
    pub path: String,
    /// Where it was found instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub found_at: Option<String>,
    /// The mount that holds the path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mount_point: Option<String>,
    /// The type of that filesystem.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filesystem: Option<String>,
    /// What is mounted, as the kernel names it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Whether the marker is this volume's; absent where none could be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub marker_matches: Option<bool>,
    /// Whether it can be written to, as far as can be said without writing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub writable: Option<bool>,
    /// How long reading the marker took, milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read_ms: Option<f64>,
    /// The size of the filesystem.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total_bytes: Option<u64>,
    /// What is taken of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub used_bytes: Option<u64>,
    /// What an ordinary user can still write.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub free_bytes: Option<u64>,
    /// Keys that this version does not know.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl Sight {
    /// True where a directory is there, and no marker that can be read.
    pub fn lacks_marker(&self) -> bool {
        let state =
            matches!(self.state, VolumeState::FellOff | VolumeState::Foreign | VolumeState::Unreadable);
        state && self.marker_matches.is_none()
    }
}

/// What a host has said of itself (`.vfadm/nodes/HOST.yaml`).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Node {
    /// When it checked in, by its own clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seen_at: Option<Timestamp>,
    /// Its boot (`/proc/sys/kernel/random/boot_id`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot_id: Option<String>,
    /// When that began, by its own clock, rounded up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub booted_at: Option<Timestamp>,
    /// How far its clock is ahead of the one that stamps files of the root, seconds. Where the filesystem takes the
    /// time from its clients (CephFS, any local one), it says nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clock_offset_seconds: Option<f64>,
    /// The version of vfadm.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// What it sees of each volume.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub volumes: Vec<Sight>,
    /// The drivers whose limits were seen to stop a write there, and when.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub verified: BTreeMap<String, Timestamp>,
    /// Keys that this version does not know.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl Node {
    /// What it sees of a volume; `None` where it has not looked.
    pub fn sight(&self, volume: &str) -> Option<&Sight> {
        self.volumes.iter().find(|sight| sight.volume == volume)
    }

    /// The worst of its volumes.
    pub fn worst(&self) -> Option<VolumeState> {
        self.volumes.iter().map(|sight| sight.state).max()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_of_a_later_version_is_read() {
        let text = r#"{"seen_at": "2026-11-24T12:00:00Z", "kernel": "9.1",
            "volumes": [{"volume": "v", "state": "asleep", "path": "/v", "heat": 3}]}"#;
        let node: Node = serde_json::from_str(text).unwrap();
        assert_eq!(node.worst(), Some(VolumeState::Unknown));
        assert!(!VolumeState::Unknown.is_usable());
        assert_eq!((&node.extra["kernel"], &node.volumes[0].extra["heat"]), (&"9.1".into(), &3.into()));
    }

    #[test]
    fn a_state_has_one_word() {
        for state in [VolumeState::Ok, VolumeState::ReadOnly, VolumeState::FellOff, VolumeState::DriverUnable]
        {
            assert_eq!(serde_json::to_value(state).unwrap(), state.name());
        }
    }
}
