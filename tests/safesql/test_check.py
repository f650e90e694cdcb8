"""What is not on the list never becomes a question."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cdesk.errors import TemplateError
from cdesk.safesql.check import check
from cdesk.safesql.render import bind_values, render
from cdesk.safesql.template import Template
from cdesk.tables import TABLES

from .questions import (
    CATALOG,
    NOW,
    SCHEMA,
    add_atom,
    add_event,
    add_run,
    question,
    required_params,
    warehouse,
)


def unread(sql: str, **fields: Any) -> Template:
    """A template whose text went past the file's own checks."""
    made = Template(
        name="q",
        version=1,
        purpose="p",
        row_cap=5,
        headline="h",
        empty="e",
        sql=sql,
        path=Path("q.sql"),
    )
    return replace(made, **fields)


REFUSED = """
SELECT * FROM events ORDER BY 1
SELECT e.* FROM events AS e ORDER BY 1
SELECT * EXCLUDE (link) FROM events ORDER BY 1
SELECT link FROM events; DROP TABLE events
SELECT link FROM events WHERE link = 'a' ORDER BY link
SELECT link FROM events WHERE link = $$a$$ ORDER BY link
SELECT link FROM events WHERE link = $mine ORDER BY link
SELECT link FROM events WHERE link = ? ORDER BY link
SELECT link FROM events WHERE link = :unknown ORDER BY link
SELECT link FROM events WHERE link = :1 ORDER BY link
SELECT link FROM "events" ORDER BY link
SELECT link FROM events -- ORDER BY link
SELECT link FROM events /* :x */ ORDER BY link
SELECT link FROM events // ORDER BY link
SELECT link FROM TABLE(:t) ORDER BY link
SELECT link FROM IDENTIFIER(:t) ORDER BY link
SELECT link FROM query(:t) ORDER BY link
SELECT link FROM TABLE(RESULT_SCAN(LAST_QUERY_ID())) ORDER BY link
SELECT link FROM read_text(:t) ORDER BY link
SELECT link FROM @stage ORDER BY link
SELECT link FROM (VALUES (1)) ORDER BY link
SELECT link FROM (DELETE FROM events) ORDER BY link
SELECT link FROM _ingest_groups ORDER BY link
SELECT link FROM context_cache ORDER BY link
SELECT link FROM information_schema.tables ORDER BY link
SELECT link FROM main.events ORDER BY link
SELECT link FROM a.b.events ORDER BY link
SELECT link FROM events AT(OFFSET => 60) ORDER BY link
SELECT link FROM events BEFORE(STATEMENT => 1) ORDER BY link
SELECT link FROM events SAMPLE (10) ORDER BY link
SELECT link FROM events TABLESAMPLE (10) ORDER BY link
SELECT link FROM events PIVOT(COUNT(ts) FOR x IN (1, 2)) ORDER BY link
SELECT link FROM events MATCH_RECOGNIZE (PARTITION BY link) ORDER BY link
SELECT link FROM events CONNECT BY 1 = 1
SELECT link FROM events FOR UPDATE
SELECT link FROM events LIMIT 5
SELECT link FROM events ORDER BY link LIMIT 5
SELECT link FROM events ORDER BY link OFFSET 5
SELECT TOP 5 link FROM events ORDER BY link
SELECT link INTO x FROM events ORDER BY link
SELECT DISTINCT ON (link) link FROM events ORDER BY link
SELECT link FROM events GROUP BY ALL ORDER BY link
SELECT link FROM events, LATERAL FLATTEN(INPUT => _feature_json) ORDER BY link
SELECT link FROM events JOIN LATERAL (SELECT 1 AS x) ORDER BY link
SELECT link FROM events NATURAL JOIN artifacts ORDER BY link
SELECT link FROM events SEMI JOIN artifacts ON 1 = 1 ORDER BY link
SELECT link FROM events ASOF JOIN artifacts MATCH_CONDITION (ts > created_ts) ORDER BY link
SELECT link FROM events WHERE EXISTS (SELECT 1 AS x FROM secrets) ORDER BY link
SELECT (SELECT secret FROM secrets) AS x FROM events ORDER BY x
SELECT link FROM events UNION ALL SELECT link FROM secrets ORDER BY link
WITH events AS (SELECT link FROM artifacts) SELECT link FROM events ORDER BY link
WITH a AS (SELECT link FROM a) SELECT link FROM events ORDER BY link
WITH a AS (SELECT link FROM b), b AS (SELECT link FROM events) SELECT link FROM a ORDER BY link
WITH a AS (SELECT link FROM events), a AS (SELECT link FROM events) SELECT link FROM a ORDER BY link
WITH RECURSIVE a AS (SELECT link FROM events) SELECT link FROM a ORDER BY link
WITH a AS (WITH b AS (SELECT link FROM events) SELECT link FROM b) SELECT link FROM a ORDER BY link
WITH a (link) AS (SELECT link FROM events) SELECT link FROM a ORDER BY link
WITH a AS (DELETE FROM events RETURNING link) SELECT link FROM a ORDER BY link
SELECT link FROM (WITH b AS (SELECT link FROM events) SELECT link FROM b) ORDER BY link
SELECT 1 AS x ORDER BY x
SELECT COUNT(*) FROM events ORDER BY 1
SELECT link, link FROM events ORDER BY 1
SELECT link AS x, ts AS X FROM events ORDER BY 1
SELECT link FROM events
SELECT rowid FROM events ORDER BY 1
SELECT events FROM events ORDER BY 1
SELECT nothing FROM events ORDER BY 1
SELECT CURRENT_USER AS x FROM events ORDER BY x
SELECT CURRENT_ROLE() AS x FROM events ORDER BY x
SELECT session_user FROM events ORDER BY 1
SELECT user FROM events ORDER BY 1
SELECT link AS user FROM events ORDER BY 1
SELECT link AS current_schema FROM events ORDER BY 1
SELECT CURRENT_TIMESTAMP AS x FROM events ORDER BY x
SELECT CURRENT_DATE AS x FROM events ORDER BY x
SELECT SYSDATE() AS x FROM events ORDER BY x
SELECT GETDATE() AS x FROM events ORDER BY x
SELECT RANDOM() AS x FROM events ORDER BY x
SELECT UUID_STRING() AS x FROM events ORDER BY x
SELECT HASH(link) AS x FROM events ORDER BY x
SELECT getenv(link) AS x FROM events ORDER BY x
SELECT getvariable(link) AS x FROM events ORDER BY x
SELECT SYSTEM$CANCEL_ALL_QUERIES() AS x FROM events ORDER BY x
SELECT GET_PRESIGNED_URL(link, link) AS x FROM events ORDER BY x
SELECT COLUMNS(link) AS x FROM events ORDER BY x
SELECT PRIOR link AS x FROM events ORDER BY x
SELECT SEQ4() AS x FROM events ORDER BY x
SELECT _feature_json FROM events ORDER BY 1
SELECT _feature_json:tool AS x FROM events ORDER BY x
SELECT value::NUMBER AS x FROM insight_atoms ORDER BY x
SELECT link::VARIANT AS x FROM events ORDER BY x
SELECT link::GEOGRAPHY AS x FROM events ORDER BY x
SELECT link FROM events WHERE ts = ts = ts ORDER BY link
SELECT link FROM events WHERE ts = ts IN (ts) ORDER BY link
WITH a AS (SELECT link FROM events) CALL secret(1)
WITH a AS (SELECT link FROM events) DELETE FROM a
SELECT TO_BOOLEAN(link) AS x FROM events ORDER BY x
SELECT DATE_TRUNC(epoch, ts) AS x FROM events ORDER BY x
SELECT DATEADD(fortnight, 1, ts) AS x FROM events ORDER BY x
(SELECT link FROM events ORDER BY link)
VALUES (1)
SHOW TABLES
USE ROLE accountadmin
CALL secret(1)
SET x = 1
GRANT ROLE x TO USER y
EXECUTE IMMEDIATE :x
COPY INTO events FROM secrets
MERGE INTO events USING secrets ON 1 = 1 WHEN MATCHED THEN DELETE
INSERT INTO events SELECT link FROM events
DELETE FROM events
DROP TABLE events
SELECT
SELECT link FROM
""".strip().splitlines()


