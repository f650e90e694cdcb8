"""A worker in this process, stopped between two of its steps to see what others meet there."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from cdesk import presence
from cdesk.bell import Bell
from cdesk.catch_up import CatchUp
from cdesk.config import Settings
from cdesk.errors import StateBusy
from cdesk.heartbeat import Heart
from cdesk.query.ticket import Ticket, Tickets, TicketState
from cdesk.recorder import Recorder
from cdesk.seat import open_seat
from cdesk.state import State
from cdesk.uploader import Shipped, Uploader
from cdesk.warehouse.base import Warehouse
from cdesk.worker import Worker
from cdesk.worker.answering import Answering
from cdesk.worker.shipping import Shipping
from tests.e2e.talk import eventually


@pytest.fixture
def hasty(settings: Settings) -> Settings:
    """Settings of a worker that leaves as soon as nobody is there and nothing waits."""
    return replace(settings, worker_grace_s=0.0)


def work(settings: Settings) -> None:
    """A worker's whole life."""
    Worker(settings).run(presence.take_work(settings.data_dir))


def ended(settings: Settings, ticket: Ticket) -> Ticket:
    with State(settings.state_path) as state:
        return Tickets(state).get(ticket.ticket_id, customer="acme")


def test_a_worker_that_leaves_has_left_before_a_client_can_come(
    hasty: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client that found it still there would wait for a worker that is going."""
    nobody_attends = presence.nobody_attends
    is_there: list[bool] = []

    @contextmanager
    def watched(data_dir: Path) -> Iterator[bool]:
        with nobody_attends(data_dir) as is_alone:
            yield is_alone
            is_there.append(presence.is_worker_there(data_dir))

    monkeypatch.setattr(presence, "nobody_attends", watched)
    work(hasty)
    assert is_there[-1] is False


def test_a_ticket_whose_end_could_not_be_stored_is_run_again_by_the_same_worker(
    hasty: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    finish = Tickets.finish
    troubles = [StateBusy("another program holds a lock on it")]

    def busy_once(self: Tickets, *of: Any, **how: Any) -> bool:
        if troubles:
            raise troubles.pop()
        return finish(self, *of, **how)

    def put_back_in_vain(self: Tickets, ticket_id: str, *, is_attempt: bool = False) -> None:
        raise StateBusy("another program still holds a lock on it")

    monkeypatch.setattr(Tickets, "finish", busy_once)
    monkeypatch.setattr(Tickets, "put_back", put_back_in_vain)
    with open_seat(hasty) as seat:
        ticket = seat.queries.submit("health", {})
    work(hasty)
    assert ended(hasty, ticket).state is TicketState.DONE


def test_a_card_that_lacks_what_was_accepted_after_the_worker_last_looked_says_so(
    hasty: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Event and question come while the worker still believes that the log holds nothing."""
    ship = Uploader.ship
    asked: list[Ticket] = []

    def ship_around_a_question(self: Uploader) -> Shipped | None:
        if asked:  # the event has to wait until the question was answered
            while not ended(hasty, asked[0]).state.is_ended:
                os.sched_yield()
        shipped = ship(self)
        if shipped is None and not asked:
            with open_seat(hasty) as seat:
                seat.recorder.record("cdesk.error_encountered", {"error": "E"})
                asked.append(seat.queries.submit("health", {}))
                while seat.queries.ticket(asked[0].ticket_id).state is TicketState.QUEUED:
                    os.sched_yield()
        return shipped

    monkeypatch.setattr("cdesk.worker.answering._LONGEST_CATCH_UP_S", 0.5)
    monkeypatch.setattr(Uploader, "ship", ship_around_a_question)
    with open_seat(hasty) as seat:
        seat.recorder.record("cdesk.user_asked")
    work(hasty)
    card = ended(hasty, asked[0]).card
    assert card is not None
    assert " and 0 errors;" in card["headline"]
    assert card["is_behind"] is True


WAREHOUSE = cast("Warehouse", SimpleNamespace(session=nullcontext))
"""One that is opened only."""


class ARunner:
    """A runner that ends every ticket without a look at the warehouse."""

    def __init__(self, _warehouse: Any, tickets: Tickets, *_of: Any, **_how: Any) -> None:
        self._tickets = tickets

    def run_next(self, *, up_to: int | None, is_behind: Any) -> Ticket | None:
        ticket = self._tickets.claim(1.0, up_to=up_to)
        if ticket is not None:
            self._tickets.finish(ticket.ticket_id, TicketState.DONE, 2.0)
        return ticket


def a_duty(settings: Settings, catch_up: CatchUp, stop: threading.Event, bell: Bell) -> Answering:
    heart = Heart(settings.state_path, is_in_place=lambda: True)
    nobody = cast("Recorder", None)
    return Answering(settings, WAREHOUSE, nobody, heart, catch_up, bell, is_stopped=stop.is_set)


def submitted(settings: Settings) -> Ticket:
    with open_seat(settings) as seat:
        return seat.queries.submit("health", {})


def test_a_worker_is_woken_by_a_question(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cdesk.worker.answering._LOOK_EVERY_WHEN_RUNG_S", 3600.0)
    looks: list[int | None] = []
    newest_queued = Tickets.newest_queued

    def look(self: Tickets) -> int | None:
        looks.append(newest_queued(self))
        return looks[-1]

    monkeypatch.setattr(Tickets, "newest_queued", look)
    one = Worker(settings)
    with open_seat(settings) as seat:
        lease = presence.take_work(settings.data_dir)
        worker = threading.Thread(target=one.run, args=(lease,))
        worker.start()
        try:
            asyncio.run(eventually(lambda: looks))  # it has begun, found nothing, and waits
            ticket = seat.queries.submit("health", {})
            asyncio.run(eventually(lambda: ended(settings, ticket).state is TicketState.DONE))
        finally:
            one.stop()
            worker.join()


def test_contexts_wait_for_the_questions_that_run_but_no_longer_than_a_second_at_a_time() -> None:
    now, catch_up, unused = 0.0, CatchUp(), cast("Any", None)
    duty = Shipping(*[unused] * 5, catch_up, queue_dir=Path("unused"), monotonic=lambda: now)
    assert not duty._puts_contexts_off()
    is_put_off: list[bool] = []
    with catch_up.answering():
        for _ in range(20):
            is_put_off.append(duty._puts_contexts_off())
            now += 0.25
    assert is_put_off == [*[True] * 4, False] * 4
    assert not duty._puts_contexts_off()


def test_a_question_that_comes_while_the_log_is_asked_for_another_has_an_ask_of_its_own(
    settings: Settings, state: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was accepted between the ask and that question is not waited for."""
    monkeypatch.setattr("cdesk.worker.answering._LONGEST_CATCH_UP_S", 0.0)
    catch_up = CatchUp()
    ask = catch_up.ask
    later: list[Ticket] = []

    def ask_as_another_comes() -> int:
        number = ask()
        later.append(submitted(settings))
        return number

    monkeypatch.setattr(catch_up, "ask", ask_as_another_comes)
    earlier, tickets = submitted(settings), Tickets(state)
    with Bell() as bell:
        duty = a_duty(settings, catch_up, threading.Event(), bell)
        duty._answer(tickets, cast("Any", ARunner(WAREHOUSE, tickets)))
    assert ended(settings, earlier).state is TicketState.DONE
    assert ended(settings, later[0]).state is TicketState.QUEUED


def test_a_question_that_comes_right_after_the_last_look_is_seen_though_nothing_else_happens(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else it waits for whoever writes next into the store: the heartbeat, seconds later."""
    monkeypatch.setattr("cdesk.worker.answering._LONGEST_CATCH_UP_S", 0.0)
    monkeypatch.setattr("cdesk.worker.answering.TicketRunner", ARunner)
    newest_queued = Tickets.newest_queued
    asked: list[Ticket] = []

    def look_before_another_comes(self: Tickets) -> int | None:
        newest = newest_queued(self)
        if newest is None and not asked:
            asked.append(submitted(settings))
        return newest

    monkeypatch.setattr(Tickets, "newest_queued", look_before_another_comes)
    stop = threading.Event()
    with Bell() as bell, a_duty(settings, CatchUp(), stop, bell).at_work():
        try:
            asyncio.run(
                eventually(lambda: asked and ended(settings, asked[0]).state is TicketState.DONE)
            )
        finally:
            stop.set()
