//! The registry file as a document: read fast, changed record by record, and written with everything that did not
//! change carried over byte for byte.
//!
//! vfadm writes one record a line, as JSON under block-style section keys, and closes the file with an `end` line that
//! carries a sum. A file whose sum matches is only indexed; a record is decoded when it is asked for. A file that
//! somebody edited is checked as a whole, whatever YAML style it has.

mod decode;
mod edit;
mod lexer;
mod parse;
mod render;
mod scan;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use serde::Serialize;
use serde::de::DeserializeOwned;

pub use parse::plain;
use scan::{Body, Entry, Section};

/// The sections of keyed records, in the order in which they stand in the file.
pub const SECTIONS: [&str; 7] =
    ["volumes", "users", "projects", "scopes", "vfolders", "invitations", "sessions"];

/// How the file stood when it was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seal {
    /// Exactly as vfadm wrote it.
    Matching,
    /// Somebody edited it; the whole file was checked and found well-formed.
    Edited,
}

/// What is wrong with a registry file, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column}: {message}")]
pub struct SyntaxError {
    /// The line, counted from 1.
    pub line: usize,
    /// The character in the line, counted from 1.
    pub column: usize,
    /// What is wrong.
    pub message: String,
}

impl SyntaxError {
    fn at(text: &str, offset: usize, message: impl fmt::Display) -> SyntaxError {
        let before = text.get(..offset).unwrap_or_default();
        let line = memchr::memchr_iter(b'\n', before.as_bytes()).count() + 1;
        let start = memchr::memrchr(b'\n', before.as_bytes()).map_or(0, |found| found + 1);
        let column =
            before.get(start..).unwrap_or_default().trim_start_matches('\u{feff}').chars().count() + 1;
        SyntaxError { line, column, message: message.to_string() }
    }
}

/// A top-level entry of the file; `section` is there for those of [`SECTIONS`].
#[derive(Debug, Clone)]
struct Part {
    entry: Entry,
    section: Option<Section>,
}

/// A registry file: the text it was read from, an index of it, and the changes of this run.
#[derive(Debug, Clone)]
pub struct Document {
    text: String,
    seal: Seal,
    parts: Vec<Part>,
    /// Comments behind the `end` line.
    tail: Range<usize>,
    changed: bool,
}

impl Document {
    /// An empty registry with this header, the `vfadm` record, whose `generation` is a number.
    pub fn new<H: Serialize>(header: &H) -> Document {
        let sections = SECTIONS.map(|name| Part {
            entry: Entry::new(name, String::new()),
            section: Some(Section::new(Vec::new())),
        });
        let single = |name: &str| Part { entry: Entry::new(name, "{}".to_owned()), section: None };
        let mut parts = vec![single("vfadm"), single("settings")];
        if let Some(Part { entry: Entry { body: Body::Written { above, .. }, .. }, .. }) = parts.first_mut() {
            *above = render::TITLE.to_owned();
        }
        parts.extend(sections);
        parts.push(single("end"));
        let mut document =
            Document { text: String::new(), seal: Seal::Edited, parts, tail: 0..0, changed: true };
        document.set_header(header);
        document
    }

    /// Reads a registry file.
    ///
    /// # Errors
    /// A file that was cut (its `end` is missing, incomplete or not last), malformed YAML, a key that stands twice,
    /// a part of the wrong type, anchors and aliases, characters that YAML does not allow.
    pub fn parse(bytes: Vec<u8>) -> Result<Document, SyntaxError> {
        parse::parse(bytes)
    }

    fn read(text: String, parts: Vec<Part>, seal: Seal, content: usize) -> Document {
        let tail = content..text.len();
        Document { text, seal, parts, tail, changed: false }
    }

    /// How the file stood when it was read; `Edited` for a document that was never in a file.
    pub fn seal(&self) -> Seal {
        self.seal
    }

    /// Whether anything was changed since the file was read.
    pub fn is_changed(&self) -> bool {
        self.changed
    }

    /// The `vfadm` record.
    ///
    /// # Errors
    /// It does not fit `T`; with the place in the file.
    pub fn header<T: DeserializeOwned>(&self) -> Result<T, SyntaxError> {
        self.single("vfadm")
    }

    /// The `settings` record; an absent one is read as an empty mapping.
    ///
    /// # Errors
    /// It does not fit `T`; with the place in the file.
    pub fn settings<T: DeserializeOwned>(&self) -> Result<T, SyntaxError> {
        self.single("settings")
    }

