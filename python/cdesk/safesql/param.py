"""One parameter of a template: its rule, and values made to fit it or refused.

Invariants: a boolean is never a number; a number and a boolean may be written as the text that JSON
has for them (a boolean in capitals too), because clients are known to send them so and a command
line has nothing but texts; a whole number may have a zero behind the point; what `Param.accept`
returns is a JSON value in one canonical form, so that equal questions hash equally; what does not
fit is told why, and no message repeats a value.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from enum import StrEnum
from typing import Any, Final

from cdesk.errors import InvalidArgument

NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,62}")
"""How names of templates, parameters and constants look."""

_MAX_TIME_CHARS: Final = 40
_MAX_LENGTH: Final = 200
_MAX_SAFE: Final = 2**53 - 1
_NUMBER: Final = re.compile(r"-?(0|[1-9]\d{0,30})(\.\d{1,30})?([eE][+-]?\d{1,3})?", re.ASCII)
_BOOLEANS: Final = {"true": True, "false": False}
_MOST_RULE_CHARS: Final = 200
_DATE: Final = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
_KEYS: Final = frozenset({"type", "description", "default", "optional"})


class ParamType(StrEnum):
    """The types a parameter can have."""

    STRING = "string"
    INTEGER = "integer"
    NUMBER = "number"
    BOOLEAN = "boolean"
    DATE = "date"
    TIMESTAMP = "timestamp"


_KEYS_OF: Final[Mapping[ParamType, frozenset[str]]] = {
    ParamType.STRING: frozenset({"min_length", "max_length", "pattern", "values"}),
    ParamType.INTEGER: frozenset({"min", "max"}),
    ParamType.NUMBER: frozenset({"min", "max"}),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Param:
    """A parameter as the header declares it."""

    name: str
    type: ParamType
    description: str
    is_required: bool
    default: Any = None
    """The value when the parameter is left out, in canonical form; `None` is SQL's NULL."""
    values: tuple[str, ...] = ()
    """The only texts allowed; empty means any."""
    min: float | None = None
    max: float | None = None
    min_length: int = 1
    max_length: int = _MAX_LENGTH
    pattern: str | None = None
    """A regular expression the whole text matches."""

    def rule(self, *, is_whole: bool = False) -> str:
        """The rule in words, such as `integer from 1 to 366, default 30: days to look back`.

        Args:
            is_whole: with every value that is allowed, however many there are; else a part that is
                longer than a sentence is cut.
        """
        cut = str if is_whole else _cut
        text = self.type.value
        if self.values:
            text = f"one of {', '.join(self.values) if is_whole else _some_of(self.values)}"
        if self.type is ParamType.STRING and not self.values:
            least = f"{self.min_length} to " if self.min_length != self.max_length else ""
            text += f" of {least}{self.max_length} characters"
            if self.pattern is not None:
                text += f" that matches {cut(self.pattern)}"
        elif self.type is ParamType.BOOLEAN:
            text += " (true or false)"
        elif self.type is ParamType.DATE:
            text += " such as 2026-01-31"
        elif self.type is ParamType.TIMESTAMP:
            text += " such as 2026-01-31T09:30:00Z"
        text += self._range()
        if not self.is_required:
            default = cut(_shown(self.default))
            text += ", optional" if self.default is None else f", default {default}"
        return f"{text}: {cut(self.description)}"

    def _range(self) -> str:
        if self.min is not None and self.max is not None:
            return f" from {_shown(self.min)} to {_shown(self.max)}"
        if self.min is not None:
            return f" of at least {_shown(self.min)}"
        return f" of at most {_shown(self.max)}" if self.max is not None else ""

    def accept(self, value: object) -> Any:
        """The value in canonical form: dates and timestamps as ISO texts in UTC, numbers as floats.

        Raises:
            InvalidArgument: names the parameter, what is wrong and its rule.
        """
        if value is None and not self.is_required and self.default is None:
            return None
        try:
            return _ACCEPT[self.type](self, value)
        except _MisfitError as misfit:
            raise InvalidArgument(f"parameter {self.name} {misfit}; it is {self.rule()}") from None


