//! The directory that holds the registry.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::backups;
use crate::domain::error::{Error, Result};
use crate::domain::text::shell_path;
use crate::host;
use crate::host::dir::Dir;
use crate::host::{probe, process};

/// The registry file's name.
pub const FILE: &str = "registry.yaml";
/// Where vfadm keeps its own files, below the root and below every volume.
pub const PRIVATE: &str = ".vfadm";
/// Marks a volume.
pub const MARKER: &str = ".vfadm-volume.yaml";
/// Says in which layout a volume is.
pub const LAYOUT: &str = "version.txt";

const REBUILD: &str = "to bring it back from what stands on the volumes: vfadm registry rebuild";

/// How long a root may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// An opened root.
#[derive(Debug)]
pub struct Root {
    dir: Dir,
}

impl Root {
    /// Opens a root that `init` has made.
    pub fn open(path: &Path) -> Result<Root> {
        let root = Root::find(path)?;
        if root.dir.stat(FILE).map_err(cannot_read)?.is_some() {
            return Ok(root);
        }
        let gone = || Error::registry(format!("{} has gone", root.file().display()));
        Err(match (backups::remedy(&root), root.dir.stat(PRIVATE)) {
            (Some(remedy), _) => gone().hint(remedy),
            (None, Ok(Some(_))) => gone().hint(REBUILD),
            (None, _) => missing(path),
        })
    }

    /// Opens the directory of a root, whether its registry is there or was lost.
    pub fn find(path: &Path) -> Result<Root> {
        // Each command begins here: with a root that does not answer, it could not end.
        if !probe::answers(path, PATIENCE).map_err(cannot_read)? {
            let (path, waited) = (path.display(), PATIENCE.as_secs());
            return Err(Error::registry(format!("the root {path} does not answer (waited {waited} s)"))
                .hint("see to the server of its filesystem"));
        }
        // The root itself may be a link that an administrator made.
        let real = match path.canonicalize() {
            Ok(real) => real,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Err(missing(path)),
            Err(e) => return Err(cannot_read(host::Error::path("open", path, e))),
        };
        Ok(Root { dir: Dir::open(&real).map_err(cannot_read)? })
    }

    /// Opens a directory that is to become a root.
    pub fn open_new(path: &Path) -> Result<Root> {
        Ok(Root { dir: Dir::open(path)? })
    }

    /// The root directory.
    pub fn dir(&self) -> &Dir {
        &self.dir
    }

    /// Its path, without links.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// The path of the registry file.
    pub fn file(&self) -> PathBuf {
        self.path().join(FILE)
    }

    /// How to bring the registry of a root back that has none but holds backups of one.
    pub fn lost_registry(&self) -> Option<String> {
        backups::remedy(self)
    }

    /// A directory of vfadm's own below the root, made if need be.
    pub fn private(&self, name: &str) -> Result<Dir> {
        Ok(self.dir.ensure_dir(PRIVATE, 0o700)?.ensure_dir(name, 0o700)?)
    }

    /// The same, where it is only read; `None` when it does not exist.
    pub fn private_if_there(&self, name: &str) -> Result<Option<Dir>> {
        let Some(_) = self.dir.stat(PRIVATE)? else { return Ok(None) };
        let private = self.dir.open_dir(PRIVATE)?;
        let Some(_) = private.stat(name)? else { return Ok(None) };
        Ok(Some(private.open_dir(name)?))
    }
}

fn missing(path: &Path) -> Error {
    let root = shell_path(path);
    let make = if path.is_dir() { String::new() } else { format!("mkdir -p {root} && ") };
    Error::registry(format!("there is no registry at {}", path.join(FILE).display())).hint(format!(
        "name another root with --root or VFADM_ROOT, or make one: vfadm --root {root} init; where volumes of a lost one are still there, bring it back: {make}vfadm --root {root} registry rebuild"
    ))
}

/// That something of a root cannot be read (exit 9), with what to do about it where that can be told.
pub(super) fn cannot_read(error: host::Error) -> Error {
    if matches!(error, host::Error::Interrupted) {
        return error.into();
    }
    let denied = error.errno() == Some(nix::libc::EACCES) && !host::files::is_root();
    let remedy = if denied { Some("run vfadm as root") } else { error.remedy() };
    let error = Error::registry(error.to_string());
    match remedy {
        Some(remedy) => error.hint(remedy),
        None => error,
    }
}

/// Refuses a root on a filesystem whose `flock` is known to bind one node only (exit 8).
pub fn require_shared_locks(path: &Path) -> Result<()> {
    let mounts = process::own_mounts()?;
    let Some(mount) = process::mount_of(&mounts, path) else { return Ok(()) };
    if let Some(why) = local_locks(&mount.filesystem, &mount.super_options) {
        return Err(Error::storage(format!(
            "{} is on {} mounted with {why}: locks there do not hold between nodes, and two nodes could write at once",
            path.display(),
            mount.filesystem
        ))
        .hint("mount it with working locks (NFS: without nolock and local_lock; Lustre: with flock)"));
    }
    Ok(())
}

/// The mount option that makes `flock` local to one node.
fn local_locks(filesystem: &str, options: &str) -> Option<String> {
    let options: Vec<&str> = options.split(',').collect();
    let has = |name: &str| options.contains(&name);
    match filesystem {
        "nfs" | "nfs4" => options
            .iter()
            .find(|o| matches!(**o, "nolock" | "local_lock=all" | "local_lock=flock"))
            .map(|o| (*o).to_owned()),
        "lustre" if has("localflock") => Some("localflock".to_owned()),
        "lustre" if !has("flock") => Some("no flock option".to_owned()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locks_that_hold_on_one_node_only_are_known_by_the_mount_options() {
        for (filesystem, options, why) in [
            ("nfs4", "rw,vers=4.2,hard", None),
            ("nfs4", "rw,local_lock=none", None),
            ("nfs", "rw,nolock", Some("nolock")),
            ("nfs", "rw,local_lock=flock", Some("local_lock=flock")),
            ("lustre", "rw,flock", None),
            ("lustre", "rw", Some("no flock option")),
            ("lustre", "rw,localflock", Some("localflock")),
            ("btrfs", "rw", None),
        ] {
            assert_eq!(local_locks(filesystem, options).as_deref(), why, "{filesystem} {options}");
        }
    }
}
