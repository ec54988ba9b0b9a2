//! One table of cases, run against every quota driver on its real storage. Each pair of a driver and a case is a test
//! of its own; the table is printed before the runner's summary, with the drivers that ran. Needs root.
//!
//! `cargo test --test matrix -- xfs` runs one driver, `-- sparse` one case.

// These lints bind the program. A test ends by a panic, and starts programs where it pleases.
#![allow(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    clippy::print_stdout,
    clippy::unwrap_used,
    dead_code,
    unsafe_code,
    unused_imports
)]

#[path = "support/mod.rs"]
mod support;

#[path = "matrix/cases.rs"]
mod cases;
#[path = "matrix/clones.rs"]
mod clones;
#[path = "matrix/drivers.rs"]
mod drivers;
#[path = "matrix/escapes.rs"]
mod escapes;
#[path = "matrix/guest.rs"]
mod guest;
#[path = "matrix/run.rs"]
mod run;
#[path = "matrix/site.rs"]
mod site;
#[path = "matrix/table.rs"]
mod table;
#[path = "matrix/transfers.rs"]
mod transfers;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};

use cases::CASES;
use drivers::{DRIVERS, Driver};
use run::Cell;

fn main() -> ExitCode {
    // What a panic says is the result of its case.
    std::panic::set_hook(Box::new(|_| {}));
    if let Some(names) = guest::asked_for() {
        return guest::inside(&names);
    }
    let arguments = Arguments::from_args();
    if arguments.list {
        let of = |d: &Driver| CASES.iter().map(|c| name(d.name, c.name)).collect::<Vec<_>>();
        let names = DRIVERS.iter().flat_map(of);
        let trials = names.map(|name| Trial::test(name, || Ok(()))).collect();
        return libtest_mimic::run(&arguments, trials).exit_code();
    }
    let wanted: Vec<(&Driver, Vec<&str>)> = DRIVERS
        .iter()
        .map(|driver| (driver, wanted_cases(&arguments, driver)))
        .filter(|(_, cases)| !cases.is_empty())
        .collect();
    let cells = run::all(&wanted);
    println!("{}", table::of(&cells));
    let ran = table::drivers_that_ran(&cells);
    println!("drivers that ran: {} ({} of {})", ran.join(", "), ran.len(), DRIVERS.len());
    let mut trials: Vec<Trial> = cells.into_iter().map(trial).collect();
    if wanted.len() == DRIVERS.len() {
        let missing: Vec<&str> = DRIVERS.iter().map(|d| d.name).filter(|d| !ran.contains(d)).collect();
        trials.push(Trial::test("every_driver_ran", move || match missing.as_slice() {
            [] => Ok(()),
            missing => Err(format!("these did not run: {}", missing.join(", ")).into()),
        }));
    }
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn name(driver: &str, case: &str) -> String {
    format!("{driver}::{case}")
}

/// The cases of a driver that the runner's own filters leave.
fn wanted_cases(arguments: &Arguments, driver: &Driver) -> Vec<&'static str> {
    let matches = |name: &str, word: &str| if arguments.exact { name == word } else { name.contains(word) };
    let chosen = |name: &str| {
        arguments.filter.as_ref().is_none_or(|word| matches(name, word))
            && !arguments.skip.iter().any(|word| matches(name, word))
    };
    CASES.iter().map(|c| c.name).filter(|case| chosen(&name(driver.name, case))).collect()
}

fn trial(cell: Cell) -> Trial {
    Trial::test(name(cell.driver, cell.case), move || match cell.result {
        Ok(_) => Ok(()),
        Err(why) => Err(why.into()),
    })
}
