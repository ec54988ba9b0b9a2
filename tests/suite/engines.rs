//! What engines are told: the exact text.

use std::fs;

use serde_json::{Value, json};
use vfadm::domain::engine::Engine;
use vfadm::session::engine::{Bind, Spec, tell};

use crate::support::Lab;

/// What an engine has to know of a session with these binds: source, target, read-only.
pub fn spec(binds: &[(&str, &str, bool)]) -> Spec {
    let bind = |(source, target, read_only): &(&str, &str, bool)| Bind {
        source: (*source).to_owned(),
        target: (*target).to_owned(),
        read_only: *read_only,
    };
    Spec {
        session: Some("train".to_owned()),
        user: "alice".to_owned(),
        project: Some("ml".to_owned()),
        uid: 50_000,
        gid: 50_001,
        binds: binds.iter().map(bind).collect(),
        rootfs: None,
    }
}

/// A folder, and the insides of one twice.
pub fn usual() -> Spec {
    spec(&[
        ("/v/data", "/w", false),
        ("/run/vfadm/mounts/train/1", "/s", true),
        ("/run/vfadm/mounts/train/2", "/home/work/t", false),
    ])
}

#[test]
fn every_engine_is_told_in_its_own_words() {
    let docker = "--mount type=bind,source=/v/data,target=/w \\\n\
                  --mount type=bind,source=/run/vfadm/mounts/train/1,target=/s,readonly \\\n\
                  --mount type=bind,source=/run/vfadm/mounts/train/2,target=/home/work/t \\\n\
                  --user 50000:50001 \\\n--env HOME=/home/work \\\n--env USER=alice \\\n\
                  --env VFADM_SESSION=train \\\n--env VFADM_PROJECT=ml\n";
    for (engine, text) in [
        (Engine::Docker, docker),
        (Engine::Podman, docker),
        (Engine::Nerdctl, docker),
        (
            Engine::Compose,
            "user: 50000:50001\nenvironment:\n  HOME: /home/work\n  USER: alice\n  VFADM_SESSION: train\n  \
             VFADM_PROJECT: ml\nvolumes:\n- type: bind\n  source: /v/data\n  target: /w\n  read_only: false\n  \
             bind:\n    create_host_path: false\n- type: bind\n  source: /run/vfadm/mounts/train/1\n  target: /s\n  \
             read_only: true\n  bind:\n    create_host_path: false\n- type: bind\n  \
             source: /run/vfadm/mounts/train/2\n  target: /home/work/t\n  read_only: false\n  bind:\n    \
             create_host_path: false\n",
        ),
        (
            Engine::K8s,
            "securityContext:\n  runAsUser: 50000\n  runAsGroup: 50001\nenv:\n- name: HOME\n  value: /home/work\n\
             - name: USER\n  value: alice\n- name: VFADM_SESSION\n  value: train\n- name: VFADM_PROJECT\n  value: ml\n\
             volumeMounts:\n- name: vfadm-0\n  mountPath: /w\n  readOnly: false\n\
             - name: vfadm-1\n  mountPath: /s\n  readOnly: true\n  subPath: '1'\n\
             - name: vfadm-1\n  mountPath: /home/work/t\n  readOnly: false\n  subPath: '2'\n\
             volumes:\n- name: vfadm-0\n  hostPath:\n    path: /v/data\n    type: Directory\n\
             - name: vfadm-1\n  hostPath:\n    path: /run/vfadm/mounts/train\n    type: Directory\n",
        ),
        (
            Engine::Apptainer,
            "--bind /v/data:/w \\\n--bind /run/vfadm/mounts/train/1:/s:ro \\\n\
             --bind /run/vfadm/mounts/train/2:/home/work/t \\\n--env VFADM_SESSION=train \\\n\
             --env VFADM_PROJECT=ml\n",
        ),
        (
            Engine::Enroot,
            "--mount /v/data:/w:none:x-create=auto,bind,rw,nosuid,nodev,private \\\n\
             --mount /run/vfadm/mounts/train/1:/s:none:x-create=auto,bind,ro,nosuid,nodev,private \\\n\
             --mount /run/vfadm/mounts/train/2:/home/work/t:none:x-create=auto,bind,rw,nosuid,nodev,private \\\n\
             --env VFADM_SESSION=train \\\n--env VFADM_PROJECT=ml\n",
        ),
        (
            Engine::Nspawn,
            "--bind=/v/data:/w:norbind \\\n--bind-ro=/run/vfadm/mounts/train/1:/s:norbind \\\n\
             --bind=/run/vfadm/mounts/train/2:/home/work/t:norbind \\\n--setenv=HOME=/home/work \\\n\
             --setenv=USER=alice \\\n--setenv=VFADM_SESSION=train \\\n--setenv=VFADM_PROJECT=ml\n",
        ),
        (
            Engine::Bwrap,
            "--bind /v/data /w \\\n--ro-bind /run/vfadm/mounts/train/1 /s \\\n\
             --bind /run/vfadm/mounts/train/2 /home/work/t \\\n--setenv HOME /home/work \\\n\
             --setenv USER alice \\\n--setenv VFADM_SESSION train \\\n--setenv VFADM_PROJECT ml\n",
        ),
        (
            Engine::Fstab,
            "/v/data /w none bind,rw,nosuid,nodev 0 0\n\
             /run/vfadm/mounts/train/1 /s none bind,ro,nosuid,nodev 0 0\n\
             /run/vfadm/mounts/train/2 /home/work/t none bind,rw,nosuid,nodev 0 0\n",
        ),
    ] {
        assert_eq!(tell(engine, &usual()).unwrap().text().unwrap(), text, "{engine}");
    }
    let json: Value = serde_json::from_str(&tell(Engine::Json, &usual()).unwrap().text().unwrap()).unwrap();
    assert_eq!((&json["uid"], &json["gid"]), (&json!(50_000), &json!(50_001)));
    let second = json!({"source": "/run/vfadm/mounts/train/1", "target": "/s", "read_only": true});
    assert_eq!(json["mounts"][1], second);
    let oci: Value = serde_json::from_str(&tell(Engine::Oci, &usual()).unwrap().text().unwrap()).unwrap();
    assert_eq!(
        oci["mounts"][1],
        json!({"destination": "/s", "type": "bind", "source": "/run/vfadm/mounts/train/1",
               "options": ["bind", "ro", "nosuid", "nodev", "rprivate"]})
    );
    assert_eq!(oci.as_object().unwrap().len(), 1, "mounts and nothing else");
}

