"""What a template's SELECT may be, proved on its syntax tree.

Invariants: everything is allow-listed, so what this module has never heard of is refused; a table
is a readable table or an earlier CTE, by bare name; a column is a column of a table it reads or a
name the template gave; JSON is read by path and cast at once (`_feature_json:tool::STRING`), which
is the form that means the same on every engine; binds and declarations match exactly.

What this cannot show: that a predicate means what its author thinks. `0 or 1=1` is good SQL, and
that is why the tenant is not a predicate of the template but a scope around it
(`cdesk.safesql.scope`).
"""

from __future__ import annotations

import re
from typing import Final

import sqlglot
from sqlglot import TokenType, exp
from sqlglot.dialects.snowflake import Snowflake
from sqlglot.errors import SqlglotError

from cdesk.errors import TemplateError
from cdesk.safesql.scope import base_tables
from cdesk.safesql.template import AS_OF, Template, check_body
from cdesk.tables import TABLES, VARIANTS

_QUERY: Final = (
    exp.Select, exp.Union, exp.With, exp.CTE, exp.TableAlias, exp.Subquery, exp.From, exp.Join,
    exp.Table, exp.Identifier, exp.Column, exp.Alias, exp.Where, exp.Group, exp.Having,
    exp.Qualify, exp.Order, exp.Ordered, exp.Distinct, exp.Star, exp.Placeholder,
)  # fmt: skip
_SCALAR: Final = (
    exp.And, exp.Or, exp.Not, exp.EQ, exp.NEQ, exp.GT, exp.GTE, exp.LT, exp.LTE, exp.Is, exp.In,
    exp.Between, exp.Case, exp.If, exp.Paren, exp.Tuple, exp.Exists, exp.Add, exp.Sub, exp.Mul,
    exp.Div, exp.Mod, exp.Neg, exp.DPipe, exp.Literal, exp.Null, exp.Boolean, exp.Cast,
    exp.TryCast, exp.ToBoolean, exp.DataType, exp.DataTypeParam, exp.Var, exp.JSONExtract,
    exp.JSONPath, exp.JSONPathRoot, exp.JSONPathKey,
)  # fmt: skip
_FUNCTIONS: Final = (
    exp.Count, exp.CountIf, exp.Sum, exp.Avg, exp.Min, exp.Max, exp.Median, exp.PercentileCont,
    exp.WithinGroup, exp.ArgMax, exp.ArgMin, exp.Round, exp.Abs, exp.Floor, exp.Ceil,
    exp.Coalesce, exp.Nullif, exp.Greatest, exp.Least, exp.Lower, exp.Upper, exp.Length,
    exp.StartsWith, exp.Contains, exp.DateAdd, exp.DateDiff, exp.TimestampTrunc, exp.DateTrunc,
    exp.Window, exp.WindowSpec, exp.RowNumber, exp.Rank, exp.DenseRank, exp.Lag, exp.Lead,
    exp.FirstValue, exp.LastValue,
)  # fmt: skip
_ALLOWED: Final = frozenset(_QUERY + _SCALAR + _FUNCTIONS)

_CLAUSES: Final = {
    exp.Select: {
        "with_", "expressions", "from_", "joins", "where", "group", "having", "qualify", "order",
        "distinct",
    },
    exp.Union: {"with_", "this", "expression", "distinct", "order"},
    exp.With: {"expressions"},
    exp.CTE: {"this", "alias"},
    exp.TableAlias: {"this"},
    exp.Subquery: {"this", "alias"},
    exp.Table: {"this", "alias"},
    exp.Join: {"this", "on", "using", "side", "kind"},
    exp.Column: {"this", "table"},
    exp.Identifier: {"this"},
    exp.Star: set(),
    exp.Distinct: {"expressions"},
    exp.Group: {"expressions"},
    exp.In: {"this", "expressions", "query"},
    exp.JSONExtract: {"this", "expression", "variant_extract", "requires_json"},
    exp.ToBoolean: {"this", "safe"},
    exp.Window: {"this", "partition_by", "order", "spec", "over"},
}  # fmt: skip
"""The only parts these nodes may have: no INTO, hint, lock, limit, time travel, pivot or sample."""

