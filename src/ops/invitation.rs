//! Invitations: a grant that waits for the consent of whoever is to have it.

use std::time::Duration;

use jiff::SignedDuration;
use serde_json::{Value, json};
use uuid::Uuid;

use super::resolve::{self, Folder};
use super::scope::Site;
use super::share::{open_to_others, regranted, require_no_dot, require_takers};
use super::{State, document};
use crate::domain::error::{Error, Result};
use crate::domain::name::printable;
use crate::domain::owner::{Owner, split_folder_key};
use crate::domain::permission::{self, Action, Actor, Level};
use crate::domain::record::{Invitation, InvitationState, Status, VFolder};
use crate::domain::reference::FolderRef;
use crate::plan::{Outcome, Plan};
use crate::registry::{Change, Registry, now};

/// How long an invitation waits, where nobody says.
pub const DEFAULT_TERM: Duration = Duration::from_secs(7 * 24 * 3600);

/// What `vfolder invite` was asked.
#[derive(Clone, Debug)]
pub struct Invite {
    /// To which folder.
    pub folder: FolderRef,
    /// Whom.
    pub users: Vec<String>,
    /// What they would get.
    pub level: Level,
    /// How long it waits.
    pub term: Duration,
}

/// Which invitations are listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// Those that the actor sent or got; all of them for the superadmin.
    Own,
    /// Those that the actor sent.
    Sent,
    /// Those that the actor got.
    Received,
}

/// What is answered to an invitation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The invitee takes it.
    Accept,
    /// The invitee does not want it.
    Reject,
    /// Whoever sent it, or the superadmin, takes it back.
    Cancel,
}

impl Answer {
    /// The word on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Answer::Accept => "accept",
            Answer::Reject => "reject",
            Answer::Cancel => "cancel",
        }
    }

    fn state(self) -> InvitationState {
        match self {
            Answer::Accept => InvitationState::Accepted,
            Answer::Reject => InvitationState::Rejected,
            Answer::Cancel => InvitationState::Canceled,
        }
    }
}

/// Plans invitations: all of them, or none.
pub fn invite(state: &State<'_>, request: &Invite) -> Result<Plan> {
    let folder = resolve::folder(state, &request.folder)?;
    let key = folder.key();
    resolve::require_manager(state, &folder.owner, "invite users to")?;
    open_to_others(state, &folder, Action::Invite)?;
    require_takers(state, &folder, &request.users)?;
    require_new(state, &folder, &request.users)?;
    let created_at = now();
    let term = SignedDuration::try_from(request.term).unwrap_or(SignedDuration::MAX);
    let expires_at = created_at
        .checked_add(term)
        .map_err(|_| Error::usage("an invitation cannot wait so long").hint("write --expires 7d"))?;
    let message = format!("{} invited to {key} ({})", request.users.join(", "), request.level);
    let mut plan = Plan::new(Outcome::Created, message);
    let mut items = Vec::new();
    for invitee in request.users.iter().cloned() {
        let id = Uuid::new_v4().to_string();
        let invitation = Invitation {
            vfolder: folder.record.id,
            inviter: state.actor.user().map(str::to_owned),
            invitee,
            permission: request.level,
            state: InvitationState::Pending,
            created_at,
            expires_at,
            extra: Default::default(),
        };
        items.push(document::invitation(&id, &invitation, &key));
        plan.changes.push(Change::put(id, &invitation)?);
    }
    plan.item = match items.len() {
        1 => items.pop(),
        count => Some(json!({"count": count, "items": items})),
    };
    Ok(plan)
}

/// Refuses users who have a grant or an invitation already, each by name (exit 4).
fn require_new(state: &State<'_>, folder: &Folder, users: &[String]) -> Result<()> {
    let pending = pending_of(state.registry, folder.record.id)?;
    let wrong: Vec<String> = users
        .iter()
        .filter_map(|user| {
            if let Some(level) = folder.record.shares.get(user) {
                return Some(format!("{user} has {level} already"));
            }
            let (id, _) = pending.iter().find(|(_, invitation)| invitation.invitee == *user)?;
            Some(format!("{user} is invited already ({})", &id[..8]))
        })
        .collect();
    match wrong.is_empty() {
        true => Ok(()),
        false => Err(Error::conflict(format!("{}: {}", folder.key(), wrong.join(", ")))
            .hint("a grant is changed by 'vfadm vfolder share', an invitation is taken back by 'vfadm invitation cancel'")),
    }
}

