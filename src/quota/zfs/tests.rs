mod clones;

use super::tool::parse;
use super::*;

/// `zfs get -Hp -r -o name,property,value used,quota,vfadm:limit` of zfs-fuse 0.7; OpenZFS 2.1 prints the same fields.
const PRINTED: &str = "\
tank/v\tused\t8806400
tank/v\tquota\t0
tank/v\tvfadm:limit\t-
tank/v/aa\tused\t8511488
tank/v/aa\tquota\t8519680
tank/v/aa\tvfadm:limit\t8388608
tank/v/bb\tused\t114688
tank/v/bb\tquota\t1073741824
tank/v/bb\tvfadm:limit\t-
tank/v/bb@daily\tused\t0
tank/v/bb@daily\tquota\t-
";

#[test]
fn limits_are_read_from_what_zfs_prints() {
    let found = parse(PRINTED);
    let reading = |name: &str| found.of(name).unwrap().reading();
    assert_eq!(reading("tank/v"), Reading { used: Some(8806400), limit: None });
    assert_eq!(reading("tank/v/aa"), Reading { used: Some(8511488), limit: Some(8519680) });
    // What holds is the raised quota; what is to hold was parked.
    assert_eq!(found.of("tank/v/aa").unwrap().limit(), Some(8 << 20));
    assert_eq!(reading("tank/v/bb"), Reading { used: Some(114688), limit: Some(1 << 30) });
    let above = parse("tank/v/cc\tquota\t4096\tlocal\ntank/v/cc\tvfadm:limit\t5\tinherited from tank\n");
    assert!(!above.of("tank/v/cc").unwrap().is_raised());
    let own = parse("tank/v/cc\tquota\t4096\tlocal\ntank/v/cc\tvfadm:limit\t5\tlocal\n");
    assert!(own.of("tank/v/cc").unwrap().is_raised());
    assert!(found.of("tank/v/bb@daily").is_none());
    assert_eq!(parse("").len(), 0);
    assert_eq!(parse("no tabs here\n").len(), 0);
}

#[test]
fn an_audit_tells_scopes_from_what_is_not_accounted_for() {
    let found = parse(PRINTED);
    let volume = Path::new("/tank/v");
    let say = |name: &str, first: &str, rest, scope| {
        judge(volume, name, first, rest, scope, found.of(name).unwrap()).map(|e| (e.kind, e.mendable))
    };
    assert_eq!(say("tank/v/aa", "aa", None, Some(0)), Some((EscapeKind::RaisedLimit, true)));
    assert_eq!(say("tank/v/bb", "bb", None, Some(0)), None);
    assert_eq!(say("tank/v/bb", "aa", Some("bb"), Some(0)), Some((EscapeKind::NestedSubvolume, false)));
    assert_eq!(say("tank/v/bb", "home", None, None), None);
    let stray = "0123456789abcdef0123456789abcdef";
    assert_eq!(say("tank/v/bb", stray, None, None), Some((EscapeKind::Unaccounted, false)));
}

#[test]
fn what_is_not_on_zfs_is_refused_with_the_reason() {
    let temp = tempfile::tempdir().unwrap();
    let Readiness::Unable { reason, .. } = Zfs.inspect(temp.path()).unwrap() else { panic!("unable") };
    assert!(reason.ends_with("is not on zfs"), "{reason}");
}

#[test]
fn whatever_zfs_prints_is_passed_over_or_read() {
    let get = "tank/a\tused\t8192\t-\ntank/a\tquota\t67108864\tlocal\ntank/a\tvfadm:limit\t9\tlocal\ntank/a@s\tused\t1\t-\n";
    crate::testing::each_text(&[get, "tank/b\torigin\ttank/a@s\t-\n"], |text| {
        let datasets = parse(text);
        assert!(datasets.iter().all(|(name, _)| !name.contains(['@', '\t', '\n'])));
        for (_, properties) in datasets.iter() {
            let _ = (properties.reading(), properties.limit(), properties.is_raised());
        }
        datasets.origins().for_each(drop);
    });
}
