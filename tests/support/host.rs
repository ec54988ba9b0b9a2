use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use super::{Lab, Output, vfadm, words};

/// The programs that are asked about holders.
const TOOLS: &str = "docker podman nerdctl runc systemctl squeue";

/// Where vfadm looks for them, the first last: what is bound later lies above.
const SETUP: &str = r#"
set -e
for tool in $TOOLS; do
    for dir in /usr/bin /usr/sbin /usr/local/bin; do
        [ ! -e "$dir/$tool" ] || mount --bind /dev/null "$dir/$tool"
    done
done
mount --bind "$BIN" /usr/local/sbin
hostname "$NAME"
exec "$@"
"#;

/// A host of its own name over the lab's root, with mounts of its own: of the programs that are asked about holders it has
/// those that [`Host::tool`] gives it. vfadm finds them where it looks for programs, and is the same as ever.
pub struct Host<'a> {
    lab: &'a Lab,
    name: &'static str,
    dir: PathBuf,
}

impl Host<'_> {
    /// A host without any of the programs.
    pub fn new<'a>(lab: &'a Lab, name: &'static str) -> Host<'a> {
        let dir = lab.dir().join(format!("host-{name}"));
        fs::create_dir_all(dir.join("bin")).unwrap();
        Host { lab, name, dir }
    }

    /// Gives it a program: a script, whose arguments are kept for [`Host::asked`].
    pub fn tool(&self, name: &str, script: &str) {
        let file = self.dir.join("bin").join(name);
        let text = format!("#!/bin/sh\necho \"$*\" >> {}\n{script}\n", self.log(name).display());
        fs::write(&file, text).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn log(&self, tool: &str) -> PathBuf {
        self.dir.join(format!("{tool}.log"))
    }

    /// With what arguments a program was run since this was asked last.
    pub fn asked(&self, tool: &str) -> Vec<String> {
        let text = fs::read_to_string(self.log(tool)).unwrap_or_default();
        let _ = fs::remove_file(self.log(tool));
        text.lines().map(str::to_owned).collect()
    }

    /// A program on this host, by its path, from an environment as empty as cron's.
    pub fn command(&self, program: &Path) -> Command {
        let mut command = Command::new("/usr/bin/unshare");
        command.args(["--mount", "--uts", "--propagation", "private", "/bin/sh", "-c", SETUP, "sh"]);
        command.arg(program).env_clear().env("PATH", "/usr/bin:/bin").env("VFADM_ROOT", &self.lab.root);
        command.env("TOOLS", TOOLS).env("BIN", self.dir.join("bin")).env("NAME", self.name);
        command.current_dir("/").stdin(Stdio::null());
        command
    }

    /// Runs a command line.
    pub fn run(&self, line: &str) -> Output {
        let out = self.command(Path::new(&vfadm())).args(words(line)).output().expect("unshare starts");
        Output::of(format!("{}: vfadm {line}", self.name), &out)
    }

    /// Runs a command line that has to succeed.
    #[track_caller]
    pub fn ok(&self, line: &str) -> Output {
        self.run(line).exits(0)
    }

    /// Runs a command line that has to fail in a certain way.
    #[track_caller]
    pub fn fails(&self, code: i32, line: &str) -> Output {
        self.run(line).exits(code)
    }

    /// The document that a command line prints with `-o json`.
    #[track_caller]
    pub fn json(&self, line: &str) -> Value {
        self.ok(&format!("-o json {line}")).json()
    }
}
