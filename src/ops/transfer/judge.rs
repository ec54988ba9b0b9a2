//! Whether a folder can go to another owner or volume, and which way.

use std::path::Path;

use super::{Transfer, carried};
use crate::domain::error::{Error, Result};
use crate::domain::owner::Owner;
use crate::domain::permission::{self, Action, Actor};
use crate::domain::record::{Status, Transit, VFolder, Volume};
use crate::domain::reference::FolderRef;
use crate::host::process;
use crate::ops::purge::require_left_alone;
use crate::ops::resolve::{self, Folder};
use crate::ops::room::{self, Need};
use crate::ops::scope::Site;
use crate::ops::vfolder::{managed, not_ready, permission_for, require_use_of};
use crate::ops::{State, claim, in_use};
use crate::plan::Plan;
use crate::quota::{Handover, Work};
use crate::registry::Registry;
use crate::tree::Progress;
use crate::tree::measure::measure;

/// What a request comes to.
pub(super) enum Found {
    /// There is nothing to do.
    Settled(Plan),
    /// It goes this way.
    Way(Way),
    /// It is on this way, and is to come back.
    Back(Way),
}

/// From where to where, and how.
pub(super) struct Way {
    pub(super) folder: Folder,
    pub(super) from: Site,
    pub(super) to: Site,
    pub(super) route: Handover,
    /// What the record says of it while it is under way.
    pub(super) transit: Transit,
    /// True where it is under way.
    pub(super) begun: bool,
}

impl Way {
    /// The way of a folder that is under way.
    pub(super) fn of_transit(registry: &Registry, folder: Folder, transit: Transit) -> Result<Way> {
        let from = Site::of_folder(registry, &folder.owner, &folder.record)?;
        let volume: Volume = registry.require(&transit.volume)?;
        let to = Site::find(registry, &transit.to, &transit.volume, &volume)?;
        // What goes by one short call is never met on its way: it was to be copied.
        let route = match route(&folder, &from, &to) {
            Handover::AtOnce => Handover::Copied,
            route => route,
        };
        Ok(Way { route, folder, from, to, transit, begun: true })
    }

    /// True where one short change does it.
    pub(super) fn is_short(&self) -> bool {
        self.route == Handover::AtOnce && !self.begun
    }

    /// Where it waits meanwhile, below either scope.
    pub(super) fn aside(&self) -> String {
        VFolder { status: Status::Copying, ..self.folder.record.clone() }.place()
    }

    /// What it is before and after: usable, or in the trash.
    pub(super) fn final_status(&self) -> Status {
        if self.folder.record.trashed_at.is_some() { Status::Trashed } else { Status::Ready }
    }

    /// The record as it will be.
    pub(super) fn arrived(&self, registry: &Registry) -> Result<VFolder> {
        let record = carried(registry, &self.folder.record, &self.transit)?;
        Ok(VFolder { volume: self.to.place.volume.name.clone(), status: self.final_status(), ..record })
    }

    /// The long work, as a line of a plan.
    pub(super) fn describe(&self) -> String {
        let aside = self.aside();
        let (from, to) = (self.from.place.path().join(&aside), self.to.place.path().join(&aside));
        match self.route {
            Handover::Copied => {
                format!("copy {} to {}, and remove it", from.display(), to.display())
            }
            _ => format!("charge what is in {} to {}", from.display(), self.to.place.owner),
        }
    }

    /// The long work of taking it back.
    pub(super) fn describe_return(&self) -> String {
        let aside = self.aside();
        match self.route {
            Handover::Copied => format!("remove the copy {}", self.to.place.path().join(&aside).display()),
            _ => format!(
                "charge what is in {} to {}",
                self.from.place.path().join(&aside).display(),
                self.folder.owner
            ),
        }
    }

