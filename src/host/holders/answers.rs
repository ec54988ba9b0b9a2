//! What the tools say, read: one answer for each name, in their order. What is not understood is no answer.

use serde_json::Value;

use super::super::program::Said;
use crate::domain::holder::{Engine, Life};

fn unknown(said: &Said, name: &str) -> Life {
    let complaint = said.complaint();
    let told = if complaint.is_empty() { format!("it says nothing of {name}") } else { complaint };
    Life::Unknown(format!("'{}': {told}", said.line))
}

/// `docker|podman|nerdctl inspect`: a list of the containers that there are, and on stderr the names that mean none.
pub fn engine(engine: Engine, names: &[String], said: &Said) -> Vec<Life> {
    let found: Vec<Value> = serde_json::from_slice(&said.stdout).unwrap_or_default();
    let complaint = String::from_utf8_lossy(&said.stderr).to_lowercase();
    let missing = |name: &str| {
        let name = name.to_lowercase();
        let of_it = |line: &str| {
            ["no such container", "no such object"].iter().any(|words| {
                line.split(words).skip(1).any(|rest| {
                    rest.split(|c: char| !(c.is_ascii_alphanumeric() || "_.-".contains(c))).any(|w| w == name)
                })
            })
        };
        complaint.lines().any(of_it)
    };
    let answer = |name: &String| match found.iter().find(|c| is_called(c, name)) {
        Some(container) => match container["State"]["Status"].as_str() {
            Some(state) => container_life(engine, name, state),
            None => unknown(said, name),
        },
        None if said.status != 0 && missing(name) => {
            Life::Gone(format!("{} knows no container {name}", engine.name()))
        }
        None => unknown(said, name),
    };
    names.iter().map(answer).collect()
}

/// The first process of a container, as `inspect` or `runc list` tells it; `None` where it has none.
pub fn init(engine: Engine, name: &str, said: &Said) -> Option<u32> {
    let found: Vec<Value> = serde_json::from_slice(&said.stdout).ok()?;
    let pid = match engine {
        Engine::Runc => &found.iter().find(|c| c["id"] == name)?["pid"],
        _ => &found.iter().find(|c| is_called(c, name))?["State"]["Pid"],
    };
    pid.as_u64().and_then(|pid| u32::try_from(pid).ok()).filter(|pid| *pid > 1)
}

/// True when a document of `inspect` is about this container. Docker writes a slash before the name.
fn is_called(container: &Value, name: &str) -> bool {
    let by_name = container["Name"].as_str().is_some_and(|n| n.trim_start_matches('/') == name);
    let id = container["Id"].as_str().or(container["ID"].as_str()).unwrap_or_default();
    by_name || (name.len() >= 12 && id.starts_with(name))
}

/// One that was only made may be started at any time; one that is being removed has ended.
fn container_life(engine: Engine, name: &str, state: &str) -> Life {
    match state.to_lowercase().as_str() {
        "exited" | "stopped" | "dead" | "removing" => {
            Life::Gone(format!("{} says that the container {name} is {state}", engine.name()))
        }
        "created" | "configured" | "initialized" | "running" | "paused" | "restarting" | "stopping" => {
            Life::Alive
        }
        other => Life::Unknown(format!("{} says that the container {name} is {other}", engine.name())),
    }
}

/// `runc list`: all that there are, `null` where there are none.
pub fn runc(names: &[String], said: &Said) -> Vec<Life> {
    let found: Option<Option<Vec<Value>>> =
        Some(said).filter(|said| said.status == 0).and_then(|said| serde_json::from_slice(&said.stdout).ok());
    let answer = |name: &String| match &found {
        None => unknown(said, name),
        Some(list) => match list.iter().flatten().find(|c| c["id"] == name.as_str()) {
            None => Life::Gone(format!("runc knows no container {name}")),
            Some(container) => {
                container_life(Engine::Runc, name, container["status"].as_str().unwrap_or_default())
            }
        },
    };
    names.iter().map(answer).collect()
}

