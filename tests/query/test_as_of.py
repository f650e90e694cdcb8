"""Up to which moment a question counts, also when the clock was set back."""

from __future__ import annotations

from typing import Any

import pytest

from cdesk.query.runner import TicketRunner
from tests.contract.stream import batch, event, store
from tests.query.test_runner import NOW, Bench
from tests.query.test_runner import bench as bench  # a fixture

ASKED_AT_S = 3_600
"""When the question is asked, in seconds of the stream."""


def counted(bench: Bench, *, runs_at: float = NOW, **params: int) -> dict[str, int]:
    ticket = bench.submit("activity_statistics", **params)
    TicketRunner(
        bench.warehouse,
        bench.tickets,
        lambda: bench.catalog,
        bench.recording,
        artifacts_dir=bench.artifacts,
        byte_cap=10**9,
        settings_path=bench.settings_path,
        statement_timeout_s=30.0,
        clock=lambda: runs_at,
    ).run_next()
    card: Any = bench.ended(ticket).card
    return {activity: events for activity, events, *_ in card["rows"]}


@pytest.mark.parametrize("ahead_s", [0, 1, 3_600, 86_400])
def test_what_happened_before_a_clock_was_set_back_is_in_the_next_answer(
    bench: Bench, ahead_s: int
) -> None:
    for number, second in ((200, ASKED_AT_S + ahead_s), (201, ASKED_AT_S + ahead_s // 2)):
        store(bench.warehouse, batch(event(number, second)))
    assert counted(bench)["cdesk.user_asked"] == 42


def test_a_time_more_than_a_day_ahead_is_no_clock_that_was_set_back_and_moves_no_answer(
    bench: Bench,
) -> None:
    store(bench.warehouse, batch(event(200, ASKED_AT_S + 86_401)))
    assert counted(bench)["cdesk.user_asked"] == 40


def test_what_happens_to_another_customer_moves_no_answer(bench: Bench) -> None:
    store(
        bench.warehouse,
        batch(event(200, ASKED_AT_S + 60, customer="globex"), event(201, ASKED_AT_S - 86_400 + 30)),
    )
    assert counted(bench, days=1)["cdesk.user_asked"] == 41


def test_what_happens_between_a_question_and_its_run_is_not_in_the_answer(bench: Bench) -> None:
    store(bench.warehouse, batch(event(200, ASKED_AT_S + 10)))
    assert counted(bench, runs_at=NOW + 20)["cdesk.user_asked"] == 40
