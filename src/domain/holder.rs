//! What keeps a session alive, and whether it does.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::error::{Error, Result};
use super::name::shown;

/// What keeps a kernel of a session alive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Holder {
    /// A process: gone when the pid is free, was given to another process, or the host was booted again.
    Process {
        /// In the host's PID namespace.
        pid: u32,
        /// Clock ticks after boot (`/proc/PID/stat`, field 22).
        start_time: u64,
        /// `/proc/sys/kernel/random/boot_id`.
        boot_id: String,
        /// The PID namespace in which the pid means it (the inode of `/proc/self/ns/pid`): from another one nothing can
        /// be said of it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        namespace: Option<u64>,
    },
    /// A container: gone when its engine says that there is none, or that it has ended.
    Container {
        /// Whose it is; absent is any that is installed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        engine: Option<Engine>,
        /// Its name, or the first 12 digits of its id and more.
        name: String,
    },
    /// A systemd unit: gone when the system manager says that it is not active.
    Unit {
        /// Its name, with or without `.service`.
        name: String,
    },
    /// A Slurm job: gone when the controller does not know it, or says that it has ended.
    Slurm {
        /// `SLURM_JOB_ID`.
        job: u64,
    },
    /// Nothing that can be seen: until `session stop`, or until its host is booted again.
    Manual,
}

/// A container engine that can be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)]
pub enum Engine {
    Docker,
    Podman,
    Nerdctl,
    Runc,
}

impl Engine {
    /// All of them.
    pub const ALL: [Engine; 4] = [Engine::Docker, Engine::Podman, Engine::Nerdctl, Engine::Runc];

    /// The name of its program, and the word in the registry.
    pub fn name(self) -> &'static str {
        match self {
            Engine::Docker => "docker",
            Engine::Podman => "podman",
            Engine::Nerdctl => "nerdctl",
            Engine::Runc => "runc",
        }
    }
}

/// The time of a session. It is an upper bound, whatever holds its kernels: from its end on the session is over for
/// the registry, its name is free and `session prune` removes it, even while a process of it still runs. An
/// administrator who limits a session means that nothing forgotten keeps a folder for ever; and what still runs is not
/// overlooked, since before a folder is moved or removed the mounts and open files of this host are looked at too.
/// Before its end a kernel whose holder is gone is gone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// When it ends.
    pub until: Timestamp,
    /// Its length; `session renew` gives the same again. Seconds.
    pub seconds: u64,
}

impl Lease {
    /// A lease of this length from a time on.
    pub fn from(time: Timestamp, length: Duration) -> Result<Lease> {
        let until = SignedDuration::try_from(length).ok().and_then(|length| time.checked_add(length).ok());
        match until.filter(|_| length.as_secs() > 0) {
            Some(until) => Ok(Lease { until, seconds: length.as_secs() }),
            None => Err(Error::usage("a lease of no length ends at once").hint("write --lease 12h")),
        }
    }

    /// The same again, from a time on.
    pub fn renewed(&self, time: Timestamp) -> Result<Lease> {
        Lease::from(time, Duration::from_secs(self.seconds))
    }
}

/// Whether something lives, as far as it can be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Life {
    /// It was seen.
    Alive,
    /// It provably does not; why.
    Gone(String),
    /// It cannot be told, and counts as alive; why.
    Unknown(String),
}

impl Life {
    /// The word in documents.
    pub fn name(&self) -> &'static str {
        match self {
            Life::Alive => "alive",
            Life::Gone(_) => "dead",
            Life::Unknown(_) => "unknown",
        }
    }

    /// True unless it is provably gone.
    pub fn counts(&self) -> bool {
        !matches!(self, Life::Gone(_))
    }

    /// What several that were asked for the same thing say together: it is gone when all of them say so.
    pub fn of_all(lives: impl IntoIterator<Item = Life>) -> Option<Life> {
        lives.into_iter().reduce(|one, other| match (one, other) {
            (Life::Alive, _) | (_, Life::Alive) => Life::Alive,
            (unknown @ Life::Unknown(_), _) | (_, unknown @ Life::Unknown(_)) => unknown,
            (gone, _) => gone,
        })
    }
}

