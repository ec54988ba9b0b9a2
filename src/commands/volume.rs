//! `vfadm volume`.

use std::path::{Path, PathBuf};

use anyhow::Result;
use serde_json::Value;

use super::App;
use crate::cli::volume::{self as cli, Actions, Driver, Folders, OneAction, Volume};
use crate::domain::error::{Code, Error};
use crate::domain::finding::Finding;
use crate::domain::permission::Action;
use crate::domain::quota::{self, DriverKind};
use crate::domain::record::MountSource;
use crate::host;
use crate::ops::{self, change, volume};
use crate::output::{Column, Kind};

const KIND: &str = "Volume";
const COLUMNS: [Column; 7] = [
    Column::text("NAME", "name"),
    Column::text("DRIVER", "driver"),
    Column::text("FOLDERS", "folders"),
    Column::text("STATE", "state"),
    Column::of("SIZE", "total_bytes", Kind::Bytes),
    Column::of("USED", "used_bytes", Kind::Bytes),
    Column::text("PATH", "path"),
];

const FINDING_COLUMNS: [Column; 4] = [
    Column::text("SEVERITY", "severity"),
    Column::text("CODE", "code"),
    Column::text("SUBJECT", "subject"),
    Column::text("MESSAGE", "message"),
];

/// A path as seen from `/` (exit 8 where the working directory, which it begins at, is gone).
fn absolute(path: &Path) -> Result<PathBuf, Error> {
    std::path::absolute(path).map_err(|e| {
        Error::from(host::Error::path("find the absolute path of", path, e))
            .hint("write it from / on, or go to a directory that exists")
    })
}

/// The driver that was asked for; `None` is `auto`.
pub(super) fn driver_kind(driver: Driver) -> Option<DriverKind> {
    match driver {
        Driver::Auto => None,
        Driver::Xfs => Some(DriverKind::Xfs),
        Driver::Ext4 => Some(DriverKind::Ext4),
        Driver::Zfs => Some(DriverKind::Zfs),
        Driver::Cephfs => Some(DriverKind::Cephfs),
        Driver::Btrfs => Some(DriverKind::Btrfs),
        Driver::Exec => Some(DriverKind::Exec),
        Driver::Dedicated => Some(DriverKind::Dedicated),
        Driver::None => Some(DriverKind::None),
    }
}

fn only(rule: OneAction, action: cli::Action) -> Actions {
    Actions { volume: rule.volume, actions: vec![action], owner: rule.owner }
}

/// The action that was typed.
pub(super) fn action_of(action: cli::Action) -> Action {
    match action {
        cli::Action::Create => Action::Create,
        cli::Action::Modify => Action::Modify,
        cli::Action::Delete => Action::Delete,
        cli::Action::Mount => Action::Mount,
        cli::Action::Clone => Action::Clone,
        cli::Action::Invite => Action::Invite,
        cli::Action::Share => Action::Share,
    }
}

/// What the mount options say together.
fn mount(
    path: &Path,
    source: Option<String>,
    kind: Option<String>,
    options: Option<String>,
    make_image: Option<u64>,
) -> Result<Option<MountSource>> {
    let source = match (source, make_image) {
        (Some(source), _) => source,
        (None, Some(_)) => format!("{}.img", path.display()),
        (None, None) if kind.is_none() && options.is_none() => return Ok(None),
        (None, None) => {
            let error = Error::usage("--mount-type and --mount-options say how to mount, but not what");
            return Err(error.hint("add --mount-source or --make-image").into());
        }
    };
    let image = make_image.is_some();
    let kind = kind.or_else(|| image.then(|| "ext4".to_owned()));
    if image && !matches!(kind.as_deref(), Some("ext4" | "xfs")) {
        return Err(Error::usage("an image is made with --mount-type ext4 or xfs").into());
    }
    if image && !Path::new(&source).is_absolute() {
        return Err(Error::usage(format!("the path of an image has to be absolute: {source}")).into());
    }
    Ok(Some(MountSource { source, kind, options, image }))
}

