"""Insight atoms: one remembered value of one metric, and its form as an event's payload.

Invariants: an atom's id is the activity id of the `cdesk.insight_recorded` event that carries it,
so that replaying the stream rebuilds the same atoms; whether its hash was ever issued is for the
warehouse to say, never refused here; `valid_until` is after `valid_from` or absent.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import orjson

from cdesk.activity import to_json
from cdesk.errors import InvalidArgument

RECORDED: Final = "cdesk.insight_recorded"
"""The activity that carries an atom."""

MAX_VALUE_BYTES: Final = 2_000
"""The longest value, as JSON: one that a context of the usual length has room for."""

MAX_FILTER_BYTES: Final = 500
"""The longest filter, as JSON."""

_HASH: Final = re.compile(r"[0-9a-f]{16}")
MAX_DEPTH: Final = 50
"""The deepest value or filter: a context holds it some levels further down, and is JSON too."""
_MAX_VALID_FOR_S: Final = 10 * 366 * 86_400


@dataclass(frozen=True, slots=True, kw_only=True)
class Insight:
    """A metric's value as somebody found it; raises `InvalidArgument` naming the field at fault."""

    subject: str
    """What the metric is of, such as `orders` or `emea`; at most 200 characters."""
    metric: str
    """Which metric, such as `revenue_usd`; at most 200 characters."""
    value: Any
    """Any JSON value but null; at most `MAX_VALUE_BYTES` of JSON."""
    provenance_query_hash: str
    """The 16 hex digits of the query that produced the value."""
    grain: str | None = None
    """The time grain of the value, such as `day` or `quarter`."""
    filter: Mapping[str, Any] | None = None
    """The filter the value holds under; at most `MAX_FILTER_BYTES` of JSON."""
    confidence: float | None = None
    """From 0 to 1."""
    valid_for_s: float | None = None
    """Seconds that the value holds, from when it was found; for ever when absent."""
    artifact_id: str | None = None
    """The artifact with the full result."""

    def __post_init__(self) -> None:
        for name, value in (("subject", self.subject), ("metric", self.metric)):
            if not isinstance(value, str) or not 0 < len(value.strip()) <= 200:
                raise InvalidArgument(f"{name} must be a text of 1 to 200 characters")
        for name, text in (("grain", self.grain), ("artifact_id", self.artifact_id)):
            if text is not None and (not isinstance(text, str) or len(text) > 200):
                raise InvalidArgument(f"{name} must be a text of at most 200 characters")
        if self.value is None:
            raise InvalidArgument("value must not be null; log what was found")
        if not isinstance(self.provenance_query_hash, str) or not _HASH.fullmatch(
            self.provenance_query_hash
        ):
            raise InvalidArgument(
                "provenance_query_hash must be the 16 hex digits that submit_query returned as "
                "query_hash; run the query first, then log what it found"
            )
        if self.filter is not None and not isinstance(self.filter, Mapping):
            raise InvalidArgument('filter must be a JSON object, such as {"region": "emea"}')
        _check_size("value", self.value, MAX_VALUE_BYTES)
        _check_size("filter", self.filter, MAX_FILTER_BYTES)
        if not _within(self.confidence, 0, 1):
            raise InvalidArgument("confidence must be a number from 0 to 1")
        if not _within(self.valid_for_s, 1, _MAX_VALID_FOR_S):
            raise InvalidArgument(f"valid_for_s must be from 1 to {_MAX_VALID_FOR_S} seconds")

    def payload(self, valid_from: datetime) -> dict[str, Any]:
        """The `feature_json` of the event that records this insight at `valid_from`, in UTC.

        Raises:
            InvalidArgument: it would hold beyond the year 9999.
        """
        valid_from = valid_from.astimezone(UTC)
        until = None
        if self.valid_for_s is not None:
            try:
                until = (valid_from + timedelta(seconds=self.valid_for_s)).isoformat()
            except OverflowError:
                raise InvalidArgument("valid_for_s must end before the year 10000") from None
        fields = {
            "subject": self.subject.strip(),
            "metric": self.metric.strip(),
            "value": self.value,
            "grain": self.grain,
            # the same filter is the same text, in whatever order its keys came
            "filter": None
            if self.filter is None
            else orjson.loads(orjson.dumps(self.filter, option=orjson.OPT_SORT_KEYS)),
            "confidence": self.confidence,
            "artifact_id": self.artifact_id,
            "provenance_query_hash": self.provenance_query_hash,
            "valid_from": valid_from.isoformat(),
            "valid_until": until,
        }
        return {key: value for key, value in fields.items() if value is not None}


def _check_size(name: str, value: object, most: int) -> None:
    if _is_deeper(value, MAX_DEPTH):
        raise InvalidArgument(
            f"{name} must be nested at most {MAX_DEPTH} levels deep; remember what counts, flat"
        )
    try:
        size = len(to_json(value))
    except ValueError as error:
        raise InvalidArgument(f"{name} {error}") from None
    if size > most:
        raise InvalidArgument(
            f"{name} must be at most {most:,} bytes of JSON, this is {size:,}; remember the number "
            "that counts, and keep the whole elsewhere"
        )


def _is_deeper(value: object, levels: int) -> bool:
    """Whether there are more levels of lists and objects than so many; an empty one is none."""
    if not isinstance(value, (Mapping, list, tuple)) or not value:
        return False
    inner = value.values() if isinstance(value, Mapping) else value
    return levels == 0 or any(_is_deeper(part, levels - 1) for part in inner)


def _within(number: float | None, low: float, high: float) -> bool:
    if number is None:
        return True
    if isinstance(number, bool) or not isinstance(number, (int, float)):
        return False
    return low <= number <= high  # false for NaN too
