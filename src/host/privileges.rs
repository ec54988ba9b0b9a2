//! What a session's processes may do: nothing beyond their user and group.

use nix::errno::Errno;
use nix::libc;
use nix::sys::signal::Signal;
use nix::unistd::{Gid, Uid};

use super::error::{Error, Result};

/// `_LINUX_CAPABILITY_VERSION_3`: 64 capabilities in two words.
const CAPABILITY_VERSION: u32 = 0x2008_0522;

/// More capabilities than any kernel has.
const CAPABILITIES: libc::c_ulong = 64;

/// Has the kernel kill this process when the thread that forked it ends. A maker that has ended before the call is
/// noticed by the end of its pipe.
pub fn die_with_maker() -> Result<()> {
    nix::sys::prctl::set_pdeathsig(Signal::SIGKILL).map_err(|e| Error::call("follow vfadm's end", e))
}

/// Has the kernel ask this process to end instead: an engine that is killed leaves its container running, one that is
/// asked ends it.
pub fn be_asked_to_end_with_maker() -> Result<()> {
    nix::sys::prctl::set_pdeathsig(Signal::SIGTERM).map_err(|e| Error::call("follow vfadm's end", e))
}

/// Gives up the supplementary groups: before a user namespace is entered, which cannot do so any more.
pub fn drop_groups() -> Result<()> {
    nix::unistd::setgroups(&[]).map_err(|e| Error::call("drop the groups", e))
}

/// Becomes this user and group for good: no capability in any set, none to be had from a set-user-id program.
pub fn become_user(uid: u32, gid: u32) -> Result<()> {
    drop_bounding_set()?;
    let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
    nix::unistd::setresgid(gid, gid, gid).map_err(|e| Error::call("change the group", e))?;
    nix::unistd::setresuid(uid, uid, uid).map_err(|e| Error::call("change the user", e))?;
    clear_capabilities()?;
    nix::sys::prctl::set_no_new_privs().map_err(|e| Error::call("refuse new privileges", e))?;
    // This process still holds the memory of its maker: nobody of the same user may read it.
    nix::sys::prctl::set_dumpable(false).map_err(|e| Error::call("hide the memory", e))?;
    // The kernel forgets the wish at a change of user.
    die_with_maker()
}

#[allow(unsafe_code)]
fn drop_bounding_set() -> Result<()> {
    let zero: libc::c_ulong = 0;
    for capability in 0..CAPABILITIES {
        // SAFETY: prctl with integers only.
        let answer = unsafe { libc::prctl(libc::PR_CAPBSET_DROP, capability, zero, zero, zero) };
        match Errno::result(answer) {
            Ok(_) => {}
            // One above the last that this kernel knows.
            Err(Errno::EINVAL) => break,
            Err(e) => return Err(Error::call("drop the bounding set", e)),
        }
    }
    // SAFETY: prctl with integers only.
    let answer = unsafe {
        libc::prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_CLEAR_ALL as libc::c_ulong, zero, zero, zero)
    };
    Errno::result(answer).map_err(|e| Error::call("drop the ambient capabilities", e)).map(drop)
}

/// Needed whatever the user was: in a user namespace that does not map root, a change of user takes no capability.
#[allow(unsafe_code)]
fn clear_capabilities() -> Result<()> {
    let header = [CAPABILITY_VERSION, 0];
    let none = [[0_u32; 3]; 2];
    // SAFETY: a header (version, own pid) and two words of three sets each, as version 3 lays them out.
    let answer = unsafe { libc::syscall(libc::SYS_capset, header.as_ptr(), none.as_ptr()) };
    Errno::result(answer).map_err(|e| Error::call("drop the capabilities", e)).map(drop)
}
