use super::*;

fn fault_of(body: &str) -> String {
    fault(&format!("{HEADER}{body}{EDITED}"))
}

#[test]
fn a_key_that_stands_twice_is_named_with_its_place() {
    let twice = "the key \"a\" stands twice";
    assert_eq!(fault_of("users:\n  \"a\": {}\n  a: {}\n"), format!("line 4, column 3: {twice}"));
    assert_eq!(fault_of("users: {a: {}, b: {}, a: {}}\n"), format!("line 2, column 23: users: {twice}"));
    assert_eq!(fault_of("users: {}\nusers: {}\n"), "line 3, column 1: the key \"users\" stands twice");
    assert_eq!(
        fault_of("users:\n  \"x\": {\"a\":1,\"b\":[{\"a\":1}],\"a\":2}\n"),
        format!("line 3, column 29: x: {twice}")
    );
    assert_eq!(fault_of("users:\n  x:\n    a: 1\n    a: 2\n"), format!("line 5, column 5: x: {twice}"));
    assert_eq!(fault_of("other:\n  x:\n    a: 1\n    a: 2\n"), format!("line 5, column 5: other.x: {twice}"));
}

#[test]
fn malformed_yaml_is_reported_by_line_and_column() {
    assert_eq!(
        fault_of("users:\n  \"a\": {\"x\":1\n  \"b\": {}\n"),
        "line 4, column 1: did not find expected ',' or '}', while parsing a flow mapping at line 3 column 8"
    );
    assert_eq!(
        fault_of("users:\n  \"a\": {\"x\":\"1}\n"),
        "line 4, column 1: found unexpected end of stream, while scanning a quoted scalar at line 3 column 13"
    );
    assert_eq!(
        fault_of("users:\n\t\"a\": {}\n"),
        "line 3, column 1: found character that cannot start any token, while scanning for the next token"
    );
    assert_eq!(
        fault_of("users:\n    \"a\": {}\n  \"b\": {}\n"),
        "line 4, column 3: did not find expected key, while parsing a block mapping at line 2 column 1"
    );
    assert_eq!(
        fault_of("users: {}\n---\nprojects: {}\n"),
        "line 3, column 1: a second document begins here; a registry is one document"
    );
    assert_eq!(
        fault_of("just text\n"),
        "line 3, column 1: could not find expected ':', while scanning a simple key at line 2 column 1"
    );
}

#[test]
fn a_part_of_the_wrong_type_is_refused() {
    assert_eq!(
        fault_of("users: [1]\n"),
        "line 2, column 8: users: invalid type: sequence, expected a mapping"
    );
    assert_eq!(
        fault_of("users:\n  \"a\": 1\n"),
        "line 3, column 8: a: invalid type: integer `1`, expected a mapping"
    );
    assert_eq!(
        fault_of("users:\n  \"a\": null\n"),
        "line 3, column 8: a: invalid type: unit value, expected a mapping"
    );
    assert_eq!(
        fault_of("users:\n  12: {}\n"),
        "line 3, column 3: invalid type: integer `12`, expected text as a key (quote it)"
    );
    assert_eq!(
        fault_of("users:\n  \"a\": {1: 2}\n"),
        "line 3, column 9: a: invalid type: integer `1`, expected text as a key (quote it)"
    );
    assert_eq!(
        fault_of("users:\n  \"a\": !x {}\n"),
        "line 3, column 8: anchors (&), aliases (*) and tags (!) are not supported: write the value itself, or quote the text"
    );
    assert_eq!(fault_of("users:\n  \"a\": {x: .nan}\n"), "line 3, column 12: a.x: not a finite number");
    assert_eq!(
        fault_of("settings: []\n"),
        "line 2, column 11: settings: invalid type: sequence, expected a mapping"
    );
    assert_eq!(
        fault(&format!("vfadm: {{}}\n{EDITED}")),
        "line 1, column 8: vfadm: missing field `generation`"
    );
    assert_eq!(
        fault(&format!("vfadm: {{\"generation\":-1}}\n{EDITED}")),
        "line 1, column 22: vfadm.generation: invalid type: integer `-1`, expected u64"
    );
    assert_eq!(fault(&format!("users: {{}}\n{EDITED}")), "line 1, column 1: the record `vfadm` is missing");
}

#[test]
fn an_end_that_makes_no_sense_is_refused() {
    for (from, to) in [
        ("b3:6c", "b3:zz"),
        ("b3:", ""),
        ("6c1f\"", "6c1\""),
        ("11", "-1"),
        ("42", "\"x\""),
        ("records", "rec"),
    ] {
        let text = format!("{HEADER}{}", EDITED.replace(from, to));
        assert!(fault(&text).starts_with("line 2, column "), "{from}");
    }
}

