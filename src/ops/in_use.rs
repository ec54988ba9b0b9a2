//! Whether a folder is in use: by a session of the registry, or by processes of this host.

use std::collections::HashSet;
use std::path::Path;

use serde_json::json;

use crate::domain::error::{Error, Result};
use crate::domain::record::{Holder, Kernel, Session, VFolder};
use crate::host::process;
use crate::registry::Registry;

/// True while the holder of a kernel lives. A kernel of another host counts as alive, and so does everything where
/// `/proc` cannot be asked.
pub fn is_alive(kernel: &Kernel) -> bool {
    match &kernel.holder {
        Holder::Manual => true,
        Holder::Process { pid, start_time, boot_id } => {
            let here = process::boot_id();
            if kernel.node != process::hostname() || here.is_empty() {
                return true;
            }
            boot_id == here && process::start_time(*pid) == Some(*start_time)
        }
    }
}

/// True while any kernel of a session lives.
pub fn session_is_alive(session: &Session) -> bool {
    session.kernels.iter().any(is_alive)
}

/// What a holder is, for people.
pub fn describe_holder(kernel: &Kernel) -> String {
    match &kernel.holder {
        Holder::Manual => format!("until 'vfadm session stop', on {}", kernel.node),
        Holder::Process { pid, .. } => format!("pid {pid} on {}", kernel.node),
    }
}

/// The living sessions that have a folder mounted.
pub fn sessions_with(registry: &Registry, folder: &VFolder) -> Result<Vec<(String, Session)>> {
    let mut found = Vec::new();
    for key in registry.find_text::<Session>(&folder.id.to_string()) {
        if let Some(session) = registry.get::<Session>(&key)?
            && session.mounts.iter().any(|m| m.vfolder == folder.id)
            && session_is_alive(&session)
        {
            found.push((key, session));
        }
    }
    Ok(found)
}

/// The living sessions that have a folder of a volume mounted.
pub fn sessions_on(registry: &Registry, volume: &str) -> Result<Vec<String>> {
    let folders = registry.all::<VFolder>()?.into_iter().filter(|(_, f)| f.volume == volume);
    let folders: HashSet<_> = folders.map(|(_, f)| f.id).collect();
    let sessions = registry.all::<Session>()?.into_iter();
    let of = |s: &Session| s.mounts.iter().any(|m| folders.contains(&m.vfolder)) && session_is_alive(s);
    Ok(sessions.filter(|(_, session)| of(session)).map(|(key, _)| key).collect())
}

/// Refuses while a session of the registry or a process of this host uses the folder (exit 6).
pub fn require_unused(registry: &Registry, key: &str, folder: &VFolder, path: &Path) -> Result<()> {
    let sessions = sessions_with(registry, folder)?;
    if !sessions.is_empty() {
        let told: Vec<String> = sessions
            .iter()
            .map(|(name, s)| {
                let by: Vec<String> = s.kernels.iter().filter(|k| is_alive(k)).map(describe_holder).collect();
                format!("session {name} ({})", by.join(", "))
            })
            .collect();
        let names: Vec<&str> = sessions.iter().map(|(name, _)| name.as_str()).collect();
        return Err(Error::in_use(format!("the vfolder {key} is in use by {}", told.join(", ")))
            .hint(format!("end it first: vfadm session stop {}", names[0]))
            .detail("sessions", json!(names)));
    }
    let Some(target) = process::Target::of(path)? else { return Ok(()) };
    let users = target.users()?;
    if users.is_empty() {
        return Ok(());
    }
    let told: Vec<String> =
        users.iter().take(5).map(|u| format!("pid {} ({}, {})", u.pid, u.command, u.how)).collect();
    let more = if users.len() > 5 { format!(" and {} more", users.len() - 5) } else { String::new() };
    let pids: Vec<u32> = users.iter().map(|u| u.pid).collect();
    Err(Error::in_use(format!("the vfolder {key} is in use on this host by {}{more}", told.join(", ")))
        .hint("end these processes, or unmount it, first")
        .detail("pids", json!(pids)))
}
