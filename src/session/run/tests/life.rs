//! How a session begins, is signalled, and ends.

use std::io::{Read, Write};
use std::os::fd::OwnedFd;

use nix::sys::termios::{LocalFlags, tcgetattr};

use super::*;

#[test]
fn the_exit_status_is_the_commands() {
    assert_eq!(shell(json!({}), "exit 7").0, 7);
    assert_eq!(shell(json!({}), "kill -SEGV $$").0, 139);
    for (program, status) in
        [("no-such-program", 127), ("/no/such", 127), ("/etc", 126), ("/etc/passwd", 126)]
    {
        let (found, text) = finish(supervised(&json!({"command": [program]})).output().unwrap());
        assert_eq!(found, status, "{text}");
        assert!(text.contains(&format!("cannot run {program:?}: ")), "{text}");
    }
}

#[test]
fn a_signal_reaches_the_whole_command() {
    for (signal, name) in [
        (Signal::SIGINT, "INT"),
        (Signal::SIGTERM, "TERM"),
        (Signal::SIGHUP, "HUP"),
        (Signal::SIGQUIT, "QUIT"),
        (Signal::SIGUSR1, "USR1"),
        (Signal::SIGUSR2, "USR2"),
    ] {
        // A shell runs its trap when its child has ended: the child gets the signal, too.
        let mut running =
            Running::start(json!({}), &format!("trap 'exit 9' {name}; echo up; sleep 60; sleep 60"));
        until_shell_sleeps(running.init);
        let start = Instant::now();
        running.signal(signal);
        assert_eq!(running.status(), 9, "{name}");
        assert!(start.elapsed() < Duration::from_secs(20), "{name}");
    }
    let mut running = Running::start(json!({}), "echo up; exec sleep 60");
    running.wait_for("up");
    running.signal(Signal::SIGTERM);
    assert_eq!(running.status(), 143);
}

#[test]
fn a_session_stops_and_goes_on() {
    let mut running = Running::start(json!({}), "echo up; sleep 60");
    until_shell_sleeps(running.init);
    let (command, supervisor) = (running.command(), running.supervisor);
    running.signal(Signal::SIGTSTP);
    until("stopped", || state(supervisor) == Some('T') && state(command) == Some('T'));
    running.signal(Signal::SIGCONT);
    until("running", || state(supervisor) != Some('T') && state(command) != Some('T'));
    running.signal(Signal::SIGTERM);
    assert_eq!(running.status(), 143);
}

#[test]
fn orphans_are_reaped_and_end_with_the_command() {
    let unique = format!("6{}.25", std::process::id());
    let script = format!(
        "for n in 1 2 3; do (sh -c 'sleep 0.1 & sleep 0.05' &); done; sleep 0.6; \
         grep -c '^State:.Z' /proc/[0-9]*/status | grep -c ':1$'; \
         setsid sleep {unique} > /dev/null 2>&1 & sleep 0.1; exit 4"
    );
    assert_eq!(shell(json!({}), &script), (4, "0\n".to_owned()));
    assert!(!somebody_runs(&unique));
}

#[test]
fn a_killed_supervisor_takes_its_session_with_it() {
    for userns in [false, true] {
        let running = Running::start(json!({"userns": userns}), "setsid sleep 60 & echo up; sleep 60");
        running.wait_for("up");
        let command = running.command();
        running.signal(Signal::SIGKILL);
        until("the session has ended", || !alive(running.init) && !alive(command));
    }
}

#[test]
fn a_supervisor_killed_at_the_gate_takes_its_session_with_it() {
    let data = folder();
    let spec = json!({"stall": true, "binds": [[data.path(), "/data", false]]});
    let running = Running::start(spec, "touch /data/ran");
    running.signal(Signal::SIGKILL);
    until("the session has ended", || !alive(running.init));
    assert!(!data.path().join("ran").exists());
}

#[test]
fn an_abandoned_session_runs_nothing() {
    let data = folder();
    let spec = json!({"abandon": true, "binds": [[data.path(), "/data", false]]});
    let mut running = Running::start(spec, "touch /data/ran");
    assert_eq!(running.status(), 98);
    assert!(!alive(running.init) && !data.path().join("ran").exists());
}

#[test]
fn a_session_that_cannot_be_set_up_says_why() {
    let data = folder();
    let unique = format!("vfadm-test-{}-why", std::process::id());
    for (spec, reason) in [
        (json!({"workdir": "/no/such"}), "cannot enter /no/such: No such file or directory"),
        (json!({"rootfs": "/no/such"}), "cannot open /no/such: No such file or directory"),
        (json!({"hide": ["/"]}), "cannot hide /: Invalid argument"),
        (
            json!({"binds": [[data.path(), "/data/../etc", true]]}),
            "cannot mount on /data/../etc: Invalid argument",
        ),
        (json!({"binds": [[data.path(), "data", true]]}), "cannot mount on data: Invalid argument"),
        (json!({"binds": [[data.path(), "/etc/passwd", true]]}), "cannot open /etc/passwd: Not a directory"),
        (json!({"binds": [[data.path(), "/proc/x", true]]}), "cannot make directory /proc/x: "),
    ] {
        let (status, text) = shell(spec, &format!("true {unique}"));
        assert_eq!(status, 99, "{text}");
        assert!(text.trim().starts_with(reason), "{text}");
    }
    assert_eq!(finish(supervised(&json!({"command": [""]})).output().unwrap()).0, 99);
    // The supervisors carried it in their environment; only their sessions could still.
    assert!(!somebody_runs(&unique));
}

