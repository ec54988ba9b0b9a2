use serde_json::json;

use super::*;

/// The example with other records in between, in styles that tools and people give it.
fn expected() -> Value {
    json!({
        "fast": {"path": "/vfroot/fast", "blocked": ["clone"], "blocked_for": {"project/guests": ["mount"]}},
        "vol-alice": {"path": "/mnt/vol-alice", "mount": {"source": "filer:/export/alice", "options": "hard,vers=4.2"}},
    })
}

const PYTHON: &str = "vfadm:
  generation: 42
  updated_at: '2026-11-23T04:12:09Z'
settings:
  mode: '0770'
volumes:
  fast:
    path: /vfroot/fast
    blocked:
    - clone
    blocked_for:
      project/guests:
      - mount
  vol-alice:
    path: /mnt/vol-alice
    mount:
      source: filer:/export/alice
      options: hard,vers=4.2
users: {}
";

const PYTHON_FLOW_LEAVES: &str = "vfadm: {generation: 42,
  updated_at: '2026-11-23T04:12:09Z'}
settings: {mode: '0770'}
volumes:
  fast:
    path: /vfroot/fast
    blocked: [clone]
    blocked_for:
      project/guests: [mount]
  vol-alice: {path: /mnt/vol-alice,
    mount: {source: 'filer:/export/alice', options: 'hard,vers=4.2'}}
users: {}
";

const PRETTIER: &str = "vfadm: { \"generation\": 42, \"updated_at\": \"2026-11-23T04:12:09Z\" }
settings:
  {
    \"mode\": \"0770\",
  }
volumes:
  # first
  \"fast\": {
      \"path\": \"/vfroot/fast\",
      \"blocked\": [\"clone\"],
      \"blocked_for\": { \"project/guests\": [\"mount\"] },
    } # second
  \"vol-alice\":
    {
      \"path\": \"/mnt/vol-alice\",
      \"mount\":
        {
          \"source\": \"filer:/export/alice\",
          \"options\": \"hard,vers=4.2\", # third
        },
    }
users: {}
";

const YQ: &str = "# head
vfadm:
  generation: 42
  updated_at: \"2026-11-23T04:12:09Z\"
settings:
  mode: \"0770\"
volumes:
  \"fast\":
    path: /vfroot/fast
    blocked:
      - clone
    blocked_for:
      project/guests:
        - mount
  \"vol-alice\":
    path: /mnt/vol-alice
    mount:
      source: filer:/export/alice
      options: hard,vers=4.2
users: {}
";

