//! A storage that is driven by the programs that a driver file names: appliances with quotas of their own.
//!
//! vfadm knows nothing of them but what the file says, so it trusts nothing: a limit is read back after it was set, what
//! a program prints is bounded and has to be of the form that the file describes, and `quota verify` has a tenant write
//! past a limit.

mod output;

use std::path::Path;
use std::time::Duration;

use nix::libc;

use super::plain;
use super::{QuotaDriver, Readiness, Reading, Removal, ScopeAt};
use crate::domain::driver_file::{Commands, DriverFile, Values, fill};
use crate::domain::error::{Error, Result};
use crate::domain::quota::{DriverKind, Enforcement, Folders};
use crate::host;
use crate::host::dir::Dir;
use crate::host::program::{self, Program, Said};

pub use output::groups;

/// The driver of a storage that a driver file describes.
pub struct Exec {
    /// What the file says.
    pub file: DriverFile,
}

/// A line for each of some hundred thousand scopes.
const MOST: u64 = 64 << 20;
/// Enough to make an entry in a full scope, bytes; doubled at each attempt.
const ROOM: u64 = 1 << 20;
/// How often it is tried while a tenant goes on to write.
const ATTEMPTS: u32 = 4;
/// Numbers of projects have 32 bits; the last one is often the storage's own.
const IDS: u64 = u32::MAX as u64 - 1;

impl Exec {
    fn values<'a>(
        &self,
        volume: &'a str,
        path: &'a str,
        scope: &'a str,
        id: Option<u64>,
        bytes: Option<u64>,
    ) -> Result<Values<'a>> {
        if self.file.wants_id() && id.is_none() {
            return Err(Error::storage(format!("the quota scope {scope} has no number"))
                .hint("see: vfadm volume check"));
        }
        Ok(Values { path, scope, volume, id, bytes })
    }

    fn program(&self, command: &[String], values: &Values<'_>) -> Program {
        let mut words = command.iter().map(|word| fill(word, values, str::to_owned));
        Program::new(&words.next().unwrap_or_default())
            .args(words)
            .of_root_alone()
            .deadline(Duration::from_secs(self.file.deadline_seconds))
            .at_most(MOST)
    }

    /// Runs commands one after the other, for one scope.
    fn run(&self, commands: &Commands, scope: &ScopeAt<'_>, bytes: Option<u64>) -> Result<()> {
        let place = Place::of(scope);
        let values = self.values(&place.volume, &place.path, scope.dir, scope.kernel_id, bytes)?;
        for command in &commands.0 {
            self.program(command, &values).succeed()?;
        }
        Ok(())
    }

    fn say(&self, values: &Values<'_>) -> Result<Said> {
        let Some(command) = self.file.read.0.first() else {
            return Err(Error::storage(format!("the driver file {} reads nothing", self.file.name)));
        };
        Ok(self.program(command, values).run()?)
    }

    fn empty(&self, volume: &Dir, scope: &ScopeAt<'_>) -> Result<bool> {
        if volume.stat(scope.dir)?.is_none() {
            return Ok(false);
        }
        plain::remove_areas(&volume.open_beneath(Path::new(scope.dir))?)?;
        Ok(true)
    }
}

/// The paths of a scope as text: a volume's path is UTF-8.
struct Place {
    volume: String,
    path: String,
}

impl Place {
    fn of(scope: &ScopeAt<'_>) -> Place {
        let text = |path: &Path| path.to_string_lossy().into_owned();
        Place { volume: text(scope.volume), path: text(&scope.volume.join(scope.dir)) }
    }
}

impl QuotaDriver for Exec {
    fn kind(&self) -> DriverKind {
        DriverKind::Exec
    }

    fn default_folders(&self) -> Folders {
        Folders::Directory
    }

    fn wants_kernel_id(&self) -> bool {
        self.file.wants_id()
    }

    fn inspect(&self, volume: &Path) -> Result<Readiness> {
        plain::open_volume(volume)?;
        Ok(match self.file.programs().into_iter().find(|name| program::find(name).is_none()) {
            None => Readiness::Ready,
            Some(missing) => Readiness::Unable {
                reason: format!("the program {missing} is not installed"),
                remedy: format!(
                    "install it, or write its absolute path into the driver file {}",
                    self.file.name
                ),
            },
        })
    }

    fn enforcement(&self, _volume: &Path) -> Result<(Enforcement, Option<String>)> {
        let name = &self.file.name;
        let warning = match self.file.enforcement {
            Enforcement::Cooperative => {
                Some(format!("the driver file {name} says that a tenant who wants to can get past a limit"))
            }
            Enforcement::KernelOwnerCanLeave => Some(format!(
                "the driver file {name} says that the owner of a file can take it out of its scope, and of the limit"
            )),
            _ => None,
        };
        Ok((self.file.enforcement, warning))
    }

