//! How folders and mounts are named on the command line.

use std::fmt;
use std::str::FromStr;

use super::error::{Error, Result};
use super::level::Level;
use super::name;
use super::owner::Owner;

/// A vfolder as typed: `alice/data`, `user/alice/data`, `project/ml/data`, `id:3d1d`, or a bare name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FolderRef {
    /// Owner and name.
    Named(Owner, String),
    /// A prefix of the id, lower-case hexadecimal digits.
    Id(String),
    /// A name alone; its owner is whoever the command runs for.
    Bare(String),
}

impl FromStr for FolderRef {
    type Err = Error;

    fn from_str(text: &str) -> Result<FolderRef> {
        let (folder, rest) = split(text)?;
        if !rest.is_empty() || text.ends_with('/') {
            return Err(Error::usage(format!("'{}' names something inside a vfolder", name::shown(text)))
                .hint("write OWNER/NAME, as in alice/data or project/ml/data"));
        }
        Ok(folder)
    }
}

impl fmt::Display for FolderRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FolderRef::Named(owner, name) => write!(f, "{owner}/{name}"),
            FolderRef::Id(prefix) => write!(f, "id:{prefix}"),
            FolderRef::Bare(name) => f.write_str(name),
        }
    }
}

/// What a change can be about: a folder, or an owner where only that is named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// A folder.
    Folder(FolderRef),
    /// A user or project.
    Owner(Owner),
}

impl FromStr for Subject {
    type Err = Error;

    fn from_str(text: &str) -> Result<Subject> {
        match text.parse() {
            Ok(owner) => Ok(Subject::Owner(owner)),
            Err(error) if !text.contains(['/', ':']) => Err(error),
            Err(_) => text.parse().map(Subject::Folder),
        }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Subject::Folder(folder) => folder.fmt(f),
            Subject::Owner(owner) => owner.fmt(f),
        }
    }
}

/// Splits a reference into the folder and the path inside it (without leading slash, maybe empty).
fn split(text: &str) -> Result<(FolderRef, &str)> {
    if let Some(id) = text.strip_prefix("id:") {
        let (id, rest) = id.split_once('/').unwrap_or((id, ""));
        let digits: String = id.chars().filter(|c| *c != '-').collect::<String>().to_ascii_lowercase();
        if digits.is_empty() || digits.len() > 32 || !digits.chars().all(|c| c.is_ascii_hexdigit()) {
            return Err(Error::usage(format!("'{}' is not a prefix of an id", name::shown(text)))
                .hint("write id: and the first digits of the id, as 'vfadm vfolder list' shows it"));
        }
        return Ok((FolderRef::Id(digits), rest));
    }
    let parts: Vec<&str> = text.splitn(2, '/').collect();
    let (owner, rest) = match parts[..] {
        [bare] => return Ok((FolderRef::Bare(name::vfolder(bare)?), "")),
        ["user", rest] | ["project", rest] => {
            let (owner, rest) = rest.split_once('/').ok_or_else(|| {
                Error::usage(format!("'{}' names an owner, not a vfolder", name::shown(text)))
                    .hint(format!("write {text}/NAME"))
            })?;
            let owner = if text.starts_with("user/") {
                Owner::User(name::owner("user", owner)?)
            } else {
                Owner::Project(name::owner("project", owner)?)
            };
            (owner, rest)
        }
        [owner, rest] => (Owner::User(name::owner("user", owner)?), rest),
        _ => return Err(Error::usage("an empty reference")),
    };
    let (folder, inside) = rest.split_once('/').unwrap_or((rest, ""));
    Ok((FolderRef::Named(owner, name::vfolder(folder)?), inside))
}

/// A requested mount: `REF[:DEST][:ro|rw]` or `source=REF,subpath=P,target=DEST,perm=ro|rw`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountRequest {
    /// What to mount.
    pub folder: FolderRef,
    /// The path inside the folder, without leading slash; empty for all of it.
    pub subpath: String,
    /// Where, as typed.
    pub target: Option<String>,
    /// `ro` or `rw`, where asked.
    pub permission: Option<Level>,
}

