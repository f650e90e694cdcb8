"""A template: one file with a header, one SELECT with named binds, and how values are bound to it.

::

    /*
    name = "tool_usage"
    version = 1
    purpose = "Which tools are used, how often they fail and how long they take"
    row_cap = 200
    headline = "{rows:tool|tools} in use; {tool} leads with {calls:call|calls}"
    empty = "No tool calls in this period"
    chart = { kind = "bar", x = "tool", y = "calls" }

    [params.days]
    type = "integer"
    min = 1
    max = 3650
    default = 30
    description = "days to look back"

    [constants]
    completed = "cdesk.tool_completed"
    */
    SELECT ...

Invariants: a `Template` that exists has a well-formed header and a body of a small set of
characters without any quote, comment, semicolon or dollar sign, so that no text can hide in it;
its headline says a number with its noun, of one or of many;
`bind` returns a value for every parameter and nothing else; no SQL parser is imported here. What
the SELECT may do is proved by `cdesk.safesql.check`. Binds are the parameters, the constants and
`:as_of`, the time the question was asked, so that asking again about the same moment gives the same
answer (`cdesk.query.runner` says what it is after a clock was set back).
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from string import Formatter
from types import MappingProxyType
from typing import Any, Final, TypeAlias

from cdesk.errors import InvalidArgument, TemplateError
from cdesk.safesql.param import NAME, Param, declared
from cdesk.smallfile import parsed_toml, read_small

AS_OF: Final = "as_of"
"""The reserved bind: when the question was asked, a timestamp in UTC."""

MAX_ROW_CAP: Final = 100_000
MAX_FILE_BYTES: Final = 64 * 1024
CHART_KINDS: Final = ("bar", "line", "funnel", "heatmap")

_FILE: Final = re.compile(r"/\*\n(?P<header>.*?)\n\*/\n(?P<body>.*)", re.DOTALL)
_NOUNS: Final = re.compile(r"[A-Za-z ]{1,40}\|[A-Za-z ]{1,40}")
_FOREIGN: Final = re.compile(r"[^A-Za-z0-9_ \n(),.:<>=!+\-*/%|]")
_MOMENT: Final = re.compile(r"(?P<day>\d{4}-\d\d-\d\d)[T ](?P<minute>\d\d:\d\d):\d\d(\.\d+)?")
_COMMENT: Final = re.compile(r"--|/\*|//")
_REQUIRED: Final = frozenset({"name", "version", "purpose", "row_cap", "headline", "empty"})
_OPTIONAL: Final = frozenset({"tags", "chart", "params", "constants"})

Constant: TypeAlias = str | int | float | bool


@dataclass(frozen=True, slots=True)
class Chart:
    """How a result is best drawn: the columns of the axes."""

    kind: str
    x: str
    y: str


@dataclass(frozen=True, eq=False, kw_only=True)
class Template:
    """A question that may be asked; two templates are equal when they are the same object."""

    name: str
    version: int
    purpose: str
    row_cap: int
    """The most rows a result may have."""
    headline: str
    """The sentence on a card; `{rows}` is the row count, `{column}` a cell of the first row."""
    empty: str
    """The sentence on a card without rows."""
    sql: str
    """One SELECT in Snowflake's dialect, with named binds."""
    path: Path
    params: Mapping[str, Param] = field(default_factory=dict)
    constants: Mapping[str, Constant] = field(default_factory=dict)
    tags: tuple[str, ...] = ()
    chart: Chart | None = None

    @property
    def source(self) -> str:
        """What identifies the question in the query hash: the SELECT, and of the header what an
        answer depends on: the constants, the parameters' types and `row_cap`.

        Spaces in a text are escaped, because the hash takes any run of them for one.
        """
        header = {
            "constants": dict(self.constants),
            "params": {name: param.type.value for name, param in self.params.items()},
            "row_cap": self.row_cap,
        }
        text = json.dumps(header, sort_keys=True, separators=(",", ":")).replace(" ", "\\u0020")
        return f"{self.sql}\n{text}"

    @property
    def headline_fields(self) -> tuple[str, ...]:
        """The names between braces in the headline, `rows` included."""
        return tuple(_fields(self.headline))

    def bind(self, params: Mapping[str, object]) -> dict[str, Any]:
        """A canonical JSON value for every parameter, defaults included; this is what is hashed.

        Raises:
            InvalidArgument: names the parameter that is unknown, missing or wrong, and its rule.
        """
        for name in params:
            if name not in self.params:
                raise InvalidArgument(self._unknown(name))
        bound = {}
        for name, param in self.params.items():
            if name in params:
                bound[name] = param.accept(params[name])
            elif param.is_required:
                raise InvalidArgument(
                    f"{self.name} needs the parameter {name}; it is {param.rule()}"
                )
            else:
                bound[name] = param.default
        return bound

    def sentence(self, rows: int, first: Mapping[str, object]) -> str:
        """The headline for a result of `rows` rows whose first row is `first`, by column."""
        if rows == 0:
            return self.empty
        values = {name: _Said(first.get(name)) for name in self.headline_fields}
        return self.headline.format(**values | {"rows": _Said(rows)})

    def _unknown(self, name: object) -> str:
        near = difflib.get_close_matches(name, self.params, 1) if isinstance(name, str) else []
        hint = f"; did you mean {near[0]}?" if near else ";"
        takes = ", ".join(self.params) or "no parameters"
        return f"{self.name} has no parameter of that name{hint} it takes {takes}"


