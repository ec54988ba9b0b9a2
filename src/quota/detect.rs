//! Which driver a volume can have, found out by trying.

use std::ffi::OsStr;
use std::fs::File;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::libc;

use super::{CANDIDATES, QuotaDriver, Readiness, Removal, ScopeAt, driver, plain};
use crate::domain::error::{Error, Result};
use crate::domain::quota::{DriverKind, Enforcement, Storage};
use crate::host;
use crate::host::dir::{Dir, create_file};
use crate::host::error::reason;
use crate::host::lock::FileLock;
use crate::host::probe;
use crate::host::process::{mount_of, own_mounts};
use crate::host::space::space;
use crate::tree::Silent;

/// What a write past a limit came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Proof {
    /// The error that the tenant saw.
    pub errno: Option<i32>,
    /// The limit of the trial, bytes.
    pub limit: u64,
    /// Bytes that the kernel took before it.
    pub written: u64,
    /// True when the limit held.
    pub enforced: bool,
}

/// A driver for a volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Detected {
    /// Which one.
    pub kind: DriverKind,
    /// What was tried; `None` where there is nothing to try.
    pub proof: Option<Proof>,
    /// Why the better drivers were passed over, as sentences.
    pub passed_over: Vec<String>,
    /// What would have had to be switched on for a better driver ([`Readiness::NeedsEnabling`]), when that was not
    /// allowed.
    pub needs: Option<Readiness>,
}

/// The limit of a trial.
const LIMIT: u64 = 1 << 20;
/// What is written in a trial when nothing stops it.
const WRITE: u64 = 4 * LIMIT;
/// Room that a trial wants, so that a full filesystem is not taken for a limit.
const ROOM: u64 = 16 * LIMIT;
/// How long a tenant goes on where limits are left to the storage's clients.
const PATIENCE: Duration = Duration::from_secs(30);
/// Name of a trial's scope, before its kernel id: one that any storage takes for a qtree or a fileset. One that was left by a crash is removed by the next trial.
const PREFIX: &str = "vfadm-trial-";
/// Kernel ids of trials: far above those that are given to owners, within 32 bits.
const IDS: std::ops::Range<u64> = 4_000_000_000..4_000_000_256;
/// A uid and gid without rights.
const NOBODY: u32 = 65534;

/// The best driver for a volume, by trying, whatever the filesystem calls itself: one that holds a limit against a
/// tenant, else none. `dedicated` is never chosen: it is a promise of the administrator. Limits are switched on only
/// when `may_enable`.
pub fn detect(volume: &Path, may_enable: bool) -> Result<Detected> {
    let mut detected = Detected { kind: DriverKind::None, proof: None, passed_over: Vec::new(), needs: None };
    for kind in CANDIDATES {
        let driver = driver(&Storage::of(kind));
        match driver.inspect(volume)? {
            Readiness::Ready => {}
            Readiness::NeedsEnabling { .. } if may_enable => driver.enable(volume)?,
            needs @ Readiness::NeedsEnabling { .. } => {
                detected.passed_over.push(describe(kind, &needs));
                detected.needs.get_or_insert(needs);
                continue;
            }
            // That a filesystem is not another one needs no words.
            Readiness::Unable { reason, .. } if reason.ends_with(&format!("is not on {}", kind.name())) => {
                continue;
            }
            unable @ Readiness::Unable { .. } => {
                detected.passed_over.push(describe(kind, &unable));
                continue;
            }
        }
        let proof = prove(&*driver, volume)?;
        if proof.enforced {
            return Ok(Detected { kind, proof: Some(proof), needs: None, ..detected });
        }
        let error =
            proof.errno.map_or("no error".to_owned(), |n| reason(&std::io::Error::from_raw_os_error(n)));
        detected.passed_over.push(format!(
            "{}: a tenant wrote {} bytes under a limit of {LIMIT} ({error})",
            kind.name(),
            proof.written
        ));
    }
    if detected.passed_over.is_empty() {
        let mounts = own_mounts()?;
        let path = volume.canonicalize().map_err(|e| host::Error::path("resolve", volume, e))?;
        let kind = mount_of(&mounts, &path).map_or("a filesystem", |mount| mount.filesystem.as_str());
        let why = format!("{} is on {kind}, for which there is no quota driver", volume.display());
        detected.passed_over.push(why);
    }
    Ok(detected)
}

