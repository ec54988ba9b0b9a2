//! How far long work is, on stderr: a line on a terminal, or lines of JSON for a program.

mod pace;

use std::io::{self, IsTerminal, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::{Map, Value, json};

use super::Output;
use crate::domain::text::{json_escaped, printable};
use crate::host::signals;
use crate::tree::Progress;
use pace::{Amount, Pace, Standing};

/// How to tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// A line on a terminal, nothing elsewhere.
    Auto,
    /// A line of JSON twice a second.
    Json,
    /// Not at all.
    Silent,
}

/// How often the line on a terminal changes, and how often a line of JSON comes.
const DRAWN: Duration = Duration::from_millis(100);
const WRITTEN: Duration = Duration::from_millis(500);

/// Counts while a tree is worked on, and tells. No thread of its own: the work calls it often enough.
pub struct Counter {
    shown: Shown,
    work: String,
    subject: String,
    begun: Instant,
    entries: AtomicU64,
    bytes: AtomicU64,
    /// Milliseconds after `begun` from which on the next line is due.
    due: AtomicU64,
    pace: Mutex<Pace>,
}

enum Shown {
    Bar(ProgressBar),
    Json,
    Nothing,
}

impl Counter {
    /// A counter that says what is done, and to what: `purging`, `user/alice/data`.
    pub fn new(output: &Output, mode: Mode, work: &str, subject: &str) -> Counter {
        let shown = match mode {
            Mode::Json => Shown::Json,
            Mode::Auto if !output.quiet && can_draw() => bar().map_or(Shown::Nothing, Shown::Bar),
            Mode::Auto | Mode::Silent => Shown::Nothing,
        };
        // A terminal shows at once that something is done.
        let due = if matches!(shown, Shown::Json) { WRITTEN.as_millis() as u64 } else { 0 };
        Counter {
            shown,
            work: work.to_owned(),
            subject: subject.to_owned(),
            begun: Instant::now(),
            entries: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            due: AtomicU64::new(due),
            pace: Mutex::new(Pace::default()),
        }
    }

    /// Says something for people before the work, without spoiling what is shown; to a program as a line of its own.
    pub fn announce(&self, output: &Output, text: &str) {
        match &self.shown {
            Shown::Bar(bar) => bar.suspend(|| output.talk(text)),
            Shown::Json => self.write_line(Map::from_iter([("message".to_owned(), text.into())])),
            Shown::Nothing => output.talk(text),
        }
    }

    fn done(&self) -> Amount {
        Amount { entries: self.entries.load(Ordering::Relaxed), bytes: self.bytes.load(Ordering::Relaxed) }
    }

    /// Tells when it is time to; one thread does.
    fn tell_when_due(&self) {
        let interval = match self.shown {
            Shown::Nothing => return,
            Shown::Bar(_) => DRAWN,
            Shown::Json => WRITTEN,
        };
        let at = self.begun.elapsed();
        let (now, due) = (at.as_millis() as u64, self.due.load(Ordering::Relaxed));
        let next = now + interval.as_millis() as u64;
        let ours = || self.due.compare_exchange(due, next, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        if now < due || !ours() {
            return;
        }
        let standing = self.pace().see(at, self.done());
        match &self.shown {
            Shown::Bar(bar) => {
                bar.set_message(printable(&format!("{} {}: {}", self.work, self.subject, standing.line())));
                bar.tick();
            }
            _ => self.write(&standing, false),
        }
    }

    fn write(&self, standing: &Standing, ended: bool) {
        let mut keys = Map::from_iter(standing.keys());
        if ended {
            keys.insert("done".to_owned(), true.into());
        }
        self.write_line(keys);
    }

    /// A reader that has gone away does not end the work.
    fn write_line(&self, keys: Map<String, Value>) {
        let mut line = json!({"kind": "Progress", "work": self.work, "subject": self.subject});
        if let Some(map) = line.as_object_mut() {
            map.extend(keys);
        }
        let _ = writeln!(io::stderr(), "{}", json_escaped(&line.to_string()));
    }

    fn pace(&self) -> MutexGuard<'_, Pace> {
        self.pace.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// True where a line can be drawn over.
fn can_draw() -> bool {
    io::stderr().is_terminal()
        && std::env::var_os("TERM").is_some_and(|term| !term.is_empty() && term != "dumb")
}

fn bar() -> Option<ProgressBar> {
    // Cut at the width of the terminal, so that it stays one line.
    let style = ProgressStyle::with_template("{spinner} {wide_msg}").ok()?;
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(20));
    bar.set_style(style);
    Some(bar)
}

impl Progress for Counter {
    fn add(&self, entries: u64, bytes: u64) {
        self.entries.fetch_add(entries, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.tell_when_due();
    }

    fn expect(&self, entries: u64, bytes: u64) {
        let mut pace = self.pace();
        self.entries.store(0, Ordering::Relaxed);
        self.bytes.store(0, Ordering::Relaxed);
        pace.expect(self.begun.elapsed(), Amount { entries, bytes });
    }

    fn stopped(&self) -> bool {
        // Also while nothing gets done, the rate has to fall.
        self.tell_when_due();
        signals::stopped()
    }
}

impl Drop for Counter {
    fn drop(&mut self) {
        match &self.shown {
            Shown::Bar(bar) => bar.finish_and_clear(),
            Shown::Json => self.write(&self.pace().end(self.begun.elapsed(), self.done()), true),
            Shown::Nothing => {}
        }
    }
}
