"""A ticket's way from queued to its end."""

from __future__ import annotations

import tempfile
import uuid
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import settings as profile
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    rule,
)

import cdesk.state
from cdesk.errors import QueryFailed, QueryTimedOut, UnknownTicket
from cdesk.query.ticket import MAX_ATTEMPTS, Ticket, Tickets, TicketState
from cdesk.state import State
from tests.child import child
from tests.thorough import examples


def ticket(*, customer: str = "acme", submitted_at: float = 1.0) -> Ticket:
    ticket_id = str(uuid.uuid4())
    return Ticket(
        ticket_id=ticket_id,
        customer=customer,
        template="tool_usage",
        params={"days": 30, "tool": None, "name": "ü"},
        byte_cap=1_000,
        query_tag="cdesk_01234567",
        query_uuid=ticket_id,
        query_hash="0123456789abcdef",
        submitted_at=submitted_at,
    )


@pytest.fixture
def tickets(state: State) -> Tickets:
    return Tickets(state)


def test_a_ticket_comes_back_as_it_was_added(tickets: Tickets) -> None:
    added = ticket()
    tickets.add(added)
    assert tickets.get(added.ticket_id, customer="acme") == added


def test_a_claim_leaves_what_was_queued_after_a_moment(tickets: Tickets) -> None:
    before, after = ticket(), ticket()
    assert tickets.newest_queued() is None
    tickets.add(before)
    newest = tickets.newest_queued()
    tickets.add(after)
    claimed = tickets.claim(2.0, up_to=newest)
    assert claimed is not None
    assert claimed.ticket_id == before.ticket_id
    assert tickets.claim(2.0, up_to=newest) is None
    tickets.put_back(before.ticket_id)
    assert tickets.claim(2.0, up_to=newest) is not None


def test_another_customers_ticket_is_refused_in_the_words_for_an_unknown_one(
    tickets: Tickets,
) -> None:
    others = ticket(customer="globex")
    tickets.add(others)
    words = set()
    for ticket_id in (others.ticket_id, str(uuid.uuid4()), ""):
        with pytest.raises(UnknownTicket, match="call submit_query and use the ticket_id") as get:
            tickets.get(ticket_id, customer="acme")
        with pytest.raises(UnknownTicket) as cancel:
            tickets.cancel(ticket_id, 2.0, customer="acme")
        words |= {str(get.value), str(cancel.value)}
    assert len(words) == 1
    assert tickets.get(others.ticket_id, customer="globex") == others


def test_only_queued_and_running_tickets_have_not_ended() -> None:
    assert {state for state in TicketState if not state.is_ended} == {"queued", "running"}


def test_the_queue_is_counted_from_the_front_though_the_clock_stepped_back(
    tickets: Tickets,
) -> None:
    added = [ticket(submitted_at=float(at)) for at in (3, 1, 2)]
    for one in added:
        tickets.add(one)
    assert [tickets.ahead_of(one) for one in added] == [0, 1, 2]
    claimed = tickets.claim(4.0)
    assert claimed is not None and claimed.ticket_id == added[0].ticket_id
    assert [tickets.ahead_of(one) for one in added] == [0, 0, 1]
    assert tickets.open_count() == 3


def test_nobody_learns_how_many_tickets_others_have(tickets: Tickets) -> None:
    for _ in range(3):
        tickets.add(ticket(customer="globex"))
    mine = ticket(customer="acme")
    tickets.add(mine)
    assert tickets.ahead_of(mine) == 0


def test_a_ticket_whose_worker_died_three_times_fails_and_says_so(tickets: Tickets) -> None:
    tickets.add(ticket())
    for _ in range(MAX_ATTEMPTS - 1):
        assert tickets.claim(2.0) is not None
        assert tickets.recover(3.0) == 1
    last = tickets.claim(4.0)
    assert last is not None
    assert last.attempts == MAX_ATTEMPTS
    assert tickets.recover(5.0) == 1
    ended = tickets.get(last.ticket_id, customer="acme")
    assert (ended.state, ended.finished_at) == (TicketState.FAILED, 5.0)
    assert ended.error == (
        "the worker ended 3 times while it ran this query; narrow the question and submit it again"
    )
    assert tickets.claim(6.0) is None


