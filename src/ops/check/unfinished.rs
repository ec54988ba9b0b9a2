//! Folders that are being made or removed by their records, and not by what lies on the volume.

use super::disk::Disk;
use super::found::{Found, Mend};
use crate::domain::finding::Finding;
use crate::domain::record::{Status, VFolder};
use crate::host::dir::Dir;
use crate::ops::sidecar::note;

impl Disk<'_> {
    /// A purge writes down beside the data that it began.
    pub(super) fn doubt(&mut self, notes: Option<&Dir>, key: &str, record: &VFolder) {
        let Some(told) = note::of_folder(notes, record.id) else { return };
        if told.vfolder.status == Status::Purging || self.known.is_worked_on(record.id) {
            return;
        }
        let message = format!(
            "the registry says that it is being purged, and its sidecar that it is {}",
            told.vfolder.status.name()
        );
        let finding = Finding::warning("work_cut_off", format!("vfolder {key}"), message).losing();
        let how = "purges it; to keep it, make it \"trashed\" again: vfadm registry edit";
        self.found.push(Found::mended(finding, Mend::Purge { key: key.to_owned() }, how).about(record.id));
    }

    /// No command that was cut off leaves a folder so: what is in its place is whole, whatever the record says.
    pub(super) fn stands(&mut self, key: &str, record: &VFolder) {
        let message = format!(
            "the registry says that it is {}, and it is whole in the place of a ready vfolder",
            record.status.name()
        );
        let finding = Finding::warning("work_cut_off", format!("vfolder {key}"), message);
        let mend = Mend::Stands { key: key.to_owned() };
        self.found.push(Found::mended(finding, mend, "records it as ready").about(record.id));
    }
}
