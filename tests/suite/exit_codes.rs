//! The exit codes, one example of each, as scripts will meet them.

use std::fs;

use crate::support::Lab;

#[test]
fn each_kind_of_failure_has_its_code_and_its_word() {
    let lab = Lab::plain();
    lab.ok("vfolder create alice/data");
    lab.ok("vfolder create alice/used");
    lab.ok(&format!("session start s1 --user alice -m used --holder pid:{}", std::process::id()));
    lab.ok("user set bob --max-vfolders 0");
    for (line, code, word) in [
        ("vfolder create alice/a..", 2, "usage"),
        ("quota set alice 5GB", 2, "usage"),
        ("vfolder purge alice/data", 4, "conflict"),
        ("vfolder show alice/none", 3, "not_found"),
        ("vfolder create carol/data", 3, "not_found"),
        ("user show carol", 3, "not_found"),
        ("project show none", 3, "not_found"),
        ("volume show none", 3, "not_found"),
        ("session show none", 3, "not_found"),
        ("quota show carol", 3, "not_found"),
        ("vfolder create alice/data", 4, "conflict"),
        ("user add alice", 4, "conflict"),
        ("project add ml", 4, "conflict"),
        ("vfolder rename alice/data used", 4, "conflict"),
        ("vfolder create bob/more", 4, "conflict"),
        ("session start s1 --user bob", 4, "conflict"),
        ("session plan --user alice -m data -m used:data", 4, "conflict"),
        ("session plan --user alice -m data:/w -m used:/w/x", 4, "conflict"),
        ("vfolder delete alice/used", 6, "in_use"),
        ("quota set alice 1g", 8, "storage"),
    ] {
        let out = lab.run(&format!("-o json {line}"));
        assert_eq!(out.code, code, "{out:?}");
        let error = out.error();
        assert_eq!(error["code"], word, "{line}");
        assert!(
            error["message"].as_str().is_some_and(|m| !m.is_empty() && !m.ends_with('.')),
            "{line}: {error}"
        );
        assert_eq!(out.stdout, "", "{line}: an error is no data");
    }
}

#[test]
fn commands_in_hints_name_the_root_that_was_given() {
    let lab = Lab::plain();
    lab.ok("vfolder create alice/data");
    lab.ok("vfolder delete alice/data");
    let root = lab.root.display();
    let line = format!("--root {root} vfolder create alice/data");
    lab.fails(4, &line).says(&[&format!("vfadm --root {root} vfolder restore user/alice/data")]);
    lab.fails(4, "vfolder create alice/data").says(&["vfadm vfolder restore user/alice/data"]);
    let line = ["--root", "/no where", "user", "list"];
    lab.run_args(&line).exits(9).says(&["vfadm --root '/no where' init"]);
}

#[test]
fn what_is_missing_is_in_the_message_of_a_document() {
    let error = Lab::bare().run("user add -o json").exits(2).error();
    assert_eq!(error["message"], "the following required arguments were not provided: <USER>");
}

#[test]
fn what_clap_refuses_is_a_usage_error_too() {
    let lab = Lab::bare();
    for line in
        ["", "nonsense", "vfolder", "vfolder create", "vfolder list --nonsense", "-o xml vfolder list"]
    {
        let out = lab.run(line);
        assert_eq!(out.code, 2, "{line:?}: {out:?}");
        assert_eq!(out.stdout, "", "{line:?}");
    }
    for line in ["--help", "--version", "vfolder --help", "vfolder create --help"] {
        let out = lab.ok(line);
        assert!(!out.stdout.is_empty() && out.stderr.is_empty(), "{line}");
    }
}

#[test]
fn a_volume_that_is_not_mounted_is_noticed_before_anything_is_written() {
    let lab = Lab::btrfs();
    lab.ok("vfolder create alice/data");
    lab.image().detach();
    for line in
        ["vfolder create alice/more", "vfolder delete alice/data", "session plan --user alice -m data"]
    {
        lab.fails(8, line).says(&["local"]);
    }
    assert_eq!(
        fs::read_dir(&lab.volume).unwrap().count(),
        0,
        "something was written below the bare mount point"
    );
    let check = lab.run("volume check");
    assert_eq!(check.code, 10, "{check:?}");
    assert_eq!(lab.json("vfolder list")["count"], 1, "what is on record can still be listed");
    lab.image().attach();
    lab.ok("volume check");
    lab.ok("vfolder create alice/more");
}

#[test]
fn an_error_ends_with_what_to_type_next() {
    let lab = Lab::plain();
    lab.ok("vfolder create alice/data");
    lab.ok("vfolder delete alice/data");
    for (line, code, words) in [
        ("vfolder create alice/data", 4, &["restore", "purge"][..]),
        ("vfolder purge bob/none", 3, &["bob/none"]),
        ("vfolder create carol/x", 3, &["user add carol"]),
        ("quota set alice 1g", 8, &["btrfs"]),
        ("quota set alice 1GB", 2, &["1GiB"]),
    ] {
        lab.fails(code, line).says(words);
    }
}
