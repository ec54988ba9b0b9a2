//! The engines' own parsers read what they are told as it was meant, whatever the paths are: podman, docker's client,
//! docker-compose, and for Kubernetes and the Compose specification what checks documents.

use std::fs;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use serde_json::{Value, json};
use vfadm::domain::engine::Engine;
use vfadm::session::engine::{Bind, Spec, tell};

use super::engines::{spec, usual};
use crate::support::{Lab, system, wait_until};

/// Paths of folders with characters that have a meaning to somebody, and what is in the folder.
fn awkward_directories(dir: &Path) -> Vec<PathBuf> {
    let names = ["a b", "a,b", "a:b", "a\"b", "it's", "a\\b", "$HOME", "日本", "a#b"];
    names
        .iter()
        .map(|name| {
            let path = dir.join(name);
            fs::create_dir(&path).unwrap();
            path
        })
        .collect()
}

/// A line of a shell that hands what is printed to a program, as an administrator would paste it.
fn pasted(before: &str, engine: Engine, spec: &Spec, after: &str) -> String {
    format!("{before} {} {after}", tell(engine, spec).unwrap().text().unwrap().trim_end())
}

fn awkward_spec(directories: &[PathBuf]) -> Spec {
    let mut spec = spec(&[]);
    spec.binds = directories
        .iter()
        .enumerate()
        .map(|(at, path)| Bind {
            source: path.to_str().unwrap().to_owned(),
            target: format!("/t{}", path.file_name().unwrap().to_str().unwrap()),
            read_only: at % 2 == 0,
        })
        .collect();
    spec
}

/// What a parser made of the mounts: source, target, read-only; sorted.
fn sorted(mounts: impl Iterator<Item = (String, String, bool)>) -> Vec<(String, String, bool)> {
    let mut mounts: Vec<_> = mounts.collect();
    mounts.sort();
    mounts
}

