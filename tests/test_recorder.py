"""Events and insights into the durable log."""

from __future__ import annotations

import asyncio
import threading
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from itertools import pairwise
from types import SimpleNamespace
from typing import Any, cast

import cdesk_core
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdesk.activity import Event
from cdesk.config import Settings
from cdesk.errors import InvalidActivity, InvalidArgument, WarehouseBusy
from cdesk.insight import Insight
from cdesk.recorder import Recorder
from tests.child import child

START = datetime(2026, 11, 21, 8, 0, tzinfo=UTC)
INSIGHT = Insight(
    subject="orders", metric="revenue_usd", value=12.5, provenance_query_hash="0123456789abcdef"
)


def in_log(settings: Settings) -> list[Event]:
    """The events of the folder's log, in its order."""
    events: list[Event] = []
    with cdesk_core.Consumer(settings.queue_dir, "test") as consumer:
        while batch := consumer.next_batch():
            events += [Event.from_line(line) for line in batch.ndjson.splitlines()]
    return events


@pytest.fixture
def recorder(settings: Settings) -> Iterator[Recorder]:
    with Recorder.open(settings, session_id="a session") as opened:
        yield opened


def test_a_recorded_event_is_in_the_log_with_everything_it_was_given(
    settings: Settings, recorder: Recorder
) -> None:
    activity_id = recorder.record(
        "cdesk.tool_called",
        {"tool": "search"},
        link="https://example.com/a",
        revenue_impact="0.000001",
        query_tag="cdesk_01234567",
    )
    (event,) = in_log(settings)
    assert event == Event(
        activity_id=activity_id,
        activity="cdesk.tool_called",
        customer="acme",
        ts=event.ts,
        feature_json={"tool": "search"},
        link="https://example.com/a",
        revenue_impact=Decimal("0.000001"),
        source_version=cdesk_core.__version__,
        session_id="a session",
        query_tag="cdesk_01234567",
        accepted_at=event.accepted_at,
    )


def test_an_event_says_when_it_was_accepted_whatever_time_it_is_of(settings: Settings) -> None:
    now = START
    with cdesk_core.Queue(settings.queue_dir) as queue:
        tags = cdesk_core.QueryTags(settings.data_dir)
        recorder = Recorder(queue, customer="acme", tags=tags, clock=lambda: now)
        recorder.record("cdesk.user_asked", ts=START - timedelta(days=400))
        recorder.record_insight(INSIGHT)
        now -= timedelta(hours=1)
        recorder.record("cdesk.user_asked")
    assert [(event.ts, event.accepted_at) for event in in_log(settings)] == [
        (START - timedelta(days=400), START),
        (START, START),
        (START + timedelta(microseconds=1), START - timedelta(hours=1)),
    ]


def test_a_note_that_cannot_be_recorded_stops_nothing(
    settings: Settings, recorder: Recorder, caplog: pytest.LogCaptureFixture
) -> None:
    recorder.note("cdesk.context_refreshed", {"version": 1, "bytes": 2}, customer="globex")
    (event,) = in_log(settings)
    assert (event.customer, event.feature_json) == ("globex", {"version": 1, "bytes": 2})
    recorder.note("cdesk.context_refreshed", {"version": "one"})
    recorder.close()
    recorder.note("cdesk.context_refreshed", {"version": 2, "bytes": 2})
    assert len(in_log(settings)) == 1
    assert caplog.text.count("cdesk.context_refreshed was not recorded") == 2


def test_an_error_is_noted_once_an_hour_for_each_place_and_kind(settings: Settings) -> None:
    now = START
    with cdesk_core.Queue(settings.queue_dir) as queue:
        tags = cdesk_core.QueryTags(settings.data_dir)
        recorder = Recorder(queue, customer="acme", tags=tags, clock=lambda: now)
        for _ in range(100):
            recorder.note_error("upload", OSError(28, "No space left", "/a/secret/path"))
            recorder.note_error("upload", WarehouseBusy("held by another"))
            recorder.note_error("queries", OSError(28, "No space left"))
        now += timedelta(hours=1)
        recorder.note_error("queries", OSError(28, "No space left"))
        now -= timedelta(hours=2)  # a clock that steps back keeps nothing silent
        recorder.note_error("queries", OSError(28, "No space left"))
    assert [event.activity for event in in_log(settings)] == ["cdesk.error_encountered"] * 5
    assert [event.feature_json for event in in_log(settings)] == [
        {"where": "upload", "error": "OSError ENOSPC"},
        {"where": "upload", "error": "WarehouseBusy"},
        *[{"where": "queries", "error": "OSError ENOSPC"}] * 3,
    ]


