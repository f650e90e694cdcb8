"""Every engine that can run here, migrated and empty; the contract's tests run against each."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from cdesk.activity import utc_now
from cdesk.migrations.apply import apply
from cdesk.migrations.plan import load_migrations
from cdesk.resources import sql_path
from cdesk.warehouse.base import Migrations, Warehouse
from cdesk.warehouse.duckdb import DuckDBWarehouse
from tests.contract.toy import ToyWarehouse

SCHEMA = "ACTIVITIES"


@cache
def migrated_duckdb() -> bytes:
    """The bytes of a migrated, empty file: migrating once is enough for every example."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "warehouse.duckdb"
        migrate(DuckDBWarehouse(path, schema=SCHEMA, artifacts_dir=Path(folder)))
        return path.read_bytes()


def open_duckdb(folder: Path, *, clock: Callable[[], datetime] = utc_now) -> Warehouse:
    """A migrated DuckDB warehouse in a folder."""
    artifacts = folder / "artifacts"
    artifacts.mkdir(exist_ok=True)
    path = folder / "warehouse.duckdb"
    path.write_bytes(migrated_duckdb())
    return DuckDBWarehouse(path, schema=SCHEMA, artifacts_dir=artifacts, clock=clock)


def migrate(warehouse: Migrations) -> None:
    """Brings a warehouse to this version."""
    warehouse.migrate(
        lambda connection: apply(
            connection,
            load_migrations(sql_path("schema")),
            dialect=warehouse.dialect,
            schema=warehouse.schema,
            now=datetime(2026, 1, 1, tzinfo=UTC),
        )
    )


def open_toy(_: Path, *, clock: Callable[[], datetime] = utc_now) -> ToyWarehouse:
    """A migrated toy."""
    made = ToyWarehouse(schema=SCHEMA, clock=clock)
    migrate(made)
    return made


ENGINES: dict[str, Callable[..., Warehouse]] = {"duckdb": open_duckdb}
"""Engines that are whole."""

SINKS: dict[str, Callable[..., Any]] = {**ENGINES, "toy": open_toy}
"""Engines that have the sink's part at least."""


@pytest.fixture(params=sorted(ENGINES))
def warehouse(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Warehouse]:
    """A migrated, empty warehouse of each engine."""
    yield ENGINES[request.param](tmp_path)
