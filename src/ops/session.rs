//! Sessions: planned, recorded, ended.

pub mod kernels;
pub mod lease;
pub mod prune;

use std::os::fd::OwnedFd;
use std::path::Path;

use nix::libc;
use serde_json::{Value, json};
use uuid::Uuid;

use super::liveness::Witness;
use super::resolve::{self, Folder, Reach};
use super::scope::Site;
use super::vfolder::not_ready;
use super::{State, document, in_use, places};
use crate::domain::error::{Error, Result};
use crate::domain::holder::Life;
use crate::domain::name;
use crate::domain::permission::{self, Action};
use crate::domain::record::{Holder, Kernel, Project, Session, SessionMount, Status, User, Volume};
use crate::domain::reference::{FolderRef, MountRequest};
use crate::host::dir::open_path_beneath;
use crate::host::{holders, process};
use crate::plan::{Outcome, Plan, VolumeAt};
use crate::registry::{Change, now};
use crate::session::plan::{Candidate, MountPlan, Wanted, plan as plan_mounts};

/// What a session was asked to be.
#[derive(Clone, Debug)]
pub struct Request {
    /// Whose it is.
    pub user: String,
    /// The project it works for.
    pub project: Option<String>,
    /// The folders asked for.
    pub mounts: Vec<MountRequest>,
}

/// A planned session: its mounts with the handles that were checked.
pub struct Planned {
    /// The folders that were looked at.
    pub reach: Vec<Reach>,
    /// The mounts, and why the rest is not mounted.
    pub mounts: MountPlan,
    /// What will be bound, in the order of the mounts.
    pub handles: Vec<OwnedFd>,
}

impl Planned {
    /// What whoever starts the session would miss in it. That a folder is in the trash is known.
    pub fn warnings(&self) -> Vec<String> {
        let hindered = self.mounts.skipped.iter().filter(|(index, _)| self.mounts.hindered.contains(index));
        let folders = hindered.map(|(index, reason)| (&self.reach[*index].folder, reason));
        let missed =
            folders.filter(|(folder, _)| !matches!(folder.record.status, Status::Trashed | Status::Purging));
        missed.map(|(folder, reason)| format!("{} is not mounted: {reason}", folder.key())).collect()
    }
}

/// Plans the mounts of a session; looks at the storage, writes nothing.
pub fn plan(state: &State<'_>, request: &Request) -> Result<Planned> {
    plan_mounts_of(state, request, true)
}

/// The same, with the folders that come without being asked for or without them.
fn plan_mounts_of(state: &State<'_>, request: &Request, automatic: bool) -> Result<Planned> {
    let registry = state.registry;
    let user: User = registry.require(&request.user)?;
    if let Some(actor) = state.actor.user().filter(|a| *a != request.user) {
        return Err(Error::not_permitted(format!("{actor} may not start sessions of {}", request.user)));
    }
    if !permission::is_active(&user) {
        return Err(Error::not_permitted(format!("the user {} is inactive", request.user))
            .hint(format!("vfadm user set {} --state active", request.user)));
    }
    if let Some(project) = &request.project {
        let record: Project = registry.require(project)?;
        if !record.members.contains_key(&request.user) {
            return Err(Error::not_permitted(format!(
                "{} is not a member of project {project}",
                request.user
            ))
            .hint(format!("vfadm project add-member {project} {}", request.user)));
        }
    }
    let mut reach = resolve::reach_of(registry, &request.user)?;
    let mut wanted = Vec::new();
    for mount in &request.mounts {
        let candidate = find(&reach, &mount.folder)?;
        wanted.push(Wanted { candidate, request: mount.clone() });
    }
    let mut candidates = Vec::new();
    for entry in &mut reach {
        candidates.push(Candidate {
            key: entry.folder.key(),
            owner: entry.folder.owner.clone(),
            name: entry.folder.name.clone(),
            level: entry.level,
            source: entry.source,
            obstacle: None,
        });
    }
    // Only folders that may be mounted are looked at on the storage.
    for (index, candidate) in candidates.iter_mut().enumerate() {
        let asked = wanted.iter().any(|w| w.candidate == index);
        if asked || automatic && name::is_automatic(&candidate.name) {
            candidate.obstacle = obstacle(state, &reach[index].folder)?;
        }
    }
    let mut mounts = plan_mounts(&candidates, &wanted, request.project.as_deref())?;
    if !automatic {
        mounts.mounts.retain(|mount| !mount.auto);
    }
    let mut handles = Vec::new();
    for mount in &mounts.mounts {
        handles.push(open(state, &reach[mount.candidate].folder, &mount.subpath)?);
    }
    Ok(Planned { reach, mounts, handles })
}

