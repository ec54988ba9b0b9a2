//! Random sequences of commands against a model of the rules of sharing and permissions: `model/` says what every
//! command may do, to whom, and what is there afterwards; here they are run and compared.
//!
//! A sequence that failed is printed as lines for a shell. Longer runs by hand: `VFADM_MODEL_SEED=7` or
//! `VFADM_MODEL_SEED=100..200`, and `VFADM_MODEL_STEPS=1000`.

mod check;
mod command;
mod folders;
mod numbers;
mod owners;
mod random;
mod sharing;
mod world;

use std::collections::BTreeMap;
use std::sync::Mutex;

use crate::support::{Lab, Output, Snapshot};
use command::Command;
use numbers::Numbers;
use world::{Actor, Answer, Key, Level, Outcome, Owner, Reference, Refusal, World};

/// The sequences that every run of the tests repeats, and how long each is: seeds by which each command works and is
/// refused, in many ways.
const SEEDS: std::ops::Range<u64> = 190..198;
const STEPS: usize = 140;
/// So many run at once.
const WORKERS: usize = 2;
/// After how many steps all lists are read.
const CHECKED: usize = 20;

/// What the printed lines need before them.
const PREAMBLE: &str = r#"export VFADM_ROOT=$(mktemp -d)/root; mkdir -p $VFADM_ROOT-second; F=(); I=()
made() { jq -r 'select(.outcome == "created").item | .items // [.] | .[].id'; }
vfadm init --volume local=$VFADM_ROOT/local --quota none; vfadm volume set local --default
vfadm volume add second $VFADM_ROOT-second --quota none
for user in alice bob carol; do vfadm user add $user; done; vfadm project add ml
vfadm project add-member ml alice --role admin; vfadm project add-member ml bob"#;

#[test]
fn what_commands_do_is_what_the_rules_say() {
    let steps = std::env::var("VFADM_MODEL_STEPS").map_or(STEPS, |text| text.parse().expect("a number"));
    let seeds = std::env::var("VFADM_MODEL_SEED").map_or(SEEDS, |text| match text.split_once("..") {
        Some((from, to)) => from.parse().expect("a number")..to.parse().expect("a number"),
        None => text.parse().map(|seed: u64| seed..seed + 1).expect("a number"),
    });
    let (left, seen) = (Mutex::new(seeds.clone()), Mutex::new(Seen::new()));
    std::thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| {
                let next = || left.lock().ok()?.next();
                while let Some(seed) = next() {
                    // One that is looked at by hand is checked step by step.
                    let checked = if seeds.end - seeds.start == 1 { 1 } else { CHECKED };
                    Run::new(seed).run(steps, checked, &seen);
                }
            });
        }
    });
    let seen = seen.into_inner().unwrap();
    println!("{seen:?}");
    if seeds == SEEDS {
        // Sequences in which a command never works, or is never refused, would test nothing of it.
        for (what, codes) in &seen {
            assert!(codes.contains_key(&0) && codes.len() > 1, "{what}: {codes:?}");
        }
    }
}

/// How often each command ended with each exit code.
type Seen = BTreeMap<String, BTreeMap<i32, usize>>;

/// The commands so far; printed when a test fails.
struct Story {
    seed: u64,
    lines: Vec<String>,
}

impl Drop for Story {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let seed = self.seed;
            println!(
                "seed {seed}: one of the last {CHECKED} lines did it (with VFADM_MODEL_SEED={seed}, the last)"
            );
            println!("{PREAMBLE}");
            println!("{}", self.lines.join("\n"));
        }
    }
}

struct Run {
    lab: Lab,
    world: World,
    numbers: Numbers,
    /// The ids that `${F[N]}` and `${I[N]}` stand for.
    folders: Vec<String>,
    invitations: Vec<String>,
    story: Story,
}

impl Run {
    fn new(seed: u64) -> Run {
        let lab = Lab::plain();
        let second = lab.dir().join("second");
        std::fs::create_dir(&second).unwrap();
        lab.ok("user add carol");
        lab.ok("volume set local --default");
        lab.ok(&format!("volume add second {} --quota none", second.display()));
        let story = Story { seed, lines: Vec::new() };
        let (world, numbers) = (World::new(), Numbers::new(seed));
        Run { lab, world, numbers, folders: Vec::new(), invitations: Vec::new(), story }
    }

    fn vfadm(&self, line: &str) -> Output {
        let mut filled = format!("-o json {line}");
        for (array, ids) in [("F", &self.folders), ("I", &self.invitations)] {
            for (number, id) in ids.iter().enumerate() {
                filled = filled.replace(&format!("${{{array}[{number}]}}"), id);
            }
        }
        let out = self.lab.run(&filled);
        assert!(!out.stderr.contains("panicked"), "{out:?}");
        out
    }

