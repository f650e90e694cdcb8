"""Activities: their names, the event row, and the event as one NDJSON line of the log.

Invariants: every name matches `NAME_RULE`; an `Event` that exists is valid; `Event.from_line` of
`Event.to_line` is the same event; absent values are absent keys, never nulls; `ts` is UTC with
microseconds. Source of the columns: ActivitySchema v2; of the catalogue: `CATALOGUE` itself.
"""

from __future__ import annotations

import difflib
import json
import math
import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Context, Decimal, InvalidOperation
from typing import Any, Final

import orjson

from cdesk.errors import InvalidActivity

NAME_RULE: Final = r"^cdesk\.[a-z][a-z0-9]*(_[a-z0-9]+)*$"
MAX_NAME_CHARS: Final = 100
MAX_LINK_CHARS: Final = 2_000
MAX_CUSTOMER_CHARS: Final = 255
OWN_SYSTEM: Final = "cdesk"
"""What spoke where nobody else did: the product itself."""

CATALOGUE: Final[Mapping[str, tuple[str, ...]]] = {
    "session": ("session_started", "session_resumed", "session_ended", "session_expired"),
    "conversation": (
        "user_asked", "user_clarified", "user_cancelled", "user_rated",
        "claude_responded", "claude_clarified", "claude_suggested",
    ),
    "tool": ("tool_called", "tool_completed", "tool_failed"),
    "sql": ("sql_executed", "sql_completed", "sql_failed", "sql_cancelled", "sql_sampled"),
    "file": ("file_read", "file_written", "file_deleted"),
    "memory": ("insight_recorded", "insight_retrieved", "context_refreshed", "context_loaded"),
    "artifact": ("artifact_created", "artifact_retrieved", "card_rendered", "link_generated"),
    "error": ("error_encountered", "retry_attempted", "fallback_triggered", "timeout_occurred"),
    "operations": (
        "latency_exceeded", "queue_overflow", "cache_miss", "credit_warning", "schema_drifted",
    ),
}  # fmt: skip
"""The known activities by group, without their `cdesk.` prefix. The catalogue may grow."""

KNOWN: Final = frozenset(f"cdesk.{name}" for names in CATALOGUE.values() for name in names)
"""Every known activity, with its prefix."""

_JSON: Final = "must be JSON: "

_NAME: Final = re.compile(NAME_RULE)
_MAX_REVENUE: Final = Decimal(10) ** 15  # 10**17 of them fit into a sum of NUMBER(38,6)
_MICRO: Final = Decimal("0.000001")
_WIDE: Final = Context(prec=38)  # the default of 28 digits refuses what NUMBER(38,6) holds
_KEYS: Final = frozenset(
    {
        "activity_id", "activity", "customer", "ts", "feature_json", "link", "revenue_impact",
        "source_system", "source_version", "session_id", "query_tag", "accepted_at",
    }
)  # fmt: skip
_LOG_KEYS: Final = frozenset({"_seq", "_log", "_crc"})


def utc_now() -> datetime:
    """The time now, aware, in UTC."""
    return datetime.now(UTC)


def check_name(name: object) -> str:
    """Returns `name` if it is a well-formed activity name; unknown names are welcome.

    Raises:
        InvalidActivity: shows the rule and the nearest known name, not the name.
    """
    if isinstance(name, str) and len(name) <= MAX_NAME_CHARS and _NAME.fullmatch(name):
        return name
    raise InvalidActivity(
        "activity is malformed; a name is a text, `cdesk.` and words of lower-case letters and "
        f"digits joined by single underscores, at most {MAX_NAME_CHARS} characters"
        f"{_nearest(name)}"
    )