fn describe(kind: DriverKind, readiness: &Readiness) -> String {
    match readiness {
        Readiness::Ready => format!("{}: ready", kind.name()),
        Readiness::Unable { reason, .. } => format!("{}: {reason}", kind.name()),
        Readiness::NeedsEnabling { what, caution: None } => format!("{}: needs to {what}", kind.name()),
        Readiness::NeedsEnabling { what, caution: Some(caution) } => {
            format!("{}: needs to {what}; {caution}", kind.name())
        }
    }
}

/// Tries whether a driver that is ready stops a tenant: makes a scope with a small limit, lets an unprivileged
/// process write past it, and takes everything away again. Trials on one volume take turns. Where there is no limit
/// to be set nothing is tried: a dedicated volume is enforced by its size, `none` is not enforced.
pub fn prove(driver: &dyn QuotaDriver, volume: &Path) -> Result<Proof> {
    match driver.kind() {
        kind if kind.limits_scopes() => {}
        DriverKind::Dedicated => return Ok(Proof { errno: None, limit: LIMIT, written: 0, enforced: true }),
        _ => return Ok(Proof { errno: None, limit: LIMIT, written: 0, enforced: false }),
    }
    let dir = plain::open_volume(volume)?;
    let _turn = turn(&dir)?;
    sweep(driver, volume, &dir)?;
    if space(&dir)?.available < ROOM {
        return Err(Error::storage(format!("too little room at {} to try a limit", volume.display()))
            .hint(format!("free {ROOM} bytes, or skip the trial with --no-verify")));
    }
    let id = free_id(driver, volume)?;
    let name = format!("{PREFIX}{id}");
    let scope = ScopeAt { volume, dir: &name, kernel_id: Some(id), folders: driver.default_folders() };
    // Where the clients see to the limit themselves, they see what was written only after a while.
    let cooperative = driver.enforcement(volume)?.0 == Enforcement::Cooperative;
    let written = attempt(driver, &dir, &scope, if cooperative { PATIENCE } else { Duration::ZERO });
    let cleaned = clean(driver, &dir, &scope);
    let written = written?;
    cleaned?;
    Ok(judge(written, cooperative))
}

fn judge(written: probe::Written, cooperative: bool) -> Proof {
    let stopped = matches!(written.errno, Some(libc::EDQUOT | libc::ENOSPC));
    Proof {
        errno: written.errno,
        limit: LIMIT,
        written: written.bytes,
        enforced: stopped && (cooperative || written.bytes <= LIMIT),
    }
}

fn attempt(
    driver: &dyn QuotaDriver,
    volume: &Dir,
    scope: &ScopeAt<'_>,
    patience: Duration,
) -> Result<probe::Written> {
    driver.prepare_scope(scope)?;
    super::ensure_limit(driver, scope, Some(LIMIT))?;
    let parent = driver.open_scope(volume, scope)?;
    driver.make_folder(scope, &parent, OsStr::new(FOLDER))?;
    let folder = parent.open_dir(FOLDER)?;
    // The writer gets the open file, so that nobody needs a way into the scope.
    let file = create_file(&folder, "file", 0o600)?;
    std::os::unix::fs::fchown(&file, Some(NOBODY), Some(NOBODY))
        .map_err(|e| crate::host::Error::path("change the owner of", folder.join("file"), e))?;
    Ok(probe::write_as(&file, NOBODY, NOBODY, WRITE, patience)?)
}

const FOLDER: &str = "folder";

/// Waits for the kernel too, for no one else can have taken a share in what was written.
fn clean(driver: &dyn QuotaDriver, volume: &Dir, scope: &ScopeAt<'_>) -> Result<()> {
    // What a trial that was killed left may be no scope yet.
    if volume.stat(scope.dir)?.is_some()
        && let Ok(parent) = driver.open_scope(volume, scope)
    {
        driver.remove_folder(scope, &parent, OsStr::new(FOLDER), &Silent)?;
    }
    let end = Instant::now() + Duration::from_secs(10);
    while driver.remove_scope(scope)? == Removal::Draining && Instant::now() < end {}
    Ok(())
}

