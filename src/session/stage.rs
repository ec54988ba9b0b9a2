//! What an engine that is started here finds: in a mount namespace of its own, below `/run/vfadm/mounts/SESSION`, the
//! root (`root`: the given one under a tmpfs, so that it is not changed and missing targets appear), the checked handles
//! (`0`, `1`, ...) and, for an OCI runtime, the bundle (`bundle`). Nobody else sees any of it, and it goes with the
//! engine.
//!
//! The namespace follows the host's, and has let go of the volumes: it keeps none of them busy.

use std::ffi::OsStr;
use std::os::fd::AsFd;
use std::path::{Component, Path, PathBuf};

use nix::libc;

use super::places::PLACES;
use super::plan::HOME;
use super::run::Bind;
use crate::host::dir::{Dir, create_file};
use crate::host::mount::{self, Api, Flags, Source, Spot};
use crate::host::{Result, files, namespace};

/// Directories that every root has.
const PLAIN: [(&str, u32); 6] =
    [("proc", 0o555), ("sys", 0o555), ("dev", 0o755), ("run", 0o755), ("tmp", 0o1777), ("etc", 0o755)];

/// What is set up.
#[derive(Debug)]
pub struct Stage {
    /// The session's name.
    pub session: String,
    /// The root directory.
    pub rootfs: PathBuf,
    /// What is bound, in the order of the session's mounts.
    pub binds: Vec<Bind>,
    /// The root of the registry and the volumes.
    pub hide: Vec<PathBuf>,
    /// Owner of the home.
    pub uid: u32,
    /// Group of the home.
    pub gid: u32,
    /// The text of an OCI bundle's `config.json`.
    pub config: Option<String>,
}

/// Where the root is.
pub fn root(session: &str) -> PathBuf {
    Path::new(PLACES).join(session).join("root")
}

/// Where the bundle is.
pub fn bundle(session: &str) -> PathBuf {
    Path::new(PLACES).join(session).join("bundle")
}

/// Moves the calling process into a namespace in which all that is.
pub fn set_up(stage: Stage) -> Result<()> {
    let api = Api::of_kernel();
    let run = Dir::open(Path::new("/run"))?;
    run.ensure_dir("vfadm", 0o700)?;
    let mut binds = Vec::new();
    for Bind { source, target, read_only } in stage.binds {
        binds.push((Source::take(source, api)?, target, read_only));
    }
    namespace::enter_following_mount_namespace()?;
    let lower = mount::open_directory(&stage.rootfs)?;
    let binds = binds
        .into_iter()
        .map(|(source, target, read_only)| Ok((source.follow()?, target, read_only)))
        .collect::<Result<Vec<_>>>()?;

    let flags = Flags::MS_NOSUID | Flags::MS_NODEV;
    // Opened again: a handle of the old namespace is no place to mount on.
    let run = Dir::open(Path::new("/run"))?;
    mount::filesystem("tmpfs", &Spot::open(&run, OsStr::new("vfadm"))?, flags, "mode=0755")?;
    let dir = run.open_dir("vfadm")?.ensure_path(&Path::new("mounts").join(&stage.session), 0o755)?;
    let upper = dir.ensure_dir("upper", 0o755)?;
    let work = dir.ensure_dir("work", 0o755)?;
    let layers = format!(
        "lowerdir={},upperdir={},workdir={}",
        mount::handle_path(lower.as_fd()).display(),
        mount::handle_path(upper.as_fd()).display(),
        mount::handle_path(work.as_fd()).display(),
    );
    mount::filesystem("overlay", &Spot::of(dir.ensure_dir("root", 0o755)?), flags, &layers)?;
    let top = dir.open_dir("root")?;
    for (name, mode) in PLAIN {
        if top.stat(name)?.is_none() {
            top.ensure_dir(name, mode)?;
        }
    }
    if let Some(home) = make(&top, Path::new(HOME), true)? {
        home.set_owner(stage.uid, stage.gid)?;
    }
    for (number, (source, target, read_only)) in binds.iter().enumerate() {
        let is_dir = source.is_dir()?;
        make(&top, target, is_dir)?;
        bind(&dir, number, source, is_dir, *read_only)?;
    }
    if let Some(text) = &stage.config {
        let bundle = dir.ensure_dir("bundle", 0o700)?;
        let like = files::Ownership { mode: 0o600, ids: (0, 0) };
        files::replace(&bundle, "config.json", text.as_bytes(), like)?;
    }
    // What else is below them would still be reached by a way round.
    for path in &stage.hide {
        mount::detach(path)?;
    }
    Ok(())
}

fn bind(dir: &Dir, number: usize, source: &Source, is_dir: bool, read_only: bool) -> Result<()> {
    let name = number.to_string();
    if is_dir {
        dir.ensure_dir(&name, 0o755)?;
    } else {
        create_file(dir, &name, 0o644)?;
    }
    source.attach(&Spot::open(dir, name.as_ref())?)?;
    mount::restrict(&Spot::open(dir, name.as_ref())?, read_only)
}

/// Makes what is missing of a target. One that passes through a link of the root is left to the engine, which resolves
/// links inside of the root.
fn make(top: &Dir, target: &Path, is_dir: bool) -> Result<Option<Dir>> {
    let names: Vec<&OsStr> = target
        .components()
        .filter_map(|part| match part {
            Component::Normal(name) => Some(name),
            _ => None,
        })
        .collect();
    let mut here = top.try_clone()?;
    for (at, name) in names.iter().enumerate() {
        if at + 1 == names.len() && !is_dir {
            if here.stat(name)?.is_none() {
                create_file(&here, name, 0o644)?;
            }
            return Ok(None);
        }
        here = match here.ensure_dir(name, 0o755) {
            Ok(dir) => dir,
            Err(e) if matches!(e.errno(), Some(libc::ELOOP | libc::ENOTDIR)) => return Ok(None),
            Err(e) => return Err(e),
        };
    }
    Ok(Some(here))
}
