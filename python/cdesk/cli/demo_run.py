"""What `cdesk demo` does: a real import, two real servers, the real MCP client, and a proof.

Invariant: nothing is staged. Every figure comes from a call over stdio, and every check reads the
log and the warehouse afterwards.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

import cdesk_core
import orjson
from mcp import Client
from mcp.client.stdio import StdioServerParameters

from cdesk import presence
from cdesk.activity import Event, utc_now
from cdesk.config import Settings, inherited_environment
from cdesk.importers import Summary, import_export
from cdesk.resources import sample_export_path
from cdesk.seat import open_seat
from cdesk.uploader import CONSUMER
from cdesk.warehouse.opening import open_warehouse

QUESTIONS: Final[tuple[tuple[str, dict[str, Any]], ...]] = (
    ("tool_usage", {}),
    ("activity_funnel", {"step_3": "cdesk.tool_called"}),
    ("error_analysis", {}),
)
"""The questions the demo asks, each of all the days since the first imported event."""

SERVERS: Final = ("first", "second")
"""The servers of the demo; the first is killed."""

_PATIENCE_S: Final = 30.0
_LOOK_EVERY_S: Final = 0.05


@dataclass
class DemoRun:
    """What was done and seen, filled in as it happens."""

    settings: Settings
    imported: Summary | None = None
    events: list[Event] = field(default_factory=list)
    """The imported events, as they were handed to the log."""
    latencies_ms: dict[str, list[float]] = field(default_factory=dict)
    protocols: list[str] = field(default_factory=list)
    acknowledged: list[str] = field(default_factory=list)
    """Ids of events and insights that a tool call returned."""
    cards: list[dict[str, Any]] = field(default_factory=list)
    remembered: dict[str, Any] | None = None
    """The atom as `get_context` told it back."""
    recall_s: float = 0.0
    """Seconds from the recorded insight to the context that holds it."""

    def import_sample(self) -> None:
        """Imports the shipped sample export."""
        self.events.clear()
        with open_seat(self.settings) as seat:

            def append_many(lines: Sequence[bytes]) -> None:
                seat.recorder.queue.append_many(lines)
                self.events += map(Event.from_line, lines)

            self.imported = import_export(
                sample_export_path(),
                append_many=append_many,
                customer=self.settings.customer,
                source_version=cdesk_core.__version__,
                query_tag=seat.recorder.session_tag,
                query_uuid=seat.recorder.session_uuid,
            )

    async def converse(self) -> None:
        """Talks to two servers over stdio; the first is killed in the middle of the
        conversation."""
        async with (
            self._server(SERVERS[0], "legacy") as first,
            self._server(SERVERS[1], "auto") as second,
        ):
            for client in (first, second):
                await client.list_tools()
                self.protocols.append(client.protocol_version)
            await self._log_conversation(first, second)
            for template, params in QUESTIONS:
                await self._ask(second, template, params | {"days": self._days()})
            await self._remember(second)
            await self._event(first, "cdesk.user_asked", {"chars": 31})
            os.kill(self._pid(SERVERS[0]), signal.SIGKILL)
            await self._event(second, "cdesk.claude_responded", {"chars": 205})

    def _days(self) -> int:
        """How many days to look back for everything that was imported."""
        first = min((event.ts for event in self.events), default=utc_now())
        return (utc_now() - first).days + 1

    def wait_until_shipped(self) -> None:
        """Waits until a worker has shipped the whole log and left.

        Raises:
            TimeoutError: it did not within 30 seconds.
        """
        starter = presence.WorkerStarter(self.settings)
        deadline = time.monotonic() + _PATIENCE_S
        while time.monotonic() < deadline:
            if cdesk_core.queue_depth(self.settings.queue_dir, CONSUMER):
                starter.ensure()
            elif not presence.is_worker_there(self.settings.data_dir):
                return
            time.sleep(_LOOK_EVERY_S)
        raise TimeoutError("the worker did not finish within 30 s; see worker.log")

    @asynccontextmanager
    async def _server(self, name: str, mode: Literal["legacy", "auto"]) -> AsyncIterator[Client]:
        # the shell only notes its process id and becomes the server: the demo must kill the right
        # one
        parameters = StdioServerParameters(
            command="/bin/sh",
            args=[
                "-c", 'echo $$ > "$0" && exec "$@"', str(self._pid_path(name)),
                sys.executable, "-m", "cdesk", "serve",
            ],
            env=inherited_environment(self.settings),
        )  # fmt: skip
        async with Client(parameters, mode=mode, read_timeout_seconds=_PATIENCE_S) as client:
            yield client

    def _pid_path(self, name: str) -> Path:
        return self.settings.data_dir / f"{name}.pid"

    def _pid(self, name: str) -> int:
        return int(self._pid_path(name).read_text())

    async def _call(self, client: Client, tool: str, **arguments: Any) -> dict[str, Any]:
        began = time.perf_counter()
        result = await client.call_tool(tool, arguments)
        latency_ms = (time.perf_counter() - began) * 1e3
        if result.is_error:
            raise RuntimeError(f"{tool}: {result.structured_content}")
        self.latencies_ms.setdefault(tool, []).append(latency_ms)
        text = result.content[0]
        told: dict[str, Any] = orjson.loads(text.text) if text.type == "text" else {}
        if told != result.structured_content:
            raise RuntimeError(f"{tool}: text and structured content differ")
        return told

    async def _event(self, client: Client, activity: str, payload: dict[str, Any]) -> None:
        told = await self._call(client, "log_event", activity=activity, feature_json=payload)
        self.acknowledged.append(told["activity_id"])

    async def _log_conversation(self, first: Client, second: Client) -> None:
        await self._call(first, "get_context")
        await self._call(first, "list_templates", search="tool")
        for turn in range(10):
            for client in (first, second):
                await self._event(client, "cdesk.user_asked", {"chars": 40 + turn})
                await self._event(
                    client, "cdesk.claude_responded", {"chars": 300 + turn, "model": "claude"}
                )

    async def _ask(self, client: Client, template: str, params: dict[str, Any]) -> None:
        ticket = await self._call(client, "submit_query", template=template, params=params)
        deadline = time.monotonic() + _PATIENCE_S
        while time.monotonic() < deadline:
            told = await self._call(client, "get_result", ticket_id=ticket["ticket_id"], wait_s=10)
            if told["state"] == "done":
                self.cards.append(told["card"])
                return
            if told["state"] not in ("queued", "running"):
                break
        raise RuntimeError(f"{template}: no card ({told['state']}: {told.get('error')})")

    async def _remember(self, client: Client) -> None:
        card = self.cards[0]
        told = await self._call(
            client,
            "log_insight",
            subject="tools",
            metric="tools_in_use",
            value=card["row_count"],
            grain="all time",
            confidence=0.9,
            provenance_query_hash=card["provenance"]["query_hash"],
        )
        self.acknowledged.append(told["atom_id"])
        began = time.monotonic()
        while time.monotonic() - began < _PATIENCE_S:
            context = await self._call(client, "get_context")
            for atom in context.get("metrics", []):
                if atom["subject"] == "tools" and atom["metric"] == "tools_in_use":
                    self.remembered = atom
                    self.recall_s = time.monotonic() - began
                    return
            await asyncio.sleep(_LOOK_EVERY_S)


@dataclass(frozen=True, slots=True)
class Proof:
    """What the log and the warehouse hold, compared."""

    accepted: int
    """Distinct events in the log."""
    rows: int
    """Rows of the stream."""
    missing: int
    """Events of the log that are no row."""
    doubled: int
    """Events that are more than one row."""
    unacknowledged: int
    """Acknowledged ids that are no row."""
    misnumbered: int
    """Rows whose derived columns differ from a full recompute."""


_RECOMPUTE: Final = """
SELECT count(*) FROM (
    SELECT activity_occurrence, activity_repeated_at,
        row_number() OVER in_group AS occurrence, lead(ts) OVER in_group AS next_ts
    FROM {schema}.events
    WINDOW in_group AS (PARTITION BY customer, activity ORDER BY ts, _activity_id)
)
WHERE activity_occurrence <> occurrence OR activity_repeated_at IS DISTINCT FROM next_ts
"""


def prove(demo_run: DemoRun) -> Proof:
    """Reads the whole log with a consumer of its own and the whole stream, and compares them."""
    settings = demo_run.settings
    accepted: set[str] = set()
    with cdesk_core.Consumer(settings.queue_dir, "proof") as consumer:
        while (batch := consumer.next_batch()) is not None:
            accepted.update(orjson.loads(line)["activity_id"] for line in batch.ndjson.splitlines())
            consumer.commit(batch)
    warehouse = open_warehouse(settings)
    with warehouse.connection() as connection:
        ids = connection.execute(f'SELECT _activity_id FROM "{settings.schema}".events').fetchall()
        ((misnumbered,),) = connection.execute(
            _RECOMPUTE.format(schema=f'"{settings.schema}"')
        ).fetchall()
    rows = Counter(str(row[0]) for row in ids)
    return Proof(
        accepted=len(accepted),
        rows=rows.total(),
        missing=len(accepted - rows.keys()),
        doubled=sum(count > 1 for count in rows.values()),
        unacknowledged=len(set(demo_run.acknowledged) - rows.keys()),
        misnumbered=int(misnumbered),
    )
