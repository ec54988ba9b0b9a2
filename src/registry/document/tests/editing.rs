use serde_json::json;

use super::*;

const COMMENTED: &str = "vfadm: {\"generation\":7} # header
# about the people
users: # people

  # the first
  \"alice\": {\"id\":1,\"odd\":[1, 2]}   # boss
  \"carol\": {\"id\":3}
  # the last

projects: {} # none
extra:   [1,
   2] # kept
";

#[test]
fn everything_that_did_not_change_is_carried_over() {
    let mut document = edited_body(COMMENTED).expect("valid");
    assert_eq!(body_of(&document), COMMENTED);
    document.put("users", "bob", &json!({"id": 2}));
    let expected = COMMENTED.replace("  \"carol\"", "  \"bob\": {\"id\":2}\n  \"carol\"");
    assert_eq!(body_of(&again(&document)), expected);
    document.put("users", "zoe", &json!({"id": 4}));
    let expected = expected.replace("  # the last", "  \"zoe\": {\"id\":4}\n  # the last");
    assert_eq!(body_of(&again(&document)), expected);
}

#[test]
fn the_comment_of_a_record_survives_its_change() {
    let mut document = edited_body(COMMENTED).expect("valid");
    document.put("users", "alice", &json!({"id": 9}));
    document.set_header(&json!({"generation": 8}));
    let expected = COMMENTED
        .replace("{\"id\":1,\"odd\":[1, 2]}", "{\"id\":9}")
        .replace("\"generation\":7", "\"generation\":8");
    assert_eq!(body_of(&again(&document)), expected);
    document.put("users", "alice", &json!({"id": 10}));
    assert!(body_of(&again(&document)).contains("  \"alice\": {\"id\":10}   # boss\n"));
}

#[test]
fn a_hash_in_a_text_is_no_comment() {
    let mut document =
        edited("users:\n  \"a\": {\"x\":\"1 # 2\"} # \"3\n  b: {x: '1 # 2', y: it's # 4\n  }\n")
            .expect("valid");
    document.put("users", "a", &json!({"x": "# 5"}));
    document.put("users", "b", &json!({}));
    assert_eq!(
        body_of(&again(&document)),
        format!("{HEADER}users:\n  \"a\": {{\"x\":\"# 5\"}} # \"3\n  # 4\n  \"b\": {{}}\n")
    );
}

#[test]
fn the_same_record_again_is_no_change() {
    let mut document =
        edited("users:\n  \"a\": {\"x\": 1, \"y\":[true]}\n  b:\n    y: text # c\n").expect("valid");
    let before = rendered(&document);
    document.put("users", "a", &json!({"y": [true], "x": 1}));
    document.put("users", "b", &json!({"y": "text"}));
    document.set_header(&json!({"generation": 7}));
    assert!(!document.is_changed());
    assert_eq!(rendered(&document), before);
    document.put("users", "a", &json!({"x": 1}));
    assert!(document.is_changed());
}

#[test]
fn sections_grow_to_block_style_and_back() {
    let mut document = edited_body(COMMENTED).expect("valid");
    document.put("projects", "ml", &json!({}));
    assert!(body_of(&again(&document)).contains("projects: # none\n  \"ml\": {}\n"));
    assert!(document.remove("projects", "ml"));
    assert!(!document.remove("projects", "ml"));
    assert_eq!(body_of(&again(&document)), COMMENTED);
    assert!(document.remove("users", "alice") && document.remove("users", "carol"));
    let text = body_of(&again(&document));
    assert!(text.contains("users: {} # people\n\n  # the first\n  # the last\n\nprojects"), "{text}");
    document.put("users", "carol", &json!({"id": 3}));
    assert!(
        body_of(&again(&document))
            .contains("users: # people\n\n  # the first\n  \"carol\": {\"id\":3}\n  # the last\n")
    );
}

#[test]
fn a_missing_part_is_written_at_its_place() {
    let mut document = edited("projects: {}\nextra: 1\n").expect("valid");
    document.set_settings(&json!({"uid": 1}));
    document.put("sessions", "s", &json!({}));
    document.put("users", "u", &json!({}));
    let expected = format!(
        "{HEADER}settings: {{\"uid\":1}}\nusers:\n  \"u\": {{}}\nprojects: {{}}\nsessions:\n  \"s\": {{}}\nextra: 1\n"
    );
    assert_eq!(body_of(&again(&document)), expected);
}

#[test]
fn a_changed_document_answers_with_its_changes() {
    let mut document = Document::parse(sealed()).expect("sealed");
    document.put("users", "bea", &json!({"id": "new-id"}));
    document.put("users", "bob", &json!({"id": "other-id"}));
    document.remove("users", "alice");
    assert_eq!(document.keys("users").collect::<Vec<_>>(), ["bea", "bob"]);
    assert_eq!(document.find_text("users", "new-id"), ["bea"]);
    assert_eq!(document.find_text("users", "c3a9d2de"), Vec::<String>::new());
    assert_eq!(document.find_text("users", "0fd0b5b4"), Vec::<String>::new());
    assert_eq!(document.keys_with_prefix("users", "b"), ["bea", "bob"]);
    assert_eq!((document.len("users"), document.contains("users", "alice")), (2, false));
    assert_eq!(document.get::<Value>("users", "bea"), Ok(Some(json!({"id": "new-id"}))));
    assert_eq!((document.line_of("users", "bea"), document.line_of("users", "bob")), (None, Some(9)));
    again(&document);
}

#[test]
fn characters_that_yaml_refuses_are_written_escaped() {
    let mut document = Document::new(&json!({"generation": 1}));
    let odd = "\u{0}\u{1b}\u{7f}\u{85}\u{9f}ä\u{2028}\u{2029}\u{feff}\u{fffe}\u{ffff}😀\"\\\n";
    document.put("users", odd, &json!({ odd: odd }));
    let text = rendered(&document);
    assert!(
        text.contains(r#"\u0000\u001b\u007f\u0085\u009fä\u2028\u2029\ufeff\ufffe\uffff😀\"\\\n"#),
        "{text}"
    );
    assert_eq!(again(&document).get::<Value>("users", odd), Ok(Some(json!({ odd: odd }))));
    let by_the_library: Value = serde_yaml::from_str(&text).expect("YAML");
    assert_eq!(by_the_library["users"][odd][odd], json!(odd));
}
