//! What is tried with every command of a table: killed at each call that changes something, and with calls that fail. All of
//! it happened, or nothing.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use regex::Regex;

use super::failing::{ERRORS, REFUSABLE, told};
use super::{inject, points, traced};
use crate::suite::consistency::{assert_whole, no_intents, records, records_of};
use crate::support::{Lab, Output, system};

/// A command, and what is typed before it; `wait` waits for a second. `{invitation}` is the id of the one that is pending, `{root}` the root.
pub(super) struct Change {
    pub(super) before: &'static [&'static str],
    /// What a copy of the root's files does not bring back: typed before each try.
    pub(super) each: &'static [&'static str],
    pub(super) command: &'static str,
    /// It has several changes one after the other: a kill may leave some of them.
    pub(super) several: bool,
}

pub(super) const fn one(before: &'static [&'static str], command: &'static str) -> Change {
    Change { before, each: &[], command, several: false }
}

/// The lab as it is before a command, for the next try.
struct Kept<'a> {
    lab: &'a Lab,
    each: &'static [&'static str],
    copy: String,
}

impl Kept<'_> {
    fn of<'a>(lab: &'a Lab, change: &Change) -> (Kept<'a>, String) {
        let filled = |line: &str| {
            let pending =
                lab.json("invitation list --all")["items"][0]["id"].as_str().unwrap_or_default().to_owned();
            line.replace("{invitation}", &pending).replace("{root}", lab.root.to_str().unwrap())
        };
        for line in change.before {
            match *line {
                "wait" => std::thread::sleep(Duration::from_millis(1100)),
                line => drop(lab.ok(&filled(line))),
            }
        }
        let copy = lab.dir().join("kept").display().to_string();
        system("/bin/cp", &["-a", lab.root.to_str().unwrap(), &copy]);
        let kept = Kept { lab, each: change.each, copy };
        kept.put_back();
        (kept, filled(change.command))
    }

    fn put_back(&self) {
        let root = self.lab.root.to_str().unwrap();
        self.unmount();
        system("/bin/rm", &["-rf", "--one-file-system", "--", root]);
        system("/bin/cp", &["-a", &self.copy, root]);
        for line in self.each {
            self.lab.ok(line);
        }
    }

    fn unmount(&self) {
        for point in mounts(self.lab) {
            system("/bin/umount", &[&point]);
        }
    }
}

impl Drop for Kept<'_> {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.unmount();
        }
    }
}

/// What is mounted below the root.
fn mounts(lab: &Lab) -> Vec<String> {
    let root = format!("{}/", lab.root.display());
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    let points = mounts.lines().filter_map(|line| line.split(' ').nth(1));
    points.filter(|point| point.starts_with(&root)).map(str::to_owned).collect()
}

/// The loop devices that stand for files below the root.
fn loop_devices(lab: &Lab) -> usize {
    let all = system("/sbin/losetup", &["--list", "--noheadings", "--output", "BACK-FILE"]);
    all.lines().filter(|line| line.starts_with(&format!("{}/", lab.root.display()))).count()
}

/// Those that vfadm would mount.
fn unmounted(lab: &Lab) -> Vec<String> {
    let volumes = records(lab, "volumes").into_iter().filter(|(_, volume)| volume.get("mount").is_some());
    let mounted = mounts(lab);
    volumes
        .filter(|(_, volume)| !mounted.iter().any(|at| volume["path"] == at.as_str()))
        .map(|(name, _)| name)
        .collect()
}

/// All records but that of the next command, what lies in the root, and what is mounted; what is new each time is left out.
fn state(lab: &Lab) -> String {
    let ids = Regex::new("[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}").unwrap();
    let times = Regex::new("[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]+Z").unwrap();
    let text = lab.registry_text();
    let all = records_of(&text).into_iter();
    let records: Vec<&str> = all.filter(|line| !line.starts_with("  \"next\":")).collect();
    let records = times.replace_all(&ids.replace_all(&records.join("\n"), "ID"), "TIME").into_owned();
    let mut entries: Vec<_> =
        fs::read_dir(&lab.root).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    entries.sort();
    format!("{records}\n{entries:?}\nmounted: {:?}, on {} loop devices", mounts(lab), loop_devices(lab))
}

