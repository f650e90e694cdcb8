"""The tenant's scope: every base table of a query becomes a CTE of the customer's own rows.

Invariants: the predicate is a bound value, `:cdesk_customer`, that no template can name; after
`scoped` the only references to real tables are the generated CTEs' own, which is proved on the tree
before it is returned; a sample is taken of a table inside its CTE, so that everything built on it
sees the same rows.

Sampling: each row is kept by chance, so taking the sample before the tenant's filter gives the same
distribution as after it. DuckDB draws rows (`bernoulli`, seeded: the same rows while the table is
unchanged). Snowflake draws micro-partitions (`SYSTEM`, seeded), because the byte cap is about bytes
and a row sample reads every partition.
"""

from __future__ import annotations

from typing import Final

from sqlglot import exp

from cdesk.dialect import Dialect
from cdesk.dialect.names import qualified
from cdesk.errors import TemplateError
from cdesk.tables import TABLES

CUSTOMER: Final = "cdesk_customer"
"""The bind of the tenant predicate."""

_SEED: Final = 42


def base_tables(tree: exp.Expr) -> tuple[str, ...]:
    """The base tables a checked, unscoped tree reads, in order of names."""
    return tuple(sorted({table.name.lower() for table in tree.find_all(exp.Table)} & TABLES.keys()))


def scoped(
    tree: exp.Query, *, dialect: Dialect, schema: str, sample_percent: float | None = None
) -> exp.Query:
    """A copy of a checked tree that can reach nothing but the bound customer's rows.

    Args:
        sample_percent: how much of each sampled table to read, above 0 and below 100; `None` for
            all of it.

    Raises:
        TemplateError: a reference escapes the scope.
        ConfigError: the schema is not one or two plain names.
    """
    if sample_percent is not None and not 0 < sample_percent < 100:
        raise ValueError("sample_percent must be above 0 and below 100")
    tree = tree.copy()
    own = []
    for name in base_tables(tree):
        source = qualified(name, dialect=dialect, schema=schema)
        if sample_percent is not None and TABLES[name].is_sampled:
            source.set("sample", _sample(sample_percent, dialect))
        own.append(_tenant_cte(name, source))
    written = tree.args.get("with_")
    theirs = list(written.expressions) if written is not None else []
    tree.set("with_", exp.With(expressions=[*own, *theirs]))
    _prove(tree, own)
    return tree


def _tenant_cte(name: str, source: exp.Table) -> exp.CTE:
    rows = exp.select(*(exp.column(column) for column in TABLES[name].columns), copy=False)
    rows = rows.from_(source, copy=False).where(
        exp.EQ(this=exp.column("customer"), expression=exp.Placeholder(this=CUSTOMER)), copy=False
    )
    return exp.CTE(this=rows, alias=exp.TableAlias(this=exp.to_identifier(name)))


def _sample(percent: float, dialect: Dialect) -> exp.TableSample:
    return exp.TableSample(
        method=exp.var("BERNOULLI" if dialect == "duckdb" else "SYSTEM"),
        percent=exp.Literal.number(f"{percent:.6f}".rstrip("0").rstrip(".")),
        seed=exp.Literal.number(_SEED),
    )


def _prove(tree: exp.Query, own: list[exp.CTE]) -> None:
    """Refuses a tree in which a table is neither a CTE nor a generated CTE's own source."""
    with_ = tree.args["with_"]
    names = [cte.alias.lower() for cte in with_.expressions]
    if len(set(names)) != len(names) or list(tree.find_all(exp.With)) != [with_]:
        raise TemplateError("a CTE hides another, so the tenant's scope cannot be proved")
    sources = {id(cte.this.args["from_"].this) for cte in own}
    for table in tree.find_all(exp.Table):
        if id(table) in sources:
            continue
        if table.db or table.catalog or table.name.lower() not in names:
            raise TemplateError("a table escapes the tenant's scope; read tables by bare name only")
