//! The kernels of a session: it begins with some, others join and leave, and it ends with the last.

use std::collections::BTreeSet;
use std::time::Duration;

use super::{
    Planned, Request, plan, plan_mounts_of, put, record, running_already, still_runs, stop, visible,
};
use crate::domain::error::{Error, Result};
use crate::domain::holder::{Holder, Lease, Life, Named};
use crate::domain::name::{self, printable};
use crate::domain::owner::split_folder_key;
use crate::domain::record::{Kernel, Session, SessionMount, VFolder};
use crate::domain::reference::{FolderRef, KernelRef, MountRequest};
use crate::host::{holders, process};
use crate::ops::liveness::Witness;
use crate::ops::{State, document, in_use, node, places};
use crate::plan::{Outcome, Plan};
use crate::registry::{Change, now};

/// What `session start` was asked.
#[derive(Clone, Debug, Default)]
pub struct Asked {
    /// Whose it is; a kernel that joins need not say it.
    pub user: Option<String>,
    /// The project it works for.
    pub project: Option<String>,
    /// The folders asked for.
    pub mounts: Vec<MountRequest>,
    /// The kernels by name; empty where they are only counted.
    pub kernels: Vec<KernelRef>,
    /// How many kernels it has on this host; one where nothing is said.
    pub count: Option<u32>,
    /// What keeps these kernels alive.
    pub holder: Option<Named>,
    /// How long the session lives.
    pub lease: Option<Duration>,
    /// Also on a node that lacks a volume.
    pub force: bool,
}

impl Asked {
    /// The kernels: by name, else `main`, `sub1`, `sub2` and so on. A name that comes twice is a usage error.
    pub fn wanted(&self) -> Result<Vec<KernelRef>> {
        let names = (0..self.count.unwrap_or(1)).map(|n| match n {
            0 => "main".to_owned(),
            n => format!("sub{n}"),
        });
        let wanted = match self.kernels.is_empty() {
            true => names.map(|name| KernelRef { name, node: None }).collect(),
            false => self.kernels.clone(),
        };
        let mut seen = BTreeSet::new();
        match wanted.iter().find(|k| !seen.insert(&k.name)) {
            Some(twice) => Err(Error::usage(format!("the kernel '{}' is named twice", twice.name))),
            None => Ok(wanted),
        }
    }
}

/// A kernel on this host that begins with its session.
pub fn here(name: &str, holder: Holder) -> Kernel {
    kernel(&KernelRef { name: name.to_owned(), node: None }, holder)
}

fn kernel(wanted: &KernelRef, holder: Holder) -> Kernel {
    let this = process::hostname();
    let node = wanted.node.clone().unwrap_or_else(|| this.clone());
    let boot = Some(process::boot_id()).filter(|id| !id.is_empty() && node == this);
    // A process carries it.
    let boot = boot.filter(|_| !matches!(holder, Holder::Process { .. }));
    let boot_id = boot.map(str::to_owned);
    Kernel { name: wanted.name.clone(), node, holder, started_at: None, boot_id, extra: Default::default() }
}

/// Plans `session start`: a session begins, or kernels that are named join the one that lives. A dead session of the same
/// name gives way.
pub fn start(state: &State<'_>, session: &str, asked: &Asked) -> Result<Plan> {
    Ok(start_planned(state, session, asked)?.plan)
}

/// The plan of a start, with what its kernels mount and for whom.
pub struct Started {
    /// The plan.
    pub plan: Plan,
    /// The mounts.
    pub planned: Planned,
    /// Whose session it is.
    pub request: Request,
}

/// The same as [`start`], for who has to tell an engine.
pub fn start_planned(state: &State<'_>, session: &str, asked: &Asked) -> Result<Started> {
    let session = name::thing("session", session)?;
    let wanted = asked.wanted()?;
    match state.registry.get::<Session>(&session)? {
        Some(living) if in_use::session_is_alive(state.registry, &living) => {
            join(state, &session, living, asked, &wanted)
        }
        _ => begin(state, &session, asked, &wanted),
    }
}

/// The kernels that a session would begin with; refuses what [`start`] would refuse of kernels, holder and lease.
pub fn foresee(asked: &Asked) -> Result<Vec<KernelRef>> {
    let wanted = asked.wanted()?;
    holder(asked.holder.as_ref(), &wanted)?;
    asked.lease.map(|length| Lease::from(now(), length)).transpose()?;
    Ok(wanted)
}

