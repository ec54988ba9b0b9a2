//! The driver file of the driver `exec`: which programs set and read limits of a storage that vfadm does not know.
//! `examples/drivers/README.md` describes it for administrators.

use std::fmt;

use serde::de::{self, Deserializer, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};

use super::error::{Error, Result};
use super::quota::Enforcement;

/// What a driver file says; the registry keeps it whole, so that every node has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DriverFile {
    /// What it is called: lower-case letters, digits and `-`.
    pub name: String,
    /// How well the storage holds limits.
    pub enforcement: Enforcement,
    /// True where `prepare` makes the scope's directory.
    #[serde(default, skip_serializing_if = "is_false")]
    pub makes_directory: bool,
    /// Limits are rounded up to a multiple of it, bytes.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub round_to: u64,
    /// True where usage follows a write only after a while.
    #[serde(default, skip_serializing_if = "is_false")]
    pub usage_lags: bool,
    /// True where no limit below what is used is taken.
    #[serde(default, skip_serializing_if = "is_false")]
    pub refuses_below_usage: bool,
    /// How long each command may run.
    #[serde(default = "half_a_minute", skip_serializing_if = "is_half_a_minute")]
    pub deadline_seconds: u64,
    /// Makes the scope ready for limits.
    #[serde(default, skip_serializing_if = "Commands::is_empty")]
    pub prepare: Commands,
    /// Sets a limit.
    pub set: Commands,
    /// Takes it away.
    pub unset: Commands,
    /// Prints what is used, and the limit.
    pub read: Commands,
    /// Removes what `prepare` made.
    #[serde(default, skip_serializing_if = "Commands::is_empty")]
    pub remove: Commands,
    /// The part of what `read` prints that is about one scope; absent: all of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub row: Option<Row>,
    /// Where the usage stands; absent: the storage does not tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub used: Option<Figure>,
    /// Where the limit stands.
    pub limit: Figure,
    /// What `read` says of a scope without a limit, as a regular expression.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub none: Option<String>,
}

/// Picks the part of an output that is about one scope: of a list in JSON, or by a regular expression.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Row {
    /// Pointer to the list; its rows are the elements, or an object's values.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub json: Option<String>,
    /// Pointer, in a row, to what tells whose it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// What stands there for the scope, with placeholders.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub is: Option<String>,
    /// Matches the row, with placeholders.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pattern: Option<String>,
}

/// Where a number stands: at a JSON pointer, or in the one group of a regular expression.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Figure {
    /// Pointer to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub json: Option<String>,
    /// Matches it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pattern: Option<String>,
    /// Bytes that one stands for.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub unit: u64,
}

fn one() -> u64 {
    1
}

fn is_one(number: &u64) -> bool {
    *number == 1
}

fn half_a_minute() -> u64 {
    30
}

fn is_half_a_minute(seconds: &u64) -> bool {
    *seconds == half_a_minute()
}

fn is_false(value: &bool) -> bool {
    !*value
}

/// Argument vectors that are run one after the other. In a file one of them may stand for itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Commands(pub Vec<Vec<String>>);

impl Commands {
    /// True when nothing is run.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All words of all commands.
    pub fn words(&self) -> impl Iterator<Item = &String> {
        self.0.iter().flatten()
    }
}

/// An element of a list of commands: a word of the only one, or one of several.
enum Element {
    Word(String),
    Command(Vec<String>),
}

impl<'de> Deserialize<'de> for Element {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Element, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Element;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a word, or a list of words")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> std::result::Result<Element, E> {
                Ok(Element::Word(text.to_owned()))
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> std::result::Result<Element, E> {
                Ok(Element::Word(number.to_string()))
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> std::result::Result<Element, E> {
                Ok(Element::Word(number.to_string()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> std::result::Result<Element, A::Error> {
                let mut words = Vec::new();
                while let Some(element) = list.next_element()? {
                    match element {
                        Element::Word(word) => words.push(word),
                        Element::Command(_) => return Err(de::Error::custom("a command is a list of words")),
                    }
                }
                Ok(Element::Command(words))
            }
        }
        deserializer.deserialize_any(Any)
    }
}

impl<'de> Deserialize<'de> for Commands {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Commands, D::Error> {
        let (mut words, mut commands) = (Vec::new(), Vec::new());
        for element in Vec::<Element>::deserialize(deserializer)? {
            match element {
                Element::Word(word) => words.push(word),
                Element::Command(command) => commands.push(command),
            }
        }
        match (words.is_empty(), commands.is_empty()) {
            (false, false) => {
                Err(de::Error::custom("either the words of one command, or a list of commands"))
            }
            (false, true) => Ok(Commands(vec![words])),
            _ => Ok(Commands(commands)),
        }
    }
}

/// What stands for placeholders.
#[derive(Clone, Debug)]
pub struct Values<'a> {
    /// `{path}`: the scope's directory.
    pub path: &'a str,
    /// `{scope}`: its name.
    pub scope: &'a str,
    /// `{volume}`: the volume's directory.
    pub volume: &'a str,
    /// `{id}`: the scope's number.
    pub id: Option<u64>,
    /// `{bytes}` and `{kib}`: the limit.
    pub bytes: Option<u64>,
}

/// Limits are not rounded by more, bytes.
const MOST_ROUNDING: u64 = 1 << 30;

/// The words that may stand in braces.
const PLACEHOLDERS: [&str; 6] = ["path", "scope", "volume", "id", "bytes", "kib"];
/// Those that make a command one scope's.
const OF_A_SCOPE: [&str; 3] = ["path", "scope", "id"];

impl Values<'_> {
    fn of(&self, placeholder: &str) -> Option<String> {
        match placeholder {
            "path" => Some(self.path.to_owned()),
            "scope" => Some(self.scope.to_owned()),
            "volume" => Some(self.volume.to_owned()),
            "id" => self.id.map(|id| id.to_string()),
            "bytes" => self.bytes.map(|bytes| bytes.to_string()),
            "kib" => self.bytes.map(|bytes| bytes.div_ceil(1024).to_string()),
            _ => None,
        }
    }
}

