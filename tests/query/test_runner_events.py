"""What a run that does not go well leaves in the stream."""

from __future__ import annotations

from typing import Any

import pytest

from cdesk.query.ticket import MAX_ATTEMPTS, TicketState
from tests.query.test_runner import Bench, Slow
from tests.query.test_runner import bench as bench  # a fixture


def recorded(bench: Bench, activity: str) -> list[dict[str, Any]]:
    return [
        dict(event.feature_json or {})
        for event in bench.recording.events
        if event.activity == activity
    ]


def test_a_statement_over_its_time_is_recorded_as_a_timeout(bench: Bench) -> None:
    ticket = bench.submit("health")
    slow: Any = Slow(bench.warehouse)
    bench.runner(slow, timeout_s=0.2).run_next()
    (timeout,) = recorded(bench, "cdesk.timeout_occurred")
    assert (timeout["where"], timeout["latency_ms"]) == ("query", 200.0)
    assert timeout["ticket_id"] == ticket.ticket_id


def test_a_query_that_was_cancelled_is_no_timeout(bench: Bench) -> None:
    ticket = bench.submit("health")
    bench.tickets.claim(1.0)
    bench.tickets.cancel(ticket.ticket_id, 1.0, customer="acme")
    bench.tickets.put_back(ticket.ticket_id)
    slow: Any = Slow(bench.warehouse)
    bench.runner(slow).run_next()
    assert bench.ended(ticket).state is TicketState.CANCELLED
    assert recorded(bench, "cdesk.timeout_occurred") == []


def test_each_attempt_after_an_error_that_nobody_foresaw_is_recorded_once(bench: Bench) -> None:
    ticket = bench.submit("health")

    class Broken(Slow):
        def estimate(self, query: Any) -> int:
            raise ZeroDivisionError

    broken: Any = Broken(bench.warehouse)
    for _ in range(MAX_ATTEMPTS):
        with pytest.raises(ZeroDivisionError):
            bench.runner(broken).run_next()
    assert bench.ended(ticket).state is TicketState.FAILED
    retries = recorded(bench, "cdesk.retry_attempted")
    assert [(one["attempt"], one["error"]) for one in retries] == [
        (number, "ZeroDivisionError") for number in range(1, MAX_ATTEMPTS)
    ]
    ids = [one.activity_id for one in bench.recording.events]
    assert len(ids) == len(set(ids))


def test_a_retry_goes_on_though_its_event_cannot_be_recorded(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    ticket = bench.submit("health")

    def fails(events: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(bench.recording, "record_events", fails)
    with pytest.raises(OSError, match="No space"):
        bench.runner().run_next()
    assert bench.ended(ticket).state is TicketState.QUEUED


def test_a_sample_in_place_of_the_whole_is_recorded_as_a_fallback(bench: Bench) -> None:
    ticket = bench.submit("activity_statistics", byte_cap=100)
    bench.submit("activity_statistics", days=3)
    for _ in range(2):
        bench.runner().run_next()
    (fallback,) = recorded(bench, "cdesk.fallback_triggered")
    assert fallback["ticket_id"] == ticket.ticket_id
    assert (fallback["where"], fallback["fallback"]) == ("query", "sample")
    assert fallback["error"] == "over its byte_cap"


def test_a_ticket_is_done_only_after_all_that_it_did_is_recorded(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever of it cannot be recorded first: it is run again, and the stream lacks nothing."""
    record = bench.recording.record_events
    expected = {"sql_executed", "sql_completed", "artifact_created", "card_rendered"}
    for fails_at in range(2):  # what ends it is one durable append
        moods = [True] * fails_at + [False]

        def fail_once(events: Any, moods: list[bool] = moods) -> None:
            if moods and not moods.pop(0):
                raise OSError(28, "No space left on device")
            record(events)

        monkeypatch.setattr(bench.recording, "record_events", fail_once)
        ticket = bench.submit("health")
        with pytest.raises(OSError, match="No space"):
            bench.runner().run_next()
        assert bench.ended(ticket).state is TicketState.QUEUED
        bench.runner().run_next()
        assert bench.ended(ticket).state is TicketState.DONE
        assert expected <= {
            event.activity.removeprefix("cdesk.")
            for event in bench.recording.events
            if (event.feature_json or {})["ticket_id"] == ticket.ticket_id
        }


def test_a_context_is_known_to_be_old_before_the_answer_that_makes_it_so_is_stored(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker that died in between left a context that was called fresh."""
    known: list[list[str]] = []

    def look(_: Any) -> None:
        known.append(bench.state.requested_snapshots())

    monkeypatch.setattr(bench.warehouse, "audit", look)
    bench.submit("health")
    bench.runner().run_next()
    assert known == [["acme"]]