def test_a_cancelled_ticket_whose_worker_died_for_the_last_time_is_cancelled_and_no_failure(
    tickets: Tickets,
) -> None:
    stopped = ticket()
    tickets.add(stopped)
    for attempt in range(1, MAX_ATTEMPTS + 1):
        assert tickets.claim(2.0) is not None
        if attempt < MAX_ATTEMPTS:
            tickets.recover(3.0)
    tickets.cancel(stopped.ticket_id, 4.0, customer="acme")
    assert tickets.recover(5.0) == 1
    ended = tickets.get(stopped.ticket_id, customer="acme")
    assert (ended.state, ended.error) == (TicketState.CANCELLED, None)


def test_a_ticket_is_forgotten_by_when_it_ended_and_never_before(tickets: Tickets) -> None:
    """A computer may sleep for a month between a question and its answer."""
    asked = [ticket(submitted_at=1.0) for _ in range(4)]
    for one in asked:
        tickets.add(one)
    for now in (10.0, 20.0):
        claimed = tickets.claim(now)
        assert claimed is not None
        assert tickets.finish(
            claimed.ticket_id, TicketState.FAILED, now, error=QueryFailed("it broke")
        )
    tickets.claim(30.0)
    assert tickets.forget(ended_before=15.0) == 1
    assert tickets.forget(ended_before=1e12) == 1
    left = [tickets.get(one.ticket_id, customer="acme").state for one in asked[2:]]
    assert left == [TicketState.RUNNING, TicketState.QUEUED]


@pytest.mark.parametrize("version", [2, 3])
def test_a_ticket_of_an_older_store_is_kept_and_its_error_has_no_kind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: int
) -> None:
    path, one = tmp_path / "state.db", ticket()
    with monkeypatch.context() as older:
        older.setattr(cdesk.state, "_STEPS", cdesk.state._STEPS[:version])
        with State(path) as state:
            Tickets(state).add(one)
            with state.transaction() as connection:  # as that version claimed it
                connection.execute(
                    "UPDATE tickets SET state = 'running', started_at = 2, attempts = 1"
                )
    with State(path) as state:
        tickets = Tickets(state)
        found = tickets.get(one.ticket_id, customer="acme")
        assert found == replace(one, state=TicketState.RUNNING, started_at=2.0, attempts=1)
        assert one.error_kind is None and isinstance(one.failure(), QueryFailed)
        tickets.recover(3.0)
        claimed = tickets.claim(4.0)
        assert claimed is not None and claimed.begun_at == 4.0
        assert tickets.note_end(claimed, 5.0, has_answer=True) == 5.0


def test_when_a_ticket_was_first_begun_and_first_came_to_its_end_is_noted_once(
    tickets: Tickets, state: State
) -> None:
    tickets.add(ticket())
    for at, leaves in ((10.0, "put back"), (20.0, "died"), (30.0, "ended")):
        claimed = tickets.claim(at)
        assert claimed is not None and (claimed.started_at, claimed.begun_at) == (at, 10.0)
        assert tickets.note_end(claimed, at + 1, has_answer=leaves == "died") == 11.0
        assert state.requested_snapshots() == ([] if leaves == "put back" else ["acme"])
        if leaves == "put back":
            tickets.put_back(claimed.ticket_id)
        elif leaves == "died":
            assert tickets.recover(at + 2) == 1
        else:
            assert tickets.finish(claimed.ticket_id, TicketState.DONE, at + 2)