fn find(reach: &[Reach], reference: &FolderRef) -> Result<usize> {
    let matching: Vec<usize> = (0..reach.len())
        .filter(|i| {
            let folder = &reach[*i].folder;
            match reference {
                FolderRef::Named(owner, name) => folder.owner == *owner && folder.name == *name,
                FolderRef::Bare(name) => folder.name == *name,
                FolderRef::Id(prefix) => folder.record.digits().starts_with(prefix.as_str()),
            }
        })
        .collect();
    match matching[..] {
        [one] => Ok(one),
        [] => Err(Error::not_found(format!(
            "there is no vfolder '{reference}' that the session's user can reach"
        ))
        .hint("'vfadm vfolder list --as USER' shows what the user can reach")),
        _ => {
            let keys: Vec<String> = matching.iter().map(|i| reach[*i].folder.key()).collect();
            Err(Error::usage(format!("'{reference}' may mean {}", keys.join(" or ")))
                .hint("write the one you mean"))
        }
    }
}

/// Why a folder cannot be mounted. That it could not be told whether its volume is there is an error.
fn obstacle(state: &State<'_>, folder: &Folder) -> Result<Option<Error>> {
    if folder.record.status != Status::Ready {
        return Ok(Some(not_ready(folder)));
    }
    let volume: Volume = state.registry.require(&folder.record.volume)?;
    if let Err(error) =
        permission::require_action(&folder.record.volume, &volume, Action::Mount, &folder.owner)
    {
        return Ok(Some(error));
    }
    let at = VolumeAt::new(state.registry.header.registry, &folder.record.volume, &volume);
    Ok(at.try_open()?.err())
}

fn open(state: &State<'_>, folder: &Folder, subpath: &str) -> Result<OwnedFd> {
    let site = Site::of_folder(state.registry, &folder.owner, &folder.record)?;
    let dir = site.place.open_folder(Path::new(&folder.record.place()))?;
    if subpath.is_empty() {
        return Ok(open_path_beneath(&dir, Path::new("."))?);
    }
    open_path_beneath(&dir, Path::new(subpath)).map_err(|e| {
        let key = folder.key();
        match e.errno() {
            Some(libc::ENOENT) => {
                Error::not_found(format!("there is no '{}' in {key}", name::printable(subpath)))
            }
            Some(libc::ELOOP | libc::EXDEV | libc::ENOTDIR) => Error::usage(format!(
                "the subpath '{}' of {key} passes through a link, or leaves the folder",
                name::printable(subpath)
            )),
            _ => e.into(),
        }
    })
}

/// The documents of a plan: mounts, and folders that are not mounted with the reason.
pub fn plan_items(state: &State<'_>, planned: &Planned) -> Result<Vec<Value>> {
    let mut paths = document::Paths::default();
    let mut items = Vec::new();
    for mount in &planned.mounts.mounts {
        let folder = &planned.reach[mount.candidate].folder;
        let mut source = paths.of(state.registry, &folder.owner, &folder.record)?;
        if !mount.subpath.is_empty() {
            source = format!("{source}/{}", mount.subpath);
        }
        items.push(json!({
            "vfolder": folder.key(),
            "source": source,
            "target": mount.target,
            "permission": mount.permission,
            "auto": mount.auto,
            "origin": mount.origin,
        }));
    }
    for (index, reason) in &planned.mounts.skipped {
        items.push(json!({"vfolder": planned.reach[*index].folder.key(), "skipped": reason}));
    }
    Ok(items)
}

/// A process of this host as a holder (exit 3 when there is none).
pub fn holder_of(pid: u32) -> Result<Holder> {
    let start_time = process::start_time(pid)
        .ok_or_else(|| Error::not_found(format!("there is no process {pid} on this host")))?;
    let boot_id = process::boot_id().to_owned();
    Ok(Holder::Process { pid, start_time, boot_id, namespace: process::pid_namespace() })
}

/// A name for a session that was given none.
pub fn invented_name(user: &str) -> String {
    let plain: String = user.chars().filter(|c| c.is_ascii_alphanumeric()).take(32).collect();
    format!("{plain}-{}", &Uuid::new_v4().simple().to_string()[..8])
}

/// Plans the record of a session. A dead session of the same name gives way.
pub fn start(state: &State<'_>, session: &str, request: &Request, holder: Holder) -> Result<Plan> {
    let session = name::thing("session", session)?;
    if let Some(existing) = state.registry.get::<Session>(&session)?
        && in_use::session_is_alive(state.registry, &existing)
    {
        return Err(running_already(&session));
    }
    let planned = plan(state, request)?;
    let record = record(request, &planned, holder);
    let mut plan = put(state, &session, &record, format!("session {session} started"))?;
    plan.warnings = planned.warnings();
    places::make_room(state.registry, &session, &mut plan)?;
    Ok(plan)
}

