"""What may happen to a customer, told to a warehouse the way it is told in life.

Each tale is of one customer; all of them are told to one warehouse, so each is beside the others.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any, Final

import cdesk_core
import duckdb

from cdesk.activity import RULES, Event
from cdesk.catalogue import FAMILIES, family
from cdesk.warehouse.base import EventBatch, Execution, no_step
from cdesk.warehouse.duckdb import ledger, sink

from .known import DAY, Happened, Known
from .questions import NOW, SCHEMA

AS_OF: Final = NOW.replace(tzinfo=None)
MICRO: Final = timedelta(microseconds=1)
SOURCE: Final = "SELECT 1"
FAILED: Final = {"days": 7}
"""The parameters of a question that was never answered."""


def hash_of(params: Mapping[str, Any]) -> str:
    return cdesk_core.query_hash(SOURCE, dict(params))


ISSUED: Final = hash_of({})
"""The hash of a question that was answered."""


@dataclass
class Tale:
    """What happened to one customer, in the order it arrived."""

    customer: str
    number: int
    arrived: list[tuple[int, Event, bytes | None]] = field(default_factory=list)
    """Which batch brought it, and the line it came as where that is not its own."""
    runs: list[Execution] = field(default_factory=list)

    def tell(
        self,
        activity: str,
        at: datetime,
        payload: Mapping[str, Any] | None = None,
        *,
        talk: str | None = "talk",
        batch: int = 1,
        session: str | None = "session",
        revenue: str | None = None,
        offset_h: float | None = None,
    ) -> None:
        """An event at a UTC time without a zone, written with an offset where one is given."""
        if payload is not None and talk is not None:
            payload = {"conversation_id": talk, **payload}
        event = Event(
            activity_id=str(uuid.UUID(int=self.number << 64 | len(self.arrived))),
            activity=f"cdesk.{activity}",
            customer=self.customer,
            ts=at.replace(tzinfo=UTC),
            feature_json=payload,
            session_id=session,
            accepted_at=self._accepted_at(batch),
            link=f"https://example.org/{len(self.arrived)}" if revenue else None,
            revenue_impact=None if revenue is None else Decimal(revenue),
        )
        line = None
        if offset_h is not None:
            there = event.ts.astimezone(timezone(timedelta(hours=offset_h)))
            ours = f"{at.isoformat(timespec='microseconds')}Z".encode()
            line = event.to_line().replace(ours, there.isoformat().encode())
            assert line != event.to_line()
        self.arrived.append((batch, event, line))

    def _accepted_at(self, batch: int) -> datetime | None:
        """Some time before the warehouse takes it; never known of every seventh, and after it, by a
        clock that was set back, of another."""
        turn = len(self.arrived) % 7
        if turn == 6:
            return None
        taken = TAKEN + batch * timedelta(seconds=7)
        return taken.replace(tzinfo=UTC) - timedelta(milliseconds=1_275 * (turn - 1))

    def insight(self, at: datetime, value: Any, **fields: Any) -> None:
        """A remembered value; what is not said of it is as in most tales."""
        how = {key: fields.pop(key) for key in ("batch", "offset_h", "session") if key in fields}
        told = {
            "subject": "orders",
            "metric": "revenue_usd",
            "value": value,
            "provenance_query_hash": ISSUED,
            "valid_from": at.replace(tzinfo=UTC).isoformat(),
        } | fields
        self.tell("insight_recorded", at, told, talk=None, **how)

    def run(self, at: datetime, params: Mapping[str, Any] | None = None, **fields: Any) -> None:
        """A question that was asked."""
        ticket = str(uuid.UUID(int=self.number << 64 | len(self.runs)))
        told: dict[str, Any] = {
            "ticket_id": ticket,
            "customer": self.customer,
            "query_tag": f"cdesk_{self.number:04x}{len(self.runs):04x}",
            "query_uuid": ticket,
            "query_hash": hash_of(params or {}),
            "template": "made",
            "template_version": 3,
            "source": SOURCE,
            "params": dict(params or {}),
            "outcome": "done",
            "started_at": at,
            "duration_ms": 10.0 + 20 * len(self.runs),
            "bytes_estimated": 1_000,
            "bytes_scanned": 900 + len(self.runs),
            "row_count": 5,
            "is_sampled": False,
        }
        self.runs.append(Execution(**told | fields))

    def a_day(self, at: datetime, talk: str, *, spread: float = 1.0, **how: Any) -> None:
        """One of everything, some seconds apart."""

        def after(seconds: float) -> datetime:
            return at + timedelta(seconds=seconds * spread)

        words = {"model": f"model of {talk}", "chars": 40}
        answer = words | {"tokens_in": 10, "tokens_out": 3, "cost_usd": 0.25, "latency_ms": 90}
        found = {"subject": "emea", "metric": "margin", "grain": "day", "confidence": 0.7}
        how |= {"talk": talk}
        self.tell("user_asked", after(0), {"chars": 12}, **how)
        self.tell("tool_called", after(1.2), {"tool": f"tool of {talk}"}, **how)
        done = {"tool": f"tool of {talk}", "ok": True, "latency_ms": 700.5}
        self.tell("tool_completed", after(1.9), done, **how)
        self.tell("claude_responded", after(3.0005), answer, **how)
        self.tell("claude_responded", after(3.9), words, **how)
        self.tell("error_encountered", after(4), {"where": talk, "error": "Timeout"}, **how)
        failed = {"tool": f"tool of {talk}", "ok": False, "latency_ms": 400, "error": "no"}
        self.tell("tool_failed", after(5.4), failed, **how)
        self.tell("file_read", after(8), {"name": "a"}, revenue="1.5", **how)
        how.pop("talk")
        self.insight(after(9), len(self.arrived), **how)
        self.insight(after(9), {"of": talk}, filter={"region": talk}, **found, **how)
        self.insight(after(9.5), "2.5", provenance_query_hash=hash_of(FAILED), **how)
        until = (AS_OF - DAY).replace(tzinfo=UTC).isoformat()
        self.insight(after(10), "past", metric="cost", valid_until=until, **how)
        self.run(after(11))
        self.run(after(11), FAILED, outcome="failed", row_count=0, bytes_scanned=0)
        self.run(after(12), is_sampled=True)

    def known(self, *others: Tale, as_of: datetime = AS_OF) -> Known:
        """What the warehouse knows after the tale, and after others told as if they were of it."""
        tales = (self, *others)
        events = [
            Happened(event, TAKEN + batch * timedelta(seconds=7))
            for tale in tales
            for batch, event, _ in tale.arrived
        ]
        return Known(events, [run for tale in tales for run in tale.runs], as_of)

    def moved(self, by: timedelta) -> Tale:
        """The same, with every event and every run at another time."""
        arrived = [(n, replace(one, ts=one.ts + by), line) for n, one, line in self.arrived]
        runs = [replace(run, started_at=run.started_at + by) for run in self.runs]
        return Tale(self.customer, self.number, arrived, runs)


TAKEN: Final = AS_OF - timedelta(hours=1, milliseconds=250)
"""When the warehouse took the first batch, less seven seconds."""


def one_row(tale: Tale, template: str, at: datetime, talk: str = "talk") -> None:
    """As little as makes a row of the template's answer."""
    if template in ("activity_funnel", "customer_journey"):
        tale.tell("user_asked", at, {}, talk=talk)
        tale.tell("claude_responded", at, {}, talk=talk)
    elif template.startswith("insights_"):
        tale.insight(at, 1, filter={"of": talk})
    elif template == "query_provenance":
        tale.run(at)
    else:
        activity = {
            "error_analysis": "error_encountered",
            "llm_cost": "claude_responded",
            "tool_usage": "tool_called",
        }.get(template, "user_asked")
        tale.tell(activity, at, {}, talk=talk)


