"""Tickets: a submitted query's way from `queued` to its end.

::

    queued ──claim──► running ──finish──► done | failed | cancelled
      │                  │
      └──cancel──► cancelled   (worker gone, or an error that nobody foresaw: back to queued, three
                                attempts at most; a busy warehouse: back to queued)

Invariants: every transition is one durable transaction that names the state it leaves; an ended
ticket never changes again; a ticket outlives the worker and the server that made it; when it was
first begun and when a run of it first came to its end are noted once, however often it is run.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

import orjson

from cdesk.errors import CdeskError, QueryFailed, TemplateError, UnknownTicket
from cdesk.state import State, request_snapshots

_MINUTE_S: Final = 60.0
MAX_ATTEMPTS: Final = 3
"""How often a ticket is begun before its worker's deaths count as its failure."""

_WORKER_DIED: Final = (
    f"the worker ended {MAX_ATTEMPTS} times while it ran this query; narrow the question and "
    "submit it again"
)

_COLUMNS: Final = (
    "ticket_id, customer, template, params, byte_cap, query_tag, query_uuid, query_hash, state, "
    "attempts, is_cancel_requested, submitted_at, started_at, finished_at, card, error, "
    "error_kind, begun_at"
)


class TicketState(StrEnum):
    """Where a ticket stands."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_ended(self) -> bool:
        """Whether the ticket will never change again."""
        return self not in (TicketState.QUEUED, TicketState.RUNNING)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ticket:
    """A submitted query; times are Unix seconds."""

    ticket_id: str
    customer: str
    template: str
    params: dict[str, Any]
    """Every parameter with its default applied: what the query hash was taken over."""
    byte_cap: int
    query_tag: str
    query_uuid: str
    query_hash: str
    submitted_at: float
    state: TicketState = TicketState.QUEUED
    attempts: int = 0
    is_cancel_requested: bool = False
    started_at: float | None = None
    finished_at: float | None = None
    card: dict[str, Any] | None = None
    error: str | None = None
    error_kind: str | None = None
    """The class of the error, such as `TemplateError`; `None` where it was none of a question's."""
    begun_at: float | None = None
    """When it was claimed first; `None` before."""

    def failure(self) -> CdeskError:
        """Why it ended without a card, as an error of the kind that ended it."""
        kind = TemplateError if self.error_kind == TemplateError.__name__ else QueryFailed
        return kind(self.error or f"the query was {self.state.value}")


