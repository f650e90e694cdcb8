"""Values are made to fit a template's parameters or refused with the rule."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdesk.errors import InvalidArgument, TemplateError
from cdesk.safesql.param import Param, ParamType, declared
from cdesk.safesql.template import Template

from .questions import CATALOG, question, required_params

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=300),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
TEMPLATES = st.sampled_from(list(CATALOG))


def asking(**fields: Any) -> Template:
    """A template whose one parameter `p` has these header fields."""
    lines = "\n".join(f"{key} = {orjson.dumps(value).decode()}" for key, value in fields.items())
    header = f'[params.p]\ndescription = "what it is"\n{lines}'
    return question("SELECT link FROM events WHERE link = :p ORDER BY link", header=header)


def test_defaults_fill_what_is_left_out() -> None:
    assert CATALOG.get("tool_usage").bind({}) == {"days": 30, "tool": None}


@pytest.mark.parametrize(
    ("kind", "value", "accepted"),
    [
        ("integer", "30", 30),
        ("integer", "-0", 0),
        ("integer", 30.0, 30),
        ("number", "2.5", 2.5),
        ("number", "1e3", 1000.0),
        ("boolean", "true", True),
        ("boolean", "false", False),
        ("boolean", "True", True),
        ("boolean", "FALSE", False),
    ],
)
def test_numbers_and_booleans_may_be_spelled_as_a_text_or_with_a_zero_behind_the_point(
    kind: str, value: object, accepted: float
) -> None:
    found = asking(type=kind).bind({"p": value})["p"]
    assert (found, type(found)) == (accepted, type(accepted))


@pytest.mark.parametrize(
    "value", ["", " 1", "1 ", "01", "+1", "1.5", "0x10", "\u0661", "1_0", "NaN"]
)
def test_what_spells_no_whole_number_is_none(value: str) -> None:
    with pytest.raises(InvalidArgument):
        asking(type="integer").bind({"p": value})


def test_a_boolean_is_no_number_and_a_number_no_text() -> None:
    for kind, value in [
        ("integer", True),
        ("number", False),
        ("integer", 1.5),
        ("integer", "one"),
        ("string", 1),
        ("boolean", 1),
        ("boolean", "yes"),
        ("boolean", ""),
        ("boolean", "1"),
        ("date", 20260101),
    ]:
        with pytest.raises(InvalidArgument, match=f"it is {kind}"):
            asking(type=kind).bind({"p": value})


@pytest.mark.parametrize(
    ("fields", "value", "told"),
    [
        (
            {"type": "integer", "min": 1, "max": 10},
            0,
            "is out of range; it is integer from 1 to 10",
        ),
        ({"type": "integer", "min": 1, "max": 10}, "0", "is out of range; it is integer from 1"),
        ({"type": "integer"}, 2**60, "is out of range, which is -9007199254740991 to"),
        ({"type": "integer", "min": 1}, "abc", "got a text that is no whole number"),
        ({"type": "integer", "min": 1}, "", "got a text that is no whole number"),
        ({"type": "integer", "min": 1}, 0.5, "got a number that is no whole number"),
        ({"type": "integer"}, True, "got true or false, which is no whole number"),
        ({"type": "integer"}, None, "got nothing where a whole number belongs"),
        ({"type": "number", "max": 1}, 1.5, "is out of range; it is number of at most 1"),
        ({"type": "number"}, "1e400", "is no finite number"),
        ({"type": "number"}, [1], "got a list that is no number"),
        ({"type": "boolean"}, "yes", "neither true nor false; it is boolean (true or false)"),
        ({"type": "boolean"}, 1, "got a number that is neither true nor false"),
        ({"type": "string"}, 7, "got a number that is no text"),
        ({"type": "string", "min_length": 2}, "a", "got a text that is too short"),
        ({"type": "string", "max_length": 2}, "abc", "got a text that is too long"),
        ({"type": "string", "pattern": "[a-z]+"}, "7", "got a text that does not match"),
        ({"type": "enum", "values": ["day", "week"]}, "year", "none of its values; it is one of"),
        ({"type": "date"}, "2026-02-30", "got a date that the calendar does not have"),
        ({"type": "date"}, "soon", "got a text that is no date"),
        ({"type": "timestamp"}, "soon", "got a text that is no timestamp"),
    ],
)
def test_what_does_not_fit_is_told_why(fields: dict[str, Any], value: object, told: str) -> None:
    """`days=0` was "got a text, which does not fit", and so was `days=abc`."""
    with pytest.raises(InvalidArgument) as refused:
        asking(**fields).bind({"p": value})
    assert str(refused.value).startswith("parameter p ") and told in str(refused.value)


def test_numbers_become_floats_and_never_negative_zero_or_not_a_number() -> None:
    assert asking(type="number").bind({"p": 2}) == {"p": 2.0}
    assert math.copysign(1, asking(type="number").bind({"p": -0.0})["p"]) == 1
    for value in (math.nan, math.inf, -math.inf, 10**400):
        with pytest.raises(InvalidArgument):
            asking(type="number").bind({"p": value})


@pytest.mark.parametrize(
    ("written", "canonical"),
    [
        ("2026-01-31T09:30:00Z", "2026-01-31T09:30:00.000000+00:00"),
        ("2026-01-31T10:30:00+01:00", "2026-01-31T09:30:00.000000+00:00"),
        ("2026-01-31 09:30", "2026-01-31T09:30:00.000000+00:00"),
    ],
)
def test_the_same_moment_is_the_same_value_however_it_is_written(
    written: str, canonical: str
) -> None:
    assert asking(type="timestamp").bind({"p": written}) == {"p": canonical}


@pytest.mark.parametrize("value", ["2026-02-30", "20260131", "2026-1-1", "31.01.2026", "now", ""])
def test_a_date_is_an_iso_date_of_the_calendar(value: str) -> None:
    with pytest.raises(InvalidArgument, match="such as 2026-01-31"):
        asking(type="date").bind({"p": value})


def test_a_timestamp_at_the_edge_of_time_is_refused_and_not_a_crash() -> None:
    with pytest.raises(InvalidArgument):
        asking(type="timestamp").bind({"p": "0001-01-01T00:00:00+23:59"})


def test_ranges_lengths_patterns_and_enumerations_hold() -> None:
    days = asking(type="integer", min=1, max=10)
    assert days.bind({"p": 10}) == {"p": 10}
    for bad in (0, 11, 2**60):
        with pytest.raises(InvalidArgument, match="from 1 to 10"):
            days.bind({"p": bad})
    with pytest.raises(InvalidArgument, match="1 to 3 characters"):
        asking(type="string", max_length=3).bind({"p": "four"})
    with pytest.raises(InvalidArgument, match="1 to 200 characters"):
        asking(type="string").bind({"p": ""})
    with pytest.raises(InvalidArgument, match="matches"):
        asking(type="string", pattern="[a-z]+").bind({"p": "abc\n"})
    with pytest.raises(InvalidArgument, match="one of day, week"):
        asking(type="enum", values=["day", "week"]).bind({"p": "year"})


def test_a_text_that_no_warehouse_stores_is_refused() -> None:
    for bad in ("a\0b", "\ud800"):
        with pytest.raises(InvalidArgument):
            asking(type="string").bind({"p": bad})


def test_an_unknown_parameter_is_answered_with_the_nearest_one() -> None:
    with pytest.raises(
        InvalidArgument, match=r"of that name; did you mean days\? it takes days, tool"
    ):
        CATALOG.get("tool_usage").bind({"dayz": 3})


def test_a_missing_parameter_is_answered_with_its_rule() -> None:
    with pytest.raises(InvalidArgument, match="needs the parameter metric; it is string of 1 to"):
        CATALOG.get("insights_by_metric").bind({"subject": "orders"})


def test_an_optional_parameter_may_be_null_and_a_required_one_may_not() -> None:
    assert CATALOG.get("tool_usage").bind({"tool": None})["tool"] is None
    with pytest.raises(InvalidArgument, match="got nothing"):
        CATALOG.get("insights_by_subject").bind({"subject": None})


@given(st.text(max_size=3000).map(lambda text: f"\N{LOZENGE}{text}"))
def test_no_message_repeats_a_value_or_an_unknown_name(value: str) -> None:
    for params in ({"days": value}, {value: 1}):
        with pytest.raises(InvalidArgument) as refused:
            CATALOG.get("tool_usage").bind(params)
        assert "\N{LOZENGE}" not in str(refused.value) and value not in str(refused.value)
        assert ascii(value)[1:-1] not in str(refused.value)
        assert len(str(refused.value)) < 400


@given(TEMPLATES, st.dictionaries(st.text(max_size=20), JSON, max_size=4), st.data())
def test_any_arguments_are_bound_canonically_or_refused(
    template: Template, foreign: dict[str, Any], data: st.DataObject
) -> None:
    own = data.draw(st.dictionaries(st.sampled_from([*template.params, "x"]), JSON, max_size=4))
    try:
        bound = template.bind(foreign | own)
    except InvalidArgument:
        return
    assert list(bound) == list(template.params)
    assert template.bind(bound) == bound, "binding what was bound changes nothing"
    assert orjson.loads(orjson.dumps(bound)) == bound


@given(TEMPLATES)
def test_the_rule_of_every_parameter_is_one_short_sentence(template: Template) -> None:
    for param in template.params.values():
        assert "\n" not in param.rule()
        assert len(param.rule()) < 160
    template.bind(required_params(template))


@pytest.mark.parametrize(
    ("fields", "rule"),
    [
        ({"type": "text"}, "type must be one of"),
        ({"type": "integer", "max_length": 3}, "max_length does not belong to type integer"),
        ({"type": "string", "min": 3}, "min does not belong to type string"),
        ({"type": "enum"}, "needs values"),
        ({"type": "string", "values": []}, "values must be a list of texts"),
        ({"type": "string", "pattern": "["}, "no regular expression"),
        ({"type": "integer", "min": "1"}, "min must be a number"),
        ({"type": "integer", "max": 3, "default": 4}, "default breaks"),
        ({"type": "integer", "default": 3, "optional": True}, "excludes a default"),
        ({"type": "integer", "description": ""}, "needs a description"),
    ],
)
def test_a_declaration_that_cannot_hold_is_refused(fields: dict[str, Any], rule: str) -> None:
    with pytest.raises(ValueError, match=rule):
        declared("p", {"description": "what it is"} | fields)


def test_the_moment_of_the_question_is_nobodys_parameter() -> None:
    with pytest.raises(ValueError, match="as_of"):
        declared("as_of", {"type": "timestamp", "description": "d"})
    with pytest.raises(TemplateError, match="as_of"):
        question("SELECT link FROM events ORDER BY link", header="[constants]\nas_of = 1")


def test_a_rule_names_type_range_default_and_meaning() -> None:
    param = Param(
        name="days",
        type=ParamType.INTEGER,
        description="days to look back",
        is_required=False,
        default=30,
        min=1,
        max=366,
    )
    assert param.rule() == "integer from 1 to 366, default 30: days to look back"


def test_a_rule_of_many_long_parts_is_cut_but_where_it_is_asked_for_whole() -> None:
    """A wrong value of an enum of 300 long texts was an error of 46 kB."""
    values = [f"{number:03}-{'v' * 150}" for number in range(300)]
    template = asking(type="enum", values=values)
    with pytest.raises(InvalidArgument, match=f"it is one of {values[0]} and 299 more:") as refused:
        template.bind({"p": "none of them"})
    assert len(str(refused.value)) < 400
    assert template.params["p"].rule(is_whole=True) == f"one of {', '.join(values)}: what it is"
    few = asking(type="enum", values=["a", "b", "c"] * 100).params["p"].rule()
    assert few.startswith("one of a, b, c, ") and " and 234 more: " in few
    long = "x" * 5_000
    fields = {"type": "string", "pattern": long, "max_length": 5_000, "default": long}
    for param in (
        asking(**fields).params["p"],
        declared("p", {"type": "integer", "description": long}),
    ):
        assert len(param.rule()) < 1_000 and long in param.rule(is_whole=True)


def test_nothing_but_the_file_names_a_template() -> None:
    assert all(Path(template.path).stem == template.name for template in CATALOG)
