//! Which names vfolders, owners, volumes, sessions and nodes may have.

use unicode_normalization::UnicodeNormalization;

use super::error::{Error, Result};
pub use super::text::{printable, shell_word, shown};

const RESERVED: [&str; 4] = [".ssh", ".jupyter", ".terminfo", ".tmux.conf"];
const MOST_CHARACTERS: usize = 64;
const MOST_BYTES: usize = 255;

/// Checks a vfolder name and brings it into NFC.
pub fn vfolder(text: &str) -> Result<String> {
    let name: String = text.nfc().collect();
    let refuse = |why: &str| {
        Err(Error::usage(format!("'{}' cannot be a vfolder name: {why}", shown(text)))
            .hint("use 1 to 64 letters, digits, '-', '_' or '.'"))
    };
    if name.is_empty() {
        return refuse("it is empty");
    }
    if name.chars().count() > MOST_CHARACTERS {
        return refuse("it is longer than 64 characters");
    }
    if name.len() > MOST_BYTES {
        return refuse("it is longer than 255 bytes");
    }
    if let Some(c) = name.chars().find(|c| !(c.is_alphanumeric() || matches!(c, '-' | '_' | '.'))) {
        return refuse(&match c {
            ' ' => "it contains a space".to_owned(),
            c if c.is_control() => "it contains a control character".to_owned(),
            c => format!("it contains '{c}'"),
        });
    }
    if name.starts_with('-') {
        return refuse("it begins with '-'");
    }
    if name.starts_with("..") {
        return refuse("it begins with two dots");
    }
    if name.ends_with('.') {
        return refuse("it ends with '.'");
    }
    if is_reserved(&name) {
        return refuse("it is reserved for the session's own files");
    }
    Ok(name)
}

/// True for a folder that is mounted without asking.
pub fn is_automatic(name: &str) -> bool {
    name.starts_with('.')
}

/// Names that a session keeps for itself: `.ssh`, `.jupyter`, `.terminfo`, `.tmux.conf`, `.<word>rc`,
/// `.<word>_profile`.
pub fn is_reserved(name: &str) -> bool {
    if RESERVED.contains(&name) {
        return true;
    }
    let Some(rest) = name.strip_prefix('.') else { return false };
    let word = |s: &str| !s.is_empty() && s.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    ["rc", "_profile"].iter().any(|end| rest.strip_suffix(end).is_some_and(word))
}

/// Checks a user or project name.
pub fn owner(kind: &str, text: &str) -> Result<String> {
    let allowed =
        |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '_' | '-' | '@' | '+');
    let good = (1..=64).contains(&text.len())
        && text.chars().all(allowed)
        && text.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
        && !matches!(text, "user" | "project");
    if good {
        return Ok(text.to_owned());
    }
    Err(Error::usage(format!("'{}' cannot be a {kind} name", shown(text))).hint(
        "use 1 to 64 of a-z 0-9 . _ - @ + beginning with a letter or digit; 'user' and 'project' are taken",
    ))
}

/// Checks a volume, session or node name.
pub fn thing(kind: &str, text: &str) -> Result<String> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if (1..=64).contains(&text.len())
        && text.chars().all(allowed)
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
    {
        return Ok(text.to_owned());
    }
    Err(Error::usage(format!("'{}' cannot be a {kind} name", shown(text)))
        .hint("use 1 to 64 of A-Z a-z 0-9 . _ - beginning with a letter or digit"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vfolder_names_follow_the_rules() {
        for good in
            ["data", "a", ".config", "Data-1_2.x", "データ", "наука", "x".repeat(64).as_str(), "éà", "a..b"]
        {
            assert!(vfolder(good).is_ok(), "{good}");
        }
        for (bad, why) in [
            ("", "it is empty"),
            ("x".repeat(65).as_str(), "it is longer than 64 characters"),
            ("a b", "it contains a space"),
            ("a/b", "it contains '/'"),
            ("a:b", "it contains ':'"),
            ("a\0b", "it contains a control character"),
            ("a\u{1b}b", "it contains a control character"),
            ("-a", "it begins with '-'"),
            ("a.", "it ends with '.'"),
            (".", "it ends with '.'"),
            ("..", "it begins with two dots"),
            ("..a", "it begins with two dots"),
            (".ssh", "it is reserved for the session's own files"),
            (".bashrc", "it is reserved for the session's own files"),
            (".bash_profile", "it is reserved for the session's own files"),
            ("a\u{202e}b", "it contains '\u{202e}'"),
        ] {
            let message = vfolder(bad).unwrap_err().message;
            assert!(message.ends_with(why), "{bad:?}: {message}");
        }
        assert!(vfolder(".rc").is_ok() && vfolder(".Brc").is_ok() && vfolder("bashrc").is_ok());
    }

    #[test]
    fn vfolder_names_are_kept_in_nfc() {
        assert_eq!(vfolder("e\u{301}").unwrap(), "\u{e9}");
    }

    #[test]
    fn owner_names_are_lower_case() {
        for good in ["alice", "a", "0x", "a.b_c-d@e+f"] {
            assert!(owner("user", good).is_ok(), "{good}");
        }
        for bad in ["", "Alice", "-a", ".a", "user", "project", "a/b", "a b", "é"] {
            assert!(owner("user", bad).is_err(), "{bad}");
        }
    }
}
