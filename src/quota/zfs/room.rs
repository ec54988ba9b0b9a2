//! Room for vfadm's own work in a full dataset.
//!
//! The quota is raised for one call. ZFS takes no quota below what is used, and more than the limit may be used: then
//! the quota stays where it is taken, which leaves no room either, and the true limit stays parked in a property of the
//! dataset. That is also what a command that was killed meanwhile leaves; the next one that raises or sets the limit
//! puts it right, and an audit finds it.

use super::tool::{self, PARKED};
use crate::domain::error::Result;
use crate::host;

/// Enough to make or move an entry (128 KiB were, in a trial).
const ROOM: u64 = 4 << 20;
/// How often the quota is brought down while a tenant goes on to write.
const ATTEMPTS: u32 = 4;

/// Makes a call with room for it.
pub(super) fn with(dataset: &str, call: &mut dyn FnMut() -> host::Result<()>) -> Result<()> {
    let found = tool::get(dataset, &tool::LIMITS)?.unwrap_or_default();
    let Some(properties) = found.of(dataset) else { return Ok(call()?) };
    let reading = properties.reading();
    let Some(limit) = reading.limit else { return Ok(call()?) };
    if !properties.is_raised() {
        tool::change("set", &[&format!("{PARKED}={limit}"), dataset])?;
    }
    let raised = limit.max(reading.used.unwrap_or(0)).saturating_add(ROOM);
    let made = tool::change("set", &[&format!("quota={raised}"), dataset]).and_then(|()| Ok(call()?));
    let restored = restore(dataset);
    made.and(restored)
}

/// Brings the quota back to the limit, or as near to it as ZFS takes it.
pub(super) fn restore(dataset: &str) -> Result<()> {
    let found = tool::get(dataset, &tool::LIMITS)?.unwrap_or_default();
    let Some(limit) = found.of(dataset).and_then(|p| p.number(PARKED)) else { return Ok(()) };
    let mut slack = 0;
    for attempt in 0..ATTEMPTS {
        let wanted = if attempt == 0 { limit } else { limit.max(tool::used(dataset)? + slack) };
        match tool::change("set", &[&format!("quota={wanted}"), dataset]) {
            Ok(()) if wanted == limit => return forget(dataset),
            Ok(()) => return Ok(()),
            Err(error) if tool::is_too_small(&error.message) && attempt + 1 < ATTEMPTS => {}
            Err(error) => return Err(error),
        }
        slack = (slack * 2).max(if attempt == 0 { 0 } else { 128 << 10 });
    }
    Ok(())
}

/// The quota is the limit again.
pub(super) fn forget(dataset: &str) -> Result<()> {
    let found = tool::get(dataset, &[PARKED])?.unwrap_or_default();
    if found.of(dataset).and_then(|p| p.number(PARKED)).is_some() {
        tool::change("inherit", &[PARKED, dataset])?;
    }
    Ok(())
}
