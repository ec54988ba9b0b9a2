//! One file a noun: arguments in, an operation called, a view out.

mod check;
mod init;
mod invitation;
mod node;
mod owner;
mod quota;
mod registry;
mod session;
mod shell;
mod trash;
mod usage;
mod vfolder;
mod volume;

use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::CommandFactory;

use crate::cli::progress::Told;
use crate::cli::{Cli, Command, Format, Global, When};
use crate::domain::error::{Code, Error};
use crate::domain::permission::Actor;
use crate::domain::text::shell_path;
use crate::ops::{Context, Done, Reading};
use crate::output::progress::{Counter, Mode};
use crate::output::{self, Output, Style};

/// What every command gets: how to run and how to print.
pub struct App {
    /// How to run.
    pub ctx: Context,
    /// How to print.
    pub out: Output,
    /// Questions are answered with yes.
    pub yes: bool,
    /// The root, where it was given as an option: commands that are shown name it too.
    given_root: Option<PathBuf>,
}

/// Runs a command; its exit status.
pub fn run(cli: Cli, command_line: String) -> u8 {
    let given_root = cli.global.root.clone();
    let app = App::new(&cli.global, command_line);
    match app.dispatch(cli.command) {
        Ok(status) => status,
        Err(error) => {
            let error = pasteable(told(error), given_root.as_deref());
            output::error::print(&app.out, &error);
            error.code.exit()
        }
    }
}

/// The root that is meant: the option, else `VFADM_ROOT`, else `/vfroot`.
fn root(global: &Global) -> PathBuf {
    let named = global.root.clone().or_else(|| std::env::var_os("VFADM_ROOT").map(PathBuf::from));
    named.filter(|path| !path.as_os_str().is_empty()).unwrap_or_else(|| "/vfroot".into())
}

/// The error with the commands in its hint naming the root that was given, so that they work when pasted.
fn pasteable(mut error: Error, given_root: Option<&Path>) -> Error {
    error.hint = error.hint.map(|hint| with_root(&hint, given_root));
    error
}

/// A text in which each command names the root that was given.
fn with_root(text: &str, given_root: Option<&Path>) -> String {
    let Some(root) = given_root else { return text.to_owned() };
    let root = shell_path(root);
    let nouns = Cli::command();
    let mut parts = text.split("vfadm ");
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let word = part.split_whitespace().next().unwrap_or_default();
        let is_command = nouns.find_subcommand(word).is_some();
        text.push_str("vfadm ");
        if is_command {
            text.push_str(&format!("--root {root} "));
        }
        text.push_str(part);
    }
    text
}

/// The error that is printed, of whatever came up.
fn told(error: anyhow::Error) -> Error {
    match error.downcast::<Error>() {
        Ok(error) => error,
        Err(other) => match other.downcast::<crate::host::Error>() {
            Ok(error) => error.into(),
            Err(other) => Error::new(Code::Failure, format!("{other:#}")),
        },
    }
}

/// How to print before the arguments are known to be right.
pub fn early_output(arguments: &[std::ffi::OsString]) -> Output {
    let is_json = arguments.iter().enumerate().any(|(at, a)| {
        let next = || arguments.get(at + 1).is_some_and(|n| n == "json");
        a == "-ojson" || a == "--output=json" || ((a == "-o" || a == "--output") && next())
    });
    let style = if is_json { Style::Json } else { Style::Table };
    Output { style, quiet: false, verbose: false, color: false }
}

impl App {
    fn new(global: &Global, command_line: String) -> App {
        let color = match global.color {
            When::Always => true,
            When::Never => false,
            When::Auto => std::env::var_os("NO_COLOR").is_none() && std::io::stderr().is_terminal(),
        };
        if global.verbose {
            crate::host::program::trace(output::show_line);
        }
        let style = match global.output {
            Format::Table => Style::Table,
            Format::Json => Style::Json,
            Format::Yaml => Style::Yaml,
            Format::Tsv => Style::Tsv,
        };
        App {
            ctx: Context {
                root: root(global),
                actor: global.as_user.clone().map_or(Actor::Superadmin, Actor::User),
                dry_run: global.dry_run,
                lock_timeout: global.lock_timeout,
                command: command_line,
            },
            out: Output { style, quiet: global.quiet, verbose: global.verbose, color },
            yes: global.yes,
            given_root: global.root.clone(),
        }
    }

    fn dispatch(&self, command: Command) -> Result<u8> {
        match command {
            Command::Init(arguments) => self.superadmin("init")?.init(arguments),
            Command::User(command) => self.superadmin("user")?.user(command),
            Command::Project(command) => self.superadmin("project")?.project(command),
            Command::Volume(command) => self.superadmin("volume")?.volume(command),
            Command::Quota(command) => self.quota(command),
            Command::Vfolder(command) => self.vfolder(command),
            Command::Trash(command) => self.trash(command),
            Command::Invitation(command) => self.invitation(command),
            Command::Permission(command) => self.permission(command),
            Command::Session(command) => self.session(command),
            Command::Node(command) => self.superadmin("node")?.node(command),
            Command::Check(asked) => self.superadmin("check")?.check(asked.repair),
            Command::Registry(command) => self.superadmin("registry")?.registry(command),
            Command::Completions(arguments) => self.completions(&arguments),
            Command::Man(arguments) => self.man(&arguments),
        }
    }

    /// A text with commands that can be pasted.
    fn pasteable(&self, text: &str) -> String {
        with_root(text, self.given_root.as_deref())
    }

    /// Refuses `--as` with commands that are the superadmin's (exit 5).
    fn superadmin(&self, what: &str) -> Result<&App> {
        match self.ctx.actor.user() {
            None => Ok(self),
            Some(user) => Err(Error::not_permitted(format!("{user} may not use 'vfadm {what}'"))
                .hint("leave --as out: it works with vfolder, invitation, permission, session, quota show and trash list")
                .into()),
        }
    }

    fn reading(&self) -> Result<Reading> {
        let reading = crate::ops::read(&self.ctx)?;
        reading.warnings.iter().for_each(|w| self.out.warn(w));
        Ok(reading)
    }

    /// Prints how a change ended.
    fn done(&self, kind: &str, done: Done) -> Result<u8> {
        done.warnings.iter().chain(&done.plan.warnings).for_each(|w| self.out.warn(w));
        let steps = done.plan.describe();
        let planned = done.planned && done.plan.outcome != crate::plan::Outcome::Unchanged;
        let outcome = if planned { crate::plan::Outcome::Planned } else { done.plan.outcome };
        if !planned {
            steps.iter().for_each(|s| self.out.detail(s));
        }
        let told = self.out.change(kind, outcome.name(), &done.plan.message, &steps, done.plan.item.as_ref());
        match told {
            Err(error) if !planned && error.kind() == std::io::ErrorKind::Other => {
                Err(anyhow::anyhow!("{error}; the change is in force"))
            }
            told => Ok(told.map(|()| 0)?),
        }
    }

    /// Tells how far work is, until it is dropped: what is done, and to what.
    fn counter(&self, told: Told, work: &str, subject: &str) -> Counter {
        let mode = match told {
            Told::Auto => Mode::Auto,
            Told::Json => Mode::Json,
            Told::None => Mode::Silent,
        };
        Counter::new(&self.out, mode, work, subject)
    }

    /// Asks before something that cannot be taken back.
    fn confirm(&self, question: &str) -> Result<()> {
        Ok(output::prompt::confirm(question, self.yes)?)
    }
}
