//! Real sessions, as root. Each runs under a supervisor of its own: this test binary, started again for the one test
//! that is none, [`supervisor`], because a session is forked from a process without other threads.
#![allow(clippy::disallowed_methods)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command as Program, Output, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use super::*;

mod attacks;
mod life;
mod view;

const UID: u32 = 50_000;
const SPEC: &str = "VFADM_TEST_SESSION";
const MARK: &str = "@@ session @@\n";

/// Not a test of its own: the supervisor of a session that another test describes.
#[test]
fn supervisor() {
    let Ok(text) = std::env::var(SPEC) else { return };
    // The runner of tests has a thread of its own, which would take the signals: its child has none.
    if let nix::unistd::ForkResult::Parent { child } = namespace::fork().unwrap() {
        let status = nix::sys::wait::waitpid(child, None).unwrap();
        namespace::exit(namespace::exit_code(status).unwrap());
    }
    privileges::die_with_maker().unwrap();
    // Groups that a session must not have.
    nix::unistd::setgroups(&[0.into(), 4.into(), 6.into()]).unwrap();
    let value: Value = serde_json::from_str(&text).unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let list = |key: &str| value[key].as_array().cloned().unwrap_or_default();
    let binds = list("binds").into_iter().map(|bind| Bind {
        source: crate::host::mount::open_no_links(Path::new(bind[0].as_str().unwrap())).unwrap(),
        target: PathBuf::from(text(&bind[1])),
        read_only: bind[2].as_bool().unwrap(),
    });
    let spec = RunSpec {
        rootfs: value["rootfs"].as_str().map(PathBuf::from),
        binds: binds.collect(),
        hide: list("hide").iter().map(|path| PathBuf::from(text(path))).collect(),
        uid: UID,
        gid: UID,
        userns: value["userns"] == true,
        command: list("command").iter().map(|arg| OsString::from(text(arg))).collect(),
        env: [("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"), ("HOME", "/home/work"), ("TERM", "dumb")]
            .map(|(name, value)| (name.into(), value.into()))
            .into(),
        workdir: value["workdir"].as_str().unwrap_or("/home/work").into(),
    };
    if let Some([checked, other]) = value["swap"].as_array().map(Vec::as_slice) {
        fs::rename(checked.as_str().unwrap(), format!("{}.away", checked.as_str().unwrap())).unwrap();
        fs::rename(other.as_str().unwrap(), checked.as_str().unwrap()).unwrap();
    }
    let api = if value["paths"] == true { Api::Paths } else { Api::of_kernel() };
    let lock = value["lock"].as_str().map(|path| {
        let file = fs::File::create(path).unwrap();
        file.lock().unwrap();
        file
    });
    print!("{MARK}");
    std::io::Write::flush(&mut std::io::stdout()).unwrap();
    match start_with(spec, api) {
        Err(error) => {
            eprintln!("{error}");
            namespace::exit(99)
        }
        Ok(started) => {
            if let Some(path) = value["pid_file"].as_str() {
                let pids = format!("{} {}", std::process::id(), started.pid());
                fs::write(format!("{path}.new"), pids).unwrap();
                fs::rename(format!("{path}.new"), path).unwrap();
            }
            drop(lock);
            if value["stall"] == true {
                std::thread::sleep(Duration::from_secs(60));
            }
            if value["abandon"] == true {
                started.abandon();
                namespace::exit(98)
            }
            namespace::exit(started.run().unwrap())
        }
    }
}

/// A program that supervises the session.
fn supervised(spec: &Value) -> Program {
    let mut program = Program::new(std::env::current_exe().unwrap());
    program
        .args(["--exact", "session::run::tests::supervisor", "--nocapture", "--test-threads=1"])
        .env(SPEC, spec.to_string())
        .stdin(Stdio::null());
    program
}

/// Runs a shell script in a session; status and output.
fn shell(mut spec: Value, script: &str) -> (i32, String) {
    spec["command"] = json!(["sh", "-c", script]);
    finish(supervised(&spec).output().unwrap())
}

fn finish(output: Output) -> (i32, String) {
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    let (_, text) = text.split_once(MARK).unwrap_or_else(|| panic!("no session: {text}{errors}"));
    (output.status.code().unwrap_or(-1), format!("{text}{errors}"))
}

/// A session that runs until the test ends it.
struct Running {
    runner: Child,
    supervisor: Pid,
    init: Pid,
    dir: tempfile::TempDir,
}

