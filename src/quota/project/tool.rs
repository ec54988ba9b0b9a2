//! The program `xfs_quota`.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use super::report::{self, Line};
use crate::domain::error::{Error, Result};
use crate::host::dir::Dir;
use crate::host::files;
use crate::host::program::{Program, Said};

/// The program.
pub(super) const NAME: &str = "xfs_quota";
/// A line for each of three million projects.
const MOST: u64 = 256 << 20;
/// `projid(5)` and `projects(5)`.
const NAMES: [(&str, usize); 2] = [("projid", 1), ("projects", 0)];
const NAMES_MOST: u64 = 64 << 20;

/// `xfs_quota` on one filesystem.
pub(super) struct Tool {
    /// Where it is mounted.
    pub(super) mount: PathBuf,
    /// True for a filesystem other than XFS.
    pub(super) foreign: bool,
}

impl Tool {
    fn run(&self, commands: &[String]) -> Result<Said> {
        let mut program = Program::new(NAME).from_package("xfsprogs").at_most(MOST);
        if self.foreign {
            program = program.arg("-f");
        }
        program = program.arg("-x");
        for command in commands {
            program = program.args(["-c", command]);
        }
        Ok(program.arg(&self.mount).succeed()?)
    }

    fn report(&self, commands: &[String], wanted: Option<&HashSet<u64>>) -> Result<HashMap<u64, Line>> {
        let said = self.run(commands)?;
        report::parse(&said.stdout, wanted).ok_or_else(|| {
            Error::storage(format!("'{}' reports nothing: {}", said.line, said.complaint())).hint(format!(
                "are project quotas on? They need the mount option prjquota: findmnt -o OPTIONS {}",
                self.mount.display()
            ))
        })
    }

    /// One project; `None` when it uses nothing and has no limit. The project 0 is asked for too, because it is always
    /// there: a report without a line is a failure.
    pub(super) fn one(&self, id: u64) -> Result<Option<Line>> {
        let of = |id| format!("report -p -n -N -b -L {id} -U {id}");
        Ok(self.report(&[of(0), of(id)], None)?.remove(&id))
    }

    /// Several projects, in one run.
    pub(super) fn some(&self, ids: &HashSet<u64>) -> Result<HashMap<u64, Line>> {
        self.report(&["report -p -n -N -b".to_owned()], Some(ids))
    }

    /// All projects.
    pub(super) fn all(&self) -> Result<HashMap<u64, Line>> {
        self.report(&["report -p -n -N -b".to_owned()], None)
    }

    /// How many projects use something or have a limit.
    pub(super) fn count(&self) -> Result<u64> {
        Ok(self.all()?.len() as u64)
    }

    /// Sets the limits of a project, in KiB; 0 is none. The soft one is vfadm's parking place.
    pub(super) fn limit(&self, id: u64, soft: Option<u64>, hard: u64) -> Result<()> {
        let said = self.run(&[format!("limit -p bsoft={}k bhard={hard}k {id}", soft.unwrap_or(0))])?;
        // The exit status is 0 whatever happened.
        if said.stderr.is_empty() {
            return Ok(());
        }
        Err(Error::storage(format!("'{}': {}", said.line, said.complaint())))
    }
}

/// True when `/etc/projid` or `/etc/projects` has the number for somebody else. Either may be absent.
pub(super) fn is_named(id: u64) -> Result<bool> {
    let etc = Dir::open(Path::new("/etc"))?;
    for (file, field) in NAMES {
        // What cannot be read as a file of names names nothing.
        let Ok(Some(bytes)) = files::read(&etc, file, NAMES_MOST) else { continue };
        if names(&String::from_utf8_lossy(&bytes), field, id) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether a line of such a file has the number in this field.
pub(super) fn names(text: &str, field: usize, id: u64) -> bool {
    text.lines()
        .map(str::trim)
        .filter(|line| !line.starts_with('#'))
        .any(|line| line.split(':').nth(field).is_some_and(|number| number.trim().parse() == Ok(id)))
}
