//! Which actions a volume allows, for everybody or for one owner.

use crate::domain::error::Result;
use crate::domain::owner::Owner;
use crate::domain::permission::Action;
use crate::domain::record::Volume;
use crate::ops::{State, document, in_use, resolve, sidecar};
use crate::plan::{Outcome, Plan, Step, VolumeAt};
use crate::registry::{Change, Registry};

/// Plans to allow or block actions. A rule for one owner stands whatever is said for everybody.
pub fn set_actions(
    state: &State<'_>,
    name: &str,
    actions: &[Action],
    allow: bool,
    owner: Option<&Owner>,
) -> Result<Plan> {
    let registry = state.registry;
    let before: Volume = registry.require(name)?;
    let mut volume = before.clone();
    match owner {
        None if allow => volume.blocked.retain(|action| !actions.contains(action)),
        None => add(&mut volume.blocked, actions),
        Some(owner) => {
            resolve::owner(registry, owner)?;
            let key = owner.to_string();
            let (to, from) = match allow {
                true => (&mut volume.allowed_for, &mut volume.blocked_for),
                false => (&mut volume.blocked_for, &mut volume.allowed_for),
            };
            add(to.entry(key.clone()).or_default(), actions);
            if let Some(rules) = from.get_mut(&key) {
                rules.retain(|action| !actions.contains(action));
            }
            from.retain(|_, rules| !rules.is_empty());
        }
    }
    let words: Vec<&str> = actions.iter().map(|action| action.name()).collect();
    let message = format!(
        "the volume '{name}' {} {} for {}",
        if allow { "allows" } else { "blocks" },
        words.join(", "),
        owner.map_or("everybody".to_owned(), Owner::to_string)
    );
    let rules = |v: &Volume| (v.blocked.clone(), v.blocked_for.clone(), v.allowed_for.clone());
    let mut plan = if rules(&before) == rules(&volume) {
        Plan::unchanged(message)
    } else {
        let mut plan = Plan::new(Outcome::Changed, message);
        put(registry, name, &volume, &mut plan)?;
        if !allow && actions.contains(&Action::Mount) {
            plan.warnings.extend(still_mounted(state, name)?);
        }
        plan
    };
    plan.item = Some(document::volume(registry, name, &volume));
    Ok(plan)
}

/// Adds to a plan that no volume has a rule for an owner any more.
pub fn forget_owner(registry: &Registry, owner: &Owner, plan: &mut Plan) -> Result<()> {
    let key = owner.to_string();
    for (name, mut volume) in registry.all::<Volume>()? {
        let blocked = volume.blocked_for.remove(&key);
        if volume.allowed_for.remove(&key).or(blocked).is_some() {
            put(registry, &name, &volume, plan)?;
        }
    }
    Ok(())
}

/// Adds to a plan a volume's record and its marker.
fn put(registry: &Registry, name: &str, volume: &Volume, plan: &mut Plan) -> Result<()> {
    plan.changes.push(Change::put(name, volume)?);
    let at = VolumeAt::new(registry.header.registry, name, volume);
    match at.open() {
        Ok(_) => {
            let marker = sidecar::marker(registry, name, volume);
            plan.after.push(Step::Mark { volume: at, marker, update: true });
        }
        Err(error) => {
            plan.warnings.push(format!("the marker of '{name}' was not written: {}", error.message))
        }
    }
    Ok(())
}

fn add(rules: &mut Vec<Action>, actions: &[Action]) {
    rules.extend(actions);
    rules.sort_unstable();
    rules.dedup();
}

/// A block does not reach what is mounted.
fn still_mounted(state: &State<'_>, name: &str) -> Result<Option<String>> {
    let sessions = in_use::sessions_on(state.registry, name)?;
    Ok((!sessions.is_empty())
        .then(|| format!("what is mounted stays mounted until these sessions end: {}", sessions.join(", "))))
}