/// What has to hold once the command was killed, or a call of it failed, and then it ran again. A sidecar whose writing or
/// removal failed is a warning, and what `check` finds.
fn stands(lab: &Lab, change: &Change, line: &str, (before, after): (&str, &str), killed: bool, at: &str) {
    // Whatever it is, the next command tidies up.
    let next = lab.run("user add next");
    assert_eq!(next.code, 0, "{at}: the next command: {next:?}");
    let found = state(lab);
    if !change.several {
        assert!(found == before || found == after, "{at}: neither as before nor as after:\n{found}");
        no_intents(lab, at);
        if killed {
            assert_whole(lab, at);
        }
    }
    let again = lab.run(line);
    assert!([0, 3, 4].contains(&again.code), "{at}: the same command again: {again:?}");
    let away = unmounted(lab);
    for volume in &away {
        lab.ok(&format!("volume mount {volume}"));
    }
    if lab.run("check").code != 0 {
        let repaired = lab.run("check --repair --yes");
        assert_eq!(repaired.code, 0, "{at}: {repaired:?}");
    }
    assert_eq!(lab.run("check").code, 0, "{at}: after a repair");
    assert_whole(lab, at);
    for volume in &away {
        lab.ok(&format!("volume unmount {volume}"));
    }
    let found = state(lab);
    assert!(found == after || (found == before && !change.several), "{at}: in the end:\n{found}");
    no_intents(lab, at);
}

/// The lab after the command, its calls, and how its records look before and after.
fn looked_at(kept: &Kept<'_>, line: &str, trace: &Path) -> (Vec<(String, usize)>, String, String) {
    let before = state(kept.lab);
    traced(kept.lab, trace, &[], line).exits(0);
    let points = points(&fs::read_to_string(trace).expect("a trace"));
    assert!(points.len() > 10, "{line}: {points:?}");
    (points, before, state(kept.lab))
}

/// Kills each command at each `step`th call that changes something.
pub(super) fn kill_all(what: &str, make: impl Fn() -> Lab, changes: &[Change], step: usize) {
    let step = if std::env::var_os("VFADM_CRASH").is_some() { 1 } else { step };
    let mut all = 0;
    for (number, change) in changes.iter().enumerate() {
        let lab = make();
        let (kept, line) = Kept::of(&lab, change);
        let trace = lab.dir().join("trace");
        let (points, before, after) = looked_at(&kept, &line, &trace);
        for (call, nth) in points.iter().skip(number % step).step_by(step) {
            all += 1;
            let at = format!("{line} killed at {call} number {nth}");
            kept.put_back();
            let killed = traced(&lab, &trace, &inject(call, "signal=KILL", *nth), &line);
            // 8: it was a tool that died.
            assert!([0, 8, 137].contains(&killed.code), "{at}: {killed:?}");
            stands(&lab, change, &line, (&before, &after), true, &at);
        }
    }
    let _ = writeln!(std::io::stdout(), "{what}: {} commands killed at {all} points", changes.len());
}

/// Lets each `step`th call that a filesystem can refuse fail, of each command.
pub(super) fn fail_all(what: &str, make: impl Fn() -> Lab, changes: &[Change], step: usize) {
    let step = if std::env::var_os("VFADM_CRASH").is_some() { 1 } else { step };
    let (mut tried, mut refused) = (0, 0);
    for change in changes {
        let lab = make();
        let (kept, line) = Kept::of(&lab, change);
        let trace = lab.dir().join("trace");
        let (points, before, after) = looked_at(&kept, &line, &trace);
        let refusable =
            points.iter().filter(|(call, _)| REFUSABLE.split_whitespace().any(|name| name == call));
        for (at, (call, nth)) in refusable.enumerate().step_by(step) {
            let (errno, words) = ERRORS[at % ERRORS.len()];
            let at = format!("{line}, {errno} at {call} number {nth}");
            kept.put_back();
            let out: Output = traced(&lab, &trace, &inject(call, &format!("error={errno}"), *nth), &line);
            tried += 1;
            assert!(!out.stderr.contains("panicked") && out.code != 101, "{at}: {out:?}");
            if out.code != 0 {
                refused += 1;
                told(&out, words, &at);
                let in_force = out.stderr.contains("the change is in force") || out.code == 1;
                if !change.several && !in_force {
                    assert_eq!(state(&lab), before, "{at}: as before");
                }
            }
            stands(&lab, change, &line, (&before, &after), false, &at);
        }
    }
    let _ = writeln!(
        std::io::stdout(),
        "{what}: {} commands: {tried} calls failed, {refused} of them ended it",
        changes.len()
    );
    assert!(refused * 4 > tried, "{refused} of {tried} failures were noticed");
}
