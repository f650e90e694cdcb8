"""How results are shown: tables for people, one JSON document for scripts."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

import click
import orjson
from rich.console import Console
from rich.table import Table
from rich.text import Text

_MOMENT: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d[\d:.+Z]*", re.ASCII)

json_option: Callable[[Any], Any] = click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON document for scripts."
)
"""The option every command that shows something takes."""


def console() -> Console:
    """The terminal on stdout; without colour and at a fixed width when it is none."""
    return Console(highlight=False, width=None if sys.stdout.isatty() else 120)


def print_json(document: Any) -> None:
    """Prints one JSON document and a newline."""
    sys.stdout.write(orjson.dumps(document, option=orjson.OPT_INDENT_2).decode() + "\n")


def table(columns: Sequence[str], rows: Iterable[Sequence[Any]], *, title: str = "") -> Table:
    """A table of values as they are: other people's text is never read as markup."""
    drawn = Table(title=title or None, title_justify="left", header_style="bold")
    cells = [[_shown(value) for value in row] for row in rows]
    for number, name in enumerate(columns):
        is_numeric = bool(cells) and all(
            row[number].replace(",", "").replace(".", "", 1).lstrip("-").isdigit() for row in cells
        )
        drawn.add_column(Text(str(name)), justify="right" if is_numeric else "left")
    for row in cells:
        drawn.add_row(*(Text(cell) for cell in row))
    return drawn


def print_card(terminal: Console, card: Mapping[str, Any]) -> None:
    """Prints a card: headline, preview, row count, link and provenance."""
    provenance = card["provenance"]
    terminal.print(Text(card["headline"], style="bold green"))
    if card["rows"]:
        terminal.print(table(card["columns"], card["rows"]))
    shown = f"{len(card['rows'])} of {card['row_count']:,} rows"
    if card.get("is_capped"):
        shown += " (capped)"
    params = ", ".join(f"{name}={value}" for name, value in provenance["params"].items())
    terminal.print(Text(f"{shown} · {card['link']}", style="dim"), soft_wrap=True)
    terminal.print(
        Text(
            f"{provenance['template']} v{provenance['template_version']} ({params}) · hash "
            f"{provenance['query_hash']} · {provenance['query_tag']} · "
            f"{provenance['bytes_scanned']:,} bytes · {provenance['duration_ms']:.0f} ms"
            f"{' · SAMPLED' if provenance['sampled'] else ''}",
            style="dim",
        ),
        soft_wrap=True,
    )


def _shown(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float) and 0 < abs(value) < 0.001:
        return f"{value:.3g}"  # a small cost is not nothing
    if isinstance(value, float):
        return f"{value:,.4f}".rstrip("0").rstrip(".")
    if isinstance(value, (list, dict)):
        return orjson.dumps(value).decode()
    text = str(value)
    return f"{text[:10]} {text[11:16]}" if _MOMENT.fullmatch(text) else text
