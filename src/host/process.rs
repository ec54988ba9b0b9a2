//! What `/proc` says: this host, processes, mounts, and who uses a path.

use std::collections::HashSet;
use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use super::error::{Error, Result};

/// The name of this host, as `uname -n` prints it.
pub fn hostname() -> String {
    nix::sys::utsname::uname().map(|u| u.nodename().to_string_lossy().into_owned()).unwrap_or_default()
}

/// The id of this boot; empty where `/proc` is missing.
pub fn boot_id() -> &'static str {
    static ID: OnceLock<String> = OnceLock::new();
    ID.get_or_init(|| {
        fs::read_to_string("/proc/sys/kernel/random/boot_id").map(|s| s.trim().to_owned()).unwrap_or_default()
    })
}

/// When this host was booted, in unix seconds: `btime` of `/proc/stat`, which the kernel rounds down.
pub fn booted_at() -> Option<i64> {
    let stat = fs::read_to_string("/proc/stat").ok()?;
    let begun: i64 = stat.lines().find_map(|line| line.strip_prefix("btime ")?.trim().parse().ok())?;
    Some(begun + 1)
}

/// The PID namespace of this process, by its inode number; `None` without `/proc`.
pub fn pid_namespace() -> Option<u64> {
    use std::os::unix::fs::MetadataExt;
    fs::metadata("/proc/self/ns/pid").ok().map(|meta| meta.ino())
}

/// This process's id.
pub fn own_pid() -> u32 {
    std::process::id()
}

/// When a process began, in clock ticks after boot; `None` when there is no such process, or it is a zombie.
pub fn start_time(pid: u32) -> Option<u64> {
    let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
    parse_stat(&stat).filter(|(state, _)| !matches!(state, b'Z' | b'X')).map(|(_, start)| start)
}

/// State and start time of a `/proc/PID/stat` line. The command name may hold spaces and parentheses.
fn parse_stat(stat: &[u8]) -> Option<(u8, u64)> {
    let end = stat.iter().rposition(|b| *b == b')')?;
    let rest = std::str::from_utf8(&stat[end + 1..]).ok()?;
    let mut fields = rest.split_ascii_whitespace();
    let state = *fields.next()?.as_bytes().first()?;
    // The state is field 3 of proc(5), the start time field 22.
    let start = fields.nth(18)?.parse().ok()?;
    Some((state, start))
}

/// Ends a process that another vfadm supervises: asks its supervisor (its parent) with SIGTERM, which passes that on,
/// and kills it when it has not ended in time.
pub fn end(pid: u32, start: u64, patience: std::time::Duration) -> Result<()> {
    use nix::sys::signal::{Signal, kill};
    use nix::unistd::Pid;
    let alive = || start_time(pid) == Some(start);
    let pause = || {
        std::thread::sleep(std::time::Duration::from_millis(20));
        super::signals::check()
    };
    if let Some(parent) = parent_of(pid).filter(|parent| *parent > 1) {
        // A failure means that it has ended meanwhile.
        let _ = kill(Pid::from_raw(parent as i32), Signal::SIGTERM);
    }
    let until = std::time::Instant::now() + patience;
    while alive() && std::time::Instant::now() < until {
        pause()?;
    }
    self::kill(pid, start);
    while alive() {
        pause()?;
    }
    Ok(())
}

/// Kills a process, where it is still the one that began then.
pub fn kill(pid: u32, start: u64) {
    if start_time(pid) == Some(start) {
        let _ = nix::sys::signal::kill(
            nix::unistd::Pid::from_raw(pid.cast_signed()),
            nix::sys::signal::Signal::SIGKILL,
        );
    }
}

fn parent_of(pid: u32) -> Option<u32> {
    let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
    let end = stat.iter().rposition(|b| *b == b')')?;
    std::str::from_utf8(&stat[end + 1..]).ok()?.split_ascii_whitespace().nth(1)?.parse().ok()
}

