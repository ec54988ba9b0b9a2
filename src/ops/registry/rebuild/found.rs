//! What stands on the volumes: read by a process of its own each, by handles, without entering a folder. A volume may be
//! anybody's: what means nothing is told, and stops nothing. What the storage does not hand out is a gap: what is behind it
//! would be forgotten.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::domain::error::{Error, Result};
use crate::domain::record::Volume;
use crate::host::dir::Dir;
use crate::host::{apart, files};
use crate::ops::layout::{self, Place, hex_names, is_hex, is_nothing};
use crate::ops::sidecar::note::{FolderNote, Marker, ScopeNote, read};
use crate::plan::{VolumeAt, look, owners};
use crate::quota::{self, ScopeAt};
use crate::registry::Registry;
use crate::registry::root::{FILE, MARKER, PRIVATE};

/// A folder, by its directory, its sidecar or both.
#[derive(Clone, Default, Serialize, Deserialize)]
pub(super) struct FoundFolder {
    pub places: Vec<Place>,
    pub note: Option<FolderNote>,
}

/// A limit that the storage holds.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub(super) struct Held {
    /// Bytes; `None` is unlimited.
    pub bytes: Option<u64>,
}

/// A scope, by its directory, its sidecars or both; folders by the digits of their ids.
#[derive(Clone, Default, Serialize, Deserialize)]
pub(super) struct FoundScope {
    /// Its directory is there.
    pub exists: bool,
    /// What is in it could be listed.
    pub seen: bool,
    /// Its number in the kernel, where no sidecar told it.
    pub number: Option<u64>,
    /// The limit that the storage holds; absent where it does not say.
    pub limit: Option<Held>,
    pub note: Option<ScopeNote>,
    pub folders: BTreeMap<String, FoundFolder>,
}

/// What stands on a volume; scopes by the names of their directories.
#[derive(Clone, Default, Serialize, Deserialize)]
pub(super) struct Contents {
    /// The part of the registry that no sidecar holds.
    pub owners: Option<String>,
    /// There is, or may be, a file with that part, which could not be read.
    pub owners_unread: bool,
    pub scopes: BTreeMap<String, FoundScope>,
    /// What means nothing.
    pub notes: Vec<String>,
    /// What the storage did not hand out.
    pub gaps: Vec<String>,
}

/// What looking at paths came to.
#[derive(Default)]
pub(super) struct Looked {
    pub sites: Vec<Site>,
    /// Markers that mean nothing.
    pub notes: Vec<String>,
    /// Places of which the storage does not say whether a volume is there.
    pub gaps: Vec<String>,
}

/// A volume by its marker.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Site {
    /// Where it is.
    pub path: PathBuf,
    pub marker: Marker,
    /// Ids and paths of all volumes of its registry, where it has the part of the registry that no sidecar holds.
    pub siblings: Option<Vec<(Uuid, PathBuf)>>,
}

impl Site {
    /// As steps and drivers name it.
    pub fn at(&self) -> VolumeAt {
        Site::at_path(&self.path, &self.marker)
    }

    /// The same of its parts.
    pub fn at_path(path: &Path, marker: &Marker) -> VolumeAt {
        let volume = Volume { path: path.display().to_string(), id: marker.id, ..marker.volume.clone() };
        VolumeAt::new(marker.registry, &marker.name, &volume)
    }

    /// How much it is to be taken for the volume of its name.
    pub fn rank(&self) -> (u64, bool) {
        (self.marker.generation, Path::new(&self.marker.volume.path) == self.path)
    }
}

/// True where the storage did not hand out a file: not where it means nothing, or is none.
fn is_refusal(error: &Error) -> bool {
    error.details.contains_key("errno") && !is_nothing(error)
}

/// The volumes at these paths.
pub(super) fn sites(paths: &[PathBuf]) -> Result<Looked> {
    let mut looked = Looked::default();
    let answers =
        apart::each(paths, look::PATIENCE, |path| site(path).map_err(|e| (is_refusal(&e), e.message)))?;
    for (path, answer) in paths.iter().zip(answers) {
        match answer {
            Some(Ok(site)) => looked.sites.extend(site),
            Some(Err((false, note))) => looked.notes.push(note),
            Some(Err((true, gap))) => looked.gaps.push(gap),
            None => looked.gaps.push(format!("{} does not answer", path.display())),
        }
    }
    Ok(looked)
}

fn site(path: &Path) -> Result<Option<Site>> {
    let dir = match Dir::open(path).map_err(Error::from) {
        // What is no directory is no volume.
        Err(error) if is_nothing(&error) => return Ok(None),
        dir => dir?,
    };
    let Some(marker) = read(&dir, MARKER)? else { return Ok(None) };
    // What is wrong with it is told when it is used.
    let siblings = dir.open_dir(PRIVATE).ok().and_then(|private| {
        let part = Registry::parse(files::read(&private, FILE, owners::MOST).ok()??, PathBuf::new()).ok()?;
        let all = part.all::<Volume>().ok()?.into_iter();
        Some(all.map(|(_, volume)| (volume.id, PathBuf::from(volume.path))).collect())
    });
    Ok(Some(Site { path: path.to_owned(), marker, siblings }))
}

/// What stands on volumes; `None` for those that do not answer.
pub(super) fn contents(volumes: &[VolumeAt]) -> Result<Vec<Option<Contents>>> {
    Ok(apart::each(volumes, look::SILENCE, |at| {
        let mut contents = Contents::default();
        if let Err(error) = gather(at, &mut contents) {
            contents.owners_unread |= contents.owners.is_none();
            contents.gaps.push(error.message);
        }
        contents
    })?)
}

