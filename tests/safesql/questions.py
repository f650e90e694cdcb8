"""What the tests of SafeSQL share: the shipped SQL, templates made on the spot, a warehouse."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import orjson

from cdesk.migrations.apply import apply
from cdesk.migrations.plan import load_migrations
from cdesk.resources import sql_path
from cdesk.safesql.catalog import Catalog
from cdesk.safesql.render import bind_values, render
from cdesk.safesql.template import Template, parse_template

SCHEMA = "activities"
NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
BEGAN = NOW - timedelta(days=20)
HASH = "0123456789abcdef"
REQUIRED = {"subject": "orders", "metric": "revenue_usd", "query_hash": HASH}


def sql_folder(*parts: str) -> Path:
    """A folder of the installed package, or of the repository when the package has none."""
    repository = Path(__file__).parents[2] / "sql"
    return repository.joinpath(*parts) if repository.is_dir() else sql_path(*parts)


CATALOG = Catalog.load(sql_folder("templates"))
MIGRATIONS = load_migrations(sql_folder("schema"))


def question(sql: str, *, header: str = "", row_cap: int = 100, name: str = "question") -> Template:
    """A template with this SELECT and these extra header lines."""
    text = (
        f'/*\nname = "{name}"\nversion = 1\npurpose = "a test"\nrow_cap = {row_cap}\n'
        f'headline = "{{rows:row|rows}}"\nempty = "none"\n{header}\n*/\n{sql}\n'
    )
    return parse_template(text, Path(f"{name}.sql"))


def required_params(template: Template) -> dict[str, Any]:
    """Values for the parameters that have no default."""
    return {name: REQUIRED[name] for name, param in template.params.items() if param.is_required}


def warehouse() -> duckdb.DuckDBPyConnection:
    """An empty warehouse in memory, with this version's tables and views."""
    connection = duckdb.connect()
    apply(connection, MIGRATIONS, dialect="duckdb", schema=SCHEMA, now=NOW)
    return connection


def ask(
    connection: duckdb.DuckDBPyConnection,
    template: Template,
    params: dict[str, Any] | None = None,
    *,
    customer: str = "acme",
    as_of: datetime = NOW,
    sample_percent: float | None = None,
) -> list[dict[str, Any]]:
    """The rows a template answers with, as the worker would run it."""
    params = required_params(template) if params is None else params
    rendered = render(template, dialect="duckdb", schema=SCHEMA, sample_percent=sample_percent)
    values = bind_values(template, params, customer=customer, as_of=as_of)
    found = connection.execute(rendered.sql, values)
    names = [column[0] for column in found.description]
    return [dict(zip(names, row, strict=True)) for row in found.fetchall()]


def add_event(
    connection: duckdb.DuckDBPyConnection,
    activity: str,
    *,
    customer: str = "acme",
    after_s: float = 0,
    conversation: str | None = None,
    **payload: Any,
) -> None:
    """One event `after_s` seconds after `BEGAN`; the derived columns are not its business."""
    ts = (BEGAN + timedelta(seconds=after_s)).replace(tzinfo=None)
    if conversation is not None:
        payload["conversation_id"] = conversation
    (number,) = connection.execute(f"SELECT count(*) FROM {SCHEMA}.events").fetchone() or (0,)
    connection.execute(
        f"INSERT INTO {SCHEMA}.events (activity, customer, ts, activity_occurrence, _feature_json,"
        " _session_id, _activity_id, _accepted_at, _ingested_at)"
        " VALUES (?, ?, ?, 1, ?, ?, ?, ?, ?)",
        [
            f"cdesk.{activity}",
            customer,
            ts,
            orjson.dumps(payload).decode(),
            f"session of {customer}",
            f"{customer}-{number:08d}",
            ts + timedelta(days=1),  # imported: it is older than its acceptance
            ts + timedelta(days=1, seconds=2),
        ],
    )


def add_atom(
    connection: duckdb.DuckDBPyConnection,
    value: Any,
    *,
    customer: str = "acme",
    subject: str = "orders",
    metric: str = "revenue_usd",
    after_s: float = 0,
    valid_until: datetime | None = None,
) -> None:
    """One insight atom."""
    ts = (BEGAN + timedelta(seconds=after_s)).replace(tzinfo=None)
    connection.execute(
        f"INSERT INTO {SCHEMA}.insight_atoms (id, ts, customer, subject, metric, value, confidence,"
        " provenance_query_hash, is_verified, valid_from, valid_until)"
        " VALUES (?, ?, ?, ?, ?, ?, 0.9, ?, true, ?, ?)",
        [
            f"{customer}-{subject}-{metric}-{after_s}",
            ts,
            customer,
            subject,
            metric,
            orjson.dumps(value).decode(),
            HASH,
            ts,
            valid_until,
        ],
    )


def add_run(
    connection: duckdb.DuckDBPyConnection, *, customer: str = "acme", ticket: str = "1"
) -> None:
    """One execution of a query with its provenance."""
    at = BEGAN.replace(tzinfo=None)
    connection.execute(
        f"INSERT INTO {SCHEMA}.query_audit VALUES (?, 'cdesk_00000001', 'uuid', ?, ?, 'tool_usage',"
        " 1, 10, 9, 3, 12.5, 'done', false, ?)",
        [f"{customer}-{ticket}", HASH, customer, at],
    )
    connection.execute(
        f"INSERT OR IGNORE INTO {SCHEMA}.provenance VALUES (?, 'tool_usage', 1, 'text', ?, ?,"
        " 'cdesk', ?)",
        [HASH, orjson.dumps({"secret_of": customer}).decode(), at, customer],
    )
