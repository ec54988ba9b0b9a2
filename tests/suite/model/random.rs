//! Which command comes next: mostly one that could work, often one that cannot.

use super::command::Command;
use super::folders::Create;
use super::numbers::Numbers;
use super::world::*;

/// How often each command comes, in parts of the sum.
const COMMANDS: &[(usize, Maker)] = &[
    (14, |world, n| {
        let folder = match n.percent(20) {
            true => reference(world, n),
            false => Reference::Named(owner(world, n), n.pick(&TYPED_NAMES)),
        };
        let perm = n.percent(if is_a_projects(folder) { 70 } else { 5 }).then(|| n.pick(&LEVELS));
        let volume = n.percent(40).then(|| volume(n));
        Command::Create(Create {
            folder,
            volume,
            perm,
            cloneable: n.percent(20),
            if_not_exists: n.percent(25),
        })
    }),
    (6, |world, n| {
        let to = if n.percent(40) { n.pick(&[".config", ".local"]) } else { n.pick(&TYPED_NAMES) };
        Command::Rename { folder: reference(world, n), to }
    }),
    (4, |world, n| {
        let folder = reference(world, n);
        let perm = n.percent(if is_a_projects(folder) { 80 } else { 10 }).then(|| n.pick(&LEVELS));
        let cloneable = (perm.is_none() || n.percent(20)).then(|| n.percent(50));
        Command::Set { folder, perm, cloneable }
    }),
    (5, |world, n| Command::Delete { folder: reference(world, n), purge: n.percent(15) }),
    (5, |world, n| Command::Restore { folder: reference(world, n) }),
    (2, |world, n| Command::Purge { folder: reference(world, n) }),
    (3, |world, n| Command::Show { folder: reference(world, n) }),
    (12, |world, n| {
        let folder = reference(world, n);
        Command::Share { folder, users: takers(world, n, folder), perm: n.pick(&LEVELS) }
    }),
    (3, |world, n| Command::Unshare { folder: reference(world, n), users: users(world, n) }),
    (6, |world, n| {
        let shared = world.folders.iter().filter(|(_, folder)| !folder.grants.is_empty());
        let shared: Vec<Key> = shared.map(|(key, _)| *key).collect();
        let (owner, name) = match shared.is_empty() || n.percent(20) {
            true => return Command::Leave { folder: reference(world, n) },
            false => n.pick(&shared),
        };
        Command::Leave { folder: Reference::Named(owner, name) }
    }),
    (14, invite),
    // Where there is nothing to accept, there will be.
    (10, |world, n| match world.invitations.is_empty() {
        true => invite(world, n),
        false => Command::Accept(invitation(world, n)),
    }),
    (3, |world, n| Command::Reject(invitation(world, n))),
    (3, |world, n| Command::Cancel(invitation(world, n))),
    (6, |world, n| Command::Transfer {
        folder: reference(world, n),
        to: owner(world, n),
        perm: n.percent(20).then(|| n.pick(&LEVELS)),
    }),
    (3, |world, n| Command::Explain { action: n.pick(&ACTIONS), folder: reference(world, n) }),
    (3, |_, n| {
        let all = USERS.map(Owner::User).into_iter().chain([Owner::Project("ml"), Owner::Project("chem")]);
        Command::Add(if n.percent(5) { Owner::User(BAD_USER) } else { n.pick(&all.collect::<Vec<_>>()) })
    }),
    (3, |world, n| Command::Limit {
        owner: owner(world, n),
        most: n.pick(&[Some(0), Some(2), Some(3), None, None, None]),
    }),
    (1, |world, n| Command::Remove { owner: owner(world, n), purge: n.percent(30) }),
    (5, |world, n| {
        let role = n.pick(&[None, None, Some(Role::Admin), Some(Role::Member)]);
        Command::AddMember { project: project(n), users: users(world, n), role }
    }),
    (3, |world, n| Command::RemoveMember { project: project(n), users: users(world, n) }),
    (5, |world, n| {
        // More is lifted than is blocked, or soon nothing works.
        let allow = n.percent(70);
        let whom = n.percent(60).then(|| owner(world, n));
        Command::Rule { allow, volume: volume(n), actions: n.some(&ACTIONS), whom }
    }),
];

fn invite(world: &World, numbers: &mut Numbers) -> Command {
    let folder = reference(world, numbers);
    let perm = if numbers.percent(3) { Level::None } else { numbers.pick(&[Level::Ro, Level::Rw]) };
    Command::Invite { folder, users: takers(world, numbers, folder), perm, term: !numbers.percent(8) }
}

type Maker = fn(&World, &mut Numbers) -> Command;

/// The next command, and on whose behalf.
pub fn next(world: &World, numbers: &mut Numbers) -> (Actor, Command) {
    let mut at = numbers.below(COMMANDS.iter().map(|(weight, _)| weight).sum());
    let maker = COMMANDS.iter().find(|(weight, _)| {
        let found = at < *weight;
        at = at.wrapping_sub(*weight);
        found
    });
    let command = maker.expect("a weight").1(world, numbers);
    let actor = match numbers.below(100) {
        0 => Some(BAD_USER),
        1..4 => Some(numbers.pick(&USERS)),
        4..24 if !command.is_the_superadmins() => Some(numbers.pick(&USERS)),
        24..40 => None,
        _ => who_may(world, numbers, &command),
    };
    (actor, command)
}

