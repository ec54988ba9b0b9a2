//! What the tests stand on: a hermetic root and volume ([`Lab`]), the program's answer ([`Output`]), and a look at
//! disk and kernel that does not go through vfadm.

mod host;
mod image;
mod kernel;
mod lab;
mod labup;
mod output;
mod snapshot;

pub use host::Host;
pub use image::{Image, scratch};
pub use kernel::kernel_limits;
pub use lab::{Lab, words};
pub use labup::LabUp;
pub use output::Output;
pub use snapshot::Snapshot;

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// The program under test.
pub const VFADM: &str = env!("CARGO_BIN_EXE_vfadm");

/// Names another copy of the program: a guest reads its files slowly, and has one in memory.
pub const COPY: &str = "VFADM_COPY_UNDER_TEST";

/// The program under test, or its copy.
pub fn vfadm() -> std::ffi::OsString {
    std::env::var_os(COPY).unwrap_or_else(|| VFADM.into())
}

/// The uid and gid that all tenants share unless `init` is told otherwise.
pub const SHARED_ID: u32 = 50_000;

pub const MIB: u64 = 1 << 20;

/// Runs a program of the system that has to succeed; answers its stdout.
#[track_caller]
pub fn system(program: &str, args: &[&str]) -> String {
    let out =
        Command::new(program).args(args).output().unwrap_or_else(|e| panic!("cannot start {program}: {e}"));
    let error = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "{program} {args:?}: {}: {error}", out.status);
    String::from_utf8_lossy(&out.stdout).into_owned()
}

/// Runs Python with PyYAML over a file: what an administrator's own script would do to a registry.
#[track_caller]
pub fn python(script: &str, file: &Path) {
    system("/usr/bin/python3", &["-c", script, file.to_str().unwrap()]);
}

/// Waits until `what` holds; a test that waits for ever is a test that failed.
#[track_caller]
pub fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(20);
    while !holds() {
        assert!(Instant::now() < end, "waited 20 seconds for: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The start time of a process in clock ticks since boot (field 22 of its stat file).
pub fn start_time(pid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.split(' ').nth(19)?.parse().ok()
}
