//! Whether a session's kernel can be placed on a node.

use std::time::Duration;

use super::file::{own_name, report_of};
use super::{ago, ago_words};
use crate::domain::error::{Error, Result};
use crate::domain::node::Report;
use crate::registry::root::Root;

/// A node that was seen longer ago may be down.
const LONG_AGO: Duration = Duration::from_secs(15 * 60);

/// Refuses a node whose last check-in lacks one of these volumes (exit 8), with `force` only warns of it. Warnings: a
/// node that never checked in, or long ago. This host is looked at when the plan is made.
pub fn require_volumes_on(root: &Root, node: &str, volumes: &[&str], force: bool) -> Result<Vec<String>> {
    if node == own_name() {
        return Ok(Vec::new());
    }
    match judge(report_of(root, node)?.as_ref(), node, volumes) {
        Err(error) if force => Ok(vec![error.message]),
        other => other,
    }
}

fn judge(report: Option<&Report>, node: &str, volumes: &[&str]) -> Result<Vec<String>> {
    let Some(report) = report else {
        return Ok(vec![format!(
            "the node {node} never checked in: whether the volumes are mounted there is not known"
        )]);
    };
    let lacking: Vec<String> = volumes
        .iter()
        .filter_map(|volume| match report.node.sight(volume) {
            None => Some(format!("'{volume}' (not looked at)")),
            Some(sight) if sight.state.is_usable() => None,
            Some(sight) => Some(format!("'{volume}' ({})", sight.state.name().replace('_', " "))),
        })
        .collect();
    if !lacking.is_empty() {
        let (noun, names) = (if lacking.len() > 1 { "volumes" } else { "volume" }, lacking.join(", "));
        return Err(Error::storage(format!(
            "the node {node} lacks the {noun} {names}: it last checked in {}",
            ago_words(report)
        ))
        .hint(format!(
            "mount it on {node} and run there: vfadm node check-in; --force starts the session all the same"
        )));
    }
    let long_ago = ago(report).is_some_and(|ago| ago > LONG_AGO);
    Ok(long_ago.then(|| format!("the node {node} was last seen {}", ago_words(report))).into_iter().collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::node::{Node, Sight, VolumeState};

    fn report(seconds_ago: i64, states: &[(&str, VolumeState)]) -> Report {
        let seen = crate::registry::now() - jiff::SignedDuration::from_secs(seconds_ago);
        let volumes = states.iter().map(|(volume, state)| Sight {
            volume: (*volume).to_owned(),
            state: *state,
            ..Sight::default()
        });
        let node = Node { seen_at: Some(seen), volumes: volumes.collect(), ..Node::default() };
        Report { name: "n2".to_owned(), node }
    }

    #[test]
    fn a_node_is_taken_where_it_has_all_volumes_and_refused_with_those_that_it_lacks() {
        let states = [
            ("good", VolumeState::Ok),
            ("stopped", VolumeState::ReadOnly),
            ("gone", VolumeState::FellOff),
            ("hung", VolumeState::Hung),
        ];
        for (volumes, refused) in [
            (&["good"][..], None),
            (&["good", "stopped"], None),
            (&["good", "gone"], Some("the volume 'gone' (fell off)")),
            (&["hung", "new"], Some("the volumes 'hung' (hung), 'new' (not looked at)")),
        ] {
            let told = judge(Some(&report(300, &states)), "n2", volumes);
            let expected = refused.map_or(Ok(vec![]), |what| {
                Err(format!("the node n2 lacks {what}: it last checked in 5m ago"))
            });
            assert_eq!(told.map_err(|e| e.message), expected, "{volumes:?}");
        }
    }

    #[test]
    fn a_node_that_is_not_known_well_is_warned_of() {
        let never = judge(None, "n2", &["v"]).unwrap();
        assert_eq!(
            never,
            ["the node n2 never checked in: whether the volumes are mounted there is not known"]
        );
        let long_ago = report(7200, &[("v", VolumeState::Ok)]);
        assert_eq!(judge(Some(&long_ago), "n2", &["v"]).unwrap(), ["the node n2 was last seen 2h ago"]);
    }
}
