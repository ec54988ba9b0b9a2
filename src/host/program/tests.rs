use super::*;

fn sh(script: &str) -> Program {
    Program::new("sh").args(["-c", script])
}

#[test]
fn what_a_program_says_and_how_it_ends_come_back() {
    let said = sh("echo out; echo err >&2; exit 3").run().unwrap();
    assert_eq!((said.status, said.text().as_str(), said.complaint().as_str()), (3, "out\n", "err"));
    let error = sh("echo no such pool >&2; exit 2").succeed().unwrap_err().to_string();
    assert_eq!(error, "'sh -c 'echo no such pool >&2; exit 2'' failed with exit status 2: no such pool");
    assert_eq!(sh("kill -9 $$").run().unwrap().status, 137);
}

#[test]
fn a_program_that_is_not_installed_is_named_with_its_package() {
    let error = Program::new("no-such-tool").from_package("tools").run().unwrap_err().to_string();
    assert_eq!(error, "the program no-such-tool is not installed (Debian package: tools)");
}

#[test]
fn a_program_that_hangs_is_killed_with_its_children() {
    let begun = Instant::now();
    let dir = tempfile::tempdir().unwrap();
    let mark = dir.path().join("mark");
    let script = format!("(sleep 1; touch {}) & sleep 60", mark.display());
    let error = sh(&script).deadline(Duration::from_millis(200)).run().unwrap_err().to_string();
    assert!(error.ends_with("did not end within 0.2 s"), "{error}");
    assert!(begun.elapsed() < Duration::from_secs(10));
    std::thread::sleep(Duration::from_millis(1500));
    assert!(!mark.exists());
}

#[test]
fn a_program_that_prints_without_end_is_killed() {
    let error = sh("while :; do echo yyyyyyyyyyyyyyyy; done").at_most(4096).run().unwrap_err().to_string();
    assert!(error.ends_with("printed more than 4096 bytes"), "{error}");
}

#[test]
fn what_a_program_leaves_running_on_its_pipes_is_not_waited_for() {
    let begun = Instant::now();
    let said = sh("echo done; setsid sleep 20 &").run().unwrap();
    assert_eq!((said.status, said.text().as_str()), (0, "done\n"));
    assert!(begun.elapsed() < Duration::from_secs(5));
}

#[test]
fn what_a_program_leaves_in_its_group_ends_with_it() {
    let begun = Instant::now();
    let said = sh("sleep 20 & echo $!").deadline(Duration::from_secs(10)).run().unwrap();
    assert_eq!(said.status, 0);
    assert!(begun.elapsed() < LINGER, "{:?}", begun.elapsed());
    let left = PathBuf::from(format!("/proc/{}/stat", said.text().trim()));
    let is_gone = || std::fs::read_to_string(&left).map_or(true, |stat| stat.contains(") Z "));
    while !is_gone() {
        assert!(begun.elapsed() < Duration::from_secs(5), "it lives on");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn one_program_reads_what_another_one_prints() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    let taking = |script: &str| sh(&format!("cat >{}; {script}", file.display()));
    sh("head -c 1000000 /dev/zero").pipe_into(&taking("true")).unwrap();
    assert_eq!(std::fs::metadata(&file).unwrap().len(), 1_000_000);
    let failed = |from: &Program, into: &Program| from.pipe_into(into).unwrap_err().to_string();
    let error = failed(&sh("echo data; echo no pool >&2; exit 1"), &taking("echo cut >&2; exit 1"));
    assert!(error.contains("failed with exit status 1: cut; 'sh -c 'echo data"), "{error}");
    assert!(error.ends_with("failed with exit status 1: no pool"), "{error}");
    let error = failed(&sh("echo no pool >&2; exit 1"), &taking("true"));
    assert!(error.ends_with("failed with exit status 1: no pool"), "{error}");
    // The one that prints without end is ended by the other's end.
    let endless = sh("while :; do echo yyyyyyyyyyyyyyyy; done");
    let error = failed(&endless, &sh("head -c 10 >/dev/null; echo no room >&2; exit 2"));
    assert!(error.ends_with("failed with exit status 2: no room"), "{error}");
    let error = failed(&sh("true"), &Program::new("no-such-tool"));
    assert_eq!(error, "the program no-such-tool is not installed");
    let begun = Instant::now();
    let error = failed(&endless.deadline(Duration::from_millis(200)), &sh("cat >/dev/null"));
    assert!(error.ends_with("did not end within 0.2 s"), "{error}");
    assert!(begun.elapsed() < Duration::from_secs(10));
}

#[test]
fn a_directory_is_no_program() {
    assert_eq!(find("/tmp"), None);
    assert!(find("/bin/sh").is_some());
}

#[test]
fn a_program_has_no_stdin_a_plain_locale_and_no_foreign_environment() {
    let said = sh("cat; echo $LC_ALL; env | grep -c CARGO").run().unwrap();
    assert_eq!(said.text(), "C\n0\n");
}

#[test]
fn a_line_can_be_pasted() {
    let program = Program::new("zfs").args(["set", "quota=1", "a b", "it's", ""]);
    assert_eq!(program.line(), r"zfs set quota=1 'a b' 'it'\''s' ''");
}
