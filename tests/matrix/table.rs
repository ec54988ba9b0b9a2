//! The table that is printed at the end: a row a case, a column a driver.

use crate::cases::CASES;
use crate::drivers::DRIVERS;
use crate::run::Cell;

/// Cases down, drivers across.
pub fn of(cells: &[Cell]) -> String {
    let drivers: Vec<&str> =
        DRIVERS.iter().map(|d| d.name).filter(|d| cells.iter().any(|c| c.driver == *d)).collect();
    let text = |driver: &str, case: &str| {
        let cell = cells.iter().find(|c| c.driver == driver && c.case == case);
        cell.map_or("", |c| c.result.as_deref().unwrap_or("FAILED"))
    };
    let mut rows = vec![std::iter::once("case").chain(drivers.iter().copied()).collect::<Vec<_>>()];
    for case in CASES.iter().filter(|case| cells.iter().any(|c| c.case == case.name)) {
        rows.push(std::iter::once(case.name).chain(drivers.iter().map(|d| text(d, case.name))).collect());
    }
    let widths: Vec<usize> = (0..rows[0].len())
        .map(|column| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0))
        .collect();
    let line = |row: &Vec<&str>| {
        let cells = row.iter().zip(&widths).map(|(text, width)| format!("{text:<width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// The drivers of which at least one case came to an end as it should.
pub fn drivers_that_ran(cells: &[Cell]) -> Vec<&'static str> {
    let ran = |name: &str| cells.iter().any(|c| c.driver == name && c.result.is_ok());
    DRIVERS.iter().map(|d| d.name).filter(|name| ran(name)).collect()
}
