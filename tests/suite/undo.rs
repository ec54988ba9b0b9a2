//! The last change of the registry, taken back; and why another one is not.

use std::fs;

use serde_json::{Value, json};

use crate::support::{Lab, VFADM, system};

use super::history::{dir, file, lines, records, shown, site};

/// Changes of the registry alone, each with what comes before it.
const TAKEN_BACK: &[(&[&str], &str)] = &[
    (&[], "user add carol"),
    (&[], "user set alice --max-vfolders 3"),
    (&["user add carol"], "user remove carol --yes"),
    (&[], "project add chem"),
    (&[], "project set ml --max-quota unlimited --max-vfolders 4"),
    (&["user add carol"], "project add-member ml carol --role admin"),
    (&[], "project add-member ml bob --role admin"),
    (&[], "project remove-member ml bob"),
    (&[], "vfolder share alice/data --with bob --perm rw"),
    (&["vfolder share alice/data --with bob --perm rw"], "vfolder share alice/data --with bob --perm ro"),
    (&["vfolder share alice/data --with bob --perm rw"], "vfolder unshare alice/data --from bob"),
    (&["vfolder share alice/data --with bob --perm rw"], "vfolder leave alice/data --as bob"),
    (&["vfolder share alice/data --with bob --perm rw"], "vfolder rename alice/data model"),
    (&[], "vfolder set alice/data --cloneable"),
    (&[], "vfolder set project/ml/sets --perm rw"),
    (&[], "vfolder invite alice/data bob --perm ro"),
    (&["vfolder invite alice/data bob --perm ro"], "invitation cancel ID"),
    (&["vfolder invite alice/data bob --perm ro"], "invitation reject ID --as bob"),
    (&["vfolder invite alice/data bob --perm ro"], "invitation accept ID --as bob"),
    // A grant ends an invitation that waits for an answer.
    (&["vfolder invite alice/data bob --perm ro"], "vfolder share alice/data --with bob --perm rw"),
    (&[], "volume block local clone invite"),
    (&["volume block local clone"], "volume allow local clone --for alice"),
    (&[], "volume set local --default"),
    // With grants, memberships and invitations.
    (
        &["user add carol", "vfolder share alice/data --with carol --perm ro", "project add-member ml carol"],
        "user remove carol --yes",
    ),
];

#[test]
fn a_change_of_the_registry_alone_is_taken_back_with_all_that_it_did() {
    for (before, line) in TAKEN_BACK {
        let lab = site();
        before.iter().for_each(|line| drop(lab.ok(line)));
        let list = lab.json("invitation list");
        let line = &line.replace("ID", list["items"][0]["id"].as_str().unwrap_or("none"));
        let records_before = records(&lab);
        lab.ok(line);
        let records_after = records(&lab);
        assert_ne!(records_after, records_before, "{line}");
        let generation = lab.json("registry log --limit 1")["items"][0]["generation"].clone();
        let planned = lab.json("registry undo --dry-run");
        assert_eq!(records(&lab), records_after, "{line}");
        let done = lab.json("registry undo");
        assert_eq!(records(&lab), records_before, "{line}");
        assert_eq!((&planned["outcome"], &done["outcome"]), (&json!("planned"), &json!("changed")), "{line}");
        assert_eq!(planned["steps"], done["steps"], "{line}");
        assert_eq!(done["message"], format!("undid '{} {line}' (generation {generation})", VFADM),);
        assert_eq!(done["item"]["generation"], generation);
        let log = lab.json("registry log");
        let items = log["items"].as_array().unwrap();
        let [undone, undo] = &items[items.len() - 2..] else { panic!("{log}") };
        assert_eq!(
            (&undone["state"], &undone["undone_by"]),
            (&json!("undone"), &undo["generation"]),
            "{line}"
        );
        assert_eq!((&undo["undoes"], &undo["state"]), (&generation, &json!("in_force")), "{line}");
        lab.ok("registry check");
        lab.ok("volume check");
        // Typing it again is the way forward.
        lab.ok(line);
    }
}

#[test]
fn undo_twice_goes_two_steps_back_and_a_change_after_it_comes_first() {
    let lab = site();
    let first = records(&lab);
    lab.ok("user add carol");
    lab.ok("vfolder rename alice/data model");
    lab.ok("registry undo");
    lab.ok("vfolder set alice/data --cloneable");
    assert!(lab.ok("registry undo").stdout.contains("vfolder set alice/data --cloneable'"));
    assert!(lab.ok("registry undo").stdout.contains("user add carol'"));
    assert_eq!(records(&lab), first);
    // The folders before that were made on the storage.
    lab.fails(4, "registry undo").says(&["vfolder create project/ml/sets --perm ro' (generation 9, "]);
    fs::remove_file(file(&lab)).unwrap();
    let nothing = lab.ok("registry undo");
    assert_eq!(nothing.stdout, "there is no change to undo (unchanged)\n");
    assert!(!dir(&lab).join("2000-01.jsonl").exists() && shown(&lab, "").is_empty());
}

