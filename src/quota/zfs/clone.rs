//! Folders that are datasets are had again: at once by a clone of a snapshot, or in full by a stream.
//!
//! As tried on zfs-fuse 0.7, and written in zfs-destroy(8), zfs-clone(8) and zfs-promote(8):
//! * A snapshot that is destroyed with `-d` while it has clones goes with the last of them.
//! * Snapshots and clones can be made in a full scope, where the mount point is there already.
//! * A dataset whose snapshots have clones cannot be destroyed, unless a clone is promoted: that takes the snapshots up to
//!   its own over, and their charge into its scope, where there has to be room for it.

use nix::libc;

use super::{folder, is_digits, tool, volume_dataset};
use crate::domain::error::{Error, Result};
use crate::host::Error as HostError;
use crate::quota::{PlaceIn, ScopeAt};
use crate::tree::Progress;

/// What the names of vfadm's own snapshots begin with; the id of the folder that is made from it follows, so that what a
/// killed command left is known for what it is.
const PREFIX: &str = "vfadm-";

/// The name that a snapshot for the folder `dataset` has, in whatever dataset it is.
fn label(dataset: &str) -> String {
    format!("{PREFIX}{}", dataset.rsplit('/').next().unwrap_or(dataset))
}

/// The datasets of a folder and of the one that is to be made from it, which must not exist.
fn datasets(from: PlaceIn<'_>, to: PlaceIn<'_>) -> Result<(String, String)> {
    if to.parent.stat(to.name)?.is_some() {
        let exists = std::io::Error::from_raw_os_error(libc::EEXIST);
        return Err(HostError::path("clone to", to.parent.join(to.name), exists).into());
    }
    folder::open(from.scope, from.parent, from.name)?;
    let old = folder::dataset(from.scope, from.parent, from.name)?;
    if tool::get_children(&old, &["type"])?.len() > 1 {
        return Err(Error::storage(format!(
            "there are datasets inside of {old}, which a snapshot leaves out"
        ))
        .hint(format!("look: zfs list -r {old}")));
    }
    Ok((old, folder::dataset(to.scope, to.parent, to.name)?))
}

/// A snapshot of `old` for `new`; one that a killed command left is taken anew.
fn take(old: &str, new: &str) -> Result<String> {
    let snapshot = format!("{old}@{}", label(new));
    match tool::change("snapshot", &[&snapshot]) {
        Err(_) if tool::is_snapshot(&snapshot)? => {
            tool::change("destroy", &[&snapshot])?;
            tool::change("snapshot", &[&snapshot])?;
        }
        taken => taken?,
    }
    Ok(snapshot)
}

/// Makes the folder `to` a clone; `mount_point` makes its directory.
pub(super) fn snapshot(
    from: PlaceIn<'_>,
    to: PlaceIn<'_>,
    mount_point: impl FnOnce() -> Result<()>,
) -> Result<()> {
    let (old, new) = datasets(from, to)?;
    mount_point()?;
    let snapshot = take(&old, &new)?;
    let option = format!("mountpoint={}", to.parent.join(to.name).display());
    let cloned = tool::change("clone", &["-o", &option, &snapshot, &new]);
    // From here on it goes with the clone, or at once where there is none.
    let deferred = tool::change("destroy", &["-d", &snapshot]);
    cloned.and(deferred)?;
    folder::open(to.scope, to.parent, to.name).map(drop)
}

/// Makes the folder `to` a copy.
pub(super) fn send(
    from: PlaceIn<'_>,
    to: PlaceIn<'_>,
    mount_point: impl FnOnce() -> Result<()>,
    progress: &dyn Progress,
) -> Result<()> {
    let (old, new) = datasets(from, to)?;
    mount_point()?;
    let snapshot = take(&old, &new)?;
    let sent = tool::send(&snapshot, &new);
    // What a signal leaves goes with the unfinished folder.
    let removed = tool::change("destroy", &[&snapshot]);
    sent.and(removed)?;
    tool::change("destroy", &[&format!("{new}@{}", label(&new))])?;
    // Before it is mounted: that would be where its scope says.
    tool::change("set", &[&format!("mountpoint={}", to.parent.join(to.name).display()), &new])?;
    tool::change_patiently("mount", &[&new])?;
    progress.add(1, tool::used(&new)?);
    folder::open(to.scope, to.parent, to.name).map(drop)
}

