//! Commands that change records more than data: killed at each call that changes something, and with calls that fail. All of
//! it happened, or nothing.

use std::fs;
use std::io::Write;
use std::path::Path;

use regex::Regex;

use super::failing::{ERRORS, REFUSABLE, SAMPLE, told};
use super::{inject, points, traced};
use crate::suite::consistency::{assert_whole, no_intents, records_of};
use crate::support::{Lab, Output, system};

/// A command, and what is typed before it. `{invitation}` is the id of the one that is pending, `{root}` the root.
struct Change {
    before: &'static [&'static str],
    command: &'static str,
    /// It has several changes one after the other: a kill may leave some of them.
    several: bool,
}

const fn one(before: &'static [&'static str], command: &'static str) -> Change {
    Change { before, command, several: false }
}

const DATA: &str = "vfolder create alice/data";
const INVITED: &[&str] = &[DATA, "vfolder invite alice/data bob --perm rw"];
const SHARED: &[&str] =
    &["vfolder create project/ml/sets --perm ro", "vfolder share project/ml/sets --with bob --perm rw"];
const SECOND: &[&str] = &["volume add second {root}/second --quota none"];
const SESSION: &[&str] = &[DATA, "session start s1 --user alice -m data"];
const TRASH: &[&str] =
    &[DATA, "vfolder create alice/more", "vfolder delete alice/data", "vfolder delete alice/more"];

const CHANGES: &[Change] = &[
    one(&["vfolder create project/ml/sets --perm ro"], "vfolder share project/ml/sets --with bob --perm rw"),
    one(SHARED, "vfolder unshare project/ml/sets --from bob"),
    one(&[DATA], "vfolder invite alice/data bob --perm rw"),
    one(INVITED, "invitation accept {invitation} --as bob"),
    one(INVITED, "invitation reject {invitation} --as bob"),
    one(INVITED, "invitation cancel {invitation}"),
    one(&[DATA], "vfolder rename alice/data model"),
    one(&[DATA], "vfolder set alice/data --cloneable"),
    one(&[], "user add carol --max-vfolders 3"),
    one(&[DATA], "user set alice --max-vfolders 3"),
    one(&[], "user remove bob --yes"),
    one(&[], "project add vision"),
    one(&["user add carol"], "project add-member ml carol"),
    one(&[DATA], "project remove-member ml bob"),
    one(&[DATA], "volume block local clone"),
    one(SECOND, "volume set second --default"),
    one(SECOND, "volume remove second --yes"),
    one(&[DATA], "session start s1 --user alice -m data"),
    one(SESSION, "session stop s1"),
    one(&["user set bob --max-vfolders 3"], "registry undo"),
    one(
        &[DATA, "vfolder invite alice/data bob --perm rw", "invitation accept {invitation} --as bob"],
        "vfolder leave alice/data --as bob",
    ),
    one(&[], "project remove ml --yes"),
    one(&["quota set bob unlimited"], "quota unset bob"),
    one(&[DATA], "node check-in"),
    one(&["user set alice --max-vfolders 3"], "registry restore 7 --yes"),
    Change { before: TRASH, command: "trash empty --yes", several: true },
    Change {
        before: &[DATA, "vfolder create alice/more"],
        command: "user remove alice --purge --yes",
        several: true,
    },
    Change {
        before: &[DATA, "vfolder create alice/more"],
        command: "user remove alice --transfer-to bob --yes",
        several: true,
    },
];

/// The lab as it is before a command, for the next try.
struct Kept<'a> {
    lab: &'a Lab,
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
            lab.ok(&filled(line));
        }
        let copy = lab.dir().join("kept").display().to_string();
        system("/bin/cp", &["-a", lab.root.to_str().unwrap(), &copy]);
        (Kept { lab, copy }, filled(change.command))
    }

    fn put_back(&self) {
        let root = self.lab.root.to_str().unwrap();
        system("/bin/rm", &["-rf", "--", root]);
        system("/bin/cp", &["-a", &self.copy, root]);
    }
}

/// All records but that of the next command; what is new each time is left out.
fn state(lab: &Lab) -> String {
    let ids = Regex::new("[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}").unwrap();
    let times = Regex::new("[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]+Z").unwrap();
    let text = lab.registry_text();
    let all = records_of(&text).into_iter();
    let records: Vec<&str> = all.filter(|line| !line.starts_with("  \"next\":")).collect();
    times.replace_all(&ids.replace_all(&records.join("\n"), "ID"), "TIME").into_owned()
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
    if lab.run("check").code != 0 {
        let repaired = lab.run("check --repair --yes");
        assert_eq!(repaired.code, 0, "{at}: {repaired:?}");
    }
    assert_eq!(lab.run("check").code, 0, "{at}: after a repair");
    let found = state(lab);
    assert!(found == after || (found == before && !change.several), "{at}: in the end:\n{found}");
    no_intents(lab, at);
    assert_whole(lab, at);
}

/// The lab after the command, its calls, and how its records look before and after.
fn looked_at(kept: &Kept<'_>, line: &str, trace: &Path) -> (Vec<(String, usize)>, String, String) {
    let before = state(kept.lab);
    traced(kept.lab, trace, &[], line).exits(0);
    let points = points(&fs::read_to_string(trace).expect("a trace"));
    assert!(points.len() > 10, "{line}: {points:?}");
    (points, before, state(kept.lab))
}

fn lab() -> Lab {
    let lab = Lab::plain();
    fs::create_dir(lab.root.join("second")).unwrap();
    lab
}

#[test]
fn a_change_of_records_that_is_killed_happened_or_did_not() {
    // All points of half the commands would do; each second one of all of them shows more in the same time.
    let step = if std::env::var_os("VFADM_CRASH").is_some() { 1 } else { 2 };
    let mut all = 0;
    for (number, change) in CHANGES.iter().enumerate() {
        let lab = lab();
        let (kept, line) = Kept::of(&lab, change);
        let trace = lab.dir().join("trace");
        let (points, before, after) = looked_at(&kept, &line, &trace);
        for (call, nth) in points.iter().skip(number % step).step_by(step) {
            all += 1;
            let at = format!("{line} killed at {call} number {nth}");
            kept.put_back();
            let killed = traced(&lab, &trace, &inject(call, "signal=KILL", *nth), &line);
            assert!([0, 137].contains(&killed.code), "{at}: {killed:?}");
            stands(&lab, change, &line, (&before, &after), true, &at);
        }
    }
    let _ = writeln!(std::io::stdout(), "{} commands killed at {all} points", CHANGES.len());
}

#[test]
fn a_change_of_records_in_which_a_call_fails_says_so_and_did_not_happen() {
    let step = if std::env::var_os("VFADM_CRASH").is_some() { 1 } else { SAMPLE };
    let (mut tried, mut refused) = (0, 0);
    for change in CHANGES {
        let lab = lab();
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
        "{} commands: {tried} calls failed, {refused} of them ended it",
        CHANGES.len()
    );
    assert!(refused * 3 > tried, "{refused} of {tried} failures were noticed");
}