def test_a_ticket_that_has_ended_is_not_changed_by_the_end_of_a_run(
    tickets: Tickets, state: State
) -> None:
    tickets.add(ticket())
    claimed = tickets.claim(2.0)
    assert claimed is not None
    assert tickets.finish(claimed.ticket_id, TicketState.CANCELLED, 3.0)
    assert tickets.note_end(claimed, 4.0, has_answer=False) == 4.0
    with state.reading() as connection:
        assert connection.execute("SELECT ended_at FROM tickets").fetchall() == [(None,)]


def test_the_end_of_a_ticket_that_its_store_lost_is_now(tickets: Tickets, state: State) -> None:
    tickets.add(ticket())
    claimed = tickets.claim(2.0)
    assert claimed is not None
    state.path.rename(state.path.with_name("away.db"))
    assert tickets.note_end(claimed, 3.0, has_answer=True) == 3.0
    assert state.requested_snapshots() == ["acme"]


def test_two_workers_never_claim_one_ticket(state: State) -> None:
    for number in range(20):
        Tickets(state).add(ticket(submitted_at=float(number)))
    claims_all = """
        import sys
        from pathlib import Path
        from cdesk.query.ticket import Tickets
        from cdesk.state import State

        with State(Path(sys.argv[1])) as state:
            print("ready", flush=True)
            input()
            while (ticket := Tickets(state).claim(1.0)) is not None:
                print(ticket.ticket_id, flush=True)
        print("end", flush=True)
    """
    with child(claims_all, state.path) as one, child(claims_all, state.path) as other:
        for worker in (one, other):
            assert worker.hears() == "ready"
        for worker in (one, other):
            worker.tell()
        claimed = [ticket_id for worker in (one, other) for ticket_id in iter(worker.hears, "end")]
    assert len(claimed) == len(set(claimed)) == 20


def test_a_ticket_survives_its_server_killed_right_after_it_was_stored(state: State) -> None:
    submits = """
        import sys
        from pathlib import Path
        from cdesk.config import Settings
        from cdesk.folder import Folder
        from cdesk.seat import Seat

        seat = Seat(Folder(Settings(data_dir=Path(sys.argv[1]), customer="acme")))
        print(seat.queries.submit("tool_usage", {"days": 3}).ticket_id, flush=True)
        input()
    """
    with child(submits, state.path.parent) as server:
        ticket_id = server.hears()
        server.kill()
    claimed = Tickets(state).claim(2.0)
    assert claimed is not None
    assert (claimed.ticket_id, claimed.params["days"]) == (ticket_id, 3)