def test_an_error_that_could_not_be_noted_is_noted_when_it_can_be(settings: Settings) -> None:
    now = START
    error = OSError(28, "No space left")

    def full(_: object) -> None:
        raise error

    with cdesk_core.Queue(settings.queue_dir) as queue:
        tags = cdesk_core.QueryTags(settings.data_dir)
        recorder = Recorder(queue, customer="acme", tags=tags, clock=lambda: now)
        recorder.queue = cast("cdesk_core.Queue", SimpleNamespace(append_many=full))
        recorder.note_error("upload", error)
        recorder.queue = queue
        recorder.note_error("upload", error)
        assert in_log(settings) == [], "a log that fails is not asked at every turn"
        now += timedelta(minutes=1)
        recorder.note_error("upload", error)
        recorder.note_error("upload", error)
    (event,) = in_log(settings)
    assert event.feature_json == {"where": "upload", "error": "OSError ENOSPC"}


def test_the_id_of_an_insight_is_the_id_of_its_event(
    settings: Settings, recorder: Recorder
) -> None:
    atom_id = recorder.record_insight(INSIGHT)
    (event,) = in_log(settings)
    assert (event.activity_id, event.activity) == (atom_id, "cdesk.insight_recorded")
    assert event.feature_json == INSIGHT.payload(event.ts)


def test_two_recorders_have_two_sessions_and_one_log(settings: Settings) -> None:
    with Recorder.open(settings) as one, Recorder.open(settings) as other:
        recorded = {one.record("cdesk.user_asked"), other.record("cdesk.user_asked")}
        assert one.session_id != other.session_id
    events = in_log(settings)
    assert {event.activity_id for event in events} == recorded
    assert len({event.session_id for event in events}) == 2


@pytest.mark.parametrize(
    "record",
    [
        lambda recorder: recorder.record("cdesk.user_asked", {"text": "x" * 1_000_000}),
        lambda recorder: recorder.record("cdesk.tool_called", {"latency_ms": "slow"}),
        lambda recorder: recorder.record("user asked"),
        lambda recorder: recorder.record(["cdesk.user_asked"], {"text": "x"}),
        lambda recorder: recorder.record("cdesk.user_asked", ["no object"]),
        lambda recorder: recorder.record("cdesk.user_asked", {"x": object()}),
        lambda recorder: recorder.record("cdesk.user_asked", {"x": float("nan")}),
        lambda recorder: recorder.record("cdesk.user_asked", revenue_impact="0.0000001"),
        lambda recorder: recorder.record("cdesk.user_asked", ts=datetime(2026, 11, 21)),
        lambda recorder: recorder.record("cdesk.user_asked", ts=START, activity_id="1"),
        lambda recorder: recorder.record("cdesk.user_asked", activity_id="", ts=START),
        lambda recorder: recorder.record_insight(INSIGHT, activity_id="", ts=START),
        lambda recorder: recorder.record("cdesk.user_asked", ts="2026-11-21T08:00:00Z"),
        lambda recorder: recorder.record_events(
            [
                recorder.event("cdesk.user_asked"),
                recorder.event("cdesk.user_asked", {"text": "x" * 1_000_000}),
            ]
        ),
    ],
)
def test_what_is_refused_is_an_invalid_activity_and_writes_nothing(
    settings: Settings, recorder: Recorder, record: Callable[[Recorder], Any]
) -> None:
    with pytest.raises(InvalidActivity):
        record(recorder)
    assert recorder.queue.stats().lines == 0
    assert in_log(settings) == []
    recorder.record("cdesk.user_asked")
    assert recorder.queue.stats().lines == 1


def test_every_event_carries_a_tag_its_own_or_the_one_of_its_session(settings: Settings) -> None:
    for _ in range(2):
        with Recorder.open(settings) as recorder:
            recorder.record("cdesk.user_asked")
            recorder.record("cdesk.sql_executed", query_tag="cdesk_01234567")
            recorder.record_insight(INSIGHT)
            whole = recorder.session_uuid
            assert whole is not None and str(uuid.UUID(whole)) == whole
            session_tag = f"cdesk_{whole[:8]}"
            assert recorder.session_tag == session_tag
            events = in_log(settings)[-3:]
            tags = [event.query_tag for event in events]
            assert tags == [session_tag, "cdesk_01234567", session_tag]
    assert len({event.query_tag for event in in_log(settings)}) == 3


def test_a_recorder_that_records_nothing_uses_up_no_tag(settings: Settings) -> None:
    def tag_files() -> list[str]:
        return [path.name for path in settings.data_dir.iterdir() if "tag" in path.name]

    with Recorder.open(settings) as recorder:
        assert tag_files() == []
        recorder.record("cdesk.user_asked")
        assert tag_files() != []


