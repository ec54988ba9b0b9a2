//! What tenants name and what is typed cannot steer the terminal of who reads the answer, and can be pasted.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::OsStrExt;

use serde_json::Value;
use vfadm::domain::engine::Engine;
use vfadm::domain::text::steers;
use vfadm::session::engine::tell;

use super::engines::spec;
use crate::support::{Lab, Output};

/// CSI, OSC and ST of 8 bits, DEL, and what turns the direction of writing or breaks a line.
const NAMES: [&str; 9] = [
    "csi\u{9b}31m",
    "osc\u{9d}",
    "st\u{9c}",
    "del\u{7f}",
    "rlo\u{202e}",
    "lri\u{2066}",
    "ls\u{2028}",
    "alm\u{61c}",
    "esc\u{1b}[2J",
];

/// Insists that nothing steers in what was said.
#[track_caller]
fn harmless(out: Output) -> Output {
    for text in [&out.stdout, &out.stderr] {
        let found = text.chars().find(|c| steers(*c) && *c != '\n');
        assert!(found.is_none(), "`{}` printed {found:?}: {text:?}", out.line);
    }
    out
}

/// alice has a folder with a directory and in it a file of each name.
fn lab() -> Lab {
    let lab = Lab::plain();
    lab.ok("vfolder create alice/data");
    for name in NAMES {
        let dir = lab.path("alice/data").join(name);
        fs::create_dir(&dir).unwrap();
        fs::write(dir.join(name), "x").unwrap();
    }
    lab
}

fn document(out: &Output, style: &str) -> Value {
    match style {
        "json" => out.json(),
        _ => serde_yaml::from_str(&out.stdout).unwrap(),
    }
}

#[test]
fn documents_escape_what_tenants_name_and_give_it_back_whole() {
    let lab = lab();
    let mut names = NAMES;
    names.sort_unstable();
    for style in ["json", "yaml"] {
        let out = harmless(lab.ok(&format!("-o {style} vfolder usage alice/data --depth 1")).exits(0));
        let entries = document(&out, style)["items"][0]["entries"].clone();
        let paths: Vec<&str> =
            entries.as_array().unwrap().iter().map(|e| e["path"].as_str().unwrap()).collect();
        assert_eq!(paths, names, "{style}");
        for (entry, name) in entries.as_array().unwrap().iter().zip(names) {
            assert_eq!(entry["oldest"]["path"], format!("{name}/{name}"), "{style}");
        }
        for name in NAMES {
            let mount = format!("source=alice/data,subpath={name},target=/w/{name},perm=ro");
            let line = ["-o", style, "session", "plan", "--user", "alice", "-m", &mount];
            let out = lab.run_args(&line);
            if out.code == 0 {
                let mounts = document(&harmless(out), style)["mounts"].clone();
                assert_eq!(mounts[0]["target"], format!("/w/{name}"), "{style}");
            } else {
                harmless(out.exits(2));
            }
        }
    }
    for style in ["table", "tsv"] {
        let out = lab.ok(&format!("-o {style} vfolder usage alice/data --depth 2"));
        harmless(Output { stdout: out.stdout.replace('\t', " "), ..out });
    }
}

#[test]
fn errors_escape_what_was_typed() {
    let lab = Lab::plain();
    for typed in NAMES {
        for words in [
            ["user", "show"].as_slice(),
            &["registry", "restore"],
            &["vfolder", "usage"],
            &["vfolder", "path"],
            &["--root", "/nowhere", "init", "--volume"],
            &["session", "plan", "--user", "alice", "-m"],
            &["--lock-timeout"],
        ] {
            for style in ["json", "yaml", "table"] {
                let line = [&["-o", style], words, &[typed]].concat();
                let out = harmless(lab.run_args(&line));
                assert_ne!(out.code, 0, "{out:?}");
                if style == "json" {
                    assert!(out.error()["message"].is_string(), "{out:?}");
                }
            }
        }
    }
}