class Tickets:
    """The tickets of one state store."""

    def __init__(self, state: State) -> None:
        self._state = state

    def add(self, ticket: Ticket, *, at_most: int | None = None) -> bool:
        """Stores a new ticket as `queued`; whether it did.

        Args:
            at_most: how many the customer may submit within a minute, this one among them.
        """
        with self._state.transaction() as connection:
            if at_most is not None:
                recent = _count_near(connection, ticket.customer, ticket.submitted_at)
                if recent >= at_most:
                    return False
            connection.execute(
                "INSERT INTO tickets (ticket_id, customer, template, params, byte_cap, query_tag, "
                "query_uuid, query_hash, state, submitted_at) VALUES (?,?,?,?,?,?,?,?,?,?)",
                (
                    ticket.ticket_id,
                    ticket.customer,
                    ticket.template,
                    orjson.dumps(ticket.params).decode(),
                    ticket.byte_cap,
                    ticket.query_tag,
                    ticket.query_uuid,
                    ticket.query_hash,
                    TicketState.QUEUED,
                    ticket.submitted_at,
                ),
            )
        return True

    def count_near(self, customer: str, at: float) -> int:
        """How many tickets the customer submitted within a minute of a moment, before or after it:
        another client's clock is read a little later and its ticket stored a little sooner. What a
        clock that was set back since puts further into the future does not count."""
        with self._state.reading() as connection:
            return _count_near(connection, customer, at)

    def get(self, ticket_id: str, *, customer: str) -> Ticket:
        """The customer's ticket of that id.

        Raises:
            UnknownTicket: there is none; the same words for a ticket of another customer.
        """
        with self._state.reading() as connection:
            row = connection.execute(
                f"SELECT {_COLUMNS} FROM tickets WHERE ticket_id = ? AND customer = ?",
                (ticket_id, customer),
            ).fetchone()
        if row is None:
            raise UnknownTicket(
                "there is no ticket of that id; call submit_query and use the ticket_id it returns"
            )
        return _ticket(row)

    def newest_queued(self) -> int | None:
        """The number of the ticket that was queued last; `None` when none waits. Numbers grow: what
        has no greater one was submitted before this call."""
        with self._state.reading() as connection:
            row = connection.execute(
                "SELECT max(number) FROM tickets WHERE state = ?", (TicketState.QUEUED,)
            ).fetchone()
        return row[0] if row else None

    def claim(self, now: float, *, up_to: int | None = None) -> Ticket | None:
        """Moves the oldest queued ticket to `running` and returns it; `None` when none waits.

        Args:
            up_to: the greatest number that it may have; `None` for any.
        """
        with self._state.transaction() as connection:
            row = connection.execute(
                "UPDATE tickets SET state = ?, started_at = ?, attempts = attempts + 1, "
                "begun_at = coalesce(begun_at, ?) "
                "WHERE ticket_id = (SELECT ticket_id FROM tickets WHERE state = ? "
                "AND number <= coalesce(?, number) ORDER BY number LIMIT 1) "
                f"RETURNING {_COLUMNS}",
                (TicketState.RUNNING, now, now, TicketState.QUEUED, up_to),
            ).fetchone()
        return _ticket(row) if row else None

    def note_end(self, ticket: Ticket, now: float, *, has_answer: bool) -> float:
        """Notes that a run came to its end, before anything tells of it; returns when the first run
        that came so far did, so that what is told again is told of the same moment.

        Args:
            has_answer: from now on, before it is stored, an answer makes the customer's context
                old: what is remembered of it is verified from then on.
        """
        with self._state.transaction() as connection:
            row = connection.execute(
                "UPDATE tickets SET ended_at = coalesce(ended_at, ?) "
                "WHERE ticket_id = ? AND state = ? RETURNING ended_at",
                (now, ticket.ticket_id, TicketState.RUNNING),
            ).fetchone()
            if has_answer:
                request_snapshots(connection, [ticket.customer])
        return row[0] if row else now  # none in a store that took the place of a lost one

    def finish(
        self,
        ticket_id: str,
        state: TicketState,
        now: float,
        *,
        card: dict[str, Any] | None = None,
        error: CdeskError | None = None,
    ) -> bool:
        """Ends a running ticket; `False` when it was not running any more."""
        with self._state.transaction() as connection:
            changed = connection.execute(
                "UPDATE tickets SET state = ?, finished_at = ?, card = ?, error = ?, "
                "error_kind = ? WHERE ticket_id = ? AND state = ?",
                (
                    state,
                    now,
                    None if card is None else orjson.dumps(card).decode(),
                    None if error is None else str(error),
                    None if error is None else type(error).__name__,
                    ticket_id,
                    TicketState.RUNNING,
                ),
            )
            return changed.rowcount == 1

    def put_back(self, ticket_id: str, *, is_attempt: bool = False) -> None:
        """Moves a running ticket back to `queued`; counts the attempt if it was one."""
        with self._state.transaction() as connection:
            connection.execute(
                "UPDATE tickets SET state = ?, attempts = attempts - ?, started_at = NULL "
                "WHERE ticket_id = ? AND state = ?",
                (TicketState.QUEUED, int(not is_attempt), ticket_id, TicketState.RUNNING),
            )

    def cancel(self, ticket_id: str, now: float, *, customer: str) -> Ticket:
        """Cancels a queued ticket, asks the worker to stop a running one; an ended one stays.

        Raises:
            UnknownTicket: as `get`.
        """
        with self._state.transaction() as connection:
            connection.execute(
                "UPDATE tickets SET state = ?, finished_at = ?, is_cancel_requested = 1 "
                "WHERE ticket_id = ? AND customer = ? AND state = ?",
                (TicketState.CANCELLED, now, ticket_id, customer, TicketState.QUEUED),
            )
            connection.execute(
                "UPDATE tickets SET is_cancel_requested = 1 "
                "WHERE ticket_id = ? AND customer = ? AND state = ?",
                (ticket_id, customer, TicketState.RUNNING),
            )
        return self.get(ticket_id, customer=customer)

    def is_cancel_requested(self, ticket_id: str) -> bool:
        """Whether somebody asked to stop this ticket."""
        with self._state.reading() as connection:
            row = connection.execute(
                "SELECT is_cancel_requested FROM tickets WHERE ticket_id = ?", (ticket_id,)
            ).fetchone()
        return bool(row and row[0])

    def recover(self, now: float) -> int:
        """What a new worker does first: tickets its predecessor left running are queued again.

        A ticket that was begun `MAX_ATTEMPTS` times fails instead, a cancelled one is cancelled.
        Returns how many tickets were moved.
        """
        with self._state.transaction() as connection:
            moved = 0
            for state, error, condition in (
                (TicketState.CANCELLED, None, "is_cancel_requested = 1"),
                (
                    TicketState.FAILED,
                    _WORKER_DIED,
                    f"attempts >= {MAX_ATTEMPTS}",
                ),
            ):
                moved += connection.execute(
                    f"UPDATE tickets SET state = ?, finished_at = ?, error = ? "
                    f"WHERE state = ? AND {condition}",
                    (state, now, error, TicketState.RUNNING),
                ).rowcount
            moved += connection.execute(
                "UPDATE tickets SET state = ?, started_at = NULL WHERE state = ?",
                (TicketState.QUEUED, TicketState.RUNNING),
            ).rowcount
        return moved

    def forget(self, *, ended_before: float) -> int:
        """Deletes tickets that ended before a moment; the audit keeps what they did. How many."""
        with self._state.transaction() as connection:
            return connection.execute(
                "DELETE FROM tickets WHERE finished_at < ?", (ended_before,)
            ).rowcount

    def open_or_done(self, ticket_ids: Iterable[str]) -> set[str]:
        """Which of these are tickets that have a result, or may come to have one."""
        with self._state.reading() as connection:
            rows = connection.execute(
                "SELECT ticket_id FROM tickets WHERE state IN ('queued', 'running', 'done') "
                "AND ticket_id IN (SELECT value FROM json_each(?))",
                (orjson.dumps(list(ticket_ids)).decode(),),
            ).fetchall()
        return {ticket_id for (ticket_id,) in rows}

    def open_count(self) -> int:
        """How many tickets have not ended."""
        return self._count("state IN ('queued', 'running')")

    def open_of(self, customer: str) -> list[Ticket]:
        """The customer's tickets that have not ended, oldest first."""
        with self._state.reading() as connection:
            rows = connection.execute(
                f"SELECT {_COLUMNS} FROM tickets WHERE state IN ('queued', 'running') "
                "AND customer = ? ORDER BY number",
                (customer,),
            ).fetchall()
        return [_ticket(row) for row in rows]

    def ahead_of(self, ticket: Ticket) -> int:
        """How many queued tickets of the same customer come before this one."""
        return self._count(
            "state = 'queued' AND customer = ? "
            "AND number < (SELECT number FROM tickets WHERE ticket_id = ?)",
            ticket.customer,
            ticket.ticket_id,
        )

    def _count(self, condition: str, *values: object) -> int:
        with self._state.reading() as connection:
            (count,) = connection.execute(
                f"SELECT count(*) FROM tickets WHERE {condition}", values
            ).fetchone()
        return int(count)


def _count_near(connection: sqlite3.Connection, customer: str, at: float) -> int:
    (count,) = connection.execute(
        "SELECT count(*) FROM tickets "
        "WHERE customer = ? AND submitted_at > ? AND submitted_at <= ?",
        (customer, at - _MINUTE_S, at + _MINUTE_S),
    ).fetchone()
    return int(count)


def _ticket(row: sqlite3.Row | tuple[Any, ...]) -> Ticket:
    names = [name.strip() for name in _COLUMNS.split(",")]
    fields = dict(zip(names, row, strict=True))
    fields["params"] = orjson.loads(fields["params"])
    fields["card"] = orjson.loads(fields["card"]) if fields["card"] else None
    fields["state"] = TicketState(fields["state"])
    fields["is_cancel_requested"] = bool(fields["is_cancel_requested"])
    return Ticket(**fields)
