"""Events: a row of the stream before the warehouse derives its columns, and its line in the log.

Invariants: an `Event` that exists keeps every rule of the stream (`cdesk_core.EventRules`, the one
place where they stand), its payload's types included; `Event.from_line` of `Event.to_line` is the
same event; absent values are absent keys, never nulls; `ts` is UTC with microseconds.
"""

from __future__ import annotations

import hashlib
import math
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Context, Decimal
from typing import Any, Final

import cdesk_core
import orjson

from cdesk.catalogue import PAYLOADS
from cdesk.errors import InvalidActivity

RULES: Final = cdesk_core.EventRules(PAYLOADS)
"""What a line of the log must keep to be an event."""

OWN_SYSTEM: Final = "cdesk"
"""What spoke where nobody else did: the product itself."""

_LOG_KEYS: Final = frozenset({"_seq", "_log", "_crc"})
_JSON: Final = "must be JSON: "
_NO_VALUE: Final = False
_MOST_BITS: Final = 64  # of an amount that is a whole number: more than it may have
_WIDE: Final = Context(prec=38)  # what NUMBER(38,6) holds, whatever the caller's own context is
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


def utc_now() -> datetime:
    """The time now, aware, in UTC."""
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One row of the stream before the warehouse derives its occurrence columns.

    Raises `InvalidActivity` when it is made with a value the stream does not allow.
    """

    activity_id: str
    """A UUID in its canonical spelling; with `ts` the event's identity for deduplication."""
    activity: str
    customer: str
    ts: datetime
    """When it happened; aware, converted to UTC."""
    feature_json: Mapping[str, Any] | None = None
    """The payload: any JSON object."""
    link: str | None = None
    revenue_impact: Decimal | None = None
    """US dollars, at most six decimal places."""
    source_system: str = OWN_SYSTEM
    """What spoke: a client by its name (`claude_desktop` for Claude Desktop), `claude_export`,
    `cdesk_cli`, `cdesk_worker`."""
    source_version: str | None = None
    session_id: str | None = None
    query_tag: str | None = None
    accepted_at: datetime | None = None
    """When it was handed to the log, which is long after `ts` for imported history; aware,
    converted to UTC. `None` where nobody noted it."""

    _line: bytes = field(init=False, repr=False, compare=False)
    """What was checked; a payload that is changed afterwards is not recorded as it is then."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "ts", in_utc(self.ts, "ts"))
        if self.accepted_at is not None:
            object.__setattr__(self, "accepted_at", in_utc(self.accepted_at, "accepted_at"))
        if self.revenue_impact is not None:
            object.__setattr__(self, "revenue_impact", dollars(self.revenue_impact))
        line = self._as_json()
        try:
            RULES.check(line)
        except cdesk_core.InvalidEvent as error:
            raise InvalidActivity(str(error)) from None
        object.__setattr__(self, "_line", line)

    def to_line(self) -> bytes:
        """The event as one JSON object, without a newline."""
        return self._line

    def _as_json(self) -> bytes:
        row: dict[str, object] = {
            "activity_id": _text(self.activity_id),
            "activity": _text(self.activity),
            "customer": _text(self.customer),
            "ts": stamp(self.ts),
        }
        payload: object = self.feature_json
        if payload is not None:
            row["feature_json"] = dict(payload) if isinstance(payload, Mapping) else _NO_VALUE
        if self.revenue_impact is not None:
            row["revenue_impact"] = format(self.revenue_impact, "f")
        for name in ("link", "source_system", "source_version", "session_id", "query_tag"):
            value = getattr(self, name)
            if value is not None or name == "source_system":
                row[name] = _text(value)
        if self.accepted_at is not None:
            row["accepted_at"] = stamp(self.accepted_at)
        try:
            return to_json(row)
        except ValueError:
            for name, value in row.items():
                _check_json(name, value)
            raise

    @classmethod
    def from_line(cls, line: bytes) -> Event:
        """The event in one line of the log; the log's own `_` fields are left out.

        Raises:
            InvalidActivity: says which field is missing, unknown or malformed; never its value. Or
                its payload is nested more deeply than an event can be written, though it is one.
        """
        try:
            RULES.check(line)
        except cdesk_core.InvalidEvent as error:
            raise InvalidActivity(str(error)) from None
        row = orjson.loads(line)
        fields = {key: value for key, value in row.items() if key not in _LOG_KEYS}
        for name in ("ts", "accepted_at"):
            if name in fields:
                fields[name] = datetime.fromisoformat(fields[name].upper())
        return cls(**fields)


def _text(value: object) -> object:
    """A text as it is; what is none as a value that the rules refuse by the field's name, where
    JSON's writer would make a text of it."""
    return value if isinstance(value, str) else _NO_VALUE


