"""The rendered text means the same on every engine and holds no value."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone

import duckdb
import pytest
import sqlglot
from sqlglot import exp

from cdesk.errors import InvalidArgument, TemplateError
from cdesk.safesql.render import bind_values, render
from cdesk.safesql.template import Template

from .questions import (
    CATALOG,
    NOW,
    SCHEMA,
    add_event,
    ask,
    question,
    required_params,
    warehouse,
)


@pytest.fixture(scope="module")
def empty() -> duckdb.DuckDBPyConnection:
    return warehouse()


def everything_asked(template: Template) -> dict[str, object]:
    """Values for a template whose parameters have one of each type."""
    return bind_values(
        template,
        {
            "a_text": "x",
            "an_integer": 1,
            "a_number": 2,
            "a_boolean": True,
            "a_date": "2026-01-31",
            "a_timestamp": "2026-01-31T10:00:00+02:00",
        },
        customer="acme",
        as_of=NOW,
    )


TYPED = question(
    "SELECT :a_text AS a, :an_integer AS b, :a_number AS c, :a_boolean AS d, :a_date AS e, "
    ":a_timestamp AS f, :k AS g, :n AS h, :r AS i, :t AS j FROM events WHERE ts <= :as_of "
    "ORDER BY a",
    header='[constants]\nk = "text"\nn = 7\nr = 1.5\nt = true\n'
    + "\n".join(
        f'[params.{name}]\ntype = "{kind}"\ndescription = "d"'
        for name, kind in [
            ("a_text", "string"),
            ("an_integer", "integer"),
            ("a_number", "number"),
            ("a_boolean", "boolean"),
            ("a_date", "date"),
            ("a_timestamp", "timestamp"),
        ]
    ),
)


def test_values_reach_the_engine_with_their_declared_types() -> None:
    values = everything_asked(TYPED)
    assert values["a_date"] == date(2026, 1, 31)
    assert values["a_timestamp"] == datetime(2026, 1, 31, 8, 0)
    assert values["as_of"] == NOW.replace(tzinfo=None)
    connection = warehouse()
    add_event(connection, "user_asked")
    rendered = render(TYPED, dialect="duckdb", schema=SCHEMA)
    found = connection.execute(rendered.sql, values)
    assert [str(column[1]) for column in found.description] == [
        "VARCHAR", "BIGINT", "DOUBLE", "BOOLEAN", "DATE", "TIMESTAMP", "VARCHAR", "BIGINT",
        "DOUBLE", "BOOLEAN",
    ]  # fmt: skip


def test_the_moment_of_the_question_is_utc_whatever_the_clock_says() -> None:
    template = CATALOG.get("activity_statistics")
    elsewhere = NOW.astimezone(timezone(timedelta(hours=9)))
    assert bind_values(template, {}, customer="a", as_of=elsewhere) == bind_values(
        template, {}, customer="a", as_of=NOW.replace(tzinfo=None)
    )


def test_values_are_bound_by_the_templates_rules() -> None:
    with pytest.raises(InvalidArgument, match="days"):
        bind_values(CATALOG.get("tool_usage"), {"days": 0}, customer="a", as_of=NOW)


@pytest.mark.parametrize("template", CATALOG, ids=lambda template: template.name)
def test_a_value_is_there_for_every_bind_and_for_nothing_else(template: Template) -> None:
    rendered = render(template, dialect="duckdb", schema=SCHEMA)
    values = bind_values(template, required_params(template), customer="a", as_of=NOW)
    assert set(values) == set(rendered.binds_order)


@pytest.mark.parametrize("sample_percent", [None, 12.5])
@pytest.mark.parametrize("template", CATALOG, ids=lambda template: template.name)
def test_every_template_runs_on_duckdb_and_names_plain_types(
    empty: duckdb.DuckDBPyConnection, template: Template, sample_percent: float | None
) -> None:
    rendered = render(template, dialect="duckdb", schema=SCHEMA, sample_percent=sample_percent)
    assert rendered.is_sampled == (sample_percent is not None and "events" in rendered.tables)
    values = bind_values(template, required_params(template), customer="a", as_of=NOW)
    found = empty.execute(rendered.sql, values)
    kinds = {str(column[1]).split("(")[0] for column in found.description}
    assert kinds <= {
        "VARCHAR", "INTEGER", "BIGINT", "DOUBLE", "BOOLEAN", "DATE", "TIMESTAMP", "DECIMAL",
    }  # fmt: skip


@pytest.mark.parametrize("sample_percent", [None, 12.5])
@pytest.mark.parametrize("template", CATALOG, ids=lambda template: template.name)
def test_every_template_is_one_select_of_snowflake_with_ordered_binds(
    template: Template, sample_percent: float | None
) -> None:
    rendered = render(
        template,
        dialect="snowflake",
        schema="CLAUDE_LOGS.ACTIVITIES",
        sample_percent=sample_percent,
    )
    (tree,) = sqlglot.parse(rendered.sql, read="snowflake")
    assert isinstance(tree, (exp.Select, exp.Union))
    assert rendered.sql.count("?") == len(rendered.binds_order)
    assert ":" not in rendered.sql.replace("::", "")
    values = bind_values(template, required_params(template), customer="acme", as_of=NOW)
    ordered = rendered.ordered(values)
    assert len(ordered) == len(rendered.binds_order)
    assert ordered[rendered.binds_order.index("cdesk_customer")] == "acme"
    assert ("SEED (42)" in rendered.sql) == rendered.is_sampled


@pytest.mark.parametrize("dialect", ["duckdb", "snowflake"])
def test_no_value_is_part_of_the_text(dialect: str) -> None:
    template = CATALOG.get("tool_usage")
    text = render(template, dialect=dialect, schema="s").sql  # type: ignore[arg-type]
    assert not any(str(value) in text for value in template.constants.values())


def test_the_limit_is_one_row_above_the_cap() -> None:
    connection = warehouse()
    for number in range(5):
        add_event(connection, "user_asked", after_s=number)
    rows = ask(connection, question("SELECT ts FROM events ORDER BY ts", row_cap=3))
    assert len(rows) == 4


def test_a_union_is_limited_and_ordered_as_a_whole() -> None:
    connection = warehouse()
    for number in range(5):
        add_event(connection, "user_asked", after_s=number)
    union = "SELECT ts FROM events UNION ALL SELECT created_ts AS ts FROM artifacts ORDER BY ts"
    assert len(ask(connection, question(union, row_cap=3))) == 4


def test_text_of_json_has_no_quotes_and_null_is_null() -> None:
    connection = warehouse()
    add_event(connection, "user_asked", a='x"y', b=None, c={"d": [1, "z"]}, e=True, f=1.5)
    fields = "abcef"
    cells = ", ".join(f"_feature_json:{name}::STRING AS {name}" for name in fields)
    (row,) = ask(connection, question(f"SELECT {cells} FROM events ORDER BY a"))
    assert row == {"a": 'x"y', "b": None, "c": '{"d":[1,"z"]}', "e": "true", "f": "1.5"}


def test_a_payload_of_the_wrong_type_is_null_and_not_a_failure() -> None:
    connection = warehouse()
    add_event(connection, "tool_completed", tool=5, latency_ms="slow", ok="maybe")
    (row,) = ask(connection, CATALOG.get("tool_usage"))
    assert (row["tool"], row["median_latency_ms"], row["failed_calls"]) == ("5", None, 0)


def test_a_whole_number_stays_one_and_a_scaled_one_keeps_its_cents() -> None:
    sql = (
        "SELECT TRY_CAST(link AS NUMBER) AS a, TRY_CAST(link AS NUMBER(38, 6)) AS b, "
        "COUNT_IF(ts IS NOT NULL) AS c FROM events GROUP BY link ORDER BY a"
    )
    connection = warehouse()
    found = connection.execute(
        render(question(sql), dialect="duckdb", schema=SCHEMA).sql, {"cdesk_customer": "a"}
    )
    assert [str(column[1]) for column in found.description] == [
        "BIGINT",
        "DECIMAL(38,6)",
        "BIGINT",
    ]


@pytest.mark.parametrize("total", ["SUM(n)", "COALESCE(SUM(n), 0)", "(SUM(n) OVER ())"])
def test_a_sum_of_whole_numbers_may_be_longer_than_any_of_them(total: str) -> None:
    sql = (
        "WITH a AS (SELECT TRY_CAST(_feature_json:n::STRING AS NUMBER) AS n FROM events) "
        f"SELECT {total}::NUMBER AS total FROM a ORDER BY total"
    )
    connection = warehouse()
    for _ in range(3):
        add_event(connection, "user_asked", n=2**62)
    assert ask(connection, question(sql))[0] == {"total": 3 * 2**62}


def test_what_is_counted_is_none_where_there_is_nothing_to_count() -> None:
    sql = "SELECT COUNT_IF(ts IS NOT NULL) AS c FROM events WHERE link IS NULL ORDER BY c"
    assert ask(warehouse(), question(sql)) == [{"c": 0}]


def test_a_template_that_is_not_safe_is_never_rendered() -> None:
    with pytest.raises(TemplateError):
        render(question("SELECT link FROM secrets ORDER BY link"), dialect="duckdb", schema="s")


def test_a_sample_outside_of_its_range_is_refused() -> None:
    for percent in (0, 100, -1, float("nan")):
        with pytest.raises(ValueError, match="sample_percent"):
            render(CATALOG.get("health"), dialect="duckdb", schema="s", sample_percent=percent)


def test_the_same_question_about_the_same_moment_has_the_same_answer() -> None:
    connection = warehouse()
    moment = NOW - timedelta(days=19)
    for number in range(5):
        add_event(connection, "user_asked", after_s=number)
    before = [ask(connection, template, as_of=moment) for template in CATALOG]
    add_event(connection, "user_asked", after_s=10 * 86_400)
    assert [ask(connection, template, as_of=moment) for template in CATALOG] == before
    assert moment.tzinfo is UTC
