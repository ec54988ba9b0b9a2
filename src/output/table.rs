//! Tables for people, made from the documents, so that both say the same.

use comfy_table::{CellAlignment, ContentArrangement, Table, presets};
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use unicode_width::UnicodeWidthStr;

use crate::domain::name::printable;
use crate::domain::{duration, size};

/// How a value is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// As it is.
    Text,
    /// A number of bytes; `null` is unlimited.
    Bytes,
    /// A percentage.
    Percent,
    /// The first digits of an id.
    Id,
    /// How many entries a list has.
    Count,
    /// A time in the past, as how long ago.
    Age,
    /// A time in the future, as how long until then.
    Until,
    /// A bar of ten characters and a percentage.
    Bar,
    /// Seconds that have passed.
    Ago,
    /// Seconds that something is ahead, or behind where negative.
    Offset,
    /// A number of things.
    Number,
    /// A path.
    Path,
    /// A file, `path`, and its length, `bytes`.
    SizedPath,
    /// A file, `path`, and when it was changed, `modified_at`.
    AgedPath,
    /// How many entries of a list are in the state `ok`, and of how many.
    Ok,
}

/// One column.
#[derive(Clone, Copy, Debug)]
pub struct Column {
    /// Its head.
    pub title: &'static str,
    /// The key of the document.
    pub key: &'static str,
    /// How its values are shown.
    pub kind: Kind,
}

impl Column {
    /// A column of text.
    pub const fn text(title: &'static str, key: &'static str) -> Column {
        Column { title, key, kind: Kind::Text }
    }

    /// A column of another kind.
    pub const fn of(title: &'static str, key: &'static str, kind: Kind) -> Column {
        Column { title, key, kind }
    }
}

const UNKNOWN: &str = "?";
const NONE: &str = "-";

/// A head, and whether what is below it is a number.
type Head<'a> = (&'a str, bool);

/// A table with a head and no lines. With a width, cells are wrapped to fit.
pub fn render(items: &[Value], columns: &[Column], width: Option<u16>) -> String {
    let rows = items.iter().map(|item| columns.iter().map(|c| cell(item, c)).collect()).collect();
    let head: Vec<Head<'_>> = columns.iter().map(|c| (c.title, is_number(c.kind))).collect();
    arranged(rows, &head, width)
}

/// The same, of cells of text.
pub fn grid(head: &[&str], rows: Vec<Vec<String>>, width: Option<u16>) -> String {
    let head: Vec<String> = head.iter().map(|title| printable(title)).collect();
    let head: Vec<Head<'_>> = head.iter().map(|title| (title.as_str(), false)).collect();
    let rows = rows.into_iter().map(|row| row.iter().map(|text| printable(text)).collect()).collect();
    arranged(rows, &head, width)
}

