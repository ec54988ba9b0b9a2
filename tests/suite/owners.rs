//! Users, projects and volumes as records.

use std::fs;

use crate::support::Lab;

#[test]
fn who_owns_folders_is_removed_only_with_them() {
    let lab = Lab::plain();
    lab.ok("vfolder create bob/data");
    lab.ok("vfolder create project/ml/data");
    lab.fails(4, "user remove bob --yes");
    lab.fails(4, "project remove ml --yes");
    lab.ok("user remove bob --purge --yes");
    lab.ok("project remove ml --purge --yes");
    assert_eq!(lab.json("vfolder list")["count"], 0);
    assert_eq!(lab.json("user list")["count"], 1);
    lab.fails(3, "user show bob");
}

/// What cannot be removed whole is not begun, and a dry run says so too.
#[test]
fn an_owner_is_purged_whole_or_not_at_all() {
    let lab = Lab::plain();
    let volume = lab.second("away", "ext4", 64 << 20);
    lab.ok(&format!("volume add away {} --quota dedicated --dedicated-to bob --yes", volume.mount.display()));
    lab.ok("vfolder create bob/own --volume away");
    lab.ok("vfolder create alice/first --volume local");
    lab.ok("vfolder create alice/used --volume local");
    lab.ok("vfolder create project/ml/data --volume local");
    let pid = std::process::id();
    lab.ok(&format!("session start s1 --user alice -m used --project ml --holder pid:{pid}"));
    for (line, code) in [
        ("user remove alice --purge --yes", 6),
        ("project remove ml --purge --yes", 6),
        ("user remove bob --purge --yes", 4),
    ] {
        lab.fails(code, &format!("{line} --dry-run"));
        lab.fails(code, line);
    }
    assert_eq!(lab.json("vfolder list")["count"], 4);
}

#[test]
fn a_misspelt_name_is_not_found() {
    let lab = Lab::plain();
    for line in [
        "project remove-member ml nobody",
        "trash empty --owner nobody --yes",
        "trash empty --volume none --yes",
    ] {
        lab.fails(3, line);
    }
}

#[test]
fn adding_a_member_again_keeps_the_role() {
    let lab = Lab::plain();
    lab.ok("project add-member ml alice --role admin");
    lab.ok("project add-member ml alice").prints(&["unchanged"]);
    let role = || lab.json("project show ml")["members"][0]["role"].clone();
    assert_eq!(role(), "admin");
    lab.ok("project add-member ml alice --role member");
    assert_eq!(role(), "member");
}

#[test]
fn a_limit_can_be_lowered_below_what_is_there_which_a_check_finds_and_nothing_is_added() {
    let lab = Lab::btrfs();
    lab.ok("vfolder create alice/a");
    lab.ok("vfolder create alice/b");
    lab.ok("vfolder create bob/a");
    lab.ok("quota set bob 64m");
    lab.ok("check");
    lab.ok("user set alice --max-vfolders 1 --max-quota 32m");
    lab.ok("user set bob --max-quota 32m");
    let found = lab.run("-o json check").exits(10).json();
    let found: Vec<(&str, &str, &str)> = found["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|f| ["code", "subject", "repair"].map(|key| f[key].as_str().unwrap()))
        .map(|[code, subject, repair]| (code, subject, repair))
        .collect();
    assert_eq!(
        found,
        [
            ("over_max_vfolders", "user alice", "purge some, or: vfadm user set alice --max-vfolders N"),
            (
                "over_max_quota",
                "quota scope user/alice@local",
                "vfadm quota set user/alice SIZE --volume local"
            ),
            ("over_max_quota", "quota scope user/bob@local", "vfadm quota set user/bob SIZE --volume local"),
        ]
    );
    lab.fails(4, "vfolder create alice/c");
    lab.fails(4, "quota set bob 48m");
    lab.fails(4, "quota set alice unlimited");
    lab.ok("vfolder delete alice/b --purge --yes");
    lab.ok("quota set alice 32m");
    lab.ok("quota set bob 32m");
    lab.ok("check");
}

#[test]
fn members_are_users_that_exist() {
    let lab = Lab::plain();
    lab.ok("user add carol");
    lab.fails(3, "project add-member ml carol nobody");
    assert!(!lab.json("project show ml")["members"].to_string().contains("carol"), "all of them or none");
    lab.ok("project add-member ml carol --role admin");
    let members = lab.json("project show ml")["members"].to_string();
    assert!(members.contains("carol") && members.contains("admin"), "{members}");
    lab.ok("project remove-member ml carol");
    assert!(!lab.json("project show ml")["members"].to_string().contains("carol"));
}

#[test]
fn an_inactive_user_starts_nothing() {
    let lab = Lab::plain();
    lab.ok("vfolder create bob/data");
    lab.ok("user set bob --state inactive");
    assert_eq!(lab.json("user show bob")["state"], "inactive");
    assert_ne!(lab.run("session plan --user bob -m data").code, 0);
    lab.ok("user set bob --state active");
    lab.ok("session plan --user bob -m data");
}

#[test]
fn a_volume_with_folders_stays() {
    let lab = Lab::plain();
    let dir = lab.dir().join("second");
    fs::create_dir(&dir).unwrap();
    lab.ok(&format!("volume add second {} --quota none", dir.display()));
    lab.ok("vfolder create alice/data --volume second");
    lab.fails(4, "volume remove second --yes");
    lab.ok("vfolder delete alice/data --purge --yes");
    lab.ok("volume remove second --yes");
    lab.fails(3, "volume show second");
    assert!(dir.exists(), "the data's directory is the administrator's");
}

#[test]
fn a_directory_is_one_volume_at_most() {
    let lab = Lab::plain();
    let dir = lab.dir().join("second");
    fs::create_dir(&dir).unwrap();
    lab.ok(&format!("volume add second {} --quota none", dir.display()));
    lab.fails(4, &format!("volume add third {} --quota none", dir.display()));
    for path in [lab.dir().join("absent"), "/etc/passwd".into()] {
        let out = lab.run(&format!("volume add third {} --quota none", path.display()));
        assert!([3, 8].contains(&out.code), "{out:?}");
    }
    assert_eq!(lab.json("volume list")["count"], 2);
}

#[test]
fn a_directory_of_another_registry_is_not_taken() {
    let (lab, other) = (Lab::plain(), Lab::plain());
    let out = lab.run(&format!("volume add theirs {} --quota none", other.volume.display()));
    assert!([4, 8].contains(&out.code), "{out:?}");
}
