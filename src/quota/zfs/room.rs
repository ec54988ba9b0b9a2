//! Room for vfadm's own work in a full dataset.
//!
//! The quota is raised for one call, by little: a tenant who goes on writing takes what he can get of it. ZFS takes no
//! quota below what is used, and more than the limit may be used: then the quota stays where it is taken, which leaves no
//! room either, and the true limit stays parked in a property of the dataset. That is also what a command that was killed
//! meanwhile leaves. Until the quota is the limit again the storage holds another limit than the registry, which a check
//! finds; the next one that raises or sets the limit, a purge, or an audit puts it right.

use nix::libc;

use super::tool::{self, PARKED};
use crate::domain::error::{Error, Result};
use crate::domain::size;
use crate::host;

/// Enough to make or move an entry (128 KiB were, in a trial), doubled at each attempt.
const ROOM: u64 = 1 << 20;
/// How often it is tried while a tenant goes on to write.
const ATTEMPTS: u32 = 4;

/// How far above what is used the quota is tried when it is brought down, bytes.
const SLACK: [u64; 5] = [0, 256 << 10, 1 << 20, 2 << 20, 4 << 20];

/// Makes a call with room for it.
pub(super) fn with(dataset: &str, call: &mut dyn FnMut() -> host::Result<()>) -> Result<()> {
    let found = tool::get(dataset, &tool::LIMITS)?.unwrap_or_default();
    let Some(properties) = found.of(dataset) else { return Ok(call()?) };
    let Some(limit) = properties.limit() else { return Ok(call()?) };
    if !properties.is_raised() {
        tool::change("set", &[&format!("{PARKED}={limit}"), dataset])?;
    }
    let mut made = Ok(());
    for attempt in 0..ATTEMPTS {
        let raised = limit.max(tool::used(dataset)?).saturating_add(ROOM << attempt);
        made = match tool::change("set", &[&format!("quota={raised}"), dataset]) {
            // More was written since it was asked how much is used.
            Err(error) if tool::is_too_small(&error.message) => Err(error),
            Err(error) => {
                made = Err(error);
                break;
            }
            Ok(()) => match call() {
                Err(e) if e.errno() == Some(libc::EDQUOT) => Err(e.into()),
                other => {
                    made = other.map_err(Error::from);
                    break;
                }
            },
        };
    }
    // What cannot be brought down at once is found by a check, and is no failure of the call.
    bring_down(dataset)?;
    made
}

/// Brings the quota back to the limit, or as near to it as ZFS takes it; true when it is the limit.
fn bring_down(dataset: &str) -> Result<bool> {
    let found = tool::get(dataset, &tool::LIMITS)?.unwrap_or_default();
    let Some(limit) = found.of(dataset).and_then(|p| p.number(PARKED)) else { return Ok(true) };
    // What is used is known to ZFS some seconds after it was written: the quota is tried lower first, then higher.
    for slack in std::iter::once(None).chain(SLACK.map(Some)) {
        let wanted = match slack {
            None => limit,
            Some(slack) => limit.max(tool::used(dataset)?.saturating_add(slack)),
        };
        match tool::change("set", &[&format!("quota={wanted}"), dataset]) {
            Ok(()) if wanted == limit => return forget(dataset).map(|()| true),
            Ok(()) => return Ok(false),
            Err(error) if tool::is_too_small(&error.message) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(false)
}

/// Brings the quota back to the limit; an error where more is used.
pub(super) fn restore(dataset: &str) -> Result<()> {
    if bring_down(dataset)? {
        return Ok(());
    }
    Err(Error::storage(format!(
        "the quota of {dataset} stays above the limit while {} are used",
        size::human(tool::used(dataset)?)
    )))
}

/// Brings the quota back to the limit where something was removed, as far as it can be.
pub(super) fn settle(dataset: &str) -> Result<()> {
    bring_down(dataset).map(drop)
}

/// The quota is the limit again.
pub(super) fn forget(dataset: &str) -> Result<()> {
    let found = tool::get(dataset, &[PARKED])?.unwrap_or_default();
    if found.of(dataset).and_then(|p| p.number(PARKED)).is_some() {
        tool::change("inherit", &[PARKED, dataset])?;
    }
    Ok(())
}