/// The placeholders of a text, as their places and words. Braces around anything else than small letters are
/// themselves: JSON and regular expressions have them too.
fn placeholders(text: &str) -> Vec<(std::ops::Range<usize>, &str)> {
    let mut found = Vec::new();
    let mut from = 0;
    while let Some(open) = text[from..].find('{').map(|at| from + at) {
        let word = text[open + 1..].split('}').next().unwrap_or_default();
        let end = open + 1 + word.len();
        let is_word = !word.is_empty() && word.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
        if is_word && text[end..].starts_with('}') {
            found.push((open..end + 1, word));
            from = end + 1;
        } else {
            from = open + 1;
        }
    }
    found
}

/// Puts values into a text; `escape` is applied to each.
pub fn fill(text: &str, values: &Values<'_>, escape: fn(&str) -> String) -> String {
    let (mut filled, mut from) = (String::new(), 0);
    for (range, word) in placeholders(text) {
        let Some(value) = values.of(word) else { continue };
        filled.push_str(&text[from..range.start]);
        filled.push_str(&escape(&value));
        from = range.end;
    }
    filled + &text[from..]
}

fn has(words: &[&str], text: &str) -> bool {
    placeholders(text).iter().any(|(_, word)| words.contains(word))
}

impl DriverFile {
    fn commands(&self) -> [(&'static str, &Commands); 5] {
        [
            ("prepare", &self.prepare),
            ("set", &self.set),
            ("unset", &self.unset),
            ("read", &self.read),
            ("remove", &self.remove),
        ]
    }

    /// True when a scope needs a number of its own.
    pub fn wants_id(&self) -> bool {
        self.commands().iter().any(|(_, commands)| commands.words().any(|word| has(&["id"], word)))
    }

    /// True when one run of `read` tells of all scopes.
    pub fn reads_all_at_once(&self) -> bool {
        !self.read.words().any(|word| has(&OF_A_SCOPE, word))
    }

    /// The programs that it runs.
    pub fn programs(&self) -> Vec<&str> {
        let mut programs: Vec<&str> = self
            .commands()
            .iter()
            .flat_map(|(_, commands)| commands.0.iter().filter_map(|command| command.first()))
            .map(String::as_str)
            .collect();
        programs.sort_unstable();
        programs.dedup();
        programs
    }

    /// What is wrong with it beyond its form (exit 2); `is_pattern` says what is wrong with a regular expression, or
    /// how many groups it has.
    pub fn check(&self, is_pattern: impl Fn(&str) -> std::result::Result<usize, String>) -> Result<()> {
        let wrong = |what: String| Err(Error::usage(what));
        let name_is_good = !self.name.is_empty()
            && self.name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        if !name_is_good {
            return wrong(format!(
                "'name' is made of lower-case letters, digits and '-', and is not '{}'",
                self.name
            ));
        }
        if matches!(self.enforcement, Enforcement::Volume | Enforcement::None) {
            return wrong("'enforcement' is kernel, kernel_owner_can_leave or cooperative".to_owned());
        }
        if !(1..=MOST_ROUNDING).contains(&self.round_to) || !(1..=3600).contains(&self.deadline_seconds) {
            return wrong("'round_to' is 1 to 1073741824, 'deadline_seconds' 1 to 3600".to_owned());
        }
        for (key, commands) in self.commands() {
            let required = matches!(key, "set" | "unset" | "read");
            if required && commands.is_empty() {
                return wrong(format!("'{key}' names no program"));
            }
            for command in &commands.0 {
                match command.first().filter(|program| !program.is_empty()) {
                    None => return wrong(format!("'{key}' has a command without a program")),
                    Some(program) if program.contains('/') && !program.starts_with('/') => {
                        return wrong(format!(
                            "the program {program} of '{key}' is neither a name nor an absolute path"
                        ));
                    }
                    Some(_) => {}
                }
            }
            for word in commands.words() {
                known_placeholders(key, word, key == "set")?;
            }
        }
        if self.read.0.len() > 1 {
            return wrong("'read' is one command".to_owned());
        }
        if !self.set.words().any(|word| has(&["bytes", "kib"], word)) {
            return wrong("'set' says no limit: it needs {bytes} or {kib}".to_owned());
        }
        self.check_row(&is_pattern)?;
        for (key, figure) in [("used", self.used.as_ref()), ("limit", Some(&self.limit))] {
            let Some(figure) = figure else { continue };
            check_figure(key, figure, &is_pattern)?;
        }
        if let Some(pattern) = &self.none {
            is_pattern(pattern).map_err(|why| Error::usage(format!("'none': {why}")))?;
        }
        Ok(())
    }

    fn check_row(&self, is_pattern: &impl Fn(&str) -> std::result::Result<usize, String>) -> Result<()> {
        let Some(row) = &self.row else {
            if self.reads_all_at_once() {
                return Err(Error::usage(
                    "'read' names no scope, so 'row' has to say which part of what it prints is about one",
                )
                .hint("add {path}, {scope} or {id} to 'read', or a 'row'"));
            }
            return Ok(());
        };
        match (&row.json, &row.key, &row.is, &row.pattern) {
            (Some(json), Some(key), Some(is), None) => {
                pointer("row", json)?;
                pointer("row", key)?;
                known_placeholders("row", is, false)
            }
            (None, None, None, Some(pattern)) => {
                known_placeholders("row", pattern, false)?;
                let filled = fill(pattern, &Values::sample(), str::to_owned);
                is_pattern(&filled).map(drop).map_err(|why| Error::usage(format!("'row': {why}")))
            }
            _ => Err(Error::usage("'row' is either {json, key, is} or {pattern}")),
        }
    }
}

impl Values<'static> {
    fn sample() -> Values<'static> {
        Values { path: "p", scope: "s", volume: "v", id: Some(1), bytes: None }
    }
}

