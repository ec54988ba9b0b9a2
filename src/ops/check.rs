//! What is not as it should be, in the registry and on the volumes; looks only.

use super::resolve::Folder;
use super::vfolder::not_ready;
use super::{Context, Reading, State, volume};
use crate::domain::error::Result;
use crate::domain::finding::Finding;
use crate::domain::record::{Status, VFolder};
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

/// The registry, and all volumes against it, looked at twice: what another command did meanwhile is no finding. What is found is found both times.
pub fn settled(ctx: &Context, reading: &Reading) -> Result<Vec<Finding>> {
    let first = all(reading, &reading.state(ctx))?;
    if first.is_empty() {
        return Ok(first);
    }
    let again = super::read(ctx)?;
    let mut findings = all(&again, &again.state(ctx))?;
    findings.retain(|found| first.iter().any(|f| (&f.code, &f.subject) == (&found.code, &found.subject)));
    Ok(findings)
}

fn all(reading: &Reading, state: &State<'_>) -> Result<Vec<Finding>> {
    let mut findings = registry(reading)?;
    findings.extend(left_half_done(reading)?);
    findings.extend(volume::check(state, None)?);
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    Ok(findings)
}

/// Folders whose purge or transfer was cut off.
fn left_half_done(reading: &Reading) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for (key, record) in reading.registry.all::<VFolder>()? {
        let Some(folder) = Folder::from(&key, record) else { continue };
        if matches!(folder.record.status, Status::Ready | Status::Trashed)
            || intent::long_work_on(&reading.root, folder.record.id)?.is_some()
        {
            continue;
        }
        let error = not_ready(&folder);
        let finding = Finding::warning(
            "work_cut_off",
            format!("vfolder {key}"),
            format!("{}, and no command is at work on it", error.message),
        );
        findings.push(match error.hint {
            Some(hint) => finding.repair(hint),
            None => finding,
        });
    }
    Ok(findings)
}
