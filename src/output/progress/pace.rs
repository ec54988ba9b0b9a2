//! How far work is, how fast it goes, and when it will be done. Pure: every time is given.

use std::collections::VecDeque;
use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::domain::{duration, size};

/// How much there is of something, or was done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Amount {
    /// Files, directories and everything else with a name.
    pub entries: u64,
    /// Bytes.
    pub bytes: u64,
}

/// Rates are those of the last so many seconds: long enough to be steady, short enough to follow a slower disk.
const WINDOW: Duration = Duration::from_secs(10);
/// Before so many seconds of work, how long the rest takes is a guess.
const SETTLED: Duration = Duration::from_secs(3);

/// The course of the work.
#[derive(Debug, Default)]
pub struct Pace {
    /// What there is to do; zero is not known.
    total: Amount,
    begun: Duration,
    seen: VecDeque<(Duration, Amount)>,
}

/// How things stand.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Standing {
    done: Amount,
    total: Amount,
    /// Entries and bytes in a second.
    rates: (f64, f64),
    left: Option<Duration>,
}

impl Pace {
    /// Begins anew at a time, with so much to do (zero: not known).
    pub fn expect(&mut self, at: Duration, total: Amount) {
        *self = Pace { total, begun: at, seen: VecDeque::from([(at, Amount::default())]) };
    }

    /// So much is done at a time; times do not go back.
    pub fn see(&mut self, at: Duration, done: Amount) -> Standing {
        while self.seen.get(1).is_some_and(|(second, _)| at.saturating_sub(*second) >= WINDOW) {
            self.seen.pop_front();
        }
        let since = self.seen.front().copied().unwrap_or((self.begun, Amount::default()));
        self.seen.push_back((at, done));
        self.standing(since, at, done)
    }

    /// The work has ended: the rates are those of all of it.
    pub fn end(&self, at: Duration, done: Amount) -> Standing {
        Standing { left: None, ..self.standing((self.begun, Amount::default()), at, done) }
    }

    fn standing(&self, since: (Duration, Amount), at: Duration, done: Amount) -> Standing {
        let seconds = at.saturating_sub(since.0).as_secs_f64().max(0.001);
        let rate = |now: u64, then: u64| now.saturating_sub(then) as f64 / seconds;
        let rates = (rate(done.entries, since.1.entries), rate(done.bytes, since.1.bytes));
        let left = match at.saturating_sub(self.begun) >= SETTLED {
            true => self.left(done, rates),
            false => None,
        };
        Standing { done, total: self.total, rates, left }
    }

    /// How long the rest takes: small files are a matter of entries, large ones of bytes, and the slower of the two
    /// counts. `None` where nothing is known, nothing moves, or there is more than was known.
    fn left(&self, done: Amount, rates: (f64, f64)) -> Option<Duration> {
        let of = |total: u64, done: u64, rate: f64| match total {
            0 => Some(0.0),
            total => {
                let rest = total.checked_sub(done)? as f64;
                if rest == 0.0 { Some(0.0) } else { (rate > 0.0).then(|| rest / rate) }
            }
        };
        if self.total == Amount::default() {
            return None;
        }
        let entries = of(self.total.entries, done.entries, rates.0)?;
        let bytes = of(self.total.bytes, done.bytes, rates.1)?;
        Duration::try_from_secs_f64(entries.max(bytes).ceil()).ok()
    }
}

impl Standing {
    /// For people: `12,345 of 100,000 entries, 1.5 GiB of 4 GiB, 5,400/s, 310 MiB/s, 1m left`.
    pub fn line(&self) -> String {
        let of = |done: String, total: Option<String>| match total {
            Some(total) => format!("{done} of {total}"),
            None => done,
        };
        let known = |total: u64, shown: &dyn Fn(u64) -> String| (total > 0).then(|| shown(total));
        let Standing { done, total, rates, left } = self;
        let entries = of(grouped(done.entries), known(total.entries, &grouped));
        let bytes = of(size::human(done.bytes), known(total.bytes, &size::human));
        let mut line = format!(
            "{entries} entries, {bytes}, {}/s, {}/s",
            grouped(rates.0.round() as u64),
            size::human(rates.1.round() as u64)
        );
        if let Some(left) = left {
            line.push_str(&format!(", {} left", duration::human(left.as_secs())));
        }
        line
    }

