"""From Snowflake's SQL, in which everything is written, to the text of an engine.

`names` says where a table is, `duckdb` rewrites what DuckDB would understand differently. Neither
reads or writes a text of SQL: they work on its tree.
"""

from typing import Literal, TypeAlias

Dialect: TypeAlias = Literal["duckdb", "snowflake"]
"""The SQL of an engine."""
