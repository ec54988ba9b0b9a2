//! The registry file: read, lock, commit.

pub mod backups;
pub mod difference;
pub mod document;
pub mod generation;
pub mod history;
pub mod load;
mod migrate;
pub mod present;
pub mod root;
pub mod schema;
pub mod state;
pub mod store;
pub mod validate;

pub use history::{By, Note};
pub use load::load;
pub use present::Present;
pub use root::Root;
pub use state::{Change, Registry};
pub use store::{Locked, now};
