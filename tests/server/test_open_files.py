"""Processes that may open no more files, as the system limits them (RLIMIT_NOFILE)."""

from __future__ import annotations

import asyncio
import errno
import os
import resource
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cdesk.state import State, meaning
from tests.child import child
from tests.e2e.talk import eventually

from .test_wire import Wire

NO_FILES = os.strerror(errno.EMFILE)


@contextmanager
def no_more_files(pid: int) -> Iterator[None]:
    """A process keeps the files that it has open, and opens no other meanwhile."""
    before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (3, before[1]))
    try:
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_NOFILE, before)


CALLS = pytest.mark.parametrize(
    ("tool", "arguments"),
    [
        ("log_event", {"activity": "cdesk.user_asked"}),
        ("submit_query", {"template": "health"}),
        (
            "log_insight",
            {"subject": "s", "metric": "m", "value": 1, "provenance_query_hash": "0" * 16},
        ),
    ],
)


@pytest.mark.slow
@CALLS
def test_a_call_that_meets_the_limit_of_open_files_is_told_so_and_what_to_do(
    tmp_path: Path, tool: str, arguments: dict[str, object]
) -> None:
    wire = Wire(tmp_path)
    with no_more_files(wire._process.pid):
        refused = wire.call(tool, **arguments)
    again = wire.call(tool, **arguments)
    wire.end()
    assert refused["isError"]
    error = refused["structuredContent"]["error"]
    assert NO_FILES in error and "restart Claude Desktop" in error and "ulimit -n" in error
    assert str(tmp_path) not in error and "Errno" not in error
    assert not again["isError"], "once it may open files again"


@pytest.mark.proof  # it waits for the worker's pauses
def test_a_worker_that_may_open_no_more_files_says_so_and_its_tickets_wait(tmp_path: Path) -> None:
    wire = Wire(tmp_path)

    def ask() -> str:
        told = wire.call("submit_query", template="health")["structuredContent"]
        return str(told["ticket_id"])

    def result(ticket_id: str) -> dict[str, object]:
        told: dict[str, object] = wire.call("get_result", ticket_id=ticket_id, wait_s=20)[
            "structuredContent"
        ]
        return told

    def trouble() -> str | None:
        with State(tmp_path / "state.db") as state:
            beat = state.heartbeat()
        return None if beat is None or beat.trouble is None else beat.trouble

    assert result(ask())["state"] == "done"
    with State(tmp_path / "state.db") as state:
        beat = state.heartbeat()
    assert beat is not None
    with no_more_files(beat.pid):
        ticket_id = ask()
        told = asyncio.run(eventually(trouble))
        asyncio.run(eventually(lambda: "queries: " in (trouble() or "")))
    assert NO_FILES in told and "ulimit -n" in told
    assert "check the disk" not in told
    assert result(ticket_id)["state"] == "done", "it waited"
    wire.end()


def test_a_question_waits_when_its_result_cannot_be_opened(tmp_path: Path) -> None:
    runs = """
        import os, resource, sys
        from pathlib import Path
        from cdesk.errors import WarehouseUnavailable
        from cdesk.warehouse.base import Query
        from tests.contract.conftest import open_duckdb

        folder = Path(sys.argv[1])
        warehouse = open_duckdb(folder)
        query = Query(sql="SELECT 1 AS n", values={}, tables=(), customer="acme", row_cap=10)
        to = folder / "artifacts" / "result.parquet"

        def run():
            return warehouse.run(query, to=to, timeout_s=30, is_cancelled=lambda: False)

        with warehouse.session():
            soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
            resource.setrlimit(resource.RLIMIT_NOFILE, (os.dup(0), hard))
            try:
                run()
            except WarehouseUnavailable as error:
                print(error, flush=True)
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            print(run().row_count, flush=True)
    """
    with child(runs, tmp_path) as process:
        told = process.hears()
        assert NO_FILES in told and "the question waits" in told
        assert process.hears() == "1"


def test_a_state_store_that_cannot_be_opened_for_want_of_files_is_not_said_to_lack_permissions(
    tmp_path: Path,
) -> None:
    connection = sqlite3.connect(tmp_path / "state.db")
    with no_more_files(os.getpid()):
        with pytest.raises(sqlite3.OperationalError) as refused:
            connection.execute("CREATE TABLE t (x)")
        told = str(meaning(refused.value, tmp_path / "state.db"))
    connection.close()
    assert NO_FILES in told and "permissions" not in told