/// A holder as it is typed: `pid:N`, `container:[ENGINE/]NAME`, `unit:NAME` or `slurm:JOBID`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Named {
    /// A process of this host.
    Pid(u32),
    /// A container.
    Container(Option<Engine>, String),
    /// A unit.
    Unit(String),
    /// A job.
    Slurm(u64),
}

/// The longest name of a unit (systemd.unit(5)), and of a container as engines take it.
const LONGEST: usize = 255;

impl FromStr for Named {
    type Err = Error;

    fn from_str(text: &str) -> Result<Named> {
        let wrong = || {
            Error::usage(format!("'{}' is not a holder", shown(text)))
                .hint("write pid:N, container:NAME, container:docker/NAME, unit:NAME or slurm:JOBID")
        };
        let (kind, rest) = text.split_once(':').ok_or_else(wrong)?;
        let plain = |name: &str, more: &str| {
            name.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_')
                && name.len() <= LONGEST
                && name.chars().all(|c| c.is_ascii_alphanumeric() || more.contains(c))
        };
        let named = match kind {
            "pid" => rest.parse().ok().filter(|pid| *pid > 0).map(Named::Pid),
            "slurm" => rest.parse().ok().filter(|job| *job > 0).map(Named::Slurm),
            "unit" => plain(rest, ":_.\\@-").then(|| Named::Unit(rest.to_owned())),
            "container" => {
                let (engine, name) = match rest.split_once('/') {
                    Some((engine, name)) => {
                        (Some(Engine::ALL.into_iter().find(|e| e.name() == engine).ok_or_else(wrong)?), name)
                    }
                    None => (None, rest),
                };
                plain(name, "_.-").then(|| Named::Container(engine, name.to_owned()))
            }
            _ => None,
        };
        // A sign is no part of a number here.
        named.filter(|_| !rest.starts_with('+')).ok_or_else(wrong)
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Holder::Process { pid, .. } => write!(f, "pid {pid}"),
            Holder::Container { name, .. } => write!(f, "container {name}"),
            Holder::Unit { name } => write!(f, "unit {name}"),
            Holder::Slurm { job } => write!(f, "Slurm job {job}"),
            Holder::Manual => write!(f, "until 'vfadm session stop'"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_holder_is_a_kind_and_a_name() {
        let container = |engine, name: &str| Named::Container(engine, name.to_owned());
        for (text, named) in [
            ("pid:1", Named::Pid(1)),
            ("slurm:4711", Named::Slurm(4711)),
            ("unit:train@1.service", Named::Unit("train@1.service".to_owned())),
            ("container:c1", container(None, "c1")),
            ("container:podman/c_1", container(Some(Engine::Podman), "c_1")),
        ] {
            assert_eq!(text.parse(), Ok(named), "{text}");
        }
        for text in [
            "",
            "x",
            "pid:",
            "pid:0",
            "pid:-1",
            "pid:+1",
            "slurm:1_2",
            "slurm:x",
            "unit:",
            "unit:a*",
            "unit:-a",
            "unit:a b",
            "container:",
            "container:lxc/x",
            "container:docker/",
            "container:a/b/c",
            "lease:1h",
        ] {
            assert_eq!(
                text.parse::<Named>().map_err(|e| e.code),
                Err(super::super::error::Code::Usage),
                "{text}"
            );
        }
    }

    #[test]
    fn what_several_were_asked_for_is_gone_when_all_say_so() {
        let (alive, gone, unknown) =
            (Life::Alive, Life::Gone("no".to_owned()), Life::Unknown("?".to_owned()));
        for (lives, together) in [
            (vec![], None),
            (vec![&gone, &gone], Some(&gone)),
            (vec![&gone, &unknown], Some(&unknown)),
            (vec![&unknown, &gone, &alive], Some(&alive)),
        ] {
            assert_eq!(Life::of_all(lives.into_iter().cloned()).as_ref(), together);
        }
    }

    #[test]
    fn a_lease_is_renewed_by_its_length_from_the_present() {
        let time = |second| Timestamp::from_second(second).unwrap();
        let lease = Lease::from(time(1000), Duration::from_secs(60)).unwrap();
        assert_eq!(lease, Lease { until: time(1060), seconds: 60 });
        assert_eq!(lease.renewed(time(1050)), Ok(Lease { until: time(1110), seconds: 60 }));
        assert!(Lease::from(time(1000), Duration::ZERO).is_err());
    }
}
