"""Whatever happened to a customer, every shipped question answers what plain Python answers."""

from __future__ import annotations

from datetime import timedelta
from itertools import count
from typing import Any, Final

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.thorough import examples

from .oracle import ORACLES
from .questions import CATALOG, ask, warehouse
from .tales import AS_OF, ISSUED, Tale, hash_of, tell
from .test_every_answer import ASKED, plain

NUMBERS: Final = count(1)
ACTIVITIES: Final = (
    "user_asked", "claude_responded", "tool_called", "tool_completed", "tool_failed", "sql_failed",
    "sql_completed", "error_encountered", "timeout_occurred", "file_read", "queue_overflow",
)  # fmt: skip
PARAMS: Final = {
    "days": st.integers(1, 40),
    "hours": st.integers(1, 900),
    "weeks": st.integers(1, 9),
}
some = st.sampled_from
moments = some((0, 1, 60, 3_600, 86_400, 7 * 86_400, 30 * 86_400)).flatmap(
    lambda unit: st.builds(
        lambda many, micro: AS_OF - timedelta(seconds=many * unit, microseconds=micro),
        st.integers(-1, 6),
        some((-1, 0, 0, 0, 1, 500_000)),
    )
)
payloads = st.fixed_dictionaries(
    {},
    optional={
        "conversation_id": some(("a", "b", "c")),
        "tool": some(("x", "y")),
        "ok": st.booleans() | st.none(),
        "latency_ms": some((1, 2.25, 1_000)),
        "error": some(("e", "f")),
        "where": some(("here",)) | st.none(),
        "model": some(("m", "n")),
        "tokens_in": st.integers(0, 2**53 - 1),
        "cost_usd": some((0, 0.25, 12)) | st.none(),
    },
)
events = st.tuples(
    some(ACTIVITIES), moments, payloads | st.none(), some((1, 2)), some((None, "2.5"))
)
atoms = st.tuples(
    moments,
    some((1, "2", {"k": [None]}, False)),
    st.fixed_dictionaries(
        {},
        optional={
            "subject": some(("Orders", "emea")),
            "metric": some(("margin",)),
            "grain": some(("day",)),
            "confidence": some((0.5, 0.9)),
            "filter": some(({}, {"a": 1})),
            "provenance_query_hash": some((ISSUED, hash_of({"days": 1}))),
        },
    ),
)
runs = st.tuples(moments, some(({}, {"days": 1})), some(("done", "failed", "cancelled")))


@pytest.fixture(scope="module")
def stream() -> duckdb.DuckDBPyConnection:
    return warehouse()


def told(data: Any) -> Tale:
    tale = Tale(f"customer {next(NUMBERS)}", next(NUMBERS))
    for activity, at, payload, batch, revenue in data.draw(st.lists(events, max_size=25)):
        tale.tell(activity, at, payload, talk=None, batch=batch, revenue=revenue)
    for at, value, fields in data.draw(st.lists(atoms, max_size=6)):
        tale.insight(at, value, **fields)
    for at, params, outcome in data.draw(st.lists(runs, max_size=4)):
        tale.run(at, params, outcome=outcome)
    return tale


@settings(max_examples=examples(10))
@given(data=st.data())
def test_whatever_happened_every_answer_is_what_plain_python_answers(
    stream: duckdb.DuckDBPyConnection, data: Any
) -> None:
    tale = told(data)
    tell(stream, tale)
    for template in CATALOG:
        drawn = {name: data.draw(PARAMS[name]) for name in PARAMS if name in template.params}
        params = data.draw(some(ASKED[template.name])) | drawn
        rows = ask(stream, template, params, customer=tale.customer)
        wanted = ORACLES[template.name](tale.known(), template.bind(params))
        shown = rows[0] if rows else {}
        assert rows == [plain({name: row[name] for name in shown}) for row in wanted], params
