//! Reads a registry file: is it whole, is it as vfadm wrote it, and if not, is every part of it well-formed?

use std::collections::HashSet;
use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeOwned, Deserializer, Error, MapAccess, Visitor};
use serde_json::{Map, Value};

use super::decode::{Checked, Mapping, NewKey, Single, duplicate, json, value, yaml};
use super::lexer::{MAX_SCALAR, TOO_LONG, comments};
use super::render::{end_line, line_break, to_json};
use super::scan::{Body, Entry, Section, scan, slice};
use super::{Document, Part, SECTIONS, Seal, SyntaxError};

/// A fault of a part alone: with its place, or only that the lines do not show the structure.
type Fault = Option<SyntaxError>;

type Records = Option<Mapping<Mapping<Checked<true>>>>;

#[derive(Deserialize)]
pub(super) struct Generation {
    pub generation: u64,
}

#[derive(Deserialize)]
struct End {
    #[serde(rename = "generation")]
    _generation: u64,
    #[serde(rename = "records")]
    _records: u64,
    sum: String,
}

fn utf8(bytes: Vec<u8>) -> Result<String, SyntaxError> {
    String::from_utf8(bytes).map_err(|error| {
        let fault = error.utf8_error().valid_up_to();
        let bytes = error.as_bytes();
        let valid = String::from_utf8_lossy(bytes.get(..fault).unwrap_or_default());
        let byte = bytes.get(fault).copied().unwrap_or_default();
        SyntaxError::at(&valid, fault, format_args!("the byte 0x{byte:02x} is not UTF-8 text"))
    })
}

/// Reads a small document of vfadm's own beside the registry, judged as strictly: no key twice, no anchors, bounded depth
/// and number of values.
///
/// # Errors
/// What is wrong, with its place.
pub fn plain<T: DeserializeOwned>(bytes: Vec<u8>) -> Result<T, SyntaxError> {
    let text = utf8(bytes)?;
    check_characters(&text)?;
    yaml::<Mapping<Checked<false>>>(&text, 0..text.len())?;
    yaml(&text, 0..text.len())
}

pub(super) fn parse(bytes: Vec<u8>) -> Result<Document, SyntaxError> {
    let text = utf8(bytes)?;
    let content = closed_content(&text)?;
    let split = split(&text, content);
    if let Ok(parts) = &split
        && let Some(line) = sealing_line(&text, parts)
        && text.ends_with(&line)
    {
        return Ok(Document::read(text, split.unwrap_or_default(), Seal::Matching, content));
    }
    check_characters(&text)?;
    let checked = split.and_then(|parts| check(&text, &parts).map(|()| parts));
    let fault = match checked {
        Ok(parts) => return Ok(Document::read(text, parts, Seal::Edited, content)),
        Err(fault) => fault,
    };
    match whole(&text).and_then(|parts| check(&text, &parts).map(|()| parts)) {
        Ok(parts) => {
            let content = text.len();
            Ok(Document::read(text, parts, Seal::Edited, content))
        }
        Err(other) => Err(fault.or(other).unwrap_or_else(|| cut(&text, "missing"))),
    }
}

/// The end of what the file holds, when its last entry is `end`: behind it are only comments, blank lines and `...`.
fn closed_content(text: &str) -> Result<usize, SyntaxError> {
    let mut content = text.len();
    let mut at = text.len();
    while at > 0 {
        let start = memchr::memrchr(b'\n', &text.as_bytes()[..at - 1]).map_or(0, |found| found + 1);
        let line = slice(text, start..at);
        let idle = line.trim().is_empty() || line.trim_start().starts_with('#') || line.trim_end() == "...";
        if idle && content == at {
            content = start;
        } else if !line.starts_with([' ', '\t', '#', '}', ']', '\r', '\n']) {
            let closes = ["end:", "\"end\":", "'end':"].iter().any(|key| line.starts_with(key));
            return match (closes, text.ends_with('\n')) {
                (true, true) => Ok(content),
                (true, false) => Err(cut(text, "incomplete")),
                (false, _) => Err(cut(text, "missing")),
            };
        }
        at = start;
    }
    Err(cut(text, "missing"))
}

fn cut(text: &str, how: &str) -> SyntaxError {
    if let Some(at) = elsewhere(text) {
        return SyntaxError::at(
            text,
            at,
            format_args!("`end:` closes the file, and has to be its last line: move it there"),
        );
    }
    let last = text.trim_end_matches(['\n', '\r']).len();
    let start = memchr::memrchr(b'\n', slice(text, 0..last).as_bytes()).map_or(0, |found| found + 1);
    SyntaxError::at(text, start, format_args!("the file was cut: its last line, `end:`, is {how}"))
}

/// Where `end:` stands in a file that does not end with it: tools that sort keys put it there.
fn elsewhere(text: &str) -> Option<usize> {
    if text.starts_with("end:") {
        return Some(0);
    }
    let at = memchr::memmem::find(text.as_bytes(), b"\nend:")? + 1;
    let behind = slice(text, at..text.len()).lines().skip(1);
    behind.into_iter().any(|line| line.starts_with(|c: char| c.is_ascii_lowercase())).then_some(at)
}

