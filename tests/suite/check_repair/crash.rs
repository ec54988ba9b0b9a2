//! `check --repair` killed at each call that changes something, and run again.

use std::fs;
use std::io::Write;

use crate::suite::check::{DAMAGES, codes, site};
use crate::suite::consistency::{assert_whole, no_intents};
use crate::suite::crash::{points, traced};
use crate::support::Lab;

/// One of each: with steps on the storage, of the registry alone, of notes alone, and long work.
const CASES: [&str; 4] = [
    "the record was taken out",
    "it was moved into the trash by hand",
    "a copy without a record",
    "a purge that was cut off",
];

const REPAIR: &str = "check --repair --yes";

fn damaged(what: &str) -> Lab {
    let lab = site();
    let damage = DAMAGES.iter().find(|damage| damage.what == what).expect("a damage");
    (damage.make)(&lab);
    lab
}

#[test]
fn killed_at_each_call_it_is_run_again_and_mends_the_rest() {
    for what in CASES {
        let lab = damaged(what);
        let trace = lab.dir().join("trace");
        traced(&lab, &trace, &[], REPAIR).exits(0);
        let points = points(&fs::read_to_string(&trace).expect("a trace"));
        assert!(points.len() > 10, "{what}: {points:?}");
        let mut killed = 0;
        for (call, nth) in &points {
            let lab = damaged(what);
            let options = [format!("--trace={call}"), format!("--inject={call}:signal=KILL:when={nth}")];
            let out = traced(&lab, &lab.dir().join("trace"), &options, REPAIR);
            killed += usize::from(out.code == 137);
            let at = format!("{what}, killed at {call} number {nth}");
            let again = lab.run(REPAIR);
            assert_eq!(again.code, 0, "{at}: {again:?}");
            assert_eq!(codes(&lab), [""; 0], "{at}");
            assert_whole(&lab, &at);
            no_intents(&lab, &at);
        }
        let _ = writeln!(std::io::stdout(), "{what}: killed at {killed} of {} points", points.len());
        assert!(killed * 10 >= points.len() * 8, "{what}: {killed} of {}", points.len());
    }
}
