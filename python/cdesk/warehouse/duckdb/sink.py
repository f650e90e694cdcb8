"""Storing batches of events: identity, derived columns, atoms, quarantine and progress, at once.

How this stays as quick and as small whatever the history: an event is known by its id and its time,
so what is stored of a batch is looked for in the batch's own stretches of time, where the table's
own bounds find it; there is no index over all ids. `_ingest_groups` holds the tail of every group
(customer, activity). Rows after the tail get its count plus their rank. Only in a group with a late
row is something renumbered: the rows from its first new one on.

Invariant: everything here runs inside one transaction that the caller commits.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

import duckdb
import orjson

from cdesk.errors import PositionMoved
from cdesk.insight import RECORDED
from cdesk.warehouse.base import BatchResult, EventBatch, Quarantined, Standing, Step

_ROW_BYTES: Final = 300
"""What a row takes beside its feature_json, about."""

_MOST_STRETCHES: Final = 16
# the stream's times are UTC without a zone
_EPOCH: Final = datetime(1970, 1, 1)  # noqa: DTZ001
_OLDEST: Final = datetime(1, 1, 1)  # noqa: DTZ001

_LOAD: Final = """
CREATE OR REPLACE TEMP TABLE incoming AS
SELECT line.* FROM arrived AS line
WHERE NOT EXISTS (
    SELECT 1 FROM {schema}.events AS known
    WHERE known.ts = line.ts AND known._activity_id = line.activity_id AND ({stretches})
)
"""

_TOUCHED: Final = """
CREATE OR REPLACE TEMP TABLE touched AS
SELECT
    fresh.*, tail.last_ts AS tail_ts, tail.last_activity_id AS tail_id,
    coalesce(tail.events, 0) AS events_before, coalesce(tail.bytes, 0) AS bytes_before,
    tail.last_ts IS NOT NULL
        AND (fresh.first_ts, fresh.first_id) < (tail.last_ts, tail.last_activity_id) AS is_late
FROM (
    SELECT
        customer, activity, count(*) AS new_events,
        sum($row_bytes + coalesce(strlen(feature_json::VARCHAR), 0)) AS new_bytes,
        first(ts ORDER BY ts, activity_id) AS first_ts,
        first(activity_id ORDER BY ts, activity_id) AS first_id,
        last(ts ORDER BY ts, activity_id) AS last_ts,
        last(activity_id ORDER BY ts, activity_id) AS last_id
    FROM incoming GROUP BY customer, activity
) AS fresh
LEFT JOIN {schema}._ingest_groups AS tail USING (customer, activity)
"""

_COUNT_TOUCHED: Final = """
SELECT
    coalesce(sum(new_events), 0)::BIGINT, min(first_ts) FILTER (is_late), count(*) FILTER (is_late)
FROM touched
"""

# the row before a group's first new one: the tail, or what a late row comes after
_PREDECESSORS: Final = """
CREATE OR REPLACE TEMP TABLE predecessors AS
SELECT customer, activity, tail_ts AS ts, tail_id AS activity_id, first_ts AS next_ts FROM touched
WHERE tail_ts IS NOT NULL AND NOT is_late
"""

_REACHES: Final = (timedelta(hours=1), timedelta(days=1), timedelta(days=30), timedelta.max)
"""How far back the row before a late one is looked for, one after the other: it is near, mostly."""

_LATE_PREDECESSORS: Final = """
INSERT INTO predecessors
SELECT
    customer, activity, last(earlier.ts ORDER BY earlier.ts, earlier._activity_id),
    last(earlier._activity_id ORDER BY earlier.ts, earlier._activity_id),
    any_value(touched.first_ts)
FROM touched JOIN {schema}.events AS earlier USING (customer, activity)
WHERE touched.is_late AND earlier.ts BETWEEN $since AND $until
    AND (earlier.ts, earlier._activity_id) < (touched.first_ts, touched.first_id)
    AND NOT EXISTS (
        SELECT 1 FROM predecessors AS found
        WHERE found.customer = touched.customer AND found.activity = touched.activity
    )
GROUP BY customer, activity
"""

_STORE_ROWS: Final = """
INSERT INTO {schema}.events (
    activity, customer, ts, activity_repeated_at, activity_occurrence, link, revenue_impact,
    _feature_json, _source_system, _source_version, _session_id, _query_tag, _activity_id,
    _accepted_at, _ingested_at
)
SELECT
    activity, customer, ts, lead(ts) OVER in_group,
    events_before + row_number() OVER in_group, link, revenue_impact, feature_json,
    source_system, source_version, session_id, query_tag, activity_id, accepted_at, $now