/// A kernel of a session: `NAME`, which is on this host, or `NAME@NODE`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KernelRef {
    /// Its name.
    pub name: String,
    /// The host it runs on; absent is this one.
    pub node: Option<String>,
}

impl FromStr for KernelRef {
    type Err = Error;

    fn from_str(text: &str) -> Result<KernelRef> {
        let (name, node) = match text.split_once('@') {
            Some((name, node)) => (name, Some(name::thing("node", node)?)),
            None => (text, None),
        };
        Ok(KernelRef { name: name::thing("kernel", name)?, node })
    }
}

impl FromStr for MountRequest {
    type Err = Error;

    fn from_str(text: &str) -> Result<MountRequest> {
        if text.starts_with("source=") || text.contains(",source=") {
            return long_form(text);
        }
        let (text, id) = match text.strip_prefix("id:") {
            Some(rest) => (rest, "id:"),
            None => (text, ""),
        };
        let mut parts: Vec<&str> = text.split(':').collect();
        let permission = match parts.last() {
            Some(&"ro") if parts.len() > 1 => Some(Level::Ro),
            Some(&"rw") if parts.len() > 1 => Some(Level::Rw),
            _ => None,
        };
        if permission.is_some() {
            parts.pop();
        }
        let (source, target) = match parts[..] {
            [source] => (source, None),
            [source, target] if !target.is_empty() => (source, Some(target.to_owned())),
            _ => return Err(malformed_mount(text)),
        };
        let source = format!("{id}{source}");
        let (folder, subpath) = split(&source)?;
        Ok(MountRequest { folder, subpath: subpath.to_owned(), target, permission })
    }
}

fn malformed_mount(text: &str) -> Error {
    Error::usage(format!("'{}' is not a mount", name::shown(text))).hint(
        "write REF[:DEST][:ro|rw], as in data:/workspace:ro, or source=REF,subpath=P,target=DEST,perm=ro|rw",
    )
}

fn long_form(text: &str) -> Result<MountRequest> {
    let (mut source, mut subpath, mut target, mut permission) = (None, None, None, None);
    for (key, value) in fields(text)? {
        let slot = match key.as_str() {
            "source" => &mut source,
            "subpath" => &mut subpath,
            "target" => &mut target,
            "perm" => &mut permission,
            other => {
                return Err(Error::usage(format!("a mount has no key '{}'", name::shown(other)))
                    .hint("the keys are source, subpath, target and perm"));
            }
        };
        if slot.replace(value).is_some() {
            return Err(Error::usage(format!("the key '{key}' is given twice in '{}'", name::shown(text))));
        }
    }
    let source = source.ok_or_else(|| malformed_mount(text))?;
    let (folder, inside) = split(&source)?;
    let subpath = match (inside, subpath) {
        ("", given) => given.unwrap_or_default(),
        (inside, None) => inside.to_owned(),
        _ => return Err(Error::usage("the subpath is given twice: in the source and as subpath=")),
    };
    let permission = match permission.as_deref() {
        None => None,
        Some("ro") => Some(Level::Ro),
        Some("rw") => Some(Level::Rw),
        Some(other) => {
            return Err(Error::usage(format!("perm={} is neither ro nor rw", name::shown(other))));
        }
    };
    let subpath = subpath.trim_start_matches('/').to_owned();
    Ok(MountRequest { folder, subpath, target: target.filter(|t| !t.is_empty()), permission })
}

