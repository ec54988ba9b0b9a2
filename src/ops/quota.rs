//! Limits: set, unset, show.

mod audit;
mod show;
mod verify;

use serde_json::Value;

use super::scope::{self, Site};
use super::{State, document, resolve, sidecar};
use crate::domain::error::{Error, Result};
use crate::domain::owner::Owner;
use crate::domain::quota::{DriverKind, Enforcement};
use crate::domain::record::{LimitSource, Scope, Volume};
use crate::domain::size::{self, Limit};
use crate::plan::{Outcome, Plan, ScopePlace, Step, VolumeAt};
use crate::quota::Reading;
use crate::registry::Change;
pub use audit::{Audited, audit, fix};
pub use show::show;
pub use verify::verify;

fn require_superadmin(state: &State<'_>) -> Result<()> {
    match state.actor.user() {
        None => Ok(()),
        Some(user) => Err(Error::not_permitted(format!("{user} may not change limits"))
            .hint("only the superadmin may: leave --as out")),
    }
}

fn site(state: &State<'_>, owner: &Owner, volume: Option<&str>) -> Result<Site> {
    resolve::owner(state.registry, owner)?;
    let (name, volume) = resolve::volume(state.registry, volume, owner)?;
    super::vfolder::require_use_of(&name, &volume, owner)?;
    Site::find(state.registry, owner, &name, &volume)
}

fn read_one(site: &Site) -> Result<Reading> {
    site.place.open()?;
    site.place.volume.driver().read_one(&site.place.at())
}

/// Plans a limit.
pub fn set(
    state: &State<'_>,
    owner: &Owner,
    limit: Limit,
    volume: Option<&str>,
    no_shrink: bool,
) -> Result<Plan> {
    require_superadmin(state)?;
    let site = site(state, owner, volume)?;
    if site.place.volume.storage.driver == DriverKind::Dedicated {
        scope::require_within(&site, limit.0)?;
        let volume = state.registry.require::<Volume>(&site.place.volume.name)?;
        return super::volume::grow(state.registry, &site, &volume, limit);
    }
    let wanted = site.place.volume.effective(limit.0);
    scope::require_within(&site, wanted)?;
    let message = format!("the limit of {owner} on '{}' is {}", site.place.volume.name, Limit(wanted));
    if !site.is_present() {
        let mut plan = Plan::new(Outcome::Created, message);
        let place = scope::make(state.registry, &site, wanted, LimitSource::Set, &mut plan)?;
        plan.item = Some(item(&place, Reading { used: Some(0), limit: wanted })?);
        return Ok(plan);
    }
    site.place.open()?;
    scope::require_enforcement(&site, wanted)?;
    apply(state, &site, wanted, LimitSource::Set, no_shrink, message)
}

/// Plans the change of the limit of a scope that exists.
fn apply(
    state: &State<'_>,
    site: &Site,
    wanted: Option<u64>,
    source: LimitSource,
    no_shrink: bool,
    message: String,
) -> Result<Plan> {
    scope::require_counted(site)?;
    let reading = read_one(site)?;
    let Some(before) = &site.record else { return Ok(Plan::unchanged(message)) };
    let record = Scope { limit: wanted, source, ..before.clone() };
    let enforces = !matches!(enforcement(&site.place.volume)?, Enforcement::None | Enforcement::Volume);
    let in_kernel = if enforces { reading.limit } else { wanted };
    let same_record = (record.limit, record.source) == (before.limit, before.source);
    if same_record && in_kernel == wanted {
        let mut plan = Plan::unchanged(message);
        plan.item = Some(item(&site.place, reading)?);
        return Ok(plan);
    }
    let mut plan = Plan::new(Outcome::Changed, message);
    if let (Some(limit), Some(used)) = (wanted, reading.used)
        && used > limit
    {
        let figures = format!("{} are used, more than {}", size::human(used), size::human(limit));
        if no_shrink {
            return Err(Error::conflict(format!("{}: {figures}", site.key()))
                .hint("leave --no-shrink out to set it all the same: nothing more can be written then"));
        }
        if site.place.volume.driver().refuses_below_usage() {
            return Err(Error::storage(format!("{}: {figures}", site.key()))
                .hint("this storage takes no limit below what is used: remove something first")
                .detail("used_bytes", used)
                .detail("limit_bytes", limit));
        }
        plan.warnings.push(format!(
            "{figures}: {} can write nothing more until it has removed some",
            site.place.owner
        ));
    }
    if in_kernel != wanted {
        plan.steps.push(Step::SetLimit { scope: site.place.clone(), from: in_kernel, to: wanted });
    }
    if !same_record {
        plan.changes.push(Change::put(site.key(), &record)?);
        let owner = sidecar::owner_record(state.registry, &site.place.owner)?;
        plan.after.push(sidecar::scope(state.registry, &site.place, &record, &owner));
    }
    plan.item = Some(item(&site.place, Reading { limit: wanted, ..reading })?);
    Ok(plan)
}

/// Plans the return to the owner's default.
pub fn unset(state: &State<'_>, owner: &Owner, volume: Option<&str>) -> Result<Plan> {
    require_superadmin(state)?;
    let site = site(state, owner, volume)?;
    let name = &site.place.volume.name;
    if site.place.volume.storage.driver == DriverKind::Dedicated {
        return Err(Error::storage(format!(
            "the limit of {owner} is the size of its volume '{name}', and cannot be unset"
        )));
    }
    let Some(record) = site.record.clone().filter(|r| r.source == LimitSource::Set) else {
        return Ok(Plan::unchanged(format!("no limit was set for {owner} on '{name}'")));
    };
    if !scope::is_needed(state.registry, owner, name, None)? {
        let mut plan =
            Plan::new(Outcome::Changed, format!("the limit of {owner} on '{name}' is no longer set"));
        scope::remove(&site, false, &mut plan)?;
        return Ok(plan);
    }
    let forgotten = Site { record: Some(Scope { source: LimitSource::None, ..record }), ..site };
    let (limit, source) = scope::limit_for(&forgotten, None)?;
    let message = format!("the limit of {owner} on '{}' is {}", forgotten.place.volume.name, Limit(limit));
    let site = Site::find(
        state.registry,
        owner,
        &forgotten.place.volume.name,
        &state.registry.require::<Volume>(&forgotten.place.volume.name)?,
    )?;
    apply(state, &site, limit, source, false, message)
}

fn enforcement(volume: &VolumeAt) -> Result<Enforcement> {
    Ok(volume.driver().enforcement(&volume.path)?.0)
}

fn item(place: &ScopePlace, reading: Reading) -> Result<Value> {
    let path = place.path().display().to_string();
    let enforcement = Some(enforcement(&place.volume)?);
    Ok(document::scope(&place.owner, &place.volume, &path, Ok(reading), enforcement))
}
