//! Whether the kernels of sessions live, as far as this host can tell.

use std::cell::RefCell;
use std::collections::HashMap;

use jiff::Timestamp;

use super::node;
use crate::domain::holder::{Holder, Life};
use crate::domain::node::Node;
use crate::domain::record::{Kernel, Session};
use crate::host::{holders, process};
use crate::registry::{Registry, Root, now};

/// Asks about kernels. Engines, system manager and Slurm are asked when an answer depends on them only, and about all
/// that the registry holds at once.
pub struct Witness<'a> {
    registry: &'a Registry,
    here: String,
    now: Timestamp,
    ask: bool,
    nodes: RefCell<HashMap<String, Option<Node>>>,
}

impl<'a> Witness<'a> {
    /// For the sessions of a registry.
    pub fn new(registry: &'a Registry) -> Witness<'a> {
        let here = process::hostname();
        Witness { registry, here, now: now(), ask: true, nodes: RefCell::default() }
    }

    /// One that starts no program: what was not asked already is unknown. A prolog must not call Slurm.
    pub fn silent(registry: &'a Registry) -> Witness<'a> {
        Witness { ask: false, ..Witness::new(registry) }
    }

    /// True while any kernel of a session counts as alive. Those that are cheap to judge come first.
    pub fn counts(&self, session: &Session) -> bool {
        let named =
            |k: &&Kernel| k.node == self.here && !matches!(k.holder, Holder::Process { .. } | Holder::Manual);
        let (dear, cheap): (Vec<&Kernel>, Vec<&Kernel>) = session.kernels.iter().partition(named);
        cheap.into_iter().chain(dear).any(|kernel| self.life(session, kernel).counts())
    }

    /// Whether a kernel of a session lives. A running lease speaks for what cannot be told otherwise, and nothing outlives
    /// it ([`crate::domain::holder::Lease`]).
    pub fn life(&self, session: &Session, kernel: &Kernel) -> Life {
        match &session.lease {
            Some(lease) if lease.until <= self.now => {
                Life::Gone(format!("its lease ended at {}", lease.until))
            }
            Some(_) => match self.held(session, kernel) {
                Life::Unknown(_) => Life::Alive,
                life => life,
            },
            None => self.held(session, kernel),
        }
    }

    /// Whether the holder of a kernel lives, whatever the session's lease says.
    pub fn held(&self, session: &Session, kernel: &Kernel) -> Life {
        if kernel.node != self.here {
            return self.elsewhere(kernel, kernel.started_at.unwrap_or(session.started_at));
        }
        match &kernel.holder {
            Holder::Process { namespace: Some(namespace), .. }
                if process::pid_namespace() != Some(*namespace) =>
            {
                Life::Unknown("it is in another PID namespace".to_owned())
            }
            Holder::Process { pid, start_time, boot_id, .. } => {
                match (self.process(*pid, *start_time, boot_id), &session.container) {
                    (Life::Gone(_), Some(container)) if boot_id == process::boot_id() => {
                        self.named(container)
                    }
                    (life, _) => life,
                }
            }
            Holder::Manual => match &kernel.boot_id {
                Some(boot) if !process::boot_id().is_empty() && boot != process::boot_id() => self.rebooted(),
                _ => Life::Unknown("nothing that can be seen holds it".to_owned()),
            },
            holder => self.named(holder),
        }
    }

    fn named(&self, holder: &Holder) -> Life {
        match self.ask {
            true => holders::ask(holder, || self.together()),
            false => holders::recall(holder),
        }
    }

    fn rebooted(&self) -> Life {
        Life::Gone(format!("{} was booted again", self.here))
    }

    fn process(&self, pid: u32, start_time: u64, boot_id: &str) -> Life {
        let boot = process::boot_id();
        if boot.is_empty() {
            return Life::Unknown("/proc cannot be asked".to_owned());
        }
        if boot != boot_id {
            return self.rebooted();
        }
        match process::start_time(pid) == Some(start_time) {
            true => Life::Alive,
            false => Life::Gone(format!("pid {pid} has ended")),
        }
    }

    /// A kernel of another host lives until that host checks in with another boot than the one that it was recorded under,
    /// after it was.
    fn elsewhere(&self, kernel: &Kernel, begun: Timestamp) -> Life {
        let recorded = match &kernel.holder {
            Holder::Process { boot_id, .. } => Some(boot_id),
            _ => kernel.boot_id.as_ref(),
        };
        let unknown = || Life::Unknown(format!("it is on {}", kernel.node));
        let Some(node) = self.said_by(&kernel.node) else { return unknown() };
        let another = recorded.is_some_and(|boot| node.boot_id.as_ref().is_some_and(|said| said != boot));
        let later = |time: Option<Timestamp>| time.is_some_and(|time| time > begun);
        // Whoever placed it there from another host did not know under which boot.
        match (another && later(node.seen_at)) || later(node.booted_at) {
            true => Life::Gone(format!("{} was booted again", kernel.node)),
            false => unknown(),
        }
    }

    /// What another host said at its last check-in; `None` where it did not check in, or that cannot be read.
    fn said_by(&self, host: &str) -> Option<Node> {
        let mut nodes = self.nodes.borrow_mut();
        let read = || {
            let root = Root::open(self.registry.file().parent()?).ok()?;
            Some(node::report_of(&root, host).ok()??.node)
        };
        nodes.entry(host.to_owned()).or_insert_with(read).clone()
    }

    /// The holders of this host's kernels. A record that cannot be read is an error of whoever needs it.
    fn together(&self) -> Vec<Holder> {
        let sessions = self.registry.all::<Session>().unwrap_or_default();
        let kernels = sessions.into_iter().flat_map(|(_, session)| session.kernels);
        kernels.filter(|kernel| kernel.node == self.here).map(|kernel| kernel.holder).collect()
    }
}