class _MisfitError(ValueError):
    """Why a value does not fit, as what follows its parameter's name."""


def _string(param: Param, value: object) -> str:
    if not isinstance(value, str):
        raise _no("text", value)
    if "\0" in value or not _encodes(value):
        raise _MisfitError("got a text with a zero byte or half a character")
    if param.values:
        if value not in param.values:
            raise _MisfitError("got a text that is none of its values")
        return value
    if not param.min_length <= len(value) <= param.max_length:
        which = "long" if len(value) > param.max_length else "short"
        raise _MisfitError(f"got a text that is too {which}")
    if param.pattern is not None and not re.fullmatch(param.pattern, value):
        raise _MisfitError("got a text that does not match its pattern")
    return value


def _integer(param: Param, value: object) -> int:
    number = _from_text(value)
    if isinstance(number, float) and number.is_integer():
        number = int(number)
    if isinstance(number, bool) or not isinstance(number, int):
        raise _no("whole number", value)
    _check_range(param, number)
    return number


def _number(param: Param, value: object) -> float:
    number = _from_text(value)
    if isinstance(number, bool) or not isinstance(number, (int, float)):
        raise _no("number", value)
    if isinstance(number, float) and not math.isfinite(number):
        raise _MisfitError("is no finite number")
    _check_range(param, number)
    return float(number) + 0.0


def _from_text(value: object) -> object:
    """The number that a text spells as JSON does; anything else as it is."""
    if not isinstance(value, str) or not _NUMBER.fullmatch(value):
        return value
    return int(value) if value.removeprefix("-").isdecimal() else float(value)


def _boolean(_param: Param, value: object) -> bool:
    found = _BOOLEANS.get(value.lower()) if isinstance(value, str) else value
    if not isinstance(found, bool):
        raise _MisfitError(f"got {_kind(value)} that is neither true nor false")
    return found


def _date(_param: Param, value: object) -> str:
    if not isinstance(value, str) or not _DATE.fullmatch(value):
        raise _no("date", value)
    try:
        return date.fromisoformat(value).isoformat()
    except ValueError:
        raise _MisfitError("got a date that the calendar does not have") from None


def _timestamp(_param: Param, value: object) -> str:
    if not isinstance(value, str) or not value.isascii() or len(value) > _MAX_TIME_CHARS:
        raise _no("timestamp", value)
    try:
        moment = datetime.fromisoformat(value)
        moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        return moment.astimezone(UTC).isoformat(timespec="microseconds")
    except (ValueError, OverflowError):
        raise _no("timestamp", value) from None


def _check_range(param: Param, number: float) -> None:
    if (param.min is not None and number < param.min) or (
        param.max is not None and number > param.max
    ):
        raise _MisfitError("is out of range")
    if isinstance(number, int) and abs(number) > _MAX_SAFE:
        raise _MisfitError(f"is out of range, which is -{_MAX_SAFE} to {_MAX_SAFE} for any number")


def _no(what: str, value: object) -> _MisfitError:
    """A value that is nothing of that kind."""
    kind = _kind(value)
    if value is None:
        return _MisfitError(f"got {kind} where a {what} belongs")
    return _MisfitError(
        f"got {kind}{', which' if isinstance(value, bool) else ' that'} is no {what}"
    )


_ACCEPT: Final = {
    ParamType.STRING: _string,
    ParamType.INTEGER: _integer,
    ParamType.NUMBER: _number,
    ParamType.BOOLEAN: _boolean,
    ParamType.DATE: _date,
    ParamType.TIMESTAMP: _timestamp,
}


