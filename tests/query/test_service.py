"""Submitting questions: what is stored, and what is refused with which words."""

from __future__ import annotations

import asyncio
import re
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, cast

import cdesk_core
import pytest

from cdesk.config import Settings
from cdesk.errors import (
    InvalidArgument,
    QueryRefused,
    TooManyQueries,
    UnknownTemplate,
    UnknownTicket,
)
from cdesk.query.service import KILL_SWITCH, Offer, QueryService, block_flag
from cdesk.query.ticket import Ticket, Tickets, TicketState
from cdesk.safesql.catalog import load_catalog
from cdesk.server.desk import open_desk
from cdesk.server.tools import CancelQuery, GetResult, cancel_query, get_result
from cdesk.state import State
from tests.conftest import Clock

LIMIT = 3


def open_service(
    settings: Settings, state: State, clock: Clock, customer: str = "acme"
) -> QueryService:
    return QueryService(
        state,
        lambda: Offer(load_catalog(settings), 1_000_000, LIMIT),
        cdesk_core.QueryTags(settings.data_dir),
        customer=customer,
        clock=clock,
    )


@pytest.fixture
def service(settings: Settings, state: State, clock: Clock) -> QueryService:
    return open_service(settings, state, clock)


def test_a_submitted_question_is_a_queued_ticket_of_the_services_customer(
    service: QueryService, state: State, clock: Clock
) -> None:
    ticket = service.submit("tool_usage", {"days": 7})
    assert (ticket.customer, ticket.state) == ("acme", TicketState.QUEUED)
    assert ticket.submitted_at == clock.now
    assert ticket.params["days"] == 7
    assert service.ticket(ticket.ticket_id) == ticket
    with State(state.path) as other:
        assert Tickets(other).get(ticket.ticket_id, customer="acme") == ticket


def test_a_tag_begins_the_uuid_that_is_kept_with_it_and_never_repeats(
    settings: Settings, service: QueryService, clock: Clock
) -> None:
    tags = set()
    for _ in range(LIMIT * 3):
        clock.now += 60
        ticket = service.submit("tool_usage", {})
        assert re.fullmatch(r"cdesk_[0-9a-f]{8}", ticket.query_tag)
        assert ticket.query_tag == f"cdesk_{ticket.query_uuid[:8]}"
        assert uuid.UUID(ticket.query_uuid).version == 4
        tags.add(ticket.query_tag)
    assert len(tags) == LIMIT * 3


def test_the_same_question_has_the_same_hash_however_it_is_put(service: QueryService) -> None:
    asked = service.submit("tool_usage", {"days": 30})
    again = service.submit("tool_usage", {})  # 30 is the default
    other = service.submit("tool_usage", {"days": 31})
    assert asked.params == again.params
    assert asked.query_hash == again.query_hash != other.query_hash
    assert re.fullmatch(r"[0-9a-f]{16}", asked.query_hash)


def test_questions_of_one_moment_from_several_clients_are_no_more_than_the_limit(
    settings: Settings, clock: Clock
) -> None:
    """Each counted before any was stored: six clients got ten through where five were allowed."""
    clients = 4
    together = threading.Barrier(clients)

    def later() -> float:
        clock.now += 0.001  # who reads it first may store last
        return clock.now

    def submit() -> int:
        with State(settings.state_path) as state:
            service = open_service(settings, state, cast("Clock", later))
            accepted = 0
            for _ in range(LIMIT):
                together.wait()
                with suppress(TooManyQueries):
                    service.submit("tool_usage", {})
                    accepted += 1
            return accepted

    with ThreadPoolExecutor(clients) as pool:
        counts = [pool.submit(submit) for _ in range(clients)]
        assert sum(one.result() for one in counts) == LIMIT


def test_the_byte_cap_can_be_lowered_and_never_raised(service: QueryService) -> None:
    assert service.submit("tool_usage", {}).byte_cap == 1_000_000
    assert service.submit("tool_usage", {}, byte_cap=5).byte_cap == 5
    assert service.submit("tool_usage", {}, byte_cap=10**12).byte_cap == 1_000_000


def test_a_byte_cap_below_one_is_refused(service: QueryService) -> None:
    for byte_cap in (0, -1):
        with pytest.raises(InvalidArgument, match="byte_cap must be a positive number of bytes"):
            service.submit("tool_usage", {}, byte_cap=byte_cap)


def test_an_unknown_template_is_refused_with_the_nearest(
    service: QueryService, state: State
) -> None:
    with pytest.raises(UnknownTemplate, match=r"did you mean tool_usage"):
        service.submit("tool_usages", {})
    assert Tickets(state).open_count() == 0


def test_a_wrong_parameter_is_refused_by_its_name_and_leaves_no_ticket(
    service: QueryService, state: State
) -> None:
    for params in ({"days": "many"}, {"days": 10**9}, {"dayz": 1}):
        with pytest.raises(InvalidArgument, match="days"):
            service.submit("tool_usage", params)
    assert Tickets(state).open_count() == 0


def test_the_kill_switch_refuses_every_question_with_its_reason_and_the_next_move(
    service: QueryService, state: State
) -> None:
    with State(state.path) as operator:
        operator.set_flag(KILL_SWITCH, "credits are used up", 1.0)
    for template in ("tool_usage", "llm_cost"):
        with pytest.raises(QueryRefused) as refused:
            service.submit(template, {})
        assert str(refused.value) == (
            "queries are switched off (credits are used up); answer from get_context, or ask the "
            "operator to clear the flag 'kill_switch'"
        )
    assert Tickets(state).open_count() == 0