    fn single<T: DeserializeOwned>(&self, name: &str) -> Result<T, SyntaxError> {
        let part =
            self.parts.iter().find(|part| part.section.is_none() && part.entry.key(&self.text) == name);
        match part {
            Some(part) => decode::value(&self.text, &part.entry),
            None => decode::value(&self.text, &Entry::new(name, "{}".to_owned())),
        }
    }

    /// The record with this key.
    ///
    /// # Errors
    /// It does not fit `T`; with the place in the file.
    pub fn get<T: DeserializeOwned>(&self, section: &str, key: &str) -> Result<Option<T>, SyntaxError> {
        self.entry(section, key).map(|entry| decode::value(&self.text, entry)).transpose()
    }

    /// Whether there is a record with this key.
    pub fn contains(&self, section: &str, key: &str) -> bool {
        self.entry(section, key).is_some()
    }

    /// The keys of a section, in the order of the file.
    pub fn keys<'a>(&'a self, section: &str) -> impl Iterator<Item = Cow<'a, str>> + use<'a> {
        self.entries(section).map(|entry| Cow::Borrowed(entry.key(&self.text)))
    }

    /// The keys that begin with `prefix`, in the order of the file.
    pub fn keys_with_prefix(&self, section: &str, prefix: &str) -> Vec<String> {
        let Some(section) = self.section(section) else { return Vec::new() };
        let text = &self.text;
        let mut entries = section.entries.as_slice();
        if section.sorted {
            let begin = entries.partition_point(|entry| entry.key(text) < prefix);
            entries = entries.get(begin..).unwrap_or_default();
            let end = entries.partition_point(|entry| entry.key(text).starts_with(prefix));
            entries = entries.get(..end).unwrap_or_default();
        }
        let live = entries.iter().filter(|entry| entry.is_live() && entry.key(text).starts_with(prefix));
        live.map(|entry| entry.key(text).to_owned()).collect()
    }

    /// Every record of a section with its key, in the order of the file.
    pub fn each<'a, T>(
        &'a self,
        section: &str,
    ) -> impl Iterator<Item = Result<(String, T), SyntaxError>> + use<'a, T>
    where
        T: DeserializeOwned,
    {
        let text = &self.text;
        self.entries(section).map(|entry| Ok((entry.key(text).to_owned(), decode::value(text, entry)?)))
    }

    /// The keys of the records whose text contains `needle`: a cheap way to find a record by its id. The text is as
    /// it stands in the file, so that a caller has to look whether the record is the one.
    pub fn find_text(&self, section: &str, needle: &str) -> Vec<String> {
        let finder = memchr::memmem::Finder::new(needle);
        let text = &self.text;
        let found = self.entries(section).filter(|entry| {
            let haystack = entry.chunk(text).or(entry.value(text)).unwrap_or_default();
            finder.find(haystack.as_bytes()).is_some() || finder.find(entry.key(text).as_bytes()).is_some()
        });
        found.map(|entry| entry.key(text).to_owned()).collect()
    }

    /// The number of records in a section.
    pub fn len(&self, section: &str) -> usize {
        self.section(section).map_or(0, Section::len)
    }

    /// The line (from 1) on which a record stood in the file that was read; that of its section where the section is
    /// in flow style; nothing for a new record.
    pub fn line_of(&self, section: &str, key: &str) -> Option<usize> {
        let at = self.entry(section, key)?.at?;
        Some(SyntaxError::at(&self.text, at, "").line)
    }

    /// The line (from 1) on which a top-level key stood in the file that was read.
    pub fn line_of_part(&self, name: &str) -> Option<usize> {
        let at = self.parts.iter().find(|part| part.entry.key(&self.text) == name)?.entry.at?;
        Some(SyntaxError::at(&self.text, at, "").line)
    }

    fn section(&self, name: &str) -> Option<&Section> {
        self.parts.iter().find(|part| part.entry.key(&self.text) == name)?.section.as_ref()
    }

    fn entries<'a>(&'a self, section: &str) -> impl Iterator<Item = &'a Entry> + use<'a> {
        let entries = self.section(section).map_or(&[][..], |section| section.entries.as_slice());
        entries.iter().filter(|entry| entry.is_live())
    }

    fn entry(&self, section: &str, key: &str) -> Option<&Entry> {
        let section = self.section(section)?;
        let entry = section.entries.get(section.find(&self.text, key).ok()?)?;
        entry.is_live().then_some(entry)
    }
}
