//! The registry in memory: records by key, decoded when they are asked for.

use serde_json::Value;

use super::document::{Document, Seal, SyntaxError};
use super::generation::{Counted, MOST_GENERATION};
use super::migrate;
use crate::domain::error::{Error, Result};
use crate::domain::record::{
    Header, Invitation, Project, Record, Scope, Session, Settings, User, VFolder, Volume,
};

/// The format that this version reads and writes.
pub const SCHEMA: u32 = 1;

/// The settings, where records are named by section and key; their key is empty.
pub const SETTINGS: &str = "settings";

/// The sections, and what a record of each is called.
const NOUNS: [(&str, &str); 7] = [
    (Volume::SECTION, Volume::NOUN),
    (User::SECTION, User::NOUN),
    (Project::SECTION, Project::NOUN),
    (Scope::SECTION, Scope::NOUN),
    (VFolder::SECTION, VFolder::NOUN),
    (Invitation::SECTION, Invitation::NOUN),
    (Session::SECTION, Session::NOUN),
];

/// A change of one record.
#[derive(Clone, Debug)]
pub enum Change {
    /// Adds or replaces a record.
    Put {
        /// The section.
        section: &'static str,
        /// What one is called.
        noun: &'static str,
        /// The key.
        key: String,
        /// The record.
        record: Value,
    },
    /// Removes a record.
    Remove {
        /// The section.
        section: &'static str,
        /// What one is called.
        noun: &'static str,
        /// The key.
        key: String,
    },
    /// Replaces the settings.
    Settings(Settings),
}

impl Change {
    /// Adds or replaces a record.
    pub fn put<R: Record>(key: impl Into<String>, record: &R) -> Result<Change> {
        let record = serde_json::to_value(record).map_err(|e| {
            Error::new(crate::domain::error::Code::Failure, format!("cannot write a {}: {e}", R::NOUN))
        })?;
        Ok(Change::Put { section: R::SECTION, noun: R::NOUN, key: key.into(), record })
    }

    /// Removes a record.
    pub fn remove<R: Record>(key: impl Into<String>) -> Change {
        Change::Remove { section: R::SECTION, noun: R::NOUN, key: key.into() }
    }

    /// Gives a record that is known by section and key only another content, or takes it out; `None` where that
    /// cannot be: no such section, no settings.
    pub fn of(section: &str, key: &str, record: Option<Value>) -> Option<Change> {
        if section == SETTINGS {
            return serde_json::from_value(record?).ok().map(Change::Settings);
        }
        let (section, noun) = NOUNS.into_iter().find(|(name, _)| *name == section)?;
        let key = key.to_owned();
        Some(match record {
            Some(record) => Change::Put { section, noun, key, record },
            None => Change::Remove { section, noun, key },
        })
    }

    /// Section and key of the record.
    pub fn place(&self) -> (&str, &str) {
        match self {
            Change::Put { section, key, .. } | Change::Remove { section, key, .. } => (section, key),
            Change::Settings(_) => (SETTINGS, ""),
        }
    }

    /// What it does, for a plan.
    pub fn describe(&self) -> String {
        match self {
            Change::Put { noun, key, .. } => format!("record the {noun} {key}"),
            Change::Remove { noun, key, .. } => format!("forget the {noun} {key}"),
            Change::Settings(_) => "record the settings".to_owned(),
        }
    }
}

/// The registry as it was read, with changes applied to it.
#[derive(Clone)]
pub struct Registry {
    document: Document,
    file: std::path::PathBuf,
    /// How to bring the last good one back, for errors.
    pub(super) remedy: Option<String>,
    /// The `vfadm:` line.
    pub header: Header,
    /// The `settings:` line.
    pub settings: Settings,
}

impl Registry {
    /// Parses the text of a registry. `file` names it in errors.
    pub fn parse(bytes: Vec<u8>, file: std::path::PathBuf) -> Result<Registry> {
        let at = |e: SyntaxError| unreadable(&file, &e);
        let mut document = Document::parse(bytes).map_err(at)?;
        let mut header: Header = document.header().map_err(at)?;
        document.header::<Counted>().map_err(at)?;
        migrate::migrate(&mut document, &mut header, migrate::MIGRATIONS, &file)?;
        let settings = document.settings().map_err(at)?;
        Ok(Registry { document, file, remedy: None, header, settings })
    }

    /// A registry without records.
    pub fn new(header: Header, settings: Settings, file: std::path::PathBuf) -> Registry {
        let mut document = Document::new(&header);
        document.set_settings(&settings);
        Registry { document, file, remedy: None, header, settings }
    }

    /// True when somebody changed the file by hand since the last commit.
    pub fn was_edited(&self) -> bool {
        matches!(self.document.seal(), Seal::Edited)
    }

