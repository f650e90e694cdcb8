"""What a worker says of itself, whatever it is doing."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from cdesk import heartbeat
from cdesk.config import Settings
from cdesk.errors import WarehouseBusy
from cdesk.heartbeat import Heart
from cdesk.state import Heartbeat, State
from tests.conftest import Clock
from tests.e2e.talk import PATIENCE_S, eventually


@contextmanager
def beating(heart: Heart, before: Heartbeat | None = None) -> Iterator[None]:
    heart.start(before)
    try:
        yield
    finally:
        heart.stop()


def until(condition: Callable[[], object]) -> None:
    asyncio.run(eventually(condition))


def said(state: State) -> str | None:
    beat = state.heartbeat()
    return None if beat is None else beat.trouble


def test_it_beats_though_the_work_says_nothing(
    settings: Settings, state: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heartbeat, "_BEAT_EVERY_S", 0.01)
    moments = itertools.count()
    heart = Heart(settings.state_path, is_in_place=lambda: True, clock=lambda: float(next(moments)))
    with beating(heart):
        until(lambda: (beat := state.heartbeat()) is not None and beat.beat_at > 5)


def test_trouble_is_told_at_once_and_not_when_it_is_over(settings: Settings, state: State) -> None:
    heart = Heart(settings.state_path, is_in_place=lambda: True)
    with beating(heart):
        heart.note("upload", WarehouseBusy("the warehouse is open"))
        until(lambda: said(state) == "upload: the warehouse is open")
        heart.note("upload", None)
        until(lambda: said(state) is None)


def test_trouble_that_comes_while_it_beats_is_told_at_once_too(
    settings: Settings, state: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heartbeat, "_BEAT_EVERY_S", 2 * PATIENCE_S)
    heart = Heart(settings.state_path, is_in_place=lambda: True)
    beat = State.beat

    def beat_as_trouble_comes(store: State, told: Heartbeat) -> None:
        beat(store, told)
        heart.note("upload", WarehouseBusy("the warehouse is open"))

    monkeypatch.setattr(State, "beat", beat_as_trouble_comes)
    with beating(heart):
        until(lambda: said(state) == "upload: the warehouse is open")


def test_trouble_that_is_not_over_stays_told_when_the_worker_leaves(
    settings: Settings, state: State
) -> None:
    heart = Heart(settings.state_path, is_in_place=lambda: True)
    with beating(heart):
        heart.note("log", WarehouseBusy("a segment cannot be read"), " (and 1 more)")
    heart.stop()
    assert said(state) == "log: a segment cannot be read (and 1 more)"


def test_what_the_worker_before_said_stays_told_until_this_one_has_worked(
    settings: Settings, state: State
) -> None:
    before = Heartbeat(1, 0.0, 0.0, 0, "log: a segment cannot be read")
    state.beat(before)
    heart = Heart(settings.state_path, is_in_place=lambda: True)
    with beating(heart, before):
        until(lambda: (beat := state.heartbeat()) is not None and beat.pid != 1)
        assert said(state) == before.trouble
        heart.has_worked()
    assert said(state) is None


def test_work_that_stands_still_is_told_of(settings: Settings, clock: Clock) -> None:
    heart = Heart(settings.state_path, is_in_place=lambda: True, monotonic=clock)
    for _ in range(5):
        clock.now += 10
        heart.moves_on("batch written")
        assert heart.says().trouble is None
    clock.now += 24
    assert heart.says().trouble == "upload: has come no further for 24 s"


def test_nothing_is_said_in_a_folder_that_took_the_place_of_the_workers(
    settings: Settings, state: State
) -> None:
    heart = Heart(settings.state_path, is_in_place=lambda: False)
    with beating(heart):
        pass
    assert state.heartbeat() is None
