//! Faults of the log that are known and not mended yet: what shows them waits here. Whoever mends one sets its line to
//! true, and takes it away.

/// A consumer that asks for the writer of a segment between its creation and its lock, and reads it after, takes it
/// for finished: it comes to no line that is written later, until it is started again.
pub(crate) const CONSUMERS_NEVER_MISS_A_LOCK: bool = false;

/// A line that stands where it was not written, because power loss left an old block or a payload holds it, passes for
/// one of its segment. Format 2 binds the checksum to the segment and the offset.
pub(crate) const LINES_KNOW_THEIR_PLACE: bool = cdesk_core::FORMAT_VERSION > 1;
