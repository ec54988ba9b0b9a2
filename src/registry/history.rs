//! What was changed, when and by whom: one file a month, one change a line, appended and never rewritten.
//!
//! A line is durable before the registry file is replaced. So no change is without its line, and a line may be without
//! its change: the command was cut off between the two, or a backup was brought back. [`states`] tells which.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::root::{PRIVATE, Root};
use super::state::{Change, Registry};
use crate::domain::error::{Code, Error, Result};
use crate::domain::permission::Actor;
use crate::domain::record::Header;
use crate::host::dir::Dir;
use crate::host::{files, login};

const FOLDER: &str = "history";
const END: &str = ".jsonl";
const MOST_BYTES: u64 = 4 << 30;

/// Who changes something, and how that was typed.
#[derive(Clone, Debug)]
pub struct By {
    /// `superadmin`, or the user of `--as`.
    pub actor: String,
    /// Who logged in.
    pub login: String,
    /// The command line.
    pub command: String,
}

impl By {
    /// A command line of this process, for an actor.
    pub fn new(actor: &Actor, command: &str) -> By {
        let actor = actor.user().unwrap_or("superadmin").to_owned();
        By { actor, login: login::name(), command: command.to_owned() }
    }
}

/// What is to be said of a commit besides its changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Note {
    /// It goes with something that was done on the storage.
    pub storage: bool,
    /// It takes the change of this generation back.
    pub undoes: Option<u64>,
}

impl Note {
    /// For a commit that goes with something that was done on the storage.
    pub const STORAGE: Note = Note { storage: true, undoes: None };
}

/// One commit.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Entry {
    /// The generation that it made.
    #[serde(deserialize_with = "super::generation::bounded")]
    pub generation: u64,
    /// When; the registry carries the same time.
    pub time: Timestamp,
    /// On whose behalf.
    pub actor: String,
    /// Who logged in.
    pub login: String,
    /// Where.
    pub host: String,
    /// The command line.
    pub command: String,
    /// True when it went with something that was done on the storage.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub storage: bool,
    /// True when somebody had edited the registry by hand since the commit before.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub edited: bool,
    /// The generation whose change it took back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub undoes: Option<u64>,
    /// The records that it changed.
    pub changes: Vec<Changed>,
}

/// A record before and after a commit; at least one of the two is there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Changed {
    /// The section of the registry; `settings` for the settings.
    pub section: String,
    /// The key in it; empty for the settings.
    pub key: String,
    /// What it was; `null` where the commit made it.
    pub before: Option<Value>,
    /// What it was then; `null` where the commit removed it.
    pub after: Option<Value>,
}

/// The records that changes name, each once, as they are before them.
pub(super) fn before(registry: &Registry, changes: &[Change]) -> Result<Vec<Changed>> {
    let (mut found, mut seen) = (Vec::new(), BTreeSet::new());
    for change in changes {
        let (section, key) = change.place();
        if seen.insert((section, key)) {
            let before = registry.record(section, key)?;
            found.push(Changed { section: section.to_owned(), key: key.to_owned(), before, after: None });
        }
    }
    Ok(found)
}

/// The same with what they are after them; without those that are the same.
pub(super) fn after(registry: &Registry, mut changes: Vec<Changed>) -> Result<Vec<Changed>> {
    for change in &mut changes {
        change.after = registry.record(&change.section, &change.key)?;
    }
    changes.retain(|change| change.before != change.after);
    Ok(changes)
}

/// Appends an entry. Only the names of the files and the last byte of one are read, however long the history is.
pub(super) fn append(root: &Root, entry: &Entry) -> Result<()> {
    let line = serde_json::to_vec(entry)
        .map_err(|e| Error::new(Code::Failure, format!("cannot write the history: {e}")))?;
    let folder = root.private(FOLDER)?;
    let months = list(&folder)?;
    // A clock that was put back must not bring the lines out of order.
    let month = months.last().cloned().unwrap_or_default().max(month_of(entry.time));
    files::append_line(&folder, &format!("{month}{END}"), &line)?;
    if months.is_empty() {
        root.dir().open_dir(PRIVATE)?.sync()?;
    }
    Ok(())
}

/// The month in whose file a time stands, or a later one: `2026-11`.
pub fn month_of(time: Timestamp) -> String {
    time.strftime("%Y-%m").to_string()
}

/// The months that have a file, the oldest first.
pub fn months(root: &Root) -> Result<Vec<String>> {
    root.private_if_there(FOLDER)?.map_or(Ok(Vec::new()), |folder| list(&folder))
}

