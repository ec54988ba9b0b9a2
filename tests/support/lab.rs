use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use super::{Image, Output, scratch, vfadm};

/// The words of a command line; nothing in it is quoted.
pub fn words(line: &str) -> Vec<&str> {
    line.split_whitespace().collect()
}

/// A root of its own with one volume `local`, the users `alice` and `bob`, and the project `ml` (alice its admin, bob
/// a member). Everything is gone when it is dropped.
pub struct Lab {
    /// The vfadm root.
    pub root: PathBuf,
    /// Where the volume `local` is.
    pub volume: PathBuf,
    // Unmounted before the directory that holds the mount point is removed: fields are dropped in this order.
    image: Option<Image>,
    dir: TempDir,
}

impl Lab {
    /// A path for a root, and nothing in it.
    pub fn bare() -> Lab {
        let dir = scratch();
        let root = dir.path().join("root");
        Lab { volume: root.join("local"), root, image: None, dir }
    }

    /// A root and a volume somewhere else.
    pub fn at(root: PathBuf, volume: PathBuf) -> Lab {
        Lab { root, volume, ..Lab::bare() }
    }

    /// Folders are plain directories, without limits.
    pub fn plain() -> Lab {
        let lab = Lab::bare();
        lab.ok(&format!("init --volume local={} --quota none", lab.volume.display()));
        lab.populate();
        lab
    }

    /// Folders are subvolumes of a btrfs image under simple quotas.
    pub fn btrfs() -> Lab {
        let mut lab = Lab::bare();
        let image = Image::mount(lab.dir.path(), "pool", "btrfs", 512 << 20);
        lab.volume = image.mount.clone();
        lab.image = Some(image);
        lab.ok(&format!("init --volume local={} --quota btrfs", lab.volume.display()));
        lab.populate();
        lab
    }

    fn populate(&self) {
        self.ok("user add alice");
        self.ok("user add bob");
        self.ok("project add ml");
        self.ok("project add-member ml alice --role admin");
        self.ok("project add-member ml bob");
    }

    /// The scratch directory that holds root and image, for files of the test's own.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The image under the volume.
    pub fn image(&self) -> &Image {
        self.image.as_ref().expect("this lab has an image")
    }

    /// A second filesystem, mounted in the lab's directory.
    pub fn second(&self, name: &str, kind: &str, size: u64) -> Image {
        Image::mount(self.dir.path(), name, kind, size)
    }

    /// The registry file.
    pub fn registry(&self) -> PathBuf {
        self.root.join("registry.yaml")
    }

    /// The registry's text.
    pub fn registry_text(&self) -> String {
        fs::read_to_string(self.registry()).expect("a registry")
    }

    /// vfadm on this root, from an environment as empty as cron's, without a terminal.
    pub fn command<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Command {
        let mut command = Command::new(vfadm());
        command.env_clear().env("PATH", "/usr/bin:/bin").env("VFADM_ROOT", &self.root);
        command.args(args).current_dir("/").stdin(Stdio::null());
        command
    }

    /// Runs a command line and answers what it said.
    pub fn run(&self, line: &str) -> Output {
        self.run_args(&words(line))
    }

    /// Runs arguments that hold spaces, or bytes that a shell would eat.
    pub fn run_args<A: AsRef<OsStr>>(&self, args: &[A]) -> Output {
        let shown: Vec<_> = args.iter().map(|a| a.as_ref().to_string_lossy().into_owned()).collect();
        let out = self.command(args).output().expect("vfadm starts");
        Output::of(format!("vfadm {}", shown.join(" ")), &out)
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

    /// Kills a command line at the first owner that it gives to something: a clone or transfer while it copies.
    #[track_caller]
    pub fn cut_off(&self, line: &str) {
        let mut strace = Command::new("/usr/bin/strace");
        strace.args(["-f", "-qq", "-o", "/dev/null", "--trace=fchown,fchownat"]);
        strace.args(["--inject=fchown,fchownat:signal=KILL:when=1"]).arg(vfadm()).args(words(line));
        let out = strace.env_clear().env("VFADM_ROOT", &self.root).output().expect("strace starts");
        Output::of(line.to_owned(), &out).exits(137);
    }

    /// The document that a command line prints with `-o json`.
    #[track_caller]
    pub fn json(&self, line: &str) -> Value {
        self.ok(&format!("-o json {line}")).json()
    }

    /// Where a folder is on disk.
    #[track_caller]
    pub fn path(&self, reference: &str) -> PathBuf {
        PathBuf::from(self.ok(&format!("vfolder path {reference}")).stdout.trim_end_matches('\n'))
    }

    /// A key of `vfolder show`, as text.
    #[track_caller]
    pub fn folder(&self, reference: &str, key: &str) -> String {
        let value = &self.json(&format!("vfolder show {reference}"))[key];
        value.as_str().map_or_else(|| value.to_string(), str::to_owned)
    }

    /// A session of `user` that runs `script` in a shell to its end.
    pub fn session(&self, user: &str, options: &str, script: &str) -> Output {
        let mut args = vec!["session", "run", "--user", user];
        args.extend(words(options));
        args.extend(["--", "/bin/sh", "-c", script]);
        self.run_args(&args)
    }

    /// A session that stays until it is told to go ([`Running::end`]) and answers lines on its stdin meanwhile.
    #[track_caller]
    pub fn session_in_background(&self, name: &str, options: &str) -> Running<'_> {
        let mut args = vec!["session", "run", name];
        args.extend(words(options));
        args.extend(["--", "/bin/sh"]);
        let mut command = self.command(&args);
        let pipes = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut running =
            Running { child: pipes.spawn().expect("vfadm starts"), lab: self, name: name.to_owned() };
        assert_eq!(running.ask("echo here"), "here", "session {name} has not started");
        running
    }
}

/// A session in the background, with a shell in it.
pub struct Running<'a> {
    pub child: Child,
    lab: &'a Lab,
    name: String,
}

impl Running<'_> {
    /// Has the shell inside run one line that prints exactly one line.
    #[track_caller]
    pub fn ask(&mut self, line: &str) -> String {
        let stdin = self.child.stdin.as_mut().expect("a pipe");
        writeln!(stdin, "{line}").expect("the session reads");
        let mut answer = Vec::new();
        let stdout = self.child.stdout.as_mut().expect("a pipe");
        let mut byte = [0u8];
        while std::io::Read::read(stdout, &mut byte).is_ok_and(|n| n == 1) && byte[0] != b'\n' {
            answer.push(byte[0]);
        }
        String::from_utf8_lossy(&answer).into_owned()
    }

    /// The pid of its first process as the host counts, from the registry.
    #[track_caller]
    pub fn pid(&self) -> u32 {
        let shown = self.lab.json(&format!("session show {}", self.name));
        let holder = &shown["kernels"][0]["holder"];
        let pid = holder["pid"].as_u64().unwrap_or_else(|| panic!("no pid in {shown}"));
        u32::try_from(pid).unwrap()
    }

    /// Ends the shell inside and answers what vfadm said.
    pub fn end(mut self) -> Output {
        drop(self.child.stdin.take());
        let mut out =
            std::process::Output { status: self.child.wait().unwrap(), stdout: vec![], stderr: vec![] };
        let stderr = self.child.stderr.as_mut().expect("a pipe");
        std::io::Read::read_to_end(stderr, &mut out.stderr).expect("stderr ends");
        Output::of(format!("vfadm session run {}", self.name), &out)
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
