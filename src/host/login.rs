//! Who typed a command, whatever user it runs as.

use std::fs;

use nix::unistd::User;

/// What the kernel says where nobody logged in: at boot, from cron, in many containers.
const NOBODY: u32 = u32::MAX;

/// What programs that change the user leave in the environment, in the order in which it is believed.
const SAID_BY: [&str; 3] = ["SUDO_UID", "DOAS_USER", "PKEXEC_UID"];

/// The name of whoever logged in, or the uid where it has no name: the login uid of the kernel, which no change of the
/// user alters; where there is none, what sudo, doas or pkexec say, if there is such a user; else the real user.
pub fn name() -> String {
    let logged_in = fs::read_to_string("/proc/self/loginuid").ok().and_then(|text| text.trim().parse().ok());
    let said = SAID_BY.iter().filter_map(|key| std::env::var(key).ok());
    let of = |uid: u32| User::from_uid(uid.into()).ok().flatten().map(|user| user.name);
    let exists = |name: &str| User::from_name(name).is_ok_and(|user| user.is_some());
    choose(logged_in, said, nix::unistd::getuid().as_raw(), of, exists)
}

fn choose(
    logged_in: Option<u32>,
    mut said: impl Iterator<Item = String>,
    real: u32,
    of: impl Fn(u32) -> Option<String>,
    exists: impl Fn(&str) -> bool,
) -> String {
    let known = |uid: u32| of(uid).unwrap_or_else(|| uid.to_string());
    if let Some(uid) = logged_in.filter(|uid| *uid != NOBODY) {
        return known(uid);
    }
    let said = said.find_map(|text| match text.parse() {
        Ok(uid) => of(uid),
        Err(_) => Some(text).filter(|name| exists(name)),
    });
    said.unwrap_or_else(|| known(real))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_login_uid_beats_sudo_and_sudo_the_real_user() {
        let of = |uid| (uid < 10).then(|| format!("user{uid}"));
        for (logged_in, said, name) in [
            (Some(3), &["4"][..], "user3"),
            (Some(77), &["4"], "77"),
            (Some(NOBODY), &["4"], "user4"),
            (None, &["4"], "user4"),
            (None, &["77", "user5"], "user5"),
            (None, &["77", "nobody-here"], "user0"),
            (None, &["", "-1"], "user0"),
            (None, &[], "user0"),
        ] {
            let words = said.iter().map(|text| (*text).to_owned());
            assert_eq!(choose(logged_in, words, 0, of, |n| n == "user5"), name, "{logged_in:?} {said:?}");
        }
        assert_eq!(choose(None, std::iter::empty(), 42, of, |_| false), "42");
    }
}
