//! `vfadm registry`.

use std::path::{Path, PathBuf};

use anyhow::Result;

use super::App;
use crate::cli::system::Registry;
use crate::domain::error::{Code, Error};
use crate::domain::text::shell_path;
use crate::ops::history::{self, Query};
use crate::ops::registry::rebuild::{self, Request};
use crate::ops::registry::{self, Edit, Source};
use crate::ops::{Done, change, check};
use crate::output::{self, Column, Kind, Style, prompt};
use crate::plan::{Outcome, Plan};
use crate::registry::schema;

/// So many lines of a difference are shown before a question.
const SHOWN: usize = 60;
const EDIT: &str = "edit again";
const DISCARD: &str = "discard what was edited";
const REGISTRY: &str = "Registry";
const BACKUP: &str = "Backup";
const BACKUP_COLUMNS: [Column; 5] = [
    Column::of("GENERATION", "generation", Kind::Count),
    Column::text("TIME", "time"),
    Column::of("RECORDS", "records", Kind::Count),
    Column::of("SIZE", "size_bytes", Kind::Bytes),
    Column::text("FILE", "path"),
];

const KIND: &str = "Change";
const COLUMNS: [Column; 7] = [
    Column::of("GENERATION", "generation", Kind::Count),
    Column::text("TIME", "time"),
    Column::text("ACTOR", "actor"),
    Column::text("LOGIN", "login"),
    Column::text("HOST", "host"),
    Column::text("STATE", "state"),
    Column::text("COMMAND", "command"),
];

impl App {
    pub(super) fn registry(&self, command: Registry) -> Result<u8> {
        match command {
            Registry::Show => {
                let reading = self.reading()?;
                let text = crate::ops::registry_text(&reading)?;
                match self.out.style {
                    Style::Json => {
                        let document: serde_json::Value = serde_yaml::from_slice(&text)?;
                        self.out.json(&document)?;
                    }
                    _ => self.out.raw(&text)?,
                }
                Ok(0)
            }
            Registry::Check => {
                let reading = self.reading()?;
                self.findings(&check::registry(&reading)?)
            }
            Registry::Schema => {
                self.out.json(&schema::schema())?;
                Ok(0)
            }
            Registry::Backup { list: true, .. } => {
                self.out.list(BACKUP, &registry::list(&self.ctx)?, &BACKUP_COLUMNS)?;
                Ok(0)
            }
            Registry::Backup { file, force, .. } => self.backup(&file.unwrap_or_default(), force),
            Registry::Restore { from, force, .. } => self.restore(from, force),
            Registry::Rebuild { volumes, force } => self.rebuild(&Request { volumes, force }),
            Registry::Edit { file } => self.edit(file.as_deref()),
            Registry::Log(asked) => self.log(Query { of: asked.of, since: asked.since, limit: asked.limit }),
            Registry::Undo => {
                let done = change(&self.ctx, history::undo)?;
                self.done(KIND, done)
            }
        }
    }

    fn log(&self, query: Query) -> Result<u8> {
        let reading = self.reading()?;
        let (items, warnings) = history::log(&reading.state(&self.ctx), &query)?;
        warnings.iter().for_each(|w| self.out.warn(w));
        self.out.list(KIND, &items, &COLUMNS)?;
        Ok(0)
    }

    fn backup(&self, file: &Path, force: bool) -> Result<u8> {
        if file == Path::new("-") {
            self.out.raw(&registry::text(&self.reading()?))?;
            return Ok(0);
        }
        self.done(BACKUP, registry::backup(&self.ctx, file, force)?)
    }

    fn restore(&self, from: Option<PathBuf>, force: bool) -> Result<u8> {
        let source = match from {
            None => Source::Latest,
            Some(from) => match from.to_str().map(str::parse) {
                Some(Ok(generation)) => Source::Generation(generation),
                _ => Source::File(from),
            },
        };
        let shown = registry::preview(&self.ctx, &source, force)?;
        if self.ctx.dry_run || shown.done.plan.outcome == Outcome::Unchanged {
            return self.done(REGISTRY, shown.done);
        }
        self.show(&shown.done.plan);
        self.confirm("Restore the registry?")?;
        let done = registry::restore(&self.ctx, &source, force, &shown)?;
        self.replaced(done)
    }

    fn rebuild(&self, request: &Request) -> Result<u8> {
        let shown = rebuild::preview(&self.ctx, request)?;
        if self.ctx.dry_run {
            return self.done(REGISTRY, shown.done);
        }
        shown.done.warnings.iter().for_each(|w| self.out.warn(&self.pasteable(w)));
        self.show(&shown.done.plan);
        self.confirm(&format!("Make a registry of {}?", shown.summary))?;
        let done = rebuild::rebuild(&self.ctx, request, &shown)?;
        self.replaced(done)
    }

    /// The difference, before it is asked about.
    fn show(&self, plan: &Plan) {
        plan.tries.iter().take(SHOWN).for_each(|line| self.out.talk(line));
        if let Some(more) = plan.tries.len().checked_sub(SHOWN + 1) {
            self.out.talk(&format!("... and {} lines more; --dry-run shows all", more + 1));
        }
    }

    fn replaced(&self, done: Done) -> Result<u8> {
        let status = self.done(REGISTRY, done)?;
        self.out.talk(&self.pasteable("where the volumes differ from it is shown by: vfadm check"));
        Ok(status)
    }

    fn edit(&self, kept: Option<&Path>) -> Result<u8> {
        let edit = Edit::begin(&self.ctx, kept)?;
        if let Some(fault) = &edit.fault {
            self.out.warn(&fault.message);
        }
        for path in &edit.others {
            let path = shell_path(path);
            self.out.warn(&self.pasteable(&format!(
                "{path} is of another edit: if none is going on, take it up with 'vfadm registry edit {path}', or remove it"
            )));
        }
        loop {
            if let Err(error) = edit.run() {
                return Err(edit.keep(error).into());
            }
            let asked = match edit.plan() {
                Ok(done) if done.plan.outcome == Outcome::Unchanged || self.ctx.dry_run => {
                    return self.done(REGISTRY, done);
                }
                Ok(done) => {
                    self.show(&done.plan);
                    self.ask("Change the registry?", &["change it", EDIT, DISCARD])
                }
                Err(error) => match prompt::can_ask() {
                    true => {
                        output::error::print(&self.out, &error);
                        self.ask("What now?", &[EDIT, DISCARD]).map(|choice| choice + 1)
                    }
                    false => Err(error),
                },
            };
            match asked {
                Ok(0) => match edit.commit(&self.ctx) {
                    Ok(done) => return self.replaced(done),
                    Err(error) => return Err(edit.keep(error).into()),
                },
                Ok(1) => {}
                Ok(_) => return Err(Error::new(Code::Failure, "nothing was done").into()),
                Err(error) => return Err(edit.keep(error).into()),
            }
        }
    }

    /// The place of the answer in the list; `--yes` is the first.
    fn ask(&self, question: &str, answers: &[&str]) -> Result<usize, Error> {
        if self.yes && answers.len() > 2 {
            return Ok(0);
        }
        let lines: Vec<String> = answers.iter().map(|answer| (*answer).to_owned()).collect();
        prompt::select(question, &lines, "say --yes")
    }
}