fn list(folder: &Dir) -> Result<Vec<String>> {
    let names = folder.names()?;
    let month = |name: &str| name.strip_suffix(END).filter(|m| is_month(m)).map(str::to_owned);
    let mut months: Vec<String> = names.iter().filter_map(|name| month(name.to_str()?)).collect();
    months.sort();
    Ok(months)
}

fn is_month(text: &str) -> bool {
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    text.split_once('-').is_some_and(|(y, m)| y.len() == 4 && m.len() == 2 && digits(y) && digits(m))
}

/// The entries of a month and all after it, in the order of the lines, and a warning for each line that cannot be read.
/// A line that was cut off is passed over: the command that wrote it changed nothing.
pub fn read(root: &Root, from: &str) -> Result<(Vec<Entry>, Vec<String>)> {
    let (mut entries, mut warnings) = (Vec::new(), Vec::new());
    let Some(folder) = root.private_if_there(FOLDER)? else { return Ok((entries, warnings)) };
    for month in list(&folder)?.into_iter().filter(|month| month.as_str() >= from) {
        let name = format!("{month}{END}");
        if !folder.is_file_or_nothing(&name)? {
            warnings.push(format!("{}: it is not a regular file", folder.join(&name).display()));
            continue;
        }
        let text = files::read(&folder, &name, MOST_BYTES)?.unwrap_or_default();
        for (at, line) in text.split(|byte| *byte == b'\n').enumerate() {
            match serde_json::from_slice(line) {
                Ok(entry) => entries.push(entry),
                Err(e) if line.ends_with(b"}") => warnings.push(format!(
                    "{}: line {} is passed over: {e}",
                    folder.join(&name).display(),
                    at + 1
                )),
                Err(_) => {}
            }
        }
    }
    Ok((entries, warnings))
}

/// The highest generation of the newest file.
pub(super) fn last_generation(root: &Root) -> Result<Option<u64>> {
    let Some(month) = months(root)?.pop() else { return Ok(None) };
    Ok(read(root, &month)?.0.iter().map(|entry| entry.generation).max())
}

/// Brings a backup up to a later generation that is known to have been in force, by the records of the lines in between.
/// Where a line is missing it stays as it is.
pub(super) fn catch_up(root: &Root, backup: &mut Registry, to: u64) -> Result<()> {
    let from = backup.header.generation;
    let (entries, _) = read(root, &month_of(backup.header.updated_at))?;
    let between = entries.into_iter().filter(|entry| from < entry.generation && entry.generation <= to);
    // Of two lines of one generation the earlier one was lost.
    let lines: BTreeMap<u64, Entry> = between.map(|entry| (entry.generation, entry)).collect();
    if lines.len() as u64 != to.saturating_sub(from) {
        return Ok(());
    }
    for entry in lines.into_values() {
        let changes = entry.changes.into_iter();
        let changes = changes.filter_map(|change| Change::of(&change.section, &change.key, change.after));
        changes.for_each(|change| backup.apply(&change));
        (backup.header.generation, backup.header.updated_at) = (entry.generation, entry.time);
    }
    Ok(())
}

/// Whether a change is in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It is.
    InForce,
    /// The change of this generation took it back.
    Undone(u64),
    /// It never came into force, or went when an earlier registry was brought back.
    Lost,
}

impl State {
    /// The word in documents.
    pub fn name(self) -> &'static str {
        match self {
            State::InForce => "in_force",
            State::Undone(_) => "undone",
            State::Lost => "lost",
        }
    }
}