def test_the_kill_switch_survives_a_restart_until_it_is_cleared(
    settings: Settings, state: State, clock: Clock
) -> None:
    state.set_flag(KILL_SWITCH, "by hand", 1.0)
    state.close()
    with State(settings.state_path) as reopened:
        service = open_service(settings, reopened, clock)
        with pytest.raises(QueryRefused):
            service.submit("tool_usage", {})
        reopened.clear_flag(KILL_SWITCH)
        assert service.submit("tool_usage", {}).state is TicketState.QUEUED


def test_a_blocked_template_is_refused_and_others_are_not(
    service: QueryService, state: State
) -> None:
    state.set_flag(block_flag("tool_usage"), "wrong since Monday", 1.0)
    with pytest.raises(QueryRefused) as refused:
        service.submit("tool_usage", {})
    assert str(refused.value) == (
        "the template tool_usage is blocked (wrong since Monday); answer from get_context, or ask "
        "the operator to clear the flag 'block:tool_usage'"
    )
    assert service.submit("llm_cost", {}).state is TicketState.QUEUED


def test_the_question_beyond_the_limit_waits_until_the_minute_is_over(
    settings: Settings, state: State, service: QueryService, clock: Clock
) -> None:
    for _ in range(LIMIT):
        service.submit("tool_usage", {})
    clock.now += 59.9
    with pytest.raises(QueryRefused) as refused:
        service.submit("tool_usage", {})
    assert str(refused.value) == (
        "3 queries were submitted within a minute, which is the limit; wait a minute, or answer "
        "from get_context"
    )
    assert refused.value.retryable
    assert Tickets(state).open_count() == LIMIT
    others = open_service(settings, state, clock, customer="globex")
    assert others.submit("tool_usage", {}).customer == "globex"
    clock.now += 0.2
    assert service.submit("tool_usage", {}).state is TicketState.QUEUED


def test_another_customers_ticket_is_refused_in_the_words_for_an_unknown_one(
    settings: Settings, state: State, service: QueryService, clock: Clock
) -> None:
    others = open_service(settings, state, clock, customer="globex").submit("tool_usage", {})
    words = set()
    for ticket_id in (others.ticket_id, "no such ticket"):
        for ask in (service.ticket, service.cancel):
            with pytest.raises(UnknownTicket) as refused:
                ask(ticket_id)
            words.add(str(refused.value))
    assert len(words) == 1
    (queued,) = words
    assert others.ticket_id not in queued
    assert Tickets(state).get(others.ticket_id, customer="globex").state is TicketState.QUEUED


def test_a_queued_ticket_is_cancelled_at_once_and_stays_so(
    service: QueryService, state: State, clock: Clock
) -> None:
    ticket = service.submit("tool_usage", {})
    cancelled = service.cancel(ticket.ticket_id)
    assert (cancelled.state, cancelled.finished_at) == (TicketState.CANCELLED, clock.now)
    clock.now += 1
    assert service.cancel(ticket.ticket_id) == cancelled
    assert Tickets(state).claim(clock.now) is None


def test_a_running_ticket_is_asked_to_stop(service: QueryService, state: State) -> None:
    ticket = service.submit("tool_usage", {})
    with State(state.path) as workers:
        token = service.change_token()
        Tickets(workers).claim(1.0)
        assert service.change_token() != token
        asked = service.cancel(ticket.ticket_id)
        assert (asked.state, asked.is_cancel_requested) == (TicketState.RUNNING, True)
        assert Tickets(workers).is_cancel_requested(ticket.ticket_id)


def test_who_waits_is_told_how_many_come_before(service: QueryService, clock: Clock) -> None:
    for place in range(LIMIT):
        clock.now += 1
        assert service.ahead_of(service.submit("tool_usage", {})) == place


def test_who_waits_sees_at_once_what_the_same_server_changed(settings: Settings) -> None:
    """`cancel_query` beside `get_result`: one server, one connection, two calls at a time."""

    async def wait_and_cancel() -> dict[str, Any]:
        with open_desk(settings) as desk:
            ticket = await desk.with_seat(lambda seat: seat.queries.submit("tool_usage", {}))
            both = asyncio.gather(  # begun in this order
                get_result(desk, GetResult(ticket_id=ticket.ticket_id, wait_s=20)),
                cancel_query(desk, CancelQuery(ticket_id=ticket.ticket_id)),
            )
            seen, _ = await asyncio.wait_for(both, 10)
            return seen

    assert asyncio.run(wait_and_cancel())["state"] == "cancelled"


def test_who_waits_sees_what_changed_between_the_first_look_and_the_wait(
    state: State, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    look = QueryService.ticket

    def look_before_it_is_cancelled(self: QueryService, ticket_id: str) -> Ticket:
        seen = look(self, ticket_id)
        with State(state.path) as others:
            Tickets(others).cancel(ticket_id, 1.0, customer="acme")
        return seen

    async def wait() -> dict[str, Any]:
        with open_desk(settings) as desk:
            ticket = await desk.with_seat(lambda seat: seat.queries.submit("tool_usage", {}))
            return await get_result(desk, GetResult(ticket_id=ticket.ticket_id, wait_s=3))

    monkeypatch.setattr(QueryService, "ticket", look_before_it_is_cancelled)
    assert asyncio.run(wait())["state"] == "cancelled"


def test_a_clock_set_back_keeps_nobody_at_the_limit(service: QueryService, clock: Clock) -> None:
    for _ in range(LIMIT):
        service.submit("tool_usage", {})
    with pytest.raises(QueryRefused):
        service.submit("tool_usage", {})
    clock.now -= 3600
    for _ in range(LIMIT):
        service.submit("tool_usage", {})
    with pytest.raises(QueryRefused):
        service.submit("tool_usage", {})
