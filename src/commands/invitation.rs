//! `vfadm invitation` and `vfadm permission`.

use anyhow::Result;
use serde_json::Value;

use super::App;
use super::volume::action_of;
use crate::cli::sharing::{Invitation, Permission};
use crate::domain::error::Error;
use crate::ops::invitation::{self, Answer, Which};
use crate::ops::{change, explain};
use crate::output::{Column, Kind, prompt};

const KIND: &str = "Invitation";
const COLUMNS: [Column; 7] = [
    Column::of("ID", "id", Kind::Id),
    Column::text("VFOLDER", "vfolder"),
    Column::text("INVITER", "inviter"),
    Column::text("INVITEE", "invitee"),
    Column::text("PERM", "permission"),
    Column::text("STATE", "state"),
    Column::text("EXPIRES", "expires_at"),
];

impl App {
    pub(super) fn invitation(&self, command: Invitation) -> Result<u8> {
        match command {
            Invitation::List { sent, received, all } => {
                if all {
                    self.superadmin("invitation list --all")?;
                }
                let which = match (sent, received) {
                    (true, _) => Which::Sent,
                    (_, true) => Which::Received,
                    _ => Which::Own,
                };
                let reading = self.reading()?;
                let items = invitation::list(&reading.state(&self.ctx), which)?;
                self.out.list(KIND, &items, &COLUMNS)?;
                Ok(0)
            }
            Invitation::Accept(which) => self.answer(which.id, Answer::Accept),
            Invitation::Reject(which) => self.answer(which.id, Answer::Reject),
            Invitation::Cancel(which) => self.answer(which.id, Answer::Cancel),
        }
    }

    fn answer(&self, id: Option<String>, answer: Answer) -> Result<u8> {
        let id = match id {
            Some(id) => id,
            None => self.choose(answer)?,
        };
        let done = change(&self.ctx, |state| invitation::answer(state, &id, answer))?;
        self.done(KIND, done)
    }

    /// One of the pending invitations, chosen on a terminal.
    fn choose(&self, answer: Answer) -> Result<String> {
        let reading = self.reading()?;
        let items = invitation::answerable(&reading.state(&self.ctx), answer)?;
        if items.is_empty() {
            let error = Error::not_found(format!("there is no invitation to {}", answer.name()));
            return Err(error.hint("'vfadm invitation list' shows them; say whose with --as USER").into());
        }
        let text = |item: &Value, key: &str| item[key].as_str().unwrap_or_default().to_owned();
        let lines: Vec<String> = items
            .iter()
            .map(|item| {
                format!(
                    "{}  {} ({}) for {} from {}",
                    &text(item, "id")[..8],
                    text(item, "vfolder"),
                    text(item, "permission"),
                    text(item, "invitee"),
                    text(item, "inviter")
                )
            })
            .collect();
        let question = format!("Which invitation do you want to {}?", answer.name());
        let chosen = prompt::select(&question, &lines, &format!("vfadm invitation {} ID", answer.name()))?;
        Ok(text(&items[chosen], "id"))
    }

    pub(super) fn permission(&self, command: Permission) -> Result<u8> {
        let Permission::Explain { action, folder } = command;
        let reading = self.reading()?;
        let mut item = explain::explain(&reading.state(&self.ctx), action_of(action), &folder)?;
        if let Some(change) = item["change"].as_str().map(|text| self.pasteable(text)) {
            item["change"] = change.into();
        }
        self.out.one("Permission", &item)?;
        Ok(0)
    }
}
