"""A server as Claude Desktop meets it."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import time
from collections import Counter
from pathlib import Path
from typing import Any, Literal

import cdesk_core
import duckdb
import orjson
import pytest

from cdesk import presence

from .talk import (
    PATIENCE_S,
    call,
    eventually,
    make_settings,
    refused,
    server,
    stored_ids,
    until_worker_left,
)


async def card_of(client: Any, template: str, **params: Any) -> dict[str, Any]:
    ticket = await call(client, "submit_query", template=template, params=params)
    told = await call(client, "get_result", ticket_id=ticket["ticket_id"], wait_s=20)
    assert told["state"] == "done", told
    card: dict[str, Any] = told["card"]
    assert card["provenance"]["query_hash"] == ticket["query_hash"]
    assert card["provenance"]["query_tag"] == ticket["query_tag"]
    return card


@pytest.mark.parametrize(("mode", "protocol"), [("legacy", "2025-11-25"), ("auto", "2026-07-28")])
def test_a_conversation_is_recorded_asked_about_and_remembered(
    tmp_path: Path, mode: Literal["legacy", "auto"], protocol: str
) -> None:
    settings = make_settings(tmp_path)

    async def converse() -> list[str]:
        ids = []
        async with server(settings, mode=mode) as client:
            assert client.protocol_version == protocol
            for number in range(20):
                told = await call(
                    client,
                    "log_event",
                    activity="cdesk.user_asked",
                    feature_json={"chars": number},
                    revenue_impact=1.25,
                )
                ids.append(told["activity_id"])
            card = await card_of(client, "activity_statistics", days=1)
            assert len(card["rows"]) <= 10
            table = {row[0]: row for row in card["rows"]}
            assert table["cdesk.user_asked"][1] == 20
            told = await call(
                client,
                "log_insight",
                subject="questions",
                metric="asked",
                value=20,
                provenance_query_hash=card["provenance"]["query_hash"],
            )
            ids.append(told["atom_id"])
            began = time.monotonic()
            while True:
                context = await call(client, "get_context")
                if context.get("metrics"):
                    break
                assert time.monotonic() - began < PATIENCE_S
            (atom,) = context["metrics"]
            assert (atom["subject"], atom["metric"], atom["value"]) == ("questions", "asked", 20)
            assert atom["query_hash"] == card["provenance"]["query_hash"]
            full = Path(card["link"].removeprefix("file://"))
            assert full.stat().st_mode & 0o777 == 0o600
            assert duckdb.read_parquet(str(full)).shape[0] == card["row_count"]
        return ids

    ids = asyncio.run(converse())
    until_worker_left(settings)
    stored = stored_ids(settings)
    assert set(ids) <= set(stored)
    assert max(Counter(stored).values()) == 1
    assert cdesk_core.queue_depth(settings.queue_dir) == 0


def test_tools_have_titles_hints_and_schemas_without_noise(tmp_path: Path) -> None:
    async def listed() -> list[Any]:
        async with server(make_settings(tmp_path)) as client:
            return list((await client.list_tools()).tools)

    tools = asyncio.run(listed())
    assert [tool.name for tool in tools] == [
        "log_event", "get_context", "submit_query", "get_result", "cancel_query",
        "log_insight", "list_templates",
    ]  # fmt: skip
    for tool in tools:
        assert re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", tool.name)
        assert tool.title
        hints = tool.annotations
        assert None not in (hints.read_only_hint, hints.destructive_hint, hints.idempotent_hint)
        assert tool.input_schema["type"] == "object"
        assert tool.input_schema["additionalProperties"] is False
        assert "customer" not in tool.input_schema["properties"]


def test_every_wrong_call_is_refused_with_the_next_move_and_loses_nothing(tmp_path: Path) -> None:
    settings = make_settings(tmp_path)
    evil = "'; drop table events; --"

    async def misuse() -> str:
        async with server(settings) as client:
            log = "log_event"
            assert "did you mean 'cdesk.user_asked'" in await refused(client, log, activity="Asked")
            assert "activity: Field required" in await refused(client, log)
            assert "log_event takes activity" in await refused(client, log, activity="x", bla=1)
            text = await refused(
                client, log, activity="cdesk.user_asked", feature_json={"x": "y" * 2_000_000}
            )
            assert "2,000," in text and "log a link" in text and "yyy" not in text
            assert "chars must be a whole number" in await refused(
                client, log, activity="cdesk.user_asked", feature_json={"chars": "many"}
            )
            assert "log_insight" in await refused(client, log, activity="cdesk.insight_recorded")
            other = await refused(client, "get_context", customer_id="globex")
            unknown = await refused(client, "get_context", customer_id="nobody at all")
            assert other == unknown and "globex" not in other
            assert "list_templates" in await refused(
                client, "submit_query", template=evil, params={}
            )
            text = await refused(
                client, "submit_query", template="tool_usage", params={"days": evil}
            )
            assert "integer from 1 to 3650" in text
            assert "days" in await refused(
                client, "submit_query", template="tool_usage", params={"day": 3}
            )
            assert "submit_query" in await refused(client, "get_result", ticket_id=evil)
            assert "16 hex digits" in await refused(
                client,
                "log_insight",
                subject="s",
                metric="m",
                value=1,
                provenance_query_hash="my own idea",
            )
            assert "the tools are" in await refused(client, "drop_tables")
            card = await card_of(client, "insights_by_subject", subject=evil)
            assert card["row_count"] == 0
            told = await call(
                client, log, activity="cdesk.user_asked", feature_json={"note": evil}, link=evil
            )
            return str(told["activity_id"])

    kept = asyncio.run(misuse())
    until_worker_left(settings)
    assert kept in stored_ids(settings)


def test_a_running_server_has_loaded_no_driver_and_no_sql_parser(tmp_path: Path) -> None:
    settings = make_settings(tmp_path)
    trace = tmp_path / "imports.txt"
    script = tmp_path / "sitecustomize.py"
    script.write_text(
        "import atexit, pathlib, sys\n"
        "if sys.argv[-1:] == ['serve'] or '-m' in sys.orig_argv and 'serve' in sys.orig_argv:\n"
        f"    atexit.register(lambda: pathlib.Path({str(trace)!r})"
        ".write_text('\\n'.join(sys.modules)))\n"
    )

    async def use_every_tool() -> None:
        os.environ["PYTHONPATH"] = str(tmp_path)
        try:
            async with server(settings) as client:
                await client.list_tools()
                await call(client, "log_event", activity="cdesk.user_asked")
                await call(client, "list_templates")
                card = await card_of(client, "health")
                await call(client, "get_context")
                query_hash = card["provenance"]["query_hash"]
                await call(
                    client,
                    "log_insight",
                    subject="s",
                    metric="m",
                    value=1,
                    provenance_query_hash=query_hash,
                )
        finally:
            del os.environ["PYTHONPATH"]

    asyncio.run(use_every_tool())
    loaded = {name.partition(".")[0] for name in trace.read_text().splitlines()}
    assert {"mcp", "cdesk", "cdesk_core"} <= loaded
    assert not loaded & {"duckdb", "_duckdb", "snowflake", "sqlglot", "pyarrow", "pandas"}


@pytest.mark.slow
def test_a_restarted_worker_finishes_the_tickets_of_the_one_that_was_killed(
    tmp_path: Path,
) -> None:
    settings = make_settings(tmp_path)

    async def converse() -> None:
        async with server(settings) as client:
            await call(client, "log_event", activity="cdesk.user_asked")
            first = await eventually(lambda: worker_pid(settings.data_dir))
            tickets = [
                await call(client, "submit_query", template="health", params={}) for _ in range(3)
            ]
            os.kill(first, signal.SIGKILL)
            for ticket in tickets:
                told = await call(client, "get_result", ticket_id=ticket["ticket_id"], wait_s=20)
                assert told["state"] == "done"

    asyncio.run(converse())
    until_worker_left(settings)
    assert max(Counter(stored_ids(settings)).values()) == 1


def worker_pid(folder: Path) -> int | None:
    """The process id of the folder's worker, once it works."""
    from cdesk.state import State

    if not presence.is_worker_there(folder):
        return None
    with State(folder / "state.db") as state:
        beat = state.heartbeat()
    return beat.pid if beat is not None else None


