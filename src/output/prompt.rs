//! Questions. They are asked on a terminal only.

use std::io::{self, IsTerminal};

use crate::domain::error::{Code, Error, Result};

/// Asks whether to go on; `Ok` is yes. Without a terminal the answer has to be on the command line (exit 2).
pub fn confirm(question: &str, yes: bool) -> Result<()> {
    if yes {
        return Ok(());
    }
    if !can_ask() {
        return Err(Error::usage(format!("{question} There is no terminal to ask on")).hint("say --yes"));
    }
    let answer =
        dialoguer::Confirm::new().with_prompt(question).default(false).wait_for_newline(true).interact();
    match answer {
        Ok(true) => Ok(()),
        Ok(false) => Err(Error::new(Code::Failure, "nothing was done")),
        Err(_) => Err(interrupted()),
    }
}

/// True where there is a terminal to ask on.
pub fn can_ask() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}

/// Asks which of several is meant; its place in the list. Without a terminal it has to be on the command line (exit 2),
/// as `instead` says.
pub fn select(question: &str, lines: &[String], instead: &str) -> Result<usize> {
    if !can_ask() {
        let all = lines.join("; ");
        return Err(Error::usage(format!("{question} There is no terminal to ask on: {all}")).hint(instead));
    }
    let choice = dialoguer::Select::new().with_prompt(question).items(lines).default(0).interact_opt();
    match choice {
        Ok(Some(place)) => Ok(place),
        Ok(None) => Err(Error::new(Code::Failure, "nothing was done")),
        Err(_) => Err(interrupted()),
    }
}

/// A question hides the cursor, and a signal ends it before it is shown again.
fn interrupted() -> Error {
    let _ = dialoguer::console::Term::stderr().show_cursor();
    Error::new(Code::Interrupted, "interrupted; nothing was done")
}
