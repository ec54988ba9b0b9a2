//! Whether a folder can be cloned, and which way.

use std::path::Path;

use uuid::Uuid;

use super::{Clone, both_ways};
use crate::domain::error::{Error, Result};
use crate::domain::permission::{self, Action};
use crate::domain::quota::{DriverKind, Folders};
use crate::domain::record::{Cloning, Status, VFolder, Volume};
use crate::domain::size;
use crate::host::process;
use crate::host::reflink::can_share;
use crate::ops::resolve::{self, Folder};
use crate::ops::room::Need;
use crate::ops::scope::Site;
use crate::ops::vfolder::{permission_for, require_ready, require_use_of};
use crate::ops::{State, claim, in_use};
use crate::plan::VolumeAt;
use crate::plan::intent::long_work_on;
use crate::quota::Work;
use crate::registry::now;
use crate::tree::Progress;
use crate::tree::measure::measure;

/// How the new folder comes to its content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Means {
    /// The storage's own snapshot, whatever the size.
    Snapshot,
    /// The storage's own stream.
    Stream,
    /// File by file; extents are shared where the storage can.
    Reflink,
    /// File by file.
    Copy,
}

impl Means {
    /// The word in documents.
    pub(super) fn word(self) -> &'static str {
        match self {
            Means::Snapshot => "snapshot",
            Means::Stream => "stream",
            Means::Reflink => "reflink",
            Means::Copy => "copy",
        }
    }
}

/// What a new dataset itself may take of its scope's limit, bytes (some 100 KiB were, in a trial). Where it is not
/// there, ZFS would not take the limit back.
const DATASET: u64 = 1 << 20;

/// What there is to copy.
#[derive(Clone, Copy, Debug)]
pub(super) struct Weight {
    pub(super) need: Need,
    /// Names of the source, as progress counts them.
    pub(super) entries: u64,
}

/// From where to where, and how.
#[derive(Clone)]
pub(super) struct Way {
    pub(super) source: Folder,
    pub(super) from: Site,
    /// The new folder, as it is recorded while it is filled.
    pub(super) target: Folder,
    pub(super) to: Site,
    pub(super) means: Means,
    /// Whether the new folder is charged rightly for what it shares with the source.
    pub(super) may_share: bool,
    /// True where an earlier run recorded it.
    pub(super) begun: bool,
}

impl Way {
    /// What there is to copy, where that has to be known.
    pub(super) fn weigh(&self, progress: &dyn Progress) -> Result<Option<Weight>> {
        let of_bytes = |bytes| Some(Weight { need: Need { bytes, inodes: None }, entries: 0 });
        match self.means {
            Means::Snapshot if self.to.place.volume.folders == Folders::Dataset => {
                return Ok(of_bytes(DATASET));
            }
            Means::Snapshot if !self.charges_both() => return Ok(None),
            _ => {}
        }
        let place = &self.from.place;
        let dir = place.open_folder(Path::new(&self.source.record.place()))?;
        // Of a folder that was cloned itself a stream carries more than it is charged with.
        if self.means == Means::Snapshot
            && let Some(bytes) = place.volume.driver().charge_of(&place.at(), &dir)?
        {
            return Ok(of_bytes(bytes));
        }
        let measured = measure(&dir, progress)?;
        let inodes = measured.files + measured.directories + measured.symlinks + measured.others;
        let need = Need { bytes: measured.allocated, inodes: Some(inodes) };
        Ok(Some(Weight { need, entries: inodes }))
    }

    /// False where the copy shares its blocks with the source.
    pub(super) fn takes_blocks(&self) -> bool {
        matches!(self.means, Means::Stream | Means::Copy)
    }

    /// True where what source and clone share is charged to the owners of both.
    pub(super) fn charges_both(&self) -> bool {
        self.may_share && !is_same_scope(&self.from, &self.to)
    }