/// The children of a process (`/proc/PID/task/TID/children`, proc(5)); none where the kernel does not say.
pub fn children(pid: u32) -> Vec<u32> {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let lists = threads.filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok());
    lists
        .flat_map(|list| list.split_ascii_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<_>>())
        .collect()
}

/// The command name of a process, for messages.
pub fn command_name(pid: u32) -> String {
    fs::read(format!("/proc/{pid}/comm"))
        .map(|name| String::from_utf8_lossy(&name).trim_end().to_owned())
        .unwrap_or_else(|_| "?".to_owned())
}

/// Whose a process is: the name of its effective user, else the number.
pub fn user_name(pid: u32) -> String {
    // Not the owner of /proc/PID, which is root's for a process that may not be traced.
    let status = fs::read(format!("/proc/{pid}/status")).unwrap_or_default();
    let Some(uid) = parse_uid(&status) else { return "?".to_owned() };
    match nix::unistd::User::from_uid(nix::unistd::Uid::from_raw(uid)) {
        Ok(Some(user)) => user.name,
        _ => uid.to_string(),
    }
}

/// The effective user in a `/proc/PID/status` file: the second number of `Uid:`.
fn parse_uid(status: &[u8]) -> Option<u32> {
    let line = status.split(|b| *b == b'\n').find_map(|line| line.strip_prefix(b"Uid:"))?;
    std::str::from_utf8(line).ok()?.split_ascii_whitespace().nth(1)?.parse().ok()
}

/// One line of a mountinfo file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// `major:minor` of the filesystem.
    pub device: String,
    /// The directory of the filesystem that is mounted.
    pub root: PathBuf,
    /// Where it is mounted.
    pub point: PathBuf,
    /// Options of this mount.
    pub options: String,
    /// The type of the filesystem.
    pub filesystem: String,
    /// What is mounted, as the kernel names it.
    pub source: String,
    /// Options of the filesystem, whatever mounts of it there are: quotas, and how NFS locks.
    pub super_options: String,
}

/// Parses a mountinfo file (proc(5)); lines of another form are passed over.
pub fn parse_mounts(text: &[u8]) -> Vec<Mount> {
    text.split(|b| *b == b'\n').filter_map(parse_mount).collect()
}

fn parse_mount(line: &[u8]) -> Option<Mount> {
    let fields: Vec<&[u8]> = line.split(|b| *b == b' ').collect();
    let dash = fields.iter().position(|f| *f == b"-")?;
    let text = |field: &[u8]| String::from_utf8_lossy(field).into_owned();
    Some(Mount {
        device: text(fields.get(2)?),
        root: unescape(fields.get(3)?),
        point: unescape(fields.get(4)?),
        options: text(fields.get(5)?),
        filesystem: text(fields.get(dash + 1)?),
        source: unescape(fields.get(dash + 2)?).to_string_lossy().into_owned(),
        super_options: fields.get(dash + 3).map(|field| text(field)).unwrap_or_default(),
    })
}

/// Undoes the octal escapes of mountinfo.
fn unescape(field: &[u8]) -> PathBuf {
    let mut out = Vec::with_capacity(field.len());
    let mut at = 0;
    while at < field.len() {
        let digits = field.get(at + 1..at + 4).and_then(|d| std::str::from_utf8(d).ok());
        match (field[at], digits.and_then(|d| u8::from_str_radix(d, 8).ok())) {
            (b'\\', Some(byte)) => {
                out.push(byte);
                at += 4;
            }
            (byte, _) => {
                out.push(byte);
                at += 1;
            }
        }
    }
    PathBuf::from(OsString::from_vec(out))
}

/// The mounts that this process sees.
pub fn own_mounts() -> Result<Vec<Mount>> {
    let path = "/proc/self/mountinfo";
    Ok(parse_mounts(&fs::read(path).map_err(|e| Error::path("read", path, e))?))
}

