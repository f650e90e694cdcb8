"""What each shipped question means, in plain Python: an answer that no SQL had a part in."""

from __future__ import annotations

import statistics
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from datetime import date, timedelta
from itertools import pairwise
from typing import Any, Final

import orjson

from .known import (
    DAY,
    Happened,
    Known,
    Row,
    conversations,
    grouped,
    half_up,
    monday,
    newest,
    p95,
    percent,
    ticks,
    total,
)

Params = Mapping[str, Any]

_FAILURES: Final = {
    "cdesk.error_encountered", "cdesk.tool_failed", "cdesk.sql_failed", "cdesk.timeout_occurred",
    "cdesk.fallback_triggered", "cdesk.schema_drifted",
}  # fmt: skip


def recent_activities(known: Known, params: Params) -> list[Row]:
    wanted = params["activity"]
    rows = []
    for activity, happened in grouped(known.events, lambda one: one.activity).items():
        ordered = sorted(happened, key=lambda one: one.order)
        rows += [
            {
                "ts_utc": one.ts,
                "activity": activity,
                "activity_occurrence": occurrence,
                "conversation": one.conversation,
                "link": one.event.link,
                "revenue_impact_usd": one.event.revenue_impact,
                "activity_id": one.event.activity_id,
            }
            for occurrence, one in enumerate(ordered, 1)
            if one.ts <= known.as_of and wanted in (None, activity)
        ]
    return newest(rows, "ts_utc", "activity_id")[: params["limit"]]


def activity_statistics(known: Known, params: Params) -> list[Row]:
    rows = [
        {
            "activity": activity,
            "events": len(happened),
            "conversations": conversations(happened),
            "active_days": len({one.ts.date() for one in happened}),
            "first_ts_utc": happened[0].ts,
            "last_ts_utc": happened[-1].ts,
            "revenue_impact_usd": total(one.event.revenue_impact for one in happened),
        }
        for activity, happened in grouped(
            known.within(params["days"] * DAY), lambda one: one.activity
        ).items()
    ]
    return sorted(rows, key=lambda row: (-row["events"], row["activity"]))


def activity_funnel(known: Known, params: Params) -> list[Row]:
    steps = [params[f"step_{n}"] for n in range(1, 6) if params[f"step_{n}"] is not None]
    reached: Counter[int] = Counter()
    told = [one for one in known.within(params["days"] * DAY) if one.conversation is not None]
    for happened in grouped(told, lambda one: one.conversation).values():
        ordered = sorted(
            (one for one in happened if one.activity in steps),
            key=lambda one: (one.ts, steps.index(one.activity), one.event.activity_id),
        )
        number = 0
        for one in ordered:
            if number < len(steps) and one.activity == steps[number]:
                number += 1
                reached[number] += 1
    if not reached:
        return []
    counts = [reached[number] for number in range(1, len(steps) + 1)]
    return [
        {
            "step": number,
            "activity": activity,
            "conversations": count,
            "percent_of_first": percent(count, counts[0]),
            "percent_of_previous": percent(count, counts[number - 2]) if number > 1 else None,
            "last_percent": percent(counts[-1], counts[0]),
        }
        for number, (activity, count) in enumerate(zip(steps, counts, strict=True), 1)
    ]


def customer_journey(known: Known, params: Params) -> list[Row]:
    waits: dict[tuple[str, str], list[float]] = defaultdict(list)
    told = [one for one in known.within(params["days"] * DAY) if one.conversation is not None]
    for happened in grouped(told, lambda one: one.conversation).values():
        for one, following in pairwise(happened):
            waits[one.activity, following.activity].append(
                ticks(one.ts, following.ts, timedelta(milliseconds=1)) / 1000
            )
    of_activity: Counter[str] = Counter()
    for (activity, _), seconds in waits.items():
        of_activity[activity] += len(seconds)
    rows = [
        {
            "activity": activity,
            "next_activity": following,
            "times": len(seconds),
            "percent_of_activity": percent(len(seconds), of_activity[activity]),
            "median_seconds_until": statistics.median(seconds),
        }
        for (activity, following), seconds in waits.items()
        if params["activity"] in (None, activity) and len(seconds) >= params["min_times"]
    ]
    return sorted(rows, key=lambda row: (-row["times"], row["activity"], row["next_activity"]))