fn running_already(session: &str) -> Error {
    Error::conflict(format!("the session {session} is running already"))
        .hint(format!("choose another name, or end it: vfadm session stop {session}"))
}

/// The plan that records a session. Nothing is asked about its kernels.
fn put(state: &State<'_>, session: &str, record: &Session, message: String) -> Result<Plan> {
    let mut plan = Plan::new(Outcome::Created, message);
    plan.changes.push(Change::put(session, record)?);
    plan.item = Some(document::session(state.registry, session, record, &Witness::silent(state.registry))?);
    Ok(plan)
}

/// The record of a session.
pub fn record(request: &Request, planned: &Planned, holder: Holder) -> Session {
    Session {
        id: Uuid::new_v4(),
        user: request.user.clone(),
        project: request.project.clone(),
        kernels: vec![kernels::here("main", holder)],
        mounts: planned
            .mounts
            .mounts
            .iter()
            .map(|m| SessionMount {
                vfolder: planned.reach[m.candidate].folder.record.id,
                subpath: m.subpath.clone(),
                target: m.target.clone(),
                permission: m.permission,
                auto: m.auto,
            })
            .collect(),
        started_at: now(),
        run: false,
        container: None,
        lease: None,
        extra: Default::default(),
    }
}

/// How long the command of a session has to end by itself, before it is killed.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(10);

/// Ends the processes of a session that `session run` runs on this host; `session run` itself then removes the
/// record. True when there were any.
pub fn end_processes(state: &State<'_>, session: &str) -> Result<bool> {
    let record = visible(state, session)?;
    let witness = Witness::silent(state.registry);
    let here = |k: &&Kernel| record.run && witness.held(&record, k) == Life::Alive;
    let mut ended = false;
    for kernel in record.kernels.iter().filter(here) {
        if let Holder::Process { pid, start_time, .. } = &kernel.holder {
            process::end(*pid, *start_time, PATIENCE)?;
            ended = true;
        }
    }
    // The container of an engine goes on when vfadm was killed.
    if let Some(container) = &record.container
        && record.kernels.iter().any(|k| k.node == process::hostname())
    {
        ended |= holders::remove_container(container)?;
    }
    Ok(ended)
}

/// Plans the end of a record. A process that vfadm did not start is not ended.
pub fn stop(state: &State<'_>, session: &str) -> Result<Plan> {
    let record = visible(state, session)?;
    let witness = Witness::silent(state.registry);
    let mut plan = Plan::new(Outcome::Deleted, format!("session {session} stopped"));
    if record.run && witness.counts(&record) {
        let holders = in_use::holders_in_short(&record, record.kernels.iter());
        plan.tries.push(format!("end the processes of the session ({holders})"));
    }
    plan.item = Some(document::session(state.registry, session, &record, &witness)?);
    plan.changes.push(Change::remove::<Session>(session));
    places::tidy(state.registry, &[session], &mut plan)?;
    if !record.run {
        plan.warnings.extend(record.kernels.iter().filter_map(|k| still_runs(&record, k, &witness)));
    }
    Ok(plan)
}

/// What is said of a kernel whose holder lives although the registry forgets it.
fn still_runs(session: &Session, kernel: &Kernel, witness: &Witness<'_>) -> Option<String> {
    let told = || {
        format!("{} still runs, and keeps its mounts until it ends", in_use::describe_holder(session, kernel))
    };
    (witness.held(session, kernel) == Life::Alive).then(told)
}

fn visible(state: &State<'_>, session: &str) -> Result<Session> {
    let missing = || Error::not_found(format!("there is no session '{}'", name::printable(session)));
    let record = state.registry.get::<Session>(session)?.ok_or_else(missing)?;
    match state.actor.user() {
        Some(user) if user != record.user => Err(missing()),
        _ => Ok(record),
    }
}

/// The document of one session.
pub fn show(state: &State<'_>, session: &str) -> Result<Value> {
    document::session(state.registry, session, &visible(state, session)?, &Witness::new(state.registry))
}

/// The documents of all sessions that the actor sees.
pub fn list(state: &State<'_>) -> Result<Vec<Value>> {
    let witness = Witness::new(state.registry);
    let mut items = Vec::new();
    for (session, record) in state.registry.all::<Session>()? {
        if state.actor.user().is_none_or(|user| user == record.user) {
            items.push(document::session(state.registry, &session, &record, &witness)?);
        }
    }
    Ok(items)
}
