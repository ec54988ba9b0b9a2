//! The one printer of errors.

use std::io::{self, Write};

use serde_json::json;

use super::{Output, Style};
use crate::domain::error::Error;
use crate::domain::name::printable;

/// Prints an error on stderr, with its hint.
pub fn print(output: &Output, error: &Error) {
    let mut out = io::stderr().lock();
    let _ = match output.style {
        Style::Json => {
            let document = json!({"error": {
                "code": error.code.name(),
                "message": error.message,
                "hint": error.hint,
                "details": error.details,
            }});
            writeln!(out, "{document}")
        }
        _ => {
            let label = if output.color { "\u{1b}[1;31merror:\u{1b}[0m" } else { "error:" };
            let hint = error.hint.as_ref().map(|h| format!("\n  hint: {}", printable(h))).unwrap_or_default();
            writeln!(out, "{label} {}{hint}", printable(&error.message))
        }
    };
}
