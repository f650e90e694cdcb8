//! Faults of the log that are known and not mended yet: what shows them waits here. Whoever mends one sets its line to
//! true, and takes it away.

/// A segment whose only line was never durable and is broken just in the digit of its version, is taken for one that a
/// newer version wrote: it stays for ever, and people are told to upgrade.
pub(crate) const DAMAGE_IS_NO_VERSION: bool = false;
