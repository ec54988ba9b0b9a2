//! What volumes allow: every action stops every command that it concerns, for everybody or for one owner.

use serde_json::json;

use crate::support::Lab;

/// Commands by the action that they need, on a root with the ready folder `alice/data` and the trashed `alice/old`.
/// Each succeeds where the action is allowed.
const COMMANDS: [(&str, &str); 13] = [
    ("create", "vfolder create alice/new"),
    ("modify", "vfolder rename alice/data other"),
    ("modify", "vfolder set alice/data --cloneable"),
    ("delete", "vfolder delete alice/data"),
    ("delete", "vfolder restore alice/old"),
    ("delete", "vfolder purge alice/old --yes"),
    ("delete", "vfolder delete alice/data --purge --yes"),
    ("mount", "session plan --user alice -m data"),
    ("mount", "session start s --user alice -m data"),
    ("mount", "session run --user alice -m data -- true"),
    ("invite", "vfolder invite alice/data bob --perm ro"),
    ("invite", "vfolder invite alice/data bob --perm rw --as alice"),
    ("share", "vfolder share alice/data --with bob --perm ro"),
];

fn site() -> Lab {
    let lab = Lab::plain();
    lab.ok("vfolder create alice/data");
    lab.ok("vfolder create alice/old");
    lab.ok("vfolder delete alice/old");
    lab
}

#[test]
fn every_action_stops_every_command_that_needs_it_until_it_is_allowed() {
    for (action, command) in COMMANDS {
        for whom in ["", " --for alice"] {
            let lab = site();
            lab.ok(&format!("volume block local {action}{whom}"));
            let before = lab.registry_text();
            let refused = lab.fails(5, command);
            refused.says(&[
                &format!("the volume 'local' blocks '{action}' for user/alice"),
                &format!("vfadm volume allow local {action}"),
            ]);
            assert_eq!(lab.registry_text(), before, "{command}");
            lab.ok(&format!("volume allow local {action}{whom}"));
            lab.ok(command);
        }
    }
}

#[test]
fn an_action_stops_no_command_that_does_not_need_it() {
    for (action, command) in COMMANDS {
        let lab = site();
        for other in ["create", "modify", "delete", "mount", "clone", "invite", "share"] {
            if other != action {
                lab.ok(&format!("volume block local {other}"));
            }
        }
        lab.ok(command);
    }
}

#[test]
fn the_narrower_rule_beats_the_wider_and_a_block_an_allow() {
    for (rules, allowed) in [
        (&[][..], true),
        (&["block local mount"], false),
        (&["block local mount", "allow local mount"], true),
        (&["block local mount", "allow local mount --for alice"], true),
        (&["block local mount", "allow local mount --for bob"], false),
        (&["allow local mount --for alice", "block local mount"], true),
        (&["block local mount --for alice"], false),
        (&["block local mount --for alice", "allow local mount"], false),
        (&["block local mount --for bob"], true),
        (&["block local mount --for alice", "allow local mount --for alice"], true),
        (&["allow local mount --for alice", "block local mount --for alice"], false),
        (&["block-mount local"], false),
        (&["block-mount local", "allow-mount local --for alice"], true),
        (&["block-mount local", "allow-mount local"], true),
        (&["block-clone local"], true),
    ] {
        let lab = site();
        for rule in rules {
            lab.ok(&format!("volume {rule}"));
        }
        let plan = lab.run("session plan --user alice -m data");
        assert_eq!(plan.code, if allowed { 0 } else { 5 }, "{rules:?}: {plan:?}");
    }
}

#[test]
fn rules_are_shown_kept_in_the_marker_and_unchanged_when_they_are_there() {
    let lab = site();
    let first = lab.json("volume block local mount clone");
    assert_eq!(first["outcome"], "changed");
    assert_eq!(first["item"]["allowed"], json!(["create", "modify", "delete", "invite", "share"]));
    assert_eq!(lab.json("volume block local clone mount")["outcome"], "unchanged");
    lab.ok("volume allow local mount --for alice");
    assert_eq!(lab.json("volume allow-mount local --for alice")["outcome"], "unchanged");
    let marker = std::fs::read_to_string(lab.volume.join(".vfadm-volume.yaml")).unwrap();
    assert!(
        marker.contains(r#""blocked":["mount","clone"],"allowed_for":{"user/alice":["mount"]}"#),
        "{marker}"
    );
    lab.fails(3, "volume block local mount --for nobody").says(&["nobody"]);
    lab.fails(3, "volume block elsewhere mount").says(&["elsewhere"]);
    lab.fails(5, "volume allow local mount --as alice");
}

#[test]
fn rules_for_an_owner_go_with_the_owner() {
    let lab = site();
    lab.ok("volume block local create --for bob");
    lab.ok("volume block local mount");
    lab.ok("volume allow local mount --for bob");
    lab.ok("volume allow local mount --for project/ml");
    lab.ok("user remove bob --yes");
    lab.ok("project remove ml --yes");
    let shown = lab.json("volume show local");
    assert_eq!((&shown["blocked_for"], &shown["allowed_for"]), (&json!({}), &json!({})));
    let marker = std::fs::read_to_string(lab.volume.join(".vfadm-volume.yaml")).unwrap();
    assert!(!marker.contains("bob") && !marker.contains("project/ml"), "{marker}");
    // Who comes later by the same name has what everybody has.
    lab.ok("user add bob");
    lab.ok("vfolder create bob/data");
    lab.fails(5, "session plan --user bob -m data");
}

#[test]
fn a_block_leaves_running_mounts_and_says_so() {
    let lab = site();
    lab.ok("session start s --user alice -m data");
    lab.run("volume block local mount").exits(0).says(&["what is mounted stays mounted", "s"]);
    lab.ok("session stop s");
    lab.fails(5, "session start s --user alice -m data");
}

#[test]
fn an_automatic_mount_that_is_blocked_is_left_out_with_the_reason() {
    let lab = Lab::plain();
    lab.ok("vfolder create alice/.config");
    lab.ok("volume block-mount local");
    let plan = lab.json("session plan --user alice");
    assert_eq!(plan["skipped"][0]["skipped"], "the volume 'local' blocks 'mount' for user/alice", "{plan}");
    assert_eq!(plan["mounts"], json!([]));
}
