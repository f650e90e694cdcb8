"""What the worker makes of a ticket, against a real warehouse."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import cdesk_core
import pytest

from cdesk.activity import Event
from cdesk.errors import QueryFailed, WarehouseBusy
from cdesk.query.runner import TicketRunner
from cdesk.query.ticket import Ticket, Tickets, TicketState
from cdesk.resources import sql_path
from cdesk.safesql.catalog import Catalog
from cdesk.state import State
from cdesk.warehouse.base import Execution, Query, QueryResult, Warehouse
from tests.contract.conftest import open_duckdb
from tests.contract.stream import BEGIN, batch, event, rows, store

NOW = BEGIN.timestamp() + 3600


class Recording:
    """A recorder that keeps events in a list."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def event(
        self,
        activity: str,
        feature_json: Mapping[str, Any] | None = None,
        *,
        link: str | None = None,
        query_tag: str | None = None,
        ts: datetime,
        activity_id: str,
    ) -> Event:
        return Event(
            activity_id=activity_id,
            activity=activity,
            customer="the worker's own",
            ts=ts,
            feature_json=feature_json,
            link=link,
            query_tag=query_tag,
        )

    def record_events(self, events: Sequence[Event]) -> None:
        self.events += events


class Bench:
    """A runner on a real warehouse with everything it needs."""

    def __init__(self, folder: Path) -> None:
        self.artifacts = folder / "artifacts"
        self.settings_path = folder / "cdesk.toml"
        self.warehouse: Warehouse = open_duckdb(folder)
        self.state = State(folder / "state.db")
        self.tickets = Tickets(self.state)
        self.catalog = Catalog.load(sql_path("templates"))
        self.recording = Recording()
        self.tags = cdesk_core.QueryTags(folder)
        self.now = NOW

    def runner(
        self,
        warehouse: Warehouse | None = None,
        timeout_s: float = 30.0,
        byte_cap: int = 10**9,
    ) -> TicketRunner:
        return TicketRunner(
            warehouse or self.warehouse,
            self.tickets,
            lambda: self.catalog,
            self.recording,
            artifacts_dir=self.artifacts,
            byte_cap=byte_cap,
            settings_path=self.settings_path,
            statement_timeout_s=timeout_s,
            clock=lambda: self.now,
        )

    def submit(self, template: str, byte_cap: int = 10**9, **params: Any) -> Ticket:
        found = self.catalog.get(template)
        bound = found.bind(params)
        tag, query_uuid = self.tags.next_with_uuid()
        ticket = Ticket(
            ticket_id=str(uuid.uuid4()),
            customer="acme",
            template=template,
            params=bound,
            byte_cap=byte_cap,
            query_tag=tag,
            query_uuid=query_uuid,
            query_hash=cdesk_core.query_hash(found.source, bound),
            submitted_at=NOW,
        )
        self.tickets.add(ticket)
        return ticket

    def ended(self, ticket: Ticket) -> Ticket:
        return self.tickets.get(ticket.ticket_id, customer="acme")


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    store(
        made.warehouse,
        batch(
            *(event(number, number, "user_asked") for number in range(1, 41)),
            *(event(number, number, f"thing_{number}") for number in range(50, 70)),
            *(event(number, number, "secret", customer="globex") for number in range(90, 95)),
        ),
    )
    yield made
    made.state.close()


def test_a_card_has_headline_ten_rows_count_link_and_provenance(bench: Bench) -> None:
    ticket = bench.submit("activity_statistics", days=30)
    bench.runner().run_next()
    card = bench.ended(ticket).card
    assert card is not None
    assert len(card["rows"]) == 10 == card["rows_shown"]
    assert card["row_count"] == 21
    assert "cdesk.user_asked" in card["headline"]
    assert Path(card["link"].removeprefix("file://")).parent == bench.artifacts
    assert card["provenance"] | {"duration_ms": 0, "bytes_scanned": 0} == {
        "template": "activity_statistics",
        "template_version": bench.catalog.get("activity_statistics").version,
        "params": ticket.params,
        "query_hash": ticket.query_hash,
        "query_tag": ticket.query_tag,
        "bytes_scanned": 0,
        "rows": 21,
        "duration_ms": 0,
        "sampled": False,
        "ran_at": "2026-01-01T01:00:00+00:00",
    }


