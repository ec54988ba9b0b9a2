//! Why a user may do something with a folder, or may not.

use serde_json::{Value, json};

use super::State;
use super::resolve::{self, Folder};
use crate::domain::error::{Error, Result};
use crate::domain::name;
use crate::domain::owner::Owner;
use crate::domain::permission::{self, Action, Actor, Level, Rule, Source};
use crate::domain::record::{Status, User, Volume};
use crate::domain::reference::FolderRef;

/// What decides, and what would change it.
struct Verdict {
    allowed: bool,
    why: String,
    record: String,
    change: Option<String>,
}

fn allowed(why: String, record: String) -> Verdict {
    Verdict { allowed: true, why, record, change: None }
}

fn denied(why: String, record: String, change: impl Into<String>) -> Verdict {
    Verdict { allowed: false, why, record, change: Some(change.into()) }
}

/// The document of an explanation. It is the superadmin's question about a user: a folder out of the user's reach is
/// explained, not hidden.
pub fn explain(state: &State<'_>, action: Action, reference: &FolderRef) -> Result<Value> {
    let Some(user) = state.actor.user().map(str::to_owned) else {
        return Err(Error::usage("whose permission is to be explained?").hint("say whose: --as USER"));
    };
    if action == Action::Create {
        return create(state, &user, reference);
    }
    let folder = match reference {
        FolderRef::Bare(_) => resolve::folder(state, reference)?,
        _ => resolve::folder(&State { actor: &Actor::Superadmin, ..*state }, reference)?,
    };
    let project = resolve::owning_project(state.registry, &folder.owner)?;
    let reach = permission::level_of(&user, &folder.owner, &folder.record, project.as_ref());
    let verdict = judge(state, action, &folder, &user, reach)?;
    Ok(document(&user, action, &folder.key(), reach.map_or(Level::None, |(level, _)| level), verdict))
}

fn document(user: &str, action: Action, key: &str, level: Level, verdict: Verdict) -> Value {
    json!({
        "user": user,
        "action": action,
        "vfolder": key,
        "allowed": verdict.allowed,
        "level": level,
        "because": verdict.why,
        "record": verdict.record,
        "change": verdict.change,
    })
}

/// Whether a user may make a folder, which need not be there.
fn create(state: &State<'_>, user: &str, reference: &FolderRef) -> Result<Value> {
    let (owner, name) = resolve::new_folder(state.actor, reference)?;
    let known = resolve::owner(state.registry, &owner)?;
    let project = resolve::owning_project(state.registry, &owner)?;
    let (volume_name, volume) = resolve::volume(state.registry, None, &owner)?;
    let record = owner.to_string().replacen('/', " ", 1);
    let rule = Rule::of(&volume, Action::Create, &owner);
    let verdict = if !permission::manages(state.actor, &owner, project.as_ref()) {
        let change = match &owner {
            Owner::User(other) => format!("nothing does: it would be {other}'s"),
            Owner::Project(project) => format!("vfadm project add-member {project} {user} --role admin"),
        };
        denied(format!("{user} does not manage the folders of {owner}"), record, change)
    } else if !known.active {
        let change = format!("vfadm {} set {} --state active", owner.kind(), owner.name());
        denied(format!("{owner} is inactive"), record, change)
    } else if !rule.allows() {
        blocked(rule, &volume_name, Action::Create, &owner)
    } else {
        allowed(format!("{user} manages the folders of {owner}"), record)
    };
    let level = if verdict.allowed { Level::Rw } else { Level::None };
    Ok(document(user, Action::Create, &owner.folder_key(&name), level, verdict))
}

fn blocked(rule: Rule, volume: &str, action: Action, owner: &Owner) -> Verdict {
    let (whom, option) = match rule {
        Rule::BlockedForOwner => (owner.to_string(), format!(" --for {owner}")),
        _ => ("everybody".to_owned(), String::new()),
    };
    denied(
        format!("the volume '{volume}' blocks {} for {whom}", action.name()),
        format!("volume {volume}"),
        format!("vfadm volume allow {volume} {}{option}", action.name()),
    )
}

