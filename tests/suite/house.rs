//! The house rules that the compiler does not hold.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A room, and the rooms below it that it may import. `lib.rs` and `main.rs` may import anything.
const ROOMS: &[(&str, &[&str])] = &[
    ("domain", &[]),
    ("host", &["domain"]),
    ("tree", &["domain", "host"]),
    ("quota", &["domain", "host", "tree"]),
    ("registry", &["domain", "host"]),
    ("session", &["domain", "host", "registry"]),
    ("plan", &["domain", "host", "quota", "registry", "session", "tree"]),
    ("ops", &["domain", "host", "plan", "quota", "registry", "session", "tree"]),
    // A progress bar is a `tree::Progress`, and stops when `host` has seen a signal.
    ("output", &["domain", "host", "tree"]),
    ("cli", &["domain"]),
    ("commands", &["cli", "domain", "host", "ops", "output", "plan", "quota", "registry", "session", "tree"]),
];

/// What only `src/host` may write.
const HOST_ONLY: &[&str] = &["process::Command", "unsafe ", "unsafe_code", "\"/proc/", "\"/sys/"];

/// Crates that the design rules out, the archived `serde_yaml` by its package name among them.
const RULED_OUT: &[&str] =
    &["chrono", "serde_yml", "serde_yaml", "fs2", "fs3", "fs4", "fd-lock", "file-lock", "which"];

fn project() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn sources(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// The sources of a directory without modules of unit tests that have a file of their own.
fn program(dir: &Path) -> Vec<PathBuf> {
    let is_test =
        |part: &std::ffi::OsStr| ["tests", "tests.rs", "testing.rs"].iter().any(|name| part == *name);
    sources(dir).into_iter().filter(|file| !file.strip_prefix(dir).unwrap().iter().any(is_test)).collect()
}

/// The lines of a source file that are neither comments nor its unit tests, with their numbers.
fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines()
        .enumerate()
        .take_while(|(_, line)| !line.starts_with("#[cfg(test)]"))
        .map(|(at, line)| (at + 1, line.trim()))
        .filter(|(_, line)| !line.starts_with("//"))
}

/// The rooms that a line of code reaches into.
fn imported(line: &str) -> Vec<String> {
    let mut rooms = Vec::new();
    for (at, _) in line.match_indices("crate::") {
        let rest = &line[at + "crate::".len()..];
        let list = rest.strip_prefix('{').and_then(|r| r.split_once('}')).map_or(rest, |(list, _)| list);
        let parts = if list.len() < rest.len() { list.split(',').collect() } else { vec![rest] };
        for part in parts {
            let name: String = part.trim().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            rooms.push(name);
        }
    }
    rooms
}

#[test]
fn rooms_import_only_downwards() {
    let src = project().join("src");
    let mut wrong = Vec::new();
    for entry in fs::read_dir(&src).unwrap().flatten().filter(|e| e.path().is_dir()) {
        let room = entry.file_name().into_string().unwrap();
        let below = ROOMS.iter().find(|(name, _)| *name == room);
        let (_, below) = below.unwrap_or_else(|| panic!("src/{room} is no room of the house"));
        for file in program(&entry.path()) {
            let text = fs::read_to_string(&file).unwrap();
            for (line, code) in code(&text) {
                for other in imported(code).into_iter().filter(|o| *o != room) {
                    let is_room = ROOMS.iter().any(|(name, _)| *name == other);
                    if is_room && !below.contains(&other.as_str()) {
                        wrong.push(format!("{}:{line}: {room} imports {other}", file.display()));
                    }
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn only_host_touches_the_system() {
    let src = project().join("src");
    let mut wrong = Vec::new();
    for file in program(&src).into_iter().filter(|f| !f.starts_with(src.join("host"))) {
        let text = fs::read_to_string(&file).unwrap();
        for (line, code) in code(&text) {
            // What `/dev/fd` of a session links to is not read by anybody here.
            let code = code.replace("\"/proc/self/fd", "");
            for word in HOST_ONLY.iter().filter(|w| code.contains(**w)) {
                wrong.push(format!("{}:{line}: {word} outside src/host", file.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn domain_holds_no_files_and_no_foreign_formats() {
    let mut wrong = Vec::new();
    for file in program(&project().join("src/domain")) {
        let text = fs::read_to_string(&file).unwrap();
        for (line, code) in code(&text) {
            for word in ["std::fs", "clap", "anyhow", "serde_yaml", "std::process", "std::env"] {
                if code.contains(word) {
                    wrong.push(format!("{}:{line}: {word}", file.display()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn no_test_file_is_forgotten() {
    let tests = project().join("tests");
    for file in sources(&tests.join("suite")) {
        let parent = file.parent().unwrap().with_extension("rs");
        let name = file.file_stem().unwrap().to_str().unwrap();
        let listed = fs::read_to_string(&parent).unwrap();
        let line = format!("mod {name};");
        assert!(
            listed.lines().any(|l| l.trim() == line),
            "{} is not in {}",
            file.display(),
            parent.display()
        );
    }
}

#[test]
fn no_file_is_too_long_to_read() {
    let project = project();
    let all = sources(&project.join("src")).into_iter().chain(sources(&project.join("tests")));
    let long: Vec<_> = all
        .map(|file| (fs::read_to_string(&file).unwrap().lines().count(), file))
        .filter(|(lines, _)| *lines > 500)
        .collect();
    assert!(long.is_empty(), "which two things do they do? {long:#?}");
}

#[test]
fn no_dependency_is_one_that_is_ruled_out() {
    let mut tree = Command::new(env!("CARGO"));
    tree.args(["tree", "--locked", "--offline", "--edges", "normal,build,dev", "--prefix", "none"]);
    let out = tree.current_dir(project()).output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    let packages: BTreeSet<&str> = text.lines().filter_map(|l| l.split(' ').next()).collect();
    assert!(packages.contains("clap"), "{text}");
    let found: Vec<_> = RULED_OUT.iter().filter(|p| packages.contains(**p)).collect();
    assert!(found.is_empty(), "{found:?}");
}