def _nothing(tale: Tale, template: str) -> None:
    """An installation on its first day."""


def _one_row(tale: Tale, template: str) -> None:
    one_row(tale, template, AS_OF - timedelta(hours=2))


def _ties(tale: Tale, template: str) -> None:
    at = AS_OF - timedelta(hours=3)
    for talk in ("b", "a"):
        tale.a_day(at, talk, spread=0)
    tale.insight(at, "the last of its instant")


def _ties_backwards(tale: Tale, template: str) -> None:
    _ties(tale, template)
    tale.arrived.reverse()


def _nulls(tale: Tale, template: str) -> None:
    at = AS_OF - timedelta(hours=4)
    for activity in (
        "user_asked", "claude_responded", "tool_called", "tool_completed", "tool_failed",
        "error_encountered", "sql_failed", "schema_drifted", "insight_recorded", "never_heard_of",
    ):  # fmt: skip
        keys = FAMILIES.get(family(f"cdesk.{activity}") or "", {"conversation_id": ""})
        empty: list[dict[str, Any] | None] = [None, {}, dict.fromkeys(keys)]
        for payload in empty:
            at += timedelta(seconds=1)
            tale.tell(activity, at, payload, talk=None)
            tale.tell(activity, at, payload, talk=None, session=None)
    tale.tell("user_asked", at, None, revenue="2")
    tale.insight(at, 0, valid_from=None, valid_until=None, grain=None, filter=None, confidence=None)
    tale.insight(at, False, provenance_query_hash="f" * 16, filter={})
    tale.insight(at, "n/a", session=None, confidence=0.0)
    tale.insight(at, [None], provenance_query_hash=None)
    tale.run(at, row_count=0)
    tale.run(at, {"days": 1}, outcome="cancelled", row_count=0)


