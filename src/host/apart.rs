//! Work in processes of their own: a call into a filesystem that does not answer cannot be taken back, and a process
//! of which one thread makes it cannot end. The one that waits here never makes it.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout};
use nix::sys::signal::{Signal, kill};
use nix::sys::stat::Mode;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::error::{Error, Result};
use super::{namespace, privileges};

/// So many at once: each takes two descriptors of this process.
const MOST: usize = 64;
/// Signs of life need not come closer together.
const BEAT: Duration = Duration::from_millis(200);

/// How long the end of one that was killed is waited for.
const LAST_WAIT: Duration = Duration::from_millis(20);

const LIFE: u8 = b'.';
const RESULT: u8 = b'=';
/// The work could not begin; a text says why.
const FAILURE: u8 = b'!';

/// Where a process of this kind reports to; -1 in every other process.
static REPORT: AtomicI32 = AtomicI32::new(-1);
static LAST: Mutex<Option<Instant>> = Mutex::new(None);

/// Says that work goes on; does nothing in a process that is not one of [`each`]'s.
pub fn beat() {
    let report = REPORT.load(Ordering::Relaxed);
    if report < 0 {
        return;
    }
    let mut last = LAST.lock().unwrap_or_else(PoisonError::into_inner);
    if last.is_none_or(|last| last.elapsed() >= BEAT) {
        *last = Some(Instant::now());
        send(report, &[LIFE]);
    }
}

/// What `work` makes of each item, all at the same time; `None` for those that gave no sign of life ([`beat`]) for as
/// long as `silence`. One that ended without an answer is an error: it did not wait for a filesystem. What it says on
/// stderr is passed on. Nothing of this process is open in the others: no lock, and no pipe that somebody waits for.
pub fn each<T, R>(items: &[T], silence: Duration, work: impl Fn(&T) -> R) -> Result<Vec<Option<R>>>
where
    R: Serialize + DeserializeOwned,
{
    let mut answers = Vec::with_capacity(items.len());
    for items in items.chunks(MOST) {
        let mut running = Vec::with_capacity(items.len());
        for item in items {
            running.push(Running::start(|| serde_json::to_vec(&work(item)).unwrap_or_default())?);
        }
        wait(&mut running, silence)?;
        for one in &running {
            answers.push(one.result()?);
        }
    }
    Ok(answers)
}

struct Running {
    pid: Pid,
    report: Option<File>,
    talk: Option<File>,
    said: Vec<u8>,
    heard: Instant,
    silent: bool,
}

impl Running {
    fn start(work: impl FnOnce() -> Vec<u8>) -> Result<Running> {
        let failed = |e: Errno| Error::call("start a child process", e);
        let (report_out, report_in) = nix::unistd::pipe2(OFlag::O_CLOEXEC).map_err(failed)?;
        let (talk_out, talk_in) = nix::unistd::pipe2(OFlag::O_CLOEXEC).map_err(failed)?;
        match namespace::fork().map_err(failed)? {
            ForkResult::Child => {
                let (kind, text) = match stand_apart(&report_in, &talk_in) {
                    Ok(()) => (RESULT, work()),
                    Err(error) => (FAILURE, error.to_string().into_bytes()),
                };
                let mut message = vec![kind];
                message.extend((text.len() as u64).to_ne_bytes());
                message.extend(text);
                send(report_in.as_raw_fd(), &message);
                namespace::exit(0)
            }
            ForkResult::Parent { child } => Ok(Running {
                pid: child,
                report: Some(File::from(report_out)),
                talk: Some(File::from(talk_out)),
                said: Vec::new(),
                heard: Instant::now(),
                silent: false,
            }),
        }
    }

    /// The kind and the bytes of the answer behind signs of life, once they are all there.
    fn answer(&self) -> Option<(u8, &[u8])> {
        let start = self.said.iter().position(|byte| *byte != LIFE)?;
        let (head, body) = self.said[start..].split_at_checked(9)?;
        let length = u64::from_ne_bytes(head[1..].try_into().ok()?);
        (body.len() as u64 == length).then_some((head[0], body))
    }

