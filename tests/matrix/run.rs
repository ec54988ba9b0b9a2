//! Runs the cases of each driver on its lab.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;

use crate::cases::CASES;
use crate::drivers::{Driver, Place};
use crate::guest;
use crate::site::Site;
use crate::support::LabUp;

/// What became of one case on one driver.
pub struct Cell {
    pub driver: &'static str,
    pub case: &'static str,
    /// What was seen, in a few words; or why the case failed.
    pub result: Result<String, String>,
}

/// Runs all drivers at once: those of the guest in one boot of it, the others here.
pub fn all(wanted: &[(&'static Driver, Vec<&'static str>)]) -> Vec<Cell> {
    let (inside, here): (Vec<_>, Vec<_>) = wanted.iter().partition(|(d, _)| d.place == Place::Guest);
    let mut cells: Vec<Cell> = thread::scope(|scope| {
        let booted = scope.spawn(|| if inside.is_empty() { Vec::new() } else { guest::run(&inside) });
        let mut cells: Vec<Cell> = Vec::new();
        for (driver, cases) in here {
            cells.extend(of_driver(driver, cases));
        }
        cells.extend(booted.join().expect("the guest's thread reports instead of panicking"));
        cells
    });
    // As the tables name them.
    let place = |cell: &Cell| {
        let driver = wanted.iter().position(|(d, _)| d.name == cell.driver);
        (driver, CASES.iter().position(|c| c.name == cell.case))
    };
    cells.sort_by_key(place);
    cells
}

/// Brings the driver's lab up, runs the cases one after the other, and takes the lab down.
pub fn of_driver(driver: &'static Driver, cases: &[&'static str]) -> Vec<Cell> {
    let up = || caught(|| LabUp::new(driver.lab)).map_err(|why| format!("the lab did not come up: {why}"));
    let shared = (!driver.per_case).then(up);
    let mut cells = Vec::new();
    for case in CASES.iter().filter(|c| cases.contains(&c.name)) {
        let run = |lab: &LabUp| caught(|| (case.run)(&Site::new(driver, lab, case.name)));
        let result = match &shared {
            Some(Ok(lab)) => run(lab),
            Some(Err(why)) => Err(why.clone()),
            None => up().and_then(|lab| run(&lab)),
        };
        eprintln!("{}::{}: {}", driver.name, case.name, result.as_ref().map_or("FAILED", String::as_str));
        cells.push(cell(driver, case.name, result));
    }
    cells
}

fn cell(driver: &'static Driver, case: &'static str, result: Result<String, String>) -> Cell {
    Cell { driver: driver.name, case, result }
}

/// The result, or what a panic said.
fn caught<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        text.or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).to_owned())).unwrap_or_default()
    })
}
