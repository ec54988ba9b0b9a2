//! Documents of the OCI runtime specification (`config.md`, `config-linux.md`, version 1.0.2).

use serde_json::{Value, json};

use super::Spec;
use crate::session::plan::HOME;

const VERSION: &str = "1.0.2";

/// Programs of the session are looked for here.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

const PROC: &str = "/proc";
const SYS: &str = "/sys";

/// Files of the kernel that tell about more than the session, and those by which it could change more.
const MASKED: [(&str, &str); 8] = [
    (PROC, "acpi"),
    (PROC, "kcore"),
    (PROC, "keys"),
    (PROC, "latency_stats"),
    (PROC, "scsi"),
    (PROC, "timer_list"),
    (PROC, "timer_stats"),
    (SYS, "firmware"),
];
const READ_ONLY: [(&str, &str); 5] =
    [(PROC, "bus"), (PROC, "fs"), (PROC, "irq"), (PROC, "sys"), (PROC, "sysrq-trigger")];

/// What runs in the root.
#[derive(Clone, Debug)]
pub struct Process {
    /// The command and its arguments.
    pub command: Vec<String>,
    /// True with a terminal.
    pub terminal: bool,
    /// More of the environment.
    pub env: Vec<(String, String)>,
}

/// The `mounts` of a specification; with a root directory, a whole one for it.
pub fn document(spec: &Spec) -> Value {
    match &spec.rootfs {
        None => json!({"mounts": binds(spec)}),
        Some(rootfs) => {
            let shell = Process { command: vec!["sh".to_owned()], terminal: false, env: Vec::new() };
            config(spec, rootfs, &shell)
        }
    }
}

/// A whole `config.json`: the shared user, no capability and none to be had, no cgroup, the host's network.
pub fn config(spec: &Spec, rootfs: &str, process: &Process) -> Value {
    let paths =
        |list: &[(&str, &str)]| list.iter().map(|(at, name)| format!("{at}/{name}")).collect::<Vec<_>>();
    let mut env = vec![format!("PATH={PATH}")];
    env.extend(spec.env().into_iter().map(|(key, value)| format!("{key}={value}")));
    env.extend(process.env.iter().map(|(key, value)| format!("{key}={value}")));
    let mut mounts = system_mounts();
    mounts.extend(binds(spec));
    json!({
        "ociVersion": VERSION,
        "root": {"path": rootfs, "readonly": false},
        "process": {
            "terminal": process.terminal,
            // The umask of every session: the group may write, others may not.
            "user": {"uid": spec.uid, "gid": spec.gid, "umask": 2, "additionalGids": []},
            "args": process.command,
            "env": env,
            "cwd": HOME,
            "capabilities": {
                "bounding": [], "effective": [], "permitted": [], "inheritable": [], "ambient": [],
            },
            "noNewPrivileges": true,
        },
        "mounts": mounts,
        "linux": {
            "namespaces": [{"type": "mount"}, {"type": "pid"}, {"type": "ipc"}, {"type": "uts"}],
            "maskedPaths": paths(&MASKED),
            "readonlyPaths": paths(&READ_ONLY),
        },
    })
}

fn binds(spec: &Spec) -> Vec<Value> {
    let bind = |bind: &super::Bind| {
        let access = if bind.read_only { "ro" } else { "rw" };
        json!({
            "destination": bind.target,
            "type": "bind",
            "source": bind.source,
            "options": ["bind", access, "nosuid", "nodev", "rprivate"],
        })
    };
    spec.binds.iter().map(bind).collect()
}

fn system_mounts() -> Vec<Value> {
    let mount = |destination: &str, kind: &str, options: &[&str]| json!({"destination": destination, "type": kind, "source": kind, "options": options});
    vec![
        mount(PROC, "proc", &["nosuid", "noexec", "nodev"]),
        mount("/dev", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=64k"]),
        mount("/dev/pts", "devpts", &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"]),
        mount("/dev/shm", "tmpfs", &["nosuid", "noexec", "nodev", "mode=1777"]),
        mount(SYS, "sysfs", &["nosuid", "noexec", "nodev", "ro"]),
        mount("/tmp", "tmpfs", &["nosuid", "nodev", "mode=1777"]),
    ]
}
