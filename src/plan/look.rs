//! What this host sees of volumes. Each is looked at by a process of its own: one that hangs keeps nobody waiting.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::Deserialize;
use uuid::Uuid;

use super::VolumeAt;
use crate::domain::error::Result;
use crate::domain::node::{Sight, VolumeState};
use crate::host::process::{mount_of, own_mounts};
use crate::host::{apart, dir::Dir, files, space};
use crate::registry::document::plain;
use crate::registry::root::MARKER;

/// How long a volume may take to be looked at.
pub const PATIENCE: Duration = Duration::from_secs(4);

/// How long work on a volume that answers may go without a sign of life ([`apart::beat`]).
pub const SILENCE: Duration = Duration::from_secs(10);

/// A marker is far smaller.
const MOST: u64 = 1 << 20;

/// So many mounts are searched for a volume that is not in its place.
const MOST_SEARCHED: usize = 256;

/// Filesystems that hold no files of anybody's, and those that mount something when they are looked at.
const NO_PLACE: [&str; 19] = [
    "autofs",
    "binfmt_misc",
    "bpf",
    "cgroup",
    "cgroup2",
    "configfs",
    "debugfs",
    "devpts",
    "devtmpfs",
    "efivarfs",
    "fusectl",
    "hugetlbfs",
    "mqueue",
    "nsfs",
    "proc",
    "pstore",
    "securityfs",
    "sysfs",
    "tracefs",
];

/// The part of a marker that says which volume it is.
#[derive(Debug, Deserialize)]
struct Identity {
    registry: Uuid,
    id: Uuid,
}

impl VolumeAt {
    /// What is wrong with what was found as its marker.
    pub(super) fn mismatch(&self, marker: Option<&[u8]>) -> Option<(VolumeState, String)> {
        let path = self.path.display();
        let Some(marker) = marker else {
            return Some((VolumeState::FellOff, format!("there is no marker {MARKER} in {path}")));
        };
        match plain::<Identity>(marker.to_vec()) {
            Err(e) => {
                let marker = self.path.join(MARKER);
                Some((
                    VolumeState::Unreadable,
                    format!("its marker {} cannot be read: {e}", marker.display()),
                ))
            }
            Ok(found) if found.registry != self.registry => {
                Some((VolumeState::Foreign, format!("{path} belongs to another registry")))
            }
            Ok(found) if found.id != self.id => {
                Some((VolumeState::Foreign, format!("{path} holds another volume")))
            }
            Ok(_) => None,
        }
    }

    fn sight(&self) -> Sight {
        Sight { volume: self.name.clone(), path: self.path.display().to_string(), ..Sight::default() }
    }

    /// Looks at it; may hang.
    fn look(&self) -> Sight {
        let mut sight = self.sight();
        let begun = Instant::now();
        let read = Dir::open(&self.path).and_then(|dir| Ok((files::read(&dir, MARKER, MOST)?, dir)));
        let (marker, dir) = match read {
            Ok(read) => read,
            Err(error) => {
                sight.denied = error.errno() == Some(nix::libc::EACCES);
                sight.state = match error.errno() {
                    Some(nix::libc::ENOENT | nix::libc::ENOTDIR) => VolumeState::Missing,
                    _ => VolumeState::Unreadable,
                };
                sight.reason = Some(error.to_string());
                return sight;
            }
        };
        // Microseconds are exact enough.
        sight.read_ms = Some(begun.elapsed().as_micros() as f64 / 1000.0);
        if let Some((state, why)) = self.mismatch(marker.as_deref()) {
            sight.marker_matches = (state == VolumeState::Foreign).then_some(false);
            (sight.state, sight.reason) = (state, Some(why));
            return sight;
        }
        sight.marker_matches = Some(true);
        match space::space(&dir) {
            Ok(room) => {
                sight.state = VolumeState::Ok;
                sight.total_bytes = Some(room.total);
                sight.used_bytes = Some(room.used);
                sight.free_bytes = Some(room.available);
            }
            Err(error) => (sight.state, sight.reason) = (VolumeState::Unreadable, Some(error.to_string())),
        }
        let refusal = files::write_refusal(&dir);
        sight.writable = Some(refusal.is_none());
        if let Some(why) = refusal.filter(|_| sight.state == VolumeState::Ok) {
            (sight.state, sight.reason) = (VolumeState::ReadOnly, Some(why));
        }
        sight
    }
}

