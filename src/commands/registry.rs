//! `vfadm registry`.

use anyhow::Result;

use super::App;
use crate::cli::system::Registry;
use crate::ops::check;
use crate::output::Style;
use crate::registry::schema;

impl App {
    pub(super) fn check(&self) -> Result<u8> {
        let reading = self.reading()?;
        self.findings(&check::all(&reading, &reading.state(&self.ctx))?)
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
        }
    }
}
