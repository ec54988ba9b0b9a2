//! Registries of an older format. One is brought to the present format in memory each time it is read: commands that only
//! read leave the file as it is, and the first commit writes it anew, after the file was kept as a backup.

use std::path::Path;

use super::document::{Document, SyntaxError};
use super::present::NEWER;
use super::state::SCHEMA;
use crate::domain::error::{Error, Result};
use crate::domain::record::Header;

/// Brings a document from one schema to the next.
pub(super) type Migration = fn(&mut Document) -> Result<(), SyntaxError>;

/// One for each schema before [`SCHEMA`], the newest last. A format that changes adds one here and counts `SCHEMA` up.
pub(super) const MIGRATIONS: &[Migration] = &[];

/// Brings a document to the present schema by those `migrations` that it needs. A newer one, and one that is older than the
/// migrations reach, is refused (exit 9).
pub(super) fn migrate(
    document: &mut Document,
    header: &mut Header,
    migrations: &[Migration],
    file: &Path,
) -> Result<()> {
    let (file, schema) = (file.display(), header.schema);
    if schema > SCHEMA {
        return Err(Error::registry(format!(
            "{file} has schema {schema}, which is newer than this vfadm ({SCHEMA})"
        ))
        .hint("install the vfadm that wrote it, or a newer one")
        .detail(NEWER, schema));
    }
    let behind = (SCHEMA - schema) as usize;
    let Some(first) = migrations.len().checked_sub(behind) else {
        return Err(Error::registry(format!(
            "{file} has schema {schema}, and the oldest that this vfadm can read is {}",
            SCHEMA as usize - migrations.len()
        ))
        .hint("bring it up to date with an older vfadm first: one command that changes something does"));
    };
    for migration in &migrations[first..] {
        migration(document).map_err(|e| Error::registry(format!("{file}: {e}")))?;
    }
    header.schema = SCHEMA;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Map, Value};

    /// A format without `trash_days`.
    fn add_trash_days(document: &mut Document) -> Result<(), SyntaxError> {
        let mut settings: Map<String, Value> = document.settings()?;
        settings.insert("trash_days".to_owned(), 30.into());
        document.set_settings(&settings);
        Ok(())
    }

    fn registry(schema: u32) -> (Document, Header) {
        let header = Header {
            schema,
            registry: uuid::Uuid::nil(),
            generation: 7,
            updated_at: jiff::Timestamp::UNIX_EPOCH,
            extra: Default::default(),
        };
        let mut document = Document::new(&header);
        document.set_settings(&serde_json::json!({"uid": 1}));
        (Document::parse(document.render()).unwrap(), header)
    }

    #[test]
    fn an_older_registry_is_brought_to_the_present_schema() {
        let (mut document, mut header) = registry(SCHEMA - 1);
        migrate(&mut document, &mut header, &[add_trash_days], Path::new("/r")).unwrap();
        assert_eq!(header.schema, SCHEMA);
        let settings: Value = document.settings().unwrap();
        assert_eq!(settings, serde_json::json!({"uid": 1, "trash_days": 30}));
        // What a commit does with it.
        document.set_header(&header);
        let text = String::from_utf8(document.render()).unwrap();
        assert!(text.contains(&format!("vfadm: {{\"schema\":{SCHEMA},")), "{text}");
    }

    #[test]
    fn one_of_the_present_schema_is_left_alone() {
        let (mut document, mut header) = registry(SCHEMA);
        migrate(&mut document, &mut header, &[add_trash_days], Path::new("/r")).unwrap();
        assert!(!document.is_changed());
    }

    #[test]
    fn what_is_newer_or_too_old_is_refused_with_both_versions() {
        let next = SCHEMA + 1;
        for (schema, message) in [
            (next, format!("/r has schema {next}, which is newer than this vfadm ({SCHEMA})")),
            (SCHEMA - 1, format!("/r has schema 0, and the oldest that this vfadm can read is {SCHEMA}")),
        ] {
            let (mut document, mut header) = registry(schema);
            let error = migrate(&mut document, &mut header, &[], Path::new("/r")).unwrap_err();
            assert_eq!((error.code.exit(), error.message), (9, message));
            assert!(error.hint.is_some());
        }
    }
}
