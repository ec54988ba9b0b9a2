//! What runs containers on a cluster.

use std::fmt;
use std::str::FromStr;

use super::error::{Error, Result};
use super::name;

/// An engine that can be told what a session mounts, or a format that several understand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Engine {
    Docker,
    Podman,
    Nerdctl,
    Compose,
    K8s,
    Apptainer,
    Enroot,
    Nspawn,
    Bwrap,
    Oci,
    Runc,
    Fstab,
    Json,
}

impl Engine {
    /// All of them, in the order of the documentation.
    pub const ALL: [Engine; 13] = [
        Engine::Docker,
        Engine::Podman,
        Engine::Nerdctl,
        Engine::Compose,
        Engine::K8s,
        Engine::Apptainer,
        Engine::Enroot,
        Engine::Nspawn,
        Engine::Bwrap,
        Engine::Oci,
        Engine::Runc,
        Engine::Fstab,
        Engine::Json,
    ];

    /// The word on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Engine::Docker => "docker",
            Engine::Podman => "podman",
            Engine::Nerdctl => "nerdctl",
            Engine::Compose => "compose",
            Engine::K8s => "k8s",
            Engine::Apptainer => "apptainer",
            Engine::Enroot => "enroot",
            Engine::Nspawn => "nspawn",
            Engine::Bwrap => "bwrap",
            Engine::Oci => "oci",
            Engine::Runc => "runc",
            Engine::Fstab => "fstab",
            Engine::Json => "json",
        }
    }

    /// True for those that `session run` can start.
    pub fn runs(self) -> bool {
        matches!(self, Engine::Docker | Engine::Podman | Engine::Nspawn | Engine::Bwrap | Engine::Runc)
    }

    /// True for those whose text can say in which root the session runs.
    pub fn takes_rootfs(self) -> bool {
        matches!(self, Engine::Oci | Engine::Runc | Engine::Fstab)
    }
}

impl fmt::Display for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Engine {
    type Err = Error;

    fn from_str(text: &str) -> Result<Engine> {
        Engine::ALL.into_iter().find(|engine| engine.name() == text).ok_or_else(|| {
            let names: Vec<&str> = Engine::ALL.iter().map(|engine| engine.name()).collect();
            Error::usage(format!("'{}' is not an engine", name::shown(text)))
                .hint(format!("the engines are {}", names.join(", ")))
        })
    }
}
