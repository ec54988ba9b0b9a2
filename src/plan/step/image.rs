//! Filesystems that vfadm mounts, or makes in a file.

use std::path::{Path, PathBuf};
use std::time::Duration;

use uuid::Uuid;

use super::VolumeAt;
use crate::domain::error::{Error, Result};
use crate::domain::record::MountSource;
use crate::domain::size;
use crate::host::dir::Dir;
use crate::host::process::{Mount, own_mounts};
use crate::host::program::Program;
use crate::host::{deadline, image};

/// How long a mount may take: a server that does not answer is given up.
const MOUNTING: Duration = Duration::from_secs(60);
/// How long making or growing a filesystem may take.
const MAKING: Duration = Duration::from_secs(900);

fn draft(path: &Path) -> Result<(Dir, String, String)> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name().and_then(|n| n.to_str())) else {
        return Err(Error::usage(format!("{} cannot be an image", path.display())));
    };
    Ok((Dir::open(parent)?, name.to_owned(), format!(".{name}.vfadm-new")))
}

fn is_ours(path: &Path, id: Uuid) -> bool {
    image::filesystem_id(path) == Some(*id.as_bytes())
}

/// Makes the filesystem under another name first, so that a file of the final name is either whole or not ours.
pub(super) fn make(path: &Path, bytes: u64, kind: &str, id: Uuid) -> Result<()> {
    if is_ours(path, id) {
        return Ok(());
    }
    let (dir, name, draft) = draft(path)?;
    if dir.stat(&name)?.is_some() {
        return Err(Error::conflict(format!("{} exists already", path.display())));
    }
    dir.remove_file(&draft)?;
    image::make(&dir, &draft, bytes)?;
    let made = mkfs(&dir.join(&draft), bytes, kind, id);
    if let Err(error) = made {
        dir.remove_file(&draft)?;
        return Err(error);
    }
    dir.rename(&draft, &dir, &name)?;
    Ok(dir.sync()?)
}

/// Kept back for root, so that a full volume can be managed; the rest is the owner's.
const RESERVED: u64 = 1 << 20;

/// Below this size the blocks are smaller, or the journal would take half of it.
const SMALL: u64 = 64 << 20;

fn mkfs(file: &Path, bytes: u64, kind: &str, id: Uuid) -> Result<()> {
    let program = match kind {
        "ext4" => {
            let percent = (RESERVED as f64 * 100.0 / bytes as f64).min(1.0);
            let program = Program::new("mkfs.ext4").from_package("e2fsprogs");
            let program = program.args(["-q", "-m", &format!("{percent:.6}")]);
            let program = if bytes < SMALL { program } else { program.args(["-b", "4096"]) };
            program.args(["-U", &id.to_string()])
        }
        "xfs" => {
            let program = Program::new("mkfs.xfs").from_package("xfsprogs");
            program.args(["-q", "-m", &format!("uuid={id}")])
        }
        other => return Err(Error::usage(format!("an image can be ext4 or xfs, not {other}"))),
    };
    program.arg(file).deadline(MAKING).succeed()?;
    Ok(())
}

/// Removes what [`make`] made.
pub(super) fn unmake(path: &Path, id: Uuid) -> Result<()> {
    let (dir, name, draft) = draft(path)?;
    dir.remove_file(&draft)?;
    if is_ours(path, id) {
        dir.remove_file(&name)?;
    }
    Ok(dir.sync()?)
}

/// The mount that is seen at `point`.
fn mounted_at(point: &Path) -> Result<Option<Mount>> {
    Ok(own_mounts()?.into_iter().rfind(|mount| mount.point == point))
}

/// Whether a mount is the one that this source gives: by the name that the kernel knows, or by the device that a file, a
/// link, or a word such as `UUID=` stands for.
fn is_from(mount: &Mount, source: &MountSource) -> bool {
    let named = &source.source;
    if mount.source.trim_end_matches('/') == named.trim_end_matches('/') {
        return true;
    }
    let path = match named.split_once('=') {
        Some((word, value)) => {
            let place = match word {
                "UUID" => "by-uuid",
                "LABEL" => "by-label",
                "PARTUUID" => "by-partuuid",
                "PARTLABEL" => "by-partlabel",
                _ => return false,
            };
            Path::new("/dev/disk").join(place).join(value.trim_matches('"'))
        }
        None => PathBuf::from(named),
    };
    let real = |path: &Path| path.canonicalize().ok();
    let device = image::loop_device(&path).or_else(|| real(&path));
    device.is_some()
        && (device == real(Path::new(&mount.source)) || device == Some(PathBuf::from(&mount.source)))
}

