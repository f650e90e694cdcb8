"""Names, events and their one-line form."""

from __future__ import annotations

import hashlib
import math
import re
import uuid
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal, localcontext
from typing import Any

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cdesk.activity import RULES, Event, derived_id, dollars
from cdesk.catalogue import CATALOGUE, KNOWN
from cdesk.errors import InvalidActivity
from tests.json_values import OBJECTS

ID = "0f8fad5b-d9cb-469f-a165-70867728950e"
TS = datetime(2026, 11, 21, 8, 0, 0, 1, UTC)
PLAIN = Event(activity_id=ID, activity="cdesk.user_asked", customer="acme", ts=TS)
DEEP: list[Any] = []
for level in range(300):
    DEEP = [DEEP]
    if level == 251:
        DEEP_BESIDE_OTHERS = DEEP
IN_ITSELF: list[Any] = []
IN_ITSELF += [IN_ITSELF, IN_ITSELF]

NAME_RULE = r"^cdesk\.[a-z][a-z0-9]*(_[a-z0-9]+)*$"
GOOD_NAMES = st.from_regex(NAME_RULE, fullmatch=True).filter(lambda name: len(name) <= 100)
NEARLY_NAMES = st.text("cdesk._aZ9 \n-é", max_size=20).map(lambda text: f"cdesk.{text}")
AMOUNTS = st.integers(-(10**21) + 1, 10**21 - 1).map(lambda micros: Decimal(f"{micros}E-6"))
TEXTS = st.none() | st.text(max_size=60)


def check_name(name: Any) -> str:
    """Makes an event of that name, and gives the name back."""
    return replace(PLAIN, activity=name).activity


def is_name(text: str) -> bool:
    """The rule said another way: words of lower-case letters and digits, the first a letter."""
    prefix, dot, rest = text.partition(".")
    words = rest.split("_")
    allowed = set("abcdefghijklmnopqrstuvwxyz0123456789")
    return (
        (prefix, dot) == ("cdesk", ".")
        and len(text) <= 100
        and all(word and set(word) <= allowed for word in words)
        and not words[0][0].isdigit()
    )


@given(GOOD_NAMES | NEARLY_NAMES | st.text())
def test_a_name_is_accepted_if_and_only_if_it_keeps_the_rule(name: str) -> None:
    try:
        accepted = check_name(name) == name
    except InvalidActivity:
        accepted = False
    assert accepted == is_name(name)


def test_a_name_may_have_a_hundred_characters_and_no_more() -> None:
    longest = "cdesk." + "a" * 94
    assert check_name(longest) == longest
    with pytest.raises(InvalidActivity, match="at most 100 characters"):
        check_name(longest + "a")


@pytest.mark.parametrize(
    ("malformed", "nearest"),
    [
        ("cdesk.UserAsked", "cdesk.user_asked"),
        ("user_asked", "cdesk.user_asked"),
        ("cdesk.user__asked", "cdesk.user_asked"),
        ("cdesk.sql-complete", "cdesk.sql_completed"),
        ("CDESK.TOOL_CALLED", "cdesk.tool_called"),
        ("cdesk.file_read\n", "cdesk.file_read"),
        ("ccode.insight_recorded", "cdesk.insight_recorded"),
    ],
)
def test_a_malformed_name_is_refused_with_the_rule_and_the_nearest_known_name(
    malformed: str, nearest: str
) -> None:
    with pytest.raises(InvalidActivity) as refused:
        check_name(malformed)
    assert "`cdesk.` and words of lower-case letters and digits" in str(refused.value)
    assert f"did you mean {nearest!r}?" in str(refused.value)
    said = str(refused.value).replace(nearest, "")
    assert malformed not in said, "what a caller said may be a payload"


def test_a_name_like_no_other_is_refused_with_an_example() -> None:
    with pytest.raises(InvalidActivity, match=r"for example 'cdesk\.user_asked'$") as refused:
        check_name("x" * 10_000)
    assert len(str(refused.value)) < 400


def test_a_name_that_is_no_text_is_refused() -> None:
    for name in (None, 42, ["cdesk.user_asked"]):
        with pytest.raises(InvalidActivity, match=r"^activity is malformed; a name is a text"):
            check_name(name)


def test_every_activity_of_the_catalogue_is_a_well_formed_name_and_stands_there_once() -> None:
    names = [f"cdesk.{name}" for group in CATALOGUE.values() for name in group]
    assert len(names) == len(set(names)) == len(KNOWN)
    assert all(re.fullmatch(NAME_RULE, name) for name in names)


