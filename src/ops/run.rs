//! `session run`: the session is recorded before its command starts, and forgotten when it ends.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::session::{self, Request};
use super::{Context, Done, State, lock, read};
use crate::domain::error::{Error, Result};
use crate::domain::record::{Holder, Session};
use crate::host::files;
use crate::plan::{self, Outcome, Plan};
use crate::registry::{Change, Note, Registry};
use crate::session::plan::HOME;
use crate::session::run::{Bind, RunSpec, start};

/// What `session run` was asked.
pub struct Run {
    /// Its name, where one was given.
    pub name: Option<String>,
    /// Whose it is, and what it mounts.
    pub session: Request,
    /// Another root.
    pub rootfs: Option<PathBuf>,
    /// In a user namespace.
    pub userns: bool,
    /// The command.
    pub command: Vec<OsString>,
}

/// Refuses a root directory that is, holds, or lies in a volume or the root of the registry: a session would see what is
/// others' (exit 2). Which root a session has is the administrator's choice (exit 5).
pub(super) fn require_rootfs(state: &State<'_>, rootfs: Option<&Path>) -> Result<()> {
    let Some(rootfs) = rootfs else { return Ok(()) };
    if let Some(user) = state.actor.user() {
        return Err(Error::not_permitted(format!("{user} may not choose the root directory of a session"))
            .hint("leave --rootfs out, or --as"));
    }
    let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let wanted = real(rootfs);
    for path in hidden(state.registry, state.root)? {
        let path = real(&path);
        if wanted.starts_with(&path) || (path.starts_with(&wanted) && wanted != Path::new("/")) {
            return Err(Error::usage(format!(
                "the root directory {} and {} lie one inside the other: the session would see what is others'",
                rootfs.display(),
                path.display()
            ))
            .hint("give a directory of its own"));
        }
    }
    Ok(())
}

pub(super) const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

pub(super) fn name(request: &Run) -> String {
    request.name.clone().unwrap_or_else(|| session::invented_name(&request.session.user))
}

/// The plan of a session that is not run.
pub fn preview(ctx: &Context, request: &Run) -> Result<Done> {
    let reading = read(ctx)?;
    let state = reading.state(ctx);
    require_rootfs(&state, request.rootfs.as_deref())?;
    let mut plan = session::start(&state, &name(request), &request.session, Holder::Manual)?;
    plan.tries.push(format!("run {} in a session of its own", request.command[0].to_string_lossy()));
    Ok(Done { plan, planned: true, warnings: reading.warnings })
}

/// What a session binds, by the handles that were checked.
pub(super) fn binds(planned: session::Planned) -> Vec<Bind> {
    let mounts = planned.mounts.mounts.iter().zip(planned.handles);
    mounts
        .map(|(mount, source)| Bind {
            source,
            target: PathBuf::from(&mount.target),
            read_only: mount.permission < crate::domain::permission::Level::Rw,
        })
        .collect()
}

/// Runs the command; its exit status, and warnings.
pub fn run(ctx: &Context, request: Run) -> Result<(u8, Vec<String>)> {
    if !files::is_root() {
        return Err(Error::not_permitted("'session run' makes mounts and namespaces, and needs root")
            .hint("'session plan' shows what it would mount"));
    }
    let name = name(&request);
    let (mut locked, mut warnings) = lock(ctx)?;
    let state = State { root: &locked.root, registry: &locked.registry, actor: &ctx.actor };
    require_rootfs(&state, request.rootfs.as_deref())?;
    // Names and mounts are judged before anything is started.
    session::start(&state, &name, &request.session, Holder::Manual)?;
    let planned = session::plan(&state, &request.session)?;
    warnings.extend(planned.warnings());
    let record = session::record(&request.session, &planned, Holder::Manual);
    let settings = &locked.registry.settings;
    let spec = RunSpec {
        rootfs: request.rootfs,
        binds: binds(planned),
        hide: hidden(&locked.registry, &locked.root)?,
        uid: settings.uid,
        gid: settings.gid,
        userns: request.userns,
        command: request.command,
        env: environment(&name, &request.session),
        workdir: PathBuf::from(HOME),
    };
    let started = start(spec)?;
    let recorded = hold(started.pid(), record).and_then(|record| {
        let mut plan = Plan::new(Outcome::Created, "");
        plan.changes.push(Change::put(name.clone(), &record)?);
        plan::execute(&mut locked, &plan, &ctx.command).map(|_| record.id)
    });
    let id = match recorded {
        Ok(id) => id,
        Err(error) => {
            started.abandon();
            return Err(error);
        }
    };
    locked.unlock();
    let status = started.run();
    if let Err(error) = forget(ctx, &name, id) {
        warnings.push(format!("the record of session {name} could not be removed: {error}"));
    }
    Ok((status?, warnings))
}

pub(super) fn hold(pid: u32, mut record: Session) -> Result<Session> {
    let holder = session::holder_of(pid)?;
    record.kernels.iter_mut().for_each(|k| k.holder = holder.clone());
    record.run = true;
    Ok(record)
}

/// The root and all volumes: a session sees nothing of them but what is bound into it.
pub(super) fn hidden(registry: &Registry, root: &crate::registry::Root) -> Result<Vec<PathBuf>> {
    use crate::domain::record::Volume;
    let volumes = registry.all::<Volume>()?;
    let mut paths = vec![root.path().to_owned()];
    paths.extend(volumes.into_iter().map(|(_, v)| PathBuf::from(v.path)));
    Ok(paths)
}

fn environment(name: &str, request: &Request) -> Vec<(OsString, OsString)> {
    let mut env: Vec<(OsString, OsString)> = [
        ("PATH", PATH),
        ("HOME", HOME),
        ("USER", &request.user),
        ("LOGNAME", &request.user),
        ("SHELL", "/bin/sh"),
        ("VFADM_SESSION", name),
    ]
    .into_iter()
    .map(|(key, value)| (key.into(), value.into()))
    .collect();
    if let Some(project) = &request.project {
        env.push(("VFADM_PROJECT".into(), project.into()));
    }
    for key in ["TERM", "LANG", "TZ"] {
        env.extend(std::env::var_os(key).map(|value| (key.into(), value)));
    }
    env
}

/// Removes the record, unless somebody else's session has the name meanwhile. The command has ended, so a signal
/// that came for it does not keep its record.
pub(super) fn forget(ctx: &Context, name: &str, id: uuid::Uuid) -> Result<()> {
    crate::host::signals::forget();
    let (mut locked, _) = lock(ctx)?;
    if locked.registry.get::<Session>(name)?.is_some_and(|s| s.id == id) {
        locked.commit(&[Change::remove::<Session>(name)], Note::default())?;
        crate::session::places::release(name, id)?;
    }
    locked.unlock();
    Ok(())
}
