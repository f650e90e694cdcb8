//! Whose turn it is: of all the processes of a machine one runs at a time.
//!
//! Each has a seat, which is a thread. It sleeps until the driver gives it the turn, and gives it back between two
//! operations, while it waits for a lock, or at the end of its step. So any two processes may come between the
//! operations of each other, and who is next is for the driver's dice alone: the same seed is the same history.

use std::any::Any;
use std::cell::RefCell;
use std::panic::{self, AssertUnwindSafe};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

thread_local! {
    /// The seat whose thread this is.
    static SEAT: RefCell<Option<Seat>> = const { RefCell::new(None) };
}

/// Why a turn came back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stop {
    /// The step is over.
    Done,
    /// It is between two operations.
    Paused,
    /// Somebody holds what it needs.
    Waiting,
}

/// What a process does from one end of a step to the next.
type Step = Arc<dyn Fn(usize) + Send + Sync>;
/// Who is next, until nobody is. Whoever stops asks, so that no turn goes by way of the driver's thread.
type Dealer = Box<dyn FnMut() -> Option<usize> + Send>;

/// The threads of the seats. They serve one history after the other: to start them takes longer than to live one.
pub(crate) struct Crew {
    turns: Arc<Turns>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Clone)]
struct Seat {
    turns: Arc<Turns>,
    number: usize,
}

struct Turns {
    state: Mutex<State>,
    seats: Vec<Condvar>,
    driver: Condvar,
}

#[derive(Default)]
struct State {
    /// Which seat has the turn; `None` for the driver.
    turn: Option<usize>,
    /// Where each seat stopped.
    stops: Vec<Stop>,
    step: Option<Step>,
    dealer: Option<Dealer>,
    /// Nobody will come and free what somebody waits for.
    is_waiting_vain: bool,
    is_over: bool,
    panic: Option<Box<dyn Any + Send>>,
}

impl Drop for Crew {
    fn drop(&mut self) {
        self.turns.lock().is_over = true;
        self.turns.seats.iter().for_each(Condvar::notify_one);
        for thread in self.threads.drain(..) {
            let _ = thread.join(); // it told the driver of its panic
        }
    }
}

impl Crew {
    pub(crate) fn new(seats: usize) -> Self {
        let turns = Arc::new(Turns {
            state: Mutex::new(State { stops: vec![Stop::Done; seats], ..State::default() }),
            seats: (0..seats).map(|_| Condvar::new()).collect(),
            driver: Condvar::new(),
        });
        let seats = (0..seats).map(|number| Seat { turns: Arc::clone(&turns), number });
        let threads = seats.map(|seat| thread::spawn(move || seat.sit())).collect();
        Self { turns, threads }
    }

    /// A seat that has the turn and is at no step does this one.
    pub(crate) fn begin(&self, step: impl Fn(usize) + Send + Sync + 'static) {
        self.turns.lock().step = Some(Arc::new(step));
    }

    /// From within a step: lets others run, if there are any.
    pub(crate) fn pause() {
        if let Some(seat) = seat() {
            seat.give_back(Stop::Paused);
            seat.sleep();
        }
    }

    /// From within a step: lets others run, who may give back what is needed. Says no if nobody will.
    pub(crate) fn wait() -> bool {
        let Some(seat) = seat() else { return false };
        if seat.turns.lock().is_waiting_vain {
            return false;
        }
        seat.give_back(Stop::Waiting);
        seat.sleep() && !seat.turns.lock().is_waiting_vain
    }

    /// Are there others who could run now?
    pub(crate) fn is_shared() -> bool {
        SEAT.with_borrow(Option::is_some)
    }

    /// Gives one turn after the other, as the dealer says; takes it back when that has had enough.
    pub(crate) fn deal(&self, mut dealer: impl FnMut() -> Option<usize> + Send + 'static) {
        if let Some(first) = dealer() {
            self.turns.lock().dealer = Some(Box::new(dealer));
            self.give(first);
        }
    }

    /// Gives the turn to a seat, and takes it back.
    pub(crate) fn give(&self, seat: usize) -> Stop {
        self.turns.lock().turn = Some(seat);
        self.turns.seats[seat].notify_one();
        let mut state = self.turns.lock();
        while state.turn.is_some() {
            state = self.turns.driver.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.dealer = None;
        let stop = state.stops[seat];
        if let Some(payload) = state.panic.take() {
            drop(state);
            panic::resume_unwind(payload);
        }
        stop
    }

    /// Gives turns until every step is over; `pick` draws one of so many. Says whether somebody waited for a lock that
    /// nobody would ever have given back: that one was told so.
    pub(crate) fn finish(&self, mut pick: impl FnMut(usize) -> usize) -> bool {
        let mut has_hung = false;
        loop {
            let stops = self.turns.lock().stops.clone();
            let at_it =
                |stop| stops.iter().enumerate().filter(move |(_, of)| **of == stop).map(|(seat, _)| seat);
            // Somebody's progress may be what another waits for.
            let mut open: Vec<_> = at_it(Stop::Paused).collect();
            if open.is_empty() {
                let moved = at_it(Stop::Waiting).filter(|&seat| self.give(seat) != Stop::Waiting).count();
                open.extend(at_it(Stop::Waiting));
                if open.is_empty() {
                    break;
                }
                if moved == 0 {
                    has_hung = true;
                    self.turns.lock().is_waiting_vain = true;
                }
                continue;
            }
            self.give(open[pick(open.len())]);
        }
        self.turns.lock().is_waiting_vain = false;
        has_hung
    }
}

impl Turns {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seat {
    /// The life of its thread: a step whenever it has the turn.
    fn sit(self) {
        SEAT.set(Some(self.clone()));
        while self.sleep() {
            let step = self.turns.lock().step.clone();
            let result =
                panic::catch_unwind(AssertUnwindSafe(|| step.iter().for_each(|step| step(self.number))));
            drop(step);
            self.turns.lock().panic = result.err();
            self.give_back(Stop::Done);
        }
    }

    /// Sleeps until it has the turn; says no when the day is over.
    fn sleep(&self) -> bool {
        let mut state = self.turns.lock();
        while !state.is_over && state.turn != Some(self.number) {
            state = self.turns.seats[self.number].wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        !state.is_over
    }

    /// Gives the turn to the next, or to the driver if there is none or something went wrong.
    fn give_back(&self, stop: Stop) {
        let mut state = self.turns.lock();
        state.stops[self.number] = stop;
        let dealer = state.dealer.take().filter(|_| state.panic.is_none());
        drop(state);
        let mut next = None;
        if let Some(mut dealer) = dealer {
            next = dealer();
            self.turns.lock().dealer = Some(dealer);
        }
        self.turns.lock().turn = next;
        match next {
            Some(next) if next == self.number => {}
            Some(next) => self.turns.seats[next].notify_one(),
            None => self.turns.driver.notify_one(),
        }
    }
}

fn seat() -> Option<Seat> {
    SEAT.with_borrow(Clone::clone)
}
