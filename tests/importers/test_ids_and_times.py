"""Importing twice adds nothing, and events stand where they happened."""

from __future__ import annotations

import itertools
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from cdesk.activity import derived_id
from cdesk.importers.events import NAMESPACE
from tests.contract.conftest import open_duckdb
from tests.contract.stream import batch, rows, store

from .conversations import (
    CONVERSATION_ID,
    Json,
    answer,
    conversation,
    conversations,
    events,
    question,
    text_block,
    tool_result,
    tool_use,
)


def lines(raw: Json, **options: Any) -> list[bytes]:
    return [event.to_line() for event in events(raw, **options)]


def ids(raw: Json, **options: Any) -> list[str]:
    return [event.activity_id for event in events(raw, **options)]


def times(raw: Json) -> list[str]:
    return [event.ts.strftime("%H:%M:%S.%f") for event in events(raw)]


def shuffled(value: Any, draw: st.DrawFn) -> Any:
    if isinstance(value, dict):
        keys = draw(st.permutations(list(value)))
        return {key: shuffled(value[key], draw) for key in keys}
    if isinstance(value, list):
        return [shuffled(item, draw) for item in value]
    return value


@given(conversations(), st.data())
def test_the_same_conversation_gives_the_same_lines_whatever_the_order_of_its_keys(
    raw: Json, data: st.DataObject
) -> None:
    assert lines(shuffled(raw, data.draw)) == lines(raw)


@given(conversations())
def test_ids_are_unique_and_do_not_depend_on_texts_being_stored(raw: Json) -> None:
    found = ids(raw)

    assert len(set(found)) == len(found)
    assert ids(raw, with_text=True) == found


@given(conversations())
def test_two_customers_who_import_the_same_file_share_no_id(raw: Json) -> None:
    assert not set(ids(raw, customer="acme")) & set(ids(raw, customer="globex"))


def test_an_id_is_derived_from_the_time_and_what_else_identifies_the_event() -> None:
    message = question()
    event = events(conversation(message))[1]
    names = ("acme", CONVERSATION_ID, message["uuid"], "message", "cdesk.user_asked")

    assert event.activity_id == derived_id(NAMESPACE, event.ts, *names)


@given(conversations())
def test_every_id_is_a_uuid_of_version_4_in_its_spelling(raw: Json) -> None:
    for one in ids(raw):
        assert (str(uuid.UUID(one)), uuid.UUID(one).version) == (one, 4)


def test_a_message_whose_time_was_changed_is_another_event_and_the_others_stay() -> None:
    first = question(number=1, created_at="2026-09-07T08:01:00Z")
    before, after = (
        events(conversation(first, question(number=2, created_at=at), question(number=3)))
        for at in ("2026-09-07T08:02:00Z", "2026-09-07T08:02:01Z")
    )
    ids_after = [event.activity_id for event in after]

    assert [event.activity_id in ids_after for event in before] == [True, True, False, True, True]


def test_ids_are_a_format_and_never_change() -> None:
    assert ids(conversation(question(), answer(tool_use(), tool_result()))) == [
        "86354eea-8e87-4638-8e08-c6f660e8157d",
        "e4fc64c5-b890-4dda-8cf9-9bb3196c4f4f",
        "2a306233-797a-4dc1-9f96-549c6915e072",
        "8024996e-fa78-4fcc-8574-7bcd4ead9b4e",
        "5372726d-0d5d-46c6-bdcb-765481a9c009",
        "0c49288e-fe45-46bd-a651-de508d7dd169",
    ]


def test_the_same_conversation_imported_twice_is_in_the_warehouse_once(tmp_path: Path) -> None:
    raw = conversation(question(), answer(tool_use(), tool_result()))
    warehouse = open_duckdb(tmp_path)

    for _ in range(2):
        store(warehouse, batch(*events(raw)))

    found = rows(warehouse, "SELECT _activity_id FROM {s}.events ORDER BY ts")
    assert [activity_id for (activity_id,) in found] == ids(raw)


@given(conversations())
def test_time_is_strictly_increasing_within_a_conversation(raw: Json) -> None:
    found = [event.ts for event in events(raw)]

    assert all(earlier < later for earlier, later in itertools.pairwise(found))


def test_an_event_has_its_messages_own_time() -> None:
    assert times(conversation(question(), answer(text_block("a")))) == [
        "08:00:00.000000", "08:01:00.000000", "08:02:00.000000", "08:02:00.000001",
    ]  # fmt: skip


def test_equal_times_are_kept_apart_by_microseconds() -> None:
    at = "2026-09-07T08:00:00Z"
    raw = conversation(question(created_at=at), answer(tool_use(), tool_result(), created_at=at))

    assert [time[-6:] for time in times(raw)] == [f"{tick:06}" for tick in range(6)]


def test_a_tool_has_its_blocks_time_between_question_and_answer() -> None:
    call = tool_use(start_timestamp="2026-09-07T08:01:10Z")
    result = tool_result(stop_timestamp="2026-09-07T08:01:12Z")

    assert times(conversation(question(), answer(call, result)))[2:5] == [
        "08:01:10.000000", "08:01:12.000000", "08:02:00.000000",
    ]  # fmt: skip


def test_a_tools_time_never_leaves_its_message() -> None:
    early = tool_use(start_timestamp="2020-01-01T00:00:00Z")
    late = tool_result(stop_timestamp="2031-01-01T00:00:00Z")

    assert times(conversation(question(), answer(early, late)))[1:5] == [
        "08:01:00.000000", "08:01:00.000001", "08:02:00.000000", "08:02:00.000001",
    ]  # fmt: skip


def test_messages_are_ordered_by_their_time() -> None:
    raw = conversation(answer(text_block("a")), question())

    assert [event.activity for event in events(raw)][1:3] == [
        "cdesk.user_asked", "cdesk.claude_responded",
    ]  # fmt: skip


def test_a_session_starts_with_the_earliest_of_its_moments() -> None:
    raw = conversation(question(), created_at="2026-09-07T09:00:00Z")

    assert events(raw)[0].ts == datetime(2026, 9, 7, 8, 1, tzinfo=UTC)
    raw["created_at"] = None
    assert events(raw)[0].ts == datetime(2026, 9, 7, 8, 1, tzinfo=UTC)


def test_a_time_with_another_zone_is_converted_and_one_without_counts_as_utc() -> None:
    zoned = question(created_at="2026-09-07T10:01:00+02:00")
    bare = question(created_at="2026-09-07T08:01:00")

    assert events(conversation(zoned))[1].ts == events(conversation(bare))[1].ts


@given(conversations())
def test_a_conversation_that_went_on_keeps_every_earlier_event_but_its_end(raw: Json) -> None:
    messages = raw["chat_messages"]
    if not messages:
        return
    last = max(datetime.fromisoformat(message["created_at"]) for message in messages)
    later = (last + timedelta(seconds=1)).isoformat()
    more = question("And then?", created_at=max(later, raw["created_at"]))

    grown = lines({**raw, "chat_messages": [*messages, more]})

    if min(m["created_at"] for m in messages) >= raw["created_at"]:
        assert grown[: len(lines(raw)) - 1] == lines(raw)[:-1]
    assert set(ids(raw)[:-1]) < set(ids({**raw, "chat_messages": [*messages, more]}))
