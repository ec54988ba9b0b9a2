//! Lengths of time as typed: `10s`, `5m`, `12h`, `30d`.

use std::time::Duration;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use super::error::{Error, Result};
use super::name::shown;

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

/// A length of time in its two largest units: `45s`, `5m`, `2h 30m`, `3d 4h`.
pub fn human(seconds: u64) -> String {
    let two = |large: u64, unit: &str, small: u64, smaller: &str| match small {
        0 => format!("{large}{unit}"),
        small => format!("{large}{unit} {small}{smaller}"),
    };
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m", seconds / 60),
        3600..86_400 => two(seconds / 3600, "h", seconds % 3600 / 60, "m"),
        _ => two(seconds / 86_400, "d", seconds % 86_400 / 3600, "h"),
    }
}

/// The begin of a time: how long ago, or when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Since {
    /// So long ago.
    Ago(Duration),
    /// Then.
    At(Timestamp),
}

impl Since {
    /// The time that is meant.
    pub fn from(self, now: Timestamp) -> Timestamp {
        match self {
            Since::At(time) => time,
            Since::Ago(ago) => SignedDuration::try_from(ago)
                .ok()
                .and_then(|ago| now.checked_sub(ago).ok())
                .unwrap_or(Timestamp::MIN),
        }
    }
}

/// Parses a duration (`2h`), an RFC 3339 time, or a date, which begins at midnight UTC.
pub fn since(text: &str) -> Result<Since> {
    // A time without its zone is none, although it begins with a date.
    let day = || Some(text).filter(|t| t.len() == 10)?.parse::<Date>().ok();
    let midnight = |date: Date| TimeZone::UTC.to_timestamp(date.at(0, 0, 0, 0)).ok();
    let time = text.parse::<Timestamp>().ok().or_else(|| day().and_then(midnight));
    match (parse(text), time) {
        (Ok(ago), _) => Ok(Since::Ago(ago)),
        (_, Some(time)) => Ok(Since::At(time)),
        _ => Err(Error::usage(format!("'{}' is neither a duration nor a time", shown(text)))
            .hint("write 2h, 7d, 2026-11-24 or 2026-11-24T12:00:00Z")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_is_shown_in_its_two_largest_units() {
        for (seconds, text) in [
            (0, "0s"),
            (59, "59s"),
            (125, "2m"),
            (3600, "1h"),
            (9000, "2h 30m"),
            (86_400, "1d"),
            (273_600, "3d 4h"),
        ] {
            assert_eq!(human(seconds), text);
        }
    }

    #[test]
    fn since_is_a_duration_a_time_or_a_date_in_utc() {
        let now = Timestamp::from_second(1_800_000_000).unwrap();
        for (text, second) in [
            ("0", 1_800_000_000),
            ("2h", 1_799_992_800),
            ("2026-11-24T12:00:00Z", 1_795_521_600),
            ("2026-11-24T13:00:00+01:00", 1_795_521_600),
            ("2026-11-24", 1_795_478_400),
        ] {
            assert_eq!(since(text).map(|s| s.from(now).as_second()), Ok(second), "{text}");
        }
        for text in ["", "2", "yesterday", "2026-13-01", "2026-11-24T12:00:00", "12:00"] {
            assert!(since(text).is_err(), "{text}");
        }
    }

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
