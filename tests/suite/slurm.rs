//! The scripts of examples/slurm, run as Slurm runs them.

use std::path::PathBuf;

use crate::support::{Host, Lab, Output, VFADM, system};

use super::consistency::records;

fn script(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("examples/slurm").join(name)
}

/// Runs one of the scripts on a node of a job.
fn run(host: &Host<'_>, name: &str, node: &str, user: &str, comment: &str) -> Output {
    let mut command = host.command(&script(name));
    command.env("VFADM", VFADM).env("SLURM_JOB_ID", "7").env("SLURM_JOB_USER", user);
    command.env("SLURMD_NODENAME", node).env("SLURM_JOB_COMMENT", comment);
    command.env("SLURM_JOB_NODELIST", "gpu[01-02]");
    Output::of(format!("{name} on {node}"), &command.output().unwrap())
}

#[test]
fn the_scripts_are_ones_that_a_shell_accepts() {
    for name in ["prolog", "epilog"] {
        let path = script(name);
        system("/bin/sh", &["-n", path.to_str().unwrap()]);
        system("/bin/bash", &["-n", path.to_str().unwrap()]);
    }
}

#[test]
fn a_job_is_a_session_from_its_first_prolog_to_its_last_epilog() {
    let lab = Lab::plain();
    lab.ok("vfolder create alice/data");
    let (one, two) = (Host::new(&lab, "gpu01"), Host::new(&lab, "gpu02"));
    for host in [&one, &two] {
        host.tool("squeue", "echo 7 RUNNING");
    }
    let comment = "vfadm: data:/workspace:ro";
    run(&one, "prolog", "gpu01", "alice", comment).exits(0);
    run(&two, "prolog", "gpu02", "alice", comment).exits(0);
    let session = records(&lab, "sessions")["job-7"].clone();
    let nodes: Vec<_> = session["kernels"].as_array().unwrap().iter().map(|k| &k["node"]).collect();
    assert_eq!(nodes, ["gpu01", "gpu02"], "{session}");
    assert_eq!(session["kernels"][1]["holder"], serde_json::json!({"kind": "slurm", "job": 7}));
    assert_eq!(
        (&session["mounts"][0]["target"], &session["mounts"][0]["permission"]),
        (&"/workspace".into(), &"ro".into())
    );
    for host in [&one, &two] {
        assert_eq!(host.asked("squeue"), Vec::<String>::new(), "a prolog must not call Slurm");
    }
    lab.fails(6, "vfolder delete alice/data").says(&["Slurm job 7 on gpu01"]);
    // The node went down and the job runs on it again.
    run(&two, "prolog", "gpu02", "alice", comment).exits(0);
    assert_eq!(records(&lab, "sessions")["job-7"]["kernels"].as_array().map(Vec::len), Some(2));
    two.asked("squeue");
    run(&one, "epilog", "gpu01", "alice", comment).exits(0);
    run(&one, "epilog", "gpu01", "alice", comment).exits(0);
    assert_eq!(records(&lab, "sessions").len(), 1);
    run(&two, "epilog", "gpu02", "alice", comment).exits(0);
    assert_eq!(records(&lab, "sessions").len(), 0);
    assert_eq!(two.asked("squeue"), Vec::<String>::new(), "an epilog must not call Slurm");
    run(&two, "epilog", "gpu02", "alice", comment).exits(0);
    lab.ok("vfolder delete alice/data");
}

#[test]
fn a_node_whose_epilog_never_ran_is_forgotten_once_slurm_forgot_the_job() {
    let lab = Lab::plain();
    let host = Host::new(&lab, "gpu01");
    run(&host, "prolog", "gpu01", "alice", "").exits(0);
    for (says, outcome) in [
        ("echo 7 RUNNING", "unchanged"),
        ("echo 7 COMPLETING", "unchanged"),
        ("echo 'slurm_load_jobs error: Invalid job id specified' >&2; exit 1", "deleted"),
    ] {
        host.tool("squeue", says);
        assert_eq!(host.json("session prune")["outcome"], outcome, "{says}");
    }
    assert_eq!(records(&lab, "sessions").len(), 0);
}

#[test]
fn what_a_user_wrote_takes_no_node_out_of_service_and_runs_nothing() {
    let lab = Lab::plain();
    lab.ok("vfolder create bob/data");
    let host = Host::new(&lab, "gpu01");
    let mark = lab.dir().join("mark");
    let evil = format!("vfadm: $(touch${{IFS}}{}) `id` --user=bob -m;id * bob/data", mark.display());
    for (user, comment) in
        [("stranger", ""), ("alice", "vfadm: none"), ("alice", "vfadm: bob/data"), ("alice", &evil)]
    {
        run(&host, "prolog", "gpu01", user, comment).exits(0);
        assert_eq!(records(&lab, "sessions").len(), 0, "{user} {comment}");
        run(&host, "epilog", "gpu01", user, comment).exits(0);
    }
    assert!(!mark.exists());
    std::fs::remove_file(lab.registry()).unwrap();
    run(&host, "prolog", "gpu01", "alice", "").exits(1);
    run(&host, "epilog", "gpu01", "alice", "").exits(0);
}