    /// What came of it; `None` where it was silent for too long.
    fn result<R: DeserializeOwned>(&self) -> Result<Option<R>> {
        match self.answer() {
            Some((FAILURE, text)) => Err(Error::Program(String::from_utf8_lossy(text).into_owned())),
            Some((_, bytes)) if !bytes.is_empty() => match serde_json::from_slice(bytes) {
                Ok(result) => Ok(Some(result)),
                Err(e) => Err(Error::Program(format!("cannot read the answer of a child process: {e}"))),
            },
            None if self.silent => Ok(None),
            _ => Err(Error::Program("a child process ended without an answer".to_owned())),
        }
    }

    fn hear(&mut self) {
        let mut block = [0; 16 << 10];
        let Some(report) = &mut self.report else { return };
        match report.read(&mut block) {
            Ok(0) | Err(_) => self.report = None,
            Ok(length) => {
                self.said.extend_from_slice(&block[..length]);
                self.heard = Instant::now();
                if self.answer().is_some() {
                    self.report = None;
                }
            }
        }
    }

    fn pass_on(&mut self) {
        let mut block = [0; 4096];
        let Some(talk) = &mut self.talk else { return };
        match talk.read(&mut block) {
            Ok(0) | Err(_) => self.talk = None,
            Ok(length) => {
                let _ = std::io::stderr().write_all(&block[..length]);
            }
        }
    }
}

