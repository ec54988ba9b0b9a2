//! `vfadm session`.

use anyhow::Result;
use serde_json::Value;

use super::App;
use crate::cli::session::{Mounts, Session, Told};
use crate::domain::error::Code;
use crate::domain::name::printable;
use crate::host::process::hostname;
use crate::ops::session::kernels::Asked;
use crate::ops::session::{kernels, lease, prune};
use crate::ops::{Done, change, engine, engine_run, run, session};
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

fn engine_wanted(told: Told) -> Option<engine::Wanted> {
    let Told { engine, rootfs } = told;
    engine.map(|engine| engine::Wanted { engine, rootfs })
}

fn request(mounts: Mounts) -> session::Request {
    let wanted = mounts.wanted;
    session::Request { user: mounts.user, project: wanted.project, mounts: wanted.mounts }
}

impl App {
    pub(super) fn session(&self, command: Session) -> Result<u8> {
        match command {
            Session::Plan { mounts, kernels, held, told } => {
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
                let wanted = engine_wanted(told);
                let told =
                    wanted.as_ref().map(|w| engine::preview(&state, &request, &planned, w)).transpose()?;
                if let (Some(told), Style::Table | Style::Tsv) = (&told, self.out.style) {
                    self.note_skipped(&items);
                    if planned.mounts.mounts.iter().any(|mount| !mount.subpath.is_empty()) {
                        self.out.talk(&format!(
                            "note: {} stands for the name that 'session start' is given, which binds what is inside of folders there",
                            engine::UNNAMED
                        ));
                    }
                    self.out.raw(told.text()?.as_bytes())?;
                    return Ok(0);
                }
                if matches!(self.out.style, Style::Table | Style::Tsv) {
                    self.out.list("SessionMount", &items, &PLAN_COLUMNS)?;
                    return Ok(0);
                }
                let (skipped, mounts): (Vec<_>, Vec<_>) =
                    items.into_iter().partition(|i| i.get("skipped").is_some());
                let mut document = serde_json::json!({
                    "user": request.user,
                    "project": request.project,
                    "kernels": kernels.iter().map(|k| serde_json::json!({
                        "name": k.name,
                        "node": k.node.clone().unwrap_or_else(hostname),
                    })).collect::<Vec<_>>(),
                    "mounts": mounts,
                    "skipped": skipped,
                });
                if let (Some(told), Some(wanted)) = (&told, &wanted) {
                    document["engine"] = told.document(wanted.engine);
                }
                self.out.one("SessionPlan", &document)?;
                Ok(0)
            }
            Session::Start { session: name, user, wanted, kernels, held, told } => {
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
                if let Some(wanted) = engine_wanted(told) {
                    return self.start_for(&name, &asked, &wanted);
                }
                self.done(KIND, change(&self.ctx, |state| kernels::start(state, &name, &asked))?)
            }
            Session::Run { session: name, mounts, rootfs, userns, engine, image, command } => {
                let by = engine.map(|engine| engine_run::By { engine, image });
                let request = run::Run { name, session: request(mounts), rootfs, userns, command };
                if self.ctx.dry_run {
                    let done = match &by {
                        Some(by) => engine_run::preview(&self.ctx, &request, by)?,
                        None => run::preview(&self.ctx, &request)?,
                    };
                    return self.done(KIND, done);
                }
                let (status, warnings) = match by {
                    Some(by) => engine_run::run(&self.ctx, request, &by)?,
                    None => run::run(&self.ctx, request)?,
                };
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

    /// Records a session that an engine runs, and prints what the engine has to be told; the talk goes to stderr.
    fn start_for(&self, name: &str, asked: &Asked, wanted: &engine::Wanted) -> Result<u8> {
        let mut told = None;
        let done = change(&self.ctx, |state| {
            let (plan, text) = engine::start(state, name, asked, wanted)?;
            told = Some(text);
            Ok(plan)
        })?;
        let (Some(told), Style::Table | Style::Tsv, false) = (told, self.out.style, done.planned) else {
            return self.done(KIND, done);
        };
        done.warnings.iter().chain(&done.plan.warnings).for_each(|w| self.out.warn(w));
        self.out.talk(&done.plan.message);
        self.out.raw(told.text()?.as_bytes())?;
        Ok(0)
    }

    fn note_skipped(&self, items: &[Value]) {
        for item in items {
            if let (Some(folder), Some(reason)) = (item["vfolder"].as_str(), item["skipped"].as_str()) {
                self.out.talk(&format!("note: {folder} is not mounted: {reason}"));
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
