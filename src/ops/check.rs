//! What is not as it should be, in the registry and on the volumes; looks only.

use super::{Reading, State, volume};
use crate::domain::error::Result;
use crate::domain::finding::Finding;
use crate::plan::intent;
use crate::registry::validate;

/// The registry by itself, and changes that were cut off.
pub fn registry(reading: &Reading) -> Result<Vec<Finding>> {
    let mut findings = validate::validate(&reading.registry)?;
    for left in intent::left_behind(&reading.root)? {
        findings.push(
            Finding::warning(
                "change_cut_off",
                format!("'{}'", left.command),
                format!("it was cut off on {} at {}", left.host, left.since),
            )
            .repair("the next command that changes something tidies up"),
        );
    }
    Ok(findings)
}

/// The registry, and all volumes against it.
pub fn all(reading: &Reading, state: &State<'_>) -> Result<Vec<Finding>> {
    let mut findings = registry(reading)?;
    findings.extend(volume::check(state, None)?);
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    Ok(findings)
}
