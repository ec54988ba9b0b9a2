//! What a session mounts, and how it is run.

pub mod engine;
pub mod places;
pub mod plan;
mod root;
pub mod run;
pub mod stage;
