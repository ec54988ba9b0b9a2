//! Nodes: the hosts on which the volumes are mounted, and what each of them has said.

mod check_in;
mod file;
mod placement;

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::{Context, Done, State};
use crate::domain::duration;
use crate::domain::error::{Error, Result};
use crate::domain::finding::Finding;
use crate::domain::node::{Node, Report, Sight, VolumeState, Wanted, deviations};
use crate::domain::record::{Session, Volume};
use crate::plan::{Outcome, Plan};
pub use check_in::check_in;
pub use file::{is_verified, note_verified, report_of};
pub use placement::require_volumes_on;

/// The document of a node.
pub fn document(name: &str, node: &Node) -> Value {
    let mut item = Map::new();
    item.insert("name".to_owned(), json!(name));
    item.insert("seen_at".to_owned(), json!(node.seen_at));
    if let Some(ago) = node.seen_at.map(|seen| crate::registry::now().duration_since(seen).as_secs()) {
        item.insert("seen_seconds_ago".to_owned(), json!(ago.max(0)));
    }
    item.insert("boot_id".to_owned(), json!(node.boot_id));
    match node.clock_offset_seconds {
        Some(offset) => item.insert("clock_offset_seconds".to_owned(), json!(offset)),
        None => item.insert(
            "clock_offset_seconds_unknown_reason".to_owned(),
            json!("it is measured by writing a file to the root"),
        ),
    };
    item.insert("version".to_owned(), json!(node.version));
    item.insert("state".to_owned(), json!(node.worst().unwrap_or(VolumeState::Ok)));
    item.insert("volumes".to_owned(), json!(node.volumes));
    Value::Object(item)
}

/// The documents of all nodes that have checked in, by name.
pub fn list(state: &State<'_>) -> Result<Vec<Value>> {
    Ok(file::reports(state.root)?.iter().map(|report| document(&report.name, &report.node)).collect())
}

/// Volume × node.
pub struct Matrix {
    /// The nodes, across.
    pub nodes: Vec<String>,
    /// The volumes, down, and what each node sees of them; `None` where it has not looked.
    pub rows: Vec<(String, Vec<Option<Sight>>)>,
    /// What deviates.
    pub findings: Vec<Finding>,
}

impl Matrix {
    /// For documents.
    pub fn document(&self) -> Value {
        let row = |sights: &Vec<Option<Sight>>| -> Map<String, Value> {
            self.nodes.iter().cloned().zip(sights.iter().map(|sight| json!(sight))).collect()
        };
        self.rows.iter().map(|(volume, sights)| json!({"volume": volume, "nodes": row(sights)})).collect()
    }
}

/// The volumes against what the nodes said of them, and the nodes against each other.
pub fn compare(state: &State<'_>, only: Option<&str>, stale: Duration) -> Result<Matrix> {
    let volumes = match only {
        Some(name) => vec![(name.to_owned(), state.registry.require::<Volume>(name)?)],
        None => state.registry.all::<Volume>()?,
    };
    let reports = file::reports(state.root)?;
    let wanted: Vec<Wanted> =
        volumes.into_iter().map(|(name, volume)| Wanted { name, path: volume.path }).collect();
    let mut findings = deviations(&wanted, &reports, crate::registry::now(), stale);
    for name in file::unreadable(state.root)? {
        findings.push(
            Finding::warning("node_unreadable", format!("node {name}"), "what it said cannot be read")
                .repair(format!(
                    "run there: vfadm node check-in; if it left for good: vfadm node remove {name}"
                )),
        );
    }
    let sights = |name: &str| reports.iter().map(|report| report.node.sight(name).cloned()).collect();
    let rows = wanted.iter().map(|volume| (volume.name.clone(), sights(&volume.name))).collect();
    Ok(Matrix { nodes: reports.into_iter().map(|report| report.name).collect(), rows, findings })
}

/// Forgets a node that left for good. The registry does not change.
pub fn remove(ctx: &Context, state: &State<'_>, name: &str) -> Result<Done> {
    let node = require(state, name)?;
    let mut plan = Plan::new(Outcome::Deleted, format!("node {name} removed"));
    let on_it: Vec<String> = state
        .registry
        .all::<Session>()?
        .into_iter()
        .filter(|(_, session)| session.kernels.iter().any(|kernel| kernel.node == name))
        .map(|(key, _)| key)
        .collect();
    if !on_it.is_empty() {
        let sessions = on_it.join(", ");
        plan.warnings.push(format!("the sessions {sessions} are on it, and stay until they are stopped"));
    }
    if !ctx.dry_run {
        file::remove(state.root, name, ctx.lock_timeout)?;
    }
    plan.item = Some(document(name, &node));
    Ok(Done { plan, planned: ctx.dry_run, warnings: Vec::new() })
}

/// What a node said; exit 3 where it has said nothing.
pub fn require(state: &State<'_>, name: &str) -> Result<Node> {
    let known = file::reports(state.root)?;
    let names: Vec<&str> = known.iter().map(|report| report.name.as_str()).collect();
    let hint = match names[..] {
        [] => "no node has checked in: run 'vfadm node check-in' on each".to_owned(),
        _ => format!("there are: {}", names.join(", ")),
    };
    let missing = Error::not_found(format!("there is no node '{name}'")).hint(hint);
    match known.into_iter().find(|report| report.name == name) {
        Some(report) => Ok(report.node),
        None if file::unreadable(state.root)?.iter().any(|other| other == name) => Ok(Node::default()),
        None => Err(missing),
    }
}

/// How long ago a node was seen, for messages.
fn ago(report: &Report) -> Option<Duration> {
    let seen = report.node.seen_at?;
    Some(Duration::try_from(crate::registry::now().duration_since(seen)).unwrap_or_default())
}

fn ago_words(report: &Report) -> String {
    ago(report).map_or("never".to_owned(), |ago| format!("{} ago", duration::human(ago.as_secs())))
}
