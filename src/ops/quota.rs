//! Limits: set, unset, show.

use serde_json::Value;

use super::scope::{self, Site};
use super::{State, document, resolve, sidecar};
use crate::domain::error::{Error, Result};
use crate::domain::owner::{Owner, split_scope_key};
use crate::domain::quota::Enforcement;
use crate::domain::record::{LimitSource, Scope, Volume};
use crate::domain::size::{self, Limit};
use crate::plan::{Outcome, Plan, ScopePlace, Step, VolumeAt};
use crate::quota::{Reading, ScopeAt};
use crate::registry::Change;

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
    let place = &site.place;
    let readings = place.volume.driver().read(&place.volume.path, &[place.at()])?;
    readings
        .into_iter()
        .next()
        .ok_or_else(|| Error::storage(format!("the storage says nothing of the scope {}", site.key())))
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
    let wanted = limit.0.map(|bytes| site.place.volume.driver().effective(bytes));
    scope::require_within(&site, wanted)?;
    let message = format!("the limit of {owner} on '{}' is {}", site.place.volume.name, Limit(wanted));
    if !site.is_present() {
        let mut plan = Plan::new(Outcome::Created, message);
        let place = scope::make(state.registry, &site, wanted, LimitSource::Set, &mut plan)?;
        plan.item = Some(item(&place, Ok(Reading { used: Some(0), limit: wanted }), wanted)?);
        return Ok(plan);
    }
    let mut warnings = Vec::new();
    scope::require_enforcement(&site, wanted, &mut warnings)?;
    let mut plan = apply(state, &site, wanted, LimitSource::Set, no_shrink, message)?;
    plan.warnings.extend(warnings);
    Ok(plan)
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
    let reading = read_one(site)?;
    let Some(before) = &site.record else { return Ok(Plan::unchanged(message)) };
    let record = Scope { limit: wanted, source, ..before.clone() };
    let enforces = !matches!(enforcement(&site.place.volume)?, Enforcement::None | Enforcement::Volume);
    let in_kernel = if enforces { reading.limit } else { wanted };
    let same_record = (record.limit, record.source) == (before.limit, before.source);
    if same_record && in_kernel == wanted {
        let mut plan = Plan::unchanged(message);
        plan.item = Some(item(&site.place, Ok(reading), wanted)?);
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
    plan.item = Some(item(&site.place, Ok(Reading { limit: wanted, ..reading }), wanted)?);
    Ok(plan)
}

/// Plans the return to the owner's default.
pub fn unset(state: &State<'_>, owner: &Owner, volume: Option<&str>) -> Result<Plan> {
    require_superadmin(state)?;
    let site = site(state, owner, volume)?;
    let name = &site.place.volume.name;
    let Some(record) = site.record.clone().filter(|r| r.source == LimitSource::Set) else {
        return Ok(Plan::unchanged(format!("no limit was set for {owner} on '{name}'")));
    };
    let folders = scope::folders(state.registry, owner, name)?;
    if folders.is_empty() {
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

fn item(
    place: &ScopePlace,
    reading: std::result::Result<Reading, String>,
    recorded: Option<u64>,
) -> Result<Value> {
    let path = place.path().display().to_string();
    Ok(document::scope(&place.owner, &place.volume, &path, reading, enforcement(&place.volume)?, recorded))
}

/// The documents of the scopes that are there, and warnings. One pass of the storage a volume.
pub fn show(
    state: &State<'_>,
    owner: Option<&Owner>,
    volume: Option<&str>,
) -> Result<(Vec<Value>, Vec<String>)> {
    let registry = state.registry;
    if let Some(owner) = owner {
        resolve::owner(registry, owner)?;
    }
    if let Some(volume) = volume {
        registry.require::<Volume>(volume)?;
    }
    let mut by_volume: std::collections::BTreeMap<String, Vec<(Owner, Scope)>> = Default::default();
    for (key, scope) in registry.all::<Scope>()? {
        let Some((scope_owner, scope_volume)) = split_scope_key(&key) else { continue };
        if owner.is_none_or(|o| *o == scope_owner)
            && volume.is_none_or(|v| v == scope_volume)
            && sees(state, &scope_owner)?
        {
            by_volume.entry(scope_volume.to_owned()).or_default().push((scope_owner, scope));
        }
    }
    let (mut items, mut warnings) = (Vec::new(), Vec::new());
    for (name, scopes) in by_volume {
        let record = registry.require::<Volume>(&name)?;
        let at = VolumeAt::new(registry.header.registry, &name, &record);
        of_volume(state, &at, &scopes, &mut items, &mut warnings)?;
    }
    items.sort_by_key(|item| (item["owner"].to_string(), item["volume"].to_string()));
    Ok((items, warnings))
}

fn sees(state: &State<'_>, owner: &Owner) -> Result<bool> {
    let Some(user) = state.actor.user() else { return Ok(true) };
    Ok(match owner {
        Owner::User(name) => name == user,
        Owner::Project(_) => {
            resolve::owning_project(state.registry, owner)?.is_some_and(|p| p.members.contains_key(user))
        }
    })
}

fn of_volume(
    state: &State<'_>,
    volume: &VolumeAt,
    scopes: &[(Owner, Scope)],
    items: &mut Vec<Value>,
    warnings: &mut Vec<String>,
) -> Result<()> {
    let mut places = Vec::new();
    for (owner, scope) in scopes {
        let dir = resolve::owner(state.registry, owner)?.dir;
        places.push(ScopePlace {
            volume: volume.clone(),
            owner: owner.clone(),
            dir,
            kernel_id: scope.kernel_id,
        });
    }
    let driver = volume.driver();
    let opened = volume.open().and_then(|_| driver.enforcement(&volume.path));
    let enforcement = match &opened {
        Ok((enforcement, warning)) => {
            warnings.extend(warning.clone());
            *enforcement
        }
        Err(error) => {
            warnings.push(error.message.clone());
            Enforcement::None
        }
    };
    let present: Vec<ScopeAt<'_>> =
        places.iter().zip(scopes).filter(|(_, (_, s))| s.present).map(|(p, _)| p.at()).collect();
    let read = opened.and_then(|_| driver.read(&volume.path, &present));
    let mut readings = match &read {
        Ok(readings) => Ok(readings.iter()),
        Err(error) => Err(error.message.clone()),
    };
    for (place, (owner, scope)) in places.iter().zip(scopes) {
        let reading = match &mut readings {
            Ok(readings) if scope.present => {
                readings.next().copied().ok_or_else(|| "the storage says nothing of it".to_owned())
            }
            Ok(_) => Ok(Reading { used: Some(0), limit: scope.limit }),
            Err(reason) => Err(reason.clone()),
        };
        let path = place.path().display().to_string();
        items.push(document::scope(owner, volume, &path, reading, enforcement, scope.limit));
    }
    Ok(())
}