def _nearest(name: object) -> str:
    if not isinstance(name, str):
        return ""
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name[:MAX_NAME_CHARS]).lower()
    stem = re.sub(r"[^a-z0-9]+", "_", words).strip("_").removeprefix("cdesk_")
    matches = difflib.get_close_matches(f"cdesk.{stem}", KNOWN, n=1, cutoff=0.5)
    return f"; did you mean {matches[0]!r}?" if matches else "; for example 'cdesk.user_asked'"


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One row of the stream before the warehouse derives its occurrence columns.

    Raises `InvalidActivity` when it is made with a value the stream does not allow.
    """

    activity_id: str
    """A UUID in its canonical spelling; the event's identity for deduplication."""
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

    def __post_init__(self) -> None:
        check_name(self.activity)
        try:
            canonical = str(uuid.UUID(self.activity_id)) == self.activity_id
        except (ValueError, AttributeError, TypeError):
            canonical = False
        if not canonical:
            raise InvalidActivity("activity_id must be a UUID in lower-case canonical spelling")
        if not isinstance(self.customer, str) or not 0 < len(self.customer) <= MAX_CUSTOMER_CHARS:
            raise InvalidActivity("customer must be a text of 1 to 255 characters")
        object.__setattr__(self, "ts", _utc(self.ts, "ts"))
        if self.accepted_at is not None:
            object.__setattr__(self, "accepted_at", _utc(self.accepted_at, "accepted_at"))
        if self.feature_json is not None and not isinstance(self.feature_json, Mapping):
            raise InvalidActivity('feature_json must be a JSON object, such as {"chars": 12}')
        for name in ("link", "source_system", "source_version", "session_id", "query_tag"):
            value = getattr(self, name)
            if value is None and name != "source_system":
                continue
            most = MAX_LINK_CHARS if name == "link" else 4096
            if not isinstance(value, str) or len(value) > most:
                raise InvalidActivity(f"{name} must be a text of at most {most} characters")
        if self.revenue_impact is not None:
            object.__setattr__(self, "revenue_impact", dollars(self.revenue_impact))

    def to_line(self) -> bytes:
        """The event as one JSON object, without a newline.

        Raises:
            InvalidActivity: the payload holds something JSON cannot say.
        """
        row: dict[str, object] = {
            "activity_id": self.activity_id,
            "activity": self.activity,
            "customer": self.customer,
            "ts": _stamp(self.ts),
        }
        if self.feature_json is not None:
            row["feature_json"] = dict(self.feature_json)
        if self.revenue_impact is not None:
            row["revenue_impact"] = format(self.revenue_impact, "f")
        for name in ("link", "source_system", "source_version", "session_id", "query_tag"):
            value = getattr(self, name)
            if value is not None:
                row[name] = value
        if self.accepted_at is not None:
            row["accepted_at"] = _stamp(self.accepted_at)
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
            InvalidActivity: says which field is missing, unknown or malformed; never its value.
        """
        try:
            row = orjson.loads(line)
        except orjson.JSONDecodeError:
            raise InvalidActivity("the line is not JSON") from None
        if not isinstance(row, dict):
            raise InvalidActivity("the line is not a JSON object")
        if not _is_written_so(line, row) and _has_a_key_twice(line):
            raise InvalidActivity("a key stands twice in an object, so what it says is open")
        fields = {key: value for key, value in row.items() if key not in _LOG_KEYS}
        if unknown := fields.keys() - _KEYS:
            raise InvalidActivity(f"unknown field {min(unknown)[:80]!r}")
        if missing := {"activity_id", "activity", "customer", "ts"} - fields.keys():
            raise InvalidActivity(f"field {min(missing)!r} is missing")
        for name in ("ts", "accepted_at"):
            if name not in fields:
                continue
            try:
                fields[name] = datetime.fromisoformat(fields[name])
            except (TypeError, ValueError):
                raise InvalidActivity(f"{name} is not an ISO 8601 time") from None
        return cls(**fields)


def _stamp(moment: datetime) -> str:
    return moment.isoformat(timespec="microseconds").removesuffix("+00:00") + "Z"


def _utc(moment: object, name: str) -> datetime:
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


def _is_written_so(line: bytes, row: object) -> bool:
    """Whether a line is what a recorder writes, in which no key stands twice: the cheap look."""
    try:
        return orjson.dumps(row) == line.rstrip()
    except orjson.JSONEncodeError:  # deeper than it writes
        return False


def _has_a_key_twice(line: bytes) -> bool:
    """Whether two readers may take two values from the line: one the first, the other the last."""

    def check(pairs: list[tuple[str, Any]]) -> None:
        if len({key for key, _ in pairs}) < len(pairs):
            raise _TwiceError

    try:
        json.loads(line, object_pairs_hook=check)
    except _TwiceError:
        return True
    except RecursionError:
        raise InvalidActivity("the line is nested too deeply to be looked through") from None
    return False


class _TwiceError(Exception):
    pass


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
    rule = (
        "revenue_impact must be a number of US dollars below 1e15 with at most six decimal places"
    )
    if isinstance(value, bool) or not isinstance(value, (int, float, str, Decimal)):
        raise InvalidActivity(rule)
    try:
        amount = Decimal(repr(value) if isinstance(value, float) else value)
        if not amount.is_finite() or not -_MAX_REVENUE < amount < _MAX_REVENUE:
            raise InvalidActivity(rule)
        in_micros = amount.quantize(_MICRO, context=_WIDE)
    except InvalidOperation:
        raise InvalidActivity(rule) from None
    if in_micros != amount:
        raise InvalidActivity(rule)
    return in_micros
