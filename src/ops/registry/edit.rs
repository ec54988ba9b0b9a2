//! The registry in the administrator's editor. The lock is not held meanwhile: what others change is merged record by
//! record, and only a record that both changed is a conflict.

mod base;
mod guard;

use std::path::{Path, PathBuf};

use serde_json::json;
use uuid::Uuid;

use super::{Held, hold, read_file};
use crate::domain::error::{Error, Result};
use crate::domain::text::shell_path;
use crate::host::dir::{Dir, create_file};
use crate::host::{editor, files, terminal};
use crate::ops::{Context, Done, sidecar};
use crate::plan::{self, Outcome, Plan};
use crate::registry::difference::{difference, lines};
use crate::registry::history::Changed;
use crate::registry::load::{self, MOST_BYTES};
use crate::registry::root::{FILE, PRIVATE};
use crate::registry::{Change, Present, Registry, Root};

/// How the names of the texts begin and end.
const BEGIN: &str = "edit-";
const END: &str = ".yaml";

/// A text that is being edited, in a file of its own that is removed with it.
pub struct Edit {
    root: Root,
    folder: Dir,
    name: String,
    /// The registry that the text was made from.
    base: Option<Registry>,
    before: Vec<u8>,
    /// Why the registry needs an edit.
    pub fault: Option<Error>,
    /// Texts of edits that were cut off, of those that kept theirs, and of those that are going on.
    pub others: Vec<PathBuf>,
    kept: bool,
}

impl Edit {
    /// Makes the file: of the registry as it is, broken or not, or of a text that an earlier edit kept.
    pub fn begin(ctx: &Context, kept: Option<&Path>) -> Result<Edit> {
        let root = Root::find(&ctx.root)?;
        let present = Present::look(&root)?;
        present.require_no_newer()?;
        let there = files::read(root.dir(), FILE, MOST_BYTES).map_err(|e| Error::registry(e.to_string()))?;
        let (Some(before), fault) = (there, present.fault) else {
            return Err(Root::open(&ctx.root)
                .err()
                .unwrap_or_else(|| Error::registry("the registry has gone")));
        };
        let (text, base) = match kept {
            Some(path) => {
                let (text, path) = read_file(path)?;
                let base = base::of(&root, present.registry.as_ref(), &text, &path)?;
                (text, base)
            }
            None => (before.clone(), present.registry),
        };
        let folder = root.dir().ensure_dir(PRIVATE, 0o700)?;
        let others = others(&folder, kept)?;
        let name = format!("{BEGIN}{}{END}", &Uuid::new_v4().simple().to_string()[..8]);
        let edit = Edit { base, before, fault, others, folder, name, root, kept: false };
        let mut file = create_file(&edit.folder, &edit.name, 0o600)?;
        let written = std::io::Write::write_all(&mut file, &text);
        written.map_err(|e| crate::host::Error::path("write", edit.path(), e))?;
        Ok(edit)
    }

    /// The file.
    pub fn path(&self) -> PathBuf {
        self.folder.join(&self.name)
    }

    /// Opens the editor and stays until it ends. Without a terminal it has to be named: what is installed would wait for ever
    /// (exit 2).
    pub fn run(&self) -> Result<()> {
        if editor::named().is_none() && !terminal::wanted() {
            return Err(Error::usage("there is no terminal for an editor")
                .hint("name one that needs none, in the environment, as VISUAL or EDITOR"));
        }
        Ok(editor::edit(&self.path())?)
    }

    fn read(&self) -> Result<Vec<u8>> {
        files::read(&self.folder, &self.name, MOST_BYTES)?
            .ok_or_else(|| Error::registry(format!("the editor left no {}", self.path().display())))
    }

    fn is_changed(&self) -> bool {
        self.read().is_ok_and(|text| text != self.before)
    }

    /// What the text would change. Exit 9, with line and column, where it is no sound registry; exit 4 where somebody
    /// changed the same record meanwhile.
    pub fn plan(&self) -> Result<Done> {
        let present = Present::look(&self.root)?;
        let (changes, _) = self.merge(present.registry.as_ref())?;
        guard::require_safe(&self.root, present.registry.as_ref(), &changes)?;
        let plan = self.planned(&changes, present.generation)?;
        Ok(Done { plan, planned: true, warnings: Vec::new() })
    }

