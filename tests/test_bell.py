"""A bell ends waits early, and nobody who rings it is ever held up."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator

import pytest

from cdesk.bell import Bell

LONG_S = 3600.0


@pytest.fixture
def bell() -> Iterator[Bell]:
    with Bell() as opened:
        yield opened


def test_what_was_rung_while_nobody_waited_ends_the_next_wait_at_once(bell: Bell) -> None:
    bell.ring()
    bell.wait(LONG_S)


def test_however_often_it_was_rung_before_it_ends_one_wait(bell: Bell) -> None:
    for _ in range(50):
        bell.ring()
    bell.wait(LONG_S)
    assert not bell._selector.select(0)


def test_a_wait_that_is_going_on_ends_when_another_thread_rings(bell: Bell) -> None:
    is_waiting = threading.Event()

    def ring() -> None:
        is_waiting.wait()
        bell.ring()

    thread = threading.Thread(target=ring)
    thread.start()
    is_waiting.set()
    bell.wait(LONG_S)
    thread.join()


def test_nobody_who_rings_is_held_up_when_nobody_listens(bell: Bell) -> None:
    for _ in range(100_000):
        bell.ring()
    bell.wait(LONG_S)


def test_a_bell_that_is_closed_may_be_rung() -> None:
    with Bell() as bell:
        pass
    bell.ring()


def test_a_signal_may_ring_whatever_it_interrupts(bell: Bell) -> None:
    """A worker's `stop` set an event of the standard library: its handler waited for the lock that
    the interrupted wait held, for ever, a few microseconds in each tenth of a second."""
    before = signal.signal(signal.SIGALRM, lambda *_: bell.ring())
    try:
        for number in range(1_000):
            signal.setitimer(signal.ITIMER_REAL, 1e-6 * (1 + number % 50))
            bell.wait(LONG_S)
    finally:
        signal.signal(signal.SIGALRM, before)


def test_a_pause_is_as_long_as_it_is_however_often_it_is_rung(bell: Bell) -> None:
    now = 0.0
    waits: list[float] = []

    def wait(timeout_s: float) -> None:
        nonlocal now
        waits.append(timeout_s)
        now += 0.5

    bell.wait = wait  # type: ignore[method-assign]
    bell.pause(2.0, unless=lambda: False, clock=lambda: now)
    assert waits == [2.0, 1.5, 1.0, 0.5]


def test_a_pause_ends_when_what_it_must_not_outlast_has_come(bell: Bell) -> None:
    is_over = False

    def ring() -> None:
        nonlocal is_over
        is_over = True
        bell.ring()

    thread = threading.Thread(target=ring)
    thread.start()
    bell.pause(LONG_S, unless=lambda: is_over)
    thread.join()
