//! `vfadm quota`.

use anyhow::Result;

use super::App;
use crate::cli::volume::Quota;
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
            Quota::Show { owner, volume } => {
                let reading = self.reading()?;
                let state = reading.state(&self.ctx);
                let (items, warnings) = quota::show(&state, owner.as_ref(), volume.as_deref())?;
                warnings.iter().for_each(|w| self.out.warn(w));
                self.out.list(KIND, &items, &COLUMNS)?;
                Ok(0)
            }
        }
    }
}