/// How many mounts a mount namespace may have (proc(5), `mount-max`); `None` where the kernel does not say.
pub fn most_mounts() -> Option<u64> {
    fs::read_to_string("/proc/sys/fs/mount-max").ok()?.trim().parse().ok()
}

/// The mount that holds `path`: the last one whose mount point is the longest prefix of it.
pub fn mount_of<'a>(mounts: &'a [Mount], path: &Path) -> Option<&'a Mount> {
    mounts.iter().filter(|m| path.starts_with(&m.point)).max_by_key(|m| m.point.components().count())
}

/// Who uses something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// The process.
    pub pid: u32,
    /// Its command name.
    pub command: String,
    /// The name of its effective user, else the number.
    pub user: String,
    /// How: `mounted at /x`, `open file`, `working directory`.
    pub how: String,
}

impl std::fmt::Display for User {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "pid {} ({} of {}, {})", self.pid, self.command, self.user, self.how)
    }
}

/// A directory that processes may use.
pub struct Target {
    device: String,
    root: PathBuf,
    path: PathBuf,
    passed_over: Option<PathBuf>,
}

impl Target {
    /// Passes over what is mounted below a directory of root's.
    #[must_use]
    pub fn except_mounts_below(mut self, directory: &str) -> Target {
        self.passed_over = Some(PathBuf::from(directory));
        self
    }

    /// What to look for, to find users of `path` (canonical). `None` where its mount is not known.
    pub fn of(path: &Path) -> Result<Option<Target>> {
        let mounts = own_mounts()?;
        Ok(mount_of(&mounts, path).map(|mount| {
            let below = path.strip_prefix(&mount.point).unwrap_or(Path::new(""));
            let root = if below.as_os_str().is_empty() { mount.root.clone() } else { mount.root.join(below) };
            Target { device: mount.device.clone(), root, path: path.to_owned(), passed_over: None }
        }))
    }

    /// The processes that have it, or something below it, mounted, open, or as a directory of theirs.
    ///
    /// A bind mount is found by the filesystem and the *root* field of its mountinfo line, in every mount
    /// namespace: its mount point says nothing of what is mounted.
    pub fn users(&self) -> Result<Vec<User>> {
        let mut users = Vec::new();
        let mut namespaces = HashSet::new();
        let entries = fs::read_dir("/proc").map_err(|e| Error::path("read", "/proc", e))?;
        for entry in entries.flatten() {
            let Some(pid) = entry.file_name().to_str().and_then(|n| n.parse::<u32>().ok()) else { continue };
            let proc = entry.path();
            if let Ok(namespace) = fs::read_link(proc.join("ns/mnt"))
                && !namespaces.contains(&namespace)
                && let Ok(text) = fs::read(proc.join("mountinfo"))
            {
                namespaces.insert(namespace);
                if let Some(mount) = parse_mounts(&text).iter().find(|m| self.covers(m)) {
                    users.push(self.user(pid, format!("mounted at {}", mount.point.display())));
                    continue;
                }
            }
            if pid != super::process::own_pid()
                && let Some(how) = self.opened_by(&proc)
            {
                users.push(self.user(pid, how));
            }
        }
        Ok(users)
    }

    fn user(&self, pid: u32, how: String) -> User {
        User { pid, command: command_name(pid), user: user_name(pid), how }
    }

    /// What is mounted at its own place is not a use: a folder can be a filesystem of its own.
    fn covers(&self, mount: &Mount) -> bool {
        let passed_over = self.passed_over.as_ref().is_some_and(|dir| mount.point.starts_with(dir));
        mount.device == self.device
            && mount.root.starts_with(&self.root)
            && mount.point != self.path
            && !passed_over
    }

