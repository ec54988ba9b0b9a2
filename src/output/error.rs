//! The one printer of errors.

use std::io::{self, Write};

use serde_json::json;

use super::{Output, Style};
use crate::domain::error::Error;
use crate::domain::text::{json_escaped, printable, without_long_words};

/// Prints an error on stderr, with its hint.
pub fn print(output: &Output, error: &Error) {
    let mut out = io::stderr().lock();
    let message = without_long_words(&error.message);
    let hint = error.hint.as_deref().map(without_long_words);
    let _ = match output.style {
        Style::Json => {
            let document = json!({"error": {
                "code": error.code.name(),
                "message": message,
                "hint": hint,
                "details": error.details,
            }});
            writeln!(out, "{}", json_escaped(&document.to_string()))
        }
        _ => {
            let label = if output.color { "\u{1b}[1;31merror:\u{1b}[0m" } else { "error:" };
            let hint = hint.map(|h| format!("\n  hint: {}", printable(&h))).unwrap_or_default();
            writeln!(out, "{label} {}{hint}", printable(&message))
        }
    };
}