def load_template(path: Path) -> Template:
    """The template in a file.

    Raises:
        TemplateError: names the file and the rule it breaks.
    """
    try:
        return parse_template(read_small(path, MAX_FILE_BYTES).decode(), path)
    except OSError as error:
        raise TemplateError(f"{path}: cannot be read; check the file's permissions") from error
    except UnicodeDecodeError as error:
        raise TemplateError(f"{path}: a template is UTF-8 text") from error
    except ValueError as error:
        raise TemplateError(f"{path}: {error}") from error


def parse_template(text: str, path: Path) -> Template:
    """The template in `text`; `path` is where it came from and gives it its name.

    Raises:
        TemplateError: names the file and the rule it breaks.
    """
    matched = _FILE.fullmatch(text.replace("\r\n", "\n"))
    if matched is None:
        raise TemplateError(f"{path}: must start with `/*`, a TOML header and `*/`, each a line")
    try:
        header = parsed_toml(matched["header"])
        body = matched["body"].strip()
        check_body(body)
        return _from_header(header, body, path)
    except ValueError as error:
        raise TemplateError(f"{path}: {error}") from error


def check_body(body: str) -> None:
    """Refuses a body in which anything but names, numbers, binds and operators could stand.

    Raises:
        ValueError: says what is not allowed and where it belongs.
    """
    if not body:
        raise ValueError("the SELECT after the header is missing")
    if _COMMENT.search(body):
        raise ValueError("the SELECT must have no comments; write them into the header")
    if foreign := _FOREIGN.search(body):
        line = body.count("\n", 0, foreign.start()) + 1
        raise ValueError(
            f"the character {foreign[0]!a} in line {line} of the SELECT is not allowed; "
            "texts belong into [constants] or [params] and are bound as :name"
        )
    if "cdesk_" in body.lower():
        raise ValueError("names that begin with cdesk_ are reserved for the tenant's scope")


def _from_header(header: Mapping[str, Any], body: str, path: Path) -> Template:
    if missing := sorted(_REQUIRED - header.keys()):
        raise ValueError(f"the header lacks {', '.join(missing)}")
    if unknown := sorted(header.keys() - _REQUIRED - _OPTIONAL):
        raise ValueError(f"the header has an unknown key {unknown[0]}")
    name = header["name"]
    if not isinstance(name, str) or not NAME.fullmatch(name) or name != path.stem:
        raise ValueError("name must be lower-case words and the name of the file")
    params = _table(header, "params")
    return Template(
        name=name,
        version=_whole(header, "version", 1_000_000),
        purpose=_text(header, "purpose"),
        row_cap=_whole(header, "row_cap", MAX_ROW_CAP),
        headline=_sentence(header, "headline"),
        empty=_text(header, "empty"),
        sql=body,
        path=path,
        params=MappingProxyType({key: declared(key, value) for key, value in params.items()}),
        constants=_constants(_table(header, "constants"), params),
        tags=_tags(header.get("tags", [])),
        chart=_chart(header.get("chart")),
    )


