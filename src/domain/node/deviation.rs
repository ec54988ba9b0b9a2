//! Volume × node: what is not as the registry says, or not as on the other nodes.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;

use super::{Node, Sight, VolumeState};
use crate::domain::duration;
use crate::domain::finding::Finding;

/// From here on a clock is off, seconds.
const CLOCK: f64 = 2.0;

/// A node and what it said.
#[derive(Clone, Debug)]
pub struct Report {
    /// Its name.
    pub name: String,
    /// What it said.
    pub node: Node,
}

/// A volume as the registry has it.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Its name.
    pub name: String,
    /// Where it has to be mounted, on every node.
    pub path: String,
}

/// What deviates: first of the nodes, then of each volume. A node that has not been seen for `stale` is told, and judged
/// by what it said last.
pub fn deviations(volumes: &[Wanted], reports: &[Report], now: Timestamp, stale: Duration) -> Vec<Finding> {
    let mut findings = Vec::new();
    for report in reports {
        findings.extend(not_seen(report, now, stale));
        findings.extend(clock(report, now));
    }
    for volume in volumes {
        let usual = usual(volume, reports);
        for report in reports {
            let subject = format!("volume {} on {}", volume.name, report.name);
            let Some(sight) = report.node.sight(&volume.name) else {
                let message = "the node has not looked at this volume yet";
                findings
                    .push(Finding::warning("node_not_seen", subject, message).repair(again(&report.name)));
                continue;
            };
            if sight.path != volume.path {
                let message =
                    format!("it was looked for at {}, and the registry says {}", sight.path, volume.path);
                findings.push(
                    Finding::error("node_volume_differs", subject, message).repair(again(&report.name)),
                );
                continue;
            }
            let finding = unusable(volume, sight, &report.name)
                .map(|(code, message, repair)| Finding::error(code, &subject, message).repair(repair));
            findings.extend(finding);
            let difference = usual.as_ref().filter(|_| sight.state.is_usable());
            findings.extend(difference.and_then(|usual| differs(&subject, sight, usual)));
        }
    }
    findings
}

fn again(node: &str) -> String {
    format!("on {node}: vfadm node check-in")
}

fn not_seen(report: &Report, now: Timestamp, stale: Duration) -> Option<Finding> {
    let seen = report.node.seen_at?;
    let ago = Duration::try_from(now.duration_since(seen)).unwrap_or_default();
    (ago > stale).then(|| {
        let message = format!("it was last seen {} ago, at {seen}", duration::human(ago.as_secs()));
        let repair = "see that it is up and runs 'vfadm node check-in' by cron or a timer; if it left for good: \
                      vfadm node remove";
        Finding::warning("node_not_seen", format!("node {}", report.name), message)
            .repair(format!("{repair} {}", report.name))
    })
}

/// A time that has not come yet tells of a clock too, whatever stamps the files.
fn clock(report: &Report, now: Timestamp) -> Option<Finding> {
    let ahead = report.node.seen_at.map_or(0.0, |seen| seen.duration_since(now).as_secs_f64());
    let offset = report.node.clock_offset_seconds.unwrap_or_default();
    let offset = if ahead > CLOCK && ahead > offset.abs() { ahead } else { offset };
    (offset.abs() > CLOCK).then(|| {
        let way = if offset > 0.0 { "ahead" } else { "behind" };
        let message = format!("its clock is {:.1} s {way}", offset.abs());
        let repair = "see that it keeps time (chronyc tracking): expiry and leases are judged by clocks";
        Finding::error("node_clock_off", format!("node {}", report.name), message).repair(repair)
    })
}

fn unusable(volume: &Wanted, sight: &Sight, node: &str) -> Option<(&'static str, String, String)> {
    let path = &volume.path;
    let mount = format!("mount it at {path} on {node}");
    let reason = || sight.reason.clone().unwrap_or_else(|| sight.state.name().replace('_', " "));
    Some(match sight.state {
        VolumeState::Ok => return None,
        VolumeState::ReadOnly => ("node_volume_read_only", reason(), "mount it for writing".to_owned()),
        VolumeState::DriverUnable => ("node_volume_driver_unable", reason(), format!("mend that on {node}")),
        VolumeState::Elsewhere => {
            let at = sight.found_at.as_deref().unwrap_or("another path");
            ("node_volume_differs", format!("it is at {at}, and has to be at {path}"), mount)
        }
        VolumeState::FellOff => {
            ("node_volume_fell_off", format!("only the directory under it is there: {}", reason()), mount)
        }
        VolumeState::Missing => ("node_volume_missing", format!("there is no directory {path}"), mount),
        VolumeState::Foreign => {
            let there = match (&sight.filesystem, &sight.source) {
                (Some(kind), Some(source)) => format!(" ({kind} from {source})"),
                _ => String::new(),
            };
            let found = sight.found_at.as_ref().map(|at| format!("; it is at {at}")).unwrap_or_default();
            let message = format!("another filesystem is in its place: {}{there}{found}", reason());
            ("node_volume_foreign", message, mount)
        }
        VolumeState::Hung => (
            "node_volume_hung",
            reason(),
            format!("see to its server, or unmount it on {node} with 'umount -l'"),
        ),
        VolumeState::Unreadable | VolumeState::Unknown => {
            ("node_volume_unreadable", reason(), format!("look there: vfadm volume check {}", volume.name))
        }
    })
}

