//! Limits and usage, as the storage says them.

use serde_json::Value;

use crate::domain::error::Result;
use crate::domain::owner::{Owner, split_scope_key};
use crate::domain::quota::Enforcement;
use crate::domain::record::{Scope, Volume};
use crate::ops::{State, document, resolve};
use crate::plan::{ScopePlace, VolumeAt};
use crate::quota::{Reading, ScopeAt};

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
            warnings.extend(warning.clone().filter(|_| *enforcement == Enforcement::None));
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

/// Keeps the scopes of which at least so much is used, in percent. One whose usage is not known is not among them, and
/// is told of.
pub fn over(items: Vec<Value>, percent: f64, warnings: &mut Vec<String>) -> Vec<Value> {
    let unknown = items.iter().filter(|item| item.get("used_bytes").is_none());
    warnings.extend(unknown.map(|item| {
        let text = |key: &str| item[key].as_str().unwrap_or_default().to_owned();
        format!(
            "usage of {} on '{}' is not known: {}",
            text("owner"),
            text("volume"),
            text("used_bytes_unknown_reason")
        )
    }));
    items.into_iter().filter(|item| item["used_percent"].as_f64().is_some_and(|p| p >= percent)).collect()
}