fn meant(spec: &Spec) -> Vec<(String, String, bool)> {
    sorted(spec.binds.iter().map(|b| (b.source.clone(), b.target.clone(), b.read_only)))
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

#[test]
fn podman_reads_what_it_is_told() {
    let lab = Lab::bare();
    let spec = awkward_spec(&awkward_directories(lab.dir()));
    let rootfs = lab.dir().join("rootfs");
    fs::create_dir(&rootfs).unwrap();
    let store = format!("--root {0}/store --runroot {0}/run --storage-driver vfs", lab.dir().display());
    let line = pasted(
        &format!("podman {store} create --name vfadm-test"),
        Engine::Podman,
        &spec,
        &format!("--rootfs {} sh", rootfs.display()),
    );
    system("/bin/bash", &["-c", &line]);
    let shown = system("/bin/bash", &["-c", &format!("podman {store} inspect vfadm-test")]);
    let shown: Value = serde_json::from_str(&shown).unwrap();
    let mounts = shown[0]["Mounts"].as_array().unwrap();
    let read = mounts.iter().map(|m| (text(&m["Source"]), text(&m["Destination"]), m["RW"] == false));
    assert_eq!(sorted(read), meant(&spec));
    assert_eq!(shown[0]["Config"]["User"], "50000:50001");
}

/// An end for docker's client to talk to: it answers as an engine that makes every container, and notes what was asked.
struct Daemon(Child, PathBuf);

impl Daemon {
    fn start(dir: &Path) -> Daemon {
        let script = r#"
import http.server, socketserver, sys
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'
    def answer(self, body, status=200):
        self.send_response(status); self.send_header('Content-Type', 'application/json')
        self.send_header('Api-Version', '1.41'); self.send_header('Content-Length', str(len(body)))
        self.end_headers(); self.wfile.write(body)
    def do_HEAD(self): self.answer(b'')
    def do_GET(self): self.answer(b'OK' if self.path == '/_ping' else b'{}')
    def do_POST(self):
        body = self.rfile.read(int(self.headers['Content-Length']))
        open(sys.argv[2], 'wb').write(body); self.answer(b'{"Id": "0123456789ab", "Warnings": []}', 201)
    def log_message(self, *args): pass
    def address_string(self): return 'docker'
socketserver.ThreadingUnixStreamServer(sys.argv[1], Handler).serve_forever()
"#;
        let (socket, asked) = (dir.join("docker.sock"), dir.join("asked"));
        let mut python = Command::new("/usr/bin/python3");
        python.args(["-c", script]).args([&socket, &asked]).stdin(Stdio::null());
        let daemon = Daemon(python.spawn().unwrap(), asked);
        wait_until("the end listens", || UnixStream::connect(&socket).is_ok());
        daemon
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn dockers_client_reads_what_it_is_told() {
    let lab = Lab::bare();
    let spec = awkward_spec(&awkward_directories(lab.dir()));
    let daemon = Daemon::start(lab.dir());
    let before = format!("docker --host unix://{}/docker.sock create", lab.dir().display());
    system("/bin/bash", &["-c", &pasted(&before, Engine::Docker, &spec, "busybox sh")]);
    let asked: Value = serde_json::from_slice(&fs::read(&daemon.1).unwrap()).unwrap();
    let mounts = asked["HostConfig"]["Mounts"].as_array().unwrap();
    let read = mounts.iter().map(|m| (text(&m["Source"]), text(&m["Target"]), m["ReadOnly"] == true));
    assert_eq!(sorted(read), meant(&spec));
    assert_eq!(asked["User"], "50000:50001");
    assert!(asked["Env"].as_array().unwrap().contains(&json!("VFADM_SESSION=train")), "{asked}");
}

/// A directory of Python programs with these packages; made once for all runs.
fn parsers() -> &'static Path {
    static MADE: OnceLock<PathBuf> = OnceLock::new();
    MADE.get_or_init(|| {
        let venv = Path::new(env!("CARGO_TARGET_TMPDIR")).join("parsers");
        if !venv.join("complete").exists() {
            system("/usr/bin/python3", &["-m", "venv", venv.to_str().unwrap()]);
            let pip = venv.join("bin/pip");
            system(pip.to_str().unwrap(), &["install", "-q", "kubernetes-validate", "compose-spec"]);
            fs::write(venv.join("complete"), "").unwrap();
        }
        venv
    })
}

/// The mounts of a Compose document, in which `$` is written `$$`.
fn mounts_of_service(document: &Value) -> Vec<(String, String, bool)> {
    let mounts = document["services"]["train"]["volumes"].as_array().unwrap();
    let plain = |value: &Value| text(value).replace("$$", "$");
    sorted(mounts.iter().map(|m| (plain(&m["source"]), plain(&m["target"]), m["read_only"] == true)))
}

#[test]
fn compose_reads_what_it_is_told() {
    let lab = Lab::bare();
    let spec = awkward_spec(&awkward_directories(lab.dir()));
    let mut service: Value =
        serde_yaml::from_str(&tell(Engine::Compose, &spec).unwrap().text().unwrap()).unwrap();
    service["image"] = json!("busybox");
    let file = lab.dir().join("compose.yaml");
    let write = |service: &Value| {
        let document = json!({"services": {"train": service}});
        fs::write(&file, serde_yaml::to_string(&document).unwrap()).unwrap();
    };
    write(&service);
    let script = "import sys, compose_spec; c = compose_spec.PyCompose.from_yaml(open(sys.argv[1]).read()); \
                  c.validate(); print(c.to_json())";
    let python = parsers().join("bin/python");
    let read = system(python.to_str().unwrap(), &["-c", script, file.to_str().unwrap()]);
    let read: Value = serde_json::from_str(&read).unwrap();
    assert_eq!(mounts_of_service(&read), meant(&spec));
    for mount in read["services"]["train"]["volumes"].as_array().unwrap() {
        assert!(mount["bind"].is_object() && mount["bind"]["create_host_path"] != true, "{mount}");
    }

    // Debian's docker-compose replaces variables as well; it is older than this key.
    for mount in service["volumes"].as_array_mut().unwrap() {
        mount.as_object_mut().unwrap().remove("bind");
    }
    write(&service);
    let shown = system("docker-compose", &["-f", file.to_str().unwrap(), "config"]);
    assert_eq!(mounts_of_service(&serde_yaml::from_str(&shown).unwrap()), meant(&spec));
}

#[test]
fn a_pod_with_what_kubernetes_is_told_fits_its_schema() {
    let program = parsers().join("bin/kubernetes-validate");
    let lab = Lab::bare();
    let told: Value = serde_yaml::from_str(&tell(Engine::K8s, &usual()).unwrap().text().unwrap()).unwrap();
    let pod = |told: &Value| {
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "train"}, "spec": {
            "volumes": told["volumes"],
            "containers": [{"name": "main", "image": "busybox", "env": told["env"],
                "volumeMounts": told["volumeMounts"], "securityContext": told["securityContext"]}],
        }})
    };
    let fits = |told: &Value| {
        let file = lab.dir().join("pod.yaml");
        fs::write(&file, serde_yaml::to_string(&pod(told)).unwrap()).unwrap();
        Command::new(&program).arg("--strict").arg(&file).output().unwrap().status.success()
    };
    assert!(fits(&told));
    let mut wrong = told;
    wrong["volumeMounts"][0]["read_only"] = json!(true);
    assert!(!fits(&wrong), "the check can fail");
}
