//! Quota scopes: where they are, what their limit is, how they come and go.

use std::path::Path;

use uuid::Uuid;

use super::resolve::{self, OwnerRecord};
use super::{claim, sidecar};
use crate::domain::error::{Error, Result};
use crate::domain::finding::Finding;
use crate::domain::owner::{Owner, split_scope_key};
use crate::domain::quota::{DriverKind, Enforcement};
use crate::domain::record::{Allowance, LimitSource, Scope, VFolder, Volume};
use crate::domain::size::{self, Limit};
use crate::plan::{Plan, ScopePlace, Step, VolumeAt};
use crate::quota::{ScopeAt, Work};
use crate::registry::{Change, Registry};

/// One owner on one volume.
#[derive(Clone)]
pub struct Site {
    /// Where it is, or will be.
    pub place: ScopePlace,
    /// Its record, if there is one.
    pub record: Option<Scope>,
    /// Whose it is.
    pub owner: OwnerRecord,
}

impl Site {
    /// The scope of an owner on a volume.
    pub fn find(registry: &Registry, owner: &Owner, volume_name: &str, volume: &Volume) -> Result<Site> {
        let known = resolve::owner(registry, owner)?;
        let record = registry.get::<Scope>(&owner.scope_key(volume_name))?;
        let place = ScopePlace {
            volume: VolumeAt::new(registry.header.registry, volume_name, volume),
            owner: owner.clone(),
            dir: known.dir.clone(),
            kernel_id: record.as_ref().and_then(|r| r.kernel_id),
        };
        Ok(Site { place, record, owner: known })
    }

    /// The scope of a folder.
    pub fn of_folder(registry: &Registry, owner: &Owner, folder: &VFolder) -> Result<Site> {
        let volume = registry.require::<Volume>(&folder.volume)?;
        Site::find(registry, owner, &folder.volume, &volume)
    }

    /// False where a plain directory is in the place of a folder that the storage moves, charges and takes snapshots of.
    pub fn is_of_kind(&self, folder: &VFolder) -> bool {
        let is_it = |dir| self.place.volume.driver().is_of_kind(self.place.volume.folders, &dir);
        self.place.open_folder(Path::new(&folder.place())).and_then(is_it).unwrap_or(true)
    }

    /// Its key in the registry.
    pub fn key(&self) -> String {
        self.place.name()
    }

    /// True when its directory exists, as far as the registry knows.
    pub fn is_present(&self) -> bool {
        self.record.as_ref().is_some_and(|r| r.present)
    }
}

/// The limit that a scope gets, and why.
pub fn limit_for(site: &Site, init: Option<Limit>) -> Result<(Option<u64>, LimitSource)> {
    let allowance = &site.owner.allowance;
    let (limit, source) = match (&site.record, init) {
        (Some(record), None) if record.source == LimitSource::Set => (record.limit, LimitSource::Set),
        (Some(record), Some(_)) if record.source == LimitSource::Set => {
            return Err(Error::conflict(format!(
                "the limit of {} was set already, to {}",
                site.key(),
                Limit(record.limit)
            ))
            .hint("leave --quota-init out, or change the limit with 'vfadm quota set'"));
        }
        (_, Some(Limit(limit))) => (limit, LimitSource::Init),
        // The size of a dedicated volume is its limit.
        (_, None) if site.place.volume.storage.driver == DriverKind::Dedicated => (None, LimitSource::None),
        (_, None) => match (allowance.default_quota, allowance.max_quota) {
            (Some(default), Some(most)) => (Some(default.min(most)), LimitSource::Default),
            (Some(default), None) => (Some(default), LimitSource::Default),
            (None, Some(most)) => (Some(most), LimitSource::Max),
            (None, None) => (None, LimitSource::None),
        },
    };
    if matches!(source, LimitSource::Set | LimitSource::Init) && init.is_some() {
        require_within(site, limit)?;
    }
    Ok((site.place.volume.effective(limit), source))
}

/// Refuses a limit above the owner's `max_quota` (exit 4).
pub fn require_within(site: &Site, limit: Option<u64>) -> Result<()> {
    require_allowed(&site.place.owner, &site.owner.allowance, limit)
}

/// The same, of an owner whose scope is yet to come.
pub fn require_allowed(owner: &Owner, allowance: &Allowance, limit: Option<u64>) -> Result<()> {
    let Some(most) = allowance.max_quota else { return Ok(()) };
    if limit.is_some_and(|bytes| bytes <= most) {
        return Ok(());
    }
    Err(Error::conflict(format!("{} is above the maximum of {owner}, {}", Limit(limit), size::human(most)))
        .hint(format!("raise it: vfadm {} set {} --max-quota SIZE", owner.kind(), owner.name())))
}

