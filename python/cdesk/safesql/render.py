"""A checked, scoped template as SQL text of one engine, and its values as that engine takes them.

Invariants: a template means the same on every engine: each bind is cast to its declared type, JSON
is read as text by path, NUMBER is a whole number unless it has a scale, and a sum of whole numbers
has 38 digits; the text is one SELECT
whose LIMIT is one row above the cap, so that a reader can tell a full result from a cut one; no
value is ever part of the text.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import lru_cache
from typing import Any, Final

from sqlglot import exp
from sqlglot.errors import ErrorLevel

from cdesk.dialect import Dialect
from cdesk.dialect.duckdb import to_duckdb
from cdesk.safesql.check import binds, check
from cdesk.safesql.param import ParamType
from cdesk.safesql.scope import CUSTOMER, base_tables, scoped
from cdesk.safesql.template import AS_OF, Constant, Template
from cdesk.tables import TABLES

_MARK: Final = "cdesk_bind_"
_MARKED: Final = re.compile(rf":{_MARK}(\w+)")
_SQL_TYPE: Final = {
    ParamType.STRING: "TEXT",
    ParamType.INTEGER: "DECIMAL(38, 0)",
    ParamType.NUMBER: "DOUBLE",
    ParamType.BOOLEAN: "BOOLEAN",
    ParamType.DATE: "DATE",
    ParamType.TIMESTAMP: "TIMESTAMPNTZ",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Rendered:
    """A template as text of one engine."""

    sql: str
    """DuckDB: binds as `$name`. Snowflake: binds as `?`, see `binds_order`."""
    binds_order: tuple[str, ...]
    """The names of the binds in the order of the text; a name that is used twice is here twice."""
    tables: tuple[str, ...]
    """The base tables that are read."""
    row_cap: int
    """The most rows of a result; one row more means that it was cut."""
    is_sampled: bool
    """Whether a table was sampled; a template without a table that is sampled reads everything."""

    def ordered(self, values: Mapping[str, Any]) -> list[Any]:
        """The values of `bind_values` in `binds_order`, for an engine with positional binds."""
        return [values[name] for name in self.binds_order]


def render(
    template: Template, *, dialect: Dialect, schema: str, sample_percent: float | None = None
) -> Rendered:
    """The text of a template in the scope of one bound customer.

    Args:
        schema: where the tables are: `schema` or `database.schema`.
        sample_percent: how much of the sampled tables to read, above 0 and below 100.

    Raises:
        TemplateError: the template is not SafeSQL.
        ConfigError: the schema is not one or two plain names.
    """
    return _render(template, dialect, schema, sample_percent)


@lru_cache(maxsize=512)
def _render(
    template: Template, dialect: Dialect, schema: str, sample_percent: float | None
) -> Rendered:
    tree = check(template)
    tables = base_tables(tree)
    tree = scoped(tree, dialect=dialect, schema=schema, sample_percent=sample_percent)
    limit = exp.Limit(expression=exp.Literal.number(template.row_cap + 1))
    tree.set("limit", limit)
    types = bind_types(template)
    for node in list(tree.find_all(exp.Placeholder)):
        typed = exp.DataType.build(types[node.name], dialect="snowflake")
        marked = exp.Placeholder(this=f"{_MARK}{node.name}")
        node.replace(exp.Cast(this=marked, to=typed))
    text = _marked_text(tree, dialect)
    return Rendered(
        sql=_MARKED.sub(r"$\1" if dialect == "duckdb" else "?", text),
        binds_order=tuple(_MARKED.findall(text)),
        tables=tables,
        row_cap=template.row_cap,
        is_sampled=sample_percent is not None and any(TABLES[name].is_sampled for name in tables),
    )


def _marked_text(tree: exp.Query, dialect: Dialect) -> str:
    if dialect == "snowflake":
        return tree.sql(dialect="snowflake", unsupported_level=ErrorLevel.RAISE)
    text = to_duckdb(tree).sql(dialect="duckdb", unsupported_level=ErrorLevel.RAISE)
    return text.replace(f"${_MARK}", f":{_MARK}")


def bind_types(template: Template) -> dict[str, str]:
    """The SQL type every bind of a template is cast to, by name."""
    types = {name: _SQL_TYPE[param.type] for name, param in template.params.items()}
    types |= {name: _constant_type(value) for name, value in template.constants.items()}
    return types | {AS_OF: "TIMESTAMPNTZ", CUSTOMER: "TEXT"}


def _constant_type(value: Constant) -> str:
    if isinstance(value, bool):
        return "BOOLEAN"
    if isinstance(value, int):
        return "DECIMAL(38, 0)"
    return "DOUBLE" if isinstance(value, float) else "TEXT"


def bind_values(
    template: Template, params: Mapping[str, object], *, customer: str, as_of: datetime
) -> dict[str, Any]:
    """A value for every bind of the rendered text and for nothing else.

    Args:
        params: parameters, canonical or not; they are bound by the template's rules.
        customer: whose rows may be seen; the server's own, never an argument of the model.
        as_of: up to when the question counts; a time without a zone is UTC.

    Raises:
        InvalidArgument: a parameter breaks its rule.
    """
    values: dict[str, Any] = {
        name: _python(template.params[name].type, value)
        for name, value in template.bind(params).items()
    }
    values |= template.constants
    if AS_OF in _binds(template):
        values[AS_OF] = as_of.astimezone(UTC).replace(tzinfo=None) if as_of.tzinfo else as_of
    return values | {CUSTOMER: customer}


@lru_cache(maxsize=512)
def _binds(template: Template) -> frozenset[str]:
    return binds(check(template))


def _python(kind: ParamType, value: Any) -> Any:
    if value is None:
        return None
    if kind is ParamType.DATE:
        return date.fromisoformat(value)
    if kind is ParamType.TIMESTAMP:
        return datetime.fromisoformat(value).astimezone(UTC).replace(tzinfo=None)
    return value
