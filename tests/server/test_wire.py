"""What goes over the wire when a client sends what no client should."""

from __future__ import annotations

import json
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from cdesk.config import inherited_environment
from tests.e2e.talk import make_settings

PROTOCOL = "2025-11-25"


class Wire:
    """A server and its pipes; nothing between them and the test."""

    def __init__(self, folder: Path, client_name: str = "test") -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "cdesk", "serve"],
            env=inherited_environment(make_settings(folder)),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        client = {"name": client_name, "version": "1"}
        start = {"protocolVersion": PROTOCOL, "capabilities": {}, "clientInfo": client}
        self.welcome = self.ask({"id": 0, "method": "initialize", "params": start})["result"]
        self.send(json.dumps({"jsonrpc": "2.0", "method": "notifications/initialized"}).encode())

    def send(self, line: bytes) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line + b"\n")
        self._process.stdin.flush()

    def answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return answer

    def ask(self, message: dict[str, Any]) -> dict[str, Any]:
        self.send(json.dumps({"jsonrpc": "2.0"} | message).encode())
        return self.answer()

    def call(self, name: str, **arguments: Any) -> dict[str, Any]:
        """The result of a tool."""
        params = {"name": name, "arguments": arguments}
        result: dict[str, Any] = self.ask({"id": 1, "method": "tools/call", "params": params})[
            "result"
        ]
        return result

    def peak_bytes(self) -> int:
        """The most memory the server has had."""
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) * 1024

    @contextmanager
    def full_disk(self) -> Iterator[None]:
        """No file of the server grows meanwhile, as on a full disk."""
        pid = self._process.pid
        _, most = resource.prlimit(pid, resource.RLIMIT_FSIZE)
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, most))
        try:
            yield
        finally:
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (most, most))

    def signalled(self, number: signal.Signals) -> int:
        """The exit code of the server once this signal has ended it."""
        self._process.send_signal(number)
        return self._process.wait(timeout=30)

    def end_input(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()

    def stop_reading(self) -> None:
        assert self._process.stdout is not None
        self._process.stdout.close()

    def left(self, timeout_s: float = 30) -> int:
        """The exit code of the server once it has left by itself."""
        return self._process.wait(timeout=timeout_s)

    def end(self) -> None:
        self.end_input()
        self.left()
        self.stop_reading()


def logged(folder: Path) -> list[dict[str, Any]]:
    """Every event in the log of a folder, in its order, but for those of a machine that is busy."""
    return [
        json.loads(line)
        for segment in sorted((folder / "queue").glob("*.ndjson"))
        for line in segment.read_bytes().splitlines()
        if line.strip(b"\0") and b'"_sealed"' not in line and b"latency_exceeded" not in line
    ]


@pytest.fixture
def wire(tmp_path: Path) -> Iterator[Wire]:
    opened = Wire(tmp_path)
    yield opened
    opened.end()


@pytest.fixture(scope="module")
def hardened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Wire]:
    """One server for every line that a server must survive."""
    opened = Wire(tmp_path_factory.mktemp("hardened"))
    yield opened
    opened.end()


def event(request_id: int, payload: str) -> bytes:
    """A call of log_event with a payload as it stands here."""
    arguments = f'{{"activity":"cdesk.user_asked","feature_json":{payload}}}'
    call = f'{{"name":"log_event","arguments":{arguments}}}'
    return f'{{"jsonrpc":"2.0","id":{request_id},"method":"tools/call","params":{call}}}'.encode()


def test_half_a_character_is_no_reason_to_lose_an_event(hardened: Wire) -> None:
    hardened.send(event(7, '{"text":"half an emoji \\ud83d"}'))
    answer = hardened.answer()
    assert answer["id"] == 7
    assert not answer["result"]["isError"], answer
    hardened.send(event(8, '{"text":"a whole one \\ud83d\\ude00"}'))
    assert hardened.answer()["id"] == 8


@pytest.mark.parametrize("levels", [300, 20_000])
def test_what_is_nested_too_deeply_gets_an_answer_with_its_id(hardened: Wire, levels: int) -> None:
    hardened.send(event(9, '{"deep":' + "[" * levels + "]" * levels + "}"))
    answer = hardened.answer()
    assert (answer["id"], answer["error"]["code"]) == (9, -32700)
    assert "nested less than 200 levels" in answer["error"]["message"]