def _table(header: Mapping[str, Any], key: str) -> dict[str, Any]:
    table = header.get(key, {})
    if not isinstance(table, dict):
        raise ValueError(f"{key} must be a table")
    return table


def _text(header: Mapping[str, Any], key: str) -> str:
    text = header[key]
    if not isinstance(text, str) or not 0 < len(text.strip()) <= 300 or "\n" in text:
        raise ValueError(f"{key} must be one line of 1 to 300 characters")
    return text.strip()


def _whole(header: Mapping[str, Any], key: str, most: int) -> int:
    number = header[key]
    if isinstance(number, bool) or not isinstance(number, int) or not 1 <= number <= most:
        raise ValueError(f"{key} must be a whole number from 1 to {most}")
    return number


def _sentence(header: Mapping[str, Any], key: str) -> str:
    text = _text(header, key)
    _fields(text)
    return text


def _fields(sentence: str) -> list[str]:
    """The names between braces; a ValueError when one is more than a plain name."""
    names = []
    for _, name, spec, conversion in Formatter().parse(sentence):
        if name is None:
            continue
        if not NAME.fullmatch(name) or (spec and not _NOUNS.fullmatch(spec)) or conversion:
            raise ValueError(
                "headline may hold {rows} and {column}, without formats but for what is counted, "
                "one and many of it: {rows:row|rows}"
            )
        names.append(name)
    return names


def _constants(table: Mapping[str, Any], params: Mapping[str, Any]) -> Mapping[str, Constant]:
    for name, value in table.items():
        if not NAME.fullmatch(name) or name == AS_OF or name in params:
            raise ValueError(f"constants.{name} must be lower-case words that name no other bind")
        if not isinstance(value, (str, int, float)):
            raise ValueError(f"constants.{name} must be a text, a number, true or false")
    return MappingProxyType(dict(table))


def _tags(tags: object) -> tuple[str, ...]:
    if not isinstance(tags, list) or not all(isinstance(tag, str) and tag for tag in tags):
        raise ValueError("tags must be a list of words")
    return tuple(tags)


def _chart(chart: object) -> Chart | None:
    if chart is None:
        return None
    if not isinstance(chart, dict) or chart.keys() != {"kind", "x", "y"}:
        raise ValueError("chart must have kind, x and y")
    if chart["kind"] not in CHART_KINDS:
        raise ValueError(f"chart.kind must be one of {', '.join(CHART_KINDS)}")
    return Chart(chart["kind"], str(chart["x"]), str(chart["y"]))


class _Said:
    """A value of a headline: as people write it, and with what is counted where that is given."""

    def __init__(self, value: object) -> None:
        self._value = value

    def __format__(self, nouns: str) -> str:
        text = _spoken(self._value)
        one, _, many = nouns.partition("|")
        return f"{text} {one if self._value == 1 else many}" if nouns else text


def _spoken(value: object) -> str:
    if value is None:
        return "unknown"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, (float, Decimal)):
        if 0 < abs(float(value)) < 1:  # cents of a cent must not be told as nothing
            return f"{value:.3g}"
        return f"{value:,.2f}".rstrip("0").rstrip(".")
    text = " ".join(str(value).split())
    if moment := _MOMENT.fullmatch(text):
        return (
            moment["day"] if moment["minute"] == "00:00" else f"{moment['day']} {moment['minute']}"
        )
    return text if len(text) <= 80 else f"{text[:79]}…"