class TicketMachine(RuleBasedStateMachine):
    """Every way tickets can go, beside a model of plain records."""

    ids = Bundle("ids")

    @initialize()
    def open(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.state = State(Path(self.folder.name, "state.db"))
        self.tickets = Tickets(self.state)
        self.model: dict[str, Ticket] = {}
        self.ended: dict[str, Ticket] = {}
        self.now = 100.0

    def teardown(self) -> None:
        if hasattr(self, "folder"):
            self.state.close()
            self.folder.cleanup()

    def _change(self, ticket_id: str, **fields: object) -> None:
        self.model[ticket_id] = replace(self.model[ticket_id], **fields)

    def _in(self, state: TicketState) -> list[Ticket]:
        """In the order in which they were stored, whatever a clock said."""
        return [ticket for ticket in self.model.values() if ticket.state is state]

    @rule(target=ids, customer=st.sampled_from(["acme", "globex"]), at=st.integers(0, 5))
    def add(self, customer: str, at: int) -> str:
        added = ticket(customer=customer, submitted_at=float(at))
        self.tickets.add(added)
        self.model[added.ticket_id] = added
        return added.ticket_id

    @rule()
    def claim(self) -> None:
        self.now += 1
        waiting = self._in(TicketState.QUEUED)
        claimed = self.tickets.claim(self.now)
        if not waiting:
            assert claimed is None
            return
        first = waiting[0]
        self._change(
            first.ticket_id,
            state=TicketState.RUNNING,
            attempts=first.attempts + 1,
            started_at=self.now,
            begun_at=first.begun_at or self.now,
        )
        assert claimed == self.model[first.ticket_id]

    @rule(ticket_id=ids, end=st.sampled_from(["done", "failed", "cancelled"]))
    def finish(self, ticket_id: str, end: str) -> None:
        self.now += 1
        card = {"rows": [[1]]} if end == "done" else None
        error = QueryTimedOut("too slow") if end == "failed" else None
        is_running = self.model[ticket_id].state is TicketState.RUNNING
        finished = self.tickets.finish(
            ticket_id, TicketState(end), self.now, card=card, error=error
        )
        assert finished is is_running
        if is_running:
            self._change(
                ticket_id,
                state=TicketState(end),
                finished_at=self.now,
                card=card,
                error=None if error is None else "too slow",
                error_kind=None if error is None else "QueryTimedOut",
            )

    @rule(ticket_id=ids)
    def put_back(self, ticket_id: str) -> None:
        self.tickets.put_back(ticket_id)
        before = self.model[ticket_id]
        if before.state is TicketState.RUNNING:
            self._change(
                ticket_id,
                state=TicketState.QUEUED,
                attempts=before.attempts - 1,
                started_at=None,
            )

    @rule(ticket_id=ids)
    def cancel(self, ticket_id: str) -> None:
        self.now += 1
        before = self.model[ticket_id]
        if before.state is TicketState.QUEUED:
            self._change(ticket_id, state=TicketState.CANCELLED, finished_at=self.now)
        if not before.state.is_ended:
            self._change(ticket_id, is_cancel_requested=True)
        cancelled = self.tickets.cancel(ticket_id, self.now, customer=before.customer)
        assert cancelled == self.model[ticket_id]

    @rule()
    def recover(self) -> None:
        self.now += 1
        running = self._in(TicketState.RUNNING)
        assert self.tickets.recover(self.now) == len(running)
        for one in running:
            if one.is_cancel_requested:
                self._change(one.ticket_id, state=TicketState.CANCELLED, finished_at=self.now)
            elif one.attempts >= MAX_ATTEMPTS:
                text = self.tickets.get(one.ticket_id, customer=one.customer).error
                assert text is not None
                self._change(
                    one.ticket_id, state=TicketState.FAILED, finished_at=self.now, error=text
                )
            else:
                self._change(one.ticket_id, state=TicketState.QUEUED, started_at=None)

    @rule()
    def reopen(self) -> None:
        self.state.close()
        self.state = State(self.state.path)
        self.tickets = Tickets(self.state)

    @rule(ticket_id=consumes(ids))
    def others_do_not_see_it(self, ticket_id: str) -> None:
        with pytest.raises(UnknownTicket):
            self.tickets.cancel(ticket_id, self.now, customer="initech")

    @invariant()
    def the_store_is_as_the_model(self) -> None:
        for ticket_id, expected in getattr(self, "model", {}).items():
            found = self.tickets.get(ticket_id, customer=expected.customer)
            assert found == expected
            assert self.tickets.is_cancel_requested(ticket_id) is expected.is_cancel_requested
            assert found == self.ended.get(ticket_id, found)
            if found.state.is_ended:
                self.ended[ticket_id] = found

    @invariant()
    def the_place_of_a_ticket_is_how_many_of_its_customer_are_claimed_before_it(self) -> None:
        if hasattr(self, "model"):
            for customer in ("acme", "globex"):
                queued = [one for one in self._in(TicketState.QUEUED) if one.customer == customer]
                for place, one in enumerate(queued):
                    assert self.tickets.ahead_of(one) == place

    @invariant()
    def the_counts_are_the_models(self) -> None:
        if hasattr(self, "model"):
            open_ones = [one for one in self.model.values() if not one.state.is_ended]
            assert self.tickets.open_count() == len(open_ones)


TestTicketMachine = TicketMachine.TestCase
TestTicketMachine.settings = profile(
    max_examples=examples(25), stateful_step_count=30, deadline=None
)