/// Refuses a limit on a volume that cannot hold one (exit 8). How well one holds is said when the volume is added, by
/// `quota show` and by `quota verify`, and not again here.
pub fn require_enforcement(site: &Site, limit: Option<u64>) -> Result<()> {
    let Some(bytes) = limit else { return Ok(()) };
    let volume = &site.place.volume;
    let (enforcement, warning) = volume.driver().enforcement(&volume.path)?;
    match enforcement {
        Enforcement::None => Err(Error::storage(format!(
            "a limit of {} cannot be enforced for {}: {}",
            size::human(bytes),
            site.place.owner,
            warning.unwrap_or_else(|| format!("the volume '{}' has the driver 'none'", volume.name))
        ))
        .hint(match site.record.as_ref().map(|r| r.source) {
            _ if volume.storage.driver != DriverKind::None => {
                format!("look: vfadm volume check {}", volume.name)
            }
            None | Some(LimitSource::Default | LimitSource::Max) if site.owner.allowance != Default::default() => {
                let owner = &site.place.owner;
                format!(
                    "use a volume on storage with quotas, or lift the limits of the owner: vfadm {} set {} --default-quota unlimited --max-quota unlimited",
                    owner.kind(),
                    owner.name()
                )
            }
            _ => "put the folders on a volume whose storage has quotas (btrfs), or give the owner a volume of its own: \
                  vfadm volume add NAME PATH --dedicated-to OWNER"
                .to_owned(),
        })),
        Enforcement::Volume => Err(Error::storage(format!(
            "the limit of {} is the size of its volume '{}', and cannot be set",
            site.place.owner, volume.name
        ))
        .hint("grow the filesystem at the volume's path instead")),
        Enforcement::Kernel | Enforcement::KernelOwnerCanLeave | Enforcement::Cooperative => Ok(()),
    }
}

/// Refuses a scope of whose number the storage has nothing any more (exit 8): no limit can be set.
pub fn require_counted(site: &Site) -> Result<()> {
    let volume = &site.place.volume;
    match volume.driver().uncounted(&volume.path, &[site.place.at()])?.is_empty() {
        true => Ok(()),
        false => Err(Error::storage(format!(
            "the quota scope {} is not charged: the storage has nothing of its number {} any more",
            site.key(),
            site.place.kernel_id.unwrap_or_default()
        ))
        .hint("vfadm check --repair makes that again")),
    }
}

/// Adds to a plan what makes the scope, if it is not there, and returns its place with the kernel's number.
pub fn ensure(registry: &Registry, site: &Site, init: Option<Limit>, plan: &mut Plan) -> Result<ScopePlace> {
    if site.is_present() {
        if init.is_some() {
            return Err(Error::conflict(format!("the quota scope {} exists already", site.key()))
                .hint("leave --quota-init out, or change the limit with 'vfadm quota set'"));
        }
        // Its directory is looked at, so that a volume that fell off is noticed before anything is planned.
        site.place.open_for_folders()?;
        return Ok(site.place.clone());
    }
    let (limit, source) = limit_for(site, init)?;
    make(registry, site, limit, source, plan)
}

/// Refuses to make a scope where one is that the registry does not know (exit 8): what is in it would be the new one's, and
/// go with it should that be undone.
fn require_nothing_there(place: &ScopePlace) -> Result<()> {
    let volume = place.volume.open()?;
    let is_free = match volume.stat(&place.dir)? {
        None => true,
        Some(_) => match volume.open_beneath(Path::new(&place.dir)) {
            Ok(dir) => dir.is_empty()?,
            Err(_) => false,
        },
    };
    if is_free {
        return Ok(());
    }
    Err(Error::storage(format!(
        "{} is there already, and the registry has no such quota scope",
        place.path().display()
    ))
    .hint("vfadm check --repair records it again"))
}

/// Adds to a plan what makes the scope with this limit.
pub fn make(
    registry: &Registry,
    site: &Site,
    limit: Option<u64>,
    source: LimitSource,
    plan: &mut Plan,
) -> Result<ScopePlace> {
    require_nothing_there(&site.place)?;
    site.place.volume.driver().require_able(Work::Scope)?;
    require_enforcement(site, limit)?;
    let mut place = site.place.clone();
    let driver = place.volume.driver();
    place.kernel_id = None;
    if driver.wants_kernel_id() {
        let mut settings = registry.settings.clone();
        let mut id = settings.next_kernel_id;
        while !driver.kernel_id_is_free(&place.volume.path, id)? {
            id += 1;
        }
        place.kernel_id = Some(id);
        settings.next_kernel_id = id + 1;
        plan.changes.push(Change::Settings(settings));
    }
    plan.steps.push(Step::MakeScope { scope: place.clone() });
    if limit.is_some() {
        plan.steps.push(Step::SetLimit { scope: place.clone(), from: None, to: limit });
    }
    let extra = site.record.as_ref().map(|r| r.extra.clone()).unwrap_or_default();
    let record = Scope { limit, source, kernel_id: place.kernel_id, present: true, extra };
    plan.changes.push(Change::put(site.key(), &record)?);
    let owner = sidecar::owner_record(registry, &place.owner)?;
    plan.after.push(sidecar::scope(registry, &place, &record, &owner));
    Ok(place)
}