fn judge(
    state: &State<'_>,
    action: Action,
    folder: &Folder,
    user: &str,
    reach: Option<(Level, Source)>,
) -> Result<Verdict> {
    let key = folder.key();
    let own_record = format!("vfolder {key}");
    let volume_name = &folder.record.volume;
    let volume: Volume = state.registry.require(volume_name)?;
    let Some((level, source)) = reach else {
        return Ok(out_of_reach(folder, user));
    };
    let rule = Rule::of(&volume, action, &folder.owner);
    if !rule.allows() {
        return Ok(blocked(rule, volume_name, action, &folder.owner));
    }
    let project = resolve::owning_project(state.registry, &folder.owner)?;
    let actor = Actor::User(user.to_owned());
    let manages = permission::manages(&actor, &folder.owner, project.as_ref());
    let comes = comes_from(source, folder, level);
    Ok(match action {
        Action::Mount => match mountable(state, folder, user)? {
            Some(verdict) => verdict,
            None => allowed(
                format!("{comes}: sessions of {user} may mount it {level}"),
                record_of(source, folder),
            ),
        },
        Action::Clone if manages || folder.record.cloneable => {
            let why = if manages { comes } else { format!("{comes}, and it is cloneable") };
            allowed(why, own_record)
        }
        Action::Clone => denied(
            "it is not cloneable, and is somebody else's".to_owned(),
            own_record,
            format!("vfadm vfolder set {key} --cloneable"),
        ),
        Action::Share if matches!(folder.owner, Owner::User(_)) => denied(
            "a user's folder is shared by the superadmin only".to_owned(),
            own_record,
            format!("vfadm vfolder invite {key} USER --perm ro --as {user}"),
        ),
        Action::Share | Action::Invite if name::is_automatic(&folder.name) => denied(
            "a folder with a leading dot cannot be shared".to_owned(),
            own_record,
            format!("vfadm vfolder rename {key} NEWNAME"),
        ),
        _ if manages => allowed(comes, record_of(source, folder)),
        _ => denied(
            format!("{comes}, which does not let {user} {} it", action.name()),
            record_of(source, folder),
            match &folder.owner {
                Owner::User(owner) => format!("nothing does: it is {owner}'s"),
                Owner::Project(project) => {
                    format!("vfadm project add-member {project} {user} --role admin")
                }
            },
        ),
    })
}

fn out_of_reach(folder: &Folder, user: &str) -> Verdict {
    let key = folder.key();
    denied(
        match folder.record.shares.get(user) {
            Some(level) => format!("the grant of {user} is '{level}'"),
            None => format!("{user} has no grant on it"),
        },
        format!("vfolder {key}"),
        format!("vfadm vfolder share {key} --with {user} --perm ro"),
    )
}

/// Why it cannot be mounted, where that is so.
fn mountable(state: &State<'_>, folder: &Folder, user: &str) -> Result<Option<Verdict>> {
    let key = folder.key();
    if !permission::is_active(&state.registry.require::<User>(user)?) {
        return Ok(Some(denied(
            format!("{user} is inactive"),
            format!("user {user}"),
            format!("vfadm user set {user} --state active"),
        )));
    }
    Ok(match folder.record.status {
        Status::Ready => None,
        status => Some(denied(
            format!("it is {}", status.name()),
            format!("vfolder {key}"),
            match status {
                Status::Trashed => format!("vfadm vfolder restore {key}"),
                _ => "nothing does".to_owned(),
            },
        )),
    })
}

fn comes_from(source: Source, folder: &Folder, level: Level) -> String {
    match (source, &folder.owner) {
        (Source::Owner, owner) => format!("{owner} owns it"),
        (Source::ProjectAdmin, owner) => format!("an admin of {owner} manages it"),
        (Source::Project, owner) => format!("members of {owner} have {level}"),
        (Source::Share, _) => format!("a grant gives {level}"),
    }
}

fn record_of(source: Source, folder: &Folder) -> String {
    match source {
        Source::ProjectAdmin => folder.owner.to_string().replacen('/', " ", 1),
        _ => format!("vfolder {}", folder.key()),
    }
}
