use super::*;

#[test]
fn a_file_cut_anywhere_is_refused() {
    let bytes = sealed();
    for length in 0..bytes.len() {
        let error = Document::parse(bytes[..length].to_vec()).expect_err("cut");
        assert!(
            error.message.starts_with("the file was cut: its last line, `end:`, is "),
            "{length}: {error}"
        );
    }
}

#[test]
fn a_file_in_another_style_cut_anywhere_is_refused() {
    let document = edited_body(BODY).expect("valid");
    let text = rendered(&document);
    for end in [
        "end:\n  generation: 42\n  records: 11\n  sum: b3:6c1f6c1f6c1f6c1f6c1f6c1f6c1f6c1f6c1f6c1f6c1f6c1f6c1f6c1f6c1f6c1f\n",
        "end:\n  sum: b3:6c1f6c1f6c1f6c1f6c1f6c1f6c1f6c1f6c1f6c1f6c1f6c1f6c1f6c1f6c1f6c1f\n  generation: 42\n  records: 11\n",
        "end:\n  {\n    \"records\": 11,\n    \"generation\": 42,\n    \"sum\": \"b3:6c1f6c1f6c1f6c1f6c1f6c1f6c1f6c1f6c1f6c1f6c1f6c1f6c1f6c1f6c1f6c1f\",\n  }\n",
    ] {
        let text = text.split("end: ").next().expect("body").to_owned() + end;
        assert!(Document::parse(text.clone().into_bytes()).is_ok());
        for length in 0..text.len() {
            assert!(
                Document::parse(text.as_bytes()[..length].to_vec()).is_err(),
                "{:?}",
                &text[text.len() - 60..length]
            );
        }
    }
}

#[test]
fn the_error_of_a_cut_names_the_last_line() {
    let missing = "the file was cut: its last line, `end:`, is missing";
    assert_eq!(fault(""), format!("line 1, column 1: {missing}"));
    assert_eq!(fault(BODY), format!("line 21, column 1: {missing}"));
    assert_eq!(fault("vfadm: {\"generation\":1}\nusers:\n  \"al"), format!("line 3, column 1: {missing}"));
    let incomplete = missing.replace("missing", "incomplete");
    assert_eq!(fault("vfadm: {\"generation\":1}\nend: {\"gen"), format!("line 2, column 1: {incomplete}"));
    let moved = "`end:` closes the file, and has to be its last line: move it there";
    assert_eq!(fault(&format!("{HEADER}{EDITED}users: {{}}\n")), format!("line 2, column 1: {moved}"));
}

#[test]
fn comments_behind_the_end_move_above_it() {
    let text = format!("{HEADER}{EDITED}\n# note\n...\n");
    let document = Document::parse(text.into_bytes()).expect("valid");
    assert_eq!(document.seal(), Seal::Edited);
    assert_eq!(body_of(&document), format!("{HEADER}# note\n"));
    again(&document);
}

/// One bit at every place of the file, in turn over the eight bits.
#[test]
fn a_flipped_bit_is_an_error_or_an_edit() {
    let bytes = sealed();
    let mut edits = 0;
    for at in 0..bytes.len() {
        for bit in [at % 8, (at + 3) % 8] {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1 << bit;
            if let Ok(document) = Document::parse(flipped) {
                assert_eq!(document.seal(), Seal::Edited, "byte {at}, bit {bit}");
                edits += 1;
            }
        }
    }
    assert!(edits > 1000, "most flips within values are well-formed: {edits}");
}