    /// What it takes of the new owner's room, bytes; `None` where nothing bounds that.
    pub(super) fn weigh(&self, progress: &dyn Progress) -> Result<Option<u64>> {
        if self.begun || (self.route != Handover::Copied && room::limit(&self.to)?.is_none()) {
            return Ok(None);
        }
        let place = &self.from.place;
        let dir = place.open_folder(Path::new(&self.folder.record.place()))?;
        // A copy takes in full what a clone shares with its source, and is not charged with.
        if self.route != Handover::Copied
            && let Some(bytes) = place.volume.driver().charge_of(&place.at(), &dir)?
        {
            return Ok(Some(bytes));
        }
        Ok(Some(measure(&dir, progress)?.allocated))
    }

    /// Refuses what the new owner's scope or the volume has no room for (exit 8).
    pub(super) fn require_room(&self, weight: Option<u64>) -> Result<()> {
        let Some(bytes) = weight else { return Ok(()) };
        let (key, need) = (self.folder.key(), Need { bytes, inodes: None });
        room::require_in_scope(&self.to, &key, need)?;
        match self.route {
            Handover::Copied => room::require_on_volume(&self.to, &key, need),
            _ => Ok(()),
        }
    }

    /// What the actor is told of a refusal that is the new owner's affair.
    pub(super) fn told(&self, state: &State<'_>, error: Error) -> Error {
        told(state, &self.folder, &self.to.place.owner, error)
    }
}

/// What shares blocks by a snapshot is copied: they may be charged for another folder, and would stay with its owner. So is a
/// plain directory in the place of what the storage moves: it is charged to nobody.
fn route(folder: &Folder, from: &Site, to: &Site) -> Handover {
    let (at, target) = (&from.place.volume, &to.place.volume);
    if at.name != target.name || folder.record.shares_blocks {
        return Handover::Copied;
    }
    match at.driver().handover(at.folders) {
        Handover::AtOnce if !from.is_of_kind(&folder.record) => Handover::Copied,
        route => route,
    }
}

/// A user learns that the new owner cannot take the folder, but not what that one has (exit 4).
fn told(state: &State<'_>, folder: &Folder, to: &Owner, error: Error) -> Error {
    let project = resolve::owning_project(state.registry, to).ok().flatten();
    if permission::manages(state.actor, to, project.as_ref()) {
        return error;
    }
    Error::conflict(format!("{to} cannot take the vfolder {}", folder.key()))
        .hint(format!("ask {}: name, number or room may be what is in the way", to.name()))
}

/// Judges a request by everything but the room.
pub(super) fn judge(state: &State<'_>, request: &Transfer) -> Result<Found> {
    let (folder, from) = managed(state, &request.folder, "transfer", Action::Modify)?;
    if request.permission.is_some() {
        permission_for(&request.to, request.permission)?;
    }
    let known = resolve::owner(state.registry, &request.to)?;
    let to = &request.to;
    if let Some(transit) = folder.record.transfer.clone() {
        return under_way(state, request, folder, transit);
    }
    let (name, volume) = target(state, request, &folder)?;
    if *to == folder.owner && name == folder.record.volume {
        let message = format!("vfolder {} is {to}'s, on '{name}', already", folder.key());
        return Ok(Found::Settled(Plan::unchanged(message)));
    }
    match folder.record.status {
        Status::Ready => {}
        Status::Trashed if request.trashed => {}
        _ => return Err(not_ready(&folder)),
    }
    require_open(state, to)?;
    known.require_active(to)?;
    to.may_own(&folder.name)?;
    require_use_of(&name, &volume, to)?;
    permission::require_action(&name, &volume, Action::Create, to)?;
    if *to != folder.owner {
        claim::require_free(state.registry, to, &folder.name, None)
            .map_err(|e| {
                e.hint(format!(
                    "give one of the two another name: vfadm vfolder rename {} NEWNAME",
                    folder.key()
                ))
            })
            .and_then(|()| claim::require_count(state.registry, to, &known, 1))
            .map_err(|e| told(state, &folder, to, e))?;
    }
    let to = Site::find(state.registry, to, &name, &volume)?;
    let transit = Transit {
        to: request.to.clone(),
        volume: name,
        permission: request.permission,
        boot_id: process::boot_id().to_owned(),
        copied: false,
    };
    let way = Way { route: route(&folder, &from, &to), folder, from, to, transit, begun: false };
    require_able(&way)?;
    require_left_alone(state, &way.folder)?;
    let path = way.from.place.path().join(way.folder.record.place());
    in_use::require_unused(state.registry, &way.folder.key(), &way.folder.record, &path)?;
    in_use::require_no_mount(&way.folder.key(), &path)?;
    Ok(Found::Way(way))
}

