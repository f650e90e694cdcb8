"""Running rendered templates, keeping their audit, and reading what context blobs are made of.

Invariants: a query runs on its own cursor and can be interrupted from another thread; its whole
result goes to one Parquet file that exists under its final name only when it is complete and on
disk.
"""

from __future__ import annotations

import math
import os
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from datetime import UTC, date, datetime, timedelta
from datetime import time as time_of_day
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import duckdb
import orjson

from cdesk.durable import sync
from cdesk.errors import (
    NO_MORE_FILES,
    QueryFailed,
    QueryTimedOut,
    StateError,
    WarehouseUnavailable,
    next_move,
    reason,
)
from cdesk.insight import MAX_FILTER_BYTES, MAX_VALUE_BYTES
from cdesk.warehouse.base import ContextSource, Execution, Query, QueryResult
from cdesk.warehouse.duckdb.connection import shortage

_SAMPLE_ROWS: Final = 10
MAX_SAMPLE_BYTES: Final = 128 * 1024
"""The longest sample, as JSON."""
_LOOK_EVERY_S: Final = 0.05
_JSON_BYTES_A_CHARACTER: Final = 6  # a control character is \\u and four digits
_WIDTH_ROWS: Final = 1_000
_MAX_JSON_INT: Final = 2**63

_CAUSES: Final[dict[type[duckdb.Error], str]] = {
    duckdb.OutOfMemoryException: "it needs more memory than the warehouse may use; narrow it, such "
    "as to fewer days",
    duckdb.OutOfRangeException: "a number or a time in the rows leaves the range of its type; find "
    "the row with recent_activities, or ask about a period without it",
    duckdb.ConversionException: "a value in the rows is not of the type the template casts it to; "
    "cast with TRY_CAST in the template",
    duckdb.IOException: "the disk did not take the result or did not give the data; look at free "
    "space and at the disk",
    duckdb.BinderException: "the template does not fit this version's tables; mend the template",
    duckdb.CatalogException: "the template does not fit this version's tables; mend the template",
    duckdb.ParserException: "the engine does not understand the template; mend the template",
}
"""What a failure means to whoever asked. `duckdb.InterruptException` has its own reason."""

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


def estimate(cursor: duckdb.DuckDBPyConnection, schema: str, query: Query) -> int:
    """Bytes of the customer's rows in the tables a query reads, as text: for the stream as they
    were counted when they were stored, for the others counted rows times a measured width. `schema`
    is quoted already.

    An upper bound of what a customer alone in the warehouse would scan: DuckDB reads only the
    columns and row groups it needs. Measuring reads nothing of the stream, whose rows may be long.
    """
    total = 0
    for table in query.tables:
        row = cursor.execute(
            f"SELECT sum(bytes) FROM {schema}._ingest_groups WHERE customer = $customer"
            if table == "events"
            else "SELECT (SELECT count(*) FROM {own}) * (SELECT avg(strlen(CAST(head AS VARCHAR))) "
            "FROM (SELECT * FROM {own} LIMIT {rows}) AS head)".format(
                own=f'(FROM {schema}."{table}" WHERE customer = $customer)', rows=_WIDTH_ROWS
            ),
            {"customer": query.customer},
        ).fetchone()
        total += math.ceil(row[0]) if row and row[0] else 0
    return total


def run(
    cursor: duckdb.DuckDBPyConnection,
    query: Query,
    *,
    to: Path,
    timeout_s: float,
    is_cancelled: Callable[[], bool],
) -> QueryResult:
    """Runs a query on a cursor; see `cdesk.warehouse.base.Querier.run`."""
    with ThreadPoolExecutor(1, thread_name_prefix="query") as pool:
        future = pool.submit(_run, cursor, query, to)
        deadline = time.monotonic() + timeout_s
        stopped: QueryFailed | None = None
        try:
            while not wait([future], timeout=_LOOK_EVERY_S).done:
                if _is_over(is_cancelled):
                    stopped = QueryFailed("it was cancelled")
                elif time.monotonic() > deadline:
                    stopped = QueryTimedOut(
                        f"it took longer than {timeout_s:g} s; narrow it, such as to fewer days"
                    )
                if stopped is not None:
                    cursor.interrupt()
        finally:
            if not future.done():
                cursor.interrupt()  # leaving waits for its end
        return _outcome(future, stopped)


def _is_over(is_cancelled: Callable[[], bool]) -> bool:
    try:
        return is_cancelled()
    except StateError:
        return False  # it cannot be seen now; the time limit holds all the same


