//! Which kind of quotas a btrfs filesystem has, and what may be switched on.

use std::path::Path;

use crate::domain::quota::Enforcement;
use crate::host;
use crate::host::btrfs::qgroups::{self, Mode, Qgroups};
use crate::host::btrfs::{Accounting, quota_enable, rescan_wait, search};
use crate::host::dir::Dir;
use crate::host::space::space;
use crate::quota::Readiness;

use nix::libc;

/// What [`decide`] has to know of a filesystem.
#[derive(Clone, Copy, Debug)]
pub(super) struct Facts {
    /// Whether quotas are on.
    pub mode: Mode,
    /// Whether the kernel has simple quotas, where it says so.
    pub simple: Option<bool>,
    /// True when nothing but vfadm's own files is on the filesystem.
    pub empty: bool,
    /// Bytes that are there.
    pub used: u64,
}

/// Whether limits can be set.
pub(super) fn decide(volume: &Path, facts: Facts) -> Readiness {
    let volume = volume.display();
    match facts.mode {
        Mode::Simple | Mode::Full { consistent: true } => Readiness::Ready,
        Mode::Full { consistent: false } => Readiness::Unable {
            reason: format!("the qgroups of the filesystem at {volume} are inconsistent: their numbers are wrong"),
            remedy: format!("count again: btrfs quota rescan -w {volume}"),
        },
        Mode::Off if facts.simple == Some(false) => Readiness::NeedsEnabling {
            what: format!(
                "enable full qgroups on the filesystem at {volume} (this kernel has no simple quotas; needs 6.7)"
            ),
            caution: None,
        },
        Mode::Off => Readiness::NeedsEnabling {
            what: format!("enable simple quotas on the filesystem at {volume}"),
            caution: (!facts.empty).then(|| {
                format!(
                    "enabling simple quotas sets an incompatible flag for good and counts the {} bytes that are \
                     there as 0",
                    facts.used
                )
            }),
        },
    }
}

/// How well limits hold, and what to know about it.
pub(super) fn enforcement(volume: &Path, mode: Mode) -> (Enforcement, Option<String>) {
    let volume = volume.display();
    match mode {
        Mode::Simple => (Enforcement::Kernel, None),
        Mode::Full { .. } => (
            Enforcement::Cooperative,
            Some(format!(
                "the filesystem at {volume} has full qgroups: a tenant escapes the limit by making a subvolume \
                 inside a folder and writing there; with kernel 6.7 or later, 'btrfs quota disable {volume}' and \
                 then 'vfadm volume add' anew switch to simple quotas, which hold"
            )),
        ),
        Mode::Off => (
            Enforcement::None,
            Some(format!(
                "quotas are off on the filesystem at {volume}: no limit holds until they are enabled"
            )),
        ),
    }
}

/// Reads the facts. Whether the filesystem is empty matters only while quotas are off.
pub(super) fn facts(volume: &Dir) -> host::Result<Facts> {
    let mode = Qgroups::of(volume)?.mode()?;
    let empty = mode == Mode::Off && search::holds_only(volume, &is_own)?;
    Ok(Facts { mode, simple: qgroups::simple_quotas_known(), empty, used: space(volume)?.used })
}

/// Names of files that are there before the first folder is.
fn is_own(name: &[u8]) -> bool {
    name.starts_with(b".vfadm") || [&b"version.txt"[..], b"registry.yaml", b"lost+found"].contains(&name)
}

/// Switches on the best kind of quotas that the kernel has; nothing when any is on.
pub(super) fn enable(volume: &Dir) -> host::Result<()> {
    if Qgroups::of(volume)?.mode()? != Mode::Off {
        return Ok(());
    }
    match quota_enable(volume, Accounting::Simple) {
        Err(e) if matches!(e.errno(), Some(libc::EINVAL | libc::ENOTTY | libc::EOPNOTSUPP)) => {
            quota_enable(volume, Accounting::Full)?;
            rescan_wait(volume)
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decided(mode: Mode, simple: Option<bool>, empty: bool) -> Readiness {
        decide(Path::new("/v"), Facts { mode, simple, empty, used: 4096 })
    }

    fn caution(readiness: Readiness) -> Option<String> {
        match readiness {
            Readiness::NeedsEnabling { caution, .. } => caution,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn an_empty_filesystem_needs_no_caution_and_one_with_data_does() {
        assert_eq!(caution(decided(Mode::Off, Some(true), true)), None);
        let text = caution(decided(Mode::Off, Some(true), false)).unwrap();
        assert!(text.contains("incompatible flag for good") && text.contains("4096 bytes"), "{text}");
        assert!(caution(decided(Mode::Off, None, false)).is_some());
    }

    #[test]
    fn a_kernel_without_simple_quotas_gets_full_qgroups() {
        let Readiness::NeedsEnabling { what, caution } = decided(Mode::Off, Some(false), false) else {
            panic!("not offered");
        };
        assert!(what.contains("full qgroups") && caution.is_none(), "{what}");
    }

    #[test]
    fn quotas_that_are_on_are_ready_unless_inconsistent() {
        assert_eq!(decided(Mode::Simple, Some(true), false), Readiness::Ready);
        assert_eq!(decided(Mode::Full { consistent: true }, None, false), Readiness::Ready);
        let Readiness::Unable { remedy, .. } = decided(Mode::Full { consistent: false }, None, false) else {
            panic!("inconsistent qgroups were taken");
        };
        assert!(remedy.contains("btrfs quota rescan"), "{remedy}");
    }

    #[test]
    fn only_simple_quotas_are_called_enforced_by_the_kernel() {
        let of = |mode| enforcement(Path::new("/v"), mode);
        assert_eq!(of(Mode::Simple), (Enforcement::Kernel, None));
        let (full, warning) = of(Mode::Full { consistent: true });
        assert_eq!(full, Enforcement::Cooperative);
        assert!(warning.unwrap().contains("subvolume"));
        assert_eq!(of(Mode::Off).0, Enforcement::None);
    }

    #[test]
    fn only_our_own_names_are_own() {
        assert!(is_own(b".vfadm-volume.yaml") && is_own(b"version.txt"));
        assert!(!is_own(b"data") && !is_own(b"version.txt2"));
    }
}
