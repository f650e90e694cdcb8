"""The Rust core of cdesk: a durable event log, query tags, query hashes and a context cache.

    Queue, Consumer, Lease          the log: append, read in batches, prune
    backlog, queue_depth            how much is in it, without a lease
    registered                      the consumers for which segments are kept
    inspect                         its segments and lines, checked, without changing anything
    QueryTags                       tags that never repeat
    query_hash                      one fingerprint for one question
    ContextCache                    bounded, with stale-while-revalidate

I/O problems are OSError with errno and filename; everything else is under Error:

    Error
      InvalidLine (ValueError)
        LineTooLong
      InvalidName, InvalidOption, InvalidPosition, CanonicalisationError (ValueError)
      LeaseHeld, LockHeld, QueueClosed, ForkDetected, UnsafeDirectory, UnsupportedFormat
      TagsUnreadable, TagsExhausted
"""

from cdesk_core._asyncio import append_async
from cdesk_core._cdesk_core import (
    MAX_LINE_BYTES,
    Backlog,
    Batch,
    CacheStats,
    CanonicalisationError,
    Consumer,
    ConsumerStats,
    ContextCache,
    Damage,
    Error,
    ForkDetected,
    Hit,
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
    query_hash,
    queue_depth,
    registered,
)

__all__ = [
    "MAX_LINE_BYTES",
    "Backlog",
    "Batch",
    "CacheStats",
    "CanonicalisationError",
    "Consumer",
    "ConsumerStats",
    "ContextCache",
    "Damage",
    "Error",
    "ForkDetected",
    "Hit",
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
    "query_hash",
    "queue_depth",
    "registered",
]

# A method of the Rust class would cost a detour: a tenth of the time of an append.
Queue.append_async = append_async  # type: ignore[method-assign]
del append_async