    /// For programs; what is not known is absent.
    pub fn keys(&self) -> Map<String, Value> {
        let Standing { done, total, rates, left } = self;
        let mut map = Map::new();
        let mut put = |key: &str, value: Value| map.insert(key.to_owned(), value);
        put("entries", json!(done.entries));
        put("bytes", json!(done.bytes));
        for (key, total) in [("total_entries", total.entries), ("total_bytes", total.bytes)] {
            if total > 0 {
                put(key, json!(total));
            }
        }
        put("entries_per_second", json!(rates.0.round() as u64));
        put("bytes_per_second", json!(rates.1.round() as u64));
        if let Some(left) = left {
            put("eta_seconds", json!(left.as_secs()));
        }
        map
    }
}

/// A number with its digits in groups of three.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn amount(entries: u64, bytes: u64) -> Amount {
        Amount { entries, bytes }
    }

    /// What a pace says about the rest when one second does (entries, bytes) of a total, after so many seconds.
    fn left(total: Amount, each: Amount, seconds: u64) -> Option<u64> {
        let mut pace = Pace::default();
        pace.expect(Duration::ZERO, total);
        let mut last = None;
        for n in 1..=seconds {
            last = pace.see(Duration::from_secs(n), amount(n * each.entries, n * each.bytes)).left;
        }
        last.map(|left| left.as_secs())
    }

    #[test]
    fn the_rest_takes_as_long_as_the_slower_of_entries_and_bytes() {
        for (total, each, seconds, want) in [
            // Nothing is promised before the rate has settled.
            (amount(100, 0), amount(10, 0), 2, None),
            (amount(100, 0), amount(10, 0), 4, Some(6)),
            (amount(0, 1000), amount(10, 100), 4, Some(6)),
            // Many small files and a large one.
            (amount(100, 1000), amount(10, 50), 4, Some(16)),
            (amount(100, 1000), amount(5, 100), 4, Some(16)),
            // One of the two is done.
            (amount(4, 1000), amount(1, 100), 4, Some(6)),
            (amount(0, 0), amount(10, 100), 4, None),
            (amount(100, 0), amount(0, 0), 4, None),
            // More than was expected: when that ends nobody knows.
            (amount(30, 0), amount(10, 0), 4, None),
        ] {
            assert_eq!(left(total, each, seconds), want, "{each:?} a second of {total:?}, {seconds} s");
        }
    }

    #[test]
    fn a_rate_follows_the_last_seconds_and_the_last_line_tells_of_all() {
        let mut pace = Pace::default();
        pace.expect(Duration::ZERO, amount(10_000, 0));
        let mut done = 0;
        for n in 1..=40 {
            done += if n <= 20 { 100 } else { 10 };
            pace.see(Duration::from_secs(n), amount(done, 0));
        }
        let standing = pace.see(Duration::from_secs(41), amount(done + 10, 0));
        assert_eq!(standing.rates.0.round() as u64, 10);
        assert_eq!(pace.end(Duration::from_secs(44), amount(2200, 0)).rates.0.round() as u64, 50);
    }

    #[test]
    fn what_is_expected_begins_the_count_anew() {
        let mut pace = Pace::default();
        pace.see(Duration::from_secs(60), amount(5000, 0));
        pace.expect(Duration::from_secs(60), amount(100, 0));
        let standing = pace.see(Duration::from_secs(64), amount(20, 0));
        assert_eq!((standing.rates.0, standing.left), (5.0, Some(Duration::from_secs(16))));
    }

    #[test]
    fn a_line_says_what_is_known() {
        let mut pace = Pace::default();
        let at = |seconds| Duration::from_secs(seconds);
        assert_eq!(pace.see(at(2), amount(1234, 2 << 20)).line(), "1,234 entries, 2 MiB, 617/s, 1 MiB/s");
        pace.expect(at(10), amount(100_000, 4 << 30));
        assert_eq!(
            pace.see(at(14), amount(40_000, 1 << 30)).line(),
            "40,000 of 100,000 entries, 1 GiB of 4 GiB, 10,000/s, 256 MiB/s, 12s left"
        );
    }
}
