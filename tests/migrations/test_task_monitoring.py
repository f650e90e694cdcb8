"""What `v_task_monitoring` says of ingestion, contexts and questions, on a real DuckDB."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import duckdb
import orjson
import pytest

from cdesk.migrations.apply import apply

from .migrations import NOW, SCHEMA, SHIPPED

BEGAN = datetime(2026, 11, 1)


@pytest.fixture(scope="module")
def migrated() -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect()
    apply(connection, SHIPPED, dialect="duckdb", schema=SCHEMA, now=NOW)
    return connection


@pytest.fixture
def warehouse(migrated: duckdb.DuckDBPyConnection) -> Iterator[duckdb.DuckDBPyConnection]:
    migrated.execute("BEGIN")
    yield migrated
    migrated.execute("ROLLBACK")


def add(
    warehouse: duckdb.DuckDBPyConnection,
    activity: str,
    *,
    minute: int = 0,
    lag_s: float = 1,
    customer: str = "acme",
    **payload: Any,
) -> None:
    (number,) = warehouse.execute(f"SELECT count(*) FROM {SCHEMA}.events").fetchone() or (0,)
    accepted_at = BEGAN + timedelta(minutes=minute)
    warehouse.execute(
        f"INSERT INTO {SCHEMA}.events (activity, customer, ts, activity_occurrence, _feature_json,"
        " _activity_id, _accepted_at, _ingested_at) VALUES (?, ?, ?, 1, ?, ?, ?, ?)",
        [
            f"cdesk.{activity}",
            customer,
            accepted_at,
            orjson.dumps(payload).decode(),
            str(number),
            accepted_at,
            accepted_at + timedelta(seconds=lag_s),
        ],
    )


def quarantine(warehouse: duckdb.DuckDBPyConnection, *, at: datetime) -> None:
    warehouse.execute(
        f"INSERT INTO {SCHEMA}._quarantine (id, customer, reason, line, batch_id, quarantined_at)"
        " VALUES (?, 'acme', 'r', 'l', 'b', ?)",
        [str(at), at],
    )


def put_context(warehouse: duckdb.DuckDBPyConnection, at: datetime) -> None:
    warehouse.execute(
        f"INSERT OR REPLACE INTO {SCHEMA}.context_cache VALUES ('acme', '{{}}', ?, 1)", [at]
    )


def told(warehouse: duckdb.DuckDBPyConnection, task: str) -> tuple[Any, ...]:
    """Runs, failed ones, duration and health of acme's task."""
    (row,) = warehouse.execute(
        f"SELECT runs, failed_runs, p95_duration_ms, health_status FROM {SCHEMA}.v_task_monitoring"
        " WHERE customer = 'acme' AND task = ?",
        [task],
    ).fetchall()
    return tuple(row)


def test_nothing_is_said_of_tasks_that_never_ran(warehouse: duckdb.DuckDBPyConnection) -> None:
    assert not warehouse.execute(f"SELECT * FROM {SCHEMA}.v_task_monitoring").fetchall()


def test_ingestion_is_healthy_until_it_is_slow_or_a_line_goes_to_quarantine(
    warehouse: duckdb.DuckDBPyConnection,
) -> None:
    add(warehouse, "user_asked", lag_s=1)
    add(warehouse, "claude_responded", lag_s=1)  # of the same batch
    add(warehouse, "user_asked", lag_s=1, customer="globex", minute=5)
    assert told(warehouse, "ingestion") == (1, 0, 1000.0, "healthy")
    add(warehouse, "user_asked", minute=1, lag_s=20)
    assert told(warehouse, "ingestion")[3] == "degraded"
    quarantine(warehouse, at=BEGAN + timedelta(minutes=1, seconds=20))
    assert told(warehouse, "ingestion")[:2] == (3, 1)
    assert told(warehouse, "ingestion")[3] == "failing"
    add(warehouse, "user_asked", minute=2)
    assert told(warehouse, "ingestion")[3] == "degraded"
    add(warehouse, "user_asked", minute=9 * 24 * 60)
    assert told(warehouse, "ingestion") == (1, 0, 1000.0, "healthy")


def test_a_context_that_lacks_a_stored_insight_is_failing(
    warehouse: duckdb.DuckDBPyConnection,
) -> None:
    put_context(warehouse, BEGAN)
    add(warehouse, "user_asked", minute=1)
    add(warehouse, "insight_recorded", minute=1, customer="globex")
    assert told(warehouse, "context") == (1, 0, None, "healthy")
    add(warehouse, "insight_recorded", minute=2)
    assert told(warehouse, "context") == (1, 1, None, "failing")
    put_context(warehouse, BEGAN + timedelta(minutes=3))
    assert told(warehouse, "context") == (1, 0, None, "healthy")


def test_a_template_is_failing_while_its_last_question_failed(
    warehouse: duckdb.DuckDBPyConnection,
) -> None:
    add(warehouse, "sql_completed", template="health", duration_ms=100)
    add(warehouse, "sql_failed", template="tool_usage", minute=1, error="e")
    add(warehouse, "sql_cancelled", template="health", minute=1)
    assert told(warehouse, "query: health") == (1, 0, 100.0, "healthy")
    assert told(warehouse, "query: tool_usage") == (1, 1, None, "failing")
    add(warehouse, "sql_completed", template="tool_usage", minute=2, duration_ms=200)
    assert told(warehouse, "query: tool_usage") == (2, 1, 200.0, "degraded")
    add(warehouse, "sql_completed", template="health", minute=3, duration_ms=20_000)
    assert told(warehouse, "query: health")[3] == "degraded"