/// The parts of the file as its lines show them.
fn split(text: &str, content: usize) -> Result<Vec<Part>, Fault> {
    let begin = behind_marker(text, content).ok_or(None)?;
    let (mut entries, _, _) = scan(text, begin..content, Some(0)).ok_or(None)?;
    if let Some(first) = entries.first_mut() {
        first.lead.start = 0;
    }
    let ends: Vec<usize> = entries.iter().skip(1).map(|entry| entry.lead.end).chain([content]).collect();
    let mut parts = Vec::with_capacity(entries.len());
    for (entry, end) in entries.into_iter().zip(ends) {
        let section = match SECTIONS.contains(&entry.key(text)) {
            true => Some(section(text, &entry, end)?),
            false => None,
        };
        parts.push(Part { entry, section });
    }
    match parts.last() {
        Some(part) if part.entry.key(text) == "end" => Ok(parts),
        _ => Err(None),
    }
}

/// Where the entries begin: behind a byte order mark, directives and `---`.
fn behind_marker(text: &str, content: usize) -> Option<usize> {
    let mut at = if text.starts_with('\u{feff}') { '\u{feff}'.len_utf8() } else { 0 };
    let begin = at;
    let mut directive = false;
    while at < content {
        let end = super::lexer::line_end(text.as_bytes(), at) + 1;
        let line = slice(text, at..end).trim_end();
        match line {
            "---" => return Some(end),
            _ if line.starts_with("--- #") => return Some(end),
            "%YAML 1.1" | "%YAML 1.2" if !directive => directive = true,
            _ if line.is_empty() || line.starts_with('#') => {}
            _ => break,
        }
        at = end;
    }
    (!directive).then_some(begin)
}

/// A section by its lines or, where it is in flow style, by the YAML library.
fn section(text: &str, entry: &Entry, end: usize) -> Result<Section, Fault> {
    if let Some(section) = Section::scan(text, entry) {
        return Ok(section);
    }
    let start = entry.lead.end;
    let records = yaml::<Single<Records>>(text, start..end)?;
    let mut section = decoded_section(records.value);
    section.entries.iter_mut().for_each(|record| record.at = entry.at);
    section.above = comment_lines(text, entry.chunk(text).unwrap_or_default(), 0);
    Ok(section)
}

fn decoded_section(records: Records) -> Section {
    let records = records.map_or_else(Vec::new, |records| records.0);
    let entries = records.into_iter().map(|(key, record)| {
        let record: Map<String, Value> = record.0.into_iter().map(|(key, value)| (key, value.0)).collect();
        Entry::new(&key, to_json(&record).unwrap_or_default())
    });
    Section::new(entries.collect())
}

/// The comments of `chunk` as whole lines.
pub(super) fn comment_lines(text: &str, chunk: &str, indent: usize) -> String {
    let eol = line_break(text);
    comments(chunk).iter().map(|comment| format!("{:indent$}{comment}{eol}", "")).collect()
}

/// The last line as vfadm would have written it below this text, were it unchanged.
fn sealing_line(text: &str, parts: &[Part]) -> Option<String> {
    let header = parts.iter().find(|part| part.entry.key(text) == "vfadm")?;
    let generation = value::<Generation>(text, &header.entry).ok()?.generation;
    let records = parts.iter().filter_map(|part| part.section.as_ref()).map(Section::len).sum();
    let start = parts.last()?.entry.lead.end;
    let line = end_line(generation, records, slice(text, 0..start), line_break(text));
    // The line must be all there is from where the last entry begins.
    (start + line.len() == text.len()).then_some(line)
}

/// Refuses characters that YAML does not allow or takes for line breaks, so that lines mean the same to everybody.
fn check_characters(text: &str) -> Result<(), SyntaxError> {
    let bytes = text.as_bytes();
    let is_fault = |&(at, &byte): &(usize, &u8)| {
        let next = || bytes.get(at + 1..at + 3).unwrap_or_default();
        match byte {
            b'\t' | b'\n' => false,
            b'\r' => bytes.get(at + 1) != Some(&b'\n'),
            0..=0x1f | 0x7f => true,
            0xc2 => bytes.get(at + 1).is_some_and(|&byte| byte < 0xa0),
            0xe2 => matches!(next(), [0x80, 0xa8 | 0xa9]),
            0xef => matches!(next(), [0xbf, 0xbe | 0xbf]) || (at > 0 && matches!(next(), [0xbb, 0xbf])),
            _ => false,
        }
    };
    let Some((at, _)) = bytes.iter().enumerate().find(is_fault) else { return Ok(()) };
    let code = slice(text, at..text.len()).chars().next().map_or(0, u32::from);
    let message = format!(
        "the character U+{code:04X} may not stand here as it is: in double quotes write \"\\u{code:04x}\""
    );
    Err(SyntaxError::at(text, at, message))
}