const AWKWARD: [&str; 10] = [
    "/v/a b",
    "/v/a,b",
    "/v/a:b",
    "/v/a\"b",
    "/v/it's",
    "/v/a\\b",
    "/v/$HOME",
    "/v/日本",
    "/v/a#b",
    "/v/a\nb",
];

#[test]
fn awkward_paths_are_escaped_the_engines_way_or_refused() {
    // In the order of AWKWARD; an empty text is a refusal.
    let docker = [
        "--mount 'type=bind,source=/v/a b,target=/w,readonly'",
        "--mount 'type=bind,\"source=/v/a,b\",target=/w,readonly'",
        "--mount type=bind,source=/v/a:b,target=/w,readonly",
        "--mount 'type=bind,\"source=/v/a\"\"b\",target=/w,readonly'",
        r"--mount 'type=bind,source=/v/it'\''s,target=/w,readonly'",
        r"--mount 'type=bind,source=/v/a\b,target=/w,readonly'",
        "--mount 'type=bind,source=/v/$HOME,target=/w,readonly'",
        "--mount 'type=bind,source=/v/日本,target=/w,readonly'",
        "--mount 'type=bind,source=/v/a#b,target=/w,readonly'",
        "",
    ];
    let mut nerdctl = docker;
    nerdctl[1..4].fill("");
    let apptainer = [
        "--bind '/v/a b:/w:ro'",
        "--mount 'type=bind,\"source=/v/a,b\",destination=/w,ro'",
        "--mount type=bind,source=/v/a:b,destination=/w,ro",
        "--mount 'type=bind,\"source=/v/a\"\"b\",destination=/w,ro'",
        r"--bind '/v/it'\''s:/w:ro'",
        r"--mount 'type=bind,source=/v/a\b,destination=/w,ro'",
        "--bind '/v/$HOME:/w:ro'",
        "--bind '/v/日本:/w:ro'",
        "--bind '/v/a#b:/w:ro'",
        "",
    ];
    let how = "none:x-create=auto,bind,ro,nosuid,nodev,private";
    let enroot: Vec<String> = ["", "", "", "/v/a\"b", r"/v/it'\''s", "", "/v/$HOME", "/v/日本", "/v/a#b", ""]
        .iter()
        .map(|path| if path.is_empty() { String::new() } else { format!("--mount '{path}:/w:{how}'") })
        .collect();
    let nspawn = [
        "'--bind-ro=/v/a b:/w:norbind'",
        "--bind-ro=/v/a,b:/w:norbind",
        r"'--bind-ro=/v/a\:b:/w:norbind'",
        "'--bind-ro=/v/a\"b:/w:norbind'",
        r"'--bind-ro=/v/it'\''s:/w:norbind'",
        r"'--bind-ro=/v/a\\b:/w:norbind'",
        "'--bind-ro=/v/$HOME:/w:norbind'",
        "'--bind-ro=/v/日本:/w:norbind'",
        "'--bind-ro=/v/a#b:/w:norbind'",
        "",
    ];
    let bwrap = [
        "--ro-bind '/v/a b' /w",
        "--ro-bind /v/a,b /w",
        "--ro-bind /v/a:b /w",
        "--ro-bind '/v/a\"b' /w",
        r"--ro-bind '/v/it'\''s' /w",
        r"--ro-bind '/v/a\b' /w",
        "--ro-bind '/v/$HOME' /w",
        "--ro-bind '/v/日本' /w",
        "--ro-bind '/v/a#b' /w",
        "",
    ];
    let escaped = ["a\\040b", "a,b", "a:b", "a\"b", "it's", "a\\134b", "$HOME", "日本", "a\\043b", "a\\012b"];
    let fstab = escaped.map(|name| format!("/v/{name} /w none bind,ro,nosuid,nodev 0 0"));
    let texts = |of: &[&str]| of.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
    for (engine, expected) in [
        (Engine::Docker, texts(&docker)),
        (Engine::Podman, texts(&docker)),
        (Engine::Nerdctl, texts(&nerdctl)),
        (Engine::Apptainer, texts(&apptainer)),
        (Engine::Enroot, enroot),
        (Engine::Nspawn, texts(&nspawn)),
        (Engine::Bwrap, texts(&bwrap)),
        (Engine::Fstab, fstab.to_vec()),
    ] {
        for (path, expected) in AWKWARD.iter().zip(expected) {
            match tell(engine, &spec(&[(path, "/w", true)])) {
                Ok(told) => {
                    let text = told.text().unwrap();
                    assert_eq!(text.lines().next().unwrap().trim_end_matches(" \\"), expected, "{engine}");
                }
                Err(error) => {
                    assert_eq!(expected, "", "{engine} {path:?}: {error}");
                    assert_eq!(error.code.exit(), 2);
                    let shown = path.replace('\n', "\\u{a}");
                    assert!(
                        error.message.contains(engine.name()) && error.message.contains(&shown),
                        "{error}"
                    );
                }
            }
        }
    }
}

