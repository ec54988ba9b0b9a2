//! `vfadm session`.

use anyhow::Result;

use super::App;
use crate::cli::session::{Mounts, Session};
use crate::domain::error::Code;
use crate::ops::{Done, change, run, session};
use crate::output::{Column, Kind, Style};
use crate::plan::{Outcome, Plan};

const KIND: &str = "Session";
const COLUMNS: [Column; 7] = [
    Column::text("NAME", "name"),
    Column::text("USER", "user"),
    Column::text("PROJECT", "project"),
    Column::text("STATE", "state"),
    Column::of("MOUNTS", "mounts", Kind::Count),
    Column::text("HOLDER", "holder"),
    Column::text("STARTED", "started_at"),
];
const PLAN_COLUMNS: [Column; 5] = [
    Column::text("VFOLDER", "vfolder"),
    Column::text("TARGET", "target"),
    Column::text("PERM", "permission"),
    Column::text("ORIGIN", "origin"),
    Column::text("NOT MOUNTED", "skipped"),
];

fn request(mounts: Mounts) -> session::Request {
    session::Request { user: mounts.user, project: mounts.project, mounts: mounts.mounts }
}

impl App {
    pub(super) fn session(&self, command: Session) -> Result<u8> {
        match command {
            Session::Plan { mounts } => {
                let reading = self.reading()?;
                let state = reading.state(&self.ctx);
                let request = request(mounts);
                let planned = session::plan(&state, &request)?;
                let items = session::plan_items(&state, &planned)?;
                if matches!(self.out.style, Style::Table | Style::Tsv) {
                    self.out.list("SessionMount", &items, &PLAN_COLUMNS)?;
                    return Ok(0);
                }
                let (skipped, mounts): (Vec<_>, Vec<_>) =
                    items.into_iter().partition(|i| i.get("skipped").is_some());
                let document = serde_json::json!({
                    "user": request.user,
                    "project": request.project,
                    "mounts": mounts,
                    "skipped": skipped,
                });
                self.out.one("SessionPlan", &document)?;
                Ok(0)
            }
            Session::Start { session: name, mounts, holder } => {
                let holder = session::parse_holder(holder.as_deref())?;
                let request = request(mounts);
                self.done(KIND, change(&self.ctx, |state| session::start(state, &name, &request, holder))?)
            }
            Session::Run { session: name, mounts, rootfs, userns, command } => {
                let request = run::Run { name, session: request(mounts), rootfs, userns, command };
                if self.ctx.dry_run {
                    return self.done(KIND, run::preview(&self.ctx, &request)?);
                }
                let (status, warnings) = run::run(&self.ctx, request)?;
                warnings.iter().for_each(|w| self.out.warn(w));
                Ok(status)
            }
            Session::Stop { session: name } => {
                if !self.ctx.dry_run {
                    let reading = self.reading()?;
                    if session::end_processes(&reading.state(&self.ctx), &name)? {
                        return self.done(KIND, self.ended(&name)?);
                    }
                }
                self.done(KIND, change(&self.ctx, |state| session::stop(state, &name))?)
            }
            Session::List => {
                let reading = self.reading()?;
                self.out.list(KIND, &session::list(&reading.state(&self.ctx))?, &COLUMNS)?;
                Ok(0)
            }
            Session::Show { session: name } => {
                let reading = self.reading()?;
                self.out.one(KIND, &session::show(&reading.state(&self.ctx), &name)?)?;
                Ok(0)
            }
        }
    }

    /// `session run` removes its record when its command has ended; where it could not, that is done here.
    fn ended(&self, name: &str) -> Result<Done> {
        match change(&self.ctx, |state| session::stop(state, name)) {
            Err(error) if error.code == Code::NotFound => {
                let plan = Plan::new(Outcome::Deleted, format!("session {name} stopped"));
                Ok(Done { plan, planned: false, warnings: Vec::new() })
            }
            other => Ok(other?),
        }
    }
}
