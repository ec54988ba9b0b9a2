//! The root of a session: which mounts, in which order.
//!
//! * `/` is an overlay of the host's root (or `--rootfs`) with a tmpfs above: what is missing appears without touching
//!   what is below. An overlay takes in one filesystem: of the host's other mounts, those at and below [`SYSTEM`] are
//!   bound read-only, and none else is there. What lies on the root filesystem itself is governed by its permissions;
//!   `/root` is empty, `/home` holds nothing but `work`. A host whose root filesystem cannot lie below an overlay
//!   needs `--rootfs`.
//! * `/proc` is that of the session's PID namespace, `/sys` read-only (absent where the kernel refuses it), `/dev`
//!   holds the harmless devices and the accelerators, `/tmp`, `/var/tmp`, `/dev/shm` and `/run` are its own and empty.
//! * Everything that a session writes outside its folders lies in one tmpfs, which may grow to half of the memory.
//! * What is to be hidden is covered by empty directories; then the folders are bound. A mount target is reached
//!   without following a link, and is made only outside of folders that are bound already.

use std::ffi::OsStr;
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use nix::libc;
use nix::sys::stat::FileStat;

use crate::host::dir::{Dir, create_file};
use crate::host::mount::{self, Flags, Source, Spot};
use crate::host::{Error, Result};

/// Directories of which every session has its own.
const OWN: [&str; 6] = ["/dev", "/proc", "/run", "/sys", "/tmp", "/var/tmp"];
/// The home of a session's user.
pub const HOME: &str = "/home/work";

