"""A hit among 10,000 entries of 2 KiB: one that is hot, and any of them at random."""

from __future__ import annotations

import functools
import importlib
import random
import time
from collections.abc import Callable
from typing import Any

import cdesk_core

from peers.memory import grown_by
from peers.settings import Run, skip
from peers.stores import OURS
from peers.table import Subject, divided, mebibytes, median, nanoseconds, ratio

ENTRIES = 10_000
VALUE_BYTES = 2_048
CALLS = 20_000
TURNS_PER_S = 20

PEERS: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "cachebox TTL": ("cachebox", lambda module: module.TTLCache(ENTRIES, 3_600)),
    "cachebox LRU": ("cachebox", lambda module: module.LRUCache(ENTRIES)),
    "cachetools TTL": ("cachetools", lambda module: module.TTLCache(ENTRIES, 3_600)),
    "lru-dict": ("lru", lambda module: module.LRU(ENTRIES)),
}

HELD = f"""
cache = cdesk_core.ContextCache(max_entries=10**6, max_bytes=1 << 30, ttl_s=3600, stale_after_s=60)
for number in range({ENTRIES}):
    cache.put(f"customer:{{number:06d}}", bytes({VALUE_BYTES}))
"""


def cache_hits(run: Run) -> Subject:
    """A hit beside those of other caches, and the memory that the entries take.

    At random most of the time is the memory's: 20 MiB of values do not fit into the processor.
    """
    heads = ("one key", "ours / theirs", "at random", "ours / theirs")
    subject = Subject("cache hit, 10,000 entries of 2 KiB", heads=heads)
    gets, dice = _filled(), random.Random(1)
    keys = _keys()
    hot = _measured(run, gets, [dice.choice(keys)] * CALLS)
    cold = _measured(run, gets, dice.choices(keys, k=CALLS))
    subject.at_most("a hit, one key", 100, hot[OURS], nanoseconds)
    for what, found in (("one key", hot), ("at random", cold)):
        if "cachebox TTL" in found:
            compared = divided(found[OURS], found["cachebox TTL"])
            subject.at_most(f"against cachebox TTL, {what}", 1.1, compared, ratio)
    memory = [grown_by("import cdesk_core", HELD) for _ in range(run.rounds)]
    subject.at_most("memory of the entries", 24, memory, mebibytes)
    for name in gets:
        figures = []
        for found in (hot, cold):
            compared = median(divided(found[OURS], found[name]))
            figures += [nanoseconds(median(found[name])), ratio(compared)]
        subject.tell(name, *figures)
    return subject


def _measured(
    run: Run, gets: dict[str, Callable[[str], Any]], order: list[str]
) -> dict[str, list[float]]:
    """Nanoseconds a hit, per round."""
    found: dict[str, list[float]] = {name: [] for name in gets}
    for _ in range(run.rounds):
        turns: dict[str, list[float]] = {name: [] for name in gets}
        for _ in range(max(1, round(TURNS_PER_S * run.seconds))):
            for name, get in gets.items():
                turns[name].append(_per_key(get, order))
        for name, values in turns.items():
            found[name].append(median(values))
    return found


def _keys() -> list[str]:
    """The keys, each a new string: callers make theirs from what they were asked."""
    return [f"customer:{number:06d}" for number in range(ENTRIES)]


def _filled() -> dict[str, Callable[[str], Any]]:
    ours = cdesk_core.ContextCache(
        max_entries=ENTRIES, max_bytes=1 << 30, ttl_s=3_600, stale_after_s=1_800
    )
    for key in _keys():
        ours.put(key, bytes(VALUE_BYTES))
    gets: dict[str, Callable[[str], Any]] = {OURS: ours.get}
    for name, (module, make) in PEERS.items():
        try:
            cache = make(importlib.import_module(module))
        except ImportError as why:
            skip(name, str(why))
            continue
        for key in _keys():
            cache[key] = bytes(VALUE_BYTES)
        gets[name] = cache.get
    kept = functools.lru_cache(maxsize=ENTRIES)(lambda _key: bytes(VALUE_BYTES))
    for key in _keys():
        kept(key)
    return gets | {"functools.lru_cache": kept}


def _per_key(get: Callable[[str], Any], order: list[str]) -> float:
    clock = time.perf_counter_ns
    began = clock()
    for key in order:
        get(key)
    middle = clock()
    for _key in order:
        pass
    return (middle - began - (clock() - middle)) / len(order)