def test_an_event_that_is_too_long_is_refused_with_its_size_and_the_next_move(
    recorder: Recorder,
) -> None:
    with pytest.raises(InvalidActivity) as refused:
        recorder.record("cdesk.user_asked", {"text": "x" * 1_200_000})
    text = str(refused.value)
    assert text.startswith("the event is 1,200,")
    assert text.endswith(
        " bytes, the longest is 1,000,000; "
        "shorten feature_json, or store it elsewhere and log a link"
    )


def test_the_longest_event_fits_into_the_log(settings: Settings, recorder: Recorder) -> None:
    event = recorder.event("cdesk.user_asked", {"text": ""})
    room = 1_000_000 - len(event.to_line())
    recorder.record("cdesk.user_asked", {"text": "x" * room})
    (found,) = in_log(settings)
    assert len(found.to_line()) == 1_000_000
    with pytest.raises(InvalidActivity, match="the event is 1,000,001 bytes"):
        recorder.record("cdesk.user_asked", {"text": "x" * (room + 1)})


def test_drift_is_refused_with_the_key_and_the_way_out(recorder: Recorder) -> None:
    with pytest.raises(InvalidActivity) as refused:
        recorder.record("cdesk.tool_called", {"tool": 5})
    assert str(refused.value) == (
        "feature_json.tool must be a text in cdesk.tool_called; mend the value or use another key"
    )


@given(st.lists(st.integers(-5_000_000, 5_000_000), min_size=1, max_size=50))
def test_ts_is_strictly_increasing_under_a_clock_that_steps_back(
    tmp_path_factory: pytest.TempPathFactory, steps_us: list[int]
) -> None:
    now = START
    folder = tmp_path_factory.mktemp("data")
    with cdesk_core.Queue(folder / "queue") as queue:
        tags = cdesk_core.QueryTags(folder)
        recorder = Recorder(queue, customer="acme", tags=tags, clock=lambda: now)
        stamps = []
        for step_us in steps_us:
            now += timedelta(microseconds=step_us)
            stamps.append(recorder.event("cdesk.user_asked").ts)
            assert stamps[-1] >= now
    assert all(before < after for before, after in pairwise(stamps))


def test_ts_is_strictly_increasing_for_many_threads_under_a_clock_that_stands(
    settings: Settings,
) -> None:
    with cdesk_core.Queue(settings.queue_dir) as queue:
        tags = cdesk_core.QueryTags(settings.data_dir)
        recorder = Recorder(queue, customer="acme", tags=tags, clock=lambda: START)
        together = threading.Barrier(8)
        stamps: list[list[datetime]] = [[] for _ in range(8)]

        def make(own: list[datetime]) -> None:
            together.wait()
            for number in range(200):
                event = recorder.insight_event(INSIGHT) if number % 2 else None
                own.append((event or recorder.event("cdesk.user_asked")).ts)

        threads = [threading.Thread(target=make, args=(own,)) for own in stamps]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert all(own == sorted(set(own)) for own in stamps)
    every = sorted(ts for own in stamps for ts in own)
    assert every == [START + timedelta(microseconds=number) for number in range(1_600)]


def test_an_event_may_bring_its_own_time_and_id(settings: Settings, recorder: Recorder) -> None:
    activity_id = str(uuid.uuid4())
    earlier = START - timedelta(days=365)
    assert recorder.record("cdesk.file_read", ts=earlier, activity_id=activity_id) == activity_id
    (event,) = in_log(settings)
    assert (event.ts, event.activity_id) == (earlier, activity_id)


def test_an_insight_may_bring_its_own_time_and_id_and_holds_from_then_on(
    settings: Settings, recorder: Recorder
) -> None:
    activity_id = str(uuid.uuid4())
    earlier = START - timedelta(days=365)
    assert recorder.record_insight(INSIGHT, ts=earlier, activity_id=activity_id) == activity_id
    (event,) = in_log(settings)
    assert (event.ts, event.activity_id) == (earlier, activity_id)
    assert event.feature_json == INSIGHT.payload(earlier)


@pytest.mark.parametrize(
    "record",
    [
        lambda recorder, given: recorder.record("cdesk.user_asked", activity_id=given),
        lambda recorder, given: recorder.event("cdesk.user_asked", activity_id=given),
        lambda recorder, given: recorder.record_insight(INSIGHT, activity_id=given),
        lambda recorder, given: recorder.insight_event(INSIGHT, activity_id=given),
        lambda recorder, given: asyncio.run(
            recorder.record_async("cdesk.user_asked", activity_id=given)
        ),
    ],
)
def test_an_id_without_its_time_is_refused_because_it_is_of_one_moment(
    settings: Settings, recorder: Recorder, record: Callable[[Recorder, str], object]
) -> None:
    with pytest.raises(InvalidActivity, match="of one moment, so its time must be given too: give"):
        record(recorder, str(uuid.uuid4()))
    assert in_log(settings) == []