#[test]
fn no_engine_is_told_a_character_that_steers_as_it_is() {
    for name in ["rlo\u{202e}", "ls\u{2028}", "lri\u{2066}x"] {
        let path = format!("/v/{name}");
        for engine in Engine::ALL {
            let Ok(told) = tell(engine, &spec(&[(&path, "/w", true)])) else { continue };
            let text = told.text().unwrap();
            assert!(!text.contains(|c| steers(c) && c != '\n'), "{engine}: {text:?}");
        }
    }
    let told = |engine| tell(engine, &spec(&[("/v/a\u{202e}", "/w", true)])).unwrap().text().unwrap();
    assert_eq!(told(Engine::Fstab), "/v/a\\342\\200\\256 /w none bind,ro,nosuid,nodev 0 0\n");
    assert!(
        told(Engine::Bwrap).starts_with("--ro-bind $'/v/a\\342\\200\\256' /w \\\n"),
        "{}",
        told(Engine::Bwrap)
    );
    for engine in [Engine::Compose, Engine::Oci] {
        assert!(told(engine).contains("/v/a\\u202e\""), "{}", told(engine));
    }
}

#[test]
fn a_command_in_a_hint_can_be_pasted_whatever_the_root_is_called() {
    let lab = Lab::bare();
    for name in [
        &b"it's"[..],
        b"line\nbreak",
        b"esc\x1b[2J",
        b"\xff\xfe",
        b"back\\slash\x01'",
        "rlo\u{202e}".as_bytes(),
    ] {
        let root = lab.dir().join(OsStr::from_bytes(name));
        let words = [OsStr::new("--root"), root.as_os_str(), OsStr::new("user"), OsStr::new("list")];
        let out = harmless(lab.run_args(&words).exits(9));
        let hint = out.stderr.split("make one: vfadm ").nth(1).unwrap();
        let command = hint.split(" init;").next().unwrap();
        let pasted = std::process::Command::new("/bin/bash")
            .args(["-c", &format!("printf '%s\\0' {command}")])
            .env("LC_ALL", "C")
            .output()
            .unwrap();
        let expected = [b"--root\0", root.as_os_str().as_bytes(), b"\0"].concat();
        assert_eq!(pasted.stdout, expected, "{command}");
    }
}

#[test]
fn a_long_argument_is_not_echoed_whole() {
    let lab = Lab::plain();
    lab.ok("vfolder create alice/data");
    let long = "A".repeat(100_000);
    let option = format!("--lock-timeout={long}");
    let mount = format!("data:/usr/{long}");
    for words in [
        ["user", "show", &long].as_slice(),
        &["vfolder", "create", &long],
        &["vfolder", "path", &format!("alice/{long}")],
        &["--lock-timeout", &long, "user", "list"],
        &[&option, "user", "list"],
        &["user", "list", &long],
        &[&long],
        &["registry", "restore", &long, "--yes"],
        &["--root", &long, "user", "list"],
        &["session", "plan", "--user", "alice", "-m", &mount],
        &["permission", "explain", &long, "alice/data", "--as", "bob"],
    ] {
        for style in ["table", "json"] {
            let line = [&["-o", style], words].concat();
            let out = lab.run_args(&line);
            assert_ne!(out.code, 0);
            assert!(
                out.stderr.len() < 2000,
                "{:?}: {} bytes: {:.400}",
                &words[0..1],
                out.stderr.len(),
                out.stderr
            );
            assert!(
                out.stderr.contains(&"A".repeat(100)) && out.stderr.contains('\u{2026}'),
                "{:.400}",
                out.stderr
            );
        }
    }
}

#[test]
fn a_noun_without_its_verb_is_an_error_document_where_documents_are_asked_for() {
    let lab = Lab::plain();
    let error = lab.fails(2, "-o json user").error();
    assert_eq!(error["code"], "usage");
    assert_eq!(error["message"], "'vfadm user' needs a command");
    assert_eq!(error["hint"], "one of add, list, show, set, remove");
    assert_eq!(lab.fails(2, "-o json").error()["message"], "'vfadm' needs a command");
    assert_eq!(lab.fails(2, "--output=json registry").error()["message"], "'vfadm registry' needs a command");
    lab.fails(2, "user").says(&["Usage: vfadm user", "add", "remove"]);
}

#[test]
fn the_path_of_a_first_volume_has_to_be_text() {
    let lab = Lab::bare();
    let mut named = OsString::from("fast=/v/");
    named.push(OsStr::from_bytes(b"\xff"));
    let words = [OsStr::new("init"), OsStr::new("--volume"), &named];
    lab.run_args(&words).exits(2).says(&["the path of a volume has to be UTF-8"]);
    assert!(!lab.root.exists());
}
