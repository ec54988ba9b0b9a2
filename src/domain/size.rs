//! Sizes: binary units, as `xfs_quota`, `zfs` and Backend.AI mean them.

use std::fmt;
use std::str::FromStr;

use super::error::{Error, Result};

const UNITS: [(&str, u32); 5] = [("KiB", 10), ("MiB", 20), ("GiB", 30), ("TiB", 40), ("PiB", 50)];

/// A limit in bytes, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit(pub Option<u64>);

/// A number of bytes that is not `unlimited`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size(pub u64);

impl FromStr for Size {
    type Err = Error;

    fn from_str(text: &str) -> Result<Size> {
        parse(text).map(Size)
    }
}

impl FromStr for Limit {
    type Err = Error;

    fn from_str(text: &str) -> Result<Limit> {
        if text == "unlimited" {
            return Ok(Limit(None));
        }
        parse(text).map(|bytes| Limit(Some(bytes)))
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(bytes) => f.write_str(&human(bytes)),
            None => f.write_str("unlimited"),
        }
    }
}

/// Bytes of a size such as `1.5g` or `64MiB`; a fraction of a byte is rounded up, because a limit is never rounded
/// down.
pub fn parse(text: &str) -> Result<u64> {
    let split = text.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let shift = match unit {
        "" | "B" => 0,
        _ => shift_of(unit).ok_or_else(|| unknown_unit(text, number, unit))?,
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let digits = |s: &str| s.chars().all(|c| c.is_ascii_digit());
    if (whole.is_empty() && fraction.is_empty()) || !digits(whole) || !digits(fraction) || fraction.len() > 18
    {
        return Err(malformed(text));
    }
    let too_large = || Error::usage(format!("the size '{text}' is larger than any storage can hold"));
    let scale = 10u128.pow(fraction.len() as u32);
    let whole: u128 = if whole.is_empty() { 0 } else { whole.parse().map_err(|_| too_large())? };
    let part: u128 = if fraction.is_empty() { 0 } else { fraction.parse().map_err(|_| too_large())? };
    let units = whole.checked_mul(scale).and_then(|w| w.checked_add(part)).ok_or_else(too_large)?;
    let bytes = units.checked_mul(1u128 << shift).ok_or_else(too_large)?.div_ceil(scale);
    // The largest offset a file can have; every filesystem's limit is at most this.
    if bytes > i64::MAX as u128 {
        return Err(too_large());
    }
    Ok(bytes as u64)
}

fn shift_of(unit: &str) -> Option<u32> {
    UNITS.iter().find_map(|(name, shift)| {
        let letter = &name[..1];
        (unit == *name || unit.eq_ignore_ascii_case(letter) || unit == &name[..2]).then_some(*shift)
    })
}

fn malformed(text: &str) -> Error {
    Error::usage(format!("'{text}' is not a size")).hint(
        "write a number of bytes, or a number with KiB, MiB, GiB, TiB, PiB (or k, m, g, t, p): 64MiB, 1.5g",
    )
}

fn unknown_unit(text: &str, number: &str, unit: &str) -> Error {
    let lower = unit.to_ascii_lowercase();
    for (name, _) in UNITS {
        let letter = name[..1].to_ascii_lowercase();
        if lower == format!("{letter}b") {
            return Error::usage(format!("'{text}' is ambiguous: {unit} may mean powers of 1000 or of 1024"))
                .hint(format!("write {number}{name} (powers of 1024), or the number of bytes"));
        }
    }
    malformed(text)
}

/// A size for people: the largest unit, one decimal where it is not whole.
pub fn human(bytes: u64) -> String {
    for (name, shift) in UNITS.iter().rev() {
        let unit = 1u64 << shift;
        if bytes >= unit {
            if bytes.is_multiple_of(unit) {
                return format!("{} {name}", bytes >> shift);
            }
            return format!("{:.1} {name}", bytes as f64 / unit as f64);
        }
    }
    format!("{bytes} B")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_binary_and_never_rounded_down() {
        for (text, bytes) in [
            ("0", 0),
            ("4096", 4096),
            ("1k", 1024),
            ("1K", 1024),
            ("1KiB", 1024),
            ("64MiB", 64 << 20),
            ("1.5g", 3 << 29),
            (".5k", 512),
            ("0.3", 1),
            ("1.0000001k", 1025),
            ("2t", 2 << 40),
            ("1PiB", 1 << 50),
        ] {
            assert_eq!(parse(text), Ok(bytes), "{text}");
        }
    }

    #[test]
    fn malformed_sizes_are_refused_with_what_to_write() {
        for (text, hint) in [
            ("1MB", "write 1MiB (powers of 1024), or the number of bytes"),
            ("10gb", "write 10GiB (powers of 1024), or the number of bytes"),
        ] {
            assert_eq!(parse(text).unwrap_err().hint.as_deref(), Some(hint), "{text}");
        }
        for text in ["", "k", "-1", "1 k", "1e3", "0x10", "1.2.3", "9999999999999999999999", "16384p", "∞"]
        {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_for_people_are_short_and_exact_where_whole() {
        for (bytes, text) in
            [(0, "0 B"), (1023, "1023 B"), (64 << 20, "64 MiB"), (3 << 29, "1.5 GiB"), (1 << 50, "1 PiB")]
        {
            assert_eq!(human(bytes), text);
        }
    }
}
