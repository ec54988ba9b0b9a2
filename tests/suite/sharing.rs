//! Grants and invitations: who may give them, who gets them, and when they end.

use serde_json::{Value, json};

use crate::support::{Lab, Output};

/// alice owns `data`; `ml` (alice its admin, bob a member) owns `sets`, read-only for members. carol and dave are
/// nobody's.
fn site() -> Lab {
    let lab = Lab::plain();
    lab.ok("user add carol");
    lab.ok("user add dave");
    lab.ok("vfolder create alice/data");
    lab.ok("vfolder create project/ml/sets --perm ro");
    lab
}

fn grants(lab: &Lab, folder: &str) -> Value {
    lab.json(&format!("vfolder show {folder}"))["shares"].clone()
}

/// The level that a user has, by the list of all that the user can reach.
fn level(lab: &Lab, user: &str, name: &str) -> String {
    let list = lab.json(&format!("vfolder list --as {user}"));
    let found = list["items"].as_array().unwrap().iter().find(|f| f["name"] == name);
    found.map_or("out of reach".to_owned(), |f| f["permission"].as_str().unwrap().to_owned())
}

/// The id of the only invitation in a state.
fn only(lab: &Lab, state: &str) -> String {
    let list = lab.json("invitation list");
    let of: Vec<&Value> = list["items"].as_array().unwrap().iter().filter(|i| i["state"] == state).collect();
    assert_eq!(of.len(), 1, "{list}");
    of[0]["id"].as_str().unwrap().to_owned()
}

#[test]
fn who_may_share_and_invite() {
    for (line, code) in [
        ("vfolder share alice/data --with carol --perm ro", 0),
        ("vfolder share alice/data --with carol --perm ro --as alice", 5),
        ("vfolder share alice/data --with carol --perm ro --as bob", 3),
        ("vfolder share project/ml/sets --with carol --perm rw", 0),
        ("vfolder share project/ml/sets --with carol --perm rw --as alice", 0),
        ("vfolder share project/ml/sets --with carol --perm rw --as bob", 5),
        ("vfolder share project/ml/sets --with carol --perm rw --as dave", 3),
        ("vfolder invite alice/data carol --perm ro", 0),
        ("vfolder invite alice/data carol --perm ro --as alice", 0),
        ("vfolder invite data carol --perm ro --as alice", 0),
        ("vfolder invite alice/data carol --perm ro --as bob", 3),
        ("vfolder invite project/ml/sets carol --perm ro --as alice", 0),
        ("vfolder invite project/ml/sets carol --perm ro --as bob", 5),
        ("vfolder leave alice/data", 2),
        ("vfolder leave data --as alice", 4),
        ("vfolder leave alice/data --as dave", 3),
        ("vfolder leave sets --as bob", 4),
    ] {
        let lab = site();
        let before = lab.registry_text();
        lab.run(line).exits(code);
        assert_eq!(lab.registry_text() == before, code != 0, "{line}");
    }
}

#[test]
fn who_holds_a_folder_through_a_grant_may_use_it_and_nothing_else() {
    let lab = site();
    lab.ok("vfolder share alice/data --with bob --perm rw");
    lab.ok("session plan --user bob -m alice/data:rw");
    for line in [
        "vfolder share alice/data --with carol --perm ro",
        "vfolder unshare alice/data --from bob",
        "vfolder invite alice/data carol --perm ro",
        "vfolder rename alice/data other",
        "vfolder set alice/data --cloneable",
        "vfolder delete alice/data",
    ] {
        lab.fails(5, &format!("{line} --as bob"));
    }
    assert_eq!(grants(&lab, "alice/data"), json!([{"user": "bob", "permission": "rw"}]));
}

#[test]
fn whom_a_grant_can_be_given_to() {
    let lab = site();
    lab.ok("vfolder share alice/data --with bob --perm ro");
    for (line, code, words) in [
        ("vfolder share alice/data --with nobody --perm ro", 3, "there is no user nobody"),
        ("vfolder share alice/data --with carol x y --perm ro", 3, "there is no user x, y"),
        ("vfolder share alice/data --with alice carol --perm ro", 4, "alice owns it"),
        ("vfolder share project/ml/sets --with alice --perm ro", 4, "alice is an admin of ml"),
        ("vfolder share project/ml/sets --with carol --perm none", 4, "nothing of project/ml/sets"),
        ("vfolder invite alice/data bob carol --perm ro", 4, "bob has ro already"),
        ("vfolder invite alice/data alice --perm ro", 4, "alice owns it"),
        ("vfolder invite alice/data nobody --perm ro", 3, "there is no user nobody"),
        ("vfolder invite alice/data carol --perm none", 2, "write ro or rw"),
        ("vfolder unshare alice/data --from nobody", 3, "there is no user nobody"),
    ] {
        let before = lab.registry_text();
        lab.fails(code, line).says(&[words]);
        assert_eq!(lab.registry_text(), before, "{line}");
    }
}