fn gather(at: &VolumeAt, contents: &mut Contents) -> Result<()> {
    let volume = at.open()?;
    for name in hex_names(&volume, 32)? {
        contents.scopes.entry(name).or_default().exists = true;
    }
    match volume.open_dir(PRIVATE).map_err(Error::from) {
        Ok(private) => notes_of(&private, contents)?,
        Err(error) if is_nothing(&error) => {}
        Err(error) => {
            contents.owners_unread = true;
            contents.gaps.push(error.message);
        }
    }
    for (dir, scope) in &mut contents.scopes {
        let place = place(at, dir, scope);
        if scope.exists {
            match at.driver().open_scope(&volume, &place).and_then(|top| folders(&top, scope)) {
                Ok(()) => scope.seen = true,
                Err(error) if is_nothing(&error) => contents.notes.push(error.message),
                Err(error) => contents.gaps.push(error.message),
            }
        }
    }
    limits(at, contents);
    Ok(())
}

/// The part of the registry that no sidecar holds, and the sidecars.
fn notes_of(private: &Dir, contents: &mut Contents) -> Result<()> {
    let bytes = files::read(private, FILE, owners::MOST).map_err(Error::from);
    match bytes.map(|bytes| bytes.map(String::from_utf8)) {
        Ok(Some(Ok(text))) => contents.owners = Some(text),
        Ok(None) => {}
        Ok(Some(Err(_))) => {
            contents.owners_unread = true;
            contents.notes.push(format!("{} is not text", private.join(FILE).display()));
        }
        Err(error) => {
            contents.owners_unread = true;
            contents.tell(error);
        }
    }
    for name in hex_names(private, 32)? {
        let mut scope = contents.scopes.remove(&name).unwrap_or_default();
        match private.open_dir(&name).map_err(Error::from) {
            Ok(dir) => sidecars(&dir, &mut scope, contents)?,
            Err(error) => contents.tell(error),
        }
        contents.scopes.insert(name, scope);
    }
    Ok(())
}

impl Contents {
    /// Of a file, or of a directory of sidecars.
    fn tell(&mut self, error: Error) {
        let list = if is_refusal(&error) { &mut self.gaps } else { &mut self.notes };
        list.push(error.message);
    }
}

fn place<'a>(at: &'a VolumeAt, dir: &'a str, scope: &FoundScope) -> ScopeAt<'a> {
    let told = scope.note.as_ref().and_then(|note| note.scope.kernel_id);
    let kernel_id = told.or(scope.number);
    ScopeAt { volume: &at.path, dir, kernel_id, folders: at.folders }
}

fn sidecars(dir: &Dir, scope: &mut FoundScope, contents: &mut Contents) -> Result<()> {
    for name in dir.names()? {
        let Some(stem) = name.to_str().and_then(|name| name.strip_suffix(".yaml")) else { continue };
        let file = format!("{stem}.yaml");
        let told = match stem {
            "scope" => read(dir, &file).map(|note| scope.note = note),
            digits if is_hex(digits, 32) => {
                read(dir, &file).map(|note| scope.folders.entry(digits.to_owned()).or_default().note = note)
            }
            _ => continue,
        };
        if let Err(error) = told {
            contents.tell(error);
        }
    }
    Ok(())
}

fn folders(top: &Dir, scope: &mut FoundScope) -> Result<()> {
    for (digits, place) in layout::folders(top)? {
        scope.folders.entry(digits).or_default().places.push(place);
    }
    Ok(())
}

/// The number of each scope of which no sidecar tells it, by what the kernel charges.
fn numbers(at: &VolumeAt, contents: &mut Contents) {
    for (dir, scope) in &mut contents.scopes {
        let told = scope.note.as_ref().is_some_and(|note| note.scope.kernel_id.is_some());
        if !scope.seen || told {
            continue;
        }
        let paths = scope.folders.iter().flat_map(|(digits, folder)| {
            // What is in staging may be on its way from another scope.
            let here = folder.places.iter().filter(|place| **place != Place::Staging);
            here.map(|place| place.path(digits))
        });
        let paths: Vec<PathBuf> = paths.collect();
        let read = at.driver().number_of(&place(at, dir, scope), &paths);
        match read {
            Ok(Some(number)) => scope.number = Some(number),
            Ok(None) => contents.notes.push(format!(
                "nothing tells which number the quota scope {dir} on '{}' has in the kernel: no limit of it can be \
                 read or set",
                at.name
            )),
            Err(error) => contents.notes.push(error.message),
        }
    }
}

fn limits(at: &VolumeAt, contents: &mut Contents) {
    if !at.storage.driver.limits_scopes() || !quota::is_set_here(&at.storage) {
        return;
    }
    let wants_number = at.driver().wants_kernel_id();
    if wants_number {
        numbers(at, contents);
    }
    let known: Vec<String> = contents
        .scopes
        .iter()
        .filter(|(dir, scope)| scope.seen && (!wants_number || place(at, dir, scope).kernel_id.is_some()))
        .map(|(dir, _)| dir.clone())
        .collect();
    let places: Vec<ScopeAt<'_>> = known.iter().map(|dir| place(at, dir, &contents.scopes[dir])).collect();
    let readings = match at.driver().read(&at.path, &places) {
        Ok(readings) => readings,
        Err(error) => return contents.notes.push(error.message),
    };
    for (dir, reading) in known.iter().zip(readings) {
        match (reading, contents.scopes.get_mut(dir)) {
            (Ok(reading), Some(scope)) => scope.limit = Some(Held { bytes: reading.limit }),
            (Err(error), _) => contents.notes.push(error.message),
            _ => {}
        }
    }
}
