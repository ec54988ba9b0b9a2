//! Whether a folder is in use: by a session of the registry, or by processes of this host.

use std::collections::HashSet;
use std::path::Path;

use serde_json::{Value, json};

use super::liveness::Witness;
use crate::domain::error::{Error, Result};
use crate::domain::record::{Holder, Kernel, Session, VFolder};
use crate::host::process;
use crate::registry::Registry;

/// True while any kernel of a session counts as alive.
pub fn session_is_alive(registry: &Registry, session: &Session) -> bool {
    Witness::new(registry).counts(session)
}

/// What a holder is, for people.
pub fn describe_holder(session: &Session, kernel: &Kernel) -> String {
    match (&kernel.holder, &session.lease) {
        (Holder::Manual, Some(lease)) => format!("lease until {}, on {}", lease.until, kernel.node),
        (Holder::Manual, None) => format!("{}, on {}", kernel.holder, kernel.node),
        _ => format!("{} on {}", kernel.holder, kernel.node),
    }
}

/// The living sessions that have a folder mounted.
pub fn sessions_with(registry: &Registry, folder: &VFolder) -> Result<Vec<(String, Session)>> {
    let witness = Witness::new(registry);
    let mut found = Vec::new();
    for key in registry.find_text::<Session>(&folder.id.to_string()) {
        if let Some(session) = registry.get::<Session>(&key)?
            && session.mounts.iter().any(|m| m.vfolder == folder.id)
            && witness.counts(&session)
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
    let witness = Witness::new(registry);
    let of = |s: &Session| s.mounts.iter().any(|m| folders.contains(&m.vfolder)) && witness.counts(s);
    Ok(sessions.filter(|(_, session)| of(session)).map(|(key, _)| key).collect())
}

/// Refuses while a session of the registry or a process of this host uses the folder (exit 6).
pub fn require_unused(registry: &Registry, key: &str, folder: &VFolder, path: &Path) -> Result<()> {
    let sessions = sessions_with(registry, folder)?;
    if !sessions.is_empty() {
        let witness = Witness::new(registry);
        let told: Vec<String> = sessions
            .iter()
            .map(|(name, s)| {
                let living = s.kernels.iter().filter(|k| witness.life(s, k).counts());
                format!("session {name} ({})", holders_in_short(s, living))
            })
            .collect();
        let names: Vec<&str> = sessions.iter().map(|(name, _)| name.as_str()).collect();
        return Err(Error::in_use(format!("the vfolder {key} is in use by {}", told.join(", ")))
            .hint(format!("end it first: vfadm session stop {}", names[0]))
            .detail("sessions", json!(names)));
    }
    let Some(target) = process::Target::of(path)? else { return Ok(()) };
    // What a session has there counts with the session, and with nobody once that has ended.
    let users = target.except_mounts_below(crate::session::places::PLACES).users()?;
    if users.is_empty() {
        return Ok(());
    }
    let told: Vec<String> = users.iter().take(5).map(ToString::to_string).collect();
    let more = if users.len() > 5 { format!(" and {} more", users.len() - 5) } else { String::new() };
    let pids: Vec<u32> = users.iter().map(|u| u.pid).collect();
    Err(Error::in_use(format!("the vfolder {key} is in use on this host by {}{more}", told.join(", ")))
        .hint("end these processes, or unmount it, first")
        .detail("pids", json!(pids))
        .detail("processes", processes(&users)))
}

/// What is mounted inside would be neither copied nor removed, and another owner's if it was moved (exit 6).
pub fn require_no_mount(key: &str, path: &Path) -> Result<()> {
    let mounts = process::own_mounts()?;
    match mounts.iter().find(|mount| mount.point != path && mount.point.starts_with(path)) {
        None => Ok(()),
        Some(mount) => {
            let point = mount.point.display();
            Err(Error::in_use(format!("{} is mounted at {point}, inside of {key}", mount.source))
                .hint(format!("umount {point}")))
        }
    }
}

/// Processes as facts for scripts.
pub fn processes(users: &[process::User]) -> Value {
    let fact = |u: &process::User| json!({"pid": u.pid, "command": u.command, "user": u.user, "how": u.how});
    users.iter().map(fact).collect()
}

/// The most holders that a message or a line of a table names.
const SHOWN: usize = 3;

/// What the holders of some kernels are, each once, for people.
pub fn holders_in_short<'a>(session: &Session, kernels: impl Iterator<Item = &'a Kernel>) -> String {
    let mut told: Vec<String> = Vec::new();
    for kernel in kernels {
        let holder = describe_holder(session, kernel);
        if !told.contains(&holder) {
            told.push(holder);
        }
    }
    let more = told.len().saturating_sub(SHOWN);
    told.truncate(SHOWN);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("{}{more}", told.join(", "))
}
