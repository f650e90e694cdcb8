"""Everything in the file is either in the log or in the report, and doing it again is safe."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cdesk.activity import Event
from cdesk.errors import ImportFailed, ImportStopped, InvalidActivity, WarehouseUnavailable
from cdesk.importers import Progress, Summary, import_export
from cdesk.importers.importer import BATCH_BYTES, BATCH_EVENTS, MAX_SKIPPED_SHOWN
from tests.thorough import examples

from .conversations import (
    Json,
    answer,
    conversation,
    conversations,
    question,
    text_block,
    tool_result,
    tool_use,
    write_array,
    write_lines,
    write_zip,
)

START = datetime(2026, 11, 21, 8, 0, tzinfo=UTC)


class Log:
    """Takes batches like the event log does."""

    def __init__(self) -> None:
        self.batches: list[list[bytes]] = []

    def append_many(self, lines: Sequence[bytes]) -> None:
        self.batches.append(list(lines))

    @property
    def events(self) -> list[Event]:
        return [Event.from_line(line) for batch in self.batches for line in batch]


def run(path: Path, log: Log | None = None, **options: Any) -> tuple[Summary, Log]:
    log = log or Log()
    options = {"customer": "acme", "source_version": "1.0.0", "clock": lambda: START, **options}
    return import_export(path, append_many=log.append_many, **options), log


def test_an_imported_event_was_accepted_when_it_was_imported_and_not_when_it_happened(
    tmp_path: Path,
) -> None:
    now = datetime(2026, 11, 28, tzinfo=UTC)
    path = write_array(tmp_path / "e.json", *numbered(2, question()))
    _, log = run(path, clock=lambda: now)
    assert log.events
    assert {event.accepted_at for event in log.events} == {now}
    assert all(event.ts < now for event in log.events)


def test_an_imported_event_carries_the_tag_of_its_import(tmp_path: Path) -> None:
    path = write_array(tmp_path / "e.json", *numbered(2, question()))
    query_uuid = "01234567-89ab-4def-8123-456789abcdef"
    _, log = run(path, query_tag="cdesk_01234567", query_uuid=query_uuid)
    assert {event.query_tag for event in log.events} == {"cdesk_01234567"}
    begun = [event for event in log.events if event.activity == "cdesk.session_started"]
    assert [(event.feature_json or {})["query_uuid"] for event in begun] == [query_uuid] * 2


def numbered(count: int, *messages: Json) -> list[Json]:
    return [conversation(*messages, uuid=f"c{number}") for number in range(count)]


def test_the_summary_says_what_was_imported(tmp_path: Path) -> None:
    talk = conversation(question(), answer(tool_use(), tool_result(), text_block("a")))

    summary, log = run(write_zip(tmp_path / "e.zip", talk, conversation(uuid="empty")))

    assert (summary.conversations, summary.messages) == (2, 2)
    assert summary.events == {
        "cdesk.claude_responded": 1,
        "cdesk.session_ended": 2,
        "cdesk.session_started": 2,
        "cdesk.tool_called": 1,
        "cdesk.tool_completed": 1,
        "cdesk.user_asked": 1,
    }
    assert sum(summary.events.values()) == len(log.events)
    assert (summary.skipped, summary.skipped_total, summary.is_complete) == ((), 0, True)
    assert summary.first_ts == min(event.ts for event in log.events)
    assert summary.last_ts == max(event.ts for event in log.events)
    assert summary.bytes_read == len(json.dumps([talk, conversation(uuid="empty")]))


def test_the_summary_is_json(tmp_path: Path) -> None:
    summary, _ = run(write_array(tmp_path / "e", conversation(question()), {"uuid": "bad"}, 7))

    found = json.loads(json.dumps(summary.as_json()))

    assert found["first_ts"] == "2026-09-07T08:00:00+00:00"
    assert found["skipped"] == [
        {
            "index": 1,
            "place": found["skipped"][0]["place"],
            "conversation_id": "bad",
            "reason": "chat_messages: must be a list",
        },
        {
            "index": 2,
            "place": found["skipped"][1]["place"],
            "conversation_id": None,
            "reason": "is not a JSON object",
        },
    ]


@settings(max_examples=examples(20), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(conversations(), max_size=4), st.sampled_from([write_array, write_lines, write_zip])
)
def test_importing_twice_gives_the_same_lines(tmp_path: Path, raws: list[Json], write: Any) -> None:
    path = write(tmp_path / "e", *raws) if raws else write_array(tmp_path / "e")
    _, first = run(path)
    _, second = run(path)

    assert first.batches == second.batches


def test_every_format_gives_the_same_events(tmp_path: Path) -> None:
    raws = numbered(5, question("naïve 🙂"), answer(tool_use(), tool_result()))
    writers = {"a": write_array, "l": write_lines, "z": write_zip}

    logs = [run(write(tmp_path / name, *raws))[1] for name, write in writers.items()]

    assert logs[0].batches == logs[1].batches == logs[2].batches


def test_malformed_conversations_are_skipped_and_the_others_imported(tmp_path: Path) -> None:
    raws: list[Any] = numbered(3, question())
    raws[1] = conversation(question(), answer(created_at="yesterday"), uuid="c1")

    summary, log = run(write_lines(tmp_path / "e", *raws))

    assert summary.conversations == 2
    assert {event.session_id for event in log.events} == {"import-c0", "import-c2"}
    (skip,) = summary.skipped
    assert (skip.index, skip.place, skip.conversation_id) == (1, "line 2", "c1")
    assert skip.reason.startswith("chat_messages[1].created_at: must be an ISO 8601 time")


def test_a_truncated_array_imports_what_came_before_and_says_where_it_broke(tmp_path: Path) -> None:
    path = write_array(tmp_path / "e", *numbered(3, question()))
    path.write_bytes(path.read_bytes()[:-40])

    summary, _ = run(path)

    assert summary.conversations == 2
    assert summary.is_complete is False
    assert summary.skipped[-1].reason == "the file ends inside this conversation"
    assert summary.skipped[-1].index == 2


@pytest.mark.parametrize("is_broken_off", [False, True])
def test_the_first_thousand_that_are_left_out_are_named_and_the_others_counted(
    tmp_path: Path, is_broken_off: bool
) -> None:
    path = tmp_path / "e"
    path.write_text("[" + "1," * (MAX_SKIPPED_SHOWN + 50) + ("{" if is_broken_off else "1]"))

    summary, log = run(path)

    assert summary.skipped_total == MAX_SKIPPED_SHOWN + 51
    named = [skip.index for skip in summary.skipped]
    last = [MAX_SKIPPED_SHOWN + 50] if is_broken_off else []
    assert named == [*range(MAX_SKIPPED_SHOWN), *last]
    assert summary.skipped_unnamed == 50 if is_broken_off else 51
    assert summary.as_json()["skipped_unnamed"] == summary.skipped_unnamed
    assert summary.is_complete is not is_broken_off
    assert log.batches == []


def test_no_batch_is_longer_than_it_may_be_however_long_a_conversation_is(tmp_path: Path) -> None:
    messages = [question(str(number), uuid=f"m{number}") for number in range(148)]
    summary, log = run(write_array(tmp_path / "e", *numbered(30, *messages)))

    sizes = [len(batch) for batch in log.batches]
    many = [question(str(number), uuid=f"m{number}") for number in range(2_500)]
    _, log = run(write_array(tmp_path / "one", *numbered(1, *many)))
    of_one = [len(batch) for batch in log.batches]

    assert sum(sizes) == sum(summary.events.values()) == 30 * 150
    assert sum(of_one) == 2_502
    assert max(sizes) == BATCH_EVENTS
    assert max(of_one) == BATCH_EVENTS


def test_batches_are_bounded_in_bytes_too(tmp_path: Path) -> None:
    _, log = run(write_array(tmp_path / "e", *numbered(9, question("x" * 300_000))), with_text=True)

    sizes = [sum(map(len, batch)) for batch in log.batches]
    assert sum(len(batch) for batch in log.batches) == 27
    assert max(sizes) <= BATCH_BYTES


def test_a_dry_run_counts_and_appends_nothing(tmp_path: Path) -> None:
    path = write_array(tmp_path / "e", *numbered(3, question()))

    counted, log = run(path, dry_run=True)
    imported, _ = run(path)

    assert log.batches == []
    assert counted.is_dry_run
    assert counted.events == imported.events


def test_texts_are_imported_when_asked_for(tmp_path: Path) -> None:
    path = write_array(tmp_path / "e", conversation(question("How many?")))

    assert "How many?" not in str(run(path)[1].batches)
    assert "How many?" in str(run(path, with_text=True)[1].batches)


@pytest.mark.parametrize("error", [OSError(28, "No space left"), WarehouseUnavailable("away")])
def test_a_failing_log_is_reported_with_what_was_imported(tmp_path: Path, error: Exception) -> None:
    messages = [question(str(number), uuid=f"m{number}") for number in range(498)]
    path = write_array(tmp_path / "e", *numbered(5, *messages))
    batches: list[Any] = []

    def append_many(lines: Sequence[bytes]) -> None:
        if batches:
            raise error
        batches.append(lines)

    with pytest.raises(ImportStopped) as caught:
        import_export(path, append_many=append_many, customer="acme", source_version=None)

    assert "the log failed after 2 conversations were imported" in str(caught.value)
    assert "run the same command again, it adds nothing twice" in str(caught.value)
    assert caught.value.__cause__ is error
    assert (caught.value.exit_code, caught.value.retryable) == (74, True)


def test_a_mistake_of_the_caller_is_not_dressed_up_as_a_failing_log(tmp_path: Path) -> None:
    path = write_array(tmp_path / "e", conversation(question()))

    def append_many(_: Sequence[bytes]) -> None:
        raise TypeError("not callable like this")

    with pytest.raises(TypeError):
        import_export(path, append_many=append_many, customer="acme", source_version=None)


def test_a_customer_that_is_none_is_an_error_of_the_call_not_of_the_file(tmp_path: Path) -> None:
    with pytest.raises(InvalidActivity):
        run(write_array(tmp_path / "e", conversation(question())), customer="")


def test_progress_grows_to_the_end(tmp_path: Path) -> None:
    path = write_array(tmp_path / "e", *numbered(40, question("x" * 100_000)), 7)
    told: list[Progress] = []

    summary, _ = run(path, on_progress=told.append)

    assert len(told) > 3
    assert told == sorted(told)
    assert told[-1] == Progress(
        bytes_read=path.stat().st_size,
        bytes_total=path.stat().st_size,
        conversations=40,
        events=sum(summary.events.values()),
        skipped=1,
    )


@settings(max_examples=examples(30), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from([write_array, write_lines, write_zip]),
    st.lists(st.tuples(st.floats(0, 1), st.integers(0, 20), st.binary(max_size=4)), min_size=1),
)
def test_damage_anywhere_is_skipped_or_refused_and_never_a_crash(
    tmp_path: Path, write: Any, damage: list[tuple[float, int, bytes]]
) -> None:
    path = write(tmp_path / "e", *numbered(4, question(), answer(tool_use(), tool_result())))
    content = bytearray(path.read_bytes())
    for where, length, instead in damage:
        at = int(where * len(content))
        content[at : at + length] = instead
    path.write_bytes(content)

    try:
        summary, log = run(path)
    except ImportFailed as error:
        assert str(path) in str(error)
    else:
        assert len(log.events) == sum(summary.events.values())