def _outcome(future: Future[QueryResult], stopped: QueryFailed | None) -> QueryResult:
    try:
        return future.result()
    except duckdb.InterruptException as error:
        raise stopped or QueryFailed("it was interrupted") from error
    except duckdb.Error as error:
        if (number := shortage(error)) in NO_MORE_FILES:
            raise _without_files(OSError(number, None)) from error
        raise QueryFailed(_cause(error)) from error
    except OSError as error:
        if error.errno in NO_MORE_FILES:
            raise _without_files(error) from error
        raise


def _without_files(error: OSError) -> WarehouseUnavailable:
    """The question is not at fault: it waits."""
    return WarehouseUnavailable(
        f"the result cannot be written ({reason(error)}); {next_move(error)}, the question waits"
    )


def _cause(error: duckdb.Error) -> str:
    """Why a query failed and what to do, without what the error may quote."""
    for kind, cause in _CAUSES.items():
        if isinstance(error, kind):
            return f"{cause} ({type(error).__name__})"
    return (
        f"the warehouse could not run it ({type(error).__name__}); the fault is the template's or "
        "the warehouse's, not the parameters'"
    )


def _run(cursor: duckdb.DuckDBPyConnection, query: Query, to: Path) -> QueryResult:
    cursor.execute(f"CREATE OR REPLACE TEMP TABLE answer AS {query.sql}", dict(query.values))
    (found,) = cursor.execute("SELECT count(*) FROM answer").fetchone() or (0,)
    rows = min(int(found), query.row_cap)
    head = cursor.execute(f"SELECT * FROM answer LIMIT {min(rows, _SAMPLE_ROWS)}")
    described = head.description or []
    sample = bounded_sample([[json_value(value) for value in row] for row in head.fetchall()])
    _write_parquet(cursor, rows, to)
    return QueryResult(
        columns=[str(column[0]) for column in described],
        types=[str(column[1]) for column in described],
        sample=sample,
        row_count=rows,
        is_capped=int(found) > rows,
        bytes_scanned=None,
        file_bytes=to.stat().st_size,
    )


def bounded_sample(rows: list[list[Any]]) -> list[list[Any]]:
    """Rows of JSON values, at most `MAX_SAMPLE_BYTES` of JSON together.

    Where they are more, what is long is cut with an ellipsis, then the last rows are left out.
    """
    if len(orjson.dumps(rows)) <= MAX_SAMPLE_BYTES:
        return rows
    cells = sum(len(row) for row in rows)
    most = max(1, MAX_SAMPLE_BYTES // cells // _JSON_BYTES_A_CHARACTER - 2)
    rows = [[_shortened(value, most) for value in row] for row in rows]
    while len(orjson.dumps(rows)) > MAX_SAMPLE_BYTES:
        rows.pop()
    return rows


def _shortened(value: Any, most: int) -> Any:
    text = value if isinstance(value, str) else orjson.dumps(value).decode()
    if len(text) <= most or not isinstance(value, (str, list, dict)):
        return value
    return text[:most] + "…"


def _write_parquet(cursor: duckdb.DuckDBPyConnection, rows: int, to: Path) -> None:
    # a name of our own making in a folder of our own: the one path DuckDB takes only as text
    part = to.with_name(f".{to.name}.{uuid.uuid4().hex}.part")
    quoted = str(part).replace("'", "''")
    try:
        cursor.execute(
            f"COPY (SELECT * FROM answer LIMIT {rows}) TO '{quoted}' "
            "(FORMAT parquet, COMPRESSION zstd)"
        )
        os.chmod(part, 0o600)
        sync(part)
        os.replace(part, to)
        sync(to.parent)
    finally:
        part.unlink(missing_ok=True)


def json_value(value: Any) -> Any:
    """A value of DuckDB as JSON can say it: times as ISO 8601, exact decimals as numbers or
    texts."""
    match value:
        case None | bool() | str():
            return value
        case int():
            return value if -_MAX_JSON_INT <= value < _MAX_JSON_INT else str(value)
        case float():
            return value if math.isfinite(value) else str(value)
        case Decimal():
            return _json_decimal(value)
        case datetime() | date() | time_of_day():
            return value.isoformat()
        case timedelta():
            return value.total_seconds()
        case bytes():
            return value.hex()
        case dict():
            return {str(key): json_value(entry) for key, entry in value.items()}
        case list() | tuple():
            return [json_value(entry) for entry in value]
        case _:
            return str(value)


def _json_decimal(value: Decimal) -> int | float | str:
    if value.as_tuple().exponent == 0:  # a sum of whole numbers
        whole = int(value)
        return whole if -_MAX_JSON_INT <= whole < _MAX_JSON_INT else str(whole)
    number = float(value)
    return number if Decimal(repr(number)) == value else format(value, "f")


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
    """See `cdesk.warehouse.base.Querier.orphans`."""
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
    """Reads what is known for a customer's context blob; see `Querier.context`."""

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
