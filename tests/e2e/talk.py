"""Real servers over stdio, spoken to by the real MCP client."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Literal

import orjson
from mcp import Client
from mcp.client.stdio import StdioServerParameters

from cdesk import presence
from cdesk.config import Settings, inherited_environment

PATIENCE_S = 30.0
"""How long a condition may take before a test gives up."""


def make_settings(folder: Path, **fields: Any) -> Settings:
    """Settings of a fresh data folder whose worker leaves as soon as it may."""
    return Settings(data_dir=folder, **{"customer": "acme", "worker_grace_s": 0.2, **fields})


@asynccontextmanager
async def server(
    settings: Settings,
    *,
    mode: Literal["legacy", "auto"] = "auto",
    pid_path: Path | None = None,
    arguments: tuple[str, ...] = (),
) -> AsyncIterator[Client]:
    """A running `cdesk serve`; its process id is written to `pid_path` before it starts."""
    command = [sys.executable, *arguments, "-m", "cdesk", "serve"]
    parameters = StdioServerParameters(
        command="/bin/sh",
        args=["-c", 'echo $$ > "$0"; exec "$@"', str(pid_path or os.devnull), *command],
        env=inherited_environment(settings),
    )
    async with Client(parameters, mode=mode, read_timeout_seconds=PATIENCE_S) as client:
        yield client


async def call(client: Client, tool: str, **arguments: Any) -> dict[str, Any]:
    """A tool's result, which must be the same in text and in structure."""
    result = await client.call_tool(tool, arguments)
    text = result.content[0].text  # type: ignore[union-attr]
    assert not result.is_error, text
    assert orjson.loads(text) == result.structured_content
    assert len(text.encode()) <= 8_000
    return result.structured_content


async def refused(client: Client, tool: str, **arguments: Any) -> str:
    """The text of a tool's refusal."""
    result = await client.call_tool(tool, arguments)
    text: str = result.content[0].text  # type: ignore[union-attr]
    assert result.is_error, text
    assert result.structured_content == {"error": text}
    return text


async def eventually(condition: Callable[[], Any]) -> Any:
    """Waits until a condition gives something true and returns it."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        if found := condition():
            return found
        await asyncio.sleep(0)
        time.sleep(0.02)
    raise AssertionError("the condition did not come true")


def until_worker_left(settings: Settings) -> None:
    """Waits until no worker is there."""
    asyncio.run(eventually(lambda: not presence.is_worker_there(settings.data_dir)))


def stored_ids(settings: Settings, *, unless_of: str = "") -> list[str]:
    """The ids of every row of the stream, but for what one source said; the warehouse must be
    free."""
    from cdesk.warehouse.opening import open_warehouse

    query = f'SELECT _activity_id FROM "{settings.schema}".events WHERE _source_system <> ?'
    with open_warehouse(settings).connection() as connection:
        rows = connection.execute(query, [unless_of]).fetchall()
    return [str(row[0]) for row in rows]


def payloads(settings: Settings, activity: str) -> list[Any]:
    """The payloads of an activity, in the order of time; the warehouse must be free."""
    from cdesk.warehouse.opening import open_warehouse

    query = f'SELECT _feature_json FROM "{settings.schema}".events WHERE activity = ? ORDER BY ts'
    with open_warehouse(settings).connection() as connection:
        rows = connection.execute(query, [activity]).fetchall()
    return [orjson.loads(row[0]) for row in rows]
