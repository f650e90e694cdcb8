"""What the worker notes of its own work, without a process of its own."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import cdesk_core
import duckdb
import orjson
import pytest

from cdesk import presence
from cdesk.activity import Event
from cdesk.catch_up import CatchUp
from cdesk.config import Settings
from cdesk.errors import BatchRejected
from cdesk.insight import RECORDED
from cdesk.query.ticket import Tickets, TicketState
from cdesk.recorder import Recorder
from cdesk.seat import open_seat
from cdesk.state import State
from cdesk.uploader import Uploader
from cdesk.warehouse.base import BatchResult, EventBatch, Step, no_step
from cdesk.warehouse.duckdb import DuckDBWarehouse, connection, ledger, questions
from cdesk.worker import Worker, answering, shipping
from tests.contract.stream import event
from tests.e2e.talk import payloads


def work(settings: Settings) -> None:
    """Works until everything is shipped: no client is there."""
    Worker(settings).run(presence.take_work(settings.data_dir))
    assert cdesk_core.queue_depth(settings.queue_dir) == 0


@pytest.fixture
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    made = Settings(data_dir=tmp_path_factory.mktemp("data"), customer="acme", worker_grace_s=0.0)
    made.create_folders()
    return made


@pytest.mark.parametrize(("count", "is_long"), [(59, False), (60, True)])
def test_a_long_backlog_is_recorded_once_and_loses_nothing(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, count: int, is_long: bool
) -> None:
    monkeypatch.setattr(shipping, "LONG_BACKLOG", 60)
    monkeypatch.setattr("cdesk.uploader._MAX_LINES", 7)
    monkeypatch.setattr(shipping, "_LONGEST_SESSION_S", 0.0)
    with Recorder.open(settings) as recorder:
        for number in range(count):
            recorder.record("cdesk.user_asked", {"chars": number})
    work(settings)
    expected = [{"where": "log", "depth": 60, "dropped": 0}] if is_long else []
    assert payloads(settings, "cdesk.queue_overflow") == expected
    assert len(payloads(settings, "cdesk.user_asked")) == count


def append(settings: Settings, *lines: bytes) -> None:
    """Lines of a program that uses the log without a recorder."""
    with cdesk_core.Queue(settings.queue_dir) as queue:
        queue.append_many(lines)


def atom(number: int, value: Any, customer: str = "acme", **fields: Any) -> Event:
    payload = {"subject": "orders", "metric": "revenue", "value": value, **fields}
    return event(number, number, group="insight_recorded", customer=customer, feature_json=payload)


def remembered(settings: Settings, customer: str) -> list[Any]:
    with State(settings.state_path) as state:
        snapshot = state.snapshot(customer)
    assert snapshot is not None, customer
    return [one["value"] for one in orjson.loads(snapshot.blob)["metrics"]]


def test_an_insight_that_no_context_can_hold_costs_nobody_a_context(settings: Settings) -> None:
    """A filter of 252 levels: the contexts of all customers were never built again."""
    deep = atom(1, 7).to_line().replace(b'"value":7', b'"value":' + b"[" * 251 + b"]" * 251)
    late = atom(2, 8, valid_until="20000-01-01T00:00:00Z").to_line()
    append(settings, deep, late, atom(3, 9).to_line(), atom(4, 10, "zed").to_line())
    work(settings)
    assert remembered(settings, "acme") == [9]
    assert remembered(settings, "zed") == [10]


def test_a_context_that_cannot_be_built_costs_nobody_else_theirs_and_is_told_of(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    built = ledger.context

    def fail_for_acme(cursor: Any, schema: str, customer: str, **fields: Any) -> Any:
        if customer == "acme":
            raise ValueError("nobody foresaw this")
        return built(cursor, schema, customer, **fields)

    monkeypatch.setattr(ledger, "context", fail_for_acme)
    append(settings, atom(1, 9).to_line(), atom(2, 10, "zed").to_line())
    work(settings)
    assert remembered(settings, "zed") == [10]
    told = payloads(settings, "cdesk.error_encountered")
    assert [(one["where"], one["error"]) for one in told] == [("context", "ValueError")]


def test_a_line_that_two_readers_read_differently_is_nobodys_row(settings: Settings) -> None:
    """The recorder's reader took the last of two equal keys, the warehouse the first."""
    good = event(1, feature_json={"chars": 1}).to_line()
    twice = good.replace(b'"customer":"acme"', b'"customer":"alice","customer":"acme"')
    inner = event(2, feature_json={"a": {"b": 1}}).to_line().replace(b'"b":1', b'"b":2,"b":1')
    append(settings, twice, inner, event(3, feature_json={"chars": 3}).to_line())
    work(settings)
    assert payloads(settings, "cdesk.user_asked") == [{"chars": 3}]


