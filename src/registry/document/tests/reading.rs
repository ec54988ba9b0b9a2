use serde::Deserialize;
use serde_json::json;

use super::*;

#[test]
fn the_example_is_sealed_and_carried_over_byte_for_byte() {
    let bytes = sealed();
    let document = Document::parse(bytes.clone()).expect("sealed");
    assert_eq!(document.seal(), Seal::Matching);
    assert!(!document.is_changed());
    assert_eq!(document.render(), bytes);
    assert!(bytes.starts_with(BODY.as_bytes()));
    let end = String::from_utf8(bytes[BODY.len()..].to_vec()).expect("text");
    let sum = blake3::hash(BODY.as_bytes());
    assert_eq!(end, format!("end: {{\"generation\":42,\"records\":11,\"sum\":\"b3:{sum}\"}}\n"));
}

#[test]
fn records_are_found_by_key_prefix_and_text() {
    let document = Document::parse(sealed()).expect("sealed");
    assert!(document.contains("users", "bob") && !document.contains("users", "eve"));
    assert!(!document.contains("nothing", "bob"));
    let keys: Vec<_> = document.keys("scopes").collect();
    assert_eq!(keys, ["project/ml@fast", "user/alice@fast"]);
    assert_eq!(document.keys_with_prefix("vfolders", "user/alice/"), ["user/alice/.config"]);
    assert_eq!(document.keys_with_prefix("vfolders", "v"), Vec::<String>::new());
    assert_eq!(document.keys_with_prefix("vfolders", "").len(), 2);
    assert_eq!(document.find_text("vfolders", "9a07a1b6-7d0e"), ["user/alice/.config"]);
    assert_eq!((document.len("users"), document.len("vfolders"), document.len("nothing")), (2, 2, 0));
    assert_eq!(document.line_of("users", "bob"), Some(9));
    assert_eq!(document.line_of("users", "eve"), None);
}

#[derive(Deserialize, Debug, PartialEq)]
struct User {
    state: String,
    max_vfolders: Option<u64>,
}

#[test]
fn records_are_decoded_into_types() {
    let document = Document::parse(sealed()).expect("sealed");
    let bob: Option<User> = document.get("users", "bob").expect("bob");
    assert_eq!(bob, Some(User { state: "active".into(), max_vfolders: None }));
    assert_eq!(document.get::<User>("users", "eve"), Ok(None));
    let users: Vec<_> = document.each::<User>("users").map(|user| user.expect("user").0).collect();
    assert_eq!(users, ["alice", "bob"]);
    let mode: Value = document.settings().expect("settings");
    assert_eq!(mode["mode"], json!("0770"));
}

#[test]
fn a_record_that_does_not_fit_is_reported_with_its_place() {
    let document =
        edited("users:\n  \"a\": {\"state\":\"x\"}\n  \"b\": {\"state\":\"x\",\"max_vfolders\":\"many\"}\n")
            .expect("valid");
    assert!(document.get::<User>("users", "a").is_ok());
    let error = document.get::<User>("users", "b").expect_err("text for a number");
    assert_eq!(
        error.to_string(),
        "line 4, column 36: b.max_vfolders: invalid type: string \"many\", expected u64"
    );
}

#[test]
fn absent_settings_and_sections_are_empty() {
    let document = edited("users:\nprojects: {}\n").expect("valid");
    assert_eq!(document.settings::<Value>(), Ok(json!({})));
    assert_eq!((document.len("users"), document.len("projects"), document.len("volumes")), (0, 0, 0));
}

#[test]
fn a_new_document_is_an_empty_registry() {
    let document = Document::new(&json!({"schema": 1, "generation": 3}));
    let expected = "# vfadm registry. To change it by hand: vfadm registry edit\n\
        vfadm: {\"schema\":1,\"generation\":3}\nsettings: {}\nvolumes: {}\nusers: {}\nprojects: {}\nscopes: {}\n\
        vfolders: {}\ninvitations: {}\nsessions: {}\n";
    assert_eq!(body_of(&document), expected);
    assert!(rendered(&document).contains("\nend: {\"generation\":3,\"records\":0,\"sum\":\"b3:"));
    again(&document);
}

#[test]
fn what_the_end_line_counts_may_differ_in_an_edited_file() {
    let text = format!("{HEADER}users:\n  \"a\": {{}}\n{}", EDITED.replace("42", "99").replace("11", "5000"));
    let document = Document::parse(text.into_bytes()).expect("valid");
    assert_eq!(document.seal(), Seal::Edited);
    assert!(rendered(&again(&document)).contains("end: {\"generation\":7,\"records\":1,"));
}

#[test]
fn a_right_sum_alone_is_no_seal() {
    let sealed = String::from_utf8(sealed()).expect("text");
    for (from, to) in [
        ("\"records\":11", "\"records\":12"),
        ("end: {\"generation\":42", "end: {\"generation\":43"),
        ("end: {", "end:  {"),
    ] {
        let document = Document::parse(sealed.replace(from, to).into_bytes()).expect("valid");
        assert_eq!(document.seal(), Seal::Edited, "{from}");
    }
}
