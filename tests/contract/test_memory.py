"""What every engine remembers: which value counts, until when, and whether its hash is known."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Any

import cdesk_core
import pytest

from cdesk.activity import Event
from cdesk.insight import Insight
from cdesk.warehouse.base import Execution, Warehouse
from tests.contract.stream import BEGIN, batch, event, rows, store

SOURCE = "SELECT COUNT(*) AS n FROM events ORDER BY n"
HASH = cdesk_core.query_hash(SOURCE, {})


def insight_event(number: int, value: Any, customer: str = "acme", **fields: Any) -> Event:
    told = {"subject": "orders", "metric": "revenue", "provenance_query_hash": HASH} | fields
    payload = Insight(value=value, **told).payload(BEGIN + timedelta(seconds=number))
    return event(number, number, group="insight_recorded", customer=customer, feature_json=payload)


def execution(customer: str = "acme", outcome: str = "done") -> Execution:
    return Execution(
        ticket_id=f"{outcome} ticket of {customer}", customer=customer, query_tag="cdesk_0",
        query_uuid="u", query_hash=HASH, template="mine", template_version=1,
        source=SOURCE, params={}, outcome=outcome, started_at=BEGIN.replace(tzinfo=None),
        duration_ms=1.0, bytes_estimated=0, bytes_scanned=0, row_count=1, is_sampled=False,
    )  # fmt: skip


def values(warehouse: Warehouse, customer: str = "acme") -> list[Any]:
    return [
        atom["value"] for atom in warehouse.context(customer, recent=1, max_bytes=100_000).atoms
    ]


def test_a_value_hides_only_values_of_its_subject_metric_grain_and_filter(
    warehouse: Warehouse,
) -> None:
    store(
        warehouse,
        batch(
            insight_event(1, "emea", filter={"region": "emea", "kind": {"a": 1, "b": 2}}),
            insight_event(2, "apac", filter={"region": "apac"}),
            insight_event(3, "daily", grain="day"),
            insight_event(4, "all"),
            insight_event(5, "margin", metric="margin"),
            insight_event(6, "emea now", filter={"kind": {"b": 2, "a": 1}, "region": "emea"}),
            insight_event(7, "all now"),
        ),
    )
    assert values(warehouse) == ["all now", "emea now", "margin", "daily", "apac"]


def test_times_keep_their_zone(warehouse: Warehouse) -> None:
    """Two o'clock two hours east of Greenwich is midnight, in the stream and in an atom."""
    zone = timezone(timedelta(hours=2))
    begin = BEGIN.astimezone(zone)
    recorded = insight_event(1, 1)
    payload = {
        **(recorded.feature_json or {}),
        "valid_from": begin.isoformat(),
        "valid_until": (begin + timedelta(hours=1)).isoformat(),
    }
    at_two = event(1, group="insight_recorded", feature_json=payload)
    line = at_two.to_line().replace(b"2026-01-01T00:00:00.000000Z", b"2026-01-01T02:00:00+02:00")
    assert Event.from_line(line) == at_two
    store(warehouse, batch(line))
    midnight = datetime(2026, 1, 1)
    assert rows(warehouse, "SELECT ts FROM {s}.events") == [(midnight,)]
    assert rows(warehouse, "SELECT valid_from, valid_until FROM {s}.insight_atoms") == [
        (midnight, midnight + timedelta(hours=1))
    ]


@pytest.mark.parametrize(
    "times",
    [
        {},
        {"valid_from": None, "valid_until": None},
        {"valid_from": "soon", "valid_until": "2026-02-30T00:00:00Z"},
        {"valid_from": [], "valid_until": 5},
    ],
)
def test_an_insight_that_says_no_time_holds_from_its_event_on_and_without_an_end(
    warehouse: Warehouse, times: dict[str, Any]
) -> None:
    told = {"subject": "orders", "metric": "revenue_usd", "value": 1, **times}
    result = store(warehouse, batch(event(1, 7, "insight_recorded", feature_json=told)))
    assert result.events == 1
    atoms = rows(warehouse, "SELECT valid_from, valid_until FROM {s}.insight_atoms")
    assert atoms == [((BEGIN + timedelta(seconds=7)).replace(tzinfo=None), None)]


def test_an_insight_that_is_made_in_any_zone_holds_for_as_long() -> None:
    insight = Insight(subject="s", metric="m", value=1, provenance_query_hash=HASH, valid_for_s=60)
    zone = timezone(timedelta(hours=-7))
    assert insight.payload(BEGIN.astimezone(zone)) == insight.payload(BEGIN)


def bounded(warehouse: Warehouse, max_bytes: int) -> tuple[list[Any], int]:
    """The values that have room, and how many have none."""
    source = warehouse.context("acme", recent=1, max_bytes=max_bytes)
    return [atom["value"][0] for atom in source.atoms], source.left_out


