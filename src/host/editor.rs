//! The administrator's editor, in the foreground, with the administrator's environment.

use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Command;

use super::error::{Error, Result};
use super::{program, signals};

/// The editors that are tried where the environment names none.
const EDITORS: [&str; 2] = ["sensible-editor", "vi"];

/// What the environment names as the editor: `VISUAL`, else `EDITOR`.
pub fn named() -> Option<String> {
    let named = ["VISUAL", "EDITOR"].into_iter().filter_map(|name| std::env::var(name).ok());
    named.into_iter().find(|line| !line.trim().is_empty())
}

/// The command line of the editor that is named, else of what is installed.
fn command() -> Result<String> {
    if let Some(line) = named() {
        return Ok(line);
    }
    let found = EDITORS.into_iter().find_map(program::find);
    let path = found.ok_or_else(|| {
        Error::Program("there is no editor: name one in the environment, as VISUAL or EDITOR".to_owned())
    })?;
    Ok(path.display().to_string())
}

/// Has a file edited; an editor that fails or is killed is an error. Its line is the shell's, as everywhere.
#[allow(clippy::disallowed_methods)]
pub fn edit(file: &Path) -> Result<()> {
    let editor = command()?;
    let shell = Path::new("/bin/sh");
    let status = Command::new(shell)
        .args(["-c", &format!("{editor} \"$1\""), "sh"])
        .arg(file)
        .status()
        .map_err(|e| Error::path("start", shell, e))?;
    // What was typed into the editor (Ctrl-C) was for the editor.
    signals::forget();
    match (status.code(), status.signal()) {
        (Some(0), _) => Ok(()),
        (Some(code), _) => {
            Err(Error::Program(format!("the editor '{editor}' failed with exit status {code}")))
        }
        (None, signal) => Err(Error::Program(format!(
            "the editor '{editor}' was ended by signal {}",
            signal.unwrap_or_default()
        ))),
    }
}
