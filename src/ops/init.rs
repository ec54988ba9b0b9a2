//! From nothing to a registry.

use std::path::Path;

use serde_json::json;
use uuid::Uuid;

use super::{Context, Done, State, vfolder, volume};
use crate::domain::error::{Error, Result};
use crate::domain::record::{Header, Settings, Volume};
use crate::domain::text::shell_path;
use crate::host::dir::Dir;
use crate::plan::{self, Outcome, Plan, Step};
use crate::registry::state::SCHEMA;
use crate::registry::{Locked, Registry, Root, now, root, store};

/// The first kernel id: below it, administrators use ids of their own.
pub(super) const FIRST_KERNEL_ID: u64 = 10_000;
pub(super) const TRASH_DAYS: u32 = 30;

/// What `init` was asked.
#[derive(Clone, Debug)]
pub struct Init {
    /// The shared uid.
    pub uid: u32,
    /// The shared gid.
    pub gid: u32,
    /// The mode of folders, octal.
    pub mode: String,
    /// The first volume.
    pub volume: volume::Add,
    /// The volume was named, and is not only the default.
    pub named: bool,
}

/// Makes the root's directory, the registry and its first volume; what is there already and as asked stays.
pub fn init(ctx: &Context, request: &Init) -> Result<Done> {
    vfolder::folder_mode(&request.mode)?;
    if ctx.root.join(root::FILE).exists() {
        return again(ctx, request);
    }
    let header = Header {
        schema: SCHEMA,
        registry: Uuid::new_v4(),
        generation: 1,
        updated_at: now(),
        extra: Default::default(),
    };
    let settings = Settings {
        uid: request.uid,
        gid: request.gid,
        mode: request.mode.clone(),
        default_volume: None,
        next_kernel_id: FIRST_KERNEL_ID,
        trash_days: TRASH_DAYS,
        extra: Default::default(),
    };
    if ctx.dry_run {
        return dry_run(ctx, request, header, settings);
    }
    make_root_dir(&ctx.root)?;
    let real = ctx.root.canonicalize().map_err(|e| crate::host::Error::path("open", &ctx.root, e))?;
    root::require_shared_locks(&real)?;
    let root = Root::open_new(&real)?;
    let lock = store::lock_root(&root, ctx.lock_timeout, &ctx.command)?;
    if root.dir().stat(root::FILE)?.is_some() {
        drop(lock);
        return again(ctx, request);
    }
    require_no_earlier(&root)?;
    let registry = Registry::new(header, settings, root.file());
    let mut locked = Locked::create(root, registry, ctx.by(), lock)?;
    let first = request_at(request, &real);
    let plan = volume::add(&state(&locked, ctx), &first).and_then(|mut plan| {
        plan.message = made(&real, &first.name, &plan);
        let warnings = plan::execute(&mut locked, &plan, &ctx.command)?;
        Ok((plan, warnings))
    });
    match plan {
        Ok((mut plan, warnings)) => {
            plan.item = Some(item(&locked.registry, &real));
            locked.unlock();
            Ok(Done { plan, planned: false, warnings })
        }
        // A registry without its first volume was not asked for.
        Err(error) => {
            locked.root.dir().remove_file(root::FILE)?;
            Err(error)
        }
    }
}

/// Refuses a root whose registry was lost: its backups and a new registry would not know each other.
fn require_no_earlier(root: &Root) -> Result<()> {
    match root.lost_registry() {
        None => Ok(()),
        Some(remedy) => {
            Err(Error::conflict(format!("{} has gone, but its backups are there", root.file().display()))
                .hint(format!(
                    "{remedy}; to begin anew, remove {} first",
                    root.path().join(root::PRIVATE).display()
                )))
        }
    }
}

fn state<'a>(locked: &'a Locked, ctx: &'a Context) -> State<'a> {
    State { root: &locked.root, registry: &locked.registry, actor: &ctx.actor }
}

