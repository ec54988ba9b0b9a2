//! Drivers whose quotas this kernel may lack: this same program runs their cases inside of a guest.

use std::process::{Command, ExitCode};

use crate::cases::CASES;
use crate::drivers::{DRIVERS, Driver};
use crate::run::{self, Cell};
use crate::site::labs_dir;
use crate::support::{COPY, LabUp, VFADM, system};

const ASK: &str = "--inside-guest";
const MARK: &str = "matrix-cell";

/// The drivers and cases that the outer half asked this process for.
pub fn asked_for() -> Option<Vec<String>> {
    let mut arguments = std::env::args().skip(1);
    (arguments.next()? == ASK).then(|| arguments.collect())
}

/// The inner half: a line for each case.
pub fn inside(names: &[String]) -> ExitCode {
    let (stripped, copy) = (std::env::var_os(COPY).expect("the outer half names it"), "/dev/shm/vfadm");
    std::fs::copy(stripped, copy).expect("room for the program");
    // SAFETY: no other thread runs yet.
    unsafe { std::env::set_var(COPY, copy) };
    for driver in DRIVERS {
        let own = format!("{}::", driver.name);
        let cases: Vec<&str> = CASES.iter().map(|c| c.name).collect();
        let cases: Vec<&'static str> =
            cases.into_iter().filter(|case| names.contains(&format!("{own}{case}"))).collect();
        if cases.is_empty() {
            continue;
        }
        for cell in run::of_driver(driver, &cases) {
            let (word, text) = match &cell.result {
                Ok(seen) => ("ok", seen),
                Err(why) => ("failed", why),
            };
            let text = text.replace('\n', "\u{1f}");
            println!("\n{MARK}\t{}\t{}\t{word}\t{text}", cell.driver, cell.case);
        }
    }
    ExitCode::SUCCESS
}

/// The outer half: boots the guest once for all drivers.
pub fn run(wanted: &[&(&'static Driver, Vec<&'static str>)]) -> Vec<Cell> {
    let names = wanted.iter().flat_map(|(d, cases)| cases.iter().map(|c| format!("{}::{c}", d.name)));
    let names: Vec<String> = names.collect();
    let (printed, complaint) = boot(&names);
    let said = |driver: &str, case: &str| {
        let mut fields = printed.lines().filter_map(|l| l.trim_end().strip_prefix(MARK)?.strip_prefix('\t'));
        fields.find_map(|line| {
            let mut parts = line.splitn(4, '\t');
            let mine = parts.next() == Some(driver) && parts.next() == Some(case);
            let (word, text) = (parts.next()?, parts.next().unwrap_or_default().replace('\u{1f}', "\n"));
            mine.then(|| if word == "ok" { Ok(text) } else { Err(text) })
        })
    };
    let mut cells = Vec::new();
    for (driver, cases) in wanted {
        for case in cases {
            let result = said(driver.name, case)
                .unwrap_or_else(|| Err(format!("the guest said nothing of it; it ended so: {complaint}")));
            cells.push(Cell { driver: driver.name, case, result });
        }
    }
    cells
}

/// What the guest printed, and the end of what its lab complained.
fn boot(names: &[String]) -> (String, String) {
    let dir = labs_dir("guest");
    let script = LabUp::script_of("guest");
    let up = Command::new(&script).arg("up").arg(&dir).output();
    match up {
        Ok(out) if out.status.success() => {}
        Ok(out) => return (String::new(), tail(&out.stderr)),
        Err(e) => return (String::new(), format!("{}: {e}", script.display())),
    }
    let mut command = Command::new(&script);
    command.arg("run").arg(&dir).arg("--");
    // Without what debuggers want it is small enough to be read by the guest.
    let stripped = dir.join("vfadm");
    system("/usr/bin/strip", &["-o", stripped.to_str().unwrap(), VFADM]);
    let runner = dir.join("matrix");
    let own = std::env::current_exe().expect("a path");
    system("/usr/bin/strip", &["-o", runner.to_str().unwrap(), own.to_str().unwrap()]);
    command.arg("env").arg(format!("{COPY}={}", stripped.display())).arg(&runner).arg(ASK);
    let out = command.args(names).output();
    let down = Command::new(&script).arg("down").arg(&dir).output();
    let _ = std::fs::remove_dir_all(&dir);
    match (out, down) {
        (Ok(out), Ok(_)) => {
            let text = String::from_utf8_lossy(&out.stdout).into_owned();
            let complaint = format!("{}\n{}\n{}", out.status, tail(&out.stdout), tail(&out.stderr));
            (text, complaint)
        }
        (Err(e), _) | (_, Err(e)) => (String::new(), format!("{}: {e}", script.display())),
    }
}

fn tail(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(15)..].join("\n")
}