def test_another_customers_rows_are_never_seen(bench: Bench) -> None:
    ticket = bench.submit("activity_statistics", days=30)
    bench.runner().run_next()
    card = bench.ended(ticket).card
    assert card is not None
    assert "secret" not in str(card)
    (sample,) = rows(bench.warehouse, "SELECT sample FROM {s}.artifacts")
    assert "secret" not in str(sample)


def test_the_same_question_has_the_same_hash_and_the_same_answer(bench: Bench) -> None:
    first = bench.submit("activity_statistics", days=30)
    second = bench.submit("activity_statistics", days=30)
    runner = bench.runner()
    while runner.run_next() is not None:
        pass
    one, two = bench.ended(first), bench.ended(second)
    assert one.query_hash == two.query_hash
    assert one.query_tag != two.query_tag
    assert one.card is not None and two.card is not None
    assert (one.card["rows"], one.card["headline"]) == (two.card["rows"], two.card["headline"])
    assert rows(bench.warehouse, "SELECT count(*) FROM {s}.query_audit") == [(2,)]
    assert rows(bench.warehouse, "SELECT count(*) FROM {s}.provenance") == [(1,)]


def test_what_a_card_says_of_bytes_does_not_tell_how_much_others_have(bench: Bench) -> None:
    told = []
    for begin in (1_000, 1_500):
        ticket = bench.submit("activity_statistics", days=30)
        bench.runner().run_next()
        card = bench.ended(ticket).card
        assert card is not None
        told.append(card["provenance"]["bytes_scanned"])
        others = (event(n, n, "secret", customer="globex") for n in range(begin, begin + 500))
        store(bench.warehouse, batch(*others))
    assert told[0] == told[1] > 0


def test_a_card_made_behind_a_long_upload_says_what_it_lacks(bench: Bench) -> None:
    ticket = bench.submit("activity_statistics", days=30)
    bench.runner().run_next(is_behind=lambda: True)
    card = bench.ended(ticket).card
    assert card is not None
    assert card["is_behind"] is True
    assert "(without what is still being uploaded)" in card["headline"]


TEMPLATE = """/*
name = "mine"
version = 1
purpose = "Shows a number"
row_cap = 10
headline = "{{n}} it is"
empty = "Nothing"
*/
SELECT COUNT(*) * {factor} AS n FROM events ORDER BY n
"""


def write_template(bench: Bench, folder: Path, factor: int) -> None:
    folder.mkdir(exist_ok=True)
    (folder / "mine.sql").write_text(TEMPLATE.format(factor=factor))
    bench.catalog = Catalog.load(folder)


def test_what_runs_under_a_hash_is_what_the_hash_was_taken_over(
    bench: Bench, tmp_path: Path
) -> None:
    """A worker that lives through a change of a template reads it again before it runs it."""
    write_template(bench, tmp_path / "mine", 0)
    runner = bench.runner()
    old = bench.submit("mine")
    runner.run_next()
    write_template(bench, tmp_path / "mine", 1000)
    new = bench.submit("mine")
    runner.run_next()
    assert [bench.ended(one).error for one in (old, new)] == [None, None]
    said = [one.card["rows"] for one in map(bench.ended, (old, new)) if one.card is not None]
    assert said == [[[0]], [[60_000]]]
    kept = dict(rows(bench.warehouse, "SELECT query_hash, sql FROM {s}.provenance"))
    assert kept.keys() == {old.query_hash, new.query_hash}
    for query_hash, sql in kept.items():
        assert cdesk_core.query_hash(sql, {}) == query_hash


def test_a_question_of_a_template_that_changed_or_went_since_fails_and_leaves_no_provenance(
    bench: Bench, tmp_path: Path
) -> None:
    write_template(bench, tmp_path / "mine", 1)
    changed = bench.submit("mine")
    write_template(bench, tmp_path / "mine", 1000)
    bench.runner().run_next()
    gone = bench.submit("mine")
    bench.catalog = Catalog.load(sql_path("templates"))
    bench.runner().run_next()
    for ticket in (changed, gone):
        ended = bench.ended(ticket)
        assert (ended.state, ended.card) == (TicketState.FAILED, None)
        assert ended.error is not None and "restart the server" in ended.error
    assert rows(bench.warehouse, "SELECT count(*) FROM {s}.provenance") == [(0,)]


