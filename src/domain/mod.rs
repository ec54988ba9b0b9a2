//! Pure types and rules: no files, no clap, no YAML.

pub mod action;
pub mod driver_file;
pub mod duration;
pub mod engine;
pub mod error;
pub mod finding;
pub mod holder;
#[cfg(test)]
mod hostile;
pub mod level;
pub mod name;
pub mod node;
pub mod owner;
pub mod permission;
pub mod quota;
pub mod record;
pub mod reference;
pub mod size;
pub mod text;
