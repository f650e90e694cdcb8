"""A server whose state store another program keeps locked: whoever needs it waits, and nobody
else."""

from __future__ import annotations

import asyncio
import json
import signal
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from mcp_types import CallToolRequestParams, CallToolResult

from cdesk import state
from cdesk.config import Settings
from cdesk.errors import StateError
from cdesk.folder import Folder
from cdesk.query.ticket import Ticket
from cdesk.seat import Seat
from cdesk.server import app
from cdesk.server.desk import Desk, open_desk
from cdesk.server.tools import TOOLS
from cdesk.state import State
from tests.e2e.talk import make_settings, server
from tests.server.test_told import CONTEXT
from tests.server.test_wire import Wire, logged

QUESTION = {"template": "health", "params": {}}
EVENT = {"activity": "cdesk.user_asked"}


@contextmanager
def locked(path: Path) -> Iterator[Callable[[], object]]:
    """The store as a program that writes keeps it; the block is given what ends that."""
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield lambda: other.execute("ROLLBACK")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return make_settings(tmp_path)


def call(request_id: int, tool: str, arguments: dict[str, Any]) -> bytes:
    params = {"name": tool, "arguments": arguments}
    request = {"jsonrpc": "2.0", "id": request_id, "method": "tools/call", "params": params}
    return json.dumps(request).encode()


def questions(path: Path) -> int:
    with closing(sqlite3.connect(path)) as store:
        return int(store.execute("SELECT count(*) FROM tickets").fetchone()[0])


def submits(desk: Desk) -> Callable[[], Any]:
    """What stores a question."""
    return lambda: desk.with_seat(lambda seat: seat.queries.submit("health", {}))


@pytest.mark.parametrize("tool", ["submit_query", "get_context"])
def test_an_event_is_acknowledged_while_a_call_waits_for_the_store(
    settings: Settings, tool: str
) -> None:
    """It was answered after the five seconds that the question waited."""
    wire = Wire(settings.data_dir)
    with locked(settings.state_path) as release:
        wire.send(call(1, tool, QUESTION if tool == "submit_query" else {}))
        for number in range(2, 12):
            wire.send(call(number, "log_event", EVENT))
        answers = [wire.answer() for _ in range(10)]
        assert {answer["id"] for answer in answers} == set(range(2, 12))
        assert all("activity_id" in one["result"]["structuredContent"] for one in answers)
        release()
        waited = wire.answer()
    wire.end()
    assert waited["id"] == 1
    assert not waited["result"]["isError"], waited


def test_the_sdks_client_is_acknowledged_its_event_while_its_question_waits(
    settings: Settings,
) -> None:
    async def converse() -> None:
        async with server(settings) as client:
            await client.list_tools()
            with locked(settings.state_path) as release:
                asking = asyncio.create_task(client.call_tool("submit_query", QUESTION))
                for _ in range(3):  # the question is on its way before the second
                    event = await client.call_tool("log_event", EVENT)
                    assert not event.is_error and not asking.done()
                release()
                ticket = await asking
                assert not ticket.is_error, ticket

    asyncio.run(converse())


