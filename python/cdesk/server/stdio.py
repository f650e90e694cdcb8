"""MCP over stdin and stdout with one reader thread.

The SDK's own transport hops to a worker thread for every line and every write, which is most of a
call's time; here one thread reads, the event loop's thread writes and never blocks in it.

Invariants: while serving, descriptor 0 is the null device and 1 is stderr, so that a stray print of
a library can never corrupt the wire; every request with an id gets an answer, the protocol's error
if nothing else; the end of input ends the session once what was read is answered, or once the
client takes no answer for `DEAF_S`; however it ends, the SDK's server sees the end of its input,
because it fails when it is cancelled while a message comes; of a client that sends and does not
read no more is held than `pressure` and `reading` allow, and the rest waits in its pipe.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from functools import partial
from typing import Final, NamedTuple, TypeAlias

import anyio
import mcp_types
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from mcp.shared.message import ServerMessageMetadata, SessionMessage

from cdesk.server.message import Unreadable, message_of
from cdesk.server.pressure import MAX_UNANSWERED, Unanswered
from cdesk.server.reading import LineReader
from cdesk.server.writing import LineWriter

_log = logging.getLogger(__name__)

DEAF_S: Final = 5.0
"""A client that has ended its input and takes nothing for so long is not waited for."""

_LEAVING_S: Final = 0.5
"""How long the answers to what is being done, and then those that wait to be read, may take when
the server is to leave: whoever sends SIGTERM sends SIGKILL soon after."""

_LOOK_EVERY_S: Final = 0.25

Incoming: TypeAlias = MemoryObjectReceiveStream[SessionMessage | Exception]
Outgoing: TypeAlias = MemoryObjectSendStream[SessionMessage]


class Wire(NamedTuple):
    """The streams the SDK's server runs on, and the way to end its conversation."""

    incoming: Incoming
    outgoing: Outgoing
    leave: Callable[[], None]
    """Nothing more is read; what is being answered has `_LEAVING_S` left."""


@asynccontextmanager
async def serve_stdio() -> AsyncIterator[Wire]:
    """Takes over stdin and stdout until the client or `Wire.leave` ends the conversation."""
    wire_in, wire_out = _take_standard_streams()
    lines = LineReader(wire_in, asyncio.get_running_loop())
    to_server, incoming = anyio.create_memory_object_stream[SessionMessage | Exception](0)
    # an answer never waits for room here: its request holds a place until it is written
    outgoing, from_server = anyio.create_memory_object_stream[SessionMessage](MAX_UNANSWERED)
    writer = LineWriter(wire_out)
    talk = _Talk(lines, writer)
    with closing(writer):
        async with anyio.create_task_group() as watching:
            watching.start_soon(talk.leave_when_deaf)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(talk.hear, to_server)
                tasks.start_soon(talk.answer, from_server)
                with closing(lines):
                    yield Wire(incoming, outgoing, talk.leave)
                if talk.is_leaving:
                    tasks.cancel_scope.deadline = anyio.current_time() + _LEAVING_S
            watching.cancel_scope.cancel()


class _Talk:
    """What goes on between the client's lines and the server's streams."""

    def __init__(self, lines: LineReader, writer: LineWriter) -> None:
        self._lines = lines
        self._writer = writer
        self._unanswered = Unanswered()

        self._hearing = anyio.CancelScope()
        self.is_leaving = False

    def leave(self) -> None:
        """Ends the conversation as the end of input does, but waits for no one for long."""
        self.is_leaving = True
        self._hearing.cancel()

    async def hear(self, to_server: MemoryObjectSendStream[SessionMessage | Exception]) -> None:
        """Passes messages on until the client ends, and ends the server's input once all that was
        read is answered: the SDK's server drops what it is at when its input ends."""
        async with to_server:
            with self._hearing:
                await self._pass_on(to_server)
                await self._unanswered.none_left()
            if self.is_leaving and not self._writer.is_waiting:
                with anyio.move_on_after(_LEAVING_S):
                    await self._unanswered.none_left()

    async def _pass_on(self, to_server: MemoryObjectSendStream[SessionMessage | Exception]) -> None:
        """Passes messages on, and answers what is none."""
        async for line in self._lines:
            try:
                message = message_of(line)
            except Unreadable as unreadable:
                if unreadable.answer is not None:
                    await self._writer.write(unreadable.answer)
                await asyncio.sleep(0)  # nothing else here need wait: a signal may, and a deadline
                continue
            metadata = None
            if isinstance(message, mcp_types.JSONRPCRequest):
                await self._unanswered.room()
                self._unanswered.add(message.id, len(line))
                metadata = ServerMessageMetadata(
                    on_request_unanswered=partial(self._settle, message.id)
                )
            await to_server.send(SessionMessage(message, metadata))

    async def answer(self, from_server: MemoryObjectReceiveStream[SessionMessage]) -> None:
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

    async def leave_when_deaf(self) -> None:
        """Once the client's input has ended: waits for no answer that nobody can take, and leaves
        a client that takes nothing for `DEAF_S`."""
        loop = asyncio.get_running_loop()
        taken, since = self._writer.taken_bytes, loop.time()
        while True:
            await asyncio.sleep(_LOOK_EVERY_S)
            if not self._lines.is_ended:
                since = loop.time()
            elif not self._writer.is_heard:
                self._unanswered.lift()
                return
            elif not self._writer.is_waiting or self._writer.taken_bytes != taken:
                taken, since = self._writer.taken_bytes, loop.time()
            elif loop.time() - since >= DEAF_S:
                _log.warning(
                    "the client ended its input and takes no answer: %d of its requests stay "
                    "without one, and what it sent last is not done",
                    self._unanswered.count,
                )
                self.leave()
                return

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


def _line(message: mcp_types.JSONRPCMessage) -> bytes:
    return message.model_dump_json(by_alias=True, exclude_unset=True).encode()
