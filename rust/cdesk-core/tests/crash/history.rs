//! One random history: lives of a machine, each with its faults and its end.

use std::sync::Arc;
use std::time::Duration;

use crate::schedule::SEATS;
use crate::sim::{Bug, Crash, CrashKind, Crew, EACCES, EIO, ENOSPC, Failure, Fault, Lasts, Rng, Scope};
use crate::world::{Habits, SinkKind, World};

/// What became of a history.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) operations: u64,
    pub(crate) acknowledged: usize,
    pub(crate) tags: usize,
    pub(crate) faults: u64,
    pub(crate) power_losses: u64,
    /// How often one process came between two operations of another.
    pub(crate) pauses: u64,
    /// Was the order of the lines judged?
    pub(crate) is_ordered: bool,
    pub(crate) violation: Option<String>,
}

/// Lives through the history that the seed stands for.
pub(crate) fn live(crew: &Crew, seed: u64, bug: Bug) -> Outcome {
    finish(crew, &prepare(seed, bug), seed)
}

/// The world of the seed, before anything has happened.
pub(crate) fn prepare(seed: u64, bug: Bug) -> Arc<World> {
    let mut rng = Rng::new(!seed);
    let habits = Habits {
        bug,
        max_segment_bytes: rng.pick([1, 200, 400, 1_000, 3_000, 50_000_000]),
        max_lines: rng.index(6) + 1,
        sink: rng.pick([SinkKind::Lasting, SinkKind::OneWithCheckpoints, SinkKind::WithCheckpoints]),
        min_age: Duration::from_millis(rng.pick([0, 0, 20_000])),
        pastes_lines: rng.one_in(2),
    };
    let world = World::new(seed, habits);
    let mut machine = world.host.lock();
    machine.max_zeros = if rng.one_in(64) { usize::MAX } else { rng.pick([0, 300, 2_000]) };
    machine.patience = rng.pick([24, 24, 8, 4]);
    drop(machine);
    Arc::new(world)
}

/// Threads for the processes of histories, one after the other.
pub(crate) fn crew() -> Crew {
    Crew::new(SEATS)
}

/// All lives, and the drain.
pub(crate) fn finish(crew: &Crew, world: &Arc<World>, seed: u64) -> Outcome {
    let mut rng = Rng::new(seed ^ 0x5eed);
    let lives = rng.below(3) + 1;
    let there = Arc::clone(world);
    crew.begin(move |seat| there.step(seat));
    for _ in 0..lives {
        spend_a_life(world, crew, &mut rng);
    }
    world.finish();
    let machine = world.host.lock();
    let mut ledger = world.ledger();
    Outcome {
        operations: machine.operations(),
        acknowledged: ledger.acknowledged(),
        tags: ledger.tags(),
        faults: machine.faults_met,
        power_losses: machine.power_losses,
        pauses: machine.pauses,
        is_ordered: !machine.has_hidden_lines,
        violation: ledger.violation.take(),
    }
}

fn spend_a_life(world: &Arc<World>, crew: &Crew, rng: &mut Rng) {
    let mut machine = world.host.lock();
    let now = machine.operations();
    let losses = machine.power_losses;
    machine.fault = rng.one_in(2).then(|| fault(now + 1 + rng.below(150), rng));
    machine.crash = (!rng.one_in(4)).then(|| Crash {
        at: now + 1 + rng.below(300),
        kind: rng.pick([CrashKind::Kill, CrashKind::PowerLoss, CrashKind::PowerLoss]),
        is_done: rng.one_in(2),
    });
    drop(machine);
    deal_turns(world, crew, losses, rng);
    let mut machine = world.host.lock();
    machine.crash = None;
    if machine.power_losses == losses && rng.one_in(2) {
        machine.lose_power();
    }
    let has_lost_power = machine.power_losses > losses;
    drop(machine);
    world.finish_steps(crew);
    if !has_lost_power && rng.one_in(2) {
        world.satisfy_all();
    }
    world.end_all();
    if has_lost_power {
        world.revert_sinks();
    }
}

/// Some turns, until the power goes.
fn deal_turns(world: &Arc<World>, crew: &Crew, losses: u64, rng: &mut Rng) {
    let world = Arc::clone(world);
    let mut turns = 12 + rng.below(44);
    let mut rng = Rng::new(rng.next());
    crew.deal(move || {
        let mut machine = world.host.lock();
        if turns == 0 || machine.power_losses > losses {
            return None;
        }
        turns -= 1;
        if rng.one_in(16) {
            machine.fault = None; // somebody freed some space
        }
        drop(machine);
        Some(world.next_seat())
    });
}

fn fault(at: u64, rng: &mut Rng) -> Fault {
    let scope =
        rng.pick([Scope::All, Scope::All, Scope::Changes, Scope::Changes, Scope::Syncs, Scope::OneSegment]);
    let failure = match scope {
        Scope::All | Scope::Changes => {
            rng.pick([Failure::Errno(EIO), Failure::Errno(ENOSPC), Failure::ShortWrite])
        }
        Scope::Syncs => Failure::Errno(EIO),
        Scope::OneSegment => rng.pick([Failure::Errno(EIO), Failure::Errno(EACCES)]),
    };
    let lasts = rng.pick([Lasts::Once, Lasts::Once, Lasts::Forever]);
    Fault::new(at, failure, lasts, scope)
}
