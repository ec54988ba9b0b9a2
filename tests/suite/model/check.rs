//! What the lists show: consistent by itself, and the same as the model.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;

use super::world::*;
use crate::support::Lab;

/// The text under a key.
fn text(item: &Value, key: &str) -> String {
    item[key].as_str().map_or_else(|| item[key].to_string(), str::to_owned)
}

fn list(lab: &Lab, line: &str) -> Vec<Value> {
    lab.json(line)["items"].as_array().unwrap_or_else(|| panic!("`{line}` has no items")).clone()
}

/// A line for each, sorted.
fn lines(items: impl IntoIterator<Item = impl Into<String>>) -> Vec<String> {
    let mut lines: Vec<String> = items.into_iter().map(Into::into).collect();
    lines.sort();
    lines
}

fn joined(items: impl IntoIterator<Item = impl Into<String>>) -> String {
    lines(items).join(", ")
}

fn grants(folder: &Value) -> Vec<(String, String)> {
    let shares = folder["shares"].as_array().expect("shares");
    shares.iter().map(|share| (text(share, "user"), text(share, "permission"))).collect()
}

/// Every promise of the lists that needs no model.
pub fn consistent(lab: &Lab) {
    let names =
        |line: &str| -> BTreeSet<String> { list(lab, line).iter().map(|i| text(i, "name")).collect() };
    let (users, projects, volumes) = (names("user list"), names("project list"), names("volume list"));
    let folders = list(lab, "vfolder list");
    let mut keys = BTreeSet::new();
    for folder in &folders {
        let owner = text(folder, "owner");
        let (kind, whose) = owner.split_once('/').expect("an owner");
        let known = if kind == "user" { &users } else { &projects };
        assert!(known.contains(whose), "nobody owns {folder}");
        assert!(volumes.contains(&text(folder, "volume")), "no volume holds {folder}");
        assert!(["ready", "trashed"].contains(&text(folder, "status").as_str()), "a dead end: {folder}");
        assert!(keys.insert((owner.clone(), text(folder, "name"))), "twice: {folder}");
        assert!(Path::new(&text(folder, "path")).is_dir(), "nothing is on the disk of {folder}");
        let grants = grants(folder);
        let whom: BTreeSet<&String> = grants.iter().map(|(user, _)| user).collect();
        assert_eq!(whom.len(), grants.len(), "two grants for a user: {folder}");
        assert!(whom.iter().all(|user| users.contains(*user)), "a grant for nobody: {folder}");
        assert!(
            !text(folder, "name").starts_with('.') || grants.is_empty(),
            "a dot folder is shared: {folder}"
        );
        if kind == "user" {
            assert!(!whom.contains(&whose.to_owned()), "a grant for the owner: {folder}");
            assert!(grants.iter().all(|(_, level)| level != "none"), "a grant of nothing: {folder}");
        }
    }
    let mut waiting = BTreeSet::new();
    for invitation in list(lab, "invitation list").iter().filter(|i| text(i, "state") == "pending") {
        let (of, invitee) = (text(invitation, "vfolder"), text(invitation, "invitee"));
        let key = |folder: &&Value| format!("{}/{}", text(folder, "owner"), text(folder, "name")) == of;
        let folder = folders.iter().find(key).unwrap_or_else(|| panic!("to no folder: {invitation}"));
        assert!(users.contains(&invitee), "for nobody: {invitation}");
        assert_ne!(text(folder, "owner"), format!("user/{invitee}"), "for the owner: {invitation}");
        assert!(grants(folder).iter().all(|(user, _)| *user != invitee), "has a grant: {invitation}");
        assert!(!text(folder, "name").starts_with('.'), "to a dot folder: {invitation}");
        assert!(["ro", "rw"].contains(&text(invitation, "permission").as_str()), "of nothing: {invitation}");
        assert!(waiting.insert((of, invitee)), "twice: {invitation}");
    }
}

