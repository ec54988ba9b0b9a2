//! Where volumes are looked for when nothing lists them.

use std::fs;

use crate::support::{Lab, system};

use super::{lose, records};

/// Its own marker says where it was: what lies there is the volume, and the other one its copy.
#[test]
fn a_copy_of_a_volume_below_the_root_is_not_taken_for_it() {
    let lab = Lab::plain();
    let elsewhere = lab.dir().join("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    lab.ok(&format!("volume add far {} --quota none", elsewhere.display()));
    lab.ok("vfolder create alice/data --volume far");
    let copy = lab.root.join("copy");
    system("/bin/cp", &["-a", elsewhere.to_str().unwrap(), copy.to_str().unwrap()]);
    for volume in [&lab.volume, &elsewhere, &copy] {
        let _ = fs::remove_file(volume.join(".vfadm/registry.yaml"));
    }
    let before = records(&lab, "volumes");
    lose(&lab);
    let second = format!("there is a second volume 'far' at {}: it is left out", copy.display());
    lab.ok("registry rebuild --yes").says(&[&second, "named with --volume PATH"]);
    assert_eq!(records(&lab, "volumes"), before);
}
