"""What happens to a data folder in real life, done to it on purpose."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import orjson

from cdesk import presence
from cdesk.config import Settings
from cdesk.state import State
from tests.child import child

from .talk import PATIENCE_S

HOUR_S: Final = 3_600
_HOLD_WAREHOUSE = """
    import select, sys
    import duckdb
    while True:
        try:
            connection = duckdb.connect(sys.argv[1], config={"memory_limit": "64MB"})
            break
        except duckdb.IOException:
            select.select([], [], [], 0.005)  # the sleep of a program whose clock steps may fail
    connection.execute("CHECKPOINT")
    print("held", flush=True)
    input()
"""


class Accidents:
    """Everything that can be done to one folder, and how often it was."""

    def __init__(
        self,
        settings: Settings,
        *,
        chance: random.Random,
        server_pids: Callable[[], list[int]],
        clock_path: Path | None,
        has_little_space: bool,
    ) -> None:
        self._settings = settings
        self._chance = chance
        self._server_pids = server_pids
        self._clock_path = clock_path
        self._copy = settings.data_dir.parent / "older.duckdb"
        self.counts: Counter[str] = Counter()
        self._all: list[Callable[[], Awaitable[None]]] = [
            self.kill_server,
            self.kill_server,
            self.kill_worker,
            self.kill_worker,
            self.stop_somebody,
            self.lock_state,
            self.lock_warehouse,
            self.copy_warehouse,
            self.restore_warehouse,
        ]
        if clock_path is not None:
            self._all.append(self.step_clock)
        if has_little_space:
            self._all.append(self.fill_disk)

    async def happen(self, duration_s: float) -> None:
        """One after the other, at random, each at least once."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + duration_s
        due = list(self._all)
        self._chance.shuffle(due)
        while due or loop.time() < deadline:
            await asyncio.sleep(self._chance.uniform(0.05, 1.0))
            accident = due.pop() if due else self._chance.choice(self._all)
            await accident()

    async def kill_server(self) -> None:
        pids = self._server_pids()
        if pids and _signal(self._chance.choice(pids), signal.SIGKILL):
            self.counts["servers killed"] += 1

    async def kill_worker(self) -> None:
        pid = self._worker_pid()
        if pid is not None and _signal(pid, signal.SIGKILL):
            self.counts["workers killed"] += 1

    async def stop_somebody(self) -> None:
        """A machine that sleeps, a debugger, a process without its turn."""
        pids = self._server_pids()
        worker = self._worker_pid()
        pid = self._chance.choice([*pids, *([] if worker is None else [worker])] or [0])
        if pid and _signal(pid, signal.SIGSTOP):
            await asyncio.sleep(self._chance.uniform(0.2, 2.0))
            _signal(pid, signal.SIGCONT)
            self.counts["stops"] += 1

    async def lock_state(self) -> None:
        """Somebody looks at `state.db` with a tool, in a transaction."""
        with (
            contextlib.closing(
                sqlite3.connect(self._settings.state_path, isolation_level=None)
            ) as connection,
            contextlib.suppress(sqlite3.OperationalError),
        ):
            connection.execute("BEGIN IMMEDIATE")
            await asyncio.sleep(self._chance.uniform(0.1, 2.0))
            connection.execute("ROLLBACK")
            self.counts["state locked"] += 1

    async def lock_warehouse(self) -> None:
        """Somebody has the warehouse open, until `status` says so."""
        async with self._warehouse_held():
            await self.until_status(
                lambda status: "open in another program" in str(status.get("worker_trouble"))
            )
            self.counts["warehouse locked"] += 1

    async def copy_warehouse(self) -> None:
        """A backup, made while nobody writes."""
        async with self._warehouse_held():
            shutil.copy(self._settings.warehouse_path, self._copy)
            self.counts["warehouse copied"] += 1

    async def restore_warehouse(self) -> None:
        """The backup takes the place of what is there, under a worker that lives."""
        if not self._copy.exists():
            return
        path = self._settings.warehouse_path
        arriving = path.with_suffix(".arriving")
        shutil.copy(self._copy, arriving)
        async with self._warehouse_held():
            pass
        path.with_name(f"{path.name}.wal").unlink(missing_ok=True)
        arriving.replace(path)
        self.counts["warehouse restored"] += 1

    async def step_clock(self) -> None:
        """The wall clock is set an hour back, or forth, or right."""
        assert self._clock_path is not None
        set_clock(self._clock_path, self._chance.choice([-HOUR_S, -7, 0, HOUR_S]))
        self.counts["clock steps"] += 1

    async def fill_disk(self) -> None:
        """Not a byte is left, nor of what somebody frees meanwhile, until `status` says so."""
        ballast = self._settings.data_dir.parent / "ballast"
        try:
            with ballast.open("wb", buffering=0) as file:
                await self.until_status(
                    lambda status: "full" in str(status.get("worker_trouble")),
                    before_each=lambda: _fill(file.fileno()),
                )
            self.counts["disk full"] += 1
        finally:
            ballast.unlink()

    async def until_status(
        self,
        condition: Callable[[Mapping[str, object]], bool],
        *,
        before_each: Callable[[], None] = lambda: None,
    ) -> None:
        """Asks `cdesk status` until it tells."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + PATIENCE_S
        while loop.time() < deadline:
            before_each()
            told = await asyncio.to_thread(read_status, self._settings)
            if told and condition(told):
                return
        raise AssertionError(f"status never told: {told}")

    def _worker_pid(self) -> int | None:
        if not presence.is_worker_there(self._settings.data_dir):
            return None
        try:
            with State(self._settings.state_path) as state:
                beat = state.heartbeat()
        except Exception:  # locked, or on a full disk
            return None
        return beat.pid if beat is not None else None

    @asynccontextmanager
    async def _warehouse_held(self) -> AsyncIterator[None]:
        """Another program has the file open; while it waits for its turn, the rest goes on."""
        with child(_HOLD_WAREHOUSE, self._settings.warehouse_path) as holder:
            assert await asyncio.to_thread(holder.hears) == "held"
            yield
            holder.tell()
            await asyncio.to_thread(holder.ends)


def set_clock(path: Path, offset_s: int) -> None:
    """What the wall clock of the processes under test is ahead by."""
    arriving = path.with_suffix(".arriving")
    arriving.write_text(f"{offset_s:+d}s\n")
    arriving.replace(path)


def read_status(settings: Settings) -> Mapping[str, object]:
    """What `cdesk status --json` says; nothing when it says why not."""
    done = subprocess.run(
        [sys.executable, "-m", "cdesk", "--data-dir", settings.data_dir, "status", "--json"],
        capture_output=True,
        check=False,
        timeout=PATIENCE_S,
    )
    found: Mapping[str, object] = orjson.loads(done.stdout) if done.returncode == 0 else {}
    return found


def _signal(pid: int, number: signal.Signals) -> bool:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    return True


def _fill(descriptor: int) -> None:
    """Writes until there is no room for another byte."""
    for size in (1 << 20, 1 << 12, 1):
        with contextlib.suppress(OSError):
            while True:
                os.write(descriptor, bytes(size))
    try:
        os.write(descriptor, b"0")
    except OSError as error:
        assert error.errno == errno.ENOSPC
