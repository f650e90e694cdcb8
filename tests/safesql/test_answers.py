"""The shipped questions count what they say they count."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import duckdb
import pytest

from .questions import (
    BEGAN,
    CATALOG,
    HASH,
    NOW,
    SCHEMA,
    add_atom,
    add_event,
    add_run,
    ask,
    warehouse,
)

DAY = 86_400


@pytest.fixture
def stream() -> duckdb.DuckDBPyConnection:
    return warehouse()


def test_recent_activities_come_newest_first_and_no_more_than_asked(
    stream: duckdb.DuckDBPyConnection,
) -> None:
    for number, activity in enumerate(["user_asked", "claude_responded", "user_asked"]):
        add_event(stream, activity, after_s=number, conversation="c")
    template = CATALOG.get("recent_activities")
    rows = ask(stream, template, {"limit": 2})
    assert [row["activity"] for row in rows] == ["cdesk.user_asked", "cdesk.claude_responded"]
    assert rows[0]["conversation"] == "c"
    assert len(ask(stream, template, {"activity": "cdesk.user_asked"})) == 2


def test_activity_statistics_count_events_conversations_and_days(
    stream: duckdb.DuckDBPyConnection,
) -> None:
    for day, talk in [(0, "a"), (0, "a"), (1, "b")]:
        add_event(stream, "user_asked", after_s=day * DAY, conversation=talk)
    add_event(stream, "user_asked", after_s=-100 * DAY, conversation="old")
    (row,) = ask(stream, CATALOG.get("activity_statistics"))
    assert (row["events"], row["conversations"], row["active_days"]) == (3, 2, 2)
    assert row["last_ts_utc"] == (BEGAN + timedelta(days=1)).replace(tzinfo=None)


def test_insights_leave_out_expired_values_unless_asked(
    stream: duckdb.DuckDBPyConnection,
) -> None:
    add_atom(stream, 10, after_s=1)
    add_atom(stream, {"a": 1}, after_s=2, metric="margin")
    add_atom(stream, "old", after_s=3, metric="cost", valid_until=NOW - timedelta(days=1))
    template = CATALOG.get("insights_by_subject")
    rows = ask(stream, template, {"subject": "ORDERS"})
    assert [(row["metric"], row["value_text"]) for row in rows] == [
        ("margin", '{"a":1}'),
        ("revenue_usd", "10"),
    ]
    assert len(ask(stream, template, {"subject": "orders", "is_valid_only": False})) == 3


def test_insights_by_metric_are_a_series_of_numbers(stream: duckdb.DuckDBPyConnection) -> None:
    for after_s, number in enumerate([1, 2.5, "n/a"]):
        add_atom(stream, number, after_s=after_s)
    rows = ask(stream, CATALOG.get("insights_by_metric"))
    assert [(row["value_text"], row["value_number"]) for row in rows] == [
        ("n/a", None),
        ("2.5", 2.5),
        ("1", 1.0),
    ]


def test_insights_by_customer_are_the_latest_value_of_each_metric(
    stream: duckdb.DuckDBPyConnection,
) -> None:
    add_atom(stream, 1, after_s=1)
    add_atom(stream, 2, after_s=2)
    add_atom(stream, 3, after_s=1, subject="emea")
    rows = ask(stream, CATALOG.get("insights_by_customer"))
    assert [(row["subject"], row["value_text"]) for row in rows] == [("orders", "2"), ("emea", "3")]
    assert ask(stream, CATALOG.get("insights_by_customer"), {"min_confidence": 0.95}) == []


def test_a_funnel_counts_only_steps_that_follow_in_order(
    stream: duckdb.DuckDBPyConnection,
) -> None:
    for talk, steps in {
        "whole": ["user_asked", "tool_called", "claude_responded"],
        "short": ["user_asked", "tool_called"],
        "backwards": ["claude_responded", "tool_called", "user_asked"],
        "asked only": ["user_asked"],
    }.items():
        for number, activity in enumerate(steps):
            add_event(stream, activity, after_s=number, conversation=talk)
    steps = {
        "step_1": "cdesk.user_asked",
        "step_2": "cdesk.tool_called",
        "step_3": "cdesk.claude_responded",
    }
    rows = ask(stream, CATALOG.get("activity_funnel"), steps)
    assert [row["conversations"] for row in rows] == [4, 2, 1]
    assert [row["percent_of_first"] for row in rows] == [100.0, 50.0, 25.0]
    assert [row["percent_of_previous"] for row in rows] == [None, 50.0, 50.0]
    sentence = CATALOG.get("activity_funnel").sentence(3, rows[0])
    assert sentence == ("4 conversations enter with cdesk.user_asked; 25 % reach the last step")


@pytest.mark.parametrize("left_out", ["step_3", "step_4"])
def test_a_step_that_is_left_out_of_a_funnel_is_no_step(
    stream: duckdb.DuckDBPyConnection, left_out: str
) -> None:
    for number, activity in enumerate(["user_asked", "tool_called", "file_read"]):
        add_event(stream, activity, after_s=number, conversation="c")
    last = "step_4" if left_out == "step_3" else "step_5"
    steps = {"step_1": "cdesk.user_asked", "step_2": "cdesk.tool_called", last: "cdesk.file_read"}
    if left_out == "step_4":
        steps |= {"step_3": "cdesk.file_read", "step_2": "cdesk.user_asked"}
        add_event(stream, "user_asked", after_s=1, conversation="c")
        add_event(stream, "file_read", after_s=9, conversation="c")
    rows = ask(stream, CATALOG.get("activity_funnel"), steps)
    assert [row["step"] for row in rows] == list(range(1, len(steps) + 1))
    assert [row["conversations"] for row in rows] == [1] * len(steps)
    assert rows[0]["last_percent"] == 100.0


def test_a_repeated_step_of_a_funnel_is_a_second_event(
    stream: duckdb.DuckDBPyConnection,
) -> None:
    for talk, times in {"once": [0], "twice": [0, 5], "in one instant": [0, 0]}.items():
        for after_s in times:
            add_event(stream, "user_asked", after_s=after_s, conversation=talk)
    asked = {"step_1": "cdesk.user_asked", "step_2": "cdesk.user_asked"}
    rows = ask(stream, CATALOG.get("activity_funnel"), asked)
    assert [row["conversations"] for row in rows] == [3, 2]


def test_steps_of_one_instant_follow_each_other_in_the_order_of_the_funnel(
    stream: duckdb.DuckDBPyConnection,
) -> None:
    add_event(stream, "claude_responded", conversation="c")
    add_event(stream, "user_asked", conversation="c")
    rows = ask(stream, CATALOG.get("activity_funnel"))
    assert [row["conversations"] for row in rows] == [1, 1]


def test_a_funnel_nobody_entered_is_empty(stream: duckdb.DuckDBPyConnection) -> None:
    add_event(stream, "claude_responded", conversation="c")
    assert ask(stream, CATALOG.get("activity_funnel")) == []


def test_cohorts_follow_conversations_week_by_week(stream: duckdb.DuckDBPyConnection) -> None:
    for talk, weeks in {"a": [0, 1, 2], "b": [0, 2], "c": [1]}.items():
        for week in weeks:
            add_event(stream, "user_asked", after_s=week * 7 * DAY, conversation=talk)
    rows = ask(stream, CATALOG.get("weekly_cohorts"))
    counted = [(row["weeks_after"], row["conversations"], row["percent_of_cohort"]) for row in rows]
    assert counted == [(0, 1, 100.0), (0, 2, 100.0), (1, 1, 50.0), (2, 2, 100.0)]
    assert rows[0]["cohort_week"] > rows[1]["cohort_week"]
    assert rows[0]["cohort_week"].weekday() == 0


def test_a_conversation_began_when_it_began_however_few_weeks_are_looked_back(
    stream: duckdb.DuckDBPyConnection,
) -> None:
    add_event(stream, "user_asked", after_s=-60 * DAY, conversation="old")
    add_event(stream, "user_asked", after_s=19 * DAY, conversation="old")
    add_event(stream, "user_asked", after_s=19 * DAY, conversation="new")
    (row,) = ask(stream, CATALOG.get("weekly_cohorts"), {"weeks": 1})
    assert (row["weeks_after"], row["conversations"], row["cohort_size"]) == (0, 1, 1)


def test_a_cohort_is_whole_whatever_activity_counts_as_active(
    stream: duckdb.DuckDBPyConnection,
) -> None:
    for talk in "ab":
        add_event(stream, "user_asked", after_s=0, conversation=talk)
    add_event(stream, "file_read", after_s=7 * DAY, conversation="a")
    read = {"activity": "cdesk.file_read"}
    (row,) = ask(stream, CATALOG.get("weekly_cohorts"), read)
    assert (row["weeks_after"], row["conversations"], row["cohort_size"]) == (1, 1, 2)
    assert row["percent_of_cohort"] == 50.0


def test_a_journey_counts_what_follows_inside_a_conversation(
    stream: duckdb.DuckDBPyConnection,
) -> None:
    for talk in "ab":
        add_event(stream, "user_asked", after_s=0, conversation=talk)
        add_event(stream, "claude_responded", after_s=4, conversation=talk)
    add_event(stream, "file_read", after_s=1, conversation="c")
    (row,) = ask(stream, CATALOG.get("customer_journey"))
    assert (row["activity"], row["next_activity"], row["times"]) == (
        "cdesk.user_asked",
        "cdesk.claude_responded",
        2,
    )
    assert (row["percent_of_activity"], row["median_seconds_until"]) == (100.0, 4.0)
    assert ask(stream, CATALOG.get("customer_journey"), {"min_times": 3}) == []


def test_tool_usage_counts_a_call_once_and_a_failure_however_it_was_recorded(
    stream: duckdb.DuckDBPyConnection,
) -> None:
    for number, (activity, ok) in enumerate(
        [("tool_completed", True), ("tool_completed", False), ("tool_failed", False)]
    ):
        add_event(stream, "tool_called", tool="search")
        add_event(stream, activity, tool="search", ok=ok, latency_ms=100 * number)
    add_event(stream, "tool_completed", ok=True)
    rows = ask(stream, CATALOG.get("tool_usage"))
    assert [(row["tool"], row["calls"], row["failed_calls"]) for row in rows] == [
        ("search", 3, 2),
        ("(unnamed)", 1, 0),
    ]
    assert rows[0]["failed_percent"] == 66.7
    assert rows[0]["median_latency_ms"] == 100.0


def test_llm_cost_sums_tokens_and_dollars_by_period(stream: duckdb.DuckDBPyConnection) -> None:
    for day in (0, 0, 1):
        add_event(
            stream,
            "claude_responded",
            after_s=day * DAY,
            model="m",
            tokens_in=10,
            tokens_out=5,
            cost_usd=0.25,
        )
    rows = ask(stream, CATALOG.get("llm_cost"))
    assert [(row["responses"], row["tokens_in"], row["cost_usd"]) for row in rows] == [
        (1, 10, 0.25),
        (2, 20, 0.5),
    ]
    assert rows[0]["total_cost_usd"] == 0.75
    (week,) = ask(stream, CATALOG.get("llm_cost"), {"period": "week"})
    assert (week["period_start"].weekday(), week["responses"]) == (0, 3)


@pytest.mark.parametrize(
    ("costs", "sentence"),
    [
        ([None, None], "unknown US dollars, known of 0 of 2 answers"),
        ([0.75, None], "0.75 US dollars, known of 1 of 2 answers"),
    ],
)
def test_what_is_not_known_of_a_cost_is_said_and_never_counted_as_nothing(
    stream: duckdb.DuckDBPyConnection, costs: list[float | None], sentence: str
) -> None:
    for cost in costs:
        add_event(stream, "claude_responded", model="m", cost_usd=cost)
    template = CATALOG.get("llm_cost")
    (row,) = ask(stream, template)
    assert template.sentence(1, row).partition(";")[0] == sentence


def test_no_sum_overflows_whatever_two_events_hold(stream: duckdb.DuckDBPyConnection) -> None:
    largest = 2**63 - 1
    for _ in range(2):
        add_event(
            stream,
            "claude_responded",
            model="m",
            tokens_in=largest,
            tokens_out=-largest,
            cost_usd=1e15,
        )
    stream.execute(f"UPDATE {SCHEMA}.events SET revenue_impact = 999999999999999.999999")
    (cost,) = ask(stream, CATALOG.get("llm_cost"))
    assert (cost["tokens_in"], cost["tokens_out"]) == (2 * largest, -2 * largest)
    assert (cost["cost_usd"], cost["total_responses"]) == (2e15, 2)
    (counted,) = ask(stream, CATALOG.get("activity_statistics"))
    assert counted["revenue_impact_usd"] == Decimal("1999999999999999.999998")


def test_error_analysis_groups_failures_by_place_and_error(
    stream: duckdb.DuckDBPyConnection,
) -> None:
    for _ in range(2):
        add_event(stream, "error_encountered", error="Timeout", where="uploader")
    add_event(stream, "tool_failed", tool="search")
    rows = ask(stream, CATALOG.get("error_analysis"))
    assert [(row["place"], row["error"], row["times"]) for row in rows] == [
        ("uploader", "Timeout", 2),
        ("search", "(unknown)", 1),
    ]


def test_product_metrics_score_a_day_by_its_failures(stream: duckdb.DuckDBPyConnection) -> None:
    for activity in ("user_asked", "claude_responded", "tool_called", "tool_failed"):
        add_event(stream, activity, conversation="c")
    (row,) = ask(stream, CATALOG.get("product_metrics"))
    assert (row["questions"], row["answers"], row["tool_calls"], row["failures"]) == (1, 1, 1, 1)
    assert row["health_score"] == 50.0


def test_provenance_shows_every_run_of_a_hash_with_its_parameters(
    stream: duckdb.DuckDBPyConnection,
) -> None:
    add_run(stream, ticket="1")
    add_run(stream, ticket="2")
    add_run(stream, customer="globex")
    rows = ask(stream, CATALOG.get("query_provenance"), {"query_hash": HASH})
    assert len(rows) == 2
    assert {row["params_json"] for row in rows} == {'{"secret_of":"acme"}'}


def test_health_is_one_row_even_of_an_empty_stream(stream: duckdb.DuckDBPyConnection) -> None:
    (row,) = ask(stream, CATALOG.get("health"))
    assert (row["events"], row["queries"], row["valid_insights"]) == (0, 0, 0)
    add_event(stream, "error_encountered", after_s=20 * DAY - 600)
    add_event(stream, "tool_failed", after_s=20 * DAY - 600)
    add_atom(stream, 1)
    stream.execute(f"UPDATE {SCHEMA}.insight_atoms SET is_verified = false")
    (row,) = ask(stream, CATALOG.get("health"))
    assert (row["events"], row["errors"], row["minutes_since_last"]) == (2, 2, 10)
    assert (row["valid_insights"], row["insights_with_provenance"]) == (1, 0)
    assert row["p95_delay_s"] == 2.0