/// `key=value` pairs separated by commas; `\,` and `\=` stand for themselves.
fn fields(text: &str) -> Result<Vec<(String, String)>> {
    let mut pairs = Vec::new();
    let (mut key, mut now) = (None, String::new());
    let mut chars = text.chars();
    loop {
        match chars.next() {
            Some('\\') => match chars.next() {
                Some(c @ (',' | '=' | '\\')) => now.push(c),
                Some(c) => now.extend(['\\', c]),
                None => now.push('\\'),
            },
            Some('=') if key.is_none() => key = Some(std::mem::take(&mut now)),
            end @ (Some(',') | None) => {
                let key = key.take().ok_or_else(|| malformed_mount(text))?;
                pairs.push((key, std::mem::take(&mut now)));
                if end.is_none() {
                    return Ok(pairs);
                }
            }
            Some(c) => now.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(owner: &str, name: &str) -> FolderRef {
        FolderRef::Named(owner.parse().unwrap(), name.to_owned())
    }

    #[test]
    fn a_folder_is_named_by_owner_and_name_or_by_id() {
        for (text, folder) in [
            ("alice/data", named("alice", "data")),
            ("user/alice/data", named("alice", "data")),
            ("project/ml/data", named("project/ml", "data")),
            ("id:3D1d", FolderRef::Id("3d1d".into())),
            ("id:0b6d1c6c-35a3", FolderRef::Id("0b6d1c6c35a3".into())),
            ("data", FolderRef::Bare("data".into())),
        ] {
            assert_eq!(text.parse::<FolderRef>(), Ok(folder), "{text}");
        }
        for text in
            ["", "/", "alice/", "/data", "user/alice", "project/ml", "id:", "id:xyz", "alice/data/sub", "A/b"]
        {
            assert!(text.parse::<FolderRef>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_subject_is_an_owner_unless_it_names_a_folder() {
        let owner = |text: &str| Subject::Owner(text.parse().unwrap());
        for (text, subject) in [
            ("alice", owner("alice")),
            ("user/alice", owner("alice")),
            ("project/ml", owner("project/ml")),
            ("alice/data", Subject::Folder(named("alice", "data"))),
            ("project/ml/data", Subject::Folder(named("project/ml", "data"))),
            ("id:3d1d", Subject::Folder(FolderRef::Id("3d1d".into()))),
        ] {
            assert_eq!(text.parse(), Ok(subject), "{text}");
        }
        for text in ["", "Alice", ".config", "user/", "a/b/c", "id:"] {
            assert!(text.parse::<Subject>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_mount_is_a_reference_a_target_and_a_permission() {
        let mount = |folder, subpath: &str, target: Option<&str>, permission| MountRequest {
            folder,
            subpath: subpath.into(),
            target: target.map(Into::into),
            permission,
        };
        let (alice, bare) = (named("alice", "data"), FolderRef::Bare("data".into()));
        for (text, expected) in [
            ("data", mount(bare.clone(), "", None, None)),
            ("data:ro", mount(bare.clone(), "", None, Some(Level::Ro))),
            ("data:/workspace:rw", mount(bare.clone(), "", Some("/workspace"), Some(Level::Rw))),
            ("data:/workspace", mount(bare, "", Some("/workspace"), None)),
            ("alice/data/a/b:x", mount(alice.clone(), "a/b", Some("x"), None)),
            ("id:3d1d:/x:ro", mount(FolderRef::Id("3d1d".into()), "", Some("/x"), Some(Level::Ro))),
            (
                "source=alice/data,subpath=a\\,b\\=c,target=/x,perm=ro",
                mount(alice.clone(), "a,b=c", Some("/x"), Some(Level::Ro)),
            ),
            ("target=/ro,source=alice/data", mount(alice, "", Some("/ro"), None)),
        ] {
            assert_eq!(text.parse::<MountRequest>(), Ok(expected), "{text}");
        }
        for text in [
            "",
            ":",
            "data:",
            "data::ro",
            "data:/a:/b:ro",
            "source=",
            "source=data,x=y",
            "source=data,perm=no",
        ] {
            assert!(text.parse::<MountRequest>().is_err(), "{text}");
        }
    }
}