def test_the_ledger_never_keeps_two_texts_for_one_hash(bench: Bench) -> None:
    said = {
        "customer": "acme", "query_tag": "cdesk_0", "query_uuid": "u", "template": "mine",
        "template_version": 1, "params": {}, "outcome": "done", "started_at": BEGIN,
        "duration_ms": 1.0, "bytes_estimated": 0, "bytes_scanned": 0, "row_count": 0,
        "is_sampled": False,
    }  # fmt: skip
    query_hash = cdesk_core.query_hash("SELECT 1", {})
    for ticket_id, source in (("a", "SELECT 1"), ("b", "SELECT  1\n")):
        bench.warehouse.audit(
            Execution(ticket_id=ticket_id, query_hash=query_hash, source=source, **said)
        )
    with pytest.raises(ValueError, match="the hash of mine is of another text"):
        Execution(ticket_id="c", query_hash=query_hash, source="SELECT 2", **said)
    assert rows(bench.warehouse, "SELECT sql FROM {s}.provenance") == [("SELECT 1",)]


def test_every_execution_is_audited_and_recorded_for_the_tickets_customer(bench: Bench) -> None:
    ticket = bench.submit("health")
    bench.runner().run_next()
    audited = rows(
        bench.warehouse, "SELECT ticket_id, query_tag, customer, outcome FROM {s}.query_audit"
    )
    assert audited == [(ticket.ticket_id, ticket.query_tag, "acme", "done")]
    assert [one.activity for one in bench.recording.events] == [
        "cdesk.sql_executed",
        "cdesk.sql_completed",
        "cdesk.artifact_created",
        "cdesk.card_rendered",
    ]
    assert {one.customer for one in bench.recording.events} == {"acme"}
    assert {one.query_tag for one in bench.recording.events} == {ticket.query_tag}


def test_a_ticket_run_again_after_a_crash_leaves_one_audit_one_artifact_one_event_each(
    bench: Bench,
) -> None:
    ticket = bench.submit("health")
    bench.runner().run_next()
    with bench.state.transaction() as connection:  # as if the worker had died before finishing
        connection.execute("UPDATE tickets SET state = 'running', card = NULL")
    assert bench.tickets.recover(NOW) == 1
    bench.runner().run_next()
    assert bench.ended(ticket).state is TicketState.DONE
    assert rows(bench.warehouse, "SELECT count(*) FROM {s}.query_audit") == [(1,)]
    assert rows(bench.warehouse, "SELECT count(*) FROM {s}.artifacts") == [(1,)]
    assert len(list(bench.artifacts.iterdir())) == 1
    assert len({(one.activity_id, one.ts) for one in bench.recording.events}) == 4


class Troubled:
    """A warehouse whose queries fail; everything else is the real one's."""

    def __init__(self, warehouse: Warehouse, error: Exception) -> None:
        self._warehouse = warehouse
        self._error = error

    def __getattr__(self, name: str) -> Any:
        return getattr(self._warehouse, name)

    def run(self, query: Query, **options: Any) -> QueryResult:
        raise self._error


def test_a_busy_warehouse_puts_the_ticket_back_without_counting_the_attempt(bench: Bench) -> None:
    ticket = bench.submit("health")
    troubled: Any = Troubled(bench.warehouse, WarehouseBusy("held"))
    with pytest.raises(WarehouseBusy):
        bench.runner(troubled).run_next()
    assert bench.ended(ticket).state is TicketState.QUEUED
    assert bench.ended(ticket).attempts == 0
    bench.runner().run_next()
    assert bench.ended(ticket).state is TicketState.DONE


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (OSError(28, "No space left on device"), "No space left on device; free disk space"),
        (RuntimeError("SELECT secret"), "RuntimeError; the worker's log has the place"),
    ],
)
def test_an_error_that_nobody_foresaw_fails_the_ticket_at_the_third_attempt_and_says_why(
    bench: Bench, error: Exception, told: str
) -> None:
    ticket = bench.submit("health")
    troubled: Any = Troubled(bench.warehouse, error)
    for attempt in (1, 2, 3):
        assert bench.ended(ticket).state is TicketState.QUEUED
        with pytest.raises(type(error)):
            bench.runner(troubled).run_next()
        assert bench.ended(ticket).attempts == attempt
    ended = bench.ended(ticket)
    assert ended.state is TicketState.FAILED
    assert ended.error is not None
    assert told in ended.error
    assert "secret" not in ended.error
    assert bench.runner().run_next() is None
    assert bench.tickets.open_count() == 0, "the worker may leave"


