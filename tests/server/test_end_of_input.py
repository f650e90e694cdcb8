"""What a client has sent when its input ends, and how a server leaves then."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from cdesk import presence
from cdesk.config import inherited_environment
from cdesk.server import stdio
from tests.e2e.talk import make_settings

from .test_slow_reader import DeafClient, listing, no_message
from .test_wire import PROTOCOL, Wire, event, logged

pytestmark = pytest.mark.slow

START = {
    "protocolVersion": PROTOCOL,
    "capabilities": {},
    "clientInfo": {"name": "test", "version": "1"},
}


def request(request_id: int | str, method: str, params: dict[str, Any]) -> bytes:
    """A request as a line without its end."""
    message = {"jsonrpc": "2.0", "id": request_id, "method": method, "params": params}
    return json.dumps(message).encode()


def call(request_id: int | str, name: str, **arguments: Any) -> bytes:
    """A request that calls a tool."""
    return request(request_id, "tools/call", {"name": name, "arguments": arguments})


def answers_to(folder: Path, *lines: bytes) -> dict[Any, dict[str, Any]]:
    """What a server answers, by id, to a client that says all it has to say and ends its input."""
    initialized = json.dumps({"jsonrpc": "2.0", "method": "notifications/initialized"}).encode()
    ended = subprocess.run(
        [sys.executable, "-m", "cdesk", "serve"],
        env=inherited_environment(make_settings(folder)),
        input=b"\n".join([request(0, "initialize", START), initialized, *lines]),
        stdout=subprocess.PIPE,
        check=True,
        timeout=60,
    )
    told = [json.loads(line) for line in ended.stdout.splitlines()]
    answers = {answer["id"]: answer for answer in told}
    assert len(answers) == len(told), "one answer for each"
    return answers


@pytest.fixture
def deaf(tmp_path: Path) -> Iterator[DeafClient]:
    opened = DeafClient(tmp_path)
    yield opened
    opened.end()


def test_every_call_before_the_end_of_input_is_answered_with_what_became_of_it(
    tmp_path: Path,
) -> None:
    """Some were told that the connection was closed, and were recorded: an invitation to double."""
    answers = answers_to(tmp_path, *(event(number, '{"chars":1}') for number in range(1, 301)))
    assert set(answers) == set(range(301))
    said = {
        answer["result"]["structuredContent"]["activity_id"]
        for answer in list(answers.values())[1:]
    }
    kept = [
        line["activity_id"] for line in logged(tmp_path) if line["activity"] == "cdesk.user_asked"
    ]
    assert len(kept) == 300 and said == set(kept)
    assert logged(tmp_path)[-1]["activity"] == "cdesk.session_ended"


def test_the_last_line_needs_no_line_end(tmp_path: Path) -> None:
    answers = answers_to(tmp_path, request("last", "ping", {}))
    assert answers["last"]["result"] == {}


def test_a_wait_that_is_going_on_when_the_input_ends_is_waited_out(tmp_path: Path) -> None:
    with presence.take_work(tmp_path):  # so that nobody works
        wire = Wire(tmp_path)
        ticket = wire.call("submit_query", template="health")["structuredContent"]["ticket_id"]
        wire.send(call("waits", "get_result", ticket_id=ticket, wait_s=1))
        wire.end_input()
        answer = wire.answer()
        assert answer["id"] == "waits"
        assert answer["result"]["structuredContent"]["state"] == "queued"
        assert wire.left() == 0
        wire.stop_reading()


def test_nothing_is_waited_for_when_nobody_can_take_the_answer(tmp_path: Path) -> None:
    with presence.take_work(tmp_path):
        wire = Wire(tmp_path)
        ticket = wire.call("submit_query", template="health")["structuredContent"]["ticket_id"]
        wire.send(call("waits", "get_result", ticket_id=ticket, wait_s=20))
        wire.stop_reading()
        wire.end_input()
        assert wire.left(timeout_s=15) == 0
    assert logged(tmp_path)[-1]["activity"] == "cdesk.session_ended"


@pytest.mark.parametrize("line", [listing, no_message])
@pytest.mark.parametrize("count", [500, pytest.param(10_000, marks=pytest.mark.proof)])
def test_the_end_of_input_ends_a_server_whose_client_does_not_read(
    deaf: DeafClient, tmp_path: Path, line: Any, count: int
) -> None:
    assert not deaf.call("log_event", activity="cdesk.user_asked")["isError"]
    deaf.start_sending(line(number, 10) for number in range(count))
    deaf.until_the_server_stands_still()
    deaf.hang_up()
    assert deaf.left() == 0
    assert logged(tmp_path)[-1]["activity"] == "cdesk.session_ended"


def test_a_client_that_takes_its_answers_slowly_is_not_left_while_it_takes_any(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 0.0
    writer: Any = SimpleNamespace(is_heard=True, is_waiting=True, taken_bytes=0)

    async def a_while(seconds: float) -> None:
        nonlocal now
        now += seconds
        writer.taken_bytes += now < 60

    async def left() -> bool:
        talk = stdio._Talk(cast("Any", SimpleNamespace(is_ended=True)), writer)
        loop = SimpleNamespace(time=lambda: now)
        waits = SimpleNamespace(sleep=a_while, get_running_loop=lambda: loop)
        with monkeypatch.context() as patch:
            patch.setattr(stdio, "asyncio", waits)
            await talk.leave_when_deaf()
        return talk.is_leaving

    assert asyncio.run(left())
    assert 59 < now - stdio.DEAF_S < 61


def test_a_stdin_that_does_not_block_is_waited_for(tmp_path: Path) -> None:
    """The server left with 0 at once, without a word."""
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    with ExitStack() as stack:
        server = stack.enter_context(
            subprocess.Popen(
                [sys.executable, "-m", "cdesk", "serve"],
                env=inherited_environment(make_settings(tmp_path)),
                stdin=reading,
                stdout=subprocess.PIPE,
            )
        )
        stack.callback(server.kill)
        os.close(reading)
        assert server.stdout is not None
        for number in range(3):
            os.write(writing, request(number, "ping", {}) + b"\n")
            assert json.loads(server.stdout.readline())["id"] == number
        os.close(writing)
        assert server.wait(timeout=30) == 0
