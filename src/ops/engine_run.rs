//! `session run --engine`: an engine runs the command in the foreground; the session lives as long as it.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::run::{self, Run};
use super::session::{self, Planned};
use super::{Context, Done, State, engine, lock, places, read};
use crate::domain::engine::Engine;
use crate::domain::error::{Error, Result};
use crate::domain::holder;
use crate::domain::name::printable;
use crate::domain::record::{Holder, Session};
use crate::host::namespace::Init;
use crate::host::supervise::{self, Command};
use crate::host::{files, foreground, holders, privileges};
use crate::plan::{self, Outcome, Plan};
use crate::registry::Change;
use crate::session::engine::{Process, Spec, Told, config, tell};
use crate::session::places::path as place;
use crate::session::plan::HOME;
use crate::session::stage::{self, Stage};

/// Which engine runs the command, and of what its root is made.
#[derive(Clone, Debug)]
pub struct By {
    /// Which.
    pub engine: Engine,
    /// The image, for docker and podman.
    pub image: Option<String>,
}

/// The program of an engine, and the Debian package that it comes in.
fn program(engine: Engine) -> (&'static str, &'static str) {
    match engine {
        Engine::Docker => ("docker", "docker.io"),
        Engine::Podman => ("podman", "podman"),
        Engine::Nspawn => ("systemd-nspawn", "systemd-container"),
        Engine::Runc => ("runc", "runc"),
        _ => ("bwrap", "bubblewrap"),
    }
}

/// What an engine runs in: a directory that vfadm puts a layer above, or what the engine itself makes a root of.
enum Root {
    Directory(PathBuf),
    Image(String),
    OfPodman(PathBuf),
}

fn root(request: &Run, by: &By) -> Result<Root> {
    let engine = by.engine;
    if !engine.runs() {
        return Err(Error::usage(format!("'session run' cannot start {engine}")).hint(
            "use --engine nspawn, bwrap, runc, podman or docker, or 'session start' and start it yourself",
        ));
    }
    if request.userns {
        return Err(
            Error::usage(format!("--userns is not for {engine}")).hint("leave out --userns, or --engine")
        );
    }
    if let Some(image) = by.image.as_ref().filter(|image| image.starts_with('-') || image.is_empty()) {
        return Err(Error::usage(format!("'{}' is not an image", printable(image))).hint("write NAME:TAG"));
    }
    match (engine, &request.rootfs, &by.image) {
        (Engine::Docker | Engine::Podman, None, Some(image)) => Ok(Root::Image(image.clone())),
        (Engine::Podman, Some(rootfs), None) => Ok(Root::OfPodman(rootfs.clone())),
        (Engine::Docker, _, None) => {
            Err(Error::usage("docker makes a root of an image only").hint("--image IMAGE"))
        }
        (Engine::Docker | Engine::Podman, _, _) => Err(Error::usage(format!("{engine} needs a root"))
            .hint("give it --image IMAGE, or podman --rootfs DIR")),
        (_, Some(rootfs), None) => Ok(Root::Directory(rootfs.clone())),
        _ => Err(Error::usage(format!("{engine} makes a root of a directory"))
            .hint("give it --rootfs DIR, and no --image")),
    }
}

/// Which image a session has is the administrator's choice (exit 5).
fn require_image(state: &State<'_>, by: &By) -> Result<()> {
    match (state.actor.user(), &by.image) {
        (Some(user), Some(_)) => {
            Err(Error::not_permitted(format!("{user} may not choose the image of a session"))
                .hint("leave --image out, or --as"))
        }
        _ => Ok(()),
    }
}

/// The plan of a session that is not run.
pub fn preview(ctx: &Context, request: &Run, by: &By) -> Result<Done> {
    root(request, by)?;
    require_image(&read(ctx)?.state(ctx), by)?;
    run::preview(ctx, request)
}