@pytest.mark.slow
def test_a_warehouse_file_held_by_somebody_else_only_delays(tmp_path: Path) -> None:
    settings = make_settings(tmp_path)
    settings.create_folders()

    async def converse() -> None:
        async with server(settings) as client:
            told = await call(client, "log_event", activity="cdesk.user_asked")
            await card_of(client, "health")
            holder = await asyncio.create_subprocess_exec(
                os.sys.executable,  # type: ignore[attr-defined]
                "-c",
                "import duckdb, sys, time\n"
                "while True:\n"
                "    try:\n"
                f"        held = duckdb.connect({str(settings.warehouse_path)!r}); break\n"
                "    except duckdb.IOException: time.sleep(0.001)\n"
                "print('held', flush=True); sys.stdin.read()",
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
            )
            assert holder.stdout is not None and holder.stdin is not None
            assert await holder.stdout.readline() == b"held\n"
            told = await call(client, "log_event", activity="cdesk.user_asked")
            ticket = await call(client, "submit_query", template="health", params={})
            waiting = await call(client, "get_result", ticket_id=ticket["ticket_id"], wait_s=0.5)
            assert waiting["state"] in ("queued", "running")
            holder.stdin.close()
            await holder.wait()
            done = await call(client, "get_result", ticket_id=ticket["ticket_id"], wait_s=20)
            assert done["state"] == "done"
            ids.append(told["activity_id"])

    ids: list[str] = []
    asyncio.run(converse())
    until_worker_left(settings)
    assert ids[0] in stored_ids(settings)


@pytest.mark.slow
def test_cancelled_and_switched_off_queries_say_so(tmp_path: Path) -> None:
    settings = make_settings(tmp_path)
    settings.create_folders()
    from cdesk.state import State

    async def converse() -> None:
        async with server(settings) as client:
            ticket = await call(client, "submit_query", template="health", params={})
            cancelled = await call(client, "cancel_query", ticket_id=ticket["ticket_id"])
            assert cancelled["state"] in ("cancelled", "running", "done")
            with State(settings.state_path) as state:
                state.set_flag("kill_switch", "credits are used up", 0.0)
            text = await refused(client, "submit_query", template="health", params={})
            assert "credits are used up" in text
            with State(settings.state_path) as state:
                state.clear_flag("kill_switch")
            await card_of(client, "health")

    asyncio.run(converse())


@pytest.mark.slow
def test_a_large_catalogue_still_fits_one_answer(tmp_path: Path) -> None:
    templates = tmp_path / "mine"
    templates.mkdir()
    shipped = Path(__file__).parents[2] / "sql" / "templates" / "tool_usage.sql"
    for number in range(60):
        name = f"tool_usage_{number:02d}"
        (templates / f"{name}.sql").write_text(
            shipped.read_text().replace('name = "tool_usage"', f'name = "{name}"')
        )
    settings = make_settings(tmp_path / "data", templates_dir=templates)

    async def listed() -> dict[str, Any]:
        async with server(settings) as client:
            await card_of(client, "tool_usage_07", days=3)
            return await call(client, "list_templates")

    told = asyncio.run(listed())
    assert "more match" in told["next"]
    assert len(orjson.dumps(told)) <= 8_000