def test_a_question_whose_store_stays_locked_is_told_so_and_left_no_ticket(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(state, "_BUSY_TIMEOUT_S", 0.05)

    async def converse(desk: Desk) -> list[CallToolResult]:
        session = app.Session(desk)
        asked = CallToolRequestParams(name="submit_query", arguments=QUESTION)
        said = CallToolRequestParams(name="log_event", arguments=EVENT)
        calls = [session.call_tool(CONTEXT, params) for params in (asked, said, asked)]
        results = await asyncio.gather(*calls)
        await session.end()
        return results

    with open_desk(settings) as desk, locked(settings.state_path):
        first, event, second = asyncio.run(converse(desk))
    busy = f"{settings.state_path}: another program holds a lock on it; close it there"
    assert first.structured_content == second.structured_content == {"error": busy}
    assert not event.is_error
    assert questions(settings.state_path) == 0


ARGUMENTS: dict[str, dict[str, Any]] = {
    "get_context": {},
    "submit_query": QUESTION,
    "get_result": {"ticket_id": "TICKET", "wait_s": 0.0},
    "cancel_query": {"ticket_id": "TICKET"},
    "log_event": EVENT,
    "log_insight": {
        "subject": "a",
        "metric": "b",
        "value": 1,
        "provenance_query_hash": "0" * 16,
    },
    "list_templates": {},
}
NEED_NO_STORE = {"log_event", "log_insight", "list_templates"}


@pytest.mark.parametrize("tool", [spec.name for spec in TOOLS])
def test_no_tool_uses_the_store_in_the_thread_of_the_loop(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, tool: str
) -> None:
    threads: list[threading.Thread] = []
    follow = State.follow

    def seen(self: State) -> bool:
        threads.append(threading.current_thread())
        return follow(self)

    async def converse(desk: Desk) -> None:
        session = app.Session(desk)
        ticket: Ticket = await submits(desk)()
        monkeypatch.setattr(State, "follow", seen)
        named = {
            name: ticket.ticket_id if value == "TICKET" else value
            for name, value in ARGUMENTS[tool].items()
        }
        params = CallToolRequestParams(name=tool, arguments=named)
        answer = await session.call_tool(CONTEXT, params)
        assert not answer.is_error, answer
        await session.end()

    with open_desk(settings) as desk:
        asyncio.run(converse(desk))
    assert threading.current_thread() not in threads
    assert len(set(threads)) == (tool not in NEED_NO_STORE)


def test_a_call_on_the_store_from_the_loop_fails_the_first_time_it_is_tried(
    settings: Settings,
) -> None:
    with open_desk(settings) as desk:
        seat = asyncio.run(desk.with_seat(lambda seat: seat))
        with pytest.raises(StateError) as refused:
            seat.queries.change_token()
    assert isinstance(refused.value.__cause__, sqlite3.ProgrammingError)
    assert "can only be used in that same thread" in str(refused.value.__cause__)


def test_what_is_asked_of_the_seat_is_done_in_its_order(settings: Settings) -> None:
    done: list[int] = []

    async def ask(desk: Desk) -> None:
        def work(number: int) -> Callable[[Seat], None]:
            return lambda _: done.append(number)

        await asyncio.gather(*(desk.with_seat(work(number)) for number in range(200)))

    with open_desk(settings) as desk:
        asyncio.run(ask(desk))
    assert done == list(range(200))


def test_no_call_waits_for_a_look_at_the_folders_settings(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which may wait ten seconds for a lock file, and then read every template."""
    begun, go_on = threading.Event(), threading.Event()

    def follow_settings(_: Folder) -> bool:
        begun.set()
        return go_on.wait(10)

    async def converse(desk: Desk) -> None:
        following = asyncio.create_task(desk.follow_settings())
        await asyncio.to_thread(begun.wait)
        ticket: Ticket = await asyncio.wait_for(submits(desk)(), 5)
        assert not following.done()
        go_on.set()
        assert ticket.template == "health" and await following

    monkeypatch.setattr(Folder, "follow_settings", follow_settings)
    with open_desk(settings) as desk:
        asyncio.run(converse(desk))


@pytest.mark.parametrize("error", [OSError("no space"), KeyboardInterrupt()])
def test_a_folder_that_cannot_be_closed_says_so(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    close = Folder.close

    def fails(self: Folder) -> None:
        close(self)
        raise error

    monkeypatch.setattr(Folder, "close", fails)
    with pytest.raises(type(error)) as raised, open_desk(settings):
        pass
    assert raised.value is error


@pytest.mark.parametrize("has_begun", [True, False])
def test_a_question_that_is_cancelled_is_stored_whole_or_not_at_all(
    settings: Settings, has_begun: bool
) -> None:
    """Once it is being stored nothing holds it up; before its turn it is as if never asked."""
    begun, go_on = threading.Event(), threading.Event()

    def submit(seat: Seat) -> Ticket:
        begun.set()
        go_on.wait()
        return seat.queries.submit("health", {})

    async def cancel(desk: Desk) -> None:
        first = asyncio.create_task(desk.with_seat(submit))
        second = asyncio.create_task(submits(desk)())
        await asyncio.to_thread(begun.wait)
        dropped, kept = (first, second) if has_begun else (second, first)
        dropped.cancel()
        with pytest.raises(asyncio.CancelledError):
            await dropped
        go_on.set()
        await kept

    with open_desk(settings) as desk:
        asyncio.run(cancel(desk))
    assert questions(settings.state_path) == (2 if has_begun else 1)


def test_an_error_of_the_seat_comes_as_it_is(settings: Settings) -> None:
    met = StateError("as it is")

    def fails(_: Seat) -> None:
        raise met

    with open_desk(settings) as desk, pytest.raises(StateError) as raised:
        asyncio.run(desk.with_seat(fails))
    assert raised.value is met


def test_what_cannot_be_opened_fails_as_it_does_for_the_command_line(settings: Settings) -> None:
    settings.create_folders()
    settings.state_path.write_bytes(b"no database" * 100)
    with pytest.raises(StateError, match="is damaged"), open_desk(settings):
        pass
    assert not [one for one in threading.enumerate() if one.name.startswith("state")]
    settings.state_path.unlink()
    with open_desk(replace(settings, customer="other")):
        pass


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.slow
def test_a_server_told_to_end_while_a_call_waits_for_the_store_leaves_within_its_patience(
    settings: Settings, number: signal.Signals
) -> None:
    wire = Wire(settings.data_dir)
    with locked(settings.state_path):
        for request_id in range(1, 11):  # one after the other, they would wait for 50 s
            wire.send(call(request_id, "submit_query", QUESTION))
        wire.send(call(11, "log_event", EVENT))
        assert wire.answer()["id"] == 11
        assert wire.signalled(number) == 0
    wire.end()
    told = [line["activity"] for line in logged(settings.data_dir)]
    assert "cdesk.user_asked" in told
    assert told[-1] == "cdesk.session_ended"
    assert questions(settings.state_path) == 0
