//! Permission levels.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::error::{Error, Result};

/// What a user may do with the content of a folder: `none < ro < rw`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Nothing.
    None,
    /// Read.
    Ro,
    /// Read and write.
    Rw,
}

impl Level {
    /// The word on the command line and in the registry.
    pub fn name(self) -> &'static str {
        match self {
            Level::None => "none",
            Level::Ro => "ro",
            Level::Rw => "rw",
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Level {
    type Err = Error;

    fn from_str(text: &str) -> Result<Level> {
        match text {
            "none" => Ok(Level::None),
            "ro" => Ok(Level::Ro),
            "rw" => Ok(Level::Rw),
            other => Err(Error::usage(format!("'{other}' is not a permission")).hint("write none, ro or rw")),
        }
    }
}
