//! How far long work is: a line on a terminal, lines of JSON for a program, nothing in cron.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::{Lab, Output, VFADM};

const FILES: usize = 100;

/// alice owns `data`, with so many files in it, and `gone`, which is in the trash; there is a second volume.
fn lab() -> Lab {
    let lab = Lab::plain();
    lab.ok("vfolder create alice/data");
    let data = lab.path("alice/data");
    for n in 0..FILES {
        fs::write(data.join(format!("file-{n}")), "text").unwrap();
    }
    lab.ok("vfolder create alice/gone");
    lab.ok("vfolder delete alice/gone");
    let second = lab.dir().join("second");
    fs::create_dir(&second).unwrap();
    lab.ok(&format!("volume add second {} --quota none", second.display()));
    lab
}

/// A command line that takes its time over every look at a file.
fn slow(lab: &Lab, line: &str, delay: Duration) -> String {
    format!(
        "/usr/bin/strace -f -qq -o /dev/null --trace=statx --inject=statx:delay_enter={} {VFADM} --root {} {line}",
        delay.as_micros(),
        lab.root.display()
    )
}

fn lines(out: &Output) -> Vec<Value> {
    out.stderr.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{out:?}"))).collect()
}

#[test]
fn every_long_command_ends_with_a_line_of_json_that_is_done() {
    let lab = lab();
    for (line, work, subject) in [
        ("vfolder usage alice/data --walk", "measuring", "user/alice/data"),
        ("vfolder transfer alice/data bob --volume second", "transferring", "user/alice/data"),
        ("vfolder delete bob/data --purge --yes", "purging", "user/bob/data"),
        ("vfolder purge alice/gone --yes", "purging", "user/alice/gone"),
    ] {
        let out = lab.ok(&format!("{line} --progress json"));
        let last = lines(&out).pop().unwrap_or_else(|| panic!("{out:?}"));
        let text = |key: &str| last[key].as_str().unwrap_or_default();
        assert_eq!((text("kind"), text("work"), text("subject")), ("Progress", work, subject), "{line}");
        assert_eq!((last["done"].as_bool(), last.get("eta_seconds")), (Some(true), None), "{line}");
        let entries = last["entries"].as_u64().unwrap();
        assert!(entries >= if subject.ends_with("data") { FILES as u64 } else { 1 }, "{line}: {last}");
        assert!(last["bytes_per_second"].is_u64() && last["entries_per_second"].is_u64(), "{line}: {last}");
    }
    lab.ok("vfolder create alice/gone --volume local");
    lab.ok("vfolder delete alice/gone");
    assert_eq!(lines(&lab.ok("trash empty --yes --progress json")).len(), 1);
}

#[test]
fn json_comes_at_most_twice_a_second_and_counts_up() {
    let lab = lab();
    let line =
        slow(&lab, "-o json vfolder usage alice/data --walk --progress json", Duration::from_millis(40));
    let begun = Instant::now();
    let out = Command::new("/bin/sh").args(["-c", &line]).output().unwrap();
    let most = begun.elapsed().as_secs_f64() * 2.0;
    let out = Output::of(line, &out).exits(0);
    let lines = lines(&out);
    assert!(lines.len() >= 3 && lines.len() as f64 <= most + 1.0, "{most}: {lines:#?}");
    let counts: Vec<_> = lines.iter().map(|line| line["entries"].as_u64().unwrap()).collect();
    assert!(counts.is_sorted() && counts.last() == Some(&(FILES as u64)), "{counts:?}");
    assert!(lines[..lines.len() - 1].iter().all(|line| line.get("done").is_none()), "{lines:#?}");
    // What it said on stderr leaves the data alone.
    assert_eq!(out.json()["items"][0]["files"], FILES);
}

#[test]
fn without_a_terminal_nothing_is_told_unless_it_is_asked_for() {
    let lab = lab();
    for how in ["", "--progress auto", "--progress none", "--quiet"] {
        lab.ok(&format!("vfolder usage alice/data --walk {how}")).quiet();
    }
    lab.ok("vfolder usage alice/data --walk --quiet --progress json").says(&["\"done\":true"]);
    lab.fails(2, "vfolder usage alice/data --walk --progress loud").says(&["auto", "json", "none"]);
}

/// What a terminal gets of a command line, and its exit code.
fn on_a_terminal(term: &str, line: &str, typed: &str) -> (String, Option<i32>) {
    let script =
        format!("{{ {typed} }} | TERM={term} /usr/bin/script -qec 'stty cols 100; exec {line}' /dev/null");
    let out = Command::new("/bin/sh").args(["-c", &script]).output().unwrap();
    (String::from_utf8_lossy(&out.stdout).into_owned(), out.status.code())
}

/// The last line as it stands on the terminal: what was drawn over is gone.
fn left_over(shown: &str) -> &str {
    let last = shown.trim_end_matches("\r\n").rsplit('\n').next().unwrap_or_default();
    last.rsplit("\u{1b}[2K").next().unwrap_or_default().trim_start_matches('\r')
}

#[test]
fn a_terminal_has_one_line_that_goes_away() {
    let lab = lab();
    let line = slow(&lab, "vfolder usage alice/data --walk", Duration::from_millis(5));
    let (shown, code) = on_a_terminal("xterm", &line, "sleep 2;");
    assert_eq!(code, Some(0), "{shown:?}");
    assert!(shown.contains("measuring user/alice/data: ") && shown.contains(" entries, "), "{shown:?}");
    assert!(left_over(&shown).starts_with("user/alice/data"), "only the table is left: {shown:?}");
    for (term, option) in [("xterm", "--progress none"), ("xterm", "--quiet"), ("dumb", "")] {
        let (shown, _) = on_a_terminal(term, &format!("{line} {option}"), "sleep 2;");
        assert!(!shown.contains("measuring"), "{term} {option}: {shown:?}");
    }
}

#[test]
fn ctrl_c_leaves_a_clean_terminal() {
    let lab = lab();
    let line = slow(&lab, "vfolder usage alice/data --walk", Duration::from_millis(200));
    let (shown, code) = on_a_terminal("xterm", &line, r"sleep 2; printf \\003; sleep 1;");
    assert_eq!(code, Some(130), "{shown:?}");
    assert!(shown.contains("measuring user/alice/data: "), "{shown:?}");
    assert_eq!(left_over(&shown), "\u{1b}[1;31merror:\u{1b}[0m interrupted", "{shown:?}");
}
