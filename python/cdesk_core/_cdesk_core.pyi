"""The Rust core of cdesk. `python -m mypy.stubtest cdesk_core` proves that this file tells the truth."""

from asyncio import Future
from collections.abc import Callable, Mapping, Sequence
from os import PathLike
from typing import Any, Final, Literal, Self, TypeAlias, final

_Bytes: TypeAlias = bytes  # where a class has a property of that name

__all__ = [
    "MAX_CUSTOMER_CHARS",
    "MAX_LINE_BYTES",
    "MAX_LINK_CHARS",
    "Backlog",
    "Batch",
    "CacheStats",
    "CanonicalisationError",
    "Consumer",
    "ConsumerStats",
    "ContextCache",
    "Damage",
    "Error",
    "EventRules",
    "Events",
    "ForkDetected",
    "Hit",
    "InvalidEvent",
    "InvalidLine",
    "InvalidName",
    "InvalidOption",
    "InvalidPosition",
    "Lease",
    "LeaseHeld",
    "LineTooLong",
    "LockHeld",
    "QueryTags",
    "Queue",
    "QueueClosed",
    "QueueStats",
    "SegmentView",
    "TagsExhausted",
    "TagsUnreadable",
    "Trouble",
    "UnsafeDirectory",
    "UnsupportedFormat",
    "_LoopWake",
    "__version__",
    "backlog",
    "inspect",
    "micro_dollars",
    "query_hash",
    "queue_depth",
    "registered",
]

__version__: Final[str]
MAX_CUSTOMER_CHARS: Final[int]
MAX_LINE_BYTES: Final[int]
MAX_LINK_CHARS: Final[int]

class Error(Exception):
    """The base of everything this package raises, except what the operating system refuses: that is OSError."""

class InvalidLine(Error, ValueError):
    """A line is not one JSON object that the log can take; nothing of the call was written."""

class LineTooLong(InvalidLine):
    """A line is longer than MAX_LINE_BYTES; nothing of the call was written."""

class InvalidEvent(Error, ValueError):
    """A line, or an amount, breaks a rule of the event stream; the message names the field and the rule, never a value."""

class InvalidName(Error, ValueError):
    """A consumer's name has characters that a file name here may not have; the message has the name."""

class InvalidOption(Error, ValueError):
    """An option has a value that it may not have; the message names it."""

class InvalidPosition(Error, ValueError):
    """A position string was not made by this package."""

class CanonicalisationError(Error, ValueError):
    """A parameter has no canonical JSON form; the message names the place."""

class LeaseHeld(Error):
    """Another process, or another object of this one, holds the lease."""

class LockHeld(Error):
    """A lock of the log that is held for a moment has been held by another program for 10 s; try again when it lets go."""

class QueueClosed(Error):
    """The queue or the consumer was closed before the call."""

class ForkDetected(Error):
    """An object made before a fork was used in the child; the message names both processes."""

class UnsafeDirectory(Error):
    """The directory is no directory, a symbolic link, another user's, writable by others, or on a network filesystem."""

class UnsupportedFormat(Error):
    """A segment of the log was written by another version."""

class TagsUnreadable(Error):
    """The counter file of the query tags is damaged, and starting again could repeat a tag."""

class TagsExhausted(Error):
    """All 2**32 query tags of the directory were given out."""

