//! From text to values: JSON first, because it is many times faster, then the YAML library; and the checks that
//! neither makes by itself (one key twice in a mapping, keys that are not text).

use std::collections::HashSet;
use std::fmt;
use std::marker::PhantomData;
use std::ops::Range;

use serde::de::{
    Deserialize, DeserializeOwned, DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor,
};
use serde_json::{Map, Number, Value};

use super::SyntaxError;
use super::lexer::{first_comment, guard, line_end};
use super::scan::{Body, Entry, slice};

/// So many characters of the library's message, which may hold a text of the file, are shown.
const MOST_SHOWN: usize = 400;

/// The value of an entry. JSON in a file may have a comment behind it.
///
/// # Errors
/// What the YAML library finds wrong, at its place in the file.
pub(super) fn value<T: DeserializeOwned>(text: &str, entry: &Entry) -> Result<T, SyntaxError> {
    match &entry.body {
        Body::Kept { start, value, end } => match json(slice(text, *value..*end)) {
            Some(value) => Ok(value),
            None => yaml::<Single<T>>(text, *start..*end).map(|single| single.value),
        },
        Body::Written { json, .. } => serde_json::from_str(json)
            .map_err(|error| SyntaxError::at(text, entry.at.unwrap_or_default(), error)),
        Body::Removed => Err(SyntaxError::at(text, entry.at.unwrap_or_default(), "the record is removed")),
    }
}

/// Decodes JSON that may have a comment behind it; nothing where it is not JSON or does not fit.
pub(super) fn json<T: DeserializeOwned>(text: &str) -> Option<T> {
    let text = text.trim();
    if !text.starts_with('{') {
        return None;
    }
    serde_json::from_str(text).ok().or_else(|| {
        memchr::memchr(b'#', text.as_bytes())?;
        let comment = first_comment(text)?;
        let ends_the_text = line_end(text.as_bytes(), comment) == text.len();
        ends_the_text.then(|| serde_json::from_str(slice(text, 0..comment)).ok()).flatten()
    })
}

/// Decodes a part of the text as YAML.
///
/// # Errors
/// Malformed text and values that do not fit `T`, with line and column in the whole text.
pub(super) fn yaml<T: DeserializeOwned>(text: &str, range: Range<usize>) -> Result<T, SyntaxError> {
    let part = slice(text, range.clone());
    guard(part).map_err(|(at, message)| SyntaxError::at(text, range.start + at, message))?;
    serde_yaml::from_str(part).map_err(|error: serde_yaml::Error| {
        // The library counts lines from the text it is given, in the message too: give it the lines before.
        let lines_before = memchr::memchr_iter(b'\n', slice(text, 0..range.start).as_bytes()).count();
        let padded = "\n".repeat(lines_before) + part;
        let error = serde_yaml::from_str::<T>(&padded).err().unwrap_or(error);
        let (line, column) =
            error.location().map_or((lines_before + 1, 1), |place| (place.line(), place.column()));
        let mut message = error.to_string().replacen(&format!(" at line {line} column {column}"), "", 1);
        if let Some((end, _)) = message.char_indices().nth(MOST_SHOWN) {
            message.truncate(end);
            message.push_str("...");
        }
        SyntaxError { line, column, message }
    })
}

/// A mapping with exactly one entry: what an entry of a file is on its own.
pub(super) struct Single<T> {
    pub key: String,
    pub value: T,
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Single<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct One<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for One<T> {
            type Value = Single<T>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a key and its value")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let none = HashSet::new();
                let key =
                    map.next_key_seed(NewKey(&none))?.ok_or_else(|| A::Error::custom("a key is missing"))?;
                let value = map.next_value()?;
                Ok(Single { key, value })
            }
        }
        deserializer.deserialize_any(One(PhantomData))
    }
}

/// A mapping in the order of the file, no key twice.
pub(super) struct Mapping<T>(pub Vec<(String, T)>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Mapping<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Entries<T> {
            type Value = Mapping<T>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a mapping")
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                let mut entries = Vec::new();
                each_entry(map, |key, value| entries.push((key, value)))?;
                Ok(Mapping(entries))
            }
        }
        deserializer.deserialize_any(Entries(PhantomData))
    }
}

/// Any value in which no mapping has a key twice and every key is text; kept only where `KEEP` says so.
pub(super) struct Checked<const KEEP: bool>(pub Value);

impl<'de, const KEEP: bool> Deserialize<'de> for Checked<KEEP> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Anything::<KEEP>)
    }
}

struct Anything<const KEEP: bool>;

impl<'de, const KEEP: bool> Visitor<'de> for Anything<KEEP> {
    type Value = Checked<KEEP>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }
    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(Checked(Value::Null))
    }
    fn visit_bool<E: Error>(self, value: bool) -> Result<Self::Value, E> {
        Ok(Checked(Value::Bool(value)))
    }
    fn visit_u64<E: Error>(self, value: u64) -> Result<Self::Value, E> {
        Ok(Checked(value.into()))
    }
    fn visit_i64<E: Error>(self, value: i64) -> Result<Self::Value, E> {
        Ok(Checked(value.into()))
    }
    fn visit_f64<E: Error>(self, value: f64) -> Result<Self::Value, E> {
        let number = Number::from_f64(value).ok_or_else(|| E::custom("not a finite number"))?;
        Ok(Checked(Value::Number(number)))
    }
    fn visit_str<E: Error>(self, value: &str) -> Result<Self::Value, E> {
        Ok(Checked(if KEEP { value.into() } else { Value::Null }))
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element::<Checked<KEEP>>()? {
            if KEEP {
                items.push(item.0);
            }
        }
        Ok(Checked(if KEEP { Value::Array(items) } else { Value::Null }))
    }
    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        let mut entries = Map::new();
        each_entry(map, |key, value: Checked<KEEP>| {
            if KEEP {
                entries.insert(key, value.0);
            }
        })?;
        Ok(Checked(if KEEP { Value::Object(entries) } else { Value::Null }))
    }
}

fn each_entry<'de, A, V>(mut map: A, mut take: impl FnMut(String, V)) -> Result<(), A::Error>
where
    A: MapAccess<'de>,
    V: Deserialize<'de>,
{
    let mut seen = HashSet::new();
    while let Some(key) = map.next_key_seed(NewKey(&seen))? {
        seen.insert(key.clone());
        take(key, map.next_value()?);
    }
    Ok(())
}

/// A key that has not been met in this mapping; the error is raised while the key is read, so that it has its place.
pub(super) struct NewKey<'a>(pub &'a HashSet<String>);

impl<'de> DeserializeSeed<'de> for NewKey<'_> {
    type Value = String;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<String, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl Visitor<'_> for NewKey<'_> {
    type Value = String;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("text as a key (quote it)")
    }
    fn visit_str<E: Error>(self, key: &str) -> Result<String, E> {
        if self.0.contains(key) {
            return Err(E::custom(duplicate(key)));
        }
        Ok(key.to_owned())
    }
}

/// The message for a key that stands twice.
pub(super) fn duplicate(key: &str) -> String {
    format!("the key {:?} stands twice", key.chars().take(MOST_SHOWN).collect::<String>())
}

/// The value of any entry as a tree.
pub(super) fn tree(text: &str, entry: &Entry) -> Option<Value> {
    value::<Checked<true>>(text, entry).ok().map(|checked| checked.0)
}
