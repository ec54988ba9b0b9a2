//! What a check found.

mod codes;

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

pub use codes::{CODES, Meaning, Repair};

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Works, but is not as it should be.
    Warning,
    /// Something cannot work.
    Error,
}

/// One thing that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// A stable word for scripts.
    pub code: Cow<'static, str>,
    /// How bad it is.
    pub severity: Severity,
    /// The record or path it is about.
    pub subject: String,
    /// What it means.
    pub message: String,
    /// What would mend it, where that is known.
    pub repair: Option<String>,
    /// Whether the repair can lose data.
    pub loses_data: bool,
    /// The line of the registry file, where it is about a record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<usize>,
}

impl Finding {
    /// An error without a known repair.
    pub fn error(code: &'static str, subject: impl Into<String>, message: impl Into<String>) -> Finding {
        Finding {
            code: Cow::Borrowed(code),
            severity: Severity::Error,
            subject: subject.into(),
            message: message.into(),
            repair: None,
            loses_data: false,
            line: None,
        }
    }

    /// A warning without a known repair.
    pub fn warning(code: &'static str, subject: impl Into<String>, message: impl Into<String>) -> Finding {
        Finding { severity: Severity::Warning, ..Finding::error(code, subject, message) }
    }

    /// Says that the repair can lose data.
    #[must_use]
    pub fn losing(self) -> Finding {
        Finding { loses_data: true, ..self }
    }

    /// Adds what would mend it.
    #[must_use]
    pub fn repair(mut self, repair: impl Into<String>) -> Finding {
        self.repair = Some(repair.into());
        self
    }
}
