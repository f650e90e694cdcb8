"""What a call tells the stream besides that it was made."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cdesk_core
import orjson
import pytest
from mcp_types import CallToolRequestParams

from cdesk.errors import StateBusy
from cdesk.folder import Folder
from cdesk.server import app
from cdesk.server.desk import Desk, open_desk
from cdesk.server.tools import MAX_RESULT_BYTES, ListTemplates, list_templates
from cdesk.state import Snapshot
from tests.e2e.talk import make_settings

CONTEXT: Any = SimpleNamespace(
    protocol_version="2026-07-28", session=SimpleNamespace(client_params=None)
)


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    with open_desk(make_settings(tmp_path)) as opened:
        yield opened


def folder_of(desk: Desk) -> Folder:
    return asyncio.run(desk.with_seat(lambda seat: seat.folder))


def told_by(
    desk: Desk,
    tool: str,
    *,
    is_error: bool = False,
    **arguments: Any,
) -> dict[str, Any]:
    """The payloads of a session with one call, by activity."""

    async def converse() -> None:
        session = app.Session(desk)
        params = CallToolRequestParams(name=tool, arguments=arguments)
        result = await session.call_tool(CONTEXT, params)
        assert result.is_error == is_error
        await session.end()

    asyncio.run(converse())
    return in_log(desk)


def in_log(desk: Desk) -> dict[str, Any]:
    """The payloads of what was recorded since the last look, by activity."""
    with cdesk_core.Consumer(folder_of(desk).settings.queue_dir, "test") as consumer:
        batch = consumer.next_batch()
        assert batch is not None
        consumer.commit(batch)
    lines = [orjson.loads(line) for line in batch.ndjson.splitlines()]
    return {line["activity"]: line["feature_json"] for line in lines}


def test_a_client_that_does_not_say_who_it_is_is_unknown(desk: Desk) -> None:
    told_by(desk, "list_templates")
    assert desk.recorder.source_system == "unknown"


def listed(desk: Desk) -> dict[str, Any]:
    found = asyncio.run(list_templates(desk, ListTemplates(search="mine")))
    assert len(orjson.dumps(found)) <= MAX_RESULT_BYTES
    return found


def test_templates_are_listed_with_every_value_of_an_enum_where_there_is_room(
    tmp_path: Path,
) -> None:
    """With 300 long values a template was listed without its parameters."""
    questions = tmp_path / "questions"
    questions.mkdir()
    settings = replace(make_settings(tmp_path / "data"), templates_dir=questions)
    for count, ending in ((40, "value-39: what it is"), (300, " and 297 more: what it is")):
        values = [f"{'long-' * 11}value-{number}" for number in range(count)]
        (questions / "mine.sql").write_text(MINE.replace("VALUES", json.dumps(values)))
        with open_desk(settings) as desk:
            (found,) = listed(desk)["templates"]
        assert found["params"]["link"].endswith(ending)


MINE = """/*
name = "mine"
version = 1
purpose = "an operator's own"
row_cap = 10
headline = "{rows} rows"
empty = "none"

[params.link]
type = "enum"
values = VALUES
description = "what it is"
*/
SELECT activity FROM events WHERE link = :link ORDER BY activity
"""


def test_a_context_that_is_not_there_is_a_cache_miss_and_one_that_is_was_loaded(
    desk: Desk,
) -> None:
    told = told_by(desk, "get_context")
    assert told["cdesk.cache_miss"] == {"where": "context"}
    assert "cdesk.context_loaded" not in told
    blob: dict[str, Any] = {"customer": "acme", "version": 7, "updated_at": 1.0}
    blob |= {part: [] for part in ("metrics", "definitions", "filters", "questions", "recent")}
    snapshot = Snapshot("acme", 7, 1.0, orjson.dumps(blob))
    asyncio.run(desk.with_seat(lambda seat: seat.folder.state.put_snapshot(snapshot, request=None)))
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


def refusal(told: dict[str, Any]) -> str:
    """What a refused call left in the stream; of a tool that records it is no call."""
    text: str = told.get("cdesk.tool_failed", told.get("cdesk.error_encountered", {}))["error"]
    return text


def test_what_nobody_foresaw_of_a_call_is_told_the_model_and_recorded(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The model was told the exception itself, as an error of the protocol with the code 0."""

    async def breaks(_: Desk, __: Any) -> dict[str, Any]:
        raise ZeroDivisionError("a secret")

    monkeypatch.setitem(app._SPECS, "get_context", replace(app._SPECS["get_context"], run=breaks))
    told = told_by(desk, "get_context", is_error=True)
    met = {"where": "get_context", "error": "ZeroDivisionError"}
    assert told["cdesk.error_encountered"] == met
    error = told["cdesk.tool_failed"]["error"]
    assert error.startswith("get_context failed in a way that nobody foresaw (ZeroDivisionError)")
    assert "the server's log says more" in error
    assert "test_told.py" in caplog.text and " breaks" in caplog.text, "where it was raised"
    assert "a secret" not in caplog.text + error


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
        monkeypatch.setattr(folder_of(desk).state, "follow", fails)
        monkeypatch.setattr(folder_of(desk).worker, "ensure", lambda: None)
    else:
        monkeypatch.setattr(folder_of(desk).worker, "ensure", fails)
    monkeypatch.setattr(app, "_LOOK_AFTER_WORKER_S", 0.0)

    async def look() -> None:
        loops.append(asyncio.get_running_loop())
        async with app._worker_kept(desk):
            await is_enough.wait()

    asyncio.run(look())
    assert in_log(desk) == {"cdesk.error_encountered": met}
    with cdesk_core.Consumer(folder_of(desk).settings.queue_dir, "again") as consumer:
        batch = consumer.next_batch()
    assert batch is not None and batch.lines == 1