@final
class Queue:
    """The writing end of the log. Threads, and event loops, may share one.

    The directory is created (0700) when it is missing; nothing is written into it before the first append. Any
    number of processes may each have a Queue on the same directory. Not usable in a fork: open a new one there.

    durability: "fsync" (default) waits until the device has the line, so that it survives process kill, operating
    system crash and power loss; "os" until the operating system has it, so that it survives the process only.

    A segment is sealed when it has max_segment_bytes (1 at least), and by the first append after max_segment_age_s.

    Raises InvalidOption, UnsafeDirectory, OSError.
    """

    def __new__(
        cls,
        directory: str | PathLike[str],
        *,
        max_segment_bytes: int = 50_000_000,
        max_segment_age_s: float = 60.0,
        durability: Literal["fsync", "os"] = "fsync",
    ) -> Self: ...
    def append(self, line: bytes) -> None:
        """Appends one JSON object, without a line break; returns when it is durable.

        Other threads run meanwhile, and appends that arrive during one sync share the next.

        Raises InvalidLine or LineTooLong before anything is written; QueueClosed; ForkDetected; OSError when the
        device refused twice: the line is not acknowledged, and may be found in the log all the same.
        """

    def append_many(self, lines: Sequence[bytes]) -> None:
        """Appends several objects; returns when all are durable. Writes nothing unless every one is good.

        Raises as append; the message has the index of the line.
        """

    def append_async(self, line: bytes) -> Future[None]:
        """Accepts one object at once; the future is done, on the running loop, when it is durable.

        Raises InvalidLine, LineTooLong, QueueClosed and ForkDetected from the call, OSError from
        the future. Cancelling the future does not take the line back.
        """

    def roll(self) -> None:
        """Seals the open segment, so that consumers can finish with it. Does nothing when none is open.

        Raises OSError when the seal is not durable; every acknowledged line still is.
        """

    def stats(self) -> QueueStats:
        """What the queue has done since it was opened."""

    def close(self) -> None:
        """Waits until everything accepted is durable, or its future says why it is not; seals the segment, and refuses what
        comes after. Once is enough.

        Raises OSError as roll, of the seal alone, and ForkDetected; the queue is closed all the same.
        """

    def __enter__(self) -> Self: ...
    def __exit__(self, *_exception: object) -> None: ...

@final
class QueueStats:
    """What a queue has done since it was opened."""

    @property
    def lines(self) -> int:
        """Lines that are durable."""

    @property
    def bytes(self) -> int:
        """Bytes written for lines, with what the log adds, and again where a line was written twice."""

    @property
    def commits(self) -> int:
        """Groups of lines that shared a sync."""

    @property
    def segments(self) -> int:
        """Segments created."""

    @property
    def poisoned_segments(self) -> int:
        """Segments left without a seal because a write or a sync failed."""

    @property
    def failed_lines(self) -> int:
        """Lines that did not become durable; their callers got an error."""

    @property
    def pending_lines(self) -> int:
        """Lines accepted and not durable yet."""

@final
class Batch:
    """Lines to be delivered together."""

    @property
    def ndjson(self) -> bytes:
        r"""The lines as they stand in the log, with _seq, _log and _crc, each with its \n."""

    @property
    def lines(self) -> int:
        """How many there are; at least 1."""

    @property
    def position(self) -> str:
        """Where the consumer stands when this batch and all before it are consumed.

        Printable ASCII without quotes, spaces or backslashes. Keep it with the data and pass it to seek and prune.
        """

@final
class Consumer:
    """One named reader of the log: it gives out good lines, once each, a batch in the order (segment, sequence).

    It takes the lease of its name and registers: from then on, until unregister, no segment is deleted before it is
    past it. It stands where the consumer of that name last committed, or at the oldest line.

    A segment that cannot be read delays only itself: the others go on, `troubles` names it, and its lines come when it
    can be read again, after those that have overtaken them.

    Raises LeaseHeld, LockHeld, InvalidName, UnsafeDirectory, OSError.
    """

    def __new__(cls, directory: str | PathLike[str], name: str = "uploader") -> Self: ...
    def next_batch(self, max_lines: int = 10_000, max_bytes: int = 8_388_608) -> Batch | None:
        """The next lines, None when there are none for now. A batch has at least one line, however long.

        It moves on whether or not the last batch was committed. A batch that was not delivered is kept by the
        caller, or read again after seek.

        Raises InvalidOption, OSError when the directory cannot be read, QueueClosed, ForkDetected.
        """

    def commit(self, batch: Batch, *, safe: str | None = None) -> None:
        """Remembers, durably, that this batch and all before it are consumed. It never moves backwards.

        `safe` is for a sink that may fall back, to its last checkpoint for example: the position of what it has whatever
        happens. Other consumers delete nothing beyond it. Without it, the batch is safe.

        It overwrites a file that is there, so it needs no space, but for every 430 segments more than there were. On a full
        disk it then raises OSError and has remembered the oldest segments alone: prune them, and commit again.

        Raises InvalidPosition, OSError, QueueClosed, ForkDetected.
        """

    def seek(self, position: str) -> None:
        """Stands at a position that the sink has: it knows better than the local file. "1" is the oldest line.

        Where that is backwards it is durable, so that no other consumer deletes what is to come again; forwards it is
        with the next commit. A position may name segments that are gone. It waits while another consumer registers or
        deletes.

        Raises InvalidPosition, LockHeld, OSError, QueueClosed, ForkDetected.
        """

    def depth(self) -> int:
        """Lines appended minus lines committed, over all segments that can be read.

        Raises OSError when the directory cannot be read, QueueClosed, ForkDetected.
        """

    def prune(self, position: str, *, min_age_s: float) -> int:
        """Deletes segments that nobody needs, durably, and says how many, with those that an earlier call deleted and
        could not make durable.

        Those are finished (sealed, or their writer has died), unchanged for min_age_s, and wholly within what every
        registered consumer says is safe: for this one that is `position`, which the sink has checkpointed, and which
        other consumers go by from now on. Those whose damage has no copy yet stay; empty ones of dead writers go. One that cannot be looked at or
        deleted is passed over, and is among the troubles. It deletes none while another consumer registers or deletes.

        Raises InvalidPosition, InvalidOption, OSError, QueueClosed, ForkDetected.
        """

    @property
    def position(self) -> str:
        """What was committed, or taken over with seek: what to prune by where there is nothing better to go by.

        Raises QueueClosed, ForkDetected.
        """

    def unregister(self) -> None:
        """Takes the registration back, durably, and closes: nothing waits for this name any more.

        What the consumer has not consumed may be deleted from now on.

        Raises OSError, QueueClosed, ForkDetected.
        """

    def troubles(self) -> list[Trouble]:
        """What keeps segments waiting: those that could not be read, copied from or deleted when last tried.

        Raises QueueClosed, ForkDetected.
        """

    def stats(self) -> ConsumerStats:
        """What this consumer has done since it was opened. Raises QueueClosed, ForkDetected."""

    def close(self) -> None:
        """Gives the lease back. Once is enough."""

    def __enter__(self) -> Self: ...
    def __exit__(self, *_exception: object) -> None: ...