@pytest.mark.parametrize(
    "ts",
    [datetime.max.replace(tzinfo=UTC), datetime.min.replace(tzinfo=timezone(timedelta(1) / 2))],
)
def test_an_insight_of_a_time_out_of_range_is_refused(
    settings: Settings, recorder: Recorder, ts: datetime
) -> None:
    """Neither end is an `OverflowError`, which says nothing to who gave it."""
    insight = replace(INSIGHT, valid_for_s=60)
    with pytest.raises((InvalidActivity, InvalidArgument), match="the year"):
        recorder.record_insight(insight, ts=ts)
    assert in_log(settings) == []


def test_events_are_in_the_log_in_the_order_they_were_accepted(
    settings: Settings, recorder: Recorder
) -> None:
    async def accept_all() -> list[str]:
        events = [recorder.event("cdesk.user_asked", {"chars": number}) for number in range(300)]
        futures = [recorder.accept(event) for event in events]
        await asyncio.gather(*futures)
        assert recorder.queue.stats().lines == len(events)
        return [event.activity_id for event in events]

    accepted = asyncio.run(accept_all())
    assert [event.activity_id for event in in_log(settings)] == accepted


def test_an_awaited_event_is_durable_when_its_id_is_there(
    settings: Settings, recorder: Recorder
) -> None:
    async def record() -> str:
        activity_id = await recorder.record_async("cdesk.user_asked", {"chars": 3})
        assert recorder.queue.stats().pending_lines == 0
        return activity_id

    activity_id = asyncio.run(record())
    assert [event.activity_id for event in in_log(settings)] == [activity_id]


def test_a_refused_event_is_refused_at_once_by_accept(recorder: Recorder) -> None:
    async def accept() -> None:
        with pytest.raises(InvalidActivity, match="the event is"):
            recorder.accept(recorder.event("cdesk.user_asked", {"text": "x" * 1_000_000}))

    asyncio.run(accept())
    assert recorder.queue.stats().lines == 0


def test_many_events_are_recorded_together_or_none(settings: Settings, recorder: Recorder) -> None:
    events = [recorder.event("cdesk.user_asked", {"chars": number}) for number in range(50)]
    recorder.record_events(events)
    assert in_log(settings) == events
    assert recorder.queue.stats().lines == 50


def test_a_closed_recorder_refuses_events(recorder: Recorder) -> None:
    recorder.close()
    recorder.close()
    with pytest.raises(cdesk_core.QueueClosed):
        recorder.record("cdesk.user_asked")


def test_an_event_that_the_disk_refuses_is_unconfirmed_and_the_next_one_is_recorded_again(
    settings: Settings,
) -> None:
    # a limit on the size of files refuses writes as a full disk does, and needs no rights
    records = """
        import resource, sys
        from pathlib import Path
        from cdesk.config import Settings
        from cdesk.errors import Unconfirmed
        from cdesk.recorder import Recorder

        _, most = resource.getrlimit(resource.RLIMIT_FSIZE)
        with Recorder.open(Settings(data_dir=Path(sys.argv[1]), customer="acme")) as recorder:
            print(recorder.record("cdesk.user_asked"), flush=True)
            resource.setrlimit(resource.RLIMIT_FSIZE, (0, most))
            try:
                recorder.record("cdesk.user_asked")
            except Unconfirmed as error:
                print(error.__cause__.errno, flush=True)
            resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
            print(recorder.record("cdesk.user_asked"), flush=True)
            print(recorder.queue.stats().failed_lines, flush=True)
    """
    with child(records, settings.data_dir) as other:
        before, errno, after, failed = (other.hears() for _ in range(4))
        assert other.ends() == 0
    assert int(errno) > 0
    assert failed == "1"
    found = [event.activity_id for event in in_log(settings)]
    assert [found[0], found[-1]] == [before, after]


def test_a_log_line_is_the_event_with_the_logs_own_fields_behind(
    settings: Settings, recorder: Recorder
) -> None:
    event = recorder.event("cdesk.user_asked", {"chars": 3})
    recorder.record_events([event])
    with cdesk_core.Consumer(settings.queue_dir, "test") as consumer:
        batch = consumer.next_batch()
    assert batch is not None
    (line,) = batch.ndjson.splitlines()
    assert list(orjson.loads(line))[-3:] == ["_seq", "_log", "_crc"]
    assert line.startswith(event.to_line()[:-1])
