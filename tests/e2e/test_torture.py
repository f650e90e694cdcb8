"""Two minutes of every accident there is, under two customers in one folder."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import cdesk_core
import pytest
from mcp import Client

from cdesk import presence
from cdesk.config import Settings
from cdesk.query.ticket import Tickets
from cdesk.state import State
from cdesk.warehouse.opening import open_warehouse
from tests.faults.devices import tmpfs

from .accidents import Accidents, read_status, set_clock
from .talk import make_settings, server

_DURATION_S = 120.0
_SEED = random.SystemRandom().randrange(2**32)
_FAKE_CLOCK = Path("/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1")


class Tenant:
    """A customer that logs numbers and asks questions through a server that keeps dying."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.acknowledged: set[int] = set()
        self.submitted = 0
        self.servers = 0
        self.tickets: set[str] = set()
        self.pid_path = settings.data_dir.parent / f"{settings.customer}.pid"
        self.is_over = False

    @property
    def pid(self) -> int | None:
        """Of the server that was started last."""
        text = self.pid_path.read_text().strip() if self.pid_path.exists() else ""
        return int(text) if text else None

    async def write(self) -> None:
        """Logs through one server, and starts another whenever it died."""
        while not self.is_over:
            # a server killed in a call, or before it answered, ends here in many ways
            with contextlib.suppress(Exception):
                async with server(self.settings, pid_path=self.pid_path) as client:
                    self.servers += 1
                    while not self.is_over:
                        await self._log(client)
                        if self.submitted % 200 == 0:
                            await self._ask(client)

    async def _log(self, client: Client) -> None:
        self.submitted += 1
        number = self.submitted
        payload = {"customer": self.settings.customer, "number": number}
        result = await asyncio.wait_for(
            client.call_tool(
                "log_event", {"activity": "cdesk.user_asked", "feature_json": payload}
            ),
            timeout=10,
        )
        if not result.is_error:
            self.acknowledged.add(number)

    async def _ask(self, client: Client) -> None:
        result = await asyncio.wait_for(
            client.call_tool("submit_query", {"template": "activity_statistics", "params": {}}),
            timeout=10,
        )
        if not result.is_error:
            assert result.structured_content is not None
            self.tickets.add(str(result.structured_content["ticket_id"]))


@pytest.fixture
def clock_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Path | None:
    """Tells the wall clock of every process that is started; the monotonic clock is the machine's.

    `None`, and a word, where the library that does it is not installed.
    """
    if not _FAKE_CLOCK.exists():
        with capsys.disabled():
            print("SKIPPED 1 accident: no clock steps, libfaketime is not installed")
        return None
    path = tmp_path / "clock"
    set_clock(path, 0)
    for name, value in {
        "LD_PRELOAD": str(_FAKE_CLOCK),
        "FAKETIME_TIMESTAMP_FILE": str(path),
        "FAKETIME_CACHE_DURATION": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "FAKETIME_DISABLE_SHM": "1",
        "NO_FAKE_STAT": "1",
    }.items():
        monkeypatch.setenv(name, value)
    return path


@pytest.fixture
def folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[tuple[Path, bool]]:
    """A data folder, and whether it is on a small filesystem of its own."""
    if os.geteuid() != 0 or shutil.which("mount") is None:
        with capsys.disabled():
            print("SKIPPED 1 accident: no full disk, nobody here may mount one")
        yield tmp_path / "cdesk", False
        return
    with tmpfs(tmp_path / "disk", "256m") as disk:
        yield disk / "cdesk", True


@pytest.mark.proof
@pytest.mark.timeout(900)
def test_two_minutes_of_accidents_lose_double_misnumber_and_mix_up_nothing(
    folder: tuple[Path, bool], clock_path: Path | None
) -> None:
    print(f"seed {_SEED}")
    data_dir, has_little_space = folder
    tenants = [
        Tenant(make_settings(data_dir, customer=customer)) for customer in ("acme", "globex")
    ]
    settings = tenants[0].settings
    settings.create_folders()
    accidents = Accidents(
        settings,
        chance=random.Random(_SEED),
        server_pids=lambda: [tenant.pid for tenant in tenants if tenant.pid is not None],
        clock_path=clock_path,
        has_little_space=has_little_space,
    )

    async def live() -> None:
        writing = [asyncio.create_task(tenant.write()) for tenant in tenants]
        try:
            # a disk that was full before anything was there has nobody who could tell
            await accidents.until_status(lambda status: bool(status.get("worker_stored_events")))
            await accidents.happen(_DURATION_S)
        finally:
            for tenant in tenants:
                tenant.is_over = True
            await asyncio.gather(*writing)

    asyncio.run(live())
    if clock_path is not None:
        set_clock(clock_path, 0)
    starter = presence.WorkerStarter(settings)
    starter.ensure()  # unless the last one that was started is still at work
    print(dict(accidents.counts))
    starter.wait()
    while presence.is_worker_there(data_dir):
        read_status(settings)  # it has two minutes of questions to answer
    assert cdesk_core.queue_depth(settings.queue_dir) == 0
    told = read_status(settings)
    assert told["worker_trouble"] == "none", told
    with State(settings.state_path) as state:
        assert Tickets(state).open_count() == 0
    for tenant in tenants:
        assert_complete(tenant)
    assert_numbered(settings)
    assert accidents.counts.total() > 20


def assert_complete(tenant: Tenant) -> None:
    """What was acknowledged is there, once, and is nobody else's."""
    settings = tenant.settings
    with open_warehouse(settings).connection() as connection:
        rows = connection.execute(
            "SELECT CAST(_feature_json ->> '$.number' AS INTEGER), _feature_json ->> '$.customer' "
            f'FROM "{settings.schema}".events WHERE activity = ? AND customer = ?',
            ["cdesk.user_asked", settings.customer],
        ).fetchall()
    stored = Counter(number for number, _ in rows)
    print(
        f"{settings.customer}: {tenant.servers} servers, {tenant.submitted} submitted, "
        f"{len(tenant.acknowledged)} acknowledged, {len(stored)} stored, "
        f"{len(tenant.tickets)} tickets"
    )
    assert not tenant.acknowledged - stored.keys()
    assert max(stored.values()) == 1
    assert max(stored) <= tenant.submitted
    assert {customer for _, customer in rows} == {settings.customer}
    assert tenant.tickets


def assert_numbered(settings: Settings) -> None:
    """Every row has the number and the successor that its place in the stream gives it."""
    with open_warehouse(settings).connection() as connection:
        ((wrong,),) = connection.execute(
            "SELECT count(*) FROM (SELECT *, row_number() OVER g AS n, lead(ts) OVER g AS t "
            f'FROM "{settings.schema}".events WINDOW g AS '
            "(PARTITION BY customer, activity ORDER BY ts, _activity_id)) "
            "WHERE n <> activity_occurrence OR t IS DISTINCT FROM activity_repeated_at"
        ).fetchall()
    assert wrong == 0
