"""MCP over stdin and stdout with one reader thread.

The SDK's own transport hops to a worker thread for every line and every write, which is most of a
call's time; here one thread reads, the event loop's thread writes and never blocks in it.

Invariants: while serving, descriptor 0 is the null device and 1 is stderr, so that a stray print of
a library can never corrupt the wire; end of input ends the session; every request with an id gets
an answer, the protocol's parse error if nothing else; no line is held beyond
`MAX_MESSAGE_BYTES`; of a client that sends and does not read no more is held than
`pressure` and `_READ_AHEAD_BYTES` allow, and the rest waits in its pipe.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import threading
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from functools import partial
from typing import Final, NamedTuple, TypeAlias

import anyio
import mcp_types
from mcp.shared._context_streams import (
    ContextReceiveStream,
    ContextSendStream,
    create_context_streams,
)
from mcp.shared.message import ServerMessageMetadata, SessionMessage
from pydantic import ValidationError

from cdesk.server.pressure import MAX_UNANSWERED, Unanswered
from cdesk.server.writing import LineWriter

_READ_BYTES: Final = 1 << 16
_READ_AHEAD_BYTES: Final = 1 << 20
_LINE_COST_BYTES: Final = 64
"""What a line costs in memory besides its text."""

MAX_MESSAGE_BYTES: Final = 4_000_000
"""The longest line that is read: four times the longest event."""

_ID: Final = re.compile(rb'"id"\s*:\s*(-?\d{1,18}|"[^"\\]{1,200}")')
_END_BYTES: Final = 300
_LAST_ID: Final = re.compile(_ID.pattern + rb"\s*\}\s*$")

Incoming: TypeAlias = ContextReceiveStream[SessionMessage | Exception]
Outgoing: TypeAlias = ContextSendStream[SessionMessage]


@asynccontextmanager
async def serve_stdio() -> AsyncIterator[tuple[Incoming, Outgoing]]:
    """Takes over stdin and stdout and yields the streams the SDK's server runs on."""
    wire_in, wire_out = _take_standard_streams()
    lines = _LineReader(wire_in, asyncio.get_running_loop())
    to_server, incoming = create_context_streams[SessionMessage | Exception](0)
    # an answer never waits for room here: its request holds a place until it is written
    outgoing, from_server = create_context_streams[SessionMessage](MAX_UNANSWERED)
    writer = LineWriter(wire_out)
    talk = _Talk(lines, writer)
    with closing(writer):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(talk.hear, to_server)
            tasks.start_soon(talk.answer, from_server)
            with closing(lines):
                yield incoming, outgoing


class _Talk:
    """What goes on between the client's lines and the server's streams."""

    def __init__(self, lines: _LineReader, writer: LineWriter) -> None:
        self._lines = lines
        self._writer = writer
        self._unanswered = Unanswered()

    async def hear(self, to_server: ContextSendStream[SessionMessage | Exception]) -> None:
        """Passes messages on until the client ends; answers what is none."""
        async with to_server:
            async for line in self._lines:
                try:
                    message = _message(line)
                except _Unreadable as unreadable:
                    if unreadable.answer is not None:
                        await self._writer.write(_line(unreadable.answer))
                    continue
                metadata = None
                if isinstance(message, mcp_types.JSONRPCRequest):
                    await self._unanswered.room()
                    self._unanswered.add(message.id, len(line))
                    metadata = ServerMessageMetadata(
                        on_request_unanswered=partial(self._settle, message.id)
                    )
                await to_server.send(SessionMessage(message, metadata))

    async def answer(self, from_server: ContextReceiveStream[SessionMessage]) -> None:
        """Writes what the server says until it ends, or until nobody reads any more."""
        try:
            async with from_server:
                async for item in from_server:
                    if not await self._writer.write(_line(item.message)):
                        return  # the client is gone; end of input follows
                    if isinstance(
                        item.message, (mcp_types.JSONRPCResponse, mcp_types.JSONRPCError)
                    ):
                        await self._settle(item.message.id)
        finally:
            self._unanswered.lift()

    async def _settle(self, request_id: mcp_types.RequestId | None) -> None:
        if request_id is not None:
            self._unanswered.settle(request_id)


def _take_standard_streams() -> tuple[int, int]:
    wire_in, wire_out = os.dup(0), os.dup(1)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    os.dup2(2, 1)
    return wire_in, wire_out


class _Unreadable(Exception):
    """A line that is no message, and the answer to it, if it asks for one."""

    def __init__(self, answer: mcp_types.JSONRPCError | None) -> None:
        super().__init__()
        self.answer = answer


class _TooLong(NamedTuple):
    """What is kept of a line that is longer than `MAX_MESSAGE_BYTES`: both its ends."""

    head: bytes
    tail: bytes

    def request_id(self) -> object:
        """The request's id, which stands before `params` or at the very end."""
        head = self.head.partition(b'"params"')[0]
        identified = _ID.search(head) or _LAST_ID.search(self.tail)
        return json.loads(identified[1]) if identified else None