_JOINS: Final = frozenset(
    {(side, kind) for side in ("LEFT", "RIGHT", "FULL") for kind in ("", "OUTER")}
    | {("", kind) for kind in ("", "INNER", "CROSS")}
)
_UNITS: Final = frozenset(
    {
        "YEAR", "QUARTER", "MONTH", "WEEK", "DAY", "HOUR", "MINUTE", "SECOND", "MILLISECOND",
    }
)  # fmt: skip
_TYPES: Final = frozenset(
    {
        exp.DType.TEXT, exp.DType.VARCHAR, exp.DType.DECIMAL, exp.DType.DOUBLE,
        exp.DType.BOOLEAN, exp.DType.DATE, exp.DType.TIMESTAMPNTZ,
    }
)  # fmt: skip
_OTHER_STATEMENTS: Final = frozenset(
    (Snowflake.Tokenizer.COMMANDS | Snowflake.Parser.STATEMENT_PARSERS.keys()) - {TokenType.DESC}
)
"""Words that begin another kind of statement; the parser would turn some into opaque text."""

_COMPARISONS: Final = (
    exp.EQ, exp.NEQ, exp.GT, exp.GTE, exp.LT, exp.LTE, exp.Is, exp.In, exp.Between,
)  # fmt: skip
_SELECT: Final = re.compile(r"(select|with)\b", re.IGNORECASE)
_PSEUDO: Final = re.compile(
    r"current_.*|metadata.*|localtime.*|user|session_user|rowid|sysdate|filename"
)
"""Names that an engine may answer itself, without asking a table."""


def check(template: Template) -> exp.Query:
    """The proved syntax tree of a template, a new one at each call.

    Raises:
        TemplateError: names the file and the rule it breaks.
    """
    try:
        check_body(template.sql)
        tree = _parse(template.sql)
        _check_nodes(tree)
        _check_tables(tree)
        _check_columns(tree)
        _check_variants(tree)
        _check_binds(tree, template)
        _check_result(tree, template)
    except (ValueError, SqlglotError, RecursionError) as error:
        reason = str(error) if isinstance(error, ValueError) else "the SELECT cannot be parsed"
        raise TemplateError(f"{template.path}: {reason}") from error
    return tree


def _parse(sql: str) -> exp.Query:
    if not _SELECT.match(sql):
        raise ValueError("a template is a SELECT")
    for token in sqlglot.tokenize(sql, read="snowflake"):
        if token.token_type in _OTHER_STATEMENTS:
            raise ValueError(f"{token.text.upper()[:60]} is no part of a SELECT")
    trees = sqlglot.parse(sql, read="snowflake")
    if len(trees) != 1:
        raise ValueError("a template holds exactly one statement")
    tree = trees[0]
    if not isinstance(tree, (exp.Select, exp.Union)):
        raise ValueError("a template is a SELECT")
    return tree


def _check_nodes(tree: exp.Query) -> None:
    for node in tree.walk():
        kind = type(node)
        if kind not in _ALLOWED:
            said = node.name if isinstance(node, exp.Anonymous) else kind.__name__
            raise ValueError(f"{said[:60]} is not on the list of what a template may use")
        if (clauses := _CLAUSES.get(kind)) is not None:
            present = {key for key, part in node.args.items() if part}
            if extra := sorted(present - clauses):
                raise ValueError(f"{kind.__name__} may not have {extra[0].strip('_')}")
        if node.comments:
            raise ValueError("the SELECT must have no comments; write them into the header")
        _check_unit(node)
        _check_leaf(node)


def _check_unit(node: exp.Expr) -> None:
    if isinstance(node, exp.Var) and node.name.upper() not in _UNITS:
        raise ValueError(f"{node.name[:60]} is no unit of time that a template may use")
    if (unit := node.args.get("unit")) is not None and not isinstance(unit, exp.Var):
        raise ValueError("a unit of time is a word such as day, not a bind; engines need it early")


def _check_leaf(node: exp.Expr) -> None:
    if isinstance(node, exp.Literal) and node.is_string:
        raise ValueError("texts belong into [constants] or [params] and are bound as :name")
    if isinstance(node, exp.DataType) and node.this not in _TYPES:
        raise ValueError(f"the type {node.this.value} is not one that a template may use")
    if isinstance(node, exp.ToBoolean) and not node.args.get("safe"):
        raise ValueError("a text becomes a boolean with TRY_CAST, which answers NULL to nonsense")
    if isinstance(node, _COMPARISONS) and isinstance(node.parent, _COMPARISONS):
        raise ValueError("a comparison of a comparison needs brackets; engines read it differently")
    if isinstance(node, exp.Star) and not isinstance(node.parent, exp.Count):
        raise ValueError("SELECT * is not allowed; name the columns")
    if isinstance(node, (exp.From, exp.Join)) and not isinstance(
        node.this, (exp.Table, exp.Subquery)
    ):
        raise ValueError("FROM and JOIN take a table or a subquery")
    if isinstance(node, exp.Join) and (node.side.upper(), node.kind.upper()) not in _JOINS:
        raise ValueError("a join is INNER, LEFT, RIGHT, FULL or CROSS")
    if isinstance(node, exp.Table) and not isinstance(node.this, exp.Identifier):
        raise ValueError("a table is a bare name; table functions are not allowed")