impl App {
    pub(super) fn volume(&self, command: Volume) -> Result<u8> {
        match command {
            Volume::Add {
                volume,
                path,
                quota,
                driver_file,
                folders,
                dedicated_to,
                mount_source,
                mount_type,
                mount_options,
                make_image,
                quota_host,
                no_verify,
            } => {
                let path = absolute(&path)?;
                let mount = mount(&path, mount_source, mount_type, mount_options, make_image)?;
                let request = volume::Add {
                    name: volume,
                    path,
                    // A driver file says which driver is meant.
                    driver: driver_kind(quota).or(driver_file.is_some().then_some(DriverKind::Exec)),
                    driver_file: driver_file.as_deref().map(volume::read_driver_file).transpose()?,
                    folders: folders.map(|f| match f {
                        Folders::Directory => quota::Folders::Directory,
                        Folders::Subvolume => quota::Folders::Subvolume,
                        Folders::Dataset => quota::Folders::Dataset,
                    }),
                    dedicated_to,
                    quota_host,
                    verify: !no_verify,
                    make_dir: mount.is_some(),
                    mount,
                    make_image,
                    yes: self.yes,
                    dry_run: self.ctx.dry_run,
                };
                let mut done = volume::add_and_note(&self.ctx, &request)?;
                if !done.planned {
                    // What the volume says of itself only once its marker is there.
                    let reading = self.reading()?;
                    done.plan.item = Some(volume::show(&reading.state(&self.ctx), &request.name)?);
                }
                self.done(KIND, done)
            }
            Volume::List => {
                let reading = self.reading()?;
                self.out.list(KIND, &volume::list(&reading.state(&self.ctx))?, &COLUMNS)?;
                Ok(0)
            }
            Volume::Show { volume } => {
                let reading = self.reading()?;
                let item = volume::show(&reading.state(&self.ctx), &volume)?;
                volume::warnings(&item).iter().for_each(|w| self.out.warn(w));
                self.out.one(KIND, &item)?;
                Ok(0)
            }
            Volume::Set { volume, driver_file: Some(file), .. } => {
                let file = volume::read_driver_file(&file)?;
                self.done(KIND, change(&self.ctx, |state| volume::set_driver_file(state, &volume, &file))?)
            }
            Volume::Set { volume, .. } => {
                self.done(KIND, change(&self.ctx, |state| volume::set_default(state, &volume))?)
            }
            Volume::Mount { volume } => {
                self.done(KIND, change(&self.ctx, |state| volume::mount(state, &volume))?)
            }
            Volume::Unmount { volume } => {
                self.done(KIND, change(&self.ctx, |state| volume::unmount(state, &volume))?)
            }
            Volume::Remove { volume } => {
                if !self.ctx.dry_run {
                    let reading = ops::read(&self.ctx)?;
                    volume::remove(&reading.state(&self.ctx), &volume)?;
                    self.confirm(&format!("Take the volume {volume} out of the registry?"))?;
                }
                self.done(KIND, volume::take_out(&self.ctx, &volume)?)
            }
            Volume::Allow(rule) => self.set_actions(&rule, true),
            Volume::Block(rule) => self.set_actions(&rule, false),
            Volume::AllowMount(rule) => self.set_actions(&only(rule, cli::Action::Mount), true),
            Volume::BlockMount(rule) => self.set_actions(&only(rule, cli::Action::Mount), false),
            Volume::AllowClone(rule) => self.set_actions(&only(rule, cli::Action::Clone), true),
            Volume::BlockClone(rule) => self.set_actions(&only(rule, cli::Action::Clone), false),
            Volume::Check { volume, nodes: true, stale } => self.compare_nodes(volume.as_deref(), stale),
            Volume::Check { volume, .. } => {
                let reading = self.reading()?;
                self.findings(&volume::check(&reading.state(&self.ctx), volume.as_deref())?)
            }
        }
    }

    fn set_actions(&self, rule: &Actions, allow: bool) -> Result<u8> {
        let actions: Vec<Action> = rule.actions.iter().map(|action| action_of(*action)).collect();
        let done = change(&self.ctx, |state| {
            volume::set_actions(state, &rule.volume, &actions, allow, rule.owner.as_ref())
        })?;
        self.done(KIND, done)
    }

    /// Prints findings; exit 10 when there are any.
    pub(super) fn findings(&self, findings: &[Finding]) -> Result<u8> {
        self.findings_with(findings, None)
    }

    /// The same, with a key more in the document.
    pub(super) fn findings_with(&self, findings: &[Finding], more: Option<(&str, Value)>) -> Result<u8> {
        let pasteable = |finding: &Finding| {
            let repair = finding.repair.as_ref().map(|text| self.pasteable(text));
            Finding { repair, ..finding.clone() }
        };
        let findings: Vec<Finding> = findings.iter().map(pasteable).collect();
        let items: Vec<Value> = findings.iter().map(serde_json::to_value).collect::<Result<_, _>>()?;
        self.out.list_with("Finding", &items, &FINDING_COLUMNS, more)?;
        findings
            .iter()
            .filter_map(|f| f.repair.as_ref().map(|r| (f, r)))
            .for_each(|(f, r)| self.out.talk(&format!("hint: {}: {r}", f.subject)));
        Ok(if findings.is_empty() { 0 } else { Code::Findings.exit() })
    }
}