@final
class ConsumerStats:
    """What a consumer has done since it was opened."""

    @property
    def lines(self) -> int:
        """Lines given out."""

    @property
    def bytes(self) -> int:
        """Their bytes."""

    @property
    def batches(self) -> int:
        """Batches given out."""

    @property
    def segments(self) -> int:
        """Segments there were when it looked for them last."""

    @property
    def pruned_segments(self) -> int:
        """Segments deleted."""

    @property
    def troubled_segments(self) -> int:
        """Segments that wait because something about them fails; Consumer.troubles says what. Alert on it."""

    @property
    def torn_bytes(self) -> int:
        """Bytes that crashes left at the ends of segments. Normal: they were never acknowledged."""

    @property
    def damaged_lines(self) -> int:
        """Lines that were written whole and cannot be read any more. Alert on it."""

    @property
    def copied_bytes(self) -> int:
        """Damaged bytes that were found and have a copy in damaged/, whoever made it."""

@final
class Trouble:
    """What keeps one segment waiting."""

    @property
    def segment(self) -> str:
        """The name of its file."""

    @property
    def error(self) -> Error | OSError:
        """What failed when it was tried last."""

@final
class Backlog:
    """What waits for one consumer."""

    @property
    def lines(self) -> int:
        """Lines appended minus lines committed, in the segments that can be read."""

    @property
    def segments(self) -> int:
        """Segments in the directory."""

    @property
    def unreadable_segments(self) -> int:
        """Of those, the ones that cannot be read; inspect says why."""

    @property
    def bytes(self) -> int:
        """Their size on disk, with the zeros written ahead, as far as it is known."""

    @property
    def has_consumer(self) -> bool:
        """Does a process hold the consumer's lease now?"""

def backlog(directory: str | PathLike[str], name: str = "uploader") -> Backlog:
    """Looks at a log without a lease and without changing anything. No directory, no backlog.

    Raises UnsafeDirectory, InvalidName, OSError.
    """

def registered(directory: str | PathLike[str]) -> list[str]:
    """The names of the consumers for which segments are kept, in order. No directory, none.

    Raises UnsafeDirectory, OSError.
    """

def queue_depth(directory: str | PathLike[str], name: str = "uploader") -> int:
    """`backlog(directory, name).lines`."""

@final
class EventRules:
    """The rules of the event stream, in one place: what an event is, read from its line, once.

    `payloads` gives the typed keys of each known activity's payload: by activity, by key, "text", "flag", "whole" or
    "number". What depends on nothing of that stands in the rules themselves.

    Raises InvalidOption for another type.
    """

    def __new__(cls, payloads: Mapping[str, Mapping[str, str]]) -> Self: ...
    def check(self, line: bytes) -> None:
        """Returns when the line is an event.

        Raises InvalidEvent: the first rule that it breaks.
        """

    def decode(self, ndjson: bytes) -> Events:
        """Reads lines into columns, each line once; what is no event is kept apart.

        Raises InvalidEvent: more than the columns can hold, which is 2 GiB of text in one of them.
        """