/// Adds to a plan what removes the scope. A limit that an administrator set stays recorded. What is in its place on the
/// storage has to be the scope, or nothing (exit 8).
pub fn remove(site: &Site, keep_limit: bool, plan: &mut Plan) -> Result<()> {
    let Some(record) = &site.record else { return Ok(()) };
    if record.present {
        site.place.volume.driver().require_able(Work::Scope)?;
        if !site.place.is_gone()? {
            site.place.open()?;
        }
        plan.steps.push(Step::RemoveScope { scope: site.place.clone(), limit: record.limit });
        plan.after.push(sidecar::no_scope(&site.place));
    }
    if keep_limit && record.source == LimitSource::Set {
        let record = Scope { present: false, kernel_id: None, ..record.clone() };
        plan.changes.push(Change::put(site.key(), &record)?);
    } else {
        plan.changes.push(Change::remove::<Scope>(site.key()));
    }
    Ok(())
}

/// True while an owner has a folder on a volume, or one is on its way to it, other than `but`.
pub fn is_needed(registry: &Registry, owner: &Owner, volume: &str, but: Option<Uuid>) -> Result<bool> {
    let counts = |id: Uuid| Some(id) != but;
    if folders(registry, owner, volume)?.iter().any(|(_, folder)| counts(folder.id)) {
        return Ok(true);
    }
    let arrives = |folder: &VFolder| folder.transfer.as_ref().is_some_and(|transit| transit.volume == volume);
    Ok(claim::arriving(registry, owner)?.iter().any(|f| counts(f.record.id) && arrives(&f.record)))
}

/// Adds to a plan that a folder is no longer in the scope, which goes with its last one; true where the scope stays.
pub fn leave(registry: &Registry, site: &Site, folder: &VFolder, plan: &mut Plan) -> Result<bool> {
    let stays = is_needed(registry, &site.place.owner, &site.place.volume.name, Some(folder.id))?;
    if stays {
        plan.after.push(sidecar::no_folder(&site.place, folder));
    } else {
        remove(site, true, plan)?;
    }
    Ok(stays)
}

/// The scopes of a volume that are there, as far as the registry knows.
pub fn present(registry: &Registry, volume_name: &str, volume: &Volume) -> Result<Vec<(Site, Scope)>> {
    let end = format!("@{volume_name}");
    let mut sites = Vec::new();
    for key in registry.keys::<Scope>().into_iter().filter(|k| k.ends_with(&end)) {
        let record: Scope = registry.require(&key)?;
        let Some((owner, _)) = split_scope_key(&key) else { continue };
        if record.present {
            sites.push((Site::find(registry, &owner, volume_name, volume)?, record));
        }
    }
    Ok(sites)
}

/// Those of them that can be opened; a finding for each of the others.
pub fn usable(
    at: &VolumeAt,
    sites: Vec<(Site, Scope)>,
    mut missing: impl FnMut(Finding, &Site),
) -> Result<Vec<(Site, Scope)>> {
    let places: Vec<ScopeAt<'_>> = sites.iter().map(|(site, _)| site.place.at()).collect();
    let checked = at.driver().check_scopes(&at.open()?, &places);
    let opens = |((site, record), checked): ((Site, Scope), Result<()>)| match checked {
        Ok(()) => Some((site, record)),
        Err(error) => {
            let subject = format!("quota scope {}", site.key());
            missing(Finding::error("scope_missing", subject, error.message), &site);
            None
        }
    };
    Ok(sites.into_iter().zip(checked).filter_map(opens).collect())
}

/// That the storage holds another limit than the registry.
pub fn differs(site: &Site, kernel: Option<u64>, recorded: Option<u64>) -> Finding {
    Finding::error(
        "limit_differs",
        format!("quota scope {}", site.key()),
        format!("the storage holds a limit of {}, the registry one of {}", Limit(kernel), Limit(recorded)),
    )
    .repair(format!("vfadm quota audit {} --fix", site.place.volume.name))
}

/// That the storage does not tell the limit of a scope.
pub fn unreadable(site: &Site, error: &Error) -> Finding {
    Finding::error("limits_unreadable", format!("quota scope {}", site.key()), error.message.clone())
}

/// The folders of an owner on a volume.
pub fn folders(registry: &Registry, owner: &Owner, volume: &str) -> Result<Vec<(String, VFolder)>> {
    let all = registry.with_prefix::<VFolder>(&format!("{owner}/"))?;
    Ok(all.into_iter().filter(|(_, f)| f.volume == volume).collect())
}
