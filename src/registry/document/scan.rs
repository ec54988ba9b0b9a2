//! Splits YAML text into the entries of a block mapping by looking at lines only; nothing is decoded.

use std::ops::Range;

use super::lexer::{double_quoted_end, line_end, single_quoted_end, spaces};

/// A key as it stands in the text or, where quoting hides it, decoded.
#[derive(Debug, Clone)]
pub(super) enum Key {
    /// The bytes of the text are the key.
    Verbatim(Range<usize>),
    /// The key, decoded or new.
    Decoded(Box<str>),
}

/// What stands behind a key.
#[derive(Debug, Clone)]
pub(super) enum Body {
    /// Unchanged text: it goes from the beginning of the key's line to `end`; the value begins at `value`.
    Kept { start: usize, value: usize, end: usize },
    /// A record of this run, as JSON, with the comments of the text that it replaces.
    Written { above: String, json: String, after: String },
    /// Taken out; the entry keeps its place so that the comments before it stay.
    Removed,
}

/// One entry of a mapping.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    /// Comments and blank lines before it.
    pub lead: Range<usize>,
    pub key: Key,
    /// Where the key stood in the text that was read.
    pub at: Option<usize>,
    pub body: Body,
}

impl Entry {
    pub fn new(key: &str, json: String) -> Entry {
        let body = Body::Written { above: String::new(), json, after: String::new() };
        Entry { lead: 0..0, key: Key::Decoded(key.into()), at: None, body }
    }

    pub fn key<'a>(&'a self, text: &'a str) -> &'a str {
        match &self.key {
            Key::Verbatim(range) => slice(text, range.clone()),
            Key::Decoded(key) => key,
        }
    }

    pub fn is_live(&self) -> bool {
        !matches!(self.body, Body::Removed)
    }

    /// The unchanged text of the entry, key and all.
    pub fn chunk<'a>(&self, text: &'a str) -> Option<&'a str> {
        match self.body {
            Body::Kept { start, end, .. } => Some(slice(text, start..end)),
            _ => None,
        }
    }

    /// The text of the value: unchanged, with the line break and comments behind it, or newly written.
    pub fn value<'a>(&'a self, text: &'a str) -> Option<&'a str> {
        match &self.body {
            Body::Kept { value, end, .. } => Some(slice(text, *value..*end)),
            Body::Written { json, .. } => Some(json),
            Body::Removed => None,
        }
    }
}

/// What comes before the first record of a section.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// `users:` and records below it.
    Block,
    /// `users:` and nothing below it.
    Null,
    /// `users: {}`.
    Braces,
}

/// A section: a mapping of records.
#[derive(Debug, Clone)]
pub(super) struct Section {
    /// Comments saved from a section that is written anew: whole lines.
    pub above: String,
    /// The line of the section's key as it was read.
    pub head: Option<Range<usize>>,
    /// The comment on that line, with the white space before it.
    pub head_comment: Range<usize>,
    pub form: Form,
    pub indent: usize,
    pub entries: Vec<Entry>,
    /// Comments and blank lines behind the last record.
    pub tail: Range<usize>,
    /// The keys ascend, so that they can be searched by halves.
    pub sorted: bool,
}

impl Section {
    /// A section that is written anew.
    pub fn new(entries: Vec<Entry>) -> Section {
        let form = if entries.is_empty() { Form::Braces } else { Form::Block };
        let mut section = Section {
            above: String::new(),
            head: None,
            head_comment: 0..0,
            form,
            indent: 2,
            entries,
            tail: 0..0,
            sorted: false,
        };
        section.sorted = ascending(&section.entries, "");
        section
    }

    /// The section in the text of `entry`, or nothing where it is not in block style.
    pub fn scan(text: &str, entry: &Entry) -> Option<Section> {
        let Body::Kept { start, value, end } = entry.body else { return None };
        let head_end = (line_end(text.as_bytes(), value) + 1).min(end);
        let rest = slice(text, value..head_end).trim_end();
        let hash = rest.find('#').filter(|&hash| rest[..hash].ends_with([' ', '\t']));
        let written = rest[..hash.unwrap_or(rest.len())].trim_end();
        let head_comment = if hash.is_some() { value + written.len()..value + rest.len() } else { 0..0 };
        let (entries, tail, indent) = scan(text, head_end..end, None)?;
        let form = match (written.trim_start(), entries.is_empty()) {
            ("", false) => Form::Block,
            ("", true) => Form::Null,
            ("{}", true) => Form::Braces,
            _ => return None,
        };
        let sorted = ascending(&entries, text);
        let indent = if entries.is_empty() { 2 } else { indent };
        Some(Section {
            above: String::new(),
            head: Some(start..head_end),
            head_comment,
            form,
            indent,
            entries,
            tail,
            sorted,
        })
    }

    /// The number of records.
    pub fn len(&self) -> usize {
        self.entries.iter().filter(|entry| entry.is_live()).count()
    }

    /// The place of the entry with this key (a removed one too), or where a new one belongs.
    pub fn find(&self, text: &str, key: &str) -> Result<usize, usize> {
        if self.sorted {
            return self.entries.binary_search_by(|entry| entry.key(text).cmp(key));
        }
        if let Some(at) = self.entries.iter().position(|entry| entry.key(text) == key) {
            return Ok(at);
        }
        let greater = self.entries.iter().position(|entry| entry.key(text) > key);
        Err(greater.unwrap_or(self.entries.len()))
    }
}

