//! The places of checked handles on this host: which a session needs, and which have to go.

use std::path::PathBuf;

use uuid::Uuid;

use super::State;
use super::scope::Site;
use super::session::Planned;
use crate::domain::error::{Error, Result};
use crate::domain::permission::Level;
use crate::domain::record::Session;
use crate::host::process;
use crate::plan::{Plan, Step};
use crate::registry::Registry;
use crate::session::places::{self, Mark};

/// The sessions that have places here although the registry does not know them (any more), and `gone`, which are about
/// to leave it. Places of other registries are theirs; what has no mark is nobody's, and gets the id of no session.
pub fn stale(registry: &Registry, gone: &[&str]) -> Result<Vec<(String, Uuid)>> {
    let mut stale = Vec::new();
    for (name, mark) in places::all()? {
        let Some(mark) = mark else {
            if !registry.contains::<Session>(&name) {
                stale.push((name, Uuid::nil()));
            }
            continue;
        };
        if mark.registry != registry.header.registry {
            continue;
        }
        let known = registry.get::<Session>(&name)?.is_some_and(|session| session.id == mark.session);
        if !known || gone.contains(&name.as_str()) {
            stale.push((name, mark.session));
        }
    }
    Ok(stale)
}

/// Has a plan that ends the sessions `gone` take their places away after the commit, and what earlier runs left.
pub fn tidy(registry: &Registry, gone: &[&str], plan: &mut Plan) -> Result<()> {
    let sessions = stale(registry, gone)?;
    if !sessions.is_empty() {
        plan.after.push(Step::ReleasePlaces { sessions });
    }
    Ok(())
}

/// The same before the plan of a new session of this name.
pub fn make_room(registry: &Registry, session: &str, plan: &mut Plan) -> Result<()> {
    let sessions = stale(registry, &[session])?;
    if !sessions.is_empty() {
        plan.steps.push(Step::ReleasePlaces { sessions });
    }
    Ok(())
}

/// Has a plan bind what a new session mounts of the insides of folders, where the engine finds it.
pub fn bind(state: &State<'_>, session: &str, id: Uuid, planned: &Planned, plan: &mut Plan) -> Result<()> {
    let mark = Mark { registry: state.registry.header.registry, session: id };
    let inner = planned.mounts.mounts.iter().enumerate().filter(|(_, mount)| !mount.subpath.is_empty());
    for (number, mount) in inner {
        if places::owner(session)?.is_some_and(|other| other.registry != mark.registry) {
            return Err(Error::conflict(format!(
                "a session {session} of another root has mounts in {} on this host",
                places::PLACES
            ))
            .hint(format!(
                "choose another name; if that root is gone: umount {0}/{session}/* and rm -r {0}/{session}",
                places::PLACES
            )));
        }
        // What an earlier start has bound is not this one's to take away again.
        if places::is_bound(session, &mark, number)? {
            continue;
        }
        let folder = &planned.reach[mount.candidate].folder;
        let site = Site::of_folder(state.registry, &folder.owner, &folder.record)?;
        plan.steps.push(Step::BindPlace {
            session: session.to_owned(),
            host: process::hostname(),
            mark: mark.clone(),
            number,
            scope: site.place,
            folder: PathBuf::from(folder.record.place()),
            subpath: PathBuf::from(&mount.subpath),
            read_only: mount.permission < Level::Rw,
        });
    }
    Ok(())
}
