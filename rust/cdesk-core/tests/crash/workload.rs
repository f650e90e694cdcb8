//! The same work every time, short enough to break at each of its operations.

use std::time::Duration;

use crate::reading::Reader;
use crate::sim::Bug;
use crate::world::{Habits, SinkKind, World};

/// A machine on which nothing has happened yet.
pub(crate) fn world(sink: SinkKind, seed: u64) -> World {
    let habits = Habits {
        bug: Bug::None,
        max_segment_bytes: 400,
        max_lines: 3,
        sink,
        min_age: Duration::ZERO,
        pastes_lines: seed % 2 == 1,
    };
    let world = World::new(seed, habits);
    world.host.lock().max_zeros = 300;
    world
}

/// Two writers and every consumer, then a writer after the death of one.
pub(crate) fn work(world: &World) {
    let mut readers = [None, None];
    consume(world, &mut readers);
    let doomed = world.start_writer();
    let other = world.start_writer();
    for round in 0..3 {
        world.append(&doomed, 1);
        world.append(&other, 3);
        if round == 1 {
            let _ = doomed.queue.roll(); // the fault may be here
        }
        consume(world, &mut readers);
    }
    world.host.lock().kill(doomed.process());
    drop(doomed);
    let next = world.start_writer();
    world.append(&next, 2);
    let _ = next.queue.close(); // or here
    for _ in 0..3 {
        consume(world, &mut readers);
    }
}

/// A batch for each consumer; one that failed begins again.
fn consume(world: &World, readers: &mut [Option<Reader>; 2]) {
    let count = if world.habits.sink == SinkKind::OneWithCheckpoints { 1 } else { 2 };
    for (which, slot) in readers.iter_mut().enumerate().take(count) {
        if slot.is_none() {
            *slot = world.start_reader(which).ok();
        }
        if let Some(reader) = slot
            && world.consume(which, reader).is_err()
        {
            *slot = None;
        }
    }
}