    fn kernel_id_is_free(&self, volume: &Path, id: u64) -> Result<bool> {
        if !self.file.wants_id() {
            return Ok(true);
        }
        if id > IDS {
            return Err(Error::storage(format!("{id} is above the highest number of a project, {IDS}")));
        }
        let scope = ScopeAt { volume, dir: "unused", kernel_id: Some(id), folders: Folders::Directory };
        let reading = self.read_one(&scope)?;
        Ok(reading.limit.is_none() && reading.used.unwrap_or(0) == 0)
    }

    fn prepare_scope(&self, scope: &ScopeAt<'_>) -> Result<()> {
        let volume = plain::open_volume(scope.volume)?;
        if !self.file.makes_directory {
            plain::prepare_scope(&volume, scope.dir)?;
            return self.run(&self.file.prepare, scope, None);
        }
        if volume.stat(scope.dir)?.is_none() {
            self.run(&self.file.prepare, scope, None)?;
        }
        if volume.stat(scope.dir)?.is_none() {
            return Err(Error::storage(format!(
                "'prepare' of the driver file {} succeeded, but made no {}",
                self.file.name,
                volume.join(scope.dir).display()
            )));
        }
        let dir = volume.open_beneath(Path::new(scope.dir))?;
        dir.set_owner(0, 0)?;
        Ok(dir.set_mode(plain::SCOPE_MODE)?)
    }

    fn remove_scope(&self, scope: &ScopeAt<'_>) -> Result<Removal> {
        let volume = plain::open_volume(scope.volume)?;
        let there = self.empty(&volume, scope)?;
        // Where the directory is made by a command, what that command made may be there without it.
        if there || self.file.makes_directory {
            // What cannot be read is taken away too, so that nothing stays of a trial that failed.
            if there && !self.read_one(scope).is_ok_and(|reading| reading.limit.is_none()) {
                self.run(&self.file.unset, scope, None)?;
            }
            self.run(&self.file.remove, scope, None)?;
        }
        plain::remove_scope(&volume, scope.dir)?;
        Ok(Removal::Gone)
    }

    /// A limit of 0 is none on most storages.
    fn effective(&self, _volume: &Path, bytes: u64) -> u64 {
        bytes.max(1).div_ceil(self.file.round_to).saturating_mul(self.file.round_to)
    }

    /// How the appliance charges what two scopes share is not known.
    fn reflinks_charge_rightly(&self, _volume: &Path, _folders: Folders, same_scope: bool) -> Result<bool> {
        Ok(same_scope)
    }

    fn set_limit(&self, scope: &ScopeAt<'_>, limit: Option<u64>) -> Result<()> {
        let commands = if limit.is_some() { &self.file.set } else { &self.file.unset };
        self.run(commands, scope, limit)
    }

    fn read(&self, volume: &Path, scopes: &[ScopeAt<'_>]) -> Result<Vec<Result<Reading>>> {
        let places: Vec<Place> = scopes.iter().map(Place::of).collect();
        let values: Vec<Values<'_>> = scopes
            .iter()
            .zip(&places)
            .map(|(scope, place)| self.values(&place.volume, &place.path, scope.dir, scope.kernel_id, None))
            .collect::<Result<_>>()?;
        if self.file.reads_all_at_once() && !scopes.is_empty() {
            let text = volume.to_string_lossy();
            let said = self.say(&Values { path: "", scope: "", volume: &text, id: None, bytes: None })?;
            return Ok(output::readings(&self.file, &said, &values)?.into_iter().map(Ok).collect());
        }
        let one = |values: &Values<'_>| {
            let said = self.say(values)?;
            let readings = output::readings(&self.file, &said, std::slice::from_ref(values))?;
            Ok(readings.first().copied().unwrap_or(Reading { used: None, limit: None }))
        };
        Ok(values.iter().map(one).collect())
    }

    fn refuses_below_usage(&self) -> bool {
        self.file.refuses_below_usage
    }

    fn usage_lags(&self) -> bool {
        self.file.usage_lags
    }

    /// The limit is raised for one call, by little: a tenant who goes on writing takes what he can get of it. A command
    /// that is killed meanwhile leaves it raised, and the next one that changes something puts it right.
    fn despite_limit(&self, scope: &ScopeAt<'_>, call: &mut dyn FnMut() -> host::Result<()>) -> Result<()> {
        let is_full = |e: &host::Error| matches!(e.errno(), Some(libc::ENOSPC | libc::EDQUOT));
        match call() {
            Err(e) if is_full(&e) => {}
            other => return Ok(other?),
        }
        let Some(limit) = self.read_one(scope)?.limit else { return Ok(call()?) };
        let mut made = Ok(());
        for attempt in 0..ATTEMPTS {
            let used = self.read_one(scope)?.used.unwrap_or(0);
            let raised = limit.max(used).saturating_add(ROOM << attempt);
            self.set_limit(scope, Some(self.effective(scope.volume, raised)))?;
            made = call();
            if !made.as_ref().is_err_and(is_full) {
                break;
            }
        }
        let restored = self.set_limit(scope, Some(limit));
        made?;
        restored
    }
}

#[cfg(test)]
mod tests;
