"""What a warehouse must do for the worker, whatever its engine.

Invariants every engine keeps:

- A batch's ids, rows, derived columns, atoms, quarantined lines and position commit in one
  transaction, or nothing of it does. An event is known by its id and its time: what was stored
  before adds nothing, and an id at another time is another event.
- After every commit `activity_occurrence` and `activity_repeated_at` of all rows equal a full
  recompute, for any order of arrival, split into batches, or duplication.
- Values are bound, never spliced into SQL.
- A warehouse that somebody else holds raises `WarehouseBusy`; nothing is half done.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol, TypeAlias, TypeVar

import cdesk_core

from cdesk.dialect import Dialect

_T = TypeVar("_T")

Step: TypeAlias = Callable[[str], None]
"""Called with a step's name right after the step; tests stop the worker there."""


def no_step(name: str) -> None:
    """The step callback of everyday life: does nothing."""


@dataclass(frozen=True, slots=True)
class Quarantined:
    """A line that is no event, why, and where in the log it stands."""

    line: bytes
    reason: str
    segment: str | None = None
    line_number: int | None = None
    """Its number in the segment, from 0."""
    customer: str | None = None
    """As the line has it, where it can be read."""

    @property
    def id(self) -> str:
        """The same for the same line, which is of one place of the log alone."""
        return str(uuid.UUID(bytes=hashlib.sha256(self.line).digest()[:16]))


@dataclass(frozen=True, slots=True)
class EventBatch:
    """What one unit of upload brings."""

    batch_id: str
    consumer: str
    position: str
    """The log's position after it."""
    events: cdesk_core.Events
    """The columns of its events; what of its lines is no event is in `quarantined` alone."""
    quarantined: Sequence[Quarantined] = ()
    after: str | None = None
    """The position that the sink must have: this batch begins there. `None`: none yet."""


@dataclass(frozen=True, slots=True)
class BatchResult:
    """What a committed batch changed."""

    events: int
    """New rows of the stream."""
    duplicates: int
    """Events that were stored before."""
    quarantined: int


@dataclass(frozen=True, slots=True)
class Standing:
    """What a sink says of itself, for `cdesk.delivery`."""

    lineage: str | None
    """Under which lineage it was delivered to; `None` for one that is new."""
    events: int
    """How many events it has; an older copy of it has no more."""


@dataclass(frozen=True, slots=True)
class Fallback:
    """What a warehouse had to do without, and what it goes on with."""

    error: str
    """What could not be used, in a few words that quote nothing."""
    fallback: str
    """What took its place."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """A rendered SafeSQL template with its bound values, ready to run."""

    sql: str
    values: Mapping[str, Any]
    tables: Sequence[str]
    """The base tables it reads."""
    customer: str
    """Whose rows it reads, and no other's."""
    row_cap: int


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryResult:
    """What a query returned; the whole of it is in the Parquet file it was asked to write."""

    columns: Sequence[str]
    types: Sequence[str]
    """The engine's names of the columns' types."""
    sample: Sequence[Sequence[Any]]
    """The first rows, as JSON values."""
    row_count: int
    is_capped: bool
    """Whether rows beyond the template's cap were left out."""
    bytes_scanned: int | None
    """`None` from an engine that does not measure it: then the estimate is the upper bound."""
    file_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Execution:
    """One execution of a query, as the audit keeps it.

    Raises:
        ValueError: the hash is not of this source and these parameters, so that the ledger would
            say of the hash what is not true.
    """

    ticket_id: str
    customer: str
    query_tag: str
    query_uuid: str
    query_hash: str
    template: str
    template_version: int
    source: str
    """What the hash was taken over beside the parameters: the SELECT and its constants."""
    params: Mapping[str, Any]
    outcome: str
    """`done`, `failed` or `cancelled`."""
    started_at: datetime
    duration_ms: float
    bytes_estimated: int
    bytes_scanned: int
    row_count: int
    is_sampled: bool
    artifact: Artifact | None = None

    def __post_init__(self) -> None:
        if cdesk_core.query_hash(self.source, self.params) != self.query_hash:
            raise ValueError(f"the hash of {self.template} is of another text or other parameters")


@dataclass(frozen=True, slots=True, kw_only=True)
class Artifact:
    """A full result on disk."""

    artifact_id: str
    url: str
    file_bytes: int
    content_schema: Mapping[str, str]
    sample: Sequence[Sequence[Any]]
    row_count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ContextSource:
    """What the warehouse knows for a customer's context blob."""

    atoms: Sequence[Mapping[str, Any]]
    """The latest valid atom of each subject, metric, grain and filter, newest first."""
    recent: Sequence[Mapping[str, Any]]
    """The latest activities, newest first."""
    questions: Sequence[Mapping[str, Any]] = field(default=())
    """The latest queries that were run, newest first."""
    left_out: int = 0
    """How many atoms are as valid and had no room."""


