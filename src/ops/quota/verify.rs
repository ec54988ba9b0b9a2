//! Proof that limits hold: a throw-away scope, and a write past its limit by somebody without rights.

use serde_json::{Value, json};

use crate::domain::error::Result;
use crate::domain::quota::{DriverKind, Enforcement};
use crate::domain::record::Volume;
use crate::domain::size;
use crate::host::error::errno_name;
use crate::ops::State;
use crate::plan::VolumeAt;
use crate::quota::{self, Proof};

/// Tries each volume, or one. A volume that cannot be tried is reported as not enforced, with the reason; the one that
/// was named is an error instead. The second part is true when every limit held.
pub fn verify(state: &State<'_>, only: Option<&str>, dry_run: bool) -> Result<(Vec<Value>, bool)> {
    let registry = state.registry;
    let volumes = match only {
        Some(name) => vec![(name.to_owned(), registry.require::<Volume>(name)?)],
        None => registry.all::<Volume>()?,
    };
    let (mut items, mut all_hold) = (Vec::new(), true);
    for (name, volume) in volumes {
        let at = VolumeAt::new(registry.header.registry, &name, &volume);
        let item = match of_volume(&at, dry_run) {
            Ok(item) => item,
            Err(error) if only.is_some() => return Err(error),
            Err(error) => not_enforced(&at, &error.message),
        };
        all_hold &= item["enforced"] == true || dry_run;
        items.push(item);
    }
    Ok((items, all_hold))
}

fn of_volume(at: &VolumeAt, dry_run: bool) -> Result<Value> {
    at.open()?;
    let driver = at.driver();
    let (enforcement, warning) = driver.enforcement(&at.path)?;
    match at.storage.driver {
        DriverKind::None => Ok(not_enforced(at, "the volume has the driver 'none'")),
        DriverKind::Dedicated => Ok(enforced(
            at,
            Enforcement::Volume,
            "the size of the filesystem is the limit; nothing was written".to_owned(),
        )),
        _ if dry_run => Ok(json!({
            "volume": at.name,
            "driver": at.storage.driver,
            "reason": "would try: a scope of 1 MiB, and a write past it by uid 65534",
        })),
        _ => Ok(judged(at, &quota::prove(&*driver, &at.path)?, enforcement, warning)),
    }
}

fn enforced(at: &VolumeAt, enforcement: Enforcement, reason: String) -> Value {
    json!({
        "volume": at.name,
        "driver": at.storage.driver,
        "enforced": true,
        "enforcement": enforcement,
        "reason": reason,
    })
}

fn not_enforced(at: &VolumeAt, reason: &str) -> Value {
    json!({
        "volume": at.name,
        "driver": at.storage.driver,
        "enforced": false,
        "enforcement": "not enforced",
        "reason": reason,
    })
}

fn judged(at: &VolumeAt, proof: &Proof, enforcement: Enforcement, warning: Option<String>) -> Value {
    let error = proof.errno.map(errno_name);
    let wrote = size::human(proof.written);
    let limit = size::human(proof.limit);
    let met = match &error {
        Some(error) => format!("uid 65534 wrote {wrote} under a limit of {limit} and got {error}"),
        None => format!("uid 65534 wrote {wrote} under a limit of {limit}, and nothing stopped it"),
    };
    let mut item = match proof.enforced {
        true => enforced(at, enforcement, warning.map_or_else(|| met.clone(), |w| format!("{met}; {w}"))),
        false => not_enforced(at, &met),
    };
    if let Value::Object(map) = &mut item {
        map.insert("errno".to_owned(), json!(error));
        map.insert("limit_bytes".to_owned(), json!(proof.limit));
        map.insert("written_bytes".to_owned(), json!(proof.written));
        map.insert("overshoot_bytes".to_owned(), json!(proof.written.saturating_sub(proof.limit)));
    }
    item
}
