"""How results are shown: tables for people, one JSON document for scripts.

Invariants: every text goes out through `Terminal` or `print_json`, which make it plain (`plain`),
or through `say_error`; other people's text is never markup. What was done is told as done, whatever
stdout takes (`told_as_done`). A number is never cut or broken: where
a table is wider than the terminal, its last columns are left out, but for one that is needed, and a
line names them. A word is broken only where it is longer than an id, or where the last two columns
that are left have no room otherwise.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

import click
import orjson
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.measure import Measurement
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from cdesk.cli.plain import plain, plain_json

_MOMENT: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d[\d:.+Z]*", re.ASCII)
_NUMBER: Final = re.compile(r"-?[\d,]+(\.\d+)?(e[+-]?\d+)?", re.ASCII)
_WHOLE: Final = re.compile(rf"{_NUMBER.pattern}|\d{{4}}-\d\d-\d\d \d\d:\d\d", re.ASCII)
"""A cell that is never broken: a number or a moment."""
_PIPED_WIDTH: Final = 120
_LONGEST_WORD: Final = 36
"""A word of more, which is longer than an id, may be broken."""
_TEXT_WIDTH: Final = 10
"""What the last two columns may be narrowed to where they hold texts; a number's never is."""
_LEAST_COLUMNS: Final = 2
_BETWEEN_COLUMNS: Final = 3
_COMMAND_OF: Final = {
    "log_event": "event",
    "log_insight": "insight",
    "get_context": "context",
    "list_templates": "templates",
    "submit_query": "query",
    "get_result": "query",
    "cancel_query": "cancel",
}
_TOOL: Final = re.compile(rf"\b({'|'.join(_COMMAND_OF)})\b")

json_option: Callable[[Any], Any] = click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON document for scripts."
)
"""The option every command takes that shows something, but for those that print NDJSON."""


class Terminal(Console):
    """The terminal on stdout; what is printed on it is plain text, never markup."""

    def render_str(self, text: str, **how: Any) -> Text:
        """As `Console.render_str`, for plain text."""
        return super().render_str(plain(text), **how)

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        """As `Console.render`; no segment but the terminal's own can steer it."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else Segment(plain(segment.text), segment.style)


def console() -> Terminal:
    """The terminal on stdout; without colour and at a fixed width when it is none."""
    width = None if sys.stdout.isatty() else _PIPED_WIDTH
    return Terminal(highlight=False, markup=False, emoji=False, width=width)


def print_json(document: Any) -> None:
    """Prints one JSON document and a newline."""
    try:
        text = orjson.dumps(document, option=orjson.OPT_INDENT_2).decode()
    except TypeError:  # half of a surrogate pair: a path that is not UTF-8
        text = json.dumps(document, indent=2, ensure_ascii=False)
    sys.stdout.write(plain_json(text) + "\n")
    sys.stdout.flush()  # what cannot be written is an error of the command, not of the exit


def say_error(text: str) -> None:
    """Writes one line on stderr, red on a terminal."""
    click.secho(plain(text), err=True, fg="red" if sys.stderr.isatty() else None)


@contextmanager
def told_as_done(what: str) -> Iterator[None]:
    """Prints of work that is done: where stdout takes nothing, a warning says that it is.

    Args:
        what: what was done, as a whole sentence.
    """
    try:
        yield
    except OSError as error:
        say_error(f"cdesk: warning: {what}, which stdout did not take ({error.strerror})")


def in_commands(text: str) -> str:
    """A text about the tools, for a person at the command line: `list_templates` is a command."""
    return _TOOL.sub(lambda found: f"`cdesk {_COMMAND_OF[found[0]]}`", text)


def count(number: int, noun: str) -> str:
    """A number and its noun, whose plural ends in -s: `1 event`, `1,200 events`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


