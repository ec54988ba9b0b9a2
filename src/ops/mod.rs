//! What an administrator does: each operation reads the registry and the storage, and returns a plan.

pub mod check;
pub mod claim;
pub mod clone;
pub mod document;
pub mod engine;
pub mod engine_run;
pub mod explain;
pub mod history;
pub mod in_use;
pub mod init;
pub mod invitation;
pub mod layout;
pub mod liveness;
pub mod manual;
pub mod node;
pub mod owner;
pub mod places;
pub mod purge;
pub mod quota;
pub mod registry;
pub mod resolve;
pub mod room;
pub mod run;
pub mod scope;
pub mod session;
pub mod share;
pub mod sidecar;
pub mod staging;
pub mod transfer;
pub mod trash;
pub mod usage;
pub mod vfolder;
pub mod volume;

use std::path::PathBuf;
use std::time::Duration;

use crate::domain::error::Result;
use crate::domain::permission::Actor;
use crate::plan::{self, Plan, intent};
use crate::registry::{By, Locked, Registry, Root};

/// How a command runs.
#[derive(Clone, Debug)]
pub struct Context {
    /// The root directory.
    pub root: PathBuf,
    /// On whose behalf.
    pub actor: Actor,
    /// Print the plan, write nothing.
    pub dry_run: bool,
    /// How long to wait for the lock.
    pub lock_timeout: Duration,
    /// The command line, for intents, lock and history.
    pub command: String,
}

impl Context {
    /// Who changes something with it.
    pub fn by(&self) -> By {
        By::new(&self.actor, &self.command)
    }
}

/// What an operation sees.
pub struct State<'a> {
    /// The root.
    pub root: &'a Root,
    /// The registry.
    pub registry: &'a Registry,
    /// On whose behalf.
    pub actor: &'a Actor,
}

/// The registry for a command that only reads; it takes no lock.
pub struct Reading {
    /// The root.
    pub root: Root,
    /// The registry.
    pub registry: Registry,
    /// Told on stderr.
    pub warnings: Vec<String>,
}

impl Reading {
    /// What an operation sees.
    pub fn state<'a>(&'a self, ctx: &'a Context) -> State<'a> {
        State { root: &self.root, registry: &self.registry, actor: &ctx.actor }
    }
}

/// Reads the registry without a lock.
pub fn read(ctx: &Context) -> Result<Reading> {
    let root = Root::open(&ctx.root)?;
    let registry = crate::registry::load(&root)?;
    require_actor(ctx, &registry)?;
    let warnings = edited_warning(&registry).into_iter().collect();
    Ok(Reading { root, registry, warnings })
}

/// Takes the lock, reads the registry, and tidies up after commands that were cut off.
pub fn lock(ctx: &Context) -> Result<(Locked, Vec<String>)> {
    let mut locked = Locked::open(Root::open(&ctx.root)?, ctx.lock_timeout, ctx.by())?;
    require_actor(ctx, &locked.registry)?;
    let mut warnings: Vec<String> = edited_warning(&locked.registry).into_iter().collect();
    warnings.extend(intent::recover(&mut locked)?);
    Ok((locked, warnings))
}

fn require_actor(ctx: &Context, registry: &Registry) -> Result<()> {
    match ctx.actor.user() {
        Some(user) => registry.require::<crate::domain::record::User>(user).map(|_| ()),
        None => Ok(()),
    }
}

fn edited_warning(registry: &Registry) -> Option<String> {
    registry.was_edited().then(|| {
        format!(
            "{} was edited by hand; it is valid, and is sealed again by the next change",
            registry.file().display()
        )
    })
}

/// A plan that was printed or carried out.
pub struct Done {
    /// The plan.
    pub plan: Plan,
    /// True when it was not carried out.
    pub planned: bool,
    /// Told on stderr.
    pub warnings: Vec<String>,
}

/// Computes a plan and carries it out under the lock; with `--dry-run` only computes it, without a lock.
pub fn change(ctx: &Context, make: impl FnOnce(&State<'_>) -> Result<Plan>) -> Result<Done> {
    if ctx.dry_run {
        let reading = read(ctx)?;
        let plan = make(&reading.state(ctx))?;
        return Ok(Done { plan, planned: true, warnings: reading.warnings });
    }
    let (mut locked, mut warnings) = lock(ctx)?;
    let plan = make(&State { root: &locked.root, registry: &locked.registry, actor: &ctx.actor })?;
    warnings.extend(plan::execute(&mut locked, &plan, &ctx.command)?);
    locked.unlock();
    Ok(Done { plan, planned: false, warnings })
}

/// The registry's file, as it stands.
pub fn registry_text(reading: &Reading) -> Result<Vec<u8>> {
    Ok(crate::host::files::read(reading.root.dir(), crate::registry::root::FILE, u64::MAX - 1)?
        .unwrap_or_default())
}
