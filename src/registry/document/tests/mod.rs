//! Tests of the document.

mod cuts;
mod editing;
mod faults;
mod random;
mod reading;
mod styles;

use serde_json::Value;

use super::{Document, SECTIONS, Seal, SyntaxError};

/// A registry as vfadm writes it, without its `end` line.
const BODY: &str = r#"# vfadm registry. To change it by hand: vfadm registry edit
vfadm: {"schema":1,"registry":"6f1c0d5e-8a53-4a5e-9d3c-2f6f6a0f7b11","generation":42,"updated_at":"2026-11-23T04:12:09Z"}
settings: {"uid":50000,"gid":50000,"mode":"0770","default_volume":"fast","next_kernel_id":10007,"trash_days":30}
volumes:
  "fast": {"id":"0b6d1c6c-35a3-4a0a-8f2e-8b54b9d4f0aa","path":"/vfroot/fast","driver":"xfs","folders":"directory","blocked":["clone"],"blocked_for":{"project/guests":["mount"]}}
  "vol-alice": {"id":"7b1c7e51-2f0d-4a66-9a3e-0d6a3c1b5e02","path":"/mnt/vol-alice","driver":"dedicated","dedicated_to":"user/alice","mount":{"source":"filer:/export/alice","type":"nfs","options":"hard,vers=4.2"}}
users:
  "alice": {"id":"0fd0b5b4-6b7e-4a53-8d43-40cf5e3d0c11","state":"active","max_vfolders":20,"default_quota":107374182400}
  "bob": {"id":"c3a9d2de-5c8f-4f6b-b1b3-6f6e2a9d7e12","state":"active"}
projects:
  "ml": {"id":"51f0e6a2-90c4-4a2b-8a3a-d2b1f3c4e513","members":{"alice":"admin","bob":"member"}}
scopes:
  "project/ml@fast": {"limit":1099511627776,"kernel_id":10002,"present":true}
  "user/alice@fast": {"limit":107374182400,"kernel_id":10001,"present":true}
vfolders:
  "project/ml/data": {"id":"3d1d94f0-0f6d-4e7b-b1a6-5a0a8e6f1214","volume":"fast","status":"ready","permission":"ro","cloneable":true,"created_at":"2026-11-20T09:00:00Z","shares":{"bob":"rw"}}
  "user/alice/.config": {"id":"9a07a1b6-7d0e-4c58-9a0c-3f5b7c2d8e15","volume":"fast","status":"ready","created_at":"2026-11-20T09:00:00Z"}
invitations:
  "5e7c1f3a-6b9d-4e0f-8a2b-4c6d8e0f1216": {"vfolder":"a2b4c6d8-1e3f-4a5b-9c7d-8e9f0a1b2c17","inviter":"alice","invitee":"bob","permission":"ro","state":"pending","created_at":"2026-11-22T10:00:00Z","expires_at":"2026-11-29T10:00:00Z"}
sessions:
  "train-1": {"id":"e8f1a3b5-c7d9-4e1f-8b3a-5c7d9e1f3a18","user":"alice","project":"ml","kernels":[{"name":"main","node":"gpu01","holder":{"kind":"process","pid":4711,"start_time":81523,"boot_id":"2c5e7f90-1a2b-4c3d-8e4f-5a6b7c8d9e19"}}],"mounts":[{"vfolder":"3d1d94f0-0f6d-4e7b-b1a6-5a0a8e6f1214","target":"/home/work/data","permission":"ro"}],"started_at":"2026-11-23T04:00:00Z"}
"#;

/// An `end` line whose sum is well-formed and wrong.
const EDITED: &str = "end: {\"generation\":42,\"records\":11,\"sum\":\"b3:6c1f6c1f6c1f6c1f6c1f6c1f6c1f6c1f6c1f6c1f6c1f6c1f6c1f6c1f6c1f6c1f\"}\n";

const HEADER: &str = "vfadm: {\"generation\":7}\n";

fn sealed() -> Vec<u8> {
    edited_body(BODY).expect("the example").render()
}

/// The body below the header and above a wrong `end` line.
fn edited(body: &str) -> Result<Document, SyntaxError> {
    edited_body(&format!("{HEADER}{body}"))
}

fn edited_body(body: &str) -> Result<Document, SyntaxError> {
    Document::parse(format!("{body}{EDITED}").into_bytes())
}

fn rendered(document: &Document) -> String {
    String::from_utf8(document.render()).expect("text")
}

/// Everything but the last line.
fn body_of(document: &Document) -> String {
    let text = rendered(document);
    text[..text.trim_end().rfind('\n').expect("several lines") + 1].to_owned()
}

/// What a document says, whatever its style.
fn content(document: &Document) -> Vec<(String, Vec<(String, Value)>)> {
    let sections = SECTIONS.iter().map(|section| {
        let records: Result<Vec<_>, _> = document.each::<Value>(section).collect();
        ((*section).to_owned(), records.expect("records"))
    });
    let single = |name: &str, value: Value| (name.to_owned(), vec![(String::new(), value)]);
    let header = single("vfadm", document.header().expect("header"));
    let settings = single("settings", document.settings().expect("settings"));
    [header, settings].into_iter().chain(sections).collect()
}

/// The document as it is read again after it was written; it has to say the same and be sealed.
fn again(document: &Document) -> Document {
    let text = rendered(document);
    let read = Document::parse(text.clone().into_bytes()).unwrap_or_else(|error| panic!("{error}\n{text}"));
    assert_eq!(read.seal(), Seal::Matching, "{text}");
    assert_eq!(content(&read), content(document), "{text}");
    assert_eq!(rendered(&read), text);
    assert_agrees(&read, &text);
    read
}

fn by_the_library(text: &str) -> Option<Value> {
    let mut value: Value = serde_yaml::from_str(text.trim_start_matches('\u{feff}')).ok()?;
    let parts = value.as_object_mut()?;
    parts.remove("end");
    // A section without records is written either way.
    parts.retain(|name, part| {
        !(SECTIONS.contains(&name.as_str()) && part.as_object().is_none_or(|part| part.is_empty()))
    });
    Some(value)
}

/// What other tools read in the file is what the document says.
fn assert_agrees(document: &Document, text: &str) {
    let value = by_the_library(text).unwrap_or_else(|| panic!("not YAML: {text}"));
    for (section, records) in content(document) {
        let expected = match records.as_slice() {
            [(key, record)] if key.is_empty() && !SECTIONS.contains(&section.as_str()) => record.clone(),
            _ => Value::Object(records.into_iter().collect()),
        };
        let found = value.get(&section).filter(|value| !value.is_null());
        assert_eq!(found.unwrap_or(&serde_json::json!({})), &expected, "{section}: {text}");
    }
}

fn fault(text: &str) -> String {
    match Document::parse(text.as_bytes().to_vec()) {
        Ok(_) => panic!("taken as valid: {text}"),
        Err(error) => error.to_string(),
    }
}
