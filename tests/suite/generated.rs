//! Man pages and completions come from the program, and say what it says.

use std::collections::BTreeSet;
use std::fs;

use crate::support::{Lab, system};

#[test]
fn every_command_has_a_man_page() {
    let lab = Lab::bare();
    let dir = lab.dir().join("man");
    lab.ok(&format!("man --dir {}", dir.display()));
    let pages: BTreeSet<String> =
        fs::read_dir(&dir).unwrap().flatten().map(|e| e.file_name().into_string().unwrap()).collect();
    for page in
        ["vfadm.8", "vfadm-vfolder.8", "vfadm-vfolder-create.8", "vfadm-session-run.8", "vfadm-quota-set.8"]
    {
        assert!(pages.contains(page), "{page} is not among {pages:?}");
    }
    let top = fs::read_to_string(dir.join("vfadm.8")).unwrap();
    for code in ["130", "10", "VFADM_ROOT"] {
        assert!(top.contains(code), "vfadm(8) does not speak of {code}");
    }
}

#[test]
fn completions_are_scripts_that_their_shells_accept() {
    let lab = Lab::bare();
    for (shell, interpreter) in [("bash", "/bin/bash"), ("zsh", "/usr/bin/zsh")] {
        let script = lab.ok(&format!("completions {shell}"));
        assert!(script.stdout.contains("vfolder") && script.stdout.contains("quota"), "{shell}");
        let file = lab.dir().join(shell);
        fs::write(&file, &script.stdout).unwrap();
        system(interpreter, &["-n", file.to_str().unwrap()]);
    }
}

#[test]
fn files_are_offered_where_a_path_is_meant_and_nowhere_else() {
    let lab = Lab::bare();
    let script = lab.dir().join("bash");
    fs::write(&script, lab.ok("completions bash").stdout).unwrap();
    for (words, expected) in [
        ("vfadm session run --user", ""),
        ("vfadm vfolder list --volume", ""),
        ("vfadm --root", "here"),
        ("vfadm user add --state", "active inactive"),
    ] {
        let ask = format!(
            "compopt() {{ :; }}; cd $(mktemp -d); touch here; . {}; COMP_WORDS=({words} ''); \
             COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); _vfadm vfadm '' \"${{COMP_WORDS[COMP_CWORD - 1]}}\"; \
             echo ${{COMPREPLY[@]}}",
            script.display()
        );
        assert_eq!(system("/bin/bash", &["-c", &ask]).trim(), expected, "{words}");
    }
}

#[test]
fn synopses_can_be_typed() {
    let lab = Lab::bare();
    lab.ok(&format!("man --dir {}", lab.dir().display()));
    let page = fs::read_to_string(lab.dir().join("vfadm-session-run.8")).unwrap();
    let line = page.lines().skip_while(|l| *l != ".SH SYNOPSIS").nth(1).unwrap();
    assert_eq!(line, "vfadm session run [OPTIONS] \\-\\-user <USER> [SESSION] \\-\\- <CMD>...");
}

#[test]
fn help_offers_no_command_that_does_nothing() {
    let lab = Lab::bare();
    let help = lab.ok("--help").stdout;
    for later in ["apply", "export", "metrics", "report"] {
        assert!(
            !help.lines().any(|l| l.trim_start().starts_with(&format!("{later} "))),
            "{later} is of a later part"
        );
    }
}