    /// How it goes, as a line of a plan.
    pub(super) fn describe(&self, weight: Option<Weight>) -> String {
        let (source, target) = (self.source.key(), self.target.key());
        let what = weight.map_or_else(String::new, |Weight { need, .. }| match need.inodes {
            Some(inodes) => format!(": {inodes} inodes, {}", size::human(need.bytes)),
            None if self.means == Means::Snapshot => String::new(),
            None => format!(": {}", size::human(need.bytes)),
        });
        format!("clone {source} as {target} by {}{what}", self.means.word())
    }

    /// How it will have ended.
    pub(super) fn message(&self) -> String {
        let (source, target) = (self.source.key(), self.target.key());
        match is_same_volume(&self.from, &self.to) {
            true => format!("vfolder {target} cloned from {source}"),
            false => format!("vfolder {target} cloned from {source} on '{}'", self.to.place.volume.name),
        }
    }
}

/// Judges a request by everything but the room.
pub(super) fn judge(state: &State<'_>, request: &Clone) -> Result<Way> {
    let registry = state.registry;
    let source = resolve::folder(state, &request.from)?;
    require_cloneable(state, &source)?;
    let (owner, name) = resolve::new_folder(state.actor, &request.to)?;
    let known = resolve::owner(registry, &owner)?;
    resolve::require_manager(state, &owner, "create")?;
    owner.may_own(&name)?;
    let key = owner.folder_key(&name);
    let begun = match registry.get::<VFolder>(&key)? {
        Some(record) => Some(cut_off(state, &source, &key, record, request)?),
        None => None,
    };
    require_ready(&source)?;
    known.require_active(&owner)?;
    let id = begun.as_ref().map(|record| record.id);
    if begun.is_none() {
        claim::require_free(registry, &owner, &name, None)?;
        claim::require_count(registry, &owner, &known, 1)?;
    }
    let named = begun.as_ref().map(|record| record.volume.as_str()).or(request.volume.as_deref());
    let (volume_name, volume) = resolve::volume(registry, named, &owner)?;
    require_use_of(&volume_name, &volume, &owner)?;
    permission::require_action(&volume_name, &volume, Action::Create, &owner)?;
    let from = Site::of_folder(registry, &source.owner, &source.record)?;
    let to = Site::find(registry, &owner, &volume_name, &volume)?;
    let record = match begun {
        Some(record) => record,
        None => VFolder {
            id: Uuid::new_v4(),
            volume: volume_name,
            status: Status::Copying,
            permission: permission_for(&owner, None)?,
            cloneable: false,
            created_at: now(),
            trashed_at: None,
            shares: Default::default(),
            transfer: None,
            shares_blocks: false,
            clone: Some(Cloning { of: source.record.id, boot_id: process::boot_id().to_owned() }),
            extra: Default::default(),
        },
    };
    // What a plain directory in the place of a folder holds is charged to nobody, and would be so in the copy.
    let of_kind = from.is_of_kind(&source.record);
    let may_share = of_kind && may_share(&from, &to)?;
    let means = means(&from, &to, request.linked, may_share, of_kind)?;
    if means == Means::Snapshot && !is_same_scope(&from, &to) {
        require_superadmin(state, &source)?;
    }
    let target = Folder { owner, name, record };
    let way = Way { source, from, target, to, means, may_share, begun: id.is_some() };
    require_able(&way)?;
    let path = way.from.place.path().join(way.source.record.place());
    in_use::require_no_mount(&way.source.key(), &path)?;
    Ok(way)
}

/// Refuses what is neither the actor's own nor cloneable, and where the volume blocks it (exit 5).
fn require_cloneable(state: &State<'_>, source: &Folder) -> Result<()> {
    let volume: Volume = state.registry.require(&source.record.volume)?;
    permission::require_action(&source.record.volume, &volume, Action::Clone, &source.owner)?;
    let project = resolve::owning_project(state.registry, &source.owner)?;
    if source.record.cloneable || permission::manages(state.actor, &source.owner, project.as_ref()) {
        return Ok(());
    }
    let key = source.key();
    Err(Error::not_permitted(format!("the vfolder {key} is not cloneable, and is somebody else's"))
        .hint(format!("{} can let others clone it: vfadm vfolder set {key} --cloneable", source.owner)))
}