/// What this host sees of volumes, in their order.
pub fn look(volumes: &[VolumeAt]) -> Result<Vec<Sight>> {
    let mounts = own_mounts()?;
    let seen = apart::each(volumes, PATIENCE, VolumeAt::look)?;
    Ok(volumes
        .iter()
        .zip(seen)
        .map(|(volume, sight)| {
            let mut sight = sight.unwrap_or_else(|| silent(volume, PATIENCE));
            if let Some(mount) = mount_of(&mounts, &volume.path) {
                if sight.state == VolumeState::FellOff && mount.point == volume.path {
                    sight.state = VolumeState::Foreign;
                }
                sight.mount_point = Some(mount.point.display().to_string());
                sight.filesystem = Some(mount.filesystem.clone());
                sight.source = Some(mount.source.clone());
            }
            sight
        })
        .collect())
}

/// That a volume gave no sign of life for so long.
pub fn silent(volume: &VolumeAt, waited: Duration) -> Sight {
    let reason = format!("{} does not answer (waited {} s)", volume.path.display(), waited.as_secs());
    Sight { state: VolumeState::Hung, reason: Some(reason), ..volume.sight() }
}

/// Looks for volumes that are not in their place among the other mounts of this host.
pub fn search(volumes: &[VolumeAt], sights: &mut [Sight]) -> Result<()> {
    let is_lost = |state| matches!(state, VolumeState::FellOff | VolumeState::Missing | VolumeState::Foreign);
    let lost: Vec<usize> = (0..sights.len()).filter(|at| is_lost(sights[*at].state)).collect();
    if lost.is_empty() {
        return Ok(());
    }
    let points = mount_points()?;
    let found = apart::each(&points, PATIENCE, |point| {
        lost.iter().map(|at| volumes[*at].found_below(point)).collect::<Vec<_>>()
    })?;
    for found in found.into_iter().flatten() {
        for (at, path) in lost.iter().zip(found) {
            let Some(path) = path.filter(|_| sights[*at].found_at.is_none()) else { continue };
            if sights[*at].state != VolumeState::Foreign {
                sights[*at].state = VolumeState::Elsewhere;
            }
            sights[*at].found_at = Some(path);
        }
    }
    Ok(())
}

/// Where filesystems are mounted that can hold files.
pub fn mount_points() -> Result<Vec<PathBuf>> {
    let mut points: Vec<PathBuf> = own_mounts()?
        .into_iter()
        .filter(|mount| !NO_PLACE.contains(&mount.filesystem.as_str()))
        .map(|mount| mount.point)
        .collect();
    points.sort();
    points.dedup();
    points.truncate(MOST_SEARCHED);
    Ok(points)
}

impl VolumeAt {
    /// Where it is at a mount point, or below it by an end of its own path; may hang.
    fn found_below(&self, point: &Path) -> Option<String> {
        let parts: Vec<_> = self.path.strip_prefix("/").ok()?.iter().collect();
        let ends = (0..=parts.len()).rev().map(|at| parts[at..].iter().collect::<PathBuf>());
        let tried =
            ends.map(|end| if end.as_os_str().is_empty() { point.to_owned() } else { point.join(end) });
        let is_it = |path: &PathBuf| {
            let marker = Dir::open(path).and_then(|dir| files::read(&dir, MARKER, MOST));
            marker.is_ok_and(|marker| marker.is_some() && self.mismatch(marker.as_deref()).is_none())
        };
        tried.filter(|path| *path != self.path).find(is_it).map(|path| path.display().to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hostile_marker_is_never_that_of_the_volume() {
        let (registry, id) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let at: VolumeAt = serde_json::from_value(serde_json::json!({
            "registry": registry, "id": id, "name": "v", "path": "/v", "driver": "none", "folders": "directory"
        }))
        .unwrap();
        let marker = format!("registry: {registry}\nid: {id}\nvolume: {{path: /v, driver: none}}\n");
        assert_eq!(at.mismatch(Some(marker.as_bytes())), None);
        crate::testing::each_yaml(&[&marker], MOST as usize, |text| {
            if at.mismatch(Some(text)).is_none() {
                let said = String::from_utf8_lossy(text).to_lowercase();
                assert!(
                    said.contains(&registry.to_string()[24..]) && said.contains(&id.to_string()[24..]),
                    "{said}"
                );
            }
        });
    }
}