/// Every part on its own: is it well-formed, has it the type that its place asks for, is no key there twice?
fn check(text: &str, parts: &[Part]) -> Result<(), Fault> {
    let mut names = HashSet::new();
    let mut has_header = false;
    for Part { entry, section } in parts {
        let name = entry.key(text);
        check_unique(text, entry, &mut names)?;
        match (name, section) {
            (_, Some(section)) => {
                let mut keys = HashSet::with_capacity(section.entries.len());
                for record in &section.entries {
                    check_unique(text, record, &mut keys)?;
                    check_entry::<Mapping<Checked<false>>>(text, record)?;
                }
            }
            ("vfadm", None) => {
                has_header = true;
                check_entry::<Mapping<Checked<false>>>(text, entry)?;
                value::<Generation>(text, entry)?;
            }
            ("settings", None) => check_entry::<Mapping<Checked<false>>>(text, entry)?,
            ("end", None) => {
                check_entry::<Mapping<Checked<false>>>(text, entry)?;
                let digits = value::<End>(text, entry)?.sum;
                let digits = digits.strip_prefix("b3:").unwrap_or_default();
                if digits.len() != 64 || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
                    let message = "end.sum: expected `b3:` and 64 hexadecimal digits";
                    return Err(Some(SyntaxError::at(text, entry.at.unwrap_or_default(), message)));
                }
            }
            _ => check_entry::<Checked<false>>(text, entry)?,
        }
    }
    if !has_header {
        return Err(Some(SyntaxError::at(text, 0, "the record `vfadm` is missing")));
    }
    Ok(())
}

fn check_unique<'a>(text: &'a str, entry: &'a Entry, seen: &mut HashSet<&'a str>) -> Result<(), Fault> {
    let key = entry.key(text);
    if key.len() > MAX_SCALAR {
        return Err(Some(SyntaxError::at(text, entry.at.unwrap_or_default(), TOO_LONG)));
    }
    match seen.insert(key) {
        true => Ok(()),
        false => Err(Some(SyntaxError::at(text, entry.at.unwrap_or_default(), duplicate(key)))),
    }
}

fn check_entry<T: DeserializeOwned>(text: &str, entry: &Entry) -> Result<(), Fault> {
    let Body::Kept { start, value, end } = entry.body else {
        self::value::<T>(text, entry)?;
        return Ok(());
    };
    let quoted = slice(text, entry.at.unwrap_or_default()..end).starts_with('"');
    if quoted && json::<T>(slice(text, value..end)).is_some() {
        return Ok(());
    }
    let single = yaml::<Single<T>>(text, start..end)?;
    if single.key == entry.key(text) { Ok(()) } else { Err(None) }
}

/// The file by the YAML library alone: for text whose lines do not show its structure. Everything is written anew.
fn whole(text: &str) -> Result<Vec<Part>, Fault> {
    let begin = text.len() - text.trim_start_matches('\u{feff}').len();
    let mut lines = memchr::memmem::find_iter(text.as_bytes(), "\n---").map(|at| at + 1);
    let second = lines.find(|&at| at >= behind_marker(text, text.len()).unwrap_or(at) && is_marker(text, at));
    if let Some(at) = second {
        return Err(Some(SyntaxError::at(
            text,
            at,
            "a second document begins here; a registry is one document",
        )));
    }
    let mut parts = yaml::<Parts>(text, begin..text.len())?.0;
    if parts.last().is_none_or(|part| part.entry.key(text) != "end") {
        return Err(None);
    }
    let comments = comment_lines(text, slice(text, begin..text.len()), 0);
    match parts.first_mut() {
        Some(Part { section: Some(section), .. }) => section.above = comments,
        Some(Part { entry: Entry { body: Body::Written { above, .. }, .. }, .. }) => *above = comments,
        _ => {}
    }
    Ok(parts)
}

fn is_marker(text: &str, at: usize) -> bool {
    matches!(text.as_bytes().get(at + 3), None | Some(b' ' | b'\t' | b'\r' | b'\n'))
}

struct Parts(Vec<Part>);

impl<'de> Deserialize<'de> for Parts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct File;
        impl<'de> Visitor<'de> for File {
            type Value = Parts;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a mapping of sections")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Parts, A::Error> {
                let mut parts = Vec::new();
                let mut seen = HashSet::new();
                while let Some(key) = map.next_key_seed(NewKey(&seen))? {
                    seen.insert(key.clone());
                    let part = if SECTIONS.contains(&key.as_str()) {
                        let section = decoded_section(map.next_value()?);
                        Part { entry: Entry::new(&key, String::new()), section: Some(section) }
                    } else {
                        let value: Checked<true> = map.next_value()?;
                        let json = to_json(&value.0).map_err(A::Error::custom)?;
                        Part { entry: Entry::new(&key, json), section: None }
                    };
                    parts.push(part);
                }
                Ok(Parts(parts))
            }
        }
        deserializer.deserialize_any(File)
    }
}
