//! `vfadm node`.

use clap::Subcommand;

use super::parse;

/// Nodes.
#[derive(Debug, Subcommand)]
pub enum Node {
    /// Note what this host sees of the volumes: for cron or a timer on each node
    CheckIn,
    /// List the nodes and what they said when they last checked in
    #[command(visible_alias = "ls")]
    List,
    /// Show what a node sees of each volume
    Show {
        /// Its name, as 'uname -n' prints it
        #[arg(value_parser = parse::node)]
        node: String,
    },
    /// Forget a node that left for good
    #[command(visible_alias = "rm")]
    Remove {
        /// Its name
        #[arg(value_parser = parse::node)]
        node: String,
    },
}