def stamp(moment: datetime) -> str:
    """A time in UTC as a line of the log has it, to the microsecond."""
    return moment.isoformat(timespec="microseconds").removesuffix("+00:00") + "Z"


def in_utc(moment: object, name: str) -> datetime:
    """A time that somebody gave as `name`, in UTC.

    Raises:
        InvalidActivity: it is no time, has no zone, or is out of range in UTC.
    """
    if not isinstance(moment, datetime) or moment.tzinfo is None:
        raise InvalidActivity(
            f"{name} must be a time with a time zone, such as 2026-11-21T08:00:00Z"
        )
    if moment.tzinfo is UTC:  # nearly always, and many times a second
        return moment
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise InvalidActivity(
            f"{name} is before the year 1 or after the year 9999 in UTC"
        ) from None


def to_json(value: object) -> bytes:
    """The value as compact JSON.

    Raises:
        ValueError: what it must be and is not, as the end of a sentence that begins with a field's
            name.
    """
    try:
        text = orjson.dumps(value)
        is_whole = b"null" not in text or _is_finite(value)  # orjson writes NaN as null
    except (TypeError, RecursionError):
        is_whole = False
    if not is_whole:
        raise ValueError(_why_not(value))
    return text


def _check_json(name: str, value: object) -> None:
    try:
        to_json({name: value})
    except ValueError as error:
        raise InvalidActivity(f"{name} {error}") from None


def _why_not(value: object) -> str:
    """Which rule a value breaks that JSON's writer did not take, or would have changed."""
    seen: set[int] = set()  # a list may be in itself
    parts = [value]
    while parts:
        part = parts.pop()
        if not isinstance(part, (dict, list)) and type(part) is not tuple:
            if (rule := _broken_by(part)) is not None:
                return rule
        elif id(part) not in seen:
            seen.add(id(part))
            if isinstance(part, dict):
                if not all(isinstance(key, str) for key in part):
                    return f"{_JSON}the keys of its objects are texts"
                parts += (*part, *part.values())
            else:
                parts += part
    return "must be nested less than 200 levels deep"


def _broken_by(leaf: object) -> str | None:
    if isinstance(leaf, float) and not math.isfinite(leaf):
        return f"{_JSON}its numbers are finite, not NaN or infinite"
    try:
        orjson.dumps(leaf)
    except TypeError:
        if isinstance(leaf, int):
            return f"{_JSON}its whole numbers have up to 64 bits; write a longer one as a text"
        if isinstance(leaf, str):
            return f"{_JSON}its texts are whole characters, not halves of one"
        return f"{_JSON}texts, numbers, booleans, lists and objects"
    return None


def _is_finite(value: object) -> bool:
    if isinstance(value, Mapping):
        return all(_is_finite(entry) for entry in value.values())
    if isinstance(value, (list, tuple)):
        return all(_is_finite(entry) for entry in value)
    return not isinstance(value, float) or math.isfinite(value)


def dollars(value: object) -> Decimal:
    """`value` as US dollars of at most six decimal places.

    Raises:
        InvalidActivity: not a finite number, too large, or finer than a millionth of a dollar.
    """
    is_amount = isinstance(value, (int, float, str, Decimal))  # True's text is none
    is_short = not isinstance(value, int) or value.bit_length() < _MOST_BITS
    told = str(value).strip() if is_amount and is_short else ""
    try:
        micros = cdesk_core.micro_dollars(told)
    except cdesk_core.InvalidEvent as error:
        raise InvalidActivity(str(error)) from None
    return Decimal(micros).scaleb(-6, context=_WIDE)


def derived_id(namespace: uuid.UUID, ts: datetime, *names: str) -> str:
    """The id of the event at `ts` that these names tell from every other of its namespace.

    It is the same whenever the same event is recorded again, and spelled as a UUID of version 4. A
    format: who changes it records again what was recorded before.
    """
    told = orjson.dumps([(ts - _EPOCH) // _MICROSECOND, *names])
    octets = bytearray(hashlib.sha256(namespace.bytes + told).digest()[:16])
    octets[6] = octets[6] & 0x0F | 0x40
    octets[8] = octets[8] & 0x3F | 0x80
    digits = octets.hex()
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"
