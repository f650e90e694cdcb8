"""What DuckDB would take as Snowflake writes it, but understand differently.

Invariant: a text means the same on every engine: JSON is read as text by path, NUMBER is a whole
number unless it has a scale, and a sum of whole numbers has 38 digits.
"""

from __future__ import annotations

from typing import Final, TypeVar

from sqlglot import exp

from cdesk.tables import VARIANTS

_Node = TypeVar("_Node", bound=exp.Expr)

_TYPES: Final = {exp.DType.VARIANT: "JSON", exp.DType.TIMESTAMPNTZ: "TIMESTAMP"}


def to_duckdb(tree: _Node) -> _Node:
    """Rewrites, in place, what DuckDB would take but understand differently; returns the tree.

    NUMBER becomes BIGINT, but DECIMAL(38, 0) where it holds a sum; VARIANT JSON, TIMESTAMP_NTZ
    microseconds; JSON as text loses its quotes; COUNT_IF is BIGINT, and 0 where there is
    nothing to count.
    """
    sums = {id(cast.to) for cast in tree.find_all(exp.Cast) if cast.this.find(exp.Sum)}
    for node in list(tree.find_all(exp.Cast)):
        if node.to.this in (exp.DType.TEXT, exp.DType.VARCHAR) and type(node) is exp.Cast:
            path = _json_path(node.this)
            if path is not None:
                node.replace(exp.Anonymous(this="JSON_EXTRACT_STRING", expressions=list(path)))
    for count in list(tree.find_all(exp.CountIf)):
        if_so = exp.Case().when(count.this.copy(), exp.Literal.number(1))
        count.replace(exp.Count(this=if_so))
    for kind in list(tree.find_all(exp.DataType)):
        _retype(kind, holds_sum=id(kind) in sums)
    return tree


def _json_path(node: exp.Expr) -> tuple[exp.Expr, exp.Expr] | None:
    """The JSON column and the path that a cast to text reads, or `None` for another cast."""
    if isinstance(node, exp.JSONExtract):
        path = node.expression.sql(dialect="duckdb").strip("'")
        return node.this, exp.Literal.string(path)
    if isinstance(node, exp.Column) and node.name.lower() in VARIANTS:
        return node, exp.Literal.string("$")
    return None


def _retype(kind: exp.DataType, *, holds_sum: bool) -> None:
    if kind.this == exp.DType.DECIMAL:
        scale = [int(param.this.name) for param in kind.expressions]
        if len(scale) < 2 or scale[1] == 0:
            kind.replace(exp.DataType.build("DECIMAL(38, 0)" if holds_sum else "BIGINT"))
    elif (name := _TYPES.get(kind.this)) is not None:
        kind.replace(exp.DataType.build(name, dialect="duckdb"))
