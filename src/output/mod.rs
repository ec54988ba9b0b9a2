//! What people and scripts see: tables, documents, questions, progress, errors.

pub mod error;
pub mod manual;
pub mod progress;
pub mod prompt;
pub mod table;

use std::collections::BTreeMap;
use std::io::{self, IsTerminal, Write};

use serde::Serialize;
use serde_json::{Value, json};

use crate::domain::name::printable;
use crate::domain::text;
use crate::host::error::reason;
pub use table::{Column, Kind};

/// The version of the documents.
pub const API: &str = "vfadm/v1";

/// How to print.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// For people.
    Table,
    /// For programs.
    Json,
    /// For programs.
    Yaml,
    /// For `cut` and `awk`.
    Tsv,
}

/// Where and how a command prints.
#[derive(Clone, Copy, Debug)]
pub struct Output {
    /// How.
    pub style: Style,
    /// Without talk.
    pub quiet: bool,
    /// With more talk.
    pub verbose: bool,
    /// With colours on stderr.
    pub color: bool,
}

/// The document of a list, which may be long.
#[derive(Serialize)]
struct List<'a> {
    #[serde(rename = "apiVersion")]
    api: &'static str,
    kind: String,
    count: usize,
    items: &'a [Value],
    #[serde(flatten)]
    more: BTreeMap<&'a str, Value>,
}

impl Output {
    /// Prints data.
    fn data(&self, text: &str) -> io::Result<()> {
        self.raw(text.as_bytes())
    }

    /// Prints a line of data as it is.
    pub fn line(&self, text: &str) -> io::Result<()> {
        self.data(&format!("{text}\n"))
    }

    /// Prints bytes of data as they are. A reader that has gone away is no error.
    pub fn raw(&self, bytes: &[u8]) -> io::Result<()> {
        let mut out = io::stdout().lock();
        match out.write_all(bytes).and_then(|()| out.flush()) {
            Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            Err(e) => Err(io::Error::other(format!("cannot write the result to stdout: {}", reason(&e)))),
            Ok(()) => Ok(()),
        }
    }

    /// Prints a document for programs.
    fn document<T: Serialize>(&self, document: &T) -> io::Result<()> {
        match self.style {
            Style::Yaml => {
                let written = serde_yaml::to_string(document).map_err(io::Error::other)?;
                let value = || serde_json::to_value(document).map_err(io::Error::other);
                let write = |value: &Value| serde_yaml::to_string(value).map_err(io::Error::other);
                self.data(&text::yaml(written, value, write)?)
            }
            _ => self.json(document),
        }
    }

    /// Prints a value as indented JSON, in whatever style.
    pub fn json<T: Serialize>(&self, value: &T) -> io::Result<()> {
        let mut text = text::json_lines(value).map_err(io::Error::other)?;
        text.push('\n');
        self.data(&text)
    }

    /// Prints a list of things.
    pub fn list(&self, kind: &str, items: &[Value], columns: &[Column]) -> io::Result<()> {
        self.list_with(kind, items, columns, None)
    }

    /// Prints a list of things; a document gets a key more.
    pub fn list_with(
        &self,
        kind: &str,
        items: &[Value],
        columns: &[Column],
        more: Option<(&str, Value)>,
    ) -> io::Result<()> {
        match self.style {
            Style::Table => {
                if items.is_empty() {
                    if io::stdout().is_terminal() {
                        self.talk(&format!("no {}", plural(kind)));
                    }
                    return Ok(());
                }
                self.data(&table::render(items, columns, width()))
            }
            Style::Tsv => self.data(&table::tsv(items, columns)),
            Style::Json | Style::Yaml => self.document(&List {
                api: API,
                kind: format!("{kind}List"),
                count: items.len(),
                items,
                more: more.into_iter().collect(),
            }),
        }
    }

    /// Prints a table whose columns are data too.
    pub fn grid(&self, head: &[&str], rows: Vec<Vec<String>>) -> io::Result<()> {
        self.data(&table::grid(head, rows, width()))
    }

    /// Prints paths, each ended by a NUL byte, for `xargs -0`.
    pub fn paths<'a>(&self, paths: impl Iterator<Item = &'a std::path::Path>) -> io::Result<()> {
        use std::os::unix::ffi::OsStrExt;
        let mut bytes = Vec::new();
        for path in paths {
            bytes.extend_from_slice(path.as_os_str().as_bytes());
            bytes.push(0);
        }
        self.raw(&bytes)
    }

    /// Prints one thing.
    pub fn one(&self, kind: &str, item: &Value) -> io::Result<()> {
        match self.style {
            Style::Table => self.data(&table::sheet(item)),
            Style::Tsv => self.data(&table::sheet_tsv(item)),
            Style::Json | Style::Yaml => self.document(&with_kind(kind, item)),
        }
    }

    /// Prints how a change ended: a sentence for people, the steps of a plan, or a Result document.
    pub fn change(
        &self,
        kind: &str,
        outcome: &str,
        message: &str,
        steps: &[String],
        item: Option<&Value>,
    ) -> io::Result<()> {
        match self.style {
            Style::Json | Style::Yaml => {
                let mut document = json!({
                    "apiVersion": API,
                    "kind": "Result",
                    "outcome": outcome,
                    "message": message,
                    "steps": steps,
                });
                if let (Some(item), Value::Object(map)) = (item, &mut document) {
                    map.insert("item".to_owned(), with_kind(kind, item));
                }
                self.document(&document)
            }
            _ if outcome == "planned" => {
                let mut text = String::new();
                for step in steps {
                    text.push_str(&format!("{}\n", printable(step)));
                }
                text.push_str(&format!("planned, not done: {}\n", printable(message)));
                self.data(&text)
            }
            _ if self.quiet => Ok(()),
            _ => {
                let mark = if outcome == "unchanged" { " (unchanged)" } else { "" };
                self.line(&format!("{}{mark}", printable(message)))
            }
        }
    }

    /// Says something on stderr.
    pub fn talk(&self, text: &str) {
        if !self.quiet {
            let _ = writeln!(io::stderr(), "{}", printable(text));
        }
    }

    /// Warns on stderr, also when quiet.
    pub fn warn(&self, text: &str) {
        let label = if self.color { "\u{1b}[1;33mwarning:\u{1b}[0m" } else { "warning:" };
        let _ = writeln!(io::stderr(), "{label} {}", printable(text));
    }

    /// Says something on stderr with `-v` only.
    pub fn detail(&self, text: &str) {
        if self.verbose {
            self.talk(text);
        }
    }
}

/// Shows on stderr a line that vfadm runs (`-v`).
pub fn show_line(line: &str) {
    let _ = writeln!(io::stderr(), "+ {}", printable(line));
}

fn with_kind(kind: &str, item: &Value) -> Value {
    let mut document = json!({"apiVersion": API, "kind": kind});
    if let (Value::Object(into), Value::Object(from)) = (&mut document, item) {
        into.extend(from.clone());
    }
    document
}

/// `VFolder` as `vfolders`, `QuotaScope` as `quota scopes`.
fn plural(kind: &str) -> String {
    let mut words = String::new();
    let mut before = ' ';
    for c in kind.chars() {
        if c.is_uppercase() && before.is_lowercase() {
            words.push(' ');
        }
        words.extend(c.to_lowercase());
        before = c;
    }
    words.push('s');
    words
}

/// The width of the terminal; `None` where stdout is none, so that nothing is cut in a pipe.
fn width() -> Option<u16> {
    if !io::stdout().is_terminal() {
        return None;
    }
    comfy_table::Table::new().width()
}
