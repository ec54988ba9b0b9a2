//! What stands in the place of the registry, for commands that replace it as a whole.

use super::load::load;
use super::root::{FILE, Root};
use super::state::Registry;
use super::{backups, history};
use crate::domain::error::{Error, Result};

/// The detail of the error of a registry that a newer vfadm wrote.
pub(super) const NEWER: &str = "newer_schema";

/// The registry as it is, or as it was last known.
pub struct Present {
    /// The file; where that cannot be read, the newest backup that can, with what the history says of later changes.
    pub registry: Option<Registry>,
    /// Why the file cannot be read.
    pub fault: Option<Error>,
    /// The highest generation that is known to have been in force.
    pub committed: u64,
    /// The highest generation that is known of: the history may hold the line of a change that was cut off.
    pub generation: u64,
}

impl Present {
    /// Reads it.
    pub fn look(root: &Root) -> Result<Present> {
        match load(root) {
            Ok(registry) => {
                let generation = registry.header.generation;
                Ok(Present { registry: Some(registry), fault: None, committed: generation, generation })
            }
            Err(fault) => {
                let mut registry = backups::newest(root)?;
                let kept = backups::list(root)?.into_iter().map(|backup| backup.generation);
                let committed = kept.max().unwrap_or(0);
                // What spoils the file in place spoils the newest backup, which is a link to it.
                if let Some(backup) = &mut registry {
                    history::catch_up(root, backup, committed)?;
                }
                let generation = committed.max(history::last_generation(root)?.unwrap_or(0));
                Ok(Present { registry, fault: Some(fault), committed, generation })
            }
        }
    }

    /// Refuses to write over what a newer vfadm wrote (exit 9).
    pub fn require_no_newer(&self) -> Result<()> {
        match &self.fault {
            Some(fault) if fault.details.contains_key(NEWER) => Err(fault.clone()),
            _ => Ok(()),
        }
    }

    /// True when there is a file that cannot be read.
    pub fn is_broken(&self, root: &Root) -> Result<bool> {
        Ok(self.fault.is_some() && root.dir().stat(FILE)?.is_some())
    }
}
