//! The notes beside the data (marker and sidecars) against the registry, and what they tell of things that it does not
//! know.

use std::collections::BTreeSet;

use serde_json::Value;
use uuid::Uuid;

use super::disk::{Disk, is_dir};
use super::found::{Found, Mend};
use crate::domain::error::Result;
use crate::domain::finding::Finding;
use crate::domain::record::{Record, Scope, VFolder, Volume};
use crate::host::dir::Dir;
use crate::host::files;
use crate::ops::layout::is_hex;
use crate::ops::scope::{self, Site};
use crate::ops::sidecar;
use crate::ops::sidecar::note::{self, END, MOST};
use crate::plan::{Step, has_layout};
use crate::registry::document::plain;
use crate::registry::root::{LAYOUT, MARKER};

const LAYOUT_AND_MARKER: [&str; 2] = [LAYOUT, MARKER];

const AGAIN: &str = "writes it again";

/// How a note differs from what it should be.
enum Differs {
    Stale(String),
    Newer(u64),
}

/// The generation may be any: what was written stays as long as it is true.
fn compare(expected: &str, found: &[u8], generation: u64) -> Option<Differs> {
    let counted = |line: &&str| line.starts_with("generation: ");
    let lines =
        |text: &str| text.lines().filter(|line| !counted(line)).map(str::to_owned).collect::<Vec<_>>();
    let ahead = |written: u64| format!("it is of generation {written}, which the registry has not reached");
    if let Some(found) = std::str::from_utf8(found).ok().filter(|found| lines(found) == lines(expected)) {
        let written = found.lines().find_map(|line| line.strip_prefix("generation: ")?.parse().ok());
        // What is mended without a change of the registry is written ahead of it.
        let next = generation.saturating_add(1);
        return written.filter(|written| *written > next).map(|written| Differs::Stale(ahead(written)));
    }
    let meant = |text: &[u8]| {
        plain::<Value>(text.to_vec()).map(|mut value| {
            let written = value.as_object_mut().and_then(|map| map.remove("generation"));
            // A marker is not written for what the kernel still has to free.
            if let Some(volume) = value.get_mut("volume").and_then(Value::as_object_mut) {
                volume.remove("draining");
            }
            (value, written.and_then(|generation| generation.as_u64()))
        })
    };
    match (meant(expected.as_bytes()), meant(found)) {
        (Ok((expected, _)), Ok((found, _))) if expected == found => None,
        (_, Ok((_, Some(written)))) if written > generation => Some(Differs::Newer(written)),
        (_, Ok(_)) => Some(Differs::Stale("it says something else than the registry".to_owned())),
        (_, Err(error)) => Some(Differs::Stale(format!("it cannot be read: {error}"))),
    }
}

/// What a file cannot be written over.
fn is_directory(dir: &Dir, name: &str) -> bool {
    dir.stat(name).is_ok_and(|stat| stat.is_some_and(|stat| is_dir(&stat)))
}

fn in_the_way(dir: &Dir, name: &str) -> String {
    format!("see what {} is, and move it away", dir.join(name).display())
}

fn text_of(step: Step) -> String {
    match step {
        Step::WriteSidecar { text, .. } => text,
        _ => String::new(),
    }
}