def test_the_line_of_an_event_is_a_format() -> None:
    event = replace(
        PLAIN,
        feature_json={"chars": 12, "model": "ü"},
        link="https://example.com/a",
        revenue_impact="12.5",
        source_system="claude_desktop",
        source_version="0.1.0",
        session_id="s",
        query_tag="cdesk_01234567",
        accepted_at=TS + timedelta(microseconds=1),
    )
    assert (
        event.to_line()
        == (
            '{"activity_id":"0f8fad5b-d9cb-469f-a165-70867728950e","activity":"cdesk.user_asked",'
            '"customer":"acme","ts":"2026-11-21T08:00:00.000001Z",'
            '"feature_json":{"chars":12,"model":"ü"},"revenue_impact":"12.500000",'
            '"link":"https://example.com/a","source_system":"claude_desktop",'
            '"source_version":"0.1.0","session_id":"s","query_tag":"cdesk_01234567",'
            '"accepted_at":"2026-11-21T08:00:00.000002Z"}'
        ).encode()
    )


def test_absent_values_are_absent_keys() -> None:
    assert orjson.loads(PLAIN.to_line()).keys() == {
        "activity_id", "activity", "customer", "ts", "source_system",
    }  # fmt: skip


@given(
    event=st.builds(
        Event,
        activity_id=st.uuids().map(str),
        activity=GOOD_NAMES,
        customer=st.text(min_size=1, max_size=255),
        ts=st.datetimes(timezones=st.just(UTC)),
        feature_json=st.none() | OBJECTS,
        link=TEXTS,
        revenue_impact=st.none() | AMOUNTS,
        source_system=st.text(max_size=20),
        source_version=TEXTS,
        session_id=TEXTS,
        query_tag=TEXTS,
        accepted_at=st.none() | st.datetimes(timezones=st.just(UTC)),
    )
)
def test_an_event_and_the_event_of_its_line_are_the_same(event: Event) -> None:
    line = event.to_line()
    assert b"\n" not in line
    again = Event.from_line(line)
    assert again == event
    assert again.to_line() == line  # 1, 1.0 and true are equal in Python and different in JSON


def test_the_fields_of_the_log_itself_are_left_out() -> None:
    line = orjson.dumps(orjson.loads(PLAIN.to_line()) | {"_seq": 1, "_log": "a", "_crc": "b"})
    assert Event.from_line(line) == PLAIN


def test_a_time_of_any_zone_becomes_utc() -> None:
    local = TS.astimezone(timezone(timedelta(hours=-7)))
    assert replace(PLAIN, ts=local).to_line() == PLAIN.to_line()


@pytest.mark.parametrize(
    "spelled",
    [
        "2026-11-21t08:00:00.000001z", "2026-11-21 08:00:00.0000019Z",
        "2026-11-21T01:30:00.000001-06:30", "2026-11-21T08:00:00.000001-00:00",
    ],
)  # fmt: skip
def test_a_time_is_read_however_another_program_spells_it(spelled: str) -> None:
    row = orjson.loads(PLAIN.to_line()) | {"ts": spelled, "accepted_at": spelled}
    assert Event.from_line(orjson.dumps(row)) == replace(PLAIN, accepted_at=TS)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"activity": "asked"}, "malformed"),
        ({"activity_id": ID.upper()}, "activity_id must be a UUID"),
        ({"activity_id": 5}, "activity_id must be a UUID"),
        ({"customer": ""}, "customer must be a text of 1 to 255"),
        ({"customer": "c" * 256}, "customer must be a text of 1 to 255"),
        ({"ts": datetime(2026, 11, 21)}, "ts must be a time with a time zone"),
        ({"ts": "2026-11-21"}, "ts must be a time with a time zone"),
        ({"ts": datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=5)))}, "ts is before the year 1"),
        ({"accepted_at": datetime(2026, 11, 21)}, "accepted_at must be a time with a time zone"),
        ({"feature_json": [1]}, "feature_json must be a JSON object"),
        ({"link": "l" * 2001}, "link must be a text of at most 2000"),
        ({"query_tag": "q" * 4097}, "query_tag must be a text of at most 4096"),
        ({"source_system": None}, "source_system must be a text"),
        ({"session_id": 7}, "session_id must be a text"),
        ({"revenue_impact": "much"}, "revenue_impact must be a number of US dollars"),
    ],
)
def test_an_event_that_breaks_a_rule_cannot_be_made(fields: dict[str, Any], reason: str) -> None:
    with pytest.raises(InvalidActivity, match=re.escape(reason)):
        replace(PLAIN, **fields)