def test_a_question_that_is_one_too_many_is_recorded_as_an_overflow(tmp_path: Path) -> None:
    params = {"template": "health", "params": {}}
    with open_desk(make_settings(tmp_path, queries_per_minute=2)) as desk:
        for _ in range(2):
            assert "cdesk.queue_overflow" not in told_by(desk, "submit_query", **params)
        told = told_by(desk, "submit_query", is_error=True, **params)
    assert told["cdesk.queue_overflow"] == {"where": "submit_query", "depth": 2, "dropped": 1}
    assert "which is the limit" in told["cdesk.tool_failed"]["error"]


INSIGHT = {"subject": "a", "metric": "b", "value": 1, "provenance_query_hash": "0" * 16}
EVENT = {"activity": "cdesk.user_asked"}


@pytest.mark.parametrize(
    ("tool", "others", "field", "is_text"),
    [
        ("log_event", EVENT, "feature_json", False),
        ("log_event", EVENT, "feature_json", True),
        ("log_insight", INSIGHT, "filter", False),
        ("log_insight", INSIGHT, "filter", True),
        ("log_insight", INSIGHT, "value", False),
    ],
)
@pytest.mark.parametrize(
    ("number", "rule"),
    [
        ("12345678901234567890123", "whole numbers have up to 64 bits"),
        ("NaN", "numbers are finite"),
        ("-Infinity", "numbers are finite"),
        ("1e999", "numbers are finite"),
    ],
)
def test_a_number_that_cannot_be_kept_as_it_is_is_refused_naming_its_field(
    desk: Desk,
    tool: str,
    others: dict[str, Any],
    field: str,
    is_text: bool,
    number: str,
    rule: str,
) -> None:
    """Some were stored as null, or as another number, and some broke the call."""
    text = f'{{"x":[{number}]}}'
    value = text if is_text else json.loads(text)
    told = told_by(desk, tool, is_error=True, **others | {field: value})
    assert refusal(told).startswith(f"{field}: must be JSON: its {rule}")
    assert told.keys() == {
        "cdesk.session_started",
        "cdesk.error_encountered",
        "cdesk.session_ended",
    }


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ('{"x": 18446744073709551615}', {"x": 18446744073709551615}),
        ('{"x": "half \\ud83d"}', {"x": "half \N{REPLACEMENT CHARACTER}"}),
        ('{"\\ud83d\\ude00": 0.1}', {"\N{GRINNING FACE}": 0.1}),
    ],
)
def test_an_object_in_a_text_is_kept_as_the_same_object_is(
    desk: Desk, text: str, kept: dict[str, Any]
) -> None:
    assert told_by(desk, "log_event", **EVENT, feature_json=text)["cdesk.user_asked"] == kept