    fn run(mut self, steps: usize, checked: usize, seen: &Mutex<Seen>) {
        for step in 1..=steps {
            let (what, code) = self.step(step);
            let mut seen = seen.lock().unwrap();
            *seen.entry(what).or_default().entry(code).or_default() += 1;
            drop(seen);
            if step.is_multiple_of(checked) || step == steps {
                self.check();
            }
        }
    }

    /// One command; answers which, and its exit code.
    fn step(&mut self, step: usize) -> (String, i32) {
        let (actor, command) = random::next(&self.world, &mut self.numbers);
        let line = format!("{command}{}", on_behalf(actor));
        let mut after = self.world.clone();
        let expected = command.predict(&mut after, actor);
        if expected.is_err() {
            after = self.world.clone();
        }
        let code = expected.as_ref().map_or_else(|refusal| *refusal as i32, |_| 0);
        let pasted = match &command {
            Command::Create(_) => format!("F+=($(vfadm -o json {line} | made))"),
            Command::Invite { .. } => format!("I+=($(vfadm -o json {line} | made))"),
            _ => format!("vfadm {line}"),
        };
        self.story.lines.push(format!("{pasted}  # exit {code}"));

        if step.is_multiple_of(3) {
            self.dry_run(&line, code);
        }
        let told = command.question().filter(|_| actor.is_some()).map(|(action, folder)| {
            self.vfadm(&format!("permission explain {action} {folder}{}", on_behalf(actor)))
        });
        let before = self.lab.registry_text();
        let out = self.vfadm(&line).exits(code);
        let same = self.lab.registry_text() == before;
        self.compare(&out, expected, same);
        told.inspect(|told| explains(told, &out));
        if expected == Ok(Outcome::Created) {
            self.keep_ids(&out, &command);
        }
        if let Some(absent) = self.as_if_absent(&command, actor) {
            self.discloses_nothing(&out, &line, absent);
        }
        self.never_raises_itself(&command, actor, &after);
        self.world = after;
        if step.is_multiple_of(7) {
            self.mount();
        }
        (line.split(' ').take(2).collect::<Vec<_>>().join(" "), code)
    }

    /// The dry run ends as the command will, and not one byte or time below the root or on a volume changes.
    fn dry_run(&self, line: &str, code: i32) {
        let before = Snapshot::of(&[self.lab.dir()]);
        self.vfadm(&format!("{line} --dry-run")).exits(code);
        before.same_as(&Snapshot::of(&[self.lab.dir()]), &format!("{line} --dry-run"));
    }

    /// The document, and whether the registry was written.
    fn compare(&self, out: &Output, expected: Answer, same: bool) {
        let Ok(outcome) = expected else {
            assert!(same, "`{}` was refused, and wrote", out.line);
            assert!(out.stdout.is_empty(), "{out:?}");
            return;
        };
        let document = out.json();
        let (word, writes) = match outcome {
            Outcome::Created => ("created", true),
            Outcome::Changed => ("changed", true),
            Outcome::Deleted => ("deleted", true),
            Outcome::Unchanged => ("unchanged", false),
            Outcome::Shown => return assert!(same, "{out:?}"),
            Outcome::Explained { allowed, level } => {
                assert_eq!(document["allowed"], allowed, "{out:?}");
                assert_eq!(document["level"], level.to_string(), "{out:?}");
                return assert!(same, "{out:?}");
            }
        };
        assert_eq!(document["outcome"], word, "{out:?}");
        assert_eq!(!same, writes, "the registry, after {out:?}");
    }

    fn keep_ids(&mut self, out: &Output, command: &Command) {
        let item = &out.json()["item"];
        let items = item["items"].as_array().cloned().unwrap_or_else(|| vec![item.clone()]);
        let ids = items.iter().map(|item| item["id"].as_str().expect("an id").to_owned());
        match command {
            Command::Create(_) => self.folders.extend(ids),
            Command::Invite { .. } => self.invitations.extend(ids),
            _ => {}
        }
    }

    /// For a command about something that is there and that the actor may not see: what was typed for it, and the same
    /// for what is not there. `permission explain` is the superadmin's question, and may tell.
    fn as_if_absent(&self, command: &Command, actor: Actor) -> Option<[String; 2]> {
        let user = actor.filter(|user| self.world.users.contains_key(user))?;
        match command {
            Command::Explain { .. } => None,
            Command::Accept(Some(number)) | Command::Reject(Some(number)) | Command::Cancel(Some(number)) => {
                let invitation = self.world.invitations.get(number)?;
                let sees = invitation.invitee == user || invitation.inviter == actor;
                (!sees).then(|| [format!("${{I[{number}]}}"), "00000000".to_owned()])
            }
            _ => {
                let reference = command.folder()?;
                let key = self.world.find(None, reference).ok()?;
                let absent = match reference {
                    Reference::Named(owner, _) => Reference::Named(owner, "absent"),
                    _ => Reference::Id(None),
                };
                self.world.level(user, key).is_none().then(|| [reference.to_string(), absent.to_string()])
            }
        }
    }

