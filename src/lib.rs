//! vfadm gives users and projects of a cluster their storage: virtual folders with owners, hard quotas and mounts
//! for sessions, directly on the storage hosts.

pub mod cli;
pub mod domain;
pub mod host;
pub mod ops;
pub mod output;
pub mod plan;
pub mod quota;
pub mod registry;
pub mod session;
pub mod tree;