/// All lists against the model; `invitations` are the ids by number.
pub fn as_predicted(lab: &Lab, world: &World, invitations: &[String]) {
    let most = |most: Most| most.map_or("null".to_owned(), |most| most.to_string());
    let shown = list(lab, "user list");
    let shown = shown.iter().map(|i| format!("{} at most {}", text(i, "name"), text(i, "max_vfolders")));
    let expected = world.users.iter().map(|(name, m)| format!("{name} at most {}", most(*m)));
    assert_eq!(lines(shown), lines(expected), "user list");

    let shown = list(lab, "project list");
    let shown = shown.iter().map(|i| {
        let members = i["members"].as_array().expect("members").iter();
        let members = joined(members.map(|m| format!("{} {}", text(m, "user"), text(m, "role"))));
        format!("{} at most {}: {members}", text(i, "name"), text(i, "max_vfolders"))
    });
    let expected = world.projects.iter().map(|(name, project)| {
        let word = |role: &Role| if *role == Role::Admin { "admin" } else { "member" };
        let members = joined(project.members.iter().map(|(user, role)| format!("{user} {}", word(role))));
        format!("{name} at most {}: {members}", most(project.most))
    });
    assert_eq!(lines(shown), lines(expected), "project list");

    let shown = list(lab, "volume list");
    let shown = shown.iter().map(|i| {
        let rules = |key: &str| {
            let of = i[key].as_object().expect("rules by owner").iter();
            joined(of.flat_map(|(owner, actions)| {
                let actions = actions.as_array().expect("actions").iter();
                actions.map(move |action| format!("{owner} {}", action.as_str().expect("an action")))
            }))
        };
        let allowed = i["allowed"].as_array().expect("actions").iter();
        let allowed = joined(allowed.map(|action| action.as_str().expect("an action")));
        format!(
            "{}: {allowed}; blocked {}; allowed {}",
            text(i, "name"),
            rules("blocked_for"),
            rules("allowed_for")
        )
    });
    let expected = world.volumes.iter().map(|(name, volume)| {
        let rules = |set: &BTreeSet<(Owner, Action)>| joined(set.iter().map(|(o, a)| format!("{o} {a}")));
        let allowed = joined(ACTIONS.into_iter().filter(|action| !volume.blocked.contains(action)));
        format!(
            "{name}: {allowed}; blocked {}; allowed {}",
            rules(&volume.blocked_for),
            rules(&volume.allowed_for)
        )
    });
    assert_eq!(lines(shown), lines(expected), "volume list");

    folders(lab, world);
    for (actor, option) in whoever(world) {
        let sees = |i: &&Invitation| actor.is_none() || i.inviter == actor || Some(i.invitee) == actor;
        let shown = list(lab, &format!("invitation list{option}"));
        let shown = shown.iter().map(|i| {
            let folder = text(i, "vfolder");
            let folder = if folder.starts_with("id:") { "id".to_owned() } else { folder };
            let rest = ["inviter", "invitee", "permission", "state"].map(|key| text(i, key)).join(" ");
            format!("{} {folder} {rest}", text(i, "id"))
        });
        let seen = world.invitations.iter().filter(|(_, i)| sees(i));
        let expected = seen.map(|(number, i)| {
            let key = world.key_of(i.folder).expect("a purge takes the invitations along");
            // What is over does not tell what the folder is called.
            let known = world.reaches(actor, key) || (Some(i.invitee) == actor && i.state == "pending");
            let folder = if known { format!("{}/{}", key.0, key.1) } else { "id".to_owned() };
            let (id, inviter) = (&invitations[*number], i.inviter.unwrap_or("superadmin"));
            format!("{id} {folder} {inviter} {} {} {}", i.invitee, i.level, i.state)
        });
        assert_eq!(lines(shown), lines(expected), "invitation list{option}");
    }
}

/// The superadmin and all users, with the option that says so.
fn whoever(world: &World) -> Vec<(Actor, String)> {
    let users = world.users.keys().map(|user| (Some(*user), format!(" --as {user}")));
    std::iter::once((None, String::new())).chain(users).collect()
}

/// `vfolder list` and `trash list`, of everybody.
fn folders(lab: &Lab, world: &World) {
    let key = |i: &Value| format!("{}/{}", text(i, "owner"), text(i, "name"));
    let status = |folder: &Folder| if folder.trashed { "trashed" } else { "ready" };
    for (actor, option) in whoever(world) {
        let shown = list(lab, &format!("vfolder list{option}"));
        let shown = shown.iter().map(|i| {
            let grants = joined(grants(i).iter().map(|(user, level)| format!("{user} {level}")));
            let words = ["volume", "status", "permission", "source", "cloneable"].map(|key| text(i, key));
            format!("{} {}: {grants}", key(i), words.join(" "))
        });
        let expected = world.folders.iter().filter_map(|((owner, name), folder)| {
            let (level, source) = match actor {
                None => (folder.members.unwrap_or(Level::Rw), "null"),
                Some(user) => world.level(user, (*owner, name))?,
            };
            let grants = joined(folder.grants.iter().map(|(user, level)| format!("{user} {level}")));
            let (volume, status, cloneable) = (folder.volume, status(folder), folder.cloneable);
            Some(format!("{owner}/{name} {volume} {status} {level} {source} {cloneable}: {grants}"))
        });
        assert_eq!(lines(shown), lines(expected), "vfolder list{option}");
        let shown = list(lab, &format!("trash list{option}"));
        let managed =
            world.folders.iter().filter(|((owner, _), f)| f.trashed && world.manages(actor, *owner));
        let expected = managed.map(|((owner, name), _)| format!("{owner}/{name}"));
        assert_eq!(lines(shown.iter().map(key)), lines(expected), "trash list{option}");
    }
}

/// `registry check` finds nothing, unless a limit was lowered below what is owned.
pub fn registry(lab: &Lab, world: &World) {
    let owned = |owner: Owner| world.folders.keys().filter(|key| key.0 == owner).count();
    let users = world.users.iter().map(|(name, most)| (Owner::User(name), *most));
    let projects = world.projects.iter().map(|(name, project)| (Owner::Project(name), project.most));
    let over = users.chain(projects).filter(|(owner, most)| most.is_some_and(|most| owned(*owner) > most));
    let over = lines(over.map(|(owner, _)| owner.to_string().replacen('/', " ", 1)));
    let out = lab.run("-o json registry check").exits(if over.is_empty() { 0 } else { 10 });
    let findings = out.json()["items"].as_array().cloned().unwrap_or_default();
    for finding in &findings {
        assert_eq!(finding["code"], "over_max_vfolders", "{finding}");
    }
    assert_eq!(lines(findings.iter().map(|f| text(f, "subject"))), over);
}
