//! Names, sizes, references and mount targets, as typed.

use crate::support::Lab;

#[test]
fn folder_names_follow_the_rules_and_are_refused_before_anything_is_made() {
    let lab = Lab::plain();
    let long = "x".repeat(64);
    let too_long = "x".repeat(65);
    let wide = "\u{4e00}".repeat(64);
    let too_wide = "\u{10400}".repeat(64);
    let table: &[(&str, i32)] = &[
        ("data", 0),
        ("a", 0),
        ("7", 0),
        ("_x", 0),
        ("a-b_c.d", 0),
        (".config", 0),
        (".local", 0),
        ("données", 0),
        ("資料", 0),
        (&long, 0),
        (&wide, 0),
        (".x.y", 0),
        (&too_long, 2),
        (&too_wide, 2),
        ("", 2),
        (".", 2),
        ("..", 2),
        ("..x", 2),
        ("-x", 2),
        ("x.", 2),
        ("a b", 2),
        ("a\tb", 2),
        ("a\nb", 2),
        ("a\u{1b}[31mb", 2),
        ("a\u{7f}", 2),
        ("a\u{202e}b", 2),
        ("a*", 2),
        ("a:b", 2),
        ("a,b", 2),
        ("a\\b", 2),
        ("a/b", 2),
        (".ssh", 2),
        (".jupyter", 2),
        (".terminfo", 2),
        (".tmux.conf", 2),
        (".bashrc", 2),
        (".zshrc", 2),
        (".x1rc", 2),
        (".bash_profile", 2),
    ];
    for (name, code) in table {
        // An argument that begins with a dash needs `--`, as everywhere.
        let out = lab.run_args(&["vfolder", "create", "--", &format!("alice/{name}")]);
        assert_eq!(out.code, *code, "{name:?}: {out:?}");
        let raw = out.stderr.chars().any(|c| c.is_control() && c != '\n');
        assert!(!raw, "control characters of {name:?} reach the terminal");
    }
    let made = table.iter().filter(|(_, code)| *code == 0).count();
    assert_eq!(lab.json("vfolder list")["count"], made);
}

#[test]
fn a_name_is_kept_in_composed_form() {
    let lab = Lab::plain();
    lab.ok("vfolder create alice/e\u{301}te\u{301}");
    assert_eq!(lab.json("vfolder list")["items"][0]["name"], "\u{e9}t\u{e9}");
    lab.fails(4, "vfolder create alice/\u{e9}t\u{e9}");
    lab.ok("vfolder show alice/e\u{301}te\u{301}");
}

#[test]
fn dot_folders_are_for_users_only() {
    let lab = Lab::plain();
    lab.ok("vfolder create project/ml/.local");
    lab.fails(2, "vfolder create project/ml/.config");
    lab.ok("vfolder create project/ml/sets");
    lab.fails(2, "vfolder rename project/ml/sets .sets");
    lab.ok("vfolder create alice/conf");
    lab.ok("vfolder rename alice/conf .conf");
}

#[test]
fn user_project_volume_and_session_names() {
    let lab = Lab::plain();
    let long = "u".repeat(64);
    let too_long = "u".repeat(65);
    for (name, code) in [
        ("carol", 0),
        ("c", 0),
        ("0x", 0),
        ("carol@example.org", 0),
        ("a+b-c_d.e", 0),
        (long.as_str(), 0),
        ("Carol", 2),
        ("user", 2),
        ("project", 2),
        (".x", 2),
        ("@x", 2),
        ("a b", 2),
        ("a/b", 2),
        ("é", 2),
        ("", 2),
        (too_long.as_str(), 2),
    ] {
        for noun in ["user", "project"] {
            let out = lab.run_args(&[noun, "add", "--", name]);
            assert_eq!(out.code, code, "{noun} {name:?}: {out:?}");
        }
    }
    let elsewhere = lab.dir().join("elsewhere");
    std::fs::create_dir(&elsewhere).unwrap();
    for name in ["", "-x", ".x", "a/b", "a b", "é", too_long.as_str()] {
        let out =
            lab.run_args(&["volume", "add", "--quota", "none", "--", name, elsewhere.to_str().unwrap()]);
        assert_eq!(out.code, 2, "volume {name:?}: {out:?}");
        let out = lab.run_args(&["session", "start", "--user", "alice", "--", name]);
        assert_eq!(out.code, 2, "session {name:?}: {out:?}");
    }
}

#[test]
fn sizes_are_binary_and_never_rounded_down() {
    let lab = Lab::btrfs();
    for (typed, bytes) in [
        ("67108864", 64 << 20),
        ("64m", 64 << 20),
        ("64M", 64 << 20),
        ("64MiB", 64 << 20),
        ("1.5g", 3 << 29),
        ("0.5GiB", 1 << 29),
        ("2t", 2u64 << 40),
        ("1PiB", 1 << 50),
    ] {
        lab.ok(&format!("quota set alice {typed}"));
        assert_eq!(lab.json("quota show alice")["items"][0]["limit_bytes"], bytes, "{typed}");
    }
    lab.ok("quota set alice unlimited");
    assert_eq!(lab.json("quota show alice")["items"][0]["limit_bytes"], serde_json::Value::Null);
    for typed in ["64MB", "1GB", "1tb", "5kb", "", "x", "-1", "1.2.3g", "1e6", "1 m", "999999999p", "64mm"] {
        let out = lab.run_args(&["quota", "set", "alice", typed]);
        assert_eq!(out.code, 2, "{typed:?}: {out:?}");
    }
    lab.fails(2, "quota set alice 64MB").says(&["64MiB"]);
}

