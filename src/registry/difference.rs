//! In which records two registries differ.

use std::collections::BTreeMap;

use serde_json::Value;

use super::document::SECTIONS;
use super::history::Changed;
use super::state::{Registry, SETTINGS};
use crate::domain::error::Result;

/// The records that are not the same in both, in the order of the file.
pub fn difference(before: Option<&Registry>, after: &Registry) -> Result<Vec<Changed>> {
    let mut changes = Vec::new();
    let settings = |registry: &Registry| registry.record(SETTINGS, "");
    note(&mut changes, SETTINGS, "", before.map(settings).transpose()?.flatten(), settings(after)?);
    for section in SECTIONS {
        // As text, which is far smaller than values, in case there are very many.
        let mut old: BTreeMap<String, String> = BTreeMap::new();
        for record in before.into_iter().flat_map(|registry| registry.records(section)) {
            let (key, record) = record?;
            old.insert(key, record.to_string());
        }
        let begun = changes.len();
        for record in after.records(section) {
            let (key, new) = record?;
            let before = old.remove(&key).and_then(|text| serde_json::from_str(&text).ok());
            note(&mut changes, section, &key, before, Some(new));
        }
        for (key, text) in old {
            note(&mut changes, section, &key, serde_json::from_str(&text).ok(), None);
        }
        changes[begun..].sort_by(|a, b| a.key.cmp(&b.key));
    }
    Ok(changes)
}

fn note(changes: &mut Vec<Changed>, section: &str, key: &str, before: Option<Value>, after: Option<Value>) {
    if before != after {
        changes.push(Changed { section: section.to_owned(), key: key.to_owned(), before, after });
    }
}

/// The difference as lines, as `diff -u` of the file would show it.
pub fn lines(changes: &[Changed]) -> Vec<String> {
    let (mut lines, mut section) = (Vec::new(), "");
    for change in changes {
        if section != change.section {
            section = &change.section;
            lines.push(format!("@@ {section} @@"));
        }
        let key =
            if change.key.is_empty() { section.to_owned() } else { Value::from(&*change.key).to_string() };
        lines.extend(change.before.iter().map(|record| format!("-  {key}: {record}")));
        lines.extend(change.after.iter().map(|record| format!("+  {key}: {record}")));
    }
    lines
}
