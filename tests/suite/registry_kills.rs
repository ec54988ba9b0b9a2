//! `kill -9` at each call of a restore or a rebuild that changes something: whatever is left, the same command or the next
//! one brings everything in order.

use std::fs;
use std::process::Command;

use crate::support::{Lab, VFADM, system};

use super::consistency::{assert_whole, no_intents};

/// Calls after which the disk is another one; opens count where they make a file.
const CALLS: &str =
    "openat,write,fsync,fdatasync,renameat,renameat2,linkat,unlinkat,mkdirat,fchmod,fchown,ftruncate,flock";

#[test]
fn a_restore_or_rebuild_that_was_killed_can_be_gone_on_with() {
    let lab = Lab::plain();
    lab.ok("vfolder create alice/data");
    lab.ok("vfolder rename alice/data model");
    let keep = lab.dir().join("keep");
    let (root, keep) = (lab.root.to_str().unwrap(), keep.to_str().unwrap());
    system("/bin/cp", &["-a", root, keep]);
    for (line, lost) in [("registry restore 8 --yes", false), ("registry rebuild --yes", true)] {
        let mut points = 0;
        loop {
            fs::remove_dir_all(&lab.root).unwrap();
            system("/bin/cp", &["-a", keep, root]);
            if lost {
                fs::remove_file(lab.registry()).unwrap();
                fs::remove_dir_all(lab.root.join(".vfadm/backups")).unwrap();
            }
            let inject = format!("inject={CALLS}:signal=KILL:when={}", points + 1);
            let mut killed = Command::new("/usr/bin/strace");
            killed.args(["-qq", "-f", "-o", "/dev/null", "-e", &format!("trace={CALLS}"), "-e", &inject]);
            let out = killed.args([VFADM, "--root", root]).args(line.split(' ')).output().unwrap();
            if out.status.success() {
                break;
            }
            points += 1;
            let at = format!("{line}, killed at call {points}");
            if lost && lab.run("user list").code != 0 {
                lab.ok("registry rebuild --yes");
            }
            lab.ok("user add next").quiet();
            lab.ok("check --repair");
            lab.ok("check").quiet();
            no_intents(&lab, &at);
            assert_whole(&lab, &at);
            assert_eq!(lab.json("vfolder list")["count"], 1, "{at}");
        }
        println!("{line}: killed at {points} points");
        assert!(points > 30, "{line}: {points} points");
    }
}
