"""What was asked and answered, and what is remembered of it.

Invariant: everything here runs inside one transaction that the caller commits.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import duckdb
import orjson

from cdesk.insight import MAX_FILTER_BYTES, MAX_VALUE_BYTES
from cdesk.warehouse.base import ContextSource, Execution

_ATOMS: Final = """
WITH latest AS MATERIALIZED (
    SELECT id, ts, size FROM (
        SELECT id, ts, subject, metric, grain, filter_json, strlen(value)
            + coalesce(strlen(filter_json), 0) + strlen(subject) + strlen(metric) AS size
        FROM {schema}.insight_atoms
        WHERE customer = $customer AND (valid_until IS NULL OR valid_until >= $now)
    )
    QUALIFY row_number() OVER (
        PARTITION BY subject, metric, grain, filter_json ORDER BY ts DESC, id DESC
    ) = 1
), kept AS (
    SELECT id FROM latest WHERE size <= $longest
    WINDOW newest AS (ORDER BY ts DESC, id DESC ROWS UNBOUNDED PRECEDING)
    QUALIFY row_number() OVER newest <= $most AND sum(size) OVER newest <= $max_bytes
)
SELECT known, subject, metric, value, grain, filter_json, confidence, provenance_query_hash,
    is_verified, artifact_id, ts, valid_until
FROM (SELECT count(*) AS known FROM latest)
    LEFT JOIN (FROM {schema}.insight_atoms SEMI JOIN kept USING (id)) ON true
ORDER BY ts DESC, id DESC
"""
"""Sizes come first: what has no room is never in memory. One row of NULLs when nothing has."""
_MAX_ATOMS: Final = 200
_LONGEST_ATOM_BYTES: Final = 2 * (MAX_VALUE_BYTES + MAX_FILTER_BYTES)
"""What the door lets in, however an engine spells the JSON."""

_RECENT: Final = """
SELECT activity, ts, activity_occurrence FROM {schema}.events
WHERE customer = $customer
    AND activity NOT IN ('cdesk.tool_called', 'cdesk.tool_completed', 'cdesk.context_refreshed')
ORDER BY ts DESC, _activity_id DESC
LIMIT $recent
"""

_QUESTIONS: Final = """
SELECT audit.template, params, query_hash, started_at
FROM {schema}.query_audit AS audit JOIN {schema}.provenance USING (customer, query_hash)
WHERE customer = $customer AND outcome = 'done'
QUALIFY row_number() OVER (PARTITION BY query_hash ORDER BY started_at DESC, ticket_id) = 1
ORDER BY started_at DESC, ticket_id
LIMIT 10
"""


def audit(cursor: duckdb.DuckDBPyConnection, schema: str, execution: Execution) -> None:
    """Stores an execution, its provenance and its artifact inside the cursor's transaction.

    Insights that were recorded before the question behind them was answered are verified now; one
    that failed has not answered anything.
    """
    _insert(
        cursor,
        f"INSERT OR REPLACE INTO {schema}.query_audit",
        ticket_id=execution.ticket_id,
        query_tag=execution.query_tag,
        query_uuid=execution.query_uuid,
        query_hash=execution.query_hash,
        customer=execution.customer,
        template=execution.template,
        template_version=execution.template_version,
        bytes_estimated=execution.bytes_estimated,
        bytes_scanned=execution.bytes_scanned,
        row_count=execution.row_count,
        duration_ms=execution.duration_ms,
        outcome=execution.outcome,
        sampled=execution.is_sampled,
        started_at=execution.started_at,
    )
    _insert(
        cursor,
        f"INSERT OR IGNORE INTO {schema}.provenance",
        query_hash=execution.query_hash,
        template=execution.template,
        template_version=execution.template_version,
        sql=execution.source,
        params=orjson.dumps(execution.params).decode(),
        created_at=execution.started_at,
        created_by=execution.query_tag,
        customer=execution.customer,
    )
    if execution.outcome == "done":
        cursor.execute(
            f"UPDATE {schema}.insight_atoms SET is_verified = true WHERE NOT is_verified "
            "AND customer = $customer AND provenance_query_hash = $query_hash",
            {"customer": execution.customer, "query_hash": execution.query_hash},
        )
    if execution.artifact is not None:
        artifact = execution.artifact
        _insert(
            cursor,
            f"INSERT OR REPLACE INTO {schema}.artifacts",
            artifact_id=artifact.artifact_id,
            created_ts=execution.started_at,
            customer=execution.customer,
            artifact_type="parquet",
            sample=orjson.dumps(artifact.sample).decode(),
            row_count=artifact.row_count,
            content_schema=orjson.dumps(artifact.content_schema).decode(),
            url=artifact.url,
            bytes=artifact.file_bytes,
            query_hash=execution.query_hash,
            query_tag=execution.query_tag,
            sampled=execution.is_sampled,
        )


def orphans(
    cursor: duckdb.DuckDBPyConnection, schema: str, written: Mapping[str, datetime]
) -> set[str]:
    """See `cdesk.warehouse.base.Ledger.orphans`."""
    times = [at.astimezone(UTC).replace(tzinfo=None) for at in written.values()]
    found = cursor.execute(
        "SELECT id FROM (SELECT unnest($ids) AS id, unnest($times::TIMESTAMP[]) AS written) "
        f"WHERE written > (SELECT min(applied_at) FROM {schema}._schema_migrations) "
        f"AND id NOT IN (SELECT artifact_id FROM {schema}.artifacts)",
        {"ids": list(written), "times": times},
    ).fetchall()
    return {artifact_id for (artifact_id,) in found}


def _insert(cursor: duckdb.DuckDBPyConnection, into: str, **values: object) -> None:
    """One row, each value bound under its column's name."""
    columns = ", ".join(values)
    binds = ", ".join(f"${name}" for name in values)
    cursor.execute(f"{into} ({columns}) VALUES ({binds})", values)


