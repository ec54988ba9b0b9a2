//! A lab, and in it the place of one case: a root of its own, a volume `v`, and a tenant with uid 65534 who writes.

use std::fs;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::drivers::{Driver, Expect};
use crate::support::{Lab, LabUp, Output};

/// A tenant without any rights.
pub const NOBODY: u32 = 65534;

/// A directory for a lab that is not in memory: its images would not fit there twice.
pub fn labs_dir(name: &str) -> PathBuf {
    let dir = std::env::temp_dir().join(format!("vfadm-lab-{name}-{}", std::process::id()));
    fs::create_dir_all(&dir).expect("a directory for the lab");
    dir
}

/// What a write of the tenant's came to.
#[derive(Debug)]
pub struct Write {
    /// Bytes that are in the file.
    pub bytes: u64,
    /// The kernel's words for the error that ended it.
    pub error: Option<String>,
}

/// The place of one case.
pub struct Site<'a> {
    pub driver: &'static Driver,
    pub labup: &'a LabUp,
    pub case: &'static str,
    lab: Lab,
    volume: PathBuf,
}

impl<'a> Site<'a> {
    pub fn new(driver: &'static Driver, labup: &'a LabUp, case: &'static str) -> Site<'a> {
        let lab = Lab::bare();
        let spare = lab.root.join("spare");
        lab.ok(&format!(
            "init --uid {NOBODY} --gid {NOBODY} --volume spare={} --quota none",
            spare.display()
        ));
        lab.ok("user add alice");
        lab.ok("user add bob");
        let volume = (driver.arrange)(labup, case);
        let site = Site { driver, labup, case, lab, volume };
        if !driver.sized {
            site.add_volume("");
        }
        site
    }

    fn add_volume(&self, options: &str) {
        let line =
            format!("volume add v {} {} {options}", self.volume.display(), (self.driver.options)(self.labup));
        self.ok(&line);
        self.ok("volume set v --default");
    }

    pub fn volume(&self) -> &Path {
        &self.volume
    }

    pub fn run(&self, line: &str) -> Output {
        self.lab.run(line)
    }

    #[track_caller]
    pub fn ok(&self, line: &str) -> Output {
        self.lab.ok(line)
    }

    #[track_caller]
    pub fn json(&self, line: &str) -> Value {
        self.lab.json(line)
    }

    /// What the table says of this case on this driver.
    pub fn expected(&self) -> Expect {
        self.driver.expect(self.case)
    }

    /// Gives alice this limit: a volume of that size, where the size is the limit. The refusal, where that is what the
    /// table names.
    #[track_caller]
    pub fn limit(&self, size: &str) -> Result<(), String> {
        if self.driver.sized {
            self.add_volume(&format!("--make-image {size}"));
            return Ok(());
        }
        self.expecting(&format!("quota set alice {size} --volume v"))
    }

    /// Runs a line that has to do what the table says: succeed, or be refused.
    #[track_caller]
    pub fn expecting(&self, line: &str) -> Result<(), String> {
        match self.expected() {
            Expect::Refused(code, words) => {
                self.run(line).exits(code).says(&[words]);
                Err(format!("refused ({code})"))
            }
            _ => {
                self.ok(line);
                Ok(())
            }
        }
    }

    /// Makes the folder `data` of an owner and answers its path.
    #[track_caller]
    pub fn folder(&self, owner: &str) -> PathBuf {
        self.ok(&format!("vfolder create {owner}/data --volume v"));
        self.lab.path(&format!("{owner}/data"))
    }

    /// The path of a folder.
    #[track_caller]
    pub fn path(&self, key: &str) -> PathBuf {
        self.lab.path(key)
    }

    /// The document of a scope.
    #[track_caller]
    pub fn scope(&self, owner: &str) -> Value {
        let items = self.json(&format!("quota show {owner} --volume v"));
        assert_eq!(items["count"], 1, "{items}");
        items["items"][0].clone()
    }

    /// The number of alice's scope in the kernel, from the registry.
    pub fn kernel_id(&self) -> Option<u64> {
        let text = self.lab.registry_text();
        let line = text.lines().find_map(|l| l.trim().strip_prefix("\"user/alice@v\": "))?;
        serde_json::from_str::<Value>(line).ok()?["kernel_id"].as_u64()
    }

    /// The directory of alice's scope.
    #[track_caller]
    pub fn scope_dir(&self) -> PathBuf {
        PathBuf::from(self.scope("alice")["path"].as_str().unwrap())
    }
}

/// Has uid 65534 write `mib` MiB that nothing can compress into a file. The file is opened for it, since it cannot
/// pass the scope's directory; each write is checked against the rights of the one who writes.
pub fn write(folder: &Path, file: &str, mib: u64) -> Write {
    let path = folder.join(file);
    let opened = fs::File::options().create(true).append(true).mode(0o600).open(&path);
    let opened = match opened {
        Ok(file) => file,
        // In a full scope there may be no room for a name.
        Err(e) => return Write { bytes: 0, error: Some(words(&e.to_string())) },
    };
    let _ = std::os::unix::fs::fchown(&opened, Some(NOBODY), Some(NOBODY));
    let before = opened.metadata().expect("a size").len();
    let out = Command::new("/usr/bin/dd")
        .args(["if=/dev/urandom", "bs=64k", "conv=fsync,notrunc", "oflag=append"])
        .arg(format!("count={}", mib * 16))
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .stdout(opened.try_clone().expect("a descriptor"))
        .stderr(Stdio::piped())
        .uid(NOBODY)
        .gid(NOBODY)
        .output()
        .expect("dd runs");
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    let error = said.lines().find(|line| line.contains("dd: ")).map(words);
    assert_eq!(out.status.success(), error.is_none(), "{said}");
    Write { bytes: opened.metadata().expect("a size").len() - before, error }
}

fn words(line: &str) -> String {
    let text = line.rsplit(": ").next().unwrap_or(line);
    text.split(" (os error").next().unwrap_or(text).to_owned()
}