def _check_tables(tree: exp.Query) -> None:
    """Each table is a readable one or a CTE written before the place that reads it."""
    withs = list(tree.find_all(exp.With))
    if any(with_ is not tree.args.get("with_") for with_ in withs):
        raise ValueError("WITH stands at the top only")
    ctes = list(withs[0].expressions) if withs else []
    earlier: set[str] = set()
    for cte in ctes:
        name = cte.alias.lower()
        if name in TABLES or name in earlier:
            raise ValueError(f"the CTE {name} hides a table or a CTE of that name")
        _check_reads(cte.this, earlier)
        earlier.add(name)
    inside = {id(table) for cte in ctes for table in cte.find_all(exp.Table)}
    for table in tree.find_all(exp.Table):
        if id(table) not in inside:
            _check_read(table, earlier)
    if not base_tables(tree):
        raise ValueError(f"a template reads at least one of {', '.join(TABLES)}")


def _check_reads(tree: exp.Expr, visible: set[str]) -> None:
    for table in tree.find_all(exp.Table):
        _check_read(table, visible)


def _check_read(table: exp.Table, visible: set[str]) -> None:
    name = table.name.lower()
    if name not in TABLES and name not in visible:
        raise ValueError(
            f"the table {name[:60]} is neither an earlier CTE nor one of {', '.join(TABLES)}"
        )


def _check_columns(tree: exp.Query) -> None:
    aliases = {node.alias.lower() for node in tree.find_all(exp.Alias)}
    if pseudo := sorted(name for name in aliases if _PSEUDO.fullmatch(name)):
        raise ValueError(f"{pseudo[0][:60]} is no name for a column; engines give it a meaning")
    known = aliases.union(*(TABLES[name].columns for name in base_tables(tree)))
    for column in tree.find_all(exp.Column):
        if column.name.lower() not in known:
            raise ValueError(f"{column.name[:60]} is no column of the tables that are read")


def _check_variants(tree: exp.Query) -> None:
    for node in tree.find_all(exp.JSONExtract):
        if not isinstance(node.this, exp.Column) or node.this.name.lower() not in VARIANTS:
            raise ValueError("a path is read from a column that holds JSON")
        if not _is_text_cast(node.parent):
            raise ValueError("a path is cast at once: column:key::STRING")
    for column in tree.find_all(exp.Column):
        if column.name.lower() in VARIANTS and not (
            isinstance(column.parent, exp.JSONExtract) or _is_text_cast(column.parent)
        ):
            raise ValueError(f"{column.name} holds JSON: read it by path, or cast it to STRING")


def _is_text_cast(node: exp.Expr | None) -> bool:
    return type(node) is exp.Cast and node.to.this in (exp.DType.TEXT, exp.DType.VARCHAR)


def binds(tree: exp.Query) -> frozenset[str]:
    """The names of the binds in a tree."""
    return frozenset(node.name for node in tree.find_all(exp.Placeholder))


def _check_binds(tree: exp.Query, template: Template) -> None:
    used = binds(tree)
    if "" in used or "?" in used:
        raise ValueError("binds have names, such as :days")
    declared = template.params.keys() | template.constants.keys()
    if unknown := sorted(used - declared - {AS_OF}):
        raise ValueError(f":{unknown[0]} is declared in neither [params] nor [constants]")
    if unused := sorted(declared - used):
        raise ValueError(f"{unused[0]} is declared, but the SELECT does not use it")


def _check_result(tree: exp.Query, template: Template) -> None:
    names = [name.lower() for name in tree.named_selects]
    if "" in names or len(set(names)) != len(names):
        raise ValueError("every column of the result has a name of its own")
    if not tree.args.get("order") and template.row_cap > 1:
        raise ValueError("ORDER BY is missing, so which rows the cap keeps would be chance")
    if lost := sorted(set(template.headline_fields) - {"rows"} - set(names)):
        raise ValueError(f"the headline names {lost[0]}, which is no column of the result")
    chart = template.chart
    if chart is not None and (lost := sorted({chart.x, chart.y} - set(names))):
        raise ValueError(f"the chart names {lost[0]}, which is no column of the result")
