"""The names of tables, quoted where an engine would take one for a word of its own."""

from __future__ import annotations

import re
from typing import Final

from sqlglot import exp

from cdesk.dialect import Dialect
from cdesk.errors import ConfigError

_SCHEMA: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)?", re.ASCII)


def qualified(name: str, *, dialect: Dialect, schema: str) -> exp.Table:
    """The table `name` in `schema`, which is `schema` or `database.schema`.

    Raises:
        ConfigError: the schema is not one or two plain names.
    """
    if not _SCHEMA.fullmatch(schema):
        raise ConfigError(
            "the schema must be a plain name, or two joined by a dot: letters, digits and "
            "underscores, not beginning with a digit"
        )
    quoted = dialect == "duckdb"
    parts = [exp.to_identifier(part, quoted=quoted) for part in schema.split(".")]
    return exp.Table(
        this=exp.to_identifier(name),
        db=parts[-1],
        catalog=parts[0] if len(parts) == 2 else None,
    )