/// Runs the command; its exit status, and warnings.
pub fn run(ctx: &Context, request: Run, by: &By) -> Result<(u8, Vec<String>)> {
    let root = root(&request, by)?;
    if !files::is_root() {
        return Err(Error::not_permitted("'session run' makes mounts, and needs root")
            .hint("'session plan' shows what it would mount"));
    }
    let (program, package) = program(by.engine);
    let program = foreground::find(program, package)?;
    let name = run::name(&request);
    let (mut locked, mut warnings) = lock(ctx)?;
    let state = State { root: &locked.root, registry: &locked.registry, actor: &ctx.actor };
    run::require_rootfs(&state, request.rootfs.as_deref())?;
    require_image(&state, by)?;
    // Names and mounts are judged before anything is started.
    session::start(&state, &name, &request.session, Holder::Manual)?;
    let planned = session::plan(&state, &request.session)?;
    warnings.extend(planned.warnings());
    let mut record = session::record(&request.session, &planned, Holder::Manual);
    let mut spec = engine::spec(&state, Some(&name), &request.session, &planned, None)?;
    let mut plan = Plan::new(Outcome::Created, "");
    places::make_room(state.registry, &name, &mut plan)?;
    let container = format!("vfadm-{}", record.id.simple());
    let left = container_of(by.engine, &container);
    record.container.clone_from(&left);
    let line = Line { program: &program, container: &container, command: &request.command, name: &name };

    let (argv, stage) = match root {
        Root::Directory(rootfs) => {
            for (number, bind) in spec.binds.iter_mut().enumerate() {
                bind.source = place(&name, number).display().to_string();
            }
            let stage = staged(&state, &line, by.engine, &spec, planned, rootfs)?;
            (line.staged(by.engine, &spec)?, Some(stage))
        }
        root => {
            places::bind(&state, &name, record.id, &planned, &mut plan)?;
            (line.contained(by.engine, &spec, &root)?, None)
        }
    };
    // An engine that is killed leaves its container to vfadm; what podman leaves is its own, and tidies up.
    let keeps_orphans = stage.is_some();
    if keeps_orphans {
        foreground::adopt_orphans()?;
    }
    // The tenant can read what bwrap was given: its first process has the tenant's rights.
    let environment = match by.engine {
        Engine::Bwrap => Vec::new(),
        _ => foreground::environment(),
    };
    let command = Command::new(argv, environment, false)?;
    let user = (by.engine == Engine::Bwrap).then_some((spec.uid, spec.gid));
    let mut init = Init::fork_beside(move |maker| {
        maker.close_others(&handles(stage.as_ref()))?;
        stage.map_or(Ok(()), stage::set_up)?;
        if let Some((uid, gid)) = user {
            privileges::drop_groups()?;
            privileges::become_user(uid, gid)?;
        } else {
            privileges::be_asked_to_end_with_maker()?;
        }
        maker.ready()?;
        Ok(supervise::become_program(&command))
    })?;
    // From here on a failure ends the process with `init`, before its gate has opened.
    let id = record.id;
    let record: Session = run::hold(init.pid().as_raw().unsigned_abs(), record)?;
    plan.changes.push(Change::put(name.clone(), &record)?);
    plan::execute(&mut locked, &plan, &ctx.command)?;
    locked.unlock();
    let status = foreground::attend(&mut init, depth(by.engine));
    if keeps_orphans && status.is_ok() {
        foreground::end_orphans();
    }
    // An engine that was killed may leave its container running; where it has gone already, that is fine.
    if let Some(container) = &left
        && status.as_ref().map_or(true, |status| *status > 128)
        && let Err(error) = holders::remove_container(container)
    {
        warnings.push(error.to_string());
    }
    if let Err(error) = run::forget(ctx, &name, id) {
        warnings.push(format!("the record of session {name} could not be removed: {error}"));
    }
    Ok((status?, warnings))
}

fn handles(stage: Option<&Stage>) -> Vec<std::os::fd::RawFd> {
    use std::os::fd::AsRawFd;
    stage.map(|s| s.binds.iter().map(|bind| bind.source.as_raw_fd()).collect()).unwrap_or_default()
}

/// How many generations below the engine's process the command is, where the engine does not pass signals on.
fn depth(engine: Engine) -> usize {
    match engine {
        Engine::Bwrap | Engine::Nspawn => 2,
        _ => 0,
    }
}

/// The container that an engine makes, which may live longer than the engine.
fn container_of(engine: Engine, name: &str) -> Option<Holder> {
    let engine = match engine {
        Engine::Runc => holder::Engine::Runc,
        Engine::Docker => holder::Engine::Docker,
        Engine::Podman => holder::Engine::Podman,
        _ => return None,
    };
    Some(Holder::Container { engine: Some(engine), name: name.to_owned() })
}

fn staged(
    state: &State<'_>,
    line: &Line<'_>,
    by: Engine,
    spec: &Spec,
    planned: Planned,
    rootfs: PathBuf,
) -> Result<Stage> {
    let config = match by {
        Engine::Runc => Some(line.config(spec)?),
        _ => None,
    };
    Ok(Stage {
        session: line.name.to_owned(),
        rootfs,
        binds: run::binds(planned),
        hide: run::hidden(state.registry, state.root)?,
        uid: spec.uid,
        gid: spec.gid,
        config,
    })
}

/// What an engine's command line is made of.
struct Line<'a> {
    program: &'a Path,
    container: &'a str,
    command: &'a [OsString],
    name: &'a str,
}