/// Refuses a linked clone to users (exit 5): a snapshot holds blocks that the owner of the source pays for, and could not
/// free, and that nobody pays for once that scope has gone.
fn require_superadmin(state: &State<'_>, source: &Folder) -> Result<()> {
    match state.actor.user() {
        None => Ok(()),
        Some(user) => Err(Error::not_permitted(format!(
            "{user} may not make a linked clone: what it shares with {} would stay charged to {}",
            source.key(),
            source.owner
        ))
        .hint("the superadmin may; without --linked it is copied")),
    }
}

/// The record of a clone of this source that was cut off; anything else that has the name is refused (exit 4).
fn cut_off(
    state: &State<'_>,
    source: &Folder,
    key: &str,
    record: VFolder,
    request: &Clone,
) -> Result<VFolder> {
    let Some(cloning) = &record.clone else {
        return Err(match record.status {
            Status::Trashed => claim::in_the_trash(key),
            _ => Error::conflict(format!("the vfolder {key} exists already")).hint("choose another name"),
        });
    };
    if let Some(by) = long_work_on(state.root, record.id)? {
        return Err(Error::conflict(format!(
            "the vfolder {key} exists already: '{}' (pid {} on {}) is filling it",
            by.command, by.pid, by.host
        )));
    }
    let drop = format!("vfadm vfolder purge {key} drops it");
    if cloning.of != source.record.id {
        return Err(Error::conflict(format!("the vfolder {key} is an unfinished clone of another folder"))
            .hint(format!("choose another name; {drop}")));
    }
    match &request.volume {
        Some(volume) if *volume != record.volume => {
            Err(Error::conflict(format!("the vfolder {key} is an unfinished clone on '{}'", record.volume))
                .hint(both_ways(&source.key(), key)))
        }
        _ if request.linked => {
            Err(Error::conflict(format!("the vfolder {key} is an unfinished copy, which is not linked"))
                .hint(both_ways(&source.key(), key)))
        }
        _ => Ok(record),
    }
}

fn is_same_volume(from: &Site, to: &Site) -> bool {
    from.place.volume.name == to.place.volume.name
}

fn is_same_scope(from: &Site, to: &Site) -> bool {
    is_same_volume(from, to) && from.place.owner == to.place.owner
}

fn may_share(from: &Site, to: &Site) -> Result<bool> {
    let same = is_same_scope(from, to);
    for volume in [&from.place.volume, &to.place.volume] {
        if !volume.driver().reflinks_charge_rightly(&volume.path, volume.folders, same)? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn means(from: &Site, to: &Site, linked: bool, may_share: bool, of_kind: bool) -> Result<Means> {
    let (source, target) = (&from.place.volume, &to.place.volume);
    let snapshots = of_kind && is_same_volume(from, to) && source.driver().snapshots(source.folders);
    if snapshots && (is_same_scope(from, to) || linked) {
        return Ok(Means::Snapshot);
    }
    if linked {
        let why = match is_same_volume(from, to) {
            false => format!("'{}' and '{}' are two volumes", source.name, target.name),
            true if !of_kind => format!("its source is a plain directory, and no {}", source.folders.name()),
            true => format!("the volume '{}' has no snapshots of a {}", source.name, source.folders.name()),
        };
        return Err(Error::storage(format!("a linked clone cannot be made: {why}"))
            .hint("without --linked it is copied"));
    }
    let is_zfs =
        |volume: &VolumeAt| volume.storage.driver == DriverKind::Zfs && volume.folders == Folders::Dataset;
    Ok(match () {
        () if is_zfs(source) && is_zfs(target) => Means::Stream,
        () if may_share && can_share(&source.open()?, &target.open()?) => Means::Reflink,
        () => Means::Copy,
    })
}

fn require_able(way: &Way) -> Result<()> {
    let target = &way.to.place.volume;
    let driver = target.driver();
    driver.require_able(Work::Folders(target.folders))?;
    if !way.to.is_present() {
        driver.require_able(Work::Scope)?;
    }
    way.from.place.open()?;
    target.open().map(drop)
}
