"""The tables and views are those of the design, on a real DuckDB."""

from __future__ import annotations

from typing import Any

import duckdb
import orjson
import pytest

from cdesk.catalogue import FAMILIES, KNOWN, family
from cdesk.migrations.apply import apply
from cdesk.migrations.ddl import render_ddl

from .migrations import NOW, SCHEMA, SHIPPED

EVENTS = [
    ("activity", "VARCHAR", False),
    ("customer", "VARCHAR", False),
    ("ts", "TIMESTAMP", False),
    ("activity_repeated_at", "TIMESTAMP", True),
    ("activity_occurrence", "BIGINT", False),
    ("link", "VARCHAR", True),
    ("revenue_impact", "DECIMAL(38,6)", True),
    ("_feature_json", "JSON", True),
    ("_source_system", "VARCHAR", True),
    ("_source_version", "VARCHAR", True),
    ("_session_id", "VARCHAR", True),
    ("_query_tag", "VARCHAR", True),
    ("_activity_id", "VARCHAR", True),
    ("_accepted_at", "TIMESTAMP", True),
    ("_ingested_at", "TIMESTAMP", True),
]


@pytest.fixture(scope="module")
def warehouse() -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect()
    apply(connection, SHIPPED, dialect="duckdb", schema=SCHEMA, now=NOW)
    return connection


def add_event(
    warehouse: duckdb.DuckDBPyConnection, activity: str, number: int, **payload: Any
) -> None:
    warehouse.execute(
        f"INSERT INTO {SCHEMA}.events (activity, customer, ts, activity_occurrence, _feature_json,"
        " _session_id, _query_tag, _activity_id, _accepted_at, _ingested_at)"
        " VALUES (?, 'acme', '2026-11-01'::TIMESTAMP, 1, ?, 's', 'cdesk_00000001', ?,"
        " '2026-11-05'::TIMESTAMP, '2026-11-05 00:00:03'::TIMESTAMP)",
        [f"cdesk.{activity}", orjson.dumps(payload).decode(), str(number)],
    )


def rows(warehouse: duckdb.DuckDBPyConnection, view: str) -> list[dict[str, Any]]:
    found = warehouse.execute(f"SELECT * FROM {SCHEMA}.{view}")
    names = [column[0] for column in found.description]
    return [dict(zip(names, row, strict=True)) for row in found.fetchall()]


def test_the_base_stream_has_the_columns_of_the_design_in_its_order(
    warehouse: duckdb.DuckDBPyConnection,
) -> None:
    columns = warehouse.execute(
        "SELECT column_name, data_type, is_nullable FROM duckdb_columns() "
        "WHERE schema_name = ? AND table_name = 'events' ORDER BY column_index",
        [SCHEMA],
    ).fetchall()
    assert columns == EVENTS


def test_on_snowflake_the_base_stream_is_typed_and_clustered_as_designed() -> None:
    (statement,) = render_ddl(SHIPPED[1].sql, dialect="snowflake", schema="CLAUDE_LOGS.ACTIVITIES")
    assert statement == (
        "CREATE TABLE IF NOT EXISTS CLAUDE_LOGS.ACTIVITIES.events (activity VARCHAR NOT NULL, "
        "customer VARCHAR NOT NULL, ts TIMESTAMPNTZ NOT NULL, activity_repeated_at TIMESTAMPNTZ, "
        "activity_occurrence DECIMAL(38, 0) NOT NULL, link VARCHAR, revenue_impact DECIMAL(38, 6), "
        "_feature_json VARIANT, _source_system VARCHAR, _source_version VARCHAR, "
        "_session_id VARCHAR, _query_tag VARCHAR, _activity_id VARCHAR, "
        "_accepted_at TIMESTAMPNTZ, _ingested_at TIMESTAMPNTZ) CLUSTER BY (customer, ts)"
    )


def test_the_tables_and_views_of_the_design_are_all_there(
    warehouse: duckdb.DuckDBPyConnection,
) -> None:
    names = warehouse.execute(
        "SELECT table_name FROM information_schema.tables WHERE table_schema = ?", [SCHEMA]
    ).fetchall()
    assert {name for (name,) in names} == {
        "_ingest_groups", "_ingest_lineage", "_ingest_progress",
        "_quarantine", "_schema_migrations",
        "activity_stream", "artifacts", "context_cache", "events", "insight_atoms", "provenance",
        "query_audit",
        "v_activity_stats", "v_error_analysis", "v_executive_summary", "v_stream_lag",
        "v_task_monitoring", "v_tool_usage_analytics", "v_user_adoption", "vw_events_base",
        "vw_file_events",
        "vw_llm_events", "vw_mcp_events", "vw_product_metrics", "vw_session_events",
        "vw_sql_events", "vw_system_events", "vw_tool_events",
    }  # fmt: skip


def test_every_view_keeps_the_customer_and_plain_types(
    warehouse: duckdb.DuckDBPyConnection,
) -> None:
    views = warehouse.execute(
        "SELECT view_name FROM duckdb_views() WHERE schema_name = ?", [SCHEMA]
    ).fetchall()
    assert len(views) == 17
    for (view,) in views:
        kinds = warehouse.execute(
            "SELECT column_name, data_type FROM duckdb_columns() WHERE schema_name = ? "
            "AND table_name = ?",
            [SCHEMA, view],
        ).fetchall()
        assert "customer" in {name for name, _ in kinds}, view
        assert not [name for name, kind in kinds if kind == "HUGEINT"], view