FROM incoming JOIN touched USING (customer, activity)
WINDOW in_group AS (PARTITION BY customer, activity ORDER BY ts, activity_id)
ORDER BY ts, activity_id
"""

_LINK_PREDECESSORS: Final = """
UPDATE {schema}.events SET activity_repeated_at = predecessors.next_ts
FROM predecessors
WHERE events.ts = predecessors.ts AND events._activity_id = predecessors.activity_id
"""

_RENUMBER_LATE: Final = """
UPDATE {schema}.events
SET activity_occurrence = renumbered.occurrence, activity_repeated_at = renumbered.next_ts
FROM (
    SELECT
        later._activity_id, later.ts, lead(later.ts) OVER in_group AS next_ts,
        events_before + new_events - count(*) OVER (PARTITION BY customer, activity)
            + row_number() OVER in_group AS occurrence
    FROM touched JOIN {schema}.events AS later USING (customer, activity)
    WHERE touched.is_late AND later.ts >= $since
        AND (later.ts, later._activity_id) >= (touched.first_ts, touched.first_id)
    WINDOW in_group AS (PARTITION BY customer, activity ORDER BY later.ts, later._activity_id)
) AS renumbered
WHERE events.ts >= $since
    AND events.ts = renumbered.ts AND events._activity_id = renumbered._activity_id
"""

_MOVE_TAILS: Final = """
INSERT OR REPLACE INTO {schema}._ingest_groups
    (customer, activity, events, bytes, last_ts, last_activity_id)
SELECT
    customer, activity, events_before + new_events, bytes_before + new_bytes,
    CASE WHEN is_behind THEN tail_ts ELSE last_ts END,
    CASE WHEN is_behind THEN tail_id ELSE last_id END
FROM (
    SELECT *, is_late AND (last_ts, last_id) < (tail_ts, tail_id) AS is_behind FROM touched
)
"""

# an event of this name that no recorder made may lack what an atom needs, or have the id of another
# moment's atom: it stays an event only
_PROJECT_ATOMS: Final = """
INSERT OR IGNORE INTO {schema}.insight_atoms (
    id, ts, customer, subject, metric, value, grain, filter_json, confidence, artifact_id,
    provenance_query_hash, is_verified, valid_from, valid_until
)
SELECT
    activity_id, ts, customer, feature_json ->> '$.subject', feature_json ->> '$.metric',
    feature_json -> '$.value', feature_json ->> '$.grain', feature_json -> '$.filter',
    TRY_CAST(feature_json ->> '$.confidence' AS DOUBLE), feature_json ->> '$.artifact_id',
    feature_json ->> '$.provenance_query_hash',
    EXISTS (
        SELECT 1 FROM {schema}.query_audit AS answered
        WHERE answered.customer = incoming.customer AND answered.outcome = 'done'
            AND answered.query_hash = incoming.feature_json ->> '$.provenance_query_hash'
    ),
    coalesce(
        make_timestamp(epoch_us(TRY_CAST(feature_json ->> '$.valid_from' AS TIMESTAMPTZ))), ts
    ),
    make_timestamp(epoch_us(TRY_CAST(feature_json ->> '$.valid_until' AS TIMESTAMPTZ)))
FROM incoming
WHERE activity = $recorded AND feature_json ->> '$.subject' IS NOT NULL
    AND feature_json ->> '$.metric' IS NOT NULL AND feature_json ->> '$.value' IS NOT NULL
"""

_STORE_QUARANTINE: Final = """
INSERT OR IGNORE INTO {schema}._quarantine (
    id, customer, segment, line_number, reason, line, batch_id, quarantined_at
)
SELECT
    line.id, line.customer, line.segment, line.line_number, line.reason, line.line, $batch_id, $now
