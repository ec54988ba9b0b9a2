//! How folders lie in a scope on disk: at home by the digits of their ids, in the trash, or in staging.

use std::path::{Path, PathBuf};

use nix::libc;
use serde::{Deserialize, Serialize};

use crate::domain::error::{Error, Result};
use crate::domain::record::home_of;
use crate::host::dir::Dir;

/// Where in its scope a folder lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Place {
    /// `aa/bb/REST`.
    Home,
    /// `.trash/DIGITS`.
    Trash,
    /// `.staging/DIGITS`: it is made, or is on its way from another scope.
    Staging,
}

impl Place {
    /// The path below the scope of the folder with these 32 digits.
    pub fn path(self, digits: &str) -> PathBuf {
        match self {
            Place::Home => PathBuf::from(home_of(digits)),
            Place::Trash => Path::new(".trash").join(digits),
            Place::Staging => Path::new(".staging").join(digits),
        }
    }
}

/// The directories in the places of folders in a scope, by their digits. Storage that does not hand out one of vfadm's own
/// directories is an error.
pub fn folders(scope: &Dir) -> Result<Vec<(String, Place)>> {
    let mut found = Vec::new();
    for (name, place) in [(".trash", Place::Trash), (".staging", Place::Staging)] {
        if let Some(dir) = beneath(scope, name)? {
            found.extend(hex_names(&dir, 32)?.into_iter().map(|digits| (digits, place)));
        }
    }
    for first in hex_names(scope, 2)? {
        let Some(above) = beneath(scope, &first)? else { continue };
        for second in hex_names(&above, 2)? {
            let Some(dir) = beneath(&above, &second)? else { continue };
            let home = |rest| (format!("{first}{second}{rest}"), Place::Home);
            found.extend(hex_names(&dir, 28)?.into_iter().map(home));
        }
    }
    Ok(found)
}

/// A directory of vfadm's own; `None` where there is none.
fn beneath(dir: &Dir, name: &str) -> Result<Option<Dir>> {
    match dir.open_beneath(Path::new(name)).map_err(Error::from) {
        Err(error) if is_nothing(&error) => Ok(None),
        dir => dir.map(Some),
    }
}

/// True where an error only says that there is nothing of the kind.
pub fn is_nothing(error: &Error) -> bool {
    error.is_of(&["ENOENT", "ENOTDIR", "ELOOP"])
}

/// The directories whose names are so many hexadecimal digits.
pub fn hex_names(dir: &Dir, digits: usize) -> Result<Vec<String>> {
    let names = dir.names()?.into_iter().filter_map(|name| name.into_string().ok());
    let mut found = Vec::new();
    for name in names.filter(|name| is_hex(name, digits)) {
        if dir.stat(&name)?.is_some_and(|stat| stat.st_mode & libc::S_IFMT == libc::S_IFDIR) {
            found.push(name);
        }
    }
    Ok(found)
}

/// So many lower-case hexadecimal digits.
pub fn is_hex(text: &str, digits: usize) -> bool {
    text.len() == digits && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}
