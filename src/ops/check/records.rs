//! What the registry and this host say by themselves: work that was cut off, time that is over, files that cannot be
//! read.

use super::found::{Found, Mend};
use super::known::Known;
use super::own;
use crate::domain::error::Result;
use crate::domain::finding::Finding;
use crate::domain::holder::Life;
use crate::domain::record::{Invitation, InvitationState, Session, Status, VFolder};
use crate::ops::liveness::Witness;
use crate::ops::resolve::Folder;
use crate::ops::vfolder::not_ready;
use crate::ops::{State, places};
use crate::registry::{Root, backups, history, now};
use crate::session::places::PLACES;

/// All of it.
pub fn look(state: &State<'_>, known: &Known) -> Result<Vec<Found>> {
    let mut found = left_half_done(state, known)?;
    found.extend(expired(state)?);
    found.extend(dead(state)?);
    found.extend(left_places(state)?);
    found.extend(unreadable(state.root)?);
    let root = state.root.dir();
    found.extend(own::files(root, root.stat_self()?.st_uid)?);
    Ok(found)
}

/// Folders whose purge, clone or transfer was cut off.
fn left_half_done(state: &State<'_>, known: &Known) -> Result<Vec<Found>> {
    let mut found = Vec::new();
    for (key, record) in state.registry.all::<VFolder>()? {
        let Some(folder) = Folder::from(&key, record) else { continue };
        let record = &folder.record;
        if matches!(record.status, Status::Ready | Status::Trashed) || known.is_worked_on(record.id) {
            continue;
        }
        let error = not_ready(&folder);
        let message = format!("{}, and no command is at work on it", error.message);
        let finding = Finding::warning("work_cut_off", format!("vfolder {key}"), message);
        let hint = error.hint.map(|hint| format!("; or: {hint}")).unwrap_or_default();
        let (finding, mend, how) = match (&record.transfer, &record.clone) {
            (Some(transit), _) => {
                let how = if transit.copied { "ends it" } else { "takes it back" };
                (finding, Mend::Transfer { key, on: transit.copied }, how)
            }
            _ if record.status == Status::Purging => (finding, Mend::Purge { key }, "finishes that"),
            (_, Some(clone)) if known.folder(clone.of).is_some() => {
                (finding, Mend::Purge { key }, "drops the unfinished copy")
            }
            _ => (finding.losing(), Mend::Purge { key }, "drops what there is of it"),
        };
        found.push(Found::mended(finding, mend, &format!("{how}{hint}")).about(record.id));
    }
    Ok(found)
}

/// Invitations whose time is over, and which are still written down as pending.
fn expired(state: &State<'_>) -> Result<Vec<Found>> {
    let now = now();
    let mut found = Vec::new();
    for (id, invitation) in state.registry.all::<Invitation>()? {
        if invitation.state_at(now) == invitation.state
            || invitation.state_at(now) != InvitationState::Expired
        {
            continue;
        }
        let message = format!("its time was over at {}", invitation.expires_at);
        let finding = Finding::warning("invitation_expired", format!("invitation {id}"), message);
        found.push(Found::mended(finding, Mend::Expire { id }, "writes that down"));
    }
    Ok(found)
}

/// Sessions with kernels that have gone.
fn dead(state: &State<'_>) -> Result<Vec<Found>> {
    let witness = Witness::new(state.registry);
    let mut found = Vec::new();
    for (name, session) in state.registry.all::<Session>()? {
        let gone = |kernel| match witness.life(&session, kernel) {
            Life::Gone(why) => Some(format!("{}: {why}", kernel.name)),
            _ => None,
        };
        let gone: Vec<String> = session.kernels.iter().filter_map(gone).collect();
        if gone.is_empty() && !session.kernels.is_empty() {
            continue;
        }
        let message = match gone.len() == session.kernels.len() {
            true => format!("it has no kernel left ({})", gone.join("; ")),
            false => format!(
                "of its {} kernels {} have gone ({})",
                session.kernels.len(),
                gone.len(),
                gone.join("; ")
            ),
        };
        let finding = Finding::warning("session_dead", format!("session {name}"), message);
        found.push(Found::mended(
            finding,
            Mend::Prune,
            "removes what is over, as 'vfadm session prune' does",
        ));
    }
    Ok(found)
}

/// Mounts on this host of sessions that have ended.
fn left_places(state: &State<'_>) -> Result<Vec<Found>> {
    let left = places::stale(state.registry, &[])?.into_iter();
    Ok(left
        .map(|(name, _)| {
            let message = format!("it has ended, and has mounts in {PLACES}/{name}");
            let finding = Finding::warning("places_left", format!("session {name}"), message);
            Found::mended(finding, Mend::Prune, "takes them away")
        })
        .collect())
}

/// Backups and lines of the history that cannot be read.
fn unreadable(root: &Root) -> Result<Vec<Found>> {
    let mut found = Vec::new();
    for (path, error) in backups::broken(root)? {
        let finding = Finding::warning("backup_unreadable", path.display().to_string(), error.message);
        found.push(Found::by_hand(finding.repair(format!("rm {}", path.display()))));
    }
    let (_, warnings) = history::read(root, "")?;
    for warning in warnings {
        let (path, message) = warning.split_once(": ").unwrap_or(("history", &warning));
        let finding = Finding::warning("history_unreadable", path, message);
        found.push(Found::by_hand(finding.repair("take the line out of the file, if nobody can mend it")));
    }
    Ok(found)
}
