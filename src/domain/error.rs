//! The one error that reaches the administrator: what is wrong, what to type instead, and the exit code.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// What kind of failure it is. Scripts rely on [`Code::name`] and [`Code::exit`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Code {
    /// Anything that has no code of its own.
    Failure,
    /// A malformed name, size, reference or mount target; a prompt that could not be asked.
    Usage,
    /// Not found, or out of the actor's reach.
    NotFound,
    /// Exists already, a count limit, a wrong state, mount targets that overlap.
    Conflict,
    /// The actor sees it but may not; a volume action is blocked.
    NotPermitted,
    /// A session, a mount or an open file uses it.
    InUse,
    /// Another command holds the registry.
    Busy,
    /// The storage or a tool failed, no room, or the limit cannot be enforced.
    Storage,
    /// The registry cannot be read.
    Registry,
    /// A check found something.
    Findings,
    /// A signal ended the command.
    Interrupted,
}

impl Code {
    /// The exit status, as documented in `vfadm(8)`.
    pub fn exit(self) -> u8 {
        match self {
            Code::Failure => 1,
            Code::Usage => 2,
            Code::NotFound => 3,
            Code::Conflict => 4,
            Code::NotPermitted => 5,
            Code::InUse => 6,
            Code::Busy => 7,
            Code::Storage => 8,
            Code::Registry => 9,
            Code::Findings => 10,
            Code::Interrupted => 130,
        }
    }

    /// The word that stands in the `code` key of an error document.
    pub fn name(self) -> &'static str {
        match self {
            Code::Failure => "failure",
            Code::Usage => "usage",
            Code::NotFound => "not_found",
            Code::Conflict => "conflict",
            Code::NotPermitted => "not_permitted",
            Code::InUse => "in_use",
            Code::Busy => "busy",
            Code::Storage => "storage",
            Code::Registry => "registry",
            Code::Findings => "findings",
            Code::Interrupted => "interrupted",
        }
    }
}

/// An error with its exit code, a message that is a sentence without a full stop, and a hint that says what to
/// type next.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Error {
    /// Decides the exit status.
    pub code: Code,
    /// What is wrong, and where.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
    /// Facts for scripts (`details` of the error document).
    pub details: Box<Map<String, Value>>,
}

/// A result whose error carries its exit code.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error of the given kind.
    pub fn new(code: Code, message: impl Into<String>) -> Error {
        Error { code, message: message.into(), hint: None, details: Box::default() }
    }

    /// Exit 2.
    pub fn usage(message: impl Into<String>) -> Error {
        Error::new(Code::Usage, message)
    }

    /// Exit 3.
    pub fn not_found(message: impl Into<String>) -> Error {
        Error::new(Code::NotFound, message)
    }

    /// Exit 4.
    pub fn conflict(message: impl Into<String>) -> Error {
        Error::new(Code::Conflict, message)
    }

    /// Exit 5.
    pub fn not_permitted(message: impl Into<String>) -> Error {
        Error::new(Code::NotPermitted, message)
    }

    /// Exit 6.
    pub fn in_use(message: impl Into<String>) -> Error {
        Error::new(Code::InUse, message)
    }

    /// Exit 8.
    pub fn storage(message: impl Into<String>) -> Error {
        Error::new(Code::Storage, message)
    }

    /// Exit 9.
    pub fn registry(message: impl Into<String>) -> Error {
        Error::new(Code::Registry, message)
    }

    /// Adds what to type next.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Error {
        self.hint = Some(hint.into());
        self
    }

    /// Whether the kernel gave one of these error numbers, by their names.
    pub fn is_of(&self, errnos: &[&str]) -> bool {
        let name = self.details.get("errno").and_then(Value::as_str);
        name.is_some_and(|name| errnos.contains(&name))
    }

    /// Adds a fact for scripts.
    #[must_use]
    pub fn detail(mut self, key: &str, value: impl Into<Value>) -> Error {
        self.details.insert(key.to_owned(), value.into());
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}
