"""The context cache."""

import threading

import pytest
from cdesk_core import ContextCache


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def cache(clock: Clock, **options: float) -> ContextCache:
    settings = {"max_entries": 10, "max_bytes": 1000, "ttl_s": 60, "stale_after_s": 30} | options
    return ContextCache(clock=clock, **settings)  # type: ignore[arg-type]


def test_a_value_is_fresh_then_stale_then_gone() -> None:
    clock = Clock()
    held = cache(clock)
    value = b"value"
    held.put("a", value)
    assert held.get("a") is value  # the same object: nothing was copied
    clock.now = 29.5
    hit = held.lookup("a")
    assert hit is not None
    assert (hit.value, hit.age_s, hit.is_stale, hit.should_refresh) == (value, 29.5, False, False)
    clock.now = 30
    hit = held.lookup("a")
    assert hit is not None and hit.is_stale and hit.should_refresh
    hit = held.lookup("a")
    assert hit is not None and hit.is_stale and not hit.should_refresh
    clock.now = 60
    assert held.get("a") is None
    assert held.lookup("a") is None


def test_one_thread_of_many_is_told_to_refresh() -> None:
    clock = Clock()
    held = cache(clock)
    held.put("a", b"value")
    clock.now = 30
    told: list[bool] = []

    def look() -> None:
        hit = held.lookup("a")
        assert hit is not None
        told.append(hit.should_refresh)

    threads = [threading.Thread(target=look) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(told) == [False] * 7 + [True]


def test_the_least_recently_used_makes_room_in_entries_and_bytes() -> None:
    held = cache(Clock(), max_entries=2)
    for key in ("a", "b"):
        held.put(key, b"x")
    held.get("a")
    held.put("c", b"x")
    assert (held.get("a"), held.get("b"), held.get("c")) == (b"x", None, b"x")
    small = cache(Clock(), max_bytes=10)
    small.put("a", b"12345")
    small.put("b", b"12345")
    assert (small.get("a"), small.get("b")) == (None, b"12345")
    small.put("b", b"1234567890")  # with its key 11
    assert small.get("b") is None
    stats = small.stats()
    assert (stats.entries, stats.bytes, stats.evictions, stats.oversized) == (0, 0, 1, 1)


def test_invalidate_and_clear_forget() -> None:
    held = cache(Clock())
    held.put("a", b"x")
    assert held.invalidate("a") is True
    assert held.invalidate("a") is False
    held.put("b", b"x")
    held.clear()
    assert held.get("b") is None
    stats = held.stats()
    assert (stats.hits, stats.misses, stats.entries) == (0, 1, 0)


def test_the_machines_clock_is_the_default() -> None:
    held = ContextCache(max_entries=1, max_bytes=10, ttl_s=float("inf"), stale_after_s=float("inf"))
    held.put("a", b"x")
    hit = held.lookup("a")
    assert hit is not None and hit.age_s >= 0 and not hit.is_stale


@pytest.mark.parametrize("answer", [-1.0, float("nan"), "now"])
def test_a_clock_that_makes_no_sense_is_refused(answer: object) -> None:
    held = ContextCache(max_entries=1, max_bytes=10, ttl_s=1, stale_after_s=1, clock=lambda: answer)  # type: ignore[arg-type,return-value]
    with pytest.raises((ValueError, TypeError)):
        held.put("a", b"x")
