//! What stands on the volumes: read by a process of its own each, by handles, without entering a folder. A volume may be
//! anybody's: what cannot be read is told, and stops nothing.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::domain::error::Result;
use crate::domain::record::Volume;
use crate::host::dir::Dir;
use crate::host::{apart, files};
use crate::ops::sidecar::note::{FolderNote, Marker, ScopeNote, read};
use crate::plan::{VolumeAt, look};
use crate::quota::{self, ScopeAt};
use crate::registry::Registry;
use crate::registry::root::{FILE, MARKER, PRIVATE};

/// The most bytes of the part of the registry that no sidecar holds; of 100,000 users it has 10 MiB.
const MOST_OWNERS: u64 = 64 << 20;

/// Where in its scope a folder lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Place {
    Home,
    Trash,
    Staging,
}

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
    pub scopes: BTreeMap<String, FoundScope>,
    /// What could not be read.
    pub notes: Vec<String>,
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
        let volume = Volume { path: self.path.display().to_string(), ..self.marker.volume.clone() };
        VolumeAt::new(self.marker.registry, &self.marker.name, &volume)
    }

    /// How much it is to be taken for the volume of its name.
    pub fn rank(&self) -> (u64, bool) {
        (self.marker.generation, Path::new(&self.marker.volume.path) == self.path)
    }
}

/// The volumes at these paths, and a note for each marker that cannot be read.
pub(super) fn sites(paths: &[PathBuf]) -> Result<(Vec<Site>, Vec<String>)> {
    let (mut found, mut notes) = (Vec::new(), Vec::new());
    let answers = apart::each(paths, look::PATIENCE, |path| match site(path) {
        Ok(site) => (site, None),
        Err(error) => (None, Some(error.message)),
    })?;
    for (path, answer) in paths.iter().zip(answers) {
        match answer {
            Some((site, note)) => {
                found.extend(site);
                notes.extend(note);
            }
            None => notes.push(format!("{} does not answer", path.display())),
        }
    }
    Ok((found, notes))
}

fn site(path: &Path) -> Result<Option<Site>> {
    // What cannot be opened as a directory is no volume.
    let Ok(dir) = Dir::open(path) else { return Ok(None) };
    let Some(marker) = read(&dir, MARKER)? else { return Ok(None) };
    // What is wrong with it is told when it is used.
    let siblings = dir.open_dir(PRIVATE).ok().and_then(|private| {
        let part = Registry::parse(files::read(&private, FILE, MOST_OWNERS).ok()??, PathBuf::new()).ok()?;
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
            contents.notes.push(error.message);
        }
        contents
    })?)
}

fn gather(at: &VolumeAt, contents: &mut Contents) -> Result<()> {
    let volume = at.open()?;
    for name in hex_names(&volume, 32)? {
        contents.scopes.entry(name).or_default().exists = true;
    }
    if let Ok(private) = volume.open_dir(PRIVATE) {
        match files::read(&private, FILE, MOST_OWNERS).map(|bytes| bytes.map(String::from_utf8)) {
            Ok(Some(Ok(text))) => contents.owners = Some(text),
            Ok(None) => {}
            Ok(Some(Err(_))) => contents.notes.push(format!("{} is not text", private.join(FILE).display())),
            Err(error) => contents.notes.push(error.to_string()),
        }
        for name in hex_names(&private, 32)? {
            match private.open_dir(&name) {
                Ok(dir) => sidecars(&dir, contents.scopes.entry(name).or_default(), &mut contents.notes)?,
                Err(error) => contents.notes.push(error.to_string()),
            }
        }
    }
    for (dir, scope) in &mut contents.scopes {
        let place = place(at, dir, scope);
        if scope.exists {
            match at.driver().open_scope(&volume, &place) {
                Ok(top) => {
                    folders(&top, scope)?;
                    scope.seen = true;
                }
                Err(error) => contents.notes.push(error.message),
            }
        }
    }
    limits(at, contents);
    Ok(())
}

fn place<'a>(at: &'a VolumeAt, dir: &'a str, scope: &FoundScope) -> ScopeAt<'a> {
    let kernel_id = scope.note.as_ref().and_then(|note| note.scope.kernel_id);
    ScopeAt { volume: &at.path, dir, kernel_id, folders: at.folders }
}

fn sidecars(dir: &Dir, scope: &mut FoundScope, notes: &mut Vec<String>) -> Result<()> {
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
        notes.extend(told.err().map(|error| error.message));
    }
    Ok(())
}

fn folders(top: &Dir, scope: &mut FoundScope) -> Result<()> {
    let mut note = |digits: String, place: Place| {
        scope.folders.entry(digits).or_default().places.push(place);
    };
    for (name, place) in [(".trash", Place::Trash), (".staging", Place::Staging)] {
        if let Ok(dir) = top.open_beneath(Path::new(name)) {
            hex_names(&dir, 32)?.into_iter().for_each(|digits| note(digits, place));
        }
    }
    for first in hex_names(top, 2)? {
        let Ok(above) = top.open_beneath(Path::new(&first)) else { continue };
        for second in hex_names(&above, 2)? {
            let Ok(dir) = above.open_beneath(Path::new(&second)) else { continue };
            for rest in hex_names(&dir, 28)? {
                note(format!("{first}{second}{rest}"), Place::Home);
            }
        }
    }
    Ok(())
}

/// The directories whose names are so many hexadecimal digits.
fn hex_names(dir: &Dir, digits: usize) -> Result<Vec<String>> {
    let names = dir.names()?.into_iter().filter_map(|name| name.into_string().ok());
    let mut found = Vec::new();
    for name in names.filter(|name| is_hex(name, digits)) {
        if dir.stat(&name)?.is_some_and(|stat| stat.st_mode & nix::libc::S_IFMT == nix::libc::S_IFDIR) {
            found.push(name);
        }
    }
    Ok(found)
}

fn is_hex(name: &str, digits: usize) -> bool {
    name.len() == digits && name.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

fn limits(at: &VolumeAt, contents: &mut Contents) {
    if !at.storage.driver.limits_scopes() || !quota::is_set_here(&at.storage) {
        return;
    }
    let known: Vec<String> = contents
        .scopes
        .iter()
        .filter(|(_, scope)| scope.seen && (scope.note.is_some() || !at.driver().wants_kernel_id()))
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
