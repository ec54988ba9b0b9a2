//! A line that shows how far long work is, on a terminal only.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::Output;
use crate::host::signals;
use crate::tree::Progress;

/// Counts entries on stderr while a tree is walked.
pub struct Counter {
    bar: ProgressBar,
}

impl Counter {
    /// A counter that says what is done: `purging user/alice/data`.
    pub fn new(output: &Output, what: &str) -> Counter {
        // indicatif draws nothing where stderr is no terminal.
        let target =
            if output.quiet { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr_with_hz(10) };
        let bar = ProgressBar::with_draw_target(None, target);
        if let Ok(style) =
            ProgressStyle::with_template("{spinner} {human_pos} entries, {per_sec}, {elapsed}, {wide_msg}")
        {
            bar.set_style(style);
        }
        bar.set_message(crate::domain::name::printable(what));
        Counter { bar }
    }
}

impl Progress for Counter {
    fn add(&self, entries: u64, _bytes: u64) {
        self.bar.inc(entries);
    }

    fn stopped(&self) -> bool {
        signals::stopped()
    }
}

impl Drop for Counter {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