def _late(tale: Tale, template: str) -> None:
    """The latest day comes first, the others after it and mixed."""
    tale.a_day(AS_OF - timedelta(hours=5), "a")
    for talk, days in (("a", 6), ("b", 20), ("b", 0.1), ("c", 20)):
        tale.a_day(AS_OF - days * DAY, talk, batch=2)


def _beside(tale: Tale, template: str) -> None:
    """What is the same elsewhere: conversations, sessions, tools, subjects, hashes."""
    for talk, hours in (("a", 6), ("a", 3), ("b", 190)):
        tale.a_day(AS_OF - timedelta(hours=hours), talk)


def _elsewhere(tale: Tale, template: str) -> None:
    for talk, hours in (("a", 5), ("c", 4), ("a", 200)):
        tale.a_day(AS_OF - timedelta(hours=hours), talk)


def _edges(tale: Tale, template: str) -> None:
    """Rows at each bound of the time looked back on and a microsecond outside of it: at each twice
    as many as at the one before, so that no two of them make up for each other."""
    if template == "weekly_cohorts":
        begin = datetime(2026, 11, 16) - 25 * 7 * DAY
        bounds = [begin - MICRO, begin, begin + 7 * DAY - MICRO, begin + 7 * DAY]
    else:
        begin = AS_OF - (DAY if template == "health" else 30 * DAY)
        bounds = [begin, begin + MICRO]
    for number, at in enumerate([*bounds, AS_OF, AS_OF + MICRO]):
        for talk in range(2**number):
            one_row(tale, template, at, f"talk {number}.{talk}")
        if template == "health":
            tale.run(at)
    for number, until in enumerate((AS_OF - MICRO, AS_OF, AS_OF + MICRO)):
        stamp = until.replace(tzinfo=UTC).isoformat()
        tale.insight(begin + DAY / 2, number, grain=f"{number}", valid_until=stamp)


def _zones(tale: Tale, template: str) -> None:
    """Another day, week and month there than in UTC, and times out of order as they are written."""
    first, monday = datetime(2026, 11, 1), datetime(2026, 11, 16)
    for talk, at, offset_h in (
        ("a", first, -11.5), ("b", first - MICRO, 14), ("a", first, -2),
        ("a", monday, -8), ("b", monday - MICRO, 5.75), ("c", monday, -3),
        ("a", AS_OF - MICRO, 14), ("b", AS_OF, -12), ("d", AS_OF + MICRO, -12),
    ):  # fmt: skip
        tale.a_day(at, talk, spread=0, offset_h=offset_h)


TALES: Final[Mapping[str, Callable[[Tale, str], None]]] = {
    "nothing": _nothing,
    "one row": _one_row,
    "ties": _ties,
    "ties backwards": _ties_backwards,
    "nulls": _nulls,
    "late rows": _late,
    "beside another customer": _beside,
    "at the edges of time": _edges,
    "in other zones": _zones,
}
"""What every question must answer rightly."""

_OF_A_TEMPLATE: Final = {"one row", "at the edges of time"}


def name_of(tale: str, template: str) -> str:
    """Whose tale it is: most are the same for every template."""
    return f"{tale}: {template}" if tale in _OF_A_TEMPLATE else tale


def tales(templates: Iterable[str]) -> dict[str, Tale]:
    """Every tale for every template by its customer, and one of a customer `elsewhere`."""
    told: dict[str, Tale] = {}
    for name, happens in {**TALES, "elsewhere": _elsewhere}.items():
        for template in templates:
            customer = name_of(name, template)
            if customer not in told:
                told[customer] = Tale(customer, len(told) + 1)
                happens(told[customer], template)
    return told


def tell(connection: duckdb.DuckDBPyConnection, *told: Tale) -> None:
    """Stores tales as the worker does: the batches one after the other, then the runs."""
    schema = f'"{SCHEMA}"'
    batches: dict[int, list[tuple[Event, bytes | None]]] = {}
    for tale in told:
        for batch, event, line in tale.arrived:
            batches.setdefault(batch, []).append((event, line))
    found = connection.execute(f"SELECT position FROM {schema}._ingest_progress").fetchone()
    stands_at = None if found is None else str(found[0])
    for number, arrived in sorted(batches.items()):
        batch_of = EventBatch(
            batch_id=str(number),
            consumer="uploader",
            position=str(number),
            events=RULES.decode(b"\n".join(line or event.to_line() for event, line in arrived)),
            after=stands_at,
        )
        now = TAKEN + number * timedelta(seconds=7)
        sink.store(connection, schema, batch_of, now, no_step)
        stands_at = str(number)
    for tale in told:
        for run in tale.runs:
            ledger.audit(connection, schema, run)
