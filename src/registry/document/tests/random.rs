use std::collections::BTreeMap;

use serde_json::json;

use super::*;

/// xorshift: the same numbers in every run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }

    fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len() as u64) as usize]
    }
}

const TEXTS: [&str; 14] = [
    "plain",
    "two words",
    "a: b",
    "# no",
    "x # y",
    "'q'",
    "\"",
    "- a",
    "{",
    "&x",
    "ä😀",
    "line\n\n\n",
    "",
    "007",
];

fn record(numbers: &mut Numbers) -> Value {
    let text = *numbers.pick(&TEXTS);
    match numbers.below(5) {
        0 => json!({}),
        1 => json!({"id": numbers.below(100), "note": text}),
        2 => json!({"list": [text, {"deep": {text: null}}], "on": true}),
        3 => json!({text: 1.5, "n": -3}),
        _ => json!({"note": text, "list": [], "map": {}}),
    }
}

/// The document in the style of the YAML library, or with comments and blank lines strewn in.
fn restyle(document: &Document, numbers: &mut Numbers) -> Vec<u8> {
    let text = rendered(document);
    if numbers.below(2) == 0 {
        let value: serde_yaml::Value = serde_yaml::from_str(&text).expect("YAML");
        return serde_yaml::to_string(&value).expect("YAML").into_bytes();
    }
    let mut out = String::new();
    for line in text.lines() {
        let end = line.starts_with("end");
        match numbers.below(8) {
            0 => out += "\n",
            1 => out += "  # whole line\n",
            2 => out += "# left\n\n",
            _ => {}
        }
        out += line;
        out += if numbers.below(6) == 0 && !end { " # behind\n" } else { "\n" };
    }
    // A comment line within a text of several lines is no comment.
    let same = by_the_library(&out).is_some_and(|value| Some(value) == by_the_library(&text));
    if same { out.into_bytes() } else { text.into_bytes() }
}

#[test]
fn random_edits_in_every_style_are_read_back() {
    for seed in 1..=60 {
        let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15 + seed);
        let mut document = Document::new(&json!({"generation": seed}));
        let mut model: BTreeMap<(&str, String), Value> = BTreeMap::new();
        for _ in 0..120 {
            let section = *numbers.pick(&SECTIONS);
            let key = format!("{}{}", numbers.pick(&TEXTS), numbers.below(4));
            match numbers.below(8) {
                0 | 1 => {
                    assert_eq!(document.remove(section, &key), model.remove(&(section, key)).is_some());
                }
                2 => {
                    let before = content(&document);
                    let bytes = restyle(&document, &mut numbers);
                    let shown = String::from_utf8_lossy(&bytes).into_owned();
                    document = Document::parse(bytes)
                        .unwrap_or_else(|error| panic!("seed {seed}: {error}\n{shown}"));
                    assert_eq!(content(&document), before, "seed {seed}\n{shown}");
                }
                3 => document = again(&document),
                _ => {
                    let record = record(&mut numbers);
                    document.put(section, &key, &record);
                    model.insert((section, key), record);
                }
            }
        }
        let read = again(&document);
        for section in SECTIONS {
            let expected = model.iter().filter(|((name, _), _)| *name == section);
            let expected: BTreeMap<String, Value> =
                expected.map(|((_, key), value)| (key.clone(), value.clone())).collect();
            let records: Result<BTreeMap<String, Value>, _> = read.each(section).collect();
            assert_eq!(records.expect("records"), expected, "seed {seed}");
            assert_eq!(read.len(section), expected.len());
        }
    }
}

/// The text with a few bytes or lines changed, moved or doubled.
fn damage(text: &str, numbers: &mut Numbers) -> String {
    let marks: &[&str] = &[
        " ", "\n", ":", ": ", "#", " #", "\"", "'", "{", "}", "[", "]", ",", "- ", "? ", "|", "|+\n", ">",
        "%", "---\n", "x", "\t", "\\", "~", "1", "  ", "\r\n", "{}", "a: b", "\n\n", "\n  ", "...\n", "!",
        "@",
    ];
    let mut text = text.to_owned();
    for _ in 0..=numbers.below(3) {
        let mut at = numbers.below(text.len() as u64 + 1) as usize;
        while !text.is_char_boundary(at) {
            at -= 1;
        }
        let mark: &str = numbers.pick::<&str>(marks);
        match numbers.below(4) {
            0 => text.insert_str(at, mark),
            1 => {
                let length = text[at..].chars().next().map_or(0, char::len_utf8);
                text.replace_range(at..at + length, mark);
            }
            2 => {
                let end = text[at..].find('\n').map_or(text.len(), |found| at + found + 1);
                text.replace_range(at..end, "");
            }
            _ => {
                let start = text[..at].rfind('\n').map_or(0, |found| found + 1);
                let end = text[at..].find('\n').map_or(text.len(), |found| at + found + 1);
                let line = text[start..end].to_owned();
                text.insert_str(start, &line);
            }
        }
    }
    text
}

#[test]
fn damaged_files_are_refused_or_mean_what_the_library_reads() {
    let mut accepted = 0;
    let rounds =
        std::env::var("VFADM_TEST_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(1500);
    let mut numbers = Numbers(0x2545_f491_4f6c_dd1d ^ rounds as u64);
    for _ in 0..rounds {
        let style = *numbers.pick(&super::styles::STYLES);
        let text = damage(style, &mut numbers) + EDITED;
        let Ok(document) = Document::parse(text.clone().into_bytes()) else { continue };
        assert_eq!(document.seal(), Seal::Edited);
        assert_agrees(&document, &text);
        assert_eq!(by_the_library(&text), by_the_library(&rendered(&document)), "{text}");
        let mut document = again(&document);
        document.put("users", "added", &json!({"x": 1}));
        document.remove("volumes", "fast");
        again(&document);
        accepted += 1;
    }
    assert!(accepted > rounds / 10, "{accepted} of {rounds}");
}