#[test]
fn a_folder_is_named_by_owner_or_by_the_beginning_of_its_id() {
    let lab = Lab::plain();
    lab.ok("vfolder create alice/data");
    lab.ok("vfolder create project/ml/data");
    let mine = lab.folder("alice/data", "id");
    let theirs = lab.folder("project/ml/data", "id");
    for (reference, id) in [
        ("alice/data", &mine),
        ("user/alice/data", &mine),
        ("project/ml/data", &theirs),
        (&format!("id:{mine}"), &mine),
        (&format!("id:{}", mine.replace('-', "")), &mine),
        (&format!("id:{}", &mine[..8]), &mine),
    ] {
        assert_eq!(&lab.folder(reference, "id"), id, "{reference}");
    }
    for (reference, code) in [
        ("alice/none", 3),
        ("carol/data", 3),
        ("project/xx/data", 3),
        ("id:00000000000000000000000000000000", 3),
        ("id:", 2),
        ("id:xyz", 2),
        ("alice:data", 2),
        ("alice/", 2),
        ("/data", 2),
        ("alice/data/sub", 2),
        ("project/ml", 2),
        ("../data", 2),
    ] {
        let out = lab.run(&format!("vfolder show {reference}"));
        assert_eq!(out.code, code, "{reference}: {out:?}");
    }
}

#[test]
fn a_volume_may_be_left_out_where_it_is_clear() {
    let lab = Lab::plain();
    let second = lab.dir().join("second");
    std::fs::create_dir(&second).unwrap();
    lab.ok(&format!("volume add second {} --quota none", second.display()));
    lab.ok("vfolder create alice/there --volume second");
    assert_eq!(lab.folder("alice/there", "volume"), "second");
    lab.fails(3, "vfolder create alice/x --volume none-such");
}

#[test]
fn mount_targets_are_normalised_and_then_judged() {
    let lab = Lab::plain();
    lab.ok("vfolder create alice/data");
    let table: &[(&str, Result<&str, i32>)] = &[
        ("", Ok("/home/work/data")),
        (":work", Ok("/home/work/work")),
        (":a/b", Ok("/home/work/a/b")),
        (":./a//b/", Ok("/home/work/a/b")),
        (":a/../b", Ok("/home/work/b")),
        (":/workspace", Ok("/workspace")),
        (":/mnt/x", Ok("/mnt/x")),
        (":/home/other", Ok("/home/other")),
        (":/opt/x/../y", Ok("/opt/y")),
        (":/binary", Ok("/binary")),
        (":/", Err(2)),
        (":/home/work", Err(2)),
        (":.", Err(2)),
        (":..", Err(2)),
        (":../x", Err(2)),
        (":a/../../x", Err(2)),
        (":/home/work/../work", Err(2)),
        (":.ssh", Err(2)),
        (":.bashrc", Err(2)),
        (":/bin", Err(2)),
        (":/bin/x", Err(2)),
        (":/etc/x", Err(2)),
        (":/x/../etc", Err(2)),
        (":/lib64/x", Err(2)),
        (":/proc/1", Err(2)),
        (":/root/x", Err(2)),
        (":/usr/local/x", Err(2)),
        (":/var/x", Err(2)),
        (":/dev/shm/x", Err(2)),
        (":/home", Err(2)),
        (":/media", Err(2)),
        (":/mnt", Err(2)),
        (":/opt/", Err(2)),
        (":/srv", Err(2)),
        (":/tmp", Err(2)),
    ];
    for (tail, expected) in table {
        let out = lab.run(&format!("-o json session plan --user alice -m alice/data{tail}"));
        match expected {
            Ok(target) => {
                assert_eq!(out.code, 0, "{tail}: {out:?}");
                assert_eq!(out.json()["mounts"][0]["target"], *target, "{tail}");
            }
            Err(code) => assert_eq!(out.code, *code, "{tail}: {out:?}"),
        }
    }
}

#[test]
fn the_last_part_of_a_mount_is_the_permission() {
    let lab = Lab::plain();
    lab.ok("vfolder create alice/data");
    std::fs::create_dir(lab.path("alice/data").join("sub")).unwrap();
    for (mount, target, permission) in [
        ("data", "/home/work/data", "rw"),
        ("data:ro", "/home/work/data", "ro"),
        ("data:/w:rw", "/w", "rw"),
        ("alice/data:x:ro", "/home/work/x", "ro"),
        ("alice/data/sub:ro", "/home/work/data", "ro"),
        ("source=data,target=/w,perm=ro", "/w", "ro"),
        ("source=alice/data,subpath=sub,target=/w", "/w", "rw"),
        ("source=data,target=/a\\,b\\=c", "/a,b=c", "rw"),
    ] {
        let plan = lab.json(&format!("session plan --user alice -m {mount}"));
        let shown = &plan["mounts"][0];
        assert_eq!(
            (shown["target"].as_str(), shown["permission"].as_str()),
            (Some(target), Some(permission)),
            "{mount}"
        );
    }
}
