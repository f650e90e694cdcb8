"""A client that sends and does not read, over real pipes."""

from __future__ import annotations

import array
import asyncio
import fcntl
import itertools
import json
import os
import select
import signal
import socket
import termios
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from cdesk import presence
from cdesk.server.pressure import MAX_UNANSWERED, MAX_UNANSWERED_BYTES, Unanswered
from cdesk.server.reading import LineReader
from cdesk.server.writing import LineWriter

from .test_wire import Wire, logged

LOOKS = 50
"""How often in a row nothing must be going on before a server counts as standing still."""


class DeafClient(Wire):
    """Sends from a thread of its own, and reads only when it is told to."""

    _sender: threading.Thread | None = None
    _hang_up_pipe: tuple[int, ...] = ()

    def start_sending(self, lines: Iterator[bytes]) -> None:
        assert self._process.stdin is not None
        server = self._process.stdin.fileno()
        hangs_up, tells = os.pipe()
        self._hang_up_pipe = (hangs_up, tells)
        able = select.poll()
        able.register(server, select.POLLOUT)
        able.register(hangs_up, select.POLLIN)

        def send_all() -> None:
            for line in lines:
                rest = memoryview(line + b"\n")
                while rest:
                    if any(descriptor == hangs_up for descriptor, _ in able.poll()):
                        return
                    try:
                        rest = rest[os.write(server, rest[: select.PIPE_BUF]) :]
                    except BrokenPipeError:
                        return  # the server has ended

        self._sender = threading.Thread(target=send_all)
        self._sender.start()

    def hang_up(self) -> None:
        """Ends what the client sends, wherever it is at; it still does not read."""
        assert self._process.stdin is not None and self._sender is not None
        os.write(self._hang_up_pipe[1], b"x")
        self._sender.join()
        self._process.stdin.close()

    def until_the_server_stands_still(self) -> None:
        """Returns when it leaves its input alone, or has taken all of it."""
        looks, before = 0, -1
        assert self._sender is not None
        while self._sender.is_alive() and looks < LOOKS:
            waiting = self._bytes_in_its_input()
            looks = looks + 1 if waiting == before > 0 and self._is_asleep() else 0
            before = waiting
            os.sched_yield()

    def _bytes_in_its_input(self) -> int:
        assert self._process.stdin is not None
        count = array.array("i", [0])
        fcntl.ioctl(self._process.stdin, termios.FIONREAD, count)
        return count[0]

    def _is_asleep(self) -> bool:
        tasks = Path(f"/proc/{self._process.pid}/task").glob("*/stat")
        return all(task.read_text().rpartition(")")[2].split()[0] == "S" for task in tasks)

    def end(self) -> None:
        self._process.kill()
        if self._sender is not None:
            self._sender.join()
        for descriptor in self._hang_up_pipe:
            os.close(descriptor)
        assert self._process.stdin is not None and self._process.stdout is not None
        with suppress(BrokenPipeError):  # what was being sent is not taken any more
            self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait()


@pytest.fixture
def deaf(tmp_path: Path) -> Iterator[DeafClient]:
    opened = DeafClient(tmp_path)
    yield opened
    opened.end()


def listing(request_id: int, size: int) -> bytes:
    """A request of about so many bytes, whose answer is some kilobytes long."""
    request = {"jsonrpc": "2.0", "id": request_id, "method": "tools/list"}
    return json.dumps(request | {"params": {"_meta": {"x": "x" * size}}}).encode()


def no_message(request_id: int, size: int) -> bytes:
    """What gets the protocol's parse error."""
    return f'{{"jsonrpc":"2.0","id":{request_id},"method":17,"x":"{"x" * size}"}}'.encode()


SIGNALS = pytest.mark.parametrize(
    "number",
    [
        signal.SIGTERM,
        pytest.param(signal.SIGINT, marks=pytest.mark.proof),
        pytest.param(signal.SIGHUP, marks=pytest.mark.proof),
    ],
)


@pytest.mark.slow
@pytest.mark.parametrize("line", [listing, pytest.param(no_message, marks=pytest.mark.proof)])
def test_a_server_does_not_hold_what_a_client_sends_that_does_not_read(
    deaf: DeafClient, line: Callable[[int, int], bytes]
) -> None:
    count, size = 600, 500_000
    before = deaf.peak_bytes()
    deaf.start_sending(line(number, size) for number in range(count))
    deaf.until_the_server_stands_still()
    grown = deaf.peak_bytes() - before
    assert [deaf.answer()["id"] for _ in range(count)] == list(range(count)), "all, in their order"
    assert grown < 40_000_000
    assert deaf.peak_bytes() - before < 60_000_000


@pytest.mark.slow
@SIGNALS
@pytest.mark.parametrize("line", [listing, no_message])
def test_a_signal_ends_a_server_whose_client_does_not_read(
    deaf: DeafClient,
    tmp_path: Path,
    number: signal.Signals,
    line: Callable[[int, int], bytes],
) -> None:
    assert not deaf.call("log_event", activity="cdesk.user_asked")["isError"]
    deaf.start_sending(line(each, 10) for each in range(10_000))
    deaf.until_the_server_stands_still()
    assert deaf.signalled(number) == 0
    assert logged(tmp_path)[-1]["activity"] == "cdesk.session_ended"


