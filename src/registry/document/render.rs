//! From a document to the bytes of the file.

use std::io;

use serde::Serialize;
use serde_json::ser::{Formatter, Serializer};

use super::parse::{Generation, comment_lines};
use super::scan::{Body, Entry, Form, Section, slice};
use super::{Document, Part, decode};
use crate::domain::text::steers;

/// The first line of a new file.
pub(super) const TITLE: &str = "# vfadm registry. To change it by hand: vfadm registry edit\n";

impl Document {
    /// The bytes of the file, closed by its `end` line.
    pub fn render(&self) -> Vec<u8> {
        let text = &self.text;
        let eol = line_break(text);
        let mut out = String::with_capacity(text.len() + 4096);
        let mut records = 0;
        let mut generation = 0;
        for Part { entry, section } in &self.parts {
            let key = entry.key(text);
            out.push_str(slice(text, entry.lead.clone()));
            match section {
                Some(section) => {
                    records += section.len();
                    render_section(&mut out, text, key, section);
                }
                None if key == "end" => {
                    out.push_str(&comment_lines(text, entry.chunk(text).unwrap_or_default(), 0));
                    out.push_str(&comment_lines(text, slice(text, self.tail.clone()), 0));
                }
                None => {
                    if key == "vfadm" {
                        generation =
                            decode::value::<Generation>(text, entry).map_or(0, |header| header.generation);
                    }
                    render_entry(&mut out, text, entry, 0);
                }
            }
        }
        let end = end_line(generation, records, &out, eol);
        out.push_str(&end);
        out.into_bytes()
    }
}

fn render_section(out: &mut String, text: &str, name: &str, section: &Section) {
    out.push_str(&section.above);
    let empty = section.len() == 0;
    let fits = match section.form {
        Form::Block => !empty,
        Form::Null => true,
        Form::Braces => empty,
    };
    match section.head.clone().filter(|_| fits) {
        Some(head) => out.push_str(slice(text, head)),
        None => {
            let braces = if empty { " {}" } else { "" };
            let comment = slice(text, section.head_comment.clone());
            out.extend([name, ":", braces, comment, line_break(text)]);
        }
    }
    for entry in &section.entries {
        out.push_str(slice(text, entry.lead.clone()));
        render_entry(out, text, entry, section.indent);
    }
    out.push_str(slice(text, section.tail.clone()));
}

fn render_entry(out: &mut String, text: &str, entry: &Entry, indent: usize) {
    match &entry.body {
        Body::Kept { start, end, .. } => out.push_str(slice(text, *start..*end)),
        Body::Written { above, json, after } => {
            out.push_str(above);
            out.extend(std::iter::repeat_n(' ', indent));
            let key = entry.key(text);
            match key {
                "vfadm" | "settings" if indent == 0 => out.push_str(key),
                _ => out.push_str(&to_json(key).unwrap_or_default()),
            }
            out.extend([": ", json, after, line_break(text)]);
        }
        Body::Removed => {}
    }
}

/// The line break of the text: that of its first line.
pub(super) fn line_break(text: &str) -> &'static str {
    match memchr::memchr(b'\n', text.as_bytes()) {
        Some(at) if at > 0 && text.as_bytes().get(at - 1) == Some(&b'\r') => "\r\n",
        _ => "\n",
    }
}

/// The line that closes the file `before`, whose sum it carries.
pub(super) fn end_line(generation: u64, records: usize, before: &str, eol: &str) -> String {
    let sum = blake3::hash(before.as_bytes());
    format!("end: {{\"generation\":{generation},\"records\":{records},\"sum\":\"b3:{sum}\"}}{eol}")
}

/// Compact JSON that every YAML reader reads as the same text.
///
/// # Errors
/// The value cannot be written as JSON.
pub(super) fn to_json<T: Serialize + ?Sized>(value: &T) -> serde_json::Result<String> {
    let mut out = Vec::new();
    value.serialize(&mut Serializer::with_formatter(&mut out, YamlSafe))?;
    Ok(String::from_utf8_lossy(&out).into_owned())
}

/// Escapes the characters that YAML does not allow in a file or takes for line breaks, and those that would steer the
/// terminal of who reads the file.
struct YamlSafe;

impl Formatter for YamlSafe {
    fn write_string_fragment<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        let mut rest = fragment;
        while let Some((at, found)) = rest.char_indices().find(|&(_, c)| needs_escape(c)) {
            let (before, behind) = rest.split_at(at);
            write!(writer, "{before}\\u{:04x}", u32::from(found))?;
            rest = behind.strip_prefix(found).unwrap_or_default();
        }
        writer.write_all(rest.as_bytes())
    }
}

fn needs_escape(c: char) -> bool {
    steers(c) || matches!(c, '\u{feff}' | '\u{fffe}' | '\u{ffff}')
}
