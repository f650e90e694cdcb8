"""The Rust core of cdesk: a durable event log, the rules of the stream, tags, hashes and a cache.

    Queue, Consumer, Lease          the log: append, read in batches, prune
    backlog, queue_depth            how much is in it, without a lease
    registered                      the consumers for which segments are kept
    inspect                         its segments and lines, checked, without changing anything
    EventRules, Events              a line of the log as an event, a batch of them as columns
    micro_dollars                   an amount, exactly
    QueryTags                       tags that never repeat
    query_hash                      one fingerprint for one question
    ContextCache                    bounded, with stale-while-revalidate

I/O problems are OSError with errno and filename; everything else is under Error:

    Error
      InvalidLine (ValueError)
        LineTooLong
      InvalidEvent, InvalidName, InvalidOption, InvalidPosition, CanonicalisationError (ValueError)
      LeaseHeld, LockHeld, QueueClosed, ForkDetected, UnsafeDirectory, UnsupportedFormat
      TagsUnreadable, TagsExhausted
"""

from cdesk_core._asyncio import append_async
from cdesk_core._cdesk_core import (
    MAX_CUSTOMER_CHARS,
    MAX_LINE_BYTES,
    MAX_LINK_CHARS,
    Backlog,
    Batch,
    CacheStats,
    CanonicalisationError,
    Consumer,
    ConsumerStats,
    ContextCache,
    Damage,
    Error,
    EventRules,
    Events,
    ForkDetected,
    Hit,
    InvalidEvent,
    InvalidLine,
    InvalidName,
    InvalidOption,
    InvalidPosition,
    Lease,
    LeaseHeld,
    LineTooLong,
    LockHeld,
    QueryTags,
    Queue,
    QueueClosed,
    QueueStats,
    SegmentView,
    TagsExhausted,
    TagsUnreadable,
    Trouble,
    UnsafeDirectory,
    UnsupportedFormat,
    __version__,
    backlog,
    inspect,
    micro_dollars,
    query_hash,
    queue_depth,
    registered,
)

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
    "__version__",
    "backlog",
    "inspect",
    "micro_dollars",
    "query_hash",
    "queue_depth",
    "registered",
]

# A method of the Rust class would cost a detour: a tenth of the time of an append.
Queue.append_async = append_async  # type: ignore[method-assign]
del append_async
