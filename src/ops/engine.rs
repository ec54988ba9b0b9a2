//! What engines are told of sessions.

use std::path::Path;

use serde_json::Value;
use uuid::Uuid;

use super::session::kernels::{self, Asked, Started};
use super::session::{Planned, Request};
use super::{State, document, places};
use crate::domain::engine::Engine;
use crate::domain::error::{Error, Result};
use crate::domain::permission::Level;
use crate::plan::Plan;
use crate::session::engine::{Bind, Spec, Told, tell};
use crate::session::places::path as place;

/// Stands for the name that `session start` will be given.
pub const UNNAMED: &str = "SESSION";

/// Which engine, and where its root is.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Which.
    pub engine: Engine,
    /// The root directory, for the formats that name it.
    pub rootfs: Option<std::path::PathBuf>,
}

/// What an engine has to know of a session; without a name, of one that is not started. A path inside a folder is one
/// that a tenant can change: the engine gets the place where the checked handle is bound.
pub fn spec(
    state: &State<'_>,
    name: Option<&str>,
    request: &Request,
    planned: &Planned,
    rootfs: Option<&Path>,
) -> Result<Spec> {
    let mut paths = document::Paths::default();
    let mut binds = Vec::new();
    for (number, mount) in planned.mounts.mounts.iter().enumerate() {
        let folder = &planned.reach[mount.candidate].folder;
        let source = if mount.subpath.is_empty() {
            paths.of(state.registry, &folder.owner, &folder.record)?
        } else {
            place(name.unwrap_or(UNNAMED), number).display().to_string()
        };
        binds.push(Bind { source, target: mount.target.clone(), read_only: mount.permission < Level::Rw });
    }
    let settings = &state.registry.settings;
    Ok(Spec {
        session: name.map(str::to_owned),
        user: request.user.clone(),
        project: request.project.clone(),
        uid: settings.uid,
        gid: settings.gid,
        binds,
        rootfs: rootfs.map(text_of).transpose()?,
    })
}

/// A root directory as it can stand in a text.
pub fn text_of(rootfs: &Path) -> Result<String> {
    match rootfs.to_str() {
        Some(text) if text.starts_with('/') => Ok(text.to_owned()),
        _ => Err(Error::usage(format!("the root directory {} cannot be named", rootfs.display()))
            .hint("write an absolute path in UTF-8")),
    }
}

/// What an engine would be told of a session that is not started.
pub fn preview(state: &State<'_>, request: &Request, planned: &Planned, wanted: &Wanted) -> Result<Told> {
    tell(wanted.engine, &spec(state, None, request, planned, wanted.rootfs.as_deref())?)
}

/// Plans the record of a session that an engine runs, or of kernels that join it, and the places that it needs on this
/// host. The item of the plan gets the key `engine`.
pub fn start(state: &State<'_>, name: &str, asked: &Asked, wanted: &Wanted) -> Result<(Plan, Told)> {
    let Started { mut plan, planned, request } = kernels::start_planned(state, name, asked)?;
    let told = tell(wanted.engine, &spec(state, Some(name), &request, &planned, wanted.rootfs.as_deref())?)?;
    places::bind(state, name, id_of(&plan)?, &planned, &mut plan)?;
    if let Some(Value::Object(item)) = &mut plan.item {
        item.insert("engine".to_owned(), told.document(wanted.engine));
    }
    Ok((plan, told))
}

/// The id of the session that a plan records.
fn id_of(plan: &Plan) -> Result<Uuid> {
    let id = plan.item.as_ref().and_then(|item| item.get("id")).and_then(Value::as_str);
    id.and_then(|id| id.parse().ok()).ok_or_else(|| Error::storage("the session has no id"))
}
