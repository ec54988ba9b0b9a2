//! `vfadm vfolder usage`.

use anyhow::Result;
use serde_json::Value;

use super::App;
use crate::cli::vfolder::Usage;
use crate::domain::error::{Code, Error};
use crate::ops::State;
use crate::ops::resolve::Folder;
use crate::ops::usage::{self, How};
use crate::output::{Column, Kind, Style};
use crate::tree::Progress;
use crate::tree::measure::Room;

const COLUMNS: [Column; 12] = [
    Column::text("VFOLDER", "vfolder"),
    Column::of("PATH", "path", Kind::Path),
    Column::text("STATUS", "status"),
    Column::of("CHARGED", "charged_bytes", Kind::Bytes),
    Column::of("APPARENT", "apparent_bytes", Kind::Bytes),
    Column::of("ALLOCATED", "allocated_bytes", Kind::Bytes),
    Column::of("FILES", "files", Kind::Number),
    Column::of("DIRS", "directories", Kind::Number),
    Column::of("LINKS", "symlinks", Kind::Number),
    Column::of("OTHERS", "others", Kind::Number),
    Column::of("LARGEST", "largest", Kind::SizedPath),
    Column::of("OLDEST", "oldest", Kind::AgedPath),
];

impl App {
    pub(super) fn usage(&self, arguments: &Usage) -> Result<u8> {
        if arguments.folders.is_empty() && !arguments.all {
            return Err(Error::usage("which vfolders are to be measured?")
                .hint("vfadm vfolder usage OWNER/NAME, or --all for every one that you can see")
                .into());
        }
        let how = How { walk: arguments.walk, levels: arguments.depth.map_or(0, usize::from) };
        let reading = self.reading()?;
        let state = reading.state(&self.ctx);
        let folders = usage::folders(&state, &arguments.folders, arguments.all)?;
        let alone = folders.len() == 1 && !arguments.all;
        let mut items = Vec::new();
        let mut room = Room::default();
        let mut failed: Option<Error> = None;
        for folder in &folders {
            match self.measured(&state, arguments, folder, how, &mut room) {
                Ok(Some(item)) => items.push(item),
                Ok(None) => self.out.talk(&format!("{} was removed meanwhile", folder.key())),
                Err(error) if alone || error.code == Code::Interrupted => return Err(error.into()),
                Err(error) => {
                    self.out.warn(&format!("{}: {error}", folder.key()));
                    failed.get_or_insert(error);
                }
            }
        }
        for item in &items {
            usage::notes(item).iter().for_each(|note| self.out.warn(note));
        }
        let unread = items.iter().any(|item| item.get("unreadable").is_some());
        self.print(items)?;
        Ok(failed.map_or(if unread { Code::Storage.exit() } else { 0 }, |error| error.code.exit()))
    }

    /// `None` for a folder that has gone since it was looked up.
    fn measured(
        &self,
        state: &State<'_>,
        arguments: &Usage,
        folder: &Folder,
        how: How,
        room: &mut Room,
    ) -> Result<Option<Value>, Error> {
        let watch = || -> Box<dyn Progress> {
            Box::new(self.counter(arguments.progress.progress, "measuring", &folder.key()))
        };
        match usage::usage(state, folder, how, room, &watch) {
            Err(error) if error.code != Code::Interrupted => match usage::again(&self.ctx, folder)? {
                None => Ok(None),
                Some(moved) if moved.record.place() != folder.record.place() => {
                    usage::usage(state, &moved, how, room, &watch).map(Some)
                }
                Some(_) => Err(error),
            },
            result => result.map(Some),
        }
    }

    fn print(&self, items: Vec<Value>) -> Result<()> {
        let mut total = usage::total(&items);
        if matches!(self.out.style, Style::Json | Style::Yaml) {
            return Ok(self.out.list_with("Usage", &items, &COLUMNS, Some(("total", total)))?);
        }
        let several = items.len() > 1;
        let mut rows: Vec<Value> = items.into_iter().flat_map(usage::rows).collect();
        if self.out.style == Style::Tsv {
            return Ok(self.out.list("Usage", &rows, &COLUMNS)?);
        }
        if several {
            total["vfolder"] = "total".into();
            rows.push(total);
        }
        // People need no column that says nothing.
        let known = |column: &&Column| rows.iter().any(|row| row.get(column.key).is_some());
        let is_shown = |column: &&Column| match column.key {
            "status" => rows.iter().any(|row| row.get("status").is_some_and(|s| s != "ready")),
            // Of entries, which often are files themselves, it says little.
            "largest" | "oldest" => rows.iter().all(|row| row.get("path").is_none()),
            "symlinks" | "others" => rows.iter().any(|row| row[column.key].as_u64() > Some(0)),
            _ => true,
        };
        let columns: Vec<Column> = COLUMNS.iter().filter(known).filter(is_shown).copied().collect();
        Ok(self.out.list("Usage", &rows, &columns)?)
    }
}
