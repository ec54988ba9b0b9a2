//! What a session mounts, and how it is run.

pub mod plan;
mod root;
pub mod run;