def error_analysis(known: Known, params: Params) -> list[Row]:
    failed = [one for one in known.within(params["days"] * DAY) if one.activity in _FAILURES]

    def kind(one: Happened) -> tuple[str, str, str]:
        place = one.get("where") or one.get("tool") or one.get("template") or "(unknown)"
        return one.activity, place, one.get("error") or "(unknown)"

    rows = [
        {
            "activity": activity,
            "place": place,
            "error": error,
            "times": len(happened),
            "conversations": conversations(happened),
            "first_ts_utc": happened[0].ts,
            "last_ts_utc": happened[-1].ts,
        }
        for (activity, place, error), happened in grouped(failed, kind).items()
    ]
    rows.sort(key=lambda row: (row["activity"], row["place"], row["error"]))
    rows.sort(key=lambda row: (row["times"], row["last_ts_utc"]), reverse=True)
    return rows


def health(known: Known, params: Params) -> list[Row]:
    span = timedelta(hours=params["hours"])
    events = known.within(span)
    count = Counter(one.activity for one in events)
    last = events[-1].ts if events else None
    runs = [run for run in known.runs if known.as_of - span < run.started_at <= known.as_of]
    atoms = [atom for atom in known.atoms() if known.is_valid(atom)]
    delays = [one.delay_s for one in events if one.delay_s is not None]
    return [
        {
            "events": len(events),
            "last_ts_utc": last,
            "minutes_since_last": None if last is None else ticks(last, known.as_of, DAY / 1440),
            "p95_delay_s": p95(delays),
            "errors": count["cdesk.error_encountered"]
            + count["cdesk.timeout_occurred"]
            + count["cdesk.tool_failed"],
            "queue_overflows": count["cdesk.queue_overflow"],
            "schema_drifts": count["cdesk.schema_drifted"],
            "queries": len(runs),
            "failed_queries": sum(run.outcome == "failed" for run in runs),
            "sampled_queries": sum(run.is_sampled for run in runs),
            "p95_query_ms": p95([run.duration_ms for run in runs]),
            "bytes_scanned": sum(run.bytes_scanned for run in runs),
            "valid_insights": len(atoms),
            "insights_with_provenance": sum(atom["is_verified"] for atom in atoms),
        }
    ]


def insights_by_customer(known: Known, params: Params) -> list[Row]:
    latest: dict[Any, Row] = {}
    for atom in known.atoms():
        sure = 1 if atom["confidence"] is None else atom["confidence"]
        if known.is_valid(atom) and sure >= params["min_confidence"]:
            key = (atom["subject"], atom["metric"], atom["grain"], atom["filter_text"])
            latest.setdefault(key, atom)
    return list(latest.values())


def insights_by_metric(known: Known, params: Params) -> list[Row]:
    def number(value: str) -> float | None:
        try:
            return float(value)
        except ValueError:
            return None

    return [
        atom | {"value_number": number(atom["value_text"])}
        for atom in known.atoms()
        if atom["subject"].lower() == params["subject"].lower()
        and atom["metric"].lower() == params["metric"].lower()
        and params["grain"] in (None, atom["grain"])
    ]


def insights_by_subject(known: Known, params: Params) -> list[Row]:
    return [
        atom
        for atom in known.atoms()
        if atom["subject"].lower() == params["subject"].lower()
        and (known.is_valid(atom) or not params["is_valid_only"])
    ]


def llm_cost(known: Known, params: Params) -> list[Row]:
    answers = [
        one
        for one in known.within(params["days"] * DAY)
        if one.activity == "cdesk.claude_responded"
    ]

    def period(one: Happened) -> tuple[date, str]:
        day = one.ts.date()
        begin = {"day": day, "week": monday(one.ts), "month": day.replace(day=1)}
        return begin[params["period"]], one.get("model") or "(unknown)"

    costs = [one.get("cost_usd") for one in answers]
    rows = [
        {
            "period_start": begin,
            "period": params["period"],
            "model": model,
            "responses": len(happened),
            "tokens_in": total(one.get("tokens_in") for one in happened),
            "tokens_out": total(one.get("tokens_out") for one in happened),
            "chars": total(one.get("chars") for one in happened),
            "cost_usd": half_up(total(one.get("cost_usd") for one in happened), 4),
            "total_cost_usd": half_up(total(costs), 2),
            "total_priced": sum(cost is not None for cost in costs),
            "total_responses": len(answers),
        }
        for (begin, model), happened in grouped(answers, period).items()
    ]
    rows.sort(key=lambda row: row["model"])
    rows.sort(key=lambda row: (row["period_start"], row["responses"]), reverse=True)
    return rows