def declared(name: str, fields: object) -> Param:
    """The parameter of a `[params.<name>]` table of a header.

    Raises:
        ValueError: says which key is wrong and what it should be.
    """
    if not NAME.fullmatch(name) or name == "as_of":
        raise ValueError(f"parameter name {name!r} must be lower-case words, and not `as_of`")
    if not isinstance(fields, dict):
        raise ValueError(f"params.{name} must be a table")
    kind = _type(name, fields)
    if unknown := sorted(fields.keys() - _KEYS - _KEYS_OF.get(kind, frozenset())):
        raise ValueError(f"params.{name}.{unknown[0]} does not belong to type {kind.value}")
    description = fields.get("description")
    if not isinstance(description, str) or not description.strip():
        raise ValueError(f"params.{name} needs a description")
    optional = fields.get("optional", False)
    if not isinstance(optional, bool) or (optional and "default" in fields):
        raise ValueError(f"params.{name}.optional is true or false, and excludes a default")
    limits = _limits(name, fields)
    bare = Param(name=name, type=kind, description=description, is_required=True, **limits)
    if "default" not in fields:
        return bare if not optional else _relaxed(bare, limits, None)
    try:
        return _relaxed(bare, limits, bare.accept(fields["default"]))
    except InvalidArgument as error:
        raise ValueError(f"params.{name}.default breaks the parameter's own rule") from error


def _relaxed(param: Param, limits: Mapping[str, Any], default: object) -> Param:
    return Param(
        name=param.name,
        type=param.type,
        description=param.description,
        is_required=False,
        default=default,
        **limits,
    )


def _type(name: str, fields: Mapping[str, Any]) -> ParamType:
    written = str(fields.get("type"))
    if written == "enum":
        if "values" not in fields:
            raise ValueError(f"params.{name} is an enum and needs values")
        return ParamType.STRING
    try:
        return ParamType(written)
    except ValueError:
        allowed = ", ".join(["enum", *ParamType])
        raise ValueError(f"params.{name}.type must be one of {allowed}") from None


def _limits(name: str, fields: Mapping[str, Any]) -> dict[str, Any]:
    limits = {key: fields[key] for key in fields.keys() - _KEYS}
    for key in limits.keys() & {"min", "max"}:
        if isinstance(limits[key], bool) or not isinstance(limits[key], (int, float)):
            raise ValueError(f"params.{name}.{key} must be a number")
    for key in limits.keys() & {"min_length", "max_length"}:
        if isinstance(limits[key], bool) or not isinstance(limits[key], int) or limits[key] < 0:
            raise ValueError(f"params.{name}.{key} must be a whole number of characters")
    if "values" in limits:
        values = limits["values"]
        if not isinstance(values, list) or not values or not all(map(_is_text, values)):
            raise ValueError(f"params.{name}.values must be a list of texts")
        limits["values"] = tuple(values)
    if "pattern" in limits:
        try:
            re.compile(limits["pattern"])
        except (re.error, TypeError) as error:
            raise ValueError(f"params.{name}.pattern is no regular expression") from error
    return limits


def _is_text(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value) <= _MAX_LENGTH


def _encodes(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _kind(value: object) -> str:
    """What a caller gave, as far as it may be repeated."""
    for kind, name in _KINDS:
        if isinstance(value, kind):
            return name
    return "nothing" if value is None else "something"


_KINDS: Final[tuple[tuple[type, str], ...]] = (
    (bool, "true or false"),
    (str, "a text"),
    (int, "a number"),
    (float, "a number"),
    (list, "a list"),
    (Mapping, "an object"),
)


def _some_of(values: tuple[str, ...]) -> str:
    """As many of the values as are short enough for a sentence, and how many there are besides."""
    shown = 0
    room = _MOST_RULE_CHARS
    while shown < len(values) and (room := room - len(values[shown]) - 2) >= 0:
        shown += 1
    shown = max(1, shown)
    text = ", ".join(values[:shown])
    return text if shown == len(values) else f"{text} and {len(values) - shown} more"


def _cut(text: str) -> str:
    return text if len(text) <= _MOST_RULE_CHARS else f"{text[: _MOST_RULE_CHARS - 1]}…"


def _shown(value: object) -> str:
    """A limit or a default of the template itself."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return ascii(value) if isinstance(value, str) else str(value)
