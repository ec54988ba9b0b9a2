//! Limits on the members of a scope's qgroup: an administrator may have set one with `btrfs qgroup limit`.

use super::{plain, qgroup};
use crate::domain::error::Result;
use crate::domain::size::Limit;
use crate::host::btrfs::qgroup_unlimit;
use crate::host::btrfs::qgroups::Qgroups;
use crate::host::dir::Dir;
use crate::quota::ScopeAt;

/// Members of level 0 with a limit, in bytes.
fn limited(volume: &Dir, scope: &ScopeAt<'_>) -> Result<Vec<(u64, u64)>> {
    let qgroups = Qgroups::of(volume)?;
    let mut found = Vec::new();
    for member in qgroups.members(qgroup(scope)?)?.into_iter().filter(|member| member >> 48 == 0) {
        found.extend(qgroups.least_limit(member)?.map(|bytes| (member, bytes)));
    }
    Ok(found)
}

pub(super) fn limits(volume: &Dir, scopes: &[ScopeAt<'_>]) -> Result<Vec<(usize, String)>> {
    let mut found = Vec::new();
    for (place, scope) in scopes.iter().enumerate().filter(|(_, scope)| scope.kernel_id.is_some()) {
        for (member, bytes) in limited(volume, scope)? {
            found.push((place, format!("qgroup 0/{member} has a limit of {}", Limit(Some(bytes)))));
        }
    }
    Ok(found)
}

pub(super) fn lift(scope: &ScopeAt<'_>) -> Result<()> {
    let volume = plain::open_volume(scope.volume)?;
    for (member, _) in limited(&volume, scope)? {
        qgroup_unlimit(&volume, member)?;
    }
    Ok(())
}