@pytest.mark.parametrize(
    "name",
    [
        "activity_id", "activity", "customer", "link", "source_system", "source_version",
        "session_id", "query_tag",
    ],
)  # fmt: skip
@pytest.mark.parametrize("value", [uuid.UUID(ID), TS, TS.date(), b"acme", 7, ["acme"]])
def test_what_is_no_text_is_refused_though_the_writer_of_json_would_make_one_of_it(
    name: str, value: Any
) -> None:
    with pytest.raises(InvalidActivity, match=rf"^{name} (must be a (text|UUID)|is malformed)"):
        replace(PLAIN, **{name: value})


@pytest.mark.parametrize("payload", [orjson.Fragment(b'{"a":1},"link":"x"'), PLAIN, "{}", [], TS])
def test_a_payload_that_is_no_mapping_is_refused(payload: Any) -> None:
    with pytest.raises(InvalidActivity, match=r"^feature_json must be a JSON object"):
        replace(PLAIN, feature_json=payload)


@given(
    st.from_regex(
        r"[0-9]{4}-[01][0-9]-[0-3][0-9][Tt _]?[0-2][0-9]:?[0-6][0-9](:[0-6][0-9])?"
        r"([.,][0-9]{0,9})?([Zz]|[+-\u2212][0-2][0-9]:?([0-6][0-9])?)?",
        fullmatch=True,
    )
)
@example("0000-12-31T23:59:59-23:59")
@example("2026-11-21T08:00:00\u221205:00")
@example("2026-11-21t08:00:00.123456789z")
def test_a_time_that_the_rules_take_is_read_as_the_same_moment_by_python(text: str) -> None:
    line = orjson.dumps(orjson.loads(PLAIN.to_line()) | {"ts": text})
    taken = RULES.decode(line)
    try:
        event = Event.from_line(line)
    except InvalidActivity:
        assert len(taken) == 0
    else:
        since = event.ts - datetime(1970, 1, 1, tzinfo=UTC)
        assert taken.stretches(1) == [(since // timedelta(microseconds=1),) * 2]


@pytest.mark.parametrize(
    ("payload", "rule"),
    [
        ({"x": math.nan}, "JSON: its numbers are finite"),
        ({"x": [{"y": math.inf}]}, "JSON: its numbers are finite"),
        ({"x": (1, [(-math.inf,)])}, "JSON: its numbers are finite"),
        ({"x": 2**64}, "JSON: its whole numbers have up to 64 bits"),
        ({"x": [-(2**63) - 1]}, "JSON: its whole numbers have up to 64 bits"),
        ({1: "x"}, "JSON: the keys of its objects are texts"),
        ({"x": {1, 2}}, "JSON: texts, numbers, booleans, lists and objects"),
        ({"x": "\ud800"}, "JSON: its texts are whole characters"),
        ({"\ud800": 1}, "JSON: its texts are whole characters"),
        ({"x": DEEP}, "nested less than 200 levels deep"),
        ({"x": DEEP_BESIDE_OTHERS}, "nested less than 200 levels deep"),
        ({"x": IN_ITSELF}, "nested less than 200 levels deep"),
    ],
)
def test_a_payload_that_json_cannot_say_is_refused_with_its_own_reason_and_never_changed(
    payload: Any, rule: str
) -> None:
    """Each was told all the rules; one that was just too deep beside the other fields, none."""
    with pytest.raises(InvalidActivity, match=f"^feature_json must be {rule}"):
        replace(PLAIN, feature_json=payload)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"customer": None, "secret": "s3cret"}, "unknown field 'secret'"),
        ({"ts": "yesterday-s3cret"}, "ts is no RFC 3339 time"),
        ({"ts": 5}, "ts is no RFC 3339 time"),
        ({"ts": "0001-01-01T00:00:00+05:00"}, "ts is before the year 1"),
        ({"customer": ["s3cret"]}, "customer must be a text"),
        ({"revenue_impact": "s3cret"}, "revenue_impact must be a number"),
        ({"source_system": None}, "source_system must be a text"),
    ],
)
def test_a_line_that_is_no_event_says_which_field_is_wrong_and_never_its_value(
    changes: dict[str, Any], reason: str
) -> None:
    line = orjson.dumps(orjson.loads(PLAIN.to_line()) | changes)
    with pytest.raises(InvalidActivity, match=re.escape(reason)) as refused:
        Event.from_line(line)
    assert "s3cret" not in str(refused.value)


def test_a_line_without_a_required_field_says_which() -> None:
    for name in ("activity_id", "activity", "customer", "ts"):
        row = orjson.loads(PLAIN.to_line())
        del row[name]
        with pytest.raises(InvalidActivity, match=f"field '{name}' is missing"):
            Event.from_line(orjson.dumps(row))


