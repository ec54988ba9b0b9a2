//! The only place that starts programs, makes raw system calls and reads `/proc`. It knows no vfolder.

pub mod apart;
pub mod btrfs;
pub mod copying;
pub mod deadline;
pub mod dir;
pub mod editor;
pub mod entries;
pub mod error;
pub mod files;
pub mod foreground;
pub mod holders;
pub mod image;
pub mod lock;
pub mod login;
pub mod mount;
pub mod namespace;
pub mod nodev;
pub mod privileges;
pub mod probe;
pub mod process;
pub mod program;
pub mod project;
pub mod reflink;
pub mod signals;
pub mod space;
pub mod supervise;
pub mod terminal;
pub mod xattr;

pub use error::{Error, Result};
