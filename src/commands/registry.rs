//! `vfadm registry`.

use anyhow::Result;

use super::App;
use crate::cli::system::Registry;
use crate::ops::history::{self, Query};
use crate::ops::{change, check};
use crate::output::{Column, Kind, Style};
use crate::registry::schema;

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
    pub(super) fn check(&self) -> Result<u8> {
        let reading = self.reading()?;
        self.findings(&check::settled(&self.ctx, &reading)?)
    }

    pub(super) fn registry(&self, command: Registry) -> Result<u8> {
        match command {
            Registry::Show => {
                let reading = self.reading()?;
                let text = crate::ops::registry_text(&reading)?;
                match self.out.style {
                    Style::Json => {
                        let document: serde_json::Value = serde_yaml::from_slice(&text)?;
                        self.out.line(&serde_json::to_string_pretty(&document)?)?;
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
                self.out.line(&serde_json::to_string_pretty(&schema::schema())?)?;
                Ok(0)
            }
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
}
