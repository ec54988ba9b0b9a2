//! Text that others wrote, for terminals, shells and documents.

use std::borrow::Cow;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use serde::Serialize;
use serde_json::Value;

/// So many characters of what was typed are shown.
const MOST_SHOWN: usize = 200;

/// Whether a character steers a terminal, breaks its line or turns the direction of writing.
///
/// Control characters (C0, DEL, C1), LINE and PARAGRAPH SEPARATOR, and the characters with the property `Bidi_Control`
/// (Unicode, PropList.txt).
pub fn steers(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// The text with the characters that steer escaped, so that a name cannot steer a terminal.
pub fn printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if steers(c) {
            out.extend(c.escape_unicode());
        } else {
            out.push(c);
        }
    }
    out
}

/// What was typed, printable, and no more of it than helps to recognise it.
pub fn shown(text: &str) -> String {
    match text.char_indices().nth(MOST_SHOWN) {
        None => printable(text),
        Some((end, _)) => printable(text.get(..end).unwrap_or_default()) + "\u{2026}",
    }
}

/// The longest path, in bytes (`PATH_MAX`, limits.h(7)).
const LONGEST_PATH: usize = 4096;

/// The text without words that are longer than any path: no more of them than helps to recognise them.
pub fn without_long_words(text: &str) -> String {
    let word = |word: &str| if word.len() > LONGEST_PATH { shown(word) } else { word.to_owned() };
    text.split(' ').map(word).collect::<Vec<_>>().join(" ")
}

/// The text as one word of a shell's command line.
pub fn shell_word(text: &str) -> String {
    shell_bytes(text.as_bytes())
}

/// A path or an argument as one word of a shell's command line.
///
/// Bytes that are no text, and characters that steer, stand in octal in `$'...'` (bash, zsh, ksh; POSIX.1-2024, section
/// 2.2.4), which means the same in every locale.
pub fn shell_path(path: impl AsRef<OsStr>) -> String {
    shell_bytes(path.as_ref().as_bytes())
}

fn shell_bytes(bytes: &[u8]) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+@%=:,".contains(c);
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.is_empty() && text.chars().all(plain) => text.to_owned(),
        Ok(text) if !text.contains(steers) => format!("'{}'", text.replace('\'', "'\\''")),
        _ => {
            let mut word = "$'".to_owned();
            for chunk in bytes.utf8_chunks() {
                for c in chunk.valid().chars() {
                    match c {
                        '\'' | '\\' => word.extend(['\\', c]),
                        c if steers(c) => word.push_str(&octal(c.encode_utf8(&mut [0; 4]).as_bytes())),
                        c => word.push(c),
                    }
                }
                word.push_str(&octal(chunk.invalid()));
            }
            word + "'"
        }
    }
}

/// Each byte as a backslash and three octal digits.
pub fn octal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("\\{byte:03o}")).collect()
}

/// JSON text with the characters that steer written as `\uXXXX`; it says the same. Line breaks outside of strings stay.
pub fn json_escaped(json: &str) -> Cow<'_, str> {
    let escape = |c: char| steers(c) && c != '\n';
    if !json.contains(escape) {
        return Cow::Borrowed(json);
    }
    let mut out = String::with_capacity(json.len() + 64);
    for c in json.chars() {
        match escape(c) {
            // None of them lies beyond U+FFFF.
            true => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            false => out.push(c),
        }
    }
    Cow::Owned(out)
}

/// A value as JSON on one line, without a character that steers.
pub fn json_line<T: Serialize + ?Sized>(value: &T) -> serde_json::Result<String> {
    Ok(json_escaped(&serde_json::to_string(value)?).into_owned())
}

/// A value as indented JSON, without a character that steers but its line breaks.
pub fn json_lines<T: Serialize + ?Sized>(value: &T) -> serde_json::Result<String> {
    let text = serde_json::to_string_pretty(value)?;
    Ok(match json_escaped(&text) {
        Cow::Owned(escaped) => escaped,
        Cow::Borrowed(_) => text,
    })
}