@pytest.mark.parametrize("text", ["", "null", "[1]", "{", "[" * 2_000 + "]" * 2_000, "9" * 5_000])
def test_a_text_that_spells_no_object_is_refused(desk: Desk, text: str) -> None:
    told = told_by(desk, "submit_query", is_error=True, template="health", params=text)
    assert told["cdesk.tool_failed"]["error"].startswith("params: Input should be")


def test_a_call_whose_arguments_are_refused_is_a_call_that_failed(desk: Desk) -> None:
    told = told_by(desk, "get_result", is_error=True, wait_s=1)
    assert list(told) == [
        "cdesk.session_started",
        "cdesk.tool_called",
        "cdesk.tool_failed",
        "cdesk.session_ended",
    ]


SAID = "hunter2secret"


@pytest.mark.parametrize(
    ("tool", "arguments", "names"),
    [
        ("log_event", {"activity": SAID}, "activity"),
        ("log_event", {"activity": f"cdesk.{SAID}", "feature_json": {SAID: 2**64}}, "feature_json"),
        (
            "log_event",
            {"activity": f"cdesk.{SAID}", "feature_json": {SAID: "x" * 10**6}},
            "longest",
        ),
        ("log_event", EVENT | {"feature_json": {"chars": SAID}}, "feature_json.chars"),
        ("log_event", EVENT | {"feature_json": SAID}, "feature_json"),
        ("log_event", EVENT | {"revenue_impact": SAID}, "revenue_impact"),
        ("log_event", EVENT | {SAID: 1}, "1 unknown argument"),
        ("get_context", {"customer_id": SAID}, "customer_id"),
        ("get_context", {"max_bytes": SAID}, "max_bytes"),
        ("submit_query", {"template": SAID}, "list_templates"),
        ("submit_query", {"template": "health_" + SAID}, "template"),
        ("submit_query", {"template": "tool_usage", "params": {"days": SAID}}, "days"),
        ("submit_query", {"template": "tool_usage", "params": {SAID: 1}}, "it takes days"),
        ("submit_query", {"template": "health", "byte_cap": SAID}, "byte_cap"),
        ("get_result", {"ticket_id": SAID}, "ticket_id"),
        ("get_result", {"ticket_id": SAID, "wait_s": SAID}, "wait_s"),
        ("cancel_query", {"ticket_id": SAID}, "ticket_id"),
        ("log_insight", INSIGHT | {"provenance_query_hash": SAID}, "provenance_query_hash"),
        ("log_insight", INSIGHT | {"subject": SAID * 50}, "subject"),
        ("log_insight", INSIGHT | {"filter": [SAID]}, "filter"),
        ("log_insight", INSIGHT | {"confidence": SAID}, "confidence"),
        ("list_templates", {"search": [SAID]}, "search"),
    ],
)
def test_an_error_names_the_argument_and_its_rule_and_never_what_was_said(
    desk: Desk, tool: str, arguments: dict[str, Any], names: str
) -> None:
    """Texts of up to 40 characters and the names of templates and activities were repeated."""
    told = told_by(desk, tool, is_error=True, **arguments)
    error = refusal(told)
    assert names in error
    assert SAID not in error