fn pending_of(registry: &Registry, folder: Uuid) -> Result<Vec<(String, Invitation)>> {
    let mut found = Vec::new();
    for id in registry.find_text::<Invitation>(&folder.to_string()) {
        let invitation: Invitation = registry.require(&id)?;
        if invitation.vfolder == folder && invitation.state_at(now()) == InvitationState::Pending {
            found.push((id, invitation));
        }
    }
    Ok(found)
}

/// Adds to a plan that the pending invitations of users who get a grant are over.
pub(super) fn supersede(state: &State<'_>, folder: &Folder, users: &[String], plan: &mut Plan) -> Result<()> {
    for (id, invitation) in pending_of(state.registry, folder.record.id)? {
        if users.contains(&invitation.invitee) {
            plan.changes
                .push(Change::put(id, &Invitation { state: InvitationState::Canceled, ..invitation })?);
        }
    }
    Ok(())
}

/// Adds to a plan that invitations end which mean nothing with another owner: those that the owner itself got, and those
/// of users who may invite to it no longer.
pub(super) fn owner_changes(state: &State<'_>, folder: Uuid, to: &Owner, plan: &mut Plan) -> Result<()> {
    let project = resolve::owning_project(state.registry, to)?;
    let manages = |user: &str| permission::manages(&Actor::User(user.to_owned()), to, project.as_ref());
    for (id, invitation) in pending_of(state.registry, folder)? {
        if manages(&invitation.invitee) || invitation.inviter.as_deref().is_some_and(|user| !manages(user)) {
            plan.changes
                .push(Change::put(id, &Invitation { state: InvitationState::Canceled, ..invitation })?);
        }
    }
    Ok(())
}

/// True when somebody is invited to a folder and has not answered.
pub(super) fn is_awaited(registry: &Registry, folder: Uuid) -> Result<bool> {
    Ok(!pending_of(registry, folder)?.is_empty())
}

fn folder_key(registry: &Registry, id: Uuid) -> Option<String> {
    registry.find_text::<VFolder>(&id.to_string()).into_iter().next()
}

/// What the folder of an invitation is called to the actor: by its id where it has gone, or is out of the actor's reach
/// and not offered.
fn name_of(state: &State<'_>, invitation: &Invitation) -> Result<String> {
    let id = invitation.vfolder;
    let key = folder_key(state.registry, id);
    let is_pending = invitation.state_at(now()) == InvitationState::Pending;
    let known = match (&key, state.actor.user()) {
        (None, _) => false,
        (_, None) => true,
        (_, Some(user)) if invitation.invitee == user && is_pending => true,
        (Some(key), _) => resolve::folder(state, &key.parse()?).is_ok(),
    };
    Ok(key.filter(|_| known).unwrap_or_else(|| format!("id:{id}")))
}

fn sees(actor: &Actor, invitation: &Invitation, which: Which) -> bool {
    let Some(user) = actor.user() else {
        return which != Which::Sent || invitation.inviter.is_none();
    };
    let sent = invitation.inviter.as_deref() == Some(user);
    let received = invitation.invitee == user;
    match which {
        Which::Own => sent || received,
        Which::Sent => sent,
        Which::Received => received,
    }
}

/// The documents of invitations, the newest first.
pub fn list(state: &State<'_>, which: Which) -> Result<Vec<Value>> {
    let mut all = state.registry.all::<Invitation>()?;
    all.retain(|(_, invitation)| sees(state.actor, invitation, which));
    all.sort_by(|(a, x), (b, y)| (y.created_at, a).cmp(&(x.created_at, b)));
    all.iter().map(|(id, i)| Ok(document::invitation(id, i, &name_of(state, i)?))).collect()
}

/// The pending invitations that the actor may answer so.
pub fn answerable(state: &State<'_>, answer: Answer) -> Result<Vec<Value>> {
    let which = match (answer, state.actor) {
        (Answer::Cancel, Actor::User(_)) => Which::Sent,
        _ => Which::Own,
    };
    let mut items = list(state, which)?;
    let user = state.actor.user();
    items.retain(|item| {
        item["state"] == "pending" && (answer == Answer::Cancel || item["invitee"].as_str() == user)
    });
    Ok(items)
}