/// The first volume with its path taken from the real root, not from a link to it.
fn request_at(request: &Init, real: &Path) -> volume::Add {
    let mut first = request.volume.clone();
    if first.path.is_relative() {
        first.path = real.join(&first.path);
    }
    first
}

fn made(root: &Path, volume: &str, plan: &Plan) -> String {
    format!(
        "registry made at {}; {}",
        root.join(root::FILE).display(),
        plan.message.replace("volume added", volume)
    )
}

fn item(registry: &Registry, root: &Path) -> serde_json::Value {
    json!({
        "id": registry.header.registry,
        "root": root,
        "uid": registry.settings.uid,
        "gid": registry.settings.gid,
        "mode": registry.settings.mode,
        "volumes": registry.keys::<Volume>(),
    })
}

fn make_root_dir(path: &Path) -> Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(Error::usage(format!("{} cannot be a root", path.display())));
    };
    let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
    let parent = parent.canonicalize().map_err(|e| crate::host::Error::path("open", parent, e))?;
    let parent = Dir::open(&parent)?;
    if parent.make_dir(name, 0o755)? {
        parent.open_dir(name)?.set_mode(0o755)?;
    }
    Ok(parent.sync()?)
}

fn dry_run(ctx: &Context, request: &Init, header: Header, settings: Settings) -> Result<Done> {
    let mut plan =
        Plan::new(Outcome::Created, format!("registry made at {}", ctx.root.join(root::FILE).display()));
    let registry = Registry::new(header, settings, ctx.root.join(root::FILE));
    if ctx.root.is_dir() {
        let real = ctx.root.canonicalize().map_err(|e| crate::host::Error::path("open", &ctx.root, e))?;
        root::require_shared_locks(&real)?;
        let opened = Root::open_new(&real)?;
        require_no_earlier(&opened)?;
        let first = request_at(request, &real);
        let state = State { root: &opened, registry: &registry, actor: &ctx.actor };
        let planned = volume::add(&state, &first)?;
        plan.steps = planned.steps;
        plan.changes = planned.changes;
        plan.tries = planned.tries;
    } else {
        plan.steps.push(Step::MakeVolumeDir { path: ctx.root.clone() });
        plan.tries.push(format!("would try which driver fits the volume '{}'", request.volume.name));
    }
    plan.item = Some(item(&registry, &ctx.root));
    Ok(Done { plan, planned: true, warnings: Vec::new() })
}

/// `init` of a root that has a registry: fine where everything is as asked; adds the first volume where an earlier
/// `init` was cut off before it.
fn again(ctx: &Context, request: &Init) -> Result<Done> {
    super::change(ctx, |state| {
        let settings = &state.registry.settings;
        let file = state.root.file();
        if (settings.uid, settings.gid, &settings.mode) != (request.uid, request.gid, &request.mode) {
            return Err(Error::conflict(format!(
                "{} exists already, with uid:gid {}:{} and mode {}",
                file.display(),
                settings.uid,
                settings.gid,
                settings.mode
            ))
            .hint("choose another root with --root"));
        }
        let first = request_at(request, state.root.path());
        let name = &first.name;
        let unnamed = !request.named && state.registry.count::<Volume>() > 0;
        match state.registry.get::<Volume>(name)? {
            _ if unnamed => {
                let mut plan = Plan::unchanged(format!("{} exists already", file.display()));
                plan.item = Some(item(state.registry, state.root.path()));
                Ok(plan)
            }
            Some(volume) if Path::new(&volume.path) == first.path => {
                let mut plan = Plan::unchanged(format!("{} exists already, and is as asked", file.display()));
                plan.item = Some(item(state.registry, state.root.path()));
                Ok(plan)
            }
            Some(volume) => {
                Err(Error::conflict(format!("the volume '{name}' exists already, at {}", volume.path)))
            }
            None if state.registry.count::<Volume>() == 0 => volume::add(state, &first),
            None => {
                Err(Error::conflict(format!("{} exists already, without a volume '{name}'", file.display()))
                    .hint(format!("vfadm volume add {name} {}", shell_path(&first.path))))
            }
        }
    })
}
