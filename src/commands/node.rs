//! `vfadm node`, and `vfadm volume check --nodes`.

use std::time::Duration;

use anyhow::Result;
use serde_json::Value;

use super::App;
use crate::cli::node::Node;
use crate::domain::node::{Sight, VolumeState};
use crate::ops::node;
use crate::output::{Column, Kind, Style};

const KIND: &str = "Node";
const COLUMNS: [Column; 6] = [
    Column::text("NODE", "name"),
    Column::of("SEEN", "seen_seconds_ago", Kind::Ago),
    Column::of("BOOT", "boot_id", Kind::Id),
    Column::of("CLOCK", "clock_offset_seconds", Kind::Offset),
    Column::of("VOLUMES", "volumes", Kind::Ok),
    Column::text("STATE", "state"),
];
const SIGHT_COLUMNS: [Column; 6] = [
    Column::text("VOLUME", "volume"),
    Column::text("STATE", "state"),
    Column::text("PATH", "path"),
    Column::text("FILESYSTEM", "filesystem"),
    Column::of("FREE", "free_bytes", Kind::Bytes),
    Column::text("REASON", "reason"),
];

/// A cell of the matrix.
fn cell(sight: Option<&Sight>) -> String {
    let Some(sight) = sight else { return "?".to_owned() };
    let state = sight.state.name();
    match (sight.state, sight.read_ms, &sight.found_at) {
        (VolumeState::Ok, Some(ms), _) => format!("{state} {ms} ms"),
        (VolumeState::Elsewhere, _, Some(path)) => format!("{state} {path}"),
        _ => state.to_owned(),
    }
}

impl App {
    pub(super) fn node(&self, command: Node) -> Result<u8> {
        match command {
            Node::CheckIn => {
                let reading = self.reading()?;
                let done = node::check_in(&self.ctx, &reading.state(&self.ctx))?;
                let sights = done.plan.item.as_ref().map(|item| item["volumes"].clone());
                self.done(KIND, done)?;
                if let Some(Value::Array(sights)) = sights
                    && matches!(self.out.style, Style::Table)
                    && !self.out.quiet
                {
                    self.out.list(KIND, &sights, &SIGHT_COLUMNS)?;
                }
                Ok(0)
            }
            Node::List => {
                let reading = self.reading()?;
                self.out.list(KIND, &node::list(&reading.state(&self.ctx))?, &COLUMNS)?;
                Ok(0)
            }
            Node::Show { node: name } => {
                let reading = self.reading()?;
                let shown = node::require(&reading.state(&self.ctx), &name)?;
                self.out.one(KIND, &node::document(&name, &shown))?;
                Ok(0)
            }
            Node::Remove { node: name } => {
                let reading = self.reading()?;
                let state = reading.state(&self.ctx);
                node::require(&state, &name)?;
                if !self.ctx.dry_run {
                    self.confirm(&format!("Forget the node {name}?"))?;
                }
                self.done(KIND, node::remove(&self.ctx, &state, &name)?)
            }
        }
    }

    /// The matrix volume × node, and what deviates; exit 10 when something does.
    pub(super) fn compare_nodes(&self, volume: Option<&str>, stale: Duration) -> Result<u8> {
        let reading = self.reading()?;
        let matrix = node::compare(&reading.state(&self.ctx), volume, stale)?;
        if matrix.nodes.is_empty() {
            self.out.warn("no node has checked in: run 'vfadm node check-in' on each, by cron or a timer");
        }
        if matches!(self.out.style, Style::Table) && !matrix.nodes.is_empty() {
            let head: Vec<&str> =
                ["VOLUME"].into_iter().chain(matrix.nodes.iter().map(String::as_str)).collect();
            let rows = matrix.rows.iter().map(|(volume, sights)| {
                let cells = sights.iter().map(|sight| cell(sight.as_ref()));
                std::iter::once(volume.clone()).chain(cells).collect()
            });
            self.out.grid(&head, rows.collect())?;
            if !matrix.findings.is_empty() {
                self.out.line("")?;
            }
        }
        self.findings_with(&matrix.findings, Some(("matrix", matrix.document())))
    }
}