#[test]
fn documents_hold_any_path_and_are_read_back_as_it_was() {
    for path in AWKWARD {
        let told = |engine| tell(engine, &spec(&[(path, "/w", true)]));
        let yaml =
            |engine| -> Value { serde_yaml::from_str(&told(engine).unwrap().text().unwrap()).unwrap() };
        let json =
            |engine| -> Value { serde_json::from_str(&told(engine).unwrap().text().unwrap()).unwrap() };
        assert_eq!(yaml(Engine::Compose)["volumes"][0]["source"], path.replace('$', "$$"));
        assert_eq!(json(Engine::Oci)["mounts"][0]["source"], path);
        assert_eq!(json(Engine::Json)["mounts"][0]["source"], path);
        match path {
            "/v/a\nb" => assert_eq!(told(Engine::K8s).unwrap_err().code.exit(), 2),
            _ => assert_eq!(yaml(Engine::K8s)["volumes"][0]["hostPath"]["path"], path),
        }
    }
    let colon = tell(Engine::K8s, &spec(&[("/v", "/w:x", false)])).unwrap_err();
    assert_eq!(colon.message, "k8s cannot be told to mount '/w:x': a mountPath must not contain ':'");
}

#[test]
fn what_is_printed_is_all_that_is_on_stdout() {
    let lab = Lab::plain();
    lab.ok("vfolder create alice/data");
    lab.ok("vfolder create alice/other");
    fs::create_dir(lab.path("alice/data").join("sub")).unwrap();
    let request = "--user alice -m data:/w:ro -m alice/data/sub:/s --engine bwrap";
    let planned =
        lab.ok(&format!("session plan {request}")).says(&["user/alice/other is not mounted: not asked for"]);
    let path = lab.path("alice/data").display().to_string();
    assert!(
        planned.stdout.starts_with(&format!("--ro-bind {path} /w \\\n--bind /run/vfadm/mounts/SESSION/1 /s")),
        "{planned:?}"
    );
    assert_eq!(lab.json("session list")["count"], 0);

    let started = lab.ok(&format!("session start print-1 {request}")).says(&["session print-1 started"]);
    assert!(started.stdout.contains("--bind /run/vfadm/mounts/print-1/1 /s \\\n"), "{started:?}");
    assert!(!started.stdout.contains("started"), "{started:?}");
    lab.ok("session stop print-1");
    let document = lab.json(&format!("session start print-1 {request}"))["item"]["engine"].clone();
    assert_eq!(document["name"], "bwrap");
    assert_eq!(
        document["arguments"].as_array().unwrap()[..3],
        [json!("--ro-bind"), json!(path), json!("/w")]
    );
    lab.ok("session stop print-1");
    let planned = lab.json("session plan --user alice -m data:/w --engine oci");
    assert_eq!(planned["engine"]["document"]["mounts"][0]["destination"], "/w");
    let targets = lab.ok("session plan --user alice -m data:/w --engine fstab --rootfs /srv/root");
    assert!(targets.stdout.contains(" /srv/root/w none bind,rw"), "{targets:?}");
    lab.fails(2, "session plan --user alice --engine docker --rootfs /srv/root").says(&["docker", "rootfs"]);
    lab.fails(2, "session plan --user alice --engine lxc").says(&["'lxc' is not an engine", "bwrap"]);
}

