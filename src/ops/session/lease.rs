//! Leases are renewed.

use std::time::Duration;

use super::visible;
use crate::domain::error::{Error, Result};
use crate::domain::holder::{Holder, Lease};
use crate::ops::liveness::Witness;
use crate::ops::{State, document};
use crate::plan::{Outcome, Plan};
use crate::registry::{Change, now};

/// Plans a renewal: the same length again from the present on, or another one. A session that nothing can be seen to hold
/// gets a lease by it. One that ran out is over: meanwhile its folders may have been taken away.
pub fn renew(state: &State<'_>, session: &str, length: Option<Duration>) -> Result<Plan> {
    let mut record = visible(state, session)?;
    let time = now();
    let lease = match (&record.lease, length) {
        (Some(lease), _) if lease.until <= time => {
            return Err(Error::conflict(format!("the lease of session {session} ended at {}", lease.until))
                .hint("its name is free: start it again"));
        }
        (Some(lease), None) => lease.renewed(time)?,
        (Some(_), Some(length)) => Lease::from(time, length)?,
        (None, Some(length)) if record.kernels.iter().all(|k| k.holder == Holder::Manual) => {
            Lease::from(time, length)?
        }
        (None, Some(_)) => {
            return Err(Error::conflict(format!(
                "the session {session} has no lease: it ends with what holds its kernels"
            )));
        }
        (None, None) => {
            return Err(Error::conflict(format!("the session {session} has no lease"))
                .hint(format!("give it one: vfadm session renew {session} --lease 12h")));
        }
    };
    let message = format!("session {session} has its lease until {}", lease.until);
    if record.lease.as_ref() == Some(&lease) {
        return Ok(Plan::unchanged(message));
    }
    record.lease = Some(lease);
    let mut plan = Plan::new(Outcome::Changed, message);
    plan.item = Some(document::session(state.registry, session, &record, &Witness::silent(state.registry))?);
    plan.changes.push(Change::put(session, &record)?);
    Ok(plan)
}
