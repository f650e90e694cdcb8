"""What options of several commands take, and how values are read."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any, Final

import click

SPEAKS: Final = "cdesk_cli"
"""What speaks in the events that a command records."""


id_option: Callable[[Any], Any] = click.option(
    "--id",
    "activity_id",
    metavar="UUID",
    type=click.UUID,
    help="Its id, of a call that failed before. An id is recorded once: what comes later under the "
    "same id, also with other contents, is not recorded again.",
)
"""The option every command that records one event takes."""


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


def parsed(pairs: tuple[str, ...]) -> dict[str, Any]:
    """The values of KEY=VALUE pairs by key: what each says as JSON, or its text.

    Raises:
        BadParameter: one of them is no pair.
    """
    return {name: json_or_text(text) for name, text in texts(pairs).items()}


def texts(pairs: tuple[str, ...]) -> dict[str, str]:
    """The texts of KEY=VALUE pairs by key.

    Raises:
        BadParameter: one of them is no pair.
    """
    values = {}
    for pair in pairs:
        name, separator, text = pair.partition("=")
        if not separator:
            raise click.BadParameter(f"{pair!r} is not KEY=VALUE", param_hint="-p")
        values[name] = text
    return values


def json_or_text(text: str) -> Any:
    """What `text` says as JSON; the text itself when it is none."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text