    /// Puts it in force.
    pub fn commit(&self, ctx: &Context) -> Result<Done> {
        let made = || self.merge(None).map(|(_, registry)| registry);
        let Held { mut locked, before, broken, mut warnings, .. } = hold(ctx, made)?;
        let (changes, mut registry) = self.merge(before.as_ref())?;
        guard::require_safe(&locked.root, before.as_ref(), &changes)?;
        let generation = locked.registry.header.generation;
        let mut plan = self.planned(&changes, generation)?;
        if plan.outcome != Outcome::Unchanged {
            registry.header.generation = generation;
            for change in changes.iter().filter(|change| change.after.is_some()) {
                sidecar::follow(&registry, &change.section, &change.key, &mut plan)?;
            }
            let noted = if before.is_some() { changes } else { Vec::new() };
            warnings.extend(plan::replace(&mut locked, registry, noted, broken, &plan.after, &ctx.command)?);
        }
        locked.unlock();
        Ok(Done { plan, planned: false, warnings })
    }

    fn planned(&self, changes: &[Changed], generation: u64) -> Result<Plan> {
        if self.read()? == self.before {
            return Ok(Plan::unchanged("the registry is as it was"));
        }
        let message = match changes.len() {
            0 => "registry edited: no record is different".to_owned(),
            1 => "registry edited: 1 record is different".to_owned(),
            n => format!("registry edited: {n} records are different"),
        };
        let mut plan = Plan::new(Outcome::Changed, message);
        plan.tries = lines(changes);
        plan.item = Some(json!({"generation": generation + 1, "records_changed": changes.len()}));
        Ok(plan)
    }

    /// The text with what others changed since it was made, and how that differs from the registry as it is.
    fn merge(&self, now: Option<&Registry>) -> Result<(Vec<Changed>, Registry)> {
        let mut text = Registry::parse(self.read()?, self.path())?;
        if let Some(now) = now.or(self.base.as_ref()) {
            text.header = now.header.clone();
        }
        if let (Some(base), Some(now)) = (&self.base, now) {
            let mine = difference(Some(base), &text)?;
            for theirs in difference(Some(base), now)? {
                match mine.iter().find(|own| (&own.section, &own.key) == (&theirs.section, &theirs.key)) {
                    Some(own) if own.after != theirs.after => return Err(conflict(&theirs)),
                    Some(_) => {}
                    None => {
                        let change = Change::of(&theirs.section, &theirs.key, theirs.after);
                        change.iter().for_each(|change| text.apply(change));
                    }
                }
            }
        }
        load::require_sound(now, &text)?;
        Ok((difference(now, &text)?, text))
    }

    /// Leaves a text that was changed where it is, for another try; the error says where.
    pub fn keep(mut self, error: Error) -> Error {
        if !self.is_changed() {
            return error;
        }
        let path = self.path();
        self.kept = true;
        let go_on = format!("the text is kept: vfadm registry edit {}", shell_path(&path));
        let hint = error.hint.as_ref().map_or(go_on.clone(), |hint| format!("{hint}; {go_on}"));
        error.hint(hint).detail("kept", path.display().to_string())
    }
}

impl Drop for Edit {
    fn drop(&mut self) {
        if !self.kept {
            let _ = self.folder.remove_file(&self.name);
        }
    }
}

/// The texts of other edits, but for the one that this one goes on with.
fn others(folder: &Dir, kept: Option<&Path>) -> Result<Vec<PathBuf>> {
    let kept = kept.and_then(|path| path.canonicalize().ok());
    let is_text = |name: &str| name.starts_with(BEGIN) && name.ends_with(END);
    let names = folder.names()?.into_iter().filter(|name| name.to_str().is_some_and(is_text));
    let mut others: Vec<PathBuf> = names.map(|name| folder.join(name)).collect();
    others.retain(|path| Some(path) != kept.as_ref());
    others.sort();
    Ok(others)
}

fn conflict(theirs: &Changed) -> Error {
    Error::conflict(match theirs.key.as_str() {
        "" => "the settings were changed by another command meanwhile".to_owned(),
        key => format!("{}: '{key}' was changed by another command meanwhile", theirs.section),
    })
}
