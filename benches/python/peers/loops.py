"""asyncio: so many appends in flight on one event loop; and the same beside a busy thread."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import threading
import time
from collections.abc import Awaitable, Callable
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import cdesk_core

from peers.group import LoopGroup
from peers.settings import LINE, Run, skip
from peers.stores import GROUP, OURS
from peers.table import Subject, divided, median, per_second, ratio

NODE = "group commit in Node"
LOOP = "asyncio alone, nothing durable"


class LoopStore(Protocol):
    """Appends without blocking the loop."""

    def append(self, line: bytes) -> Awaitable[None]:
        """Done when the line is durable."""

    def close(self) -> Any:
        """Ends it."""

    @property
    def syncs(self) -> int:
        """How often it has waited for the disk."""


class Ours:
    """`Queue.append_async`."""

    def __init__(self, folder: Path) -> None:
        self._queue = cdesk_core.Queue(folder / "queue")
        self.append = self._queue.append_async
        self.close = self._queue.close

    @property
    def syncs(self) -> int:
        return self._queue.stats().commits


class Nothing:
    """Futures that are done in the loop's next turn: what asyncio itself can do."""

    syncs = 0

    def __init__(self, _folder: Path) -> None:
        self._loop = asyncio.get_running_loop()
        self._pending: list[asyncio.Future[None]] = []

    def append(self, _line: bytes) -> asyncio.Future[None]:
        if not self._pending:
            self._loop.call_soon(self._complete)
        future = self._loop.create_future()
        self._pending.append(future)
        return future

    def _complete(self) -> None:
        pending, self._pending = self._pending, []
        for future in pending:
            future.set_result(None)

    def close(self) -> None:
        """Has nothing to end."""


LOOP_STORES: dict[str, Callable[[Path], LoopStore]] = {OURS: Ours, GROUP: LoopGroup}


def in_flight(run: Run, tasks: int) -> Subject:
    """So many tasks, each appending again as soon as its line is durable."""
    subject = Subject(f"asyncio, {tasks:,} in flight", heads=("events/s", "ours / theirs"))
    rates = _rounds(run, tasks, has_node=True)
    ours = rates[OURS]
    subject.at_least("events a second", 150_000 if tasks == 64 else 654_000, ours, per_second)
    for name, values in rates.items():
        subject.tell(name, per_second(median(values)), ratio(median(divided(ours, values))))
    return subject


def beside_a_busy_thread(run: Run) -> Subject:
    """64 in flight while another Python thread computes without a pause."""
    subject = Subject("asyncio, 64 in flight, one busy thread", heads=("events/s", "ours / theirs"))
    with _busy_thread():
        rates = _rounds(run, 64, has_node=False)
    ours = rates[OURS]
    subject.at_least("against the group commit in Python", 4.0, divided(ours, rates[GROUP]), ratio)
    for name, values in rates.items():
        subject.tell(name, per_second(median(values)), ratio(median(divided(ours, values))))
    return subject


@contextmanager
def _busy_thread() -> Any:
    is_over = False

    def compute() -> None:
        while not is_over:
            sum(range(1_000))

    thread = threading.Thread(target=compute)
    thread.start()
    try:
        yield
    finally:
        is_over = True
        thread.join()


def _rounds(run: Run, tasks: int, *, has_node: bool) -> dict[str, list[float]]:
    rates: dict[str, list[float]] = {}
    for number in range(run.rounds):
        for name, store in (LOOP_STORES | {LOOP: Nothing}).items():
            folder = run.folder / f"loop-{tasks}-{has_node}-{number}-{len(name)}"
            folder.mkdir(mode=0o700)
            rates.setdefault(name, []).append(asyncio.run(_rate(store, folder, tasks, run.seconds)))
        if has_node and (rate := _node_rate(run, tasks)) is not None:
            rates.setdefault(NODE, []).append(rate)
    return rates


async def _rate(
    store: Callable[[Path], LoopStore], folder: Path, tasks: int, seconds: float
) -> float:
    opened = store(folder)
    count, end = 0, time.perf_counter() + 3_600

    async def produce() -> None:
        nonlocal count
        append, clock = opened.append, time.perf_counter
        while clock() < end:
            await append(LINE)
            count += 1

    producers = [asyncio.create_task(produce()) for _ in range(tasks)]
    await opened.append(LINE)
    began, before = time.perf_counter(), count
    end = began + seconds
    await asyncio.gather(*producers)
    rate = (count - before) / (time.perf_counter() - began)
    opened.close()
    return rate


def _node_rate(run: Run, tasks: int) -> float | None:
    program = shutil.which("node")
    if program is None:
        skip(NODE, "node is not on this machine")
        return None
    script = Path(__file__).with_name("group_commit.mjs")
    arguments = [str(run.folder / "node"), str(tasks), str(run.seconds), str(len(LINE))]
    told = subprocess.run(
        [program, str(script), *arguments], capture_output=True, text=True, check=True
    )
    rate: float = json.loads(told.stdout)["per_second"]
    return rate