/// Refuses a node whose last check-in lacks a volume of the mounts (exit 8), unless forced; what is not known of a node is
/// a warning.
pub fn require_placeable(
    state: &State<'_>,
    planned: &Planned,
    kernels: &[KernelRef],
    force: bool,
) -> Result<Vec<String>> {
    let folder = |candidate: usize| &planned.reach[candidate].folder.record;
    let volumes: BTreeSet<&str> =
        planned.mounts.mounts.iter().map(|mount| folder(mount.candidate).volume.as_str()).collect();
    let volumes: Vec<&str> = volumes.into_iter().collect();
    let nodes: BTreeSet<&str> = kernels.iter().filter_map(|kernel| kernel.node.as_deref()).collect();
    let mut warnings = Vec::new();
    for node in nodes {
        warnings.extend(node::require_volumes_on(state.root, node, &volumes, force)?);
    }
    Ok(warnings)
}

fn begin(state: &State<'_>, session: &str, asked: &Asked, wanted: &[KernelRef]) -> Result<Started> {
    let Some(user) = asked.user.as_deref().or(state.actor.user()) else {
        return Err(match asked.kernels.is_empty() {
            true => Error::usage("whose session is it?").hint("say whose: --user USER"),
            false => Error::not_found(format!("there is no running session '{session}' to join"))
                .hint("to begin one, say whose it is: --user USER"),
        });
    };
    let request =
        Request { user: user.to_owned(), project: asked.project.clone(), mounts: asked.mounts.clone() };
    let planned = plan(state, &request)?;
    let mut warnings = require_placeable(state, &planned, wanted, asked.force)?;
    warnings.extend(planned.warnings());
    let holder = holder(asked.holder.as_ref(), wanted)?;
    let mut record = record(&request, &planned, Holder::Manual);
    record.kernels = wanted.iter().map(|w| kernel(w, holder.clone())).collect();
    record.lease = asked.lease.map(|length| Lease::from(record.started_at, length)).transpose()?;
    let with = if wanted.len() > 1 { format!(" with {} kernels", wanted.len()) } else { String::new() };
    let mut plan = put(state, session, &record, format!("session {session} started{with}"))?;
    places::make_room(state.registry, session, &mut plan)?;
    Ok(Started { plan: Plan { warnings, ..plan }, planned, request })
}

fn join(
    state: &State<'_>,
    session: &str,
    mut record: Session,
    asked: &Asked,
    wanted: &[KernelRef],
) -> Result<Started> {
    if asked.kernels.is_empty() || state.actor.user().is_some_and(|user| user != record.user) {
        return Err(running_already(session));
    }
    let refuse = |why: String, hint: &str| Err(Error::conflict(why).hint(hint.to_owned()));
    if asked.user.as_ref().is_some_and(|user| *user != record.user) {
        return refuse(format!("the session {session} is {}'s", record.user), "choose another name");
    }
    if asked.project.is_some() && asked.project != record.project {
        let of = record.project.as_deref().map_or("none".to_owned(), |p| format!("project {p}"));
        return refuse(
            format!("the session {session} works for {of}, and all its kernels do"),
            "leave --project out",
        );
    }
    if record.run {
        return refuse(
            format!("the session {session} ends with the command that 'session run' runs in it"),
            "start a session of several kernels with 'session start'",
        );
    }
    if asked.lease.is_some() {
        let renew = format!("vfadm session renew {session}");
        return refuse(format!("a lease is the whole session's, and {session} is running"), &renew);
    }
    let witness = Witness::new(state.registry);
    for kernel in wanted {
        if let Some(there) = record.kernels.iter().find(|k| k.name == kernel.name)
            && witness.life(&record, there).counts()
        {
            let (name, node) = (&there.name, &there.node);
            return refuse(
                format!("the session {session} has a kernel '{name}' already, on {node}"),
                &format!(
                    "choose another name, or take that one out: vfadm session stop {session} --kernel {name}"
                ),
            );
        }
    }
    let planned = same_mounts(state, session, &record, asked)?;
    let warnings = require_placeable(state, &planned, wanted, asked.force)?;
    let holder = holder(asked.holder.as_ref(), wanted)?;
    record.kernels.retain(|k| wanted.iter().all(|w| w.name != k.name));
    let begun = Some(now());
    record.kernels.extend(wanted.iter().map(|w| Kernel { started_at: begun, ..kernel(w, holder.clone()) }));
    let names: Vec<&str> = wanted.iter().map(|w| w.name.as_str()).collect();
    let plan = put(state, session, &record, format!("{} joined session {session}", names.join(", ")))?;
    let request = Request { user: record.user.clone(), project: record.project.clone(), mounts: Vec::new() };
    Ok(Started { plan: Plan { outcome: Outcome::Changed, warnings, ..plan }, planned, request })
}