const BY_HAND: &str = "\u{feff}# mine
%YAML 1.2
--- # begin
'vfadm' : {\"generation\":42,\"updated_at\":\"2026-11-23T04:12:09Z\"}
\"settings\":
    mode: '0770'   # octal

volumes:
      \"vol-\\u0061lice\":
        mount: {source: filer:/export/alice,
          options: 'hard,vers=4.2'}
        path: >-
          /mnt/vol-alice

      'fast': {path: /vfroot/fast, blocked: [ clone ],
      # inside
        blocked_for: {project/guests: [mount]}
      }
users:
";

const FLOW: &str = "# 1
vfadm: {generation: 42} # 2
volumes: { # 3
  fast: {path: /a, blocked: [x, 'y # z']}, # 4
  \"vol\": {mount: {a: b}}
}
users:
  {
    a: { id: 1 },
  }
projects: {}
";

pub(super) const STYLES: [&str; 7] = [PYTHON, PYTHON_FLOW_LEAVES, PRETTIER, YQ, BY_HAND, FLOW, BODY];

#[test]
fn what_tools_and_hands_make_of_the_file_is_read_and_kept() {
    for text in [PYTHON, PYTHON_FLOW_LEAVES, PRETTIER, YQ, BY_HAND] {
        let document = edited_body(text).unwrap_or_else(|error| panic!("{error}\n{text}"));
        assert_eq!(document.seal(), Seal::Edited);
        let volumes: Result<serde_json::Map<_, _>, _> = document.each::<Value>("volumes").collect();
        assert_eq!(Value::Object(volumes.expect("volumes")), expected(), "{text}");
        assert_eq!(document.settings(), Ok(json!({"mode": "0770"})));
        assert_eq!(document.header(), Ok(json!({"generation": 42, "updated_at": "2026-11-23T04:12:09Z"})));
        assert_eq!(body_of(&again(&document)), text);
    }
}

#[test]
fn a_change_in_another_style_keeps_indentation_and_comments() {
    let mut document = edited_body(BY_HAND).expect("valid");
    document.put("volumes", "fast", &json!({"path": "/new"}));
    document.put("volumes", "zfs", &json!({}));
    document.set_settings(&json!({"mode": "0700"}));
    document.put("users", "a", &json!({}));
    let text = body_of(&again(&document));
    let expected = BY_HAND
        .replace("\"settings\":\n    mode: '0770'   # octal\n", "# octal\nsettings: {\"mode\":\"0700\"}\n")
        .split("      'fast'")
        .next()
        .expect("text")
        .to_owned()
        + "      # inside\n      \"fast\": {\"path\":\"/new\"}\n      \"zfs\": {}\nusers:\n  \"a\": {}\n";
    assert_eq!(text, expected);
}

#[test]
fn the_end_is_read_in_any_style() {
    let sum = "b3:6c1f6c1f6c1f6c1f6c1f6c1f6c1f6c1f6c1f6c1f6c1f6c1f6c1f6c1f6c1f6c1f";
    for end in [
        format!("end:\n  generation: 42\n  records: 11\n  sum: {sum}\n"),
        format!("end:\n  {{\n    \"generation\": 42,\n    \"records\": 11,\n    \"sum\": \"{sum}\",\n  }}\n"),
        format!("'end': {{generation: 42, records: 11, sum: '{sum}'}}\n\n"),
        format!("end: {{generation: 42, records: 11,\n sum: '{sum}'\n}}\n"),
    ] {
        let document = Document::parse(format!("{HEADER}{end}").into_bytes())
            .unwrap_or_else(|error| panic!("{error}\n{end}"));
        assert_eq!(body_of(&again(&document)), HEADER);
    }
}

#[test]
fn a_section_in_flow_style_is_written_a_record_a_line() {
    let canonical = "users:\n  \"a\": {\"id\":1,\"s\":\"x # y\"}\n  \"b\": {\"id\":2}\n";
    for flow in [
        "users: {a: {id: 1, s: 'x # y'}, b: {id: 2}}\n",
        "users:\n  {\n    \"a\": { \"id\": 1, \"s\": \"x # y\" },\n    \"b\": { \"id\": 2 },\n  }\n",
        "users: {\n  a: {id: 1, s: \"x # y\"},\n  b: {id: 2}\n}\n",
        "users:\n  ? a\n  : id: 1\n    s: 'x # y'\n  ? b\n  : {id: 2}\n",
    ] {
        let document = edited(flow).unwrap_or_else(|error| panic!("{error}\n{flow}"));
        assert!(!document.is_changed());
        assert_eq!(document.line_of("users", "b"), Some(2));
        assert_eq!(body_of(&again(&document)), format!("{HEADER}{canonical}"));
    }
    let document =
        edited("# 1\nusers: { # 2\n  # 3\n  a: {id: 1} # 4\n} # 5\n# 6\nprojects: {}\n").expect("valid");
    let text = body_of(&again(&document));
    assert_eq!(
        text,
        format!("{HEADER}# 1\n# 2\n# 3\n# 4\n# 5\nusers:\n  \"a\": {{\"id\":1}}\n# 6\nprojects: {{}}\n")
    );
}

#[test]
fn a_file_whose_lines_hide_its_structure_is_written_anew() {
    let text = "# 1\nusers: {\n\"a\": {\"id\":1}, # 2\n\"b\": {\"id\":2}\n}\n? extra\n: [1, x]\n";
    let document = edited(text).expect("valid");
    let text = body_of(&again(&document));
    let expected = "users:\n  \"a\": {\"id\":1}\n  \"b\": {\"id\":2}\n\"extra\": [1,\"x\"]\n";
    assert_eq!(text, format!("# 1\n# 2\n{HEADER}{expected}"));
}

#[test]
fn blank_lines_that_belong_to_a_text_are_kept() {
    let text = "users:\n  a:\n    note: |+\n      one\n\n\n  b:\n    note: x\n\nprojects:\n  p:\n    note: >2+\n        two\n\n# c\n";
    let mut document = edited(text).expect("valid");
    assert_eq!(document.get::<Value>("users", "a"), Ok(Some(json!({"note": "one\n\n\n"}))));
    document.put("users", "aa", &json!({}));
    assert!(body_of(&again(&document)).contains("# c\n"));
}

#[test]
fn windows_line_breaks_are_kept() {
    let text = format!("{HEADER}users:\n  \"b\": {{\"id\":1}} # c\n{EDITED}").replace('\n', "\r\n");
    let mut document = Document::parse(text.into_bytes()).expect("valid");
    document.put("users", "a", &json!({}));
    document.put("users", "b", &json!({}));
    let read = again(&document);
    let expected = format!("{HEADER}users:\n  \"a\": {{}}\n  \"b\": {{}} # c\n").replace('\n', "\r\n");
    assert_eq!(body_of(&read), expected);
    assert!(rendered(&read).ends_with("\"}\r\n"));
}

#[test]
fn records_out_of_order_are_found() {
    let mut document = edited("users:\n  \"c\": {}\n  \"a\": {}\n  \"ab\": {}\n").expect("valid");
    assert!(document.contains("users", "a") && document.contains("users", "c"));
    assert_eq!(document.keys_with_prefix("users", "a"), ["a", "ab"]);
    document.put("users", "a", &json!({"x": 1}));
    document.put("users", "d", &json!({}));
    let keys: Vec<_> = document.keys("users").map(|key| key.into_owned()).collect();
    assert_eq!(keys, ["c", "a", "ab", "d"]);
    again(&document);
}
