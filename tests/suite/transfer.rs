//! Another owner or volume for a folder: who may, what refuses it, what becomes of grants and invitations, and what
//! holds while it is under way.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::support::{Lab, Output, Snapshot, VFADM, wait_until, words};

use super::consistency::{assert_whole, no_intents};

/// alice owns `data` with a file in it; `ml` (alice its admin, bob a member) owns `sets`. carol is nobody's.
fn site() -> Lab {
    let lab = Lab::plain();
    lab.ok("user add carol");
    lab.ok("vfolder create alice/data");
    fs::write(lab.path("alice/data").join("file"), "kept").unwrap();
    lab.ok("vfolder create project/ml/sets --perm ro");
    lab
}

/// The same with a second volume, to which everything has to be copied.
fn two_volumes() -> Lab {
    let lab = site();
    let second = lab.dir().join("second");
    fs::create_dir(&second).unwrap();
    lab.ok(&format!("volume add second {} --quota none", second.display()));
    lab.ok("volume set local --default");
    lab
}

#[track_caller]
fn kept(lab: &Lab, folder: &str) {
    let text = fs::read_to_string(lab.path(folder).join("file"));
    assert_eq!(text.ok().as_deref(), Some("kept"), "{folder}");
}

#[test]
fn who_may_transfer() {
    for (line, code) in [
        ("alice/data bob", 0),
        ("alice/data project/ml", 0),
        ("project/ml/sets carol", 0),
        ("alice/data bob --as alice", 0),
        ("data bob --as alice", 0),
        ("alice/data project/ml --as alice", 0),
        ("project/ml/sets alice --as alice", 0),
        ("project/ml/sets bob --as bob", 5),
        ("alice/data bob --as bob", 3),
        ("alice/data carol --as carol", 3),
        ("alice/data nobody", 3),
        ("alice/data project/nothing", 3),
        ("alice/nothing bob", 3),
    ] {
        let lab = site();
        let before = lab.registry_text();
        lab.run(&format!("vfolder transfer {line}")).exits(code);
        assert_eq!(lab.registry_text() == before, code != 0, "{line}");
    }
    let lab = site();
    lab.ok("project add secret");
    lab.fails(5, "vfolder transfer alice/data project/secret --as alice").says(&["alice is no member of"]);
    lab.ok("vfolder share alice/data --with bob --perm rw");
    lab.fails(5, "vfolder transfer alice/data bob --as bob").says(&["bob may not transfer"]);
}

#[test]
fn it_is_refused_where_the_new_owner_or_a_volume_would_not_hold_it() {
    for (arrange, line, code, words) in [
        ("vfolder create bob/data", "alice/data bob", 4, "the vfolder user/bob/data exists already"),
        (
            "vfolder create bob/data\nvfolder delete bob/data",
            "alice/data bob",
            4,
            "is in the trash, and keeps",
        ),
        ("user set bob --max-vfolders 0", "alice/data bob", 4, "user/bob owns 0 vfolders, and may own 0"),
        ("user set bob --state inactive", "alice/data bob", 5, "user/bob is inactive"),
        ("vfolder create alice/.conf", "alice/.conf project/ml", 2, "a project cannot own '.conf'"),
        ("volume block local modify", "alice/data bob", 5, "blocks 'modify' for user/alice"),
        ("volume block local modify --for alice", "alice/data bob", 5, "blocks 'modify' for user/alice"),
        ("volume block local create", "alice/data bob", 5, "blocks 'create' for user/bob"),
        ("volume block local create --for bob", "alice/data bob", 5, "blocks 'create' for user/bob"),
        ("vfolder delete alice/data", "alice/data bob", 4, "the vfolder user/alice/data is trashed"),
        ("session start s --user alice -m data", "alice/data bob", 6, "is in use by session s"),
        (
            "user set bob --max-quota 1m",
            "alice/data bob",
            8,
            "a limit of 1 MiB cannot be enforced for user/bob",
        ),
    ] {
        let lab = site();
        for step in arrange.lines() {
            lab.ok(step);
        }
        let before = lab.registry_text();
        lab.fails(code, &format!("vfolder transfer {line}")).says(&[words]);
        lab.fails(code, &format!("vfolder transfer {line} --dry-run")).says(&[words]);
        assert_eq!(lab.registry_text(), before, "{arrange}: {line}");
    }
}

