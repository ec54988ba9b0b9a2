//! The program `zfs`, and what it prints.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::domain::error::{Error, Result};
use crate::host::program::{Program, Said};
use crate::quota::Reading;

/// The program.
pub(super) const NAME: &str = "zfs";
/// What a limit consists of; the last is vfadm's own.
pub(super) const LIMITS: [&str; 3] = ["used", "quota", PARKED];
/// The true limit of a dataset whose quota had to be raised.
pub(super) const PARKED: &str = "vfadm:limit";

/// A pool that is being repaired may take its time; one whose daemon has gone never answers.
const DEADLINE: Duration = Duration::from_secs(20);
/// How long a stream may take; a signal ends it sooner.
const LONG: Duration = Duration::from_secs(30 * 86_400);
/// Three lines for each of a million datasets.
const MOST: u64 = 256 << 20;

/// Properties of one dataset, as `zfs get -p` prints them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Properties(BTreeMap<String, String>);

impl Properties {
    /// A number; `-` and `none` are not.
    pub(super) fn number(&self, name: &str) -> Option<u64> {
        self.0.get(name)?.parse().ok()
    }

    /// What holds: while the quota is above the limit, that is the quota.
    pub(super) fn reading(&self) -> Reading {
        Reading { used: self.number("used"), limit: self.quota() }
    }

    fn quota(&self) -> Option<u64> {
        self.number("quota").filter(|quota| *quota > 0)
    }

    /// The true limit: the one that was parked, if any.
    pub(super) fn limit(&self) -> Option<u64> {
        self.number(PARKED).or(self.quota())
    }

    /// True while the quota is above the limit.
    pub(super) fn is_raised(&self) -> bool {
        self.number(PARKED).is_some()
    }
}

/// Datasets by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Datasets(BTreeMap<String, Properties>);

impl Datasets {
    /// The datasets that come from a snapshot, and which one.
    pub(super) fn origins(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().filter_map(|(name, properties)| {
            let origin = properties.0.get("origin").filter(|origin| origin.contains('@'))?;
            Some((name.as_str(), origin.as_str()))
        })
    }

