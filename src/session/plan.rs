//! Which folders a session gets, and where: a pure function from what is known to the list of mounts.

use crate::domain::error::{Error, Result};
use crate::domain::name;
use crate::domain::owner::Owner;
use crate::domain::permission::{Level, Source};
use crate::domain::reference::MountRequest;

/// The home of every session.
pub const HOME: &str = "/home/work";

/// A folder that the session's user can reach, as the planner sees it.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// Its key: `user/alice/data`.
    pub key: String,
    /// Whose it is.
    pub owner: Owner,
    /// Its name.
    pub name: String,
    /// What the user may do.
    pub level: Level,
    /// Where that comes from.
    pub source: Source,
    /// Why it cannot be mounted, where it cannot: an error with its exit code.
    pub obstacle: Option<Error>,
}

/// A mount that was asked for, with the folder it means.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Index into the candidates.
    pub candidate: usize,
    /// What was typed.
    pub request: MountRequest,
}

/// One mount of the plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// Index into the candidates.
    pub candidate: usize,
    /// The path inside the folder; empty for all of it.
    pub subpath: String,
    /// Where, normalised.
    pub target: String,
    /// `ro` or `rw`.
    pub permission: Level,
    /// True when it came without being asked for.
    pub auto: bool,
    /// Where it comes from, in words.
    pub origin: &'static str,
}

/// The mounts of a session, and why the other folders are not among them.
#[derive(Clone, Debug, Default)]
pub struct MountPlan {
    /// What was asked for, in that order, then the automatic ones.
    pub mounts: Vec<Mount>,
    /// Index into the candidates, and the reason.
    pub skipped: Vec<(usize, String)>,
    /// Those of them that would have come by themselves and have an obstacle.
    pub hindered: Vec<usize>,
}

/// Plans the mounts of a session for `project` (by name), where it works for one.
pub fn plan(candidates: &[Candidate], wanted: &[Wanted], project: Option<&str>) -> Result<MountPlan> {
    let mut plan = MountPlan::default();
    for want in wanted {
        plan.mounts.push(requested(&candidates[want.candidate], want, project)?);
    }
    require_apart(candidates, &plan.mounts)?;
    let mut automatic: Vec<usize> = (0..candidates.len()).collect();
    // The user's own come first, so that the project's `.local` gives way to the user's.
    automatic
        .sort_by_key(|i| (matches!(candidates[*i].owner, Owner::Project(_)), candidates[*i].name.clone()));
    for index in automatic {
        if let Some(reason) = add_automatic(&mut plan, candidates, index, project) {
            plan.skipped.push((index, reason));
        }
    }
    plan.skipped.sort();
    Ok(plan)
}

fn requested(candidate: &Candidate, want: &Wanted, project: Option<&str>) -> Result<Mount> {
    let key = &candidate.key;
    require_offered(candidate, project)?;
    if let Some(obstacle) = &candidate.obstacle {
        return Err(obstacle.clone());
    }
    let permission = match want.request.permission {
        Some(Level::Rw) if candidate.level < Level::Rw => {
            return Err(Error::not_permitted(format!(
                "{key} can be mounted read-only: the permission is {}",
                candidate.level
            ))
            .hint(format!("write {key}:ro, or leave the permission out")));
        }
        Some(level) => level,
        None => candidate.level,
    };
    let target = match &want.request.target {
        Some(target) => judge_target(target)?,
        None => format!("{HOME}/{}", candidate.name),
    };
    Ok(Mount {
        candidate: want.candidate,
        subpath: judge_subpath(&want.request.subpath)?,
        target,
        permission,
        auto: false,
        origin: "requested",
    })
}

/// A project's folders are offered to its own sessions only, even to those who could reach them.
fn require_offered(candidate: &Candidate, project: Option<&str>) -> Result<()> {
    match &candidate.owner {
        Owner::Project(name) if candidate.source != Source::Share && project != Some(name) => {
            Err(Error::not_permitted(format!(
                "{} belongs to project {name}, and this session does not",
                candidate.key
            ))
            .hint(format!("start the session with --project {name}")))
        }
        _ => Ok(()),
    }
}