/// Where programs and their configuration live on a host.
const SYSTEM: [&str; 10] =
    ["/usr", "/opt", "/etc", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/nix"];

/// Devices that hold nothing of anybody's.
const DEVICES: [&str; 6] = ["null", "zero", "full", "random", "urandom", "tty"];

/// Accelerators and their network: names in `/dev`, or beginnings of them.
const ACCELERATORS: [&str; 2] = ["nvidia", "kfd"];
const ACCELERATOR_DIRS: [&str; 2] = ["dri", "infiniband"];

/// Where the session's tmpfs lies until the root has changed.
const SCRATCH: &str = "/tmp";

/// A folder on its way into the session.
pub struct Folder {
    /// What is bound.
    pub source: Source,
    /// Where.
    pub target: PathBuf,
    /// Whether the session may write to it.
    pub read_only: bool,
}

/// What the root of a session is made of.
pub struct Plan {
    /// The lower layer; `None`: the host's root.
    pub rootfs: Option<PathBuf>,
    /// Parents before children.
    pub folders: Vec<Folder>,
    /// Paths below the lower layer.
    pub hide: Vec<PathBuf>,
    /// Owner of the home.
    pub uid: u32,
    /// Group of the home.
    pub gid: u32,
}

/// Builds the root in the mount namespace of the calling process and changes to it.
pub fn build(plan: Plan) -> Result<()> {
    let host = plan.rootfs.is_none();
    let lower = mount::open_directory(plan.rootfs.as_deref().unwrap_or(Path::new("/")))?;
    let system = if host { system_mounts()? } else { Vec::new() };
    let folders = plan
        .folders
        .into_iter()
        .map(|folder| Ok(Folder { source: folder.source.follow()?, ..folder }))
        .collect::<Result<Vec<_>>>()?;

    let root = Root::new(&lower)?;
    for (path, source) in &system {
        root.bind_system(path, source)?;
    }
    let mut covered = Vec::new();
    // What lies below a directory that the session has of its own is out of sight with the host's.
    let replaced =
        |path: &&PathBuf| OWN.iter().any(|own| path.starts_with(own)) || (host && path.starts_with("/home"));
    for path in plan.hide.iter().filter(|path| !replaced(path)) {
        covered.extend(root.cover(path)?);
    }
    if host {
        covered.extend(root.cover(Path::new("/root"))?);
        root.own("/home", 0o755)?;
    }
    root.kernel_filesystems()?;
    root.devices(plan.uid, plan.gid)?;
    for (path, mode) in [("/tmp", 0o1777), ("/dev/shm", 0o1777), ("/run", 0o755)] {
        root.own(path, mode)?;
    }
    if root.find(Path::new("/var/tmp"))?.is_some() {
        root.own("/var/tmp", 0o1777)?;
    }
    if host {
        root.resolver()?;
    }
    root.own(HOME, 0o755)?;
    root.dir(Path::new(HOME))?.set_owner(plan.uid, plan.gid)?;
    root.folders(&folders, plan.uid, plan.gid)?;
    for path in &covered {
        mount::restrict(&root.spot(path)?, true)?;
    }
    root.enter()
}

/// The mounts of the host at and below [`SYSTEM`]. One that does not answer is left out.
fn system_mounts() -> Result<Vec<(PathBuf, OwnedFd)>> {
    let wanted = |path: &Path| SYSTEM.iter().any(|system| path.starts_with(system));
    let points = mount::points()?;
    let points = points.into_iter().filter(|(path, kind)| kind != "autofs" && wanted(path));
    Ok(points.filter_map(|(path, _)| Some((path.clone(), mount::open_no_links(&path).ok()?))).collect())
}

/// A root that is being built, reached by handles only: a link in it could lead out into the host.
struct Root {
    top: Dir,
    scratch: Dir,
}

impl Root {
    fn new(lower: &OwnedFd) -> Result<Root> {
        let flags = Flags::MS_NOSUID | Flags::MS_NODEV;
        let place = std::fs::canonicalize(SCRATCH).map_err(|e| Error::path("open", SCRATCH, e))?;
        mount::filesystem("tmpfs", &Spot::of(Dir::open(&place)?), flags, "mode=0755")?;
        let scratch = Dir::open(&place)?;
        let upper = scratch.ensure_dir("upper", 0o755)?;
        let work = scratch.ensure_dir("work", 0o755)?;
        let layers = format!(
            "lowerdir={},upperdir={},workdir={}",
            mount::handle_path(lower.as_fd()).display(),
            mount::handle_path(upper.as_fd()).display(),
            mount::handle_path(work.as_fd()).display(),
        );
        let target = Dir::from_fd(scratch.ensure_dir("root", 0o755)?.into_fd(), PathBuf::from("/"));
        mount::filesystem("overlay", &Spot::of(target), flags, &layers)?;
        let top = Dir::from_fd(scratch.open_dir("root")?.into_fd(), PathBuf::from("/"));
        Ok(Root { top, scratch })
    }

    fn enter(&self) -> Result<()> {
        mount::change_root(&self.top)
    }

    /// An existing directory, with what is mounted on it.
    fn dir(&self, path: &Path) -> Result<Dir> {
        let mut here = self.top.try_clone()?;
        for name in parts(path)? {
            here = here.open_dir(name)?;
        }
        Ok(here)
    }

    /// The same; `None` where there is no such directory.
    fn find(&self, path: &Path) -> Result<Option<Dir>> {
        match self.dir(path) {
            Ok(dir) => Ok(Some(dir)),
            // ENOTDIR: a link, too. What it points to has a path of its own.
            Err(e) if matches!(e.errno(), Some(libc::ENOENT | libc::ENOTDIR)) => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// An existing entry, with what is mounted on it.
    fn spot(&self, path: &Path) -> Result<Spot> {
        let (parent, name) = split(path)?;
        Spot::open(&self.dir(parent)?, name)
    }

    /// A directory in the place of whatever the lower layer has there.
    fn plain_dir(&self, path: &Path) -> Result<Dir> {
        let mut here = self.top.try_clone()?;
        for name in parts(path)? {
            if here.stat(name)?.is_some_and(|stat| !is_dir(&stat)) {
                here.remove_file(name)?;
            }
            here = here.ensure_dir(name, 0o755)?;
        }
        Ok(here)
    }

    /// Mounts an empty directory of the session's tmpfs.
    fn own(&self, path: &str, mode: u32) -> Result<()> {
        let target = self.plain_dir(Path::new(path))?;
        let own = self.scratch.ensure_path(&Path::new("own").join(path.trim_start_matches('/')), 0o755)?;
        // A subdirectory of the same name belongs to another mount of this kind.
        let own = own.ensure_dir(".content", mode)?;
        mount::bind(own, &Spot::of(target))
    }

    /// Covers what is to be hidden, if it is there. Root alone can write to the cover, for the targets of folders.
    fn cover(&self, path: &Path) -> Result<Option<PathBuf>> {
        let Some(target) = self.find(path)? else { return Ok(None) };
        let covers = self.scratch.ensure_dir("covers", 0o755)?;
        let cover = covers.ensure_dir(covers.names()?.len().to_string(), 0o555)?;
        mount::bind(cover, &Spot::of(target))?;
        Ok(Some(path.to_owned()))
    }

    fn bind_system(&self, path: &Path, source: &OwnedFd) -> Result<()> {
        // Below a mount that did not answer there is nothing to mount on.
        match self.spot(path) {
            Ok(target) => mount::bind(source, &target)?,
            Err(_) => return Ok(()),
        }
        mount::restrict(&self.spot(path)?, true)
    }

    fn kernel_filesystems(&self) -> Result<()> {
        let flags = Flags::MS_NOSUID | Flags::MS_NODEV | Flags::MS_NOEXEC;
        mount::filesystem("proc", &Spot::of(self.plain_dir(Path::new("/proc"))?), flags, "")?;
        let sys = Spot::of(self.plain_dir(Path::new("/sys"))?);
        // Programs do without it.
        let _ = mount::filesystem("sysfs", &sys, flags | Flags::MS_RDONLY, "");
        Ok(())
    }

    fn devices(&self, uid: u32, gid: u32) -> Result<()> {
        let flags = Flags::MS_NOSUID | Flags::MS_NOEXEC;
        let target = Spot::of(self.plain_dir(Path::new("/dev"))?);
        mount::filesystem("tmpfs", &target, flags, "mode=0755,size=1m")?;
        let dev = self.dir(Path::new("/dev"))?;
        let host = Dir::open(Path::new("/dev"))?;
        for name in host.names()? {
            let Some(stat) = host.stat(&name)? else { continue };
            let text = name.to_string_lossy();
            let device = stat.st_mode & libc::S_IFMT == libc::S_IFCHR
                && (DEVICES.contains(&&*text) || ACCELERATORS.iter().any(|a| text.starts_with(a)));
            let several = is_dir(&stat) && (ACCELERATOR_DIRS.contains(&&*text) || text.starts_with("nvidia"));
            if device {
                create_file(&dev, &name, 0o644)?;
            } else if several {
                dev.ensure_dir(&name, 0o755)?;
            } else {
                continue;
            }
            mount::bind(Spot::open(&host, &name)?, &Spot::open(&dev, &name)?)?;
        }
        // Whoever opens a new terminal in the session is its user.
        let data = format!("newinstance,ptmxmode=0666,mode=0600,uid={uid},gid={gid}");
        mount::filesystem("devpts", &Spot::of(dev.ensure_dir("pts", 0o755)?), flags, &data)?;
        for (name, to) in mount::DEVICE_LINKS {
            mount::make_link(&dev, name, to)?;
        }
        Ok(())
    }

    /// The host's resolver configuration, where it is a link into `/run`.
    fn resolver(&self) -> Result<()> {
        let Ok(path) = std::fs::canonicalize("/etc/resolv.conf") else { return Ok(()) };
        let (Ok(text), true) = (std::fs::read(&path), path.starts_with("/run")) else { return Ok(()) };
        let (parent, name) = split(&path)?;
        let mut file = create_file(&self.plain_dir(parent)?, name, 0o644)?;
        file.write_all(&text).map_err(|e| Error::path("write", &path, e))
    }

    fn folders(&self, folders: &[Folder], uid: u32, gid: u32) -> Result<()> {
        for (at, folder) in folders.iter().enumerate() {
            let inside = folders.iter().take(at).any(|earlier| folder.target.starts_with(&earlier.target));
            if !inside {
                self.make_target(folder, uid, gid)?;
            }
            folder.source.attach(&self.spot(&folder.target)?)?;
            mount::restrict(&self.spot(&folder.target)?, folder.read_only)?;
        }
        Ok(())
    }

    /// Makes what is missing of a mount target; below the home it belongs to the session's user.
    fn make_target(&self, folder: &Folder, uid: u32, gid: u32) -> Result<()> {
        let (parent, name) = split(&folder.target)?;
        let mut here = self.top.try_clone()?;
        let make = |here: &Dir, name: &OsStr| -> Result<Dir> {
            let made = here.make_dir(name, 0o755)?;
            let dir = here.open_dir(name)?;
            if made {
                dir.set_mode(0o755)?;
                if dir.path().starts_with(HOME) {
                    dir.set_owner(uid, gid)?;
                }
            }
            Ok(dir)
        };
        for part in parts(parent)? {
            here = make(&here, part)?;
        }
        if folder.source.is_dir()? {
            make(&here, name)?;
        } else if here.stat(name)?.is_none() {
            create_file(&here, name, 0o644)?;
        }
        Ok(())
    }
}

fn is_dir(stat: &FileStat) -> bool {
    stat.st_mode & libc::S_IFMT == libc::S_IFDIR
}

/// The names of an absolute path without `..`.
fn parts(path: &Path) -> Result<Vec<&OsStr>> {
    let mut names = Vec::new();
    for part in path.strip_prefix("/").map_err(|_| mount::bad_path(path))?.components() {
        match part {
            Component::Normal(name) => names.push(name),
            _ => return Err(mount::bad_path(path)),
        }
    }
    Ok(names)
}

/// Parent and name; the root has none.
fn split(path: &Path) -> Result<(&Path, &OsStr)> {
    parts(path)?;
    path.parent().zip(path.file_name()).ok_or_else(|| mount::bad_path(path))
}
