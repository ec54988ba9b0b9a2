//! Lengths of time as typed: `10s`, `5m`, `12h`, `30d`.

use std::time::Duration;

use super::error::{Error, Result};

/// Parses a duration. A number needs its unit: `--older-than 30` meant days to whoever typed it.
pub fn parse(text: &str) -> Result<Duration> {
    let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let scale = match unit {
        "s" => Some(1),
        "" if number == "0" => Some(1),
        "m" => Some(60),
        "h" => Some(3600),
        "d" => Some(86_400),
        "w" => Some(7 * 86_400),
        _ => None,
    };
    number
        .parse::<u64>()
        .ok()
        .zip(scale)
        .and_then(|(n, scale)| n.checked_mul(scale))
        // A century: beyond it, arithmetic on times overflows.
        .filter(|seconds| *seconds <= 100 * 366 * 86_400)
        .map(Duration::from_secs)
        .ok_or_else(|| Error::usage(format!("'{text}' is not a duration")).hint("write 10s, 5m, 12h or 30d"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_a_number_and_a_unit() {
        for (text, seconds) in
            [("0", 0), ("10s", 10), ("5m", 300), ("12h", 43_200), ("30d", 2_592_000), ("1w", 604_800)]
        {
            assert_eq!(parse(text), Ok(Duration::from_secs(seconds)));
        }
        for text in ["", "30", "s", "-1s", "1.5h", "1y", "10 s", "99999999999999999999d", "9999999d"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
