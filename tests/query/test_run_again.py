"""A ticket that is run again tells the stream the same events, at the same times."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest

from cdesk.errors import QueryFailed, QueryTimedOut, WarehouseBusy
from cdesk.query.ticket import MAX_ATTEMPTS, TicketState
from tests.contract.stream import batch, rows, store
from tests.query.test_runner import NOW, Bench, Troubled
from tests.query.test_runner import bench as bench  # a fixture

BEGIN_AND_END = {
    "whole": ["sql_executed", "sql_completed", "artifact_created", "card_rendered"],
    "sample": [
        "sql_executed", "fallback_triggered",
        "sql_sampled", "sql_completed", "artifact_created", "card_rendered",
    ],
}  # fmt: skip


class Killed(BaseException):
    """The worker dies here."""


def dies(there: Callable[..., Any], at: int, *, is_done: bool) -> Callable[..., Any]:
    """A step in whose call of that number the worker dies, after the work or before it."""
    calls = 0

    def step(*arguments: Any, **options: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == at and not is_done:
            raise Killed
        found = there(*arguments, **options)
        if calls == at:
            raise Killed
        return found

    return step


def stored(bench: Bench) -> list[tuple[str, datetime]]:
    """What a real warehouse has of the tickets, in the order of its times."""
    store(bench.warehouse, batch(*bench.recording.events))
    found = rows(
        bench.warehouse,
        "SELECT activity, ts FROM {s}.events WHERE _feature_json ->> '$.ticket_id' IS NOT NULL "
        "ORDER BY ts",
    )
    return [(activity.removeprefix("cdesk."), ts) for activity, ts in found]


def kinds(bench: Bench) -> list[str]:
    return [activity for activity, _ in stored(bench)]


def known(bench: Bench) -> set[tuple[str, str, datetime]]:
    """What the log has, which may have it several times."""
    return {(one.activity, one.activity_id, one.ts) for one in bench.recording.events}


@pytest.mark.parametrize(
    ("is_done", "step"),
    [(False, -3600.0), (True, 3600.0)],
    ids=["before it, the clock is set back", "after it"],
)
@pytest.mark.parametrize("what", ["whole", "sample"])
@pytest.mark.parametrize(
    ("part", "name", "at"),
    [
        ("recording", "record_events", 1),
        ("warehouse", "run", 1),
        ("tickets", "note_end", 1),
        ("warehouse", "audit", 1),
        ("recording", "record_events", 2),
        ("tickets", "finish", 1),
    ],
)
def test_wherever_its_worker_died_a_ticket_is_in_the_stream_once(
    bench: Bench,
    monkeypatch: pytest.MonkeyPatch,
    part: str,
    name: str,
    at: int,
    what: str,
    step: float,
    is_done: bool,
) -> None:
    ticket = bench.submit("activity_statistics", byte_cap=100 if what == "sample" else 10**9)
    owner = getattr(bench, part)
    with monkeypatch.context() as killing:
        killing.setattr(owner, name, dies(getattr(owner, name), at, is_done=is_done))
        try:
            bench.runner().run_next()
        except Killed:
            assert bench.ended(ticket).state is not TicketState.DONE or name == "finish"
    bench.now += step
    bench.tickets.recover(bench.now)
    bench.runner().run_next()

    assert bench.ended(ticket).state is TicketState.DONE
    assert kinds(bench) == BEGIN_AND_END[what]
    assert len(known(bench)) == len(BEGIN_AND_END[what]), "each has one id and one time"


def test_a_run_that_reads_the_whole_after_one_that_read_a_sample_tells_nothing_twice(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.submit("activity_statistics", byte_cap=100)
    with monkeypatch.context() as killing:
        killing.setattr(bench.tickets, "finish", dies(lambda *_, **__: None, 1, is_done=True))
        with pytest.raises(Killed):
            bench.runner().run_next()
    bench.tickets.recover(bench.now)
    monkeypatch.setattr(bench.warehouse, "estimate", lambda _: 1)
    bench.runner().run_next()
    assert kinds(bench) == BEGIN_AND_END["sample"]


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (QueryFailed("it broke"), ["sql_executed", "sql_failed"]),
        (QueryTimedOut("too slow"), ["sql_executed", "sql_failed", "timeout_occurred"]),
    ],
    ids=["failed", "timed out"],
)
def test_a_ticket_that_failed_as_its_worker_died_fails_in_the_stream_once(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, error: Exception, told: list[str]
) -> None:
    ticket = bench.submit("health")
    troubled: Any = Troubled(bench.warehouse, error)
    with monkeypatch.context() as killing:
        killing.setattr(bench.tickets, "finish", dies(bench.tickets.finish, 1, is_done=False))
        with pytest.raises(Killed):
            bench.runner(troubled).run_next()
    bench.now += 60
    bench.tickets.recover(bench.now)
    bench.runner(troubled).run_next()
    assert bench.ended(ticket).state is TicketState.FAILED
    assert kinds(bench) == told
    assert len(bench.recording.events) == 2 * len(told)


def test_a_ticket_that_waited_for_a_busy_warehouse_began_once(bench: Bench) -> None:
    bench.submit("health")
    troubled: Any = Troubled(bench.warehouse, WarehouseBusy("held"))
    for _ in range(3):
        with pytest.raises(WarehouseBusy):
            bench.runner(troubled).run_next()
        bench.now += 60
    bench.runner().run_next()
    (began, *_), (ended, *_) = (
        [ts.timestamp() for activity, ts in stored(bench) if activity == name]
        for name in ("sql_executed", "sql_completed")
    )
    assert kinds(bench) == BEGIN_AND_END["whole"]
    assert (round(ended - began), round(bench.now - NOW)) == (180, 180)


@pytest.mark.parametrize("step", [0.0, -60.0], ids=["stands", "is set back"])
def test_each_attempt_is_in_the_stream_once_and_after_the_first_begin_though_the_clock(
    bench: Bench, step: float
) -> None:
    bench.submit("health")
    troubled: Any = Troubled(bench.warehouse, ZeroDivisionError())
    for _ in range(MAX_ATTEMPTS):
        with pytest.raises(ZeroDivisionError):
            bench.runner(troubled).run_next()
        bench.now += step
    first, *others = kinds(bench)
    assert first == "sql_executed"
    assert sorted(others) == [*["retry_attempted"] * (MAX_ATTEMPTS - 1), "sql_failed"]
