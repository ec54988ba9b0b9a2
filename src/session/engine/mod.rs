//! What an engine is told of a session: which folders, where, read-only or not, as whom. Pure functions from a list
//! of binds to text. What a format cannot express is refused, never printed wrong.

mod arguments;
mod csv;
mod fstab;
mod oci;
mod yaml;

pub use oci::{Process, config};

use serde_json::{Value, json};

use crate::domain::engine::Engine;
use crate::domain::error::{Error, Result};
use crate::domain::text::{self, printable, shell_word};

/// One bind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bind {
    /// Absolute path on the host. What lies below [`PLACES`](super::places::PLACES) is a handle that was checked.
    pub source: String,
    /// Absolute path in the session.
    pub target: String,
    /// The session cannot write to it.
    pub read_only: bool,
}

/// What an engine has to know.
#[derive(Clone, Debug)]
pub struct Spec {
    /// The session's name, once it has one.
    pub session: Option<String>,
    /// Whose it is.
    pub user: String,
    /// The project it works for.
    pub project: Option<String>,
    /// The shared user.
    pub uid: u32,
    /// The shared group.
    pub gid: u32,
    /// What is mounted, in order.
    pub binds: Vec<Bind>,
    /// The root directory of the session, for the formats that can name it.
    pub rootfs: Option<String>,
}

impl Spec {
    /// Environment variables that every engine can set.
    fn own_env(&self) -> Vec<(&'static str, String)> {
        let session = self.session.clone().map(|name| ("VFADM_SESSION", name));
        let project = self.project.clone().map(|name| ("VFADM_PROJECT", name));
        session.into_iter().chain(project).collect()
    }

    /// Those and the ones of a login, for engines that have none of their own.
    pub fn env(&self) -> Vec<(&'static str, String)> {
        let mut env = vec![("HOME", super::plan::HOME.to_owned()), ("USER", self.user.clone())];
        env.extend(self.own_env());
        env
    }
}

/// What an engine is told.
#[derive(Clone, Debug, PartialEq)]
pub enum Told {
    /// Arguments of its command line, an option with its value at a time.
    Arguments(Vec<Vec<String>>),
    /// A document that it reads as JSON.
    Json(Value),
    /// A document that it reads as YAML.
    Yaml(Value),
    /// Lines.
    Lines(Vec<String>),
}

impl Told {
    /// The text: arguments quoted for a shell, an option a line.
    pub fn text(&self) -> Result<String> {
        let failed = |e: String| Error::storage(format!("cannot write the document: {e}"));
        match self {
            Told::Arguments(options) => {
                let line = |words: &Vec<String>| {
                    words.iter().map(|word| shell_word(word)).collect::<Vec<_>>().join(" ")
                };
                Ok(ended(options.iter().map(line).collect::<Vec<_>>().join(" \\\n")))
            }
            Told::Json(value) => text::json_lines(value).map(ended).map_err(|e| failed(e.to_string())),
            Told::Yaml(value) => {
                let write = |value: &Value| serde_yaml::to_string(value).map_err(|e| failed(e.to_string()));
                text::yaml(write(value)?, || Ok(value.clone()), write)
            }
            Told::Lines(lines) => Ok(lines.iter().map(|line| format!("{line}\n")).collect()),
        }
    }

    /// As the `engine` key of a document.
    pub fn document(&self, engine: Engine) -> Value {
        match self {
            Told::Arguments(options) => json!({"name": engine.name(), "arguments": options.concat()}),
            Told::Json(value) | Told::Yaml(value) => json!({"name": engine.name(), "document": value}),
            Told::Lines(lines) => json!({"name": engine.name(), "lines": lines}),
        }
    }
}

/// What `engine` is told of a session. A path that its format cannot express: exit 2, naming path and engine.
pub fn tell(engine: Engine, spec: &Spec) -> Result<Told> {
    if spec.rootfs.is_some() && !engine.takes_rootfs() {
        return Err(Error::usage(format!("what {engine} is told does not name a root directory"))
            .hint("leave --rootfs out, or use --engine oci, runc or fstab"));
    }
    match engine {
        Engine::Docker | Engine::Podman | Engine::Nerdctl => arguments::docker(engine, spec),
        Engine::Compose => yaml::compose(spec),
        Engine::K8s => yaml::k8s(spec),
        Engine::Apptainer => arguments::apptainer(spec),
        Engine::Enroot => arguments::enroot(spec),
        Engine::Nspawn => arguments::nspawn(spec),
        Engine::Bwrap => arguments::bwrap(spec),
        Engine::Oci | Engine::Runc => Ok(Told::Json(oci::document(spec))),
        Engine::Fstab => Ok(Told::Lines(fstab::lines(spec))),
        Engine::Json => Ok(Told::Json(plain(spec))),
    }
}

fn ended(mut text: String) -> String {
    if !text.is_empty() {
        text.push('\n');
    }
    text
}

/// The mounts as they are, for engines that are not listed.
fn plain(spec: &Spec) -> Value {
    let mounts: Vec<Value> = spec
        .binds
        .iter()
        .map(|b| json!({"source": b.source, "target": b.target, "read_only": b.read_only}))
        .collect();
    let env: serde_json::Map<String, Value> =
        spec.env().into_iter().map(|(key, value)| (key.to_owned(), value.into())).collect();
    json!({
        "session": spec.session,
        "user": spec.user,
        "project": spec.project,
        "uid": spec.uid,
        "gid": spec.gid,
        "mounts": mounts,
        "environment": env,
    })
}

/// Refuses paths with a character that the format of `engine` gives another meaning, and has no escape for.
fn require_without(engine: Engine, spec: &Spec, bad: impl Fn(char) -> bool) -> Result<()> {
    for path in spec.binds.iter().flat_map(|b| [&b.source, &b.target]) {
        if let Some(c) = path.chars().find(|c| bad(*c)) {
            let what = match c {
                ' ' => "a space".to_owned(),
                c if c.is_control() => "a control character".to_owned(),
                c => format!("'{c}'"),
            };
            return Err(refused(engine, path, &format!("its format has no place for {what} in a path")));
        }
    }
    Ok(())
}

fn refused(engine: Engine, path: &str, why: &str) -> Error {
    Error::usage(format!("{engine} cannot be told to mount '{}': {why}", printable(path)))
        .hint("use another engine or another target, or rename the directory")
}