#[test]
fn older_months_are_read_where_the_newer_ones_hold_nothing_to_undo() {
    let lab = site();
    lab.ok("user add carol");
    let present = file(&lab);
    let text = fs::read_to_string(&present).unwrap();
    fs::write(dir(&lab).join("2001-01.jsonl"), &text).unwrap();
    // An undo of something else is all that the present month holds.
    let last = text.lines().last().unwrap();
    let undo = last.replace("\"generation\":10,", "\"generation\":11,\"undoes\":1,");
    assert_ne!(undo, last);
    fs::write(&present, undo + "\n").unwrap();
    let registry = lab.registry_text().replace("\"generation\":10,", "\"generation\":11,");
    fs::write(lab.registry(), registry).unwrap();
    assert!(lab.ok("registry undo --dry-run").stdout.contains("user add carol' (generation 10)"));
}

#[test]
fn what_touched_the_storage_is_refused_with_the_command_that_takes_it_back() {
    let lab = Lab::btrfs();
    lab.ok("user add carol");
    for (line, hint) in [
        ("vfolder create alice/data", "vfadm vfolder delete user/alice/data"),
        ("quota set alice 64m", "vfadm quota unset user/alice --volume local"),
        ("quota set alice 32m", "vfadm quota set user/alice 67108864 --volume local"),
        ("quota unset alice", "vfadm quota set user/alice 33554432 --volume local"),
        ("vfolder delete alice/data", "vfadm vfolder restore user/alice/data"),
        ("vfolder restore alice/data", "vfadm vfolder delete user/alice/data"),
        ("vfolder delete alice/data --purge --yes", "'vfadm registry log -o json' shows what it changed"),
    ] {
        lab.ok(line);
        let before = records(&lab);
        let out = lab.run("-o json registry undo").exits(4);
        assert_eq!(lab.run("registry undo --dry-run").code, 4, "{line}");
        assert_eq!(records(&lab), before, "{line}");
        let error = out.error();
        let message = error["message"].as_str().unwrap();
        let last = &lab.json("registry log --limit 1")["items"][0];
        let (generation, time) = (&last["generation"], last["time"].as_str().unwrap());
        assert_eq!(
            message,
            format!(
                "'{} {line}' (generation {generation}, {time}) cannot be undone: it changed the storage too",
                VFADM
            )
        );
        assert!(error["hint"].as_str().unwrap().ends_with(hint), "{line}: {error}");
        assert_eq!(&error["details"]["generation"], generation);
    }
    let lab = Lab::bare();
    lab.ok("init --quota none");
    lab.fails(4, "registry undo").says(&["it changed the storage too", "vfadm volume remove local"]);
    lab.ok("volume remove local --yes");
    lab.fails(4, "registry undo").says(&["vfadm volume add local "]);
}

#[test]
fn both_commits_of_a_purge_are_of_the_storage() {
    let lab = site();
    lab.ok("vfolder delete alice/data");
    lab.ok("vfolder purge alice/data --yes");
    // The first one too, which touches nothing yet: while it runs, nobody can put the folder back.
    let storage: Vec<Value> = lines(&lab).iter().rev().take(2).map(|l| l["storage"].clone()).collect();
    assert_eq!(storage, [true, true]);
}

#[test]
fn sessions_are_not_undone() {
    let lab = site();
    lab.ok("session start s1 --user alice -m data");
    let message = "cannot be undone: the record of a session follows what runs";
    lab.fails(4, "registry undo").says(&["session start s1", message, "vfadm session stop s1"]);
    lab.ok("session stop s1");
    lab.fails(4, "registry undo").says(&["session stop s1", message]);
    assert_eq!(lab.json("session list")["count"], 0);
}

#[test]
fn a_user_comes_back_without_the_record_of_a_dead_session() {
    let lab = site();
    lab.ok("user add carol");
    let mut sleep = std::process::Command::new("/bin/sleep").arg("60").spawn().unwrap();
    lab.ok(&format!("session start s1 --user carol --holder pid:{}", sleep.id()));
    sleep.kill().unwrap();
    sleep.wait().unwrap();
    let carol = lab.json("user show carol");
    lab.ok("user remove carol --yes");
    lab.ok("registry undo");
    assert_eq!(lab.json("user show carol"), carol);
    assert_eq!(lab.json("session list")["count"], 0);
}

#[test]
fn a_volume_that_was_taken_out_without_being_mounted_comes_back() {
    let lab = site();
    let image = lab.second("pool", "ext4", 64 << 20);
    lab.ok(&format!("volume add v {} --quota none", image.mount.display()));
    lab.ok("quota set alice unlimited --volume v");
    lab.ok("volume set v --default");
    image.detach();
    let before = lab.json("registry show");
    lab.ok("volume remove v --yes");
    lab.ok("registry undo").says(&["the marker of 'v' was not written", "could not write the sidecar"]);
    let after = lab.json("registry show");
    for section in ["settings", "volumes", "scopes"] {
        assert_eq!(after[section], before[section], "{section}");
    }
    image.attach();
    lab.ok("volume check v");
    // Mounted, its marker goes with it, and that is of the storage.
    lab.ok("volume remove v --yes");
    lab.fails(4, "registry undo").says(&[&format!("vfadm volume add v {}", image.mount.display())]);
}

