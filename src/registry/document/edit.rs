//! Changes to a document: one record or one single record at a time.

use serde::Serialize;

use super::decode::tree;
use super::lexer::first_comment;
use super::parse::comment_lines;
use super::render::to_json;
use super::scan::{Body, Entry, Section, slice};
use super::{Document, Part, SECTIONS};

impl Document {
    /// Replaces the `vfadm` record.
    pub fn set_header<T: Serialize>(&mut self, header: &T) {
        self.set_single("vfadm", header);
    }

    /// Replaces the `settings` record.
    pub fn set_settings<T: Serialize>(&mut self, settings: &T) {
        self.set_single("settings", settings);
    }

    fn set_single<T: Serialize>(&mut self, name: &str, record: &T) {
        let Some(json) = object(record) else { return };
        match self.parts.iter_mut().find(|part| part.entry.key(&self.text) == name) {
            Some(part) => self.changed |= rewrite(&self.text, &mut part.entry, json, 0),
            None => {
                let at = self.place_of(name);
                self.parts.insert(at, Part { entry: Entry::new(name, json), section: None });
                self.changed = true;
            }
        }
    }

    /// Writes a record, at its place in the order of the keys or over the one that is there. A record that says the
    /// same as the one in the file leaves the file's text alone.
    ///
    /// `section` is one of [`SECTIONS`] and the record is written as a JSON object: anything else is a fault of the
    /// program and changes nothing.
    pub fn put<T: Serialize>(&mut self, section: &str, key: &str, record: &T) {
        debug_assert!(SECTIONS.contains(&section), "no section {section}");
        let Some(json) = object(record).filter(|_| SECTIONS.contains(&section)) else { return };
        let part = match self.parts.iter().position(|part| part.entry.key(&self.text) == section) {
            Some(part) => part,
            None => {
                let at = self.place_of(section);
                let entry = Entry::new(section, String::new());
                self.parts.insert(at, Part { entry, section: Some(Section::new(Vec::new())) });
                at
            }
        };
        let text = &self.text;
        let Some(section) = self.parts.get_mut(part).and_then(|part| part.section.as_mut()) else { return };
        match section.find(text, key) {
            Ok(at) => {
                let indent = section.indent;
                let Some(entry) = section.entries.get_mut(at) else { return };
                self.changed |= rewrite(text, entry, json, indent);
            }
            Err(at) => {
                section.entries.insert(at, Entry::new(key, json));
                self.changed = true;
            }
        }
    }

    /// Takes a record out; its own comment goes with it, comment lines before it stay. Answers whether it was there.
    pub fn remove(&mut self, section: &str, key: &str) -> bool {
        let text = &self.text;
        let part = self.parts.iter_mut().find(|part| part.entry.key(text) == section);
        let Some(section) = part.and_then(|part| part.section.as_mut()) else { return false };
        let found = section.find(text, key).ok().and_then(|at| section.entries.get_mut(at));
        let Some(entry) = found.filter(|entry| entry.is_live()) else { return false };
        entry.body = Body::Removed;
        self.changed = true;
        true
    }

    /// Where a part that the file lacks belongs: behind the last one that comes before it in the order of the format.
    fn place_of(&self, name: &str) -> usize {
        let rank = |name: &str| match name {
            "vfadm" => Some(0),
            "settings" => Some(1),
            _ => SECTIONS.iter().position(|section| *section == name).map(|at| at + 2),
        };
        let before =
            |part: &Part| rank(part.entry.key(&self.text)).is_some_and(|other| Some(other) < rank(name));
        self.parts.iter().rposition(before).map_or(0, |at| at + 1)
    }
}

fn object<T: Serialize>(record: &T) -> Option<String> {
    let json = to_json(record).ok().filter(|json| json.starts_with('{'));
    debug_assert!(json.is_some(), "a record that is not a JSON object");
    json
}

/// Gives the entry a new record, with the comments of the old one. Answers whether that changes anything.
fn rewrite(text: &str, entry: &mut Entry, json: String, indent: usize) -> bool {
    if entry.value(text).is_some_and(|value| value.trim() == json) {
        return false;
    }
    let old = if entry.is_live() { tree(text, entry) } else { None };
    if old.is_some() && old == serde_json::from_str(&json).ok() {
        return false;
    }
    let (above, after) = match &entry.body {
        Body::Kept { start, value, end } => {
            let chunk = slice(text, *start..*end);
            let line = slice(text, *value..*end).trim_end();
            match (line.contains('\n'), first_comment(chunk)) {
                (true, Some(_)) => (comment_lines(text, chunk, indent), String::new()),
                (false, Some(at)) => (String::new(), comment_with_blanks(chunk, at).to_owned()),
                (_, None) => (String::new(), String::new()),
            }
        }
        Body::Written { above, after, .. } => (above.clone(), after.clone()),
        Body::Removed => (String::new(), String::new()),
    };
    entry.body = Body::Written { above, json, after };
    true
}

/// The comment at `at` with the white space before it, without the line break.
fn comment_with_blanks(chunk: &str, at: usize) -> &str {
    let begin = slice(chunk, 0..at).trim_end().len();
    slice(chunk, begin..chunk.len()).trim_end_matches(['\r', '\n'])
}