/// The mounts of the session, looked at again: a kernel that joins gets what the others have, nothing that has been made
/// since, and nothing that has been forbidden since. What is asked for has to be what the session has.
fn same_mounts(state: &State<'_>, session: &str, record: &Session, asked: &Asked) -> Result<Planned> {
    let request = |mounts| Request { user: record.user.clone(), project: record.project.clone(), mounts };
    let again: Result<Vec<MountRequest>> =
        record.mounts.iter().map(|mount| as_request(state, session, mount)).collect();
    let mut has = plan_mounts_of(state, &request(again?), false)?;
    for (mount, recorded) in has.mounts.mounts.iter_mut().zip(&record.mounts) {
        mount.auto = recorded.auto;
    }
    if asked.mounts.is_empty() {
        return Ok(has);
    }
    // An automatic folder that was made since does not make another plan.
    let asks = plan(state, &request(asked.mounts.clone()))?;
    let facts = |planned: &Planned| -> BTreeSet<_> {
        let mounts = planned.mounts.mounts.iter().filter(|mount| !mount.auto);
        mounts
            .map(|m| {
                let id = planned.reach[m.candidate].folder.record.id;
                (m.target.clone(), id, m.subpath.clone(), m.permission)
            })
            .collect()
    };
    if facts(&has) == facts(&asks) {
        return Ok(has);
    }
    Err(Error::conflict(format!("the session {session} has other mounts, and all its kernels get the same"))
        .hint(format!("leave -m out; what it has: vfadm session show {session}")))
}

fn as_request(state: &State<'_>, session: &str, mount: &SessionMount) -> Result<MountRequest> {
    let id = mount.vfolder.to_string();
    let keys = state.registry.find_text::<VFolder>(&id);
    let folder = keys.iter().find_map(|key| split_folder_key(key));
    let (owner, name) = folder.ok_or_else(|| {
        Error::conflict(format!("the session {session} has a vfolder mounted that is gone ({id})"))
    })?;
    Ok(MountRequest {
        folder: FolderRef::Named(owner, name.to_owned()),
        subpath: mount.subpath.clone(),
        target: Some(mount.target.clone()),
        permission: Some(mount.permission),
    })
}

/// The holder of kernels. What is on this host has to be there (exit 3), as far as that can be told; of a Slurm job nothing
/// is asked, since a prolog must not.
fn holder(named: Option<&Named>, kernels: &[KernelRef]) -> Result<Holder> {
    let this = process::hostname();
    let elsewhere = kernels.iter().find(|k| k.node.as_ref().is_some_and(|node| *node != this));
    let all_elsewhere = kernels.iter().all(|k| k.node.as_ref().is_some_and(|node| *node != this));
    let seen = |holder: Holder| match holders::ask(&holder, Vec::new) {
        Life::Gone(why) if !all_elsewhere => Err(Error::not_found(format!("{why} on this host"))),
        _ => Ok(holder),
    };
    match named {
        None => Ok(Holder::Manual),
        Some(Named::Pid(pid)) => match elsewhere.and_then(|k| Some((&k.name, k.node.as_ref()?))) {
            Some((name, node)) => Err(Error::usage(format!(
                "pid {pid} is a process of this host, and the kernel '{name}' is on {node}"
            ))
            .hint(format!(
                "let it join from there: vfadm session start NAME --kernel {name} --holder pid:N"
            ))),
            None => super::holder_of(*pid),
        },
        Some(Named::Slurm(job)) => Ok(Holder::Slurm { job: *job }),
        Some(Named::Unit(name)) if all_elsewhere => Ok(Holder::Unit { name: name.clone() }),
        Some(Named::Unit(name)) => seen(Holder::Unit { name: name.clone() }),
        Some(Named::Container(engine, name)) => {
            let holder = Holder::Container { engine: *engine, name: name.clone() };
            if all_elsewhere {
                return Ok(holder);
            }
            seen(holder)?;
            // Later only the engine that has it is asked: another one that does not know it says nothing.
            Ok(Holder::Container { engine: engine.or_else(|| holders::engine_of(name)), name: name.clone() })
        }
    }
}

/// Plans the end of one kernel; with the last the session ends.
pub fn leave(state: &State<'_>, session: &str, kernel: &str) -> Result<Plan> {
    let mut record = visible(state, session)?;
    let Some(at) = record.kernels.iter().position(|k| k.name == kernel) else {
        return Err(Error::not_found(format!("the session {session} has no kernel '{}'", printable(kernel))));
    };
    if record.run {
        return Err(Error::conflict(format!("the session {session} ends with the command that runs in it"))
            .hint(format!("end it: vfadm session stop {session}")));
    }
    if record.kernels.len() == 1 {
        return stop(state, session);
    }
    let left = record.kernels.remove(at);
    let witness = Witness::silent(state.registry);
    let warning = still_runs(&record, &left, &witness);
    let mut plan = Plan::new(Outcome::Changed, format!("kernel {kernel} left session {session}"));
    plan.item = Some(document::session(state.registry, session, &record, &witness)?);
    plan.changes.push(Change::put(session, &record)?);
    if record.kernels.iter().all(|k| k.node != process::hostname()) {
        places::tidy(state.registry, &[session], &mut plan)?;
    }
    plan.warnings.extend(warning);
    Ok(plan)
}
