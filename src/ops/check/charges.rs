//! Whether the storage counts a folder where it belongs.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::disk::Disk;
use super::found::{Found, Mend};
use crate::domain::error::Result;
use crate::domain::finding::Finding;
use crate::domain::record::{Scope, VFolder};
use crate::domain::text::shell_path;
use crate::host::process::own_mounts;
use crate::ops::resolve::Folder;
use crate::ops::scope::Site;
use crate::plan::{Plan, ScopePlace, Step};
use crate::quota::Uncharged;

/// What a plain directory in the place of a folder is, and how it is mended: what is in it has to be written anew to be
/// charged.
pub(in crate::ops) fn plain_directory(key: &str, path: &Path) -> Finding {
    let message = format!("{}: it is a plain directory, and not charged to its quota scope", path.display());
    Finding::error("not_charged", format!("vfolder {key}"), message).repair(format!(
        "copy it into a vfolder, which is charged: vfadm vfolder clone {key} OWNER/NEWNAME; then purge this one, and \
         rename the other"
    ))
}

/// That something is mounted over a folder that is a plain directory; `None` where nothing is.
pub(super) fn mounted_over(folder: &Folder, path: &Path) -> Result<Option<Found>> {
    let mounts = own_mounts()?;
    Ok(mounts.iter().rfind(|mount| mount.point == path).map(|mount| {
        let point = path.display().to_string();
        let message = format!(
            "{} ({}) is mounted at {point}: what is there is neither counted nor the vfolder's",
            mount.source, mount.filesystem
        );
        let finding = Finding::error("nested_mount", format!("vfolder {}", folder.key()), message);
        Found::by_hand(finding.repair(format!("umount {}", shell_path(path)))).about(folder.record.id)
    }))
}

/// That the kernel's object of a scope's number is not there.
pub(in crate::ops) fn uncounted(site: &Site) -> Found {
    let number = site.place.kernel_id.unwrap_or_default();
    let message = format!(
        "{}: the storage has nothing of its number {number} any more: it is not charged, and has no limit",
        site.place.path().display()
    );
    let finding = Finding::error("not_charged", format!("quota scope {}", site.key()), message);
    let mend = Mend::ChargeScope { key: site.key(), anew: true };
    let how = "makes that again, with the limit, and charges its vfolders to it; what was written before quotas were \
               last switched on is not counted";
    Found::mended(finding, mend, how)
}

/// Adds to a plan what charges a scope again. `anew`: its limit is lost too; its folders are found by the next look.
pub(super) fn charge_scope(site: Site, record: &Scope, anew: bool, plan: &mut Plan) {
    let scope = site.place;
    plan.steps.push(Step::ChargeScope { scope: scope.clone() });
    if anew && record.limit.is_some() {
        plan.steps.push(Step::SetLimit { scope, from: None, to: record.limit });
    }
}

impl Disk<'_> {
    /// Folders that are there, and that the storage does not charge to their scope alone: they have no limit, or
    /// another one's too.
    pub(super) fn charges(&mut self, place: &ScopePlace, folders: &[(String, VFolder)]) -> Result<()> {
        let keys: HashMap<PathBuf, &(String, VFolder)> =
            folders.iter().map(|of| (PathBuf::from(of.1.place()), of)).collect();
        let paths: Vec<PathBuf> = keys.keys().cloned().collect();
        for (path, how) in self.at.driver().uncharged(&place.at(), &paths)? {
            let folder = keys.get(&path);
            let whole = path.as_os_str().is_empty();
            let at = if whole { place.path() } else { place.path().join(&path) };
            let (code, what, mends) = match how {
                Uncharged::Missing => {
                    ("not_charged", "it is not charged to its quota scope".to_owned(), "charges it there")
                }
                Uncharged::PlainDirectory => match folder {
                    Some((key, folder)) => {
                        self.found.push(Found::by_hand(plain_directory(key, &at)).about(folder.id));
                        continue;
                    }
                    None => ("not_charged", "it is a plain directory, and not charged".to_owned(), ""),
                },
                Uncharged::Twice(other) => {
                    let what = format!("it is charged to the number {other} as well, another's");
                    ("charged_twice", what, "charges it to its own alone")
                }
            };
            let message = format!("{}: {what}", at.display());
            self.found.push(match folder {
                Some((key, folder)) => {
                    let finding = Finding::error(code, format!("vfolder {key}"), message);
                    Found::mended(finding, Mend::Charge { key: key.clone() }, mends).about(folder.id)
                }
                None if whole => of_scope(place, code, message, how),
                None => continue,
            });
        }
        Ok(())
    }
}

/// A scope that is one subvolume for all its folders.
fn of_scope(place: &ScopePlace, code: &'static str, message: String, how: Uncharged) -> Found {
    let finding = Finding::error(code, format!("quota scope {}", place.name()), message);
    if how == Uncharged::PlainDirectory {
        return Found::by_hand(finding.repair(
            "move it aside, make a subvolume in its place, copy what is in it there (cp -a --reflink=never); \
             then 'vfadm check --repair' charges that",
        ));
    }
    let mend = Mend::ChargeScope { key: place.name(), anew: false };
    Found::mended(finding, mend, "charges it to its number alone")
}