@pytest.mark.slow
@SIGNALS
def test_a_signal_ends_a_server_while_requests_come(
    deaf: DeafClient, tmp_path: Path, number: signal.Signals
) -> None:
    """It failed with the SDK's traceback and the exit code 1."""
    assert not deaf.call("log_event", activity="cdesk.user_asked")["isError"]
    deaf.start_sending(listing(each, 20_000) for each in itertools.count())
    for each in range(100):
        assert deaf.answer()["id"] == each
    assert deaf.signalled(number) == 0
    assert logged(tmp_path)[-1]["activity"] == "cdesk.session_ended"


def test_a_signal_is_not_lost_while_the_loop_has_no_time_for_the_lines_that_come() -> None:
    """Each line woke the loop by the way that signals take too, which was full after 278."""

    async def signal_after_many_lines() -> bool:
        loop, met = asyncio.get_running_loop(), asyncio.Event()
        loop.add_signal_handler(signal.SIGUSR1, met.set)
        taken, sent = os.pipe()
        lines = LineReader(taken, loop)
        left = array.array("i", [0])
        for number in range(1_000):
            os.write(sent, b"%d\n" % number)
            while fcntl.ioctl(taken, termios.FIONREAD, left) or left[0]:
                os.sched_yield()  # the reader's thread takes each on its own, the loop stands
        signal.raise_signal(signal.SIGUSR1)
        await asyncio.wait_for(met.wait(), timeout=10)
        os.close(sent)
        seen = [line async for line in lines]
        os.close(taken)
        loop.remove_signal_handler(signal.SIGUSR1)
        return seen == [b"%d" % number for number in range(1_000)]

    assert asyncio.run(signal_after_many_lines())


def test_a_request_that_is_cancelled_gives_its_place_back(tmp_path: Path) -> None:
    cancelled = {"jsonrpc": "2.0", "method": "notifications/cancelled"}
    with (
        presence.take_work(tmp_path),
        ExitStack() as stack,
    ):  # so that nobody works, and every request waits
        wire = DeafClient(tmp_path)
        stack.callback(wire.end)
        ticket = wire.call("submit_query", template="health")["structuredContent"]["ticket_id"]
        arguments = {"name": "get_result", "arguments": {"ticket_id": ticket, "wait_s": 20}}
        for number in range(3 * MAX_UNANSWERED):
            call = {"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": arguments}
            wire.send(json.dumps(call).encode())
            wire.send(json.dumps(cancelled | {"params": {"requestId": number}}).encode())
        assert wire.ask({"id": "last", "method": "ping"})["id"] == "last"


def test_a_request_of_any_size_gets_a_place_when_no_other_holds_one() -> None:
    async def take_places() -> list[str]:
        order: list[str] = []
        unanswered = Unanswered()
        await unanswered.room()
        unanswered.add(1, 100 * MAX_UNANSWERED_BYTES)

        async def next_one() -> None:
            await unanswered.room()
            order.append("room")

        waiting = asyncio.create_task(next_one())
        await asyncio.wait([waiting], timeout=0)
        order.append("full")
        unanswered.settle("unknown")
        await asyncio.wait([waiting], timeout=0)
        order.append("still full")
        unanswered.settle(1)
        await waiting
        return order

    assert asyncio.run(take_places()) == ["full", "still full", "room"]


def test_requests_of_the_same_id_hold_a_place_each() -> None:
    async def take_places() -> None:
        unanswered = Unanswered()
        for _ in range(MAX_UNANSWERED):
            await unanswered.room()
            unanswered.add(1, 10)
        room = asyncio.ensure_future(unanswered.room())
        await asyncio.wait([room], timeout=0)
        assert not room.done()
        unanswered.settle(1)
        await room

    asyncio.run(take_places())


@pytest.mark.parametrize("kind", ["pipe", "socket"])
def test_lines_go_out_whole_and_in_order_while_the_loop_goes_on(kind: str) -> None:
    lines = [bytes([65 + number]) * 300_000 for number in range(4)]

    async def write_and_read() -> bytes:
        ends = os.pipe() if kind == "pipe" else (end.detach() for end in socket.socketpair())
        reading, writing = ends
        writer = LineWriter(writing)
        written = [asyncio.create_task(writer.write(line)) for line in lines]
        done, _ = await asyncio.wait(written, timeout=0)
        assert not done, "and yet the loop goes on"
        received = b""
        while len(received) < sum(map(len, lines)) + len(lines):
            received += await asyncio.to_thread(os.read, reading, 1 << 16)
        assert await asyncio.gather(*written) == [True] * len(lines)
        os.close(reading)
        assert not await writer.write(b"nobody reads this")
        writer.close()
        return received

    assert asyncio.run(write_and_read()).splitlines() == lines


def test_nothing_follows_a_line_that_was_given_up_on_its_way() -> None:
    async def give_up() -> bytes:
        reading, writing = os.pipe()
        writer = LineWriter(writing)
        written = asyncio.create_task(writer.write(b"x" * 300_000))
        await asyncio.wait([written], timeout=0)
        written.cancel()
        await asyncio.wait([written])
        await asyncio.to_thread(os.read, reading, 1 << 16)
        assert not await writer.write(b"another")
        writer.close()
        rest = await asyncio.to_thread(os.read, reading, 1 << 20)
        os.close(reading)
        return rest

    assert b"another" not in asyncio.run(give_up())