/// The invitation that a prefix of its id means, among those that the actor can see (exit 3).
fn find(state: &State<'_>, prefix: &str) -> Result<(String, Invitation)> {
    let prefix = prefix.to_ascii_lowercase();
    let mut found = Vec::new();
    for (id, invitation) in state.registry.all::<Invitation>()? {
        let digits = id.replace('-', "");
        if (id.starts_with(&prefix) || digits.starts_with(&prefix))
            && sees(state.actor, &invitation, Which::Own)
        {
            found.push((id, invitation));
        }
    }
    match found.len() {
        1 => Ok(found.remove(0)),
        0 => Err(Error::not_found(format!("there is no invitation '{}'", printable(&prefix)))
            .hint("'vfadm invitation list' shows them")),
        _ => Err(Error::usage(format!(
            "'{}' may mean {}",
            printable(&prefix),
            found.iter().map(|(id, _)| id.as_str()).collect::<Vec<_>>().join(" or ")
        ))
        .hint("write more digits")),
    }
}

/// Plans an answer. The same answer twice is fine; another one after it is exit 4.
pub fn answer(state: &State<'_>, prefix: &str, answer: Answer) -> Result<Plan> {
    let (id, invitation) = find(state, prefix)?;
    let name = name_of(state, &invitation)?;
    require_right(state.actor, &invitation, answer)?;
    let message = match answer {
        Answer::Accept => format!("{} has {} on {name}", invitation.invitee, invitation.permission),
        Answer::Reject => format!("{} rejected the invitation to {name}", invitation.invitee),
        Answer::Cancel => format!("the invitation of {} to {name} canceled", invitation.invitee),
    };
    let answered = Invitation { state: answer.state(), ..invitation.clone() };
    match invitation.state_at(now()) {
        InvitationState::Pending => {}
        state if state == answer.state() => {
            let mut plan =
                Plan::unchanged(format!("the invitation {} is {} already", &id[..8], state.name()));
            plan.item = Some(document::invitation(&id, &invitation, &name));
            return Ok(plan);
        }
        over => {
            return Err(Error::conflict(format!("the invitation {} is {}", &id[..8], over.name()))
                .hint("it takes a new one: vfadm vfolder invite"));
        }
    }
    let mut plan = match answer {
        Answer::Accept => granted(state, &invitation, message)?,
        Answer::Reject | Answer::Cancel => Plan::new(Outcome::Changed, message),
    };
    plan.outcome = Outcome::Changed;
    plan.item = Some(document::invitation(&id, &answered, &name));
    plan.changes.push(Change::put(id, &answered)?);
    Ok(plan)
}

/// An invitation is its invitee's: nobody else can accept or reject it, the superadmin only in the invitee's name.
fn require_right(actor: &Actor, invitation: &Invitation, answer: Answer) -> Result<()> {
    let user = actor.user();
    let may = match answer {
        Answer::Cancel => user.is_none() || user == invitation.inviter.as_deref(),
        Answer::Accept | Answer::Reject => user == Some(invitation.invitee.as_str()),
    };
    if may {
        return Ok(());
    }
    let who = user.unwrap_or("the superadmin");
    let error = Error::not_permitted(format!("{who} may not {} this invitation", answer.name()));
    Err(match answer {
        Answer::Cancel => {
            error.hint("who sent it may, or the superadmin; to turn it down: vfadm invitation reject")
        }
        _ => error.hint(format!("only the invitee may: --as {}", invitation.invitee)),
    })
}

/// The grant of an accepted invitation.
fn granted(state: &State<'_>, invitation: &Invitation, message: String) -> Result<Plan> {
    let registry = state.registry;
    let gone = || Error::conflict("the vfolder of this invitation has gone");
    let key = folder_key(registry, invitation.vfolder).ok_or_else(gone)?;
    let (owner, name) = split_folder_key(&key).ok_or_else(gone)?;
    let record: VFolder = registry.require(&key)?;
    let folder = Folder { owner, name: name.to_owned(), record };
    require_no_dot(&folder)?;
    if folder.record.status != Status::Ready {
        return Err(Error::conflict(format!("the vfolder {key} is {}", folder.record.status.name()))
            .hint("it can be accepted when its owner has restored it"));
    }
    let project = resolve::owning_project(registry, &folder.owner)?;
    let inviter = invitation.inviter.clone().map_or(Actor::Superadmin, Actor::User);
    if !permission::manages(&inviter, &folder.owner, project.as_ref()) {
        return Err(Error::conflict(format!(
            "{} may not invite users to {key} any more",
            invitation.inviter.as_deref().unwrap_or_default()
        ))
        .hint("it takes a new invitation"));
    }
    require_takers(state, &folder, std::slice::from_ref(&invitation.invitee))?;
    let mut record = folder.record.clone();
    record.shares.insert(invitation.invitee.clone(), invitation.permission);
    let site = Site::of_folder(registry, &folder.owner, &folder.record)?;
    regranted(state, &folder, &site, record, std::slice::from_ref(&invitation.invitee), false, message)
}
