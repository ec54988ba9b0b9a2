//! Programs: found in fixed directories, run without a shell, with a closed stdin, a deadline and bounded output.

mod trust;

use std::ffi::{OsStr, OsString};
use std::io::Read;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::libc::SIGPIPE;
use nix::sys::signal::{Signal, killpg};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::Pid;

pub use trust::writable_by_others;

use super::error::{Error, Result};
use super::signals;
use crate::domain::text::{shell_path, shell_word};

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
    let runs =
        |path: &PathBuf| path.is_file() && nix::unistd::access(path, nix::unistd::AccessFlags::X_OK).is_ok();
    if name.contains('/') {
        return Some(PathBuf::from(name)).filter(runs);
    }
    DIRECTORIES.iter().map(|dir| Path::new(dir).join(name)).find(runs)
}

/// The fixed directories as a `PATH`.
pub fn search_path() -> String {
    DIRECTORIES.join(":")
}

/// A program with its arguments.
#[derive(Clone, Debug)]
pub struct Program {
    name: String,
    package: Option<&'static str>,
    arguments: Vec<OsString>,
    deadline: Duration,
    most: u64,
    keeps_environment: bool,
    of_root_alone: bool,
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
            keeps_environment: false,
            of_root_alone: false,
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

    /// Gives it the caller's environment as well: `DOCKER_HOST` says which engine is meant.
    #[must_use]
    pub fn with_environment(mut self) -> Program {
        self.keeps_environment = true;
        self
    }

    /// Does not run it where its path is given and others than root can write to it. The fixed directories are the
    /// system's.
    #[must_use]
    pub fn of_root_alone(mut self) -> Program {
        self.of_root_alone = true;
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
        let words = self.arguments.iter().map(shell_path);
        std::iter::once(shell_word(&self.name)).chain(words).collect::<Vec<_>>().join(" ")
    }

    /// Runs it to its end, whatever its exit status. A program that is not installed, cannot be started, does not end
    /// in time or prints too much is an error; the last two are killed.
    pub fn run(&self) -> Result<Said> {
        let mut running = self.start(Stdio::null())?;
        running.listen(true)?;
        self.finish(&mut [running]).map(|mut said| said.remove(0))
    }

    /// Runs it with its stdout as the stdin of another program, both to their ends, under this one's bounds. Where one of
    /// them fails that is an error.
    pub fn pipe_into(&self, reader: &Program) -> Result<()> {
        let mut from = self.start(Stdio::null())?;
        from.listen(false)?;
        let pipe = from.child.stdout.take().map_or_else(Stdio::null, Stdio::from);
        let mut into = match reader.start(pipe) {
            Ok(into) => into,
            Err(error) => {
                kill(&mut from.child);
                return Err(error);
            }
        };
        if let Err(error) = into.listen(true) {
            kill(&mut from.child);
            return Err(error);
        }
        let said = self.finish(&mut [into, from])?;
        // The one that failed by itself, or both: the other one often fails because of it, and says no more than that.
        let ended = |one: &Said| [0, 128 + SIGPIPE].contains(&one.status);
        match (&said[1], &said[0]) {
            (from, into) if ended(from) && into.status == 0 => Ok(()),
            (from, into) if ended(from) => Err(into.failure()),
            (from, into) if into.status == 0 => Err(from.failure()),
            (from, into) => Err(Error::Program(format!("{}; {}", into.failure(), from.failure()))),
        }
    }

    fn start(&self, stdin: Stdio) -> Result<Running> {
        let path = find(&self.name).ok_or_else(|| Error::Program(self.missing()))?;
        if self.of_root_alone
            && self.name.contains('/')
            && let Some(open) = writable_by_others(&path)?
        {
            return Err(Error::Program(format!(
                "{} is not run as root: others than root can write to {}",
                path.display(),
                open.display()
            )));
        }
        let line = self.line();
        if let Some(show) = TRACE.get() {
            show(&line);
        }
        Ok(Running { child: self.spawn(&path, stdin)?, line, most: self.most, stdout: None, stderr: None })
    }

