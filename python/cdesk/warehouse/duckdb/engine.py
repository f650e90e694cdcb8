"""The DuckDB warehouse as one object; see `cdesk.warehouse.base` for what each call promises."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar, cast

import duckdb

from cdesk.config import Settings
from cdesk.dialect import Dialect
from cdesk.warehouse.base import (
    BatchResult,
    Connection,
    ContextSource,
    EventBatch,
    Execution,
    Fallback,
    Query,
    QueryResult,
    Standing,
    Step,
    no_step,
)
from cdesk.warehouse.duckdb import ledger, questions, sink
from cdesk.warehouse.duckdb.connection import WarehouseFile, meaning

_T = TypeVar("_T")


def _utc_now() -> datetime:
    return datetime.now(UTC)


class DuckDBWarehouse:
    """The four parts of a warehouse over one DuckDB file; safe to share between threads."""

    def __init__(
        self,
        path: Path,
        *,
        schema: str,
        artifacts_dir: Path,
        memory_cap: int = 1_000_000_000,
        clock: Callable[[], datetime] = _utc_now,
    ) -> None:
        """Names the file; nothing is opened yet. `schema` must be an identifier (config checks).

        Args:
            memory_cap: bytes of memory it takes before it spills to a folder beside the file.
        """
        self.dialect: Dialect = "duckdb"
        self.schema = schema
        self._quoted = f'"{schema}"'
        self._file = WarehouseFile(path, artifacts_dir, memory_cap=memory_cap)
        self._clock = clock
        self._provenance = threading.Lock()
        """Held by whoever commits atoms or provenance: neither may overlook the other's."""

    @classmethod
    def of(cls, settings: Settings) -> DuckDBWarehouse:
        """The warehouse the settings name."""
        return cls(
            settings.warehouse_path,
            schema=settings.schema,
            artifacts_dir=settings.artifacts_dir,
            memory_cap=settings.memory_cap,
        )

    def _now(self) -> datetime:
        # the stream's times are UTC without a zone, as TIMESTAMP_NTZ has none
        return self._clock().astimezone(UTC).replace(tzinfo=None)

    def take_fallbacks(self) -> list[Fallback]:
        """See `Warehouse.take_fallbacks`."""
        return self._file.take_fallbacks()

    @contextmanager
    def session(self) -> Iterator[None]:
        """See `Warehouse.session`."""
        with self._file.session():
            yield

    def copy(self, to: Path) -> int:
        """See `Warehouse.copy`."""
        return self._file.copy(to)

    def migrate(self, migrate: Callable[[Connection], _T]) -> _T:
        """See `Migrations.migrate`."""
        if self._file.exists():
            with self.connection() as connection:
                return migrate(connection)
        return self._file.create(lambda made: migrate(cast("Connection", made)))

    @contextmanager
    def connection(self) -> Iterator[Connection]:
        """A connection of its own for statements of any kind."""
        with self._file.cursor() as cursor:
            try:
                yield cast("Connection", cursor)
            except duckdb.Error as error:
                raise meaning(error, self._file.path) from error

    def position(self, consumer: str) -> str | None:
        """See `Sink.position`."""
        with self._file.transaction() as cursor:
            return sink.position(cursor, self._quoted, consumer)

    def standing(self) -> Standing:
        """See `Sink.standing`."""
        with self._file.transaction() as cursor:
            return sink.standing(cursor, self._quoted)

    def begin_lineage(self, lineage: str) -> None:
        """See `Sink.begin_lineage`."""
        with self._file.transaction() as cursor:
            sink.begin_lineage(cursor, self._quoted, lineage, self._now())

    def write(self, batch: EventBatch, step: Step = no_step) -> BatchResult:
        """See `Sink.write`."""
        with self._provenance, self._file.transaction() as cursor:
            return sink.store(cursor, self._quoted, batch, self._now(), step)

    def checkpoint(self) -> bool:
        """See `Sink.checkpoint`."""
        with self.connection() as connection:
            try:
                connection.execute("CHECKPOINT")
            except duckdb.TransactionException:  # a query of this process is being written down
                return False
        return True

    def latest(self, customer: str, *, after: datetime, until: datetime) -> datetime | None:
        """See `Questions.latest`."""
        with self._file.transaction() as cursor:
            return questions.latest(cursor, self._quoted, customer, after=after, until=until)

    def estimate(self, query: Query) -> int:
        """See `Questions.estimate`; `questions.estimate` says what the number means here."""
        with self._file.transaction() as cursor:
            return questions.estimate(cursor, self._quoted, query)

    def run(
        self, query: Query, *, to: Path, timeout_s: float, is_cancelled: Callable[[], bool]
    ) -> QueryResult:
        """See `Questions.run`."""
        with self._file.cursor() as cursor:
            return questions.run(
                cursor, query, to=to, timeout_s=timeout_s, is_cancelled=is_cancelled
            )

    def audit(self, execution: Execution) -> None:
        """See `Ledger.audit`."""
        with self._provenance, self._file.transaction() as cursor:
            ledger.audit(cursor, self._quoted, execution)

    def context(self, customer: str, *, recent: int, max_bytes: int) -> ContextSource:
        """See `Ledger.context`."""
        with self._file.transaction() as cursor:
            return ledger.context(
                cursor,
                self._quoted,
                customer,
                now=self._now(),
                recent=recent,
                max_bytes=max_bytes,
            )

    def orphans(self, written: Mapping[str, datetime]) -> set[str]:
        """See `Ledger.orphans`."""
        with self._file.transaction() as cursor:
            return ledger.orphans(cursor, self._quoted, written)

    def put_context(self, customer: str, blob: bytes, version: int, updated_at: datetime) -> None:
        """See `Ledger.put_context`."""
        with self._file.transaction() as cursor:
            ledger.put_context(cursor, self._quoted, customer, blob, version, updated_at)
