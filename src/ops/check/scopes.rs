//! Directories of scopes that the registry does not have there.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use uuid::Uuid;

use super::disk::{Disk, is_dir};
use super::found::{Found, Mend};
use super::mend;
use crate::domain::error::Result;
use crate::domain::finding::Finding;
use crate::domain::owner::Owner;
use crate::domain::record::Scope;
use crate::domain::text::shell_path;
use crate::host::dir::Dir;
use crate::ops::layout::{self, Place, is_hex};
use crate::ops::sidecar::note;

impl Disk<'_> {
    /// Directories in the place of a scope that are no scope of the registry's; answers all that are there.
    pub(super) fn other_scopes(
        &mut self,
        top: &Dir,
        notes: Option<&Dir>,
        looked_at: &BTreeSet<String>,
    ) -> Result<BTreeSet<String>> {
        let mut dirs = BTreeSet::new();
        for name in top.names()? {
            let Some(dir) = name.to_str().filter(|name| is_hex(name, 32)) else { continue };
            dirs.insert(dir.to_owned());
            if looked_at.contains(dir) {
                continue;
            }
            if !top.stat(dir)?.is_some_and(|stat| is_dir(&stat)) {
                let owner = self.known.owner(dir).map(|owner| owner.scope_key(&self.at.name));
                let record =
                    owner.and_then(|key| self.registry.get::<Scope>(&key).transpose()).transpose()?;
                if !record.is_some_and(|record| record.present) {
                    self.stray(top.join(dir), "is in the place of a quota scope");
                }
                continue;
            }
            let path = top.join(dir);
            match self.known.owner(dir) {
                Some(owner) => self.unrecorded_scope(owner.clone(), dir, notes)?,
                None => {
                    let told = note::of_scope_itself(notes, dir)?;
                    let returns = told.as_ref().and_then(|told| told.owner_of(dir, self.registry));
                    let message = match &told {
                        Some(told) => format!("it was {}'s, whom the registry does not know", told.owner),
                        None => "it is nobody's".to_owned(),
                    };
                    let finding = Finding::warning("scope_unowned", path.display().to_string(), message);
                    if self.holds_known(&path, top, dir)? {
                        continue;
                    }
                    self.found.push(match returns {
                        Some(_) => Found::mended(
                            finding,
                            Mend::Owner { volume: self.at.name.clone(), dir: dir.to_owned() },
                            "records the owner again, and what is in it",
                        ),
                        None => Found::by_hand(
                            finding.repair("see what is in it; if nobody needs that, remove it"),
                        ),
                    });
                }
            }
        }
        Ok(dirs)
    }

    /// A scope that the registry knows, and cannot be opened, is a finding already.
    fn unrecorded_scope(&mut self, owner: Owner, dir: &str, notes: Option<&Dir>) -> Result<()> {
        let key = owner.scope_key(&self.at.name);
        let record = self.registry.get::<Scope>(&key)?;
        if record.is_some_and(|record| record.present) {
            return Ok(());
        }
        let path = self.at.path.join(dir);
        let finding = Finding::error(
            "scope_unrecorded",
            format!("quota scope {key}"),
            format!("{} is there, and the registry has no such quota scope", path.display()),
        );
        let told = note::of_scope_itself(notes, dir)?.is_some_and(|told| told.scope.kernel_id.is_some())
            || !self.at.driver().wants_kernel_id()
            || mend::number_of(self.at, dir)?.is_some();
        self.found.push(match told {
            true => Found::mended(finding, Mend::Scope { key }, "records it again"),
            false => {
                Found::by_hand(finding.repair(
                    "nothing says which number it has in the kernel: move its folders to another scope",
                ))
            }
        });
        Ok(())
    }

    /// Whether a directory holds folders of the registry: then it is most likely the scope of their owner under another
    /// name, and nobody may take the folders for lost.
    fn holds_known(&mut self, path: &Path, top: &Dir, dir: &str) -> Result<bool> {
        let mut owners: BTreeMap<Owner, Vec<Uuid>> = BTreeMap::new();
        let folders = layout::folders(&top.open_dir(dir)?)?.into_iter();
        let settled = folders.filter(|(_, place)| *place != Place::Staging);
        for id in settled.filter_map(|(digits, _)| Uuid::parse_str(&digits).ok()) {
            if let Some(folder) = self.known.folder(id).filter(|folder| folder.record.volume == self.at.name)
            {
                owners.entry(folder.owner.clone()).or_default().push(id);
            }
        }
        for (owner, ids) in &owners {
            let place = self.known.dir(owner).map(|dir| self.at.path.join(dir)).unwrap_or_default();
            for id in ids {
                let Some(folder) = self.known.folder(*id) else { continue };
                let message = format!("it is in {}, and has to be in {}", path.display(), place.display());
                let finding =
                    Finding::error("vfolder_misplaced", format!("vfolder {}", folder.key()), message);
                let repair = match owners.len() {
                    1 => format!(
                        "if that is the quota scope {} under another name: mv -T {} {}",
                        owner.scope_key(&self.at.name),
                        shell_path(path),
                        shell_path(&place)
                    ),
                    _ => "move it there".to_owned(),
                };
                self.found.push(Found::by_hand(finding.repair(repair)).about(*id));
            }
        }
        Ok(!owners.is_empty())
    }
}
