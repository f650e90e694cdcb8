"""The protocol side of the server: from an MCP request to a tool and back.

Invariants: text content and structured content of a result carry the same JSON, compact, and those
of an error the same text; an error's text says what to do next and holds no SQL, payload or secret;
what a session and its tool calls did is recorded without delaying the answer, and is durable before
the process ends.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any, Final

import cdesk_core
import orjson
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import Server
from mcp_types import (
    CallToolRequestParams,
    CallToolResult,
    ListToolsResult,
    PaginatedRequestParams,
    TextContent,
    Tool,
    ToolAnnotations,
)
from pydantic import ValidationError

from cdesk.errors import (
    CdeskError,
    StateError,
    TooManyQueries,
    kind_of,
    next_move,
    place_of,
    reason,
)
from cdesk.server.desk import Desk
from cdesk.server.stdio import serve_stdio
from cdesk.server.tools import TOOLS, ToolSpec

_log = logging.getLogger(__name__)

_LOOK_AFTER_WORKER_S: Final = 1.0
_ENDING_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_KNOWN_CLIENTS: Final = {"claude-ai": "claude_desktop", "Claude Desktop": "claude_desktop"}
"""Claude Desktop introduces itself as claude-ai."""

INSTRUCTIONS: Final = (
    "cdesk remembers and answers from a warehouse. Begin with get_context. To ask: list_templates, "
    "submit_query, get_result; quote the card's headline and its query hash. Keep what was found "
    "with log_insight, and log questions and answers with log_event."
)
"""What a client is told about the server when it connects."""

_SPECS: Final = {spec.name: spec for spec in TOOLS}


class Session:
    """One MCP session at a desk: answers its requests and records what it sees."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._recording: set[asyncio.Future[None]] = set()
        self._has_started = False

    async def list_tools(
        self, context: ServerRequestContext[Any, Any], params: PaginatedRequestParams | None
    ) -> ListToolsResult:
        """Answers `tools/list`."""
        return ListToolsResult(tools=[_tool(spec) for spec in TOOLS])

    async def call_tool(
        self, context: ServerRequestContext[Any, Any], params: CallToolRequestParams
    ) -> CallToolResult:
        """Answers `tools/call`; whatever goes wrong becomes text that the model can act on."""
        self._start(context)
        spec = _SPECS.get(params.name)
        if spec is None:
            return _failure(f"there is no such tool; the tools are {', '.join(_SPECS)}")
        began = time.perf_counter()
        if not spec.is_own_trace:
            self._record("cdesk.tool_called", {"tool": spec.name, "server": "cdesk"})
        result: dict[str, Any] = {}
        answer: CallToolResult | None = None
        error: str | None = None
        try:
            arguments = spec.arguments.model_validate(params.arguments or {})
            result = await spec.run(self._desk, arguments)
            answer = _success(result)
        except ValidationError as invalid:
            error = _explain(spec, invalid)
        except (CdeskError, cdesk_core.Error) as refused:
            error = str(refused)
            if isinstance(refused, TooManyQueries):
                over = {"where": spec.name, "depth": refused.most, "dropped": 1}
                self._record("cdesk.queue_overflow", over)
        except OSError as failed:
            error = f"the system says: {reason(failed)}; {next_move(failed)}; then call again"
        except Exception as unforeseen:
            kind = kind_of(unforeseen)
            _log.error("%s failed: %s at %s", spec.name, kind, place_of(unforeseen))
            if not spec.is_own_trace:  # whose failure is recorded so anyway
                self._record("cdesk.error_encountered", {"where": spec.name, "error": kind})
            error = (
                f"{spec.name} failed in a way that nobody foresaw ({kind}), and may have done its "
                "work or not; go on without it, and tell the person that the server's log says more"
            )
        self._tell(spec, round((time.perf_counter() - began) * 1e3, 3), result, error)
        return _failure(error or "") if answer is None else answer

    def _tell(
        self, spec: ToolSpec, latency_ms: float, result: dict[str, Any], error: str | None
    ) -> None:
        """Records what became of a call: its result, or the error in place of one."""
        outcome: dict[str, Any] = {
            "tool": spec.name,
            "server": "cdesk",
            "latency_ms": latency_ms,
            "ok": error is None,
        }
        if latency_ms > spec.service_level_ms:
            late = {"where": spec.name, "latency_ms": latency_ms}
            self._record("cdesk.latency_exceeded", late)
        if error is not None and spec.is_own_trace:
            # no call of a tool, because its good ones are none: else every one of them had failed
            self._record("cdesk.error_encountered", {"where": spec.name, "error": error[:300]})
            return
        if error is not None:
            self._record("cdesk.tool_failed", outcome | {"error": error[:300]})
            return
        if not spec.is_own_trace:
            self._record("cdesk.tool_completed", outcome)
        if (told := spec.told(result)) is not None:
            self._record(*told)

    def _start(self, context: ServerRequestContext[Any, Any]) -> None:
        # not at `initialize` or `tools/list`: a health check is no session
        if self._has_started:
            return
        self._has_started = True
        client = context.session.client_params
        name = "" if client is None else client.client_info.name
        self._desk.recorder.source_system = _source_system(name)
        payload: dict[str, Any] = {"protocol": context.protocol_version}
        with suppress(cdesk_core.Error, OSError):  # recording the event says so
            payload["query_uuid"] = self._desk.recorder.session_uuid
        if client is not None:
            payload["client"] = client.client_info.name[:200]
            payload["client_version"] = client.client_info.version[:200]
        self._record("cdesk.session_started", payload)

    def _record(self, activity: str, payload: dict[str, Any]) -> None:
        try:
            durable = self._desk.recorder.accept(self._desk.recorder.event(activity, payload))
        except (CdeskError, cdesk_core.Error, OSError) as error:
            _log.error("%s was not recorded: %s", activity, error)
            return
        self._recording.add(durable)
        durable.add_done_callback(self._recorded)

    def _recorded(self, durable: asyncio.Future[None]) -> None:
        self._recording.discard(durable)
        if not durable.cancelled() and (error := durable.exception()) is not None:
            # the call itself was answered; it must not fail because its trace did
            _log.error("an event of this session was not recorded: %s", error)

    async def end(self) -> None:
        """Records the session's end and waits until everything recorded is durable."""
        if self._has_started:
            self._record("cdesk.session_ended", {})
        await asyncio.gather(*self._recording, return_exceptions=True)