def context(
    cursor: duckdb.DuckDBPyConnection,
    schema: str,
    customer: str,
    *,
    now: datetime,
    recent: int,
    max_bytes: int,
) -> ContextSource:
    """Reads what is known for a customer's context blob; see `Ledger.context`."""

    def rows(statement: str, **values: object) -> Sequence[tuple[Any, ...]]:
        fetched: Sequence[tuple[Any, ...]] = cursor.execute(
            statement.format(schema=schema), {"customer": customer, **values}
        ).fetchall()
        return fetched

    atoms, left_out = _atoms(cursor, schema, customer, now, max_bytes)
    activities = [
        {"activity": activity, "ts": _stamp(ts), "occurrence": occurrence}
        for activity, ts, occurrence in rows(_RECENT, recent=recent)
    ]
    questions = [
        {
            "template": template,
            "params": orjson.loads(params),
            "query_hash": query_hash,
            "ts": _stamp(at),
        }
        for template, params, query_hash, at in rows(_QUESTIONS)
    ]
    return ContextSource(atoms=atoms, recent=activities, questions=questions, left_out=left_out)


def _atoms(
    cursor: duckdb.DuckDBPyConnection, schema: str, customer: str, now: datetime, max_bytes: int
) -> tuple[list[dict[str, Any]], int]:
    """The atoms that have room, newest first, and how many have none."""
    atoms: dict[bytes, dict[str, Any]] = {}
    cursor.execute(
        _ATOMS.format(schema=schema),
        {
            "customer": customer,
            "now": now,
            "max_bytes": max_bytes,
            "longest": _LONGEST_ATOM_BYTES,
            "most": 2 * _MAX_ATOMS,  # some are the same but for the order of a filter's keys
        },
    )
    known = seen = 0
    while (row := cursor.fetchone()) is not None and len(atoms) < _MAX_ATOMS:
        (
            known, subject, metric, value, grain, filters, confidence, query_hash, is_verified,
            artifact_id, ts, valid_until,
        ) = row  # fmt: skip
        if subject is None:
            break
        held_under = orjson.loads(filters) if filters else None
        remembered = orjson.loads(value)
        try:
            # a filter is the same whatever the order of its keys
            key = orjson.dumps([subject, metric, grain, held_under], option=orjson.OPT_SORT_KEYS)
            orjson.dumps([[[[[remembered]]]]])
        except orjson.JSONEncodeError:
            continue  # too deep for a context to hold, which no recorder lets in: it is left out
        seen += 1
        if key not in atoms:
            atoms[key] = _present(
                subject=subject,
                metric=metric,
                value=remembered,
                grain=grain,
                filter=held_under,
                confidence=confidence,
                query_hash=query_hash,
                is_verified=is_verified,
                artifact_id=artifact_id,
                ts=_stamp(ts),
                valid_until=_stamp(valid_until) if valid_until else None,
            )
    return list(atoms.values()), known - seen


def _present(**fields: Any) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


def _stamp(moment: datetime | str) -> str:
    """In UTC; a time that Python's calendar does not have comes as the engine writes it."""
    return (moment if isinstance(moment, str) else moment.isoformat()) + "+00:00"


def put_context(
    cursor: duckdb.DuckDBPyConnection,
    schema: str,
    customer: str,
    blob: bytes,
    version: int,
    updated_at: datetime,
) -> None:
    """See `cdesk.warehouse.base.Ledger.put_context`."""
    cursor.execute(
        f"INSERT OR REPLACE INTO {schema}.context_cache "
        "(customer, context_blob, updated_at, version) VALUES ($1, $2, $3, $4)",
        [customer, blob.decode(), updated_at.astimezone(UTC).replace(tzinfo=None), version],
    )
