"""Running rendered templates, and saying beforehand what they may read.

Invariants: a query runs on its own cursor and can be interrupted from another thread; its whole
result goes to one Parquet file that exists under its final name only when it is complete and on
disk.
"""

from __future__ import annotations

import math
import os
import time
import uuid
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from datetime import UTC, date, datetime, timedelta
from datetime import time as time_of_day
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import duckdb
import orjson

from cdesk.disk import sync
from cdesk.errors import (
    NO_MORE_FILES,
    QueryFailed,
    QueryTimedOut,
    StateError,
    WarehouseUnavailable,
    next_move,
    reason,
)
from cdesk.warehouse.base import Query, QueryResult
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
    """Runs a query on a cursor; see `cdesk.warehouse.base.Questions.run`."""
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


def latest(
    cursor: duckdb.DuckDBPyConnection,
    schema: str,
    customer: str,
    *,
    after: datetime,
    until: datetime,
) -> datetime | None:
    """See `cdesk.warehouse.base.Questions.latest`."""
    begin, end = (moment.astimezone(UTC).replace(tzinfo=None) for moment in (after, until))
    (ts,) = cursor.execute(
        f"SELECT max(ts) FROM {schema}.events "
        "WHERE customer = $customer AND ts > $begin AND ts <= $end",
        {"customer": customer, "begin": begin, "end": end},
    ).fetchone() or (None,)
    return None if ts is None else ts.replace(tzinfo=UTC)