async def serve(desk: Desk) -> None:
    """Serves one client over stdin and stdout and keeps a worker running.

    The session ends with the end of input, or with SIGTERM, SIGINT or SIGHUP, which clients and
    systems send to end a server; either way its end is recorded and durable before this returns.
    """
    session = Session(desk)
    server = make_server(session)
    loop = asyncio.get_running_loop()
    try:
        async with serve_stdio() as wire, _worker_kept(desk):
            for number in _ENDING_SIGNALS:
                loop.add_signal_handler(number, wire.leave)
            options = server.create_initialization_options()
            await server.run(wire.incoming, wire.outgoing, options)
    finally:
        await session.end()
        for number in _ENDING_SIGNALS:
            loop.remove_signal_handler(number)


def make_server(session: Session) -> Server[Any]:
    """The SDK's server with this session's handlers."""
    return Server(
        "cdesk",
        version=cdesk_core.__version__,
        title="cdesk",
        instructions=INSTRUCTIONS,
        on_list_tools=session.list_tools,
        on_call_tool=session.call_tool,
    )


@asynccontextmanager
async def _worker_kept(desk: Desk) -> AsyncIterator[None]:
    async def look_after() -> None:
        while True:
            try:
                await desk.with_seat(lambda seat: seat.folder.state.follow())
            except StateError as error:
                _log.error("%s", error)
                await asyncio.to_thread(desk.recorder.note_error, "state", error)
            try:
                await desk.follow_settings()
            except (CdeskError, cdesk_core.Error, OSError) as error:
                _log.error("the folder's settings stay as they were: %s", error)
                await asyncio.to_thread(desk.recorder.note_error, "settings", error)
            try:
                await desk.ensure_worker()
            except OSError as error:
                _log.error("the worker cannot be started: %s; events are kept in the log", error)
                await asyncio.to_thread(desk.recorder.note_error, "starting the worker", error)
            await asyncio.sleep(_LOOK_AFTER_WORKER_S)

    task = asyncio.get_running_loop().create_task(look_after())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def _source_system(client_name: str) -> str:
    """The stream's name for a client: how it calls itself, but for Claude Desktop."""
    return _KNOWN_CLIENTS.get(client_name, client_name[:200] or "unknown")


def _tool(spec: ToolSpec) -> Tool:
    return Tool(
        name=spec.name,
        title=spec.title,
        description=spec.description,
        input_schema=_slim(spec.arguments.model_json_schema()),
        annotations=ToolAnnotations(
            title=spec.title,
            read_only_hint=spec.is_read_only,
            destructive_hint=False,
            idempotent_hint=spec.is_idempotent,
            open_world_hint=False,
        ),
    )


def _slim(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema without titles and class docstrings, which only cost the model's context."""
    slim = {key: value for key, value in schema.items() if key not in ("title", "description")}
    slim["properties"] = {
        name: {key: value for key, value in entry.items() if key != "title"}
        for name, entry in schema.get("properties", {}).items()
    }
    return slim


def _success(result: dict[str, Any]) -> CallToolResult:
    return CallToolResult(
        content=[TextContent(text=orjson.dumps(result).decode())], structured_content=result
    )


def _failure(error: str) -> CallToolResult:
    return CallToolResult(
        content=[TextContent(text=error)], structured_content={"error": error}, is_error=True
    )


def _explain(spec: ToolSpec, invalid: ValidationError) -> str:
    """Which arguments are wrong and how, without their values and without unknown names."""
    problems: list[str] = []
    unknown = 0
    for error in invalid.errors(include_url=False, include_input=False, include_context=False):
        if error["type"] == "extra_forbidden":
            unknown += 1  # its name is the caller's text, which may hold anything
            continue
        place = ".".join(str(part)[:60] for part in error["loc"]) or "arguments"
        problems.append(f"{place}: {error['msg']}")
    if unknown:
        problems.append(f"{unknown} unknown {'argument' if unknown == 1 else 'arguments'}")
    names = ", ".join(spec.arguments.model_fields)
    return f"{'; '.join(problems[-5:])}; {spec.name} takes {names}"