    fn opened_by(&self, proc: &Path) -> Option<String> {
        let below = |link: PathBuf| {
            fs::read_link(link).is_ok_and(|path| {
                let bytes = path.as_os_str().as_bytes();
                let plain = bytes.strip_suffix(b" (deleted)").unwrap_or(bytes);
                Path::new(std::ffi::OsStr::from_bytes(plain)).starts_with(&self.path)
            })
        };
        if below(proc.join("cwd")) {
            return Some("working directory".to_owned());
        }
        if below(proc.join("root")) {
            return Some("root directory".to_owned());
        }
        let open = fs::read_dir(proc.join("fd")).ok()?;
        open.flatten().any(|fd| below(fd.path())).then(|| "open file".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stat_line_is_read_past_any_command_name() {
        let line = b"42 (a) b ) R 1 42 42 0 -1 4194304 0 0 0 0 0 0 0 0 20 0 1 0 81523 0 0";
        assert_eq!(parse_stat(line), Some((b'R', 81523)));
        assert_eq!(parse_stat(b"42 (a"), None);
    }

    #[test]
    fn a_process_is_its_effective_users() {
        let status = b"Name:\tUid: x\nUmask:\t0022\nUid:\t0\t50000\t0\t0\nGid:\t0\t0\t0\t0\n";
        assert_eq!(parse_uid(status), Some(50_000));
        assert_eq!(parse_uid(b""), None);
        assert_eq!(user_name(u32::MAX), "?");
    }

    #[test]
    fn the_start_time_tells_a_process_from_a_reused_pid() {
        assert!(start_time(own_pid()).is_some());
        assert_eq!(start_time(u32::MAX), None);
    }

    #[test]
    fn a_mountinfo_line_is_read_with_optional_fields_and_escapes() {
        let line =
            b"36 35 98:0 /mnt1 /mnt\\0402 rw,noatime shared:1 master:2 - ext3 /dev/root rw,errors=continue\n";
        let mounts = parse_mounts(line);
        assert_eq!(
            mounts,
            [Mount {
                device: "98:0".into(),
                root: "/mnt1".into(),
                point: "/mnt 2".into(),
                options: "rw,noatime".into(),
                filesystem: "ext3".into(),
                source: "/dev/root".into(),
                super_options: "rw,errors=continue".into(),
            }]
        );
    }

    #[allow(clippy::disallowed_methods)]
    fn tail(path: &Path) -> std::process::Child {
        std::process::Command::new("tail")
            .arg("-f")
            .arg(path)
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap()
    }

    #[test]
    fn a_process_that_has_a_file_open_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().canonicalize().unwrap();
        fs::write(path.join("f"), "x").unwrap();
        let target = Target::of(&path).unwrap().unwrap();
        assert_eq!(target.users().unwrap(), []);
        let mut tail = tail(&path.join("f"));
        let found = (0..100).find_map(|_| {
            std::thread::sleep(std::time::Duration::from_millis(20));
            target.users().unwrap().into_iter().next()
        });
        tail.kill().unwrap();
        tail.wait().unwrap();
        let found = found.expect("tail is found");
        let shown = format!("pid {} (tail of {}, open file)", tail.id(), user_name(own_pid()));
        assert_eq!(found.to_string(), shown);
    }

    #[test]
    fn whatever_proc_says_is_passed_over_or_read() {
        let mounts = b"36 35 98:0 /a\\040b /mnt\\011x rw,noatime master:1 shared:2 - ext4 /dev/root\\134 rw,prjquota\n";
        crate::testing::each(&[mounts, b"1 2 0:1 / / rw - t s\n"], |text| {
            let lines = text.split(|b| *b == b'\n').count();
            assert!(parse_mounts(text).len() <= lines);
        });
        crate::testing::each(
            &[b"42 (a) b ) R 1 42 42 0 -1 4194304 0 0 0 0 0 0 0 0 20 0 1 0 81523 0 0"],
            |text| {
                parse_stat(text);
            },
        );
        crate::testing::each(
            &[b"Name:\tcat\nUmask:\t0022\nUid:\t0\t1000\t0\t0\nGid:\t0\t0\t0\t0\n"],
            |text| {
                parse_uid(text);
            },
        );
    }
}