@pytest.mark.parametrize(
    ("line", "request_id", "code"),
    [
        (b'{"jsonrpc":"2.0","id":11,"method":"tools/call","params":{', 11, -32700),
        (b'{"jsonrpc":"2.0","id":"text","method":"tools/list"', "text", -32700),
        (b'{"jsonrpc":"2.0","id":13,"method":"tools/list","params":{"a":"\xff"}}', 13, -32700),
        (b'{"method":"x","params":{"id":14,"a":"\xff"},"jsonrpc":"2.0","id":15}', 15, -32700),
        (b"no JSON at all", None, -32700),
        (b'{"jsonrpc":"2.0","id":12,"method":17}', 12, -32600),
        (b'{"jsonrpc":"2.0","id":1.5,"method":"ping"}', 1.5, -32600),
        (b'{"jsonrpc":"2.0","id":null,"method":"ping"}', None, -32600),
        (b"[1,2]", None, -32600),
    ],
)
def test_what_is_no_message_gets_the_error_of_the_protocol(
    hardened: Wire, line: bytes, request_id: object, code: int
) -> None:
    hardened.send(line)
    answer = hardened.answer()
    assert (answer["id"], answer["error"]["code"]) == (request_id, code)
    listed = hardened.ask({"id": 99, "method": "tools/list"})
    assert (listed["id"], len(listed["result"]["tools"])) == (99, 7), "and the session goes on"


def test_a_notification_that_is_none_is_not_answered(hardened: Wire) -> None:
    hardened.send(b'{"jsonrpc":"2.0","method":17}')
    assert hardened.ask({"id": 99, "method": "tools/list"})["id"] == 99


def test_a_tool_that_records_is_its_own_trace_and_its_failure_is_recorded(
    wire: Wire, tmp_path: Path
) -> None:
    """Three lines for each log_event made it the answer to which tools are used, and then one that
    failed made it a tool of which every call had failed."""
    wire.send(event(1, '{"chars":1}'))
    assert not wire.answer()["result"]["isError"]
    wire.send(event(2, '{"chars":"many"}'))
    assert wire.answer()["result"]["isError"]
    wire.ask(
        {"id": 3, "method": "tools/call", "params": {"name": "list_templates", "arguments": {}}}
    )
    wire.end()
    traced = [
        (line["activity"], line["feature_json"].get("tool", line["feature_json"].get("where")))
        for line in logged(tmp_path)
        if line["activity"].startswith(("cdesk.tool_", "cdesk.error_"))
    ]
    assert traced == [
        ("cdesk.error_encountered", "log_event"),
        ("cdesk.tool_called", "list_templates"),
        ("cdesk.tool_completed", "list_templates"),
    ]


def test_objects_and_numbers_may_come_as_texts_and_bounds_are_kept(wire: Wire) -> None:
    """Claude Desktop is known to send objects as JSON in a text."""

    def call(name: str, **arguments: Any) -> dict[str, Any]:
        answer = wire.ask(
            {"id": 1, "method": "tools/call", "params": {"name": name, "arguments": arguments}}
        )
        result: dict[str, Any] = answer["result"]
        assert not result["isError"], result
        told: dict[str, Any] = result["structuredContent"]
        return told

    assert call(
        "log_event",
        activity="cdesk.user_asked",
        feature_json='{"chars": 3}',
        revenue_impact="1.25",
    )["activity_id"]
    plain = call("submit_query", template="activity_statistics", params={"days": 30})
    for params in ('{"days": 30}', {"days": "30"}, {"days": 30.0}):
        told = call(
            "submit_query", template="activity_statistics", params=params, byte_cap="1000000000"
        )
        assert told["query_hash"] == plain["query_hash"]
    for max_bytes in (1, 10**9, "600"):
        assert call("get_context", max_bytes=max_bytes)
    assert call(
        "log_insight",
        subject="orders",
        metric="revenue_usd",
        value=1,
        provenance_query_hash=plain["query_hash"],
        filter='{"region": "EU"}',
        confidence="0.5",
    )["atom_id"]


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_session_ended_by_a_signal_is_recorded_as_ended(
    wire: Wire, tmp_path: Path, number: signal.Signals
) -> None:
    wire.send(event(1, '{"chars":1}'))
    wire.answer()
    assert wire.signalled(number) == 0
    assert [line["activity"] for line in logged(tmp_path)] == [
        "cdesk.session_started", "cdesk.user_asked", "cdesk.session_ended",
    ]  # fmt: skip


