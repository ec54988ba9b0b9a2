//! Room for vfadm's own work in a full project.
//!
//! XFS refuses a new entry to root too. The hard limit is raised for one call; the true one is parked in the soft limit
//! by the same system call, so that a command that is killed meanwhile leaves a limit that still reads right, and that
//! the next one puts back.

use super::tool::Tool;
use crate::domain::error::Result;
use crate::host;

/// Enough to make an entry, in KiB.
const ROOM: u64 = 4096;

/// Makes a call with room for it.
pub(super) fn with(tool: &Tool, id: u64, call: &mut dyn FnMut() -> host::Result<()>) -> Result<()> {
    let Some(line) = tool.one(id)?.filter(|line| line.has_limit()) else { return Ok(call()?) };
    let limit = line.limit();
    tool.limit(id, Some(limit), limit.max(line.used) + ROOM)?;
    let made = call();
    let restored = tool.limit(id, None, limit);
    made?;
    restored
}
