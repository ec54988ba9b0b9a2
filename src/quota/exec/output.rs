//! What `read` of a driver file prints.

use std::collections::HashMap;

use regex::Regex;
use serde_json::Value;

use crate::domain::driver_file::{DriverFile, Figure, Row, Values, fill};
use crate::domain::error::{Error, Result};
use crate::host::program::Said;
use crate::quota::Reading;

/// What stands for "no limit", besides 0.
const NO_LIMIT: [&str; 5] = ["", "-", "none", "null", "unlimited"];
const NOTHING: Reading = Reading { used: None, limit: None };

/// How many groups a regular expression has, or what is wrong with it in one line.
pub fn groups(pattern: &str) -> std::result::Result<usize, String> {
    match Regex::new(pattern) {
        Ok(regex) => Ok(regex.captures_len() - 1),
        Err(e) => {
            let text = e.to_string();
            let last = text.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
            Err(format!("'{pattern}' is no regular expression: {last}"))
        }
    }
}

fn regex(pattern: &str) -> Result<Regex> {
    Regex::new(pattern).map_err(|e| Error::storage(format!("the driver file has a broken pattern: {e}")))
}

/// The readings of scopes, from one run of `read`.
pub(super) fn readings(file: &DriverFile, said: &Said, scopes: &[Values<'_>]) -> Result<Vec<Reading>> {
    let text = said.text();
    if let Some(none) = &file.none {
        let none = regex(none)?;
        if none.is_match(&text) || none.is_match(&String::from_utf8_lossy(&said.stderr)) {
            return Ok(vec![NOTHING; scopes.len()]);
        }
    }
    if said.status != 0 {
        return Err(said.failure().into());
    }
    if text.trim().is_empty() {
        return Err(Error::storage(format!("'{}' succeeded, but printed nothing", said.line)));
    }
    let is_json = [file.used.as_ref(), Some(&file.limit)].into_iter().flatten().any(|f| f.json.is_some())
        || file.row.as_ref().is_some_and(|row| row.json.is_some());
    let whole = match is_json {
        true => serde_json::from_str(&text).map(Some).map_err(|e| {
            Error::storage(format!("'{}' printed what is no JSON: {e}: {}", said.line, said.complaint()))
        })?,
        false => None,
    };
    let rows = Rows::of(file.row.as_ref(), &text, whole.as_ref(), said)?;
    let figures = Figures::of(file, said)?;
    scopes.iter().map(|values| rows.part(values)?.map_or(Ok(NOTHING), |part| figures.read(&part))).collect()
}

/// The part of an output that is about one scope.
struct Part<'a> {
    text: &'a str,
    json: Option<&'a Value>,
}

enum Rows<'a> {
    Whole(&'a str, Option<&'a Value>),
    Keyed(HashMap<String, &'a Value>, &'a str),
    Matched(&'a str, &'a str),
}

impl<'a> Rows<'a> {
    fn of(row: Option<&'a Row>, text: &'a str, whole: Option<&'a Value>, said: &Said) -> Result<Rows<'a>> {
        let Some(row) = row else { return Ok(Rows::Whole(text, whole)) };
        if let Some(pattern) = &row.pattern {
            return Ok(Rows::Matched(pattern, text));
        }
        let (pointer, key) = (row.json.as_deref().unwrap_or(""), row.key.as_deref().unwrap_or(""));
        let list = whole.and_then(|whole| whole.pointer(pointer));
        let rows: Vec<&Value> = match list {
            Some(Value::Array(rows)) => rows.iter().collect(),
            Some(Value::Object(rows)) => rows.values().collect(),
            _ => {
                return Err(Error::storage(format!(
                    "what '{}' printed has no list at '{pointer}', where the driver file says that it is",
                    said.line
                )));
            }
        };
        let keyed = rows.into_iter().filter_map(|value| Some((plain(value.pointer(key)?)?, value)));
        Ok(Rows::Keyed(keyed.collect(), row.is.as_deref().unwrap_or("")))
    }

    fn part(&self, values: &Values<'_>) -> Result<Option<Part<'a>>> {
        Ok(match self {
            Rows::Whole(text, json) => Some(Part { text, json: *json }),
            Rows::Keyed(rows, is) => {
                let row = rows.get(&fill(is, values, str::to_owned));
                row.map(|row| Part { text: "", json: Some(row) })
            }
            Rows::Matched(pattern, text) => {
                let found = regex(&fill(pattern, values, regex::escape))?.find(text);
                found.map(|found| Part { text: found.as_str(), json: None })
            }
        })
    }
}

/// A number or a text, as text.
fn plain(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// Where the two numbers are.
struct Figures<'a> {
    used: Option<(&'a Figure, Option<Regex>)>,
    limit: (&'a Figure, Option<Regex>),
    line: &'a str,
}

impl<'a> Figures<'a> {
    fn of(file: &'a DriverFile, said: &'a Said) -> Result<Figures<'a>> {
        let with =
            |figure: &'a Figure| Ok::<_, Error>((figure, figure.pattern.as_deref().map(regex).transpose()?));
        Ok(Figures {
            used: file.used.as_ref().map(with).transpose()?,
            limit: with(&file.limit)?,
            line: &said.line,
        })
    }

    fn read(&self, part: &Part<'_>) -> Result<Reading> {
        let used = self.used.as_ref().map(|used| self.number("used", used, part)).transpose()?.flatten();
        let limit = self.number("limit", &self.limit, part)?.filter(|bytes| *bytes > 0);
        Ok(Reading { used, limit })
    }

    /// Bytes; `None` where there is none, or it says so.
    fn number(
        &self,
        key: &str,
        (figure, regex): &(&Figure, Option<Regex>),
        part: &Part<'_>,
    ) -> Result<Option<u64>> {
        let text = match (regex, &figure.json) {
            (Some(regex), _) => {
                let found = regex.captures(part.text).and_then(|found| found.get(1));
                let found = found.ok_or_else(|| self.odd(key, part.text))?;
                found.as_str().to_owned()
            }
            (None, pointer) => {
                let value = part.json.and_then(|json| json.pointer(pointer.as_deref().unwrap_or_default()));
                match value {
                    None | Some(Value::Null) => return Ok(None),
                    Some(value) => plain(value).ok_or_else(|| self.odd(key, &value.to_string()))?,
                }
            }
        };
        let text = text.trim();
        if NO_LIMIT.iter().any(|word| text.eq_ignore_ascii_case(word)) {
            return Ok(None);
        }
        let number = text.parse::<u64>().map_err(|_| self.odd(key, text))?;
        number.checked_mul(figure.unit).map(Some).ok_or_else(|| self.odd(key, text))
    }

    fn odd(&self, key: &str, text: &str) -> Error {
        let shown: String = text.trim().chars().take(100).collect();
        Error::storage(format!("what '{}' printed has no number for '{key}': {shown}", self.line))
    }
}
