"""Threads that append and wait: one, 64, 1,000."""

from __future__ import annotations

import threading
import time

from peers.settings import LINE, Run
from peers.stores import GROUP, OURS, STORES, Store, opened
from peers.table import (
    Subject,
    divided,
    median,
    microseconds,
    per_second,
    percentile,
    ratio,
)

TURN_S = 0.05
"""One producer takes turns this short: the device's moods are shared by all."""
STACK_BYTES = 256 << 10

AT_MOST = {
    "write + fdatasync, zero-filled": ("p50 against the same file mode", 1.05),
    "write + fdatasync, growing": ("p50 against the growing file", 0.80),
}
AT_LEAST = {
    "SQLite WAL FULL": ("times faster than SQLite WAL FULL", 1.2),
    "plyvel sync": ("times faster than plyvel sync", 1.4),
}


def one_producer(run: Run) -> Subject:
    """One thread, one line at a time."""
    subject = Subject("one producer, blocking, 300 B", heads=("p50", "p99", "ours / theirs, p50"))
    stores = opened(list(STORES), run.folder / "one")
    p50s, p99s = _tails(run, stores)
    ours = p50s[OURS]
    for name, (what, limit) in AT_MOST.items():
        subject.at_most(what, limit, divided(ours, p50s[name]), ratio)
    for name, (what, limit) in AT_LEAST.items():
        if name in p50s:
            subject.at_least(what, limit, divided(p50s[name], ours), ratio)
    for name in stores:
        compared = median(divided(ours, p50s[name]))
        p50, p99 = median(p50s[name]), median(p99s[name])
        subject.tell(name, microseconds(p50), microseconds(p99), ratio(compared))
    for store in stores.values():
        store.close()
    return subject


def _tails(
    run: Run, stores: dict[str, Store]
) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """The p50 and the p99 of each round, in microseconds."""
    p50s: dict[str, list[float]] = {name: [] for name in stores}
    p99s: dict[str, list[float]] = {name: [] for name in stores}
    for store in stores.values():
        for _ in range(50):
            store.append(LINE)
    for _ in range(run.rounds):
        taken: dict[str, list[float]] = {name: [] for name in stores}
        for _ in range(max(1, round(run.seconds / TURN_S))):
            for name, store in stores.items():
                taken[name] += _turn(store)
        for name, values in taken.items():
            p50s[name].append(percentile(values, 0.5))
            p99s[name].append(percentile(values, 0.99))
    return p50s, p99s


def _turn(store: Store) -> list[float]:
    """The microseconds of appends, one after another."""
    clock, append, taken = time.perf_counter_ns, store.append, []
    end = clock() + TURN_S * 1e9
    while True:
        began = clock()
        append(LINE)
        now = clock()
        taken.append((now - began) / 1e3)
        if now > end:
            return taken


def many_producers(run: Run, threads: int) -> Subject:
    """Threads that all append at once."""
    subject = Subject(f"{threads:,} blocking threads", heads=("events/s", "ours / theirs"))
    names = [OURS, GROUP, "plyvel sync", "rocksdict sync", "Redis AOF always"]
    stores = opened(names, run.folder / f"threads{threads}")
    rates: dict[str, list[float]] = {name: [] for name in stores}
    for _ in range(run.rounds):
        for name, store in stores.items():
            rates[name].append(_rate(store, threads, run.seconds))
    ours = rates[OURS]
    subject.at_least("events a second", 80_000 if threads == 64 else 45_000, ours, per_second)
    if "plyvel sync" in rates:
        limit = 1.4 if threads == 64 else 1.0
        subject.at_least("against plyvel sync", limit, divided(ours, rates["plyvel sync"]), ratio)
    for name, values in rates.items():
        subject.tell(name, per_second(median(values)), ratio(median(divided(ours, values))))
    for store in stores.values():
        store.close()
    return subject


def _rate(store: Store, threads: int, seconds: float) -> float:
    """Durable appends a second by so many threads."""
    counts = [0] * threads
    ready, begin = threading.Barrier(threads + 1), threading.Event()
    is_over = False

    def produce(number: int) -> None:
        append, count = store.append, 0
        append(LINE)  # connections are made before the clock runs
        ready.wait()
        begin.wait()
        while not is_over:
            append(LINE)
            count += 1
        counts[number] = count

    threading.stack_size(STACK_BYTES)
    producers = [threading.Thread(target=produce, args=(number,)) for number in range(threads)]
    threading.stack_size(0)
    for producer in producers:
        producer.start()
    ready.wait()
    began = time.perf_counter()
    begin.set()
    time.sleep(seconds)
    is_over = True
    for producer in producers:
        producer.join()
    return sum(counts) / (time.perf_counter() - began)