def test_a_ticket_ends_though_its_end_cannot_be_recorded(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    ticket = bench.submit("health")
    troubled: Any = Troubled(bench.warehouse, QueryFailed("it broke"))
    recorded = bench.recording.record_events

    def refuse_the_end(events: Sequence[Event]) -> None:
        if events[0].activity == "cdesk.sql_failed":
            raise OSError(28, "No space left on device")
        recorded(events)

    monkeypatch.setattr(bench.recording, "record_events", refuse_the_end)
    bench.runner(troubled).run_next()
    assert (bench.ended(ticket).state, bench.ended(ticket).error) == (
        TicketState.FAILED,
        "it broke",
    )


def test_a_failed_query_fails_its_ticket_and_is_audited(bench: Bench) -> None:
    ticket = bench.submit("health")
    troubled: Any = Troubled(bench.warehouse, QueryFailed("it broke"))
    bench.runner(troubled).run_next()
    ended = bench.ended(ticket)
    assert (ended.state, ended.error) == (TicketState.FAILED, "it broke")
    assert rows(bench.warehouse, "SELECT outcome FROM {s}.query_audit") == [("failed",)]
    assert bench.recording.events[-1].activity == "cdesk.sql_failed"


SLOW = (
    "SELECT count(*) AS n FROM range(10000000) AS a, range(10000000) AS b "
    "WHERE a.range % 7 = b.range % 5"
)


class Slow:
    """A warehouse that is asked a question that takes minutes instead of the rendered one."""

    def __init__(self, warehouse: Warehouse) -> None:
        self._warehouse = warehouse

    def __getattr__(self, name: str) -> Any:
        return getattr(self._warehouse, name)

    def run(self, query: Query, **options: Any) -> QueryResult:
        slow = Query(
            sql=SLOW,
            values={},
            tables=("events",),
            customer="acme",
            row_cap=1,
        )
        return self._warehouse.run(slow, **options)


def test_a_statement_over_its_time_is_interrupted_and_says_how_long_it_had(bench: Bench) -> None:
    ticket = bench.submit("health")
    slow: Any = Slow(bench.warehouse)
    bench.runner(slow, timeout_s=0.2).run_next()
    ended = bench.ended(ticket)
    assert ended.state is TicketState.FAILED
    assert ended.error is not None and "longer than 0.2 s" in ended.error
    assert not list(bench.artifacts.iterdir())


def test_a_running_query_stops_when_its_ticket_is_cancelled(bench: Bench) -> None:
    ticket = bench.submit("health")

    class CancelledMeanwhile(Slow):
        def run(self, query: Query, **options: Any) -> QueryResult:
            bench.tickets.cancel(ticket.ticket_id, NOW, customer="acme")
            return super().run(query, **options)

    slow: Any = CancelledMeanwhile(bench.warehouse)
    bench.runner(slow).run_next()
    ended = bench.ended(ticket)
    assert (ended.state, ended.error) == (TicketState.CANCELLED, None)
    assert rows(bench.warehouse, "SELECT outcome FROM {s}.query_audit") == [("cancelled",)]
    assert bench.recording.events[-1].activity == "cdesk.sql_cancelled"


def test_every_shipped_template_gives_a_card_with_its_defaults(bench: Bench) -> None:
    required = {
        "insights_by_subject": {"subject": "orders"},
        "insights_by_metric": {"subject": "orders", "metric": "revenue"},
        "query_provenance": {"query_hash": "0123456789abcdef"},
    }
    for template in bench.catalog:
        ticket = bench.submit(template.name, **required.get(template.name, {}))
        bench.runner().run_next()
        ended = bench.ended(ticket)
        assert ended.state is TicketState.DONE, (template.name, ended.error)
        assert ended.card is not None and ended.card["headline"]
