"""What a warehouse was told, in plain Python, and the arithmetic that answers are made of."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final

import orjson

from cdesk.activity import Event
from cdesk.warehouse.base import Execution

Row = dict[str, Any]
Params = Mapping[str, Any]
DAY: Final = timedelta(days=1)
_EPOCH: Final = datetime(1970, 1, 1)


@dataclass(frozen=True, slots=True)
class Happened:
    """An event that the warehouse took at a moment."""

    event: Event
    ingested: datetime
    """UTC, without a zone."""

    @property
    def ts(self) -> datetime:
        return self.event.ts.replace(tzinfo=None)

    @property
    def order(self) -> tuple[datetime, str]:
        return self.ts, self.event.activity_id

    @property
    def activity(self) -> str:
        return self.event.activity

    @property
    def conversation(self) -> str | None:
        return self.get("conversation_id") or self.event.session_id

    @property
    def delay_s(self) -> float | None:
        """From the log to the warehouse, where it is known."""
        if self.event.accepted_at is None:
            return None
        accepted = self.event.accepted_at.replace(tzinfo=None)
        return max(0, ticks(accepted, self.ingested, timedelta(milliseconds=1)) / 1000)

    def get(self, key: str) -> Any:
        return (self.event.feature_json or {}).get(key)


@dataclass(frozen=True, slots=True)
class Known:
    """All there is, and when the question is asked: UTC, without a zone."""

    events: Sequence[Happened]
    runs: Sequence[Execution]
    as_of: datetime

    def within(self, span: timedelta) -> list[Happened]:
        """What happened in the span up to now, its beginning left out, in order."""
        begin = self.as_of - span
        found = [one for one in self.events if begin < one.ts <= self.as_of]
        return sorted(found, key=lambda one: one.order)

    def atoms(self) -> list[Row]:
        """Every remembered value, newest first."""
        issued = {run.query_hash for run in self.runs if run.outcome == "done"}
        atoms = []
        for one in self.events:
            if one.activity != "cdesk.insight_recorded" or one.ts > self.as_of:
                continue
            if None in (one.get("subject"), one.get("metric"), one.get("value")):
                continue
            filters, since, until = (
                one.get(key) for key in ("filter", "valid_from", "valid_until")
            )
            atoms.append(
                {
                    "subject": one.get("subject"),
                    "metric": one.get("metric"),
                    "value_text": text(one.get("value")),
                    "grain": one.get("grain"),
                    "filter_text": None if filters is None else orjson.dumps(filters).decode(),
                    "confidence": one.get("confidence"),
                    "recorded_ts_utc": one.ts,
                    "valid_from_utc": one.ts if since is None else utc(since),
                    "valid_until_utc": None if until is None else utc(until),
                    "provenance_query_hash": one.get("provenance_query_hash"),
                    "is_verified": one.get("provenance_query_hash") in issued,
                    "artifact_id": one.get("artifact_id"),
                    "atom_id": one.event.activity_id,
                }
            )
        return newest(atoms, "recorded_ts_utc", "atom_id")

    def is_valid(self, atom: Row) -> bool:
        return atom["valid_until_utc"] is None or bool(atom["valid_until_utc"] >= self.as_of)


def text(value: Any) -> str:
    """A JSON value as a text without quotes around it."""
    return value if isinstance(value, str) else orjson.dumps(value).decode()


def utc(stamp: str) -> datetime:
    return datetime.fromisoformat(stamp).astimezone(UTC).replace(tzinfo=None)


def newest(rows: Iterable[Row], ts: str, identity: str) -> list[Row]:
    return sorted(rows, key=lambda row: (row[ts], row[identity]), reverse=True)


def half_up(number: float | None, digits: int) -> float | None:
    if number is None:
        return None
    scaled = math.floor(abs(number) * 10**digits + 0.5) / 10**digits
    return math.copysign(scaled, number)


def percent(part: float, whole: float | None) -> float | None:
    return half_up(100 * part / whole, 1) if whole else None


def p95(numbers: Sequence[float]) -> float | None:
    """The number that 95 % are below, between two of them where it has to be."""
    if not numbers:
        return None
    ordered = sorted(numbers)
    place = 0.95 * (len(ordered) - 1)
    low = math.floor(place)
    high = min(low + 1, len(ordered) - 1)
    return half_up(ordered[low] + (ordered[high] - ordered[low]) * (place - low), 1)


def total(numbers: Iterable[Any]) -> Any:
    """The sum of what is known; nothing when nothing is."""
    known = [number for number in numbers if number is not None]
    return sum(known[1:], known[0]) if known else None


def ticks(begin: datetime, end: datetime, unit: timedelta) -> int:
    """How often a clock of this unit ticks between two moments."""
    return (end - _EPOCH) // unit - (begin - _EPOCH) // unit


def monday(moment: datetime) -> date:
    return moment.date() - timedelta(days=moment.weekday())


def conversations(events: Iterable[Happened]) -> int:
    return len({one.conversation for one in events} - {None})


def grouped(
    events: Iterable[Happened], key: Callable[[Happened], Any]
) -> dict[Any, list[Happened]]:
    groups: dict[Any, list[Happened]] = defaultdict(list)
    for one in events:
        groups[key(one)].append(one)
    return groups