/// The state of each entry under a registry with this header.
///
/// The registry names its own entry by generation and time; what was appended after that is lost. Before it,
/// generations only rise: of two lines where they do not, the earlier one was lost.
pub fn states(entries: &[Entry], header: &Header) -> Vec<State> {
    let own = |e: &Entry| (e.generation, e.time) == (header.generation, header.updated_at);
    let last = entries.iter().rposition(own).unwrap_or(usize::MAX);
    let mut next = header.generation.saturating_add(1);
    let mut states = vec![State::Lost; entries.len()];
    let mut undone = BTreeMap::new();
    for (at, entry) in entries.iter().enumerate().rev() {
        if at > last || entry.generation >= next {
            continue;
        }
        next = entry.generation;
        states[at] = undone.get(&entry.generation).map_or(State::InForce, |by| State::Undone(*by));
        undone.extend(entry.undoes.map(|generation| (generation, entry.generation)));
    }
    states
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Entries by generation and second.
    fn entries(lines: &[(u64, i64)]) -> Vec<Entry> {
        let entry = |(generation, second): &(u64, i64)| Entry {
            generation: *generation,
            time: Timestamp::from_second(*second).unwrap(),
            actor: "superadmin".into(),
            login: "root".into(),
            host: "s1".into(),
            command: "vfadm".into(),
            storage: false,
            edited: false,
            undoes: None,
            changes: Vec::new(),
        };
        lines.iter().map(entry).collect()
    }

    fn header(generation: u64, second: i64) -> Header {
        Header {
            schema: 1,
            registry: uuid::Uuid::nil(),
            generation,
            updated_at: Timestamp::from_second(second).unwrap(),
            extra: Default::default(),
        }
    }

    #[test]
    fn what_never_came_into_force_or_was_put_back_is_lost() {
        for (what, lines, (generation, second), lost) in [
            ("in order", &[(1, 1), (2, 2), (3, 3)][..], (3, 3), &[][..]),
            ("cut off before the rename", &[(1, 1), (2, 2), (3, 3)], (2, 2), &[2]),
            ("cut off, and tried again", &[(1, 1), (2, 2), (3, 3), (3, 4)], (3, 4), &[2]),
            ("cut off, and tried again at once", &[(1, 1), (2, 2), (2, 2)], (2, 2), &[1]),
            ("a backup was brought back", &[(1, 1), (2, 2), (3, 3)], (1, 1), &[1, 2]),
            ("and changed", &[(1, 1), (2, 2), (3, 3), (2, 4)], (2, 4), &[1, 2]),
            ("and brought back again", &[(1, 1), (2, 2), (3, 3), (2, 4)], (3, 3), &[3]),
            ("older lines are missing", &[(7, 7), (8, 8)], (8, 8), &[]),
            ("its own line is missing", &[(1, 1), (2, 2), (3, 3)], (2, 9), &[2]),
        ] {
            let entries = entries(lines);
            let states = states(&entries, &header(generation, second));
            let found: Vec<usize> = (0..states.len()).filter(|at| states[*at] == State::Lost).collect();
            assert_eq!(found, lost, "{what}");
        }
    }

    #[test]
    fn what_an_undo_in_force_took_back_is_undone() {
        let mut lines = entries(&[(1, 1), (2, 2), (3, 3), (4, 4)]);
        lines[2].undoes = Some(2);
        assert_eq!(
            states(&lines, &header(4, 4)),
            [State::InForce, State::Undone(3), State::InForce, State::InForce]
        );
        assert_eq!(
            states(&lines, &header(2, 2)),
            [State::InForce, State::InForce, State::Lost, State::Lost],
            "an undo that was lost undid nothing"
        );
    }

    #[test]
    fn a_line_that_was_cut_off_is_passed_over_and_ends_before_the_next() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::open_new(&dir.path().canonicalize().unwrap()).unwrap();
        let lines = entries(&[(1, 1_800_000_000), (2, 1_800_000_001)]);
        append(&root, &lines[0]).unwrap();
        let file = dir.path().join(".vfadm/history/2027-01.jsonl");
        let whole = std::fs::read_to_string(&file).unwrap();
        std::fs::write(&file, format!("{whole}{}", &whole[..40])).unwrap();
        append(&root, &lines[1]).unwrap();
        let (found, warnings) = read(&root, "").unwrap();
        assert_eq!(found.iter().map(|e| e.generation).collect::<Vec<_>>(), [1, 2]);
        assert_eq!(warnings, [""; 0]);
        std::fs::write(&file, "{\"generation\":\"one\"}\n").unwrap();
        let (_, warnings) = read(&root, "").unwrap();
        assert!(warnings[0].contains("2027-01.jsonl: line 1 is passed over: "), "{warnings:?}");
    }

    #[test]
    fn a_clock_that_was_put_back_keeps_the_order_of_the_lines() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::open_new(&dir.path().canonicalize().unwrap()).unwrap();
        for entry in entries(&[(1, 1_800_000_000), (2, 1_700_000_000), (3, 1_900_000_000)]) {
            append(&root, &entry).unwrap();
        }
        assert_eq!(months(&root).unwrap(), ["2027-01", "2030-03"]);
        let (found, _) = read(&root, "").unwrap();
        assert_eq!(found.iter().map(|e| e.generation).collect::<Vec<_>>(), [1, 2, 3]);
        assert_eq!(read(&root, "2028-01").unwrap().0.len(), 1);
    }
}
