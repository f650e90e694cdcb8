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
from cdesk.warehouse.duckdb import querier, sink
from cdesk.warehouse.duckdb.connection import WarehouseFile, meaning

_T = TypeVar("_T")


def _utc_now() -> datetime:
    return datetime.now(UTC)


class DuckDBWarehouse:
    """Sink, querier and migrator over one DuckDB file; safe to share between threads."""

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
        self._ledger = threading.Lock()
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
        """See `Migrator.migrate`."""
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
            row = cursor.execute(
                f"SELECT position FROM {self._quoted}._ingest_progress WHERE consumer = $consumer",
                {"consumer": consumer},
            ).fetchone()
        return str(row[0]) if row else None

    def standing(self) -> Standing:
        """See `Sink.standing`."""
        with self._file.transaction() as cursor:
            lineage, events = cursor.execute(
                f"SELECT (SELECT max(lineage) FROM {self._quoted}._ingest_lineage), "
                f"(SELECT count(*) FROM {self._quoted}._ingest_ids)"
            ).fetchone() or (None, 0)
        return Standing(lineage, events)

    def begin_lineage(self, lineage: str) -> None:
        """See `Sink.begin_lineage`."""
        with self._file.transaction() as cursor:
            cursor.execute(f"DELETE FROM {self._quoted}._ingest_lineage")
            cursor.execute(
                f"INSERT INTO {self._quoted}._ingest_lineage (lineage, begun_at) "
                "VALUES ($lineage, $now)",
                {"lineage": lineage, "now": self._now()},
            )

    def write(self, batch: EventBatch, step: Step = no_step) -> BatchResult:
        """See `Sink.write`."""
        with self._ledger, self._file.transaction() as cursor:
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
        """See `Querier.latest`."""
        begin, end = (moment.astimezone(UTC).replace(tzinfo=None) for moment in (after, until))
        with self._file.transaction() as cursor:
            (ts,) = cursor.execute(
                f"SELECT max(ts) FROM {self._quoted}.events "
                "WHERE customer = $customer AND ts > $begin AND ts <= $end",
                {"customer": customer, "begin": begin, "end": end},
            ).fetchone() or (None,)
        return None if ts is None else ts.replace(tzinfo=UTC)

    def estimate(self, query: Query) -> int:
        """See `Querier.estimate`; `querier.estimate` says what the number means here."""
        with self._file.transaction() as cursor:
            return querier.estimate(cursor, self._quoted, query)

    def run(
        self, query: Query, *, to: Path, timeout_s: float, is_cancelled: Callable[[], bool]
    ) -> QueryResult:
        """See `Querier.run`."""
        with self._file.cursor() as cursor:
            return querier.run(cursor, query, to=to, timeout_s=timeout_s, is_cancelled=is_cancelled)

    def audit(self, execution: Execution) -> None:
        """See `Querier.audit`."""
        with self._ledger, self._file.transaction() as cursor:
            querier.audit(cursor, self._quoted, execution)

    def context(self, customer: str, *, recent: int, max_bytes: int) -> ContextSource:
        """See `Querier.context`."""
        with self._file.transaction() as cursor:
            return querier.context(
                cursor,
                self._quoted,
                customer,
                now=self._now(),
                recent=recent,
                max_bytes=max_bytes,
            )

    def orphans(self, written: Mapping[str, datetime]) -> set[str]:
        """See `Querier.orphans`."""
        with self._file.transaction() as cursor:
            return querier.orphans(cursor, self._quoted, written)

    def put_context(self, customer: str, blob: bytes, version: int, updated_at: datetime) -> None:
        """See `Querier.put_context`."""
        with self._file.transaction() as cursor:
            cursor.execute(
                f"INSERT OR REPLACE INTO {self._quoted}.context_cache "
                "(customer, context_blob, updated_at, version) VALUES ($1, $2, $3, $4)",
                [customer, blob.decode(), updated_at.astimezone(UTC).replace(tzinfo=None), version],
            )
