"""What has its name is on disk: after a power cut there is all of it, or none."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cdesk.disk import sync
from cdesk.warehouse.base import Query
from cdesk.warehouse.duckdb import DuckDBWarehouse, connection, questions
from tests.contract.conftest import migrate, open_duckdb


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Path]]:
    """What is synced, and what gets another name, in order."""
    made: list[tuple[str, Path]] = []
    replace = os.replace

    def noted_sync(path: Path) -> None:
        made.append(("synced", path))
        sync(path)

    def noted_replace(source: Path, target: Path) -> None:
        made.append(("renamed", source))
        replace(source, target)

    for module in (connection, questions):
        monkeypatch.setattr(module, "sync", noted_sync)
    monkeypatch.setattr(os, "replace", noted_replace)
    return made


def test_a_warehouse_has_its_name_once_it_is_on_disk_and_no_log_of_another_is_beside_it(
    tmp_path: Path, steps: list[tuple[str, Path]]
) -> None:
    path = tmp_path / "warehouse.duckdb"
    wal = tmp_path / "warehouse.duckdb.wal"
    wal.write_bytes(b"of a file that was deleted without it")
    migrate(DuckDBWarehouse(path, schema="ACTIVITIES", artifacts_dir=tmp_path))
    making = tmp_path / "warehouse.duckdb.creating" / path.name
    assert steps == [
        ("synced", making),
        ("renamed", wal),
        ("renamed", making),
        ("synced", tmp_path),
    ]


def test_a_full_result_has_its_name_once_it_is_on_disk(
    tmp_path: Path, steps: list[tuple[str, Path]]
) -> None:
    query = Query(sql="SELECT 1 AS n", values={}, tables=(), customer="acme", row_cap=1)
    to = tmp_path / "artifacts" / "a.parquet"
    warehouse = open_duckdb(tmp_path)
    steps.clear()
    warehouse.run(query, to=to, timeout_s=60, is_cancelled=lambda: False)
    (_, part), *_ = steps
    assert steps == [("synced", part), ("renamed", part), ("synced", to.parent)]
    assert part != to