impl Disk<'_> {
    /// The sidecars of a scope and its folders. Those of folders without a record are all that is known of them.
    pub(super) fn notes_of_scope(&mut self, notes: Option<&Dir>, site: &Site, record: &Scope) -> Result<()> {
        let (place, registry) = (&site.place, self.registry);
        let owner = sidecar::owner_record(registry, &place.owner)?;
        let dir = note::of_scope(notes, &place.dir)?;
        let mut there: BTreeSet<String> = BTreeSet::new();
        for name in dir.iter().flat_map(Dir::names).flatten() {
            there.insert(name.to_string_lossy().into_owned());
        }
        let scope = text_of(sidecar::scope(registry, place, record, &owner));
        self.note(dir.as_ref(), &mut there, "scope", &scope, (Scope::SECTION, Scope::NOUN, &site.key()))?;
        for (key, folder) in scope::folders(registry, &place.owner, &self.at.name)? {
            let name = key.rsplit_once('/').map_or(key.as_str(), |(_, name)| name);
            let text = text_of(sidecar::folder(registry, place, name, &folder));
            let of = (VFolder::SECTION, VFolder::NOUN, key.as_str());
            self.note(dir.as_ref(), &mut there, &folder.digits(), &text, of)?;
        }
        let Some(dir) = dir else { return Ok(()) };
        for file in there {
            let name = file.trim_start_matches('.').trim_end_matches(".new").trim_end_matches(END);
            let id = is_hex(name, 32).then(|| Uuid::parse_str(name).ok()).flatten();
            match id {
                Some(id) if self.seen.contains(&id) || self.known.is_worked_on(id) => {}
                None if name != "scope" => {
                    let finding = Finding::warning(
                        "stray_entry",
                        dir.join(&file).display().to_string(),
                        "is no sidecar",
                    );
                    self.found.push(Found::by_hand(finding.repair("see what it is, and move it away")));
                }
                _ => self.left_note(&dir.join(&file), &place.dir, name),
            }
        }
        Ok(())
    }

    /// One sidecar against what it has to say.
    fn note(
        &mut self,
        dir: Option<&Dir>,
        there: &mut BTreeSet<String>,
        name: &str,
        text: &str,
        (section, noun, key): (&str, &str, &str),
    ) -> Result<()> {
        let file = format!("{name}{END}");
        let subject = format!("{noun} {key}");
        let mend = Mend::Note { section: section.to_owned(), key: key.to_owned() };
        let draft = there.remove(&files::draft_name(&file));
        let found = match dir.filter(|_| there.remove(&file)) {
            None => {
                let finding = Finding::warning("sidecar_missing", subject, "it has no sidecar on its volume");
                Some((finding, AGAIN))
            }
            Some(dir) => match files::read(dir, &file, MOST) {
                Ok(None) => return Ok(()),
                Ok(Some(found)) => match compare(text, &found, self.registry.header.generation) {
                    None if draft => Some((
                        Finding::warning(
                            "sidecar_stale",
                            subject,
                            "a sidecar that was not finished lies beside its own",
                        ),
                        AGAIN,
                    )),
                    None => None,
                    Some(Differs::Stale(why)) => {
                        let message = format!("its sidecar {}: {why}", dir.join(&file).display());
                        Some((Finding::warning("sidecar_stale", subject, message), AGAIN))
                    }
                    Some(Differs::Newer(generation)) => {
                        let message = format!(
                            "its sidecar {} is of generation {generation}, and the registry of {}",
                            dir.join(&file).display(),
                            self.registry.header.generation
                        );
                        let finding = Finding::error("sidecar_newer", subject, message).losing();
                        Some((finding, "writes what the registry says; the sidecar's is lost"))
                    }
                },
                Err(error) => {
                    let finding = Finding::warning("sidecar_stale", subject, error.to_string());
                    if is_directory(dir, &file) {
                        self.found.push(Found::by_hand(finding.repair(in_the_way(dir, &file))));
                        return Ok(());
                    }
                    Some((finding, AGAIN))
                }
            },
        };
        self.found.extend(found.map(|(finding, how)| Found::mended(finding, mend, how)));
        Ok(())
    }

    fn left_note(&mut self, path: &std::path::Path, dir: &str, name: &str) {
        let message = "what it tells of is neither recorded nor on the volume";
        let finding = Finding::warning("sidecar_left", path.display().to_string(), message).losing();
        let mend = Mend::NoNote { volume: self.at.name.clone(), dir: dir.to_owned(), name: name.to_owned() };
        self.found.push(Found::mended(finding, mend, "removes it"));
    }

    /// Sidecars of scopes that are neither there nor recorded. `dirs` are those that are there.
    pub(super) fn left_notes(
        &mut self,
        notes: Option<&Dir>,
        dirs: &BTreeSet<String>,
        volume: &Volume,
    ) -> Result<()> {
        let Some(notes) = notes else { return Ok(()) };
        let present = scope::present(self.registry, &self.at.name, volume)?;
        let recorded: BTreeSet<String> = present.into_iter().map(|(site, _)| site.place.dir).collect();
        for name in notes.names()? {
            let Some(dir) = name.to_str().filter(|name| is_hex(name, 32)) else { continue };
            if !dirs.contains(dir) && !recorded.contains(dir) {
                self.left_note(&notes.join(dir), dir, "scope");
            }
        }
        Ok(())
    }

    /// The marker, and the version of the layout.
    pub(super) fn marker(&mut self, top: &Dir, volume: &Volume) -> Result<()> {
        let name = &self.at.name;
        let expected = sidecar::marker(self.registry, name, volume);
        let found = files::read(top, MARKER, MOST)?.unwrap_or_default();
        let differs = compare(&expected, &found, u64::MAX);
        let why = match differs {
            Some(Differs::Stale(why)) => Some(format!("its marker {}: {why}", top.join(MARKER).display())),
            Some(Differs::Newer(_)) => None,
            None if !has_layout(top) => {
                Some(format!("{} does not tell the layout", top.join(LAYOUT).display()))
            }
            None => None,
        };
        let blocked = LAYOUT_AND_MARKER.into_iter().find(|name| is_directory(top, name));
        self.found.extend(why.map(|why| {
            let finding = Finding::warning("marker_stale", format!("volume {name}"), why);
            if let Some(name) = blocked {
                return Found::by_hand(finding.repair(in_the_way(top, name)));
            }
            let mend = Mend::Note { section: Volume::SECTION.to_owned(), key: name.clone() };
            Found::mended(finding, mend, AGAIN)
        }));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hostile_sidecar_is_compared_at_once() {
        let expected =
            "owner: user/alice\nname: data\ngeneration: 4\nvfolder: {id: 3d1d94f0, volume: fast}\n";
        assert!(compare(expected, expected.as_bytes(), 4).is_none());
        crate::testing::each_yaml(&[expected], MOST as usize, |text| {
            compare(expected, text, 4);
        });
    }
}