def test_the_newest_atoms_have_room_first_and_the_others_are_counted(warehouse: Warehouse) -> None:
    store(
        warehouse,
        batch(
            *(insight_event(n, f"{n}" * 1_000, metric=f"{n}") for n in range(1, 7)),
            insight_event(7, "5" * 1_000, metric="5"),
            insight_event(8, "8", customer="globex"),
        ),
    )
    assert bounded(warehouse, 100_000) == (["5", "6", "4", "3", "2", "1"], 0)
    assert bounded(warehouse, 2_500) == (["5", "6"], 4)
    assert bounded(warehouse, 500) == ([], 6)


def longer_than_the_door_lets_in(number: int) -> Event:
    payload = insight_event(number, "", metric=f"{number}").feature_json or {}
    return event(
        number, number, "insight_recorded", feature_json={**payload, "value": "x" * 900_000}
    )


def test_an_atom_that_is_too_long_by_itself_takes_no_room_from_the_others(
    warehouse: Warehouse,
) -> None:
    store(warehouse, batch(insight_event(1, "a"), longer_than_the_door_lets_in(2)))
    assert bounded(warehouse, 100_000) == (["a"], 1)
    assert bounded(warehouse, 2_000_000) == (["a"], 1)


def verified(warehouse: Warehouse) -> list[tuple[Any, ...]]:
    return rows(warehouse, "SELECT customer, is_verified FROM {s}.insight_atoms ORDER BY customer")


def test_an_insight_whose_hash_was_never_issued_here_is_kept_and_marked(
    warehouse: Warehouse,
) -> None:
    store(warehouse, batch(insight_event(1, 5)))
    (atom,) = warehouse.context("acme", recent=1, max_bytes=100_000).atoms
    assert (atom["value"], atom["is_verified"]) == (5, False)


def test_a_hash_verifies_the_insights_of_the_customer_who_asked_and_of_no_other(
    warehouse: Warehouse,
) -> None:
    """Before and after: an insight may be recorded while its question still runs."""
    store(warehouse, batch(insight_event(1, 5), insight_event(2, 5, customer="globex")))
    assert verified(warehouse) == [("acme", False), ("globex", False)]
    warehouse.audit(execution("acme"))
    store(warehouse, batch(insight_event(3, 6, metric="margin", customer="globex")))
    assert verified(warehouse) == [("acme", True), ("globex", False), ("globex", False)]
    warehouse.audit(execution("globex"))
    store(warehouse, batch(insight_event(4, 7, metric="margin")))
    assert {is_verified for _, is_verified in verified(warehouse)} == {True}


@pytest.mark.parametrize("outcome", ["failed", "cancelled"])
def test_a_question_that_was_never_answered_verifies_nothing(
    warehouse: Warehouse, outcome: str
) -> None:
    store(warehouse, batch(insight_event(1, 5)))
    warehouse.audit(execution(outcome=outcome))
    store(warehouse, batch(insight_event(2, 6, metric="margin")))
    assert verified(warehouse) == [("acme", False), ("acme", False)]
    warehouse.audit(execution())
    assert verified(warehouse) == [("acme", True), ("acme", True)]


def test_a_question_is_remembered_once_and_as_of_its_last_answer(warehouse: Warehouse) -> None:
    first = execution()
    later = first.started_at + timedelta(hours=1)
    text = "SELECT 1 AS n"
    another = {"source": text, "query_hash": cdesk_core.query_hash(text, {})}
    other = replace(first, ticket_id="2", started_at=later, **another)
    again = replace(first, ticket_id="3", started_at=later + timedelta(hours=1))
    for one in (again, other, first):
        warehouse.audit(one)
    warehouse.audit(replace(again, ticket_id="4", customer="globex"))
    questions = warehouse.context("acme", recent=1, max_bytes=100_000).questions
    assert [(one["query_hash"], one["ts"]) for one in questions] == [
        (HASH, f"{again.started_at.isoformat()}+00:00"),
        (other.query_hash, f"{later.isoformat()}+00:00"),
    ]


def test_the_latest_event_of_a_stretch_of_time_is_the_customers_own(warehouse: Warehouse) -> None:
    store(warehouse, batch(event(1, 5), event(2, 9), event(3, 7, customer="globex")))
    seconds = [BEGIN + timedelta(seconds=second) for second in range(11)]
    assert warehouse.latest("acme", after=seconds[4], until=seconds[8]) == seconds[5]
    assert warehouse.latest("acme", after=seconds[5], until=seconds[8]) is None
    assert warehouse.latest("acme", after=seconds[5], until=seconds[9]) == seconds[9]
    assert warehouse.latest("initech", after=seconds[0], until=seconds[10]) is None
