"""Storing batches the slow way: what the contract says, and nothing to be quick."""

from __future__ import annotations

from collections import defaultdict
from datetime import datetime
from itertools import pairwise
from typing import Any

import duckdb
import orjson

from cdesk.activity import Event
from cdesk.errors import PositionMoved
from cdesk.insight import RECORDED
from cdesk.warehouse.base import BatchResult, EventBatch, Standing, Step

_FIELDS = (
    "link", "source_system", "source_version", "session_id", "query_tag", "revenue_impact",
)  # fmt: skip


def position(cursor: duckdb.DuckDBPyConnection, consumer: str) -> str | None:
    found = cursor.execute(
        "SELECT position FROM _ingest_progress WHERE consumer = ?", [consumer]
    ).fetchall()
    return found[0][0] if found else None


def standing(cursor: duckdb.DuckDBPyConnection) -> Standing:
    ((lineage, events),) = cursor.execute(
        "SELECT (SELECT max(lineage) FROM _ingest_lineage), (SELECT count(*) FROM events)"
    ).fetchall()
    return Standing(lineage, events)


def store(
    cursor: duckdb.DuckDBPyConnection, batch: EventBatch, now: datetime, step: Step
) -> BatchResult:
    if position(cursor, batch.consumer) != batch.after:
        raise PositionMoved("elsewhere")
    new = [one for line in batch.events.lines() if _is_new(cursor, one := Event.from_line(line))]
    for one in new:
        _insert(cursor, one, now)
    _derive(cursor)
    for line in batch.quarantined:
        told = line.line.decode("utf-8", "backslashreplace")
        cursor.execute(
            "INSERT OR IGNORE INTO _quarantine VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            [
                line.id, line.customer, line.segment, line.line_number, line.reason, told,
                batch.batch_id, now,
            ],
        )  # fmt: skip
    cursor.execute(
        "INSERT OR REPLACE INTO _ingest_progress VALUES (?, ?, ?, ?)",
        [batch.consumer, batch.position, batch.batch_id, now],
    )
    step("progress stored")
    known = len(batch.events) - len(new) + batch.events.duplicates
    return BatchResult(len(new), known, len(batch.quarantined))


def _is_new(cursor: duckdb.DuckDBPyConnection, event: Event) -> bool:
    found = cursor.execute(
        "SELECT 1 FROM events WHERE _activity_id = ? AND ts = ?",
        [event.activity_id, event.ts.replace(tzinfo=None)],
    )
    return not found.fetchall()


def _insert(cursor: duckdb.DuckDBPyConnection, event: Event, now: datetime) -> None:
    payload = None if event.feature_json is None else orjson.dumps(event.feature_json).decode()
    accepted_at = event.accepted_at and event.accepted_at.replace(tzinfo=None)
    ts = event.ts.replace(tzinfo=None)
    link, system, version, session, tag, revenue = (getattr(event, name) for name in _FIELDS)
    cursor.execute(
        "INSERT INTO events VALUES (?, ?, ?, NULL, 0, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [
            event.activity, event.customer, ts, link, revenue, payload, system, version, session,
            tag, event.activity_id, accepted_at, now,
        ],
    )  # fmt: skip
    told = dict(event.feature_json or {})
    if event.activity == RECORDED and all(key in told for key in ("subject", "metric", "value")):
        _insert_atom(cursor, event, told)


def _insert_atom(cursor: duckdb.DuckDBPyConnection, event: Event, told: dict[str, Any]) -> None:
    begin, end = (
        datetime.fromisoformat(told[key]).replace(tzinfo=None) if told.get(key) else None
        for key in ("valid_from", "valid_until")
    )
    cursor.execute(
        "INSERT OR IGNORE INTO insight_atoms "
        "(id, ts, customer, subject, metric, value, filter_json, confidence, is_verified, "
        "valid_from, valid_until) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [
            event.activity_id, event.ts.replace(tzinfo=None), event.customer, told["subject"],
            told["metric"], orjson.dumps(told["value"]).decode(),
            orjson.dumps(told.get("filter")).decode(), told.get("confidence"), False, begin, end,
        ],
    )  # fmt: skip


def _derive(cursor: duckdb.DuckDBPyConnection) -> None:
    """Numbers the whole stream again."""
    groups: defaultdict[tuple[str, str], list[tuple[datetime, str]]] = defaultdict(list)
    for customer, activity, ts, activity_id in cursor.execute(
        "SELECT customer, activity, ts, _activity_id FROM events"
    ).fetchall():
        groups[customer, activity].append((ts, activity_id))
    cursor.execute("DELETE FROM _ingest_groups")
    for group, members in groups.items():
        members.sort()
        for number, ((ts, activity_id), after) in enumerate(pairwise([*members, None]), start=1):
            cursor.execute(
                "UPDATE events SET activity_occurrence = ?, activity_repeated_at = ? "
                "WHERE _activity_id = ? AND ts = ?",
                [number, after and after[0], activity_id, ts],
            )
        cursor.execute(
            "INSERT INTO _ingest_groups VALUES (?, ?, ?, ?, ?, ?)",
            [*group, len(members), 0, *members[-1]],
        )
