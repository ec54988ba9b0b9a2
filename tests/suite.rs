//! Every test that runs the built program, in one binary: what an administrator types, what is answered, and what is
//! on disk and in the kernel afterwards. Needs root, and sets up its own filesystems; nothing is skipped.

// These lints bind the program. A test ends by a panic, and starts programs where it pleases.
#![allow(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    clippy::print_stdout,
    clippy::unwrap_used
)]

mod support;

mod suite {
    mod actions;
    mod cephfs;
    mod charges;
    mod check;
    mod check_repair;
    mod clone;
    mod consistency;
    mod crash;
    mod cut_off;
    mod dedicated;
    mod documents;
    mod dry_run;
    mod engine_parsers;
    mod engine_runs;
    mod engines;
    mod environment;
    mod exit_codes;
    mod failures;
    mod faults;
    mod generated;
    mod history;
    mod holders;
    mod hostile;
    mod house;
    mod init;
    mod isolation;
    mod kernels;
    mod lifecycle;
    mod model;
    mod nodes;
    mod owners;
    mod parallel;
    mod pipes;
    mod progress;
    mod prompts;
    mod quota;
    mod registry;
    mod registry_edit;
    mod registry_kills;
    mod registry_rebuild;
    mod registry_restore;
    mod sessions;
    mod sharing;
    mod slurm;
    mod steering;
    mod transfer;
    mod twice;
    mod undo;
    mod usage;
    mod words;
    mod zfs;
}