/// Whether a folder's dataset is not there, or was being made when its command was killed: then [`sweep`] has to look
/// for a snapshot.
pub(super) fn is_unfinished(dataset: &str) -> Result<bool> {
    let label = label(dataset);
    let Some(found) = tool::get(dataset, &["origin"])? else { return Ok(true) };
    let cloned = found.origins().any(|(_, origin)| origin.ends_with(&format!("@{label}")));
    Ok(cloned || tool::is_snapshot(&format!("{dataset}@{label}"))?)
}

/// Removes the snapshot that was taken for a folder that is not there any more.
pub(super) fn sweep(scope: &ScopeAt<'_>, dataset: &str) -> Result<()> {
    let ending = format!("@{}", label(dataset));
    for snapshot in tool::snapshots(&volume_dataset(scope.volume)?)? {
        if snapshot.ends_with(&ending) {
            tool::change("destroy", &["-d", &snapshot])?;
        }
    }
    Ok(())
}

/// Destroys a folder's dataset with its snapshots. Folders that were cloned from it become independent first.
pub(super) fn destroy(scope: &ScopeAt<'_>, dataset: &str) -> Result<()> {
    match tool::destroy(dataset, true) {
        Err(error) if tool::has_clones(&error.message) => {}
        other => return other,
    }
    // In the order of their making.
    let snapshots = tool::snapshots(dataset)?;
    let clones = clones(scope, &snapshots)?;
    // The one of the last snapshot takes all of them over, and the other clones with them.
    if let Some((last, clone)) = clones.iter().max() {
        tool::change("promote", &[clone.as_str()])
            .map_err(|error| cannot_promote(dataset, &clones, error))?;
        for snapshot in &snapshots[..=*last] {
            let label = snapshot.rsplit('@').next().unwrap_or_default();
            tool::change("destroy", &["-d", &format!("{clone}@{label}")])?;
        }
    }
    tool::destroy(dataset, true)
}

/// The folders that were cloned from these snapshots, each with the snapshot's place.
fn clones(scope: &ScopeAt<'_>, snapshots: &[String]) -> Result<Vec<(usize, String)>> {
    let volume = volume_dataset(scope.volume)?;
    let below = tool::get_below(&volume, &["origin"])?;
    let folders = below.origins().filter(|(name, _)| is_folder(&volume, name));
    let place = |origin: &str| snapshots.iter().position(|snapshot| snapshot == origin);
    Ok(folders.filter_map(|(name, origin)| Some((place(origin)?, name.to_owned()))).collect())
}

/// Gives an unmounted folder's dataset another name. zfs-fuse takes it for busy while a clone of it is mounted.
pub(super) fn rename(scope: &ScopeAt<'_>, old: &str, new: &str) -> Result<()> {
    match tool::change("rename", &[old, new]) {
        Err(error) if tool::is_busy(&error.message) => {}
        other => return other,
    }
    let mut unmounted = Vec::new();
    let renamed = clones(scope, &tool::snapshots(old)?).and_then(|clones| {
        for (_, clone) in clones {
            if tool::require(&clone, "mounted")? == "yes" {
                tool::change_patiently("unmount", &[&clone])?;
                unmounted.push(clone);
            }
        }
        tool::change_patiently("rename", &[old, new])
    });
    for clone in unmounted {
        tool::change_patiently("mount", &[&clone])?;
    }
    renamed
}

fn cannot_promote(dataset: &str, clones: &[(usize, String)], error: Error) -> Error {
    let names: Vec<&str> = clones.iter().map(|(_, name)| name.as_str()).collect();
    Error::storage(format!(
        "{dataset} cannot be destroyed: {} was cloned from it, and cannot take over what they share: {}",
        names.join(", "),
        error.message
    ))
    .hint("raise the limit of the clone's quota scope (vfadm quota set), or purge the clone first")
    .detail("clones", names)
}

/// Whether a dataset is a folder of a scope of the volume.
fn is_folder(volume: &str, dataset: &str) -> bool {
    let below = dataset.strip_prefix(volume).and_then(|rest| rest.strip_prefix('/'));
    below.and_then(|rest| rest.split_once('/')).is_some_and(|(scope, id)| is_digits(scope) && is_digits(id))
}
