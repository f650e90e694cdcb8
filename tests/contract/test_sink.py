"""What every sink keeps, whatever its engine."""

from __future__ import annotations

import json
import tempfile
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cdesk.activity import Event
from cdesk.errors import PositionMoved
from cdesk.insight import Insight
from cdesk.warehouse.base import Quarantined, Standing, Warehouse
from tests.thorough import examples

from .conftest import SINKS
from .stream import BEGIN, batch, derived, event, recomputed, rows, store

numbers = st.integers(1, 25)
streams = st.lists(
    st.tuples(numbers, st.integers(0, 6), st.sampled_from("ab"), st.sampled_from("xy")),
    max_size=25,
    unique_by=lambda row: row[0],
)


@pytest.fixture(params=sorted(SINKS))
def warehouse(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    """A migrated, empty warehouse of each engine that has a sink."""
    return SINKS[request.param](tmp_path)


@pytest.mark.parametrize("engine", sorted(SINKS))
@settings(max_examples=examples(12), deadline=None)
@given(stream=streams, choices=st.data())
def test_derived_columns_equal_a_full_recompute_for_any_order_split_and_duplication(
    engine: str, stream: list[tuple[int, int, str, str]], choices: st.DataObject
) -> None:
    events = [
        event(number, second, group, customer=customer)
        for number, second, group, customer in stream
    ]
    again = choices.draw(st.lists(st.sampled_from(events), max_size=6)) if events else []
    arrivals = choices.draw(st.permutations(events + again))
    cuts = sorted(choices.draw(st.lists(st.integers(0, len(arrivals)), max_size=4)))
    with tempfile.TemporaryDirectory() as folder:
        warehouse = SINKS[engine](Path(folder))
        for start, end in zip([0, *cuts], [*cuts, len(arrivals)], strict=True):
            store(warehouse, batch(*arrivals[start:end]))
            assert derived(warehouse) == recomputed(warehouse)
        stored = [row[0] for row in derived(warehouse)]
        assert sorted(stored) == sorted(one.activity_id for one in events)
        tails = rows(warehouse, "SELECT coalesce(sum(events), 0) FROM {s}._ingest_groups")
        assert tails == [(len(events),)]


def test_a_late_row_renumbers_what_comes_after_it_and_nothing_before(warehouse: Warehouse) -> None:
    store(warehouse, batch(event(1, 10), event(2, 20), event(3, 30)))
    store(warehouse, batch(event(4, 15)))
    assert [row[1:] for row in derived(warehouse)] == [
        (1, (BEGIN + timedelta(seconds=15)).replace(tzinfo=None)),
        (2, (BEGIN + timedelta(seconds=20)).replace(tzinfo=None)),
        (3, (BEGIN + timedelta(seconds=30)).replace(tzinfo=None)),
        (4, None),
    ]


def test_a_batch_written_twice_adds_nothing(warehouse: Warehouse) -> None:
    first = store(warehouse, batch(event(1), event(2, 1)))
    second = store(warehouse, batch(event(1), event(2, 1)))
    assert (first.events, first.duplicates) == (2, 0)
    assert (second.events, second.duplicates) == (0, 2)
    assert len(derived(warehouse)) == 2


def test_an_event_twice_in_one_batch_is_one_row(warehouse: Warehouse) -> None:
    result = store(warehouse, batch(event(1), event(1)))
    assert (result.events, result.duplicates) == (1, 1)
    assert len(derived(warehouse)) == 1


def test_an_event_is_known_by_its_id_and_its_time(warehouse: Warehouse) -> None:
    """An id fixes its event's time; whoever gives one to two moments has two events."""
    store(warehouse, batch(event(1, 10), event(2, 20)))
    again = store(warehouse, batch(event(1, 20), event(2, 20), event(1, 10, group="tool_called")))
    assert (again.events, again.duplicates) == (1, 2)
    assert derived(warehouse) == recomputed(warehouse)
    stored = rows(warehouse, "SELECT _activity_id, ts FROM {s}.events ORDER BY ALL")
    assert [(one[-1], ts.second) for one, ts in stored] == [("1", 10), ("1", 20), ("2", 20)]


def test_what_is_stored_is_known_again_however_far_apart_a_batch_lies(
    warehouse: Warehouse,
) -> None:
    far = [event(number, 86_400 * 37 * number) for number in range(1, 60)]
    store(warehouse, batch(*far[::2]))
    result = store(warehouse, batch(*far))
    assert (result.events, result.duplicates) == (29, 30)
    assert derived(warehouse) == recomputed(warehouse)


def test_late_rows_find_the_row_before_them_however_long_ago_it_was(warehouse: Warehouse) -> None:
    """From a minute to a century; in one group there is none."""
    day = 86_400
    ages = [60, 2 * 3_600, 3 * day, 50 * day, 36_500 * day]
    early = [event(n, -age, f"group_{n}") for n, age in enumerate(ages, start=1)]
    latest = [event(n + 10, 100, f"group_{n}") for n in range(1, 7)]
    store(warehouse, batch(*early, *latest))
    store(warehouse, batch(*(event(n + 20, 50, f"group_{n}") for n in range(1, 7))))
    assert derived(warehouse) == recomputed(warehouse)
    firsts = rows(warehouse, "SELECT count(*) FROM {s}.events WHERE activity_occurrence = 1")
    assert firsts == [(6,)]


def test_late_rows_of_several_groups_at_once_change_each_group_from_its_own_first_on(
    warehouse: Warehouse,
) -> None:
    stored = [event(10 * g + n, 10 * n, f"group_{g}") for g in range(1, 5) for n in range(1, 7)]
    late = [event(100 + g, 10 * g + 5, f"group_{g}") for g in range(1, 5)]
    store(warehouse, batch(*stored))
    store(warehouse, batch(*late))
    assert derived(warehouse) == recomputed(warehouse)


def test_a_group_with_a_late_row_goes_on_after_its_newest(warehouse: Warehouse) -> None:
    """Whether that came before the late row or with it."""
    store(warehouse, batch(event(1, 10), event(2, 20)))
    for number, second in [(3, 15), (10, 30), (20, 40)]:
        store(warehouse, batch(event(number, 5 + number), event(number + 1, second)))
        assert derived(warehouse) == recomputed(warehouse)


def test_the_position_moves_with_the_batch_and_only_with_it(warehouse: Warehouse) -> None:
    assert warehouse.position("uploader") is None
    store(warehouse, batch(event(1), position="1:a"))
    assert warehouse.position("uploader") == "1:a"

    def fail(name: str) -> None:
        if name == "progress stored":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store(warehouse, batch(event(2, 5), position="1:b"), fail)
    assert warehouse.position("uploader") == "1:a"
    assert len(derived(warehouse)) == 1


def test_columns_come_in_the_order_and_types_of_the_specification(warehouse: Warehouse) -> None:
    described = rows(
        warehouse,
        "SELECT column_name, data_type FROM information_schema.columns "
        f"WHERE table_schema = '{warehouse.schema}' AND table_name = 'events' "
        "ORDER BY ordinal_position",
    )
    assert described == [
        ("activity", "VARCHAR"),
        ("customer", "VARCHAR"),
        ("ts", "TIMESTAMP"),
        ("activity_repeated_at", "TIMESTAMP"),
        ("activity_occurrence", "BIGINT"),
        ("link", "VARCHAR"),
        ("revenue_impact", "DECIMAL(38,6)"),
        ("_feature_json", "JSON"),
        ("_source_system", "VARCHAR"),
        ("_source_version", "VARCHAR"),
        ("_session_id", "VARCHAR"),
        ("_query_tag", "VARCHAR"),
        ("_activity_id", "VARCHAR"),
        ("_accepted_at", "TIMESTAMP"),
        ("_ingested_at", "TIMESTAMP"),
    ]


def test_every_field_of_an_event_arrives_as_it_was(warehouse: Warehouse) -> None:
    payload = {"exact": 2**53 + 1, "n": [1.5, None, {"ü": "'; drop table events; --"}], "z": "\0"}
    store(
        warehouse,
        batch(
            event(
                1,
                feature_json=payload,
                link="file:///x",
                revenue_impact=Decimal("999999999999999.123456"),
                source_system="claude_desktop",
                source_version="1.2",
                session_id="s",
                query_tag="cdesk_00000001",
                accepted_at=BEGIN + timedelta(days=400, microseconds=7),
            )
        ),
    )
    ((link, revenue, told, system, version, session, tag, accepted_at),) = rows(
        warehouse,
        "SELECT link, revenue_impact, _feature_json, _source_system, _source_version, "
        "_session_id, _query_tag, _accepted_at FROM {s}.events",
    )
    assert json.loads(told) == payload
    assert (link, revenue) == ("file:///x", Decimal("999999999999999.123456"))
    assert (system, version, session, tag) == ("claude_desktop", "1.2", "s", "cdesk_00000001")
    assert accepted_at == (BEGIN + timedelta(days=400, microseconds=7)).replace(tzinfo=None)


@pytest.mark.parametrize("engine", sorted(SINKS))
def test_the_lag_of_the_stream_is_what_acceptance_to_storage_took_whatever_was_imported(
    engine: str, tmp_path: Path
) -> None:
    now = BEGIN + timedelta(days=400)

    def accepted(number: int, seconds_ago: float, **fields: Any) -> Event:
        return event(number, accepted_at=now - timedelta(seconds=seconds_ago), **fields)

    warehouse = SINKS[engine](tmp_path, clock=lambda: now)
    history = [accepted(number, 2.5, second=number) for number in range(1, 100)]
    live = [accepted(100, 1.25, second=400 * 86_400 - 2)]
    unknown = [event(101, 400 * 86_400 - 90)]
    stepped_back = [accepted(102, -3_600, second=400 * 86_400)]
    store(warehouse, batch(*history, *live, *unknown, *stepped_back))
    ((events, median_s, p95_s),) = rows(
        warehouse, "SELECT events, median_lag_s, p95_lag_s FROM {s}.v_stream_lag"
    )
    assert (events, median_s, p95_s) == (101, 2.5, 2.5)
    lags = rows(
        warehouse,
        "SELECT DISTINCT seconds_until_ingested FROM {s}.vw_events_base ORDER BY ALL NULLS LAST",
    )
    assert lags == [(0.0,), (1.25,), (2.5,), (None,)]


def test_an_insight_becomes_an_atom_and_replaying_it_none_more(warehouse: Warehouse) -> None:
    insight = Insight(
        subject="orders",
        metric="revenue_usd",
        value={"amount": 12.5},
        provenance_query_hash="0123456789abcdef",
        filter={"region": "emea"},
        confidence=0.5,
        valid_for_s=60,
    )
    recorded = event(1, group="insight_recorded", feature_json=insight.payload(BEGIN))
    store(warehouse, batch(recorded))
    store(warehouse, batch(recorded))
    atoms = rows(
        warehouse,
        "SELECT id, subject, metric, value ->> '$.amount', filter_json ->> '$.region', "
        "confidence, valid_until - valid_from FROM {s}.insight_atoms",
    )
    assert atoms == [
        (recorded.activity_id, "orders", "revenue_usd", "12.5", "emea", 0.5, timedelta(seconds=60))
    ]


def test_a_malformed_insight_stays_an_event_and_stops_nothing(warehouse: Warehouse) -> None:
    result = store(warehouse, batch(event(1, group="insight_recorded", feature_json={"x": 1})))
    assert result.events == 1
    assert rows(warehouse, "SELECT count(*) FROM {s}.insight_atoms") == [(0,)]


def test_an_insights_id_at_another_time_is_an_event_and_no_other_atom(warehouse: Warehouse) -> None:
    """It was refused as a whole batch, and then line by line."""
    payload = {"subject": "orders", "metric": "revenue", "value": 1}
    told = [event(1, at, group="insight_recorded", feature_json=payload) for at in (10, 20, 30)]
    assert store(warehouse, batch(*told[:2])).events == 2
    assert store(warehouse, batch(told[2])).events == 1
    assert rows(warehouse, "SELECT id, ts FROM {s}.insight_atoms") == [
        (told[0].activity_id, told[0].ts.replace(tzinfo=None))
    ]


def test_a_batch_of_nothing_but_bad_lines_is_kept_whole(warehouse: Warehouse) -> None:
    bad = [Quarantined(b"no \0 %d \xff" % number, "no JSON") for number in range(2_000)]
    assert store(warehouse, batch(quarantined=bad)).quarantined == 2_000
    kept = rows(warehouse, "SELECT line FROM {s}._quarantine ORDER BY line")
    assert kept == sorted((f"no \0 {number} \\xff",) for number in range(2_000))


def test_quarantined_lines_are_kept_once_with_their_reason(warehouse: Warehouse) -> None:
    bad = Quarantined(b"{not json \xff", "the line is not JSON", "seg-1.ndjson", 7, "acme")
    for _ in range(2):
        store(warehouse, batch(quarantined=[bad]))
    kept = rows(
        warehouse,
        "SELECT id, customer, segment, line_number, reason, line FROM {s}._quarantine",
    )
    assert kept == [(bad.id, "acme", "seg-1.ndjson", 7, "the line is not JSON", "{not json \\xff")]


def test_a_batch_that_does_not_begin_where_the_sink_stands_changes_nothing(
    warehouse: Warehouse,
) -> None:
    store(warehouse, batch(event(1), position="1:a"))
    for after in (None, "1", "1:b"):
        elsewhere = replace(batch(event(2, 5), position="1:c"), after=after)
        with pytest.raises(PositionMoved):
            warehouse.write(elsewhere)
    assert warehouse.position("uploader") == "1:a"
    assert len(derived(warehouse)) == 1


def test_a_sink_keeps_its_lineage_and_counts_each_event_once(warehouse: Warehouse) -> None:
    assert warehouse.standing() == Standing(None, 0)
    warehouse.begin_lineage("one")
    store(warehouse, batch(event(1), event(2), event(2)))
    store(warehouse, batch(event(2), event(3)))
    assert warehouse.standing() == Standing("one", 3)
    warehouse.begin_lineage("two")
    assert warehouse.standing() == Standing("two", 3)
