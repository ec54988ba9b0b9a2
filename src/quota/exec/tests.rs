use super::*;

fn file(text: &str) -> DriverFile {
    let file: DriverFile = serde_yaml::from_str(&format!(
        "name: x\nenforcement: kernel\nset: [x, '{{bytes}}']\nunset: [x]\nread: [x, '{{path}}']\n{text}"
    ))
    .unwrap();
    file.check(groups).unwrap();
    file
}

fn said(status: i32, stdout: &str, stderr: &str) -> Said {
    Said { line: "x read".to_owned(), status, stdout: stdout.into(), stderr: stderr.into() }
}

const SCOPE: Values<'_> = Values { path: "/v/s.1", scope: "s.1", volume: "/v", id: Some(7), bytes: None };

fn read(text: &str, said: &Said) -> std::result::Result<(Option<u64>, Option<u64>), String> {
    output::readings(&file(text), said, &[SCOPE])
        .map(|readings| (readings[0].used, readings[0].limit))
        .map_err(|e| e.message)
}

#[test]
fn numbers_are_found_by_patterns_and_pointers() {
    let lustre = "used: {pattern: '^\\s*/\\S+\\s+(\\d+)', unit: 1024}\nlimit: {pattern: '^\\s*/\\S+\\s+\\d+\\*?\\s+\\d+\\s+(\\d+)', unit: 1024}";
    assert_eq!(
        read(lustre, &said(0, "  /v   8192*  0  8192  -  12  0  0  -\n", "")),
        Ok((Some(8 << 20), Some(8 << 20)))
    );
    let json = "used: {json: /a/used}\nlimit: {json: /a/hard}";
    assert_eq!(read(json, &said(0, r#"{"a": {"used": 5, "hard": "10"}}"#, "")), Ok((Some(5), Some(10))));
    for none in ["null", "0", r#""-""#, r#""None""#, r#""UNLIMITED""#] {
        let text = format!(r#"{{"a": {{"used": 0, "hard": {none}}}}}"#);
        assert_eq!(read(json, &said(0, &text, "")), Ok((Some(0), None)), "{none}");
    }
    assert_eq!(read("limit: {json: /hard}", &said(0, "{}", "")), Ok((None, None)));
}

#[test]
fn a_scope_is_picked_out_of_a_list() {
    let rows = "row: {json: /data, key: /path, is: '{path}'}\nused: {json: /used}\nlimit: {json: /hard}";
    let array =
        r#"{"data": [{"path": "/v/s11", "used": 1, "hard": 1}, {"path": "/v/s.1", "used": 2, "hard": 3}]}"#;
    assert_eq!(read(rows, &said(0, array, "")), Ok((Some(2), Some(3))));
    let object = r#"{"data": {"q1": {"path": "/v/s.1", "used": 2, "hard": 3}}}"#;
    assert_eq!(read(rows, &said(0, object, "")), Ok((Some(2), Some(3))));
    assert_eq!(read(rows, &said(0, r#"{"data": []}"#, "")), Ok((None, None)));
    let by_number = "row: {json: '', key: /id, is: '{id}'}\nlimit: {json: /hard}";
    assert_eq!(read(by_number, &said(0, r#"[{"id": 7, "hard": 9}]"#, "")), Ok((None, Some(9))));

    let lines =
        "row: {pattern: '(?m)^{scope} .*$'}\nused: {pattern: ' (\\d+) '}\nlimit: {pattern: '(\\d+)$'}";
    assert_eq!(read(lines, &said(0, "s11 1 1\ns.1 2 3\n", "")), Ok((Some(2), Some(3))));
    assert_eq!(read(lines, &said(0, "s11 1 1\n", "")), Ok((None, None)));
}

#[test]
fn what_a_tool_says_without_a_limit_can_be_told_from_a_failure() {
    let text = "none: 'no quota'\nlimit: {pattern: '(\\d+)'}";
    assert_eq!(read(text, &said(1, "", "error: no quota on this path\n")), Ok((None, None)));
    assert_eq!(
        read(text, &said(1, "", "cluster is down\n")),
        Err("'x read' failed with exit status 1: cluster is down".to_owned())
    );
}

#[test]
fn what_is_not_of_the_described_form_is_an_error() {
    let json = "limit: {json: /hard}";
    let pattern = "limit: {pattern: 'hard=(\\S+)'}";
    let rows = "row: {json: /data, key: /path, is: '{path}'}\nlimit: {json: /hard}";
    for (file, stdout, message) in [
        (json, "", "'x read' succeeded, but printed nothing"),
        (json, "hello", "'x read' printed what is no JSON: expected value at line 1 column 1: hello"),
        (json, r#"{"hard": "1 GB"}"#, "what 'x read' printed has no number for 'limit': 1 GB"),
        (json, r#"{"hard": -1}"#, "what 'x read' printed has no number for 'limit': -1"),
        (json, r#"{"hard": [1]}"#, "what 'x read' printed has no number for 'limit': [1]"),
        (pattern, "hello", "what 'x read' printed has no number for 'limit': hello"),
        (
            rows,
            r#"{"error": 1}"#,
            "what 'x read' printed has no list at '/data', where the driver file says that it is",
        ),
    ] {
        assert_eq!(read(file, &said(0, stdout, "")), Err(message.to_owned()), "{stdout}");
    }
    let large = "limit: {json: /hard, unit: 1024}";
    let stdout = format!(r#"{{"hard": {}}}"#, u64::MAX);
    assert!(read(large, &said(0, &stdout, "")).is_err());
}

#[test]
fn a_driver_file_that_cannot_work_says_why() {
    let check = |text: &str| {
        let file: std::result::Result<DriverFile, _> = serde_yaml::from_str(text);
        file.map_err(|e| e.to_string()).and_then(|file| file.check(groups).map_err(|e| e.message))
    };
    let whole = "name: x\nenforcement: kernel\nset: [x, '{bytes}']\nunset: [x]\nread: [x, '{path}']\nlimit: {json: /l}\n";
    assert_eq!(check(whole), Ok(()));
    for (from, to, message) in [
        ("name: x", "name: X/", "'name' is made of lower-case letters, digits and '-', and is not 'X/'"),
        ("kernel", "none", "'enforcement' is kernel, kernel_owner_can_leave or cooperative"),
        ("unset: [x]", "unset: []", "'unset' names no program"),
        ("unset: [x]", "unset: [[x], []]", "'unset' has a command without a program"),
        (
            "unset: [x]",
            "unset: [bin/x]",
            "the program bin/x of 'unset' is neither a name nor an absolute path",
        ),
        ("{bytes}", "1g", "'set' says no limit: it needs {bytes} or {kib}"),
        ("unset: [x]", "unset: [x, '{bytes}']", "'unset': {bytes} is known to 'set' only"),
        ("unset: [x]", "unset: [x, '{gib}']", "'unset': there is no placeholder {gib}"),
        (
            "read: [x, '{path}']",
            "read: [x]",
            "'read' names no scope, so 'row' has to say which part of what it prints is about one",
        ),
        ("json: /l", "json: l", "'limit': the JSON pointer 'l' does not begin with '/'"),
        ("json: /l", "pattern: x", "'limit': the pattern has 0 groups, and needs one"),
        ("json: /l", "pattern: '(x'", "'limit': '(x' is no regular expression: unclosed group"),
        ("json: /l", "json: /l, unit: 0", "'limit': a unit is at least 1 byte"),
        ("json: /l", "json: /l, pattern: '(x)'", "'limit' is either {json} or {pattern}"),
        ("name: x", "name: x\nrow: {json: /a}", "'row' is either {json, key, is} or {pattern}"),
        ("name: x", "name: x\nround_to: 0", "'round_to' is 1 to 1073741824, 'deadline_seconds' 1 to 3600"),
        (
            "name: x",
            "name: x\nround_to: 18446744073709551615",
            "'round_to' is 1 to 1073741824, 'deadline_seconds' 1 to 3600",
        ),
        ("unset: [x]", "unset: ['']", "'unset' has a command without a program"),
    ] {
        assert_eq!(check(&whole.replace(from, to)), Err(message.to_owned()), "{to}");
    }
    let unknown = check(&whole.replace("name: x", "name: x\nlimits: 1")).unwrap_err();
    assert!(unknown.contains("unknown field `limits`") && unknown.contains("line 2"), "{unknown}");
}

#[test]
fn numbers_are_asked_for_only_where_a_command_has_one() {
    let plain = Exec { file: file("limit: {json: /l}") };
    let numbered = Exec { file: file("prepare: [x, '{id}']\nlimit: {json: /l}\nround_to: 4096") };
    assert!(!plain.wants_kernel_id() && numbered.wants_kernel_id());
    assert_eq!(plain.effective(Path::new("/"), 0), 1);
    assert_eq!(numbered.effective(Path::new("/"), 4097), 8192);
    let scope = ScopeAt { volume: Path::new("/v"), dir: "s", kernel_id: None, folders: Folders::Directory };
    assert!(numbered.set_limit(&scope, Some(1)).unwrap_err().message.contains("has no number"));
}

#[test]
fn whatever_read_prints_is_a_reading_or_an_error() {
    let files = [
        "used: {json: /used, unit: 1024}\nlimit: {json: /limit}\n",
        "row: {json: /q, key: /path, is: '{path}'}\nused: {json: /used}\nlimit: {json: /hard, unit: 1024}\n",
        "used: {pattern: 'used ([0-9]+)', unit: 1024}\nlimit: {pattern: 'limit ([0-9a-z]+)'}\nnone: 'no such'\n",
    ];
    let files: Vec<DriverFile> = files.iter().map(|text| file(text)).collect();
    let samples: [&[u8]; 3] = [
        br#"{"used": 8192, "limit": "unlimited"}"#,
        br#"{"q":[{"path":"/v/s.1","used":1,"hard":"4096"},{"path":"/v/s.2","used":null}]}"#,
        b"used 8192 of limit 4096\n",
    ];
    crate::testing::each(&samples, |bytes| {
        let said = Said { line: "x read".to_owned(), status: 0, stdout: bytes.to_vec(), stderr: Vec::new() };
        for file in &files {
            if let Ok(readings) = output::readings(file, &said, &[SCOPE]) {
                assert_eq!(readings.len(), 1);
            }
        }
    });
}
