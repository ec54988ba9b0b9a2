//! `vfadm session`.

use anyhow::Result;

use super::App;
use crate::cli::session::{Mounts, Session};
use crate::domain::error::Code;
use crate::domain::name::printable;
use crate::host::process::hostname;
use crate::ops::session::kernels::Asked;
use crate::ops::session::{kernels, lease, prune};
use crate::ops::{Done, change, run, session};
use crate::output::{Column, Kind, Style};
use crate::plan::{Outcome, Plan};

const KIND: &str = "Session";
const COLUMNS: [Column; 9] = [
    Column::text("NAME", "name"),
    Column::text("USER", "user"),
    Column::text("PROJECT", "project"),
    Column::text("STATE", "state"),
    Column::of("KERNELS", "kernels", Kind::Count),
    Column::of("MOUNTS", "mounts", Kind::Count),
    Column::text("HOLDER", "holder"),
    Column::of("LEASE", "lease_until", Kind::Until),
    Column::of("AGE", "started_at", Kind::Age),
];
const PLAN_COLUMNS: [Column; 5] = [
    Column::text("VFOLDER", "vfolder"),
    Column::text("TARGET", "target"),
    Column::text("PERM", "permission"),
    Column::text("ORIGIN", "origin"),
    Column::text("NOT MOUNTED", "skipped"),
];

fn request(mounts: Mounts) -> session::Request {
    let wanted = mounts.wanted;
    session::Request { user: mounts.user, project: wanted.project, mounts: wanted.mounts }
}

impl App {
    pub(super) fn session(&self, command: Session) -> Result<u8> {
        match command {
            Session::Plan { mounts, kernels, held } => {
                let asked = Asked {
                    kernels: kernels.kernel,
                    count: kernels.kernels,
                    holder: held.holder,
                    lease: held.lease,
                    force: kernels.force,
                    ..Asked::default()
                };
                let kernels = kernels::foresee(&asked)?;
                let reading = self.reading()?;
                let state = reading.state(&self.ctx);
                let request = request(mounts);
                let planned = session::plan(&state, &request)?;
                let warnings = kernels::require_placeable(&state, &planned, &kernels, asked.force)?;
                warnings.iter().for_each(|w| self.out.warn(w));
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
                    "kernels": kernels.iter().map(|k| serde_json::json!({
                        "name": k.name,
                        "node": k.node.clone().unwrap_or_else(hostname),
                    })).collect::<Vec<_>>(),
                    "mounts": mounts,
                    "skipped": skipped,
                });
                self.out.one("SessionPlan", &document)?;
                Ok(0)
            }
            Session::Start { session: name, user, wanted, kernels, held } => {
                let asked = Asked {
                    user,
                    project: wanted.project,
                    mounts: wanted.mounts,
                    kernels: kernels.kernel,
                    count: kernels.kernels,
                    holder: held.holder,
                    lease: held.lease,
                    force: kernels.force,
                };
                self.done(KIND, change(&self.ctx, |state| kernels::start(state, &name, &asked))?)
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
            Session::Stop { session: name, kernel: Some(kernel) } => {
                self.done(KIND, change(&self.ctx, |state| kernels::leave(state, &name, &kernel))?)
            }
            Session::Renew { session: name, lease } => {
                self.done(KIND, change(&self.ctx, |state| lease::renew(state, &name, lease))?)
            }
            Session::Prune => self.superadmin("session prune")?.prune(),
            Session::Stop { session: name, kernel: None } => {
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

    fn prune(&self) -> Result<u8> {
        let done = change(&self.ctx, prune::prune)?;
        // What is gone, and why, is what the command is called for; documents and plans hold it anyway.
        if !done.planned && !self.out.quiet && matches!(self.out.style, Style::Table | Style::Tsv) {
            for line in &done.plan.tries {
                self.out.line(&printable(line))?;
            }
        }
        self.done("SessionPrune", done)
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