fn arranged(rows: Vec<Vec<String>>, head: &[Head<'_>], width: Option<u16>) -> String {
    match width {
        Some(width) => wrapped(rows, head, width),
        None => aligned(rows, head),
    }
}

fn is_number(kind: Kind) -> bool {
    matches!(kind, Kind::Bytes | Kind::Percent | Kind::Count | Kind::Number | Kind::Offset)
}

fn wrapped(rows: Vec<Vec<String>>, head: &[Head<'_>], width: u16) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic).set_width(width);
    table.set_header(head.iter().map(|(title, _)| *title));
    table.add_rows(rows);
    for (index, (_, is_number)) in head.iter().enumerate() {
        if let Some(place) = table.column_mut(index) {
            place.set_padding((0, 2));
            if *is_number {
                place.set_cell_alignment(CellAlignment::Right);
            }
        }
    }
    trimmed(table.lines())
}

/// Without a terminal there is nothing to wrap: one pass over the cells, so that long lists cost little.
fn aligned(rows: Vec<Vec<String>>, head: &[Head<'_>]) -> String {
    let titles: Vec<String> = head.iter().map(|(title, _)| (*title).to_owned()).collect();
    let length = |text: &str| text.width();
    let mut widths: Vec<usize> = titles.iter().map(|h| length(h)).collect();
    for row in &rows {
        for (width, text) in widths.iter_mut().zip(row) {
            *width = (*width).max(length(text));
        }
    }
    let lines = std::iter::once(&titles).chain(&rows).map(|row| {
        let mut line = String::new();
        for ((text, width), (_, is_number)) in row.iter().zip(&widths).zip(head) {
            let fill = " ".repeat(width - length(text));
            match is_number {
                true => line.extend([fill.as_str(), text, "  "]),
                false => line.extend([text.as_str(), &fill, "  "]),
            }
        }
        line
    });
    trimmed(lines)
}

fn trimmed(lines: impl Iterator<Item = String>) -> String {
    let mut text = String::new();
    for line in lines {
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

fn cell(item: &Value, column: &Column) -> String {
    match item.get(column.key) {
        None if item.get(format!("{}_unknown_reason", column.key)).is_some() => UNKNOWN.to_owned(),
        None => NONE.to_owned(),
        Some(value) => shown(value, column.kind),
    }
}

fn shown(value: &Value, kind: Kind) -> String {
    match (kind, value) {
        (Kind::Bytes, Value::Null) => "unlimited".to_owned(),
        (Kind::Bytes, value) => value.as_u64().map_or(UNKNOWN.to_owned(), size::human),
        (Kind::Percent, Value::Number(n)) => format!("{n} %"),
        (Kind::Bar, Value::Number(n)) => bar(n.as_f64().unwrap_or(0.0)),
        (Kind::Ago, Value::Number(n)) => {
            format!("{} ago", duration::human(n.as_u64().unwrap_or_default()))
        }
        (Kind::Offset, Value::Number(n)) => format!("{:+.3} s", n.as_f64().unwrap_or_default()),
        (Kind::Ok, Value::Array(list)) => {
            format!("{}/{}", list.iter().filter(|item| item["state"] == "ok").count(), list.len())
        }
        (Kind::SizedPath, file @ Value::Object(_)) => {
            format!("{} ({})", cut(&file["path"], LONGEST), shown(&file["bytes"], Kind::Bytes))
        }
        (Kind::AgedPath, file @ Value::Object(_)) => {
            format!("{} ({})", cut(&file["path"], LONGEST), shown(&file["modified_at"], Kind::Age))
        }
        (Kind::Path, path) => cut(path, LONGEST_ALONE),
        (Kind::Id, Value::String(id)) => printable(&id.chars().take(8).collect::<String>()),
        (Kind::Age, Value::String(time)) => {
            // A clock that is behind another host's makes nothing older than it is.
            distance(time, &|time| Timestamp::now().max(time).duration_since(time))
        }
        (Kind::Until, Value::String(time)) => distance(time, &|time| time.duration_since(Timestamp::now())),
        (Kind::Count, Value::Array(list)) => list.len().to_string(),
        (_, value) => plain(value),
    }
}

/// How many characters of a path a table shows, of which a tenant decides how long it is.
const LONGEST: usize = 80;

/// The same, where the path is the cell. Each line of a column is as long as the longest.
const LONGEST_ALONE: usize = 400;

/// The end of a long path, which tells more than its begin; a path that is not known is missing.
fn cut(path: &Value, longest: usize) -> String {
    let path = if path.is_null() { UNKNOWN.to_owned() } else { plain(path) };
    match path.chars().count().checked_sub(longest) {
        None | Some(0) => path,
        Some(more) => format!("\u{2026}{}", path.chars().skip(more + 1).collect::<String>()),
    }
}

/// A length of time, `over` where it is negative; what is no time is shown as it is.
fn distance(time: &str, between: &dyn Fn(Timestamp) -> SignedDuration) -> String {
    let Ok(parsed) = time.parse() else { return printable(time) };
    match u64::try_from(between(parsed).as_secs()) {
        Ok(seconds) => duration::human(seconds),
        Err(_) => "over".to_owned(),
    }
}

fn bar(percent: f64) -> String {
    let full = ((percent / 10.0).round() as usize).min(10);
    format!("[{}{}] {percent:.0} %", "#".repeat(full), ".".repeat(10 - full))
}

fn plain(value: &Value) -> String {
    match value {
        Value::Null => NONE.to_owned(),
        Value::Bool(true) => "yes".to_owned(),
        Value::Bool(false) => "no".to_owned(),
        Value::String(text) if text.is_empty() => NONE.to_owned(),
        Value::String(text) => printable(text),
        Value::Array(list) if list.is_empty() => NONE.to_owned(),
        Value::Array(list) => list.iter().map(plain).collect::<Vec<_>>().join(", "),
        Value::Object(map) if map.is_empty() => NONE.to_owned(),
        Value::Object(map) => match map.keys().map(String::as_str).collect::<Vec<_>>()[..] {
            // A grant, a membership: `bob (rw)`.
            [_, _] if map.contains_key("user") => {
                let values: Vec<String> = map.values().map(plain).collect();
                format!("{} ({})", values[0], values[1])
            }
            _ => map.iter().map(|(k, v)| format!("{k}={}", plain(v))).collect::<Vec<_>>().join(" "),
        },
        number => number.to_string(),
    }
}

/// Tab-separated values with a head; tabs and line ends in values are escaped, bytes are numbers.
pub fn tsv(items: &[Value], columns: &[Column]) -> String {
    let mut text = columns.iter().map(|c| c.key).collect::<Vec<_>>().join("\t");
    text.push('\n');
    for item in items {
        let row: Vec<String> = columns.iter().map(|c| item.get(c.key).map_or(String::new(), bare)).collect();
        text.push_str(&row.join("\t"));
        text.push('\n');
    }
    text
}

fn bare(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => printable(text),
        Value::Array(_) | Value::Object(_) => plain(value),
        other => other.to_string(),
    }
}

/// One thing as `key: value` lines; lists of things are shown below, indented.
pub fn sheet(item: &Value) -> String {
    let Value::Object(map) = item else { return format!("{}\n", plain(item)) };
    let width = map.keys().map(String::len).max().unwrap_or(0);
    let mut text = String::new();
    for (key, value) in map {
        let title = key.replace('_', " ");
        match value {
            Value::Array(list) if list.iter().any(|v| v.as_object().is_some_and(|m| m.len() > 2)) => {
                text.push_str(&format!("{title}:\n"));
                for entry in list {
                    text.push_str(&format!("  {}\n", plain(entry)));
                }
            }
            value => text.push_str(&format!("{title:width$}  {}\n", by_key(key, value))),
        }
    }
    text
}

fn by_key(key: &str, value: &Value) -> String {
    let is_size = key.ends_with("_bytes") || matches!(key, "max_quota" | "default_quota");
    match value {
        Value::Null if is_size || key == "max_vfolders" => "unlimited".to_owned(),
        Value::Number(n) if is_size => n.as_u64().map_or(n.to_string(), size::human),
        value => plain(value),
    }
}

/// One thing as tab-separated keys and values.
pub fn sheet_tsv(item: &Value) -> String {
    let Value::Object(map) = item else { return format!("{}\n", bare(item)) };
    map.iter().map(|(key, value)| format!("{key}\t{}\n", bare(value))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const COLUMNS: [Column; 3] = [
        Column::text("NAME", "name"),
        Column::of("LIMIT", "limit_bytes", Kind::Bytes),
        Column::of("USED", "used", Kind::Bar),
    ];

    fn items() -> Vec<Value> {
        vec![
            json!({"name": "a", "limit_bytes": 1024, "used": 43.6}),
            json!({"name": "longer\u{1b}[2J", "limit_bytes": null, "used_unknown_reason": "x"}),
        ]
    }

    #[test]
    fn a_table_has_aligned_columns_and_cannot_steer_the_terminal() {
        assert_eq!(
            render(&items(), &COLUMNS, None),
            "NAME                 LIMIT  USED\n\
             a                    1 KiB  [####......] 44 %\n\
             longer\\u{1b}[2J  unlimited  ?\n"
        );
    }

    #[test]
    fn a_time_is_shown_as_its_distance() {
        let shown = |kind, seconds: i64| {
            let time = Timestamp::now() + SignedDuration::from_secs(seconds);
            shown(&json!(time.to_string()), kind)
        };
        assert_eq!(shown(Kind::Age, -7300), "2h 1m");
        assert_eq!(shown(Kind::Age, 60), "0s");
        assert_eq!(shown(Kind::Until, 90_060), "1d 1h");
        assert_eq!(shown(Kind::Until, -60), "over");
    }

    #[test]
    fn a_table_fits_the_terminal() {
        let text = render(&items(), &COLUMNS, Some(30));
        assert!(text.lines().all(|l| l.chars().count() <= 30), "{text}");
    }

    #[test]
    fn tsv_has_plain_numbers() {
        assert_eq!(tsv(&items(), &COLUMNS), "name\tlimit_bytes\tused\na\t1024\t43.6\nlonger\\u{1b}[2J\t\t\n");
    }
}