/// The volume that it goes to: the one that was named, else the present one, if the new owner may use it.
fn target(state: &State<'_>, request: &Transfer, folder: &Folder) -> Result<(String, Volume)> {
    let present: Volume = state.registry.require(&folder.record.volume)?;
    let stays =
        request.volume.is_none() && require_use_of(&folder.record.volume, &present, &request.to).is_ok();
    match stays {
        true => Ok((folder.record.volume.clone(), present)),
        false => resolve::volume(state.registry, request.volume.as_deref(), &request.to),
    }
}

/// A user hands nothing over to a project of strangers (exit 5).
fn require_open(state: &State<'_>, to: &Owner) -> Result<()> {
    let (Actor::User(user), Owner::Project(name)) = (state.actor, to) else { return Ok(()) };
    let project = resolve::owning_project(state.registry, to)?;
    match project.is_some_and(|p| p.members.contains_key(user)) {
        true => Ok(()),
        false => Err(Error::not_permitted(format!("{user} is no member of {to}"))
            .hint(format!("vfadm project add-member {name} {user}"))),
    }
}

fn require_able(way: &Way) -> Result<()> {
    for place in [&way.from.place, &way.to.place] {
        let driver = place.volume.driver();
        driver.require_able(Work::Folders(place.volume.folders))?;
        if way.route != Handover::Copied || !way.to.is_present() {
            driver.require_able(Work::Scope)?;
        }
    }
    way.from.place.open()?;
    way.to.place.volume.open().map(drop)
}

fn under_way(state: &State<'_>, request: &Transfer, folder: Folder, transit: Transit) -> Result<Found> {
    let back = request.to == folder.owner
        && request.volume.as_ref().is_none_or(|volume| *volume == folder.record.volume);
    let on =
        request.to == transit.to && request.volume.as_ref().is_none_or(|volume| *volume == transit.volume);
    require_left_alone(state, &folder)?;
    match (on, back) {
        (true, _) => Ok(Found::Way(Way::of_transit(state.registry, folder, transit)?)),
        (_, true) if transit.copied => Err(Error::conflict(format!(
            "the vfolder {} was copied to {} already, and cannot be taken back",
            folder.key(),
            transit.to
        ))
        .hint(format!("vfadm vfolder transfer {} {} ends it", folder.key(), transit.to))),
        (_, true) => Ok(Found::Back(Way::of_transit(state.registry, folder, transit)?)),
        _ => Err(not_ready(&folder)),
    }
}

/// Refuses unless an owner can hand over all its folders to another: everything that would refuse one of them is asked
/// before the first goes. The room is asked for all of them together.
pub fn require_all(state: &State<'_>, keys: &[String], to: &Owner, progress: &dyn Progress) -> Result<()> {
    let known = resolve::owner(state.registry, to)?;
    claim::require_count(state.registry, to, &known, keys.len() as u64)?;
    let mut ways: Vec<(Way, Option<u64>)> = Vec::new();
    for key in keys {
        let folder: FolderRef = key.parse()?;
        let request = Transfer { folder, to: to.clone(), volume: None, permission: None, trashed: true };
        if let Found::Way(way) = judge(state, &request)? {
            let before = |other: &Way| other.to.place.volume.name == way.to.place.volume.name;
            let taken: u64 = ways.iter().filter(|(other, _)| before(other)).filter_map(|(_, w)| *w).sum();
            let weight = way.weigh(progress)?;
            way.require_room(weight.map(|bytes| bytes.saturating_add(taken)))?;
            ways.push((way, weight));
        }
    }
    Ok(())
}
