//! `vfadm volume`.

use anyhow::Result;
use serde_json::Value;

use super::App;
use crate::cli::volume::{Driver, Folders, Volume};
use crate::domain::error::Code;
use crate::domain::finding::Finding;
use crate::domain::quota::{self, DriverKind};
use crate::ops::{self, change, volume};
use crate::output::{Column, Kind};

const KIND: &str = "Volume";
const COLUMNS: [Column; 7] = [
    Column::text("NAME", "name"),
    Column::text("DRIVER", "driver"),
    Column::text("FOLDERS", "folders"),
    Column::text("MOUNTED", "mounted"),
    Column::of("SIZE", "total_bytes", Kind::Bytes),
    Column::of("USED", "used_bytes", Kind::Bytes),
    Column::text("PATH", "path"),
];

const FINDING_COLUMNS: [Column; 4] = [
    Column::text("SEVERITY", "severity"),
    Column::text("CODE", "code"),
    Column::text("SUBJECT", "subject"),
    Column::text("MESSAGE", "message"),
];

/// The driver that was asked for; `None` is `auto`.
pub(super) fn driver_kind(driver: Driver) -> Option<DriverKind> {
    match driver {
        Driver::Auto => None,
        Driver::Btrfs => Some(DriverKind::Btrfs),
        Driver::Dedicated => Some(DriverKind::Dedicated),
        Driver::None => Some(DriverKind::None),
    }
}

impl App {
    pub(super) fn volume(&self, command: Volume) -> Result<u8> {
        match command {
            Volume::Add { volume, path, quota, folders, dedicated_to, quota_host, no_verify } => {
                let request = volume::Add {
                    name: volume,
                    path: std::path::absolute(path)?,
                    driver: driver_kind(quota),
                    folders: folders.map(|f| match f {
                        Folders::Directory => quota::Folders::Directory,
                        Folders::Subvolume => quota::Folders::Subvolume,
                    }),
                    dedicated_to,
                    quota_host,
                    verify: !no_verify,
                    make_dir: false,
                    yes: self.yes,
                    dry_run: self.ctx.dry_run,
                };
                let mut done = volume::add_and_note(&self.ctx, &request)?;
                if !done.planned {
                    // What the volume says of itself only once its marker is there.
                    let reading = self.reading()?;
                    done.plan.item = Some(volume::show(&reading.state(&self.ctx), &request.name)?);
                }
                self.done(KIND, done)
            }
            Volume::List => {
                let reading = self.reading()?;
                self.out.list(KIND, &volume::list(&reading.state(&self.ctx))?, &COLUMNS)?;
                Ok(0)
            }
            Volume::Show { volume } => {
                let reading = self.reading()?;
                let item = volume::show(&reading.state(&self.ctx), &volume)?;
                volume::warnings(&item).iter().for_each(|w| self.out.warn(w));
                self.out.one(KIND, &item)?;
                Ok(0)
            }
            Volume::Set { volume, .. } => {
                self.done(KIND, change(&self.ctx, |state| volume::set_default(state, &volume))?)
            }
            Volume::Remove { volume } => {
                if !self.ctx.dry_run {
                    let reading = ops::read(&self.ctx)?;
                    volume::remove(&reading.state(&self.ctx), &volume)?;
                    self.confirm(&format!("Take the volume {volume} out of the registry?"))?;
                }
                self.done(KIND, change(&self.ctx, |state| volume::remove(state, &volume))?)
            }
            Volume::Check { volume } => {
                let reading = self.reading()?;
                self.findings(&volume::check(&reading.state(&self.ctx), volume.as_deref())?)
            }
        }
    }

    /// Prints findings; exit 10 when there are any.
    pub(super) fn findings(&self, findings: &[Finding]) -> Result<u8> {
        let items: Vec<Value> = findings.iter().map(serde_json::to_value).collect::<Result<_, _>>()?;
        self.out.list("Finding", &items, &FINDING_COLUMNS)?;
        findings
            .iter()
            .filter_map(|f| f.repair.as_ref().map(|r| (f, r)))
            .for_each(|(f, r)| self.out.talk(&format!("hint: {}: {r}", f.subject)));
        Ok(if findings.is_empty() { 0 } else { Code::Findings.exit() })
    }
}
