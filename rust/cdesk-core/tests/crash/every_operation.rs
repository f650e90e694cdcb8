//! Every operation of a day fails, or is the last one.

use crate::sim::{Crash, CrashKind, EIO, ENOSPC, Failure, Fault, Lasts, Scope};
use crate::workload::{work, world};
use crate::world::{SinkKind, World};

const SINKS: [SinkKind; 3] = [SinkKind::Lasting, SinkKind::OneWithCheckpoints, SinkKind::WithCheckpoints];

/// Drains what there is, and hears the judge.
fn judge(world: &World, what: &str) {
    world.finish();
    let violation = world.ledger().violation.take();
    assert_eq!(violation, None, "{what}");
}

#[test]
fn whatever_operation_fails_nothing_acknowledged_is_lost_and_nobody_hangs() {
    for failure in [Failure::Errno(EIO), Failure::Errno(ENOSPC), Failure::ShortWrite] {
        for (lasts, scope) in
            [(Lasts::Once, Scope::All), (Lasts::Forever, Scope::All), (Lasts::Forever, Scope::Changes)]
        {
            for sink in SINKS {
                for at in 1.. {
                    let world = world(sink, at);
                    world.host.lock().fault = Some(Fault::new(at, failure, lasts, scope));
                    work(&world);
                    let is_over = world.host.lock().operations() < at;
                    if failure == Failure::ShortWrite || lasts == Lasts::Once {
                        let acknowledged = world.ledger().acknowledged();
                        assert_eq!(acknowledged, 14, "one failure at {at} is made good from memory");
                    }
                    judge(&world, &format!("{failure:?} {lasts:?} at {at}, {sink:?}"));
                    if is_over {
                        break;
                    }
                }
            }
        }
    }
}

#[test]
fn whatever_operation_is_the_last_nothing_acknowledged_is_lost() {
    for sink in SINKS {
        for seed in 0..6 {
            for at in 1.. {
                let world = world(sink, seed);
                let kind = if seed == 0 { CrashKind::Kill } else { CrashKind::PowerLoss };
                world.host.lock().crash = Some(Crash { at, kind, is_done: seed % 2 == 0 });
                work(&world);
                let is_over = world.host.lock().operations() < at;
                if kind == CrashKind::PowerLoss {
                    world.revert_sinks();
                }
                judge(&world, &format!("{kind:?} at {at}, {sink:?}, seed {seed}"));
                if is_over {
                    break;
                }
            }
        }
    }
}

#[test]
fn whatever_operation_of_the_recovery_fails_nothing_acknowledged_is_lost() {
    for sink in SINKS {
        for lasts in [Lasts::Once, Lasts::Forever] {
            for last in (10..200).step_by(23) {
                for at in 1.. {
                    let world = world(sink, at);
                    world.host.lock().crash =
                        Some(Crash { at: last, kind: CrashKind::PowerLoss, is_done: false });
                    work(&world);
                    world.revert_sinks();
                    let mut machine = world.host.lock();
                    machine.heal();
                    let at = machine.operations() + at;
                    machine.fault = Some(Fault::new(at, Failure::Errno(EIO), lasts, Scope::All));
                    drop(machine);
                    work(&world);
                    let is_over = world.host.lock().operations() < at;
                    judge(&world, &format!("{lasts:?} at {at} after power loss at {last}, {sink:?}"));
                    if is_over {
                        break;
                    }
                }
            }
        }
    }
}