@pytest.mark.parametrize("sql", REFUSED)
def test_what_is_not_on_the_list_is_refused(sql: str, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(TemplateError, match=r"^q\.sql: ") as refused:
        check(unread(sql))
    assert sql not in str(refused.value)
    assert not caplog.records, "the parser logs what it does not understand"


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT link FROM events ORDER BY link",
        "SELECT e.link FROM events AS e LEFT JOIN artifacts USING (customer) ORDER BY 1",
        "SELECT link FROM events UNION ALL SELECT url AS link FROM artifacts ORDER BY link",
        "WITH a AS (SELECT ts FROM events), b AS (SELECT ts FROM a) SELECT ts FROM b ORDER BY 1",
        "SELECT link FROM events WHERE link IN (SELECT url FROM artifacts) ORDER BY link",
        "SELECT COUNT(*) AS n, COUNT(DISTINCT link) AS m FROM events ORDER BY n",
        "SELECT _feature_json:tool.name::STRING AS x FROM events ORDER BY x",
        "SELECT CASE WHEN link IS NULL THEN 0 ELSE 1.5 END AS x FROM events ORDER BY x",
        "SELECT link FROM events WHERE ts < DATEADD(day, -1, :as_of) ORDER BY link",
    ],
)
def test_plain_questions_pass(sql: str) -> None:
    check(unread(sql))


