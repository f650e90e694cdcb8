"""A person opens the warehouse with a DuckDB of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from cdesk.warehouse.base import Warehouse
from cdesk.warehouse.duckdb import DuckDBWarehouse
from tests.contract.conftest import migrate
from tests.contract.stream import batch, event, store

OLDEST = "1.4.0"

READ_ALL = """
import sys, duckdb
assert duckdb.__version__ == sys.argv[2], duckdb.__version__
with duckdb.connect(sys.argv[1], read_only=True) as file:
    names = file.execute(
        "SELECT schema_name, name FROM ("
        "SELECT schema_name, table_name AS name FROM duckdb_tables() UNION ALL "
        "SELECT schema_name, view_name FROM duckdb_views() WHERE NOT internal) ORDER BY ALL"
    ).fetchall()
    for schema, name in names:
        file.execute(f'SELECT * FROM "{schema}"."{name}"').fetchall()
    print(len(names), file.execute("SELECT count(*) FROM activities.events").fetchone()[0])
"""


@pytest.mark.proof
def test_the_oldest_duckdb_that_is_supported_reads_every_table_and_view(tmp_path: Path) -> None:
    packages = tmp_path / "packages"
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "--quiet", "--target", packages,
         f"duckdb=={OLDEST}"],
        check=True,
    )  # fmt: skip
    (tmp_path / "artifacts").mkdir()
    warehouse: Warehouse = DuckDBWarehouse(
        tmp_path / "own.duckdb", schema="activities", artifacts_dir=tmp_path / "artifacts"
    )
    migrate(warehouse)
    store(warehouse, batch(event(1), event(2)))
    warehouse.checkpoint()
    read = subprocess.run(
        [sys.executable, "-c", READ_ALL, str(tmp_path / "own.duckdb"), OLDEST],
        env=os.environ | {"PYTHONPATH": str(packages)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert read.returncode == 0, read.stderr
    names, events = map(int, read.stdout.split())
    assert (names > 20, events) == (True, 2)
