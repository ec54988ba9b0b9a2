//! What this host has found out, in `.vfadm/nodes/HOST.yaml` of the root.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::domain::error::{Error, Result};
use crate::domain::quota::Storage;
use crate::host::files::{self, Ownership};
use crate::host::process::hostname;
use crate::registry::root::Root;

const DIR: &str = "nodes";
const MOST: u64 = 1 << 20;

#[derive(Debug, Default, Serialize, Deserialize)]
struct Node {
    /// The drivers whose limits were seen to stop a write on this host, and when.
    #[serde(default)]
    verified: BTreeMap<String, Timestamp>,
    #[serde(flatten)]
    extra: Map<String, Value>,
}

fn file_name() -> String {
    format!("{}.yaml", hostname().replace('/', "_"))
}

fn read(root: &Root) -> Result<Node> {
    let Some(dir) = root.private_if_there(DIR)? else { return Ok(Node::default()) };
    // What cannot be read is found out again.
    Ok(files::read(&dir, &file_name(), MOST)?
        .and_then(|bytes| serde_yaml::from_slice(&bytes).ok())
        .unwrap_or_default())
}

/// True when a limit of this driver was seen to hold on this host.
pub fn is_verified(root: &Root, storage: &Storage) -> Result<bool> {
    Ok(read(root)?.verified.contains_key(&storage.label()))
}

/// Notes that a limit of this driver was seen to hold on this host.
pub fn note_verified(root: &Root, storage: &Storage) -> Result<()> {
    let mut node = read(root)?;
    node.verified.insert(storage.label(), crate::registry::now());
    let text = serde_yaml::to_string(&node).map_err(|e| Error::storage(format!("cannot note that: {e}")))?;
    let dir = root.private(DIR)?;
    let stat = dir.stat_self()?;
    let like = Ownership { mode: 0o600, ids: (stat.st_uid, stat.st_gid) };
    Ok(files::replace(&dir, &file_name(), text.as_bytes(), like)?)
}

/// When a host was seen last, and under which boot.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Boot {
    /// `/proc/sys/kernel/random/boot_id` of that host.
    pub boot_id: String,
    /// The time of its check-in.
    pub seen_at: Timestamp,
}

/// The boot of another host, as its last check-in says; `None` where it did not check in, or that cannot be read.
pub fn boot_of(root: &Root, host: &str) -> Option<Boot> {
    let dir = root.private_if_there(DIR).ok()??;
    let bytes = files::read(&dir, &format!("{}.yaml", host.replace('/', "_")), MOST).ok()??;
    serde_yaml::from_slice(&bytes).ok()
}