@final
class Events:
    """Events as columns: an Arrow stream, which any engine that speaks Arrow reads without a copy. Made by
    EventRules.decode: the first of each id and time, in the order of their lines.

    Columns: activity_id, activity, customer, ts, feature_json (JSON as it was written), link, revenue_impact (decimal
    of 38 digits, six places), source_system, source_version, session_id, query_tag, accepted_at; times are
    microseconds in UTC, without a zone.
    """

    @property
    def customers(self) -> frozenset[str]:
        """Whose they are."""

    @property
    def activities(self) -> frozenset[str]:
        """What they are."""

    @property
    def duplicates(self) -> int:
        """How many lines are the event of a line before them once more."""

    @property
    def refused(self) -> list[tuple[bytes, str]]:
        """The lines that are no events, each with the rule that it breaks."""

    def stretches(self, most: int) -> list[tuple[int, int]]:
        """Stretches of time, first and last moment in microseconds since 1970, in which all events lie: `most` at most,
        cut at the widest gaps, so that one late event does not make a long stretch.
        """

    def lines(self) -> list[bytes]:
        """Each event's line, as it was decoded."""

    def __len__(self) -> int: ...
    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        """The Arrow PyCapsule interface: a stream of one batch. A requested schema is not looked at, as the interface
        allows.
        """

@final
class Damage:
    """One damaged stretch of a segment."""

    @property
    def offset(self) -> int:
        """Where it starts in the file."""

    @property
    def bytes(self) -> int:
        """How many bytes are bad; 0 where lines are missing without a trace."""

    @property
    def missing_lines(self) -> int:
        """Lines that are missing because of it."""

@final
class SegmentView:
    """One segment, to be looked at. Counts are of what was read so far."""

    @property
    def name(self) -> str:
        """The name of the file."""

    @property
    def writer(self) -> str:
        """The queue that wrote it, as 8 hex digits."""

    @property
    def created_unix_ms(self) -> int:
        """When it was created, by the wall clock of its writer."""

    @property
    def modified_unix_ms(self) -> int:
        """When it had last changed at the call of inspect."""

    @property
    def bytes(self) -> int:
        """Its size on disk at the call of inspect, with the zeros written ahead."""

    @property
    def state(self) -> Literal["open", "sealed", "abandoned", "unreadable"]:
        """Its writer lives; finished it; died, or left it after an error; or it cannot be read. By what was seen last."""

    @property
    def error(self) -> Error | OSError | None:
        """What kept it from being read when that was tried last."""

    @property
    def is_ended(self) -> bool:
        """Was it read to an end that will not move any more?"""

    @property
    def lines(self) -> int:
        """Good lines."""

    @property
    def line_bytes(self) -> int:
        """Their bytes, with what the log adds."""

    @property
    def torn_bytes(self) -> int:
        """Bytes that a crash left at the end. Normal: they were never acknowledged."""

    @property
    def missing_lines(self) -> int:
        """Lines that were written whole and cannot be read any more: the holes in _seq."""

    @property
    def damage(self) -> list[Damage]:
        """Where, oldest first."""

    def read(self, max_lines: int = 10_000, max_bytes: int = 8_388_608) -> _Bytes:
        r"""The next good lines as they stand in the log, each with its \n; b"" when there are none for now.

        It holds one line at least, however long. Raises InvalidOption, OSError, UnsupportedFormat.
        """

    def check(self) -> None:
        """Checks every line from here on to the end, as it is for now. Raises as read."""

def inspect(directory: str | PathLike[str]) -> list[SegmentView]:
    """The segments of a log, oldest first, without a lease and without changing anything. No directory, none.

    Lines are judged exactly as a Consumer judges them. Raises UnsafeDirectory, OSError.
    """