/// `systemctl is-active`: a line for each unit; a unit that there is not is `inactive`. Without a system manager it says
/// nothing.
pub fn systemctl(names: &[String], said: &Said) -> Vec<Life> {
    let text = said.text();
    let states: Vec<&str> = text.lines().map(str::trim).collect();
    if states.len() != names.len() {
        return names.iter().map(|name| unknown(said, name)).collect();
    }
    let answer = |(name, state): (&String, &str)| match state {
        "active" | "reloading" | "refreshing" | "activating" | "deactivating" | "maintenance" => Life::Alive,
        "inactive" | "failed" | "not-found" => Life::Gone(format!("the unit {name} is {state}")),
        _ => unknown(said, name),
    };
    names.iter().zip(states).map(answer).collect()
}

/// The states in which a job has ended and does not run again by itself (squeue(1)). `COMPLETING` is not one: its
/// processes are being ended.
const ENDED: [&str; 10] = [
    "BOOT_FAIL",
    "CANCELLED",
    "COMPLETED",
    "DEADLINE",
    "FAILED",
    "NODE_FAIL",
    "OUT_OF_MEMORY",
    "PREEMPTED",
    "REVOKED",
    "TIMEOUT",
];

/// `squeue -h --states=all -j JOBS -o '%A %T'`: the jobs that the controller has not forgotten. For one that it does not
/// know it fails when that is the only one.
pub fn squeue(names: &[String], said: &Said) -> Vec<Life> {
    let text = said.text();
    let lines: Option<Vec<(&str, &str)>> =
        text.lines().filter(|l| !l.trim().is_empty()).map(|l| l.trim().split_once(' ')).collect();
    let forgotten = said.status == 0
        || String::from_utf8_lossy(&said.stderr).contains("Invalid job id specified") && names.len() == 1;
    let Some(lines) = lines.filter(|_| forgotten) else {
        return names.iter().map(|name| unknown(said, name)).collect();
    };
    let answer = |name: &String| {
        // An array has a line a task.
        let states: Vec<&str> = lines.iter().filter(|(job, _)| job == name).map(|(_, s)| s.trim()).collect();
        match states.iter().find(|state| !ENDED.contains(state)) {
            Some(_) => Life::Alive,
            None => Life::Gone(match states.first() {
                Some(state) => format!("Slurm says that job {name} is {state}"),
                None => format!("Slurm knows no job {name}"),
            }),
        }
    };
    names.iter().map(answer).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(status: i32, stdout: &str, stderr: &str) -> Said {
        Said { line: "tool".to_owned(), status, stdout: stdout.into(), stderr: stderr.into() }
    }

    fn names(text: &str) -> Vec<String> {
        text.split(' ').map(str::to_owned).collect()
    }

    fn words(lives: &[Life]) -> String {
        lives.iter().map(Life::name).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn engines_say_what_there_is_and_on_stderr_what_there_is_not() {
        let running = r#"[{"Id":"0123456789abcdef","Name":"/a","State":{"Status":"running"}}]"#;
        let two = r#"[{"Name":"a","State":{"Status":"exited"}},{"Name":"b","State":{"Status":"created"}}]"#;
        for (status, stdout, stderr, asked, expected) in [
            (0, running, "", "a", "alive"),
            (0, running, "", "0123456789ab", "alive"),
            (0, two, "", "a b", "dead alive"),
            (1, running, "Error: No such container: b\n", "a b", "alive dead"),
            (1, "[]\n", "Error: No such container: bb\n", "b", "unknown"),
            (125, "[]", "Error: inspecting object: no such container \"b\"", "b", "dead"),
            (1, "", "level=fatal msg=\"1 errors:\\nno such object: b\"", "b", "dead"),
            (1, "", "Cannot connect to the Docker daemon at unix:///var/run/docker.sock.", "b", "unknown"),
            (0, "", "", "b", "unknown"),
            (0, "nonsense", "", "b", "unknown"),
        ] {
            let lives = engine(Engine::Docker, &names(asked), &said(status, stdout, stderr));
            assert_eq!(words(&lives), expected, "{stdout} {stderr}");
        }
    }

    #[test]
    fn runc_lists_what_there_is() {
        for (status, stdout, expected) in [
            (0, r#"[{"id":"a","status":"running"},{"id":"b","status":"stopped"}]"#, "alive dead dead"),
            (0, "null", "dead dead dead"),
            (1, "null", "unknown unknown unknown"),
            (0, "", "unknown unknown unknown"),
        ] {
            assert_eq!(words(&runc(&names("a b c"), &said(status, stdout, ""))), expected, "{stdout}");
        }
    }

    #[test]
    fn the_system_manager_answers_in_order_or_not_at_all() {
        for (status, stdout, expected) in [
            (3, "active\ninactive\n", "alive dead"),
            (3, "failed\nactivating\n", "dead alive"),
            (4, "unknown\ninactive\n", "unknown dead"),
            (1, "", "unknown unknown"),
            (3, "inactive\n", "unknown unknown"),
        ] {
            assert_eq!(words(&systemctl(&names("a b"), &said(status, stdout, ""))), expected, "{stdout}");
        }
    }

    #[test]
    fn slurm_forgets_jobs_and_names_their_end() {
        let invalid = "slurm_load_jobs error: Invalid job id specified\n";
        for (status, stdout, stderr, asked, expected) in [
            (0, "1 RUNNING\n2 COMPLETED\n", "", "1 2 3", "alive dead dead"),
            (0, "1 COMPLETED\n1 PENDING\n2 COMPLETING\n", "", "1 2", "alive alive"),
            (0, "", "", "1", "dead"),
            (1, "", invalid, "1", "dead"),
            (1, "", invalid, "1 2", "unknown unknown"),
            (1, "", "slurm_load_jobs error: Unable to contact slurm controller", "1", "unknown"),
            (0, "nonsense\n", "", "1", "unknown"),
        ] {
            let lives = squeue(&names(asked), &said(status, stdout, stderr));
            assert_eq!(words(&lives), expected, "{stdout}{stderr}");
        }
    }

    #[test]
    fn the_first_process_of_a_container_is_told() {
        let inspected = r#"[{"Id":"x","Name":"/a","State":{"Status":"running","Pid":42}}]"#;
        let listed = r#"[{"id":"b","pid":7,"status":"running"},{"id":"a","pid":43,"status":"running"}]"#;
        let stopped = r#"[{"Id":"x","Name":"a","State":{"Status":"exited","Pid":0}}]"#;
        for (engine, stdout, expected) in [
            (Engine::Docker, inspected, Some(42)),
            (Engine::Runc, listed, Some(43)),
            (Engine::Podman, stopped, None),
            (Engine::Podman, "[]", None),
            (Engine::Runc, "null", None),
        ] {
            let said = Said { line: "x".to_owned(), status: 0, stdout: stdout.into(), stderr: Vec::new() };
            assert_eq!(init(engine, "a", &said), expected, "{stdout}");
        }
    }

    #[test]
    fn whatever_a_tool_says_each_name_has_one_answer() {
        let samples: [&[u8]; 6] = [
            br#"[{"Id":"0123456789abcdef","Name":"/a","State":{"Status":"running"}}]"#,
            br#"[{"id":"a","status":"stopped"}]"#,
            b"Error: No such container: a\n",
            b"active\ninactive\n",
            b"1 RUNNING\n2 COMPLETED\n",
            b"slurm_load_jobs error: Invalid job id specified\n",
        ];
        let names = names("a 1");
        crate::testing::each(&samples, |bytes| {
            for status in [0, 1] {
                let said =
                    Said { line: "tool".to_owned(), status, stdout: bytes.to_vec(), stderr: bytes.to_vec() };
                let all = [
                    engine(Engine::Docker, &names, &said),
                    runc(&names, &said),
                    systemctl(&names, &said),
                    squeue(&names, &said),
                ];
                let _ = (init(Engine::Docker, "a", &said), init(Engine::Runc, "a", &said));
                assert!(all.iter().all(|lives| lives.len() == names.len()));
            }
        });
    }
}