/// A kernel that joins is told what the others were; its places are the session's, which go with the last kernel here.
#[test]
fn a_kernel_that_joins_tells_its_engine_the_same() {
    let lab = Lab::plain();
    lab.ok("vfolder create alice/data");
    fs::create_dir_all(lab.path("alice/data").join("runs/7")).unwrap();
    let name = format!("join-{}", std::process::id());
    let mounts = "-m data:/workspace:ro -m alice/data/runs/7:/run7";
    let first = lab.ok(&format!("session start {name} --user alice {mounts} --kernel main --engine bwrap"));
    let joined = lab.ok(&format!("session start {name} --kernel sub1 --engine bwrap"));
    assert_eq!(joined.stdout, first.stdout);
    assert!(first.stdout.contains(&format!("--bind /run/vfadm/mounts/{name}/1 /run7")), "{first:?}");
    let place = std::path::PathBuf::from(format!("/run/vfadm/mounts/{name}"));
    lab.ok(&format!("session start {name} --kernel far@node9"));
    lab.ok(&format!("session stop {name} --kernel main"));
    assert!(place.exists(), "sub1 is here");
    lab.ok(&format!("session stop {name} --kernel sub1"));
    assert!(!place.exists(), "only another node has kernels");
    lab.ok(&format!("session stop {name}"));
}

#[test]
fn prune_takes_the_places_of_what_it_ends() {
    let lab = Lab::plain();
    lab.ok("vfolder create alice/data");
    fs::create_dir_all(lab.path("alice/data").join("runs/7")).unwrap();
    let name = format!("prune-{}", std::process::id());
    lab.ok(&format!(
        "session start {name} --user alice -m alice/data/runs/7:/run7 --engine bwrap --lease 1s"
    ));
    let place = std::path::PathBuf::from(format!("/run/vfadm/mounts/{name}"));
    assert!(place.join("0").exists());
    std::thread::sleep(std::time::Duration::from_millis(2100));
    lab.ok("session prune --dry-run");
    assert!(place.exists());
    lab.ok("session prune");
    assert!(!place.exists());
    assert_eq!(lab.json("session prune")["outcome"], "unchanged");
    lab.ok("vfolder delete alice/data");
}
