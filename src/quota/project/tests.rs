use super::report::{Line, parse, parse_line};
use super::*;
use crate::host::process::parse_mounts;

/// Printed by xfs_quota 6.1 on a filesystem with an over-full project, a large limit, and one without any.
const REPORT: &[u8] = b"\
#0                   0          0          0     00 [--------]
#10000            8192          0       4096     00 [--none--]
#10001               0       8192      12288     00 [6 days]
#4000000001         12          0 4100000000     00 [--------]
#10002              77          0          0     00 [--------]

";

#[test]
fn a_report_is_read_with_grace_columns_and_large_numbers() {
    let found = parse(REPORT, None).unwrap();
    let reading = |id| found[&id].reading();
    assert_eq!(reading(10000), Reading { used: Some(8 << 20), limit: Some(4 << 20) });
    // The soft limit is the true one while the hard one is raised.
    assert_eq!(reading(10001), Reading { used: Some(0), limit: Some(8 << 20) });
    assert_eq!(reading(4_000_000_001).limit, Some(4_100_000_000 << 10));
    assert_eq!(reading(10002), Reading { used: Some(77 << 10), limit: None });
    let wanted = [10000].into();
    assert_eq!(parse(REPORT, Some(&wanted)).unwrap().len(), 1);
}

#[test]
fn a_report_without_a_line_is_a_failure() {
    assert_eq!(parse(b"", None), None);
    assert_eq!(parse(b"\nProject quota on /mnt (/dev/loop0)\n", None), None);
    assert_eq!(parse_line("alice   12 0 0 00 [--------]"), None);
    assert_eq!(parse_line("#12 x 0 0"), None);
    assert_eq!(parse_line("#12 1 2"), None);
    assert_eq!(parse_line("#0 0 0 0 00 [--------]"), Some((0, Line { used: 0, soft: 0, hard: 0 })));
}

#[test]
fn a_report_of_a_million_lines_is_read_in_one_go() {
    let mut text = Vec::with_capacity(64 << 20);
    for id in 0..1_000_000_u64 {
        text.extend(format!("#{id:<19} {id:>10} {:>10} {:>10}     00 [--------]\n", 0, 4096).bytes());
    }
    let wanted = (0..1000).map(|n| n * 1000).collect();
    let found = parse(&text, Some(&wanted)).unwrap();
    assert_eq!(found.len(), 1000);
    assert_eq!(found[&999_000].used, 999_000);
}

#[test]
fn numbers_that_have_names_are_somebody_elses() {
    let projid = "# comment: 10001\n\nweb:10000\n db : 10002 \nbroken\n10003\n";
    let named: Vec<u64> = (10000..10005).filter(|id| tool::names(projid, 1, *id)).collect();
    assert_eq!(named, [10000, 10002]);
    let projects = "10000:/srv/web\n#10001:/x\n10002:/a:b\n";
    let named: Vec<u64> = (10000..10005).filter(|id| tool::names(projects, 0, *id)).collect();
    assert_eq!(named, [10000, 10002]);
}

#[test]
fn the_mount_option_that_is_missing_is_said() {
    let mount = |kind: &str, options: &str| {
        let line = format!("74 73 7:0 / /data rw,relatime - {kind} /dev/sdb1 {options}");
        parse_mounts(line.as_bytes()).remove(0)
    };
    let judged =
        |kind, options: &str, installed| judge(kind, &mount(DriverKind::name(kind), options), installed);
    for options in ["rw,attr2,inode64,prjquota", "rw,pquota", "prjquota,rw"] {
        assert_eq!(judged(DriverKind::Xfs, options, true), Readiness::Ready, "{options}");
    }
    for (kind, options, installed, reason, remedy) in [
        (DriverKind::Xfs, "rw,usrquota", true, "without the option prjquota", "rootflags=pquota"),
        (DriverKind::Ext4, "rw", true, "without the option prjquota", "tune2fs -O project,quota"),
        (DriverKind::Xfs, "rw,pqnoenforce", true, "not limited", "prjquota"),
        (DriverKind::Xfs, "rw,prjquota", false, "xfs_quota is not installed", "xfsprogs"),
    ] {
        let Readiness::Unable { reason: why, remedy: what } = judged(kind, options, installed) else {
            panic!("{options} is not ready")
        };
        assert!(why.contains(reason) && what.contains(remedy), "{why}: {what}");
    }
}

#[test]
fn a_limit_is_rounded_up_to_whole_blocks_and_never_to_none() {
    for (asked, block, effective) in [
        (0, 4096, 4096),
        (1, 512, 1024),
        (1024, 1024, 1024),
        (1025, 1024, 2048),
        (8 << 20, 65536, 8 << 20),
        ((8 << 20) + 1, 4096, (8 << 20) + 4096),
    ] {
        assert_eq!(round_up(asked, block), effective, "{asked} {block}");
    }
}

#[test]
fn whatever_a_report_holds_is_passed_over_or_read() {
    let report = "Project quota on /v (/dev/loop0)\n#0  0  0  0  00 [--------]\n#10000  8192  0  4096  00 [--none--]\n";
    crate::testing::each(&[report.as_bytes()], |text| {
        for (id, line) in parse(text, None).unwrap_or_default() {
            let reading = line.reading();
            assert!(reading.used.is_some_and(|used| used >= line.used), "{id} {line:?}");
            assert_eq!(reading.limit.is_some(), line.has_limit(), "{id} {line:?}");
        }
    });
    crate::testing::each_text(&["# names\n1:/v/a\n10000:/v/b:c\n", "ml:10000\n"], |text| {
        tool::names(text, 0, 10_000);
        tool::names(text, 1, 10_000);
    });
}

#[test]
fn a_figure_beyond_all_bytes_is_the_most_there_is_and_not_a_small_one() {
    let line = Line { used: 1 << 54, soft: 0, hard: (1 << 54) + 1 };
    assert_eq!((line.reading().used, line.reading().limit), (Some(u64::MAX), Some(u64::MAX)));
}
