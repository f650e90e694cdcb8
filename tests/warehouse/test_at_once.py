"""Queries, audits and batches of several threads, and what others see of their files."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

import duckdb
import pytest

from cdesk.errors import QueryFailed, QueryTimedOut, StateBusy
from cdesk.warehouse.base import Query
from cdesk.warehouse.duckdb import connection
from cdesk.warehouse.duckdb.questions import run
from tests.contract.conftest import open_duckdb
from tests.contract.stream import batch, store
from tests.contract.test_memory import execution, insight_event


def test_a_full_result_is_the_owners_alone_whatever_the_umask(tmp_path: Path) -> None:
    warehouse = open_duckdb(tmp_path)
    query = Query(sql="SELECT 1 AS n", values={}, tables=("events",), customer="acme", row_cap=1)
    to = tmp_path / "artifacts" / "a.parquet"
    before = os.umask(0)
    try:
        warehouse.run(query, to=to, timeout_s=60, is_cancelled=lambda: False)
    finally:
        os.umask(before)
    assert to.stat().st_mode & 0o777 == 0o600


class HardOfHearing:
    """A cursor on which an interrupt comes between two statements, where it is lost."""

    def __init__(self, cursor: duckdb.DuckDBPyConnection) -> None:
        self._cursor = cursor
        self.interrupts = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._cursor, name)

    def interrupt(self) -> None:
        self.interrupts += 1
        if self.interrupts > 1:
            self._cursor.interrupt()


def test_a_query_is_interrupted_until_it_stops(tmp_path: Path) -> None:
    slow = (  # some seconds, so that the one that is not interrupted ends too
        "SELECT count(*) AS n FROM range(100000) AS a, range(20000) AS b "
        "WHERE a.range % 7 < b.range % 5"
    )
    query = Query(sql=slow, values={}, tables=("events",), customer="acme", row_cap=1)
    with duckdb.connect() as opened:
        cursor: Any = HardOfHearing(opened)
        with pytest.raises(QueryFailed, match="it was cancelled"):
            run(cursor, query, to=tmp_path / "a", timeout_s=60, is_cancelled=lambda: True)
    assert cursor.interrupts > 1


def test_a_query_is_timed_out_though_nobody_can_see_whether_it_was_cancelled(
    tmp_path: Path,
) -> None:
    """It ran to its end, whatever that took, while another program held the state store."""
    query = Query(
        sql="SELECT count(*) AS n FROM range(10000000) AS a, range(1000000) AS b",
        values={}, tables=("events",), customer="acme", row_cap=1,
    )  # fmt: skip

    def is_cancelled() -> bool:
        raise StateBusy("another program holds a lock on it")

    with duckdb.connect() as opened, pytest.raises(QueryTimedOut, match="it took longer than"):
        run(opened, query, to=tmp_path / "a", timeout_s=0.1, is_cancelled=is_cancelled)


class Wanted:
    """A lock that tells when somebody has to wait for it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.is_waited_for = False

    def __enter__(self) -> None:
        if not self._lock.acquire(blocking=False):
            self.is_waited_for = True
            self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()


def test_an_insight_and_the_answer_behind_it_that_are_stored_at_once_find_each_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The uploader's thread writes the one, the thread of the tickets the other."""
    warehouse = open_duckdb(tmp_path)
    ledger = Wanted()
    monkeypatch.setattr(warehouse, "_provenance", ledger)
    answering = threading.Thread(target=warehouse.audit, args=(execution(),))

    def step(name: str) -> None:
        if name == "atoms stored":
            answering.start()
            while answering.is_alive() and not ledger.is_waited_for:
                os.sched_yield()

    store(warehouse, batch(insight_event(1, 5)), step)
    answering.join()
    (atom,) = warehouse.context("acme", recent=1, max_bytes=100_000).atoms
    assert atom["is_verified"] is True


def test_sessions_that_would_overlap_for_ever_let_other_programs_have_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two threads took turns, and the file was open for as long as questions came."""
    monkeypatch.setattr(connection, "_LONG_BUSY_S", -1.0)
    monkeypatch.setattr(connection, "_LONGEST_WAIT_TO_REST_S", 60.0)
    monkeypatch.setattr(connection, "_REST_S", 0.0)
    warehouse = open_duckdb(tmp_path)
    begun = threading.Event()

    def next_session() -> None:
        with warehouse.session():
            begun.set()

    following = threading.Thread(target=next_session)
    with warehouse.session():
        following.start()
        waiters: Any = warehouse._file._is_closed
        while not waiters._waiters and not begun.is_set():
            os.sched_yield()
        assert not begun.is_set()
    following.join()
    assert begun.is_set()


def test_behind_a_long_query_the_next_session_does_not_wait_for_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "_LONG_BUSY_S", -1.0)
    monkeypatch.setattr(connection, "_LONGEST_WAIT_TO_REST_S", 0.0)
    warehouse = open_duckdb(tmp_path)
    begun = threading.Event()

    def next_session() -> None:
        with warehouse.session():
            begun.set()

    with warehouse.session():
        following = threading.Thread(target=next_session)
        following.start()
        assert begun.wait(30)
    following.join()


@pytest.mark.parametrize("is_busy", [True, False])
def test_a_file_that_was_busy_for_long_rests_before_the_next_session(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_busy: bool
) -> None:
    """Also when each session was short: back to back they kept others out for ten seconds."""
    warehouse = open_duckdb(tmp_path)
    now = 1_000.0
    file = warehouse._file
    rests: list[float] = []

    def rest(seconds: float) -> None:
        nonlocal now
        rests.append(seconds)
        now += seconds

    monkeypatch.setattr(connection.time, "monotonic", lambda: now)
    monkeypatch.setattr(file._is_closed, "wait", rest)
    for _ in range(50):
        with warehouse.session():
            now += 0.2
        now += 0.01 if is_busy else connection._REST_S
    busy_s = 50 * 0.21
    assert (busy_s / 2 < len(rests) <= busy_s) if is_busy else rests == []
    assert all(0 < seconds <= connection._REST_S for seconds in rests)
