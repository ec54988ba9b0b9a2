//! Failures of system calls and programs.

use std::io;
use std::path::{Path, PathBuf};

use crate::domain::error::{Code, Error as Fault};

/// A system call or a program that failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A system call on a path failed.
    #[error("cannot {action} {}: {}", .path.display(), reason(.source))]
    Path {
        /// What was tried, as a verb: `open`, `rename`.
        action: &'static str,
        /// What it was tried on.
        path: PathBuf,
        /// What the kernel answered.
        source: io::Error,
    },
    /// A system call that concerns no path failed.
    #[error("cannot {action}: {}", reason(.source))]
    Call {
        /// What was tried.
        action: &'static str,
        /// What the kernel answered.
        source: io::Error,
    },
    /// A program could not be found, failed, or did not end in time.
    #[error("{0}")]
    Program(String),
    /// A signal asked the command to stop.
    #[error("interrupted")]
    Interrupted,
}

/// A result of the host layer.
pub type Result<T> = std::result::Result<T, Error>;

/// The kernel's words for an error number, without Rust's `(os error N)`.
pub fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    match text.find(" (os error") {
        Some(at) => text[..at].to_owned(),
        None => text,
    }
}

/// The name of an error number: `EDQUOT`.
pub fn errno_name(number: i32) -> String {
    format!("{:?}", nix::errno::Errno::from_raw(number))
}

impl Error {
    /// The failure of `action` on `path`.
    pub fn path(action: &'static str, path: impl AsRef<Path>, source: impl Into<io::Error>) -> Error {
        Error::Path { action, path: path.as_ref().to_owned(), source: source.into() }
    }

    /// The failure of `action`.
    pub fn call(action: &'static str, source: impl Into<io::Error>) -> Error {
        Error::Call { action, source: source.into() }
    }

    /// The error number, where a system call failed.
    pub fn errno(&self) -> Option<i32> {
        match self {
            Error::Path { source, .. } | Error::Call { source, .. } => source.raw_os_error(),
            Error::Program(_) | Error::Interrupted => None,
        }
    }

    /// True where this process or this host has too little of something: it says nothing of the path.
    pub fn is_shortage(&self) -> bool {
        use nix::libc::{EAGAIN, EMFILE, ENFILE, ENOMEM};
        self.errno().is_some_and(|number| [EAGAIN, EMFILE, ENFILE, ENOMEM].contains(&number))
    }

    /// What to type against it, where the error number alone says that.
    pub fn remedy(&self) -> Option<&'static str> {
        (self.errno() == Some(nix::libc::EMFILE)).then_some("let it open more files: ulimit -n 1024")
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Fault {
        let code = match &error {
            Error::Interrupted => Code::Interrupted,
            _ => Code::Storage,
        };
        let fault = Fault::new(code, error.to_string());
        let fault = match error.remedy() {
            Some(remedy) => fault.hint(remedy),
            None => fault,
        };
        match error.errno() {
            Some(number) => fault.detail("errno", errno_name(number)),
            None => fault,
        }
    }
}