#[test]
fn a_grant_is_given_changed_and_taken_away() {
    let lab = site();
    assert_eq!(level(&lab, "carol", "data"), "out of reach");
    lab.fails(3, "vfolder show alice/data --as carol").says(&["there is no vfolder 'user/alice/data'"]);
    lab.ok("vfolder share alice/data --with carol dave --perm ro");
    assert_eq!(lab.json("vfolder share alice/data --with dave --perm ro")["outcome"], "unchanged");
    lab.ok("vfolder share alice/data --with dave --perm rw");
    assert_eq!((level(&lab, "carol", "data"), level(&lab, "dave", "data")), ("ro".into(), "rw".into()));
    lab.fails(5, "session plan --user carol -m data:rw");
    lab.ok("session plan --user dave -m data:rw");
    lab.ok("vfolder unshare alice/data --from carol --as alice");
    assert_eq!(lab.json("vfolder unshare alice/data --from carol")["outcome"], "unchanged");
    lab.ok("vfolder leave data --as dave");
    assert_eq!(grants(&lab, "alice/data"), json!([]));
    // The sidecar follows, so that a rebuilt registry has the same grants.
    lab.ok("vfolder share alice/data --with dave --perm ro");
    let id = lab.folder("alice/data", "id").replace('-', "");
    let scope = lab.json("quota show alice")["items"][0]["path"].as_str().unwrap().to_owned();
    let name = scope.rsplit('/').next().unwrap().to_owned();
    let sidecar = std::fs::read_to_string(lab.volume.join(format!(".vfadm/{name}/{id}.yaml"))).unwrap();
    assert!(sidecar.contains(r#""shares":{"dave":"ro"}"#), "{sidecar}");
}

#[test]
fn a_member_has_the_folders_level_from_joining_to_leaving_unless_a_grant_says_otherwise() {
    let lab = site();
    assert_eq!(level(&lab, "bob", "sets"), "ro");
    lab.ok("project add-member ml carol");
    assert_eq!(level(&lab, "carol", "sets"), "ro");
    lab.ok("vfolder share project/ml/sets --with bob --perm rw");
    lab.ok("vfolder share project/ml/sets --with carol --perm none");
    assert_eq!(
        (level(&lab, "bob", "sets"), level(&lab, "carol", "sets")),
        ("rw".into(), "out of reach".into())
    );
    lab.ok("vfolder set project/ml/sets --perm none");
    assert_eq!(level(&lab, "bob", "sets"), "rw");
    lab.ok("vfolder unshare project/ml/sets --from bob carol");
    assert_eq!(level(&lab, "bob", "sets"), "out of reach");
    lab.ok("vfolder set project/ml/sets --perm rw");
    assert_eq!((level(&lab, "bob", "sets"), level(&lab, "carol", "sets")), ("rw".into(), "rw".into()));
    lab.ok("vfolder share project/ml/sets --with carol --perm rw");
    lab.ok("project remove-member ml carol");
    assert_eq!(level(&lab, "carol", "sets"), "out of reach");
    assert_eq!(grants(&lab, "project/ml/sets"), json!([]));
}

#[test]
fn nobody_has_more_of_a_folder_by_leaving_it() {
    let lab = site();
    lab.ok("vfolder set project/ml/sets --perm rw");
    lab.ok("vfolder share project/ml/sets --with bob --perm ro --as alice");
    let before = lab.registry_text();
    lab.fails(5, "vfolder leave sets --as bob").says(&[
        "the grant of bob on project/ml/sets lowers what members have",
        "vfadm vfolder unshare project/ml/sets --from bob",
    ]);
    assert_eq!(lab.registry_text(), before);
    assert_eq!(level(&lab, "bob", "sets"), "ro");
    // Where it gives as much as members have, or more, it can be given back.
    for perm in ["ro", "none"] {
        lab.ok("vfolder share project/ml/sets --with bob --perm ro");
        lab.ok(&format!("vfolder set project/ml/sets --perm {perm}"));
        lab.ok("vfolder leave sets --as bob");
    }
}

#[test]
fn a_dot_folder_is_neither_shared_nor_made_of_one_that_is() {
    let lab = site();
    lab.ok("vfolder create alice/.config");
    lab.fails(4, "vfolder share alice/.config --with bob --perm ro").says(&["begins with a dot"]);
    lab.fails(4, "vfolder invite alice/.config bob --perm ro").says(&["begins with a dot"]);
    lab.ok("vfolder invite alice/data bob --perm ro");
    lab.fails(4, "vfolder rename alice/data .data").says(&["users are invited to"]);
    lab.ok(&format!("invitation accept {} --as bob", only(&lab, "pending")));
    lab.fails(4, "vfolder rename alice/data .data").says(&["is shared"]);
}

#[test]
fn a_folder_in_the_trash_is_not_shared_and_its_invitations_wait() {
    let lab = site();
    lab.ok("vfolder invite alice/data bob --perm ro");
    lab.ok("vfolder delete alice/data");
    for line in [
        "vfolder share alice/data --with carol --perm ro",
        "vfolder invite alice/data carol --perm ro",
        &format!("invitation accept {} --as bob", only(&lab, "pending")),
    ] {
        lab.fails(4, line).says(&["is trashed"]);
    }
    lab.ok("vfolder restore alice/data");
    lab.ok(&format!("invitation accept {} --as bob", only(&lab, "pending")));
    lab.ok("vfolder delete alice/data --purge --yes");
    assert_eq!(lab.json("invitation list")["count"], 0);
}

#[test]
fn an_invitation_is_its_invitees_alone() {
    let lab = site();
    lab.ok("vfolder invite alice/data bob --perm rw --as alice");
    let id = only(&lab, "pending");
    for (answer, user, code) in [
        ("accept", "", 5),
        ("reject", "", 5),
        ("accept", " --as alice", 5),
        ("reject", " --as alice", 5),
        ("cancel", " --as bob", 5),
        ("accept", " --as carol", 3),
        ("reject", " --as carol", 3),
        ("cancel", " --as carol", 3),
    ] {
        let before = lab.registry_text();
        lab.fails(code, &format!("invitation {answer} {id}{user}"));
        assert_eq!(lab.registry_text(), before, "{answer}{user}");
    }
    assert_eq!(level(&lab, "bob", "data"), "out of reach");
    lab.ok(&format!("invitation accept {} --as bob", &id[..8]));
    assert_eq!(level(&lab, "bob", "data"), "rw");
    for (user, option, count) in [
        ("alice", "--sent", 1),
        ("alice", "--received", 0),
        ("bob", "--received", 1),
        ("bob", "", 1),
        ("carol", "", 0),
    ] {
        let list = lab.json(&format!("invitation list {option} --as {user}"));
        assert_eq!(list["count"], count, "{user} {option}");
    }
    lab.fails(5, "invitation list --all --as bob");
    assert_eq!(lab.json("invitation list --all")["count"], 1);
}

#[test]
fn the_first_answer_is_final_and_the_same_one_again_is_fine() {
    let answers = [("accept", " --as bob"), ("reject", " --as bob"), ("cancel", "")];
    for (first, user) in answers {
        let lab = site();
        lab.ok("vfolder invite alice/data bob --perm ro --as alice");
        let id = only(&lab, "pending");
        assert_eq!(lab.json(&format!("invitation {first} {id}{user}"))["outcome"], "changed");
        assert_eq!(lab.json(&format!("invitation {first} {id}{user}"))["outcome"], "unchanged");
        for (second, user) in answers.iter().filter(|(second, _)| *second != first) {
            let told = format!("the invitation {} is ", &id[..8]);
            lab.fails(4, &format!("invitation {second} {id}{user}")).says(&[&told]);
        }
        let expected = if first == "accept" { "ro" } else { "out of reach" };
        assert_eq!(level(&lab, "bob", "data"), expected);
        // It can be sent again, unless it was accepted.
        let again = lab.run("vfolder invite alice/data bob --perm ro --as alice");
        assert_eq!(again.code, if first == "accept" { 4 } else { 0 }, "{again:?}");
    }
}

#[test]
fn an_invitation_expires() {
    let lab = site();
    lab.ok("vfolder invite alice/data bob --perm ro --expires 1s");
    let id = only(&lab, "pending");
    std::thread::sleep(std::time::Duration::from_millis(2100));
    assert_eq!(only(&lab, "expired"), id);
    lab.fails(4, &format!("invitation accept {id} --as bob")).says(&["is expired"]);
    lab.ok("vfolder invite alice/data bob --perm ro");
    lab.fails(2, "vfolder invite alice/data carol --perm ro --expires soon")
        .says(&["'soon' is not a duration"]);
}

#[test]
fn a_grant_by_the_superadmin_ends_an_invitation() {
    let lab = site();
    lab.ok("vfolder invite alice/data bob --perm ro");
    lab.ok("vfolder share alice/data --with bob --perm rw");
    lab.fails(4, &format!("invitation accept {} --as bob", only(&lab, "canceled")));
    assert_eq!(level(&lab, "bob", "data"), "rw");
}

#[test]
fn what_the_inviter_may_not_give_any_more_cannot_be_accepted() {
    let lab = site();
    lab.ok("vfolder invite project/ml/sets carol --perm rw --as alice");
    lab.ok("project add-member ml bob --role admin");
    lab.ok("project remove-member ml alice");
    lab.fails(4, &format!("invitation accept {} --as carol", only(&lab, "pending")))
        .says(&["alice may not invite users to project/ml/sets any more"]);
    assert_eq!(level(&lab, "carol", "sets"), "out of reach");
}

#[test]
fn less_than_a_running_session_has_is_refused_unless_forced() {
    for line in [
        "vfolder unshare alice/data --from bob",
        "vfolder share alice/data --with bob --perm ro",
        "vfolder leave data --as bob",
    ] {
        let lab = site();
        lab.ok("vfolder share alice/data --with bob --perm rw");
        lab.ok("session start train --user bob -m data");
        let before = lab.registry_text();
        lab.fails(6, line).says(&["session train of bob has user/alice/data mounted"]);
        assert_eq!(lab.registry_text(), before);
        if !line.contains("leave") {
            lab.run(&format!("{line} --force")).exits(0).says(&["keeps its mount until it ends"]);
        }
        lab.ok("session stop train");
    }
    // A session that has it read-only does not mind.
    let lab = site();
    lab.ok("vfolder share alice/data --with bob --perm rw");
    lab.ok("session start look --user bob -m data:ro");
    lab.ok("vfolder share alice/data --with bob --perm ro");
}

#[test]
fn a_lower_level_in_a_project_leaves_running_mounts_and_says_so() {
    for (level, user, line) in [
        ("rw", "bob", "vfolder set project/ml/sets --perm ro"),
        ("ro", "alice", "project add-member ml alice --role member"),
    ] {
        let lab = site();
        lab.ok(&format!("vfolder set project/ml/sets --perm {level}"));
        lab.ok(&format!("session start train --user {user} --project ml -m project/ml/sets:rw"));
        let told = format!("session train of {user} keeps its mount until it ends");
        lab.run(line).exits(0).says(&[&told]);
    }
}

#[test]
fn a_prompt_without_a_terminal_names_what_could_be_chosen() {
    let lab = site();
    lab.fails(3, "invitation accept --as bob").says(&["there is no invitation to accept"]);
    lab.ok("vfolder invite alice/data bob --perm ro");
    let id = only(&lab, "pending");
    lab.fails(2, "invitation accept --as bob").says(&[
        "There is no terminal to ask on",
        &format!("{}  user/alice/data (ro) for bob", &id[..8]),
        "vfadm invitation accept ID",
    ]);
}

#[test]
fn a_list_says_what_is_whose_and_why() {
    let lab = site();
    lab.ok("vfolder create bob/own");
    lab.ok("vfolder share alice/data --with bob --perm rw");
    let list = |options: &str| -> Vec<String> {
        let items = lab.json(&format!("vfolder list {options}"))["items"].as_array().unwrap().clone();
        items
            .iter()
            .map(|f| {
                format!(
                    "{} {} {}",
                    f["name"].as_str().unwrap(),
                    f["permission"].as_str().unwrap(),
                    f["source"].as_str().unwrap_or("-")
                )
            })
            .collect()
    };
    assert_eq!(list("--as bob"), ["sets ro project", "data rw share", "own rw owner"]);
    assert_eq!(list("--as bob --shared"), ["data rw share"]);
    assert_eq!(list("--as alice"), ["sets rw project-admin", "data rw owner"]);
    assert_eq!(list("--shared"), ["data rw -"]);
    assert_eq!(list("--name *a*"), ["data rw -"]);
    assert_eq!(list("--sort name"), ["data rw -", "own rw -", "sets ro -"]);
    let two = lab.run("vfolder list --sort name --limit 2").exits(0).says(&["2 of 3 vfolders"]);
    assert_eq!(two.stdout.lines().count(), 3);
    lab.fails(2, "vfolder list --name [").says(&["'[' is no pattern"]);
}

#[test]
fn a_permission_is_explained_with_what_would_change_it() {
    let lab = site();
    lab.ok("vfolder share alice/data --with bob --perm ro");
    lab.ok("volume block local clone");
    lab.ok("volume block local invite --for alice");
    for (question, allowed, because, change) in [
        ("mount alice/data --as alice", true, "user/alice owns it", ""),
        ("mount alice/data --as bob", true, "a grant gives ro", ""),
        (
            "mount alice/data --as carol",
            false,
            "carol has no grant on it",
            "vfadm vfolder share user/alice/data --with carol --perm ro",
        ),
        ("mount project/ml/sets --as bob", true, "members of project/ml have ro", ""),
        (
            "delete project/ml/sets --as bob",
            false,
            "members of project/ml have ro",
            "vfadm project add-member ml bob --role admin",
        ),
        ("delete project/ml/sets --as alice", true, "an admin of project/ml manages it", ""),
        (
            "clone alice/data --as alice",
            false,
            "the volume 'local' blocks clone for everybody",
            "vfadm volume allow local clone",
        ),
        (
            "invite alice/data --as alice",
            false,
            "blocks invite for user/alice",
            "vfadm volume allow local invite --for user/alice",
        ),
        (
            "share alice/data --as alice",
            false,
            "shared by the superadmin only",
            "vfadm vfolder invite user/alice/data USER",
        ),
        ("create alice/new --as alice", true, "alice manages the folders of user/alice", ""),
        ("create project/ml/new --as bob", false, "bob does not manage", "--role admin"),
    ] {
        let told = lab.json(&format!("permission explain {question}"));
        assert_eq!(told["allowed"], allowed, "{question}: {told}");
        assert!(told["because"].as_str().unwrap().contains(because), "{question}: {told}");
        assert!(told["change"].as_str().unwrap_or_default().contains(change), "{question}: {told}");
        assert!(told["record"].is_string() && told["level"].is_string(), "{told}");
    }
    lab.fails(2, "permission explain mount alice/data").says(&["--as USER"]);
    lab.fails(3, "permission explain mount alice/nothing --as bob");
}

/// Runs lines at once, several times each.
fn at_once(lab: &Lab, lines: &[String]) -> Vec<Output> {
    std::thread::scope(|scope| {
        let started: Vec<_> = lines
            .iter()
            .map(|line| scope.spawn(move || lab.run(&format!("{line} --lock-timeout 120s"))))
            .collect();
        started.into_iter().map(|run| run.join().unwrap()).collect()
    })
}

#[test]
fn of_answers_at_once_one_wins() {
    for _ in 0..4 {
        let lab = site();
        lab.ok("vfolder invite alice/data bob --perm ro --as alice");
        let id = only(&lab, "pending");
        let mut lines = Vec::new();
        for _ in 0..4 {
            lines.push(format!("invitation accept {id} --as bob"));
            lines.push(format!("invitation cancel {id} --as alice"));
            lines.push(format!("invitation reject {id} --as bob"));
        }
        let out = at_once(&lab, &lines);
        assert!(out.iter().all(|o| [0, 4].contains(&o.code)), "{out:?}");
        let state = lab.json("invitation list")["items"][0]["state"].as_str().unwrap().to_owned();
        let granted = level(&lab, "bob", "data") == "ro";
        assert_eq!(granted, state == "accepted", "{state}");
        lab.ok("registry check");
    }
}

#[test]
fn shares_and_a_purge_at_once_leave_no_grant_without_a_folder() {
    let lab = site();
    let mut lines = vec!["vfolder delete alice/data --purge --yes".to_owned()];
    for user in ["bob", "carol", "dave"] {
        lines.push(format!("vfolder share alice/data --with {user} --perm ro"));
        lines.push(format!("vfolder invite alice/data {user} --perm ro"));
    }
    let out = at_once(&lab, &lines);
    assert!(out.iter().all(|o| [0, 3, 4].contains(&o.code)), "{out:?}");
    assert_eq!(lab.json("vfolder list --owner alice")["count"], 0);
    assert_eq!(lab.json("invitation list")["count"], 0);
    lab.ok("registry check");
}
