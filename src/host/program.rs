//! Programs: found in fixed directories, run without a shell, with a closed stdin, a deadline and bounded output.

use std::ffi::{OsStr, OsString};
use std::io::Read;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use super::error::{Error, Result};
use crate::domain::name::shell_word;

/// Where programs are looked for: cron's `PATH` has no sbin, and an administrator's may hold anything.
const DIRECTORIES: [&str; 6] =
    ["/usr/sbin", "/usr/bin", "/sbin", "/bin", "/usr/local/sbin", "/usr/local/bin"];

/// How long a program that was killed is waited for: one that hangs in the kernel cannot be.
const LAST_WAIT: Duration = Duration::from_secs(1);

/// How much of what a program said stands in an error.
const SHOWN: usize = 400;

/// Gets each line that is run, as it can be pasted into a shell.
static TRACE: OnceLock<fn(&str)> = OnceLock::new();

/// Has every program shown before it runs.
pub fn trace(show: fn(&str)) {
    let _ = TRACE.set(show);
}

/// The program of this name, or `None` where it is not installed. A name with a slash is taken as it is.
pub fn find(name: &str) -> Option<PathBuf> {
    let runs = |path: &PathBuf| nix::unistd::access(path, nix::unistd::AccessFlags::X_OK).is_ok();
    if name.contains('/') {
        return Some(PathBuf::from(name)).filter(runs);
    }
    DIRECTORIES.iter().map(|dir| Path::new(dir).join(name)).find(runs)
}

/// A program with its arguments.
#[derive(Clone, Debug)]
pub struct Program {
    name: String,
    package: Option<&'static str>,
    arguments: Vec<OsString>,
    deadline: Duration,
    most: u64,
}

/// What a program said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// The line that was run.
    pub line: String,
    /// Its exit status; 128 + N after signal N.
    pub status: i32,
    /// Its stdout.
    pub stdout: Vec<u8>,
    /// Its stderr.
    pub stderr: Vec<u8>,
}

impl Program {
    /// A program that is looked for in fixed directories; at most 30 seconds and 16 MiB of output.
    pub fn new(name: &str) -> Program {
        Program {
            name: name.to_owned(),
            package: None,
            arguments: Vec::new(),
            deadline: Duration::from_secs(30),
            most: 16 << 20,
        }
    }

    /// Names the package that an error tells to install.
    #[must_use]
    pub fn from_package(mut self, package: &'static str) -> Program {
        self.package = Some(package);
        self
    }

    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, argument: impl AsRef<OsStr>) -> Program {
        self.arguments.push(argument.as_ref().to_owned());
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<A: AsRef<OsStr>>(mut self, arguments: impl IntoIterator<Item = A>) -> Program {
        self.arguments.extend(arguments.into_iter().map(|a| a.as_ref().to_owned()));
        self
    }

    /// How long it may run.
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Program {
        self.deadline = deadline;
        self
    }

    /// How many bytes it may print on each of stdout and stderr.
    #[must_use]
    pub fn at_most(mut self, bytes: u64) -> Program {
        self.most = bytes;
        self
    }

    /// The line, as it can be pasted into a shell.
    pub fn line(&self) -> String {
        let words = self.arguments.iter().map(|a| shell_word(&a.to_string_lossy()));
        std::iter::once(shell_word(&self.name)).chain(words).collect::<Vec<_>>().join(" ")
    }

    /// Runs it to its end, whatever its exit status. A program that is not installed, cannot be started, does not end
    /// in time or prints too much is an error; the last two are killed.
    pub fn run(&self) -> Result<Said> {
        let path = find(&self.name).ok_or_else(|| Error::Program(self.missing()))?;
        let line = self.line();
        if let Some(show) = TRACE.get() {
            show(&line);
        }
        let mut child = self.spawn(&path)?;
        let end = Instant::now() + self.deadline;
        let stdout = collect(child.stdout.take(), self.most);
        let stderr = collect(child.stderr.take(), self.most);
        let took = receive(&stdout, end).and_then(|out| Ok((out, receive(&stderr, end)?)));
        let took = took.and_then(|(out, err)| Ok((wait(&mut child, end)?, out, err)));
        match took {
            Ok((status, stdout, stderr)) => Ok(Said { line, status, stdout, stderr }),
            Err(stop) => {
                kill(&mut child);
                Err(Error::Program(match stop {
                    Stop::Late => format!("'{line}' did not end within {} s", self.deadline.as_secs_f32()),
                    Stop::TooMuch => format!("'{line}' printed more than {} bytes", self.most),
                    Stop::Failed(e) => format!("cannot read from '{line}': {e}"),
                }))
            }
        }
    }

    /// Runs it, and takes an exit status other than 0 for an error that says what it printed on stderr.
    pub fn succeed(&self) -> Result<Said> {
        let said = self.run()?;
        match said.status {
            0 => Ok(said),
            _ => Err(said.failure()),
        }
    }

    fn missing(&self) -> String {
        match self.package {
            Some(package) => {
                format!("the program {} is not installed (Debian package: {package})", self.name)
            }
            None => format!("the program {} is not installed", self.name),
        }
    }

    #[allow(clippy::disallowed_methods, unsafe_code)]
    fn spawn(&self, path: &Path) -> Result<Child> {
        let mut command = Command::new(path);
        command.args(&self.arguments).env_clear().env("LC_ALL", "C").env("PATH", DIRECTORIES.join(":"));
        // The home of root is where tools of appliances keep their login.
        command.env("HOME", std::env::var_os("HOME").unwrap_or_else(|| "/root".into()));
        command.current_dir("/").process_group(0);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // SAFETY: two system calls on integers, which are safe after a fork.
        unsafe {
            command.pre_exec(|| {
                nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?;
                // The mask of the thread that waits for the registry's lock is not the tool's.
                nix::sys::signal::SigSet::empty().thread_set_mask()?;
                Ok(())
            });
        }
        command.spawn().map_err(|e| Error::path("start", path, e))
    }
}

