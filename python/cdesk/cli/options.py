"""What options of several commands take, and how values are read."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from datetime import UTC, datetime
from itertools import islice
from typing import Any, Final
from uuid import UUID

import click

SPEAKS: Final = "cdesk_cli"
"""What speaks in the events that a command records."""

_NEGATIVE: Final = re.compile(r"-\.?[0-9]")
_A_TIME: Final = "2026-11-21T08:00:00Z or 2026-11-21T09:00:00+01:00"


class Moment(click.ParamType[datetime]):
    """A moment: an ISO 8601 time with its zone."""

    name = "time"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> datetime:
        """The time in UTC."""
        try:
            moment = datetime.fromisoformat(str(value).strip().upper())
        except ValueError:
            self.fail(f"{value!r} is no time, such as {_A_TIME}", param, ctx)
        if moment.tzinfo is None:
            self.fail(f"{value!r} has no zone: write its time as {_A_TIME}", param, ctx)
        try:
            return moment.astimezone(UTC)
        except OverflowError:
            self.fail(f"{value!r} is before the year 1 or after the year 9999 in UTC", param, ctx)


_ID: Final = click.option(
    "--id",
    "activity_id",
    metavar="UUID",
    type=click.UUID,
    help="Its id, of a call that failed before, with its --at. It is recorded once: what comes "
    "later of the same id and time, also with other contents, is not recorded again.",
)
_AT: Final = click.option(
    "--at",
    "ts",
    metavar="TIME",
    type=Moment(),
    help="When it happened, with its zone, such as 2026-11-21T08:00:00Z; now when left out.",
)


def identity_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options every command that records one event takes: which one it is."""
    return _ID(_AT(command))


def identity(activity_id: UUID | None, ts: datetime | None) -> dict[str, Any]:
    """What these options said, as arguments of the recorder.

    Raises:
        UsageError: there is an id without its time.
    """
    if activity_id is not None and ts is None:
        raise click.UsageError(
            "--id needs --at: an id is of one moment; give the time that was told with it"
        )
    return {"activity_id": None if activity_id is None else str(activity_id), "ts": ts}


_TYPED: Final = {
    "provenance_query_hash": "--hash",
    "valid_for_s": "--valid-for",
    "confidence": "--confidence",
    "grain": "--grain",
    "filter": "--filter",
    "link": "--link",
    "revenue_impact": "--revenue-impact",
    "subject": "SUBJECT",
    "metric": "METRIC",
    "value": "VALUE",
    "activity": "ACTIVITY",
    "feature_json": "the payload of all -p",
}
_FIELD: Final = re.compile(rf"^({'|'.join(_TYPED)})(?= (?:must|is malformed))")
_KEY: Final = re.compile(r"^feature_json\.(?=\w+ must )")
_CAP: Final = re.compile(r"\b(its|a) byte_cap of ")


def as_typed(text: str) -> str:
    """A refusal of what a tool is given, by the names that stand on the command line."""
    text = _KEY.sub("-p ", _FIELD.sub(lambda found: _TYPED[found[0]], text))
    return _CAP.sub(r"\1 --byte-cap of ", text)


class Seconds(click.ParamType[float]):
    """A time to wait: zero or more seconds, and finite."""

    name = "seconds"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """The number."""
        try:
            seconds = float(value)
        except ValueError:
            seconds = math.nan
        if not 0 <= seconds < math.inf:
            self.fail(f"{value!r} is not a time of zero or more seconds", param, ctx)
        return seconds


class Words(click.ParamType[str]):
    """A text with something in it."""

    name = "text"

    def __init__(self, what: str) -> None:
        self._what = what

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The text without the blanks around it."""
        text = str(value).strip()
        if not text:
            self.fail(f"a {self._what} has at least one letter", param, ctx)
        return text


class NumberArguments(click.Command):
    """A command whose arguments may be negative numbers without a `--` before them.

    Invariant: what begins with `-` and no digit is an option, and refused where it is none.
    """

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """As `Command.parse_args`, with the arguments behind a `--`."""
        taking = {
            name
            for param in self.params
            if isinstance(param, click.Option) and not param.is_flag
            for name in param.opts
        }
        options: list[str] = []
        arguments: list[str] = []
        rest = iter(args)
        lacks = False
        for arg in rest:
            if arg == "--":
                arguments += rest
            elif arg in taking:
                value = list(islice(rest, 1))
                lacks = not value  # it is the last, and must stay so to be refused
                options += [arg, *value]
            elif arg.startswith("-") and not _NEGATIVE.match(arg):
                options.append(arg)
            else:
                arguments.append(arg)
        return super().parse_args(ctx, options if lacks else [*options, "--", *arguments])


def parsed(pairs: tuple[str, ...], option: str) -> dict[str, Any]:
    """The values of an option's KEY=VALUE pairs by key: what each says as JSON, or its text.

    Raises:
        BadParameter: one of them is no pair, or a key stands twice.
    """
    return {name: json_or_text(text, option) for name, text in texts(pairs, option).items()}


def texts(pairs: tuple[str, ...], option: str = "-p") -> dict[str, str]:
    """The texts of an option's KEY=VALUE pairs by key.

    Raises:
        BadParameter: one of them is no pair, or a key stands twice.
    """
    values: dict[str, str] = {}
    for pair in pairs:
        name, separator, text = pair.partition("=")
        if not separator:
            raise click.BadParameter(f"{pair!r} is not KEY=VALUE", param_hint=option)
        if name in values:
            raise click.BadParameter(f"{name!r} is given twice; give it once", param_hint=option)
        values[name] = text
    return values


def json_or_text(text: str, place: str) -> Any:
    """What `text` says as JSON; the text itself when it is none.

    Raises:
        BadParameter: names `place` and a key that stands twice in one object: which of its values
            is meant is open.
    """

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            names = [name for name, _ in pairs]
            twice = next(name for name in names if names.count(name) > 1)
            raise click.BadParameter(
                f"the key {twice[:60]!r} stands twice in an object; write it once", param_hint=place
            )
        return found

    try:
        return json.loads(text, object_pairs_hook=once)
    except (ValueError, RecursionError):
        return text