pub(super) fn mount(point: &Path, source: &MountSource) -> Result<()> {
    if let Some(mount) = mounted_at(point)? {
        if is_from(&mount, source) {
            return Ok(());
        }
        return Err(Error::storage(format!("{} is mounted at {} already", mount.source, point.display())));
    }
    require_empty(point)?;
    let mut program = Program::new("mount").from_package("mount").deadline(MOUNTING);
    if let Some(kind) = &source.kind {
        program = program.args(["-t", kind]);
    }
    if let Some(options) = &source.options {
        program = program.args(["-o", options]);
    }
    program.arg("--").arg(&source.source).arg(point).succeed()?;
    match mounted_at(point)? {
        Some(_) => Ok(()),
        None => {
            Err(Error::storage(format!("mount succeeded, but nothing is mounted at {}", point.display())))
        }
    }
}

/// What is mounted over files would hide them.
fn require_empty(point: &Path) -> Result<()> {
    if Dir::open(point)?.is_empty()? {
        return Ok(());
    }
    Err(Error::storage(format!("{} is not empty: a mount would hide what is in it", point.display()))
        .hint("move what is there away, or choose another path"))
}

/// Unmounts; nothing mounted there is fine. Something else than this source is an error, and stays.
pub(super) fn unmount(point: &Path, source: &MountSource) -> Result<()> {
    match mounted_at(point)? {
        Some(mount) if is_from(&mount, source) => {}
        Some(mount) => {
            return Err(Error::storage(format!(
                "what is mounted at {} is {}, and not {}",
                point.display(),
                mount.source,
                source.source
            ))
            .hint(format!("if that is meant: umount {}", point.display())));
        }
        None => return Ok(()),
    }
    let said = Program::new("umount").from_package("mount").deadline(MOUNTING).arg("--").arg(point).run()?;
    match said.status {
        0 => Ok(()),
        _ if said.complaint().contains("busy") => {
            Err(Error::in_use(format!("{} is in use: {}", point.display(), said.complaint()))
                .hint(format!("who uses it: fuser -vm {}", point.display())))
        }
        _ => Err(said.failure().into()),
    }
}

/// Takes back [`mount`]: what was there before it stays.
pub(super) fn undo_mount(point: &Path, source: &MountSource) -> Result<()> {
    match mounted_at(point)? {
        Some(mount) if is_from(&mount, source) => unmount(point, source),
        _ => Ok(()),
    }
}

/// Makes sure that what was mounted can be the volume: its driver works there, and it is nobody else's. One that is
/// `known` already has its marker.
pub(super) fn inspect(volume: &VolumeAt, known: bool) -> Result<()> {
    if known {
        volume.open()?;
    }
    let path = volume.path.clone();
    let what = path.display().to_string();
    let marked = deadline::within(deadline::PROBE, &what, move || {
        Dir::open(&path)?.stat(crate::registry::root::MARKER)
    })??;
    if marked.is_some() && volume.open().is_err() {
        return Err(Error::conflict(format!("{what} is marked as a volume of a registry already")));
    }
    let driver = volume.driver();
    match driver.inspect(&volume.path)? {
        crate::quota::Readiness::Ready => Ok(()),
        crate::quota::Readiness::NeedsEnabling { caution: None, .. } => driver.enable(&volume.path),
        crate::quota::Readiness::NeedsEnabling { caution: Some(caution), .. } => {
            Err(Error::usage(format!("{what}: {caution}"))
                .hint("mount it yourself and add it without --mount-source, with --yes"))
        }
        crate::quota::Readiness::Unable { reason, remedy } => Err(Error::storage(format!(
            "the driver {} cannot be used on {what}: {reason}",
            driver.kind().name()
        ))
        .hint(remedy)),
    }
}

/// Grows an image and the filesystem in it while it is mounted. What was grown stays so.
pub(super) fn grow(volume: &VolumeAt, file: &Path, kind: &str, bytes: u64) -> Result<()> {
    volume.open()?;
    image::extend(file, bytes)?;
    let device = loop_of(file)?;
    Program::new("losetup").from_package("mount").arg("-c").arg(&device).deadline(MOUNTING).succeed()?;
    let program = match kind {
        "xfs" => Program::new("xfs_growfs").from_package("xfsprogs").arg("-d").arg(&volume.path),
        _ => Program::new("resize2fs").from_package("e2fsprogs").arg(&device),
    };
    program.deadline(MAKING).succeed()?;
    let got = image::filesystem_size(kind, &volume.path, &device)?;
    if got + TAIL.min(bytes / 4) < bytes {
        return Err(Error::storage(format!(
            "the filesystem at {} is {}, and was to be {}",
            volume.path.display(),
            size::human(got),
            size::human(bytes)
        )));
    }
    Ok(())
}

/// A rest at the end that is too small for a group of blocks is not used.
const TAIL: u64 = 128 << 20;

fn loop_of(file: &Path) -> Result<PathBuf> {
    image::loop_device(file)
        .ok_or_else(|| Error::storage(format!("no loop device stands for {}", file.display())))
}
