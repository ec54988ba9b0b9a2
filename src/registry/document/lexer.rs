//! A light walk over YAML text: it finds comments and what must be refused before the YAML library sees it.
//!
//! It does not judge whether the text is well-formed; that is the YAML library's work. What it gets wrong can cost a
//! comment or refuse odd text, never change a record.

/// Flow collections nested deeper than this are refused: no record needs it, and the library's time grows with it.
const MAX_DEPTH: usize = 100;
/// A key or a text longer than this, in bytes, is refused: no record needs it, and the library holds several copies.
pub(super) const MAX_SCALAR: usize = 1 << 20;
pub(super) const TOO_LONG: &str =
    "a key or a text of more than 1 MiB begins here: is a closing quote missing?";

const TOO_DEEP: &str = "nested more than 100 levels deep";

/// So many values may stand in one piece of YAML, and one more for each 8 bytes of it. The YAML library holds some
/// hundred bytes a value, and a hostile `[1,1,1,…` has a value every 2 bytes.
const MAX_VALUES: usize = 500_000;

/// What the walk meets.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Piece {
    /// A comment, from its `#` to the end of its line.
    Comment,
    /// `[` or `{`.
    Open,
    /// `]` or `}`.
    Close,
    /// `,`, `:`, `-` or `?`: a value follows.
    Value,
    /// An anchor (`&a`), an alias (`*a`) or a tag (`!a`).
    Reference,
    /// A scalar longer than [`MAX_SCALAR`], or what was seen of it.
    Long,
}

/// Calls `see` with every piece and its byte range, until it answers `false`.
pub(super) fn walk(text: &str, mut see: impl FnMut(Piece, usize, usize) -> bool) {
    let bytes = text.as_bytes();
    let mut at = 0;
    let mut depth = 0usize;
    let mut indent = spaces(bytes, 0);
    // A token may begin here; else the walk is behind one.
    let mut fresh = true;
    // The indentation of the line where the plain scalar began that the walk is in.
    let mut plain: Option<usize> = None;
    let mut plain_from = 0;
    let mut after_blank = true;
    while let Some(&byte) = bytes.get(at) {
        let next_is_blank = matches!(bytes.get(at + 1), None | Some(b' ' | b'\t' | b'\r' | b'\n'));
        let next_is_flow = depth > 0 && matches!(bytes.get(at + 1), Some(b',' | b'[' | b']' | b'{' | b'}'));
        let mut end = at + 1;
        let mut piece = None;
        let mut long = None;
        match byte {
            b'\n' => {
                let column = spaces(bytes, end);
                if !matches!(bytes.get(end + column), None | Some(b'\r' | b'\n')) {
                    indent = column;
                    // In block style a plain scalar goes on in lines that are indented deeper than its own.
                    plain = plain.filter(|&began| depth > 0 || indent > began);
                    fresh = plain.is_none();
                }
            }
            b' ' | b'\t' | b'\r' => {}
            b'#' if after_blank => {
                end = line_end(bytes, at);
                plain = None;
                piece = Some(Piece::Comment);
            }
            b':' if next_is_blank || next_is_flow || (depth > 0 && plain.is_none()) => {
                plain = None;
                fresh = true;
                piece = Some(Piece::Value);
            }
            b',' if depth > 0 => {
                plain = None;
                fresh = true;
                piece = Some(Piece::Value);
            }
            b'[' | b'{' if depth > 0 || (fresh && plain.is_none()) => {
                plain = None;
                fresh = true;
                depth += 1;
                piece = Some(Piece::Open);
            }
            b']' | b'}' if depth > 0 => {
                plain = None;
                fresh = false;
                depth -= 1;
                piece = Some(Piece::Close);
            }
            _ if plain.is_some() && at - plain_from > MAX_SCALAR => long = Some(plain_from),
            _ if plain.is_some() || !fresh => {}
            b'"' => {
                end = double_quoted_end(bytes, at);
                fresh = false;
            }
            b'\'' => {
                end = single_quoted_end(bytes, at);
                fresh = false;
            }
            b'|' | b'>' if depth == 0 => {
                end = block_scalar_end(bytes, at, indent);
                fresh = true;
            }
            b'-' | b'?' if next_is_blank => {
                indent += 1 + spaces(bytes, end);
                piece = Some(Piece::Value);
            }
            b'&' | b'*' | b'!' => {
                fresh = false;
                piece = Some(Piece::Reference);
            }
            _ => {
                plain = Some(indent);
                plain_from = at;
                fresh = false;
            }
        }
        if piece.is_none() && end - at > MAX_SCALAR {
            long = Some(at);
        }
        if let Some(from) = long
            && !see(Piece::Long, from, end)
        {
            return;
        }
        if let Some(piece) = piece
            && !see(piece, at, end)
        {
            return;
        }
        after_blank = byte.is_ascii_whitespace();
        at = end;
    }
}

