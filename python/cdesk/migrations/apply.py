"""Applying pending migrations over a connection.

Invariants: a migration is recorded only after all of it ran; on DuckDB both happen in one
transaction; on Snowflake, where DDL commits by itself, a crash in between leaves a migration to be
run again, so every V is written with IF NOT EXISTS; an up-to-date warehouse costs one SELECT and no
transaction.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Final, TypeAlias

from cdesk.dialect import Dialect
from cdesk.dialect.names import qualified
from cdesk.errors import SchemaError
from cdesk.migrations.ddl import render_ddl
from cdesk.migrations.plan import Migration, plan
from cdesk.warehouse.base import Connection

_LEDGER: Final = "_schema_migrations"

_Statement: TypeAlias = tuple[str, list[Any]]


def product_version() -> str:
    """The installed version of cdesk; `unknown` when it runs from a source folder."""
    try:
        return version("cdesk")
    except PackageNotFoundError:
        return "unknown"


def _no_tag() -> None:
    """Nobody gives tags."""


def apply(
    connection: Connection,
    migrations: Iterable[Migration],
    *,
    dialect: Dialect,
    schema: str,
    now: datetime,
    applied_by: str = "unknown",
    next_tag: Callable[[], str | None] = _no_tag,
    absent: type[Exception] | tuple[type[Exception], ...] = Exception,
) -> list[str]:
    """Brings the schema up to these migrations; returns the names of the files applied, in order.

    Args:
        schema: where the tables are or will be: `schema` or `database.schema`; the schema itself is
            created when it is missing, the database is not.
        now: recorded as the time of application; UTC.
        applied_by: recorded as who applied it.
        next_tag: gives each migration the query tag of its statements.
        absent: what the driver raises for a table that does not exist. When something else was
            wrong, creating the schema meets it again and raises it.

    Raises:
        SchemaError: the warehouse is newer than the migrations, or one of them was changed or
            cannot be rendered.
        Exception: what the driver raises, with the migration's name as a note.
    """
    ledger = qualified(_LEDGER, dialect=dialect, schema=schema).sql(dialect=dialect)
    try:
        rows = connection.execute(f"SELECT migration, checksum FROM {ledger}", []).fetchall()
    except absent:
        connection.execute(f"CREATE SCHEMA IF NOT EXISTS {ledger.rpartition('.')[0]}", [])
        rows = []
    pending = plan(migrations, {str(key): str(checksum) for key, checksum in rows})
    for migration in pending:
        stamp = _Stamp(now, applied_by, next_tag(), time.perf_counter())
        try:
            statements = render_ddl(migration.sql, dialect=dialect, schema=schema)
            if dialect == "snowflake":
                for statement in statements:
                    connection.execute(statement, [])
                statements = []
            _commit(connection, statements, migration, ledger, stamp)
        except SchemaError as error:
            raise SchemaError(
                f"{migration.path.name}: {error}; mend the file or reinstall cdesk"
            ) from error
        except Exception as error:
            error.add_note(f"while applying {migration.path.name}")
            raise
    return [migration.path.name for migration in pending]


@dataclass(frozen=True, slots=True)
class _Stamp:
    """When a migration was begun, by whom and under which tag."""

    now: datetime
    applied_by: str
    query_tag: str | None
    began: float


def _record(migration: Migration, ledger: str, stamp: _Stamp) -> list[_Statement]:
    """The statements that write the migration down, in place of what was known of it."""
    now = stamp.now
    moment = now.astimezone(UTC).replace(tzinfo=None) if now.tzinfo else now
    row = {
        "migration": migration.key,
        "version": migration.version,
        "name": migration.name,
        "checksum": migration.checksum,
        "applied_at": moment,
        "applied_by": stamp.applied_by,
        "duration_ms": round((time.perf_counter() - stamp.began) * 1e3, 3),
        "query_tag": stamp.query_tag,
        "product_version": product_version(),
    }
    insert = f"INSERT INTO {ledger} ({', '.join(row)}) VALUES ({', '.join('?' * len(row))})"
    return [
        (f"DELETE FROM {ledger} WHERE migration = ?", [migration.key]),
        (insert, list(row.values())),
    ]


def _commit(
    connection: Connection,
    statements: Sequence[str],
    migration: Migration,
    ledger: str,
    stamp: _Stamp,
) -> None:
    connection.execute("BEGIN", [])
    try:
        for statement in statements:
            connection.execute(statement, [])
        for statement, values in _record(migration, ledger, stamp):
            connection.execute(statement, values)
        connection.execute("COMMIT", [])
    except BaseException:
        connection.execute("ROLLBACK", [])
        raise
