"""No question reaches another tenant's rows."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Literal

import duckdb
import pytest
import sqlglot
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlglot import exp

from cdesk.errors import ConfigError, TemplateError
from cdesk.safesql.check import check
from cdesk.safesql.scope import scoped
from cdesk.safesql.template import Template
from cdesk.tables import TABLES, VARIANTS
from tests.thorough import examples

from .questions import (
    CATALOG,
    NOW,
    REQUIRED,
    SCHEMA,
    add_atom,
    add_event,
    add_run,
    ask,
    question,
    warehouse,
)

HOSTILE = [
    "'; drop table events; --",
    "acme' OR '1'='1",
    "globex",
    "$cdesk_customer",
    ":cdesk_customer",
    "%",
    "${jndi}",
    "\\'",
    "/*",
    "🦆",
]
ACTIVITIES = (
    "user_asked", "claude_responded", "tool_called", "tool_completed", "tool_failed",
    "error_encountered", "sql_completed", "insight_recorded",
)  # fmt: skip


@pytest.fixture(scope="module")
def shared() -> duckdb.DuckDBPyConnection:
    return warehouse()


def fill(connection: duckdb.DuckDBPyConnection, customer: str, events: list[Any]) -> None:
    for activity, after_s, talk in events:
        add_event(
            connection,
            activity,
            customer=customer,
            after_s=after_s,
            conversation=f"{customer} {talk}",
            tool=f"tool of {customer}",
            model=f"model of {customer}",
            error=f"error of {customer}",
            latency_ms=after_s % 100,
            cost_usd=0.01,
            tokens_in=5,
            tokens_out=7,
            ok=talk != 1,
        )
    add_atom(connection, f"known to {customer}", customer=customer)
    add_run(connection, customer=customer)


EVENTS = st.lists(
    st.tuples(st.sampled_from(ACTIVITIES), st.integers(0, 86_400 * 15), st.integers(0, 2)),
    min_size=1,
    max_size=8,
)


@pytest.mark.parametrize("template", CATALOG, ids=lambda template: template.name)
@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    deadline=None,
    max_examples=examples(8),
)
@given(mine=EVENTS, theirs=EVENTS)
def test_another_customers_rows_change_nothing(
    shared: duckdb.DuckDBPyConnection, template: Template, mine: list[Any], theirs: list[Any]
) -> None:
    shared.execute("BEGIN")
    try:
        fill(shared, "acme", mine)
        alone = ask(shared, template)
        fill(shared, "globex", theirs)
        together = ask(shared, template)
        nobody = ask(shared, template, customer="initech")
    finally:
        shared.execute("ROLLBACK")
    assert together == alone
    assert "globex" not in str(together)
    assert "globex" not in str(nobody)
    assert "acme" not in str(nobody)


@pytest.mark.parametrize("template", CATALOG, ids=lambda template: template.name)
@pytest.mark.parametrize("text", HOSTILE)
def test_a_hostile_value_is_only_a_value(
    shared: duckdb.DuckDBPyConnection, template: Template, text: str
) -> None:
    shared.execute("BEGIN")
    try:
        fill(shared, "globex", [("tool_completed", 5, 0)])
        before = shared.execute(f"SELECT count(*) FROM {SCHEMA}.events").fetchone()
        params = {
            name: text
            for name, param in template.params.items()
            if param.type == "string" and not param.values and param.pattern is None
        }
        rows = ask(shared, template, {**_required(template), **params})
        rows += ask(shared, template, customer=text) if text != "globex" else []
        assert "known to globex" not in str(rows)
        assert "tool of globex" not in str(rows)
        assert shared.execute(f"SELECT count(*) FROM {SCHEMA}.events").fetchone() == before
    finally:
        shared.execute("ROLLBACK")


def _required(template: Template) -> dict[str, Any]:
    return {name: REQUIRED[name] for name, param in template.params.items() if param.is_required}


@pytest.mark.parametrize("dialect", ["duckdb", "snowflake"])
@pytest.mark.parametrize("template", CATALOG, ids=lambda template: template.name)
def test_real_tables_are_named_only_inside_the_generated_ctes(
    template: Template, dialect: Literal["duckdb", "snowflake"]
) -> None:
    tree = scoped(check(template), dialect=dialect, schema="logs.acts", sample_percent=5)
    tree = sqlglot.parse_one(tree.sql(dialect=dialect), read=dialect)
    for table in tree.find_all(exp.Table):
        if not table.db:
            continue
        inside = table.find_ancestor(exp.CTE)
        assert inside is not None
        assert inside.alias == table.name
        assert inside.this.args["where"].sql() == "WHERE customer = :cdesk_customer"
        assert (table.catalog, table.db) == ("logs", "acts")


def test_a_tree_that_names_a_real_table_itself_is_refused() -> None:
    tree = check(question("SELECT link FROM events ORDER BY link"))
    tree.find(exp.Table).set("db", exp.to_identifier("main"))  # type: ignore[union-attr]
    with pytest.raises(TemplateError, match="escapes"):
        scoped(tree, dialect="duckdb", schema=SCHEMA)


def test_a_tree_whose_cte_hides_the_scope_is_refused() -> None:
    tree = sqlglot.parse_one(
        "WITH events AS (SELECT 1 AS link) SELECT link FROM events", read="snowflake"
    )
    assert isinstance(tree, exp.Select)
    with pytest.raises(TemplateError, match="hides"):
        scoped(tree, dialect="duckdb", schema=SCHEMA)
    nested = sqlglot.parse_one(
        "SELECT link FROM (WITH events AS (SELECT 1 AS link) SELECT link FROM events)"
    )
    assert isinstance(nested, exp.Select)
    with pytest.raises(TemplateError, match="hides"):
        scoped(nested, dialect="duckdb", schema=SCHEMA)


@pytest.mark.parametrize("schema", ["", "a b", "a;b", 'a"b', "a.b.c", "1a", "a.", "é"])
def test_a_schema_that_is_no_plain_name_is_refused(schema: str) -> None:
    with pytest.raises(ConfigError, match="plain name"):
        scoped(
            check(question("SELECT link FROM events ORDER BY link")),
            dialect="duckdb",
            schema=schema,
        )


def test_the_readable_tables_have_exactly_the_columns_of_the_schema(
    shared: duckdb.DuckDBPyConnection,
) -> None:
    for name, table in TABLES.items():
        found = shared.execute(
            "SELECT column_name, data_type FROM duckdb_columns() "
            "WHERE schema_name = ? AND table_name = ? ORDER BY column_index",
            [SCHEMA, name],
        ).fetchall()
        assert table.columns == tuple(column for column, _ in found)
        assert "customer" in table.columns
        assert {column for column, kind in found if kind == "JSON"} == VARIANTS & set(table.columns)


def test_a_sample_is_the_tenants_own_share_and_the_same_every_time(
    shared: duckdb.DuckDBPyConnection,
) -> None:
    template = CATALOG.get("activity_statistics")
    shared.execute("BEGIN")
    try:
        at = (NOW - timedelta(days=1)).replace(tzinfo=None)
        shared.execute(
            f"INSERT INTO {SCHEMA}.events (activity, customer, ts, activity_occurrence) "
            "SELECT 'cdesk.user_asked', CASE WHEN range % 4 = 0 THEN 'acme' ELSE 'globex' END, ?, 1"
            " FROM range(40000)",
            [at],
        )
        samples = [ask(shared, template, sample_percent=10)[0]["events"] for _ in range(3)]
        whole = ask(shared, template)[0]["events"]
    finally:
        shared.execute("ROLLBACK")
    assert whole == 10_000
    assert len(set(samples)) == 1
    assert 800 < samples[0] < 1200


def test_what_is_small_is_never_sampled(shared: duckdb.DuckDBPyConnection) -> None:
    shared.execute("BEGIN")
    try:
        for number in range(50):
            add_atom(shared, number, after_s=number)
        rows = ask(shared, CATALOG.get("insights_by_subject"), sample_percent=1)
    finally:
        shared.execute("ROLLBACK")
    assert len(rows) == 50
