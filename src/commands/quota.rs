//! `vfadm quota`.

use anyhow::Result;

use super::App;
use crate::cli::volume::Quota;
use crate::domain::error::Code;
use crate::domain::finding::Finding;
use crate::ops::{change, quota};
use crate::output::{Column, Kind};

const KIND: &str = "QuotaScope";
const COLUMNS: [Column; 6] = [
    Column::text("OWNER", "owner"),
    Column::text("VOLUME", "volume"),
    Column::of("USED", "used_bytes", Kind::Bytes),
    Column::of("LIMIT", "limit_bytes", Kind::Bytes),
    Column::of("USED %", "used_percent", Kind::Bar),
    Column::text("ENFORCEMENT", "enforcement"),
];

const VERIFICATION: [Column; 5] = [
    Column::text("VOLUME", "volume"),
    Column::text("DRIVER", "driver"),
    Column::text("ENFORCEMENT", "enforcement"),
    Column::text("ERROR", "errno"),
    Column::text("REASON", "reason"),
];

impl App {
    pub(super) fn quota(&self, command: Quota) -> Result<u8> {
        match command {
            Quota::Set { owner, size, volume, no_shrink } => {
                self.superadmin("quota set")?;
                let done =
                    change(&self.ctx, |state| quota::set(state, &owner, size, volume.as_deref(), no_shrink))?;
                self.done(KIND, done)
            }
            Quota::Unset { owner, volume } => {
                self.superadmin("quota unset")?;
                self.done(KIND, change(&self.ctx, |state| quota::unset(state, &owner, volume.as_deref()))?)
            }
            Quota::Show { owner, volume, over } => {
                let reading = self.reading()?;
                let state = reading.state(&self.ctx);
                let mut shown = quota::show(&state, owner.as_ref(), volume.as_deref())?;
                if let Some(percent) = over {
                    shown.over(percent);
                }
                shown.warnings.iter().for_each(|w| self.out.warn(w));
                let items = &shown.items;
                let mut columns = COLUMNS.to_vec();
                if items.iter().any(|item| item.get("usage").is_some()) {
                    columns.push(Column::text("USAGE", "usage"));
                }
                self.out.list(KIND, items, &columns)?;
                Ok(match over {
                    Some(_) if !items.is_empty() => Code::Findings.exit(),
                    // Nothing is over as far as can be seen, which is not far.
                    Some(_) if shown.unreadable => Code::Storage.exit(),
                    _ => 0,
                })
            }
            Quota::Verify { volume } => {
                self.superadmin("quota verify")?;
                let reading = self.reading()?;
                let state = reading.state(&self.ctx);
                let (items, hold) = quota::verify(&state, volume.as_deref(), self.ctx.dry_run)?;
                self.out.list("Verification", &items, &VERIFICATION)?;
                Ok(if hold { 0 } else { Code::Findings.exit() })
            }
            Quota::Audit { volume, fix, null } => {
                self.superadmin("quota audit")?;
                self.audit(volume.as_deref(), fix, null)
            }
        }
    }

    fn audit(&self, volume: Option<&str>, fix: bool, null: bool) -> Result<u8> {
        if fix && !self.ctx.dry_run {
            let (left, mended, warnings) = quota::fix(&self.ctx, volume)?;
            warnings.iter().for_each(|w| self.out.warn(w));
            mended.iter().for_each(|f| self.out.talk(&format!("mended: {}: {}", f.subject, f.message)));
            return self.findings(&left);
        }
        let reading = self.reading()?;
        let found = quota::audit(&reading.state(&self.ctx), volume)?;
        if null {
            let paths = found.iter().filter_map(|audited| audited.path.as_deref());
            self.out.paths(paths)?;
            return Ok(if found.is_empty() { 0 } else { Code::Findings.exit() });
        }
        // What `--fix` would leave.
        let (would, left): (Vec<_>, Vec<_>) =
            found.into_iter().partition(|audited| fix && audited.can_be_mended());
        would.iter().for_each(|a| {
            self.out.talk(&format!("would mend: {}: {}", a.finding.subject, a.finding.message));
        });
        let findings: Vec<Finding> = left.into_iter().map(|audited| audited.finding).collect();
        self.findings(&findings)
    }
}