    /// Waits for programs that run side by side, the last reader first. All are killed where one has to be.
    fn finish(&self, running: &mut [Running]) -> Result<Vec<Said>> {
        let end = Instant::now() + self.deadline;
        let pipes: Vec<Collector> =
            running.iter().flat_map(|one| one.stdout.iter().chain(&one.stderr)).cloned().collect();
        let mut said = Vec::new();
        for place in 0..running.len() {
            let one = &mut running[place];
            match one.end(end, &pipes) {
                Ok(ended) => said.push(ended),
                Err(stop) => {
                    let line = one.line.clone();
                    running.iter_mut().for_each(|one| kill(&mut one.child));
                    return Err(match stop {
                        Stop::Late => Error::Program(format!(
                            "'{line}' did not end within {} s",
                            self.deadline.as_secs_f32()
                        )),
                        Stop::TooMuch => {
                            Error::Program(format!("'{line}' printed more than {} bytes", self.most))
                        }
                        Stop::Failed(e) => Error::Program(format!("cannot read from '{line}': {e}")),
                        Stop::Signal => Error::Interrupted,
                    });
                }
            }
        }
        Ok(said)
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
    fn spawn(&self, path: &Path, stdin: Stdio) -> Result<Child> {
        let mut command = Command::new(path);
        if !self.keeps_environment {
            command.env_clear();
        }
        command.args(&self.arguments).env("LC_ALL", "C").env("PATH", search_path());
        // The home of root is where tools of appliances keep their login.
        command.env("HOME", std::env::var_os("HOME").unwrap_or_else(|| "/root".into()));
        command.current_dir("/").process_group(0);
        command.stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped());
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

/// A program that was started.
struct Running {
    child: Child,
    line: String,
    most: u64,
    stdout: Option<Collector>,
    stderr: Option<Collector>,
}

impl Running {
    /// Begins to take what it prints; its stdout too, unless another program reads that. Where that cannot be done, it is
    /// killed.
    fn listen(&mut self, stdout: bool) -> Result<()> {
        let heard = self.collect(stdout);
        if heard.is_err() {
            kill(&mut self.child);
        }
        heard.map_err(|e| Error::call("start a thread", e))
    }

    fn collect(&mut self, stdout: bool) -> std::io::Result<()> {
        if stdout {
            self.stdout = Some(Collector::of(self.child.stdout.take(), self.most)?);
        }
        self.stderr = Some(Collector::of(self.child.stderr.take(), self.most)?);
        Ok(())
    }

    fn end(&mut self, end: Instant, pipes: &[Collector]) -> std::result::Result<Said, Stop> {
        let status = wait(&mut self.child, end, pipes)?;
        let end = Instant::now() + LINGER;
        let take = |pipe: &Option<Collector>| match pipe {
            Some(pipe) => pipe.take(end),
            None => Ok(Vec::new()),
        };
        let (stdout, stderr) = (take(&self.stdout)?, take(&self.stderr)?);
        Ok(Said { line: self.line.clone(), status, stdout, stderr })
    }
}

enum Stop {
    Late,
    TooMuch,
    Failed(std::io::Error),
    Signal,
}

/// How long what a program printed is waited for after its end: one that left a daemon behind never closes its pipes.
const LINGER: Duration = Duration::from_millis(500);

/// What comes out of a pipe, as far as it has come.
#[derive(Clone)]
struct Collector {
    state: Arc<(Mutex<Collected>, Condvar)>,
    most: u64,
}

#[derive(Default)]
struct Collected {
    bytes: Vec<u8>,
    ended: bool,
    failed: Option<std::io::Error>,
}

impl Collector {
    fn of(pipe: Option<impl Read + Send + 'static>, most: u64) -> std::io::Result<Collector> {
        let collector = Collector { state: Arc::default(), most };
        let own = collector.clone();
        std::thread::Builder::new().spawn(move || own.run(pipe))?;
        Ok(collector)
    }

    fn run(&self, pipe: Option<impl Read>) {
        let Some(mut pipe) = pipe else { return self.end(None) };
        let mut block = vec![0; 64 << 10];
        loop {
            match pipe.read(&mut block) {
                Ok(0) => return self.end(None),
                Ok(length) => {
                    let mut state = self.lock();
                    state.bytes.extend_from_slice(&block[..length]);
                    if state.bytes.len() as u64 > self.most {
                        drop(state);
                        return self.end(None);
                    }
                }
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
                Err(e) => return self.end(Some(e)),
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Collected> {
        self.state.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn end(&self, failed: Option<std::io::Error>) {
        let mut state = self.lock();
        state.ended = true;
        state.failed = failed;
        self.state.1.notify_all();
    }

    fn is_too_much(&self) -> bool {
        self.lock().bytes.len() as u64 > self.most
    }

    /// All that came, once it has ended; at `end` what has come by then.
    fn take(&self, end: Instant) -> std::result::Result<Vec<u8>, Stop> {
        let mut state = self.lock();
        while !state.ended {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            let waited = self.state.1.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        if state.bytes.len() as u64 > self.most {
            return Err(Stop::TooMuch);
        }
        match state.failed.take() {
            Some(e) => Err(Stop::Failed(e)),
            None => Ok(std::mem::take(&mut state.bytes)),
        }
    }
}

/// Its exit status. A signal to vfadm ends the wait, and so does too much output. What it started in its process group ends
/// with it; a daemon has a session of its own.
fn wait(child: &mut Child, end: Instant, pipes: &[Collector]) -> std::result::Result<i32, Stop> {
    let mut pause = Duration::from_micros(50);
    let group = Pid::from_raw(child.id().cast_signed());
    // Not reaped yet, so that its number is no other group's.
    let look = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
    loop {
        let ended = match waitid(Id::Pid(group), look) {
            Ok(WaitStatus::StillAlive) => None,
            Ok(_) => {
                // A failure means that nothing else is in it.
                let _ = killpg(group, Signal::SIGKILL);
                Some(child.wait().map_err(Stop::Failed)?)
            }
            Err(Errno::EINTR) => continue,
            Err(e) => return Err(Stop::Failed(e.into())),
        };
        match ended {
            Some(status) => {
                return Ok(status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or_default()));
            }
            None if Instant::now() >= end => return Err(Stop::Late),
            None if signals::stopped() => return Err(Stop::Signal),
            None if pipes.iter().any(|pipe| pipe.is_too_much()) => return Err(Stop::TooMuch),
            None => {
                super::apart::beat();
                std::thread::sleep(pause);
            }
        }
        pause = (pause * 2).min(Duration::from_millis(20));
    }
}

fn kill(child: &mut Child) {
    // A failure means that it has ended meanwhile.
    let _ = killpg(Pid::from_raw(child.id().cast_signed()), Signal::SIGKILL);
    let end = Instant::now() + LAST_WAIT;
    while Instant::now() < end && matches!(child.try_wait(), Ok(None)) {
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[cfg(test)]
mod tests;