/// How most nodes have a volume; of several that are equally frequent, the first node's.
struct Usual<'a> {
    kind: &'a str,
    source: &'a str,
    node: &'a str,
}

fn mounted(sight: &Sight) -> Option<(&str, &str)> {
    Some((sight.filesystem.as_deref()?, sight.source.as_deref()?))
}

fn usual<'a>(volume: &Wanted, reports: &'a [Report]) -> Option<Usual<'a>> {
    let mut counts: BTreeMap<(&str, &str), (usize, usize)> = BTreeMap::new();
    for (at, report) in reports.iter().enumerate() {
        let sight = report.node.sight(&volume.name).filter(|sight| sight.state.is_usable());
        if let Some(pair) = sight.and_then(mounted) {
            counts.entry(pair).or_insert((0, at)).0 += 1;
        }
    }
    let most = counts.into_iter().max_by_key(|(_, (count, first))| (*count, std::cmp::Reverse(*first)));
    most.map(|((kind, source), (_, first))| Usual { kind, source, node: &reports[first].name })
}

fn differs(subject: &str, sight: &Sight, usual: &Usual<'_>) -> Option<Finding> {
    let (kind, source) = mounted(sight).filter(|pair| *pair != (usual.kind, usual.source))?;
    let message =
        format!("it is {kind} from {source}, and on {} {} from {}", usual.node, usual.kind, usual.source);
    Some(Finding::warning("node_volume_differs", subject, message).repair("mount it alike on all nodes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: &str = "2026-11-24T12:00:00Z";

    fn report(name: &str, seen: &str, filesystem: &str) -> Report {
        let sight = Sight {
            volume: "v".to_owned(),
            state: VolumeState::Ok,
            path: "/v".to_owned(),
            filesystem: Some(filesystem.to_owned()),
            source: Some("filer:/v".to_owned()),
            ..Sight::default()
        };
        let node = Node { seen_at: Some(seen.parse().unwrap()), volumes: vec![sight], ..Node::default() };
        Report { name: name.to_owned(), node }
    }

    fn told(reports: &[Report]) -> Vec<String> {
        let wanted = [Wanted { name: "v".to_owned(), path: "/v".to_owned() }];
        let found = deviations(&wanted, reports, NOW.parse().unwrap(), Duration::from_secs(900));
        found.into_iter().map(|f| format!("{}: {}: {}", f.code, f.subject, f.message)).collect()
    }

    #[test]
    fn the_majority_says_how_a_volume_is_mounted_and_of_equals_the_first() {
        let [a, b, c] = ["a", "b", "c"].map(|name| move |kind: &str| report(name, NOW, kind));
        let differs = |node: &str, is: &str, other: &str, kind: &str| {
            format!(
                "node_volume_differs: volume v on {node}: it is {is} from filer:/v, and on {other} {kind} from filer:/v"
            )
        };
        for (reports, expected) in [
            (vec![a("nfs4"), b("nfs4"), c("nfs4")], vec![]),
            (vec![a("nfs"), b("nfs4"), c("nfs4")], vec![differs("a", "nfs", "b", "nfs4")]),
            (vec![a("nfs4"), b("nfs")], vec![differs("b", "nfs", "a", "nfs4")]),
        ] {
            assert_eq!(told(&reports), expected);
        }
    }

    #[test]
    fn a_node_of_the_past_is_not_seen_and_one_of_the_future_has_a_clock_that_is_off() {
        for (seen, expected) in [
            ("2026-11-24T11:45:00Z", None),
            ("2026-11-24T12:00:02Z", None),
            (
                "2026-11-24T11:30:00Z",
                Some("node_not_seen: node a: it was last seen 30m ago, at 2026-11-24T11:30:00Z"),
            ),
            ("2026-11-24T12:00:30Z", Some("node_clock_off: node a: its clock is 30.0 s ahead")),
        ] {
            assert_eq!(told(&[report("a", seen, "nfs4")]), Vec::from_iter(expected), "{seen}");
        }
    }
}