/// Somebody who may, as far as that is easily told.
fn who_may(world: &World, numbers: &mut Numbers, command: &Command) -> Actor {
    let invitation = |number: &Option<usize>| world.invitations.get(&(*number)?);
    match command {
        Command::Accept(number) | Command::Reject(number) => return Some(invitation(number)?.invitee),
        Command::Cancel(number) => return invitation(number)?.inviter,
        _ => {}
    }
    let keys: Vec<Key> = match command.folder()? {
        Reference::Named(owner, name) => vec![(owner, name)],
        Reference::Id(number) => vec![world.key_of(number?)?],
        Reference::Bare(name) => world.folders.keys().copied().filter(|key| key.1 == name).collect(),
    };
    let (owner, name) = if keys.is_empty() { return None } else { numbers.pick(&keys) };
    let may = |user: &Name| match command {
        Command::Leave { .. } => {
            world.folders.get(&(owner, name)).is_some_and(|folder| folder.grants.contains_key(user))
        }
        _ => world.manages(Some(user), owner),
    };
    let those: Vec<Name> = world.users.keys().copied().filter(may).collect();
    // A user's folder is shared by the superadmin.
    let by_user = !those.is_empty() && !matches!((command, owner), (Command::Share { .. }, Owner::User(_)));
    by_user.then(|| numbers.pick(&those))
}

fn is_a_projects(folder: Reference) -> bool {
    matches!(folder, Reference::Named(Owner::Project(_), _))
}

fn project(numbers: &mut Numbers) -> Name {
    numbers.pick(&["ml", "ml", "ml", "chem"])
}

fn volume(numbers: &mut Numbers) -> Name {
    numbers.pick(&["local", "local", "local", "second", "second", "second", "third"])
}

/// Mostly one that is there.
fn owner(world: &World, numbers: &mut Numbers) -> Owner {
    let owner = match numbers.percent(60) {
        true => Owner::User(numbers.pick(&USERS)),
        false => Owner::Project(project(numbers)),
    };
    let known: Vec<Owner> = world.users.keys().map(|name| Owner::User(name)).collect();
    if world.is_known(owner) || known.is_empty() || numbers.percent(25) {
        owner
    } else {
        numbers.pick(&known)
    }
}

/// Mostly a folder that is there, by one of its names; also one that has gone, and one that never was.
fn reference(world: &World, numbers: &mut Numbers) -> Reference {
    let keys: Vec<(Key, usize)> = world.folders.iter().map(|(key, f)| (*key, f.number)).collect();
    if keys.is_empty() || numbers.percent(12) {
        return match numbers.below(10) {
            0 => Reference::Id(None),
            1 if world.folders_made > 0 => Reference::Id(Some(numbers.below(world.folders_made))),
            2 => Reference::Bare(numbers.pick(&TYPED_NAMES)),
            _ => Reference::Named(owner(world, numbers), numbers.pick(&TYPED_NAMES)),
        };
    }
    let (key, number) = numbers.pick(&keys);
    match numbers.below(10) {
        0 => Reference::Id(Some(number)),
        1 => Reference::Bare(key.1),
        _ => Reference::Named(key.0, key.1),
    }
}

/// Mostly one user that exists.
fn users(world: &World, numbers: &mut Numbers) -> Vec<Name> {
    let known: Vec<Name> = world.users.keys().copied().collect();
    match numbers.below(40) {
        0 => vec![BAD_USER],
        1..4 => numbers.some(&USERS),
        _ if known.is_empty() => numbers.some(&USERS),
        _ => numbers.some(&known),
    }
}

/// Mostly users who could be given a folder.
fn takers(world: &World, numbers: &mut Numbers, folder: Reference) -> Vec<Name> {
    let key = world.find(None, folder);
    let needs = |user: &Name| key.is_ok_and(|key| !world.manages(Some(user), key.0));
    let those: Vec<Name> = world.users.keys().copied().filter(needs).collect();
    if those.is_empty() || numbers.percent(15) { users(world, numbers) } else { numbers.some(&those) }
}

/// Mostly one that is there and pending.
fn invitation(world: &World, numbers: &mut Numbers) -> Option<usize> {
    let all: Vec<usize> = world.invitations.keys().copied().collect();
    let is_pending = |number: &usize| world.invitations[number].state == "pending";
    let pending: Vec<usize> = all.iter().copied().filter(is_pending).collect();
    match numbers.below(20) {
        0 => None,
        1 if world.invitations_made > 0 => Some(numbers.below(world.invitations_made)),
        2..6 if !all.is_empty() => Some(numbers.pick(&all)),
        _ if !pending.is_empty() => Some(numbers.pick(&pending)),
        _ if !all.is_empty() => Some(numbers.pick(&all)),
        _ => None,
    }
}