/// A document as YAML, without a character that steers but its line breaks. `text` is what a YAML library's writer made
/// of the document, and `write` that writer. It leaves some of these characters as they are: strings that hold them are
/// written as JSON, which YAML is too.
///
/// # Errors
/// Those of `document` and `write`.
pub fn yaml<E>(
    text: String,
    document: impl FnOnce() -> Result<Value, E>,
    write: impl FnOnce(&Value) -> Result<String, E>,
) -> Result<String, E> {
    let is_raw = |c: char| steers(c) && c != '\n';
    if !text.contains(is_raw) {
        return Ok(text);
    }
    // A word that the text does not hold stands for each string until the library has written the document.
    let mark = (0u64..).map(|n| format!("quoted{n}x")).find(|mark| !text.contains(mark)).unwrap_or_default();
    let mut quoted = Vec::new();
    let marked = write(&marked(&document()?, &mark, &is_raw, &mut quoted))?;
    let mut parts = marked.split(&*mark);
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (number, rest) = part.split_once('x').unwrap_or_default();
        let string = number.parse().ok().and_then(|at: usize| quoted.get(at));
        out.push_str(&json_escaped(string.map_or("", String::as_str)));
        out.push_str(rest);
    }
    Ok(out)
}

/// The value with a mark and a number, ended by `x`, in place of each string that holds such a character.
fn marked(value: &Value, mark: &str, is_raw: &dyn Fn(char) -> bool, quoted: &mut Vec<String>) -> Value {
    let mut text = |text: &str| match text.contains(is_raw) {
        true => {
            quoted.push(Value::from(text).to_string());
            format!("{mark}{}x", quoted.len() - 1)
        }
        false => text.to_owned(),
    };
    match value {
        Value::String(string) => Value::String(text(string)),
        Value::Array(list) => list.iter().map(|item| marked(item, mark, is_raw, quoted)).collect(),
        Value::Object(map) => {
            let keys: Vec<String> = map.keys().map(|key| text(key)).collect();
            keys.into_iter().zip(map.values()).map(|(k, v)| (k, marked(v, mark, is_raw, quoted))).collect()
        }
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const STEERING: &str = "\0\u{1b}\u{7f}\u{85}\u{9b}\u{9c}\u{9d}\u{61c}\u{200e}\u{200f}\u{2028}\u{2029}\u{202a}\u{202e}\u{2066}\u{2069}";

    #[test]
    fn printable_text_cannot_steer_a_terminal() {
        assert_eq!(printable("a\u{1b}[2Jb\n"), "a\\u{1b}[2Jb\\u{a}");
        assert!(STEERING.chars().all(steers));
        assert!(!printable(STEERING).contains(steers));
    }

    #[test]
    fn of_what_was_typed_a_line_is_shown() {
        assert_eq!(shown(&"é".repeat(200)), "é".repeat(200));
        assert_eq!(shown(&"é".repeat(201)), "é".repeat(200) + "\u{2026}");
    }

    #[test]
    fn a_word_of_a_shell_holds_any_bytes() {
        for (bytes, word) in [
            (&b"/a_b"[..], "/a_b"),
            (b"", "''"),
            (b"it's", r"'it'\''s'"),
            (b"a\\\nb'", r"$'a\\\012b\''"),
            (b"\xff1\x1b", r"$'\3771\033'"),
            ("é\u{202e}".as_bytes(), r"$'é\342\200\256'"),
        ] {
            assert_eq!(shell_path(OsStr::from_bytes(bytes)), word);
        }
    }

    #[test]
    fn documents_hold_no_character_that_steers_and_say_the_same() {
        let yaml = |document: &Value| -> serde_yaml::Result<String> {
            yaml(serde_yaml::to_string(document)?, || Ok(document.clone()), serde_yaml::to_string)
        };
        for hostile in
            [STEERING, "\u{202e}", "a\n\u{2028}b\n", "quoted0x\u{2066}: 'x'", "\u{85}", "\u{1f600}\u{202e}"]
        {
            let document =
                json!({"a": [hostile, "quoted0x0x", {"b": hostile, hostile: 1}], "plain": "two\nlines"});
            let json = json_lines(&document).unwrap();
            let yaml = yaml(&document).unwrap();
            for text in [&json, &yaml] {
                assert!(!text.contains(|c| steers(c) && c != '\n'), "{text:?}");
            }
            assert_eq!(serde_json::from_str::<Value>(&json).unwrap(), document);
            assert_eq!(serde_json::from_str::<Value>(&json_line(&document).unwrap()).unwrap(), document);
            assert_eq!(serde_yaml::from_str::<Value>(&yaml).unwrap(), document, "{yaml}");
        }
        let plain = json!({"a": ["x", "two\nlines"]});
        assert_eq!(yaml(&plain).unwrap(), serde_yaml::to_string(&plain).unwrap());
    }
}