fn ascending(entries: &[Entry], text: &str) -> bool {
    entries.is_sorted_by(|a, b| a.key(text) < b.key(text))
}

/// The text of a range; empty where the range does not fit, which does not happen.
pub(super) fn slice(text: &str, range: Range<usize>) -> &str {
    text.get(range).unwrap_or_default()
}

/// The entries of the block mapping in `range`, what follows the last one, and the indentation of its keys: `indent`
/// or that of the first. Nothing, where lines alone do not show the entries beyond doubt.
pub(super) fn scan(
    text: &str,
    range: Range<usize>,
    indent: Option<usize>,
) -> Option<(Vec<Entry>, Range<usize>, usize)> {
    let bytes = text.as_bytes();
    let mut entries: Vec<Entry> = Vec::new();
    let mut indent = indent;
    let mut gap = range.start;
    let mut at = range.start;
    while at < range.end {
        let end = (line_end(bytes, at) + 1).min(range.end);
        let column = spaces(bytes, at);
        let first = at + column;
        let blank = matches!(bytes.get(first), None | Some(b'\r' | b'\n'));
        let shallow = indent.is_none_or(|indent| column <= indent);
        if blank || (bytes.get(first) == Some(&b'#') && (shallow || entries.is_empty())) {
            at = end;
            continue;
        }
        let depth = *indent.get_or_insert(column);
        if column > depth || (column == depth && continues(bytes, first)) {
            let Body::Kept { end: body_end, .. } = &mut entries.last_mut()?.body else { return None };
            *body_end = end;
        } else if column == depth {
            keeps_its_breaks(text, entries.last(), gap, at).then_some(())?;
            let (key, value) = key(text, first, end)?;
            let body = Body::Kept { start: at, value, end };
            entries.push(Entry { lead: gap..at, key, at: Some(first), body });
        } else {
            return None;
        }
        gap = end;
        at = end;
    }
    keeps_its_breaks(text, entries.last(), gap, range.end).then_some(())?;
    Some((entries, gap..range.end, indent.unwrap_or_default()))
}

/// Whether the line whose text begins at `first` goes on with the value above it although it is not indented deeper:
/// a closing bracket, or an item of a list, which may stand below its key.
fn continues(bytes: &[u8], first: usize) -> bool {
    match bytes.get(first) {
        Some(b'}' | b']') => true,
        Some(b'-') => matches!(bytes.get(first + 1), Some(b' ' | b'\r' | b'\n')),
        _ => false,
    }
}

/// Whether the entry means the same without the blank lines behind it: a block scalar like `|+` owns them.
fn keeps_its_breaks(text: &str, entry: Option<&Entry>, gap: usize, at: usize) -> bool {
    let Some(chunk) = entry.filter(|_| gap < at).and_then(|entry| entry.chunk(text)) else { return true };
    let mut lines = chunk.lines();
    lines.next_back().is_none()
        || !lines.any(|line| {
            let code = line.find(" #").map_or(line, |comment| &line[..comment]).trim_end();
            let header = code.trim_end_matches(|c: char| c == '+' || c.is_ascii_digit());
            header.ends_with(['|', '>']) && code[header.len()..].contains('+')
        })
}

/// The key at `at` on the line that ends at `end`, and the offset behind its colon.
fn key(text: &str, at: usize, end: usize) -> Option<(Key, usize)> {
    let bytes = text.as_bytes();
    let (key, behind) = match bytes.get(at)? {
        b'"' => {
            let behind = double_quoted_end(bytes, at);
            let quoted = text.get(at..behind)?;
            let key = match memchr::memchr(b'\\', quoted.as_bytes()) {
                None => Key::Verbatim(at + 1..behind - 1),
                Some(_) => Key::Decoded(serde_json::from_str::<String>(quoted).ok()?.into()),
            };
            (key, behind)
        }
        b'\'' => {
            let behind = single_quoted_end(bytes, at);
            let quoted = text.get(at + 1..behind - 1)?;
            (Key::Decoded(quoted.replace("''", "'").into()), behind)
        }
        b'-' | b'?' | b':' | b',' | b'[' | b']' | b'{' | b'}' | b'#' | b'&' | b'*' | b'!' | b'|' | b'>'
        | b'%' | b'@' | b'`' | b'\t' => return None,
        _ => {
            let line = text.get(at..end)?;
            let colon = memchr::memchr_iter(b':', line.as_bytes()).find(|&colon| {
                matches!(line.as_bytes().get(colon + 1), Some(b' ' | b'\t' | b'\r' | b'\n'))
            })?;
            let plain = line.get(..colon)?.trim_end();
            if plain.contains(" #") || plain.contains("\t#") {
                return None;
            }
            (Key::Verbatim(at..at + plain.len()), at + plain.len())
        }
    };
    let colon =
        behind + bytes.get(behind..end)?.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
    let blank_behind = matches!(bytes.get(colon + 1), Some(b' ' | b'\t' | b'\r' | b'\n'));
    (bytes.get(colon) == Some(&b':') && blank_behind).then_some((key, colon + 1))
}