#[test]
fn a_limit_that_was_changed_by_hand_is_not_taken_from_the_storage() {
    let lab = Lab::btrfs();
    lab.ok("quota set alice 64m");
    let scope = lab.json("quota show alice")["items"][0]["path"].as_str().unwrap().to_owned();
    let show = system("/usr/bin/btrfs", &["qgroup", "show", "-re", lab.volume.to_str().unwrap()]);
    let id =
        show.lines().find_map(|l| l.split_whitespace().next().filter(|id| id.starts_with("1/"))).unwrap();
    system("/usr/bin/btrfs", &["qgroup", "limit", "32m", id, lab.volume.to_str().unwrap()]);
    lab.ok("quota set alice 32m");
    assert_eq!(lab.json("registry log --limit 1")["items"][0]["storage"], false, "{scope}: {show}");
    lab.fails(4, "registry undo")
        .says(&["it changed the storage too", "vfadm quota set user/alice 67108864 --volume local"]);
}

#[test]
fn what_a_session_would_keep_is_refused_with_its_name() {
    let lab = site();
    lab.ok("user add carol");
    for (line, session, folder) in [
        ("vfolder share alice/data --with bob --perm rw", "--user bob -m alice/data", "user/alice/data"),
        ("project add-member ml carol", "--user carol --project ml -m sets", "project/ml/sets"),
        ("vfolder set project/ml/sets --perm rw", "--user bob --project ml -m sets:rw", "project/ml/sets"),
    ] {
        lab.ok(line);
        // Its record comes from elsewhere: a change of its own would be the last one.
        lab.ok(&format!("session start s1 {session}"));
        let with = lab.registry_text();
        let record = with.lines().find(|l| l.starts_with("  \"s1\": ")).unwrap().to_owned();
        lab.ok("session stop s1");
        let log = fs::read_to_string(file(&lab)).unwrap();
        let kept: Vec<&str> = log.lines().collect();
        fs::write(file(&lab), format!("{}\n", kept[..kept.len() - 2].join("\n"))).unwrap();
        let text = lab.registry_text().replace("\nsessions: {}", &format!("\nsessions:\n{record}"));
        fs::write(lab.registry(), text).unwrap();
        let before = lab.registry_text();
        let user = session.split(' ').nth(1).unwrap();
        let error = lab.run("-o json registry undo");
        assert_eq!(error.code, 6, "{line}: {error:?}");
        lab.fails(6, "registry undo").says(&[
            &format!("session s1 of {user} has {folder} mounted, and would keep more than it may"),
            "vfadm session stop s1",
        ]);
        assert_eq!(lab.registry_text(), before, "{line}");
        lab.ok("session stop s1");
    }
}

#[test]
fn a_record_that_was_edited_since_is_not_overwritten() {
    let lab = site();
    lab.ok("user set bob --max-vfolders 7");
    let text = lab.registry_text().replacen("\"max_vfolders\":7", "\"max_vfolders\":8", 1);
    fs::write(lab.registry(), &text).unwrap();
    lab.fails(4, "registry undo").says(&[
        "user set bob --max-vfolders 7'",
        "cannot be undone: users: 'bob' is not as it left them",
        "it was changed by hand since",
    ]);
    assert_eq!(lab.registry_text(), text);
}

#[test]
fn a_rule_that_would_be_broken_is_named() {
    let lab = site();
    lab.ok("user add carol");
    // By hand: a grant to carol, who is then to go.
    let text = lab.registry_text();
    let line = text.lines().find(|l| l.starts_with("  \"user/alice/data\"")).unwrap();
    let shared = line.replacen(",\"created_at\"", ",\"shares\":{\"carol\":\"ro\"},\"created_at\"", 1);
    assert_ne!(shared, line);
    fs::write(lab.registry(), text.replacen(line, &shared, 1)).unwrap();
    lab.fails(4, "registry undo").says(&[
        "user add carol'",
        "cannot be undone: vfolder user/alice/data: it is shared with 'carol', who does not exist",
    ]);
    lab.ok("user show carol");
}

#[test]
fn an_invitation_that_is_undone_waits_again_only_while_it_can() {
    let lab = site();
    lab.ok("vfolder invite alice/data bob --perm ro --expires 2s");
    let id = lab.json("invitation list")["items"][0]["id"].as_str().unwrap().to_owned();
    let state = || lab.json("invitation list")["items"][0]["state"].clone();
    lab.ok(&format!("invitation accept {id} --as bob"));
    std::thread::sleep(std::time::Duration::from_millis(2_100));
    lab.ok("registry undo").says(&["the invitation of bob is expired meanwhile"]);
    assert_eq!(state(), "expired");
    assert_eq!(lab.json("vfolder show alice/data")["shares"], json!([]));
}