def test_every_event_of_a_session_carries_the_tag_of_the_session(
    wire: Wire, tmp_path: Path
) -> None:
    wire.send(event(1, '{"chars":1}'))
    wire.answer()
    wire.call("list_templates")
    wire.end()
    started, *others = logged(tmp_path)
    assert started["activity"] == "cdesk.session_started"
    assert started["query_tag"] == f"cdesk_{started['feature_json']['query_uuid'][:8]}"
    assert [line["query_tag"] for line in others] == [started["query_tag"]] * 4


@pytest.mark.slow
@pytest.mark.parametrize(
    ("client_name", "source_system"),
    [("claude-ai", "claude_desktop"), ("claude-code", "claude-code"), ("", "unknown")],
)
def test_the_source_system_is_the_client_that_spoke(
    tmp_path: Path, client_name: str, source_system: str
) -> None:
    wire = Wire(tmp_path, client_name)
    wire.send(event(1, '{"chars":1}'))
    assert not wire.answer()["result"]["isError"]
    wire.end()
    assert [line["source_system"] for line in logged(tmp_path)] == [source_system] * 3


def test_a_health_check_that_only_lists_tools_leaves_no_session(wire: Wire, tmp_path: Path) -> None:
    assert wire.ask({"id": 1, "method": "tools/list"})["result"]["tools"]
    wire.end()
    assert logged(tmp_path) == []


def test_a_client_is_told_what_the_server_is_for_when_it_connects(wire: Wire) -> None:
    instructions = wire.welcome["instructions"]
    assert len(instructions) < 400
    for tool in ("get_context", "submit_query", "get_result", "log_insight", "log_event"):
        assert tool in instructions


def test_unknown_argument_names_are_counted_and_never_repeated(wire: Wire) -> None:
    result = wire.call("list_templates", **{"\x1b]0;owned\x07": 1, "sk-secret": 2})
    assert result["isError"]
    assert result["structuredContent"]["error"] == (
        "2 unknown arguments; list_templates takes search"
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("start", "end"),
    [
        (b'{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"id":8,"x":"', b'"}}'),
        (b'{"method":"tools/call","params":{"id":8,"x":"', b'"},"jsonrpc":"2.0","id":7}'),
    ],
)
def test_a_line_of_any_length_is_refused_by_its_id_and_not_held(
    wire: Wire, start: bytes, end: bytes
) -> None:
    before = wire.peak_bytes()
    wire.send(start + b"x" * 100_000_000 + end)
    answer = wire.answer()
    assert (answer["id"], answer["error"]["code"]) == (7, -32700)
    assert "longer than 4,000,000 bytes" in answer["error"]["message"]
    assert wire.peak_bytes() - before < 20_000_000
    assert wire.ask({"id": 99, "method": "tools/list"})["id"] == 99


def test_a_failed_write_says_what_is_known_and_the_same_call_records_it_once(
    wire: Wire, tmp_path: Path
) -> None:
    wire.call("log_event", activity="cdesk.user_asked")
    with wire.full_disk():
        failed = wire.call("log_event", activity="cdesk.claude_responded")
    assert failed["isError"]
    error = failed["structuredContent"]["error"]
    assert "File too large" in error and "nobody knows yet whether" in error
    assert "same call again" in error and "recorded once" in error
    assert str(tmp_path) not in error
    failed_at = datetime.now(UTC)
    recorded = wire.call("log_event", activity="cdesk.claude_responded")
    wire.end()
    (event,) = [one for one in logged(tmp_path) if one["activity"] == "cdesk.claude_responded"]
    assert event["activity_id"] == recorded["structuredContent"]["activity_id"]
    assert datetime.fromisoformat(event["ts"]) < failed_at, "it happened when it was first said"


@pytest.mark.slow
@pytest.mark.parametrize("closed", ["<&-", ">&-", "<&- >&- 2>&-"])
def test_a_server_whose_descriptors_are_closed_writes_into_no_file(
    tmp_path: Path, closed: str
) -> None:
    settings = make_settings(tmp_path / "data")
    request = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/list"})
    ended = subprocess.run(
        ["/bin/sh", "-c", f'exec "$0" -m cdesk serve {closed}', sys.executable],
        env=inherited_environment(settings),
        input=request.encode() if "<&-" not in closed else None,
        stderr=subprocess.PIPE,
        check=False,
        timeout=30,
    )
    assert ended.returncode == 78
    assert "2>&-" in closed or b"one of them is closed" in ended.stderr
    for path in (tmp_path / "data").rglob("*"):
        assert not path.is_file() or b"jsonrpc" not in path.read_bytes(), path