    /// The path of the file, for messages.
    pub fn file(&self) -> &std::path::Path {
        &self.file
    }

    fn broken(&self, error: SyntaxError) -> Error {
        let error = unreadable(&self.file, &error);
        match &self.remedy {
            Some(remedy) => error.hint(remedy.clone()),
            None => error,
        }
    }

    /// One record.
    pub fn get<R: Record>(&self, key: &str) -> Result<Option<R>> {
        self.document.get(R::SECTION, key).map_err(|e| self.broken(e))
    }

    /// One record that has to be there (exit 3).
    pub fn require<R: Record>(&self, key: &str) -> Result<R> {
        self.get(key)?.ok_or_else(|| {
            Error::not_found(format!("there is no {} '{}'", R::NOUN, crate::domain::name::printable(key)))
        })
    }

    /// One record, known by section and key only, with all that is in it.
    pub fn record(&self, section: &str, key: &str) -> Result<Option<Value>> {
        match section {
            SETTINGS => Ok(serde_json::to_value(&self.settings).ok()),
            _ => self.document.get(section, key).map_err(|e| self.broken(e)),
        }
    }

    /// All records of a section, known by its name only.
    pub fn records<'a>(&'a self, section: &str) -> impl Iterator<Item = Result<(String, Value)>> + use<'a> {
        self.document.each(section).map(|r| r.map_err(|e| self.broken(e)))
    }

    /// True when there is such a record; decodes nothing.
    pub fn contains<R: Record>(&self, key: &str) -> bool {
        self.document.contains(R::SECTION, key)
    }

    /// The keys of a section.
    pub fn keys<R: Record>(&self) -> Vec<String> {
        self.document.keys(R::SECTION).map(|k| k.into_owned()).collect()
    }

    /// The keys of a section that begin so.
    pub fn keys_with_prefix<R: Record>(&self, prefix: &str) -> Vec<String> {
        self.document.keys_with_prefix(R::SECTION, prefix)
    }

    /// The keys of records whose text contains `needle`.
    pub fn find_text<R: Record>(&self, needle: &str) -> Vec<String> {
        self.document.find_text(R::SECTION, needle)
    }

    /// All records of a section.
    pub fn all<R: Record>(&self) -> Result<Vec<(String, R)>> {
        self.document.each(R::SECTION).map(|r| r.map_err(|e| self.broken(e))).collect()
    }

    /// The records whose keys begin so.
    pub fn with_prefix<R: Record>(&self, prefix: &str) -> Result<Vec<(String, R)>> {
        let keys = self.keys_with_prefix::<R>(prefix);
        keys.into_iter().filter_map(|k| self.get(&k).map(|r| r.map(|r| (k, r))).transpose()).collect()
    }

    /// How many records a section has.
    pub fn count<R: Record>(&self) -> usize {
        self.document.len(R::SECTION)
    }

    /// How many records there are in all.
    pub fn total(&self) -> usize {
        NOUNS.iter().map(|(section, _)| self.document.len(section)).sum()
    }

    /// The line of a record in the file.
    pub fn line_of_part(&self, name: &str) -> Option<usize> {
        self.document.line_of_part(name)
    }

    /// The line of the file on which a record stands.
    pub fn line_of(&self, section: &str, key: &str) -> Option<usize> {
        self.document.line_of(section, key)
    }

    /// Decodes every record of a section only to find errors.
    pub fn check_records<R: Record>(&self) -> Vec<SyntaxError> {
        self.document.each::<R>(R::SECTION).filter_map(std::result::Result::err).collect()
    }

    /// Applies a change.
    pub fn apply(&mut self, change: &Change) {
        match change {
            Change::Put { section, key, record, .. } => self.document.put(section, key, record),
            Change::Remove { section, key, .. } => {
                self.document.remove(section, key);
            }
            Change::Settings(settings) => {
                self.settings = settings.clone();
                self.document.set_settings(settings);
            }
        }
    }

    /// Counts one generation on.
    pub(super) fn next_generation(&mut self, now: jiff::Timestamp) -> Result<()> {
        if self.header.generation >= MOST_GENERATION {
            return Err(Error::registry(format!(
                "{}: its generation, {MOST_GENERATION}, is the highest: nothing can be committed after it",
                self.file.display()
            ))
            .hint("set vfadm.generation to a lower number than that in an editor"));
        }
        self.header.generation += 1;
        self.header.updated_at = now;
        self.document.set_header(&self.header);
        Ok(())
    }

    /// The text of the file.
    pub fn render(&self) -> Vec<u8> {
        self.document.render()
    }
}

fn unreadable(file: &std::path::Path, error: &SyntaxError) -> Error {
    Error::registry(format!("{}: {error}", file.display()))
        .detail("line", error.line)
        .detail("column", error.column)
}
