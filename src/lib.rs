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
use domain::text::{printable, shell_path, shown};

/// Parses the arguments and runs the command; the exit status.
pub fn main(arguments: Vec<OsString>) -> u8 {
    host::signals::install();
    let command_line: Vec<String> = arguments.iter().map(shell_path).collect();
    match cli::Cli::try_parse_from(&arguments) {
        Ok(cli) => commands::run(cli, command_line.join(" ")),
        Err(error) => refuse(&error, &arguments),
    }
}

/// Help and version are no errors; the rest is exit 2, as a document where documents were asked for.
fn refuse(error: &clap::Error, arguments: &[OsString]) -> u8 {
    let out = commands::early_output(arguments);
    let lacks_verb = matches!(
        error.kind(),
        ErrorKind::MissingSubcommand | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
    );
    if lacks_verb {
        let here = reached(arguments);
        match out.style {
            output::Style::Json => output::error::print(&out, &verbless(&here)),
            _ => drop(write!(std::io::stderr(), "{}", here.clone().render_help())),
        }
    } else if error.use_stderr() && out.style == output::Style::Json {
        let text = recognisable(error.to_string(), arguments);
        let (message, rest) = text.split_once("\n\n").unwrap_or((&text, ""));
        let message = message.trim_start_matches("error: ").split_whitespace().collect::<Vec<_>>().join(" ");
        let error = Error::usage(message);
        let usage = rest.lines().filter(|line| !line.is_empty() && !line.starts_with("For more information"));
        let hint = usage.map(str::trim).collect::<Vec<_>>().join("; ");
        output::error::print(&out, &if hint.is_empty() { error } else { error.hint(hint) });
    } else if error.use_stderr() {
        // What was typed stands in the message, and must not steer the terminal.
        let text = recognisable(error.render().to_string(), arguments);
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

/// The text with no more of each argument, and of what stands behind its `=`, than helps to recognise it.
fn recognisable(mut text: String, arguments: &[OsString]) -> String {
    for argument in arguments {
        let whole = argument.to_string_lossy();
        let value = whole.split_once('=').map_or("", |(_, value)| value);
        for long in [&*whole, value] {
            // A line break in it stays one: what is printed is made printable as a whole.
            let short = shown(long);
            if short.ends_with('\u{2026}') {
                text = text.replace(long, &short);
            }
        }
    }
    text
}

/// The command that is named by the arguments, however little of it.
fn reached(arguments: &[OsString]) -> clap::Command {
    let mut here = cli::Cli::command();
    here.build();
    for argument in arguments.iter().skip(1).filter_map(|a| a.to_str()) {
        if let Some(below) = here.find_subcommand(argument).cloned() {
            here = below;
        }
    }
    here
}

/// The usage error of a command without its verb.
fn verbless(command: &clap::Command) -> Error {
    let name = command.get_bin_name().unwrap_or(command.get_name());
    let verbs: Vec<&str> = command.get_subcommands().map(clap::Command::get_name).collect();
    match verbs.is_empty() {
        true => Error::usage(format!("'{name}' needs arguments")).hint(format!("{name} --help")),
        false => {
            Error::usage(format!("'{name}' needs a command")).hint(format!("one of {}", verbs.join(", ")))
        }
    }
}
