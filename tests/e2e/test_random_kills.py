"""A minute of SIGKILLs at random: everything acknowledged is in the warehouse exactly once."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import time
from collections import Counter
from pathlib import Path

import cdesk_core
import pytest
from mcp import Client

from cdesk import presence
from cdesk.config import Settings
from cdesk.state import State
from cdesk.warehouse.opening import open_warehouse

from .talk import make_settings, server, until_worker_left

_DURATION_S = 60.0
_SEED = random.SystemRandom().randrange(2**32)


class Writers:
    """Two clients that log numbers through servers that keep dying."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.acknowledged: set[int] = set()
        self.submitted = 0
        self.restarts = 0
        self.is_over = False

    def pid_path(self, name: str) -> Path:
        return self.settings.data_dir / f"{name}.pid"

    async def write(self, name: str) -> None:
        """Logs through one server, and starts another whenever it died."""
        while not self.is_over:
            # a server killed in a call, or before it answered, ends here in many ways
            with contextlib.suppress(Exception):
                async with server(self.settings, pid_path=self.pid_path(name)) as client:
                    self.restarts += 1
                    await self._log(client)

    async def _log(self, client: Client) -> None:
        while not self.is_over:
            self.submitted += 1
            number = self.submitted
            result = await asyncio.wait_for(
                client.call_tool(
                    "log_event",
                    {"activity": "cdesk.user_asked", "feature_json": {"number": number}},
                ),
                timeout=10,
            )
            if not result.is_error:
                self.acknowledged.add(number)

    async def kill(self, chance: random.Random) -> int:
        """Kills a server or the worker now and then; how many died."""
        deadline = time.monotonic() + _DURATION_S
        kills = 0
        while time.monotonic() < deadline:
            await asyncio.sleep(chance.uniform(0.05, 1.2))
            pid = self._victim(chance.choice(["one", "two", "worker"]))
            if pid is not None:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                    kills += 1
        self.is_over = True
        return kills

    def _victim(self, name: str) -> int | None:
        if name != "worker":
            path = self.pid_path(name)
            text = path.read_text().strip() if path.exists() else ""
            return int(text) if text else None
        if not presence.is_worker_there(self.settings.data_dir):
            return None
        with State(self.settings.state_path) as state:
            beat = state.heartbeat()
        return beat.pid if beat is not None else None


@pytest.mark.proof
def test_a_minute_of_random_kills_loses_nothing_and_doubles_nothing(tmp_path: Path) -> None:
    print(f"seed {_SEED}")
    settings = make_settings(tmp_path)
    settings.create_folders()
    writers = Writers(settings)

    async def live() -> int:
        kills, *_ = await asyncio.gather(
            writers.kill(random.Random(_SEED)), writers.write("one"), writers.write("two")
        )
        return kills

    kills = asyncio.run(live())
    starter = presence.WorkerStarter(settings)
    starter.ensure()  # unless the last one that was started is still at work
    assert starter.wait() in (None, 0)
    until_worker_left(settings)
    assert cdesk_core.queue_depth(settings.queue_dir) == 0
    with open_warehouse(settings).connection() as connection:
        numbers = connection.execute(
            "SELECT CAST(_feature_json ->> '$.number' AS INTEGER) "
            f'FROM "{settings.schema}".events WHERE activity = ?',
            ["cdesk.user_asked"],
        ).fetchall()
        ((wrong,),) = connection.execute(
            "SELECT count(*) FROM (SELECT *, row_number() OVER g AS n, lead(ts) OVER g AS t "
            f'FROM "{settings.schema}".events WINDOW g AS '
            "(PARTITION BY customer, activity ORDER BY ts, _activity_id)) "
            "WHERE n <> activity_occurrence OR t IS DISTINCT FROM activity_repeated_at"
        ).fetchall()
    stored = Counter(row[0] for row in numbers)
    print(
        f"{kills} kills, {writers.restarts} servers, {writers.submitted} submitted, "
        f"{len(writers.acknowledged)} acknowledged, {len(stored)} stored"
    )
    assert not writers.acknowledged - stored.keys()
    assert max(stored.values()) == 1
    assert max(stored) <= writers.submitted
    assert wrong == 0
    assert kills > 20