/// A name, a number or room: alice is told the same of bob's, whatever it is.
#[test]
fn a_user_does_not_learn_what_the_new_owner_has() {
    let lab = Lab::btrfs();
    lab.ok("vfolder create alice/data");
    fs::write(lab.path("alice/data").join("file"), vec![1; 1 << 20]).unwrap();
    nix::unistd::sync();
    let mut answers = Vec::new();
    for (arrange, back) in [
        ("vfolder create bob/data", "vfolder delete bob/data --purge --yes"),
        ("user set bob --max-vfolders 0", "user set bob --max-vfolders unlimited"),
        ("user set bob --max-quota 256k", "user set bob --max-quota unlimited"),
    ] {
        lab.ok(arrange);
        let refused = lab.fails(4, "vfolder transfer alice/data bob --as alice");
        answers.push(refused.stderr);
        lab.ok(back);
    }
    assert!(answers[0].contains("user/bob cannot take the vfolder user/alice/data"), "{answers:?}");
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
    lab.ok("vfolder transfer alice/data bob --as alice");
}

#[test]
fn what_is_as_asked_is_unchanged_and_a_dry_run_writes_nothing() {
    let lab = two_volumes();
    let same = lab.json("vfolder transfer alice/data alice");
    assert_eq!(same["outcome"], "unchanged", "{same}");
    let before = Snapshot::of(&[&lab.root, &lab.dir().join("second")]);
    let planned = lab.json("vfolder transfer alice/data bob --dry-run");
    assert_eq!(planned["outcome"], "planned");
    let steps: Vec<&str> = planned["steps"].as_array().unwrap().iter().map(|s| s.as_str().unwrap()).collect();
    assert!(steps[0].starts_with("make the quota scope of user/bob"), "{steps:?}");
    assert!(steps[1].ends_with(", charged to user/bob"), "{steps:?}");
    assert!(steps[2].starts_with("remove the empty quota scope of user/alice"), "{steps:?}");
    let planned = lab.json("vfolder transfer alice/data bob --volume second --dry-run");
    assert!(planned["steps"][0].as_str().unwrap().starts_with("copy "), "{planned}");
    before.same_as(&Snapshot::of(&[&lab.root, &lab.dir().join("second")]), "a dry run");
}

