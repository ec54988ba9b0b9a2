//! `vfadm completions` and `vfadm man`.

use anyhow::Result;
use clap::{CommandFactory, ValueHint};
use clap_complete::Shell as Target;

use super::App;
use crate::cli::Cli;
use crate::cli::system::{Completions, Man, Shell};
use crate::ops::manual;

/// The command with names marked as such: where nothing is said, shells offer the files of the present directory.
fn with_hints(mut command: clap::Command) -> clap::Command {
    command.build();
    let command = command.mut_args(|argument| {
        let is_name =
            argument.get_value_hint() == ValueHint::Unknown && argument.get_possible_values().is_empty();
        if is_name { argument.value_hint(ValueHint::Other) } else { argument }
    });
    command.mut_subcommands(with_hints)
}

impl App {
    pub(super) fn completions(&self, arguments: &Completions) -> Result<u8> {
        let shell = match arguments.shell {
            Shell::Bash => Target::Bash,
            Shell::Zsh => Target::Zsh,
            Shell::Fish => Target::Fish,
        };
        let mut text = Vec::new();
        clap_complete::generate(shell, &mut with_hints(Cli::command()), "vfadm", &mut text);
        self.out.raw(&text)?;
        Ok(0)
    }

    pub(super) fn man(&self, arguments: &Man) -> Result<u8> {
        let pages = crate::output::manual::pages(Cli::command())?;
        let names = pages.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
        if !self.ctx.dry_run {
            manual::write(&arguments.dir, &pages)?;
        }
        names.iter().for_each(|name| self.out.talk(&format!("{}", arguments.dir.join(name).display())));
        Ok(0)
    }
}