def product_metrics(known: Known, params: Params) -> list[Row]:
    rows = []
    days = grouped(known.within(params["days"] * DAY), lambda one: one.ts.date())
    for day, happened in days.items():
        count = Counter(one.activity.removeprefix("cdesk.") for one in happened)
        calls = max(count["tool_called"], count["tool_completed"] + count["tool_failed"])
        failures = sum(
            count[name]
            for name in ("tool_failed", "sql_failed", "error_encountered", "timeout_occurred")
        )
        worked = max(1, count["claude_responded"] + calls + count["sql_completed"])
        rows.append(
            {
                "day_utc": day,
                "events": len(happened),
                "conversations": conversations(happened),
                "questions": count["user_asked"],
                "answers": count["claude_responded"],
                "tool_calls": calls,
                "queries": count["sql_completed"],
                "insights": count["insight_recorded"],
                "failures": failures,
                "health_score": half_up(100 * (1 - min(1, failures / worked)), 1),
            }
        )
    return sorted(rows, key=lambda row: row["day_utc"], reverse=True)


def query_provenance(known: Known, params: Params) -> list[Row]:
    asked = [run for run in known.runs if run.query_hash == params["query_hash"]]
    rows = [
        {
            "query_hash": run.query_hash,
            "template": run.template,
            "template_version": run.template_version,
            "params_json": orjson.dumps(run.params).decode(),
            "started_at_utc": run.started_at,
            "outcome": run.outcome,
            "row_count": run.row_count,
            "bytes_scanned": run.bytes_scanned,
            "duration_ms": run.duration_ms,
            "is_sampled": run.is_sampled,
            "query_tag": run.query_tag,
            "ticket_id": run.ticket_id,
            "created_by": asked[0].query_tag,
        }
        for run in asked
        if run.started_at <= known.as_of
    ]
    rows.sort(key=lambda row: row["ticket_id"])
    return sorted(rows, key=lambda row: row["started_at_utc"], reverse=True)


def tool_usage(known: Known, params: Params) -> list[Row]:
    ended = {"cdesk.tool_completed", "cdesk.tool_failed"}
    used = [
        one
        for one in known.within(params["days"] * DAY)
        if one.activity in ended | {"cdesk.tool_called"}
    ]
    rows = []
    for tool, happened in grouped(used, lambda one: one.get("tool") or "(unnamed)").items():
        if params["tool"] not in (None, tool):
            continue
        ends = [one for one in happened if one.activity in ended]
        failed = [
            one for one in ends if one.activity == "cdesk.tool_failed" or one.get("ok") is False
        ]
        took = [one.get("latency_ms") for one in happened if one.get("latency_ms") is not None]
        rows.append(
            {
                "tool": tool,
                "calls": max(len(ends), len(happened) - len(ends)),
                "failed_calls": len(failed),
                "failed_percent": percent(len(failed), len(ends)),
                "median_latency_ms": half_up(statistics.median(took), 1) if took else None,
                "p95_latency_ms": p95(took),
                "last_ts_utc": happened[-1].ts,
            }
        )
    return sorted(rows, key=lambda row: (-row["calls"], row["tool"]))


def weekly_cohorts(known: Known, params: Params) -> list[Row]:
    weeks_of: dict[str, list[Happened]] = grouped(
        (one for one in known.events if one.ts <= known.as_of and one.conversation is not None),
        lambda one: one.conversation,
    )
    earliest = monday(known.as_of) - timedelta(weeks=params["weeks"] - 1)
    sizes: Counter[date] = Counter()
    active: Counter[tuple[date, int]] = Counter()
    for happened in weeks_of.values():
        begun = min(monday(one.ts) for one in happened)
        if begun < earliest:
            continue
        sizes[begun] += 1
        weeks = {
            (monday(one.ts) - begun).days // 7
            for one in happened
            if params["activity"] in (None, one.activity)
        }
        active.update((begun, after) for after in weeks)
    rows = [
        {
            "cohort_week": begun,
            "weeks_after": after,
            "conversations": count,
            "cohort_size": sizes[begun],
            "percent_of_cohort": percent(count, sizes[begun]),
        }
        for (begun, after), count in active.items()
    ]
    return sorted(rows, key=lambda row: (-row["cohort_week"].toordinal(), row["weeks_after"]))


ORACLES: Final[Mapping[str, Callable[[Known, Params], list[Row]]]] = {
    oracle.__name__: oracle
    for oracle in (
        recent_activities, activity_statistics, activity_funnel, customer_journey, error_analysis,
        health, insights_by_customer, insights_by_metric, insights_by_subject, llm_cost,
        product_metrics, query_provenance, tool_usage, weekly_cohorts,
    )
}  # fmt: skip
"""What each question means, by the template's name."""