#[test]
fn characters_that_yaml_refuses_or_breaks_lines_at_are_refused() {
    let message =
        |code: &str| format!("the character U+{code} may not stand here as it is: in double quotes write");
    for (text, code) in [
        ("\0", "0000"),
        ("\u{1b}", "001B"),
        ("\u{7f}", "007F"),
        ("\u{85}", "0085"),
        ("\u{2028}", "2028"),
        ("\u{feff}", "FEFF"),
        ("\r", "000D"),
    ] {
        let error = fault_of(&format!("users:\n  \"ä{text}\": {{}}\n"));
        assert!(error.starts_with(&format!("line 3, column 5: {}", message(code))), "{error}");
    }
    let mut bytes = format!("{HEADER}users:\n  \"ä\": {{\"x\":\"?\"}}\n{EDITED}").into_bytes();
    let at = bytes.iter().position(|&byte| byte == b'?').expect("?");
    bytes[at] = 0xff;
    let error = Document::parse(bytes).expect_err("not text");
    assert_eq!(error.to_string(), "line 3, column 14: the byte 0xff is not UTF-8 text");
}

#[test]
fn anchors_and_aliases_are_refused() {
    let error = fault_of("users:\n  a: &x {y: 1}\n  b: *x\n");
    assert!(
        error.starts_with("line 3, column 6: anchors (&), aliases (*) and tags (!) are not supported"),
        "{error}"
    );
    let mut bomb = String::from("other:\n  a0: &a0 [x, x]\n");
    for level in 1..40 {
        bomb += &format!("  a{level}: &a{level} [*a{}, *a{}]\n", level - 1, level - 1);
    }
    assert!(fault_of(&bomb).starts_with("line 3, column 7: anchors"));
    let text = "users:\n  \"a\": {\"x\":\"*x\",\"y\":\"a &b\"}\n  b: {x: '&x', y: a &b *c, \"z\": \"&\"}\n  c:\n    d: R&D and\n      &co\n    e: |\n      &x\n      *y\n";
    let document = edited(text).expect("text in which & and * are no references");
    assert_eq!(document.get::<Value>("users", "c").expect("c").expect("c")["d"], "R&D and &co");
    again(&document);
}

#[test]
fn hostile_input_is_refused_without_harm() {
    let deep = |open: &str, close: &str| format!("{}{}", open.repeat(100_000), close.repeat(100_000));
    for value in [deep("[", "]"), deep("{\"a\":", "}"), "[".repeat(300_000), "{".repeat(300_000)] {
        let error = fault_of(&format!("users:\n  \"a\": {{\"x\":{value}}}\n"));
        assert!(error.contains("nested more than 100 levels deep"), "{error}");
        assert!(Document::parse(format!("{HEADER}{value}\n{EDITED}").into_bytes()).is_err());
        assert!(Document::parse(format!("{HEADER}users: {value}\n{EDITED}").into_bytes()).is_err());
    }
    for unit in ["- ", "? ", "a: ", "[1,", "!x ", "'", "\"", "\\", "#", "|\n", " ", "x", ": ", "%", "\n\n "] {
        let text = unit.repeat(200_000);
        for body in [
            text.clone(),
            format!("users: {text}\n"),
            format!("users:\n  \"a\": {text}\n"),
            format!("users:\n  a: {{x: {text}\n"),
        ] {
            let _ = edited(&body).map(|document| again(&document));
        }
    }
    let many = format!("users:\n  a: {{x: [{}1]}}\n", "1,".repeat(3_000_000));
    assert!(fault_of(&many).contains("more values than a record can hold"));
}

#[test]
fn a_text_too_long_for_any_record_is_refused_at_its_place() {
    let too_long = "a key or a text of more than 1 MiB begins here: is a closing quote missing?";
    let long = "k".repeat((1 << 20) + 2);
    for (body, place) in [
        (format!("users:\n  {long}: {{}}\n"), "line 3, column 3"),
        (format!("users:\n  \"{long}\": {{}}\n"), "line 3, column 3"),
        (format!("users:\n  '{}': {{}}\n", "''".repeat(2 << 20)), "line 3, column 3"),
        (format!("users:\n  \"a\": {{x: {long}}}\n"), "line 3, column 12"),
        (format!("users:\n  a:\n    x: '{long}'\n"), "line 4, column 8"),
        (format!("users:\n  a:\n    x: \"{}\n", "\\".repeat(1 << 21)), "line 4, column 8"),
        (format!("note: |\n{}", "  line\n".repeat(1 << 18)), "line 2, column 7"),
    ] {
        assert_eq!(fault_of(&body), format!("{place}: {too_long}"), "{body:.40}");
    }
    let fits = "k".repeat((1 << 20) - 2);
    for body in [format!("users:\n  \"a\": {{\"x\":\"{long}\"}}\n"), format!("users:\n  a:\n    x: {fits}\n")]
    {
        Document::parse(format!("{HEADER}{body}{EDITED}").into_bytes()).unwrap();
    }
}

#[test]
fn of_a_long_key_only_the_begin_is_told() {
    let long = "k".repeat(1 << 19);
    let message = fault_of(&format!("users:\n  {long}: 1\n"));
    assert!(message.len() < 500 && message.contains("kkk"), "{message:.600}");
    let long = "k".repeat(1000);
    let message = fault_of(&format!("users:\n  {long}: {{}}\n  {long}: {{}}\n"));
    assert!(message.len() < 500 && message.ends_with("stands twice"), "{message:.600}");
}