def test_lines_that_are_no_events_are_counted_in_the_stream_of_their_own_customer(
    settings: Settings,
) -> None:
    def drifted(number: int, customer: str) -> bytes:
        line = event(number, group="tool_called", customer=customer, feature_json={"tool": "x"})
        return line.to_line().replace(b'"tool":"x"', b'"tool":7')

    append(settings, drifted(1, "bob"), drifted(2, "bob"), drifted(3, "zed"), b'{"no":"event"}')
    work(settings)
    with duckdb.connect(settings.warehouse_path, read_only=True) as connection:
        found = connection.execute(
            "SELECT customer, _feature_json ->> '$.lines' FROM activities.events "
            "WHERE activity = 'cdesk.schema_drifted' ORDER BY ALL"
        ).fetchall()
    assert found == [("bob", "2"), ("zed", "1")]


def test_a_warehouse_that_refuses_every_event_is_told_of_once_and_not_of_what_tells_it(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The note of a refused line was refused too, and noted: three workers went on for minutes."""
    write = DuckDBWarehouse.write

    def refuse(self: DuckDBWarehouse, batch: EventBatch, step: Step = no_step) -> BatchResult:
        if len(batch.events):
            raise BatchRejected("it has no room for events")
        return write(self, batch, step)

    monkeypatch.setattr(DuckDBWarehouse, "write", refuse)
    append(settings, event(1).to_line(), event(2).to_line())
    work(settings)
    with duckdb.connect(settings.warehouse_path, read_only=True) as connection:
        kept = connection.execute("SELECT line ->> 'activity' FROM activities._quarantine")
        told = [activity for (activity,) in kept.fetchall()]
    assert told.count("cdesk.user_asked") == 2
    assert told.count("cdesk.schema_drifted") == 1


def test_what_the_worker_records_belongs_to_no_conversation(settings: Settings) -> None:
    append(settings, b'{"customer":"acme"}', event(1).to_line())
    work(settings)
    with duckdb.connect(settings.warehouse_path, read_only=True) as connection:
        found = connection.execute(
            "SELECT DISTINCT _source_system, _session_id FROM activities.events "
            "WHERE _source_system = 'cdesk_worker'"
        ).fetchall()
    assert found == [("cdesk_worker", None)]


def ended(settings: Settings, template: str, prepare: Callable[[Worker], None]) -> Any:
    """The ticket of a question once a worker has left, and another when the first was told to."""
    with open_seat(settings) as seat:
        ticket = seat.queries.submit(template, {})
    one = Worker(settings)
    prepare(one)
    one.run(presence.take_work(settings.data_dir))
    if one._is_stopped:
        Worker(settings).run(presence.take_work(settings.data_dir))
    with open_seat(settings) as seat:
        return seat.queries.ticket(ticket.ticket_id)


def test_a_worker_told_to_end_leaves_a_question_to_the_next_instead_of_half_an_answer(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The card counted what happened to be there, and did not say that more was on its way."""
    monkeypatch.setattr("cdesk.uploader._MAX_LINES", 10)
    monkeypatch.setattr(shipping, "_LONGEST_SESSION_S", 0.0)
    monkeypatch.setattr(answering, "_LONGEST_CATCH_UP_S", 60.0)
    with Recorder.open(settings) as recorder:
        recorder.record_events([recorder.event("cdesk.user_asked") for _ in range(100)])

    is_caught_up = shipping.Shipping._is_caught_up

    def end_in_the_middle(one: Worker) -> None:
        def stop_it(duty: shipping.Shipping, asked: int) -> None:
            monkeypatch.setattr(shipping.Shipping, "_is_caught_up", is_caught_up)
            one.stop()

        monkeypatch.setattr(shipping.Shipping, "_is_caught_up", stop_it)

    ticket = ended(settings, "activity_statistics", end_in_the_middle)
    assert ticket.state is TicketState.DONE
    assert "is_behind" not in ticket.card
    counted = {row[0]: row for row in ticket.card["rows"]}
    assert 100 in counted["cdesk.user_asked"]


def test_a_question_asked_while_another_is_answered_finds_what_was_accepted_before_it(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Questions of one moment wait once; one that comes later has a wait of its own."""
    append(settings, event(1).to_line())
    later: list[str] = []
    run = questions.run

    def ask_another_meanwhile(*args: Any, **fields: Any) -> Any:
        if not later:
            with open_seat(settings) as seat:
                seat.recorder.record("cdesk.error_encountered", {"where": "a", "error": "b"})
                later.append(seat.queries.submit("health", {}).ticket_id)
        return run(*args, **fields)

    monkeypatch.setattr(questions, "run", ask_another_meanwhile)
    assert ended(settings, "health", lambda _: None).state is TicketState.DONE
    with open_seat(settings) as seat:
        card = seat.queries.ticket(later[0]).card
    assert card is not None
    assert " and 1 error;" in card["headline"]


@pytest.mark.parametrize("moment", ["in the last batch", "caught up"])
def test_a_card_misses_nothing_when_an_older_copy_takes_the_warehouses_place(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    """The question was answered from the copy, whose card did not say what it lacked."""
    with Recorder.open(settings) as recorder:
        recorder.record_events([recorder.event("cdesk.user_asked") for _ in range(5)])
    work(settings)
    older = settings.data_dir / "older.duckdb"
    shutil.copy(settings.warehouse_path, older)
    with Recorder.open(settings) as recorder:
        recorder.record_events([recorder.event("cdesk.user_asked") for _ in range(7)])
    one = Worker(settings)
    asked: list[str] = []

    def ask() -> None:
        with open_seat(settings) as seat:
            asked.append(seat.queries.submit("activity_statistics", {}).ticket_id)

    ship, wait, count = Uploader.ship, CatchUp.wait, CatchUp.ask
    asks: list[CatchUp] = []

    def counted_ask(catch_up: CatchUp) -> int:
        asks.append(catch_up)
        return count(catch_up)

    def while_it_is_shipped(uploader: Uploader) -> Any:
        if asked:
            return ship(uploader)
        ask()
        before = len(asks)
        while len(asks) == before:
            os.sched_yield()
        shipped = ship(uploader)
        older.replace(settings.warehouse_path)
        return shipped

    def until_it_is_caught_up(catch_up: CatchUp, *wanted: Any, **more: Any) -> None:
        wait(catch_up, *wanted, **more)
        if older.exists():
            older.replace(settings.warehouse_path)

    monkeypatch.setattr(connection, "_LONG_BUSY_S", -1.0)  # each session opens what is there
    if moment == "in the last batch":
        monkeypatch.setattr(CatchUp, "ask", counted_ask)
        monkeypatch.setattr(Uploader, "ship", while_it_is_shipped)
    else:
        ask()
        monkeypatch.setattr(CatchUp, "wait", until_it_is_caught_up)
    one.run(presence.take_work(settings.data_dir))
    with open_seat(settings) as seat:
        card = seat.queries.ticket(asked[0]).card
    assert card is not None
    assert "is_behind" not in card
    counted = {row[0]: row for row in card["rows"]}
    assert 12 in counted["cdesk.user_asked"]


def test_questions_of_one_moment_wait_for_the_log_once(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each waited for what its predecessor had recorded: a queue took twice as long."""
    with open_seat(settings) as seat:
        ids = [seat.queries.submit("health", {}).ticket_id for _ in range(5)]
    one = Worker(settings)
    waits: list[int | None] = []
    newest_queued = Tickets.newest_queued

    def count(tickets: Tickets) -> int | None:
        waits.append(newest_queued(tickets))
        return waits[-1]

    monkeypatch.setattr(Tickets, "newest_queued", count)
    monkeypatch.setattr(answering, "_LONGEST_SESSION_S", 60.0)
    one.run(presence.take_work(settings.data_dir))
    with open_seat(settings) as seat:
        assert {seat.queries.ticket(one_id).state for one_id in ids} == {TicketState.DONE}
    assert [wait for wait in waits if wait is not None] == [5]


def test_a_card_says_so_when_a_part_of_the_log_cannot_be_read(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answering, "_LONGEST_CATCH_UP_S", 0.1)
    monkeypatch.setattr(
        Uploader, "troubles", lambda _: {"seg-1": OSError(errno.EIO, "cannot be read")}
    )
    append(settings, event(1).to_line())
    unreadable = SimpleNamespace(unreadable_segments=1)
    monkeypatch.setattr(shipping.cdesk_core, "backlog", lambda *_: unreadable)
    ticket = ended(settings, "activity_statistics", lambda _: None)
    assert ticket.card["is_behind"] is True


def test_a_card_is_whole_though_a_segment_cannot_be_deleted(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        Uploader, "troubles", lambda _: {"seg-1": OSError(errno.EPERM, "cannot delete")}
    )
    append(settings, event(1).to_line())
    ticket = ended(settings, "activity_statistics", lambda _: None)
    assert "is_behind" not in ticket.card


def test_a_question_that_needs_more_memory_than_there_is_fails_and_stops_no_other(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was queued again without an end, in front of all others."""
    append(settings, event(1).to_line())

    def take_too_much(*_: Any) -> int:
        raise duckdb.OutOfMemoryException("Out of Memory Error: failed to allocate")

    monkeypatch.setattr(questions, "estimate", take_too_much)
    ticket = ended(settings, "activity_statistics", lambda _: None)
    assert ticket.state is TicketState.FAILED
    assert "memory_cap" in ticket.error


def test_an_artifacts_folder_that_was_removed_is_made_again(settings: Settings) -> None:
    append(settings, event(1).to_line())
    settings.artifacts_dir.rmdir()
    assert ended(settings, "activity_statistics", lambda _: None).state is TicketState.DONE


def test_a_recorder_refuses_an_insight_whose_fields_nobody_checked(settings: Settings) -> None:
    with Recorder.open(settings) as recorder, pytest.raises(ValueError, match="record_insight"):
        recorder.record(RECORDED, {"subject": "orders"})
