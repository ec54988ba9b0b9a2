//! `vfadm user` and `vfadm project`.

use anyhow::Result;

use super::App;
use crate::cli::owner::{self as cli, Limits, Project, User};
use crate::cli::progress::Told;
use crate::domain::owner::Owner;
use crate::domain::record::{OwnerState, Role};
use crate::domain::reference::FolderRef;
use crate::ops::owner::{self, Leftovers, Properties};
use crate::ops::transfer::Transfer;
use crate::ops::{self, Done, change};
use crate::output::{Column, Kind};
use crate::tree::Silent;

const USER_COLUMNS: [Column; 6] = [
    Column::text("NAME", "name"),
    Column::text("STATE", "state"),
    Column::text("VFOLDERS", "vfolders"),
    Column::text("MAX-VFOLDERS", "max_vfolders"),
    Column::of("MAX-QUOTA", "max_quota", Kind::Bytes),
    Column::of("DEFAULT-QUOTA", "default_quota", Kind::Bytes),
];
const PROJECT_COLUMNS: [Column; 7] = [
    Column::text("NAME", "name"),
    Column::text("STATE", "state"),
    Column::text("VFOLDERS", "vfolders"),
    Column::of("MEMBERS", "members", Kind::Count),
    Column::text("MAX-VFOLDERS", "max_vfolders"),
    Column::of("MAX-QUOTA", "max_quota", Kind::Bytes),
    Column::of("DEFAULT-QUOTA", "default_quota", Kind::Bytes),
];

fn properties(limits: &Limits) -> Properties {
    Properties {
        max_vfolders: limits.max_vfolders.map(|count| count.0),
        max_quota: limits.max_quota,
        default_quota: limits.default_quota,
        state: limits.state.map(|state| match state {
            cli::State::Active => OwnerState::Active,
            cli::State::Inactive => OwnerState::Inactive,
        }),
    }
}

fn kind(owner: &Owner) -> &'static str {
    match owner {
        Owner::User(_) => "User",
        Owner::Project(_) => "Project",
    }
}

impl App {
    pub(super) fn user(&self, command: User) -> Result<u8> {
        match command {
            User::Add { user, limits } => self.owner_add(Owner::User(user), &limits),
            User::List => self.owner_list("user", "User", &USER_COLUMNS),
            User::Show { user } => self.owner_show(&Owner::User(user)),
            User::Set { user, limits } => self.owner_set(Owner::User(user), &limits),
            User::Remove { user, purge, transfer_to } => {
                self.owner_remove(&Owner::User(user), purge, transfer_to)
            }
        }
    }

    pub(super) fn project(&self, command: Project) -> Result<u8> {
        match command {
            Project::Add { project, limits } => self.owner_add(Owner::Project(project), &limits),
            Project::List => self.owner_list("project", "Project", &PROJECT_COLUMNS),
            Project::Show { project } => self.owner_show(&Owner::Project(project)),
            Project::Set { project, limits } => self.owner_set(Owner::Project(project), &limits),
            Project::Remove { project, purge, transfer_to } => {
                self.owner_remove(&Owner::Project(project), purge, transfer_to)
            }
            Project::AddMember { project, users, role } => {
                let role = role.map(|role| match role {
                    cli::Role::Admin => Role::Admin,
                    cli::Role::Member => Role::Member,
                });
                let done = change(&self.ctx, |state| owner::add_members(state, &project, &users, role))?;
                self.done("Project", done)
            }
            Project::RemoveMember { project, users, force } => {
                let done = change(&self.ctx, |state| owner::remove_members(state, &project, &users, force))?;
                self.done("Project", done)
            }
        }
    }

    fn owner_add(&self, owner: Owner, limits: &Limits) -> Result<u8> {
        let done = change(&self.ctx, |state| owner::add(state, &owner, &properties(limits)))?;
        self.done(kind(&owner), done)
    }

    fn owner_list(&self, noun: &str, kind: &str, columns: &[Column]) -> Result<u8> {
        let reading = self.reading()?;
        self.out.list(kind, &owner::list(&reading.state(&self.ctx), noun)?, columns)?;
        Ok(0)
    }

    fn owner_show(&self, owner: &Owner) -> Result<u8> {
        let reading = self.reading()?;
        self.out.one(kind(owner), &owner::show(&reading.state(&self.ctx), owner)?)?;
        Ok(0)
    }

    fn owner_set(&self, owner: Owner, limits: &Limits) -> Result<u8> {
        let done = change(&self.ctx, |state| owner::set(state, &owner, &properties(limits)))?;
        self.done(kind(&owner), done)
    }

    fn owner_remove(&self, owner: &Owner, purge: bool, transfer_to: Option<Owner>) -> Result<u8> {
        let leftovers = match transfer_to {
            Some(other) => Leftovers::TransferredTo(other),
            None if purge => Leftovers::Purged,
            None => Leftovers::None,
        };
        let reading = ops::read(&self.ctx)?;
        let state = reading.state(&self.ctx);
        let folders = owner::folders(&state, owner);
        let counter = self.counter(Told::Auto, "measuring", &owner.to_string());
        let planned = owner::remove(&state, owner, &leftovers, &counter)?;
        drop(counter);
        if self.ctx.dry_run {
            let done = Done { plan: planned, planned: true, warnings: reading.warnings };
            return self.done(kind(owner), done);
        }
        self.confirm(&question(owner, &folders, &leftovers))?;
        for key in folders {
            self.clear(key.parse()?, &leftovers)?;
        }
        let remove = |state: &ops::State<'_>| owner::remove(state, owner, &Leftovers::None, &Silent);
        let mut done = change(&self.ctx, remove)?;
        done.plan.tries = planned.tries;
        self.done(kind(owner), done)
    }

    fn clear(&self, folder: FolderRef, leftovers: &Leftovers) -> Result<()> {
        match leftovers {
            Leftovers::None => {}
            Leftovers::Purged => {
                let counter = self.counter(Told::Auto, "purging", &folder.to_string());
                ops::purge::purge(&self.ctx, &folder, true, &counter)?;
            }
            Leftovers::TransferredTo(to) => {
                let counter = self.counter(Told::Auto, "transferring", &folder.to_string());
                let request =
                    Transfer { folder, to: to.clone(), volume: None, permission: None, trashed: true };
                ops::transfer::transfer(&self.ctx, &request, &counter)?;
            }
        }
        Ok(())
    }
}

fn question(owner: &Owner, folders: &[String], leftovers: &Leftovers) -> String {
    let what = match folders {
        [] => return format!("Remove {owner}?"),
        [only] => format!("its vfolder {only}"),
        several => format!("its {} vfolders", several.len()),
    };
    match leftovers {
        Leftovers::TransferredTo(to) => format!("Remove {owner}, and give {what} to {to}?"),
        _ => format!("Remove {owner}, and {what} for good?"),
    }
}