class Sink(Protocol):
    """Takes batches of events."""

    def position(self, consumer: str) -> str | None:
        """The log position committed last for a consumer; `None` before the first batch."""

    def standing(self) -> Standing:
        """Its lineage and how many events it has, at one moment.

        Raises:
            WarehouseBusy, WarehouseUnavailable: try again.
        """

    def begin_lineage(self, lineage: str) -> None:
        """Keeps another lineage in place of the one before.

        Raises:
            WarehouseBusy, WarehouseUnavailable: try again.
        """

    def write(self, batch: EventBatch, step: Step = no_step) -> BatchResult:
        """Commits a batch that begins where the sink stands.

        Raises:
            PositionMoved: it stands elsewhere, an older copy took its place for example; nothing
                was written: read on from its position.
            WarehouseBusy: somebody else holds it; nothing was written.
            WarehouseUnavailable: it may or may not have committed; write the same batch again.
            BatchRejected: these bytes cannot be stored.
        """

    def checkpoint(self) -> bool:
        """Returns when everything committed is in the warehouse's main file, not in a log of it;
        `False` when that cannot be now, because something is being written."""


class Questions(Protocol):
    """Runs queries, and says beforehand what they cost."""

    def latest(self, customer: str, *, after: datetime, until: datetime) -> datetime | None:
        """The time of the customer's latest event after one moment and up to another, in UTC;
        `None` when there is none."""

    def estimate(self, query: Query) -> int:
        """Bytes of the customer's own rows that the query would scan at most, without running it.

        Nothing of it depends on another customer's rows: the number is shown on the card.
        """

    def run(
        self, query: Query, *, to: Path, timeout_s: float, is_cancelled: Callable[[], bool]
    ) -> QueryResult:
        """Runs a query, writes the whole result to a Parquet file and returns its head.

        Raises:
            QueryFailed: it failed, took longer than `timeout_s`, or was cancelled.
            WarehouseBusy, WarehouseUnavailable: not the question's fault; it may run later.
        """


class Ledger(Protocol):
    """Keeps what was asked and answered, and what is remembered of it."""

    def audit(self, execution: Execution) -> None:
        """Stores an execution with its provenance and artifact; storing it twice changes nothing.

        When it is done the customer's atoms with its hash are verified from then on: a question
        that was never answered produced no value.
        """

    def context(self, customer: str, *, recent: int, max_bytes: int) -> ContextSource:
        """What is known for the customer's context blob.

        Args:
            recent: how many activities at most.
            max_bytes: of the atoms' values, filters and names together, as they are stored. The
                newest have room first; one that is longer than an insight may be has none.
        """

    def orphans(self, written: Mapping[str, datetime]) -> set[str]:
        """Which results, by id and when they were written, the ledger does not name although it was
        there at that time."""

    def put_context(self, customer: str, blob: bytes, version: int, updated_at: datetime) -> None:
        """Keeps a copy of the context blob beside the stream."""


class Rows(Protocol):
    """What a statement returned."""

    def fetchall(self) -> Sequence[Any]:
        """All rows."""


class Connection(Protocol):
    """A connection that takes `?` for bound values: DuckDB's own, or a cursor of Snowflake's."""

    def execute(self, sql: str, params: Sequence[Any] = ..., /) -> Rows:
        """Runs one statement."""


class Migrations(Protocol):
    """Lets the schema be brought up to this version."""

    dialect: Dialect
    """The SQL dialect of migrations and templates."""

    schema: str
    """The schema of every table."""

    def migrate(self, migrate: Callable[[Connection], _T]) -> _T:
        """Calls `migrate` with a connection on which it keeps its own transactions. A warehouse
        that is not there comes into being with what `migrate` does, whole or not at all.

        Raises:
            WarehouseBusy, WarehouseUnavailable: try again.
            WarehouseFailed: it is damaged.
        """

    def connection(self) -> AbstractContextManager[Connection]:
        """A connection for statements of any kind; the caller keeps its transactions."""


class Warehouse(Sink, Questions, Ledger, Migrations, Protocol):
    """The four parts over one set of tables: everything that the worker needs."""

    def take_fallbacks(self) -> list[Fallback]:
        """What it had to do without since the last call."""

    def session(self) -> AbstractContextManager[None]:
        """Keeps the warehouse open for several calls in a row; opening alone costs milliseconds.
        May wait a moment to let other programs have it; not inside another of the same thread."""

    def copy(self, to: Path) -> int:
        """Copies all that is stored at one moment into a new file, whole or not at all, and returns
        its bytes.

        Raises:
            InvalidArgument: there can be no such file.
            WarehouseBusy: somebody else holds it; try again.
            WarehouseUnavailable: there is none, or it cannot be read.
            OSError: the disk does not take the new file.
        """
