"""What the tests of deploy share: made and shipped migrations, and a connection that watches."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb

from cdesk.migrations.plan import Migration, load_migrations
from cdesk.resources import sql_path

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
SCHEMA = "activities"


def schema_folder() -> Path:
    """The migrations of the repository, or those of the installed package."""
    repository = Path(__file__).parents[2] / "sql" / "schema"
    return repository if repository.is_dir() else sql_path("schema")


SHIPPED = load_migrations(schema_folder())


def made(key: str, sql: str = "SELECT 1") -> Migration:
    """The migration `V001` or `R__name` with this text."""
    version = None if key.startswith("R__") else int(key[1:])
    return Migration(
        version=version,
        name=key[3:] if version is None else "made",
        kind="R" if version is None else "V",
        sql=sql,
        checksum=hashlib.sha256(sql.encode()).hexdigest(),
        path=Path(f"{key}.sql" if version is None else f"{key}__made.sql"),
    )


class Watched:
    """A connection that keeps what was executed, and fails when a statement holds `fails_at`."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, fails_at: str = "\0") -> None:
        self.connection = connection
        self.fails_at = fails_at
        self.statements: list[str] = []

    def execute(self, sql: str, params: Sequence[Any] = (), /) -> Any:
        """Runs one statement on the real connection."""
        self.statements.append(sql)
        if self.fails_at in sql:
            raise duckdb.IOException("the disk is gone")
        return self.connection.execute(sql, list(params))