class _GrowingLine:
    """A line whose end has not come yet; never holds more than the longest line and a read."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._held_bytes = 0
        self._is_too_long = False

    def add(self, piece: bytes) -> None:
        """Adds what was read of it."""
        self._pieces.append(piece)
        self._held_bytes += len(piece)
        if self._is_too_long or self._held_bytes > MAX_MESSAGE_BYTES:
            held = b"".join(self._pieces)
            self._pieces = [held[:_END_BYTES], held[_END_BYTES:][-_END_BYTES:]]
            self._is_too_long = True

    def take(self) -> bytes | _TooLong:
        """The line, whose end has come; the next one begins empty."""
        # the pieces of a long line are joined once, when its end is there
        line: bytes | _TooLong = b"".join(self._pieces)
        if self._is_too_long:
            line = _TooLong(self._pieces[0], self._pieces[1])
        self._pieces, self._held_bytes, self._is_too_long = [], 0, False
        return line


def _message(line: bytes | _TooLong) -> mcp_types.JSONRPCMessage:
    """The message of a line.

    Half a character, as JavaScript sends it where it cut a text, becomes the character that stands
    for none, U+FFFD: any other encoder would have sent that.

    Raises:
        _Unreadable: it is none.
    """
    if isinstance(line, _TooLong):
        raise _Unreadable(
            _refusal(
                line.request_id(),
                f"the message is longer than {MAX_MESSAGE_BYTES:,} bytes, the longest that is "
                "read; nothing was done: send less, or store it elsewhere and log a link",
            )
        )
    try:
        return mcp_types.jsonrpc_message_adapter.validate_json(line, by_name=False)
    except ValidationError:
        pass
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        identified = _ID.search(line)
        raise _Unreadable(_refusal(json.loads(identified[1]) if identified else None)) from None
    mended = json.dumps(found, ensure_ascii=False).encode("utf-16", "surrogatepass")
    try:
        return mcp_types.jsonrpc_message_adapter.validate_json(
            mended.decode("utf-16", "replace"), by_name=False
        )
    except ValidationError:
        is_notification = isinstance(found, dict) and "method" in found and "id" not in found
        request_id = found.get("id") if isinstance(found, dict) else None
        raise _Unreadable(None if is_notification else _refusal(request_id)) from None


_NO_MESSAGE: Final = (
    "not a message of this protocol: one JSON object in UTF-8 on one line, nested less than 200 "
    "levels; nothing was done"
)


def _refusal(request_id: object, reason: str = _NO_MESSAGE) -> mcp_types.JSONRPCError:
    known = request_id if isinstance(request_id, (str, int)) else None
    return mcp_types.JSONRPCError(
        jsonrpc="2.0",
        id=None if isinstance(known, bool) else known,
        error=mcp_types.ErrorData(code=mcp_types.PARSE_ERROR, message=reason),
    )


def _line(message: mcp_types.JSONRPCMessage) -> bytes:
    return message.model_dump_json(by_alias=True, exclude_unset=True).encode()


class _LineReader:
    """The lines of a descriptor as an async iterator, read by one daemon thread.

    The thread reads ahead of whoever iterates by `_READ_AHEAD_BYTES` and one line at most.
    """

    def __init__(self, descriptor: int, loop: asyncio.AbstractEventLoop) -> None:
        self._descriptor = descriptor
        self._loop = loop
        self._lines: deque[bytes | _TooLong] = deque()
        self._ahead_bytes = 0
        self._room = threading.Condition()
        """Guards `_ahead_bytes` and `_is_closed`, and tells the thread of a change."""
        self._is_closed = False
        self._has_ended = False
        self._wake = asyncio.Event()
        threading.Thread(target=self._read, name="stdin", daemon=True).start()

    def close(self) -> None:
        """Nobody iterates any more: the thread ends with what it is at."""
        with self._room:
            self._is_closed = True
            self._room.notify()

    def _read(self) -> None:
        line = _GrowingLine()
        while self._waits_for_room():
            try:
                chunk = os.read(self._descriptor, _READ_BYTES)
            except OSError:
                chunk = b""
            if not chunk:
                self._has_ended = True
            first, *others = chunk.split(b"\n")
            line.add(first)
            if others:
                complete = [line.take(), *others[:-1]]
                line.add(others[-1])
                self._take_in(
                    [each for each in complete if isinstance(each, _TooLong) or each.strip()]
                )
            if (others or self._has_ended) and not self._notify():
                return
            if self._has_ended:
                return

    def _waits_for_room(self) -> bool:
        """Returns when there is room; `False` when nobody needs any more."""
        with self._room:
            while self._ahead_bytes > _READ_AHEAD_BYTES and not self._is_closed:
                self._room.wait()
            return not self._is_closed

    def _take_in(self, lines: list[bytes | _TooLong]) -> None:
        with self._room:
            self._ahead_bytes += sum(map(_cost, lines))
        self._lines.extend(lines)

    def _notify(self) -> bool:
        try:
            self._loop.call_soon_threadsafe(self._wake.set)
        except RuntimeError:  # the loop is closed: nobody reads any more
            return False
        return True

    def __aiter__(self) -> _LineReader:
        return self

    async def __anext__(self) -> bytes | _TooLong:
        while not self._lines:
            if self._has_ended:
                raise StopAsyncIteration
            self._wake.clear()
            if not self._lines and not self._has_ended:
                await self._wake.wait()
        line = self._lines.popleft()
        with self._room:
            self._ahead_bytes -= _cost(line)
            self._room.notify()
        return line


def _cost(line: bytes | _TooLong) -> int:
    return _LINE_COST_BYTES + (2 * _END_BYTES if isinstance(line, _TooLong) else len(line))
