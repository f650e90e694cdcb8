"""The catalogue's families, and its typed payloads: what fits, what drifts."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdesk.activity import RULES
from cdesk.catalogue import FAMILIES, FLAG, KNOWN, NUMBER, TEXT, WHOLE, family
from cdesk.errors import InvalidActivity
from tests.contract.stream import event
from tests.json_values import OBJECTS

MAX_NUMBER = 2**53 - 1
TOLD = {
    TEXT: "a text",
    FLAG: "true or false",
    WHOLE: "a whole number up to 2^53 - 1",
    NUMBER: "a number up to 2^53 - 1",
}
FITTING = {
    TEXT: ["", "ü"],
    WHOLE: [0, -1, MAX_NUMBER, -MAX_NUMBER],
    NUMBER: [0, 0.5, -1, MAX_NUMBER, float(-MAX_NUMBER)],
    FLAG: [True, False],
}
DRIFTING = {
    TEXT: [1, 1.5, True, [], {}],
    WHOLE: [1.0, "1", True, [1], 2**53, -(2**53), 2**64 - 1],
    NUMBER: ["1.5", False, {}, 2**53, -1e300, 2**63],
    FLAG: [0, 1, "true", []],
}
ACTIVITY_OF = {
    "llm": "cdesk.claude_responded",
    "sql": "cdesk.sql_completed",
    "tool": "cdesk.tool_completed",
    "file": "cdesk.file_read",
    "session": "cdesk.session_started",
    "mcp": "cdesk.insight_recorded",
    "system": "cdesk.error_encountered",
}
KEYS = [(name, key, kind) for name, keys in FAMILIES.items() for key, kind in keys.items()]


def drift(activity: str, payload: Any) -> str | None:
    """Why there can be no such event; the log's reader says the same."""
    plain = event(1, group=activity.removeprefix("cdesk.")).to_line().removesuffix(b"}")
    line = plain + b',"feature_json":' + orjson.dumps(payload) + b"}"
    refused = [reason for _, reason in RULES.decode(line).refused]
    try:
        event(1, group=activity.removeprefix("cdesk."), feature_json=payload)
    except InvalidActivity as error:
        reason = str(error).removesuffix("; mend the value or use another key")
        assert refused == [f"schema drift: {reason}"]
        return reason
    assert refused == []
    return None


def test_there_are_seven_families_and_every_known_activity_is_of_one() -> None:
    assert set(FAMILIES) == set(ACTIVITY_OF)
    assert {family(activity) for activity in KNOWN} == set(FAMILIES)
    for name, activity in ACTIVITY_OF.items():
        assert family(activity) == name


def test_an_activity_outside_the_catalogue_has_no_family_and_never_drifts() -> None:
    assert family("cdesk.coffee_made") is None
    assert drift("cdesk.coffee_made", {"ok": "perhaps", "rows": []}) is None


@pytest.mark.parametrize(("name", "key", "kind"), KEYS)
def test_a_value_of_the_expected_type_fits_and_any_other_is_drift_that_names_key_and_type(
    name: str, key: str, kind: str
) -> None:
    activity = ACTIVITY_OF[name]
    for value in (*FITTING[kind], None):
        assert drift(activity, {key: value}) is None
    for value in DRIFTING[kind]:
        reason = drift(activity, {"other": 1, key: value})
        assert reason == f"feature_json.{key} must be {TOLD[kind]} in {activity}"


@given(st.sampled_from(sorted(KNOWN)), OBJECTS)
def test_missing_and_extra_keys_are_fine(activity: str, extra: dict[str, Any]) -> None:
    expected = FAMILIES[family(activity) or ""]
    assert drift(activity, {key: extra[key] for key in extra.keys() - expected.keys()}) is None
    assert drift(activity, {}) is None
    assert drift(activity, None) is None


def test_the_reason_never_holds_the_value() -> None:
    reason = drift("cdesk.tool_called", {"tool": ["s3cret"]})
    assert reason is not None
    assert "s3cret" not in reason