/// Adds an auto-mount; the reason when the folder is not mounted.
fn add_automatic(
    plan: &mut MountPlan,
    candidates: &[Candidate],
    index: usize,
    project: Option<&str>,
) -> Option<String> {
    let candidate = &candidates[index];
    if plan.mounts.iter().any(|m| m.candidate == index) {
        return None;
    }
    if require_offered(candidate, project).is_err() {
        return Some("the session does not work for its project".to_owned());
    }
    let own = candidate.source == Source::Owner || matches!(candidate.owner, Owner::Project(_));
    if !name::is_automatic(&candidate.name) || !own {
        return Some("not asked for".to_owned());
    }
    if let Some(obstacle) = &candidate.obstacle {
        plan.hindered.push(index);
        return Some(obstacle.message.clone());
    }
    let target = format!("{HOME}/{}", candidate.name);
    if let Some(other) = plan.mounts.iter().find(|m| overlap(&m.target, &target)) {
        return Some(format!("{} is mounted at {}", candidates[other.candidate].key, other.target));
    }
    plan.mounts.push(Mount {
        candidate: index,
        subpath: String::new(),
        target,
        permission: candidate.level,
        auto: true,
        origin: "automatic",
    });
    None
}

/// True when the targets are equal or one lies inside the other.
fn overlap(a: &str, b: &str) -> bool {
    let inside = |a: &str, b: &str| a == b || a.strip_prefix(b).is_some_and(|rest| rest.starts_with('/'));
    inside(a, b) || inside(b, a)
}

fn require_apart(candidates: &[Candidate], mounts: &[Mount]) -> Result<()> {
    for (at, one) in mounts.iter().enumerate() {
        if let Some(other) = mounts[..at].iter().find(|o| overlap(&o.target, &one.target)) {
            let told = |m: &Mount| format!("{} at {}", candidates[m.candidate].key, m.target);
            return Err(Error::conflict(format!(
                "{} and {} cannot be mounted together",
                told(other),
                told(one)
            ))
            .hint("give one of them a target of its own: -m REF:/workspace"));
        }
    }
    Ok(())
}

const SYSTEM: [&str; 13] = [
    "/bin", "/boot", "/dev", "/etc", "/lib", "/lib64", "/proc", "/root", "/run", "/sbin", "/sys", "/usr",
    "/var",
];
const EXACT: [&str; 6] = ["/home", "/media", "/mnt", "/opt", "/srv", "/tmp"];

/// Most bytes in a name, and in a path with its NUL: `NAME_MAX` and `PATH_MAX` of Linux.
const NAME_MAX: usize = 255;
const PATH_MAX: usize = 4096;

/// Normalises a mount target, and refuses the ones that would hide the session's own system.
pub fn judge_target(text: &str) -> Result<String> {
    let refuse = |why: &str| {
        Err(Error::usage(format!("'{}' cannot be a mount target: {why}", name::printable(text)))
            .hint("write an absolute path such as /workspace, or a name below /home/work"))
    };
    if text.chars().any(char::is_control) {
        return refuse("it contains a control character");
    }
    let whole = if text.starts_with('/') { text.to_owned() } else { format!("{HOME}/{text}") };
    let mut parts: Vec<&str> = Vec::new();
    for part in whole.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.pop().is_none() => return refuse("it leaves the root by '..'"),
            ".." => {}
            part => parts.push(part),
        }
    }
    let target = format!("/{}", parts.join("/"));
    if parts.iter().any(|part| part.len() > NAME_MAX) || target.len() >= PATH_MAX {
        return refuse("it is too long for a path");
    }
    if target == "/" || target == HOME {
        return refuse("it would hide the whole session");
    }
    if !text.starts_with('/') && !target.starts_with(&format!("{HOME}/")) {
        return refuse("it leaves /home/work by '..'");
    }
    if EXACT.contains(&target.as_str()) {
        return refuse("what is below it would be hidden; choose something inside it");
    }
    if let Some(system) = SYSTEM.iter().find(|s| target == **s || target.starts_with(&format!("{s}/"))) {
        return refuse(&format!("{system} belongs to the system"));
    }
    let below = target.strip_prefix(&format!("{HOME}/")).and_then(|rest| rest.split('/').next());
    if below.is_some_and(name::is_reserved) {
        return refuse("that name is reserved for the session's own files");
    }
    Ok(target)
}

