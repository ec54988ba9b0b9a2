//! `vfadm registry`.

use anyhow::Result;

use super::App;
use crate::cli::system::Registry;
use crate::domain::finding::Finding;
use crate::output::Style;
use crate::plan::intent;
use crate::registry::{schema, validate};

impl App {
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
                let mut findings = validate::validate(&reading.registry)?;
                for left in intent::left_behind(&reading.root)? {
                    findings.push(
                        Finding::warning(
                            "change_cut_off",
                            format!("'{}'", left.command),
                            format!("it was cut off on {} at {}", left.host, left.since),
                        )
                        .repair("the next command that changes something tidies up"),
                    );
                }
                self.findings(&findings)
            }
            Registry::Schema => {
                self.out.line(&serde_json::to_string_pretty(&schema::schema())?)?;
                Ok(0)
            }
        }
    }
}
