"""What a call tells the stream besides that it was made."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cdesk_core
import orjson
import pytest
from mcp_types import CallToolRequestParams

from cdesk.desk import Desk
from cdesk.errors import StateBusy
from cdesk.server import app
from cdesk.state import Snapshot
from tests.e2e.talk import make_settings

CONTEXT: Any = SimpleNamespace(
    protocol_version="2026-07-28", session=SimpleNamespace(client_params=None)
)


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    with Desk(make_settings(tmp_path)) as opened:
        yield opened


def told_by(
    desk: Desk,
    tool: str,
    *,
    raises: type[BaseException] | None = None,
    is_error: bool = False,
    **arguments: Any,
) -> dict[str, Any]:
    """The payloads of a session with one call, by activity."""

    async def converse() -> None:
        session = app.Session(desk)
        with nullcontext() if raises is None else pytest.raises(raises):
            params = CallToolRequestParams(name=tool, arguments=arguments)
            result = await session.call_tool(CONTEXT, params)
            assert result.is_error == is_error
        await session.end()

    asyncio.run(converse())
    return in_log(desk)


def in_log(desk: Desk) -> dict[str, Any]:
    """The payloads of what was recorded since the last look, by activity."""
    with cdesk_core.Consumer(desk.settings.queue_dir, "test") as consumer:
        batch = consumer.next_batch()
        assert batch is not None
        consumer.commit(batch)
    lines = [orjson.loads(line) for line in batch.ndjson.splitlines()]
    return {line["activity"]: line["feature_json"] for line in lines}


def test_a_client_that_does_not_say_who_it_is_is_unknown(desk: Desk) -> None:
    told_by(desk, "list_templates")
    assert desk.recorder.source_system == "unknown"


def test_a_context_that_is_not_there_is_a_cache_miss_and_one_that_is_was_loaded(
    desk: Desk,
) -> None:
    told = told_by(desk, "get_context")
    assert told["cdesk.cache_miss"] == {"where": "context"}
    assert "cdesk.context_loaded" not in told
    blob: dict[str, Any] = {"customer": "acme", "version": 7, "updated_at": 1.0}
    blob |= {part: [] for part in ("metrics", "definitions", "filters", "questions", "recent")}
    desk.state.put_snapshot(Snapshot("acme", 7, 1.0, orjson.dumps(blob)), request=None)
    told = told_by(desk, "get_context")
    assert told["cdesk.context_loaded"]["version"] == 7
    assert told["cdesk.context_loaded"]["bytes"] > 100
    assert "cdesk.cache_miss" not in told


@pytest.mark.parametrize("is_late", [True, False])
def test_a_call_over_its_service_level_is_recorded_with_what_it_took(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, is_late: bool
) -> None:
    spec = app._SPECS["get_context"]
    level = replace(spec, service_level_ms=0.0 if is_late else 60_000.0)
    monkeypatch.setitem(app._SPECS, "get_context", level)
    told = told_by(desk, "get_context")
    assert ("cdesk.latency_exceeded" in told) == is_late
    if is_late:
        assert told["cdesk.latency_exceeded"]["where"] == "get_context"
        assert told["cdesk.latency_exceeded"]["latency_ms"] > 0


def test_what_nobody_foresaw_of_a_call_is_recorded_as_an_error(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def breaks(_: Desk, __: Any) -> dict[str, Any]:
        raise ZeroDivisionError("a secret")

    monkeypatch.setitem(app._SPECS, "get_context", replace(app._SPECS["get_context"], run=breaks))
    told = told_by(desk, "get_context", raises=ZeroDivisionError)
    met = {"where": "get_context", "error": "ZeroDivisionError"}
    assert told["cdesk.error_encountered"] == met


@pytest.mark.parametrize(
    ("part", "error", "met"),
    [
        ("state", StateBusy("locked"), {"where": "state", "error": "StateBusy"}),
        (
            "worker",
            OSError(12, "Cannot allocate memory"),
            {"where": "starting the worker", "error": "OSError ENOMEM"},
        ),
    ],
)
def test_what_keeps_a_server_from_its_state_and_its_worker_is_recorded_once(
    desk: Desk,
    monkeypatch: pytest.MonkeyPatch,
    part: str,
    error: Exception,
    met: dict[str, str],
) -> None:
    calls: list[str] = []
    loops: list[asyncio.AbstractEventLoop] = []
    is_enough = asyncio.Event()

    def fails() -> None:
        calls.append(part)
        if len(calls) == 5:
            loops[0].call_soon_threadsafe(is_enough.set)
        raise error

    if part == "state":
        monkeypatch.setattr(desk.state, "follow", fails)
        monkeypatch.setattr(desk.worker, "ensure", lambda: None)
    else:
        monkeypatch.setattr(desk.worker, "ensure", fails)
    monkeypatch.setattr(app, "_LOOK_AFTER_WORKER_S", 0.0)

    async def look() -> None:
        loops.append(asyncio.get_running_loop())
        async with app._worker_kept(desk):
            await is_enough.wait()

    asyncio.run(look())
    assert in_log(desk) == {"cdesk.error_encountered": met}
    with cdesk_core.Consumer(desk.settings.queue_dir, "again") as consumer:
        batch = consumer.next_batch()
    assert batch is not None and batch.lines == 1


def test_a_question_that_is_one_too_many_is_recorded_as_an_overflow(tmp_path: Path) -> None:
    params = {"template": "health", "params": {}}
    with Desk(make_settings(tmp_path, queries_per_minute=2)) as desk:
        for _ in range(2):
            assert "cdesk.queue_overflow" not in told_by(desk, "submit_query", **params)
        told = told_by(desk, "submit_query", is_error=True, **params)
    assert told["cdesk.queue_overflow"] == {"where": "submit_query", "depth": 2, "dropped": 1}
    assert "which is the limit" in told["cdesk.tool_failed"]["error"]
