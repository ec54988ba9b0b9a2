//! Limits and usage, as the storage says them.

use serde_json::Value;

use crate::domain::error::Result;
use crate::domain::owner::{Owner, split_scope_key};
use crate::domain::quota::Enforcement;
use crate::domain::record::{Scope, Volume};
use crate::ops::{State, document, resolve};
use crate::plan::{ScopePlace, VolumeAt};
use crate::quota::{Reading, ScopeAt};

/// Limits and usage.
#[derive(Debug, Default)]
pub struct Shown {
    /// The documents of the scopes.
    pub items: Vec<Value>,
    /// Told on stderr.
    pub warnings: Vec<String>,
    /// True where the storage could not be asked about some of them.
    pub unreadable: bool,
}

/// The scopes that are there. One pass of the storage a volume.
pub fn show(state: &State<'_>, owner: Option<&Owner>, volume: Option<&str>) -> Result<Shown> {
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
    let mut shown = Shown::default();
    for (name, scopes) in by_volume {
        let record = registry.require::<Volume>(&name)?;
        let at = VolumeAt::new(registry.header.registry, &name, &record);
        of_volume(state, &at, &scopes, &mut shown)?;
    }
    shown.items.sort_by_key(|item| (item["owner"].to_string(), item["volume"].to_string()));
    Ok(shown)
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
    shown: &mut Shown,
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
    let present: Vec<ScopeAt<'_>> =
        places.iter().zip(scopes).filter(|(_, (_, s))| s.present).map(|(p, _)| p.at()).collect();
    let read = volume.open().and_then(|dir| {
        let (enforcement, warning) = driver.enforcement(&volume.path)?;
        shown.warnings.extend(warning.filter(|_| enforcement == Enforcement::None));
        let checked = driver.check_scopes(&dir, &present);
        let readings = driver.read(&volume.path, &present)?;
        let both = checked.into_iter().zip(readings).map(|(checked, reading)| checked.and(reading));
        Ok((enforcement, both.collect::<Vec<_>>()))
    });
    let (enforcement, mut readings) = match read {
        Ok((enforcement, readings)) => (Some(enforcement), readings),
        Err(error) => (None, vec![Err(error); present.len()]),
    };
    readings.reverse();
    let mut told: Option<String> = None;
    for (place, (owner, scope)) in places.iter().zip(scopes) {
        let reading = match scope.present {
            true => readings.pop().unwrap_or(Ok(Reading { used: None, limit: None })),
            false => Ok(Reading { used: Some(0), limit: scope.limit }),
        };
        let reading = reading.map_err(|error| error.message);
        if let Err(reason) = &reading {
            shown.unreadable = true;
            // One reason for all of them is said once.
            if told.as_ref() != Some(reason) {
                shown.warnings.push(format!("{} on '{}' cannot be read: {reason}", owner, volume.name));
                told = Some(reason.clone());
            }
        }
        let path = place.path().display().to_string();
        shown.items.push(document::scope(owner, volume, &path, reading, enforcement));
    }
    Ok(())
}

impl Shown {
    /// Keeps the scopes of which at least so much is used, in percent. One whose usage is not counted is not among them,
    /// and is told of.
    pub fn over(&mut self, percent: f64) {
        for item in self.items.iter().filter(|item| item.get("used_bytes").is_none()) {
            let text = |key: &str| item[key].as_str().unwrap_or_default();
            if item.get("limit_bytes").is_some() {
                self.warnings.push(format!(
                    "usage of {} on '{}' is not known: {}",
                    text("owner"),
                    text("volume"),
                    text("used_bytes_unknown_reason")
                ));
            }
        }
        self.items.retain(|item| item["used_percent"].as_f64().is_some_and(|p| p >= percent));
    }
}
