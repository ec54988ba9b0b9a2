//! The option of commands that may take long.

use clap::{Args, ValueEnum};

/// How far the work is.
#[derive(Clone, Copy, Debug, Args)]
pub struct Progress {
    /// How to tell, on stderr, how far the work is
    #[arg(long, value_enum, default_value = "auto", value_name = "HOW")]
    pub progress: Told,
}

/// How it is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Told {
    /// A line on a terminal, nothing elsewhere
    Auto,
    /// A line of JSON twice a second, and a last one with "done": true
    Json,
    /// Not at all
    None,
}
