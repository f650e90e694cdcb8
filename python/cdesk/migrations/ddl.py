"""A migration as statements of one engine.

Invariants: files name tables without a schema, and every table of a statement that is not a CTE of
its own comes out in the configured schema; what DuckDB has no word for and does not need
(clustering, COPY GRANTS) is left out, and anything else it cannot say is an error, never silently
dropped.
"""

from __future__ import annotations

import sqlglot
from sqlglot import exp
from sqlglot.errors import ErrorLevel, SqlglotError

from cdesk.dialect import Dialect
from cdesk.dialect.duckdb import to_duckdb
from cdesk.dialect.names import qualified
from cdesk.errors import SchemaError

_SNOWFLAKE_ONLY = (exp.Cluster, exp.CopyGrantsProperty, exp.ClusterProperty)


def render_ddl(sql: str, *, dialect: Dialect, schema: str) -> list[str]:
    """The statements of a migration, in order.

    Args:
        sql: statements in Snowflake's dialect, with bare table names.
        schema: where the tables are: `schema` or `database.schema`.

    Raises:
        SchemaError: a statement cannot be read or said in this dialect.
        ConfigError: the schema is not one or two plain names.
    """
    try:
        trees = [tree for tree in sqlglot.parse(sql, read="snowflake") if tree is not None]
        return [_render(tree, dialect, schema) for tree in trees]
    except SqlglotError as error:
        raise SchemaError(f"a migration cannot be rendered for {dialect}") from error


def _render(tree: exp.Expr, dialect: Dialect, schema: str) -> str:
    if isinstance(tree, exp.Command) or tree.find(exp.Command):
        raise SchemaError("a migration holds a statement that cannot be rendered; split it out")
    ctes = {cte.alias.lower() for cte in tree.find_all(exp.CTE)}
    for table in list(tree.find_all(exp.Table)):
        if table.db:
            raise SchemaError(f"a migration names {table.name} with a schema; leave the schema out")
        if table.name.lower() not in ctes:
            place = qualified(table.name, dialect=dialect, schema=schema)
            table.set("db", place.args["db"])
            table.set("catalog", place.args["catalog"])
    if dialect == "duckdb":
        for node in list(tree.find_all(*_SNOWFLAKE_ONLY)):
            node.pop()
        to_duckdb(tree)
    return tree.sql(dialect=dialect, comments=False, unsupported_level=ErrorLevel.RAISE)