@final
class Lease:
    """A right that one process has at a time, until release or its death, however it dies, and the death of the
    children that it forked and that never started another program.

    shared: any number of shared holders, and no exclusive one. wait: block, while other threads run, until it is
    free. The file is created (0600) when it is missing and never deleted; its directory must exist.

    Raises LeaseHeld, OSError.
    """

    def __new__(
        cls, path: str | PathLike[str], *, shared: bool = False, wait: bool = False
    ) -> Self: ...
    def release(self) -> None:
        """Gives it back. Once is enough."""

    def __enter__(self) -> Self: ...
    def __exit__(self, *_exception: object) -> None: ...

@final
class QueryTags:
    """Gives out query tags that no process, thread or life with the same directory gives out again.

    Raises UnsafeDirectory, OSError.
    """

    def __new__(cls, directory: str | PathLike[str]) -> Self: ...
    def next(self) -> str:
        """ "cdesk_" and the first 8 hex digits of a UUID v4. Waits for the disk in the first call, after 1,024, and then
        less and less often, at last every 65,536 calls.

        Raises TagsUnreadable, TagsExhausted, LockHeld, ForkDetected, OSError.
        """

    def next_with_uuid(self) -> tuple[str, str]:
        """The tag and the whole UUID that it begins. Raises as next."""

def query_hash(template: str, params: Mapping[str, Any]) -> str:
    r"""The first 16 hex digits of SHA-256 over the normalised template and the canonical JSON of the parameters.

    Normalised: each run of JavaScript's \s becomes one space, none at the ends. Canonical: RFC 8785, so the order of
    keys does not matter and 1.0 is 1. Parameters are None, bool, int within 2**53, finite float, str, list, tuple and
    mappings with str keys, nested up to 128 levels.

    Raises CanonicalisationError, which names the place as a JSON pointer.
    """

@final
class Hit:
    """A value that was found."""

    @property
    def value(self) -> bytes:
        """What was put: the same object."""

    @property
    def age_s(self) -> float:
        """How long ago it was put."""

    @property
    def is_stale(self) -> bool:
        """Is it stale_after_s old, or older?"""

    @property
    def should_refresh(self) -> bool:
        """Shall this caller, and no other, get a new one?"""

@final
class ContextCache:
    """A bounded cache of bytes: least recently used goes first, old goes at once, stale is served meanwhile.

    An entry is fresh for stale_after_s, then stale, and gone after ttl_s. max_bytes counts keys and values. `clock`
    gives seconds and never steps back; the default is the machine's monotonic clock.

    Raises InvalidOption.
    """

    def __new__(
        cls,
        *,
        max_entries: int,
        max_bytes: int,
        ttl_s: float,
        stale_after_s: float,
        clock: Callable[[], float] | None = None,
    ) -> Self: ...
    def get(self, key: str) -> bytes | None:
        """The value, fresh or stale. Claims no refresh."""

    def lookup(self, key: str) -> Hit | None:
        """The value with its age. Of those who find it stale, one is told to refresh it.

        When no new value was put within another stale_after_s, the next one is told.
        """

    def put(self, key: str, value: bytes) -> None:
        """Holds the value in place of what was there. One larger than max_bytes is not held, and counted."""

    def invalidate(self, key: str) -> bool:
        """Forgets the entry; says whether there was one."""

    def clear(self) -> None:
        """Forgets every entry."""

    def stats(self) -> CacheStats:
        """What the cache has seen since it was made."""

@final
class CacheStats:
    """What a cache has seen since it was made."""

    @property
    def hits(self) -> int:
        """Calls that found a fresh value."""

    @property
    def stale_hits(self) -> int:
        """Calls that found a stale value."""

    @property
    def misses(self) -> int:
        """Calls that found nothing."""

    @property
    def evictions(self) -> int:
        """Entries that made room for others."""

    @property
    def expirations(self) -> int:
        """Entries found too old."""

    @property
    def oversized(self) -> int:
        """Values not held because they alone are larger than the cache."""

    @property
    def entries(self) -> int:
        """Entries held now."""

    @property
    def bytes(self) -> int:
        """Bytes held now."""

@final
class _LoopWake:
    def __new__(cls) -> Self: ...
    def fileno(self) -> int: ...
    def submit(self, queue: Queue, line: bytes, future: Future[None]) -> None: ...
    def settled(self) -> list[tuple[list[Future[None]], list[Error | OSError] | None]]: ...
    def clear(self) -> None: ...

def micro_dollars(amount: str) -> int:
    """An amount of US dollars as a text (12.5, -3, 1e3), in millionths.

    Raises InvalidEvent: it is no finite decimal number, 1e15 or more, or finer than a millionth; nothing is rounded.
    """
