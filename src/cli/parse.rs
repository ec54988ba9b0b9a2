//! Value parsers: clap prints their message and exits with 2.

use std::path::PathBuf;
use std::time::Duration;

use clap::builder::{OsStringValueParser, TypedValueParser};

use crate::domain::engine::Engine;
use crate::domain::error::Error;
use crate::domain::holder::Named;
use crate::domain::owner::Owner;
use crate::domain::permission::Level;
use crate::domain::reference::{FolderRef, KernelRef, MountRequest, Subject};
use crate::domain::size::Limit;
use crate::domain::{duration as durations, name};

fn told(error: Error) -> String {
    match error.hint {
        Some(hint) => format!("{}\n  hint: {hint}", error.message),
        None => error.message,
    }
}

/// A user name.
pub fn user(text: &str) -> Result<String, String> {
    name::owner("user", text).map_err(told)
}

/// A project name.
pub fn project(text: &str) -> Result<String, String> {
    name::owner("project", text.strip_prefix("project/").unwrap_or(text)).map_err(told)
}

/// A volume name.
pub fn volume(text: &str) -> Result<String, String> {
    name::thing("volume", text).map_err(told)
}

/// A size in bytes; `unlimited` is none.
pub fn size(text: &str) -> Result<u64, String> {
    limit(text)?.0.filter(|bytes| *bytes > 0).ok_or_else(|| "a size is needed here, such as 100g".to_owned())
}

/// A part of a hundred, with or without the sign: `90%`, `99.5`.
pub fn percent(text: &str) -> Result<f64, String> {
    let number = text.strip_suffix('%').unwrap_or(text);
    match number.parse::<f64>() {
        Ok(percent) if (0.0..=1000.0).contains(&percent) => Ok(percent),
        _ => Err("a percentage is a number such as 90% or 99.5".to_owned()),
    }
}

/// A node name.
pub fn node(text: &str) -> Result<String, String> {
    name::thing("node", text).map_err(told)
}

/// A session name.
pub fn session(text: &str) -> Result<String, String> {
    name::thing("session", text).map_err(told)
}

/// A kernel: `NAME` or `NAME@NODE`.
pub fn kernel(text: &str) -> Result<KernelRef, String> {
    text.parse().map_err(told)
}

/// The name of a kernel.
pub fn kernel_name(text: &str) -> Result<String, String> {
    name::thing("kernel", text).map_err(told)
}

/// What keeps a session alive.
pub fn holder(text: &str) -> Result<Named, String> {
    text.parse().map_err(told)
}

/// What runs containers.
pub fn engine(text: &str) -> Result<Engine, String> {
    text.parse().map_err(told)
}

/// A pattern for names.
pub fn glob(text: &str) -> Result<glob::Pattern, String> {
    glob::Pattern::new(text).map_err(|e| format!("'{text}' is no pattern: {}", e.msg))
}

/// The first digits of an id.
pub fn id_prefix(text: &str) -> Result<String, String> {
    let is_id = !text.is_empty() && text.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-');
    is_id.then(|| text.to_owned()).ok_or_else(|| "an id is made of hexadecimal digits".to_owned())
}

/// A permission that a mount can have.
pub fn mount_level(text: &str) -> Result<Level, String> {
    match level(text)? {
        Level::None => Err("write ro or rw".to_owned()),
        level => Ok(level),
    }
}

/// A vfolder name.
pub fn vfolder_name(text: &str) -> Result<String, String> {
    name::vfolder(text).map_err(told)
}

/// An owner.
pub fn owner(text: &str) -> Result<Owner, String> {
    text.parse().map_err(told)
}

/// A vfolder.
pub fn folder(text: &str) -> Result<FolderRef, String> {
    text.parse().map_err(told)
}

/// A mount.
pub fn mount(text: &str) -> Result<MountRequest, String> {
    text.parse().map_err(told)
}

/// A size or `unlimited`.
pub fn limit(text: &str) -> Result<Limit, String> {
    text.parse().map_err(told)
}

/// A permission level.
pub fn level(text: &str) -> Result<Level, String> {
    text.parse().map_err(told)
}

/// A length of time.
pub fn duration(text: &str) -> Result<Duration, String> {
    durations::parse(text).map_err(told)
}

/// A length of time before the present, or a time.
pub fn since(text: &str) -> Result<durations::Since, String> {
    durations::since(text).map_err(told)
}

/// A vfolder or an owner.
pub fn subject(text: &str) -> Result<Subject, String> {
    text.parse().map_err(told)
}

/// A count or `unlimited`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Count(pub Option<u64>);

/// A number of folders or `unlimited`.
pub fn count(text: &str) -> Result<Count, String> {
    match text {
        "unlimited" => Ok(Count(None)),
        _ => text.parse().map(|n| Count(Some(n))).map_err(|_| "not a number, nor 'unlimited'".to_owned()),
    }
}

/// `NAME=PATH` of a volume. The registry keeps paths as text.
pub fn named_path() -> impl TypedValueParser<Value = (String, PathBuf)> {
    OsStringValueParser::new().try_map(|typed| {
        let text = typed.to_str().ok_or("the path of a volume has to be UTF-8")?;
        let (volume_name, path) = text.split_once('=').ok_or("write NAME=PATH, as in fast=/mnt/fast")?;
        Ok::<_, String>((volume(volume_name)?, path.into()))
    })
}