/// Removes what trials left that were killed.
fn sweep(driver: &dyn QuotaDriver, volume: &Path, dir: &Dir) -> Result<()> {
    for name in dir.names()? {
        let Some(name) = name.to_str() else { continue };
        let Some(id) = name.strip_prefix(PREFIX).and_then(|id| id.parse().ok()) else { continue };
        let folders = driver.default_folders();
        clean(driver, dir, &ScopeAt { volume, dir: name, kernel_id: Some(id), folders })?;
    }
    Ok(())
}

fn free_id(driver: &dyn QuotaDriver, volume: &Path) -> Result<u64> {
    for id in IDS {
        if driver.kernel_id_is_free(volume, id)? {
            return Ok(id);
        }
    }
    Err(Error::storage(format!("no kernel id is free for a trial on {}", volume.display())))
}

/// The right to try on this volume: a lock on its directory.
fn turn(volume: &Dir) -> Result<FileLock> {
    let end = Instant::now() + Duration::from_secs(60);
    let mut file = File::from(volume.try_clone()?.into_fd());
    loop {
        match FileLock::try_lock(file) {
            Ok(lock) => return Ok(lock),
            Err(_) if Instant::now() >= end => {
                return Err(Error::storage(format!(
                    "another trial of quotas goes on at {}",
                    volume.path().display()
                )));
            }
            Err(back) => file = back,
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::quota::Folders;
    use crate::host::probe::Written;
    use crate::quota::testing::Image;

    #[test]
    fn only_a_write_that_was_stopped_in_time_proves_a_limit() {
        let enforced = |bytes, errno| judge(Written { bytes, errno }, false).enforced;
        assert!(enforced(LIMIT - 65536, Some(libc::EDQUOT)));
        assert!(enforced(LIMIT, Some(libc::ENOSPC)));
        assert!(!enforced(WRITE, None));
        assert!(!enforced(2 * LIMIT, Some(libc::EDQUOT)));
        assert!(!enforced(0, Some(libc::EIO)));
        assert!(judge(Written { bytes: 2 * LIMIT, errno: Some(libc::EDQUOT) }, true).enforced);
        assert!(!judge(Written { bytes: 2 * LIMIT, errno: None }, true).enforced);
    }

    #[test]
    fn a_plain_directory_gets_no_driver_and_says_why() {
        let temp = tempfile::tempdir_in("/dev/shm").unwrap();
        let detected = detect(temp.path(), true).unwrap();
        assert_eq!(detected.kind, DriverKind::None);
        assert!(
            detected.passed_over[0].ends_with("is on tmpfs, for which there is no quota driver"),
            "{detected:?}"
        );
        assert_eq!(std::fs::read_dir(temp.path()).unwrap().count(), 0);
    }

    #[test]
    fn btrfs_is_found_by_trying_and_the_trial_leaves_nothing() {
        let image = Image::btrfs("detect");
        let before = detect(image.path(), false).unwrap();
        assert_eq!(before.kind, DriverKind::None);
        assert!(matches!(before.needs, Some(Readiness::NeedsEnabling { caution: None, .. })));
        let detected = detect(image.path(), true).unwrap();
        assert_eq!(detected.kind, DriverKind::Btrfs);
        let proof = detected.proof.unwrap();
        assert_eq!(proof.errno, Some(libc::EDQUOT));
        assert!(proof.enforced && proof.written > LIMIT / 2, "{proof:?}");
        assert_eq!(std::fs::read_dir(image.path()).unwrap().count(), 0);
        assert_eq!(image.qgroups(), ["0_5"]);
    }

    #[test]
    fn a_killed_trial_is_cleaned_up_by_the_next_one() {
        let image = Image::btrfs("killed");
        let driver = driver(&Storage::of(DriverKind::Btrfs));
        driver.enable(image.path()).unwrap();
        let name = format!("{PREFIX}{}", IDS.start);
        let scope = ScopeAt {
            volume: image.path(),
            dir: &name,
            kernel_id: Some(IDS.start),
            folders: Folders::Subvolume,
        };
        attempt(&*driver, &Dir::open(image.path()).unwrap(), &scope, Duration::ZERO).unwrap();
        assert!(prove(&*driver, image.path()).unwrap().enforced);
        assert_eq!(std::fs::read_dir(image.path()).unwrap().count(), 0);
        assert_eq!(image.qgroups(), ["0_5"]);
    }
}