    /// The message about what the actor may not see is, letter for letter up to the name, the one about what is not
    /// there.
    fn discloses_nothing(&self, out: &Output, line: &str, [hidden, absent]: [String; 2]) {
        let words = line.split(' ').map(|word| if word == hidden { &absent } else { word });
        let other = self.vfadm(&words.collect::<Vec<_>>().join(" "));
        let said = out.stderr.replace(&self.as_told(&hidden), &self.as_told(&absent));
        assert_eq!((said, out.code), (other.stderr, other.code), "{line}");
    }

    /// How a message calls what was typed: names in NFC, ids of folders without dashes.
    fn as_told(&self, typed: &str) -> String {
        let id = |ids: &[String], number: &str| ids[number.parse::<usize>().expect("a number")].clone();
        match typed.trim_end_matches("]}").split_once("${") {
            Some((before, number)) if number.starts_with("F[") => {
                format!("{before}{}", id(&self.folders, &number[2..]).replace('-', ""))
            }
            Some((before, number)) => format!("{before}{}", id(&self.invitations, &number[2..])),
            None => typed.replace("e\u{301}", "\u{e9}"),
        }
    }

    /// Whoever does not manage a folder has no more of it after a command of their own, unless they were invited.
    fn never_raises_itself(&self, command: &Command, actor: Actor, after: &World) {
        let Some(user) = actor else { return };
        let level = |world: &World, key: Key| world.level(user, key).map_or(Level::None, |(level, _)| level);
        for key in after.folders.keys().filter(|key| self.world.folders.contains_key(key)) {
            let raised = level(after, *key) > level(&self.world, *key);
            assert!(!raised || matches!(command, Command::Accept(_)), "{user} has more of {key:?}");
        }
    }

    /// A session mounts what `permission explain` says, and not above the level.
    fn mount(&mut self) {
        let keys: Vec<Key> = self.world.folders.keys().copied().collect();
        let users: Vec<_> = self.world.users.keys().copied().collect();
        if keys.is_empty() || users.is_empty() {
            return;
        }
        let (key, user) = (self.numbers.pick(&keys), self.numbers.pick(&users));
        let folder = Reference::Named(key.0, key.1);
        let told = self.vfadm(&format!("permission explain mount {folder} --as {user}")).exits(0).json();
        // A project's folders are offered to its members in its sessions.
        let project = match (key.0, self.world.role(key.0, user)) {
            (Owner::Project(project), Some(_)) => format!(" --project {project}"),
            _ => String::new(),
        };
        for level in [Level::Ro, Level::Rw] {
            let plan = self.vfadm(&format!("session plan --user {user} -m {folder}:{level}{project}"));
            let has = self.world.level(user, key).map_or(Level::None, |(level, _)| level);
            let mounts = told["allowed"] == true && has >= level;
            assert_eq!(plan.code == 0, mounts, "{told}\n{plan:?}");
        }
    }

    fn check(&self) {
        check::consistent(&self.lab);
        check::as_predicted(&self.lab, &self.world, &self.invitations);
        check::registry(&self.lab, &self.world);
        assert_eq!(self.folders.len(), self.world.folders_made);
        assert_eq!(self.invitations.len(), self.world.invitations_made);
    }
}

fn on_behalf(actor: Actor) -> String {
    actor.map(|user| format!(" --as {user}")).unwrap_or_default()
}

/// What is denied does not work; what is allowed is not refused for want of a permission, but for its state, say, or
/// because somebody else that it names is not there. How a command is typed is not asked.
fn explains(told: &Output, out: &Output) {
    match told.code {
        _ if out.code == Refusal::Usage as i32 => {}
        0 if told.json()["allowed"] == true => {
            let hidden = out.code == Refusal::NotFound as i32 && out.stderr.contains("there is no vfolder");
            assert!(!hidden && out.code != Refusal::NotPermitted as i32, "{told:?}\n{out:?}");
        }
        // Of what is there as asked nothing has to be done.
        0 => assert!(out.code != 0 || out.json()["outcome"] == "unchanged", "{told:?}\n{out:?}"),
        other => assert_eq!(other, out.code, "{told:?}\n{out:?}"),
    }
}