    pub(super) fn of(&self, dataset: &str) -> Option<&Properties> {
        self.0.get(dataset)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&String, &Properties)> {
        self.0.iter()
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

/// Parses `zfs get -Hp -o name,property,value,source`: four fields a line, separated by tabs. Snapshots, whose names hold
/// an `@`, are left out, and so is a parked limit that comes from a dataset above: properties of this kind are inherited.
pub(super) fn parse(text: &str) -> Datasets {
    let mut datasets = Datasets::default();
    for line in text.lines() {
        let mut fields = line.splitn(4, '\t');
        if let (Some(name), Some(property), Some(value)) = (fields.next(), fields.next(), fields.next())
            && !name.contains('@')
        {
            let properties = datasets.0.entry(name.to_owned()).or_default();
            if property != PARKED || fields.next().is_none_or(|source| source == "local") {
                properties.0.insert(property.to_owned(), value.to_owned());
            }
        }
    }
    datasets
}

fn program() -> Program {
    Program::new(NAME).from_package("zfsutils-linux, or zfs-fuse").deadline(DEADLINE).at_most(MOST)
}

fn run_get(options: &[&str], properties: &[&str], dataset: &str) -> Result<Said> {
    let program = program().args(["get", "-Hp"]).args(options);
    let program = program.args(["-o", "name,property,value,source", &properties.join(","), dataset]);
    Ok(program.run()?)
}

fn parsed(said: &Said) -> Result<Datasets> {
    if said.status != 0 {
        return Err(said.failure().into());
    }
    let datasets = parse(&said.text());
    if datasets.len() == 0 {
        return Err(Error::storage(format!("'{}' succeeded, but printed nothing", said.line)));
    }
    Ok(datasets)
}

/// Properties of one dataset; `None` when there is no such dataset.
pub(super) fn get(dataset: &str, properties: &[&str]) -> Result<Option<Datasets>> {
    let said = run_get(&[], properties, dataset)?;
    if said.status != 0 && said.complaint().contains("does not exist") {
        return Ok(None);
    }
    parsed(&said).map(Some)
}

/// Properties of a dataset and those right below it.
pub(super) fn get_children(dataset: &str, properties: &[&str]) -> Result<Datasets> {
    parsed(&run_get(&["-r", "-d", "1"], properties, dataset)?)
}

/// Properties of a dataset and all below it.
pub(super) fn get_below(dataset: &str, properties: &[&str]) -> Result<Datasets> {
    parsed(&run_get(&["-r"], properties, dataset)?)
}

/// One property of a dataset that exists.
pub(super) fn require(dataset: &str, property: &str) -> Result<String> {
    let found = get(dataset, &[property])?;
    let value = found.as_ref().and_then(|found| found.of(dataset)?.0.get(property));
    value.cloned().ok_or_else(|| Error::storage(format!("zfs does not say {property} of {dataset}")))
}

/// Bytes used by a dataset and all below it.
pub(super) fn used(dataset: &str) -> Result<u64> {
    let used = require(dataset, "used")?;
    used.parse().map_err(|_| Error::storage(format!("zfs says that {dataset} uses '{used}'")))
}

/// Runs a subcommand that changes something.
pub(super) fn change(word: &str, arguments: &[&str]) -> Result<()> {
    program().arg(word).args(arguments).succeed()?;
    Ok(())
}

/// Whether this is how ZFS says that a dataset is in use.
pub(super) fn is_busy(message: &str) -> bool {
    message.contains("is busy")
}

/// The same, of a dataset whose last file may have been closed just before: it is busy for a moment.
pub(super) fn change_patiently(word: &str, arguments: &[&str]) -> Result<()> {
    let mut pause = Duration::from_millis(10);
    loop {
        match change(word, arguments) {
            Err(error) if is_busy(&error.message) && pause < Duration::from_secs(2) => {}
            other => return other,
        }
        std::thread::sleep(pause);
        pause *= 2;
    }
}

/// Copies a snapshot to a dataset that does not exist, which stays unmounted.
pub(super) fn send(snapshot: &str, to: &str) -> Result<()> {
    let receive = program().args(["receive", "-u", to]);
    Ok(program().args(["send", snapshot]).deadline(LONG).pipe_into(&receive)?)
}

/// The names of all snapshots of a dataset and those below it.
pub(super) fn snapshots(dataset: &str) -> Result<Vec<String>> {
    let said = program().args(["list", "-H", "-o", "name", "-t", "snapshot", "-r", dataset]).succeed()?;
    Ok(said.text().lines().map(str::to_owned).filter(|name| name.contains('@')).collect())
}

/// Whether there is a snapshot of this name.
pub(super) fn is_snapshot(name: &str) -> Result<bool> {
    let said = run_get(&[], &["type"], name)?;
    match said.status {
        0 => Ok(true),
        _ if said.complaint().contains("does not exist") => Ok(false),
        _ => Err(said.failure().into()),
    }
}

/// Whether this is how ZFS refuses to destroy a dataset because of clones of its snapshots.
pub(super) fn has_clones(message: &str) -> bool {
    message.contains("has dependent clones")
}

/// Destroys a dataset; with all snapshots of it where `snapshots` says so. One that has others below it, or clones, is
/// an error.
pub(super) fn destroy(dataset: &str, snapshots: bool) -> Result<()> {
    let words = if snapshots { vec!["-r", dataset] } else { vec![dataset] };
    let in_the_way = |message: &str| message.contains("has children") || has_clones(message);
    change_patiently("destroy", &words).map_err(|error| match in_the_way(&error.message) {
        true => error.hint(format!(
            "snapshots or datasets that vfadm did not make are in the way; look: zfs list -rt all {dataset}"
        )),
        false => error,
    })
}

/// Whether this is how ZFS refuses a quota below what is used.
pub(super) fn is_too_small(message: &str) -> bool {
    message.contains("size is less than current used or reserved space")
}
