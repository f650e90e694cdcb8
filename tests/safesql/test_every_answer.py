"""Every shipped question answers what plain Python answers, whatever happened to its customer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any, Final

import duckdb
import orjson
import pytest

from .known import Known, Row
from .oracle import ORACLES
from .questions import CATALOG, NOW, ask, warehouse
from .tales import AS_OF, FAILED, ISSUED, MICRO, TALES, Tale, hash_of, name_of, tales, tell

NAMES: Final = [template.name for template in CATALOG]
STEPS: Final = {"step_1": "cdesk.user_asked", "step_2": "cdesk.tool_called"}
ASKED: Final[Mapping[str, list[dict[str, Any]]]] = {
    "recent_activities": [{}, {"limit": 3}, {"limit": 2, "activity": "cdesk.user_asked"}],
    "activity_statistics": [{}, {"days": 1}],
    "activity_funnel": [
        {},
        STEPS | {"step_4": "cdesk.claude_responded", "step_5": "cdesk.file_read"},
        {"step_2": "cdesk.user_asked"},
        {"step_1": "cdesk.claude_responded", "step_2": "cdesk.user_asked"},
    ],
    "customer_journey": [{}, {"min_times": 2}, {"activity": "cdesk.user_asked"}],
    "error_analysis": [{}, {"days": 1}],
    "health": [{}, {"hours": 8_760}],
    "insights_by_customer": [{}, {"min_confidence": 0.7}],
    "insights_by_metric": [
        {"subject": "ORDERS", "metric": "Revenue_USD"},
        {"subject": "emea", "metric": "margin", "grain": "day"},
    ],
    "insights_by_subject": [{"subject": "Orders"}, {"subject": "orders", "is_valid_only": False}],
    "llm_cost": [{}, {"period": "week"}, {"period": "month", "days": 60}],
    "product_metrics": [{}, {"days": 1}],
    "query_provenance": [{"query_hash": ISSUED}, {"query_hash": hash_of(FAILED)}],
    "tool_usage": [{}, {"tool": "tool of a"}],
    "weekly_cohorts": [{}, {"weeks": 1}, {"activity": "cdesk.claude_responded"}],
}
"""What each question is asked with; the first is what most people ask."""

TOLD: Final = tales(NAMES)
EACH: Final = [pytest.param(name, tale, id=f"{name}-{tale}") for name in NAMES for tale in TALES]


@pytest.fixture(scope="module")
def stream() -> Iterator[duckdb.DuckDBPyConnection]:
    """A warehouse that was told everything, on a machine far from Greenwich."""
    connection = warehouse()
    tell(connection, *TOLD.values())
    connection.execute("SET TimeZone = 'Pacific/Kiritimati'")
    yield connection
    connection.close()


def expected(template: str, known: Known, params: Mapping[str, Any]) -> list[Row]:
    return ORACLES[template](known, CATALOG.get(template).bind(params))


def usual(template: str, known: Known) -> list[Row]:
    return expected(template, known, ASKED[template][0])


def plain(row: Row) -> Row:
    """A row whose numbers compare as numbers: sums of floats may differ in their last digits, and
    a percentile between two numbers in its last, where it is rounded the other way."""
    return {
        name: pytest.approx(value, abs=0.1001 if name.startswith("p95") else None)
        if isinstance(value, float)
        else value
        for name, value in row.items()
    }


def test_every_question_has_its_meaning_in_plain_python() -> None:
    assert set(NAMES) == set(ORACLES) == set(ASKED)


@pytest.mark.parametrize(("template", "tale"), EACH)
def test_the_answer_is_what_plain_python_answers(
    stream: duckdb.DuckDBPyConnection, template: str, tale: str
) -> None:
    told = TOLD[name_of(tale, template)]
    as_of = NOW.astimezone(timezone(timedelta(hours=-9.5))) if tale == "in other zones" else NOW
    for params in ASKED[template]:
        rows = ask(stream, CATALOG.get(template), params, customer=told.customer, as_of=as_of)
        wanted = expected(template, told.known(), params)
        shown = rows[0] if rows else {}
        assert rows == [plain({name: row[name] for name in shown}) for row in wanted], params


@pytest.mark.parametrize("template", NAMES)
def test_every_tale_would_notice_a_question_that_misses_its_point(template: str) -> None:
    def answer(tale: str, *others: Tale, as_of: datetime = AS_OF) -> list[Row]:
        told = TOLD[name_of(tale, template)].known(*others, as_of=as_of)
        return usual(template, told)

    for tale in TALES:
        assert bool(answer(tale)) is (tale != "nothing") or template == "health", tale
    has_no_ties = template in ("health", "product_metrics", "weekly_cohorts")
    assert has_no_ties or len(answer("ties")) > 1
    assert answer("late rows") != usual(template, early(TOLD["late rows"]).known())
    beside = "beside another customer"
    assert answer(beside) != answer(beside, TOLD["elsewhere"])
    edges = TOLD[name_of("at the edges of time", template)]
    for by in (-MICRO, MICRO):
        assert usual(template, edges.moved(by).known()) != usual(template, edges.known())
    assert answer("in other zones") != usual(template, misread(TOLD["in other zones"]).known())


def early(tale: Tale) -> Tale:
    """The tale without what came late."""
    arrived = [one for one in tale.arrived if one[0] == 1]
    return Tale(tale.customer, tale.number, arrived, tale.runs[:3])


def misread(tale: Tale) -> Tale:
    """The tale with the times as they are written, without their offsets."""
    arrived = [
        (batch, replace(one, ts=written(line).replace(tzinfo=UTC)), line)
        for batch, one, line in tale.arrived
    ]
    return Tale(tale.customer, tale.number, arrived, [])


def written(line: bytes | None) -> datetime:
    assert line is not None
    return datetime.fromisoformat(orjson.loads(line)["ts"])
