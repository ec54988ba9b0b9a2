//! What a session tries and must not get.

use super::*;

const PTRACE: &str = "import ctypes, sys
libc = ctypes.CDLL(None, use_errno=True)
for pid in sys.argv[1:]:
    libc.ptrace(16, int(pid), 0, 0)
    print('ptrace', ctypes.get_errno())
";

#[test]
fn one_session_reaches_nothing_of_another() {
    let theirs = folder();
    fs::write(theirs.path().join("text"), "secret").unwrap();
    let victim = Running::start(
        json!({"binds": [[theirs.path(), "/data", false]]}),
        "echo secret > /tmp/note; echo secret > /dev/shm/note; ipcmk -M 4096 -p 0666; echo up; exec sleep 60",
    );
    victim.wait_for("up");
    let init = victim.init.as_raw();
    let command = victim.command();
    // The victim's command is of the attacker's user: outside of a session it could be read.
    assert!(Path::new(&format!("/proc/{command}/root/data/text")).exists());

    let attack = format!(
        "for pid in {init} {command}; do cat /proc/$pid/root/data/text /proc/$pid/environ; kill -9 $pid; done; \
         kill -9 -1; cat /proc/[0-9]*/root/data/text; ls /tmp /dev/shm; ipcs -m | grep -c 0x; \
         ls -d /proc/[0-9]* | wc -l"
    );
    let (_, text) = shell(json!({}), &attack);
    assert!(!text.contains("secret") && !text.contains("note"), "{text}");
    assert!(text.matches("No such process").count() >= 2, "{text}");
    assert!(text.contains("\n0\n"), "no shared memory is seen: {text}");
    assert!(alive(victim.init) && alive(command));

    let mut spec = json!({});
    spec["command"] = json!(["/usr/bin/python3", "-c", PTRACE, init.to_string(), command.to_string()]);
    if Path::new("/usr/bin/python3").exists() {
        let (_, text) = finish(supervised(&spec).output().unwrap());
        assert_eq!(text, "ptrace 3\nptrace 3\n", "ESRCH");
    }
}

#[test]
fn a_command_has_no_privilege_to_lose() {
    for userns in [false, true] {
        let (_, text) = shell(json!({"userns": userns}), "cat /proc/self/status; ls /proc/self/fd; umask");
        // Two signals of glibc's own cannot be reset by it, and who ran the test may ignore them.
        let text = text.replace("SigIgn:\t0000000080000000", "SigIgn:\t0000000000000000");
        for line in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "SigBlk", "SigIgn", "SigCgt"] {
            assert!(text.contains(&format!("\n{line}:\t0000000000000000\n")), "{text}");
        }
        for line in ["NoNewPrivs:\t1", "Uid:\t50000\t50000\t50000\t50000", "Gid:\t50000\t50000\t50000\t50000"]
        {
            assert!(text.contains(&format!("\n{line}\n")), "{line}: {text}");
        }
        assert!(text.contains("\nGroups:\t \n"), "{text}");
        // 3 is the listing's own.
        assert!(text.ends_with("\n0\n1\n2\n3\n0002\n"), "{text}");
    }
}

#[test]
fn the_first_process_shows_nothing_of_vfadms_memory() {
    for userns in [false, true] {
        let script =
            "cat /proc/1/mem /proc/1/environ /proc/1/maps; ls /proc/1/fd /proc/1/root; kill -9 1; echo alive";
        let (status, text) = shell(json!({"userns": userns}), script);
        assert_eq!(status, 0, "{text}");
        assert!(text.matches("denied").count() >= 5 && text.contains("alive"), "{text}");
    }
}

#[test]
fn the_first_process_has_no_privilege_either() {
    for userns in [false, true] {
        let running = Running::start(json!({"userns": userns}), "echo up; sleep 60");
        running.wait_for("up");
        let status = fs::read_to_string(format!("/proc/{}/status", running.init)).unwrap();
        for line in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
            assert!(status.contains(&format!("\n{line}:\t0000000000000000\n")), "{status}");
        }
        assert!(status.contains("\nUid:\t50000\t50000\t50000\t50000\n"), "{status}");
        assert!(status.contains("\nNoNewPrivs:\t1\n") && status.contains("\nGroups:\t \n"), "{status}");
        assert_eq!(
            fs::read_dir(format!("/proc/{}/fd", running.init)).unwrap().count(),
            3 + 2,
            "pipes to vfadm"
        );
    }
}

#[test]
fn the_kernels_switches_cannot_be_written() {
    let script = "for f in /proc/sys/kernel/core_pattern /proc/sysrq-trigger /sys/kernel/uevent_helper /etc/passwd; do \
                  (echo x > $f) 2>/dev/null && echo wrote $f; done; mount -t tmpfs none /mnt 2>/dev/null && echo mounted; \
                  mknod /tmp/null c 1 3 2>/dev/null && echo made; chroot / true 2>/dev/null && echo rooted; true";
    assert_eq!(shell(json!({}), script), (0, String::new()));
}

#[test]
fn a_user_namespace_keeps_files_in_their_project() {
    let image = Image::new("xfs");
    let data = folder_in(image.mnt().to_str().unwrap());
    for userns in [false, true] {
        let file = data.path().join(format!("file-{userns}"));
        fs::write(&file, "x").unwrap();
        std::os::unix::fs::chown(&file, Some(UID), Some(UID)).unwrap();
        run("chattr", &["-p", "7", file.to_str().unwrap()]);
        let spec = json!({"userns": userns, "binds": [[data.path(), "/data", false]]});
        let script =
            format!("chattr -p 0 /data/file-{userns}; lsattr -p /data/file-{userns}; cat /proc/self/uid_map");
        let (_, text) = shell(spec, &script);
        // Without one the owner can leave: what the namespace is for.
        assert_eq!(text.contains("7 -"), userns, "{text}");
        assert_eq!(text.contains("50000      50000          1\n"), userns, "{text}");
    }
}

#[test]
fn a_session_without_input_has_no_terminal_to_type_into() {
    let (_, text) = shell(json!({}), "exec 3< /dev/tty || true");
    assert!(text.contains("No such device or address"), "{text}");
}
