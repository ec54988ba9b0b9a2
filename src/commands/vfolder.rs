//! `vfadm vfolder`.

use anyhow::Result;

use super::App;
use crate::cli::progress::Told;
use crate::cli::vfolder::{Sort, Status, Vfolder};
use crate::domain::reference::FolderRef;
use crate::ops::{change, clone, invitation, purge, share, transfer, trash, vfolder};
use crate::output::{Column, Kind, Style};

const KIND: &str = "VFolder";
/// The columns of a list of folders.
pub(super) const COLUMNS: [Column; 8] = [
    Column::text("OWNER", "owner"),
    Column::text("NAME", "name"),
    Column::text("VOLUME", "volume"),
    Column::text("STATUS", "status"),
    Column::text("PERM", "permission"),
    Column::of("SHARES", "shares", Kind::Count),
    Column::of("ID", "id", Kind::Id),
    Column::text("CREATED", "created_at"),
];

impl App {
    pub(super) fn vfolder(&self, command: Vfolder) -> Result<u8> {
        match command {
            Vfolder::Create { folder, volume, quota_init, perm, cloneable, if_not_exists } => {
                let request = vfolder::Create {
                    folder,
                    volume,
                    quota_init,
                    permission: perm,
                    cloneable,
                    if_not_exists,
                };
                self.done(KIND, change(&self.ctx, |state| vfolder::create(state, &request))?)
            }
            Vfolder::List { owner, volume, status, shared, name, sort, limit } => {
                let status = status.map(|s| status_word(s).to_owned());
                let filter = vfolder::Filter { owner, volume, status, shared, name };
                self.list(&filter, sort, limit)
            }
            Vfolder::Share { folder, users, perm, force } => {
                let request = share::Share { folder, users: unique(users), level: perm, force };
                self.done(KIND, change(&self.ctx, |state| share::share(state, &request))?)
            }
            Vfolder::Unshare { folder, users, force } => {
                let users = unique(users);
                let done = change(&self.ctx, |state| share::unshare(state, &folder, &users, force))?;
                self.done(KIND, done)
            }
            Vfolder::Leave { folder } => {
                self.done(KIND, change(&self.ctx, |state| share::leave(state, &folder))?)
            }
            Vfolder::Invite { folder, users, perm, expires } => {
                let request = invitation::Invite { folder, users: unique(users), level: perm, term: expires };
                self.done("Invitation", change(&self.ctx, |state| invitation::invite(state, &request))?)
            }
            Vfolder::Show { folder } => {
                let reading = self.reading()?;
                self.out.one(KIND, &vfolder::show(&reading.state(&self.ctx), &folder)?)?;
                Ok(0)
            }
            Vfolder::Path { folder } => self.path(&folder),
            Vfolder::Rename { folder, new_name } => {
                self.done(KIND, change(&self.ctx, |state| vfolder::rename(state, &folder, &new_name))?)
            }
            Vfolder::Set { folder, perm, cloneable, not_cloneable } => {
                let cloneable = (cloneable || not_cloneable).then_some(cloneable);
                self.done(KIND, change(&self.ctx, |state| vfolder::set(state, &folder, perm, cloneable))?)
            }
            Vfolder::Delete { folder, purge: false, .. } => {
                self.done(KIND, change(&self.ctx, |state| trash::delete(state, &folder))?)
            }
            Vfolder::Delete { folder, purge: true, progress } => self.purge(&folder, true, progress.progress),
            Vfolder::Restore { folder } => {
                self.done(KIND, change(&self.ctx, |state| trash::restore(state, &folder))?)
            }
            Vfolder::Purge { folder, progress } => self.purge(&folder, false, progress.progress),
            Vfolder::Transfer { folder, to, volume, perm, progress } => {
                let (volume, permission) = (volume, perm);
                let request = transfer::Transfer { folder, to, volume, permission, trashed: false };
                self.transfer(&request, progress.progress)
            }
            Vfolder::Clone { from, to, volume, linked, allow_over, resume: _, restart, progress } => {
                let request = clone::Clone { from, to, volume, linked, allow_over, restart };
                self.clone_folder(&request, progress.progress)
            }
            Vfolder::Usage(arguments) => self.usage(&arguments),
        }
    }

    fn list(&self, filter: &vfolder::Filter, sort: Sort, limit: Option<usize>) -> Result<u8> {
        let reading = self.reading()?;
        let mut items = vfolder::list(&reading.state(&self.ctx), filter)?;
        let key = match sort {
            Sort::Owner => "owner",
            Sort::Name => "name",
            Sort::Volume => "volume",
            Sort::Status => "status",
            Sort::Created => "created_at",
        };
        // Stable: within one of them the order is by owner and name.
        items.sort_by(|a, b| a[key].as_str().cmp(&b[key].as_str()));
        if let Some(most) = limit.filter(|most| *most < items.len()) {
            self.out.talk(&format!("{most} of {} vfolders", items.len()));
            items.truncate(most);
        }
        let mut columns = COLUMNS.to_vec();
        if self.ctx.actor.user().is_some() {
            columns.insert(5, Column::text("FROM", "source"));
        }
        self.out.list(KIND, &items, &columns)?;
        Ok(0)
    }

    fn path(&self, folder: &FolderRef) -> Result<u8> {
        let reading = self.reading()?;
        let item = vfolder::show(&reading.state(&self.ctx), folder)?;
        match self.out.style {
            Style::Json | Style::Yaml => {
                let short = serde_json::json!({"id": item["id"], "path": item["path"]});
                self.out.one("VFolderPath", &short)?;
            }
            _ => self.out.line(item["path"].as_str().unwrap_or_default())?,
        }
        Ok(0)
    }

    fn purge(&self, folder: &FolderRef, from_ready: bool, told: Told) -> Result<u8> {
        let preview = purge::preview(&self.ctx, folder, from_ready)?;
        if self.ctx.dry_run {
            return self.done(KIND, preview);
        }
        let message = preview.plan.message.replace(" purged", "");
        self.confirm(&format!("Remove the {message} for good?"))?;
        let counter = self.counter(told, "purging", message.trim_start_matches("vfolder "));
        let done = purge::purge(&self.ctx, folder, from_ready, &counter);
        drop(counter);
        self.done(KIND, done?)
    }

    fn transfer(&self, request: &transfer::Transfer, told: Told) -> Result<u8> {
        let counter = self.counter(told, "transferring", &request.folder.to_string());
        let done = match self.ctx.dry_run {
            true => transfer::preview(&self.ctx, request, &counter),
            false => transfer::transfer(&self.ctx, request, &counter),
        };
        drop(counter);
        self.done(KIND, done?)
    }

    fn clone_folder(&self, request: &clone::Clone, told: Told) -> Result<u8> {
        let counter = self.counter(told, "cloning", &format!("{} to {}", request.from, request.to));
        let done = match self.ctx.dry_run {
            true => clone::preview(&self.ctx, request, &counter),
            false => clone::clone(&self.ctx, request, &counter, &|way| counter.announce(&self.out, way)),
        };
        drop(counter);
        self.done(KIND, done?)
    }
}

/// The users that were typed, each once.
fn unique(mut users: Vec<String>) -> Vec<String> {
    let mut seen = std::collections::HashSet::new();
    users.retain(|user| seen.insert(user.clone()));
    users
}

fn status_word(status: Status) -> &'static str {
    match status {
        Status::Ready => "ready",
        Status::Trashed => "trashed",
        Status::Purging => "purging",
        Status::Creating => "creating",
        Status::Copying => "copying",
    }
}
