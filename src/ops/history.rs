//! What was changed: shown, and taken back.

mod counterpart;
mod undo;

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::State;
use super::resolve;
use crate::domain::duration::Since;
use crate::domain::error::{Error, Result};
use crate::domain::name::printable;
use crate::domain::owner::Owner;
use crate::domain::record::{Invitation, Project, Record, Scope, Session, User, VFolder};
use crate::domain::reference::{FolderRef, Subject};
use crate::registry::history::{self, Changed, Entry, State as Standing};
use crate::registry::{self, now};
pub use undo::undo;

/// Which changes are shown.
#[derive(Clone, Debug, Default)]
pub struct Query {
    /// Of this folder or owner.
    pub of: Option<Subject>,
    /// Since then.
    pub since: Option<Since>,
    /// The last ones, at most so many.
    pub limit: Option<usize>,
}

/// The documents of changes, the oldest first, and warnings about lines that cannot be read. A folder or owner that
/// never was is exit 3.
pub fn log(state: &State<'_>, query: &Query) -> Result<(Vec<Value>, Vec<String>)> {
    let since = query.since.map(|since| since.from(now()));
    // What a folder was called, and whether there ever was one, may stand anywhere.
    let first = match (&query.of, since) {
        (None, Some(since)) => history::month_of(since.min(state.registry.header.updated_at)),
        _ => String::new(),
    };
    let (entries, warnings) = history::read(state.root, &first)?;
    // Read after the history: a change that came between the two is in force, and not lost.
    let standings = history::states(&entries, &registry::load(state.root)?.header);
    let wanted = query.of.as_ref().map(|subject| Wanted::find(state, subject, &entries)).transpose()?;
    let matching = entries.iter().zip(standings).filter(|(entry, _)| {
        let of = wanted.as_ref().is_none_or(|wanted| entry.changes.iter().any(|c| wanted.has(c)));
        of && since.is_none_or(|since| entry.time >= since)
    });
    let mut items: Vec<Value> = matching.map(|(entry, standing)| document(entry, standing)).collect();
    if let Some(most) = query.limit {
        items.drain(..items.len().saturating_sub(most));
    }
    Ok((items, warnings))
}

/// A change. The records are the registry's own.
fn document(entry: &Entry, standing: Standing) -> Value {
    let mut item = json!({
        "generation": entry.generation,
        "time": entry.time,
        "actor": entry.actor,
        "login": entry.login,
        "host": entry.host,
        "command": entry.command,
        "state": standing.name(),
        "storage": entry.storage,
        "edited": entry.edited,
        "changes": entry.changes,
    });
    let undone_by = match standing {
        Standing::Undone(by) => Some(by),
        _ => None,
    };
    if let Value::Object(map) = &mut item {
        map.extend(entry.undoes.map(|generation| ("undoes".to_owned(), json!(generation))));
        map.extend(undone_by.map(|generation| ("undone_by".to_owned(), json!(generation))));
    }
    item
}

/// The value of a key, before and after a change.
fn both<'a>(change: &'a Changed, key: &str) -> [Option<&'a Value>; 2] {
    [&change.before, &change.after].map(|record| record.as_ref().and_then(|record| record.get(key)))
}

fn ids(change: &Changed) -> impl Iterator<Item = &str> {
    both(change, "id").into_iter().flatten().filter_map(Value::as_str)
}

/// What a change has to be about.
enum Wanted {
    /// Folders, by all names that they had, and what is recorded under this name.
    Folders(Option<String>, BTreeSet<String>),
    /// An owner: its record, scopes, folders and sessions, and what others gave it.
    Owner(Owner),
}

impl Wanted {
    fn find(state: &State<'_>, subject: &Subject, entries: &[Entry]) -> Result<Wanted> {
        let unknown = |what: &str| {
            Error::not_found(format!(
                "there is no {what} '{}', and the history knows of none",
                printable(&subject.to_string())
            ))
            .hint("'vfadm registry log' shows every change")
        };
        let changes = || entries.iter().flat_map(|entry| &entry.changes);
        let folders = || changes().filter(|change| change.section == VFolder::SECTION);
        match subject {
            Subject::Owner(owner) => {
                let wanted = Wanted::Owner(owner.clone());
                let is_known = resolve::owner(state.registry, owner).is_ok();
                if !is_known && !changes().any(|change| wanted.has(change)) {
                    return Err(unknown(owner.kind()));
                }
                Ok(wanted)
            }
            Subject::Folder(FolderRef::Id(prefix)) => {
                let known = state.registry.all::<VFolder>()?.into_iter().map(|(_, f)| f.id.to_string());
                let ids: BTreeSet<String> = known
                    .chain(folders().flat_map(ids).map(str::to_owned))
                    .filter(|id| id.replace('-', "").starts_with(prefix.as_str()))
                    .collect();
                match ids.len() {
                    0 => Err(unknown("vfolder")),
                    1 => Ok(Wanted::Folders(None, ids)),
                    _ => {
                        let ids: Vec<String> = ids.iter().map(|id| format!("id:{id}")).collect();
                        Err(Error::usage(format!("'{subject}' may mean {}", ids.join(" or ")))
                            .hint("write the one you mean"))
                    }
                }
            }
            Subject::Folder(FolderRef::Bare(name)) => {
                Err(Error::usage(format!("'{name}' does not say whose vfolder it is"))
                    .hint(format!("write OWNER/{name}, as in alice/{name} or project/ml/{name}")))
            }
            Subject::Folder(FolderRef::Named(owner, name)) => {
                let key = owner.folder_key(name);
                let present = state.registry.get::<VFolder>(&key)?.map(|f| f.id.to_string());
                let named = folders().filter(|change| change.key == key);
                let ids: BTreeSet<String> = named.flat_map(ids).map(str::to_owned).chain(present).collect();
                if ids.is_empty() { Err(unknown("vfolder")) } else { Ok(Wanted::Folders(Some(key), ids)) }
            }
        }
    }

    fn has(&self, change: &Changed) -> bool {
        let is = |section: &str| change.section == section;
        match self {
            Wanted::Folders(key, wanted) => {
                let of = |name| both(change, name).into_iter().flatten().any(|id| contains(wanted, id));
                (is(VFolder::SECTION) && (key.as_ref() == Some(&change.key) || of("id")))
                    || (is(Invitation::SECTION) && of("vfolder"))
            }
            Wanted::Owner(owner) => {
                let owned = (is(VFolder::SECTION) && change.key.starts_with(&format!("{owner}/")))
                    || (is(Scope::SECTION) && change.key.starts_with(&format!("{owner}@")));
                let name = owner.name();
                let at = |key| both(change, key).into_iter().flatten().any(|value| value == name);
                let given = |key| {
                    let [before, after] = both(change, key).map(|map| map.and_then(|map| map.get(name)));
                    before != after
                };
                owned
                    || match owner {
                        Owner::Project(_) => {
                            (is(Project::SECTION) && change.key == name)
                                || (is(Session::SECTION) && at("project"))
                        }
                        Owner::User(_) => {
                            (is(User::SECTION) && change.key == name)
                                || (is(Session::SECTION) && at("user"))
                                || (is(Invitation::SECTION) && (at("invitee") || at("inviter")))
                                || (is(VFolder::SECTION) && given("shares"))
                                || (is(Project::SECTION) && given("members"))
                        }
                    }
            }
        }
    }
}

fn contains(ids: &BTreeSet<String>, id: &Value) -> bool {
    id.as_str().is_some_and(|id| ids.contains(id))
}
