"""How long a context is: never longer than asked, and it says what is missing."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import orjson
from hypothesis import given
from hypothesis import strategies as st

from cdesk.context.reader import DEFAULT_MAX_BYTES, MAX_MAX_BYTES, MIN_MAX_BYTES, ContextReader, fit
from cdesk.state import State
from tests.conftest import Clock
from tests.json_values import VALUES

PARTS = ("recent", "questions", "filters", "definitions", "metrics")


def atom(metric: str, value: Any = 1) -> dict[str, Any]:
    return {"subject": "orders", "metric": metric, "value": value}


ENTRIES = st.lists(VALUES | st.sampled_from([1, 50, 3_000]).map(lambda size: "x" * size))
CUSTOMERS = st.text(min_size=1, max_size=255) | st.sampled_from(
    ["acme", "a" * 255, "ü" * 255, "😀" * 255, "\x00" * 255, '"' * 255]
)


@given(
    customer=CUSTOMERS,
    parts=st.fixed_dictionaries(dict.fromkeys(PARTS, ENTRIES)),
    version=st.integers(1, 2**63 - 1),
    max_bytes=st.just(MIN_MAX_BYTES) | st.integers(MIN_MAX_BYTES, MAX_MAX_BYTES),
)
def test_fit_is_never_longer_than_asked_and_names_what_it_dropped(
    customer: str, parts: dict[str, list[Any]], version: int, max_bytes: int
) -> None:
    context: dict[str, Any] = {
        "state": "stale", "customer": customer, "version": version,
        "updated_at": "2026-11-21T08:00:00+00:00", "age_s": 123_456_789.1, **parts,
    }  # fmt: skip
    fitted = fit(context, max_bytes)
    assert len(orjson.dumps(fitted)) <= max_bytes
    if len(orjson.dumps(context)) <= max_bytes:
        assert fitted == context
        return
    assert fitted["truncated"] is True
    lost = {part: len(parts[part]) - len(fitted[part]) for part in PARTS}
    assert fitted["dropped"] == {part: count for part, count in lost.items() if count}
    for part in PARTS:
        left = iter(parts[part])  # what is kept is kept as it is, in its order
        assert all(any(entry is other for other in left) for entry in fitted[part])
    if fitted["customer"] != customer:
        assert fitted["customer"].endswith("…")
        assert customer.startswith(fitted["customer"][:-1])
        assert not any(fitted[part] for part in PARTS)


@given(customer=CUSTOMERS, max_bytes=st.integers(MIN_MAX_BYTES, MAX_MAX_BYTES))
def test_not_ready_yet_is_never_longer_than_asked_either(customer: str, max_bytes: int) -> None:
    class Empty(State):
        def __init__(self) -> None: ...
        def change_token(self) -> tuple[int, ...]:
            return (1,)

        def snapshot(self, customer: str) -> None: ...
        def snapshot_request(self, customer: str) -> None: ...
        def request_snapshots(self, customers: Collection[str]) -> None: ...

    reader = ContextReader(Empty(), customer=customer, clock=Clock())
    assert len(orjson.dumps(reader.get(max_bytes=max_bytes))) <= max_bytes


def test_the_least_important_parts_go_first_and_the_oldest_entries_of_each() -> None:
    context: dict[str, Any] = {"customer": "acme"}
    context |= {part: [f"{part} {number} {'x' * 80}" for number in range(10)] for part in PARTS}
    whole = len(orjson.dumps(context))
    assert fit(context, whole) == context
    some = fit(context, whole - 200)
    assert some["dropped"].keys() == {"recent"}
    assert some["recent"] == context["recent"][: len(some["recent"])]
    most = fit(context, 1_000)
    assert most["recent"] == most["questions"] == most["filters"] == most["definitions"] == []
    assert most["metrics"] == context["metrics"][: len(most["metrics"])] != []


def test_one_giant_entry_does_not_push_out_the_others() -> None:
    context: dict[str, Any] = {"customer": "acme"} | {part: [] for part in PARTS}
    small = [atom(f"metric_{number}") for number in range(20)]
    context["metrics"] = [atom("giant", "x" * 100_000), *small]
    fitted = fit(context, DEFAULT_MAX_BYTES)
    assert fitted["metrics"] == small
    assert fitted["dropped"] == {"metrics": 1}
