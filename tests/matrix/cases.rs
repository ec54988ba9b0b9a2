//! The cases. Each answers what was seen, in a few words for the table, and panics where the table says otherwise.

use std::fs;
use std::os::unix::fs::chown;
use std::path::Path;

use crate::clones;
use crate::drivers::Expect;
use crate::escapes::found_and_mended;
use crate::site::{NOBODY, Site, Write, write};
use crate::support::MIB;
use crate::transfers;

/// One row of the table.
pub struct Case {
    pub name: &'static str,
    pub run: fn(&Site<'_>) -> String,
}

/// All of them.
pub const CASES: &[Case] = &[
    Case { name: "create", run: create },
    Case { name: "stopped_write", run: |s| seen(stopped_write(s)) },
    Case { name: "grow_while_full", run: |s| seen(grow_while_full(s)) },
    Case { name: "shrink_below_usage", run: |s| seen(shrink_below_usage(s)) },
    Case { name: "unset", run: |s| seen(unset(s)) },
    Case { name: "round_up", run: |s| seen(round_up(s)) },
    Case { name: "unlimited", run: |s| seen(unlimited(s)) },
    Case { name: "same_again", run: |s| seen(same_again(s)) },
    Case { name: "delete_while_full", run: |s| seen(delete_while_full(s)) },
    Case { name: "out_of_band", run: |s| seen(out_of_band(s)) },
    Case { name: "unused_scope", run: unused_scope },
    Case { name: "two_scopes", run: |s| seen(two_scopes(s)) },
    Case { name: "sparse", run: |s| seen(sparse(s)) },
    Case { name: "nested", run: |s| seen(nested(s)) },
    Case { name: "one_pass", run: one_pass },
    Case { name: "transfer", run: transfers::transfer },
    Case { name: "transfer_full", run: |s| seen(transfers::transfer_full(s)) },
    Case { name: "transfer_volume", run: transfers::transfer_volume },
    Case { name: "clone", run: clones::clone },
    Case { name: "clone_within", run: clones::clone_within },
    Case { name: "clone_full", run: |s| seen(clones::clone_full(s)) },
    Case { name: "clone_volume", run: clones::clone_volume },
    Case { name: "escapes", run: escapes },
    Case { name: "gone_without_a_trace", run: |s| seen(gone_without_a_trace(s)) },
];

/// What was seen; a refusal that the table names, as an `Err`, is as good.
pub type Seen = Result<String, String>;

fn seen(seen: Seen) -> String {
    seen.unwrap_or_else(|refused| refused)
}

/// Insists that a write was stopped with this driver's error within a limit.
#[track_caller]
fn stopped(site: &Site<'_>, write: &Write, limit: u64) -> String {
    let driver = site.driver;
    assert_eq!(write.error.as_deref(), driver.error, "{write:?}");
    assert!(write.bytes <= limit + driver.overshoot, "{write:?} is past the limit of {limit}");
    let word = match driver.error {
        Some("No space left on device") => "ENOSPC",
        _ => "EDQUOT",
    };
    format!("{word} at {:.1} MiB", write.bytes as f64 / MIB as f64)
}

/// A write that has to be stopped.
fn overfill(site: &Site<'_>, folder: &Path, file: &str, mib: u64) -> Write {
    let mut all = write(folder, file, mib);
    for _ in 0..120 {
        if all.error.is_some() || !site.driver.lags {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(250));
        let more = write(folder, file, 1);
        all = Write { bytes: all.bytes + more.bytes, error: more.error };
    }
    all
}

/// Insists that what can still be written to a folder is stopped within so many bytes.
#[track_caller]
pub fn stopped_by(site: &Site<'_>, folder: &Path, limit: u64) -> String {
    stopped(site, &overfill(site, folder, "more", 32), limit)
}

/// A limited scope of 8 MiB and a folder that is full.
pub fn full(site: &Site<'_>) -> Result<std::path::PathBuf, String> {
    site.limit("8m")?;
    let folder = site.folder("alice");
    stopped(site, &overfill(site, &folder, "fill", 16), 8 * MIB);
    Ok(folder)
}

fn bytes(site: &Site<'_>, key: &str) -> Option<u64> {
    site.scope("alice")[key].as_u64()
}

/// Usage may lag; it is waited for.
#[track_caller]
fn used(site: &Site<'_>, what: &str, holds: impl Fn(u64) -> bool) -> u64 {
    for _ in 0..120 {
        if let Some(used) = bytes(site, "used_bytes").filter(|u| holds(*u)) {
            return used;
        }
        std::thread::sleep(std::time::Duration::from_millis(250));
    }
    panic!("used bytes should be {what}: {}", site.scope("alice"));
}

fn create(site: &Site<'_>) -> String {
    if site.driver.sized {
        site.limit("16m").expect("a volume of that size");
    }
    let folder = site.folder("alice");
    assert!(folder.is_dir());
    let scope = site.scope("alice");
    assert_eq!(scope["enforcement"], site.driver.enforcement, "{scope}");
    if !site.driver.sized {
        assert!(scope["limit_bytes"].is_null(), "{scope}");
    }
    site.driver.enforcement.to_owned()
}

fn stopped_write(site: &Site<'_>) -> Seen {
    site.limit("8m")?;
    let folder = site.folder("alice");
    let write = overfill(site, &folder, "file", 16);
    assert!(write.bytes > 2 * MIB, "{write:?} was stopped too early");
    Ok(stopped(site, &write, 8 * MIB))
}

fn grow_while_full(site: &Site<'_>) -> Seen {
    let folder = full(site)?;
    site.ok("quota set alice 40m --volume v");
    let more = write(&folder, "more", 12);
    assert_eq!(more.error, None, "{more:?}");
    Ok("holds".to_owned())
}

fn shrink_below_usage(site: &Site<'_>) -> Seen {
    // The table's refusal is of the lower limit, not of the first one.
    if site.driver.error.is_none() {
        site.limit("24m")?;
    }
    if site.driver.sized {
        site.limit("24m").expect("a volume");
    } else {
        site.ok("quota set alice 24m --volume v");
    }
    let folder = site.folder("alice");
    assert_eq!(write(&folder, "file", 12).error, None);
    used(site, "12 MiB", |used| used >= 12 * MIB);
    let before = bytes(site, "limit_bytes");
    let refused = site.expecting("quota set alice 8m --volume v");
    if refused.is_err() {
        assert_eq!(bytes(site, "limit_bytes"), before);
        assert_eq!(write(&folder, "file", 1).error, None);
        return refused.map(|()| String::new());
    }
    assert_eq!(bytes(site, "limit_bytes"), Some(8 * MIB));
    site.run("quota set alice 4m --volume v --no-shrink").exits(4);
    let more = overfill(site, &folder, "more", 4);
    Ok(stopped(site, &more, MIB))
}

fn unset(site: &Site<'_>) -> Seen {
    if site.driver.sized {
        site.limit("24m").expect("a volume");
        site.folder("alice");
        return site.expecting("quota unset alice --volume v").map(|()| String::new());
    }
    site.limit("8m")?;
    let folder = site.folder("alice");
    site.ok("quota unset alice --volume v");
    assert_eq!(bytes(site, "limit_bytes"), None);
    let more = write(&folder, "file", 24);
    assert_eq!(more.error, None, "{more:?}");
    Ok("holds".to_owned())
}

fn round_up(site: &Site<'_>) -> Seen {
    let asked = 8 * MIB + 1;
    site.limit(&asked.to_string())?;
    site.folder("alice");
    let Some(limit) = bytes(site, "limit_bytes") else { panic!("no limit: {}", site.scope("alice")) };
    if site.driver.sized {
        // A part of the image is the filesystem's own.
        assert!(limit <= asked + MIB, "{limit}");
        return Ok("the image".to_owned());
    }
    assert!((asked..asked + 8 * MIB).contains(&limit), "{limit}");
    let again = site.json(&format!("quota set alice {asked} --volume v"));
    assert_eq!(again["outcome"], "unchanged", "{again}");
    Ok(format!("+{}", limit - asked))
}

fn unlimited(site: &Site<'_>) -> Seen {
    if site.driver.sized {
        site.limit("24m").expect("a volume");
        site.folder("alice");
        return site.expecting("quota set alice unlimited --volume v").map(|()| String::new());
    }
    let folder = match site.driver.error {
        Some(_) => full(site)?,
        None => site.folder("alice"),
    };
    site.ok("quota set alice unlimited --volume v");
    let scope = site.scope("alice");
    assert!(scope["limit_bytes"].is_null(), "{scope}");
    let more = write(&folder, "more", 24);
    assert_eq!(more.error, None, "{more:?}");
    Ok("holds".to_owned())
}

fn same_again(site: &Site<'_>) -> Seen {
    site.limit("16m")?;
    site.folder("alice");
    let size = bytes(site, "limit_bytes").filter(|_| !site.driver.sized).unwrap_or(16 * MIB);
    let again = site.run(&format!("-o json -v quota set alice {size} --volume v")).exits(0);
    assert_eq!(again.json()["outcome"], "unchanged");
    let lines: Vec<&str> = again.stderr.lines().filter(|l| l.starts_with("+ ")).collect();
    let writes =
        |line: &&&str| [" set ", "limit -p", "setquota", "resize2fs"].iter().any(|w| line.contains(w));
    assert!(!lines.iter().any(|line| writes(&line)), "{lines:?}");
    Ok("unchanged".to_owned())
}

fn delete_while_full(site: &Site<'_>) -> Seen {
    full(site)?;
    site.ok("vfolder delete alice/data");
    site.ok("vfolder restore alice/data");
    site.ok("vfolder rename alice/data other");
    site.ok("vfolder delete alice/other");
    site.ok("vfolder purge alice/other --yes");
    assert_eq!(site.json("vfolder list")["count"], 0);
    Ok("holds".to_owned())
}

fn out_of_band(site: &Site<'_>) -> Seen {
    site.limit("8m")?;
    let folder = site.folder("alice");
    site.ok("volume check v");
    (site.driver.tamper)(site);
    if site.expected() == Expect::Differs("unmounted") {
        let found = site.run("-o json volume check v").exits(10).json();
        assert_eq!(found["items"][0]["code"], "volume_unusable", "{found}");
        site.run("vfolder create alice/other").exits(8);
        site.ok("volume mount v");
        site.ok("volume check v");
        assert!(folder.is_dir());
        return Ok("unmounted: mounted".to_owned());
    }
    assert_eq!(bytes(site, "limit_bytes"), Some(32 * MIB), "the storage is what is read");
    let found = site.run("-o json volume check v").exits(10).json();
    assert_eq!(found["items"][0]["code"], "limit_differs", "{found}");
    let found = site.run("-o json quota audit v").exits(10).json();
    assert_eq!(found["items"][0]["code"], "limit_differs", "{found}");
    site.ok("quota audit v --fix --yes");
    site.ok("quota audit v");
    assert_eq!(bytes(site, "limit_bytes"), Some(8 * MIB));
    let write = overfill(site, &folder, "file", 16);
    Ok(stopped(site, &write, 8 * MIB))
}

fn unused_scope(site: &Site<'_>) -> String {
    match site.driver.error {
        None => drop(site.folder("alice")),
        Some(_) => site.limit("16m").expect("a limit"),
    }
    if site.driver.sized {
        site.folder("alice");
    }
    if site.expected() == Expect::Differs("not counted") {
        let scope = site.scope("alice");
        assert!(scope["used_bytes_unknown_reason"].is_string(), "{scope}");
        return "not counted".to_owned();
    }
    let used = used(site, "next to nothing", |used| used <= site.driver.empty);
    format!("{used} bytes")
}

fn two_scopes(site: &Site<'_>) -> Seen {
    if site.driver.sized {
        site.limit("16m").expect("a volume");
        return site.expecting("vfolder create bob/data --volume v").map(|()| String::new());
    }
    full(site)?;
    let other = site.folder("bob");
    let free = write(&other, "file", 16);
    assert_eq!(free.error, None, "{free:?}");
    site.ok("quota set bob 24m --volume v");
    assert_eq!(bytes(site, "limit_bytes"), Some(8 * MIB));
    Ok("holds".to_owned())
}

fn sparse(site: &Site<'_>) -> Seen {
    site.limit("8m")?;
    let folder = site.folder("alice");
    let hole = fs::File::create(folder.join("hole")).unwrap().set_len(1 << 30);
    if site.expected() == Expect::Differs("counted in full") {
        let refused = hole.unwrap_err().raw_os_error();
        assert_eq!(refused, Some(nix::libc::EDQUOT));
        return Ok("counted in full".to_owned());
    }
    hole.unwrap();
    let used = used(site, "next to nothing", |used| used < 2 * MIB + site.driver.empty);
    let write = overfill(site, &folder, "file", 16);
    stopped(site, &write, 8 * MIB);
    Ok(format!("{} KiB used", used >> 10))
}

fn nested(site: &Site<'_>) -> Seen {
    site.limit("8m")?;
    let mut dir = site.folder("alice");
    for name in ["a", "b", "c", "d"] {
        dir = dir.join(name);
        fs::create_dir(&dir).unwrap();
        chown(&dir, Some(NOBODY), Some(NOBODY)).unwrap();
    }
    let write = overfill(site, &dir, "file", 16);
    Ok(stopped(site, &write, 8 * MIB))
}

/// The limits of all scopes are read by one run of the storage's tool, or none.
fn one_pass(site: &Site<'_>) -> String {
    if site.driver.sized {
        site.limit("16m").expect("a volume");
    }
    let owners = if site.driver.sized { &["alice"][..] } else { &["alice", "bob", "carol", "dave"] };
    for owner in owners {
        if site.run(&format!("user show {owner}")).code != 0 {
            site.ok(&format!("user add {owner}"));
        }
        site.ok(&format!("vfolder create {owner}/data --volume v"));
    }
    for line in ["quota show --volume v", "volume check v"] {
        let out = site.run(&format!("-v {line}")).exits(0);
        let runs = out.stderr.lines().filter(|line| line.starts_with("+ ")).count();
        if site.expected() == Expect::Differs("a run a scope") {
            assert_eq!(runs, owners.len(), "{line}: {}", out.stderr);
            return "a run a scope".to_owned();
        }
        assert!(runs <= 1, "{line}: {}", out.stderr);
    }
    format!("{} scopes", owners.len())
}

fn escapes(site: &Site<'_>) -> String {
    // Where there are no limits, or they are the volume's size, audits find other things.
    if site.driver.error.is_some() {
        site.limit("24m").expect("a limit");
    }
    let folder = site.folder("alice");
    found_and_mended(site, &folder)
}

fn gone_without_a_trace(site: &Site<'_>) -> Seen {
    site.limit("8m")?;
    let folder = site.folder("alice");
    write(&folder, "file", 2);
    site.ok("vfolder delete alice/data --purge --yes");
    if site.driver.sized {
        site.ok("quota audit v");
        return Ok("holds".to_owned());
    }
    site.ok("quota unset alice --volume v");
    let left: Vec<_> = fs::read_dir(site.volume())
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .filter(|name| !name.starts_with('.') && name != "version.txt" && name != "lost+found")
        .collect();
    assert_eq!(left, Vec::<String>::new());
    site.ok("quota audit v");
    Ok("holds".to_owned())
}
