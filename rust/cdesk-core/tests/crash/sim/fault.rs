//! What goes wrong, and at which operation.

use super::event::Operation;

pub(crate) const EIO: i32 = 5;
pub(crate) const EACCES: i32 = 13;
pub(crate) const ENOSPC: i32 = 28;

/// How an operation fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failure {
    /// With this number of errno(3).
    Errno(i32),
    /// A write takes fewer bytes than it was given; anything else succeeds.
    ShortWrite,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lasts {
    Once,
    /// Until the machine is healed.
    Forever,
}

/// Which operations fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scope {
    All,
    /// Those that change something.
    Changes,
    /// Those that make bytes durable.
    Syncs,
    /// Those that look at one segment: the first at which somebody looks.
    OneSegment,
}

/// Operations that fail, from a moment on.
#[derive(Debug, Clone)]
pub(crate) struct Fault {
    at: u64,
    failure: Failure,
    lasts: Lasts,
    scope: Scope,
    /// The segment that nobody can look at.
    victim: Option<String>,
}

impl Fault {
    pub(crate) fn new(at: u64, failure: Failure, lasts: Lasts, scope: Scope) -> Self {
        Self { at, failure, lasts, scope, victim: None }
    }

    /// How this operation fails, if it does.
    pub(super) fn meet(&mut self, now: u64, operation: &Operation) -> Option<Failure> {
        let is_met = match self.scope {
            Scope::All => true,
            Scope::Changes => operation.changes_something(),
            Scope::Syncs => matches!(operation, Operation::Sync { .. }),
            Scope::OneSegment => operation.segment().is_some(),
        };
        if now < self.at || !is_met {
            return None;
        }
        if self.scope == Scope::OneSegment {
            let victim =
                self.victim.get_or_insert_with(|| operation.segment().unwrap_or_default().to_owned());
            return (operation.segment() == Some(victim)).then_some(self.failure);
        }
        if self.lasts == Lasts::Once {
            self.at = u64::MAX;
        }
        Some(self.failure)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CrashKind {
    /// The process that is at it dies; what it wrote is still seen.
    Kill,
    /// Everything dies, and what was not synced may go.
    PowerLoss,
}

/// An operation that does not return.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Crash {
    pub(crate) at: u64,
    pub(crate) kind: CrashKind,
    /// Has the operation taken effect?
    pub(crate) is_done: bool,
}
