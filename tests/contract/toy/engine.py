"""The toy as one object; see `cdesk.warehouse.base` for what each call promises."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TypeVar, cast

import duckdb

from cdesk.activity import utc_now
from cdesk.dialect import Dialect
from cdesk.warehouse.base import BatchResult, Connection, EventBatch, Standing, Step, no_step
from tests.contract.toy import sink

_T = TypeVar("_T")


class ToyWarehouse:
    """A sink and its migrations over tables in memory, which speak DuckDB's SQL."""

    dialect: Dialect = "duckdb"

    def __init__(self, *, schema: str, clock: Callable[[], datetime] = utc_now) -> None:
        self.schema = schema
        self._clock = clock
        self._tables = duckdb.connect()
        self._tables.execute("SET TimeZone = 'UTC'")

    def migrate(self, migrate: Callable[[Connection], _T]) -> _T:
        return migrate(cast("Connection", self._tables))

    @contextmanager
    def connection(self) -> Iterator[Connection]:
        yield cast("Connection", self._tables.cursor())

    @contextmanager
    def _transaction(self) -> Iterator[duckdb.DuckDBPyConnection]:
        with self._tables.cursor() as cursor:
            cursor.execute(f'USE "{self.schema}"')
            cursor.execute("BEGIN TRANSACTION")
            try:
                yield cursor
            except BaseException:
                cursor.execute("ROLLBACK")
                raise
            cursor.execute("COMMIT")

    def position(self, consumer: str) -> str | None:
        with self._transaction() as cursor:
            return sink.position(cursor, consumer)

    def standing(self) -> Standing:
        with self._transaction() as cursor:
            return sink.standing(cursor)

    def begin_lineage(self, lineage: str) -> None:
        with self._transaction() as cursor:
            cursor.execute("DELETE FROM _ingest_lineage")
            cursor.execute("INSERT INTO _ingest_lineage VALUES (?, ?)", [lineage, self._now()])

    def write(self, batch: EventBatch, step: Step = no_step) -> BatchResult:
        with self._transaction() as cursor:
            return sink.store(cursor, batch, self._now(), step)

    def checkpoint(self) -> bool:
        return True

    def _now(self) -> datetime:
        return self._clock().astimezone(UTC).replace(tzinfo=None)