FROM (
    SELECT unnest(from_json($lines::JSON, $shape)) AS line
)
"""
_QUARANTINED: Final = (
    '[{"id":"VARCHAR","customer":"VARCHAR","segment":"VARCHAR","line_number":"BIGINT",'
    '"reason":"VARCHAR","line":"VARCHAR"}]'
)

_STORE_PROGRESS: Final = """
INSERT OR REPLACE INTO {schema}._ingest_progress (consumer, position, batch_id, updated_at)
VALUES ($consumer, $position, $batch_id, $now)
"""


def position(cursor: duckdb.DuckDBPyConnection, schema: str, consumer: str) -> str | None:
    """See `cdesk.warehouse.base.Sink.position`."""
    rows = cursor.execute(
        f"SELECT position FROM {schema}._ingest_progress WHERE consumer = $consumer",
        {"consumer": consumer},
    ).fetchall()  # one that is not read to its end keeps the cursor from taking a batch
    return str(rows[0][0]) if rows else None


def standing(cursor: duckdb.DuckDBPyConnection, schema: str) -> Standing:
    """See `cdesk.warehouse.base.Sink.standing`."""
    lineage, events = cursor.execute(
        f"SELECT (SELECT max(lineage) FROM {schema}._ingest_lineage), "
        f"(SELECT count(*) FROM {schema}.events)"
    ).fetchone() or (None, 0)
    return Standing(lineage, events)


def begin_lineage(
    cursor: duckdb.DuckDBPyConnection, schema: str, lineage: str, now: datetime
) -> None:
    """See `cdesk.warehouse.base.Sink.begin_lineage`."""
    cursor.execute(f"DELETE FROM {schema}._ingest_lineage")
    cursor.execute(
        f"INSERT INTO {schema}._ingest_lineage (lineage, begun_at) VALUES ($lineage, $now)",
        {"lineage": lineage, "now": now},
    )


def store(
    cursor: duckdb.DuckDBPyConnection, schema: str, batch: EventBatch, now: datetime, step: Step
) -> BatchResult:
    """Stores a batch inside the cursor's transaction.

    Raises:
        PositionMoved: the sink is not where the batch begins.
    """

    def run(statement: str, **values: object) -> None:
        cursor.execute(statement.format(schema=schema), values)

    if position(cursor, schema, batch.consumer) != batch.after:
        raise PositionMoved(
            "the warehouse is not where the last batch left it; uploading goes on from where it is"
        )
    new = _store_events(cursor, schema, batch, now, step) if len(batch.events) else 0
    if batch.quarantined:
        lines = orjson.dumps([_as_json(line) for line in batch.quarantined]).decode()
        told = {"lines": lines, "shape": _QUARANTINED, "batch_id": batch.batch_id, "now": now}
        run(_STORE_QUARANTINE, **told)
    run(
        _STORE_PROGRESS,
        consumer=batch.consumer,
        position=batch.position,
        batch_id=batch.batch_id,
        now=now,
    )
    step("progress stored")
    duplicates = batch.events.duplicates + len(batch.events) - new
    return BatchResult(new, duplicates, len(batch.quarantined))


def _as_json(line: Quarantined) -> dict[str, object]:
    return {
        "id": line.id,
        "customer": line.customer,
        "segment": line.segment,
        "line_number": line.line_number,
        "reason": line.reason,
        "line": line.line.decode("utf-8", "backslashreplace"),
    }


def _store_events(
    cursor: duckdb.DuckDBPyConnection, schema: str, batch: EventBatch, now: datetime, step: Step
) -> int:
    """Stores what is new of a batch's events, and what follows from it; how many are new."""

    def run(statement: str, **values: object) -> None:
        cursor.execute(statement.format(schema=schema), values)

    _load(cursor, schema, batch)
    run(_TOUCHED, row_bytes=_ROW_BYTES)
    ((new, since, late),) = cursor.execute(_COUNT_TOUCHED).fetchall()
    if new == 0:
        return 0
    step("events loaded")
    run(_PREDECESSORS)
    if late:
        _find_late_predecessors(cursor, schema)
    run(_STORE_ROWS, now=now)
    step("rows stored")
    run(_LINK_PREDECESSORS)
    if late:
        run(_RENUMBER_LATE, since=since)
    step("groups renumbered")
    run(_MOVE_TAILS)
    if RECORDED in batch.events.activities:
        run(_PROJECT_ATOMS, recorded=RECORDED)
    step("atoms stored")
    return int(new)


def _load(cursor: duckdb.DuckDBPyConnection, schema: str, batch: EventBatch) -> None:
    """Makes `incoming`: the events of the batch that are not stored yet."""
    within, values = [], {}
    for number, (first, last) in enumerate(batch.events.stretches(_MOST_STRETCHES)):
        within.append(f"known.ts BETWEEN $first{number} AND $last{number}")
        values[f"first{number}"] = _EPOCH + timedelta(microseconds=first)
        values[f"last{number}"] = _EPOCH + timedelta(microseconds=last)
    cursor.register("arrived", batch.events)  # for as long as the cursor is open
    cursor.execute(_LOAD.format(schema=schema, stretches=" OR ".join(within)), values)


def _find_late_predecessors(cursor: duckdb.DuckDBPyConnection, schema: str) -> None:
    """Adds the row before each late group's first new one, if there is one, to `predecessors`."""
    ((first, last, groups),) = cursor.execute(
        "SELECT min(first_ts), max(first_ts), count(*) FROM touched WHERE is_late"
    ).fetchall()
    statement = _LATE_PREDECESSORS.format(schema=schema)
    for reach in _REACHES:
        since = first - reach if first - _OLDEST > reach else _OLDEST
        ((found,),) = cursor.execute(statement, {"since": since, "until": last}).fetchall()
        groups -= found
        if groups == 0:
            return
