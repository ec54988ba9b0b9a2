//! `vfadm trash`.

use anyhow::Result;

use super::App;
use crate::cli::progress::Told;
use crate::cli::vfolder::Trash;
use crate::domain::reference::FolderRef;
use crate::ops::document::{self, Paths};
use crate::ops::purge::{self, TrashFilter};
use crate::ops::resolve::Folder;
use crate::output::{Column, Kind};
use crate::plan::{Outcome, Plan};

const COLUMNS: [Column; 6] = [
    Column::text("OWNER", "owner"),
    Column::text("NAME", "name"),
    Column::text("VOLUME", "volume"),
    Column::text("STATUS", "status"),
    Column::text("DELETED", "trashed_at"),
    Column::of("ID", "id", Kind::Id),
];

impl App {
    pub(super) fn trash(&self, command: Trash) -> Result<u8> {
        match command {
            Trash::List => {
                let reading = self.reading()?;
                let state = reading.state(&self.ctx);
                let mut paths = Paths::default();
                let items = purge::trashed(&state, &TrashFilter::default())?
                    .iter()
                    .map(|f| document::vfolder(state.registry, &mut paths, f, None))
                    .collect::<Result<Vec<_>, _>>()?;
                self.out.list("VFolder", &items, &COLUMNS)?;
                Ok(0)
            }
            Trash::Empty { older_than, owner, volume, progress } => {
                self.superadmin("trash empty")?;
                self.empty(&TrashFilter { older_than, owner, volume }, progress.progress)
            }
        }
    }

    fn empty(&self, filter: &TrashFilter, told: Told) -> Result<u8> {
        let reading = self.reading()?;
        let folders = purge::trashed(&reading.state(&self.ctx), filter)?;
        let keys: Vec<String> = folders.iter().map(Folder::key).collect();
        if keys.is_empty() {
            return self.emptied(Plan::unchanged("nothing in the trash to remove"), false);
        }
        let message = match keys.len() {
            1 => format!("1 vfolder purged: {}", keys[0]),
            n => format!("{n} vfolders purged"),
        };
        let mut plan = Plan::new(Outcome::Deleted, message);
        if self.ctx.dry_run {
            plan.tries = keys.iter().map(|key| format!("purge {key}")).collect();
            return self.emptied(plan, true);
        }
        self.confirm(&match keys.len() {
            1 => format!("Remove the vfolder {} for good?", keys[0]),
            n => format!("Remove {n} vfolders for good ({}, ...)?", keys[0]),
        })?;
        let mut failed = None;
        for folder in folders {
            // By id: the name may have been given to another folder meanwhile.
            let reference = FolderRef::Id(folder.record.digits());
            let counter = self.counter(told, "purging", &folder.key());
            let purged = purge::purge(&self.ctx, &reference, false, &counter);
            drop(counter);
            if let Err(error) = purged {
                if error.code == crate::domain::error::Code::Interrupted {
                    return Err(error.into());
                }
                self.out.warn(&format!("{}: {error}", folder.key()));
                failed.get_or_insert(error);
            }
        }
        match failed {
            Some(error) => Err(error.into()),
            None => self.emptied(plan, false),
        }
    }

    fn emptied(&self, plan: Plan, planned: bool) -> Result<u8> {
        self.done("VFolderList", crate::ops::Done { plan, planned, warnings: Vec::new() })
    }
}
