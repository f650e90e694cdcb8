"""A call that failed is made again: recorded once, whatever the log kept of the first."""

from __future__ import annotations

import asyncio
import errno
import json
import re
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

import cdesk_core
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdesk.activity import Event
from cdesk.config import Settings
from cdesk.errors import Unconfirmed
from cdesk.recorder import Recorder

from .test_recorder import INSIGHT, START, in_log


class MoodyQueue:
    """A log that fails as it is told, with the line in it or without."""

    def __init__(self, queue: cdesk_core.Queue, moods: list[str]) -> None:
        self._queue = queue
        self._moods = moods

    def append_many(self, lines: list[bytes]) -> None:
        mood = self._moods.pop(0) if self._moods else "good"
        if mood != "lost":
            self._queue.append_many(lines)
        if mood != "good":
            raise OSError(errno.ENOSPC, "cannot write /somewhere/secret; then try again")

    def append_async(self, line: bytes) -> asyncio.Future[None]:
        mood = self._moods.pop(0) if self._moods else "good"
        if mood != "lost":
            self._queue.append(line)
        future = asyncio.get_running_loop().create_future()
        if mood == "good":
            future.set_result(None)
        elif mood != "slow":
            future.set_exception(OSError(errno.ENOSPC, "cannot write /somewhere/secret"))
        return future


@given(
    calls=st.lists(st.sampled_from("abc"), min_size=1, max_size=6),
    moods=st.lists(st.sampled_from(["good", "lost", "kept"]), max_size=12),
)
def test_a_call_repeated_until_it_succeeds_is_recorded_once(
    calls: list[str], moods: list[str]
) -> None:
    with TemporaryDirectory() as folder, cdesk_core.Queue(folder) as queue:
        tags = cdesk_core.QueryTags(folder)
        recorder = Recorder(queue, customer="acme", tags=tags, clock=lambda: START)
        recorder.queue = cast("cdesk_core.Queue", MoodyQueue(queue, moods))

        async def record(call: str) -> str:
            while True:
                try:
                    return await recorder.record_again(
                        call.encode(), lambda: recorder.event("cdesk.user_asked", {"call": call})
                    )
                except Unconfirmed as error:
                    assert "No space left on device" in str(error)
                    assert "secret" not in str(error)

        async def record_all() -> list[str]:
            return [await record(call) for call in calls]

        ids = asyncio.run(record_all())
        queue.close()
        lines = [
            line
            for path in Path(folder).glob("*.ndjson")
            for line in path.read_bytes().split(b"\n")
        ]
        stored = {
            json.loads(line)["activity_id"]: json.loads(line)
            for line in lines
            if b'"activity_id"' in line
        }
        assert len(set(ids)) == len(ids), "two calls are two events"
        assert set(stored) == set(ids), "and nothing else is in the log, however often it failed"
        told = [stored[activity_id]["feature_json"]["call"] for activity_id in ids]
        assert told == calls


def test_of_calls_that_failed_the_last_thousand_are_remembered(settings: Settings) -> None:
    with cdesk_core.Queue(settings.queue_dir) as queue:
        tags = cdesk_core.QueryTags(settings.data_dir)
        recorder = Recorder(queue, customer="acme", tags=tags)
        made: list[str] = []

        def make() -> Event:
            made.append(str(len(made)))
            return recorder.event("cdesk.user_asked")

        async def fail_and_repeat() -> None:
            recorder.queue = cast("cdesk_core.Queue", MoodyQueue(queue, ["lost"] * 1_001))
            for number in range(1_001):
                with pytest.raises(Unconfirmed):
                    await recorder.record_again(b"%d" % number, make)
            await recorder.record_again(b"1", make)
            assert len(made) == 1_001, "the event of then"
            await recorder.record_again(b"0", make)
            assert len(made) == 1_002, "forgotten: a new one"

        asyncio.run(fail_and_repeat())


@pytest.mark.parametrize("mood", ["lost", "kept"])
@pytest.mark.parametrize("what", ["event", "insight", "event, asyncio"])
def test_of_an_event_that_may_be_recorded_nobody_says_it_is_not(
    settings: Settings, what: str, mood: str
) -> None:
    with cdesk_core.Queue(settings.queue_dir) as queue:
        recorder = Recorder(queue, customer="acme", tags=cdesk_core.QueryTags(settings.data_dir))
        recorder.queue = cast("cdesk_core.Queue", MoodyQueue(queue, [mood]))

        def record(**again: Any) -> str:
            if what == "insight":
                return recorder.record_insight(INSIGHT, **again)
            if what == "event":
                return recorder.record("cdesk.user_asked", **again)
            return asyncio.run(recorder.record_async("cdesk.user_asked", **again))

        with pytest.raises(Unconfirmed) as failed:
            record()
        said = str(failed.value)
        assert "nobody knows" in said and "try again" not in said and "secret" not in said
        assert "(activity_id and ts in Python)" in said
        ((told, at),) = re.findall(r"--id ([0-9a-f-]{36}) --at (\S+Z) ", said)
        ts = datetime.fromisoformat(at)
        assert record(activity_id=told, ts=ts) == told
    assert {(event.activity_id, event.ts) for event in in_log(settings)} == {(told, ts)}


def test_a_call_whose_caller_gave_up_waiting_is_recorded_once_when_it_is_made_again(
    settings: Settings,
) -> None:
    with cdesk_core.Queue(settings.queue_dir) as queue:
        tags = cdesk_core.QueryTags(settings.data_dir)
        recorder = Recorder(queue, customer="acme", tags=tags)
        recorder.queue = cast("cdesk_core.Queue", MoodyQueue(queue, ["slow"]))

        def make() -> Event:
            return recorder.event("cdesk.user_asked")

        async def give_up_and_repeat() -> list[str]:
            waiting = asyncio.ensure_future(recorder.record_again(b"call", make))
            asyncio.get_running_loop().call_soon(waiting.cancel)
            with pytest.raises(asyncio.CancelledError):
                await waiting
            return [await recorder.record_again(b"call", make) for _ in range(2)]

        again, another = asyncio.run(give_up_and_repeat())
    assert [event.activity_id for event in in_log(settings)] == [again, again, another]
