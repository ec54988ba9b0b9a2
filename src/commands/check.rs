//! `vfadm check`.

use std::collections::BTreeSet;

use anyhow::Result;
use serde_json::{Value, json};

use super::App;
use crate::cli::progress::Told;
use crate::domain::error::Code;
use crate::domain::finding::Finding;
use crate::ops::check::{self, Found, Repaired};
use crate::output::prompt;

/// So many are named before a question.
const SHOWN: usize = 20;

impl App {
    pub(super) fn check(&self, repair: bool) -> Result<u8> {
        self.reading()?;
        let found = check::settled(&self.ctx)?;
        match repair {
            true => self.repair(found),
            false => self.findings(&found.into_iter().map(|found| found.finding).collect::<Vec<_>>()),
        }
    }

    fn repair(&self, found: Vec<Found>) -> Result<u8> {
        if self.ctx.dry_run {
            let (done, left) = check::preview(&self.ctx, found, &|_| self.yes)?;
            self.done("Repair", done)?;
            left.iter().for_each(|f| {
                self.out.talk(&format!("left as it is: {}: {}: {}", f.code, f.subject, f.message));
            });
            return Ok(if left.is_empty() { 0 } else { Code::Findings.exit() });
        }
        let asked = self.ask_about_losses(&found)?;
        let allowed = |finding: &Finding| {
            self.yes || asked.contains(&(finding.code.to_string(), finding.subject.clone()))
        };
        let counter = self.counter(Told::Auto, "mending", "");
        let Repaired { left, mended, warnings } = check::repair(&self.ctx, found, &allowed, &counter)?;
        drop(counter);
        warnings.iter().for_each(|w| self.out.warn(w));
        mended.iter().for_each(|f| self.out.talk(&format!("mended: {}: {}", f.subject, f.message)));
        let documents: Vec<Value> = mended.iter().map(serde_json::to_value).collect::<Result<_, _>>()?;
        self.findings_with(&left, Some(("mended", json!(documents))))
    }

    /// What may be lost, where there is somebody to ask.
    fn ask_about_losses(&self, found: &[Found]) -> Result<BTreeSet<(String, String)>> {
        let losing: Vec<&Found> =
            found.iter().filter(|found| found.finding.loses_data && found.can_be_mended()).collect();
        if self.yes || losing.is_empty() || !prompt::can_ask() {
            return Ok(BTreeSet::new());
        }
        for found in losing.iter().take(SHOWN) {
            let Finding { code, subject, message, .. } = &found.finding;
            self.out.talk(&format!("{code}: {subject}: {message}"));
        }
        if let Some(more) = losing.len().checked_sub(SHOWN).filter(|more| *more > 0) {
            self.out.talk(&format!("... and {more} more"));
        }
        match prompt::confirm("Mend these too? What is lost by it does not come back.", false) {
            Ok(()) => Ok(losing.iter().map(|found| found.of()).collect()),
            Err(error) if error.code == Code::Interrupted => Err(error.into()),
            Err(_) => Ok(BTreeSet::new()),
        }
    }
}