@pytest.mark.parametrize("expression", ["DATEADD(:unit, 1, ts)", "DATEDIFF(:unit, ts, :as_of)"])
def test_a_unit_of_time_is_never_a_bind(expression: str) -> None:
    sql = f"SELECT {expression} AS x FROM events ORDER BY x"
    with pytest.raises(TemplateError, match="a unit of time is a word such as day, not a bind"):
        check(question(sql, header='[constants]\nunit = "day"'))


@pytest.mark.parametrize("template", CATALOG, ids=lambda template: template.name)
def test_every_shipped_template_passes(template: Template) -> None:
    check(template)


def test_binds_and_declarations_match_exactly() -> None:
    sql = "SELECT link FROM events WHERE link = :x ORDER BY link"
    with pytest.raises(TemplateError, match="unused is declared"):
        check(question(sql, header='[constants]\nx = "a"\nunused = "b"'))
    with pytest.raises(TemplateError, match=":x is declared in neither"):
        check(question(sql))


def test_headline_and_chart_name_columns_of_the_result() -> None:
    sql = "SELECT link FROM events ORDER BY link"
    check(unread(sql, headline="{rows} with {link}"))
    with pytest.raises(TemplateError, match="headline names tool"):
        check(unread(sql, headline="{tool}"))
    with pytest.raises(TemplateError, match="chart names y"):
        check(question(sql, header='chart = { kind = "bar", x = "link", y = "y" }'))


def test_one_row_needs_no_order() -> None:
    check(unread("SELECT COUNT(*) AS n FROM events", row_cap=1))


def test_brackets_without_end_are_refused_and_not_a_crash() -> None:
    for deep in ("(" * 5000, "SELECT " + "(" * 5000 + "1" + ")" * 5000 + " AS x FROM events"):
        with pytest.raises(TemplateError):
            check(unread(deep))


FRAGMENTS = [
    *REFUSED,
    "events", "artifacts", "globex.events", "activities.events", "secrets", "_ingest_groups",
    "FROM", "JOIN", "UNION ALL SELECT", "WITH events AS (", ")", "(", ",", "*", "OR 1 = 1", "NOT",
    "AS events", "AS customer", ":days", ":cdesk_customer", ":x", "customer", "LIMIT 1",
    "TABLE(:t)",
    "--", "/*", "*/", ";", "'", '"', "$1", "?", "CURRENT_USER", "query(:days)", "GROUP BY ALL",
    "activities", ".", "::STRING", "::NUMBER", "_feature_json", "WHERE customer <> :as_of",
]  # fmt: skip


@pytest.fixture(scope="module")
def two_tenants() -> duckdb.DuckDBPyConnection:
    connection = warehouse()
    for customer in ("acme", "globex"):
        for number in range(20):
            add_event(
                connection, "tool_completed", customer=customer, after_s=number, tool=customer
            )
        add_atom(connection, f"of {customer}", customer=customer)
        add_run(connection, customer=customer)
    return connection


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.sampled_from(list(CATALOG)), st.data())
def test_a_mutated_template_is_refused_or_still_sees_one_tenant(
    two_tenants: duckdb.DuckDBPyConnection, template: Template, data: st.DataObject
) -> None:
    words = template.sql.split(" ")
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(words)))
        fragment = data.draw(st.sampled_from(FRAGMENTS) | st.text(max_size=6))
        words[place : place + data.draw(st.integers(0, 2))] = [fragment]
    mutated = replace(template, sql=" ".join(words))
    try:
        rendered = render(mutated, dialect="duckdb", schema=SCHEMA)
    except TemplateError:
        return
    assert set(rendered.tables) <= TABLES.keys()
    values = bind_values(mutated, required_params(mutated), customer="acme", as_of=NOW)
    assert set(values) == set(rendered.binds_order)
    try:
        assert len(duckdb.extract_statements(rendered.sql)) == 1
        rows = two_tenants.execute(rendered.sql, values).fetchall()
    except duckdb.Error:
        return
    assert "globex" not in str(rows)
