//! vfadm gives users and projects of a cluster their storage: virtual folders with owners, hard quotas and mounts
//! for sessions, directly on the storage hosts.

pub mod cli;
pub mod commands;
pub mod domain;
pub mod host;
pub mod ops;
pub mod output;
pub mod plan;
pub mod quota;
pub mod registry;
pub mod session;
#[cfg(test)]
mod testing;
pub mod tree;

use std::ffi::OsString;
use std::io::Write;

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser};

use domain::error::Error;
use domain::name::{printable, shell_word};

/// Parses the arguments and runs the command; the exit status.
pub fn main(arguments: Vec<OsString>) -> u8 {
    host::signals::install();
    let command_line: Vec<String> =
        arguments.iter().map(|a| shell_word(&printable(&a.to_string_lossy()))).collect();
    match cli::Cli::try_parse_from(&arguments) {
        Ok(cli) => commands::run(cli, command_line.join(" ")),
        Err(error) => refuse(&error, &arguments),
    }
}

/// Help and version are no errors; the rest is exit 2, as a document where documents were asked for.
fn refuse(error: &clap::Error, arguments: &[OsString]) -> u8 {
    let out = commands::early_output(arguments);
    if error.kind() == ErrorKind::MissingSubcommand {
        return help(arguments);
    }
    let is_error = error.use_stderr() && error.kind() != ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand;
    if is_error && out.style == output::Style::Json {
        let text = error.to_string();
        let (message, rest) = text.split_once("\n\n").unwrap_or((&text, ""));
        let message = message.trim_start_matches("error: ").split_whitespace().collect::<Vec<_>>().join(" ");
        let error = Error::usage(message);
        let usage = rest.lines().filter(|line| !line.is_empty() && !line.starts_with("For more information"));
        let hint = usage.map(str::trim).collect::<Vec<_>>().join("; ");
        output::error::print(&out, &if hint.is_empty() { error } else { error.hint(hint) });
    } else if is_error {
        // What was typed stands in the message, and must not steer the terminal.
        let text = error.render().to_string();
        let lines: Vec<String> = text.lines().map(printable).collect();
        let _ = writeln!(std::io::stderr(), "{}", lines.join("\n"));
    } else if let Err(failure) = error.print()
        && failure.kind() != std::io::ErrorKind::BrokenPipe
    {
        let why = host::error::reason(&failure);
        let _ = writeln!(std::io::stderr(), "error: cannot write the result to stdout: {why}");
        return 1;
    }
    if error.use_stderr() { 2 } else { 0 }
}

/// A noun without a verb: its help, as a usage error.
fn help(arguments: &[OsString]) -> u8 {
    let mut command = cli::Cli::command();
    command.build();
    let mut here = command;
    for argument in arguments.iter().skip(1).filter_map(|a| a.to_str()) {
        if let Some(below) = here.find_subcommand(argument).cloned() {
            here = below;
        }
    }
    let _ = write!(std::io::stderr(), "{}", here.render_help());
    2
}
