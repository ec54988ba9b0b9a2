//! Whether containers, units and jobs live: asked of the engines, the system manager and Slurm of this host.

mod answers;

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use super::error::Error;
use super::process;
use super::program::{self, Program, Said};
use crate::domain::holder::{Engine, Holder, Life};

/// How long one of them may take. The registry may be locked meanwhile, and no answer is an answer: unknown.
const DEADLINE: Duration = Duration::from_secs(5);

/// So often a container is removed that is still there then, and so long after the last time.
const ATTEMPTS: usize = 4;
const PAUSE: Duration = Duration::from_millis(300);

/// Who is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Tool {
    Engine(Engine),
    Systemctl,
    Squeue,
}

/// What was answered, for the life of this process: a command asks each of them once.
type Answers = HashMap<(Tool, String), Life>;

fn answers() -> &'static Mutex<Answers> {
    static ANSWERS: OnceLock<Mutex<Answers>> = OnceLock::new();
    ANSWERS.get_or_init(Mutex::default)
}

impl Tool {
    fn program(self) -> &'static str {
        match self {
            Tool::Engine(engine) => engine.name(),
            Tool::Systemctl => "systemctl",
            Tool::Squeue => "squeue",
        }
    }

    fn is_installed(self) -> bool {
        program::find(self.program()).is_some()
    }

    /// What it is asked about all of these at once.
    fn line(self, names: &[String]) -> Program {
        let program = Program::new(self.program()).deadline(DEADLINE);
        match self {
            Tool::Engine(Engine::Runc) => program.args(["list", "--format", "json"]),
            Tool::Engine(_) => program.args(["inspect", "--type", "container"]).args(names),
            Tool::Systemctl => program.args(["is-active", "--"]).args(names),
            Tool::Squeue => program.args(["-h", "--states=all", "-j", &names.join(","), "-o", "%A %T"]),
        }
    }

    fn read(self, names: &[String], said: &Said) -> Vec<Life> {
        match self {
            Tool::Engine(Engine::Runc) => answers::runc(names, said),
            Tool::Engine(engine) => answers::engine(engine, names, said),
            Tool::Systemctl => answers::systemctl(names, said),
            Tool::Squeue => answers::squeue(names, said),
        }
    }

    fn ask(self, names: &[String]) -> Vec<Life> {
        match self.line(names).run() {
            Ok(said) => self.read(names, &said),
            Err(error) => vec![Life::Unknown(error.to_string()); names.len()],
        }
    }
}

/// Removes a container of this host with all that runs in it; true where there was one. Its engine says so by its exit
/// status.
pub fn remove_container(container: &Holder) -> crate::host::Result<bool> {
    let Holder::Container { engine: Some(engine), name } = container else { return Ok(false) };
    if !Tool::Engine(*engine).is_installed() {
        return Ok(false);
    }
    let (tool, names) = (Tool::Engine(*engine), std::slice::from_ref(name));
    let told = || tool.line(names).with_environment().run();
    // An engine that was killed while it started a container may take it for one that does not run.
    let init = told().ok().and_then(|said| answers::init(*engine, name, &said));
    let init = init.and_then(|pid| Some((pid, process::start_time(pid)?)));
    let (mut removed, mut complaint) = (false, String::new());
    for attempt in 0..ATTEMPTS {
        if attempt > 0 {
            std::thread::sleep(PAUSE);
        }
        let program = Program::new(engine.name()).deadline(DEADLINE).with_environment();
        let program = match engine {
            Engine::Runc => program.args(["delete", "--force", name]),
            Engine::Podman => program.args(["rm", "--force", "--time", "0", name]),
            Engine::Docker | Engine::Nerdctl => program.args(["rm", "--force", name]),
        };
        let said = program.run()?;
        removed |= said.status == 0;
        if let Some((pid, start)) = init {
            process::kill(pid, start);
        }
        if tool.read(names, &told()?).pop() != Some(Life::Alive) {
            return Ok(removed);
        }
        complaint = said.complaint();
    }
    Err(Error::Program(format!("{} could not remove the container {name}: {complaint}", engine.name())))
}

/// Who knows something of a holder, and by what name.
fn witnesses(holder: &Holder) -> Vec<(Tool, String)> {
    match holder {
        Holder::Container { engine: Some(engine), name } => vec![(Tool::Engine(*engine), name.clone())],
        Holder::Container { engine: None, name } => {
            Engine::ALL.into_iter().map(|engine| (Tool::Engine(engine), name.clone())).collect()
        }
        Holder::Unit { name } => vec![(Tool::Systemctl, name.clone())],
        Holder::Slurm { job } => vec![(Tool::Squeue, job.to_string())],
        Holder::Process { .. } | Holder::Manual => Vec::new(),
    }
}

/// Whether a container, unit or job of this host lives. `together` are all holders that may be asked about by the same
/// command: they are asked about at once. Unknown, where a tool is not installed or gives no answer; a process and what
/// nobody holds is unknown here.
pub fn ask(holder: &Holder, together: impl FnOnce() -> Vec<Holder>) -> Life {
    let wanted: Vec<(Tool, String)> =
        witnesses(holder).into_iter().filter(|(tool, _)| tool.is_installed()).collect();
    let mut known = answers().lock().unwrap_or_else(PoisonError::into_inner);
    if wanted.iter().any(|question| !known.contains_key(question)) {
        let all: HashSet<(Tool, String)> =
            together().iter().flat_map(witnesses).chain(wanted.iter().cloned()).collect();
        let tools: HashSet<Tool> = wanted.iter().map(|(tool, _)| *tool).collect();
        for tool in tools {
            let of_tool = all.iter().filter(|question| question.0 == tool && !known.contains_key(question));
            let mut names: Vec<String> = of_tool.map(|(_, name)| name.clone()).collect();
            names.sort();
            let lives = tool.ask(&names);
            known.extend(names.into_iter().map(|name| (tool, name)).zip(lives));
        }
    }
    summary(holder, &wanted, &known)
}

/// The same from what was asked already.
pub fn recall(holder: &Holder) -> Life {
    let known = answers().lock().unwrap_or_else(PoisonError::into_inner);
    let wanted: Vec<_> =
        witnesses(holder).into_iter().filter(|question| known.contains_key(question)).collect();
    summary(holder, &wanted, &known)
}

fn summary(holder: &Holder, wanted: &[(Tool, String)], known: &Answers) -> Life {
    Life::of_all(wanted.iter().filter_map(|question| known.get(question).cloned())).unwrap_or_else(|| {
        Life::Unknown(match holder {
            Holder::Container { engine: None, .. } => "no container engine is installed here".to_owned(),
            Holder::Process { .. } | Holder::Manual => "nobody can be asked".to_owned(),
            other => {
                let tools: Vec<&str> = witnesses(other).iter().map(|(tool, _)| tool.program()).collect();
                format!("{} was not asked, or is not installed here", tools.join(", "))
            }
        })
    })
}

/// The engine that knows a container of this name to live, where one does.
pub fn engine_of(name: &str) -> Option<Engine> {
    let known = answers().lock().unwrap_or_else(PoisonError::into_inner);
    let lives = |e: &Engine| known.get(&(Tool::Engine(*e), name.to_owned())) == Some(&Life::Alive);
    Engine::ALL.into_iter().find(lives)
}
