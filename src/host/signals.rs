//! SIGINT, SIGTERM and SIGHUP set a flag; work stops at the next safe point.

use std::sync::atomic::{AtomicBool, Ordering};

use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};

use super::error::{Error, Result};

static STOPPED: AtomicBool = AtomicBool::new(false);

extern "C" fn stop(_signal: nix::libc::c_int) {
    STOPPED.store(true, Ordering::Relaxed);
}

/// Installs the handlers. Blocking calls are not restarted, so that waiting for the lock ends too. A SIGHUP that
/// is ignored (nohup) stays ignored. A file that may not grow (`ulimit -f`) is an error of the write, and not the end of the
/// process; programs that are started have the default again, as with any handler.
pub fn install() {
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        set(signal, SigHandler::Handler(stop), signal == Signal::SIGHUP);
    }
    set(Signal::SIGXFSZ, SigHandler::Handler(nothing), true);
}

extern "C" fn nothing(_signal: nix::libc::c_int) {}

/// Makes SIGALRM interrupt a blocking call, and do nothing else.
pub(super) fn interrupt_on_alarm() {
    set(Signal::SIGALRM, SigHandler::Handler(nothing), false);
}

#[allow(unsafe_code)]
fn set(signal: Signal, handler: SigHandler, unless_ignored: bool) {
    let action = SigAction::new(handler, SaFlags::empty(), SigSet::empty());
    // SAFETY: the handlers only store to an atomic, or do nothing.
    if let Ok(before) = unsafe { sigaction(signal, &action) }
        && unless_ignored
        && matches!(before.handler(), SigHandler::SigIgn)
    {
        // SAFETY: puts back what was there.
        let _ = unsafe { sigaction(signal, &before) };
    }
}

/// True once a signal asked to stop.
pub fn stopped() -> bool {
    STOPPED.load(Ordering::Relaxed)
}

/// An error once a signal asked to stop.
pub fn check() -> Result<()> {
    if stopped() { Err(Error::Interrupted) } else { Ok(()) }
}

/// Forgets a signal that came: for work that has to be done after an interrupted command.
pub fn forget() {
    STOPPED.store(false, Ordering::Relaxed);
}