impl Running {
    fn start(mut spec: Value, script: &str) -> Running {
        let dir = tempfile::tempdir_in("/dev/shm").unwrap();
        let pid_file = dir.path().join("pid");
        spec["pid_file"] = json!(pid_file);
        spec["command"] = json!(["sh", "-c", script]);
        let runner =
            supervised(&spec).stdout(fs::File::create(dir.path().join("out")).unwrap()).spawn().unwrap();
        until("the session is up", || pid_file.exists());
        let pids = fs::read_to_string(&pid_file).unwrap();
        let (supervisor, init) = pids.split_once(' ').unwrap();
        let pid = |text: &str| Pid::from_raw(text.parse().unwrap());
        Running { runner, supervisor: pid(supervisor), init: pid(init), dir }
    }

    fn output(&self) -> String {
        let text = fs::read_to_string(self.dir.path().join("out")).unwrap();
        text.split_once(MARK).map(|(_, text)| text.to_owned()).unwrap_or_default()
    }

    fn wait_for(&self, text: &str) {
        until(text, || self.output().contains(text));
    }

    fn signal(&self, signal: Signal) {
        kill(self.supervisor, signal).unwrap();
    }

    fn status(&mut self) -> i32 {
        self.runner.wait().unwrap().code().unwrap_or(-1)
    }

    /// The process of the command itself.
    fn command(&self) -> Pid {
        first_child(self.init).unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.runner.kill();
        let _ = self.runner.wait();
    }
}

fn until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !done() {
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn first_child(pid: Pid) -> Option<Pid> {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).ok()?;
    children.split_whitespace().next()?.parse().ok().map(Pid::from_raw)
}

/// Waits until the shell that a session runs sleeps in a child: before, a signal may find the child alone, or not yet.
fn until_shell_sleeps(init: Pid) {
    until("the shell sleeps", || {
        let child = first_child(init).and_then(first_child);
        child.is_some_and(|pid| {
            fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name == "sleep\n")
        })
    });
}

/// False for a zombie, too.
fn alive(pid: Pid) -> bool {
    !matches!(state(pid), None | Some('Z'))
}

fn state(pid: Pid) -> Option<char> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit(") ").next()?.chars().next()
}

/// True while a process of this host has these bytes in its command line.
fn somebody_runs(text: &str) -> bool {
    let processes = fs::read_dir("/proc").unwrap().filter_map(std::result::Result::ok);
    let lines = processes.filter_map(|entry| fs::read(entry.path().join("cmdline")).ok());
    lines.into_iter().any(|line| String::from_utf8_lossy(&line).contains(text))
}

/// A directory of the shared user.
fn folder() -> tempfile::TempDir {
    folder_in("/dev/shm")
}

fn folder_in(parent: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir_in(parent).unwrap();
    std::os::unix::fs::chown(dir.path(), Some(UID), Some(UID)).unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o770)).unwrap();
    dir
}

/// A filesystem on a loop device.
struct Image {
    dir: tempfile::TempDir,
    mounted: bool,
}

impl Image {
    fn new(kind: &str) -> Image {
        let dir = tempfile::tempdir_in("/dev/shm").unwrap();
        let file = dir.path().join("image");
        fs::File::create(&file).unwrap().set_len(512 << 20).unwrap();
        fs::create_dir(dir.path().join("mnt")).unwrap();
        run(&format!("mkfs.{kind}"), &["-q", file.to_str().unwrap()]);
        run("mount", &["-o", "loop", file.to_str().unwrap(), dir.path().join("mnt").to_str().unwrap()]);
        Image { dir, mounted: true }
    }

    fn mnt(&self) -> PathBuf {
        self.dir.path().join("mnt")
    }

    fn unmount(&mut self) {
        run("umount", &[self.mnt().to_str().unwrap()]);
        self.mounted = false;
    }

    /// True while a loop device holds the image.
    fn attached(&self) -> bool {
        let file = self.dir.path().join("image");
        let loops = fs::read_dir("/sys/block")
            .unwrap()
            .filter_map(|entry| fs::read_to_string(entry.unwrap().path().join("loop/backing_file")).ok());
        loops.into_iter().any(|backing| backing.trim_end().ends_with(file.to_str().unwrap()))
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        if self.mounted {
            let _ = Program::new("umount").arg("-l").arg(self.mnt()).status();
        }
    }
}

fn run(program: &str, args: &[&str]) {
    let output = Program::new(program).args(args).output().unwrap();
    assert!(output.status.success(), "{program} {args:?}: {}", String::from_utf8_lossy(&output.stderr));
}