/// Normalises a path inside a folder.
pub fn judge_subpath(text: &str) -> Result<String> {
    let mut parts: Vec<&str> = Vec::new();
    for part in text.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                return Err(Error::usage(format!("the subpath '{}' contains '..'", name::printable(text))));
            }
            part => parts.push(part),
        }
    }
    Ok(parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(key: &str, level: Level, source: Source) -> Candidate {
        let (owner, name) = crate::domain::owner::split_folder_key(key).unwrap();
        let name = name.to_owned();
        Candidate { key: key.into(), owner, name, level, source, obstacle: None }
    }

    fn wanted(candidate: usize, text: &str) -> Wanted {
        Wanted { candidate, request: text.parse().unwrap() }
    }

    #[test]
    fn targets_are_normalised_and_then_judged() {
        for (text, target) in [
            ("/workspace", "/workspace"),
            ("/workspace/", "/workspace"),
            ("//a/./b/../c", "/a/c"),
            ("x", "/home/work/x"),
            ("x/y", "/home/work/x/y"),
            ("/opt/data", "/opt/data"),
            ("/tmp/x", "/tmp/x"),
            ("/home/other", "/home/other"),
            ("/usrdata", "/usrdata"),
        ] {
            assert_eq!(judge_target(text), Ok(target.to_owned()), "{text}");
        }
        for text in [
            "/",
            "//",
            "/home/work",
            ".",
            "..",
            "../x",
            &"x".repeat(256),
            &"/x".repeat(2048),
            "x/../..",
            "/home/work/..",
            "/home",
            "/tmp",
            "/opt",
            "/mnt",
            "/etc",
            "/etc/x",
            "/usr/local",
            "/proc/1",
            "/lib64/x",
            "/a/../etc",
            "/home/work/.ssh",
            ".bashrc",
            "/home/work/.ssh/x",
            "/..",
            "/x\n",
        ] {
            assert!(judge_target(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_permission_is_never_lowered_in_silence() {
        let all = [candidate("user/alice/data", Level::Ro, Source::Share)];
        for (asked, got) in
            [("alice/data", Some(Level::Ro)), ("alice/data:ro", Some(Level::Ro)), ("alice/data:rw", None)]
        {
            let plan = plan(&all, &[wanted(0, asked)], None);
            assert_eq!(plan.ok().map(|p| p.mounts[0].permission), got, "{asked}");
        }
    }

    #[test]
    fn targets_that_overlap_are_refused_naming_both() {
        let all = [
            candidate("user/alice/a", Level::Rw, Source::Owner),
            candidate("user/alice/b", Level::Rw, Source::Owner),
        ];
        for (one, two) in [("a:/w", "b:/w"), ("a:/w", "b:/w/x"), ("a:/w/x", "b:/w"), ("a", "b:a")] {
            let error = plan(&all, &[wanted(0, one), wanted(1, two)], None).unwrap_err();
            assert!(
                error.message.contains("user/alice/a") && error.message.contains("user/alice/b"),
                "{error}"
            );
        }
        assert!(plan(&all, &[wanted(0, "a:/w"), wanted(1, "b:/ww")], None).is_ok());
        assert!(plan(&all, &[wanted(0, "a:/w"), wanted(0, "a:/v")], None).is_ok(), "one folder twice");
    }

    #[test]
    fn dot_folders_come_without_asking_and_give_way_to_what_was_asked() {
        let all = [
            candidate("project/ml/.local", Level::Rw, Source::Project),
            candidate("user/alice/.local", Level::Rw, Source::Owner),
            candidate("user/alice/data", Level::Rw, Source::Owner),
        ];
        let planned = plan(&all, &[], Some("ml")).unwrap();
        assert_eq!(planned.mounts.len(), 1);
        assert_eq!(
            (planned.mounts[0].candidate, planned.mounts[0].target.as_str()),
            (1, "/home/work/.local")
        );
        assert_eq!(planned.skipped[0], (0, "user/alice/.local is mounted at /home/work/.local".to_owned()));
        let asked = plan(&all, &[wanted(2, "data:/home/work/.local")], Some("ml")).unwrap();
        assert_eq!(asked.mounts.len(), 1);
        assert_eq!(asked.mounts[0].candidate, 2);
    }

    #[test]
    fn a_projects_folders_are_for_its_own_sessions() {
        let all = [candidate("project/ml/data", Level::Rw, Source::Project)];
        assert!(plan(&all, &[wanted(0, "project/ml/data")], None).is_err());
        assert!(plan(&all, &[wanted(0, "project/ml/data")], Some("other")).is_err());
        assert!(plan(&all, &[wanted(0, "project/ml/data")], Some("ml")).is_ok());
    }
}
