"""Migrations reach the warehouse whole, once, and are written down."""

from __future__ import annotations

from typing import Literal

import duckdb
import pytest
import sqlglot
from sqlglot import exp

from cdesk.errors import ConfigError, SchemaError
from cdesk.migrations.apply import apply
from cdesk.migrations.ddl import render_ddl

from .migrations import NOW, SCHEMA, SHIPPED, Watched, made

LEDGER = SHIPPED[0]


def run(connection: Watched | duckdb.DuckDBPyConnection, migrations: list = SHIPPED) -> list[str]:
    return apply(connection, migrations, dialect="duckdb", schema=SCHEMA, now=NOW)


def test_a_fresh_warehouse_gets_everything_and_a_second_run_costs_one_select() -> None:
    watched = Watched(duckdb.connect())
    assert run(watched) == [migration.path.name for migration in SHIPPED]
    watched.statements.clear()
    assert run(watched) == []
    (statement,) = watched.statements
    assert statement.startswith("SELECT migration, checksum FROM")


def test_what_was_applied_is_written_down() -> None:
    connection = duckdb.connect()
    run(connection)
    rows = connection.execute(
        f"SELECT migration, version, name, checksum, applied_at FROM {SCHEMA}._schema_migrations"
    ).fetchall()
    assert rows == [
        (m.key, m.version, m.name, m.checksum, NOW.replace(tzinfo=None)) for m in SHIPPED
    ]


def test_who_applied_what_under_which_tag_and_for_how_long_is_written_down_too() -> None:
    connection = duckdb.connect()
    tags = iter(f"cdesk_{number:08x}" for number in range(len(SHIPPED)))
    apply(
        connection,
        SHIPPED,
        dialect="duckdb",
        schema=SCHEMA,
        now=NOW,
        applied_by="ada",
        next_tag=lambda: next(tags),
    )
    rows = connection.execute(
        f"SELECT applied_by, query_tag, duration_ms > 0 FROM {SCHEMA}._schema_migrations"
    ).fetchall()
    assert rows == [("ada", f"cdesk_{number:08x}", True) for number in range(len(SHIPPED))]


def test_a_migration_that_fails_half_way_leaves_nothing_and_can_be_run_again() -> None:
    connection = duckdb.connect()
    two = made("V001", "CREATE TABLE IF NOT EXISTS a (x NUMBER); CREATE TABLE b (x NUMBER)")
    with pytest.raises(duckdb.IOException) as failed:
        run(Watched(connection, fails_at="b (x"), [LEDGER, two])
    assert failed.value.__notes__ == ["while applying V001__made.sql"]
    tables = connection.execute("SELECT table_name FROM duckdb_tables()").fetchall()
    assert tables == [("_schema_migrations",)]
    assert run(connection, [LEDGER, two]) == ["V001__made.sql"]


def test_a_migration_whose_commit_fails_is_not_written_down() -> None:
    connection = duckdb.connect()
    run(connection, [LEDGER])
    one = made("V001", "CREATE TABLE a (x NUMBER)")
    with pytest.raises(duckdb.IOException):
        run(Watched(connection, fails_at="COMMIT"), [LEDGER, one])
    assert run(connection, [LEDGER, one]) == ["V001__made.sql"]


def test_a_failure_that_is_no_missing_table_keeps_its_cause() -> None:
    with pytest.raises(duckdb.IOException, match="disk"):
        run(Watched(duckdb.connect(), fails_at=SCHEMA))


def test_a_changed_view_is_replaced_with_those_that_read_it() -> None:
    connection = duckdb.connect()
    table = made("V001", "CREATE TABLE t (a NUMBER, b NUMBER)")
    reader = made("R__2", "CREATE OR REPLACE VIEW w AS SELECT a FROM v")
    run(
        connection,
        [LEDGER, table, made("R__1", "CREATE OR REPLACE VIEW v AS SELECT a FROM t"), reader],
    )
    wider = made("R__1", "CREATE OR REPLACE VIEW v AS SELECT a, b FROM t")
    assert run(connection, [LEDGER, table, wider, reader]) == ["R__1.sql", "R__2.sql"]
    connection.execute(f"SELECT a FROM {SCHEMA}.w")
    rows = connection.execute(
        f"SELECT count(*) FROM {SCHEMA}._schema_migrations WHERE migration = 'R__1'"
    ).fetchone()
    assert rows == (1,)


class Snowflake:
    """Records statements; answers every SELECT with what was written down."""

    def __init__(self, applied: list[tuple[str, str]] | None) -> None:
        self.applied = applied
        self.statements: list[str] = []

    def execute(self, sql: str, params: object = (), /) -> Snowflake:
        """Keeps the statement; the ledger is missing when nothing was applied."""
        self.statements.append(sql)
        if sql.startswith("SELECT") and self.applied is None:
            raise LookupError("002003: does not exist or not authorized")
        return self

    def fetchall(self) -> list[tuple[str, str]]:
        """The ledger."""
        return self.applied or []


def test_on_snowflake_a_definition_runs_outside_and_its_record_inside_a_transaction() -> None:
    connection = Snowflake(None)
    apply(
        connection,
        [LEDGER],
        dialect="snowflake",
        schema="CLAUDE_LOGS.ACTIVITIES",
        now=NOW,
        absent=LookupError,
    )
    assert [statement.split(" (")[0].split(" WHERE")[0] for statement in connection.statements] == [
        "SELECT migration, checksum FROM CLAUDE_LOGS.ACTIVITIES._schema_migrations",
        "CREATE SCHEMA IF NOT EXISTS CLAUDE_LOGS.ACTIVITIES",
        "CREATE TABLE IF NOT EXISTS CLAUDE_LOGS.ACTIVITIES._schema_migrations",
        "BEGIN",
        "DELETE FROM CLAUDE_LOGS.ACTIVITIES._schema_migrations",
        "INSERT INTO CLAUDE_LOGS.ACTIVITIES._schema_migrations",
        "COMMIT",
    ]


def test_on_snowflake_an_up_to_date_warehouse_costs_one_select() -> None:
    connection = Snowflake([(m.key, m.checksum) for m in SHIPPED])
    assert apply(connection, SHIPPED, dialect="snowflake", schema="a.b", now=NOW) == []
    assert len(connection.statements) == 1


@pytest.mark.parametrize("dialect", ["duckdb", "snowflake"])
@pytest.mark.parametrize("migration", SHIPPED, ids=lambda migration: migration.path.name)
def test_every_table_comes_out_in_the_configured_schema(
    migration: object, dialect: Literal["duckdb", "snowflake"]
) -> None:
    for statement in render_ddl(migration.sql, dialect=dialect, schema="logs.acts"):  # type: ignore[attr-defined]
        tree = sqlglot.parse_one(statement, read=dialect)
        assert isinstance(tree, exp.Create)
        ctes = {cte.alias for cte in tree.find_all(exp.CTE)}
        for table in tree.find_all(exp.Table):
            assert (table.name in ctes) != ((table.catalog, table.db) == ("logs", "acts"))


def test_a_statement_no_engine_understands_is_refused_and_not_passed_on() -> None:
    for sql in ("CREATE TABLE a.b (x NUMBER)", "SELEKT 1", "CREATE TABLE ("):
        with pytest.raises(SchemaError, match="a migration"):
            render_ddl(sql, dialect="duckdb", schema="s")


def test_a_schema_that_is_no_plain_name_is_refused() -> None:
    with pytest.raises(ConfigError):
        render_ddl("CREATE TABLE t (x NUMBER)", dialect="duckdb", schema="s; DROP TABLE t")