impl Drop for Running {
    /// Waits for a moment only: one that hangs in the kernel ends when its call does.
    fn drop(&mut self) {
        let _ = kill(self.pid, Signal::SIGKILL);
        let end = Instant::now() + LAST_WAIT;
        while waitpid(self.pid, Some(WaitPidFlag::WNOHANG)) == Ok(WaitStatus::StillAlive)
            && Instant::now() < end
        {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

/// Listens until all have answered, ended or been silent for too long. A signal ends it.
fn wait(running: &mut [Running], silence: Duration) -> Result<()> {
    loop {
        let now = Instant::now();
        for one in running.iter_mut().filter(|one| now.duration_since(one.heard) >= silence) {
            one.silent |= one.report.take().is_some();
        }
        let waiting: Vec<usize> = (0..running.len()).filter(|at| running[*at].report.is_some()).collect();
        let Some(next) = waiting.iter().map(|at| running[*at].heard + silence).min() else { break };
        let (reports, talks) = ready(running, &waiting, next.saturating_duration_since(now))?;
        talks.into_iter().for_each(|at| running[at].pass_on());
        reports.into_iter().for_each(|at| running[at].hear());
    }
    // What those that have ended said last.
    let all: Vec<usize> = (0..running.len()).collect();
    loop {
        let (_, talks) = ready(running, &all, Duration::ZERO)?;
        if talks.is_empty() {
            return Ok(());
        }
        talks.into_iter().for_each(|at| running[at].pass_on());
    }
}

/// Which of these have something to be heard on their report and on their stderr.
fn ready(running: &[Running], which: &[usize], limit: Duration) -> Result<(Vec<usize>, Vec<usize>)> {
    let pipes: Vec<(usize, bool, &File)> = which
        .iter()
        .flat_map(|at| {
            let report = running[*at].report.as_ref().map(|file| (*at, true, file));
            report.into_iter().chain(running[*at].talk.as_ref().map(|file| (*at, false, file)))
        })
        .collect();
    let mut waited: Vec<PollFd<'_>> =
        pipes.iter().map(|(.., file)| PollFd::new(file.as_fd(), PollFlags::POLLIN)).collect();
    // A millisecond more: what is rounded down would be polled for again and again.
    let timeout = if limit.is_zero() { limit } else { limit + Duration::from_millis(1) };
    match nix::poll::poll(&mut waited, PollTimeout::try_from(timeout).unwrap_or(PollTimeout::MAX)) {
        Ok(_) => {}
        Err(Errno::EINTR) => return super::signals::check().map(|()| Default::default()),
        Err(e) => return Err(Error::call("wait for a child process", e)),
    }
    let heard = |report: bool| {
        let any = pipes.iter().zip(&waited).filter(move |((_, is_report, _), _)| *is_report == report);
        any.filter(|(_, fd)| fd.any() == Some(true)).map(|((at, ..), _)| *at).collect()
    };
    Ok((heard(true), heard(false)))
}

/// Lets go of all that the parent has open, and dies with it.
fn stand_apart(report: &OwnedFd, talk: &OwnedFd) -> Result<()> {
    privileges::die_with_maker()?;
    let failed = |e: Errno| Error::call("start a child process", e);
    nix::unistd::dup2_stderr(talk).map_err(failed)?;
    let report = report.as_raw_fd();
    // Before anything is opened: the parent may have as many files open as it may.
    namespace::close(0);
    namespace::close(1);
    let kept = |fd: &RawFd| *fd == 2 || *fd == report;
    for fd in namespace::open_descriptors()?.into_iter().filter(|fd| !kept(fd)) {
        namespace::close(fd);
    }
    let null = nix::fcntl::open("/dev/null", OFlag::O_RDWR, Mode::empty());
    let null = null.map_err(|e| Error::path("open", "/dev/null", e))?;
    nix::unistd::dup2_stdin(&null).map_err(failed)?;
    nix::unistd::dup2_stdout(&null).map_err(failed)?;
    // It is the lowest number that is free: stdin itself.
    std::mem::forget(null);
    REPORT.store(report, Ordering::Relaxed);
    Ok(())
}

#[allow(unsafe_code)]
fn send(fd: RawFd, mut message: &[u8]) {
    while !message.is_empty() {
        // SAFETY: the length is the message's own.
        let sent = unsafe { nix::libc::write(fd, message.as_ptr().cast(), message.len()) };
        match usize::try_from(sent) {
            Ok(sent) => message = &message[sent..],
            Err(_) if Errno::last() == Errno::EINTR => {}
            Err(_) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_come_back_in_the_order_of_the_items() {
        let items: Vec<u64> = (0..100).collect();
        let double = |item: &u64| vec![item * 2; 20_000];
        let answers = each(&items, Duration::from_secs(30), double).unwrap();
        assert_eq!(answers.len(), 100);
        for (item, answer) in items.iter().zip(answers) {
            let answer = answer.unwrap();
            assert_eq!((answer.len(), answer[19_999]), (20_000, item * 2));
        }
    }

    #[test]
    fn who_is_silent_is_given_up_and_who_goes_on_is_not() {
        let begun = Instant::now();
        let work = |name: &&str| {
            for _ in 0..20 {
                match *name {
                    "hangs" => std::thread::sleep(Duration::from_secs(600)),
                    "works" => std::thread::sleep(Duration::from_millis(200)),
                    _ => {}
                }
                beat();
            }
            (*name).to_owned()
        };
        let answers = each(&["hangs", "works", "quick"], Duration::from_secs(2), work).unwrap();
        assert_eq!(answers, [None, Some("works".to_owned()), Some("quick".to_owned())]);
        assert!(begun.elapsed() < Duration::from_secs(60));
    }

    #[test]
    fn who_ends_without_an_answer_is_not_taken_for_one_that_hangs() {
        let work = |_: &()| -> u8 { namespace::exit(0) };
        let error = each(&[()], Duration::from_secs(30), work).unwrap_err().to_string();
        assert_eq!(error, "a child process ended without an answer");
    }

    #[test]
    fn nothing_of_the_parent_is_open_in_them() {
        let file = tempfile::tempfile().unwrap();
        let link = |fd: RawFd| std::fs::read_link(format!("/proc/self/fd/{fd}")).ok();
        let own = link(file.as_raw_fd());
        let is_open = |_: &()| namespace::open_descriptors().unwrap().into_iter().any(|fd| link(fd) == own);
        assert!(own.is_some() && is_open(&()));
        assert_eq!(each(&[()], Duration::from_secs(30), is_open).unwrap(), [Some(false)]);
    }
}
