//! A condition variable that wakes one more than it was asked to now and then, as those of operating systems may, and
//! that loses wake-ups when it is told to: a proof that cannot fail proves nothing.

use std::cell::Cell;
use std::ops::Deref;
use std::panic::Location;

use shuttle::rand::{Rng, thread_rng};

thread_local! {
    /// Shuttle runs all threads of a test on one, so this is the test's alone.
    static LOST: Cell<Option<LostWakeUps>> = const { Cell::new(None) };
}

/// Wake-ups that wake nobody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LostWakeUps {
    /// The name of the source file that sends them.
    pub from: &'static str,
    /// So many arrive before the first is lost.
    pub after: u32,
}

/// From here on these wake-ups get lost, or none.
pub fn lose_wake_ups(lost: Option<LostWakeUps>) {
    LOST.set(lost);
}

/// One in so many wake-ups wakes one more.
const SPURIOUS: u32 = 4;

/// Shuttle's, less reliable.
#[derive(Debug, Default)]
pub(crate) struct Condvar(shuttle::sync::Condvar);

impl Condvar {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    #[track_caller]
    pub(crate) fn notify_one(&self) {
        if arrives(Location::caller()) {
            self.0.notify_one();
            if thread_rng().gen_ratio(1, SPURIOUS) {
                self.0.notify_one();
            }
        }
    }

    #[track_caller]
    pub(crate) fn notify_all(&self) {
        if arrives(Location::caller()) {
            self.0.notify_all();
        }
    }
}

/// All the rest is as it was.
impl Deref for Condvar {
    type Target = shuttle::sync::Condvar;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

fn arrives(sender: &Location<'_>) -> bool {
    let Some(lost) = LOST.get().filter(|lost| sender.file().ends_with(lost.from)) else { return true };
    let Some(after) = lost.after.checked_sub(1) else { return false };
    LOST.set(Some(LostWakeUps { after, ..lost }));
    true
}