class Rows:
    """A table of values as they are, drawn as wide as the terminal is."""

    def __init__(
        self,
        columns: Sequence[str],
        rows: Iterable[Sequence[Any]],
        *,
        title: str = "",
        needed: str | None = None,
    ) -> None:
        self._needed = None if needed is None else columns.index(needed)
        self._columns = [plain(str(name)) for name in columns]
        self._cells = [[plain(_shown(value)) for value in row] for row in rows]
        self._title = title

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """The table, and a line about the columns for which there is no room."""
        width = options.max_width
        least = self._least_widths(_LONGEST_WORD)
        shown = self._fitting(least, width)
        if len(shown) < _LEAST_COLUMNS:
            least = self._least_widths(_TEXT_WIDTH)
            shown = self._fitting(least, width, most=_LEAST_COLUMNS)
        widths = self._widened(
            {number: least[number] for number in shown}, _room(width, len(shown))
        )
        drawn = Table(title=self._title or None, title_justify="left", header_style="bold")
        for number, wide in widths.items():
            filled = [row[number] for row in self._cells if row[number]]
            is_numeric = bool(filled) and all(map(_NUMBER.fullmatch, filled))
            drawn.add_column(
                Text(self._columns[number]),
                justify="right" if is_numeric else "left",
                width=wide,
                overflow="fold",
            )
        for row in self._cells:
            drawn.add_row(*(Text(row[number]) for number in shown))
        yield drawn
        if left_out := [name for n, name in enumerate(self._columns) if n not in shown]:
            yield Text(
                f"{count(len(left_out), 'column')} not shown, for want of room: "
                f"{', '.join(left_out)}; widen the terminal or use --json",
                style="dim",
            )

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        """As wide as there is room."""
        return Measurement(1, options.max_width)

    def _least_widths(self, longest_word: int) -> list[int]:
        """The narrowest each column may be: its longest number or moment, or its longest word, of
        which no more than so many letters count."""
        return [self._least_width(number, longest_word) for number in range(len(self._columns))]

    def _least_width(self, number: int, longest_word: int) -> int:
        cells = [row[number] for row in self._cells]
        wholes = [cell_len(cell) for cell in cells if _WHOLE.fullmatch(cell)]
        words = [
            cell_len(word) for cell in (self._columns[number], *cells) for word in cell.split()
        ]
        return max(1, *wholes, min(longest_word, max(words, default=1)))

    def _full_width(self, number: int) -> int:
        """The width in which nothing of this column is folded."""
        cells = [self._columns[number], *(row[number] for row in self._cells)]
        return max(1, *(cell_len(line) for cell in cells for line in cell.split("\n")))

    def _fitting(self, least: Sequence[int], width: int, most: int | None = None) -> list[int]:
        """The columns that have room in a table of that width, and no more than so many; the first
        is always one, and the needed one goes last."""
        shown = list(range(len(least)))
        most = most or len(shown)
        while len(shown) > 1 and (
            len(shown) > most or sum(least[number] for number in shown) > _room(width, len(shown))
        ):
            del shown[-2 if shown[-1] == self._needed and len(shown) > _LEAST_COLUMNS else -1]
        return shown

    def _widened(self, widths: Mapping[int, int], room: int) -> dict[int, int]:
        """Shares what is left of the room among the columns, those that need least first."""
        widths = dict(widths)
        needs = {number: self._full_width(number) - width for number, width in widths.items()}
        left = max(0, room - sum(widths.values()))
        for done, number in enumerate(sorted(needs, key=needs.__getitem__)):
            more = min(needs[number], left // (len(widths) - done))
            widths[number] += more
            left -= more
        return widths


def _room(width: int, columns: int) -> int:
    """What a table of that width has for the cells of that many columns."""
    return width - columns * _BETWEEN_COLUMNS - 1


def table(
    columns: Sequence[str],
    rows: Iterable[Sequence[Any]],
    *,
    title: str = "",
    needed: str | None = None,
) -> Rows:
    """A table of values as they are: other people's text is never read as markup.

    Args:
        needed: the last column, where it is for its sake that the table is shown: the others but
            for the first are left out before it.
    """
    return Rows(columns, rows, title=title, needed=needed)


def print_card(terminal: Terminal, card: Mapping[str, Any]) -> None:
    """Prints a card: headline, preview, row count, link and provenance."""
    provenance = card["provenance"]
    terminal.print(Text(card["headline"], style="bold green"))
    if card["rows"]:
        terminal.print(table(card["columns"], card["rows"]))
    shown = f"{len(card['rows'])} of {count(card['row_count'], 'row')}"
    if card.get("is_capped"):
        shown += " (capped)"
    params = ", ".join(f"{name}={value}" for name, value in provenance["params"].items())
    terminal.print(Text(f"{shown} · {card['link']}", style="dim"), soft_wrap=True)
    terminal.print(
        Text(
            f"{provenance['template']} v{provenance['template_version']} ({params}) · hash "
            f"{provenance['query_hash']} · {provenance['query_tag']} · "
            f"{count(provenance['bytes_scanned'], 'byte')} · {provenance['duration_ms']:.0f} ms"
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
    if isinstance(value, (int, float)):
        return f"{value:,}".removesuffix(".0")  # 100.0 is 100; nothing is rounded
    if isinstance(value, (list, dict)):
        return orjson.dumps(value).decode()
    text = str(value)
    return f"{text[:10]} {text[11:16]}" if _MOMENT.fullmatch(text) else text
