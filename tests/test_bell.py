"""A bell ends waits early, and nobody who rings it is ever held up."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from cdesk.bell import Bell, ring_at
from tests.child import child

LONG_S = 3600.0


@pytest.fixture
def bell() -> Iterator[Bell]:
    with Bell() as opened:
        yield opened


def test_what_was_rung_while_nobody_waited_ends_the_next_wait_at_once(bell: Bell) -> None:
    bell.ring()
    assert bell.wait(LONG_S)


def test_however_often_it_was_rung_before_it_ends_one_wait(bell: Bell) -> None:
    for _ in range(50):
        bell.ring()
    assert bell.wait(LONG_S)
    assert not bell._selector.select(0)


def test_a_wait_that_is_going_on_ends_when_another_thread_rings(bell: Bell) -> None:
    is_waiting = threading.Event()

    def ring() -> None:
        is_waiting.wait()
        bell.ring()

    thread = threading.Thread(target=ring)
    thread.start()
    is_waiting.set()
    assert bell.wait(LONG_S)
    thread.join()


def test_nobody_who_rings_is_held_up_when_nobody_listens(bell: Bell) -> None:
    for _ in range(100_000):
        bell.ring()
    assert bell.wait(LONG_S)


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
            assert bell.wait(LONG_S)
    finally:
        signal.signal(signal.SIGALRM, before)


def test_a_pause_is_as_long_as_it_is_however_often_it_is_rung(bell: Bell) -> None:
    now = 0.0
    waits: list[float] = []

    def wait(timeout_s: float) -> bool:
        nonlocal now
        waits.append(timeout_s)
        now += 0.5
        return True

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


RINGS = """
    import sys
    from pathlib import Path
    from cdesk.bell import ring_at

    ring_at(Path(sys.argv[1]))
    print("rung", flush=True)
"""


def test_another_process_rings_it_at_its_path(bell: Bell, tmp_path: Path) -> None:
    path = tmp_path / "bell"
    assert bell.hear_at(path)
    assert path.stat().st_mode & 0o077 == 0
    with child(RINGS, str(path)) as other:
        assert bell.wait(LONG_S)
        assert other.hears() == "rung"


def test_a_path_is_rung_though_nobody_hears_or_has_ever_heard_there(tmp_path: Path) -> None:
    ring_at(tmp_path / "bell")
    (tmp_path / "file").touch()
    ring_at(tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == b""


def test_nobody_who_rings_at_a_path_is_held_up_when_nobody_listens(
    bell: Bell, tmp_path: Path
) -> None:
    assert bell.hear_at(tmp_path / "bell")
    for _ in range(2_000):
        ring_at(tmp_path / "bell")
    assert bell.wait(LONG_S)


def test_the_place_of_a_process_that_was_killed_is_taken_and_left_again(tmp_path: Path) -> None:
    path = tmp_path / "bell"
    killed = Bell()
    assert killed.hear_at(path)
    with Bell() as bell:
        assert bell.hear_at(path)
        ring_at(path)
        assert bell.wait(LONG_S)
    assert not path.exists()
    killed.close()


def test_a_bell_that_is_closed_late_leaves_the_one_that_has_its_place(tmp_path: Path) -> None:
    """The worker of a folder that was moved away deleted the bell of the one in its place."""
    path = tmp_path / "bell"
    with Bell() as late, Bell() as bell:
        assert late.hear_at(path)
        assert late.is_reachable()
        path.rename(tmp_path / "away")
        assert bell.hear_at(path)
        assert not late.is_reachable()
        late.close()
        ring_at(path)
        assert bell.wait(LONG_S)
        assert bell.is_reachable()
        path.unlink()
        assert not bell.is_reachable()


def test_what_is_no_bell_stays_where_it_is_and_waits_have_their_time(
    bell: Bell, tmp_path: Path
) -> None:
    path = tmp_path / "bell"
    path.write_text("somebody's own")
    assert not bell.hear_at(path)
    assert path.read_text() == "somebody's own"
    assert not bell.hear_at(tmp_path / "no" / "such" / "folder")
    assert not bell.hear_at(tmp_path / ("long" * 30))
    assert not bell.wait(0.0)