impl Said {
    /// Its stdout as text; bytes that are not UTF-8 are replaced.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// What it complained, in one line of bounded length.
    pub fn complaint(&self) -> String {
        let said = if self.stderr.is_empty() { &self.stdout } else { &self.stderr };
        let text = String::from_utf8_lossy(&said[..said.len().min(SHOWN)]);
        text.lines().map(str::trim).filter(|l| !l.is_empty()).collect::<Vec<_>>().join("; ")
    }

    /// That it failed, as an error.
    pub fn failure(&self) -> Error {
        let complaint = self.complaint();
        let said = if complaint.is_empty() { "it said nothing".to_owned() } else { complaint };
        Error::Program(format!("'{}' failed with exit status {}: {said}", self.line, self.status))
    }
}

enum Stop {
    Late,
    TooMuch,
    Failed(std::io::Error),
}

type Collected = std::result::Result<Vec<u8>, Stop>;

/// Reads a pipe to its end in a thread of its own, so that a full pipe never stops the program.
fn collect(pipe: Option<impl Read + Send + 'static>, most: u64) -> Receiver<Collected> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let read = pipe.map_or(Ok(0), |pipe| pipe.take(most + 1).read_to_end(&mut bytes));
        let _ = sender.send(match read {
            Ok(_) if bytes.len() as u64 > most => Err(Stop::TooMuch),
            Ok(_) => Ok(bytes),
            Err(e) => Err(Stop::Failed(e)),
        });
    });
    receiver
}

fn receive(from: &Receiver<Collected>, end: Instant) -> Collected {
    match from.recv_timeout(end.saturating_duration_since(Instant::now())) {
        Ok(collected) => collected,
        Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => Err(Stop::Late),
    }
}

/// Its pipes are closed, so it is about to end; one that closed them to go on is late.
fn wait(child: &mut Child, end: Instant) -> std::result::Result<i32, Stop> {
    let mut pause = Duration::from_micros(50);
    loop {
        match child.try_wait().map_err(Stop::Failed)? {
            Some(status) => {
                return Ok(status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or_default()));
            }
            None if Instant::now() >= end => return Err(Stop::Late),
            None => std::thread::sleep(pause),
        }
        pause = (pause * 2).min(Duration::from_millis(20));
    }
}

fn kill(child: &mut Child) {
    // A failure means that it has ended meanwhile.
    let _ = killpg(Pid::from_raw(child.id().cast_signed()), Signal::SIGKILL);
    let _ = wait(child, Instant::now() + LAST_WAIT);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str) -> Program {
        Program::new("sh").args(["-c", script])
    }

    #[test]
    fn what_a_program_says_and_how_it_ends_come_back() {
        let said = sh("echo out; echo err >&2; exit 3").run().unwrap();
        assert_eq!((said.status, said.text().as_str(), said.complaint().as_str()), (3, "out\n", "err"));
        let error = sh("echo no such pool >&2; exit 2").succeed().unwrap_err().to_string();
        assert_eq!(error, "'sh -c 'echo no such pool >&2; exit 2'' failed with exit status 2: no such pool");
        assert_eq!(sh("kill -9 $$").run().unwrap().status, 137);
    }

    #[test]
    fn a_program_that_is_not_installed_is_named_with_its_package() {
        let error = Program::new("no-such-tool").from_package("tools").run().unwrap_err().to_string();
        assert_eq!(error, "the program no-such-tool is not installed (Debian package: tools)");
    }

    #[test]
    fn a_program_that_hangs_is_killed_with_its_children() {
        let begun = Instant::now();
        let dir = tempfile::tempdir().unwrap();
        let mark = dir.path().join("mark");
        let script = format!("(sleep 1; touch {}) & sleep 60", mark.display());
        let error = sh(&script).deadline(Duration::from_millis(200)).run().unwrap_err().to_string();
        assert!(error.ends_with("did not end within 0.2 s"), "{error}");
        assert!(begun.elapsed() < Duration::from_secs(10));
        std::thread::sleep(Duration::from_millis(1500));
        assert!(!mark.exists());
    }

    #[test]
    fn a_program_that_prints_without_end_is_killed() {
        let error =
            sh("while :; do echo yyyyyyyyyyyyyyyy; done").at_most(4096).run().unwrap_err().to_string();
        assert!(error.ends_with("printed more than 4096 bytes"), "{error}");
    }

    #[test]
    fn a_program_has_no_stdin_a_plain_locale_and_no_foreign_environment() {
        let said = sh("cat; echo $LC_ALL; env | grep -c CARGO").run().unwrap();
        assert_eq!(said.text(), "C\n0\n");
    }

    #[test]
    fn a_line_can_be_pasted() {
        let program = Program::new("zfs").args(["set", "quota=1", "a b", "it's", ""]);
        assert_eq!(program.line(), r"zfs set quota=1 'a b' 'it'\''s' ''");
    }
}