#[test]
fn a_mount_of_the_host_can_be_unmounted_during_a_session() {
    let mut image = Image::new("btrfs");
    let running = Running::start(json!({}), "echo up; sleep 60");
    running.wait_for("up");
    assert!(image.attached());
    image.unmount();
    until("the loop device is free", || !image.attached());
    assert!(alive(running.init));
}

#[test]
fn a_session_holds_no_lock_of_its_supervisor() {
    let dir = folder();
    let lock = dir.path().join("lock");
    let running = Running::start(json!({"lock": lock}), "echo up; sleep 60");
    running.wait_for("up");
    assert!(fs::File::open(&lock).unwrap().try_lock().is_ok());
}

/// A terminal with a supervisor on it.
struct Typist {
    supervisor: Child,
    slave: OwnedFd,
    master: fs::File,
    seen: String,
}

impl Typist {
    fn new(spec: Value) -> Typist {
        let size = nix::pty::Winsize { ws_row: 33, ws_col: 77, ws_xpixel: 0, ws_ypixel: 0 };
        let pty = nix::pty::openpty(Some(&size), None).unwrap();
        let inner = supervised(&spec);
        // A controlling terminal, as a login shell has it.
        let mut program = Program::new("setsid");
        program.args(["--ctty", "--wait"]).arg(inner.get_program()).args(inner.get_args());
        program.envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
        let stream = || Stdio::from(pty.slave.try_clone().unwrap());
        let supervisor = program.stdin(stream()).stdout(stream()).stderr(stream()).spawn().unwrap();
        nix::fcntl::fcntl(&pty.master, nix::fcntl::FcntlArg::F_SETFL(nix::fcntl::OFlag::O_NONBLOCK)).unwrap();
        Typist { supervisor, slave: pty.slave, master: fs::File::from(pty.master), seen: String::new() }
    }

    fn type_in(&mut self, text: &str) {
        self.master.write_all(text.as_bytes()).unwrap();
    }

    /// Waits until the screen shows `text` after what was waited for before.
    fn expect(&mut self, text: &str) {
        let mut bytes = [0; 4096];
        let deadline = Instant::now() + Duration::from_secs(20);
        while !self.seen.contains(text) {
            assert!(Instant::now() < deadline, "no {text:?} in {:?}", self.seen);
            match self.master.read(&mut bytes) {
                Ok(count) => self.seen.push_str(&String::from_utf8_lossy(&bytes[..count])),
                Err(_) => std::thread::sleep(Duration::from_millis(10)),
            }
        }
        let at = self.seen.find(text).unwrap() + text.len();
        self.seen.drain(..at);
    }
}

impl Drop for Typist {
    fn drop(&mut self) {
        let _ = self.supervisor.kill();
        let _ = self.supervisor.wait();
    }
}

#[test]
fn a_shell_on_a_terminal_has_job_control() {
    let mut typist = Typist::new(json!({"command": ["bash", "--norc", "-i"]}));
    let before = tcgetattr(&typist.slave).unwrap();
    typist.expect("$ ");
    typist.type_in("tty; stty size; echo sum-$((6*7))\n");
    typist.expect("/dev/pts/0");
    typist.expect("33 77");
    typist.expect("sum-42");
    typist.type_in("sh -c 'echo go-$((1+1)); exec sleep 60'\n");
    typist.expect("go-2");
    typist.type_in("\x03");
    typist.type_in("echo code-$?\n");
    typist.expect("code-130");
    typist.type_in("sh -c 'echo go-$((2+2)); exec sleep 60'\n");
    typist.expect("go-4");
    typist.type_in("\x1a");
    typist.expect("Stopped");
    typist.type_in("kill %1; wait; echo still-$((5+5))\n");
    typist.expect("still-10");
    assert!(!tcgetattr(&typist.slave).unwrap().local_flags.contains(LocalFlags::ECHO));
    typist.type_in("exit 3\n");
    assert_eq!(typist.supervisor.wait().unwrap().code(), Some(3));
    assert_eq!(tcgetattr(&typist.slave).unwrap(), before);
}

#[test]
fn all_that_a_command_printed_arrives() {
    let mut typist = Typist::new(json!({"command": ["sh", "-c", "seq 1 20000; echo the-end"]}));
    typist.expect("20000\r\nthe-end");
    assert_eq!(typist.supervisor.wait().unwrap().code(), Some(0));
}

#[test]
fn a_signal_passes_beside_the_terminal() {
    let dir = tempfile::tempdir_in("/dev/shm").unwrap();
    let pid_file = dir.path().join("pid");
    let script = "trap 'exit 6' TERM; echo up-$((3+3)); sleep 60";
    let mut typist = Typist::new(json!({"pid_file": pid_file, "command": ["sh", "-c", script]}));
    typist.expect("up-6");
    let pids = fs::read_to_string(&pid_file).unwrap();
    let (supervisor, init) = pids.split_once(' ').unwrap();
    until_shell_sleeps(Pid::from_raw(init.parse().unwrap()));
    kill(Pid::from_raw(supervisor.parse().unwrap()), Signal::SIGTERM).unwrap();
    assert_eq!(typist.supervisor.wait().unwrap().code(), Some(6));
}
