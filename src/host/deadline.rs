//! Calls into filesystems that may hang: NFS without its server, FUSE without its daemon.

use std::sync::mpsc::channel;
use std::time::Duration;

use super::error::{Error, Result};

/// How long a filesystem may take for a small call.
pub const PROBE: Duration = Duration::from_secs(10);

/// The answer of `call`, or an error when it takes longer than `limit` or no thread can be started. The call goes on in a
/// thread of its own, which ends with the process.
pub fn within<T: Send + 'static>(
    limit: Duration,
    what: &str,
    call: impl FnOnce() -> T + Send + 'static,
) -> Result<T> {
    let (sender, receiver) = channel();
    let work = move || {
        let _ = sender.send(call());
    };
    std::thread::Builder::new().spawn(work).map_err(|e| Error::call("start a thread", e))?;
    receiver
        .recv_timeout(limit)
        .map_err(|_| Error::Program(format!("{what} does not answer (waited {} s)", limit.as_secs_f32())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_in_time_comes_back_and_a_late_one_is_an_error() {
        assert_eq!(within(PROBE, "a sum", || 1 + 1).unwrap(), 2);
        let slow = || std::thread::sleep(Duration::from_secs(60));
        let error = within(Duration::from_millis(50), "the filesystem at /mnt/x", slow).unwrap_err();
        assert_eq!(error.to_string(), "the filesystem at /mnt/x does not answer (waited 0.05 s)");
    }
}
