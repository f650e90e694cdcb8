//! Faults of the log that are known and not mended yet: what shows them waits here. Whoever mends one sets its line to
//! true, and takes it away.

/// A line that stands where it was not written, because power loss left an old block or a payload holds it, passes for
/// one of its segment. Format 2 binds the checksum to the segment and the offset.
pub(crate) const LINES_KNOW_THEIR_PLACE: bool = cdesk_core::FORMAT_VERSION > 1;

/// A segment whose only line was never durable and is broken just in the digit of its version, is taken for one that a
/// newer version wrote: it stays for ever, and people are told to upgrade.
pub(crate) const DAMAGE_IS_NO_VERSION: bool = false;