#[test]
fn grants_and_invitations_that_mean_nothing_with_the_new_owner_end() {
    let lab = site();
    lab.ok("user add dave");
    lab.ok("vfolder share alice/data --with bob carol --perm rw");
    lab.ok("vfolder invite alice/data dave --perm ro --as alice");
    let item = lab.json("vfolder transfer alice/data bob")["item"].clone();
    assert_eq!(item["shares"], json!([{"user": "carol", "permission": "rw"}]));
    let states = |lab: &Lab| -> Vec<String> {
        let list = lab.json("invitation list --all");
        list["items"].as_array().unwrap().iter().map(|i| i["state"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(states(&lab), ["canceled"]);
    // One that the superadmin sent holds, unless the new owner is who was invited.
    lab.ok("vfolder invite bob/data dave --perm ro");
    lab.ok("vfolder transfer bob/data carol");
    assert!(states(&lab).contains(&"pending".to_owned()));
    lab.ok("vfolder transfer carol/data dave");
    assert_eq!(states(&lab), ["canceled", "canceled"]);
}

#[test]
fn a_projects_folder_has_a_level_for_its_members_and_a_users_has_none() {
    let lab = site();
    lab.ok("vfolder share project/ml/sets --with bob --perm none");
    let user = lab.json("vfolder transfer project/ml/sets carol")["item"].clone();
    assert_eq!((&user["permission"], &user["shares"]), (&json!("rw"), &json!([])));
    lab.fails(3, "vfolder show carol/sets --as bob");
    lab.ok("vfolder transfer alice/data project/ml");
    assert_eq!(lab.json("vfolder show project/ml/data --as bob")["permission"], "rw");
    lab.fails(3, "vfolder show alice/data");
    kept(&lab, "project/ml/data");
}

/// The old name is free, the new one taken; the session of the new owner has the file.
#[test]
fn the_folder_is_wholly_the_new_owners() {
    let lab = site();
    let id = lab.folder("alice/data", "id");
    lab.ok("vfolder transfer alice/data bob");
    assert_eq!(lab.folder("bob/data", "id"), id);
    lab.ok("vfolder create alice/data");
    lab.fails(4, "vfolder create bob/data");
    let seen = lab.session("bob", "-m data", "cat data/file").exits(0);
    assert_eq!(seen.stdout, "kept");
    assert_whole(&lab, "after a transfer");
    lab.ok("check");
}

#[test]
fn while_it_is_under_way_nobody_has_it_and_its_place_is_kept() {
    let lab = two_volumes();
    lab.ok("user set bob --max-vfolders 2");
    lab.ok("vfolder create bob/other --volume second");
    lab.cut_off("vfolder transfer alice/data bob --volume second");
    let shown = lab.json("vfolder show alice/data");
    assert_eq!(shown["status"], "copying", "{shown}");
    assert_eq!(shown["transfer"], json!({"to": "user/bob", "volume": "second"}));
    for (line, code) in [
        ("vfolder delete alice/data", 4),
        ("vfolder delete alice/data --purge --yes", 4),
        ("vfolder rename alice/data other", 4),
        ("vfolder set alice/data --cloneable", 4),
        ("vfolder share alice/data --with carol --perm ro", 4),
        ("vfolder transfer alice/data carol", 4),
        ("session start s --user alice -m data", 4),
    ] {
        let refused = lab.fails(code, line);
        assert!(
            refused.stderr.contains("copying") || refused.stderr.contains("is being transferred to"),
            "{line}"
        );
    }
    lab.fails(4, "vfolder create bob/data").says(&["user/alice/data is being transferred to user/bob"]);
    lab.fails(4, "vfolder create bob/third").says(&["user/bob owns 2 vfolders, and may own 2"]);
    lab.fails(4, "user remove bob --purge --yes").says(&[
        "the vfolder user/alice/data is being transferred to user/bob on 'second'",
        "vfadm vfolder transfer user/alice/data user/bob --volume second goes on with it",
        "vfadm vfolder transfer user/alice/data user/alice --volume local takes it back",
    ]);
    lab.fails(4, "volume remove second --yes");
    let found = lab.run("-o json check").exits(10).json();
    assert_eq!((&found["count"], &found["items"][0]["code"]), (&json!(1), &json!("work_cut_off")), "{found}");
    // The scope that it is going to stays, though its last folder goes.
    lab.ok("vfolder delete bob/other --purge --yes");
    lab.ok("vfolder transfer alice/data bob --volume second");
    kept(&lab, "bob/data");
    no_intents(&lab, "in the end");
    assert_whole(&lab, "in the end");
    lab.ok("check");
}

#[test]
fn a_transfer_that_was_cut_off_can_be_taken_back() {
    let lab = two_volumes();
    lab.cut_off("vfolder transfer alice/data bob --volume second");
    let planned = lab.json("vfolder transfer alice/data alice --dry-run");
    assert!(planned["steps"][0].as_str().unwrap().starts_with("remove the copy "), "{planned}");
    let back = lab.json("vfolder transfer alice/data alice");
    assert_eq!((&back["outcome"], &back["item"]["status"]), (&json!("changed"), &json!("ready")));
    kept(&lab, "alice/data");
    lab.ok("vfolder create bob/data");
    lab.ok("user remove bob --purge --yes");
    no_intents(&lab, "in the end");
    assert_whole(&lab, "in the end");
    lab.ok("check");
}

/// One of the two wins; the other finds it gone, or under way.
#[test]
fn of_two_transfers_at_once_one_wins() {
    let lab = two_volumes();
    for round in 0..8 {
        lab.ok(&format!("vfolder create alice/n{round}"));
        let line = |to: &str| format!("vfolder transfer alice/n{round} {to} --volume second");
        let lines = [line("bob"), line("carol")];
        let codes: Vec<i32> = std::thread::scope(|scope| {
            let runs: Vec<_> = lines.iter().map(|line| scope.spawn(|| lab.run(line).code)).collect();
            runs.into_iter().map(|run| run.join().unwrap()).collect()
        });
        let lost = codes.iter().find(|code| **code != 0);
        assert!(codes.contains(&0) && lost.is_some_and(|code| [3, 4, 6].contains(code)), "{codes:?}");
    }
    no_intents(&lab, "in the end");
    assert_whole(&lab, "in the end");
}

#[test]
fn a_removed_owners_folders_go_to_another_whole_or_not_at_all() {
    let lab = two_volumes();
    lab.ok("vfolder create alice/far --volume second");
    lab.ok("vfolder create alice/old");
    lab.ok("vfolder delete alice/old");
    let before = lab.registry_text();
    for (arrange, code, words, back) in [
        ("vfolder create bob/old", 4, "user/bob/old exists already", "vfolder delete bob/old --purge --yes"),
        ("user set bob --max-vfolders 2", 4, "and may own 2", "user set bob --max-vfolders unlimited"),
        ("session start s --user alice -m far", 6, "is in use by session s", "session stop s"),
    ] {
        lab.ok(arrange);
        lab.fails(code, "user remove alice --transfer-to bob --yes").says(&[words]);
        lab.ok(back);
    }
    let records = |text: &str| -> Vec<String> {
        text.lines().filter(|l| l.contains("user/alice/")).map(str::to_owned).collect()
    };
    assert_eq!(records(&lab.registry_text()), records(&before));
    lab.fails(4, "user remove alice").says(&["vfadm user remove alice --transfer-to OWNER"]);
    lab.fails(2, "user remove alice --transfer-to alice --yes");
    let planned = lab.json("user remove alice --transfer-to bob --dry-run");
    assert_eq!(planned["steps"][0], "transfer user/alice/data to user/bob", "{planned}");
    lab.fails(2, "user remove alice --transfer-to bob")
        .says(&["Remove user/alice, and give its 3 vfolders to user/bob?"]);
    lab.ok("user remove alice --transfer-to bob --yes");
    lab.fails(3, "user show alice");
    let status = |name: &str| -> Value { lab.json(&format!("vfolder show bob/{name}"))["status"].clone() };
    assert_eq!(
        (status("data"), status("far"), status("old")),
        (json!("ready"), json!("ready"), json!("trashed"))
    );
    assert_eq!(lab.folder("bob/far", "volume"), "second");
    lab.ok("vfolder restore bob/old");
    kept(&lab, "bob/data");
    assert_whole(&lab, "in the end");
    lab.ok("check");
}

#[test]
fn ctrl_c_ends_a_copy_and_leaves_what_can_be_gone_on_with() {
    let lab = two_volumes();
    let folder = lab.path("alice/data");
    fill(&folder);
    let mut child = lab.command(words("vfolder transfer alice/data bob --volume second")).spawn().unwrap();
    wait_until("it copies", || lab.folder("alice/data", "status") == "copying");
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(child.id() as i32), nix::sys::signal::Signal::SIGINT)
        .unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert_eq!(lab.folder("alice/data", "status"), "copying");
    lab.ok("vfolder transfer alice/data bob --volume second");
    assert_eq!(fs::read_dir(lab.path("bob/data")).unwrap().count(), 20_001);
    no_intents(&lab, "in the end");
    assert_whole(&lab, "in the end");
}

fn fill(folder: &Path) {
    for number in 0..20_000 {
        fs::write(folder.join(format!("f{number}")), "x").unwrap();
    }
}

/// Whatever runs at the same time: the folder is in one place, whole, and its record says which.
#[test]
fn beside_other_commands_nothing_is_lost_and_nothing_is_there_twice() {
    let lab = two_volumes();
    let mut seen = std::collections::BTreeSet::new();
    for other in [
        "vfolder delete alice/data",
        "vfolder rename alice/data other",
        "vfolder share alice/data --with carol --perm rw",
        "vfolder transfer alice/data carol",
        "vfolder create bob/data",
        "session start s --user alice -m data",
        "user remove bob --purge --yes",
        "user set bob --max-vfolders 0",
    ] {
        for volume in ["local", "second"] {
            let transfer = format!("vfolder transfer alice/data bob --volume {volume}");
            let codes: Vec<i32> = std::thread::scope(|scope| {
                let runs = [transfer.as_str(), other].map(|line| scope.spawn(|| lab.run(line).code));
                runs.into_iter().map(|run| run.join().unwrap()).collect()
            });
            let at = format!("{other} beside a transfer to '{volume}': {codes:?}");
            assert!(codes.iter().all(|code| [0, 3, 4, 6].contains(code)), "{at}");
            seen.insert(codes);
            lab.run("session stop s");
            // Where the transfer began first, and its end was refused, it waits to be gone on with.
            lab.run(&transfer);
            assert_whole(&lab, &at);
            no_intents(&lab, &at);
            let all = lab.json("vfolder list");
            let with_file = all["items"].as_array().unwrap().iter().filter(|folder| {
                fs::read_to_string(Path::new(folder["path"].as_str().unwrap()).join("file"))
                    .is_ok_and(|t| t == "kept")
            });
            let kept = with_file.count();
            // Only the removal of bob may take the folder along, once it is his.
            let removed = other.starts_with("user remove") && kept == 0 && lab.run("user show bob").code == 3;
            assert!(kept == 1 || removed, "{at}: {all}");
            for folder in all["items"].as_array().unwrap() {
                let id = folder["id"].as_str().unwrap();
                lab.ok(&format!("vfolder delete id:{id} --purge --yes"));
            }
            if lab.run("user show bob").code == 3 {
                lab.ok("user add bob");
            }
            lab.ok("user set bob --max-vfolders unlimited");
            lab.ok("vfolder create alice/data --volume local");
            fs::write(lab.path("alice/data").join("file"), "kept").unwrap();
        }
    }
    assert!(seen.len() > 1, "the two never met: {seen:?}");
}

/// A file that a process opens while the folder is set aside is not left behind: whoever holds it is named, and the folder
/// stays.
#[test]
fn what_is_opened_after_it_was_looked_at_keeps_the_original() {
    let lab = two_volumes();
    let folder = lab.path("alice/data");
    // Stopped between the look and the set-aside: at the first rename of the command.
    let line = "vfolder transfer alice/data bob --volume second";
    let mut strace = Command::new("/usr/bin/strace");
    strace.args(["-f", "-qq", "-o", "/dev/null", "--trace=renameat2"]);
    strace.args(["--inject=renameat2:delay_enter=1500000:when=1", VFADM]).args(words(line));
    let child = strace
        .env_clear()
        .env("VFADM_ROOT", &lab.root)
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .expect("strace starts");
    let intents = lab.root.join(".vfadm/intents");
    wait_until("it is about to be set aside", || {
        fs::read_dir(&intents).is_ok_and(|mut dir| dir.next().is_some())
    });
    let mut held = fs::File::options().append(true).open(folder.join("file")).unwrap();
    let out = Output::of(line.to_owned(), &child.wait_with_output().unwrap());
    out.exits(6).says(&["is in use on this host by pid"]);
    std::io::Write::write_all(&mut held, b" and written to").unwrap();
    assert_eq!(lab.folder("alice/data", "status"), "ready");
    assert_eq!(fs::read_to_string(folder.join("file")).unwrap(), "kept and written to");
    drop(held);
    no_intents(&lab, "after the refusal");
    assert_whole(&lab, "after the refusal");
    lab.ok(line);
}

#[test]
fn a_volume_that_a_folder_is_going_to_stays() {
    let lab = two_volumes();
    let second = lab.dir().join("second");
    lab.cut_off("vfolder transfer alice/data bob --volume second");
    for place in ["second", "local"] {
        lab.fails(4, &format!("volume remove {place} --yes"));
    }
    // Its disk has died: the original is whole, and comes back.
    fs::rename(&second, lab.dir().join("died")).unwrap();
    lab.fails(4, "volume remove second --yes").says(&["is being transferred to user/bob on 'second'"]);
    lab.fails(8, "vfolder transfer alice/data bob --volume second");
    lab.run("vfolder transfer alice/data alice").exits(0).says(&["what was copied to it stays there"]);
    kept(&lab, "alice/data");
    lab.ok("volume remove second --yes");
    lab.ok("check");
}

#[test]
fn members_of_a_project_get_the_level_that_was_asked_for_or_are_named() {
    let lab = site();
    lab.run("vfolder transfer alice/data project/ml")
        .exits(0)
        .says(&["the members of project ml have rw on it"]);
    lab.ok("vfolder transfer project/ml/data alice");
    let quiet = lab.ok("vfolder transfer alice/data project/ml --perm none");
    assert_eq!(quiet.stderr, "");
    lab.fails(3, "vfolder show project/ml/data --as bob");
    lab.ok("vfolder share project/ml/data --with bob --perm none");
    lab.run("vfolder transfer project/ml/data carol").exits(0).says(&["grants that ended: bob (none)"]);
    lab.fails(4, "registry undo")
        .says(&["vfadm vfolder transfer user/carol/data project/ml --volume local --perm none"]);
    lab.fails(2, "vfolder transfer carol/data alice --perm ro");
}

/// Once the copy counts, there is one way on, and messages name no other; a check finds the work, not a loss.
#[test]
fn after_it_was_copied_there_is_only_the_way_on() {
    let lab = two_volumes();
    let line = "vfolder transfer alice/data bob --volume second";
    let text = || lab.registry_text();
    lab.cut_off(line);
    let edited = text().replace("\"boot_id\"", "\"copied\":true,\"boot_id\"");
    fs::write(lab.registry(), edited).unwrap();
    let refused = lab.fails(4, "vfolder delete alice/data");
    assert!(!refused.stderr.contains("takes it back"), "{refused:?}");
    lab.fails(4, "vfolder transfer alice/data alice").says(&["and cannot be taken back"]);
    let found = lab.run("-o json check").exits(10).json();
    let codes: Vec<&str> =
        found["items"].as_array().unwrap().iter().map(|f| f["code"].as_str().unwrap()).collect();
    // What was edited here was not in the sidecar.
    assert_eq!(codes, ["work_cut_off", "sidecar_stale"], "{found}");
}