/// Every comment of `text`, without the white space behind it.
pub(super) fn comments(text: &str) -> Vec<&str> {
    let mut found = Vec::new();
    walk(text, |piece, start, end| {
        if piece == Piece::Comment {
            found.push(text.get(start..end).unwrap_or_default().trim_end());
        }
        true
    });
    found
}

/// Where the first comment of `text` begins.
pub(super) fn first_comment(text: &str) -> Option<usize> {
    let mut found = None;
    walk(text, |piece, start, _| {
        if piece == Piece::Comment {
            found = Some(start);
        }
        found.is_none()
    });
    found
}

/// Where a line begins more block collections at once (`- - -`, `? ? ?`) than may be nested.
fn deep_line(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let mut start = 0;
    while start < bytes.len() {
        let marks = bytes.get(start..).unwrap_or_default().iter();
        let marks = marks
            .take_while(|byte| matches!(byte, b' ' | b'\t' | b'-' | b'?'))
            .filter(|byte| matches!(byte, b'-' | b'?'));
        if marks.count() > MAX_DEPTH {
            return Some(start);
        }
        start = line_end(bytes, start) + 1;
    }
    None
}

/// Refuses what could make the YAML library run for long or fill the memory, and anchors, which would tie
/// records to each other.
///
/// # Errors
/// The offset of what is refused, and why.
pub(super) fn guard(text: &str) -> Result<(), (usize, &'static str)> {
    if let Some(at) = deep_line(text) {
        return Err((at, TOO_DEEP));
    }
    let (mut depth, mut values) = (0usize, 0usize);
    let allowed = MAX_VALUES + text.len() / 8;
    let mut fault = None;
    walk(text, |piece, start, _| {
        match piece {
            Piece::Open => {
                depth += 1;
                values += 1;
            }
            Piece::Close => depth = depth.saturating_sub(1),
            Piece::Value => values += 1,
            Piece::Comment | Piece::Reference | Piece::Long => {}
        }
        let message = match piece {
            Piece::Reference => {
                "anchors (&), aliases (*) and tags (!) are not supported: write the value itself, or quote the text"
            }
            Piece::Long => TOO_LONG,
            _ if depth > MAX_DEPTH => TOO_DEEP,
            _ if values > allowed => "more values than a record can hold",
            _ => return true,
        };
        fault = Some((start, message));
        false
    });
    fault.map_or(Ok(()), Err)
}

/// The number of spaces at `from`.
pub(super) fn spaces(bytes: &[u8], from: usize) -> usize {
    bytes.iter().skip(from).take_while(|&&byte| byte == b' ').count()
}

/// The offset of the line break at or behind `from`, or the end of the text.
pub(super) fn line_end(bytes: &[u8], from: usize) -> usize {
    let rest = bytes.get(from..).unwrap_or_default();
    from + memchr::memchr(b'\n', rest).unwrap_or(rest.len())
}

/// The offset behind the double-quoted scalar that begins at `from`, or the end of the text.
pub(super) fn double_quoted_end(bytes: &[u8], from: usize) -> usize {
    let mut at = from + 1;
    while let Some(found) = memchr::memchr2(b'"', b'\\', bytes.get(at..).unwrap_or_default()) {
        at += found + 1;
        if bytes.get(at - 1) == Some(&b'"') {
            return at;
        }
        at += 1;
    }
    bytes.len()
}

/// The offset behind the single-quoted scalar that begins at `from`, or the end of the text.
pub(super) fn single_quoted_end(bytes: &[u8], from: usize) -> usize {
    let mut at = from + 1;
    while let Some(found) = memchr::memchr(b'\'', bytes.get(at..).unwrap_or_default()) {
        at += found + 1;
        if bytes.get(at) != Some(&b'\'') {
            return at;
        }
        at += 1;
    }
    bytes.len()
}

/// The end of the last line of the block scalar whose header stands at `from`, on a line indented by `indent`.
fn block_scalar_end(bytes: &[u8], from: usize, indent: usize) -> usize {
    let mut end = line_end(bytes, from);
    while end < bytes.len() {
        let column = spaces(bytes, end + 1);
        let blank = matches!(bytes.get(end + 1 + column), None | Some(b'\r' | b'\n'));
        if !blank && column <= indent {
            break;
        }
        end = line_end(bytes, end + 1);
    }
    end
}
