"""1,000 users who do something ten times a second each, at random: dict -> JSON -> durable.

An open system: an event comes when it comes, however long the one before took. Latency counts from
the moment an event should have come, so that a stall cannot hide the events it delayed. The loop
waits with select(2), because epoll's timeout has whole milliseconds, which is more than an append.
"""

from __future__ import annotations

import asyncio
import json
import random
import selectors
import time
from collections.abc import Callable
from pathlib import Path

from peers.loops import LOOP_STORES, LoopStore
from peers.settings import LINE, Run
from peers.stores import GROUP, OURS, RawFilled
from peers.table import (
    Subject,
    divided,
    median,
    microseconds,
    milliseconds,
    percentile,
    ratio,
)

USERS = 1_000
EVENTS_PER_S = 10_000


ARRIVALS = "arrivals alone"


def poisson(run: Run) -> Subject:
    """Latency and CPU of one event among 10,000 a second.

    The CPU is that of the whole process less what the arrivals cost in the same round: the timer,
    the task and the bookkeeping, which no store can help. What is left has a floor: the processor
    time of its syncs, given beside it, which is the kernel's and the same for all.
    """
    heads = ("p50", "p99", "CPU, gross", "CPU, net", "of it syncs", "lines a sync")
    subject = Subject("1,000 users, 10,000 events/s", heads=heads)
    stores: dict[str, Callable[[Path], LoopStore] | None] = {**LOOP_STORES, ARRIVALS: None}
    found: dict[str, list[tuple[float, float, float, float]]] = {name: [] for name in stores}
    sync_cpu = _cpu_of_a_sync(run)
    for number in range(run.rounds):
        for at, (name, store) in enumerate(stores.items()):
            folder = run.folder / f"users-{number}-{at}"
            folder.mkdir(mode=0o700)
            found[name].append(_on_a_fine_loop(store, folder, run.seconds * 2))
    gross = {name: [cpu for _, _, cpu, _ in values] for name, values in found.items()}
    net = {
        name: [cpu - arrival for cpu, arrival in zip(cpus, gross[ARRIVALS], strict=True)]
        for name, cpus in gross.items()
    }
    subject.at_most(
        "p99, dict to durable", 0.6, [p99 for _, p99, _, _ in found[OURS]], milliseconds
    )
    subject.at_least(
        "less CPU an event than the group commit in Python, arrivals not counted",
        1.5,
        divided(net[GROUP], net[OURS]),
        ratio,
    )
    for name, values in found.items():
        p50, p99 = (milliseconds(median([value[at] for value in values])) for at in (0, 1))
        cpus = (microseconds(median(cpu[name])) for cpu in (gross, net))
        syncs = median([value[3] for value in values])
        shared = f"{1 / syncs:.1f}" if syncs else ""
        subject.tell(name, p50, p99, *cpus, microseconds(syncs * sync_cpu), shared)
    return subject


def _on_a_fine_loop(
    store: Callable[[Path], LoopStore] | None, folder: Path, seconds: float
) -> tuple[float, float, float, float]:
    def loop() -> asyncio.AbstractEventLoop:
        return asyncio.SelectorEventLoop(selectors.SelectSelector())

    with asyncio.Runner(loop_factory=loop) as runner:
        return runner.run(_measure(store, folder, seconds))


async def _measure(
    store: Callable[[Path], LoopStore] | None, folder: Path, seconds: float
) -> tuple[float, float, float, float]:
    """The p50 and p99 in milliseconds, the microseconds of CPU an event, and the syncs an event."""
    opened = store(folder) if store else None
    loop, encode = asyncio.get_running_loop(), json.JSONEncoder(separators=(",", ":")).encode
    dice = random.Random(1)
    taken: list[float] = []
    events = [
        {"activity_id": f"018f{number:08x}", "user": f"user{number}", "text": "x" * 230}
        for number in range(USERS)
    ]

    async def happen(event: dict[str, str], due: float) -> None:
        if opened:
            await opened.append(encode(event).encode())
        taken.append((time.perf_counter() - due) * 1e3)

    if opened:
        await opened.append(b'{"warm":"up"}')
    running: set[asyncio.Task[None]] = set()
    busy, due = time.process_time(), time.perf_counter()
    end = due + seconds
    while due < end:
        due += dice.expovariate(EVENTS_PER_S)
        wait = due - time.perf_counter()
        if wait > 0:
            await asyncio.sleep(wait)
        task = loop.create_task(happen(dice.choice(events), due))
        running.add(task)
        task.add_done_callback(running.discard)
    await asyncio.gather(*running)
    busy = time.process_time() - busy
    syncs = opened.syncs if opened else 0
    if opened:
        opened.close()
    count = len(taken)
    return percentile(taken, 0.5), percentile(taken, 0.99), busy / count * 1e6, syncs / count


def _cpu_of_a_sync(run: Run) -> float:
    """Microseconds of processor time of one write and fdatasync, nothing around them."""
    folder, calls = run.folder / "sync", 2_000
    folder.mkdir(mode=0o700)
    store = RawFilled(folder)
    busy = time.process_time()
    for _ in range(calls):
        store.append(LINE)
    busy = time.process_time() - busy
    store.close()
    return busy / calls * 1e6