def test_views_read_typed_payloads_and_null_for_what_does_not_fit(
    warehouse: duckdb.DuckDBPyConnection,
) -> None:
    warehouse.execute("BEGIN")
    try:
        add_event(warehouse, "claude_responded", 1, model="m", tokens_in=5, cost_usd="free")
        add_event(warehouse, "user_asked", 2, chars=7, conversation_id="c")
        add_event(warehouse, "tool_completed", 3, tool="search", ok=False, latency_ms=12.5)
        add_event(warehouse, "error_encountered", 4, error="E", where="uploader")
        add_event(warehouse, "sql_completed", 5, template="health", rows=3)
        warehouse.execute(
            f"INSERT INTO {SCHEMA}.query_audit VALUES ('t', 'cdesk_00000001', 'u', 'h', 'acme',"
            " 'tool_usage', 1, 10, 9, 8, 1.5, 'done', false, '2026-11-01'::TIMESTAMP)"
        )
        llm = {row["activity"]: row for row in rows(warehouse, "vw_llm_events")}
        assert llm["cdesk.claude_responded"]["tokens_in"] == 5
        assert llm["cdesk.claude_responded"]["cost_usd"] is None
        assert llm["cdesk.user_asked"]["conversation"] == "c"
        (tool,) = rows(warehouse, "vw_tool_events")
        assert (tool["tool"], tool["is_ok"], tool["latency_ms"]) == ("search", False, 12.5)
        (query,) = rows(warehouse, "vw_sql_events")
        assert (query["template"], query["row_count"], query["outcome"]) == (
            "tool_usage",
            8,
            "done",
        )
        (usage,) = rows(warehouse, "v_tool_usage_analytics")
        assert (usage["usage_count"], usage["failed_calls"]) == (1, 1)
        (day,) = rows(warehouse, "vw_product_metrics")
        assert (day["questions"], day["failures"], day["health_score"]) == (1, 1, 66.7)
        (summary,) = rows(warehouse, "v_executive_summary")
        assert (summary["events"], summary["active_days"]) == (5, 1)
        (lag,) = rows(warehouse, "v_stream_lag")
        assert (lag["events"], lag["p95_lag_s"]) == (5, 3.0)
        (adoption,) = rows(warehouse, "v_user_adoption")
        assert (adoption["questions"], adoption["conversations"]) == (1, 2)
        assert adoption["activity_date"].isoformat() == "2026-11-01"
        (error,) = rows(warehouse, "v_error_analysis")
        assert (error["place"], error["error"], error["times"]) == ("uploader", "E", 1)
        assert len(rows(warehouse, "v_activity_stats")) == 5
        (system,) = rows(warehouse, "vw_system_events")
        assert (system["place"], system["event_type"]) == ("uploader", "error_encountered")
        add_event(warehouse, "queue_overflow", 6, depth=9)
        kinds = [row["event_type"] for row in rows(warehouse, "vw_system_events")]
        assert sorted(kinds) == ["backpressure", "error_encountered"]
    finally:
        warehouse.execute("ROLLBACK")


def test_a_view_joins_what_belongs_to_one_customer(warehouse: duckdb.DuckDBPyConnection) -> None:
    """A tag is eight digits: two installations that share a warehouse may draw the same."""
    warehouse.execute("BEGIN")
    try:
        add_event(warehouse, "sql_executed", 1, template="health")
        warehouse.execute(
            f"INSERT INTO {SCHEMA}.query_audit VALUES ('t', 'cdesk_00000001', 'u', 'h', 'globex',"
            " 'secret', 1, 10, 9, 8, 1.5, 'done', false, '2026-11-01'::TIMESTAMP)"
        )
        (query,) = rows(warehouse, "vw_sql_events")
        assert (query["template"], query["outcome"]) == ("health", None)
    finally:
        warehouse.execute("ROLLBACK")


def test_the_communitys_stream_has_the_specifications_names_and_no_dot_in_an_activity(
    warehouse: duckdb.DuckDBPyConnection,
) -> None:
    warehouse.execute("BEGIN")
    try:
        add_event(warehouse, "user_asked", 1, chars=7)
        (row,) = rows(warehouse, "activity_stream")
        assert list(row) == [
            "activity_id", "ts", "customer", "anonymous_customer_id", "activity", "feature_json",
            "revenue_impact", "link", "activity_occurrence", "activity_repeated_at",
        ]  # fmt: skip
        assert (row["activity_id"], row["activity"]) == ("1", "user_asked")
    finally:
        warehouse.execute("ROLLBACK")


@pytest.mark.parametrize("activity", [*sorted(KNOWN), "cdesk.coffee_made"])
def test_every_row_of_an_activity_has_the_same_keys_in_the_communitys_stream(
    warehouse: duckdb.DuckDBPyConnection, activity: str
) -> None:
    expected = FAMILIES.get(family(activity) or "", {})
    name = activity.removeprefix("cdesk.")
    warehouse.execute("BEGIN")
    try:
        payloads: list[dict[str, Any]] = [{}, {"extra": [1]}, {key: key for key in expected}]
        for number, payload in enumerate(payloads):
            add_event(warehouse, name, number, **payload)
        add_event(warehouse, name, 3)
        warehouse.execute(
            f"UPDATE {SCHEMA}.events SET _feature_json = NULL WHERE _activity_id = '3'"
        )
        found = {
            row["activity_id"]: orjson.loads(row["feature_json"])
            for row in rows(warehouse, "activity_stream")
        }
        assert len(found) == 4
        for features in found.values():
            assert list(features) == [*expected, "payload"]
        assert found["1"]["payload"] == {"extra": [1]}
        assert {key: found["2"][key] for key in expected} == payloads[2]
        assert found["3"]["payload"] is None
    finally:
        warehouse.execute("ROLLBACK")
