"""Where the files that ship inside the wheel are: SQL schema, SafeSQL templates, the sample export.

The one place that knows how the package is laid out on disk.
"""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

_PACKAGE = Path(str(files("cdesk")))


def sql_path(*parts: str) -> Path:
    """The path of a packaged file or folder below `sql/`, such as `sql_path("templates")`."""
    return _PACKAGE.joinpath("sql", *parts)


def sample_export_path() -> Path:
    """The path of the sample Claude data export that `cdesk demo` imports."""
    return _PACKAGE / "sample" / "export.zip"
