"""Submitting questions and reading their answers: the road of the tools and of the command line.

Invariants: nothing here touches the warehouse; the customer is the service's own, never an
argument; a refused submission leaves no ticket.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import cdesk_core

from cdesk.errors import InvalidArgument, QueryRefused, TooManyQueries
from cdesk.query.ticket import Ticket, Tickets
from cdesk.safesql.catalog import Catalog
from cdesk.state import State

KILL_SWITCH: Final = "kill_switch"
"""The flag that refuses every new query."""


def block_flag(template: str) -> str:
    """The name of the flag that refuses new queries of one template."""
    return f"block:{template}"


def _tell_nobody() -> None:
    """Nobody waits for a question."""


@dataclass(frozen=True, slots=True)
class Offer:
    """What may be asked, and how much of it."""

    catalog: Catalog
    byte_cap: int
    queries_per_minute: int


class QueryService:
    """Submits, follows and cancels the queries of one customer."""

    def __init__(
        self,
        state: State,
        offer: Callable[[], Offer],
        tags: cdesk_core.QueryTags,
        *,
        customer: str,
        clock: Callable[[], float],
        submitted: Callable[[], object] = _tell_nobody,
    ) -> None:
        """A service for one customer.

        Args:
            offer: what may be asked now.
            submitted: called after each question that was stored; wakes the worker.
        """
        self._offer = offer
        self._tell = submitted
        self._state = state
        self._tickets = Tickets(state)
        self._tags = tags
        self._customer = customer
        self._clock = clock

    @property
    def catalog(self) -> Catalog:
        """The templates that may be asked now."""
        return self._offer().catalog

    def submit(
        self, template: str, params: Mapping[str, Any], *, byte_cap: int | None = None
    ) -> Ticket:
        """Stores a ticket for the worker and returns it; it survives every restart.

        Args:
            byte_cap: bytes the query may be estimated to scan before it runs on a sample; the
                configured cap is the upper bound.

        Raises:
            UnknownTemplate: names the nearest templates.
            InvalidArgument: names the parameter and its rule.
            QueryRefused: the kill switch is on or the template is blocked.
            TooManyQueries: there were too many within a minute.
        """
        if byte_cap is not None and byte_cap < 1:
            raise InvalidArgument("byte_cap must be a positive number of bytes")
        offer = self._offer()
        found = offer.catalog.get(template)
        bound = found.bind(params)
        now = self._clock()
        self._refuse_when_forbidden(template)
        most = offer.queries_per_minute
        if self._tickets.count_near(self._customer, now) >= most:  # who is refused uses up no tag
            raise TooManyQueries(most)
        tag, query_uuid = self._tags.next_with_uuid()
        ticket = Ticket(
            ticket_id=str(uuid.uuid4()),
            customer=self._customer,
            template=template,
            params=bound,
            byte_cap=min(byte_cap or offer.byte_cap, offer.byte_cap),
            query_tag=tag,
            query_uuid=query_uuid,
            query_hash=cdesk_core.query_hash(found.source, bound),
            submitted_at=now,
        )
        if not self._tickets.add(ticket, at_most=most):
            raise TooManyQueries(most)
        self._tell()
        return ticket

    def _refuse_when_forbidden(self, template: str) -> None:
        flags = self._state.flags()
        for name, what in (
            (KILL_SWITCH, "queries are switched off"),
            (block_flag(template), f"the template {template} is blocked"),
        ):
            if flag := flags.get(name):
                raise QueryRefused(
                    f"{what} ({flag.reason}); answer from get_context, or ask the operator to "
                    f"clear the flag {name!r}"
                )

    def ticket(self, ticket_id: str) -> Ticket:
        """The ticket as it stands now.

        Raises:
            UnknownTicket: there is none of that id.
        """
        return self._tickets.get(ticket_id, customer=self._customer)

    def cancel(self, ticket_id: str) -> Ticket:
        """Cancels a ticket that has not ended and returns it as it stands then.

        Raises:
            UnknownTicket: there is none of that id.
        """
        return self._tickets.cancel(ticket_id, self._clock(), customer=self._customer)

    def ahead_of(self, ticket: Ticket) -> int:
        """How many queued tickets of this customer come before this one."""
        return self._tickets.ahead_of(ticket)

    def change_token(self) -> tuple[int, ...]:
        """Numbers that change when anybody changed a ticket, for those who wait."""
        return self._state.change_token()
