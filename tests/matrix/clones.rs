//! Folders that are there twice: what each is charged, and what is left when one of them goes.

use crate::cases::{Seen, full, stopped_by};
use crate::site::{Site, write};
use crate::support::MIB;
use crate::transfers::{charged, fill, in_order, listing};

fn limits(site: &Site<'_>) {
    if site.driver.sized {
        site.limit("24m").expect("a volume");
    } else if site.driver.error.is_some() {
        site.ok("quota set alice 24m --volume v");
        site.ok("quota set bob 16m --volume v");
    }
}

/// Where a clone for somebody else can be: nobody has a part of another's dedicated volume.
fn elsewhere(site: &Site<'_>) -> &'static str {
    if site.driver.sized { "spare" } else { "v" }
}

/// The new owner is charged for it in full, and its limit holds; the source is as it was.
pub fn clone(site: &Site<'_>) -> String {
    limits(site);
    let folder = site.folder("alice");
    let before = fill(&folder, 6);
    charged(site, "alice", "6 MiB", |used| used >= 6 * MIB);
    if site.driver.sized {
        site.run("vfolder clone alice/data bob/copy --volume v")
            .exits(5)
            .says(&["is dedicated to user/alice"]);
    }
    let line = format!("vfolder clone alice/data bob/copy --volume {}", elsewhere(site));
    let done = site.json(&line);
    assert_eq!(
        (done["outcome"].as_str(), done["item"]["owner"].as_str()),
        (Some("created"), Some("user/bob"))
    );
    site.run(&line).exits(4);
    let copy = site.path("bob/copy");
    assert_eq!(listing(&copy), before);
    assert_eq!(listing(&folder), before);
    in_order(site);
    if site.driver.sized || site.driver.error.is_none() {
        return done["item"]["clone"]["way"].as_str().unwrap().to_owned();
    }
    charged(site, "bob", "6 MiB", |used| used >= 6 * MIB);
    stopped_by(site, &copy, 16 * MIB - 6 * MIB);
    // The source goes, the copy stays.
    site.ok("vfolder delete alice/data --purge --yes");
    charged(site, "bob", "16 MiB", |used| used >= 15 * MIB);
    site.ok("vfolder delete bob/copy --purge --yes");
    in_order(site);
    done["item"]["clone"]["way"].as_str().unwrap().to_owned()
}

/// Within one scope, by a snapshot where the storage has them: neither depends on the other, and the limit holds for
/// both together.
pub fn clone_within(site: &Site<'_>) -> String {
    limits(site);
    let folder = site.folder("alice");
    let before = fill(&folder, 6);
    charged(site, "alice", "6 MiB", |used| used >= 6 * MIB);
    let way = |done: &serde_json::Value| done["item"]["clone"]["way"].as_str().unwrap().to_owned();
    let first = way(&site.json("vfolder clone alice/data alice/first --volume v"));
    let second = way(&site.json("vfolder clone alice/first alice/second --volume v"));
    assert_eq!(first, second);
    for name in ["alice/data", "alice/first", "alice/second"] {
        assert_eq!(listing(&site.path(name)), before, "{name}");
    }
    // The middle one first: others may have come from it.
    for name in ["alice/first", "alice/data"] {
        site.ok(&format!("vfolder delete {name}"));
        site.ok(&format!("vfolder restore {name}"));
        site.ok(&format!("vfolder delete {name} --purge --yes"));
        assert_eq!(listing(&site.path("alice/second")), before, "after {name}");
    }
    in_order(site);
    if site.driver.error.is_some() {
        charged(site, "alice", "6 MiB", |used| used >= 6 * MIB);
        stopped_by(site, &site.path("alice/second"), 24 * MIB - 6 * MIB);
    }
    site.ok("vfolder delete alice/second --purge --yes");
    in_order(site);
    first
}

/// Out of a full scope; not into one, unless it takes no room there.
pub fn clone_full(site: &Site<'_>) -> Seen {
    full(site)?;
    let before = listing(&site.path("alice/data"));
    if !site.driver.sized {
        site.ok("quota set bob 4m --volume v");
        let refused = site.run("vfolder clone alice/data bob/copy --volume v").exits(8);
        refused.says(&["user/bob has ", " left of 4 MiB on 'v'", "--allow-over tries all the same"]);
        site.ok("quota set bob unlimited --volume v");
    }
    site.ok(&format!("vfolder clone alice/data bob/copy --volume {}", elsewhere(site)));
    assert_eq!(listing(&site.path("bob/copy")), before);
    let within = site.run("vfolder clone alice/data alice/copy --volume v");
    let seen = match within.code {
        0 => {
            assert_eq!(listing(&site.path("alice/copy")), before);
            "takes no room".to_owned()
        }
        _ => {
            within.exits(8).says(&[" left ", "--allow-over tries all the same"]);
            site.run("vfolder show alice/copy").exits(3);
            "refused".to_owned()
        }
    };
    in_order(site);
    Ok(seen)
}

/// To another volume and back.
pub fn clone_volume(site: &Site<'_>) -> String {
    limits(site);
    let before = fill(&site.folder("alice"), 3);
    site.ok("vfolder clone alice/data alice/there --volume spare");
    assert_eq!(listing(&site.path("alice/there")), before);
    site.ok("vfolder clone alice/there alice/back --volume v");
    assert_eq!(listing(&site.path("alice/back")), before);
    assert_eq!(write(&site.path("alice/there"), "own", 1).error, None);
    assert_eq!(listing(&site.path("alice/back")), before);
    charged(site, "alice", "6 MiB", |used| used >= 6 * MIB);
    in_order(site);
    "holds".to_owned()
}