impl Line<'_> {
    fn begin(&self, words: &[&str]) -> Vec<OsString> {
        let mut argv = vec![self.program.as_os_str().to_owned()];
        argv.extend(words.iter().map(OsString::from));
        argv
    }

    /// An engine that finds a stage.
    fn staged(&self, engine: Engine, spec: &Spec) -> Result<Vec<OsString>> {
        let root = stage::root(self.name).display().to_string();
        let mut argv = match engine {
            Engine::Runc => {
                let bundle = stage::bundle(self.name).display().to_string();
                return Ok(self.begin(&["run", "--bundle", &bundle, self.container]));
            }
            Engine::Nspawn => self.nspawn(&root, spec)?,
            _ => self.bwrap(&root),
        };
        argv.extend(told(engine, spec)?);
        argv.push("--".into());
        argv.extend(self.command.iter().cloned());
        Ok(argv)
    }

    /// Without privileges bwrap makes a user namespace, in which the shared user is itself. A session of its own keeps
    /// the command from typing into the caller's terminal (bwrap(1), `--new-session`).
    fn bwrap(&self, root: &str) -> Vec<OsString> {
        let namespaces = ["--unshare-user", "--unshare-pid", "--unshare-ipc", "--unshare-uts"];
        let mut argv = self.begin(&namespaces);
        let rest = ["--die-with-parent", "--new-session", "--clearenv", "--setenv", "PATH", run::PATH];
        argv.extend(rest.map(OsString::from));
        argv.extend(["--bind", root, "/", "--dev", "/dev", "--proc", "/proc"].map(OsString::from));
        argv.extend(["--perms", "1777", "--tmpfs", "/tmp", "--chdir", HOME].map(OsString::from));
        argv
    }

    /// The user namespace's root is the shared user: nspawn looks other users up in the container's own files.
    fn nspawn(&self, root: &str, spec: &Spec) -> Result<Vec<OsString>> {
        if spec.uid != spec.gid {
            return Err(Error::usage(format!(
                "nspawn cannot run as {}:{}: it takes one number for user and group",
                spec.uid, spec.gid
            ))
            .hint("use --engine bwrap or runc"));
        }
        let machine = self.container.get(..18).unwrap_or(self.container);
        Ok(self.begin(&[
            "--quiet",
            "--register=no",
            "--keep-unit",
            "--console=autopipe",
            "--as-pid2",
            "--no-new-privileges=yes",
            "--drop-capability=all",
            &format!("--private-users={}:65536", spec.uid),
            "--private-users-ownership=off",
            &format!("--machine={machine}"),
            &format!("--directory={root}"),
            &format!("--chdir={HOME}"),
        ]))
    }

    /// An engine that makes its own root.
    fn contained(&self, engine: Engine, spec: &Spec, root: &Root) -> Result<Vec<OsString>> {
        let mut argv = self.begin(&["run", "--rm", "--interactive", "--name", self.container]);
        if foreground::on_terminal() {
            argv.push("--tty".into());
        }
        argv.extend(["--cap-drop=ALL", "--security-opt=no-new-privileges"].map(OsString::from));
        argv.extend(told(engine, spec)?);
        match root {
            Root::OfPodman(rootfs) => {
                argv.push("--rootfs".into());
                // A layer above it, so that it is not changed (podman-run(1), `--rootfs`).
                let mut overlay = rootfs.clone().into_os_string();
                overlay.push(":O");
                argv.push(overlay);
            }
            Root::Image(image) => argv.push(image.into()),
            Root::Directory(_) => {}
        }
        argv.extend(self.command.iter().cloned());
        Ok(argv)
    }

    fn config(&self, spec: &Spec) -> Result<String> {
        let words = self.command.iter().map(|word| {
            word.to_str().map(str::to_owned).ok_or_else(|| {
                Error::usage(format!("the word '{}' of the command is not UTF-8", word.display()))
                    .hint("use --engine bwrap")
            })
        });
        let env = ["TERM", "LANG", "TZ"].into_iter();
        let process = Process {
            command: words.collect::<Result<_>>()?,
            terminal: foreground::on_terminal(),
            env: env.filter_map(|key| Some((key.to_owned(), std::env::var(key).ok()?))).collect(),
        };
        let root = stage::root(self.name).display().to_string();
        Ok(config(spec, &root, &process).to_string())
    }
}

fn told(engine: Engine, spec: &Spec) -> Result<Vec<OsString>> {
    match tell(engine, spec)? {
        Told::Arguments(options) => Ok(options.into_iter().flatten().map(OsString::from).collect()),
        _ => Ok(Vec::new()),
    }
}