@given(st.binary() | OBJECTS.map(orjson.dumps) | st.lists(st.booleans()).map(orjson.dumps))
def test_any_other_line_is_refused_as_an_invalid_activity(line: bytes) -> None:
    with pytest.raises(InvalidActivity):
        Event.from_line(line)


@given(AMOUNTS)
def test_dollars_never_lose_a_millionth(amount: Decimal) -> None:
    kept = dollars(str(amount))
    assert kept == dollars(amount) == amount
    line = replace(PLAIN, revenue_impact=amount).to_line()
    assert Decimal(orjson.loads(line)["revenue_impact"]) == amount
    assert Event.from_line(line).revenue_impact == amount


@given(st.floats(-1e9, 1e9).map(lambda number: round(number, 6)))
def test_dollars_of_a_float_are_the_decimals_it_shows(number: float) -> None:
    assert dollars(number) == Decimal(repr(number))


@given(AMOUNTS, st.integers(1, 9), st.integers(7, 60))
def test_dollars_finer_than_a_millionth_are_refused_and_never_rounded(
    amount: Decimal, digit: int, places: int
) -> None:
    whole, _, fraction = format(amount, "f").partition(".")
    with pytest.raises(InvalidActivity, match="at most six decimal places"):
        dollars(f"{whole}.{fraction:0<{places - 1}}{digit}")


@pytest.mark.parametrize(
    "value",
    [
        True, None, [], "", "NaN", "sNaN", "Infinity", math.nan, math.inf, 10**15, -(10**15),
        Decimal("9.9e31"), "1_000", "1 2",
        "1e999999999", "1e-999999999",
    ],
)  # fmt: skip
def test_what_is_no_amount_of_dollars_is_refused(value: object) -> None:
    with pytest.raises(InvalidActivity, match="revenue_impact must be a number of US dollars"):
        dollars(value)


def test_a_whole_number_that_python_cannot_even_write_is_no_amount() -> None:
    with pytest.raises(InvalidActivity, match="revenue_impact must be a number of US dollars"):
        dollars(10**5_000)


def test_an_amount_is_not_rounded_by_what_the_caller_does_with_decimals() -> None:
    with localcontext(prec=3):
        assert format(dollars("123456789.123456"), "f") == "123456789.123456"


def test_equal_amounts_have_one_spelling_however_they_are_written() -> None:
    spelt = {format(dollars(value), "f") for value in (5, 5.0, "5.00", "0.5e1", " 5 ", Decimal(5))}
    assert spelt == {"5.000000"}
    assert len(format(dollars("0e-999999999"), "f")) < 10


NAMESPACE = uuid.UUID(ID)
MOMENTS = st.datetimes(timezones=st.just(UTC))


@given(MOMENTS, st.lists(st.text(), max_size=4))
def test_a_derived_id_is_the_hash_of_namespace_time_and_names_as_a_uuid_of_version_4(
    ts: datetime, names: list[str]
) -> None:
    micros = (ts - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
    told = NAMESPACE.bytes + orjson.dumps([micros, *names])
    expected = uuid.UUID(bytes=hashlib.sha256(told).digest()[:16], version=4)
    assert derived_id(NAMESPACE, ts, *names) == str(expected)
    assert derived_id(NAMESPACE, ts.astimezone(timezone(timedelta(0))), *names) == str(expected)


def test_derived_ids_are_a_format_and_never_change() -> None:
    assert derived_id(NAMESPACE, TS, "a", "b") == "044c5066-f0ad-4166-872b-e600591bb62c"


def test_a_derived_id_differs_by_namespace_by_microsecond_and_by_each_name() -> None:
    later = TS + timedelta(microseconds=1)
    told: list[tuple[uuid.UUID, datetime, tuple[str, ...]]] = [
        (NAMESPACE, TS, ()), (NAMESPACE, TS, ("",)), (NAMESPACE, TS, ("ab",)),
        (NAMESPACE, TS, ("a", "b")), (NAMESPACE, TS, ("b", "a")), (NAMESPACE, TS, ('a","b',)),
        (NAMESPACE, later, ("ab",)), (uuid.UUID(int=0), TS, ("ab",)),
    ]  # fmt: skip
    assert len({derived_id(space, ts, *names) for space, ts, names in told}) == len(told)


@given(MOMENTS, st.text())
def test_an_event_takes_a_derived_id(ts: datetime, name: str) -> None:
    event = replace(PLAIN, activity_id=derived_id(NAMESPACE, ts, name), ts=ts)
    assert RULES.decode(event.to_line()).lines() == [event.to_line()]
    assert uuid.UUID(event.activity_id).version == 4
