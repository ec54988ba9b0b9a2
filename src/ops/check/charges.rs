//! Whether the storage counts a folder where it belongs.

use std::collections::HashMap;
use std::path::PathBuf;

use super::disk::Disk;
use super::found::{Found, Mend};
use crate::domain::error::Result;
use crate::domain::finding::Finding;
use crate::domain::record::VFolder;
use crate::plan::ScopePlace;

impl Disk<'_> {
    /// Folders that are there, and that the storage does not charge to their scope: they have no limit.
    pub(super) fn charges(&mut self, place: &ScopePlace, folders: &[(String, VFolder)]) -> Result<()> {
        let keys: HashMap<PathBuf, &(String, VFolder)> =
            folders.iter().map(|of| (PathBuf::from(of.1.place()), of)).collect();
        let paths: Vec<PathBuf> = keys.keys().cloned().collect();
        for path in self.at.driver().uncharged(&place.at(), &paths)? {
            let Some((key, folder)) = keys.get(&path) else { continue };
            let message =
                format!("{}: it is not charged to its quota scope", place.path().join(&path).display());
            let finding = Finding::error("not_charged", format!("vfolder {key}"), message);
            let mend = Mend::Charge { key: key.clone() };
            self.found.push(Found::mended(finding, mend, "charges it there").about(folder.id));
        }
        Ok(())
    }
}
