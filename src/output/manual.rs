//! Manual pages, one a command.

use std::io;

use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

use crate::domain::finding::{CODES, Severity};

/// The page that holds the codes of findings.
const CHECK: &str = "vfadm-check";

const SECTION: &str = "8";
/// Stands in the foot of each page. Not the day of the build: the pages are compared byte for byte.
const DATE: &str = "2026-11-24";

/// mandoc(1) finds longer lines of text hard to read.
const LINE: usize = 76;

const ENVIRONMENT: [(&str, &str); 2] = [
    ("VFADM_ROOT", "The root, where --root is not given."),
    ("NO_COLOR", "Any value: no colours, unless --color always."),
];

const FILES: [(&str, &str); 6] = [
    ("ROOT/registry.yaml", "The state: one record a line."),
    ("ROOT/.vfadm/backups/", "Earlier generations of it."),
    (
        "ROOT/.vfadm/history/YYYY-MM.jsonl",
        "What was changed in a month, one change a line, with command lines and records. vfadm removes none of these \
         files: old ones may be removed or compressed, and are not read then.",
    ),
    ("ROOT/.vfadm/nodes/HOST.yaml", "What a node saw of the volumes when it last checked in."),
    (
        "/run/vfadm/mounts/SESSION/N",
        "The inside of a folder, by the handle that was checked, for a container engine: mount N of the session, from 0.",
    ),
    ("VOLUME/.vfadm-volume.yaml", "Marks a volume, so that a wrong or missing mount is noticed."),
];

const EXIT: [(&str, &str); 12] = [
    ("0", "Done, or nothing had to be done."),
    ("1", "Another failure."),
    ("2", "Usage: a malformed name, size, reference or mount target, or a question that could not be asked."),
    ("3", "Not found, or out of the user's reach."),
    ("4", "Conflict: it exists, a count limit, a wrong state, mount targets that overlap."),
    ("5", "Not permitted, or a volume blocks the action."),
    ("6", "In use by a session, a mount or an open file."),
    ("7", "The registry was busy for longer than --lock-timeout."),
    ("8", "The storage or a tool failed, there is no room, or the limit cannot be enforced."),
    ("9", "The registry cannot be read."),
    ("10", "A check found something."),
    ("130", "Interrupted by a signal."),
];

/// File name and text of the page of each command.
pub fn pages(command: clap::Command) -> io::Result<Vec<(String, Vec<u8>)>> {
    let mut command = command.disable_help_flag(true);
    command.build();
    let mut pages = Vec::new();
    collect(&command, "vfadm", &mut pages)?;
    Ok(pages)
}

fn collect(command: &clap::Command, name: &str, pages: &mut Vec<(String, Vec<u8>)>) -> io::Result<()> {
    pages.push((format!("{name}.{SECTION}"), page(command, name)?));
    for sub in command.get_subcommands() {
        collect(sub, &format!("{name}-{}", sub.get_name()), pages)?;
    }
    Ok(())
}

fn page(command: &clap::Command, name: &str) -> io::Result<Vec<u8>> {
    let typed = name.replace('-', " ");
    let typed = typed.replace("add member", "add-member").replace("remove member", "remove-member");
    let command = command.clone().name(name.to_owned()).bin_name(typed);
    let man = Man::new(command.clone())
        .section(SECTION)
        .title(name.to_uppercase())
        .manual("vfadm")
        .source("vfadm")
        .date(DATE);
    let mut text = Vec::new();
    man.render_title(&mut text)?;
    man.render_name_section(&mut text)?;
    synopsis(&command).to_writer(&mut text)?;
    man.render_description_section(&mut text)?;
    if command.get_arguments().any(|a| !a.is_hide_set()) {
        man.render_options_section(&mut text)?;
    }
    let subcommands: Vec<_> = command.get_subcommands().collect();
    if !subcommands.is_empty() {
        let mut roff = Roff::new();
        roff.control("SH", ["COMMANDS"]);
        for sub in subcommands {
            roff.control("TP", []);
            roff.text([bold(format!("{name}-{}({SECTION})", sub.get_name()))]);
            roff.text([roman(sub.get_about().map(ToString::to_string).unwrap_or_default())]);
        }
        roff.to_writer(&mut text)?;
    }
    let mut roff = Roff::new();
    for (title, entries) in [("ENVIRONMENT", &ENVIRONMENT[..]), ("FILES", &FILES[..])] {
        roff.control("SH", [title]);
        for (name, meaning) in entries {
            roff.control("TP", []);
            roff.text([bold(*name)]);
            roff.text([roman(*meaning)]);
        }
    }
    if command.get_name() == CHECK {
        findings(&mut roff);
    }
    roff.control("SH", ["EXIT STATUS"]);
    for (status, meaning) in EXIT {
        roff.control("TP", []);
        roff.text([bold(status)]);
        roff.text([roman(meaning)]);
    }
    roff.to_writer(&mut text)?;
    Ok(plain(&text).into_bytes())
}

/// All codes, on the page of the command that finds most of them.
fn findings(roff: &mut Roff) {
    roff.control("SH", ["FINDINGS"]);
    for meaning in CODES {
        let severity = match meaning.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        roff.control("TP", []);
        roff.text([bold(meaning.code), roman(format!(" ({severity})"))]);
        roff.text([roman(format!("{} {}", meaning.meaning, meaning.repair.sentence()))]);
    }
}

/// The usage line, as `--help` shows it: clap_mangen's own leaves out `--` and the values of options.
fn synopsis(command: &clap::Command) -> Roff {
    let usage = command.clone().render_usage().to_string();
    let mut roff = Roff::new();
    roff.control("SH", ["SYNOPSIS"]);
    roff.text([roman(usage.trim_start_matches("Usage: ").split_whitespace().collect::<Vec<_>>().join(" "))]);
    roff
}

/// The page as mandoc(1) likes it: clap_mangen separates paragraphs by a blank line between two breaks, and leaves
/// long lines and blanks at their ends.
fn plain(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text).replace("\n.br\n\n.br\n", "\n.sp\n");
    let mut page = String::new();
    for line in text.lines() {
        let mut column = 0;
        for word in line.split(' ').filter(|_| !line.starts_with('.')) {
            // A control line would begin at a `.` or `'`.
            let breaks = column + word.len() > LINE && !word.starts_with(['.', '\'']) && !word.is_empty();
            if column > 0 {
                page.push(if breaks { '\n' } else { ' ' });
            }
            column = if breaks { word.len() } else { column + word.len() } + 1;
            page.push_str(word);
        }
        if line.starts_with('.') {
            page.push_str(line);
        }
        page.truncate(page.trim_end_matches(' ').len());
        page.push('\n');
    }
    page
}