fn check_figure(
    key: &str,
    figure: &Figure,
    is_pattern: &impl Fn(&str) -> std::result::Result<usize, String>,
) -> Result<()> {
    if figure.unit == 0 {
        return Err(Error::usage(format!("'{key}': a unit is at least 1 byte")));
    }
    match (&figure.json, &figure.pattern) {
        (Some(json), None) => pointer(key, json),
        (None, Some(pattern)) => match is_pattern(pattern) {
            Ok(1) => Ok(()),
            Ok(groups) => {
                Err(Error::usage(format!("'{key}': the pattern has {groups} groups, and needs one")))
            }
            Err(why) => Err(Error::usage(format!("'{key}': {why}"))),
        },
        _ => Err(Error::usage(format!("'{key}' is either {{json}} or {{pattern}}"))),
    }
}

/// A JSON pointer (RFC 6901) is empty or begins with a slash.
fn pointer(key: &str, text: &str) -> Result<()> {
    if text.is_empty() || text.starts_with('/') {
        return Ok(());
    }
    Err(Error::usage(format!("'{key}': the JSON pointer '{text}' does not begin with '/'")))
}

fn known_placeholders(key: &str, text: &str, limits: bool) -> Result<()> {
    for (_, word) in placeholders(text) {
        if !PLACEHOLDERS.contains(&word) {
            return Err(Error::usage(format!("'{key}': there is no placeholder {{{word}}}"))
                .hint("there are {path}, {scope}, {volume}, {id}, {bytes} and {kib}"));
        }
        if !limits && matches!(word, "bytes" | "kib") {
            return Err(Error::usage(format!("'{key}': {{{word}}} is known to 'set' only")));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const VALUES: Values<'_> =
        Values { path: "/v/a b", scope: "s", volume: "/v", id: Some(7), bytes: Some(1025) };

    #[test]
    fn placeholders_are_filled_and_other_braces_stay() {
        for (text, filled) in [
            ("{path}", "/v/a b"),
            ("x{id}y{kib}z", "x7y2z"),
            (r#"{"hard": {bytes}}"#, r#"{"hard": 1025}"#),
            (r"\d{3}{scope}{", r"\d{3}s{"),
            ("{", "{"),
            ("", ""),
        ] {
            assert_eq!(fill(text, &VALUES, str::to_owned), filled, "{text}");
        }
        assert_eq!(fill("{path}", &VALUES, |v| format!("<{v}>")), "</v/a b>");
    }

    #[test]
    fn one_command_stands_for_itself() {
        let read = |text: &str| serde_json::from_str::<Commands>(text);
        assert_eq!(read(r#"["a", "-p", 1]"#).unwrap().0, [["a", "-p", "1"]]);
        assert_eq!(read(r#"[["a"], ["b", "c"]]"#).unwrap().0, [vec!["a"], vec!["b", "c"]]);
        assert!(read("[]").unwrap().is_empty());
        assert!(read(r#"["a", ["b"]]"#).is_err());
        assert!(read(r#"[[["b"]]]"#).is_err());
        assert!(read(r#""a b""#).is_err());
    }
}
