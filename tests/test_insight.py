"""Insight atoms: what may be remembered, and the event that carries it."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdesk.errors import InvalidArgument
from cdesk.insight import MAX_FILTER_BYTES, MAX_VALUE_BYTES, RECORDED, Insight
from tests.contract.stream import event
from tests.json_values import OBJECTS, VALUES

HASH = "0123456789abcdef"
PLAIN = Insight(subject="orders", metric="revenue_usd", value=12.5, provenance_query_hash=HASH)
FROM = datetime(2026, 11, 21, 8, 0, tzinfo=UTC)


def deep(levels: int) -> Any:
    """A list in a list, so many times."""
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


TEN_YEARS_S = 10 * 366 * 86_400


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("subject", ""), ("subject", "  \n"), ("subject", "s" * 201), ("subject", 7),
        ("metric", ""), ("metric", "m" * 201), ("metric", None),
        ("value", None), ("value", {1}), ("value", "v" * 1_999), ("value", {"v": ["v"] * 2_000}),
        ("provenance_query_hash", "0123"), ("provenance_query_hash", HASH.upper()),
        ("provenance_query_hash", HASH + "\n"), ("provenance_query_hash", 16),
        ("grain", "g" * 201), ("grain", 1), ("artifact_id", "a" * 201), ("artifact_id", 1),
        ("filter", ["region"]), ("filter", "region"), ("filter", {"region": "r" * 488}),
        ("value", deep(51)), ("filter", {"a": deep(50)}),
        ("filter", {"x": math.nan}), ("filter", {"x": [2**64]}), ("value", math.inf),
        ("value", [math.nan]),
        ("confidence", -0.01), ("confidence", 1.01), ("confidence", math.nan),
        ("confidence", True), ("confidence", "high"), ("confidence", 10**400),
        ("valid_for_s", 0), ("valid_for_s", TEN_YEARS_S + 1), ("valid_for_s", math.inf),
        ("valid_for_s", -math.inf), ("valid_for_s", math.nan), ("valid_for_s", "1 day"),
    ],
)  # fmt: skip
def test_a_wrong_field_is_refused_by_its_name(field: str, value: Any) -> None:
    with pytest.raises(InvalidArgument, match=f"^{field} must "):
        replace(PLAIN, **{field: value})


def test_a_wrong_hash_is_refused_with_the_way_to_a_right_one() -> None:
    with pytest.raises(InvalidArgument, match="run the query first, then log what it found"):
        replace(PLAIN, provenance_query_hash="by heart")


def test_what_is_too_long_is_refused_with_its_limit_and_without_itself() -> None:
    with pytest.raises(InvalidArgument) as refused:
        replace(PLAIN, value="secret" * 150_000)
    assert str(refused.value) == (
        "value must be at most 2,000 bytes of JSON, this is 900,002; remember the number that "
        "counts, and keep the whole elsewhere"
    )


@pytest.mark.parametrize(
    ("value", "rule"),
    [
        (2**64, "JSON: its whole numbers have up to 64 bits; write a longer one as a text"),
        (math.nan, "JSON: its numbers are finite, not NaN or infinite"),
        (deep(51), "nested at most 50 levels deep; remember what counts, flat"),
        (deep(900), "nested at most 50 levels deep; remember what counts, flat"),
    ],
)
def test_a_value_is_refused_with_its_own_reason(value: Any, rule: str) -> None:
    """A number that was too big was said to be nested 200 levels deep."""
    with pytest.raises(InvalidArgument) as refused:
        replace(PLAIN, value=value)
    assert str(refused.value) == f"value must be {rule}"


def test_the_bounds_themselves_are_allowed() -> None:
    for fields in (
        {"subject": "s" * 200, "metric": "m"},
        {"confidence": 0},
        {"confidence": 1.0},
        {"valid_for_s": 1},
        {"valid_for_s": TEN_YEARS_S},
        {"value": "v" * 1_998},
        {"filter": {"region": "r" * 487}},
        {"value": False},
        {"value": 0},
    ):
        allowed = replace(PLAIN, **fields)
        assert {name: getattr(allowed, name) for name in fields} == fields


def test_the_payload_holds_what_is_known_and_nothing_else() -> None:
    assert PLAIN.payload(FROM) == {
        "subject": "orders",
        "metric": "revenue_usd",
        "value": 12.5,
        "provenance_query_hash": HASH,
        "valid_from": "2026-11-21T08:00:00+00:00",
    }


def test_valid_until_is_valid_for_s_after_valid_from() -> None:
    payload = replace(PLAIN, valid_for_s=90).payload(FROM)
    assert datetime.fromisoformat(payload["valid_until"]) == FROM + timedelta(seconds=90)


def fits(value: Any, most: int) -> bool:
    return len(orjson.dumps(value)) <= most


@given(
    subject=st.text(min_size=1, max_size=200).filter(str.strip),
    value=VALUES.filter(lambda value: value is not None and fits(value, MAX_VALUE_BYTES)),
    filters=st.none() | OBJECTS.filter(lambda filters: fits(filters, MAX_FILTER_BYTES)),
    confidence=st.none() | st.floats(0, 1),
    valid_for_s=st.none() | st.floats(1, TEN_YEARS_S),
)
def test_whatever_may_be_an_insight_has_a_payload_without_drift_that_ends_after_it_begins(
    subject: str,
    value: Any,
    filters: dict[str, Any] | None,
    confidence: float | None,
    valid_for_s: float | None,
) -> None:
    insight = replace(
        PLAIN,
        subject=subject,
        value=value,
        filter=filters,
        confidence=confidence,
        valid_for_s=valid_for_s,
    )
    payload = insight.payload(FROM)
    assert event(1, group="insight_recorded", feature_json=payload).activity == RECORDED
    assert payload["value"] == value
    assert payload["subject"] == subject.strip()
    assert payload.get("filter") == filters
    assert ("valid_until" in payload) == (valid_for_s is not None)
    if valid_for_s is not None:
        assert payload["valid_until"] > payload["valid_from"]
